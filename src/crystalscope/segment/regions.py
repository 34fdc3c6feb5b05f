"""From label pictures to particles: outlines at half contrast, filled, whole."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

BAND_PX = 3
"""How far an outline may move towards half contrast."""
_PAD = BAND_PX + 2

Crop = tuple[int, int, NDArray[np.uint8]]
"""First row, first column, mask (0 or 1) of one particle."""


def crops_of(labels: NDArray[np.int32]) -> list[Crop]:
    """One crop per label, tight; `labels` counts from 1 without gaps."""
    boxes = _boxes(labels, int(labels.max(initial=0)))
    return [
        (int(r0), int(c0), (labels[r0:r1, c0:c1] == i + 1).astype(np.uint8)) for i, (r0, c0, r1, c1) in enumerate(boxes)
    ]


def half_contrast_crops(
    labels: NDArray[np.int32], contrast: NDArray[np.uint8], high: NDArray[np.uint8], low: NDArray[np.uint8]
) -> list[Crop]:
    """Crops whose outlines stand at half of the contrast of their own edge.

    Parameters
    ----------
    labels
        Shape (rows, columns), counting from 1 without gaps.
    contrast
        8-bit contrast, particles positive.
    high, low
        Local maximum and minimum of `contrast`: the two sides of an edge.

    Notes
    -----
    Within `BAND_PX` of the outline a pixel belongs to the particle when its contrast exceeds the mean of
    `high` and `low`; deeper inside and farther outside nothing changes. For a straight edge under symmetric
    blur half contrast is where the edge is; round an edge of curvature radius r blurred by a Gaussian of
    sigma s it lies about s²/2r too far inside.
    """
    n = int(labels.max(initial=0))
    return [
        (int(r0), int(c0), mask)
        for i, (r0, c0, r1, c1) in enumerate(_boxes(labels, n))
        for mask in [_half(labels, i + 1, r0, c0, r1, c1, contrast, high, low)]
        for r0, c0 in [(max(0, r0 - _PAD), max(0, c0 - _PAD))]
        if mask.any()
    ]


@njit(cache=True, nogil=True)
def _boxes(labels, n):  # type: ignore[no-untyped-def]
    rows, columns = labels.shape
    boxes = np.empty((n, 4), np.int32)
    boxes[:, 0] = rows
    boxes[:, 1] = columns
    boxes[:, 2:] = 0
    for r in range(rows):
        for c in range(columns):
            i = labels[r, c] - 1
            if i >= 0:
                boxes[i, 0] = min(boxes[i, 0], r)
                boxes[i, 1] = min(boxes[i, 1], c)
                boxes[i, 2] = max(boxes[i, 2], r + 1)
                boxes[i, 3] = max(boxes[i, 3], c + 1)
    return boxes


@njit(cache=True, nogil=True)
def _half(labels, label, r0, c0, r1, c1, contrast, high, low):  # type: ignore[no-untyped-def]
    rows, columns = labels.shape
    a0, b0 = max(0, r0 - _PAD), max(0, c0 - _PAD)
    a1, b1 = min(rows, r1 + _PAD), min(columns, c1 + _PAD)
    h, w = a1 - a0, b1 - b0
    out = np.zeros((h, w), np.uint8)
    band = np.zeros((h, w), np.uint8)
    for r in range(h):
        for c in range(w):
            own = labels[a0 + r, b0 + c] == label
            if own:
                out[r, c] = 1
            else:
                continue
            edge = False
            for dr, dc in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                i, j = a0 + r + dr, b0 + c + dc
                if 0 <= i < rows and 0 <= j < columns and labels[i, j] != label:
                    edge = True
            if not edge:
                continue
            for dr in range(-BAND_PX, BAND_PX + 1):
                for dc in range(-BAND_PX, BAND_PX + 1):
                    if dr * dr + dc * dc <= BAND_PX * BAND_PX + 1:
                        i, j = r + dr, c + dc
                        if 0 <= i < h and 0 <= j < w:
                            band[i, j] = 1
    for r in range(h):
        for c in range(w):
            if band[r, c]:
                i, j = a0 + r, b0 + c
                other = labels[i, j] != 0 and labels[i, j] != label
                on = 2 * contrast[i, j] > np.int32(high[i, j]) + np.int32(low[i, j])
                out[r, c] = 1 if on and not other else 0
    return out


@njit(cache=True, nogil=True)
def fill_holes(mask, row, column, rows, columns, largest_hole):  # type: ignore[no-untyped-def]
    """A mask with its holes filled.

    Parameters
    ----------
    mask
        Crop, uint8, with a free margin of one px on every side that is not an edge of the picture.
    row, column
        Position of the crop in the picture.
    rows, columns
        Shape of the picture.
    largest_hole
        Holes with more px than this stay open.

    Notes
    -----
    The interior of a crystal that the picture's edge cuts open is a hole too, where it meets one edge of the
    picture only.
    """
    h, w = mask.shape
    out = mask.copy()
    stack = np.empty(h * w, np.int64)
    # Regions of background, 4-connected: a hole meets no free side of the crop and at most one picture edge.
    seen = np.zeros((h, w), np.uint8)
    members = np.empty(h * w, np.int64)
    for s in range(h * w):
        if out[s // w, s % w] != 0 or seen[s // w, s % w] != 0:
            continue
        seen[s // w, s % w] = 1
        stack[0] = s
        top, size = 1, 0
        free = False
        upper = lower = left = right = 0
        while top > 0:
            top -= 1
            p = stack[top]
            members[size] = p
            size += 1
            r, c = p // w, p % w
            if r == 0:
                upper = 1
                free = free or row > 0
            if r == h - 1:
                lower = 1
                free = free or row + h < rows
            if c == 0:
                left = 1
                free = free or column > 0
            if c == w - 1:
                right = 1
                free = free or column + w < columns
            for dr, dc in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                i, j = r + dr, c + dc
                if 0 <= i < h and 0 <= j < w and out[i, j] == 0 and seen[i, j] == 0:
                    seen[i, j] = 1
                    stack[top] = i * w + j
                    top += 1
        if not free and upper + lower + left + right <= 1 and size <= largest_hole:
            for m in range(size):
                out[members[m] // w, members[m] % w] = 1
    return out
