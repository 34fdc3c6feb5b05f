"""Crystal, agglomerate, or member of one: a third look of the network `crystals`, at the patch and the outline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.core import KINDS
from crystalscope.segment.engines import open_network
from crystalscope.segment.layout import Box
from crystalscope.segment.masks import Mask, box_of, shared_pixels
from crystalscope.segment.patches import ACROSS, ALONG, Pyramid, to_picture
from crystalscope.weights import read_card, weights_path

Floats = NDArray[np.float32]

TASK, FORMAT_VERSION = "crystals-kinds", 1
CLASSES = (*KINDS, "member")
"""What a body may be; a member is one primary of an agglomerate, outlined alone."""
MEMBER = len(KINDS)
_CRYSTAL, AGGLOMERATE = KINDS.index("crystal"), KINDS.index("agglomerate")
_SOLID = (_CRYSTAL, AGGLOMERATE)
_ASKED = (*_SOLID, MEMBER)
_BATCH = 64
_TOUCH_PX = 2
"""Gap over which two outlines still touch."""


def outlined(pyramid: Pyramid, box: Box, mask: Mask) -> Floats:
    """(3, ACROSS, ALONG): grey, inside, and the outline's own samples, in the frame of a box."""
    matrix = to_picture(box)
    # From pixel corners of the picture to pixel centres of the crop.
    matrix[:, 2] -= np.array([mask.c0, mask.r0]) + 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpAffine(mask.crop.astype(np.float32), matrix, (ALONG, ACROSS), flags=flags)
    return np.concatenate([pyramid.patch(box), drawn[None]])


@lru_cache(maxsize=4)
def load_kinds(path: str, precision: str) -> Callable[[Pyramid, Sequence[Mask]], Floats]:
    """A function from a picture and masks to what each may be: (n, len(CLASSES)), rows sum to 1.

    Parameters
    ----------
    path
        The ONNX file; its card stands beside it.
    precision
        See `engines.open_network`.

    Raises
    ------
    ReadError
        When the file is missing, no model, damaged, or for something else.
    """
    read_card(Path(path), task=TASK, format_version=FORMAT_VERSION)
    run = open_network(path, precision)

    def look(pyramid: Pyramid, masks: Sequence[Mask]) -> Floats:
        out = np.zeros((len(masks), len(CLASSES)), dtype=np.float32)
        for k in range(0, len(masks), _BATCH):
            some = masks[k : k + _BATCH]
            (logits,) = run(np.stack([outlined(pyramid, box_of(m), m) for m in some]))
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            out[k : k + _BATCH] = powers / powers.sum(axis=1, keepdims=True)
        return out

    return look


def kinds_path(weights: Path) -> Path:
    """The weights of the third look that belong to those of the first."""
    return weights.with_name(f"{weights.stem}-kinds.onnx")


def kinds_in_use(weights: Path) -> Path:
    """The same, or the shipped ones: a laboratory's own weights come without a third look."""
    own = kinds_path(weights)
    return own if own.exists() else kinds_path(weights_path("crystals"))


def named(masks: Sequence[Mask], chances: Floats) -> tuple[list[Mask], NDArray[np.int32]]:
    """Masks with their kinds, and the number of the agglomerate that each belongs to (n,), 0: of none.

    Members of one agglomerate touch: those that do are given one number, with the agglomerate that they touch. A member
    that touches nothing is what was found of an agglomerate, and stands for it.

    Parameters
    ----------
    masks
        Bodies of one picture with the kinds that the first look gave them. Bubbles, droplets and others stay what they
        are: it has seen more of their surroundings.
    chances
        (n, len(CLASSES)) of `load_kinds`.
    """
    first = np.array([m.kind for m in masks], dtype=np.int64)
    told = np.isin(first, _SOLID)
    said = np.where(told, np.array(_ASKED)[chances[:, _ASKED].argmax(axis=1)], first)
    number = np.zeros(len(masks), dtype=np.int32)
    members = said == MEMBER
    joined = np.flatnonzero(members | (said == AGGLOMERATE)).tolist()
    groups = list(range(len(masks)))
    for i, a in enumerate(joined):
        wide = _widened(masks[a])
        for b in joined[i + 1 :]:
            if (members[a] or members[b]) and shared_pixels(wide, masks[b]):
                _join(groups, a, b)
    roots = np.array([_root(groups, k) for k in range(len(masks))], dtype=np.int64)
    kinds = np.where(members, _CRYSTAL, said)
    for count, root in enumerate(np.unique(roots[joined]), start=1):
        own = np.flatnonzero(roots == root)
        if len(own) > 1:
            number[own] = count
        elif members[own[0]]:
            kinds[own] = AGGLOMERATE
    return [replace(m, kind=int(k)) for m, k in zip(masks, kinds, strict=True)], number


def _widened(mask: Mask) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _TOUCH_PX + 1,) * 2)
    crop = cv2.dilate(np.pad(mask.crop, _TOUCH_PX), kernel)
    return Mask(mask.r0 - _TOUCH_PX, mask.c0 - _TOUCH_PX, crop, mask.score, mask.kind, mask.x, mask.y)


def _root(groups: list[int], k: int) -> int:
    while groups[k] != k:
        k = groups[k]
    return k


def _join(groups: list[int], a: int, b: int) -> None:
    one, two = _root(groups, a), _root(groups, b)
    groups[max(one, two)] = min(one, two)
