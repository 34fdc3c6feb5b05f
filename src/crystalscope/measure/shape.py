"""Shape descriptors under names that cannot be confused; each says its formula.

All take arrays of one shape, lengths in one unit, and give NaN where a denominator is 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def ecd(area: Array) -> Array:
    """Diameter of the circle of equal area, 2 sqrt(A / pi); x_A of ISO 9276-6."""
    return np.asarray(2.0 * np.sqrt(area / np.pi))


def form_factor(area: Array, perimeter: Array) -> Array:
    """4 pi A / P²: 1 for a disc, 0.785 for a square, 0.605 for an equilateral triangle.

    Called circularity in Chem. Ing. Tech. 2023, 95, 1146 and elsewhere; the published gate of 0.85 to 0.95 acts on
    this, and a perfect square fails it. Square of `circularity`. Small objects come out above 1 where the
    perimeter is under-estimated.
    """
    return _ratio(4.0 * np.pi * area, perimeter**2)


def circularity(area: Array, perimeter: Array) -> Array:
    """2 sqrt(pi A) / P: perimeter of the disc of equal area over the perimeter; ISO 9276-6."""
    return _ratio(2.0 * np.sqrt(np.pi * area), perimeter)


def aspect_ratio(feret_min: Array, feret_max: Array) -> Array:
    """x_Fmin / x_Fmax, at most 1; ISO 9276-6."""
    return _ratio(feret_min, feret_max)


def length_to_width(length: Array, width: Array) -> Array:
    """Length / width, at least 1 (the users' aspect ratio; not that of ISO 9276-6)."""
    return np.asarray(np.maximum(_ratio(length, width), 1.0))


def solidity(area: Array, hull_area: Array) -> Array:
    """A / area of the convex hull, at most 1; ISO 9276-6. Other programs call this convexity."""
    return np.asarray(np.minimum(_ratio(area, hull_area), 1.0))


def convexity(perimeter: Array, hull_perimeter: Array) -> Array:
    """Perimeter of the convex hull / P, at most 1; ISO 9276-6."""
    return np.asarray(np.minimum(_ratio(hull_perimeter, perimeter), 1.0))


def elongation(area: Array, perimeter: Array) -> Array:
    """x_E / x_LG of ISO 9276-6: thickness over geodesic length of the fibre with A = x_E x_LG, P = 2 (x_E + x_LG).

    1 where the outline is more compact than any rectangle (such as a disc). Meant for very elongated particles.
    """
    root = np.sqrt(np.maximum(perimeter**2 / 16.0 - area, 0.0))
    return _ratio(perimeter / 4.0 - root, perimeter / 4.0 + root)


def compactness(area: Array, feret_max: Array) -> Array:
    """sqrt(4 A / pi) / x_Fmax, at most 1 for a disc; ISO 9276-6."""
    return _ratio(ecd(area), feret_max)


def _ratio(numerator: Array, denominator: Array) -> Array:
    out = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)
    return out
