"""The published recipe: trees and support vectors on raw inputs, chosen by grid search (Barhate et al., 2025)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystalscope.core.design import Prediction
from crystalscope.design.augment import COUNTS, Augmentation, Learner, choose_augmentation, weighted_fit
from crystalscope.design.base import ModelScore, Progress, Score
from crystalscope.design.conditions import Conditions
from crystalscope.design.features import make_features
from crystalscope.design.generators import GENERATORS, Synthetic
from crystalscope.design.intervals import Domain
from crystalscope.design.table import DoETable, usable
from crystalscope.errors import InputError

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

_HOLD_OUT = 0.12
_LEARNERS = ("RF", "GBT", "XGBoost", "SVR")


def _grid(name: str, quick: bool) -> dict[str, list[Any]]:
    """Published ranges; `quick`: their corners alone."""
    c = [0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0]
    grids: dict[str, dict[str, list[Any]]] = {
        # Their depth 0 is scikit-learn's None: unlimited.
        "RF": {
            "n_estimators": [10, 50, 200],
            "max_depth": [None, 5, 30],
            "min_samples_split": [2, 5, 10],
            "min_samples_leaf": [1, 2, 4],
        },
        "GBT": {
            "n_estimators": [10, 50, 200],
            "learning_rate": [0.01, 0.05, 0.2],
            "max_depth": [3, 5, 7],
            "subsample": [0.5, 0.75, 1.0],
            "alpha": [0.1, 0.5, 0.9],
        },
        "XGBoost": {
            "n_estimators": [10, 50, 200],
            "learning_rate": [0.01, 0.05, 0.2],
            "max_depth": [3, 5, 7],
            "subsample": [0.5, 0.75, 1.0],
            "colsample_bytree": [0.3, 0.7, 1.0],
        },
        "SVR": {"kernel": ["linear", "poly", "rbf", "sigmoid"], "C": c},
    }
    if not quick or name == "SVR":
        return grids[name]
    corners: dict[str, dict[str, list[Any]]] = {
        "RF": {"n_estimators": [50], "max_depth": [None], "min_samples_leaf": [1, 2, 4]},
        "GBT": {"n_estimators": [50], "learning_rate": [0.05, 0.2], "max_depth": [3], "subsample": [0.5, 1.0]},
        "XGBoost": {"n_estimators": [50], "learning_rate": [0.05, 0.2], "max_depth": [3], "subsample": [0.5, 1.0]},
    }
    return corners[name]


def _estimator(name: str, seed: int, settings: Mapping[str, Any] | None = None) -> Any:
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
    from sklearn.svm import SVR

    given = dict(settings or {})
    if name == "RF":
        return RandomForestRegressor(random_state=seed, n_jobs=1, **given)
    if name == "GBT":
        # alpha is of the Huber loss; it would do nothing for squares.
        return GradientBoostingRegressor(random_state=seed, loss="huber", **given)
    if name == "SVR":
        return SVR(**given)
    from xgboost import XGBRegressor

    return XGBRegressor(random_state=seed, n_jobs=1, verbosity=0, **given)


@dataclass(frozen=True, eq=False)
class _Part:
    """One attribute: what was chosen, its synthetic rows, and the repeats of each way to an uncertainty."""

    index: int
    choice: PublishedChoice
    mean: Any
    repeats: tuple[Any, ...]
    bootstraps: tuple[Any, ...]
    out_of_bag: float
    synthetic: Synthetic | None


@dataclass(frozen=True, eq=False)
class FittedPublished:
    """The published twin after fitting; see `FittedTwin` for its fields."""

    table: DoETable
    attributes: tuple[str, ...]
    scores: tuple[ModelScore, ...]
    held_out: Mapping[str, Array]
    notes: tuple[str, ...]
    domain: Domain
    parts: tuple[_Part, ...]
    before: Mapping[str, Array]
    """Held-out predictions without synthetic rows (step 4); `held_out` are those of the refined models (step 8)."""

    def predict(self, conditions: Conditions, *, level: float = 0.9) -> dict[str, Prediction]:
        """Means with plus or minus z standard deviations of Monte Carlo cross-validation, as published.

        Such an interval holds the spread of the models, not the error of a measurement: it is too narrow.
        """
        inside = self.distance(conditions) <= 1
        out = {}
        for name, part in zip(self.attributes, self.parts, strict=True):
            mean, sd = part.mean(conditions), self._spread(part.repeats, conditions)
            out[name] = Prediction(mean, mean - _z(level) * sd, mean + _z(level) * sd, level, inside)
        return out

    @property
    def augmented(self) -> bool:
        """Whether synthetic rows were tried."""
        return any(p.choice.augmentation is not None for p in self.parts)

    def estimate(self, conditions: Conditions) -> tuple[Array, Array]:
        """(n, q) means and standard deviations by Monte Carlo cross-validation."""
        return self.means(conditions), np.column_stack([self._spread(p.repeats, conditions) for p in self.parts])

    def means(self, conditions: Conditions) -> Array:
        """(n, q) means in the order of `attributes`."""
        return np.column_stack([p.mean(conditions) for p in self.parts])

    def distance(self, conditions: Conditions) -> Array:
        """(n,) distance from what was tried; above 1 is outside."""
        return self.domain.distance(conditions, make_features(conditions, self.table.system))

    def uncertainties(self, conditions: Conditions) -> dict[str, dict[str, Array]]:
        """Standard deviations by attribute and method: monte_carlo, bootstrap, out_of_bag."""
        return {
            name: {
                "monte_carlo": self._spread(p.repeats, conditions),
                "bootstrap": self._spread(p.bootstraps, conditions),
                "out_of_bag": np.full(len(conditions), p.out_of_bag),
            }
            for name, p in zip(self.attributes, self.parts, strict=True)
        }

    @staticmethod
    def _spread(models: tuple[Any, ...], conditions: Conditions) -> Array:
        return np.asarray(np.std([m(conditions) for m in models], axis=0, ddof=1))


@dataclass(frozen=True, eq=False)
class PublishedChoice:
    """What the searches found for one attribute.

    Parameters
    ----------
    learner, settings
        Name and hyperparameters.
    scores
        Rows of models.csv.
    held_out
        (n,) held-out predictions of the rows.
    augmentation
        Synthetic rows; None where none were tried.
    """

    learner: str
    settings: Mapping[str, Any]
    scores: tuple[ModelScore, ...]
    held_out: Array
    augmentation: Augmentation | None


@dataclass(frozen=True)
class PublishedTwin:
    """The published recipe as a method.

    Parameters
    ----------
    folds
        K of the grid search, 3 or 5.
    quick
        Only the corners of the grids, and 25 synthetic rows.
    augment
        Whether synthetic rows are tried (steps 6 to 8).
    repeats
        Of Monte Carlo cross-validation and of the bootstrap.
    known
        Choices of an earlier fit to the same table, by attribute; they are not searched again.
    """

    folds: int = 3
    quick: bool = False
    augment: bool = True
    repeats: int = 20
    known: Mapping[str, PublishedChoice] | None = None

    def fit(self, table: DoETable, *, rng: np.random.Generator, progress: Progress | None = None) -> FittedPublished:
        """Fit to a table; raises InputError with fewer rows than folds."""
        tell = progress or (lambda what, done, of: None)
        parts, scores, held, names, notes = [], [], {}, [], []
        for j, attribute in enumerate(table.system.attributes):
            if not usable(table.values[:, j]):
                continue
            tell(attribute.column, j, len(table.system.attributes))
            part, rows, out = self._attribute(table, j, rng)
            parts.append(part)
            scores += rows
            held[attribute.column] = out
            names.append(attribute.column)
            a = part.choice.augmentation
            if a is not None:
                used = f"{a.count} rows of {a.generator} with a = {a.alpha:g}" if a.alpha > 0 else "no synthetic rows"
                notes.append(f"{attribute.column}: {part.choice.learner}, {used}")
        features = make_features(table.conditions, table.system)
        domain = Domain.of(table.conditions, features, table.system)
        before = {n: p.choice.held_out for n, p in zip(names, parts, strict=True)}
        return FittedPublished(table, tuple(names), tuple(scores), held, tuple(notes), domain, tuple(parts), before)

    def _attribute(
        self, table: DoETable, index: int, rng: np.random.Generator
    ) -> tuple[_Part, list[ModelScore], Array]:
        system, name = table.system, table.system.attributes[index].column
        rows = np.flatnonzero(np.isfinite(table.values[:, index]))
        if len(rows) - round(_HOLD_OUT * len(rows)) < 2 * self.folds:
            raise InputError(
                f"expected {2 * self.folds} or more values of {name} for {self.folds} folds, got {len(rows)} with the "
                "hold-out; measure more or take fewer folds"
            )
        order = rng.permutation(rows)
        test, train = order[: max(1, round(_HOLD_OUT * len(rows)))], order[max(1, round(_HOLD_OUT * len(rows))) :]
        seed = int(rng.integers(2**31))
        y = table.values[:, index]
        xt = table.conditions.take(test)
        choice = (self.known or {}).get(name) or self._choose(table, index, (train, test), seed)
        learner = _learner(system, choice.learner, choice.settings, seed)
        chosen, synthetic = choice.augmentation, None
        if chosen is not None and chosen.alpha > 0:
            made_by = np.random.default_rng(seed)
            synthetic = GENERATORS[chosen.generator](table.take(train), index, chosen.count, made_by)
        alpha = 0.0 if chosen is None else chosen.alpha
        raw = table.conditions.raw(system)
        made = (raw[:0], y[:0]) if synthetic is None else (synthetic[0].raw(system), synthetic[1])

        def fitted(use: Ints) -> Any:
            model = weighted_fit(learner, (raw[use], y[use]), made, alpha)
            return lambda new: model(learner.encode(new))

        after = fitted(train)
        held = choice.held_out.copy()
        held[test] = after(xt)
        scores = list(choice.scores)
        if chosen is not None:
            note = f"{chosen.generator} m={chosen.count} a={alpha:g}" if alpha > 0 else "no synthetic rows"
            # Of the rows of the training part, in its order
            refined = Score.of(chosen.held_out, y[train])
            scores.append(
                ModelScore(name, f"{choice.learner}, refined", refined, Score.of(after(xt), y[test]), 1.0, note)
            )
            held[train] = chosen.held_out
        repeats = tuple(fitted(rng.permutation(train)[: round(0.8 * len(train))]) for _ in range(self.repeats))
        bootstraps, out_of_bag = [], []
        for _ in range(self.repeats):
            draw = rng.choice(train, len(train))
            model = fitted(draw)
            left = np.setdiff1d(train, draw)
            bootstraps.append(model)
            out_of_bag.append(model(table.conditions.take(left)) - y[left])
        spread = float(np.sqrt(np.mean(np.concatenate(out_of_bag) ** 2)))
        part = _Part(index, choice, after, repeats, tuple(bootstraps), spread, synthetic)
        return part, scores, held

    def _choose(self, table: DoETable, index: int, split: tuple[Ints, Ints], seed: int) -> PublishedChoice:
        """Learner by validation error, then synthetic rows; the test rows are scored and never chosen on."""
        system, name, y = table.system, table.system.attributes[index].column, table.values[:, index]
        train, test = split
        raw = table.conditions.raw(system)
        x, xt = raw[train], raw[test]
        found = []
        for learner_name in _LEARNERS:
            settings, validation, out = self._search(x, y[train], learner_name, seed)
            model = _learner(system, learner_name, settings, seed).fit(x, y[train], np.ones(len(train)))
            found.append((learner_name, settings, validation, Score.of(model(xt), y[test]), out))
        best = min(found, key=lambda f: f[2].mse)
        scores = tuple(
            ModelScore(name, f[0], f[2], f[3], float(f is best), ", ".join(f"{k}={v}" for k, v in f[1].items()))
            for f in found
        )
        held = np.full(len(y), np.nan)
        held[train] = best[4]
        chosen = None
        if self.augment:
            chosen = choose_augmentation(
                table.take(train),
                index,
                learner=_learner(system, best[0], best[1], seed),
                generators=GENERATORS,
                folds=self._fold_numbers(len(train), seed),
                rng=np.random.default_rng(seed),
                counts=COUNTS[-1:] if self.quick else COUNTS,
            )
        return PublishedChoice(best[0], best[1], scores, held, chosen)

    def _fold_numbers(self, n: int, seed: int) -> Ints:
        """(n,) the folds of the grid search, so that errors before and after are of the same rows."""
        from sklearn.model_selection import KFold

        out = np.zeros(n, dtype=np.int64)
        for k, (_, left) in enumerate(KFold(self.folds, shuffle=True, random_state=seed).split(np.zeros((n, 1)))):
            out[left] = k
        return out

    def _search(self, x: Array, y: Array, name: str, seed: int) -> tuple[dict[str, Any], Score, Array]:
        from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        folds = KFold(self.folds, shuffle=True, random_state=seed)
        pipeline = make_pipeline(StandardScaler(), _estimator(name, seed))
        step = pipeline.steps[1][0]
        grid = {f"{step}__{k}": v for k, v in _grid(name, self.quick).items()}
        search = GridSearchCV(pipeline, grid, scoring="neg_mean_squared_error", cv=folds, n_jobs=1, refit=False)
        search.fit(x, y)
        settings = {k.split("__")[1]: v for k, v in search.best_params_.items()}
        best = make_pipeline(StandardScaler(), _estimator(name, seed, settings))
        out = np.asarray(cross_val_predict(best, x, y, cv=folds, n_jobs=1), dtype=float)
        return settings, Score.of(out, y), out


def _learner(system: Any, name: str, settings: Mapping[str, Any], seed: int) -> Learner:
    """A weighted learner on standardised raw inputs."""
    from sklearn.preprocessing import StandardScaler

    def fit(x: Array, y: Array, weights: Array) -> Any:
        scaler = StandardScaler().fit(x)
        # Equal weights as none: the quantile of the Huber loss is another with weights.
        unequal = weights if np.ptp(weights) > 0 else None
        model = _estimator(name, seed, settings).fit(scaler.transform(x), y, sample_weight=unequal)
        return lambda new: np.asarray(model.predict(scaler.transform(new)), dtype=float)

    return Learner(lambda x: x.raw(system), fit)


def _z(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2))
