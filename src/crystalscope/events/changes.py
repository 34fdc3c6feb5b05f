"""A series that changes for good, and one that has come to rest."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from crystalscope.errors import InputError
from crystalscope.events.series import Onset, find_onset, noise_sd, running_median

Array = NDArray[np.float64]

_SMOOTH = 5


def lasting_rise(time_s: Array, values: Array, *, least: float, lasting_s: float = 900.0) -> Onset | None:
    """When a series rises above where it began, and stays.

    Parameters
    ----------
    time_s, values
        (n,) s rising; NaN values are left out.
    least
        Smallest rise that counts, in the unit of the values; 4 standard deviations of the noise if that is more.
    lasting_s
        A rise that is over sooner is an excursion (bubbles, a probe being cleaned), unless the record ends with it
        after at least five samples.

    Returns
    -------
    The onset, or None. The start is the lower quartile of the first fifth of the series, at least five samples.

    Raises
    ------
    InputError
        When times do not rise.
    """
    t, y = _finite(time_s, values)
    if t.size < 2 * _SMOOTH:
        return None
    smooth = running_median(y, _SMOOTH)
    start = float(np.quantile(smooth[: max(_SMOOTH, t.size // 5)], 0.25))
    over = smooth - start > max(least, 4 * 1.25 * noise_sd(y) / math.sqrt(_SMOOTH))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], over, [False]]).astype(int)))
    for a, b in zip(edges[::2], edges[1::2], strict=True):
        lasts = t[b - 1] - t[a] >= lasting_s or (b == t.size and b - a >= _SMOOTH)
        if lasts:
            last = a + int(np.argmax(smooth[a:b] - start >= 0.3 * float(np.max(smooth[a:b] - start))))
            return find_onset(t, y, first=max(0, a - 2 * (last - a) - 30), last=last, falls=False)
    return None


def comes_to_rest(time_s: Array, series: list[Array], *, tolerance: float = 0.05) -> Onset | None:
    """When several series have stopped changing.

    Parameters
    ----------
    time_s
        (n,) s rising.
    series
        Each (n,), above 0; NaN are bridged.
    tolerance
        Share of the final value by which a running median may still differ; 4 standard deviations of its noise if
        that is more.

    Returns
    -------
    The first time from which on all of them stay at their final value, between the last sample that differs and the
    next one; None where one still moves through the last quarter, or none moved at all.
    """
    t = np.asarray(time_s, dtype=float)
    if t.size < 4 * _SMOOTH:
        return None
    last_off = -1
    for values in series:
        smooth = running_median(np.asarray(values, dtype=float), _SMOOTH)
        quarter = slice(3 * t.size // 4, None)
        final = float(np.median(smooth[quarter]))
        allowed = max(tolerance * abs(final), 5 * noise_sd(np.asarray(values, dtype=float)) / math.sqrt(_SMOOTH))
        if abs(np.polyfit(t[quarter], smooth[quarter], 1)[0]) * (t[-1] - t[quarter][0]) > allowed:
            return None
        # A short excursion after the end is none of the process.
        off = running_median((np.abs(smooth - final) > allowed).astype(float), 2 * _SMOOTH + 1) > 0.5
        last_off = max(last_off, int(np.flatnonzero(off)[-1]) if off.any() else -1)
    if last_off < 0 or last_off >= 3 * t.size // 4:
        return None
    a, b = float(t[last_off]), float(t[last_off + 1])
    return Onset(0.5 * (a + b), a, b, b - a)


def _finite(time_s: Array, values: Array) -> tuple[Array, Array]:
    t, y = np.asarray(time_s, dtype=float), np.asarray(values, dtype=float)
    good = np.isfinite(t) & np.isfinite(y)
    if good.sum() > 1 and not bool(np.all(np.diff(t[good]) > 0)):
        raise InputError("expected times in s that rise; sort the rows and drop duplicates")
    return t[good], y[good]
