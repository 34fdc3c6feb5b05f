"""Noise, running medians and the point where a signal leaves its level."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

_POWERS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
_MOST_POINTS = 300
_CHI_SQUARE = 14.0
"""3.84 were right for white noise about the right shape. Real departures have neither; with 14 the intervals of
simulated runs of other shapes cover the truth in 95 % (bench.events.detection)."""


def noise_sd(values: Array) -> float:
    """Standard deviation of the noise from one sample to the next, blind to drift and to a few steps.

    From the median absolute second difference; second differences of a straight line are 0. Values rounded to steps
    give at least the standard deviation of the rounding.

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


def find_onset(time: Array, values: Array, *, first: int, last: int, falls: bool = True) -> Onset:
    """When a signal left its level, by change-point regression.

    Parameters
    ----------
    time, values
        (n,) s rising, and the signal as recorded; NaN are left out.
    first, last
        Rows between which the change lies: at `first` the signal is at its level, at `last` it has certainly left it,
        and has not gone far.
    falls
        Whether the signal falls from its level; else it rises from it.

    Returns
    -------
    The change point t0 with the least squares of values = level - b (t - t0)^p for t > t0, over level, b, t0 and p from
    1 to 3, and its interval from the profile of the sum of squares.

    Notes
    -----
    Hinkley, Biometrika 56 (1969) 495, for p = 1; a rising crystal mass departs with a higher power. A departure
    slower than a power of 3 is found late. The interval takes the noise as white; it is at least that of the samples.
    """
    rows = np.arange(first, last + 1)
    rows = rows[np.isfinite(values[rows])]
    sampled = time[np.isfinite(values)]
    t, y = _blocks(time[rows], -values[rows] if falls else values[rows])
    if t.size < 5:
        before = float(t[-2]) if t.size > 1 else float(time[first])
        return _bracketed(before, float(time[last]), sampled)
    middle = float(np.median(y[:-1]))
    if abs(y[-2] - middle) <= 0.01 * abs(y[-1] - middle) and t.size == rows.size:
        # From one sample to the next: nothing to fit.
        return _bracketed(float(t[-2]), float(t[-1]), sampled)
    # A change between two samples is as good as one at a sample.
    parts = 4 if t.size < 100 else 1
    candidates = (t[:-1, None] + np.diff(t)[:, None] * np.arange(parts) / parts).ravel()
    centred = y - y.mean()
    total = float(centred @ centred)
    past = np.clip((t[None, :] - candidates[:, None]) / max(float(t[-1] - t[0]), 1e-9), 0, None)
    best = np.full(candidates.size, math.inf)
    for power in _POWERS:
        shape = past**power
        shape -= shape.mean(axis=1, keepdims=True)
        norm = (shape * shape).sum(axis=1)
        moment = np.clip(shape @ centred, 0, None)
        best = np.minimum(best, total - np.where(norm > 1e-12, moment**2 / np.where(norm > 1e-12, norm, 1), 0))
    at = int(np.argmin(best))
    rounding = step_of(values[rows]) ** 2 / 12 * t.size / rows.size
    variance = max(float(best[at]) / max(t.size - 4, 1), rounding, 1e-12)
    inside = np.flatnonzero(best <= best[at] + _CHI_SQUARE * variance)
    lower, upper = float(candidates[inside[0]]), float(candidates[inside[-1]])
    same = np.flatnonzero(best <= best[at] + 1e-9 * total)
    return _bracketed(lower, upper, sampled, estimate=float(candidates[same].mean()))


def _blocks(t: Array, y: Array) -> tuple[Array, Array]:
    """Means of neighbours where there are more samples than the regression needs."""
    k = math.ceil(t.size / _MOST_POINTS)
    if k <= 1:
        return t, y
    whole = t.size // k * k
    # The newest samples, where the change is, are all kept.
    return t[-whole:].reshape(-1, k).mean(axis=1), y[-whole:].reshape(-1, k).mean(axis=1)


def _bracketed(lower: float, upper: float, sampled: Array, estimate: float | None = None) -> Onset:
    """Bounds moved out to the samples on either side."""
    a = int(np.clip(np.searchsorted(sampled, lower, side="right") - 1, 0, sampled.size - 1))
    b = int(np.clip(np.searchsorted(sampled, upper, side="left"), 0, sampled.size - 1))
    b = max(b, min(a + 1, sampled.size - 1))
    middle = 0.5 * (float(sampled[a]) + float(sampled[b])) if estimate is None else estimate
    inside = sampled[a : b + 1]
    gap = float(np.diff(inside).max(initial=0.0))
    return Onset(middle, float(sampled[a]), float(sampled[b]), gap)
