"""A small set of drawn pictures with everything that a dataset should have."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from crystalscope.core import TRUTH_COLUMNS, FieldOfView, Image, Instances, Scene
from crystalscope.datasets import write_scenes
from crystalscope.io.manifest import Manifest

SHAPE = (180, 240)
PICTURES = 9

MANIFEST = Manifest(
    name="drawn",
    title="Drawn crystals",
    description="Blocks on a bright ground.",
    version="1.0.0",
    licence="CC-BY-4.0",
    doi="10.5281/zenodo.1234567",
    url="https://example.org/drawn",
    citation="A. Author, Drawn crystals, 2024",
    creators=("A. Author", "B. Author"),
    published="2024-05-06",
    instrument="Probe 100",
    solids_loading="1 to 5 wt%",
    annotated_by="two chemists",
    annotation_rules="Out-of-focus particles are not annotated; cut ones are.",
    limits=("drawn, not recorded",),
    classes=("sparse", "dense"),
)


def ground(rng: np.random.Generator, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """A lit window with dust that is the same in every picture."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    light = 180 - 25 * ((x / shape[1] - 0.4) ** 2 + (y / shape[0] - 0.5) ** 2)
    fixed = np.random.default_rng(99)
    for _ in range(7):
        r, c, s = fixed.uniform(10, shape[0] - 10), fixed.uniform(10, shape[1] - 10), fixed.uniform(1, 3)
        light = light - 70 * np.exp(-((y - r) ** 2 + (x - c) ** 2) / (2 * s**2))
    return light + rng.normal(0, 1.5, shape)


def block(shape: tuple[int, int], row: float, column: float, size: float, turn: float) -> np.ndarray:
    """Mask of a turned rectangle."""
    box = cv2.boxPoints(((column, row), (size, 0.7 * size), turn))
    return cv2.fillPoly(np.zeros(shape, np.uint8), [np.round(box).astype(np.int32)], 1).astype(bool)


def picture_of(masks: list[np.ndarray], rng: np.random.Generator, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """8-bit picture of dark particles with a clear inside."""
    data = ground(rng, shape)
    for m in masks:
        inside = cv2.erode(m.astype(np.uint8), np.ones((5, 5))).astype(bool)
        data[m] -= 90
        data[inside] += 50
    return np.clip(np.round(cv2.GaussianBlur(data, (0, 0), 0.7)), 0, 255).astype(np.uint8)


def scene_of(number: int) -> Scene:
    """A picture with 6 to 8 blocks, some of them overlapping, one at the border, one out of focus."""
    rng = np.random.default_rng(1000 + number)
    masks = [
        block(SHAPE, rng.uniform(20, 160), rng.uniform(20, 220), rng.uniform(16, 40), rng.uniform(0, 180))
        for _ in range(6 + number % 3)
    ]
    masks.append(block(SHAPE, rng.uniform(40, 140), 2, 24, 20))
    covered = np.zeros(SHAPE, bool)
    visible = []
    for m in masks[::-1]:
        visible.append(m & ~covered)
        covered |= m
    visible = visible[::-1]
    instances = Instances.from_masks(masks, field=FieldOfView(SHAPE), visible=visible)
    n = len(masks)
    truth = pd.DataFrame({c.name: np.full(n, 1.0) for c in TRUTH_COLUMNS})
    truth["kind"], truth["body"] = "crystal", "block"
    truth["in_focus"] = np.arange(n) != 0
    truth["touches_border"] = [bool(m[0].any() or m[-1].any() or m[:, 0].any() or m[:, -1].any()) for m in masks]
    truth["parent"], truth["n_primaries"] = 0, 1
    truth["ecd"] = [np.sqrt(4 / np.pi * m.sum()) for m in masks]
    suffix = ".tif" if number == 8 else ".png"
    image = Image(picture_of(masks, rng), 2.0, source=f"p{number}{suffix}")
    none = pd.DataFrame({c.name: [] for c in TRUTH_COLUMNS})
    facts = {
        "experiment": f"E{number // 3}",
        "class": "dense" if number % 2 else "sparse",
        "instrument": "Probe 100",
        "split": ("train", "train", "test")[number // 3],
    }
    return Scene(image, instances, truth, Instances.empty(FieldOfView(SHAPE)), none, truth, facts)


def scenes() -> Iterator[Scene]:
    return (scene_of(i) for i in range(PICTURES))


def write_clean(folder: Path) -> Path:
    """The set, without a fault."""
    return write_scenes(scenes(), folder, manifest=MANIFEST)


def edit_json(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "annotations.coco.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def edit_rows(folder: Path, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> None:
    path = folder / "frames.csv"
    with path.open(newline="") as f:
        rows = change(list(csv.DictReader(f)))
    with path.open("w", newline="") as f:
        writer = csv.DictWriter(f, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def edit_manifest(folder: Path, **fields: Any) -> None:
    from crystalscope.io.manifest import read_manifest, write_manifest

    write_manifest(folder, read_manifest(folder).model_copy(update=fields))


def add_picture(
    folder: Path, name: str, raw: bytes, shape: tuple[int, int], *, like: str = "p0.png", **row: str
) -> None:
    """A picture more, with its row and its entry in the annotations (no particle)."""
    (folder / "images" / name).write_bytes(raw)

    def rows(table: list[dict[str, str]]) -> list[dict[str, str]]:
        first = next(r for r in table if r["file"] == like)
        return [*table, {**first, "file": name, "frame": "77", **row}]

    edit_rows(folder, rows)
    entry = {"id": 777, "file_name": f"images/{name}", "height": shape[0], "width": shape[1]}
    edit_json(folder, lambda d: d["images"].append(entry))
