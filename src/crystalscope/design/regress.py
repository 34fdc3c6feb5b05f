"""Ridge regression and a Gaussian process for few rows: small, exact, the same every time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_PENALTIES = np.geomspace(1e-3, 1e4, 29)
_LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
_LINEAR = (0.0, 0.5, 0.9)
_NOISES = np.geomspace(1e-3, 3.0, 12)


@dataclass(frozen=True, eq=False)
class Scaler:
    """Centre and scale of columns; constant columns become 0."""

    centre: Array
    scale: Array

    @classmethod
    def of(cls, x: Array) -> Scaler:
        """Of the rows of (n, p)."""
        sd = x.std(axis=0)
        return cls(x.mean(axis=0), np.where(sd > 1e-12, sd, np.inf))

    def __call__(self, x: Array) -> Array:
        """Standardised, at most 6 standard deviations from the centre: far values must not run away with a line."""
        return np.clip((x - self.centre) / self.scale, -6, 6)


@dataclass(frozen=True, eq=False)
class Ridge:
    """y = a + X b with the penalty of the least leave-one-out error (Golub, Heath, Wahba, Technometrics 21 (1979)
    215).
    """

    scaler: Scaler
    intercept: float
    slopes: Array
    penalty: float

    @classmethod
    def fit(cls, x: Array, y: Array, *, weights: Array | None = None) -> Ridge:
        """Fit.

        Parameters
        ----------
        x
            (n, p).
        y
            (n,).
        weights
            (n,) of the rows; None: equal.
        """
        w = np.ones(len(y)) if weights is None else weights / weights.mean()
        scaler = Scaler.of(x)
        z = scaler(x)
        root = np.sqrt(w)
        middle_z, middle_y = (w @ z) / w.sum(), float(w @ y) / w.sum()
        u, s, vt = np.linalg.svd(root[:, None] * (z - middle_z), full_matrices=False)
        target = root * (y - middle_y)
        uy = u.T @ target
        best = (np.inf, 0.0)
        for penalty in _PENALTIES:
            shrink = s**2 / (s**2 + penalty)
            residual = target - u @ (shrink * uy)
            left = 1 - (u**2) @ shrink - w / w.sum()
            error = float(np.mean((residual / np.maximum(left, 1e-6)) ** 2))
            best = min(best, (error, float(penalty)))
        slopes = vt.T @ (s / (s**2 + best[1]) * uy)
        return cls(scaler, middle_y - float(middle_z @ slopes), slopes, best[1])

    def predict(self, x: Array) -> Array:
        """(n,) of (n, p)."""
        return np.asarray(self.intercept + self.scaler(x) @ self.slopes)


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """Constant mean, kernel v (l X X'/p + (1 - l) Matern-5/2(r / (a sqrt(p)))), and noise.

    Hyperparameters are those of the largest marginal likelihood on a grid with the variance v in closed form: no start
    value, no local optimum, the same on every machine. Inputs are standardised and share one length scale; with a few
    tens of rows scales for each input would be fitted to the noise.
    """

    scaler: Scaler
    x: Array
    centre: float
    spread: float
    length: float
    linear: float
    noise: float
    variance: float
    inverse: Array
    weights: Array

    @classmethod
    def fit(cls, x: Array, y: Array, *, noise_weights: Array | None = None) -> GaussianProcess:
        """Fit to (n, p) and (n,); `noise_weights` divides the noise variance of each row (relative trust)."""
        scaler = Scaler.of(x)
        z = scaler(x)
        centre, spread = float(y.mean()), float(max(y.std(), 1e-12))
        t = (y - centre) / spread
        extra = np.ones(len(y)) if noise_weights is None else 1 / np.maximum(noise_weights, 1e-6)
        root = np.sqrt(extra)
        squared = _squared(z, z)
        shapes = [(length, linear) for length in _LENGTHS for linear in _LINEAR]
        matern = {length: _matern(squared, length) for length in _LENGTHS}
        line = z @ z.T / z.shape[1] + 1
        kernels = np.stack([linear * line + (1 - linear) * matern[length] for length, linear in shapes])
        values, vectors = np.linalg.eigh(kernels / np.outer(root, root))
        projected = (np.swapaxes(vectors, 1, 2) @ (t / root)) ** 2
        d = np.maximum(values, 0)[:, None] + _NOISES[:, None]
        variances = (projected[:, None] / d).mean(axis=2)
        # A weak preference for noise about a tenth of the signal: short tables are not interpolated.
        prior = 0.5 * (np.log(_NOISES / 0.1) / 2.0) ** 2
        cost = 0.5 * (len(t) * np.log(np.maximum(variances, 1e-12)) + np.log(d).sum(axis=2)) + prior
        shape, at = np.unravel_index(int(np.argmin(cost)), cost.shape)
        length, linear = shapes[shape]
        noise, variance = float(_NOISES[at]), float(variances[shape, at])
        kernel = linear * (z @ z.T / z.shape[1] + 1) + (1 - linear) * _matern(squared, length)
        inverse = np.linalg.inv(kernel + noise * np.diag(extra))
        return cls(scaler, z, centre, spread, length, linear, noise, variance, inverse, inverse @ t)

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of a new measurement, (n,) each."""
        z = self.scaler(x)
        p = z.shape[1]
        cross = self.linear * (z @ self.x.T / p + 1) + (1 - self.linear) * _matern(_squared(z, self.x), self.length)
        own = self.linear * ((z**2).sum(axis=1) / p + 1) + (1 - self.linear)
        left = np.maximum(own - np.einsum("ij,jk,ik->i", cross, self.inverse, cross), 0.0)
        sd = self.spread * np.sqrt(self.variance * (left + self.noise))
        return self.centre + self.spread * (cross @ self.weights), sd


def _squared(a: Array, b: Array) -> Array:
    d = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * a @ b.T
    return np.maximum(d, 0.0) / a.shape[1]


def _matern(squared: Array, length: float) -> Array:
    r = np.sqrt(5 * squared) / length
    return np.asarray((1 + r + r**2 / 3) * np.exp(-r))
