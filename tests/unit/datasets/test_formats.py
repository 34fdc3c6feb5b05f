"""Every format gives every mask back, pixel for pixel, and what else it can hold."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_mask
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.conftest import save

from crystalscope.core import KINDS, FieldOfView, Instances
from crystalscope.datasets import coco
from crystalscope.datasets.dataset import open_dataset
from crystalscope.datasets.drawing import bridged, rings_of
from crystalscope.datasets.exchange import Collector
from crystalscope.datasets.formats import FORMATS
from crystalscope.datasets.own import init_dataset
from crystalscope.datasets.transfer import export_annotations, import_annotations
from crystalscope.errors import InputError, WriteError
from crystalscope.io.coco import Annotated, categories, kind_of_label, load_coco, read_coco
from crystalscope.io.regions import Region, aligned, decode_region, decode_rle, encode_region, encode_rle, rasterize

SHAPE = (60, 80)
masks = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def awkward() -> list[np.ndarray]:
    """Masks that formats are known to spoil."""
    m = np.zeros((10, *SHAPE), bool)
    m[0, 5:30, 5:30] = True  # a ring with an island in its hole, which has a hole itself
    m[0, 8:27, 8:27] = False
    m[0, 12:22, 12:22] = True
    m[0, 15:18, 15:18] = False
    m[1, 10:40, 20:50] = True  # overlaps the ring
    m[2, np.arange(20, 50), np.arange(20, 50)] = True  # one pixel wide, corner to corner
    m[3, 55, 2:70] = True  # one pixel wide, straight
    m[3, 40:56, 2] = True
    m[4, 0:3, 0:3] = m[4, 57:60, 77:80] = m[4, 30, 79] = True  # three parts, on the borders
    m[5, 40:50, 50:60] = True  # touches the next
    m[6, 40:50, 60:70] = True
    m[7, 59, 0] = True  # a single pixel
    m[8, 34:46:2, 60:72:2] = m[8, 35:47:2, 61:73:2] = True  # a chequered board: holes that meet at corners
    m[9] = True  # the whole picture
    m[9, 20:22, 20:22] = m[9, 22:24, 22:24] = False
    return list(m)


def many(n: int = 300) -> list[np.ndarray]:
    """More particles than eight bits can count."""
    found = []
    for k in range(n):
        mask = np.zeros(SHAPE, bool)
        r, c = divmod(k, 25)
        mask[4 * r : 4 * r + 4, 3 * c : 3 * c + 3] = True
        found.append(mask)
    return found


def annotated(name: str, found: list[np.ndarray], *, first: int, plain: bool = False) -> Annotated:
    """With all that a particle can have."""
    n = len(found)
    labels = (
        ("crystal",) * n
        if plain
        else tuple(("crystal", "fines, needle", "bubble", "Größe 2", "ufo")[k % 5] for k in range(n))
    )
    kinds = [0] * n if plain else [KINDS.index(kind_of_label(label) or "agglomerate") for label in labels]
    base = Instances.from_masks(found, field=FieldOfView(SHAPE))
    instances = Instances(
        base.field,
        base.boxes,
        base.pixels,
        base.offsets,
        np.ones(n) if plain else (np.arange(n) % 11 / np.float32(10)),
        np.array(kinds),
        in_focus=np.array([plain or k % 4 != 1 for k in range(n)]),
    )
    attributes = tuple({} if plain or k % 3 else {"habit": "flat", "twin": True, "id": "x7", "n": 2} for k in range(n))
    ignore = np.array([not plain and k % 5 == 3 for k in range(n)])
    return Annotated(name, instances, np.arange(first, first + n), ignore, labels, attributes)


def dataset(folder: Path, items: list[Annotated]) -> Path:
    """Grey pictures with annotations."""
    for item in items:
        save(folder / "images" / item.file_name, np.full(item.instances.field.shape, 90, np.uint8))
    init_dataset(folder, name="test")
    for name, content in coco.write(items):
        (folder / name).write_bytes(content)
    text = (folder / "dataset.toml").read_text()
    (folder / "dataset.toml").write_text(text.replace('annotations = ""', 'annotations = "annotations.coco.json"'))
    return folder


def same_masks(a: Annotated, b: Annotated) -> bool:
    return len(a.instances) == len(b.instances) and all(
        np.array_equal(a.instances.mask(i), b.instances.mask(i)) for i in range(len(a.instances))
    )


@pytest.fixture
def items() -> list[Annotated]:
    return [
        annotated("one/a.png", awkward(), first=5),
        annotated("one/b.png", [], first=1),
        annotated("two/a.png", many(), first=1000),
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_round_trip_keeps_everything(tmp_path, items, name):
    first = dataset(tmp_path / "first", items)
    before = open_dataset(first).truth()
    report = export_annotations(first, tmp_path / "out", format=name)
    assert report.particles == 310
    assert report.pictures == 3
    assert all(p.is_file() for p in report.files)
    second = dataset(tmp_path / "second", []) if False else copied(first, tmp_path / "second")
    found = import_annotations(
        second, tmp_path / "out", kinds={"fines, needle": "agglomerate", "Größe 2": "agglomerate"}
    )
    assert found.format == name
    assert not found.faults
    assert (found.particles, found.pictures, found.empty) == (310, 3, 1)
    after = open_dataset(second).truth()
    assert before.keys() == after.keys()
    for file, a in before.items():
        b = after[file]
        order = np.argsort(b.ids)
        assert np.array_equal(a.ids, b.ids[order])
        assert same_masks(a, Annotated(file, b.instances.select(order), b.ids[order], b.ignore[order]))
        assert np.array_equal(a.ignore, b.ignore[order])
        assert a.labels == tuple(b.labels[i] for i in order)
        assert a.attributes == tuple(b.attributes[i] for i in order)
        for key in ("score", "kind", "in_focus"):
            assert np.array_equal(getattr(a.instances, key), getattr(b.instances, key)[order]), key


def copied(first: Path, second: Path) -> Path:
    """The same pictures without annotations."""
    for path in (first / "images").rglob("*.png"):
        to = second / path.relative_to(first)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(path.read_bytes())
    init_dataset(second, name="copy")
    return second
