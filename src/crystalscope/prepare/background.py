"""Background and illumination of one picture."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from crystalscope.errors import InputError

_GRID = 72
"""Longer side, in cells, of the grid on which the illumination is fitted."""
_DEGREE = 4
_LEAST_SHARE = 0.1
"""A cell counts when at least this share of it may be background."""


def flat_field(grey: NDArray[np.generic], *, field: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """Large-scale illumination: a smooth surface through the background, particles left out.

    A polynomial of degree 4 in row and column is fitted to cell means by iteratively reweighted least
    squares (Tukey's biweight), of background pixels where the picture has two brightness
    classes, else from a start at the mode of the picture.

    Parameters
    ----------
    grey
        Shape (rows, columns), any real dtype.
    field
        True inside the field of view; None: everywhere.

    Returns
    -------
    Shape (rows, columns), float32, in the unit of `grey`.

    Notes
    -----
    Assumes that background is the most frequent brightness, or much the evener (`background_class`). Where
    particles cover more than half of the field and are as even the surface goes through them. Structure smaller
    than about a third of the picture is left in.
    """
    rows, columns = grey.shape
    cell = max(1.0, max(rows, columns) / _GRID)
    size = (max(1, round(columns / cell)), max(1, round(rows / cell)))
    inside = np.ones(grey.shape, dtype=bool) if field is None else field
    step = max(1, int(cell / 2))
    picture = grey.astype(np.float32)
    low, high, distinct = background_class(picture[::step, ::step][inside[::step, ::step]].astype(np.float64))
    if distinct or field is not None:
        # Mean of the pixels of a cell that may be background: cells that particles share are of use too.
        used = inside & (picture >= low) & (picture <= high) if distinct else inside
        share = cv2.resize(used.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        small = cv2.resize(np.where(used, picture, np.float32(0)), size, interpolation=cv2.INTER_AREA)
    else:
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        share = np.ones(small.shape, dtype=np.float32)
    valid = share > _LEAST_SHARE
    values = small[valid].astype(np.float64) / share[valid]
    if values.size < 40:
        level = float(np.median(values)) if values.size else float(np.median(picture))
        return np.full(grey.shape, level, dtype=np.float32)
    terms = _terms(size)
    coefficients = _robust_fit(terms[valid.ravel()], values, distinct=distinct)
    surface = _evaluate(terms, coefficients).reshape(size[1], size[0])
    low, high = float(values.min()), float(values.max())
    surface = np.clip(surface, low, high).astype(np.float32)
    return np.asarray(cv2.resize(surface, (columns, rows), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


@lru_cache(maxsize=8)
def _terms(size: tuple[int, int]) -> NDArray[np.float64]:
    """Powers of row and column at the cells of a grid of (columns, rows), (cells, terms)."""
    v, u = np.meshgrid(np.linspace(-1, 1, size[1]), np.linspace(-1, 1, size[0]), indexing="ij")
    terms = [u**i * v**j for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i)]
    return np.stack(terms, axis=-1).reshape(-1, len(terms))


def background_class(values: NDArray[np.float64]) -> tuple[float, float, bool]:
    """Which of two brightness classes is background: the larger one, unless it is uneven and the other much less so.

    Parameters
    ----------
    values
        Shape (n,), brightness of pixels, full scale 1.

    Returns
    -------
    low, high
        Range of the background's class (Otsu's two).
    distinct
        Whether there are two classes: they separate by more than 0.8 of the variance (an even gradient
        reaches 0.75, one Gaussian 0.64), or the background's is at most 0.7 times as broad as the other.

    Notes
    -----
    A crowd that covers more than half of the field is told from background by its spread: a class of at least 35 %
    is background when the larger one spreads by more than 0.1 (illumination hardly does) and it itself by less
    than 0.7 of that.
    """
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, bins=128)
    centres = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(counts)
    above = counts.sum() - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = sums / below - (sums[-1] - sums) / above
    between = np.nan_to_num(below * above * gap**2)
    k = int(between.argmax())
    total = float(values.var()) * float(counts.sum()) ** 2
    lower = values <= edges[k + 1]
    share = float(lower.mean())
    if total == 0.0 or share in (0.0, 1.0):
        return low, high, False
    spread = {True: float(values[lower].std()), False: float(values[~lower].std())}
    chosen = share >= 0.5
    even = spread[not chosen] < 0.7 * spread[chosen]
    if min(share, 1 - share) >= 0.35 and spread[chosen] > 0.1 and even:
        chosen = not chosen
    distinct = float(between[k]) / total > 0.8 or spread[chosen] < 0.7 * spread[not chosen]
    cut = float(edges[k + 1])
    return (low, cut, distinct) if chosen else (cut, high, distinct)


def _robust_fit(basis: NDArray[np.float64], values: NDArray[np.float64], *, distinct: bool) -> NDArray[np.float64]:
    """Coefficients by Tukey's biweight; `distinct`: `values` are of background already."""
    spread = float(np.subtract(*np.percentile(values, [90, 10])))
    weight = np.ones_like(values)
    if not distinct and spread > 0.0:
        counts, edges = np.histogram(values, bins=48)
        counts = np.convolve(counts, [1, 2, 3, 2, 1], mode="same")
        mode = 0.5 * (edges[counts.argmax()] + edges[counts.argmax() + 1])
        weight = (np.abs(values - mode) <= 0.6 * spread).astype(np.float64)
    coefficients = np.zeros(basis.shape[1])
    # A weak pull to zero keeps terms that the background does not determine from running away.
    ridge = 1e-6 * values.size * np.eye(basis.shape[1])
    for _ in range(12):
        matrix, right = _normal_equations(basis, weight, values)
        previous = coefficients
        coefficients = np.linalg.solve(matrix + ridge, right)
        if np.abs(coefficients - previous).max() < 1e-4 * np.abs(coefficients).max():
            break
        residual = values - _evaluate(basis, coefficients)
        used = weight > 0.2
        scale = 1.4826 * float(np.median(np.abs(residual[used] if used.sum() > 20 else residual)))
        scale = max(scale, 1e-3 * (abs(float(np.median(values))) + 1e-9))
        weight = np.clip(1.0 - (residual / (4.0 * scale)) ** 2, 0.0, None) ** 2
    return coefficients


@njit(cache=True, nogil=True)
def _normal_equations(basis, weight, values):  # type: ignore[no-untyped-def]
    """Weighted normal equations; not by BLAS, whose last digits depend on what else runs."""
    n, k = basis.shape
    matrix = np.zeros((k, k))
    right = np.zeros(k)
    for t in range(n):
        if weight[t] == 0.0:
            continue
        for i in range(k):
            w = weight[t] * basis[t, i]
            right[i] += w * values[t]
            for j in range(i, k):
                matrix[i, j] += w * basis[t, j]
    for i in range(k):
        for j in range(i):
            matrix[i, j] = matrix[j, i]
    return matrix, right


@njit(cache=True, nogil=True)
def _evaluate(basis, coefficients):  # type: ignore[no-untyped-def]
    out = np.zeros(len(basis))
    for t in range(len(basis)):
        for i in range(len(coefficients)):
            out[t] += basis[t, i] * coefficients[i]
    return out


def rolling_ball(grey: NDArray[np.generic], *, radius_px: float, dark_particles: bool) -> NDArray[np.float32]:
    """Background under particles by a ball rolled along the grey surface (Sternberg, Computer 16, 1983, 22).

    Parameters
    ----------
    grey
        Shape (rows, columns).
    radius_px
        Radius of the ball in px: larger than the largest particle, smaller than the shading.
    dark_particles
        True for dark particles on light: the ball rolls over the surface; else under it.

    Returns
    -------
    Shape (rows, columns), float32.

    Notes
    -----
    Done on a grid shrunk by up to radius/8, as usual for large balls; the background is then smooth on that
    scale. Particles larger than the ball are taken for background.
    """
    if radius_px <= 0:
        raise InputError(f"expected a ball radius above 0 px, got {radius_px}")
    rows, columns = grey.shape
    shrink = max(1.0, radius_px / 8.0)
    size = (max(1, round(columns / shrink)), max(1, round(rows / shrink)))
    small = cv2.resize(_resizable(grey), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    # One brightness range is as high as the ball is: the usual scaling of grey against px.
    top = 255.0 / max(float(np.ptp(small)), 1e-9)
    surface = (-small if dark_particles else small) * top
    radius = max(1, round(radius_px / shrink))
    offsets = range(-radius, radius + 1)
    ball = [
        (i, j, (radius * radius - i * i - j * j) ** 0.5 * shrink)
        for i in offsets
        for j in offsets
        if i * i + j * j <= radius * radius
    ]
    border = radius
    padded = cv2.copyMakeBorder(surface, border, border, border, border, cv2.BORDER_REPLICATE)

    def shifted(array: NDArray[np.float32], i: int, j: int) -> NDArray[np.float32]:
        return array[border + i : border + i + size[1], border + j : border + j + size[0]]

    lowest = np.min([shifted(padded, i, j) - z for i, j, z in ball], axis=0)
    padded = cv2.copyMakeBorder(lowest, border, border, border, border, cv2.BORDER_REPLICATE)
    opened = np.max([shifted(padded, i, j) + z for i, j, z in ball], axis=0) / top
    background = (-opened if dark_particles else opened).astype(np.float32)
    return np.asarray(cv2.resize(background, (columns, rows), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _resizable(grey: NDArray[np.generic]) -> NDArray[np.generic]:
    """`grey` in a dtype that OpenCV resizes."""
    return grey if grey.dtype in (np.uint8, np.uint16, np.float32) else grey.astype(np.float32)
