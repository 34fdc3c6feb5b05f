"""The models that the default twin combines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crystalscope.design.regress import GaussianProcess, Ridge

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Inputs:
    """What members see of n batches.

    Parameters
    ----------
    features
        (n, p) from `make_features`.
    plant
        (n, 4) of the calibrated plant: the attribute itself on its scale, ln D50, DoA, crystallinity; None without one.
    """

    features: Array
    plant: Array | None = None

    def take(self, rows: NDArray[np.generic]) -> Inputs:
        """Some rows."""
        return Inputs(self.features[rows], None if self.plant is None else self.plant[rows])


Predictor = Callable[[Inputs], Array]


def _ridge(x: Inputs, y: Array, seed: int) -> Predictor:
    del seed
    model = Ridge.fit(x.features, y)
    return lambda new: model.predict(new.features)


def _gaussian_process(x: Inputs, y: Array, seed: int) -> Predictor:
    del seed
    model = GaussianProcess.fit(x.features, y)
    return lambda new: model.predict(new.features)[0]


def _trees(x: Inputs, y: Array, seed: int) -> Predictor:
    from sklearn.ensemble import ExtraTreesRegressor

    model = ExtraTreesRegressor(60, min_samples_leaf=2, random_state=seed, n_jobs=1).fit(x.features, y)
    return lambda new: np.asarray(model.predict(new.features), dtype=float)


def _plant(x: Inputs) -> Array:
    assert x.plant is not None
    return x.plant


def _plant_line(x: Inputs, y: Array, seed: int) -> Predictor:
    del seed
    model = Ridge.fit(_plant(x)[:, :1], y)
    return lambda new: model.predict(_plant(new)[:, :1])


def _plant_ridge(x: Inputs, y: Array, seed: int) -> Predictor:
    del seed
    model = Ridge.fit(np.hstack([_plant(x), x.features]), y)
    return lambda new: model.predict(np.hstack([_plant(new), new.features]))


def _plant_gaussian_process(x: Inputs, y: Array, seed: int) -> Predictor:
    """What the plant leaves over, by a Gaussian process on the outputs of the plant and the features."""
    line = _plant_line(x, y, seed)
    model = GaussianProcess.fit(np.hstack([_plant(x), x.features]), y - line(x))
    return lambda new: line(new) + model.predict(np.hstack([_plant(new), new.features]))[0]


MEMBERS: dict[str, Callable[[Inputs, Array, int], Predictor]] = {
    "ridge": _ridge,
    "Gaussian process": _gaussian_process,
    "trees": _trees,
    "plant": _plant_line,
    "plant + ridge": _plant_ridge,
    "plant + Gaussian process": _plant_gaussian_process,
}
"""Name to a function that fits (inputs, values, seed) and returns a predictor."""


def member_names(*, plant: bool) -> tuple[str, ...]:
    """Members that can be fitted with or without a plant."""
    return tuple(n for n in MEMBERS if plant or not n.startswith("plant"))


def combine(predictions: Array, measured: Array) -> Array:
    """(m,) weights, none negative and 1 in sum, of the least held-out squared error.

    Parameters
    ----------
    predictions
        (n, m) held-out predictions of m members.
    measured
        (n,).

    Notes
    -----
    Stacking (Wolpert 1992; Breiman 1996) drawn towards weights that fall with the square of the held-out error, as if
    by a few rows more: with 15 rows the best combination of six members is mostly chance.
    """
    from scipy.optimize import nnls

    error = ((predictions - measured[:, None]) ** 2).mean(axis=0)
    prior = 1 / np.maximum(error, 1e-12) ** 2
    prior /= prior.sum()
    m = predictions.shape[1]
    pull = np.sqrt(2.0 * error.min() + 1e-12) * np.ones(m)
    spread = np.abs(predictions - measured[:, None]).max() + 1e-9
    a = np.vstack([predictions - measured[:, None], np.diag(pull), 1e3 * spread * np.ones((1, m))])
    b = np.concatenate([np.zeros(len(measured)), pull * prior, [1e3 * spread]])
    weights, _ = nnls(a, b)
    weights = np.where(weights < 0.02, 0.0, weights)
    return np.asarray(weights / weights.sum())
