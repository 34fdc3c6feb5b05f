"""Events from what pictures show: presence, droplets before crystals, steady state, agglomeration, fouling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core import Event, EventKind, Timeline, Vial
from crystalscope.errors import InputError
from crystalscope.events.changes import comes_to_rest, lasting_rise
from crystalscope.events.detect import detect_events
from crystalscope.events.series import Onset

Array = NDArray[np.float64]

_EITHER = "droplets or crystals"
_APPEARING = ("cloud", "induction")
_REACH_PICTURES, _FAR_S = 2.5, 600.0
"""How far before the change of the running median two pictures in a row may begin, and the longest move of an event."""


class _Common(TypedDict):
    threshold: float
    experiment: str
    vial: Vial | None


def presence_events(
    frames: pd.DataFrame, *, column: str, threshold: float, experiment: str = "", vial: Vial | None = None
) -> list[Event]:
    """Clear points, cloud points and induction times from a confidence or a count per picture.

    Parameters
    ----------
    frames
        One row per picture: time_s, temperature_c, file, and `column`. Rows without time or temperature are left out.
    column
        Confidence of a label such as object_present, share of the field, or count of particles.
    threshold
        At or above it something is there: the threshold of the label; 1 for a count of crystals.
    experiment
        Name for the events.
    vial
        What the pictures look into.

    Returns
    -------
    As `detect_events`; ``file`` is the picture that shows the event first (for a clear point the first without
    crystals).

    Raises
    ------
    InputError
        When a column is missing, or no row has time and temperature.

    Notes
    -----
    The detector of transmissivities on a signal of 100 (nothing there) and 0; a running median over at least three
    pictures, so that one false frame decides nothing. What is there has come with the first of two pictures in a row
    that show it, and is gone after the last of two. The interval is that between two pictures.
    """
    content = vial or Vial("")
    timeline, files = _timeline(frames, column, threshold, experiment, content)
    there = np.asarray(timeline.signals[content.name]) < 50
    found = (_at_pictures(e, timeline, there) for e in detect_events(timeline, signal=column))
    return [_with_file(e, timeline.time_s, files) for e in found]


def _at_pictures(event: Event, timeline: Timeline, there: NDArray[np.bool_]) -> Event:
    """An event between two pictures: a signal of two levels has no shape from which to extrapolate."""
    if event.status != "reached" or there.size < 3:
        return event
    time, both = timeline.time_s, np.flatnonzero(there[:-1] & there[1:])
    if event.kind == "clear":
        earlier = both[time[both] < event.upper_s + _REACH_PICTURES * np.median(np.diff(time))]
        first = int(earlier[-1]) + 1 if earlier.size else -1
    else:
        later = both[time[both] > event.lower_s - _REACH_PICTURES * np.median(np.diff(time))]
        first = int(later[0]) - 1 if later.size else -1
    if not 0 <= first < time.size - 1 or abs(time[first] - event.time_s) > _FAR_S:
        return event
    lower, upper = float(time[first]), float(time[first + 1])
    middle = 0.5 * (lower + upper)
    degrees = timeline.temperature_c[first : first + 2]
    moved = replace(
        event, time_s=middle, lower_s=lower, upper_s=upper, seen_s=upper, temperature_c=float(degrees.mean()),
        lower_c=float(degrees.min()), upper_c=float(degrees.max()),
    )  # fmt: skip
    return replace(moved, value=event.value + middle - event.time_s) if event.kind == "induction" else moved


def _timeline(
    frames: pd.DataFrame, column: str, threshold: float, experiment: str, vial: Vial
) -> tuple[Timeline, list[str]]:
    _need(frames, "time_s", "temperature_c", column)
    rows = frames[np.isfinite(frames["time_s"]) & np.isfinite(frames["temperature_c"])]
    if rows.empty:
        raise InputError("expected pictures with time and temperature, got none; give times and a temperature log")
    rows = rows.sort_values("time_s", kind="stable").drop_duplicates("time_s", keep="last")
    values = rows[column].to_numpy(dtype=float)
    signal = np.where(np.isfinite(values), np.where(values >= threshold, 0.0, 100.0), math.nan)
    files = rows["file"].astype(str).tolist() if "file" in rows.columns else [""] * len(rows)
    timeline = Timeline(
        rows["time_s"].to_numpy(dtype=float),
        rows["temperature_c"].to_numpy(dtype=float),
        {vial.name: signal},
        vials={vial.name: vial},
        experiment=experiment,
    )
    return timeline, files


def oiling_out_events(
    frames: pd.DataFrame,
    *,
    droplets: str = "droplets",
    crystals: str,
    threshold: float = 0.5,
    experiment: str = "",
    vial: Vial | None = None,
) -> list[Event]:
    """Droplets before crystals, cycle by cycle.

    Parameters
    ----------
    frames
        As for `presence_events`, with the columns `droplets` and `crystals`.
    droplets, crystals
        Columns: confidence that droplets, and that crystals of any kind, are there.
    threshold
        Of both.
    experiment, vial
        As for `presence_events`; the concentration is the value of the events.

    Returns
    -------
    One oiling_out for every cooling and every hold after one on which something could come: reached where what comes
    first is droplets in at least half of the pictures until crystals are there, and crystals come later by more than
    the interval; else not_reached, or censored.
    """
    _need(frames, "time_s", droplets, crystals)
    # Droplets that turn into crystals are gone soon: what must last is that anything is there.
    either = frames.assign(**{_EITHER: frames[[droplets, crystals]].max(axis=1)})
    common: _Common = {"threshold": threshold, "experiment": experiment, "vial": vial}
    anything = presence_events(either, column=_EITHER, **common)
    solid = presence_events(either, column=crystals, **common)
    content = vial or Vial("")
    out = []
    for first, crystal in zip(anything, solid, strict=True):
        if first.kind not in ("cloud", "induction"):
            continue
        event = replace(first, kind="oiling_out", signal=droplets, value=content.concentration, unit=content.unit)
        if first.status == "reached":
            later = [e for e in solid if e.status == "reached" and e.kind in _APPEARING and e.time_s >= first.lower_s]
            end = min((e.lower_s for e in later), default=math.inf)
            between = (frames["time_s"] >= first.upper_s) & (frames["time_s"] <= end)
            liquid = (frames.loc[between, droplets] >= threshold).mean()
            apart = not (crystal.status == "reached" and crystal.lower_s < first.upper_s)
            if not (apart and liquid >= 0.5):
                event = _cleared(event)
        out.append(event)
    return out


def steady_state_event(frames: pd.DataFrame, *, size: str, count: str, experiment: str = "") -> Event:
    """When size and count stop changing.

    Parameters
    ----------
    frames
        One row per picture or per window of pictures: time_s, and the columns `size` and `count`.
    size, count
        Columns, such as a running median size in um, and particles per picture.
    experiment
        Name for the event.

    Returns
    -------
    steady_state: reached, or not_reached while one of them still changes in the last quarter, or where nothing changed.
    """
    _need(frames, "time_s", size, count)
    onset = comes_to_rest(
        frames["time_s"].to_numpy(dtype=float),
        [frames[size].to_numpy(dtype=float), np.sqrt(frames[count].to_numpy(dtype=float))],
    )
    return _event("steady_state", frames, onset, signal=f"{size}, {count}", experiment=experiment)


def agglomeration_event(frames: pd.DataFrame, *, column: str, least: float = 0.1, experiment: str = "") -> Event:
    """When agglomeration sets in.

    Parameters
    ----------
    frames
        time_s and `column`.
    column
        Confidence of the label agglomerated, or the share of crystals that belong to agglomerates.
    least
        Smallest lasting rise above the start that counts.
    experiment
        Name for the event.
    """
    _need(frames, "time_s", column)
    t, y = frames["time_s"].to_numpy(dtype=float), frames[column].to_numpy(dtype=float)
    return _event("agglomeration", frames, lasting_rise(t, y, least=least), signal=column, experiment=experiment)


def fouling_event(frames: pd.DataFrame, *, column: str, least: float = 0.01, experiment: str = "") -> Event:
    """When the window begins to foul, and the fouling index at the end.

    Parameters
    ----------
    frames
        time_s and `column`.
    column
        Share of the field covered by what stays in its place from picture to picture (deposits).
    least
        Smallest lasting coverage above the start that counts.
    experiment
        Name for the event.

    Returns
    -------
    fouling; ``value`` is the index: the median coverage of the last tenth less that at the start (lower quartile of the
    first fifth), share of the field, whether reached or not.
    """
    _need(frames, "time_s", column)
    t, y = frames["time_s"].to_numpy(dtype=float), frames[column].to_numpy(dtype=float)
    event = _event("fouling", frames, lasting_rise(t, y, least=least), signal=column, experiment=experiment)
    good = y[np.isfinite(y)]
    if good.size < 10:
        return event
    index = float(np.median(good[-max(1, good.size // 10) :]) - np.quantile(good[: max(5, good.size // 5)], 0.25))
    return replace(event, value=max(index, 0.0), unit="share of the field")


def picture_lead(pictures: Sequence[Event], signal: Sequence[Event]) -> pd.DataFrame:
    """How much earlier pictures see crystals than another signal does.

    Parameters
    ----------
    pictures, signal
        Events of the same experiments, cycles and clock.

    Returns
    -------
    One row for every cloud point or induction time that both reached: experiment, reactor, cycle, kind, picture_s,
    signal_s (when each first showed it beyond its noise), lead_s (above 0: the picture is earlier), and
    picture_onset_s, signal_onset_s, the change points: from a slow fall the onset is extrapolated to
    before anything could be seen.
    """
    kinds = ("cloud", "induction")
    others = {(e.experiment, e.cycle): e for e in reversed(signal) if e.kind in kinds and e.status == "reached"}
    rows = []
    for e in pictures:
        other = others.get((e.experiment, e.cycle))
        if e.kind not in kinds or e.status != "reached" or other is None:
            continue
        rows.append(
            {
                "experiment": e.experiment,
                "reactor": other.reactor,
                "cycle": e.cycle,
                "kind": e.kind,
                "picture_s": e.seen_s,
                "signal_s": other.seen_s,
                "lead_s": other.seen_s - e.seen_s,
                "picture_onset_s": e.time_s,
                "signal_onset_s": other.time_s,
            }
        )
    names = [
        "experiment",
        "reactor",
        "cycle",
        "kind",
        "picture_s",
        "signal_s",
        "lead_s",
        "picture_onset_s",
        "signal_onset_s",
    ]
    return pd.DataFrame(rows, columns=names)


def _need(frames: pd.DataFrame, *columns: str) -> None:
    missing = [c for c in columns if c not in frames.columns]
    if missing:
        raise InputError(f"expected columns {', '.join(columns)} of pictures, missing: {', '.join(missing)}")


def _event(kind: EventKind, frames: pd.DataFrame, onset: Onset | None, *, signal: str, experiment: str) -> Event:
    event = Event(kind, "not_reached", experiment=experiment, signal=signal)
    times = frames["time_s"].to_numpy(dtype=float)
    if onset is None:
        return replace(event, lower_s=float(np.nanmax(times, initial=-math.inf))) if times.size else event
    degrees = math.nan
    if "temperature_c" in frames.columns:
        degrees = float(np.interp(onset.time_s, times, frames["temperature_c"].to_numpy(dtype=float)))
    files = frames["file"].astype(str).tolist() if "file" in frames.columns else [""] * len(frames)
    reached = replace(
        event,
        status="reached",
        time_s=onset.time_s,
        lower_s=onset.lower_s,
        upper_s=onset.upper_s,
        temperature_c=degrees,
    )
    return _with_file(reached, times, files)


def _with_file(event: Event, times: Array, files: Sequence[str]) -> Event:
    if event.status != "reached":
        return event
    first = min(int(np.searchsorted(times, event.upper_s)), len(files) - 1)
    return replace(event, file=files[first])


def _cleared(event: Event) -> Event:
    """Without what belongs to an event that was reached."""
    nothing = math.nan
    return replace(
        event, status="not_reached", time_s=nothing, upper_s=nothing, temperature_c=nothing, lower_c=nothing,
        upper_c=nothing, file="",
    )  # fmt: skip
