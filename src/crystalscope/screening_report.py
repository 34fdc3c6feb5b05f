"""Scores of particles, fractions of the impurity, pictures and a page: what `crystalscope impurity score` writes."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crystalscope.core import Figure
from crystalscope.impurity import (
    IMPURITY,
    TARGET,
    Confusion,
    ParticleModel,
    assumed_confusion,
    class_shares,
    detection_limit,
    fractions_by_frame,
)
from crystalscope.io.pictures import write_png
from crystalscope.io.tables import write_csv, write_json
from crystalscope.labelled import confusion_frame
from crystalscope.report.impurity import plot_fractions, plot_scores, write_page
from crystalscope.screening import Described, RunPictures, scored
from crystalscope.screening_pictures import hottest_frames, strangest_particles


def write_scores(
    model: ParticleModel,
    found: Described,
    run: RunPictures | None,
    source: Path,
    out: Path,
    *,
    heat_maps: int = 4,
    montage: int = 32,
    level: float = 0.95,
) -> tuple[list[str], pd.DataFrame | None]:
    """Score described particles and write scores.csv, fractions.csv, shares.json, pictures and impurity.html.

    Parameters
    ----------
    model
        That scores.
    found
        The particles.
    run
        Where they are from; None: crops below `source`, which have no frames.
    source
        The run or the folder of the crops.
    out
        Folder that is written to.
    heat_maps, montage
        Frames and particles that are drawn.
    level
        Of the intervals.

    Returns
    -------
    What was found, in words, and the fractions frame by frame (None: of crops, or the model does not tell its classes
    apart).
    """
    table = scored(found, model)
    write_csv(out / "scores.csv", table)
    called = table["is_impurity"].to_numpy() == 1
    lines = [f"{len(table)} particles in {len(found.files)} frames, {int(called.sum())} called impurity"]
    chance = model.kind == "impurity"
    figures: list[Any] = [
        ("Scores of all particles", lambda: plot_scores(table["score"], model.threshold, probability=chance))
    ]
    fractions = None
    confusion = assumed_confusion(model)
    if confusion is None:
        lines.append("No fractions: the model does not tell its own classes apart")
    else:
        write_csv(out / "confusion.csv", confusion_frame(confusion))
        total = _total(found, called, confusion, out, lines, anomaly=not chance, level=level)
        if run is not None:
            fractions = _by_frame(found, called, confusion, level)
            write_csv(out / "fractions.csv", fractions)
            figures.append(("Frame by frame", lambda: plot_fractions(fractions, total=total)))
    pictures = []
    if montage:
        drawn = strangest_particles(table, run, source, limit=montage)
        write_png(out / "strangest.png", drawn)
        pictures.append(("The strangest particles; framed: called impurity", drawn))
    if heat_maps and run is not None:
        for file, picture in hottest_frames(table, run, model, limit=heat_maps):
            write_png(out / "heat" / f"{Path(file.replace('#', '_')).stem}.png", picture)
            pictures.append((f"{file}: blue normal, yellow at the threshold, red impurity", picture))
    write_page(out / "impurity.html", title="Impurity", lines=lines, figures=figures, pictures=pictures)
    return lines, fractions


def _by_frame(found: Described, called: Any, confusion: Confusion, level: float) -> pd.DataFrame:
    table = found.table
    out = fractions_by_frame(
        called,
        table["frame"],
        confusion,
        area=table["area"],
        volume=_volumes(found),
        frames=len(found.files),
        level=level,
    )
    out.insert(0, "file", list(found.files))
    return out


def _volumes(found: Described) -> Any:
    return np.pi / 6 * found.table["ecd"].to_numpy(dtype=float) ** 3


def _total(
    found: Described, called: Any, confusion: Confusion, out: Path, lines: list[str], *, anomaly: bool, level: float
) -> float:
    """Fractions of all frames and the limit of detection, written and told; the fraction by number."""
    weights = {"area": found.table["area"], "volume": _volumes(found)}
    names = np.where(called, IMPURITY, TARGET)
    shares = class_shares(names, found.table["frame"], confusion, weights=weights, level=level)
    by = {"number": shares.shares[IMPURITY], **{k: v[IMPURITY] for k, v in shares.weighted.items()}}
    if anomaly:
        lines.append("Fractions are at least these: how often an unknown impurity is missed is not known")
    lines += [f"impurity by {k}: {_text(f)}" for k, f in by.items()]
    rates = confusion.rates
    limit = detection_limit(len(called), sensitivity=float(rates[1, 1]), false_rate=float(rates[0, 1]))
    seen = "none, even a pure impurity is not seen" if math.isnan(limit.share) else f"{limit.share:.3%} by number"
    lines.append(
        f"Limit of detection: {seen} in {limit.particles:,} particles of {len(found.files)} frames "
        f"(power {limit.power:.0%}, risk {limit.risk:.1%}); an impurity is there from {limit.least} called so"
    )
    figures = {k: dataclasses.asdict(f) for k, f in by.items()}
    write_json(out / "shares.json", {"n": len(called), **figures, "limit": dataclasses.asdict(limit)})
    return by["number"].value


def _text(f: Figure) -> str:
    return f"{f.value:.3%} [{f.lower:.3%}, {f.upper:.3%}]"
