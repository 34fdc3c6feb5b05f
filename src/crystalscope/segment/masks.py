"""Masks of bodies on their way to `Instances`: placed crops that are resized, trimmed and told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

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

    @cached_property
    def area(self) -> int:
        """Pixels."""
        return int(np.count_nonzero(self.crop))

    @property
    def size(self) -> float:
        """Diameter of equal area, px."""
        return 2 * math.sqrt(self.area / math.pi)

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
    ordered = sorted(masks, key=lambda m: (-m.score, m.r0, m.c0))
    extents = extents_of(ordered)
    kept: list[int] = []
    for k, mask in enumerate(ordered):
        # Most of the larger one must be shared, which the common part of their boxes limits.
        near = may_share(extents[k], extents[kept]) > _SAME * np.maximum(mask.area, extents[kept, 4])
        if all(iou(mask, ordered[kept[n]]) <= _SAME for n in np.flatnonzero(near)):
            kept.append(k)
    return sorted((ordered[k] for k in kept), key=lambda m: (m.r0, m.c0, m.score))


def extents_of(masks: Sequence[Mask]) -> NDArray[np.int64]:
    """(n, 5) first row, first column, row and column behind the last, and area of some masks."""
    return np.array([(m.r0, m.c0, m.r1, m.c1, m.area) for m in masks], dtype=np.int64).reshape(-1, 5)


def may_share(one: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) pixels that the bounding box of a mask has in common with those of others, rows of `extents_of`."""
    rows = np.minimum(one[2], others[:, 2]) - np.maximum(one[0], others[:, 0])
    columns = np.minimum(one[3], others[:, 3]) - np.maximum(one[1], others[:, 1])
    return np.maximum(rows, 0) * np.maximum(columns, 0)


def shared_pixels(a: Mask, b: Mask) -> int:
    """Pixels that two masks have in common."""
    r0, c0, r1, c1 = max(a.r0, b.r0), max(a.c0, b.c0), min(a.r1, b.r1), min(a.c1, b.c1)
    if r0 >= r1 or c0 >= c1:
        return 0
    one = a.crop[r0 - a.r0 : r1 - a.r0, c0 - a.c0 : c1 - a.c0]
    two = b.crop[r0 - b.r0 : r1 - b.r0, c0 - b.c0 : c1 - b.c0]
    return int(np.count_nonzero(one & two))


def iou(a: Mask, b: Mask) -> float:
    """Shared pixels over all pixels of two masks."""
    both = shared_pixels(a, b)
    return both / (a.area + b.area - both)


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
