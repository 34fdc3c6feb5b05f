"""How often a classifier takes one class of particles for another, from particles whose class is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Confusion:
    """Known particles by their true and their predicted class.

    Parameters
    ----------
    classes
        Names, at least two.
    counts
        (k, k) particles, rows by true class, columns by predicted class.

    Raises
    ------
    InputError
        With fewer than two classes, a class without known particles, or a classifier that does not tell them apart.
    """

    classes: tuple[str, ...]
    counts: Array

    def __post_init__(self) -> None:
        counts = np.array(self.counts, dtype=np.float64)
        k = len(self.classes)
        if k < 2 or len(set(self.classes)) != k:
            raise InputError(
                f"expected at least two classes, got {', '.join(self.classes) or 'none'}; the share of one class alone "
                "is always 1: label particles of another too"
            )
        if counts.shape != (k, k) or not np.isfinite(counts).all() or counts.min() < 0:
            raise InputError(f"expected a table of {k} x {k} counts of at least 0, got shape {counts.shape}")
        lacking = [c for c, n in zip(self.classes, counts.sum(axis=1), strict=True) if n == 0]
        if lacking:
            raise InputError(
                f"expected particles known to be {lacking[0]}, got none: how often they are taken for others is not "
                "known; label some"
            )
        counts.flags.writeable = False
        object.__setattr__(self, "counts", counts)
        if abs(np.linalg.det(self.rates)) < 1e-3:
            raise InputError(
                "expected a classifier that tells the classes apart, got one that calls particles of different classes "
                "alike; train it anew or join the classes"
            )

    @property
    def rates(self) -> Array:
        """(k, k) share of each true class that is called each class."""
        return np.asarray(self.counts / self.counts.sum(axis=1, keepdims=True))

    @property
    def smoothed(self) -> Array:
        """(k, k) the same with half a particle in every cell: no class is taken to be called right always."""
        counts = self.counts + 0.5
        return np.asarray(counts / counts.sum(axis=1, keepdims=True))

    def index(self, name: str) -> int:
        """Position of a class."""
        if name not in self.classes:
            raise InputError(f"expected one of {', '.join(self.classes)}, got class {name!r}; correct the name")
        return self.classes.index(name)


def confusion_of_labels(truth: Sequence[str], predicted: Sequence[str]) -> Confusion:
    """Count known particles.

    Parameters
    ----------
    truth, predicted
        Class of every particle.

    Raises
    ------
    InputError
        When lengths differ, there is no particle, or a class is only predicted.
    """
    if len(truth) != len(predicted) or not len(truth):
        raise InputError(f"expected a predicted class of every known particle, got {len(truth)} and {len(predicted)}")
    classes = tuple(sorted({str(t) for t in truth} | {str(p) for p in predicted}))
    counts = np.zeros((len(classes), len(classes)))
    for t, p in zip(truth, predicted, strict=True):
        counts[classes.index(str(t)), classes.index(str(p))] += 1
    return Confusion(classes, counts)


def confusion_of_table(table: pd.DataFrame) -> Confusion:
    """From a list of particles (columns ``truth`` and ``predicted``) or a square table with the true class first.

    Raises
    ------
    InputError
        When the table is neither.
    """
    if {"truth", "predicted"} <= set(table.columns):
        return confusion_of_labels(table["truth"].astype(str).tolist(), table["predicted"].astype(str).tolist())
    rows = table.iloc[:, 0].astype(str).tolist()
    columns = [str(c) for c in table.columns[1:]]
    if set(rows) != set(columns) or len(rows) != len(columns):
        raise InputError(
            "expected columns truth and predicted, or a square table with the true class in its first column and a "
            f"column for every class; got rows {', '.join(rows[:4])} and columns {', '.join(columns[:4])}"
        )
    values = table.set_index(table.columns[0])
    values.index = values.index.astype(str)
    values.columns = [str(c) for c in values.columns]
    try:
        counts = values.loc[columns, columns].to_numpy(dtype=float)
    except ValueError as e:
        raise InputError(f"expected counts of particles in the table of classes, got: {e}") from e
    return Confusion(tuple(columns), counts)
