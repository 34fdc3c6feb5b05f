"""Spheres of known size at both levels: outlines against annotations, sizes against the certificate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.chording import distribution_of_table
from crystalscope.core import SizeDistribution, Unit
from crystalscope.datasets.catalogue import ignores_unannotated
from crystalscope.datasets.dataset import Dataset
from crystalscope.datasets.loaders import for_sizes
from crystalscope.errors import InputError, ReadError
from crystalscope.io.coco import Annotated, read_coco
from crystalscope.io.tables import read_table
from crystalscope.score import areas
from crystalscope.scoring import score_pictures
from crystalscope.size import make_distribution, quantile

Array = NDArray[np.float64]

_MET = 0.1
"""A finding of which less lies in annotated spheres meets none of them."""
_NEAR = 0.1


@dataclass(frozen=True, eq=False)
class SphereEvaluation:
    """A run on spheres of certified sizes.

    Parameters
    ----------
    segmentation
        As `scoring.score_pictures` gives it, pooled over all pictures.
    by_condition
        A row for every nominal size and loading: pictures, annotated, recall, f1.
    sizes
        A row for every nominal size: n, certified, of the run and of the annotations D10, D50, D90, and the error of
        D50; NaN without a certificate or a scale.
    distributions
        By nominal size: of the run, of the annotations, and of the certificate (None where there is none).
    unit
        um or px.
    notes
        What to bear in mind.
    """

    segmentation: dict[str, Any]
    by_condition: pd.DataFrame
    sizes: pd.DataFrame
    distributions: dict[float, tuple[SizeDistribution, SizeDistribution, SizeDistribution | None]]
    unit: Unit
    notes: tuple[str, ...]


def evaluate_spheres(dataset: Dataset, run: Path) -> SphereEvaluation:
    """Score a run on a set of spheres.

    Parameters
    ----------
    dataset
        With annotations, nominal sizes of the pictures, and certificates among its sizes.
    run
        Of `analyze` on the folder of the dataset.

    Raises
    ------
    ReadError
        When the run is none, or of other pictures.
    InputError
        When the dataset has no annotations.

    Notes
    -----
    Where the rules of the set say that spheres out of focus are not annotated, findings that meet no annotated sphere
    are left out: they are neither right nor wrong, and precision then says how many findings fit, not how many are too
    many. Sizes are of whole spheres, weighted by the chance that they lie whole in the picture.
    """
    truth = dataset.truth()
    if not truth:
        raise InputError("expected a set with outlines, got none; open the folder that holds its COCO file")
    file = run / "annotations.coco.json"
    if not file.exists():
        raise ReadError(f"expected the folder of a run, got {run} without annotations.coco.json; run analyze first")
    found = {a.file_name: a for a in read_coco(file)}
    wanted = {k: a for k, a in truth.items() if k in found}
    if not wanted:
        raise ReadError(f"expected a run on the pictures of {dataset.root}, got others: {', '.join(list(found)[:3])}")
    notes = []
    if ignores_unannotated(dataset.manifest):
        found = {k: _meeting(a, truth[k]) if k in truth else a for k, a in found.items()}
        notes.append("findings that meet no annotated sphere are left out: spheres out of focus are not annotated")
    segmentation = score_pictures(found, wanted)
    scale = _scale(run)
    if scale is None:
        notes.append("no scale was given: sizes are in px and are not compared with the certificate")
    sizes, distributions = _sizes(dataset, run, truth, scale, notes)
    return SphereEvaluation(
        segmentation,
        _conditions(dataset.frames, segmentation),
        sizes,
        distributions,
        "px" if scale is None else "um",
        tuple(notes),
    )


def _meeting(found: Annotated, truth: Annotated) -> Annotated:
    """Findings that meet an annotated particle, or an ignored region."""
    import dataclasses

    union = truth.instances.labels() > 0
    inside = []
    for i in range(len(found.instances)):
        r0, c0, r1, c1 = found.instances.boxes[i]
        crop = found.instances.crop(i)
        inside.append(float((union[r0:r1, c0:c1] & crop).sum()) / float(crop.sum()) >= _MET)
    keep = np.array(inside, dtype=bool)
    return dataclasses.replace(
        found,
        instances=found.instances.select(keep),
        ids=found.ids[keep],
        ignore=found.ignore[keep],
        labels=tuple(v for v, k in zip(found.labels, keep, strict=True) if k),
        attributes=tuple(v for v, k in zip(found.attributes, keep, strict=True) if k),
    )


def _scale(run: Path) -> float | None:
    scales = read_table(run / "frames.parquet", columns=["pixel_size_um"])["pixel_size_um"].dropna().unique()
    return float(scales[0]) if len(scales) else None


def _conditions(frames: pd.DataFrame, segmentation: dict[str, Any]) -> pd.DataFrame:
    rows = pd.DataFrame(segmentation["by_picture"]).rename(columns={"picture": "file"})
    joined = rows.merge(frames[["file", "nominal_size_um", "loading_wt"]], on="file", how="left")
    sums = joined.groupby(["nominal_size_um", "loading_wt"], dropna=False)[["tp", "fp", "fn"]].sum()
    sums["pictures"] = joined.groupby(["nominal_size_um", "loading_wt"], dropna=False).size()
    sums["annotated"] = sums["tp"] + sums["fn"]
    sums["recall"] = sums["tp"] / sums["annotated"].where(sums["annotated"] > 0)
    whole = 2 * sums["tp"] + sums["fp"] + sums["fn"]
    sums["f1"] = 2 * sums["tp"] / whole.where(whole > 0)
    return sums.reset_index()[["nominal_size_um", "loading_wt", "pictures", "annotated", "recall", "f1"]]


def _sizes(
    dataset: Dataset, run: Path, truth: Mapping[str, Annotated], scale: float | None, notes: list[str]
) -> tuple[pd.DataFrame, dict[float, tuple[SizeDistribution, SizeDistribution, SizeDistribution | None]]]:
    unit: Unit = "px" if scale is None else "um"
    column = f"ecd_{unit}"
    table = read_table(
        run / "particles.parquet",
        columns=["file", column, "border_weight"],
        where="in_focus AND NOT touches_border AND kind IN ('crystal', 'agglomerate')",
    )
    table = table[np.isfinite(table["border_weight"].to_numpy(dtype=float))]
    nominal = dict(zip(dataset.frames["file"], dataset.frames["nominal_size_um"], strict=True))
    certificates = _certificates(dataset, notes) if scale is not None else []
    rows, out = [], {}
    for size in sorted({float(v) for v in nominal.values() if not pd.isna(v)}):
        files = {f for f, v in nominal.items() if v == size}
        own = table[table["file"].isin(files)]
        drawn = [areas(for_sizes(truth[f]).instances) for f in sorted(files) if f in truth]
        outlined = np.concatenate(drawn) if drawn else np.zeros(0)
        of_run = _distribution(own[column].to_numpy(dtype=float), own["border_weight"].to_numpy(dtype=float), unit)
        diameters = 2 * np.sqrt(outlined / math.pi) * (scale or 1.0)
        of_truth = _distribution(diameters, np.ones(len(diameters)), unit)
        certificate = next((c for c in certificates if abs(quantile(c, 0.5, by="number") / size - 1) < _NEAR), None)
        row: dict[str, Any] = {"nominal_um": size, "n": of_run.n, "n_annotated": of_truth.n}
        for name, d in (("run", of_run), ("annotated", of_truth), ("certified", certificate)):
            row |= {f"{name}_D{q}": math.nan if d is None else quantile(d, q / 100, by="number") for q in (10, 50, 90)}
        for name in ("run", "annotated"):
            row[f"{name}_error"] = row[f"{name}_D50"] / row["certified_D50"] - 1
        rows.append(row)
        out[size] = (of_run, of_truth, certificate)
    return pd.DataFrame(rows), out


def _distribution(size: Array, weight: Array, unit: Unit) -> SizeDistribution:
    return make_distribution(size, size**3, weight=weight, unit=unit)


def _certificates(dataset: Dataset, notes: list[str]) -> list[SizeDistribution]:
    out = []
    for name, table in dataset.sizes.items():
        try:
            out.append(distribution_of_table(table, source=name))
        except InputError as e:
            notes.append(f"the size table {name!r} is not compared: {e}")
    return out
