"""Rendered scenes written as a dataset: pictures, COCO with both outlines, truth tables, size distributions."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core import KINDS, TRUTH_COLUMNS, Instances, Scene
from crystalscope.errors import InputError, WriteError
from crystalscope.io.coco import coco_pieces, segmentation
from crystalscope.io.manifest import Manifest, write_manifest
from crystalscope.io.pictures import write_png
from crystalscope.io.tables import write_bytes, write_csv
from crystalscope.measure.outline import has_holes, outlines

SEMANTIC = "semantic"
"""Folder of class pictures in a dataset, named like the pictures, .png."""
_EXTRA = ("in_focus", "touches_border", "n_primaries", "body", "depth", "blur")
"""Truth that stands in the annotations too; lengths in px."""


def write_scenes(
    scenes: Iterable[Scene],
    folder: str | Path,
    *,
    manifest: Manifest,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write a set of rendered pictures.

    Written: images/, annotations.coco.json (every particle with full and visible outline; ghosts out of focus carry
    ``ignore``: 1), primaries.coco.json (members of agglomerates, ``parent`` is the annotation of the agglomerate),
    particles.csv (the same in rows, primaries with their parent), frames.csv, sizes_seen.csv (in focus and whole),
    sizes_population.csv (every body drawn, seen or not; particles only, no bubbles, droplets or other things),
    dataset.toml; of pictures of a lit disc also semantic/ with class pictures.

    Parameters
    ----------
    scenes
        Taken one by one, so that memory stays flat.
    folder
        Made where it does not exist; an earlier set there is overwritten file by file.
    manifest
        What the set is; its paths are filled in.
    progress
        Called with the number of pictures written.

    Returns
    -------
    The folder.

    Raises
    ------
    InputError
        When two scenes have one name, or some have a scale and some have none.
    WriteError
        When the folder cannot be written.
    """
    out = Path(folder)
    images: list[bytes] = []
    annotations: list[bytes] = []
    primaries: list[bytes] = []
    tables: list[pd.DataFrame] = []
    frames: list[dict[str, Any]] = []
    population: list[pd.DataFrame] = []
    names: set[str] = set()
    scales: set[float | None] = set()
    last = 0
    for number, scene in enumerate(scenes):
        name = scene.image.source
        if not name or name in names:
            raise InputError(f"expected a name of its own for every scene, got {name!r} twice or empty")
        names.add(name)
        scales.add(scene.image.pixel_size_um)
        write_bytes(out / "images" / name, _encoded(scene))
        if scene.instances.field.disc is not None:
            write_png(out / SEMANTIC / f"{Path(name).stem}.png", class_picture(scene.instances))
        rows, columns = scene.image.shape
        images.append(_line({"id": number, "file_name": f"images/{name}", "height": rows, "width": columns}))
        truth = scene.truth.assign(particle=np.arange(len(scene.truth)) + last + 1)
        members = scene.primaries_truth.assign(
            particle=np.arange(len(scene.primaries_truth)) + last + len(truth) + 1,
            parent=scene.primaries_truth["parent"].to_numpy(dtype=int) + last,
        )
        last += len(truth) + len(members)
        annotations += _annotations(scene.instances, truth, image=number)
        primaries += _annotations(scene.primaries, members, image=number)
        scale = scene.image.pixel_size_um
        tables.append(pd.concat([truth, members]).assign(frame=number, file=name))
        real = scene.population[scene.population["kind"].isin(["crystal", "agglomerate"])]
        population.append(real.assign(frame=number))
        frames.append(
            {
                "file": name,
                "frame": number,
                "time_s": scene.image.time_s,
                "pixel_size_um": math.nan if scale is None else scale,
                "n_particles": int((truth["in_focus"]).sum()),
                "n_ghosts": int((~truth["in_focus"].astype(bool)).sum()),
                **scene.frame,
            }
        )
        if progress:
            progress(number + 1)
    if len({s is None for s in scales}) > 1:
        raise InputError("expected a scale for all scenes or for none")
    scaled = bool(scales) and None not in scales
    ledger = pd.DataFrame(frames)
    particles = _with_units(pd.concat(tables, ignore_index=True), ledger, scaled=scaled) if tables else pd.DataFrame()
    seen = particles[
        particles["in_focus"].astype(bool)
        & ~particles["touches_border"].astype(bool)
        & (particles["parent"] == 0)
        & particles["kind"].isin(["crystal", "agglomerate"])
    ]
    everything = _with_units(pd.concat(population, ignore_index=True), ledger, scaled=scaled)
    write_bytes(out / "annotations.coco.json", coco_pieces(images, annotations))
    if primaries:
        write_bytes(out / "primaries.coco.json", coco_pieces(images, primaries))
    write_csv(out / "particles.csv", particles)
    write_csv(out / "frames.csv", ledger)
    ecd = "ecd_um" if scaled else "ecd_px"
    write_csv(out / "sizes_seen.csv", cumulatives(seen[ecd].to_numpy(dtype=float)))
    write_csv(out / "sizes_population.csv", cumulatives(everything[ecd].to_numpy(dtype=float)))
    one_scale = next(iter(scales)) if len(scales) == 1 else None
    paths = {
        "pictures": "images",
        "annotations": "annotations.coco.json",
        "frames": "frames.csv",
        "sizes": "sizes_population.csv",
    }
    here = set(particles["kind"]) if len(particles) else set()
    classes = {"classes": tuple(k for k in KINDS if k in here)}
    write_manifest(out, manifest.model_copy(update=paths | classes | {"pixel_size_um": one_scale}))
    return out


def class_picture(instances: Instances) -> NDArray[np.uint8]:
    """Class of each pixel: 0 black background, outside the field of view; 1 light background; 2 crystal in focus."""
    out = instances.field.mask().astype(np.uint8)
    sharp = instances.select(instances.in_focus & (instances.kind < 2))
    out[sharp.labels() > 0] = 2
    return out


def cumulatives(size: np.ndarray) -> pd.DataFrame:
    """Exact points size, Q0 and Q3 of equally weighted particles, Q3 with size³ as volume (ISO 9276-1).

    Parameters
    ----------
    size
        (n,) above 0, in any order.
    """
    s = np.sort(np.asarray(size, dtype=float))
    if not s.size:
        return pd.DataFrame({"size": s, "Q0": s, "Q3": s})
    return pd.DataFrame({"size": s, "Q0": np.arange(1, len(s) + 1) / len(s), "Q3": np.cumsum(s**3) / (s**3).sum()})


def _with_units(table: pd.DataFrame, ledger: pd.DataFrame, *, scaled: bool) -> pd.DataFrame:
    """Lengths converted by the scale of their frame, with the unit in the name."""
    scale = ledger["pixel_size_um"].to_numpy(dtype=float)[table["frame"].to_numpy(dtype=int)] if scaled else 1.0
    out = {c: table[c] for c in ("frame", "file", "particle") if c in table}
    for c in TRUTH_COLUMNS:
        if c.name in table:
            values = table[c.name]
            out[c.header("um" if scaled else "px")] = values * scale**c.dimension if c.dimension else values
    return pd.DataFrame(out)


def _annotations(instances: Instances, truth: pd.DataFrame, *, image: int) -> list[bytes]:
    uncovered = instances
    if instances.visible is not None:
        uncovered = dataclasses.replace(instances, pixels=instances.visible, visible=None)
    full, holes = outlines(instances), has_holes(instances)
    seen, gaps = outlines(uncovered), has_holes(uncovered)
    lines = []
    for k, row in enumerate(truth.to_dict("records")):
        r0, c0, r1, c1 = (int(v) for v in instances.boxes[k])
        entry: dict[str, Any] = {
            "id": int(row["particle"]),
            "image_id": image,
            "category_id": int(instances.kind[k]) + 1,
            "segmentation": segmentation(full[k], instances if holes[k] else None, k),
            "visible_segmentation": segmentation(seen[k], uncovered if gaps[k] else None, k),
            "area": int(np.count_nonzero(instances.crop(k))),
            "bbox": [c0, r0, c1 - c0, r1 - r0],
            "iscrowd": 0,
            "ignore": int(not row["in_focus"]),
            "parent": int(row["parent"]),
        }
        for name in _EXTRA:
            value = row[name]
            entry[name] = round(float(value), 4) if isinstance(value, float) else value
        lines.append(_line(entry))
    return lines


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, default=lambda v: v.item()).encode()


def _encoded(scene: Scene) -> bytes:
    if scene.encoded is not None:
        return scene.encoded
    data = np.asarray(scene.image.data)
    if data.ndim == 3:
        data = cv2.cvtColor(data, cv2.COLOR_RGB2BGR)
    suffix = Path(scene.image.source).suffix
    ok, raw = cv2.imencode(suffix, data)
    if not ok:
        raise WriteError(f"expected a picture format that can be written, got {suffix!r}; name the scenes .png or .tif")
    return raw.tobytes()
