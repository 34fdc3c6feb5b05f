"""Pareto fronts by NSGA-II, hypervolumes, and the recipe that is chosen."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crystalscope.core.design import ParetoFront, Prediction
from crystalscope.design.base import FittedTwin, Progress
from crystalscope.design.conditions import Conditions
from crystalscope.design.space import Space, round_conditions, spaces_of
from crystalscope.design.system import System

Array = NDArray[np.float64]

OPTIMISM = 1.35
"""How much wider intervals are at an optimum: there a model errs more than at a recipe that was not picked by it.
Intervals of 90 % covered 75 to 79 % there in families with a mechanism that the twin lacks (bench.design.benchmark)."""


def at_optimum(predictions: Mapping[str, Prediction], system: System) -> dict[str, Prediction]:
    """Predictions by attribute with the intervals that they have as optima of their own model, within its bounds."""
    bounds = {a.column: a.bounds for a in system.attributes}
    out = {}
    for name, p in predictions.items():
        lower, upper = p.mean - OPTIMISM * (p.mean - p.lower), p.mean + OPTIMISM * (p.upper - p.mean)
        # What cannot be negative does not become so.
        lower = np.where(p.lower >= 0, np.maximum(lower, 0.0), lower)
        ends = bounds[name]
        if ends is not None:
            lower, upper = np.clip(lower, *ends), np.clip(upper, *ends)
        out[name] = replace(p, lower=lower, upper=upper)
    return out


def objectives_of(system: System, names: Sequence[str], values: Array, conditions: Conditions) -> Array:
    """(n, m) objectives to be minimised, from (n, q) attributes with their names; the batch time in h last, if
    wanted.
    """
    columns = []
    for a in system.attributes:
        if a.objective and a.column in names:
            v = values[:, list(names).index(a.column)]
            columns.append(-v if a.direction == "max" else v)
    if system.time_objective:
        columns.append(conditions.batch_time_h)
    return np.column_stack(columns)


def optimise(
    twin: FittedTwin,
    space: Space,
    *,
    rng: np.random.Generator,
    population: int = 40,
    generations: int = 25,
    careful: bool = True,
    level: float = 0.9,
) -> ParetoFront:
    """Front of one kind of profile by NSGA-II (Deb et al., IEEE Trans. Evol. Comput. 6 (2002) 182; pymoo).

    Parameters
    ----------
    twin
        Gives the means.
    space
        Of the profile; every point of it keeps the constraints.
    population, generations
        Of the search.
    careful
        Whether recipes must lie within what was tried, and their expected objectives within what was measured; whether
        the search takes objectives for one standard deviation worse than their means, so that of two recipes of equal
        promise the one that is better known is taken; and whether intervals are those of `at_optimum`. Optimisers go
        where a model errs in their favour, and that is mostly where there are no data. What lies beyond is for the next
        experiments (`suggest`).
    level
        Of the intervals.

    Returns
    -------
    The front; empty where no recipe of this kind lies within what was tried.
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.optimize import minimize

    system = space.system

    class Recipes(Problem):  # type: ignore[misc]
        def __init__(self) -> None:
            count = objectives_of(system, twin.attributes, np.zeros((1, len(twin.attributes))), space.decode(start[:1]))
            super().__init__(n_var=space.size, n_obj=count.shape[1], n_ieq_constr=int(careful), xl=0.0, xu=1.0)

        def _evaluate(self, x: Array, out: dict[str, Array], *args: object, **kwargs: object) -> None:
            conditions = round_conditions(space.decode(x), system)
            if not careful:
                out["F"] = objectives_of(system, twin.attributes, twin.means(conditions), conditions)
                return
            means, sds = twin.estimate(conditions)
            out["F"] = objectives_of(system, twin.attributes, means, conditions)
            out["F"] += objective_sds(system, twin.attributes, sds, conditions)
            out["G"] = np.maximum(twin.distance(conditions), _beyond(twin, means))[:, None] - 1

    tried = twin.table.conditions
    mine = np.flatnonzero(tried.segments == space.segments)
    start = rng.random((population, space.size))
    # What was tried is a good start, and the only one where the data lie in a small part of the space.
    known = space.encode(tried.take(mine))[: population // 2]
    start[: len(known)] = known
    with warnings.catch_warnings():
        # Deprecations inside pymoo are none of the reader's.
        warnings.simplefilter("ignore")
        got = minimize(
            Recipes(),
            NSGA2(pop_size=population, sampling=start),
            ("n_gen", generations),
            seed=int(rng.integers(2**31)),
        )
    x = np.zeros((0, space.size)) if got.X is None else np.atleast_2d(got.X)
    conditions = round_conditions(space.decode(x), system)
    x = x[np.sort(np.unique(conditions.raw(system), axis=0, return_index=True)[1])]
    conditions = round_conditions(space.decode(x), system)
    predictions = twin.predict(conditions, level=level) if len(x) else {}
    if careful:
        predictions = at_optimum(predictions, system)
    if not len(x):
        none = np.zeros((0, 0))
        return ParetoFront(space.segments, x, none, predictions, np.zeros(0))
    values = np.column_stack([predictions[n].mean for n in twin.attributes])
    objectives = objectives_of(system, twin.attributes, values, conditions)
    # A recipe that the search kept for being better known may be worse in every mean.
    front = np.flatnonzero(nondominated(objectives))
    order = front[np.argsort(objectives[front, 0], kind="stable")]
    kept = {n: _rows(p, order) for n, p in predictions.items()}
    return ParetoFront(space.segments, x[order], objectives[order], kept, conditions.batch_time_h[order])


def objective_sds(system: System, names: Sequence[str], sds: Array, conditions: Conditions) -> Array:
    """(n, m) standard deviations of the objectives of `objectives_of`; the batch time has next to none."""
    columns = [sds[:, list(names).index(a.column)] for a in system.attributes if a.objective and a.column in names]
    if system.time_objective:
        columns.append(np.full(len(conditions), 1e-6))
    return np.column_stack(columns)


def _beyond(twin: FittedTwin, means: Array) -> Array:
    """(n,) how far expected objectives are from the middle of the measured ones, over half their range."""
    table = twin.table
    out = np.zeros(len(means))
    for i, name in enumerate(twin.attributes):
        j = next(k for k, a in enumerate(table.system.attributes) if a.column == name)
        a, y = table.system.attributes[j], table.values[:, j]
        if not a.objective:
            continue
        low, high, mean = float(np.nanmin(y)), float(np.nanmax(y)), means[:, i]
        if a.scale == "log":
            low, high, mean = np.log(low), np.log(high), np.log(np.maximum(mean, 1e-12))
        out = np.maximum(out, np.abs(mean - 0.5 * (low + high)) / max(0.5 * (high - low), 1e-12))
    return out


def _rows(p: Prediction, order: NDArray[np.int64]) -> Prediction:
    return Prediction(p.mean[order], p.lower[order], p.upper[order], p.level, p.in_domain[order])


def optimise_all(
    twin: FittedTwin,
    *,
    rng: np.random.Generator,
    careful: bool = True,
    level: float = 0.9,
    progress: Progress | None = None,
    effort: tuple[int, int] = (40, 25),
) -> tuple[ParetoFront, ...]:
    """A front for every kind of profile; `effort` is population and generations."""
    out = []
    spaces = spaces_of(twin.table.system)
    for i, space in enumerate(spaces):
        if progress is not None:
            progress("Pareto fronts", i, len(spaces))
        out.append(
            optimise(twin, space, rng=rng, population=effort[0], generations=effort[1], careful=careful, level=level)
        )
    return tuple(out)


def nondominated(objectives: Array) -> NDArray[np.bool_]:
    """(n,) rows than which none is at least as good in all and better in one of (n, m) objectives to be minimised."""
    better = (objectives[:, None] <= objectives[None]).all(axis=2) & (objectives[:, None] < objectives[None]).any(
        axis=2
    )
    return np.asarray(~better.any(axis=0))


def hypervolume(objectives: Array, reference: Array) -> float:
    """Volume that (n, m) objectives dominate up to a reference point; exact."""
    inside = objectives[(objectives < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    if inside.shape[1] == 2:
        order = np.lexsort((inside[:, 1], inside[:, 0]))
        volume, floor = 0.0, float(reference[1])
        for a, b in inside[order]:
            if b < floor:
                volume += (float(reference[0]) - a) * (floor - b)
                floor = float(b)
        return volume
    from pymoo.indicators.hv import HV

    return float(HV(ref_point=reference)(inside))


def choose_recipe(fronts: Sequence[ParetoFront]) -> tuple[int, int]:
    """Front and row of the recipe nearest to the ideal point, objectives scaled to their ranges; those inside first.

    Returns
    -------
    (-1, -1) where all fronts are empty.
    """
    rows = [(i, j) for i, f in enumerate(fronts) for j in range(len(f))]
    if not rows:
        return -1, -1
    values = np.array([fronts[i].objectives[j] for i, j in rows])
    low, span = values.min(axis=0), np.ptp(values, axis=0)
    far = np.sqrt((((values - low) / np.where(span > 0, span, 1.0)) ** 2).sum(axis=1))
    outside = np.array([not all(p.in_domain[j] for p in fronts[i].predictions.values()) for i, j in rows])
    return rows[int(np.argmin(far + 10 * outside))]
