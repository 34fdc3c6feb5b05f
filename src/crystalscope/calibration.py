"""Calibration of sizes from paths: what `crystalscope size calibrate` and `size apply` do."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crystalscope.chording import read_sizes
from crystalscope.core import SizeDistribution
from crystalscope.errors import InputError, ReadError
from crystalscope.io.tables import read_table, to_toml, write_text
from crystalscope.size import border_weights, make_distribution
from crystalscope.size.calibrate import SHARES, Calibration, HeldBack, Sample, offline_quantiles, uncalibrated_errors

CAMPAIGN_COLUMNS = ("run", "batch", "loading", "offline")
"""Columns of a campaign, paths relative to its folder; ``table`` names a distribution where a file holds several."""


def read_campaign(path: Path, *, definition: str = "length") -> list[Sample]:
    """Samples of a campaign: runs at several loadings, each with the offline distribution of its batch.

    Parameters
    ----------
    path
        CSV with `CAMPAIGN_COLUMNS`.
    definition
        Size of the particles: length, ecd, feret_max …

    Raises
    ------
    ReadError
        When the file is no campaign, or a run or table cannot be read.
    InputError
        When the offline sizes are of another definition, or a run has no scale.
    """
    try:
        table = pd.read_csv(path, dtype={"run": str, "batch": str, "offline": str})
    except (OSError, ValueError) as e:
        raise ReadError(f"expected a CSV with {', '.join(CAMPAIGN_COLUMNS)} in {path}: {e}") from e
    missing = [c for c in CAMPAIGN_COLUMNS if c not in table]
    if missing or table.empty:
        raise ReadError(
            f"expected columns {', '.join(CAMPAIGN_COLUMNS)} and rows in {path.name}, got {', '.join(table.columns)}"
        )
    out = []
    for row in table.to_dict("records"):
        name = row.get("table")
        offline = read_sizes(
            path.parent / row["offline"], name=None if pd.isna(name) else str(name), definition=definition
        )
        size, weight, gates = read_particles(path.parent / row["run"], definition=definition)
        out.append(Sample(str(row["batch"]), float(row["loading"]), size, weight, gates, offline))
    return out


def read_particles(run: Path, *, definition: str) -> tuple[Any, Any, dict[str, Any]]:
    """Sizes in um, border weights and gate values of the crystals of a run, those of low score too.

    Raises
    ------
    ReadError
        When it is no run.
    InputError
        When the run has no scale.
    """
    file = run / "particles.parquet"
    if not file.exists():
        raise ReadError(f"expected the folder of a run, got {run} without particles.parquet; run analyze first")
    columns = ["score", "solidity", "length_to_width", "border_weight", "touches_border", f"{definition}_um"]
    try:
        found = read_table(file, columns=columns, where="in_focus AND kind IN ('crystal', 'agglomerate')")
    except ReadError as e:
        raise InputError(
            f"expected {definition} in um in {run}, got a run without a scale or that size; analyse with --scale"
        ) from e
    weight = border_weights(
        found["touches_border"].to_numpy(dtype=bool),
        found["border_weight"].to_numpy(dtype=float),
        method="miles-lantuejoul",
    )
    keep = weight > 0
    if not keep.any():
        raise InputError(
            f"expected whole particles in {run}, got {len(found)} that touch the edge of their picture; sizes of cut "
            "ones are not known: take a larger field of view"
        )
    gates = {c: found[c].to_numpy(dtype=float)[keep] for c in ("score", "solidity", "length_to_width")}
    return found[f"{definition}_um"].to_numpy(dtype=float)[keep], weight[keep], gates


def write_calibration(path: Path, calibration: Calibration, *, definition: str) -> Path:
    """Write a calibration as TOML."""
    data = {
        "definition": definition,
        "by": calibration.by,
        "offset": calibration.offset,
        "slope": calibration.slope,
        "low": calibration.low,
        "high": calibration.high,
        "gates": {k: list(v) for k, v in calibration.gates.items()},
    }
    return write_text(path, to_toml(data))


def load_calibration(path: Path) -> tuple[Calibration, str]:
    """Read a calibration and the size definition that it is for.

    Raises
    ------
    ReadError
        When the file is no calibration.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        gates = {str(k): (float(v[0]), float(v[1])) for k, v in data.get("gates", {}).items()}
        numbers = {k: float(data[k]) for k in ("offset", "slope", "low", "high")}
        return Calibration(str(data["by"]), gates, **numbers), str(data["definition"])
    except (OSError, KeyError, TypeError, ValueError, IndexError) as e:
        raise ReadError(f"expected a calibration of `size calibrate` in {path}, got: {e}; calibrate anew") from e


def apply_calibration(run: Path, calibration: Calibration, *, definition: str, loading: float) -> SizeDistribution:
    """Sizes of a run as the offline instrument would give them.

    Raises
    ------
    InputError
        When the loading lies outside of those calibrated (by more than a quarter of their range), or no particle
        passes the gates.
    """
    reach = 0.25 * (calibration.high - calibration.low)
    if not calibration.low - reach <= loading <= calibration.high + reach:
        raise InputError(
            f"expected a loading near {calibration.low:g} to {calibration.high:g}, got {loading:g}; calibrate there too"
        )
    size, weight, gates = read_particles(run, definition=definition)
    keep = calibration.keep(gates, loading)
    if not keep.any():
        raise InputError(f"expected particles that pass the gates at {loading:g}, got none of {len(size)} in {run}")
    x = size[keep] * calibration.factor(loading)
    return make_distribution(x, x**3, weight=weight[keep], definition=definition, correction="calibrated")


def held_back_table(held: tuple[HeldBack, ...], by: str) -> pd.DataFrame:
    """Rows for every sample held back and share: batch, loading, share, offline, measured_error, calibrated_error."""
    rows = []
    for h in held:
        before, after = uncalibrated_errors(h.samples, by), h.errors()
        for i, s in enumerate(h.samples):
            truth = offline_quantiles(s, by)
            rows += [(s.batch, s.loading, share, truth[j], before[i, j], after[i, j]) for j, share in enumerate(SHARES)]
    columns = ["batch", "loading", "share", "offline_um", "measured_error", "calibrated_error"]
    return pd.DataFrame(rows, columns=columns)


def worst(table: pd.DataFrame) -> tuple[float, float]:
    """Largest absolute error of D50 of any batch at any loading: as measured and calibrated."""
    most = table.loc[np.isclose(table["share"], 0.5), ["measured_error", "calibrated_error"]].abs().max()
    return float(most["measured_error"]), float(most["calibrated_error"])
