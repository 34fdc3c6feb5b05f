"""From sizes and shapes to chord lengths: spheres, ellipsoids and rods."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystalscope.errors import InputError
from crystalscope.size.chords.geometry import line_chords

Array = NDArray[np.float64]
Shape = Literal["sphere", "ellipsoid", "rod"]
Orientation = Literal["random", "aligned"]

SHAPES: tuple[Shape, ...] = ("sphere", "ellipsoid", "rod")
ORIENTATIONS: tuple[Orientation, ...] = ("random", "aligned")
LARGEST_RATIO = 100.0
"""Largest length over width of the models."""

_TILTS, _TURNS = 32, 120
# Fine where nearly round bodies have most of their chords, at their diameter.
_EDGES = np.concatenate([[0.0], np.geomspace(1e-4, 0.04, 150), np.linspace(0.04, 1.4150, 1200)[1:]])


def sphere_cumulative(chord: ArrayLike, diameter: float) -> Array:
    """Share of the chords of a sphere that are at most `chord`: 1 - sqrt(1 - (l/D)²), random lines across its disc."""
    ratio = np.clip(np.asarray(chord, dtype=float) / diameter, 0.0, 1.0)
    return np.asarray(1.0 - np.sqrt(1.0 - ratio * ratio))


def rectangle_cumulative(chord: ArrayLike, length: float, width: float) -> Array:
    """Share of the chords of a rectangle that are at most `chord`, lines of every direction equally.

    The silhouette of a rod that lies across the line of sight. With a the longer and b the shorter side, lines longer
    than l have the measure a + b - l up to b, a (1 - sqrt(1 - b²/l²)) up to a, and
    l - a sqrt(1 - b²/l²) - b sqrt(1 - a²/l²) up to the diagonal, out of a + b.

    Parameters
    ----------
    chord
        Lengths of any shape, at least 0.
    length, width
        Sides, in the unit of the chords.
    """
    a, b = max(length, width), min(length, width)
    x = np.maximum(np.asarray(chord, dtype=float), 1e-12 * a)
    across, along = (np.sqrt(np.maximum(1.0 - (side / x) ** 2, 0.0)) for side in (b, a))
    longer = np.where(
        x <= b, a + b - x, np.where(x <= a, a * (1.0 - across), np.maximum(x - a * across - b * along, 0.0))
    )
    longer = np.where(x >= math.hypot(a, b), 0.0, longer)
    return np.asarray(1.0 - longer / (a + b))


def chord_measure(
    chord: ArrayLike, size: ArrayLike, *, shape: Shape, ratio: float = 1.0, orientation: Orientation = "random"
) -> Array:
    """Breadth over which random lines cut chords longer than `chord` from the silhouettes of a particle.

    Parameters
    ----------
    chord
        (k,) lengths, at least 0.
    size
        (n,) diameters of spheres, lengths of ellipsoids and rods, in the unit of the chords.
    shape
        sphere; ellipsoid: of revolution about its length; rod: a round cylinder.
    ratio
        Length over width, 1 to 100; ignored for spheres.
    orientation
        random: the axis points anywhere in space. aligned: it lies in the focal plane, in every direction of it.

    Returns
    -------
    (k, n) in the unit of the sizes; at 0 the mean breadth of the silhouettes.

    Notes
    -----
    Lines cut the silhouette, as a spot that is reflected from the whole of it; a particle that reflects only in part
    shows shorter chords. Source: Li and Wilkinson, Chem. Eng. Sci. 60 (2005) 3251 (lines across silhouettes);
    Agimelen et al., Chem. Eng. Sci. 123 (2015) 629.
    """
    c, d = np.asarray(chord, dtype=float)[:, None], np.asarray(size, dtype=float)[None, :]
    _check(shape, ratio, orientation)
    if shape == "sphere":
        return np.asarray(d * np.sqrt(np.maximum(1.0 - (c / d) ** 2, 0.0)))
    if shape == "rod" and orientation == "aligned":
        breadth = 2.0 / math.pi * (1.0 + 1.0 / ratio)
        return np.asarray(d * breadth * (1.0 - rectangle_cumulative(c / d, 1.0, 1.0 / ratio)))
    longer = _table(shape, round(ratio, 9), orientation)
    return np.asarray(d * np.interp(c / d, _EDGES, longer))


def chord_matrix(
    edges: ArrayLike,
    size_edges: ArrayLike,
    *,
    shape: Shape,
    ratio: float = 1.0,
    orientation: Orientation = "random",
    parts: int = 6,
) -> Array:
    """Chords in every channel that one particle of every size class makes.

    Parameters
    ----------
    edges
        (k + 1,) of the channels.
    size_edges
        (n + 1,) of the size classes, above 0; within a class sizes are spread evenly over their logarithm.
    shape, ratio, orientation
        As in `chord_measure`.
    parts
        Sizes that stand for a class.

    Returns
    -------
    (k, n) breadth, in the unit of the sizes.
    """
    logs = np.log(np.asarray(size_edges, dtype=float))
    share = (np.arange(parts) + 0.5) / parts
    out = np.zeros((len(np.asarray(edges)) - 1, len(logs) - 1))
    for s in share:
        size = np.exp(logs[:-1] + s * np.diff(logs))
        out -= np.diff(chord_measure(edges, size, shape=shape, ratio=ratio, orientation=orientation), axis=0) / parts
    return np.maximum(out, 0.0)


def mean_breadth(*, shape: Shape, ratio: float = 1.0, orientation: Orientation = "random") -> float:
    """Mean breadth of the silhouettes over the size."""
    return float(chord_measure([0.0], [1.0], shape=shape, ratio=ratio, orientation=orientation)[0, 0])


def _check(shape: str, ratio: float, orientation: str) -> None:
    if shape not in SHAPES:
        raise InputError(f"expected shape {', '.join(SHAPES)}, got {shape!r}")
    if orientation not in ORIENTATIONS:
        raise InputError(f"expected orientation {' or '.join(ORIENTATIONS)}, got {orientation!r}")
    if not 1 <= ratio <= LARGEST_RATIO:
        raise InputError(f"expected length over width from 1 to {LARGEST_RATIO:g}, got {ratio}; give length / width")


@lru_cache(maxsize=64)
def _table(shape: Shape, ratio: float, orientation: Orientation) -> Array:
    """Measure of chords longer than `_EDGES`, for a length of 1."""
    # Evenly over the cosine: every direction in space equally often.
    cosines = (np.arange(_TILTS) + 0.5) / _TILTS if orientation == "random" else np.zeros(1)
    thick = 1.0 / ratio
    longer = np.zeros(len(_EDGES))
    for cosine in cosines:
        sine = math.sqrt(1.0 - cosine * cosine)
        if shape == "ellipsoid":
            longer += _ellipse_measure(math.hypot(sine, thick * cosine), thick)
        else:
            counts = line_chords([_cylinder(sine, cosine, thick)], _EDGES, weight=1.0, directions=_TURNS)
            longer += np.concatenate([np.cumsum(counts[::-1])[::-1], [0.0]])
    return np.asarray(longer / len(cosines))


def _ellipse_measure(length: float, width: float) -> Array:
    """Measure of chords longer than `_EDGES` of an ellipse, mean over directions."""
    turn = 0.5 * math.pi * (np.arange(_TURNS) + 0.5) / _TURNS
    c, s = np.cos(turn), np.sin(turn)
    breadth = np.hypot(length * s, width * c)
    # Across an ellipse the chords are those of a disc, stretched: longest chord times breadth = length times width.
    share = _EDGES[:, None] * breadth / (length * width)
    return np.asarray((breadth * np.sqrt(np.maximum(1.0 - share * share, 0.0))).mean(axis=1))


def _cylinder(sine: float, cosine: float, thick: float) -> Array:
    """Silhouette of a cylinder of length 1: a rectangle between two half ellipses."""
    turn = math.pi * np.arange(25) / 24
    x, y = 0.5 * thick * cosine * np.sin(turn), 0.5 * thick * np.cos(turn)
    right = np.column_stack([0.5 * sine + x, y])
    return np.concatenate([right, -right])
