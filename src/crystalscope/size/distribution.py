"""From measured particles to an exact, unbinned distribution and its figures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import ArrayLike, NDArray

from crystalscope.core import SizeDistribution, Unit
from crystalscope.errors import InputError

Array = NDArray[np.float64]

FIGURES = (
    "D10_0", "D50_0", "D90_0", "D10_3", "D50_3", "D90_3",
    "D[1,0]", "D[3,2]", "D[4,3]", "span_0", "span_3", "mode_0", "mode_3", "sd_0", "cv_0",
    "x50,3_ml", "sigma_ml", "x50,3_ls", "sigma_ls",
)  # fmt: skip
"""Names of the figures, in the order of `figures_of`. D10_0: 10 % by number; D10_3: by volume; span:
(D90 - D10) / D50; sd_0, cv_0: standard deviation by number, and relative to D[1,0]; x50,3 and sigma: log-normal
fit of Q3 by maximum likelihood (ml) and by least squares (ls)."""

_GRID = 256


def make_distribution(
    size: ArrayLike,
    volume: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    definition: str = "ecd",
    volume_model: str = "ecd^3",
    unit: Unit = "um",
    correction: str = "none",
) -> SizeDistribution:
    """Exact distribution of particles.

    Parameters
    ----------
    size, volume
        (n,) above 0; volume in any one unit.
    weight
        (n,) particles that each one stands for (border, depth of field); None: 1 each.
    definition, volume_model, unit, correction
        For the name of the result.

    Raises
    ------
    InputError
        On values that are not positive and finite.
    """
    x, v = np.asarray(size, dtype=float), np.asarray(volume, dtype=float)
    w = np.ones_like(x) if weight is None else np.asarray(weight, dtype=float)
    if x.shape != v.shape or x.shape != w.shape or x.ndim != 1:
        raise InputError(f"expected size, volume and weight of one length, got {x.shape}, {v.shape}, {w.shape}")
    if x.size and not (np.isfinite(x).all() and np.isfinite(v).all() and np.isfinite(w).all() and x.min() > 0):
        raise InputError("expected positive finite sizes, volumes and weights; leave out the others")
    order = np.argsort(x, kind="stable")
    x, v, w = x[order], v[order], w[order]
    total, volumes = w.sum(), (w * v).sum()
    return SizeDistribution(
        x,
        w / total if x.size else w,
        w * v / volumes if x.size else w,
        definition,
        volume_model,
        unit,
        correction,
    )


def volumes_of(table: pd.DataFrame, *, unit: Unit, model: str) -> Array:
    """Volumes of particles in unit³ from their projections.

    ``ecd^3``: pi/6 ECD³, exact for spheres. ``length*width^2``: a square prism, for needles whose thickness is their
    width. Both are models: a projection has no volume.

    Raises
    ------
    InputError
        On an unknown model.
    """
    if model == "ecd^3":
        return np.asarray(math.pi / 6 * table[f"ecd_{unit}"].to_numpy(dtype=float) ** 3)
    if model == "length*width^2":
        length, width = (table[f"{c}_{unit}"].to_numpy(dtype=float) for c in ("length", "width"))
        return np.asarray(length * width**2)
    raise InputError(f"expected volume model ecd^3 or length*width^2, got {model!r}")


def quantile(distribution: SizeDistribution, share: float, *, by: str = "volume") -> float:
    """Size below which a share of the particles (by ``number``) or of their volume lies; NaN when empty.

    The exact inverse of the step cumulative (the smallest size at which Q reaches `share`; midway to the next where
    Q meets `share` exactly, as the usual median does). Nothing is interpolated over classes, so the half-class shift
    of a D50 read at class middles does not occur.
    """
    if not distribution.n:
        return math.nan
    w = distribution.number_weight if by == "number" else distribution.volume_weight
    return float(_quantile(distribution.size, np.cumsum(w), share))


@njit(cache=True, nogil=True)
def _quantile(x, cumulative, share):  # type: ignore[no-untyped-def]
    target = share * cumulative[-1]
    tolerance = 1e-12 * cumulative[-1]
    k = np.searchsorted(cumulative, target - tolerance)
    k = min(k, len(x) - 1)
    if abs(cumulative[k] - target) <= tolerance:
        # The next size that has weight.
        j = k + 1
        while j < len(x) and cumulative[j] <= cumulative[k] + tolerance:
            j += 1
        if j < len(x):
            return 0.5 * (x[k] + x[j])
    return x[k]


@njit(cache=True, nogil=True)
def figures_of(x, v, w):  # type: ignore[no-untyped-def]
    """The figures of `FIGURES` for sorted sizes x, volumes v and weights w (0 allowed).

    D[p,q] = (sum w x^p / sum w x^q)^(1/(p-q)), ISO 9276-2, for [1,0] and [3,2]; D[4,3] is the mean of x by volume
    under the volume model. Modes are maxima of a kernel density of ln x (Silverman's width) as density over x.
    """
    out = np.full(19, np.nan)
    n = len(x)
    total, volume = 0.0, 0.0
    m1, m2, m3, m43 = 0.0, 0.0, 0.0, 0.0
    c0, c3 = np.empty(n), np.empty(n)
    for i in range(n):
        total += w[i]
        volume += w[i] * v[i]
        c0[i] = total
        c3[i] = volume
        m1 += w[i] * x[i]
        m2 += w[i] * x[i] ** 2
        m3 += w[i] * x[i] ** 3
        m43 += w[i] * v[i] * x[i]
    if total <= 0.0 or volume <= 0.0:
        return out
    shares = (0.1, 0.5, 0.9)
    for k in range(3):
        out[k] = _quantile(x, c0, shares[k])
        out[3 + k] = _quantile(x, c3, shares[k])
    out[6] = m1 / total
    out[7] = m3 / m2
    out[8] = m43 / volume
    out[9] = (out[2] - out[0]) / out[1]
    out[10] = (out[5] - out[3]) / out[4]
    if n > 1 and x[0] < x[-1]:
        out[11] = _mode(x, w, c0[-1])
        vw = w * v
        out[12] = _mode(x, vw, c3[-1])
        out[13] = math.sqrt(max(m2 / total - out[6] ** 2, 0.0))
        out[14] = out[13] / out[6]
        mean, square = 0.0, 0.0
        for i in range(n):
            t = math.log(x[i])
            mean += vw[i] * t
            square += vw[i] * t * t
        mean /= volume
        out[15] = math.exp(mean)
        out[16] = math.sqrt(max(square / volume - mean * mean, 0.0))
        out[17], out[18] = _least_squares(x, c3, mean, out[16])
    return out


@njit(cache=True, nogil=True)
def _mode(x, w, total):  # type: ignore[no-untyped-def]
    low, high = math.log(x[0]), math.log(x[-1])
    mean, square, effective = 0.0, 0.0, 0.0
    for i in range(len(x)):
        t = math.log(x[i])
        mean += w[i] * t
        square += w[i] * t * t
        effective += w[i] * w[i]
    mean /= total
    sd = math.sqrt(max(square / total - mean * mean, 1e-12))
    width = 1.06 * sd * (total * total / effective) ** -0.2
    step = (high - low + 6 * width) / _GRID
    bins = np.zeros(_GRID)
    for i in range(len(x)):
        k = int((math.log(x[i]) - low + 3 * width) / step)
        bins[min(max(k, 0), _GRID - 1)] += w[i]
    best, at = -1.0, math.nan
    reach = int(4 * width / step) + 1
    for k in range(_GRID):
        t = low - 3 * width + (k + 0.5) * step
        total_k = 0.0
        for j in range(max(0, k - reach), min(_GRID, k + reach + 1)):
            total_k += bins[j] * math.exp(-0.5 * ((k - j) * step / width) ** 2)
        total_k /= math.exp(t)
        if total_k > best:
            best, at = total_k, math.exp(t)
    return at


@njit(cache=True, nogil=True)
def _least_squares(x, cumulative, mean, sigma):  # type: ignore[no-untyped-def]
    """Log-normal fitted to a cumulative by least squares at 64 levels; (x50, sigma).

    The levels 1/128, 3/128 … are spread evenly over the cumulative, so that a crowd of small particles does not
    outvote the few that carry the volume.
    """
    levels = 64
    t = np.empty(levels)
    q = np.empty(levels)
    for k in range(levels):
        q[k] = (k + 0.5) / levels
        t[k] = math.log(_quantile(x, cumulative, q[k]))
    sigma = max(sigma, 1e-6)
    for _ in range(50):
        a, b, c, d, e = 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(levels):
            z = (t[k] - mean) / sigma
            residual = 0.5 * (1.0 + math.erf(z / math.sqrt(2.0))) - q[k]
            density = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
            jm, js = -density / sigma, -density * z / sigma
            a += jm * jm
            b += jm * js
            c += js * js
            d += jm * residual
            e += js * residual
        det = a * c - b * b
        if det <= 1e-300:
            break
        dm, ds = -(c * d - b * e) / det, -(a * e - b * d) / det
        ds = min(max(ds, -0.5 * sigma), sigma)
        mean += dm
        sigma += ds
        if abs(dm) + abs(ds) < 1e-12:
            break
    return math.exp(mean), sigma


def densities(distribution: SizeDistribution, at: ArrayLike, *, by: str) -> Array:
    """Density q0 (``number``) or q3 (``volume``) by kernel at sizes `at`, in 1/unit.

    Gaussian kernel on ln x with Silverman's width for weighted data, transformed to a density over x.
    """
    points = np.asarray(at, dtype=float)
    w = distribution.number_weight if by == "number" else distribution.volume_weight
    if distribution.n < 2 or distribution.size[0] == distribution.size[-1]:
        return np.full(points.shape, math.nan)
    t = np.log(distribution.size)
    mean = float((w * t).sum())
    sd = math.sqrt(max(float((w * t * t).sum()) - mean**2, 1e-12))
    width = 1.06 * sd * float((w**2).sum()) ** 0.2
    # Binned convolution: the kernel is much wider than a bin, so nothing is lost, and 300,000 points are no matter.
    edges = np.linspace(t[0] - 4 * width, t[-1] + 4 * width, 2049)
    counts = np.histogram(t, bins=edges, weights=w)[0]
    step = edges[1] - edges[0]
    kernel = np.exp(-0.5 * (np.arange(-int(5 * width / step) - 1, int(5 * width / step) + 2) * step / width) ** 2)
    smooth = np.convolve(counts, kernel / kernel.sum(), mode="same") / step
    return np.asarray(np.interp(np.log(points), edges[:-1] + step / 2, smooth, left=0.0, right=0.0) / points)


def classes(distribution: SizeDistribution, *, width: float) -> pd.DataFrame:
    """Classes of equal width from 0.

    Returns
    -------
    Columns lower, upper, n, q0, q3 (1/unit), Q0, Q3 (at the upper edge) and largest: the largest particle of the
    class (NaN where it is empty), which Chem. Ing. Tech. 2023, 95, 1146 marks on its curve.
    """
    if width <= 0:
        raise InputError(f"expected a class width above 0, got {width}")
    top = float(distribution.size[-1]) if distribution.n else 0.0
    k = math.floor(top / width) + 1
    edges = width * np.arange(k + 1)
    at = np.minimum((distribution.size / width).astype(int), k - 1)
    largest = np.full(k, math.nan)
    largest[at] = distribution.size  # ascending, so the last one stands
    shares0 = np.bincount(at, weights=distribution.number_weight, minlength=k)
    shares3 = np.bincount(at, weights=distribution.volume_weight, minlength=k)
    return pd.DataFrame(
        {
            "lower": edges[:-1],
            "upper": edges[1:],
            "n": np.bincount(at, minlength=k),
            "q0": shares0 / width,
            "q3": shares3 / width,
            "Q0": np.cumsum(shares0),
            "Q3": np.cumsum(shares3),
            "largest": largest,
        }
    )


def lognormal_of_classes(table: pd.DataFrame) -> tuple[float, float]:
    """Log-normal Q3 by least squares on classes, as published.

    Parameters
    ----------
    table
        Of `classes`; empty classes are left out.

    Returns
    -------
    x50,3 and sigma; NaN with fewer than two classes that hold particles.

    Notes
    -----
    Chem. Ing. Tech. 2023, 95, 1146, equation 2: each class stands with the diameter of its largest particle and the
    cumulated volume share. Large particles so weigh no more than small ones: a few fragments in the lowest classes pull
    the fit as much as the fraction itself. `SizeDistribution.figures` holds fits to the exact distribution.
    """
    from scipy.optimize import least_squares
    from scipy.special import erf

    held = table[table["n"] > 0]
    if len(held) < 2:
        return math.nan, math.nan
    t, q = np.log(held["largest"].to_numpy(dtype=float)), held["Q3"].to_numpy(dtype=float)
    middle = float(np.interp(0.5, q, t))

    def residual(p: Array) -> Array:
        return np.asarray(0.5 * (1 + erf((t - p[0]) / (math.sqrt(2) * math.exp(p[1])))) - q)

    fit = least_squares(residual, [middle, math.log(max(float(np.ptp(t)) / 4, 0.02))])
    return math.exp(fit.x[0]), math.exp(fit.x[1])


def joint_distribution(
    length: ArrayLike, width: ArrayLike, *, weight: ArrayLike | None = None, bins: int = 24
) -> tuple[Array, Array, Array]:
    """Joint distribution of length and width by number.

    Returns
    -------
    density
        (bins, bins), rows by length; sums over the areas of the cells to 1.
    length_edges, width_edges
        (bins + 1,), logarithmic.
    """
    a, b = np.asarray(length, dtype=float), np.asarray(width, dtype=float)
    if not a.size:
        return np.zeros((0, 0)), np.zeros(1), np.zeros(1)
    edges: Any = [np.geomspace(x.min() * 0.999, x.max() * 1.001, bins + 1) for x in (a, b)]
    shares = None if weight is None else np.asarray(weight, dtype=float)
    density, *_ = np.histogram2d(a, b, bins=edges, weights=shares, density=True)
    return density, edges[0], edges[1]
