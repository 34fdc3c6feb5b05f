"""Growth rate from the largest crystals, while smaller ones keep coming."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core import Event
from crystalscope.errors import InputError

Array = NDArray[np.float64]

_LEAST_FRAMES = 6
_REPLICATES = 300
_LATER = 0.1
"""Length of a window of pictures over their number since the first crystals."""


def growth_rate_event(
    particles: pd.DataFrame,
    frames: pd.DataFrame,
    *,
    size: str,
    start_s: float,
    end_s: float,
    rng: int = 0,
    level: float = 0.95,
) -> Event:
    """Growth rate dL/dt of the largest crystals between two times.

    Parameters
    ----------
    particles
        Crystals counted: columns frame and `size`.
    frames
        The ledger: frame, time_s, for every picture looked at, empty ones too.
    size
        Column of the dimension, such as length_um; it stands in the signal of the event.
    start_s, end_s
        From the first crystals to where growth ends (a clear point, a steady state, the end of the record).
    rng
        Seed of the bootstrap.
    level
        Of the interval.

    Returns
    -------
    growth_rate: reached, with ``value`` the mean rate in um/min (or px/min) and its interval; ``time_s`` and
    ``lower_s`` are the start, ``upper_s`` the end. not_reached where the interval reaches 0 or below; censored where
    fewer than six pictures hold crystals.

    Raises
    ------
    InputError
        When a column is missing or the end is not after the start.

    Notes
    -----
    Crystals that grow at one rate keep their order: the length that a fixed number of crystals exceeds belongs to the
    same crystals at all times, whatever is born below it. That number, per picture, is half of what the first
    twelve pictures with crystals hold. The rate is the mean from their birth (the first lengths, drawn back to 0)
    to the end; where the first picture shows crystals already, from there. Where growth slows down it is below the
    initial rate. The interval is a bootstrap over pictures. Crystals longer than the field, breakage and agglomeration
    bias it; sizes of single crystals only should go in.
    """
    for table, names in ((particles, ("frame", size)), (frames, ("frame", "time_s"))):
        missing = [c for c in names if c not in table.columns]
        if missing:
            raise InputError(f"expected columns {', '.join(names)}, missing: {', '.join(missing)}")
    if not end_s > start_s:
        raise InputError(f"expected an end after the start {start_s:g} s, got {end_s:g} s")
    unit = f"{size.rpartition('_')[2]}/min"
    event = Event("growth_rate", "censored", lower_s=start_s, upper_s=end_s, signal=size, unit=unit)
    times = frames.set_index("frame")["time_s"]
    times = times[(times >= start_s) & (times <= end_s)].sort_values()
    values = [v.to_numpy(dtype=float) for _, v in particles.groupby("frame")[size]]
    by_frame = dict(zip(particles.groupby("frame").groups, values, strict=True))
    lengths = [np.sort(by_frame.get(f, np.zeros(0)))[::-1] for f in times.index]
    if sum(1 for v in lengths if v.size) < _LEAST_FRAMES:
        return event
    t = times.to_numpy(dtype=float)
    rate = _mean_rate(t, lengths)
    generator = np.random.default_rng(rng)
    samples = []
    for _ in range(_REPLICATES):
        drawn = np.sort(generator.integers(0, t.size, t.size))
        samples.append(_mean_rate(t[drawn], [lengths[i] for i in drawn]))
    low, high = np.nanquantile(samples, [0.5 - level / 2, 0.5 + level / 2])
    if not (math.isfinite(rate) and low > 0):
        return Event("growth_rate", "not_reached", lower_s=end_s, signal=size, unit=unit)
    return Event(
        "growth_rate", "reached", start_s, start_s, end_s, signal=size, value=float(rate), unit=unit,
        value_lower=float(low), value_upper=float(high),
    )  # fmt: skip


def leading_lengths(t: Array, lengths: list[Array]) -> tuple[Array, Array]:
    """Length that a fixed number of crystals per picture exceeds, in windows of pictures.

    Parameters
    ----------
    t
        (n,) s rising.
    lengths
        Lengths of the crystals of every picture, largest first.

    Returns
    -------
    Mean times of the windows, and the lengths; windows that hold too few crystals are left out.
    """
    counts = np.array([v.size for v in lengths], dtype=float)
    holds = np.flatnonzero(counts > 0)
    if not holds.size:
        return np.zeros(0), np.zeros(0)
    begin = int(holds[0])
    early = counts[begin : begin + 2 * _LEAST_FRAMES]
    number = max(0.5 * float(early.mean()), 0.2)
    # Enough pictures that at least two crystals lie above the length; later, when it changes more slowly, more.
    least = max(1, math.ceil(2 / number))
    at, length, a = [], [], begin
    while True:
        window = max(least, round(_LATER * (a - begin)))
        if a + window > t.size:
            break
        pooled = np.sort(np.concatenate(lengths[a : a + window]))[::-1]
        rank = number * window
        if pooled.size > rank:
            k = math.floor(rank)
            at.append(float(t[a : a + window].mean()))
            length.append(float(np.interp(rank, [k - 1, k], pooled[[max(k - 1, 0), k]])))
        a += max(1, window // 8)
    return np.array(at), np.array(length)


def _mean_rate(t: Array, lengths: list[Array]) -> float:
    """Rate in length per min from birth, or from the first picture where that shows crystals, to the last picture."""
    at, length = leading_lengths(t, lengths)
    if len(np.unique(at)) < 4:
        return math.nan
    first, last = float(at[0]), float(t[-1])
    start = _line_at(at[:4], length[:4], first)
    # Growth slows down: a parabola through the second half, at its end.
    late = at >= min((first + last) / 2, float(np.unique(at)[-4]))
    end = float(np.polynomial.Polynomial.fit(at[late], length[late], 2)(last))
    if lengths[0].size == 0:
        # Born between the pictures: back along the first line to length 0.
        slope = (_line_at(at[:4], length[:4], float(at[3])) - start) / max(float(at[3]) - first, 1e-9)
        if slope > 0:
            first, start = first - start / slope, 0.0
    return 60 * (end - start) / (last - first)


def _line_at(x: Array, y: Array, where: float) -> float:
    """Least-squares line at a place."""
    centred = x - x.mean()
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread if spread > 0 else 0.0
    return float(y.mean()) + slope * (where - float(x.mean()))
