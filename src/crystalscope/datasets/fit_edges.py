"""Blur of the lens from edges of particles: the sharpest ones, and the range of the ghosts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Picture = NDArray[np.float32]

_HALF = 7
_ACROSS = 5.5
"""Half width of the window of an edge across it, px."""
_ALONG = 2.5
"""Half width along it: an average over this much, short enough for the bends of a crystal of 20 px."""
_WIDTHS = np.geomspace(0.3, 5.0, 24)
_SHIFTS = np.linspace(-1.2, 1.2, 7)
_WIDEST = 3.9
"""Broader edges do not reach their plateaus within the window."""
_MISFIT = 0.05
"""Root mean square residual relative to the contrast, beyond the noise, of an edge between two even sides."""
_CONTRAST = 0.15
"""Least contrast of an edge relative to the ground, or to the largest contrast of the picture where that is less."""
_PER_FRAME = 500
_COARSE = 4
"""Reduction of the picture in which blurred edges are measured."""
_SHARPEST = 0.07
"""Quantile of the widths of edges that is taken for the lens: bodies lie on both sides of the focal plane, and the
density of their blur is highest at its least value."""
_LEAST = 30
_PIXEL = 1 / 12
"""Variance that the area of a pixel adds, px²."""


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges of a set of frames.

    Parameters
    ----------
    width_px
        (edges,) standard deviation of the blur of edges between two even sides, that of the pixel taken off.
    frame
        (edges,) frame that each belongs to.
    blur_px
        Of the lens in focus; NaN with fewer than 30 edges.
    per_frame
        (frames,) the same from each frame alone, NaN where it has too few.
    ghosts
        10th and 90th percentile of edges blurred by more than twice as much, px; NaN where there are none.
    overshoot
        Bright fringe outside of dark edges relative to their contrast, median; NaN where unknown.
    """

    width_px: Floats
    frame: NDArray[np.intp]
    blur_px: float
    per_frame: Floats
    ghosts: tuple[float, float]


def fit_edges(
    ratios: Sequence[Picture], *, valid: Sequence[NDArray[np.bool_]], noise: float, seed: int = 0
) -> Edges:
    """Measure the blur of edges.

    Parameters
    ----------
    ratios
        (rows, columns) each: picture over its ground, black level taken off.
    valid
        (rows, columns) each: pixels that are in the field and not saturated; an edge needs all around it.
    noise
        Standard deviation of the noise at the ground, relative to it.
    seed
        Of the choice of edges where there are more than 500 to a frame.

    Returns
    -------
    Edges

    Notes
    -----
    At maxima of the gradient a straight edge blurred by a Gaussian, low + contrast x Phi(d / width), is fitted to the
    pixels of a window of 11 x 5 px turned with it, none of them interpolated; width and place by search, levels by
    least squares. For a step this is contrast / (sqrt(2 pi) x largest slope). Kept are those whose two sides are even.
    Thin lines, which would read too sharp, do not fit; a bright fringe along the edges (halo, sharpening) makes the
    reading smaller, round edges make it larger. Where no body lies in focus, the sharpest there is gets measured.
    """
    rng = np.random.default_rng(seed)
    found = [_edges(r, v, noise, rng) for r, v in zip(ratios, valid, strict=True)]
    width = np.concatenate(found) if found else np.zeros(0)
    frame = np.repeat(np.arange(len(found)), [len(f) for f in found])
    blur = _sharpest(width)
    blurred = [w[w > 2 * blur] for w in found] if math.isfinite(blur) else []
    for r, v in zip(ratios, valid, strict=True):
        size = (r.shape[1] // _COARSE, r.shape[0] // _COARSE)
        if not blurred or min(size) < 4 * _HALF:
            continue
        small = cv2.resize(r, size, interpolation=cv2.INTER_AREA)
        whole = cv2.resize(v.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > 0
        coarse = _COARSE * _edges(small, whole, noise / _COARSE, rng, contrast=0.05)
        blurred.append(coarse[coarse > max(2 * blur, 0.9 * _WIDEST)])
    ghosts = np.concatenate(blurred) if blurred else np.zeros(0)
    low, high = (float(np.quantile(ghosts, q)) for q in (0.1, 0.9)) if len(ghosts) >= _LEAST else (math.nan, math.nan)
    return Edges(width, frame, blur, np.array([_sharpest(f) for f in found]), (low, high))


def _sharpest(width: Floats) -> float:
    return float(np.quantile(width, _SHARPEST)) if len(width) >= _LEAST else math.nan


def _edges(
    ratio: Picture, valid: NDArray[np.bool_], noise: float, rng: np.random.Generator, *, contrast: float = _CONTRAST
) -> Floats:
    """Widths (px) and fringes of the edges of a picture that lie between two even sides, (edges, 2)."""
    smooth = cv2.GaussianBlur(ratio, (0, 0), 1.0)
    x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3) / 8
    y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3) / 8
    steep = np.hypot(x, y)
    flat = np.abs(x) >= np.abs(y)
    peak = np.where(
        flat,
        (steep >= np.roll(steep, 1, 1)) & (steep > np.roll(steep, -1, 1)),
        (steep >= np.roll(steep, 1, 0)) & (steep > np.roll(steep, -1, 0)),
    )
    span = float(np.quantile(ratio[valid], 0.995) - np.quantile(ratio[valid], 0.005)) if valid.any() else 0.0
    least = max(min(contrast, 0.3 * span), 6 * noise)
    # The slope of the broadest edge that can be measured, of least contrast.
    peak &= steep > max(0.4 * least / _WIDEST, 1.2 * noise)
    around = np.ones((2 * _HALF + 1, 2 * _HALF + 1), np.uint8)
    peak &= cv2.erode(valid.astype(np.uint8), around, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    peak[:_HALF] = peak[-_HALF:] = False
    peak[:, :_HALF] = peak[:, -_HALF:] = False
    row, column = np.nonzero(peak)
    if len(row) > _PER_FRAME:
        weight = steep[row, column].astype(np.float64)
        chosen = rng.choice(len(row), _PER_FRAME, replace=False, p=weight / weight.sum())
        row, column = row[chosen], column[chosen]
    if not len(row):
        return np.zeros((0, 2))
    products = (cv2.GaussianBlur(p, (0, 0), 1.5)[row, column].astype(np.float64) for p in (x * x, x * y, y * y))
    xx, xy, yy = products
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    angle += np.pi * (np.cos(angle) * x[row, column] + np.sin(angle) * y[row, column] < 0)
    found = _fitted(ratio, row, column, angle, _WIDTHS, _SHIFTS, np.array([_ACROSS, _ALONG, _HALF]))
    width, place, contrast, fringe, square = found.T
    misfit = np.sqrt(np.maximum(square - noise**2, 0))
    good = (contrast > least) & (misfit < _MISFIT * contrast) & (np.abs(place) < _SHIFTS[-1]) & (width < _WIDEST)
    return np.stack([np.sqrt(np.maximum(width[good] ** 2 - _PIXEL, 0.05)), fringe[good]], axis=1)


@njit(cache=True, nogil=True)
def _fitted(ratio, row, column, angle, widths, shifts, window):  # type: ignore[no-untyped-def]
    """Width, place, contrast, fringe and mean square residual of the best edge at each place, (edges, 5)."""
    half = int(window[2])
    n = len(row)
    out = np.zeros((n, 5))
    size = (2 * half + 1) ** 2
    d = np.empty(size)
    y = np.empty(size)
    for k in range(n):
        c, s = math.cos(angle[k]), math.sin(angle[k])
        m = 0
        mean = 0.0
        for i in range(-half, half + 1):
            for j in range(-half, half + 1):
                across, along = c * j + s * i, c * i - s * j
                if abs(across) <= window[0] and abs(along) <= window[1]:
                    d[m] = across
                    y[m] = ratio[row[k] + i, column[k] + j]
                    mean += y[m]
                    m += 1
        mean /= m
        for t in range(m):
            y[t] -= mean
        out[k, 4] = np.inf
        for w in widths:
            for shift in shifts:
                _try(d, y, m, w, shift, out[k])
        if out[k, 0] == 0.0:
            continue
        # Twice finer around the best, and again.
        ratio_w, step = widths[1] / widths[0], shifts[1] - shifts[0]
        for _ in range(2):
            best_w, best_shift = out[k, 0], out[k, 1]
            ratio_w, step = math.sqrt(ratio_w), step / 2
            for f in (1 / ratio_w, 1.0, ratio_w):
                for g in (-step, 0.0, step):
                    _try(d, y, m, best_w * f, best_shift + g, out[k])
    return out


@njit(cache=True, nogil=True)
def _try(d, y, m, width, shift, best):  # type: ignore[no-untyped-def]
    """Contrast and fringe of an edge of a width at a place by least squares; kept in `best` where it fits better."""
    wide = math.sqrt(width**2 + (2 + width) ** 2)
    s1 = s2 = 0.0
    a = np.empty(m)
    b = np.empty(m)
    for t in range(m):
        x = (d[t] - shift) / math.sqrt(2.0)
        a[t] = 0.5 * (1 + math.erf(x / width))
        b[t] = a[t] - 0.5 * (1 + math.erf(x / wide))
        s1 += a[t]
        s2 += b[t]
    s1 /= m
    s2 /= m
    aa = ab = bb = ay = by = yy = 0.0
    for t in range(m):
        p, q = a[t] - s1, b[t] - s2
        aa += p * p
        ab += p * q
        bb += q * q
        ay += p * y[t]
        by += q * y[t]
        yy += y[t] * y[t]
    if aa < 1e-9:
        return
    contrast, extra = ay / aa, 0.0
    det = aa * bb - ab * ab
    if det > 1e-9 * aa and by * aa > ay * ab:
        contrast, extra = (ay * bb - by * ab) / det, (by * aa - ay * ab) / det
    if contrast <= 0:
        return
    rest = (yy - contrast * ay - extra * by) / m
    if rest < best[4]:
        best[0], best[1], best[2], best[3], best[4] = width, shift, contrast, extra / contrast, rest
