"""Masks of bodies on their way to `Instances`: placed crops that are resized, trimmed and told apart."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.core import FieldOfView, Instances
from crystalscope.segment.layout import Box, oriented_box

_SAME = 0.5
"""Masks of more IoU are one particle."""


@dataclass(frozen=True, eq=False)
class Mask:
    """A body in a picture.

    Parameters
    ----------
    r0, c0
        Row and column of the first pixel of `crop`.
    crop
        (rows, columns) 0 or 1, without empty rows or columns at its edges.
    score
        From 0 to 1.
    kind
        Position in `core.KINDS`.
    x, y
        Centre that the first look told, px.
    quality
        What the second look says, from 0 to 1.
    """

    r0: int
    c0: int
    crop: NDArray[np.uint8]
    score: float
    kind: int
    x: float
    y: float
    quality: float = 0.0

    @property
    def size(self) -> float:
        """Diameter of equal area, px."""
        return 2 * math.sqrt(np.count_nonzero(self.crop) / math.pi)

    @property
    def r1(self) -> int:
        return self.r0 + self.crop.shape[0]

    @property
    def c1(self) -> int:
        return self.c0 + self.crop.shape[1]


def box_of(mask: Mask) -> Box:
    """The smallest rectangle around the corners of its pixels."""
    contours, _ = cv2.findContours(mask.crop, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate(contours)[:, 0, :]
    corners = np.concatenate([points + d for d in ([0, 0], [1, 0], [0, 1], [1, 1])])
    return oriented_box(corners + np.array([mask.c0, mask.r0]))


def is_slender(mask: Mask, least: float) -> bool:
    """Whether the length of a mask's box is at least so many times its width."""
    box = box_of(mask)
    return box.length >= least * box.width


def trimmed(crop: NDArray[np.uint8], r0: int, c0: int) -> tuple[NDArray[np.uint8], int, int]:
    """A crop without empty rows and columns at its edges, and where it begins then."""
    i, j = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
    return np.ascontiguousarray(crop[i[0] : i[-1] + 1, j[0] : j[-1] + 1]), int(r0 + i[0]), int(c0 + j[0])


def suppressed(masks: list[Mask]) -> list[Mask]:
    """Of masks that are much alike the best one, in the order of the picture."""
    kept: list[Mask] = []
    for mask in sorted(masks, key=lambda m: (-m.score, m.r0, m.c0)):
        if all(iou(mask, other) <= _SAME for other in kept):
            kept.append(mask)
    return sorted(kept, key=lambda m: (m.r0, m.c0, m.score))


def iou(a: Mask, b: Mask) -> float:
    """Shared pixels over all pixels of two masks."""
    r0, c0, r1, c1 = max(a.r0, b.r0), max(a.c0, b.c0), min(a.r1, b.r1), min(a.c1, b.c1)
    if r0 >= r1 or c0 >= c1:
        return 0.0
    one = a.crop[r0 - a.r0 : r1 - a.r0, c0 - a.c0 : c1 - a.c0]
    two = b.crop[r0 - b.r0 : r1 - b.r0, c0 - b.c0 : c1 - b.c0]
    both = int(np.count_nonzero(one & two))
    return both / (int(np.count_nonzero(a.crop)) + int(np.count_nonzero(b.crop)) - both)


def unscaled(mask: Mask, scale: float, shape: tuple[int, int]) -> Mask | None:
    """A mask of the resized picture in the picture itself."""
    if scale == 1.0:
        return mask
    pad = np.pad(mask.crop * np.uint8(255), 2)
    r0, c0 = math.floor((mask.r0 - 2) / scale), math.floor((mask.c0 - 2) / scale)
    r1, c1 = math.ceil((mask.r1 + 2) / scale), math.ceil((mask.c1 + 2) / scale)
    matrix = np.array(
        [
            [1 / scale, 0, (mask.c0 - 2 + 0.5) / scale - 0.5 - c0],
            [0, 1 / scale, (mask.r0 - 2 + 0.5) / scale - 0.5 - r0],
        ]
    )
    crop = (cv2.warpAffine(pad, matrix, (c1 - c0, r1 - r0), flags=cv2.INTER_LINEAR) > 127).astype(np.uint8)
    a, b = max(r0, 0), max(c0, 0)
    crop = crop[a - r0 : shape[0] - r0, b - c0 : shape[1] - c0]
    if not crop.any():
        return None
    crop, r0, c0 = trimmed(crop, a, b)
    return replace(mask, r0=r0, c0=c0, crop=crop)


def within(mask: Mask, inside: NDArray[np.bool_]) -> Mask | None:
    """What of a mask lies within the field of view; None where less than half does."""
    crop = mask.crop & inside[mask.r0 : mask.r1, mask.c0 : mask.c1]
    # The rim of a flow cell is no particle.
    if np.count_nonzero(crop) < 0.5 * np.count_nonzero(mask.crop):
        return None
    crop, r0, c0 = trimmed(crop, mask.r0, mask.c0)
    return replace(mask, r0=r0, c0=c0, crop=crop)


def to_instances(masks: list[Mask], field: FieldOfView) -> Instances:
    """The particles of a picture."""
    if not masks:
        return Instances.empty(field)
    parts = [m.crop.ravel() for m in masks]
    return Instances(
        field,
        np.array([(m.r0, m.c0, m.r1, m.c1) for m in masks], dtype=np.int32),
        np.concatenate(parts),
        np.concatenate([[0], np.cumsum([p.size for p in parts])]).astype(np.int64),
        np.array([m.score for m in masks], dtype=np.float32),
        np.array([m.kind for m in masks], dtype=np.uint8),
    )
