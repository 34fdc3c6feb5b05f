"""Which experiments to run next: expected improvement of the hypervolume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from crystalscope.core.design import ParetoFront
from crystalscope.design.base import FittedTwin
from crystalscope.design.conditions import Conditions
from crystalscope.design.pareto import objective_sds, objectives_of
from crystalscope.design.space import round_conditions, spaces_of
from crystalscope.errors import InputError

Array = NDArray[np.float64]

_POOL = 4000
_KEPT = 200
_SAMPLES = 128
_FURTHEST = 1.5
"""Distance from what was tried up to which experiments are proposed."""


@dataclass(frozen=True, eq=False)
class Suggestion:
    """Experiments to run next.

    Parameters
    ----------
    conditions
        (k,) of them, the most useful first.
    means, sds
        (k, q) what the twin expects.
    gains
        (k,) expected increase of the hypervolume, relative to that of the best runs so far (or to the box of the runs,
        where these have none).
    distance
        (k,) from what was tried; above 1 is outside.
    beyond
        (k,) whether no run so far is as good in every objective as what is expected; if not, the gain is in the
        uncertainty.
    """

    conditions: Conditions
    means: Array
    sds: Array
    gains: Array
    distance: Array
    beyond: NDArray[np.bool_]


def suggest(
    twin: FittedTwin,
    count: int,
    *,
    rng: np.random.Generator,
    fronts: Sequence[ParetoFront] = (),
    pool: int = _POOL,
    kept: int = _KEPT,
) -> Suggestion:
    """The next experiments by expected hypervolume improvement (Emmerich et al. 2006).

    Parameters
    ----------
    twin
        Fitted to all runs so far.
    count
        Number of experiments; further ones take the expected results of the first as given (Kriging believer), so that
        a batch is not one recipe many times.
    fronts
        Their recipes are candidates too, and their neighbours.
    pool, kept
        Random candidates, and those that are looked at by the whole twin.

    Raises
    ------
    InputError
        Without two objectives.
    """
    system = twin.table.system
    measured = _measured(twin)
    if measured.shape[1] < 2:
        raise InputError("expected two objectives with models, got one; set objective = true for another attribute")
    x = _candidates(twin, fronts, rng, pool)
    # The nearest are first: far outside, the twin says little, and its spread is a guess.
    inside = np.flatnonzero(twin.distance(x) <= _FURTHEST)
    x = x.take(inside if len(inside) >= count else np.arange(len(x)))
    x = x.take(_screen(twin, x, kept, fronts, rng))
    low, high = measured.min(axis=0), measured.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    reference = np.ones(measured.shape[1]) * 1.1
    front = (measured - low) / span
    means, sds = twin.estimate(x)
    m = (objectives_of(system, twin.attributes, means, x) - low) / span
    s = objective_sds(system, twin.attributes, sds, x) / span
    whole = max(_volume(front, reference), 0.05)
    chosen, gains = [], []
    left = np.arange(len(x))
    for _ in range(min(count, len(x))):
        gain = expected_improvement(m[left], s[left], front, reference, rng=rng)
        best = int(np.argmax(gain))
        chosen.append(int(left[best]))
        gains.append(float(gain[best]) / whole)
        front = np.vstack([front, m[left[best]]])
        # A neighbour of a chosen one tells little more.
        left = np.delete(left, best)
    picked = x.take(np.array(chosen, dtype=int))
    runs = (measured - low) / span
    beyond = np.array([not (runs <= m[i]).all(axis=1).any() for i in chosen], dtype=bool)
    return Suggestion(picked, means[chosen], sds[chosen], np.array(gains), twin.distance(picked), beyond)


def expected_improvement(mean: Array, sd: Array, front: Array, reference: Array, *, rng: np.random.Generator) -> Array:
    """(n,) expected increase of the hypervolume by points with independent normal objectives, to be minimised.

    For two objectives the integral is exact, a sum over the strips between the points of the front; for more it is a
    mean over draws.

    Parameters
    ----------
    mean, sd
        (n, m).
    front
        (k, m) points that are there.
    reference
        (m,) point up to which volume counts.
    """
    if mean.shape[1] != 2:
        return _by_draws(mean, sd, front, reference, rng)
    inside = front[(front < reference).all(axis=1)]
    kept: list[Array] = []
    for point in inside[np.lexsort((inside[:, 1], inside[:, 0]))] if len(inside) else ():
        if not kept or point[1] < kept[-1][1]:
            kept.append(point)
    steps = np.array([*kept]) if kept else np.zeros((0, 2))
    # Strip i reaches from a_i to a_{i+1} in the first objective, below the height b_i in the second.
    a = np.concatenate([[-np.inf], steps[:, 0], [reference[0]]])
    b = np.concatenate([[reference[1]], steps[:, 1]])
    sd = np.maximum(sd, 1e-9)
    out = np.zeros(len(mean))
    for i in range(len(b)):
        width = _below(a[i + 1], mean[:, 0], sd[:, 0]) - _below(a[i], mean[:, 0], sd[:, 0])
        out += width * _below(b[i], mean[:, 1], sd[:, 1])
    return out


def _below(limit: float, mean: Array, sd: Array) -> Array:
    """E max(limit - y, 0) of a normal y."""
    if np.isinf(limit):
        return np.zeros(len(mean))
    z = (limit - mean) / sd
    return np.asarray((limit - mean) * ndtr(z) + sd * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi))


def _by_draws(mean: Array, sd: Array, front: Array, reference: Array, rng: np.random.Generator) -> Array:
    """One set of points fills the box between the best draw and the reference; the gain is the share newly covered."""
    low = np.minimum((mean - 2 * sd).min(axis=0), front.min(axis=0))
    box = low + rng.random((4000, mean.shape[1])) * (reference - low)
    free = box[~(front[:, None] <= box[None]).all(axis=2).any(axis=0)]
    size = float(np.prod(reference - low)) / len(box)
    noise = rng.standard_normal((_SAMPLES, mean.shape[1]))
    return np.array(
        [
            size * np.mean([(m + s * z <= free).all(axis=1).sum() for z in noise]) if len(free) else 0.0
            for m, s in zip(mean, sd, strict=True)
        ]
    )


def _volume(front: Array, reference: Array) -> float:
    from crystalscope.design.pareto import hypervolume

    return hypervolume(front, reference)


def _measured(twin: FittedTwin) -> Array:
    """Objectives of the runs so far; what was not measured is taken from the twin."""
    table = twin.table
    values = twin.means(table.conditions)
    for i, name in enumerate(twin.attributes):
        j = next(k for k, a in enumerate(table.system.attributes) if a.column == name)
        known = np.isfinite(table.values[:, j])
        values[known, i] = table.values[known, j]
    return objectives_of(table.system, twin.attributes, values, table.conditions)


def _candidates(twin: FittedTwin, fronts: Sequence[ParetoFront], rng: np.random.Generator, pool: int) -> Conditions:
    system = twin.table.system
    spaces = spaces_of(system)
    by_segments = {f.segments: f for f in fronts}
    parts = []
    for space in spaces:
        u = rng.random((pool // len(spaces), space.size))
        near = space.encode(twin.table.conditions.take(twin.table.conditions.segments == space.segments))
        front = by_segments.get(space.segments)
        if front is not None and len(front):
            near = np.vstack([near, front.coordinates])
        if len(near):
            moved = near[rng.integers(len(near), size=len(u) // 2)]
            u[: len(moved)] = np.clip(moved + rng.normal(0, 0.12, moved.shape), 0, 1)
        if front is not None and len(front):
            u = np.vstack([u, front.coordinates])
        parts.append(space.decode(u))
    return round_conditions(Conditions.join(parts), system)


def _screen(
    twin: FittedTwin, x: Conditions, kept: int, fronts: Sequence[ParetoFront], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Candidates worth the whole twin: those a Gaussian process of the features finds best, and recipes of the
    fronts.
    """
    from crystalscope.design.features import make_features
    from crystalscope.design.regress import GaussianProcess

    if len(x) <= kept:
        return np.arange(len(x))
    table, system = twin.table, twin.table.system
    objectives = _measured(twin)
    features = make_features(Conditions.join([table.conditions, x]), system).to_numpy(dtype=float)
    n = len(table)
    means, sds = [], []
    for column in objectives.T:
        mean, sd = GaussianProcess.fit(features[:n], column).predict(features[n:])
        means.append(mean)
        sds.append(sd)
    low, span = objectives.min(axis=0), np.maximum(np.ptp(objectives, axis=0), 1e-9)
    gain = expected_improvement(
        (np.column_stack(means) - low) / span,
        np.column_stack(sds) / span,
        (objectives - low) / span,
        np.full(objectives.shape[1], 1.1),
        rng=rng,
    )
    best = np.argsort(-gain, kind="stable")[: kept // 2]
    # The other half are the recipes of the fronts, that stand last in each part, and a random choice.
    rest = np.setdiff1d(np.arange(len(x)), best)
    return np.concatenate([best, rng.choice(rest, min(kept - len(best), len(rest)), replace=False)])
