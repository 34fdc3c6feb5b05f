"""From records on disk to events: exports of instruments, tables, and folders of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from crystalscope.config import SignalMap
from crystalscope.core import Event, Timeline
from crystalscope.errors import ConfigError, ReadError
from crystalscope.events import (
    agglomeration_event,
    detect_events,
    flag_freezing,
    growth_rate_event,
    oiling_out_events,
    presence_events,
    steady_state_event,
)
from crystalscope.io.crystal16 import is_crystal16, read_crystal16, vial_of
from crystalscope.io.signals import read_signals
from crystalscope.io.tables import read_table

SHAPES = ("platelet", "block", "needle", "elongated", "agglomerated")
"""Labels that mean crystals."""


@dataclass(frozen=True, eq=False)
class Recording:
    """A record and what happened in it.

    Parameters
    ----------
    events
        In order of reactors and time.
    timeline
        The signals; None where the events come from pictures.
    notes
        What is to be said of the record.
    """

    events: tuple[Event, ...]
    timeline: Timeline | None = None
    notes: tuple[str, ...] = ()


def read_recording(
    path: Path, *, columns: SignalMap | None = None, contents: Mapping[str, str] | None = None
) -> Recording:
    """Events of a Crystal16 report, of a table of signals, or of the folder of a run.

    Parameters
    ----------
    path
        The file or folder.
    columns
        Map of the columns of a table; None: a Crystal16 report, or a table with columns time_s, temperature_c and
        transmissivity.
    contents
        What is in the reactors, by name, in words (``5.1 mg/ml X in Y``), over what the record says.

    Raises
    ------
    ReadError
        When it is none of them.
    ConfigError
        When `contents` names a reactor that the record does not have.
    """
    if path.is_dir():
        return events_of_run(path)
    if columns is not None or (not is_crystal16(path) and _is_tidy(path)):
        timeline = read_signals(path, columns=columns or SignalMap())
    else:
        timeline = read_crystal16(path)
    for reactor, words in (contents or {}).items():
        if reactor not in timeline.signals:
            raise ConfigError(
                f"expected a reactor of {path.name} ({', '.join(timeline.signals)}) in --concentration, got {reactor!r}"
            )
        given = vial_of(reactor, words)
        if not math.isfinite(given.concentration):
            raise ConfigError(f"expected a concentration such as '5.1 mg/ml', got {words!r} for reactor {reactor}")
        known = timeline.vial(reactor)
        vial = replace(given, solute=given.solute or known.solute, solvent=given.solvent or known.solvent)
        timeline = replace(timeline, vials={**timeline.vials, reactor: vial})
    events = flag_freezing(detect_events(timeline), timeline)
    return Recording(tuple(events), timeline, timeline.notes)


def _is_tidy(path: Path) -> bool:
    try:
        head = path.read_bytes()[:400].decode("utf-8", errors="ignore")
    except OSError:
        return False
    return "time_s" in head and "temperature_c" in head


def events_of_run(folder: Path) -> Recording:
    """Events that the pictures of a run show.

    Parameters
    ----------
    folder
        Written by `crystalscope analyze`; with labels.csv where pictures were labelled.

    Returns
    -------
    Cloud points, induction times and clear points from the label object_present, or from the count of crystals where
    there are no labels; droplets before crystals where they are labelled; growth rate of the longest crystals, steady
    state and agglomeration onset from the particles.

    Raises
    ------
    ReadError
        When the folder is no run, or its pictures have no times or temperatures.
    """
    frames = read_table(folder / "frames.parquet")
    frames = frames[frames["status"].isin(["ok", "empty"])]
    if not np.isfinite(frames["time_s"]).any() or not np.isfinite(frames["temperature_c"]).any():
        raise ReadError(
            f"expected times and temperatures of the pictures in {folder}, got none; analyse them with --time-pattern "
            "and --log"
        )
    labels = folder / "labels.csv"
    thresholds: dict[str, float] = {}
    if labels.exists():
        frames = _with_labels(frames, labels, thresholds)
    column = "object_present" if "object_present" in frames.columns else "n_particles"
    events = presence_events(frames, column=column, threshold=thresholds.get(column, 1.0), experiment=folder.name)
    if "crystals" in frames.columns:
        events += oiling_out_events(frames, crystals="crystals", experiment=folder.name)
    if "agglomerated" in frames.columns:
        events.append(agglomeration_event(frames, column="agglomerated", experiment=folder.name))
    events += _particle_events(folder, frames, events)
    return Recording(tuple(events))


def _with_labels(frames: pd.DataFrame, path: Path, thresholds: dict[str, float]) -> pd.DataFrame:
    """The ledger with confidences, recast so that 0.5 is the threshold in force."""
    table = pd.read_csv(path)
    for name in [c for c in table.columns if f"is_{c}" in table.columns]:
        is_there = table[f"is_{name}"].to_numpy() > 0
        # The decision counts: by the threshold of the label, whatever it is.
        table[name] = np.where(is_there, np.clip(table[name], 0.5, 1), np.clip(table[name], 0, 0.499))
        thresholds[name] = 0.5
    shapes = [c for c in SHAPES if c in table.columns]
    if shapes and "droplets" in table.columns:
        table["crystals"] = table[shapes].max(axis=1)
    keep = [c for c in table.columns if c == "file" or (c not in frames.columns and not c.startswith("is_"))]
    return frames.merge(table[keep], on="file", how="left", validate="one_to_one")


def _particle_events(folder: Path, frames: pd.DataFrame, seen: Sequence[Event]) -> list[Event]:
    """Growth rate, steady state and agglomeration from the particles of a run."""
    path = folder / "particles.parquet"
    if not path.exists():
        return []
    names = read_table(path, where="false").columns
    unit = "um" if "length_um" in names else "px"
    length, size = f"length_{unit}", f"ecd_{unit}"
    crystals = read_table(path, columns=["frame", length, size], where="in_focus AND kind = 'crystal'")
    middle = crystals.groupby("frame")[size].median()
    frames = frames.assign(**{f"median_{size}": frames["frame"].map(middle)})
    out = [steady_state_event(frames, size=f"median_{size}", count="n_particles", experiment=folder.name)]
    came = [e for e in seen if e.kind in ("cloud", "induction") and e.status == "reached"]
    for event in came:
        gone = [e.lower_s for e in seen if e.kind == "clear" and e.status == "reached" and e.time_s > event.time_s]
        heated = frames.loc[frames["time_s"] > event.time_s]
        warm = heated.loc[heated["temperature_c"] > heated["temperature_c"].cummin() + 1.0, "time_s"]
        ends = [*gone, *warm.head(1).tolist(), float(frames["time_s"].max())]
        if min(ends) > event.lower_s:
            rate = growth_rate_event(crystals, frames, size=length, start_s=event.lower_s, end_s=min(ends))
            out.append(replace(rate, experiment=folder.name, cycle=event.cycle))
    return out
