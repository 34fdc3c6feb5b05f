"""Checks for packages that bring methods of their own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from crystalscope.config import PrepareConfig
from crystalscope.core import Image
from crystalscope.errors import InputError
from crystalscope.prepare import Prepared, prepare
from crystalscope.segment.base import Segmentation, Segmenter


def check_segmenter(segmenter: Segmenter) -> None:
    """Check that a segmenter keeps the contract; a test of the package that brings it calls this.

    On an empty, a noisy and a particle picture, each in a portrait and a landscape shape: particles lie in the
    picture, scores lie in 0 to 1, two calls agree to the bit, four threads agree with one, and `study` gives a
    segmenter.

    Raises
    ------
    InputError
        With what was expected and what came.
    """
    pictures = [_picture(kind, shape) for kind in ("empty", "noise", "discs") for shape in ((96, 160), (160, 96))]
    studied = segmenter.study(pictures)
    if not isinstance(studied, Segmenter):
        raise InputError(f"expected study to give a segmenter, got {type(studied).__name__}")
    first = [studied.segment(p) for p in pictures]
    for picture, result in zip(pictures, first, strict=True):
        if not isinstance(result, Segmentation):
            raise InputError(f"expected a Segmentation, got {type(result).__name__}")
        found = result.instances
        if found.field.shape != picture.grey.shape:
            raise InputError(f"expected particles in a field of shape {picture.grey.shape}, got {found.field.shape}")
        if len(found) and not ((found.score >= 0) & (found.score <= 1)).all():
            raise InputError("expected scores from 0 to 1")
        if not all(found.crop(i).any() for i in range(len(found))):
            raise InputError("expected particles with pixels, got an empty mask")
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(studied.segment, pictures))
    for a, b in zip(first, again, strict=True):
        same = np.array_equal(a.instances.pixels, b.instances.pixels) and np.array_equal(
            a.instances.score, b.instances.score
        )
        if not same:
            raise InputError("expected the same particles from a second call in another thread, got others")


def _picture(kind: str, shape: tuple[int, int]) -> Prepared:
    rng = np.random.default_rng(3)
    grey = np.full(shape, 0.7, dtype=np.float32)
    if kind != "empty":
        grey += 0.01 * rng.standard_normal(shape, dtype=np.float32)
    if kind == "discs":
        r, c = np.mgrid[: shape[0], : shape[1]]
        for row, column, radius in ((30, 30, 12), (60, 70, 9), (45, 95, 6)):
            grey[(r - row) ** 2 + (c - column) ** 2 < radius**2] = 0.15
    return prepare(Image(grey), grey, config=PrepareConfig())
