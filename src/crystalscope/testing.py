"""Checks for packages that bring methods of their own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from crystalscope.config import PrepareConfig
from crystalscope.core import LABELS, Image
from crystalscope.design.base import FittedTwin, Twin
from crystalscope.design.table import DoETable
from crystalscope.errors import InputError
from crystalscope.label.base import Labeller
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


def check_labeller(labeller: Labeller) -> None:
    """Check that a labeller keeps the contract; a test of the package that brings it calls this.

    On an empty, a noisy and a particle picture, each in a portrait and a landscape shape: ten confidences from 0 to 1,
    or NaN for what it cannot tell; ten thresholds from 0 to 1; two calls agree to the bit, four threads agree with one.

    Raises
    ------
    InputError
        With what was expected and what came.
    """
    limits = np.asarray(labeller.thresholds, dtype=float)
    if limits.shape != (len(LABELS),) or not ((limits >= 0) & (limits <= 1)).all():
        raise InputError(f"expected {len(LABELS)} thresholds from 0 to 1, got {limits.tolist()}")
    pictures = [_picture(kind, shape) for kind in ("empty", "noise", "discs") for shape in ((96, 160), (160, 96))]
    greys = [np.asarray(p.grey, dtype=np.float32) for p in pictures]
    first = [np.asarray(labeller.label(g)) for g in greys]
    for given in first:
        if given.shape != (len(LABELS),):
            raise InputError(f"expected {len(LABELS)} confidences, got an array of shape {given.shape}")
        known = given[np.isfinite(given)]
        if not ((known >= 0) & (known <= 1)).all():
            raise InputError(f"expected confidences from 0 to 1 or NaN, got {given.tolist()}")
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(labeller.label, greys))
    if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, again, strict=True)):
        raise InputError("expected the same confidences from a second call in another thread, got others")


def check_twin(twin: Twin, table: DoETable) -> None:
    """Check that a twin keeps the contract; a test of the package that brings it calls this.

    Fitted twice with the same numbers it predicts the same; means lie in their intervals and intervals grow with the
    level; held-out predictions are there for every measured value and for none else; quick estimates agree with
    predictions; distances are not negative.

    Raises
    ------
    InputError
        With what was expected and what came.
    """
    first, again = (twin.fit(table, rng=np.random.default_rng(1)) for _ in range(2))
    if not isinstance(first, FittedTwin):
        raise InputError(f"expected fit to give a fitted twin, got {type(first).__name__}")
    narrow, wide = first.predict(table.conditions, level=0.5), first.predict(table.conditions, level=0.9)
    second = again.predict(table.conditions, level=0.9)
    quick, means = first.estimate(table.conditions)[0], first.means(table.conditions)
    names = [a.column for a in table.system.attributes]
    for k, name in enumerate(first.attributes):
        if not np.array_equal(wide[name].upper, second[name].upper):
            raise InputError(f"expected the same {name} from a second fit with the same numbers, got others")
        width = [p[name].upper - p[name].lower for p in (narrow, wide)]
        if bool(np.any(width[1] < width[0] - 1e-9)):
            raise InputError(f"expected intervals of {name} that grow with the level, got narrower ones")
        measured = np.isfinite(table.values[:, names.index(name)])
        if not np.array_equal(np.isfinite(first.held_out[name]), measured):
            raise InputError(f"expected a held-out {name} for every measured row and no other")
        if not (np.allclose(quick[:, k], wide[name].mean) and np.allclose(means[:, k], wide[name].mean)):
            raise InputError(f"expected the same means of {name} from estimate, means and predict, got others")
    if bool(np.any(first.distance(table.conditions) < 0)):
        raise InputError("expected distances of 0 and more")


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
