"""The default twin: members combined by what held out best, with intervals that hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core.design import Prediction
from crystalscope.design.augment import Augmentation
from crystalscope.design.base import ModelScore, Progress, Score
from crystalscope.design.conditions import Conditions
from crystalscope.design.features import make_features
from crystalscope.design.intervals import Domain, conformal_interval, held_out_reach, make_folds
from crystalscope.design.mechanism import Mechanism, to_attribute
from crystalscope.design.members import MEMBERS, Inputs, Predictor, combine, member_names
from crystalscope.design.refine import NAME, Refinement, refine
from crystalscope.design.regress import GaussianProcess
from crystalscope.design.table import DoETable, usable

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

_LEAST_PLANT_WEIGHT = 0.05
"""A mechanism with less than this share in the prediction is useless: it is dropped."""


@dataclass(frozen=True, eq=False)
class _Model:
    """Fitted members of one attribute on some rows."""

    members: Mapping[str, Predictor]
    weights: Mapping[str, float]
    spread: GaussianProcess

    def mean(self, x: Inputs) -> Array:
        return np.asarray(sum(w * self.members[n](x) for n, w in self.weights.items() if w > 0))

    def sd(self, x: Inputs) -> Array:
        return self.spread.predict(x.features)[1]


@dataclass(frozen=True, eq=False)
class _Attribute:
    """All that predicts one attribute: the model of all rows, those of the folds, the scaled held-out residuals."""

    index: int
    final: _Model
    folds: Mapping[int, _Model]
    fold_of_score: Ints
    scores: Array
    held_out: Array
    """On the scale of the model, for the rows that were measured, as `scales`."""
    scales: Array


class Plants:
    """Outputs of the plant at conditions for several sets of constants, each simulated once."""

    def __init__(self, mechanism: Mechanism | None, conditions: Conditions, known: bool = False) -> None:
        """`known`: the conditions are the rows of the mechanism, whose outputs are at hand."""
        self._mechanism, self._conditions, self._known = mechanism, conditions, known
        self._outputs: dict[bytes, Array] = {}

    def columns(self, table: DoETable, index: int, theta: Array | None) -> Array | None:
        """(n, 4) inputs of the members for an attribute; None without a plant or where the attribute is none of its."""
        if self._mechanism is None or theta is None:
            return None
        key = theta.tobytes()
        if key not in self._outputs:
            m = self._mechanism
            self._outputs[key] = m.rows(theta) if self._known else m.simulate(self._conditions, theta)
        outputs = self._outputs[key].copy()
        # Where nothing is left of the crystals the plant says nothing: the middle of the others stands in.
        middle = np.nanmean(outputs, axis=0) if np.isfinite(outputs).any() else np.array([10.0, 0.5, 0.5])
        outputs = np.where(np.isfinite(outputs), outputs, middle)
        attribute = table.system.attributes[index]
        logs = np.log(np.maximum(outputs[:, :1], 1e-3))
        if attribute.plant is None:
            own = logs
        else:
            own = to_attribute(table.system, outputs, index)[:, None]
            own = np.log(np.maximum(own, 1e-9)) if attribute.scale == "log" else own
        return np.hstack([own, logs, outputs[:, 1:]])


@dataclass(frozen=True, eq=False)
class FittedDefault:
    """The default twin after fitting; see `FittedTwin` for its fields."""

    table: DoETable
    attributes: tuple[str, ...]
    scores: tuple[ModelScore, ...]
    held_out: Mapping[str, Array]
    notes: tuple[str, ...]
    mechanism: Mechanism | None
    theta: Array | None
    fold_thetas: Mapping[int, Array | None]
    domain: Domain
    parts: tuple[_Attribute, ...]
    refinements: Mapping[str, Refinement]

    def predict(self, conditions: Conditions, *, level: float = 0.9) -> dict[str, Prediction]:
        """Means, CV+ intervals of a new measurement and the domain flag, by attribute."""
        features = make_features(conditions, self.table.system)
        inside = self.domain.distance(conditions, features) <= 1
        plants = Plants(self.mechanism, conditions)
        out = {}
        for name, part in zip(self.attributes, self.parts, strict=True):
            mean = part.final.mean(self._inputs(features, plants, part.index, self.theta))
            centres, scales = {}, {}
            for k, model in part.folds.items():
                x = self._inputs(features, plants, part.index, self.fold_thetas[k])
                centres[k], scales[k] = model.mean(x), model.sd(x)
            lower, upper = conformal_interval(
                np.array([centres[k] for k in part.fold_of_score]),
                np.array([scales[k] for k in part.fold_of_score]),
                part.scores,
                level,
            )
            out[name] = self._back(part.index, mean, np.minimum(lower, mean), np.maximum(upper, mean), level, inside)
        return out

    def predict_rows(self, *, level: float = 0.9) -> dict[str, Prediction]:
        """Of the rows of the table; where an attribute was measured, by the models that had not seen the row, with an
        interval from the residuals of the other folds.
        """
        out = {}
        for (name, p), part in zip(self.predict(self.table.conditions, level=level).items(), self.parts, strict=True):
            rows = np.isfinite(self.held_out[name])
            reach = held_out_reach(part.scores, part.fold_of_score, level) * part.scales
            ends = (part.held_out, part.held_out - reach, part.held_out + reach)
            mine = self._back(part.index, *ends, level, p.in_domain[rows])
            columns = []
            for whole, known in ((p.mean, mine.mean), (p.lower, mine.lower), (p.upper, mine.upper)):
                column = whole.copy()
                column[rows] = known
                columns.append(column)
            out[name] = Prediction(columns[0], columns[1], columns[2], level, p.in_domain)
        return out

    def estimate(self, conditions: Conditions) -> tuple[Array, Array]:
        """(n, q) means and standard deviations, without the models of the folds."""
        features = make_features(conditions, self.table.system)
        means, sds = self._means(conditions, features), []
        for k, part in enumerate(self.parts):
            # The Gaussian process says where errors are larger; the held-out residuals how large they are.
            sd = part.final.sd(Inputs(features.to_numpy(dtype=float))) * float(np.sqrt(np.mean(part.scores**2)))
            log = self.table.system.attributes[part.index].scale == "log"
            sds.append(means[:, k] * sd if log else sd)
        return means, np.column_stack(sds)

    def means(self, conditions: Conditions) -> Array:
        """(n, q) means in the order of `attributes`."""
        return self._means(conditions, make_features(conditions, self.table.system))

    def _means(self, conditions: Conditions, features: pd.DataFrame) -> Array:
        plants = Plants(self.mechanism, conditions)
        out = []
        for part in self.parts:
            mean = part.final.mean(self._inputs(features, plants, part.index, self.theta))
            a = self.table.system.attributes[part.index]
            mean = np.exp(mean) if a.scale == "log" else mean
            out.append(mean if a.bounds is None else np.clip(mean, *a.bounds))
        return np.column_stack(out)

    def distance(self, conditions: Conditions) -> Array:
        """(n,) distance from what was tried; above 1 is outside."""
        return self.domain.distance(conditions, make_features(conditions, self.table.system))

    def _inputs(self, features: pd.DataFrame, plants: Plants, index: int, theta: Array | None) -> Inputs:
        return Inputs(features.to_numpy(dtype=float), plants.columns(self.table, index, theta))

    def _back(
        self, index: int, mean: Array, lower: Array, upper: Array, level: float, inside: NDArray[np.bool_]
    ) -> Prediction:
        a = self.table.system.attributes[index]
        ends = [np.exp(v) if a.scale == "log" else v for v in (mean, lower, upper)]
        if a.bounds is not None:
            ends = [np.clip(v, *a.bounds) for v in ends]
        return Prediction(ends[0], ends[1], ends[2], level, inside)


@dataclass(frozen=True)
class DefaultTwin:
    """The default twin as a method.

    Parameters
    ----------
    folds
        Of the cross-validation that weighs the members and makes the intervals; None: 10, or as many as there are
        different experiments.
    mechanism
        Plant that was built before for the first rows of the table, so that only new rows are simulated.
    augment
        Whether synthetic rows are tried.
    choices
        Synthetic rows that an earlier fit to the same table chose, by attribute; they are not searched again.
    """

    folds: int | None = None
    mechanism: Mechanism | None = None
    augment: bool = True
    choices: Mapping[str, Augmentation] | None = None

    def fit(self, table: DoETable, *, rng: np.random.Generator, progress: Progress | None = None) -> FittedDefault:
        """Fit to a table.

        Raises
        ------
        InputError
            With fewer different experiments than folds, or than five.

        Notes
        -----
        In each fold everything that sees values is done anew: the calibration of the plant, the members, the weights
        (from the rows of the other folds) and the scale of the residuals.
        """
        tell = progress or (lambda what, done, of: None)
        different = len(np.unique(table.conditions.raw(table.system), axis=0))
        folds = make_folds(table, self.folds or min(10, max(different, 5)), rng=rng)
        seed = int(rng.integers(2**31))
        tell("plant", 0, None)
        mechanism = self._mechanism(table, rng)
        count = int(folds.max()) + 1
        everything = np.arange(len(table))
        theta = None if mechanism is None else mechanism.calibrate(table, everything)
        thetas: dict[int, Array | None] = {}
        for k in range(count):
            tell("calibration", k, count)
            thetas[k] = None if mechanism is None else mechanism.calibrate(table, np.flatnonzero(folds != k))
        features = make_features(table.conditions, table.system)
        plants = Plants(mechanism, table.conditions, known=True)
        parts, scores, held, notes, names = [], [], {}, [], []
        refinements: dict[str, Refinement] = {}
        for j, attribute in enumerate(table.system.attributes):
            if not usable(table.values[:, j]):
                continue
            tell(attribute.column, j, len(table.system.attributes))
            if self.augment:
                refinements[attribute.column] = refine(
                    table,
                    j,
                    mechanism=mechanism,
                    folds=folds,
                    seed=seed + j,
                    known=(self.choices or {}).get(attribute.column),
                )
            part, rows, out, said = _fit_attribute(
                (table, j),
                (features.to_numpy(dtype=float), plants),
                folds,
                (theta, thetas),
                refinements.get(attribute.column),
                seed,
            )
            parts.append(part)
            scores += rows
            held[attribute.column] = out
            notes += said
            names.append(attribute.column)
        domain = Domain.of(table.conditions, features, table.system)
        return FittedDefault(
            table,
            tuple(names),
            tuple(scores),
            held,
            tuple(notes),
            mechanism,
            theta,
            thetas,
            domain,
            tuple(parts),
            refinements,
        )

    def _mechanism(self, table: DoETable, rng: np.random.Generator) -> Mechanism | None:
        if table.system.plant is None or not any(a.plant for a in table.system.attributes):
            return None
        if self.mechanism is None:
            return Mechanism.build(table, rng=rng)
        if len(self.mechanism.coefficients) < len(table):
            return self.mechanism.extended(table, rng=rng)
        return self.mechanism


def _fit_attribute(
    of: tuple[DoETable, int],
    known: tuple[Array, Plants],
    folds: Ints,
    constants: tuple[Array | None, Mapping[int, Array | None]],
    refinement: Refinement | None,
    seed: int,
) -> tuple[_Attribute, list[ModelScore], Array, list[str]]:
    table, index = of
    features, plants = known
    theta, thetas = constants
    attribute = table.system.attributes[index]
    values = table.values[:, index]
    measured = np.isfinite(values)
    y = np.full(len(values), np.nan)
    y[measured] = np.log(values[measured]) if attribute.scale == "log" else values[measured]
    names = member_names(plant=theta is not None)
    refined = refinement is not None and refinement.choice.alpha > 0

    def fitted(rows: Ints, at: Array | None) -> tuple[dict[str, Predictor], GaussianProcess]:
        x = Inputs(features, plants.columns(table, index, at)).take(rows)
        out = {n: MEMBERS[n](x, y[rows], seed) for n in names if n != NAME}
        if refined and refinement is not None:
            out[NAME] = refinement.member(rows, x.features, y[rows])
        return out, GaussianProcess.fit(x.features, y[rows])

    if refined:
        names = (*names, NAME)

    held = np.full((len(y), len(names)), np.nan)
    scale = np.full(len(y), np.nan)
    inner = {}
    for k in sorted(set(folds[measured].tolist())):
        train, out = np.flatnonzero(measured & (folds != k)), np.flatnonzero(measured & (folds == k))
        members, spread = fitted(train, thetas[k])
        x = Inputs(features, plants.columns(table, index, thetas[k])).take(out)
        held[out] = np.column_stack([members[n](x) for n in names])
        scale[out] = spread.predict(x.features)[1]
        inner[k] = (members, spread)
    weights, note = _weights(held[measured], y[measured], names)
    models: dict[int, _Model] = {}
    together = np.full(len(y), np.nan)
    for k, (members, spread) in inner.items():
        others, out = measured & (folds != k), measured & (folds == k)
        mine, _ = _weights(held[others], y[others], names)
        models[k] = _Model(members, dict(zip(names, mine, strict=True)), spread)
        together[out] = held[out] @ mine
    rows = np.flatnonzero(measured)
    members, spread = fitted(rows, theta)
    final = _Model(members, dict(zip(names, weights, strict=True)), spread)
    residuals = np.abs(together[rows] - y[rows])
    part = _Attribute(index, final, models, folds[rows], residuals / scale[rows], together[rows], scale[rows])

    def back(v: Array) -> Array:
        v = np.exp(v) if attribute.scale == "log" else v
        return v if attribute.bounds is None else np.clip(v, *attribute.bounds)

    none = Score(np.nan, np.nan, np.nan)
    scores = [
        ModelScore(attribute.column, n, Score.of(back(held[rows, i]), values[rows]), none, float(weights[i]))
        for i, n in enumerate(names)
    ]
    best = Score.of(back(held[rows] @ weights), values[rows])
    test = Score.of(back(together[rows]), values[rows])
    scores.append(ModelScore(attribute.column, "combined", best, test, 1.0, "test: weights of the other folds"))
    return part, scores, back(together), [f"{attribute.column}: {note}"] if note else []


def _weights(held: Array, measured: Array, names: tuple[str, ...]) -> tuple[Array, str]:
    """Weights of the members; a plant that hardly helps is dropped, and said so."""
    weights = combine(held, measured)
    of_plant = np.array([n.startswith("plant") for n in names])
    if not of_plant.any():
        return weights, ""
    share = float(weights[of_plant].sum())
    if share >= _LEAST_PLANT_WEIGHT:
        return weights, f"the plant carries {share:.0%} of the prediction"
    out = np.zeros(len(names))
    out[~of_plant] = combine(held[:, ~of_plant], measured)
    return out, "the plant does not help here and was dropped"
