"""Events of a run of pictures from its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core import Event
from crystalscope.errors import ReadError
from crystalscope.events.growth import growth_rate_event
from crystalscope.events.pictures import (
    agglomeration_event,
    fouling_event,
    oiling_out_events,
    presence_events,
    steady_state_event,
)
from crystalscope.io.tables import read_table

Array = NDArray[np.float64]

SHAPES = ("platelet", "block", "needle", "elongated", "agglomerated")
"""Labels that mean crystals."""


def run_events(folder: Path, *, experiment: str | None = None) -> tuple[Event, ...]:
    """Events that the pictures of a run show.

    Parameters
    ----------
    folder
        Written by `crystalscope analyze` or `crystalscope label`: frames.parquet; labels.csv where pictures were
        labelled; particles.parquet where they were segmented.
    experiment
        Name for the events; None: that of the folder.

    Returns
    -------
    Cloud points, induction times and clear points from the label object_present, or from the count of crystals where
    there are no labels; droplets before crystals where they are labelled; growth rate of the longest crystals, steady
    state, agglomeration onset and fouling from the particles.

    Raises
    ------
    ReadError
        When the folder is no run, or its pictures have no times or temperatures.
    """
    name = folder.name if experiment is None else experiment
    frames = read_table(folder / "frames.parquet")
    frames = frames[frames["status"].isin(["ok", "empty"])]
    if not has_clock(frames):
        raise ReadError(
            f"expected times and temperatures of the pictures in {folder}, got none; analyse them with --time-pattern "
            "and --log"
        )
    labels = folder / "labels.csv"
    thresholds: dict[str, float] = {}
    if labels.exists():
        frames = _with_labels(frames, labels, thresholds)
        frames = _with_neighbours(_without_gas(frames), _crystals_seen(folder, frames))
    column = "object_present" if thresholds else "n_particles"
    events = presence_events(frames, column=column, threshold=thresholds.get(column, 1.0), experiment=name)
    if "crystals" in frames.columns and np.isfinite(frames["droplets"]).any():
        events += oiling_out_events(frames, crystals="crystals", experiment=name)
    if thresholds and np.isfinite(frames["agglomerated"]).any():
        events.append(agglomeration_event(frames, column="agglomerated", experiment=name))
    if "window_coverage" in frames.columns and np.isfinite(frames["window_coverage"]).any():
        events.append(fouling_event(frames, column="window_coverage", experiment=name))
    return (*events, *_particle_events(folder, frames, events, name))


def has_clock(frames: pd.DataFrame) -> bool:
    """Whether frames have times and temperatures."""
    return bool((np.isfinite(frames["time_s"]) & np.isfinite(frames["temperature_c"])).any())


def _with_labels(frames: pd.DataFrame, path: Path, thresholds: dict[str, float]) -> pd.DataFrame:
    """The ledger with confidences, recast so that 0.5 is the threshold in force."""
    table = pd.read_csv(path)
    names = [c for c in table.columns if f"is_{c}" in table.columns]
    if "file" not in table.columns or "object_present" not in names:
        raise ReadError(
            f"expected file, object_present and is_object_present in {path}, got {', '.join(table.columns)}; write it "
            "anew by crystalscope label"
        )
    both = [c for c in ("block", "platelet") if c in names]
    # An outline tells that it is one of the two, not which.
    compact = table[both].sum(axis=1).clip(upper=1.0) if len(both) == 2 else None
    for name in names:
        is_there = table[f"is_{name}"].to_numpy() > 0
        # The decision counts: by the threshold of the label, whatever it is.
        table[name] = np.where(is_there, np.clip(table[name], 0.5, 1), np.clip(table[name], 0, 0.499))
        thresholds[name] = 0.5
    shapes = [c for c in SHAPES if c in table.columns]
    if shapes and "droplets" in table.columns:
        table["crystals"] = table[shapes].max(axis=1)
        if compact is not None:
            table["crystals"] = np.fmax(table["crystals"], compact)
    if "agglomerated" not in names:
        table["agglomerated"] = np.nan
    kept = frames.drop(columns=[c for c in names if c in frames.columns])
    keep = [c for c in table.columns if c == "file" or (c not in kept.columns and not c.startswith("is_"))]
    return kept.merge(table[keep], on="file", how="left", validate="one_to_one")


_PERHAPS_GAS = 0.25
"""Confidence of gas, recast so that 0.5 is the threshold."""
_REACH = 3
"""Pictures before and after a labelled one in which particles count as well."""


def _without_gas(frames: pd.DataFrame) -> pd.DataFrame:
    """The ledger without objects where gas is all that is seen: bubbles are no event."""
    if "crystals" not in frames.columns or "bubble" not in frames.columns:
        return frames
    rest = frames[["crystals", "droplets"]].max(axis=1)
    # What is no crystal and no liquid for certain, but looks more like gas than like either.
    alone = ~(rest >= 0.5) & (frames["bubble"] >= _PERHAPS_GAS) & (frames["bubble"] > rest)
    present = np.where(alone, np.minimum(frames["object_present"], 0.499), frames["object_present"])
    return frames.assign(object_present=present)


def _crystals_seen(folder: Path, frames: pd.DataFrame) -> Array | None:
    """Crystals among the particles of each picture; None where there are no particles."""
    path = folder / "particles.parquet"
    if not path.exists():
        return None
    kinds = read_table(path, columns=["frame"], where="in_focus AND kind IN ('crystal', 'agglomerate')")
    counts = frames["frame"].map(kinds["frame"].value_counts()).fillna(0)
    return np.asarray(counts, dtype=np.float64)


def _with_neighbours(frames: pd.DataFrame, crystals: Array | None) -> pd.DataFrame:
    """The ledger with objects present also right before and after labelled pictures, as long as crystals are seen.

    The label asks for network and particles to agree. The smallest crystals, the first and the last ones, are seen by
    particles alone, as more of them than lie in pictures without any label; what particles alone see far from any
    labelled picture is a ghost.
    """
    if crystals is None:
        return frames
    there = frames["object_present"].to_numpy(dtype=float) >= 0.5
    seen = there | (crystals > _specks(frames, crystals, there))
    for _ in range(_REACH):
        there = there | (_beside(there) & seen)
    raised = np.where(there, np.fmax(frames["object_present"], 0.5), frames["object_present"])
    return frames.assign(object_present=raised)


def _beside(there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pictures before and after."""
    out = np.zeros_like(there)
    out[:-1] |= there[1:]
    out[1:] |= there[:-1]
    return out


def _specks(frames: pd.DataFrame, crystals: Array, there: NDArray[np.bool_]) -> float:
    """Particles of which there is no sign in the labels: specks and ghosts that every picture of a window has."""
    near = there
    for _ in range(_REACH):
        near = near | _beside(near)
    # Small bubbles pass for crystals.
    calm = ~(frames["bubble"].to_numpy(dtype=float) >= 0.5) if "bubble" in frames.columns else np.ones_like(there)
    for empty in (~near & calm, ~there & calm):
        if empty.sum() >= 5:
            return float(np.quantile(crystals[empty], 0.9))
    return 0.0


def _particle_events(folder: Path, frames: pd.DataFrame, seen: Sequence[Event], experiment: str) -> list[Event]:
    """Growth rate and steady state from the particles of a run."""
    path = folder / "particles.parquet"
    if not path.exists():
        return []
    names = read_table(path, where="false").columns
    unit = "um" if "length_um" in names else "px"
    length, size = f"length_{unit}", f"ecd_{unit}"
    crystals = read_table(path, columns=["frame", length, size], where="in_focus AND kind = 'crystal'")
    middle = crystals.groupby("frame")[size].median()
    frames = frames.assign(**{f"median_{size}": frames["frame"].map(middle)})
    out = [steady_state_event(frames, size=f"median_{size}", count="n_particles", experiment=experiment)]
    came = [e for e in seen if e.kind in ("cloud", "induction") and e.status == "reached"]
    for event in came:
        gone = [e.lower_s for e in seen if e.kind == "clear" and e.status == "reached" and e.time_s > event.time_s]
        heated = frames.loc[frames["time_s"] > event.time_s]
        warm = heated.loc[heated["temperature_c"] > heated["temperature_c"].cummin() + 1.0, "time_s"]
        ends = [*gone, *warm.head(1).tolist(), float(frames["time_s"].max())]
        if min(ends) > event.lower_s:
            rate = growth_rate_event(crystals, frames, size=length, start_s=event.lower_s, end_s=min(ends))
            out.append(replace(rate, experiment=experiment, cycle=event.cycle))
    return out
