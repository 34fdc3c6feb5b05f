"""Distances between size distributions, exact on their steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystalscope.errors import InputError


def weighted_ks(x: ArrayLike, wx: ArrayLike, y: ArrayLike, wy: ArrayLike) -> float:
    """Kolmogorov-Smirnov distance: largest difference of the two weighted cumulatives, 0 to 1.

    Raises
    ------
    InputError
        When one of the samples is empty or has no weight.
    """
    _, fx, fy = _cumulatives(x, wx, y, wy)
    return float(np.abs(fx - fy).max())


def weighted_wasserstein(x: ArrayLike, wx: ArrayLike, y: ArrayLike, wy: ArrayLike) -> float:
    """Wasserstein-1 distance: area between the two weighted cumulatives, in the unit of the sizes.

    Raises
    ------
    InputError
        When one of the samples is empty or has no weight.
    """
    at, fx, fy = _cumulatives(x, wx, y, wy)
    return float((np.abs(fx - fy)[:-1] * np.diff(at)).sum())


def weighted_quantile(x: ArrayLike, w: ArrayLike, share: float) -> float:
    """Smallest value at which the weighted cumulative reaches `share`."""
    values, weights = _checked(x, w)
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    k = int(np.searchsorted(cumulative, share * cumulative[-1] * (1 - 1e-12)))
    return float(values[order][min(k, len(values) - 1)])


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
    if values.shape != weights.shape or values.ndim != 1 or not values.size or weights.sum() <= 0:
        raise InputError("expected a sample of sizes with one weight each, got an empty or unweighted one")
    return values, weights
