"""The four OpenCrystalData sets from their folders to a report each: what `crystalscope dataset study` does."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from crystalscope.calibration import held_back_table, read_particles, worst, write_calibration
from crystalscope.chording import chords_of_outlines, distribution_of_table, read_outlines
from crystalscope.config import AnalyzeConfig
from crystalscope.datasets.dataset import Dataset
from crystalscope.errors import InputError
from crystalscope.evaluation import evaluate_spheres
from crystalscope.impurity import save_model, train_impurity
from crystalscope.impurity.features import crop_features
from crystalscope.io.pictures import read_picture, to_grey
from crystalscope.io.tables import write_csv, write_json
from crystalscope.pipeline import analyze
from crystalscope.report.chords import plot_chords
from crystalscope.report.forms import plot_held_back, sphere_verdict, write_sphere_report
from crystalscope.report.impurity import write_page
from crystalscope.screening import RunPictures, copies_of_crops, describe_run
from crystalscope.screening_report import write_scores
from crystalscope.size.calibrate import LEAST_PARTICLES, Sample, calibrate, hold_back
from crystalscope.size.chords import chords_of_table, compare_chords

Progress = Callable[[str, int, int | None], None]
Study = Callable[[Dataset, Path, AnalyzeConfig, Progress], list[str]]

_MOST_CROPS = 1500
"""Crops that are learnt from, of each class; more change little and take hours."""


def study_dataset(name: str, dataset: Dataset, out: Path, *, config: AnalyzeConfig, progress: Progress) -> list[str]:
    """Do the task of a set of OpenCrystalData, from its pictures to a report.

    Parameters
    ----------
    name
        Of the set.
    dataset
        As `open_known` gives it.
    out
        Folder for runs, tables and the report.
    config
        Of `analyze`; the scale where one is known.
    progress
        Called with stage, done, total.

    Returns
    -------
    What was found, in words; the last line names the report.

    Raises
    ------
    InputError
        When the set lacks what its task needs.

    Notes
    -----
    cephalexin-impurity: a classifier of crops, applied to the particles that are found in the raw frames.
    agcrystal: sizes by batch and loading, calibrated against the offline distributions, batches held back.
    polystyrene: outlines against the annotations, diameters against the certificate.
    vansil-glutamic: chords of the crystals in pictures beside those of the probe.
    """
    return STUDIES[name](dataset, out, config, progress)


def _cephalexin(dataset: Dataset, out: Path, config: AnalyzeConfig, progress: Progress) -> list[str]:
    frames = dataset.frames
    crops = pd.concat([_spread(rows, _MOST_CROPS) for _, rows in frames[frames["part"] == "cropped"].groupby("class")])
    raw = frames[frames["part"] == "raw"]
    if crops["class"].nunique() < 2 or raw.empty:
        raise InputError(
            f"expected crops of both classes and raw pictures, got {len(crops)} crops of {crops['class'].nunique()} "
            f"classes and {len(raw)} raw pictures; download the whole set"
        )
    files = crops["file"].astype(str).tolist()
    numbers = []
    for k, file in enumerate(files):
        numbers.append(crop_features(to_grey(read_picture(dataset.root / file).data)))
        progress("crops", k + 1, len(files))
    truth = (crops["class"] != "cephalexin").to_numpy()
    groups = copies_of_crops(dataset.root, files)
    model = train_impurity(np.array(numbers), truth, groups=groups, view="crops")
    save_model(model, out / "model.npz")
    folder, run = _common(dataset, raw), out / "run"
    _analyzed(folder, run, config, progress)
    opened = RunPictures.open(run, folder)
    found = describe_run(opened, "crops", progress=lambda k, n: progress("particles", k, n))
    lines, fractions = write_scores(model, found, opened, run, out)
    first = (
        f"Crops: {len(files)} of {len(set(groups))} crystals, copies held back together; held-back AUROC "
        f"{model.auroc:.4f}"
    )
    if fractions is not None:
        # Pure and impure slurry were photographed apart: their fractions should lie far apart too.
        kind = dict(zip(raw["file"].astype(str), raw["class"], strict=True))
        full = [kind.get((folder / f).relative_to(dataset.root).as_posix(), "") for f in fractions["file"]]
        for name, rows in fractions.assign(kind=full).groupby("kind"):
            called = rows["n_impurity"].sum() / max(rows["n"].sum(), 1)
            lines.append(f"Raw pictures of {name}: {called:.1%} of {int(rows['n'].sum())} particles called impurity")
    return [first, *lines, f"Report: {out / 'impurity.html'}"]


def _agcrystal(dataset: Dataset, out: Path, config: AnalyzeConfig, progress: Progress) -> list[str]:
    samples, few = [], []
    known = {str(k).casefold(): v for k, v in dataset.sizes.items()}
    frames = dataset.frames.dropna(subset=["batch", "loading_wt"])
    for (batch, loading, split), rows in frames.fillna({"split": ""}).groupby(["batch", "loading_wt", "split"]):
        table = next((t for k, t in known.items() if str(batch).casefold() in k), None)
        if table is None:
            continue
        run = out / "runs" / f"{batch}-{loading:g}-{split or 'all'}"
        _analyzed(_common(dataset, rows), run, config, progress)
        size, weight, gates = read_particles(run, definition="length")
        if len(size) < LEAST_PARTICLES:
            few.append(
                f"Note: {run.name} is left out, its pictures show {len(size)} of {LEAST_PARTICLES} whole particles"
            )
            continue
        offline = distribution_of_table(table, source=str(batch), definition="length")
        samples.append(Sample(str(batch), float(loading), size, weight, gates, offline))
    if len({s.batch for s in samples}) < 2:
        raise InputError(
            f"expected at least two batches with an offline distribution and {LEAST_PARTICLES} particles, got "
            f"{len({s.batch for s in samples})} (tables: {', '.join(dataset.sizes) or 'none'}); take more pictures"
        )
    found = calibrate(samples, by="number")
    write_calibration(out / "calibration.toml", found, definition="length")
    table = held_back_table(hold_back(samples, by="number"), "number")
    write_csv(out / "held_back.csv", table)
    before, after = worst(table)
    least = min(samples, key=lambda s: len(s.size))
    # Of a median: 1.25 times that of a mean.
    known_to = 1.96 * 1.25 * float(np.log(least.size).std()) / math.sqrt(len(least.size))
    lines = [
        *few,
        f"{len(samples)} samples of {len({s.batch for s in samples})} batches; the smallest has {len(least.size)} "
        f"particles, of which the D50 is known to {known_to:.0%}: smaller errors are chance",
        f"D50 of a batch held back, largest error: {before:.1%} as measured, {after:.1%} calibrated",
    ]
    page = write_page(
        out / "needles.html",
        title="Needles",
        lines=lines,
        figures=[("Errors of D50 of batches held back", lambda: plot_held_back(table))],
        pictures=[],
    )
    return [*lines, f"Report: {page}"]


def _polystyrene(dataset: Dataset, out: Path, config: AnalyzeConfig, progress: Progress) -> list[str]:
    run = out / "run"
    _analyzed(dataset.root, run, config, progress)
    found = evaluate_spheres(dataset, run)
    write_csv(out / "sizes.csv", found.sizes)
    write_csv(out / "conditions.csv", found.by_condition)
    write_json(out / "evaluation.json", {"segmentation": found.segmentation, "notes": list(found.notes)})
    page = write_sphere_report(out / "spheres.html", found, title=dataset.manifest.title or "Spheres")
    return [*(f"Note: {n}" for n in found.notes), sphere_verdict(found), f"Report: {page}"]


def _vansil(dataset: Dataset, out: Path, config: AnalyzeConfig, progress: Progress) -> list[str]:
    if config.input.pixel_size_um is None:
        raise InputError("expected a scale, since a probe measures um; give --scale UM_PER_PX")
    lines: list[str] = []
    figures: list[tuple[str, Callable[[], Any]]] = []
    rows: list[dict[str, Any]] = []
    keys = ["instrument", "substance", "loading_wt"]
    for (probe, substance, loading), pictures in dataset.frames.dropna(subset=keys).groupby(keys):
        names = [k for k in dataset.chords if str(substance).casefold() in k.casefold()]
        table = next((k for k in names if f"{loading:g} wt" in k), names[0] if len(names) == 1 else None)
        if table is None:
            continue
        what = f"{substance} {loading:g} wt%, {probe}"
        run = out / "runs" / what.replace(" ", "-").replace("%", "").replace(",", "")
        _analyzed(_common(dataset, pictures), run, config, progress)
        measured = chords_of_table(dataset.chords[table], source=table)
        outlines = read_outlines(run)
        chords = chords_of_outlines(outlines, measured.edges)
        agreement = compare_chords(chords, measured)
        rows.append({"suspension": what, "crystals": len(outlines.polygons), **agreement.ks})
        lines.append(
            f"{what}: {len(outlines.polygons)} crystals, KS to the probe {agreement.ks['none']:.3f} without weighting, "
            f"{agreement.ks['square']:.3f} square-weighted"
        )
        figures.append((what, partial(plot_chords, [chords, measured], ["pictures", "probe"])))
    if not rows:
        raise InputError(
            f"expected chord tables of the suspensions in the pictures, got {', '.join(dataset.chords) or 'none'}"
        )
    write_csv(out / "agreement.csv", pd.DataFrame(rows))
    page = write_page(out / "chords.html", title="Chord lengths", lines=lines, figures=figures, pictures=[])
    return [*lines, f"Report: {page}"]


STUDIES: Mapping[str, Study] = MappingProxyType(
    {
        "cephalexin-impurity": _cephalexin,
        "agcrystal": _agcrystal,
        "polystyrene": _polystyrene,
        "vansil-glutamic": _vansil,
    }
)
"""The task of every set."""


def _analyzed(pictures: Path, run: Path, config: AnalyzeConfig, progress: Progress) -> None:
    stage = f"frames of {run.name}"
    analyze(pictures, run, config=config, progress=lambda done, total: progress(stage, done, total))


def _common(dataset: Dataset, rows: pd.DataFrame) -> Path:
    """The folder that holds these pictures.

    Raises
    ------
    InputError
        When other pictures stand there too.
    """
    files = rows["file"].astype(str).tolist()
    folder = os.path.commonpath([os.path.dirname(f) for f in files])
    others = [f for f in dataset.frames["file"].astype(str) if f.startswith(f"{folder}/") and f not in set(files)]
    if others:
        raise InputError(f"expected pictures of one condition in {folder}, got {others[0]} too; sort them into folders")
    return dataset.root / folder


def _spread(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many rows, evenly over all."""
    return rows if len(rows) <= most else rows.iloc[np.linspace(0, len(rows) - 1, most).round().astype(int)]
