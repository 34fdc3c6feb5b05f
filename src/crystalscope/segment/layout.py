"""How the output of the network `crystals` is laid out: what training writes and inference reads."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STRIDES = (4, 8, 16, 32, 64)
"""Levels of the output, px per cell."""
RANGES = ((0.0, 24.0), (18.0, 52.0), (40.0, 112.0), (88.0, 230.0), (180.0, math.inf))
"""Sizes in px that a level answers for, see `levels_of`; they overlap."""
_LONGEST = 12.0
"""Length over width from which a body counts as wider than it is: both its ends must be within sight of the level."""
DIRECTIONS = 4
"""Slots of a cell for slender bodies, by direction; bodies that cross at one place fall into different slots. One more
slot takes compact bodies."""
SLOTS = DIRECTIONS + 1
SLENDER = 2.0
"""Length over width from which a body is slender."""
PROTOTYPES = 12
SHAPES = 4
"""Coefficients of 1, u², v² and u v in a body's own coordinates."""
KIND_COUNT = 5
CHANNELS = 1 + 6 + PROTOTYPES + SHAPES + KIND_COUNT
"""Of a slot: score; x, y, ln length, ln width, cos 2 angle, sin 2 angle; coefficients; kinds."""
MASK_STRIDE = 2
EDGE = 6.0
"""Steepness of the frame: its logit falls from this in the middle to 0 at the edge of the oriented box."""


@dataclass(frozen=True)
class Box:
    """An oriented box: centre x, y, length, width (px) and angle of the length to the rows, rad."""

    x: float
    y: float
    length: float
    width: float
    angle: float


def oriented_box(points: NDArray[np.float64]) -> Box:
    """Smallest rectangle around points (k, 2) x, y; at least 1 px wide."""
    import cv2

    (x, y), (a, b), degrees = cv2.minAreaRect(np.asarray(points, dtype=np.float32))
    angle = math.radians(degrees)
    if b > a:
        a, b, angle = b, a, angle + math.pi / 2
    return Box(float(x), float(y), max(float(a), 1.0), max(float(b), 1.0), angle)


def slots_of(box: Box) -> list[int]:
    """Slots that answer for a body: one or, close to a limit, two directions, the compact one, or both."""
    ratio = box.length / box.width
    out = []
    if ratio > 0.8 * SLENDER:
        step = math.pi / DIRECTIONS
        for k in range(DIRECTIONS):
            apart = abs((box.angle - k * step + math.pi / 2) % math.pi - math.pi / 2)
            if apart < 0.65 * step:
                out.append(k)
    if ratio < 1.25 * SLENDER:
        out.append(DIRECTIONS)
    return out


def levels_of(box: Box) -> list[int]:
    """Levels that answer for a body by its size."""
    size = math.sqrt(box.length * max(box.width, box.length / _LONGEST))
    return [k for k, (low, high) in enumerate(RANGES) if low <= size < high]


def levels_of_grey(grey: NDArray[np.float32]) -> NDArray[np.float64]:
    """1st, 50th and 99th percentile of a picture's grey levels, by which it is normalised."""
    return np.percentile(grey, [1, 50, 99])


def normalised(grey: NDArray[np.float32], levels: NDArray[np.float64]) -> NDArray[np.float32]:
    """Grey of a picture as the network sees it: median 0, from the 1st to the 99th percentile 2 wide.

    A picture without contrast is not stretched beyond a tenth of its level, so that noise stays small.
    """
    low, middle, high = (float(v) for v in levels)
    width = max(high - low, 0.1 * max(middle, 0.05))
    return np.clip((grey - np.float32(middle)) * np.float32(2 / width), -4, 4).astype(np.float32)
