"""The published three-class network and its post-processing (Chem. Ing. Tech. 2023, 95, 1146)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.config import AnalyzeConfig
from crystalscope.core import FieldOfView, Instances
from crystalscope.prepare import Prepared
from crystalscope.segment.base import Segmentation, with_sharpness
from crystalscope.segment.engines import open_network
from crystalscope.segment.post import post_process
from crystalscope.segment.regions import crops_of
from crystalscope.weights import read_card, weights_path

Floats = NDArray[np.float32]
Run = Callable[[Floats], Floats]

TASK, FORMAT_VERSION = "semantic", 1
BLACK, LIGHT, CRYSTAL = 0, 1, 2
"""Classes, and grey values of class pictures."""
_MULTIPLE = 16
_RIM = 1.03
"""The field of view lies 1 % within the lit disc; the network tells the rim itself."""
_TILE, _MARGIN = 768, 96
"""Edge of a tile, px, and how much of it only gives its inner part what it sees."""


@dataclass(frozen=True, eq=False)
class SemanticSegmenter:
    """Segmenter ``semantic``.

    Every pixel is black background, light background or crystal; the crystal pixels go through the published chain
    (`config.SemanticConfig.post`): areas under 20 px dropped, closing by a disc of 2 px, holes filled, what touches the
    border dropped, watershed, form factor from 0.85 to 0.95.

    Parameters
    ----------
    config
        Settings; the tables semantic and prepare are used.

    Notes
    -----
    Known faults of the method: watershed cuts off what overlapping crystals share, so both come out smaller; the form
    factor of small objects is too high, so fragments pass the gate. There is no focus gate: what is out of focus is
    left out as far as the network learnt to.
    """

    config: AnalyzeConfig
    _run: Run | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self._run is None:
            object.__setattr__(self, "_run", load_classifier(str(weights_path(self.config.semantic.weights))))

    def study(self, pictures: list[Prepared]) -> SemanticSegmenter:
        """Nothing is to be settled."""
        return self

    def segment(self, picture: Prepared) -> Segmentation:
        """Particles of one picture."""
        assert self._run is not None
        share = class_shares(self._run, picture.grey)
        classes = classes_of(share, picture.field)
        _, labels = cv2.connectedComponents((classes == CRYSTAL).astype(np.uint8), connectivity=8)
        found, gated = post_process(crops_of(labels), field=picture.field, config=self.config.semantic.post)
        found = with_sharpness(_scored(found, share[CRYSTAL]), picture, self.config)
        saved = classes if self.config.semantic.save_masks else None
        return Segmentation(found, gated, "semantic", saved)


def classes_of(share: Floats, field: FieldOfView) -> NDArray[np.uint8]:
    """Class of each pixel, (rows, columns), from the shares (3, rows, columns); beyond a lit disc all is black.

    The published crops end where the disc does, so that nothing is learnt of what lies far from it.
    """
    classes = share.argmax(axis=0).astype(np.uint8)
    if field.disc is not None:
        row, column, radius = field.disc
        classes[~replace(field, disc=(row, column, radius * _RIM)).mask()] = BLACK
    return classes


def _scored(found: Instances, crystal: Floats) -> Instances:
    """Particles whose score is the mean share of the class crystal over their pixels."""
    score = np.zeros(len(found), dtype=np.float32)
    for k, (r0, c0, r1, c1) in enumerate(found.boxes):
        score[k] = crystal[r0:r1, c0:c1][found.crop(k)].mean()
    return replace(found, score=score)


def seen(grey: Floats) -> Floats:
    """A picture as the network sees it: its 99th percentile is 1, black is -1."""
    light = max(float(np.percentile(grey[::3, ::3], 99)), 1e-3)
    return np.clip(grey * np.float32(2 / light) - 1, -1, 2).astype(np.float32)


def class_shares(run: Run, grey: Floats) -> Floats:
    """Share of each class, (3, rows, columns), from 0 to 1.

    Parameters
    ----------
    run
        From (1, 1, rows, columns) to logits (1, 3, rows, columns), both multiples of 16.
    grey
        (rows, columns), full scale 1, classified in tiles at its own scale.
    """
    rows, columns = grey.shape
    picture = seen(grey)
    out = np.empty((3, rows, columns), dtype=np.float32)
    for r0, r1 in _spans(rows):
        for c0, c1 in _spans(columns):
            a, b = max(r0 - _MARGIN, 0), max(c0 - _MARGIN, 0)
            tile = picture[a : min(r1 + _MARGIN, rows), b : min(c1 + _MARGIN, columns)]
            down, right = -tile.shape[0] % _MULTIPLE, -tile.shape[1] % _MULTIPLE
            padded = cv2.copyMakeBorder(tile, 0, down, 0, right, cv2.BORDER_REFLECT_101)
            logits = run(padded[None, None])[0, :, r0 - a : r1 - a, c0 - b : c1 - b]
            share = np.exp(logits - logits.max(axis=0))
            out[:, r0:r1, c0:c1] = share / share.sum(axis=0)
    return out


def _spans(n: int) -> list[tuple[int, int]]:
    """Inner parts of tiles along an edge of n px."""
    inner = _TILE - 2 * _MARGIN
    return [(0, n)] if n <= _TILE else [(s, min(s + inner, n)) for s in range(0, n, inner)]


@lru_cache(maxsize=4)
def load_classifier(path: str) -> Run:
    """The network of an ONNX file with its card, run by onnxruntime.

    Raises
    ------
    ReadError
        When the file is no model, damaged, or for something else.
    """
    read_card(Path(path), task=TASK, format_version=FORMAT_VERSION)
    run = open_network(path)
    return lambda x: np.asarray(run(x)[0], dtype=np.float32)
