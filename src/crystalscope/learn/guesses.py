"""What a first look takes for bodies in training pictures, so that the second look learns to judge it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.config import AnalyzeConfig, CrystalsConfig
from crystalscope.learn.samples import Truth
from crystalscope.segment.crystals import CrystalsSegmenter
from crystalscope.segment.layout import normalised
from crystalscope.segment.masks import Mask, box_of, extents_of, may_share, shared_pixels, trimmed

LEAST_SCORE = 0.4
"""Guesses of at least the square of this are kept, somewhat more than are looked at twice in use."""
_RIGHT, _SURELY, _HELD = 0.3, 0.6, 0.7


def with_guesses(truths: Sequence[Truth], weights: Path) -> list[Truth]:
    """Pictures with what a network's first look finds in them.

    A guess is a body's when their IoU is at least 0.3, so that a needle half seen is to be drawn whole. It is no body's
    when it holds most of two and is not mostly one. Guesses at bodies that neither count nor are wrong are left out.

    Parameters
    ----------
    truths
        Pictures and outlines.
    weights
        The network's ONNX file.
    """
    config = CrystalsConfig(weights=str(weights), least_score=LEAST_SCORE)
    segmenter = CrystalsSegmenter(AnalyzeConfig(crystals=config))
    out = []
    for truth in truths:
        real = [k for k in range(len(truth.outlines)) if truth.use[k] >= 0]
        drawn = [(k, _mask(truth.outlines[k], truth.grey.shape)) for k in real]
        bodies = [(k, mask) for k, mask in drawn if mask is not None]
        extents = extents_of([mask for _, mask in bodies])
        found = []
        for mask in segmenter.guesses(normalised(truth.grey, truth.levels)):
            near = np.flatnonzero(may_share(extents_of([mask])[0], extents))
            told = _told(mask, [bodies[k] for k in near])
            if told is None or truth.use[told] == 1:
                found.append((box_of(mask), told))
        out.append(replace(truth, guesses=tuple(found)))
    return out


def _told(mask: Mask, bodies: Sequence[tuple[int, Mask]]) -> int | None:
    """The body of a guess, None where it is none."""
    best, most, held = None, 0.0, 0
    for k, body in bodies:
        shared = shared_pixels(mask, body)
        alike = shared / (mask.area + body.area - shared)
        if alike > most:
            best, most = k, alike
        held += shared >= _HELD * body.area
    return None if most < _RIGHT or (held > 1 and most < _SURELY) else best


def _mask(parts: Sequence[NDArray[np.float32]], shape: tuple[int, ...]) -> Mask | None:
    """A body of a picture, from its polygons."""
    low, high = np.min([p.min(axis=0) for p in parts], axis=0), np.max([p.max(axis=0) for p in parts], axis=0)
    c0, r0 = (max(math.floor(v), 0) for v in low)
    c1, r1 = (min(math.ceil(v), n) for v, n in zip(high, shape[::-1], strict=True))
    if r0 >= r1 or c0 >= c1:
        return None
    crop = np.zeros((r1 - r0, c1 - c0), dtype=np.uint8)
    cv2.fillPoly(crop, [np.round((p - [c0, r0] - 0.5) * 16).astype(np.int32) for p in parts], 1, shift=4)
    if not crop.any():
        return None
    crop, r0, c0 = trimmed(crop, r0, c0)
    return Mask(r0, c0, crop, 1.0, 0, 0.0, 0.0)
