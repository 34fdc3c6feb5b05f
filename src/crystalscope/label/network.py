"""The labelling network: ten calibrated confidences of a picture, and a picture of what gave them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.config import LabelConfig
from crystalscope.core import LABELS, Instances
from crystalscope.errors import ConfigError, ReadError
from crystalscope.label.base import in_force
from crystalscope.label.rules import rule_labels
from crystalscope.label.seen import Floats, levelled, resized
from crystalscope.segment.engines import Run, open_network
from crystalscope.weights import read_card, weights_path

Array = NDArray[np.float64]

TASK, FORMAT_VERSION = "label", 1


@dataclass(frozen=True, eq=False)
class LabelNetwork:
    """A network with the calibration and the thresholds of its card.

    Parameters
    ----------
    run
        From pictures (n, 1, rows, columns), levelled, to logits (n, 10) and maps (n, 11, rows / 16, columns / 16).
    slope, shift
        (10,) of the logits, so that confidences are calibrated.
    thresholds
        (10,) confidence from which a label is given.
    card
        As it is.
    """

    run: Run
    slope: Array
    shift: Array
    thresholds: Array
    card: Mapping[str, Any]

    def confidences(self, grey: Floats) -> Array:
        """(10,) confidences of a picture (rows, columns), full scale 1."""
        logits, _ = self.run(levelled(resized(grey))[None, None])
        return self.calibrated(logits[0])

    def calibrated(self, logits: NDArray[np.floating[Any]]) -> Array:
        """Confidences (…, 10) of logits (…, 10)."""
        z = np.clip(self.slope * np.asarray(logits, dtype=np.float64) + self.shift, -60, 60)
        return np.asarray(1 / (1 + np.exp(-z)))

    def explanation(self, grey: Floats, label: str) -> Floats:
        """Where a picture shows a label.

        Parameters
        ----------
        grey
            (rows, columns), full scale 1.
        label
            Of `core.LABELS`.

        Returns
        -------
        (rows, columns), 0 to 1: the activation of the label's map, of which the picture's confidence is the soft
        maximum; for too_concentrated the share of the place that outlines cover.

        Raises
        ------
        ConfigError
            When there is no such label.
        """
        if label not in LABELS:
            raise ConfigError(f"expected a label of {', '.join(LABELS)}, got {label!r}; check the name")
        k = LABELS.index(label)
        _, maps = self.run(levelled(resized(grey))[None, None])
        z = np.asarray(maps[0, k], dtype=np.float32)
        heat = 1 / (1 + np.exp(-z))
        return np.asarray(
            np.clip(cv2.resize(heat, grey.shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1), dtype=np.float32
        )


@lru_cache(maxsize=4)
def load_labels(path: str) -> LabelNetwork:
    """The network of an ONNX file with its card.

    Raises
    ------
    ReadError
        When the file is no model, damaged, for something else, or its card lacks calibration or thresholds.
    """
    card = read_card(Path(path), task=TASK, format_version=FORMAT_VERSION)
    try:
        calibration, limits = card["calibration"], card["thresholds"]
        slope = np.array([float(calibration[n]["slope"]) for n in LABELS])
        shift = np.array([float(calibration[n]["shift"]) for n in LABELS])
        thresholds = np.array([float(limits[n]) for n in LABELS])
    except (KeyError, TypeError, ValueError) as e:
        raise ReadError(
            f"expected calibration and thresholds of the ten labels in the card of {Path(path).name}, got "
            f"{json.dumps(str(e))}; train the weights anew"
        ) from e
    return LabelNetwork(open_network(path), slope, shift, thresholds, card)


class NetworkLabeller:
    """Labeller ``network``: the shipped network, or one of a laboratory's own (`crystalscope train label`).

    Parameters
    ----------
    config
        Weights, and thresholds over those of the card.

    Raises
    ------
    ConfigError
        When a threshold is for a label that does not exist.
    ReadError
        When the weights cannot be read.
    """

    def __init__(self, config: LabelConfig) -> None:
        self.network = load_labels(str(weights_path(config.weights)))
        self.thresholds = in_force(self.network.thresholds, config.thresholds)

    def label(self, grey: Floats, *, instances: Instances | None = None) -> Array:
        """(10,) confidences of a picture (rows, columns), full scale 1.

        Where particles were looked for, an object is present where both say so: what either takes for one in an empty
        picture, the other hardly ever does.
        """
        out = self.network.confidences(grey)
        if instances is not None:
            out[0] = min(out[0], rule_labels(instances, grey)[0])
        # No object of a kind without an object.
        out[1:-1] = np.minimum(out[1:-1], out[0])
        return out
