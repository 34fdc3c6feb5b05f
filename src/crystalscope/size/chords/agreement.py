"""Image and probe side by side, and the mapping from one to the other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crystalscope.core import Figure
from crystalscope.errors import InputError
from crystalscope.size.chords.distribution import ChordDistribution, Weighting, common_edges

Array = NDArray[np.float64]
WEIGHTINGS: tuple[Weighting, ...] = ("none", "square")


@dataclass(frozen=True)
class Agreement:
    """Two chord length distributions in the channels that both have.

    Parameters
    ----------
    edges
        (k + 1,) of these channels.
    ks
        Largest difference of the cumulatives at the edges, by weighting: ``none`` and ``square``.
    statistics
        Rows by weighting and statistic; columns first, second, ratio (second over first).
    """

    edges: Array
    ks: dict[str, float]
    statistics: pd.DataFrame


def compare_chords(first: ChordDistribution, second: ChordDistribution) -> Agreement:
    """Compare two distributions, such as those of pictures and of a probe, in their common channels.

    Raises
    ------
    InputError
        When units differ or fewer than three channels are common.

    Notes
    -----
    Between edges nothing is known, so that the distance is that at the edges. A picture does not resolve chords of a
    few pixels and a probe splits rough crystals into short chords: a large distance without weighting and a small one
    with squares is common (Agimelen et al., Chem. Eng. Sci. 144 (2016) 87).
    """
    edges = common_edges(first, second)
    a, b = first.in_channels(edges), second.in_channels(edges)
    ks: dict[str, float] = {}
    rows = []
    for w in WEIGHTINGS:
        ks[w] = float(np.abs(a.cumulative(w) - b.cumulative(w)).max())
        one, two = a.statistics(w), b.statistics(w)
        for name in one:
            if name == "counts" and w != "none":
                continue
            ratio = two[name] / one[name] if one[name] else math.nan
            rows.append({"weighting": w, "statistic": name, "first": one[name], "second": two[name], "ratio": ratio})
    return Agreement(edges, ks, pd.DataFrame(rows))


@dataclass(frozen=True, eq=False)
class Mapping:
    """A power law from a statistic of the probe to a size of the pictures: size = scale * statistic ** exponent.

    Parameters
    ----------
    scale, exponent
        With intervals.
    residual
        Standard deviation of the logarithm of the size about the law.
    n
        Pairs that it was fitted to.
    level
        Of all intervals.
    low, high
        Smallest and largest statistic that was fitted.
    """

    scale: Figure
    exponent: Figure
    residual: float
    n: int
    level: float
    low: float
    high: float
    _covariance: Array
    _tail: float

    def predict(self, statistic: ArrayLike) -> tuple[Array, Array, Array]:
        """Size with the interval of a new suspension: size, lower, upper; NaN outside of 0.8 low to 1.25 high."""
        x = np.atleast_1d(np.asarray(statistic, dtype=float))
        known = (x >= 0.8 * self.low) & (x <= 1.25 * self.high)
        logs = np.log(np.where(known, x, 1.0))
        middle = math.log(self.scale.value) + self.exponent.value * logs
        design = np.column_stack([np.ones_like(logs), logs])
        spread = np.sqrt(self.residual**2 + np.einsum("ij,jk,ik->i", design, self._covariance, design))
        out = [np.exp(middle + k * self._tail * spread) for k in (0, -1, 1)]
        size, lower, upper = (np.where(known, v, math.nan) for v in out)
        return size, lower, upper


def fit_mapping(statistic: ArrayLike, size: ArrayLike, *, level: float = 0.95) -> Mapping:
    """Fit a power law by least squares of the logarithms.

    Parameters
    ----------
    statistic
        (n,) of the probe, such as the square-weighted median chord, um.
    size
        (n,) of the pictures, such as D50 by volume, um.
    level
        Of the intervals (Student's).

    Raises
    ------
    InputError
        With fewer than 4 pairs, values that are not above 0, or one statistic only.

    Notes
    -----
    Assumes suspensions of one kind of crystal at one setting of the probe, and errors of equal ratio. The law is
    empirical: outside of what was fitted it says nothing.
    """
    from scipy.stats import t as student

    x, y = (np.asarray(v, dtype=float).ravel() for v in (statistic, size))
    if x.shape != y.shape or x.size < 4:
        raise InputError(f"expected at least 4 pairs of statistic and size, got {x.size} and {y.size}; measure more")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and x.min() > 0 and y.min() > 0):
        raise InputError("expected finite statistics and sizes above 0; leave out suspensions without particles")
    if np.ptp(np.log(x)) < 1e-6:
        raise InputError(f"expected statistics that differ, got {x[0]:g} throughout; add suspensions of other sizes")
    design = np.column_stack([np.ones_like(x), np.log(x)])
    inverse = np.linalg.inv(design.T @ design)
    b = inverse @ design.T @ np.log(y)
    residual = math.sqrt(float(((np.log(y) - design @ b) ** 2).sum()) / (x.size - 2))
    tail = float(student.ppf(0.5 + level / 2, x.size - 2))
    covariance = residual**2 * inverse
    error = tail * np.sqrt(np.diag(covariance))
    scale = Figure(math.exp(b[0]), math.exp(b[0] - error[0]), math.exp(b[0] + error[0]), level)
    exponent = Figure(float(b[1]), float(b[1] - error[1]), float(b[1] + error[1]), level)
    return Mapping(scale, exponent, residual, x.size, level, float(x.min()), float(x.max()), covariance, tail)
