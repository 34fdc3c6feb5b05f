"""Counts back to the distribution that made them: non-negative least squares with a smoothness that the data choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crystalscope.errors import InputError

Array = NDArray[np.float64]
Choice = Literal["l-curve", "cross-validation"]

_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Unfolded:
    """A distribution found from counts.

    Parameters
    ----------
    values
        (n,) amounts in the classes, at least 0.
    strength
        Of the smoothing in force.
    misfit
        Sum of squares of (counts - matrix @ values) / sd.
    strengths, misfits, roughness
        (s,) of all strengths that were tried: what the L-curve is drawn from.
    validation
        (s,) mean squared error of channels left out, in sd²; empty where the L-curve chose.
    """

    values: Array
    strength: float
    misfit: float
    strengths: Array
    misfits: Array
    roughness: Array
    validation: Array


def unfold(
    matrix: Array, counts: Array, *, sd: Array, choose: Choice = "cross-validation", strengths: Array | None = None
) -> Unfolded:
    """Solve matrix @ values = counts for values >= 0, smooth in their second differences.

    Parameters
    ----------
    matrix
        (k, n) counts in every channel that one unit of every class makes.
    counts
        (k,) measured.
    sd
        (k,) their standard deviations, above 0.
    choose
        cross-validation: every fifth channel is left out in turn, and the strength that predicts them best is taken.
        l-curve: the corner of misfit against roughness in logarithms, where more smoothing starts to cost.
    strengths
        (s,) to try, relative to the scale of the problem; None: nineteen from 1e-2 to 1e4. A single one is taken
        as it is.

    Raises
    ------
    InputError
        When shapes differ, a standard deviation is not above 0, or no class reaches a channel.

    Notes
    -----
    Tikhonov's method: minimise |(counts - A x) / sd|² + strength² |L x|², L the second differences, x scaled by its
    columns' norms (P. C. Hansen, Rank-Deficient and Discrete Ill-Posed Problems, SIAM 1998). Smoothing widens peaks
    that are narrower than a few classes; two peaks nearer than that come out as one.
    """
    a, c, s = (np.asarray(v, dtype=float) for v in (matrix, counts, sd))
    if a.ndim != 2 or c.shape != (a.shape[0],) or s.shape != c.shape:
        raise InputError(f"expected counts and deviations of {a.shape[0]} channels, got {c.shape} and {s.shape}")
    if not (s > 0).all() or not np.isfinite(c).all():
        raise InputError("expected finite counts and standard deviations above 0")
    weighted, target = a / s[:, None], c / s
    reached = np.linalg.norm(weighted, axis=0)
    if reached.max() <= 0:
        raise InputError("expected size classes that make chords in the channels, got none; widen the range of sizes")
    # Against typical values, so that strengths mean the same whatever the counts.
    level = float(c.sum() / a.sum(axis=0).max())
    smooth = np.diff(np.eye(a.shape[1]), n=2, axis=0) / max(level, 1e-300)
    tried = np.geomspace(1e-2, 1e4, 19) if strengths is None else np.asarray(strengths, dtype=float)
    solutions = [_solve(weighted, target, smooth, t) for t in tried]
    misfits = np.array([float(((weighted @ x - target) ** 2).sum()) for x in solutions])
    roughness = np.array([float(((smooth @ x) ** 2).sum()) for x in solutions])
    validation = np.zeros(0)
    if len(tried) == 1:
        best = 0
    elif choose == "cross-validation":
        validation = np.array([_left_out(weighted, target, smooth, t) for t in tried])
        best = int(np.argmin(validation))
    else:
        best = _corner(misfits, roughness)
    return Unfolded(solutions[best], float(tried[best]), float(misfits[best]), tried, misfits, roughness, validation)


def _solve(weighted: Array, target: Array, smooth: Array, strength: float) -> Array:
    from scipy.optimize import nnls

    stacked = np.vstack([weighted, strength * smooth])
    wanted = np.concatenate([target, np.zeros(len(smooth))])
    # Normal equations by Cholesky keep the problem at the number of classes, which is what makes a bootstrap quick.
    square = stacked.T @ stacked
    scale = np.sqrt(np.diag(square))
    scale[scale == 0] = 1.0
    square = square / np.outer(scale, scale) + 1e-12 * np.eye(len(square))
    root = np.linalg.cholesky(square)
    right = np.linalg.solve(root, stacked.T @ wanted / scale)
    x, _ = nnls(root.T, right, maxiter=50 * len(square))
    return np.asarray(x / scale)


def _left_out(weighted: Array, target: Array, smooth: Array, strength: float) -> float:
    total = 0.0
    number = np.arange(len(target))
    for fold in range(_FOLDS):
        out = number % _FOLDS == fold
        x = _solve(weighted[~out], target[~out], smooth, strength)
        total += float(((weighted[out] @ x - target[out]) ** 2).sum())
    return total / len(target)


def _corner(misfits: Array, roughness: Array) -> int:
    """Where the L-curve bends most: the largest curvature of log roughness over log misfit."""
    x, y = np.log(np.maximum(misfits, 1e-300)), np.log(np.maximum(roughness, 1e-300))
    t = np.arange(len(x), dtype=float)
    dx, dy = np.gradient(x, t), np.gradient(y, t)
    ddx, ddy = np.gradient(dx, t), np.gradient(dy, t)
    curvature = (dx * ddy - dy * ddx) / np.maximum((dx**2 + dy**2) ** 1.5, 1e-12)
    return int(np.argmax(curvature[1:-1])) + 1
