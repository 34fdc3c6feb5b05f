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
_WIDTHS = np.geomspace(0.3, 5.0, 12)
_SHIFTS = np.linspace(-1.2, 1.2, 5)
_WIDEST = 3.9
"""Broader edges do not reach their plateaus within the window."""
_MOST_FRINGE = 0.5
"""Highest halo that is tried."""
_MISFIT = 0.05
"""Root mean square residual relative to the contrast, beyond the noise, of an edge between two even sides."""
_CONTRAST = 0.15
"""Least contrast of an edge relative to the ground, or to the largest contrast of the picture where that is less."""
_PER_FRAME = 300
_COARSE = 4
"""Reduction of the picture in which blurred edges are measured."""
_SHARPEST = 0.07
"""Quantile of the widths of edges that is taken for the lens."""
_LEAST = 30
_CRISP = 1.3
"""Blur beyond which a fringe and the shape of the blur cannot be told apart."""
_PIXEL = 1 / 12
"""Variance that the area of a pixel adds, px²."""


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges of a set of frames.

    Parameters
    ----------
    width_px
        (edges,) standard deviation of the blur of edges between two even sides, that of the pixel taken off.
    blur_px
        Of the lens in focus; NaN with fewer than 30 edges.
    per_frame
        (frames,) the same from each frame alone, NaN where it has too few.
    ghosts
        10th and 90th percentile of edges blurred more than twice as much, px; NaN where there are fewer than 30.
    halo
        Height of the fringe along the sharpest edges, as in `scenes.Instrument`; NaN where it cannot be told from blur.
    """

    width_px: Floats
    blur_px: float
    per_frame: Floats
    ghosts: tuple[float, float]
    halo: float


def fit_edges(ratios: Sequence[Picture], *, valid: Sequence[NDArray[np.bool_]], noise: float) -> Edges:
    """Measure the blur of edges.

    Parameters
    ----------
    ratios
        (rows, columns) each: picture over its ground, black level taken off.
    valid
        (rows, columns) each: pixels that are in the field and not saturated; an edge needs all around it.
    noise
        Standard deviation of the noise at the ground, relative to it.

    Returns
    -------
    Edges

    Notes
    -----
    At maxima of the gradient a straight edge is fitted to the pixels of a window of 11 x 5 px turned with it, none of
    them interpolated: low + contrast x (Phi(d / width) + halo x (Phi(d / width) - Phi(d / wide))), wide² = width² +
    (2 + width)², the fringe of `scenes.Instrument`; width and place by search, the rest by least squares. Without a
    fringe the width is contrast / (sqrt(2 pi) x largest slope). Kept are edges whose two sides are even: thin lines,
    which would read too sharp, do not fit. At most 300 edges of a frame are taken, the steeper the likelier.
    The lens is the 7th percentile: bodies lie on both sides of the focal plane, and the density of their blur is
    highest at its least value. Where nothing lies in focus, the sharpest there is gets measured; bodies narrower than
    about 5 times the blur read up to 25 % too sharp, rough bodies without even faces too blurred.
    """
    rng = np.random.default_rng(0)
    found = [_edges(r, v, noise, rng) for r, v in zip(ratios, valid, strict=True)]
    width, fringe = np.concatenate(found).T
    blur = _sharpest(width)
    blurred = [width[width > 2 * blur]]
    for r, v in zip(ratios, valid, strict=True):
        size = (r.shape[1] // _COARSE, r.shape[0] // _COARSE)
        if not math.isfinite(blur) or min(size) < 4 * _HALF:
            continue
        small = cv2.resize(r, size, interpolation=cv2.INTER_AREA)
        whole = cv2.resize(v.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.99
        coarse = _COARSE * _edges(small, whole, noise / _COARSE, rng, contrast=0.05)[:, 0]
        blurred.append(coarse[coarse > max(2 * blur, _WIDEST)])
    ghosts = np.concatenate(blurred)
    low, high = (float(np.quantile(ghosts, q)) for q in (0.1, 0.9)) if len(ghosts) >= _LEAST else (math.nan, math.nan)
    per_frame = np.array([_sharpest(f[:, 0]) for f in found])
    return Edges(width, blur, per_frame, (low, high), _halo(fringe[width < 1.5 * blur], blur))


def _sharpest(width: Floats) -> float:
    return float(np.quantile(width, _SHARPEST)) if len(width) >= _LEAST else math.nan


def _halo(fringe: Floats, blur: float) -> float:
    """Median fringe of the sharpest edges, where they agree."""
    if len(fringe) < _LEAST or blur > _CRISP:
        return math.nan
    low, middle, high = np.quantile(fringe, [0.25, 0.5, 0.75])
    if high - low > 0.3 or high >= 0.98 * _MOST_FRINGE:
        return math.nan
    return float(middle) if middle > 0.05 else 0.0


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
    window = np.array([_ACROSS, _ALONG, _HALF, _MOST_FRINGE])
    found = _fitted(ratio, row, column, angle, _WIDTHS, _SHIFTS, window)
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
                _try(d, y, m, w, shift, window[3], out[k])
        if out[k, 0] == 0.0:
            continue
        # Ever finer around the best.
        ratio_w, step = widths[1] / widths[0], shifts[1] - shifts[0]
        for _ in range(4):
            best_w, best_shift = out[k, 0], out[k, 1]
            ratio_w, step = math.sqrt(ratio_w), step / 2
            for f in (1 / ratio_w, 1.0, ratio_w):
                for g in (-step, 0.0, step):
                    _try(d, y, m, best_w * f, best_shift + g, window[3], out[k])
    return out


@njit(cache=True, nogil=True)
def _try(d, y, m, width, shift, most, best):  # type: ignore[no-untyped-def]
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
        if extra > most * contrast:
            contrast = (ay + most * by) / (aa + 2 * most * ab + most * most * bb)
            extra = most * contrast
    if contrast <= 0:
        return
    rest = yy - 2 * (contrast * ay + extra * by) + contrast**2 * aa + 2 * contrast * extra * ab + extra**2 * bb
    rest /= m
    if rest < best[4]:
        best[0], best[1], best[2], best[3], best[4] = width, shift, contrast, extra / contrast, rest
