"""Clear or cloudy: the state of a vial over time, with what is only a nuisance taken out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crystalscope.core import Segment
from crystalscope.events.series import noise_sd, running_median

Array = NDArray[np.float64]

LONGEST_EXCURSION_S = 900.0
"""A state that lasts shorter than this, and that the temperature does not explain, is an excursion, not an event."""
LEAST_CLEAR = 50.0
"""Transmissivity in % below which nothing is called clear."""
LEAST_DEPTH = 0.08
"""Share of the clear level by which the signal must fall."""
_SMOOTH_S = 40.0
_WARMED_C = 1.0


@dataclass(frozen=True)
class Run:
    """Rows `first` to `last` of a signal in one state."""

    clear: bool
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class States:
    """State of one vial over time.

    Parameters
    ----------
    rows
        (m,) rows of the timeline that were looked at (tuning is not).
    runs
        Runs of states, in positions of `rows`; empty where the vial is never clear.
    level
        (m,) what the signal would be, were the vial clear.
    smooth
        (m,) running median of the signal.
    sd
        Standard deviation of the noise of a sample.
    reason
        Why there are no runs, or empty.
    """

    rows: NDArray[np.intp]
    runs: tuple[Run, ...]
    level: Array
    smooth: Array
    sd: float = 0.0
    reason: str = ""


def find_states(time: Array, degrees: Array, values: Array, segments: tuple[Segment, ...]) -> States:
    """Clear and cloudy stretches of one vial.

    Parameters
    ----------
    time, degrees, values
        (n,) s, deg C, and a signal of which 100 is clear and 0 is dense.
    segments
        From `cut_programme`.

    Returns
    -------
    See `States`.

    Notes
    -----
    The clear level is read where the vial is hottest, cycle by cycle, and interpolated between, so that deposits and a
    drifting lamp move the level and not the state. A vial that is darker when hot than when cold runs against
    solubility: it has no states. Cloudy begins where the running median falls below the level by 8 %, or 4 standard
    deviations of the median if that is more, and ends at half of it. Runs shorter than 15 min that the temperature
    does not explain (bubbles, a cleaned probe, a stirrer that starts) join their neighbours: crystals that came on
    cooling go by heating only.
    """
    tuned = [s for s in segments if s.kind == "tuning"]
    looked = np.isfinite(values)
    for s in tuned:
        looked &= ~((time >= s.start_s) & (time <= s.end_s))
    rows = np.flatnonzero(looked)
    t, c, y = time[rows], degrees[rows], values[rows]
    if rows.size < 5:
        return States(rows, (), y, y, reason="fewer than five samples")
    spacing = max(float(np.median(np.diff(t))), 1e-9)
    # At least three: a single frame decides nothing.
    width = int(np.clip(2 * round(_SMOOTH_S / spacing / 2) + 1, 3, 61))
    smooth = running_median(y, width)
    noise = noise_sd(y)
    # Of a median of `width` samples
    sd = 1.25 * noise / math.sqrt(width)
    level, reason = _clear_level(t, c, smooth, sd)
    if reason:
        return States(rows, (), level, smooth, reason=reason)
    depth = np.maximum(LEAST_DEPTH * level, 4 * sd)
    runs = _schmitt(smooth, level - depth, level - 0.5 * depth)
    runs = _without_excursions(runs, t, c, 3 * spacing)
    runs = _without_drift(runs, t, smooth, level)
    return States(rows, tuple(runs), level, smooth, noise)


def _clear_level(t: Array, c: Array, smooth: Array, sd: float) -> tuple[Array, str]:
    """Level of the clear vial at every sample, or why there is none."""
    low, high = float(c.min()), float(c.max())
    flat = np.full(len(t), float(np.quantile(smooth, 0.95)))
    if high - low < 2:
        # No programme to speak of: clear is what the vial was at first.
        start = smooth[t <= t[0] + max(0.1 * (t[-1] - t[0]), 3 * (t[1] - t[0]))]
        flat[:] = float(np.median(start))
        return flat, "" if flat[0] >= LEAST_CLEAR else "cloudy from the start"
    hot = c >= high - 0.15 * (high - low)
    stages = _stages(t, hot, 600.0)
    at, levels = [], []
    for a, b in stages:
        middle = a + (b - a) // 2
        # The end of a hot stage: what dissolves has dissolved. What still rises has not.
        level, flat_end = _plateau(smooth[middle : b + 1], max(0.05, 0.04 * sd))
        # Its beginning where it is flat too: a deposit may be cleaned off in between.
        quarter = a + (b - a) // 4
        first, flat_start = _plateau(smooth[a : quarter + 1], max(0.02, 0.04 * sd))
        if flat_end and flat_start and quarter > a + 2 and 0.8 * level <= first:
            at.append(float(np.median(t[a : quarter + 1])))
            levels.append(first)
        at.append(float(np.median(t[middle : b + 1])))
        levels.append(level if flat_end else 0.0)
    best = max(levels)
    clear = [k for k, v in enumerate(levels) if v >= max(LEAST_CLEAR, 0.8 * best)]
    if not clear:
        return flat, "never clear"
    cold = c <= low + 0.15 * (high - low)
    if float(np.median(smooth[cold])) > best + max(4 * sd, 0.1 * best):
        return flat, "clearer when cold than when hot"
    return np.interp(t, [at[k] for k in clear], [levels[k] for k in clear]), ""


def _plateau(smooth: Array, most: float) -> tuple[float, bool]:
    """Level of a stretch, blind to dips, and whether it rises by no more than a share `most`."""
    half = max(len(smooth) // 2, 1)
    early, late = (float(np.quantile(part, 0.75)) for part in (smooth[:half], smooth[-half:]))
    level = float(np.quantile(smooth, 0.75))
    return level, late - early <= most * max(level, 1e-9)


def _stages(t: Array, inside: NDArray[np.bool_], apart_s: float) -> list[tuple[int, int]]:
    """First and last positions of stretches, those closer than `apart_s` joined."""
    rows = np.flatnonzero(inside)
    cuts = np.flatnonzero(np.diff(t[rows]) > apart_s)
    # Times also jump in gaps of the record; positions that follow each other belong together.
    cuts = cuts[np.diff(rows)[cuts] > 1]
    starts, ends = np.append(rows[0], rows[cuts + 1]), np.append(rows[cuts], rows[-1])
    return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]


def _schmitt(smooth: Array, fall: Array, rise: Array) -> list[Run]:
    """Runs by two thresholds: between them the state stays."""
    mark = np.where(smooth < fall, -1, np.where(smooth > rise, 1, 0))
    known = np.flatnonzero(mark)
    if not known.size:
        return [Run(True, 0, len(smooth) - 1)]
    filled = mark[known[np.clip(np.searchsorted(known, np.arange(len(mark)), side="right") - 1, 0, None)]]
    starts = np.append(0, np.flatnonzero(np.diff(filled)) + 1)
    ends = np.append(starts[1:] - 1, len(mark) - 1)
    return [Run(bool(filled[a] > 0), int(a), int(b)) for a, b in zip(starts, ends, strict=True)]


def _without_excursions(runs: list[Run], t: Array, c: Array, least_s: float) -> list[Run]:
    """Runs that the temperature does not explain join their neighbours, the shortest first."""
    out = list(runs)
    while len(out) > 1:
        spans = [float(t[r.last] - t[r.first]) for r in out]
        short = [k for k in np.argsort(spans) if _is_excursion(out, int(k), spans[k], t, c, least_s)]
        if not short:
            break
        k = int(short[0])
        clear = not out[k].clear
        a, b = max(k - 1, 0), min(k + 1, len(out) - 1)
        out[a : b + 1] = [Run(clear, out[a].first, out[b].last)]
    return out


def _is_excursion(runs: list[Run], k: int, span: float, t: Array, c: Array, least_s: float) -> bool:
    run = runs[k]
    if span < least_s:
        return True
    if span >= LONGEST_EXCURSION_S or (k == 0 and run.clear):
        return False
    if k == len(runs) - 1:
        # Whether it would have gone again is not known; the last minute decides nothing.
        return span < 60.0
    warmed = float(c[run.last] - c[run.first])
    if not run.clear:
        before = max(0, int(np.searchsorted(t, t[run.first] - 60.0)) - 1)
        came_on_heating = float(c[run.first] - c[before]) > 0.2
        return came_on_heating or warmed < _WARMED_C
    return warmed > -_WARMED_C


def _without_drift(runs: list[Run], t: Array, smooth: Array, level: Array) -> list[Run]:
    """A shallow cloudy run that a straight line from the clear run before it explains is a drift."""
    out = list(runs)
    k = 1
    while k < len(out):
        before, run = out[k - 1], out[k]
        if not run.clear and before.clear:
            depth = float(np.max(1 - smooth[run.first : run.last + 1] / level[run.first : run.last + 1]))
            a, b = before.first + (before.last - before.first) // 4, run.last
            if depth < 0.3 and b - a > 20:
                x, y = t[a : b + 1] - t[a], smooth[a : b + 1] / level[a : b + 1]
                fit = np.polyval(np.polyfit(x, y, 1), x)
                spread = float(np.var(y))
                if spread > 0 and 1 - float(np.mean((y - fit) ** 2)) / spread > 0.97:
                    after = out[k + 1] if k + 1 < len(out) else run
                    out[k - 1 : k + 2] = [replace(before, last=after.last)]
                    continue
        k += 1
    return out
