"""The second look of the network `crystals`: each body once more in its own frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crystalscope.segment.engines import open_network
from crystalscope.segment.layout import Box
from crystalscope.segment.patches import Pyramid
from crystalscope.weights import read_card

Floats = NDArray[np.float32]
Look = Callable[[Pyramid, Sequence[Box]], tuple[Floats, Floats]]

TASK, FORMAT_VERSION = "crystals-second", 1
_BATCH = 64
"""Patches in one run of the network, so that memory stays flat."""


def second_path(weights: Path) -> Path:
    """The weights of the second look that belong to those of the first."""
    return weights.with_name(f"{weights.stem}-second.onnx")


@lru_cache(maxsize=4)
def load_second(path: str, precision: str) -> Look:
    """A function from a picture and boxes to logits of masks (n, ACROSS, ALONG) and qualities (n,) from 0 to 1.

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

    def look(pyramid: Pyramid, boxes: Sequence[Box]) -> tuple[Floats, Floats]:
        masks, qualities = [], []
        for k in range(0, len(boxes), _BATCH):
            seen = np.stack([pyramid.patch(b) for b in boxes[k : k + _BATCH]])
            logits, quality = run(seen)
            masks.append(np.asarray(logits))
            qualities.append(1 / (1 + np.exp(-np.asarray(quality))))
        return np.concatenate(masks), np.concatenate(qualities)

    return look
