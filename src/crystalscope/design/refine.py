"""Synthetic rows in the default twin: a Gaussian process that trusts them as much as held-out rows allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crystalscope.design.augment import Augmentation, Learner, choose_augmentation
from crystalscope.design.conditions import Conditions
from crystalscope.design.features import make_features
from crystalscope.design.generators import GENERATORS, Generator, plant_rows
from crystalscope.design.mechanism import Mechanism
from crystalscope.design.members import Inputs, Predictor
from crystalscope.design.regress import GaussianProcess
from crystalscope.design.table import DoETable

Array = NDArray[np.float64]

COUNTS = (10, 25)
NAME = "Gaussian process + synthetic"


def feature_learner(table: DoETable, index: int) -> Learner:
    """A Gaussian process on the features; the weight of a row divides the variance of its noise."""
    system, attribute = table.system, table.system.attributes[index]

    def encode(x: Conditions) -> Array:
        return make_features(x, system).to_numpy(dtype=float)

    def fit(x: Array, y: Array, weights: Array) -> Callable[[Array], Array]:
        logs = attribute.scale == "log"
        target = np.log(np.maximum(y, 1e-9)) if logs else y
        model = GaussianProcess.fit(x, target, noise_weights=weights / weights.mean())
        return lambda new: np.exp(model.predict(new)[0]) if logs else model.predict(new)[0]

    return Learner(encode, fit)


@dataclass(frozen=True, eq=False)
class Refinement:
    """Synthetic rows for one attribute of the default twin.

    Parameters
    ----------
    table, index
        All rows and the attribute.
    choice
        What the folds said.
    generator
        The chosen one.
    seed
        Of the rows that are generated.
    """

    table: DoETable
    index: int
    choice: Augmentation
    generator: Generator
    seed: int

    def rows(self, shown: NDArray[np.int64]) -> tuple[Conditions, Array]:
        """Synthetic rows from some rows of the table: those used, or 25 to be looked at."""
        rng = np.random.default_rng(self.seed)
        return self.generator(self.table.take(shown), self.index, self.choice.count or COUNTS[-1], rng)

    def member(self, shown: NDArray[np.int64], features: Array, y: Array) -> Predictor:
        """The Gaussian process of real and synthetic rows, on the scale of the model."""
        x, made = self.rows(shown)
        if self.table.system.attributes[self.index].scale == "log":
            made = np.log(np.maximum(made, 1e-9))
        n, m, alpha = len(y), len(made), self.choice.alpha
        weights = np.concatenate([np.full(n, (1 - alpha) / n), np.full(m, alpha / max(m, 1))])
        joined = np.vstack([features, make_features(x, self.table.system).to_numpy(dtype=float)])
        model = GaussianProcess.fit(joined, np.concatenate([y, made]), noise_weights=weights / weights.mean())

        def predict(new: Inputs) -> Array:
            return model.predict(new.features)[0]

        return predict


def refine(
    table: DoETable,
    index: int,
    *,
    mechanism: Mechanism | None,
    folds: NDArray[np.int64],
    seed: int,
    known: Augmentation | None = None,
) -> Refinement:
    """Choose synthetic rows for an attribute; see `choose_augmentation`.

    Parameters
    ----------
    mechanism
        Its simulated rows are one of the candidates.
    folds
        (n,) of the rows; five of them are made of these.
    known
        What was chosen before; nothing is searched then.
    """
    generators = dict(GENERATORS)
    if mechanism is not None and table.system.attributes[index].plant is not None:
        generators["plant"] = plant_rows(mechanism, table)
    choice = known or choose_augmentation(
        table,
        index,
        learner=feature_learner(table, index),
        generators=generators,
        folds=folds % 5,
        rng=np.random.default_rng(seed),
        counts=COUNTS,
    )
    return Refinement(table, index, choice, generators[choice.generator], seed)
