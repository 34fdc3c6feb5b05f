"""Noise, running medians and the point where a signal leaves its level."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

_POWERS = (1.0, 1.5, 2.0, 3.0)
_MOST_POINTS = 300


def noise_sd(values: Array) -> float:
    """Standard deviation of the noise from one sample to the next, blind to drift and to a few steps.

    From the median absolute second difference; second differences of a straight line are 0. Values rounded to steps give
    at least the standard deviation of the rounding.

    Parameters
    ----------
    values
        (n,) in order of time; NaN are left out.
    """
    good = values[np.isfinite(values)]
    if good.size < 5:
        return 0.0
    second = good[2:] - 2 * good[1:-1] + good[:-2]
    return max(float(1.4826 * np.median(np.abs(second)) / math.sqrt(6)), step_of(good) / math.sqrt(12))


def step_of(values: Array) -> float:
    """Step to which values are rounded: 1, 0.1 or 0.01; 0 where they are not."""
    sample = values[:: max(1, values.size // 500)]
    for step in (1.0, 0.1, 0.01):
        if np.allclose(sample / step, np.round(sample / step), atol=1e-6):
            return step
    return 0.0


def running_median(values: Array, width: int) -> Array:
    """Median of `width` neighbours (odd), fewer at the ends; gaps in the values are bridged."""
    series = pd.Series(values).interpolate(limit_direction="both")
    if width < 3:
        return series.to_numpy(dtype=float)
    return series.rolling(width, center=True, min_periods=1).median().to_numpy(dtype=float)


@dataclass(frozen=True)
class Onset:
    """When a signal left its level.

    Parameters
    ----------
    time_s
        Estimate, s.
    lower_s, upper_s
        95 % interval from the noise, widened to the samples on either side.
    gap_s
        Longest time between the samples that bracket it, s.
    """

    time_s: float
    lower_s: float
    upper_s: float
    gap_s: float


def find_onset(time: Array, values: Array, *, level: Array, first: int, last: int) -> Onset:
    """When a signal left a known level, by change-point regression.

    Parameters
    ----------
    time, values
        (n,) s, and the signal as recorded.
    level
        (n,) what the signal would be without the change.
    first, last
        Rows between which the change lies: at `first` the signal is at its level, at `last` it has certainly left it, and
        has not gone far.

    Returns
    -------
    The change point that leaves the least squares of level - values = b (t - t0)^p, t > t0, over t0 and p from 1 to 3,
    and its interval from the profile of the sum of squares.

    Notes
    -----
    Hinkley, Biometrika 56 (1969) 495, for p = 1; a rising crystal mass departs with a higher power. A departure
    slower than a power of 3 is found late. The interval takes the noise as white; it is at least that of the samples.
    """
    rows = np.arange(first, last + 1)
    if rows.size > _MOST_POINTS:
        # The end, where the change is, in full; what lies before only tells the noise.
        rows = rows[-_MOST_POINTS:]
    t, departure = time[rows], (level - values)[rows]
    good = np.isfinite(departure)
    t, departure = t[good], departure[good]
    sampled = time[np.isfinite(values)]
    if t.size < 4:
        return _bracketed(float(t[-2]) if t.size > 1 else float(time[first]), float(time[last]), sampled)
    # A change point between samples is as good as one at a sample: the middle of each pair stands for it.
    candidates = np.concatenate([t[:-1], 0.5 * (t[:-1] + t[1:])])
    candidates.sort()
    squares, total = np.full((len(_POWERS), candidates.size), math.inf), float(departure @ departure)
    scale = max(float(t[-1] - t[0]), 1e-9)
    past = np.clip((t[None, :] - candidates[:, None]) / scale, 0, None)
    for k, power in enumerate(_POWERS):
        shape = past**power
        norm = (shape * shape).sum(axis=1)
        slope = np.where(norm > 0, (shape @ departure) / np.where(norm > 0, norm, 1), 0)
        squares[k] = total - np.clip(slope, 0, None) * (shape @ departure)
    best = squares.min(axis=0)
    at = int(np.argmin(best))
    variance = max(float(best[at]) / max(t.size - 3, 1), (step_of(values[np.isfinite(values)]) ** 2) / 12, 1e-12)
    inside = np.flatnonzero(best <= best[at] + 3.84 * variance)
    lower, upper = float(candidates[inside[0]]), float(candidates[inside[-1]])
    return _bracketed(lower, upper, sampled, estimate=float(candidates[at]))


def _bracketed(lower: float, upper: float, sampled: Array, estimate: float | None = None) -> Onset:
    """Bounds moved out to the samples on either side."""
    a = int(np.clip(np.searchsorted(sampled, lower, side="right") - 1, 0, sampled.size - 1))
    b = int(np.clip(np.searchsorted(sampled, upper, side="left"), 0, sampled.size - 1))
    b = max(b, min(a + 1, sampled.size - 1))
    middle = 0.5 * (float(sampled[a]) + float(sampled[b])) if estimate is None else estimate
    inside = sampled[a : b + 1]
    gap = float(np.diff(inside).max(initial=0.0))
    return Onset(middle, float(sampled[a]), float(sampled[b]), gap)
