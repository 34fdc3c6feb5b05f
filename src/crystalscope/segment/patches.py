"""Patches in a body's own frame: what the second look of the network `crystals` sees and gives."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.segment.layout import Box

Floats = NDArray[np.float32]

ACROSS, ALONG = 48, 64
"""Samples of a patch across and along the length of its box."""
REACH_ALONG, REACH_ACROSS = 1.6, 1.8
MARGIN_ALONG_PX, MARGIN_ACROSS_PX = 8.0, 12.0
"""Length and width of a patch: those of the box times a reach, and a margin in px."""


def spans(box: Box) -> tuple[float, float]:
    """Length and width of the patch of a box, px."""
    return box.length * REACH_ALONG + MARGIN_ALONG_PX, box.width * REACH_ACROSS + MARGIN_ACROSS_PX


def to_picture(box: Box) -> NDArray[np.float64]:
    """(2, 3) matrix from a patch (column, row of its samples) to the picture (x, y on pixel corners)."""
    long, wide = spans(box)
    c, s = math.cos(box.angle), math.sin(box.angle)
    du, dv = long / ALONG, wide / ACROSS
    linear = np.array([[c * du, -s * dv], [s * du, c * dv]])
    middle = np.array([(ALONG - 1) / 2, (ACROSS - 1) / 2])
    return np.column_stack([linear, np.array([box.x, box.y]) - linear @ middle])


class Pyramid:
    """A picture at whole, half, quarter … size, so that a patch is sampled without aliasing.

    Parameters
    ----------
    grey
        (rows, columns) as the network sees it.
    """

    def __init__(self, grey: Floats) -> None:
        self.levels = [grey]

    def patch(self, box: Box) -> Floats:
        """(2, ACROSS, ALONG): grey, and 1 where a sample lies in the picture."""
        matrix = to_picture(box)
        long, wide = spans(box)
        # The finer of the two steps decides: across a needle nothing may be lost.
        step = min(long / ALONG, wide / ACROSS)
        level = max(0, math.floor(math.log2(max(step, 1.0)) + 0.35))
        while len(self.levels) <= level and min(self.levels[-1].shape) >= 8:
            rows, columns = self.levels[-1].shape
            size = ((columns + 1) // 2, (rows + 1) // 2)
            self.levels.append(np.asarray(cv2.resize(self.levels[-1], size, interpolation=cv2.INTER_AREA)))
        source = self.levels[min(level, len(self.levels) - 1)]
        sy, sx = source.shape[0] / self.levels[0].shape[0], source.shape[1] / self.levels[0].shape[1]
        # From pixel corners to pixel centres of the level.
        mapped = np.diag([sx, sy]) @ matrix
        mapped[:, 2] -= 0.5
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        out = np.empty((2, ACROSS, ALONG), dtype=np.float32)
        out[0] = cv2.warpAffine(source, mapped, (ALONG, ACROSS), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        rows, columns = self.levels[0].shape
        j, i = np.arange(ALONG), np.arange(ACROSS)[:, None]
        x = matrix[0, 0] * j + matrix[0, 1] * i + matrix[0, 2]
        y = matrix[1, 0] * j + matrix[1, 1] * i + matrix[1, 2]
        out[1] = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        return out


def mask_of(
    logits: Floats, box: Box, shape: tuple[int, int], *, level: float = 0.0
) -> tuple[int, int, NDArray[np.uint8]]:
    """A patch's mask in the picture: first row, first column, crop (0 or 1) within the picture.

    Parameters
    ----------
    logits
        (ACROSS, ALONG).
    box
        Of the patch.
    shape
        Rows and columns of the picture.
    level
        Logit above which a pixel belongs to the body.
    """
    matrix = to_picture(box)
    corners = np.array([[-0.5, -0.5], [ALONG - 0.5, -0.5], [-0.5, ACROSS - 0.5], [ALONG - 0.5, ACROSS - 0.5]])
    at = corners @ matrix[:, :2].T + matrix[:, 2]
    c0, r0 = (max(math.floor(v), 0) for v in at.min(axis=0))
    c1, r1 = (min(math.ceil(a), n) for a, n in zip(at.max(axis=0), shape[::-1], strict=True))
    if r0 >= r1 or c0 >= c1:
        return 0, 0, np.zeros((0, 0), dtype=np.uint8)
    moved = matrix.copy()
    # Pixel (0, 0) of the crop has its centre at c0 + 0.5, r0 + 0.5.
    moved[:, 2] -= np.array([c0, r0]) + 0.5
    drawn = cv2.warpAffine(
        logits, moved, (c1 - c0, r1 - r0), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=-9.0
    )
    return r0, c0, (drawn > level).astype(np.uint8)
