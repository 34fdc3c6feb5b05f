"""From records on disk to events: exports of instruments, tables, and folders of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from crystalscope.config import SignalMap
from crystalscope.core import Event, Timeline
from crystalscope.errors import ConfigError
from crystalscope.events import detect_events, flag_freezing, run_events
from crystalscope.io.crystal16 import is_crystal16, read_crystal16, vial_of
from crystalscope.io.signals import read_signals


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
    """Events that the pictures of a run show, see `events.run_events`."""
    return Recording(run_events(folder))
