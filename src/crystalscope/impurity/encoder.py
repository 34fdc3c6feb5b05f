"""The frozen encoder of particles: what it sees of a body, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystalscope.segment.engines import open_network
from crystalscope.segment.layout import Box
from crystalscope.segment.patches import (
    ACROSS,
    ALONG,
    MARGIN_ACROSS_PX,
    MARGIN_ALONG_PX,
    REACH_ACROSS,
    REACH_ALONG,
    Pyramid,
)
from crystalscope.weights import read_card, weights_path

Floats = NDArray[np.float32]

TASK, FORMAT_VERSION, WEIGHTS = "particles", 1, "particles"
WIDTHS = (32, 64, 96)
"""Channels of the three maps, at 1/2, 1/4 and 1/8 of the patch."""
NAMES = tuple(
    f"{what}_{k}" for what, n in (("fine", 32), ("middle", 64), ("coarse", 96), ("around", 96)) for k in range(n)
)
"""Numbers of a body: means of the three maps over the middle of its patch, and of the last one over all of it."""

_BATCH = 64


def whole_box(rows: int, columns: int) -> Box:
    """The box whose patch is a whole picture of so many rows and columns, its longer side along."""
    long, short = max(rows, columns), min(rows, columns)
    length = max((long - MARGIN_ALONG_PX) / REACH_ALONG, 1.0)
    width = max((short - MARGIN_ACROSS_PX) / REACH_ACROSS, 1.0)
    return Box(columns / 2, rows / 2, length, width, 0.0 if columns >= rows else np.pi / 2)


def encoded(pyramid: Pyramid, boxes: Sequence[Box]) -> Floats:
    """Numbers of bodies, alike for a body and the body turned by half.

    Parameters
    ----------
    pyramid
        The picture, normalised as the network `crystals` sees it.
    boxes
        Of the bodies.

    Returns
    -------
    (n, len(NAMES)).

    Raises
    ------
    ReadError
        When the shipped encoder is damaged.
    """
    run = _network()
    out = np.zeros((len(boxes), len(NAMES)), dtype=np.float32)
    for k in range(0, len(boxes), _BATCH):
        seen = np.stack([pyramid.patch(b) for b in boxes[k : k + _BATCH]])
        # A box has no head and no tail.
        for turned in (seen, seen[:, :, ::-1, ::-1]):
            maps = run(np.ascontiguousarray(turned))
            middles = [_middle(m).mean(axis=(2, 3)) for m in maps]
            out[k : k + _BATCH] += np.concatenate([*middles, maps[-1].mean(axis=(2, 3))], axis=1) / 2
    return out


def _middle(values: Floats) -> Floats:
    """The part of a map that the box itself fills, but for its margin."""
    rows, columns = values.shape[2:]
    i, j = round(rows * (1 - 1 / REACH_ACROSS) / 2), round(columns * (1 - 1 / REACH_ALONG) / 2)
    return values[:, :, i : rows - i, j : columns - j]


@lru_cache(maxsize=1)
def _network() -> Any:
    path = weights_path(WEIGHTS)
    card = read_card(path, task=TASK, format_version=FORMAT_VERSION)
    assert tuple(card["patch"]) == (ACROSS, ALONG)
    return open_network(str(path))
