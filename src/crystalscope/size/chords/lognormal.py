"""Log-normal sizes and the length over width of rods, fitted to chords together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from crystalscope.size.chords.models import LARGEST_RATIO, Orientation, Shape, chord_matrix

Array = NDArray[np.float64]

FOLDS = 5
"""Every fifth channel is left out in turn, as in `unfold`, so that both errors can be compared."""

_CLASSES, _PARTS = 160, 8
"""Size classes, and sizes in each: rods have many chords at their width and length, which a coarse grid blurs."""
_STEPS = np.geomspace(1.0, LARGEST_RATIO, 257)
"""Ratios whose chords are computed; between them they are interpolated."""
_COARSE = 16
_SIGMA = (0.05, 1.6)
_Z90 = 1.2815515655446004


@dataclass(frozen=True)
class LogNormal:
    """Sizes log-normal by number.

    Parameters
    ----------
    median
        By number.
    sigma
        Standard deviation of the logarithm.
    ratio
        Length over width; 1 for spheres.
    """

    median: float
    sigma: float
    ratio: float

    def shares(self, edges: Array) -> Array:
        """(n,) share by number in classes of edges (n + 1,)."""
        return np.asarray(np.diff(ndtr(np.log(edges / self.median) / self.sigma)))

    def figures(self) -> dict[str, float]:
        """By the names of `inverse.INVERSE_FIGURES`, exact."""
        m, s2 = self.median, self.sigma**2
        out = {}
        for power, name in ((0, "0"), (3, "3")):
            middle = m * math.exp(power * s2)
            for share, z in ((10, -_Z90), (50, 0.0), (90, _Z90)):
                out[f"D{share}_{name}"] = middle * math.exp(z * self.sigma)
        return out | {"D[1,0]": m * math.exp(0.5 * s2), "D[4,3]": m * math.exp(3.5 * s2)}


class LogNormalFit:
    """Fits log-normal sizes, and the ratio where it is free, to chords in channels.

    Parameters
    ----------
    edges
        (k + 1,) of the channels.
    sd
        (k,) standard deviations of the counts.
    shape, orientation
        Of the particles.
    ratio
        Length over width; None: fitted.
    size_range
        Sizes about which is searched; the classes reach well beyond.

    Notes
    -----
    Least squares over the logarithms of median, sigma and ratio; how many particles there are follows from them. Two or
    three numbers from some ninety channels: counting noise of 1 % leaves them known to a few tenths of a per cent, but
    only if the sizes are log-normal. That is for the caller to judge, by the error of channels left out.
    """

    def __init__(
        self,
        edges: Array,
        sd: Array,
        *,
        shape: Shape,
        orientation: Orientation,
        ratio: float | None,
        size_range: tuple[float, float],
    ) -> None:
        self.edges, self.sd, self.shape, self.orientation = edges, sd, shape, orientation
        self.ratio = 1.0 if shape == "sphere" else ratio
        self.range = size_range
        self.classes = np.geomspace(0.3 * size_range[0], 2 * size_range[1], _CLASSES + 1)
        self._made: dict[float, Array] = {}

    def fit(self, counts: Array, start: LogNormal | None = None, *, use: NDArray[np.bool_] | None = None) -> LogNormal:
        """The best log-normal.

        Parameters
        ----------
        counts
            (k,) chords.
        start
            Near which it is looked for; None: everywhere.
        use
            (k,) channels that count; None: all.
        """
        from scipy.optimize import least_squares

        chosen = np.ones(len(counts), dtype=bool) if use is None else use
        low, high = (math.log(v) for v in self.range)

        def residuals(x: Array) -> Array:
            expected = self._expected(LogNormal(math.exp(x[0]), math.exp(x[1]), self._ratio(x)))
            a, c = (expected / self.sd)[chosen], (counts / self.sd)[chosen]
            power = float(a @ a)
            return np.asarray(c - (float(a @ c) / power if power > 0 else 0.0) * a)

        lower = [low - 1.0, math.log(_SIGMA[0])]
        upper = [high, math.log(_SIGMA[1])]
        if self.ratio is None:
            lower.append(0.0)
            upper.append(math.log(LARGEST_RATIO))
        if start is None:
            ratios = [self.ratio] if self.ratio is not None else _STEPS[:: 2 * _COARSE].tolist()
            starts = [
                LogNormal(math.exp(low + s * (high - low)), sigma, r)
                for s in (0.4, 0.6, 0.8)
                for sigma in (0.2, 0.5)
                for r in ratios
            ]
            # The best of a grid is near enough.
            start = min(starts, key=lambda p: float((residuals(self._point(p)) ** 2).sum()))
        x0 = np.clip(self._point(start), np.array(lower) + 1e-9, np.array(upper) - 1e-9)
        x = least_squares(residuals, x0, bounds=(lower, upper), diff_step=1e-3, xtol=1e-6, ftol=1e-8).x
        return LogNormal(math.exp(x[0]), math.exp(x[1]), self._ratio(x))

    def predicted(self, found: LogNormal, counts: Array) -> Array:
        """(k,) chords of a log-normal, as many as fit the counts best."""
        expected = self._expected(found)
        a, c = expected / self.sd, counts / self.sd
        return np.asarray(expected * float(a @ c) / max(float(a @ a), 1e-300))

    def left_out(self, counts: Array, near: LogNormal) -> float:
        """Mean squared error of channels left out, in sd², as `unfold` gives it."""
        number, total = np.arange(len(counts)) % FOLDS, 0.0
        for fold in range(FOLDS):
            out = number == fold
            found = self.fit(counts, near, use=~out)
            expected = self._expected(found)
            a, c = (expected / self.sd)[~out], (counts / self.sd)[~out]
            scale = float(a @ c) / max(float(a @ a), 1e-300)
            total += float((((scale * expected - counts) / self.sd)[out] ** 2).sum())
        return total / len(counts)

    def _point(self, p: LogNormal) -> Array:
        x = [math.log(p.median), math.log(p.sigma)]
        return np.array(x if self.ratio is not None else [*x, math.log(p.ratio)])

    def _ratio(self, x: Array) -> float:
        return self.ratio if self.ratio is not None else float(np.clip(math.exp(x[2]), 1.0, LARGEST_RATIO))

    def _expected(self, p: LogNormal) -> Array:
        shares = p.shares(self.classes)
        if self.ratio is not None:
            return self._matrix(self.ratio) @ shares
        at = math.log(p.ratio) / math.log(float(_STEPS[1]))
        k = min(int(at), len(_STEPS) - 2)
        below, above = (self._matrix(float(_STEPS[j])) @ shares for j in (k, k + 1))
        return np.asarray(below + (at - k) * (above - below))

    def _matrix(self, ratio: float) -> Array:
        if ratio not in self._made:
            self._made[ratio] = chord_matrix(
                self.edges, self.classes, shape=self.shape, ratio=ratio, orientation=self.orientation, parts=_PARTS
            )
        return self._made[ratio]
