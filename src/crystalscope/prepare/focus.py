"""Sharpness of particle outlines: what separates crystals in the focal plane from ghosts."""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from crystalscope.core import Instances

REACH_PX = 8
"""Half width of the window in which the contrast across an outline is taken."""

_NOISE_GRADIENT = 1.4
"""Typical largest gradient in 3 x 3 of noise smoothed by a Gaussian of 1 px, per its standard deviation."""


def sharpness_maps(contrast: NDArray[np.float32], *, noise: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sharpness and contrast of an edge at every pixel.

    Parameters
    ----------
    contrast
        Shape (rows, columns), relative to the background, smoothed against noise.
    noise
        Standard deviation of the noise in `contrast`.

    Returns
    -------
    sharpness
        1/px: largest gradient in 3 x 3 beyond what noise alone makes, over `reach`; the inverse of the width of an
        edge. Without the deduction the ragged outline of a faint blur would look as sharp as a crystal.
    reach
        Largest minus smallest contrast within 17 x 17.
    """
    steepness = _gradient(contrast, np.float32(_NOISE_GRADIENT * noise))
    gradient = cv2.dilate(steepness, np.ones((3, 3), np.uint8))
    # 8 bit is enough for a range and four times as fast.
    coarse, span = _coarse(contrast)
    window = np.ones((2 * REACH_PX + 1, 2 * REACH_PX + 1), np.uint8)
    steps = cv2.subtract(cv2.dilate(coarse, window), cv2.erode(coarse, window))
    # The range of noise alone is some five standard deviations: below it an edge is none.
    return _ratio(gradient, steps, np.float32(span / 255.0), np.float32(max(5.0 * noise, 1e-6)))


@njit(cache=True, nogil=True)
def _coarse(contrast):  # type: ignore[no-untyped-def]
    """The contrast in 256 steps from its lowest value over its span."""
    rows, columns = contrast.shape
    low, high = contrast[0, 0], contrast[0, 0]
    for r in range(rows):
        for c in range(columns):
            low = min(low, contrast[r, c])
            high = max(high, contrast[r, c])
    span = max(high - low, np.float32(1e-9))
    out = np.empty((rows, columns), np.uint8)
    scale = np.float32(255.0) / span
    for r in range(rows):
        for c in range(columns):
            out[r, c] = np.uint8(min((contrast[r, c] - low) * scale, np.float32(255.0)))
    return out, span


@njit(cache=True, nogil=True)
def _ratio(gradient, steps, unit, floor):  # type: ignore[no-untyped-def]
    """Gradient over reach, and reach, from the range in steps of `unit`."""
    rows, columns = gradient.shape
    sharpness = np.empty((rows, columns), np.float32)
    reach = np.empty((rows, columns), np.float32)
    for r in range(rows):
        for c in range(columns):
            span = np.float32(steps[r, c]) * unit
            reach[r, c] = span
            sharpness[r, c] = gradient[r, c] / max(span, floor)
    return sharpness, reach


@njit(cache=True, nogil=True)
def _gradient(contrast, floor):  # type: ignore[no-untyped-def]
    """Scharr gradient magnitude less `floor`, 0 at the rim.

    Not by OpenCV, whose vector code rounds differently from call to call: the same picture must give the same bytes.
    """
    rows, columns = contrast.shape
    out = np.zeros((rows, columns), np.float32)
    a, b = np.float32(3 / 32), np.float32(10 / 32)
    for r in range(1, rows - 1):
        up, own, down = contrast[r - 1], contrast[r], contrast[r + 1]
        for c in range(1, columns - 1):
            gx = a * (up[c + 1] - up[c - 1] + down[c + 1] - down[c - 1]) + b * (own[c + 1] - own[c - 1])
            gy = a * (down[c - 1] - up[c - 1] + down[c + 1] - up[c + 1]) + b * (down[c] - up[c])
            out[r, c] = max(np.sqrt(gx * gx + gy * gy) - floor, np.float32(0))
    return out


def edge_sharpness(
    instances: Instances, sharpness: NDArray[np.float32], reach: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Edge sharpness and edge contrast of every particle.

    Parameters
    ----------
    instances
        The particles.
    sharpness, reach
        From `sharpness_maps` of the same picture.

    Returns
    -------
    sharpness
        (n,) in 1/px: median along the outline; NaN for a particle without outline inside the picture. Its inverse is
        the width of the edge in px.
    contrast
        (n,) mean contrast range along the outline.

    Notes
    -----
    Independent of contrast and, for particles larger than the window, of size. An edge smeared by a
    Gaussian of sigma s px reads 1 / (2.5 s); very wide edges read 1/17 at the least, since the window ends.
    Particles below about 6 px are all edge and read too sharp.
    """
    return _sharpness(instances.boxes, instances.pixels, instances.offsets, sharpness, reach)


@njit(cache=True, nogil=True)
def _sharpness(boxes, pixels, offsets, edge, reach):  # type: ignore[no-untyped-def]
    rows, columns = edge.shape
    n = len(boxes)
    sharpness = np.full(n, np.nan, np.float32)
    contrast = np.full(n, np.nan, np.float32)
    for k in range(n):
        r0, c0, r1, c1 = boxes[k]
        width = c1 - c0
        values = np.empty((r1 - r0) * width, np.float32)
        span = 0.0
        count = 0
        for r in range(r0, r1):
            for c in range(c0, c1):
                at = offsets[k] + (r - r0) * width + c - c0
                if pixels[at] == 0 or r == 0 or c == 0 or r == rows - 1 or c == columns - 1:
                    continue
                inner = (
                    r > r0
                    and r < r1 - 1
                    and c > c0
                    and c < c1 - 1
                    and pixels[at - width] != 0
                    and pixels[at + width] != 0
                    and pixels[at - 1] != 0
                    and pixels[at + 1] != 0
                )
                if inner:
                    continue
                values[count] = edge[r, c]
                span += reach[r, c]
                count += 1
        if count > 0:
            # The median: a line that the watershed drew along a sharp neighbour does not make a ghost sharp.
            sharpness[k] = np.median(values[:count])
            contrast[k] = span / count
    return sharpness, contrast
