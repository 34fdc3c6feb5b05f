"""A run on spheres against outlines and certificate."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crystalscope.core import PARTICLE_COLUMNS, ledger_frame, particle_frame
from crystalscope.datasets.catalogue import IGNORE_UNANNOTATED
from crystalscope.datasets.dataset import Dataset
from crystalscope.errors import InputError, ReadError
from crystalscope.evaluation import evaluate_spheres
from crystalscope.io.manifest import Manifest
from crystalscope.io.tables import write_json, write_table
from crystalscope.report.forms import sphere_verdict, write_sphere_report

DISCS = {"a.png": [(60, 60, 20), (60, 160, 20), (150, 90, 21)], "b.png": [(70, 70, 40), (140, 200, 40)]}


def coco(path: Path, discs: dict[str, list[tuple[float, float, float]]]) -> Path:
    images, annotations = [], []
    turn = 2 * math.pi * np.arange(180) / 180
    for k, (name, found) in enumerate(discs.items()):
        images.append({"id": k, "file_name": name, "height": 220, "width": 260})
        for r, c, radius in found:
            polygon = np.column_stack([c + radius * np.cos(turn), r + radius * np.sin(turn)])
            entry = {"id": len(annotations) + 1, "image_id": k, "category_id": 1, "bbox": [0, 0, 1, 1], "area": 1}
            annotations.append(entry | {"segmentation": [polygon.ravel().tolist()], "iscrowd": 0})
    write_json(path, {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "crystal"}]})
    return path


def run_of(folder: Path, discs: dict[str, list[tuple[float, float, float]]], scale: float | None) -> Path:
    coco(folder / "annotations.coco.json", discs)
    rows = [(f, k, 2 * d[2]) for k, (f, found) in enumerate(discs.items()) for d in found]
    n = len(rows)
    values = {c.name: np.zeros(n, dtype=object if c.dtype == "str" else c.dtype) for c in PARTICLE_COLUMNS}
    values |= {
        "file": np.array([r[0] for r in rows], dtype=object),
        "frame": np.array([r[1] for r in rows]),
        "kind": np.full(n, "crystal", dtype=object),
        "in_focus": np.ones(n, dtype=bool),
        "ecd": np.array([float(r[2]) for r in rows]),
        "border_weight": np.ones(n),
    }
    write_table(folder / "particles.parquet", particle_frame(values, pixel_size_um=scale))
    frames = [{"frame": k, "file": f, "status": "ok"} for k, f in enumerate(discs)]
    extra = {} if scale is None else {"pixel_size_um": scale}
    write_table(folder / "frames.parquet", ledger_frame([f | extra for f in frames]))
    return folder


@pytest.fixture
def dataset(tmp_path):
    coco(tmp_path / "truth.json", DISCS)
    frames = pd.DataFrame({"file": list(DISCS), "nominal_size_um": [200.0, 400.0], "loading_wt": [1.0, 2.5]})
    # Means 200 and 400 um, standard deviation 3 %, as a normal distribution.
    sizes = {}
    for mean in (200.0, 400.0):
        table = pd.DataFrame({"size_um": mean * np.array([0.97, 1, 1.03]), "Q0": [0.15866, 0.5, 0.84134]})
        table.attrs.update(definition="sphere", read="normal by number assumed")
        sizes[f"{mean:g}"] = table
    manifest = Manifest(name="spheres", annotation_rules=f"{IGNORE_UNANNOTATED}: those out of focus are left out")
    return Dataset(tmp_path, manifest, frames, (Path("truth.json"),), sizes)


def test_both_levels(dataset, tmp_path):
    found = dict(DISCS) | {"a.png": [*DISCS["a.png"][:2], (30, 230, 15)]}
    got = evaluate_spheres(dataset, run_of(tmp_path / "run", found, 5.0))
    assert got.segmentation["instances"]["tp"] == 4
    assert got.segmentation["instances"]["fn"] == 1
    # What meets no annotated sphere may be one out of focus.
    assert got.segmentation["instances"]["fp"] == 0
    assert got.by_condition["recall"].tolist() == pytest.approx([2 / 3, 1.0])
    first = got.sizes.iloc[0]
    assert first["certified_D50"] == pytest.approx(200, rel=1e-3)
    assert first["certified_D10"] == pytest.approx(200 * (1 - 1.2816 * 0.03), rel=2e-3)
    assert first["annotated_D50"] == pytest.approx(200, rel=0.01)
    assert got.sizes["run_error"].abs().max() < 0.01
    page = write_sphere_report(tmp_path / "spheres.html", got, title="Spheres").read_text(encoding="utf-8")
    assert "4 of 5 annotated spheres found" in page
    assert page.count("<svg") == 1


def test_without_a_scale_sizes_are_not_compared(dataset, tmp_path):
    got = evaluate_spheres(dataset, run_of(tmp_path / "run", DISCS, None))
    assert got.unit == "px"
    assert got.sizes["run_error"].isna().all()
    assert any("no scale" in n for n in got.notes)
    assert "certificate" not in sphere_verdict(got)


def test_runs_and_sets_that_do_not_fit(dataset, tmp_path):
    with pytest.raises(ReadError, match=r"without annotations\.coco\.json"):
        evaluate_spheres(dataset, tmp_path / "none")
    other = run_of(tmp_path / "other", {"c.png": DISCS["a.png"]}, 5.0)
    with pytest.raises(ReadError, match="expected a run on the pictures"):
        evaluate_spheres(dataset, other)
    bare = Dataset(tmp_path, dataset.manifest, dataset.frames)
    with pytest.raises(InputError, match="expected a set with outlines"):
        evaluate_spheres(bare, other)
