"""A picture as the labelling network sees it."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

AREA_PX = 300_000
"""Pixels of a picture after it is resized: more show smaller bodies, and take longer."""
CELL = 16
"""Pixels of the resized picture per cell of the maps, each way."""
_MULTIPLE = 32


def seen_shape(rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns to which a picture is resized: multiples of 32, about `AREA_PX` px, the proportions kept.

    Parameters
    ----------
    rows, columns
        Of the picture, px.
    """
    scale = math.sqrt(AREA_PX / (rows * columns))
    high, wide = (max(1, round(n * scale / _MULTIPLE)) * _MULTIPLE for n in (rows, columns))
    return high, wide


def resized(grey: Floats) -> Floats:
    """The picture at the size that the network sees.

    Parameters
    ----------
    grey
        (rows, columns), full scale 1.
    """
    rows, columns = seen_shape(*grey.shape)
    shrinks = rows * columns < grey.size
    return np.asarray(
        cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC),
        dtype=np.float32,
    )


def levelled(grey: Floats) -> Floats:
    """Grey levels about the median: from the 1st to the 99th percentile 2 wide, cut at -4 and 4.

    A picture without contrast is not stretched beyond a tenth of its level, so that noise stays small.
    """
    low, middle, high = (float(v) for v in np.percentile(grey[::2, ::2], [1, 50, 99]))
    width = max(high - low, 0.1 * max(middle, 0.05))
    return np.clip((grey - np.float32(middle)) * np.float32(2 / width), -4, 4).astype(np.float32)
