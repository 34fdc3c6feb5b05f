"""Distances between size distributions, exact on their steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystalscope.errors import InputError


def weighted_ks(x: ArrayLike, wx: ArrayLike, y: ArrayLike, wy: ArrayLike) -> float:
    """Kolmogorov-Smirnov distance: largest difference of the two weighted cumulatives, 0 to 1.

    Parameters
    ----------
    x, y
        (n,) and (m,) sizes in one unit, in any order; ties are allowed.
    wx, wy
        (n,) and (m,) weights, not negative; only their ratios matter.

    Raises
    ------
    InputError
        When a sample is empty or without weight, or a size or weight is not finite, or a weight is negative.
    """
    _, fx, fy = _cumulatives(x, wx, y, wy)
    return float(np.abs(fx - fy).max())


def weighted_wasserstein(x: ArrayLike, wx: ArrayLike, y: ArrayLike, wy: ArrayLike) -> float:
    """Wasserstein-1 distance: area between the two weighted cumulatives, in the unit of the sizes.

    Parameters and errors as `weighted_ks`.
    """
    at, fx, fy = _cumulatives(x, wx, y, wy)
    return float((np.abs(fx - fy)[:-1] * np.diff(at)).sum())


def weighted_quantile(x: ArrayLike, w: ArrayLike, share: float) -> float:
    """Smallest value at which the weighted cumulative reaches `share`.

    A step of the exact distribution, not interpolated.

    Parameters
    ----------
    x, w
        (n,) sizes and their weights.
    share
        0 to 1, as 0.5 for D50.

    Raises
    ------
    InputError
        As `weighted_ks`, or when the share is out of range.
    """
    if not 0 <= share <= 1:
        raise InputError(f"expected a share from 0 to 1, got {share}")
    values, weights = _checked(x, w)
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    k = int(np.searchsorted(cumulative, share * cumulative[-1] * (1 - 1e-12)))
    return float(values[order][min(k, len(values) - 1)])


def relative_error(predicted: float, truth: float) -> float:
    """(predicted - truth) / truth; NaN where the truth is 0."""
    return (predicted - truth) / truth if truth else float("nan")


def sample_scores(x: ArrayLike, wx: ArrayLike, y: ArrayLike, wy: ArrayLike) -> dict[str, Any]:
    """KS, Wasserstein-1 and the errors of D10, D50 and D90 of predicted sizes `x` against true sizes `y`.

    Parameters and errors as `weighted_ks`. Weights by number give D10,0 …, weights by volume D10,3 ….

    Returns
    -------
    ``ks``, ``wasserstein`` and for each of D10, D50 and D90 ``predicted``, ``truth``, ``relative_error``.
    """
    out: dict[str, Any] = {"ks": weighted_ks(x, wx, y, wy), "wasserstein": weighted_wasserstein(x, wx, y, wy)}
    for name, share in (("D10", 0.1), ("D50", 0.5), ("D90", 0.9)):
        a, b = weighted_quantile(x, wx, share), weighted_quantile(y, wy, share)
        out[name] = {"predicted": a, "truth": b, "relative_error": relative_error(a, b)}
    return out


def _cumulatives(
    x: ArrayLike, wx: ArrayLike, y: ArrayLike, wy: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    a, wa = _checked(x, wx)
    b, wb = _checked(y, wy)
    at = np.union1d(a, b)

    def cumulative(v: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.bincount(np.searchsorted(at, v), weights=w, minlength=len(at))
        return np.asarray(np.cumsum(total) / w.sum())

    return at, cumulative(a, wa), cumulative(b, wb)


def _checked(x: ArrayLike, w: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, weights = np.asarray(x, dtype=float), np.asarray(w, dtype=float)
    if values.shape != weights.shape or values.ndim != 1:
        raise InputError(f"expected one weight for every size, got shapes {weights.shape} and {values.shape}")
    if not (np.isfinite(values).all() and np.isfinite(weights).all()):
        bad = int((~np.isfinite(values) | ~np.isfinite(weights)).sum())
        raise InputError(f"expected finite sizes and weights, got {bad} of {values.size} that are not; leave them out")
    if (weights < 0).any():
        raise InputError(f"expected weights of at least 0, got {weights.min()}")
    if weights.sum() <= 0:
        raise InputError("expected a sample of sizes with one weight each, got an empty or unweighted one")
    return values, weights
