"""Scores of a segmenter on annotated pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

from crystalscope.config import AnalyzeConfig
from crystalscope.core import Image, Instances
from crystalscope.io.coco import Annotated
from crystalscope.io.pictures import to_grey
from crystalscope.prepare import prepare
from crystalscope.scoring import score_pictures
from crystalscope.segment import Segmenter


def found_in(segmenter: Segmenter, image: Image) -> Instances:
    """Particles in focus in one picture, prepared as `analyze` does."""
    bits = 8 if image.data.dtype == np.uint8 else 16
    picture = prepare(image, to_grey(image.data, bits=bits), config=AnalyzeConfig().prepare)
    found = segmenter.segment(picture).instances
    return found.select(found.in_focus)


def evaluate(
    segmenter: Segmenter,
    pictures: Mapping[str, Callable[[], Image]],
    truth: Mapping[str, Annotated],
    *,
    workers: int | None = None,
) -> tuple[dict[str, Any], dict[str, Annotated]]:
    """Find particles in pictures and compare them with the truth.

    Parameters
    ----------
    segmenter
        Finds particles.
    pictures
        By name, a function that reads it.
    truth
        By the same names; pictures without truth are left out.
    workers
        Threads.

    Returns
    -------
    Scores as `scoring.score_pictures` gives them, and what was found.
    """
    names = [n for n in pictures if n in truth]
    cv2.setNumThreads(1)

    def one(name: str) -> Annotated:
        instances = found_in(segmenter, pictures[name]())
        n = len(instances)
        return Annotated(name, instances, np.arange(1, n + 1), np.zeros(n, dtype=bool))

    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        found = dict(zip(names, pool.map(one, names), strict=True))
    return score_pictures(found, {n: truth[n] for n in names}), found
