"""A model of particles: the known impurity by its examples, or anything that is not like the normal ones."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystalscope.errors import InputError, ReadError
from crystalscope.impurity.confusion import Confusion
from crystalscope.impurity.corrections import IMPURITY, TARGET
from crystalscope.impurity.features import FEATURES, View
from crystalscope.io.tables import write_bytes, write_json

Array = NDArray[np.float64]
Kind = Literal["impurity", "anomaly"]

TASK, FORMAT_VERSION = "particle-model", 1
KINDS: tuple[Kind, ...] = ("impurity", "anomaly")
"""impurity: from examples of both classes. anomaly: from normal particles alone."""
FARTHEST = 12.0
"""Standard deviations beyond which a number counts as no farther."""
_ARRAYS = ("center", "scale", "weights", "bank", "numbers", "impure", "groups", "held_back")


@dataclass(frozen=True, eq=False)
class ParticleModel:
    """What tells impurities from the target.

    Parameters
    ----------
    kind
        How it was learnt, one of `KINDS`.
    view
        What it looks at, see `features.View`.
    unit
        Of the sizes it has learnt: um or px; of crops, which carry no size, px.
    threshold
        Particles that score at least this are called impurity.
    center, scale
        (k,) by which the numbers of a particle are standardised.
    weights
        Impurity: (1 + k,) offset and weights of the logistic regression. Anomaly: (k, m) axes with unit variance of the
        normal particles.
    bank
        Anomaly: (n, m) normal particles on the axes. Impurity: empty.
    numbers
        (n, k) float32 of the particles it has learnt from: corrections are learnt with them.
    impure
        (n,) 1: impurity.
    groups
        (n,) particles of one group are pictures of the same thing, or of one frame: never parted.
    held_back
        (n,) score of each by a model that has not seen its group.
    """

    kind: Kind
    view: View
    unit: str
    threshold: float
    center: Array
    scale: Array
    weights: Array
    bank: Array
    numbers: NDArray[np.float32]
    impure: NDArray[np.int8]
    groups: NDArray[np.str_]
    held_back: Array

    def score(self, numbers: ArrayLike) -> Array:
        """(n,) scores of particles.

        Parameters
        ----------
        numbers
            (n, k) as `features` gives them, for the view of the model.

        Returns
        -------
        Impurity: from 0 to 1, the probability if both classes were alike in number. Anomaly: distance to the normal
        particles in their own standard deviations, above 0.
        """
        x = np.asarray(numbers, dtype=float).reshape(-1, len(self.center))
        # What lies far outside of all that was learnt must not outweigh everything else.
        z = np.clip((x - self.center) / self.scale, -FARTHEST, FARTHEST)
        if self.kind == "impurity":
            return np.asarray(1 / (1 + np.exp(-np.clip(self.weights[0] + z @ self.weights[1:], -50, 50))))
        return distances(z @ self.weights, self.bank)

    @property
    def auroc(self) -> float:
        """Of the held-back scores; NaN for anomalies."""
        return auroc(self.held_back, self.impure == 1)

    @property
    def confusion(self) -> Confusion | None:
        """Of the held-back scores under the threshold; None where there is one class, or they are not told apart."""
        impure = self.impure == 1
        if impure.all() or not impure.any():
            return None
        called = self.held_back >= self.threshold
        counts = np.array(
            [[(of & (called == c)).sum() for c in (False, True)] for of in (~impure, impure)], dtype=float
        )
        try:
            return Confusion((TARGET, IMPURITY), counts)
        except InputError:
            return None

    @property
    def false_rate(self) -> float:
        """Share of the known target particles that score at least the threshold, held back."""
        return float((self.held_back[self.impure == 0] >= self.threshold).mean())

    @property
    def card(self) -> dict[str, Any]:
        """What the model is, in figures."""
        confusion = self.confusion
        return {
            "task": TASK,
            "format_version": FORMAT_VERSION,
            "kind": self.kind,
            "view": self.view,
            "unit": self.unit,
            "threshold": self.threshold,
            "particles": len(self.impure),
            "impurities": int((self.impure == 1).sum()),
            "groups": len(np.unique(self.groups)),
            "held_back": {
                "auroc": self.auroc,
                "false_rate": self.false_rate,
                "confusion": None if confusion is None else confusion.counts.tolist(),
            },
            "features": list(FEATURES[self.view]),
        }


_NEIGHBOURS = 5


def distances(points: Array, bank: Array) -> Array:
    """(n,) mean distance of points to their nearest in a bank, half; and to the middle of the bank, half.

    The nearest tell what is unlike anything known, where normal particles are of several sorts; the middle tells it
    where the bank is small and everything is far from its nearest. Both are over the root of the number of axes.
    """
    if not len(points):
        return np.zeros(0)
    k = min(_NEIGHBOURS, len(bank))
    out = np.empty(len(points))
    for start in range(0, len(points), 512):
        p = points[start : start + 512]
        square = (p**2).sum(axis=1)[:, None] + (bank**2).sum(axis=1) - 2 * p @ bank.T
        near = np.sqrt(np.maximum(np.partition(square, k - 1, axis=1)[:, :k], 0.0)).mean(axis=1)
        out[start : start + 512] = 0.5 * (near + np.linalg.norm(p, axis=1))
    return out / math.sqrt(bank.shape[1])


def auroc(score: ArrayLike, positive: ArrayLike) -> float:
    """Area under the receiver's curve: how often a positive scores above a negative, ties half; NaN with one class."""
    from scipy.stats import rankdata

    s, p = np.asarray(score, dtype=float), np.asarray(positive, dtype=bool)
    n = int(p.sum())
    if n in (0, len(p)):
        return math.nan
    return float((rankdata(s)[p].sum() - n * (n + 1) / 2) / (n * (len(p) - n)))


def save_model(model: ParticleModel, path: Path) -> Path:
    """Write a model as .npz, with its card (.json) beside it."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: getattr(model, name) for name in _ARRAYS})
    data = buffer.getvalue()
    path = path.with_suffix(".npz")
    write_json(path.with_suffix(".json"), model.card | {"sha256": hashlib.sha256(data).hexdigest()})
    return write_bytes(path, data)


def load_model(path: Path) -> ParticleModel:
    """Read a model that `save_model` wrote; nothing in it is executed.

    Raises
    ------
    ReadError
        When file or card are missing, damaged, of another version, or do not belong together.
    """
    path = path.with_suffix(".npz")
    try:
        data = path.read_bytes()
        card: Mapping[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS}
        if (card["task"], card["format_version"]) != (TASK, FORMAT_VERSION):
            raise ValueError(f"a {card['task']} of version {card['format_version']}")
        if card["sha256"] != hashlib.sha256(data).hexdigest():
            raise ValueError("a card of another file")
        if tuple(card["features"]) != FEATURES[card["view"]] or card["kind"] not in KINDS:
            raise ValueError("features of another version")
        return ParticleModel(card["kind"], card["view"], str(card["unit"]), float(card["threshold"]), **arrays)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ReadError(
            f"expected a model of particles in {path}, with its card beside it, got: {e}; train it with "
            "`crystalscope impurity train` or `normal`"
        ) from e
