"""Particles of finished runs, for what is computed from them later."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from crystalscope.core import Figure, Unit
from crystalscope.errors import InputError, ReadError
from crystalscope.impurity import Confusion, class_shares
from crystalscope.io.tables import read_table
from crystalscope.segment.kinds import kinds_in_use
from crystalscope.weights import weights_path

_CRYSTALS = "in_focus AND kind IN ('crystal', 'agglomerate')"


def whole_particles(run: Path, lengths: Sequence[str], others: Sequence[str] = ()) -> tuple[pd.DataFrame, Unit]:
    """Crystals in focus that do not touch the edge of their picture.

    Parameters
    ----------
    run
        Folder of a run.
    lengths
        Columns with a unit, by their names without it.
    others
        Further columns.

    Returns
    -------
    table
        Columns frame, border_weight, `lengths` without their unit, and `others`.
    unit
        um or px.

    Raises
    ------
    ReadError
        When it is no run.
    InputError
        When no particle is whole: with the number of those that the edge cuts.
    """
    unit = _unit(run)
    named = {f"{c}_{unit}": c for c in lengths}
    columns = ["frame", "border_weight", "touches_border", *named, *others]
    table = read_table(run / "particles.parquet", columns=columns, where=_CRYSTALS)
    whole = ~table["touches_border"].to_numpy(dtype=bool) & np.isfinite(table["border_weight"].to_numpy(dtype=float))
    if not whole.any():
        raise InputError(
            f"expected whole particles in {run}, got {len(whole)} that all touch the edge "
            "of their picture; those are longer than is seen: take a larger field of view"
        )
    return table[whole].drop(columns="touches_border").rename(columns=named).reset_index(drop=True), unit


def agglomeration_table(run: Path) -> tuple[pd.DataFrame, int, Unit]:
    """Columns that `size.agglomeration` needs, with frames that were looked at numbered from 0; their number; the unit.

    Raises
    ------
    ReadError
        When it is no run.
    """
    unit = _unit(run)
    columns = ["frame", "kind", "in_focus", "agglomerate", "focus", "border_weight", f"area_{unit}2", f"ecd_{unit}"]
    table = read_table(run / "particles.parquet", columns=columns, where=_CRYSTALS)
    number, n = looked_at(run)
    return table.assign(frame=number[table["frame"].to_numpy(dtype=np.int64)]), n, unit


SINGLE, AGGLOMERATE = "single", "agglomerate"


def agglomeration_confusion(run: Path) -> Confusion | None:
    """How often the network that a run was made with takes single crystals and agglomerates for each other.

    Known from rendered pictures; None where the run was made otherwise or does not say how, or by weights whose card
    does not say.
    """
    file = run / "run.toml"
    if not file.exists():
        return None
    settings = tomllib.loads(file.read_text(encoding="utf-8")).get("config", {})
    if settings.get("segmenter") != "crystals":
        return None
    weights = weights_path(settings.get("crystals", {}).get("weights", "crystals"))
    counts = json.loads(kinds_in_use(weights).with_suffix(".json").read_text(encoding="utf-8")).get("agglomeration")
    if counts is None:
        return None
    names = (SINGLE, AGGLOMERATE)
    return Confusion(names, np.array([[counts[t][c] for c in names] for t in names]))


def corrected_agglomeration(bodies: pd.DataFrame, confusion: Confusion, *, level: float = 0.95) -> dict[str, Figure]:
    """Degree of agglomeration with the errors of what tells agglomerates from single crystals taken out.

    Parameters
    ----------
    bodies
        Of `size.agglomeration.Agglomeration`.
    confusion
        Of the classes single and agglomerate.
    level
        Of the intervals.

    Returns
    -------
    by_number, and by_area (errors taken to be alike at all sizes); see `impurity.class_shares`.

    Raises
    ------
    InputError
        When there is no body, or the confusion has other classes.
    """
    confusion.index(AGGLOMERATE)
    called = np.where(bodies["agglomerate"].to_numpy(dtype=bool), AGGLOMERATE, SINGLE)
    weight, area = (bodies[c].to_numpy(dtype=float) for c in ("weight", "area"))
    # As the degree itself: bodies weigh by the chance that they lie whole in the picture.
    weights = {"by_number": weight, "by_area": weight * area}
    found = class_shares(called, bodies["frame"], confusion, weights=weights, level=level)
    return {name: shares[AGGLOMERATE] for name, shares in found.weighted.items()}


def looked_at(run: Path) -> tuple[np.ndarray, int]:
    """Number of every frame among those that were looked at (not rejected or failed), and how many these are."""
    status = read_table(run / "frames.parquet", columns=["frame", "status"]).sort_values("frame")["status"]
    good = status.isin(["ok", "empty"]).to_numpy()
    return np.cumsum(good) - 1, int(good.sum())


def _unit(run: Path) -> Unit:
    if not (run / "particles.parquet").exists() or not (run / "frames.parquet").exists():
        raise ReadError(f"expected the folder of a run, got {run} without particles.parquet; run analyze first")
    scales = read_table(run / "frames.parquet", columns=["pixel_size_um"])["pixel_size_um"]
    return "um" if scales.notna().any() else "px"
