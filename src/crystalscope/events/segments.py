"""The temperature programme, cut into heating, cooling and holds; tuning is recognised and left out."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crystalscope.core import ProgrammeStep, Segment, SegmentKind, Timeline
from crystalscope.events.series import running_median

Array = NDArray[np.float64]

_CORNER_C = 0.25
_SMOOTH_S = 60.0
_LEAST_RAMP_C = 1.0
_SHORT_REST_S = 120.0
_LEAST_RATE = 0.02
"""deg C/min below which a stretch is a hold."""


def cut_programme(timeline: Timeline) -> tuple[Segment, ...]:
    """Cut a record into segments.

    Parameters
    ----------
    timeline
        With the demanded temperature where it was recorded; else the measured one is cut.

    Returns
    -------
    Segments that follow each other without a gap. What lies before the end of the hold after a tuning step is
    ``tuning``. A cycle begins with each cooling; 0 is before the first, and
    while the vials are only brought to where the programme begins.

    Notes
    -----
    Corners are the vertices of the polygon that follows the temperature within 0.25 deg C (Ramer, Comput. Graph. Image
    Process. 1 (1972) 244; Douglas and Peucker, Cartographica 10 (1973) 112), 4 standard deviations of a noisier
    measurement. Stretches that change by less than 1 deg C, or slower than 0.02 deg C/min, are holds. A corner is known
    to about 0.25 deg C over the rate.
    """
    demanded = timeline.setpoint_c
    degrees = timeline.temperature_c if demanded is None or not np.isfinite(demanded).all() else demanded
    time = timeline.time_s
    if len(time) < 2:
        return ()
    width = int(np.clip(2 * round(_SMOOTH_S / float(np.median(np.diff(time))) / 2) + 1, 1, 121))
    noise = _noise(degrees)
    smooth = running_median(degrees, width) if noise > 0 else degrees
    tolerance = max(_CORNER_C, 4 * noise / math.sqrt(width))
    corners = _fewer(time, smooth, _corners(time, smooth, tolerance), 1.6 * tolerance)
    parts = [_part(time, smooth, a, b, 2 * tolerance) for a, b in itertools.pairwise(corners)]
    return _numbered(_mark_tuning(_merged(parts), timeline.programme))


def hold_reached_s(timeline: Timeline, hold: Segment) -> float:
    """When the measured temperature first came within 0.3 deg C of that of a hold, s; the end of the hold if never."""
    inside = np.flatnonzero((timeline.time_s >= hold.start_s) & (timeline.time_s <= hold.end_s))
    if not inside.size:
        return hold.start_s
    degrees = timeline.temperature_c[inside]
    settled = float(np.median(degrees[inside.size // 2 :]))
    near = np.flatnonzero(np.abs(degrees - settled) <= 0.3)
    return float(timeline.time_s[inside[near[0]]]) if near.size else hold.end_s


def programme_s(steps: tuple[ProgrammeStep, ...]) -> float:
    """Shortest time that a programme takes, s: its holds, and its ramps after the first."""
    total, last = 0.0, math.nan
    for step in steps:
        if step.kind == "hold" and math.isfinite(step.duration_s):
            total += step.duration_s
        if step.kind in ("heat", "cool"):
            if math.isfinite(last) and step.rate_c_per_min > 0:
                total += 60 * abs(step.temperature_c - last) / step.rate_c_per_min
            last = step.temperature_c
    return total


def cut_short(timeline: Timeline) -> bool:
    """Whether the record ends more than a minute and 1 % before its programme does."""
    needed = programme_s(timeline.programme)
    return float(timeline.time_s[-1]) < 0.99 * needed - 60


def _noise(degrees: Array) -> float:
    """Standard deviation of the measurement from second differences, deg C."""
    if len(degrees) < 5:
        return 0.0
    second = degrees[2:] - 2 * degrees[1:-1] + degrees[:-2]
    return float(1.4826 * np.median(np.abs(second)) / math.sqrt(6))


def _fewer(time: Array, degrees: Array, corners: list[int], tolerance: float) -> list[int]:
    """Corners without those that a straight line through their neighbours can do without, the least needed first."""

    def bend(k: int) -> float:
        a, b = out[k - 1], out[k + 1]
        line = degrees[a] + (degrees[b] - degrees[a]) * (time[a : b + 1] - time[a]) / (time[b] - time[a])
        return float(np.max(np.abs(degrees[a : b + 1] - line)))

    out = list(corners)
    while len(out) > 2:
        bends = [bend(k) for k in range(1, len(out) - 1)]
        k = int(np.argmin(bends))
        if bends[k] > tolerance:
            break
        del out[k + 1]
    return out


def _corners(time: Array, degrees: Array, tolerance: float) -> list[int]:
    keep = {0, len(time) - 1}
    stack = [(0, len(time) - 1)]
    while stack:
        a, b = stack.pop()
        if b - a < 2:
            continue
        line = degrees[a] + (degrees[b] - degrees[a]) * (time[a : b + 1] - time[a]) / (time[b] - time[a])
        gap = np.abs(degrees[a : b + 1] - line)
        k = int(np.argmax(gap))
        if gap[k] > tolerance:
            keep.add(a + k)
            stack += [(a, a + k), (a + k, b)]
    return sorted(keep)


@dataclass(frozen=True)
class _Part:
    kind: SegmentKind
    start_s: float
    end_s: float
    start_c: float
    end_c: float


def _part(time: Array, degrees: Array, a: int, b: int, least: float) -> _Part:
    change = float(degrees[b] - degrees[a])
    rate = 60 * change / float(time[b] - time[a])
    kind: SegmentKind = "hold"
    if abs(rate) >= _LEAST_RATE and abs(change) > least:
        kind = "heating" if change > 0 else "cooling"
    return _Part(kind, float(time[a]), float(time[b]), float(degrees[a]), float(degrees[b]))


def _merged(parts: list[_Part]) -> list[_Part]:
    """Neighbours of one kind are joined; short rests within a ramp belong to it; ramps that are too small are holds."""
    out = _joined(parts)
    for i in range(1, len(out) - 1):
        before, after = out[i - 1], out[i + 1]
        rest = out[i].end_s - out[i].start_s < _SHORT_REST_S
        if out[i].kind == "hold" and rest and before.kind == after.kind:
            out[i] = replace(out[i], kind=before.kind)
    out = _joined(out)
    small = [p.kind != "hold" and abs(p.end_c - p.start_c) < _LEAST_RAMP_C for p in out]
    return _joined([replace(p, kind="hold") if s else p for p, s in zip(out, small, strict=True)])


def _joined(parts: list[_Part]) -> list[_Part]:
    out: list[_Part] = []
    for part in parts:
        if out and out[-1].kind == part.kind:
            out[-1] = replace(out[-1], end_s=part.end_s, end_c=part.end_c)
        else:
            out.append(part)
    return out


def _mark_tuning(parts: list[_Part], programme: tuple[ProgrammeStep, ...]) -> list[_Part]:
    """The hold in which the instrument tunes, and all before it where that is the first, carry no signal.

    The tuning step is found by its place: it follows as many ramps as stand before it in the programme.
    """
    tunes = [i for i, step in enumerate(programme) if step.kind == "tune"]
    out = list(parts)
    for tune in tunes:
        later = [step for step in programme[tune + 1 :] if step.kind in ("heat", "cool")]
        ramps = [i for i, part in enumerate(parts) if part.kind in ("heating", "cooling")]
        if len(later) > len(ramps):
            # The record ends early, or a ramp of the programme was too small to be seen: count from the start.
            before = [step for step in programme[:tune] if step.kind in ("heat", "cool")]
            # The first step only goes to the temperature where the record begins, more or less.
            begin = max(0, len(before) - 1)
            first_ramp = ramps[begin] if begin < len(ramps) else len(parts)
            if begin < len(ramps) and first_ramp == 0 and parts[0].end_s - parts[0].start_s < 180:
                first_ramp = ramps[begin + 1] if begin + 1 < len(ramps) else len(parts)
        else:
            first_ramp = ramps[len(ramps) - len(later)] if later else len(parts)
        start = first_ramp - 1
        while start >= 0 and tune == tunes[0]:
            out[start] = replace(parts[start], kind="tuning")
            start -= 1
        if start >= 0 and parts[start].kind == "hold":
            out[start] = replace(parts[start], kind="tuning")
    return out


def _numbered(parts: list[_Part]) -> tuple[Segment, ...]:
    out, cycle, cooled = [], 0, False
    settled = _settled(parts)
    for i, part in enumerate(parts):
        if part.kind == "cooling" and not cooled and i >= settled:
            cycle += 1
        # Steps of cooling with holds between belong to one cycle.
        if part.kind in ("cooling", "heating") and i >= settled:
            cooled = part.kind == "cooling"
        out.append(Segment(part.kind, part.start_s, part.end_s, part.start_c, part.end_c, cycle))
    return tuple(out)


def _settled(parts: list[_Part]) -> int:
    """Number of parts at the start that only bring the vials to where the programme begins.

    A cooling by less than a fifth of the whole range before the first heating crystallises nothing.
    """
    heating = next((i for i, p in enumerate(parts) if p.kind == "heating"), 0)
    before = [p for p in parts[:heating] if p.kind == "cooling"]
    if not before:
        return 0
    ends = [c for p in parts for c in (p.start_c, p.end_c)]
    small = before[0].start_c - before[-1].end_c < 0.2 * (max(ends) - min(ends))
    return heating if small else 0
