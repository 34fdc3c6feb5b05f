"""Intervals by block bootstrap over frames."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from crystalscope.core import Figure
from crystalscope.size.distribution import FIGURES, figures_of

Array = NDArray[np.float64]
LEAST_FRAMES = 5


def block_length(series: Array) -> int:
    """Length of the blocks for a circular block bootstrap of a series of frames.

    The rule of Politis and White (Econometric Reviews 23 (2004) 53; corrected 29 (2009) 372): from the
    autocorrelation up to the lag after which it stays insignificant. At least the cube root of the number of
    frames, because a short series does not show its autocorrelation; at most a fifth of the series, so that there are
    five blocks. 1 for a series without variation.
    """
    n = len(series)
    centred = series - series.mean()
    variance = float(centred @ centred) / n
    if n < 2 * LEAST_FRAMES or variance <= 1e-12 * max(float(series.mean()) ** 2, 1e-300):
        return 1
    largest = min(n // 2, math.ceil(math.sqrt(n)) + 5)
    rho = np.array([float(centred[k:] @ centred[: n - k]) / n / variance for k in range(largest + 1)])
    calm = np.abs(rho[1:]) < 2 * math.sqrt(math.log10(n) / n)
    run = max(5, int(math.sqrt(math.log10(n))))
    last = largest
    for k in range(largest):
        if calm[k : k + run].all():
            last = k
            break
    m = min(2 * last, largest)
    lags = np.arange(-m, m + 1)
    taper = np.clip(2 * (1 - np.abs(lags) / max(m, 1)), 0, 1) if m else np.ones(1)
    covariance = rho[np.abs(lags)] * variance
    g = float((taper * np.abs(lags) * covariance).sum())
    d = 4 / 3 * float((taper * covariance).sum()) ** 2
    least = round(n ** (1 / 3))
    found = round((2 * g * g / d) ** (1 / 3) * n ** (1 / 3)) if d > 0 else least
    return int(np.clip(found, least, max(1, n // 5)))


def bootstrap_figures(
    size: Array,
    volume: Array,
    weight: Array,
    frame: NDArray[np.integer],
    *,
    n_frames: int,
    level: float,
    replicates: int,
    rng: int | np.random.Generator,
) -> dict[str, Figure]:
    """All figures with intervals.

    Parameters
    ----------
    size, volume, weight, frame
        (n,) particles in any order; `frame` from 0 to n_frames - 1 in order of time.
    n_frames
        Frames looked at, those without particles included.
    level
        Confidence level, such as 0.95.
    replicates
        Bootstrap samples.
    rng
        Seed.

    Returns
    -------
    By the names of `size.distribution.FIGURES`. Below five frames the bounds are NaN with the reason.

    Notes
    -----
    Frames are drawn in blocks (circular), because frames close in time share crystals and state. The percentiles are
    taken at levels widened for few blocks (Hesterberg, Am. Stat. 69 (2015) 371: the normal quantile is replaced by
    sqrt(b/(b-1)) times Student's, b blocks). The interval is that of the sampling of frames; it does not hold errors
    of calibration or segmentation.
    """
    order = np.argsort(size, kind="stable")
    x, v, w, f = size[order], volume[order], weight[order], frame[order]
    if not x.size:
        return {name: Figure(math.nan, reason="no particles") for name in FIGURES}
    values = figures_of(x, v, w)
    if n_frames < LEAST_FRAMES:
        reason = f"{n_frames} frames; an interval needs {LEAST_FRAMES}"
        return {name: _figure(v_, reason) for name, v_ in zip(FIGURES, values, strict=True)}
    length = max(block_length(s) for s in _influences(x, v, w, f, n_frames))
    generator = np.random.default_rng(rng)
    blocks = math.ceil(n_frames / length)
    samples = np.full((replicates, len(FIGURES)), math.nan)
    for r in range(replicates):
        starts = generator.integers(0, n_frames, blocks)
        drawn = ((starts[:, None] + np.arange(length)) % n_frames).ravel()[:n_frames]
        times = np.bincount(drawn, minlength=n_frames)
        samples[r] = figures_of(x, v, w * times[f])
    tail = tail_of(level, n_frames / length)
    out = {}
    for i, name in enumerate(FIGURES):
        good = samples[:, i][np.isfinite(samples[:, i])]
        if not math.isfinite(values[i]) or good.size < 0.9 * replicates:
            out[name] = _figure(values[i], "too few frames hold particles")
            continue
        lower, upper = np.quantile(good, [tail, 1 - tail])
        out[name] = Figure(float(values[i]), float(lower), float(upper), level)
    return out


def _influences(x: Array, v: Array, w: Array, f: NDArray[np.integer], n_frames: int) -> list[Array]:
    """What each frame does to the count and to the medians by number and by volume: its sum of signs about them."""
    series = [w]
    for share in (w, w * v):
        k = int(np.searchsorted(np.cumsum(share), 0.5 * share.sum()))
        series.append(share * np.where(x <= x[min(k, len(x) - 1)], 0.5, -0.5))
    return [np.bincount(f, weights=s, minlength=n_frames).astype(float) for s in series]


def _figure(value: float, reason: str) -> Figure:
    return Figure(float(value), reason=reason if math.isfinite(value) else "undefined for these particles")


def tail_of(level: float, blocks: float) -> float:
    """Share of the bootstrap below the lower bound of an interval, widened for few blocks."""
    from scipy.stats import norm, t

    b = max(blocks, 2.0)
    return float(norm.cdf(-math.sqrt(b / (b - 1)) * t.ppf(0.5 + level / 2, b - 1)))
