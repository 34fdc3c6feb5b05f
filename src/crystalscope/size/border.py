"""Corrections for particles that the edge of the picture cuts."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from crystalscope.errors import InputError

Array = NDArray[np.float64]
_ANGLES = 180


def border_weights(touches: NDArray[np.bool_], weight: Array, *, method: str) -> Array:
    """Weight of every particle under a border rule; 0 leaves it out.

    ``miles-lantuejoul``: particles that touch the border are left out and the others count with the area of the field
    over that in which they fit (Miles 1974; Lantuejoul 1980; ISO 13322-1), unbiased for any shape that fits into the
    field. ``drop``: left out without compensation; large particles are under-represented. ``none``: all count
    with what is visible of them; biased towards small.

    Parameters
    ----------
    touches
        (n,) whether the border is touched.
    weight
        (n,) column border_weight of the particle table.
    method
        As above.

    Raises
    ------
    InputError
        On an unknown method.
    """
    if method == "none":
        return np.ones(len(touches))
    if method == "drop":
        return (~touches).astype(float)
    if method == "miles-lantuejoul":
        # NaN also where a particle does not fit anywhere without touching: it cannot be represented.
        return np.where(touches | ~np.isfinite(weight), 0.0, weight)
    raise InputError(f"expected none, drop or miles-lantuejoul, got {method!r}")


def censored_lengths(
    inside: Array, cut: Array, *, field: tuple[float, float], bins: int = 40, iterations: int = 400
) -> tuple[Array, Array]:
    """Length distribution of needles by maximum likelihood from whole and cut ones.

    Needles are sticks of random position and direction; a whole one shows its length, a cut one a lower bound. Both are
    used, so needles longer than the field still count (Larsen and Rawlings, AIChE J. 55 (2009) 896).

    Parameters
    ----------
    inside
        (n,) lengths of needles that do not touch the border.
    cut
        (m,) visible lengths of those that do.
    field
        (height, width) of the picture in the unit of the lengths.
    bins
        Classes from 0 to 1.5 times the longest visible length.
    iterations
        Steps of expectation-maximisation.

    Returns
    -------
    length
        (bins,) class middles.
    density
        (bins,) needles per unit area of the suspension's projection.

    Raises
    ------
    InputError
        When there is no needle.

    Notes
    -----
    Assumes isotropic directions, a rectangular field and needles thin against it. Above the longest whole needle the
    classes are told apart by cut ones only and are poorly determined. The number of iterations regularises.
    """
    inside, cut = np.asarray(inside, dtype=float), np.asarray(cut, dtype=float)
    if inside.size + cut.size == 0:
        raise InputError("expected needles, got none")
    a, b = field
    top = 1.5 * max(float(inside.max(initial=0)), float(cut.max(initial=0)))
    edges = np.linspace(0, top, bins + 1)
    middle = 0.5 * (edges[1:] + edges[:-1])
    theta = (np.arange(_ANGLES) + 0.5) * (math.pi / 2 / _ANGLES)
    c, s = np.cos(theta), np.sin(theta)

    def span(length: Array) -> tuple[Array, Array]:
        return np.maximum(a - np.outer(length, s), 0), np.maximum(b - np.outer(length, c), 0)

    def ends(length: Array) -> Array:
        """Rate of visible length for needles with one end in the field."""
        u, v = span(length)
        return np.asarray(2 * (s * v * (u > 0) + c * u * (v > 0)).mean(axis=1))

    def through(length: Array) -> Array:
        """Rate of visible length, per excess length, for needles with both ends outside."""
        u, v = span(length)
        return np.asarray((2 * c * s * ((u > 0) & (v > 0))).mean(axis=1))

    u, v = span(middle)
    whole = (u * v).mean(axis=1)
    step = edges[1] - edges[0]
    excess = np.maximum(middle[:, None] - middle[None, :], 0)
    longer = middle[None, :] <= middle[:, None]
    partial = ((ends(middle)[None, :] * longer + through(middle)[None, :] * excess) * step).sum(axis=1)
    seen = whole + partial
    counts = np.histogram(inside, bins=edges)[0]
    likelihood = ends(cut)[:, None] * (middle[None, :] >= cut[:, None]) + through(cut)[:, None] * np.maximum(
        middle[None, :] - cut[:, None], 0
    )
    density = np.full(bins, (inside.size + cut.size) / seen.sum())
    for _ in range(iterations):
        expected = counts.astype(float)
        if cut.size:
            joint = likelihood * density
            expected = expected + (joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-300)).sum(axis=0)
        density = expected / seen
    return middle, density
