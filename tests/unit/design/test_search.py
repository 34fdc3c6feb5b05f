"""Synthetic rows, leaks, fronts, improvement of the hypervolume, sensitivity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.design.doe import truth

from crystalscope.core.design import Prediction
from crystalscope.design.augment import (
    Learner,
    choose_augmentation,
    leak_score,
    scaling_law_alpha,
    shuffle_values,
    weighted_fit,
)
from crystalscope.design.conditions import Conditions, find_violations
from crystalscope.design.generators import GENERATORS
from crystalscope.design.intervals import make_folds
from crystalscope.design.pareto import OPTIMISM, at_optimum, choose_recipe, hypervolume, nondominated, optimise
from crystalscope.design.refine import feature_learner
from crystalscope.design.sensitivity import main_space, partial_dependence, sobol_indices
from crystalscope.design.space import Space
from crystalscope.design.suggest import expected_improvement, suggest
from crystalscope.design.system import load_system
from crystalscope.design.table import DoETable
from crystalscope.design.twin import DefaultTwin
from crystalscope.errors import InputError


@pytest.fixture
def twin(table):
    return DefaultTwin(folds=4, augment=False).fit(table, rng=np.random.default_rng(0))


def true_rows(table, index, count, rng):
    """As good as experiments, of the kinds that were tried."""
    parts = []
    for segments in rng.choice(table.conditions.segments, count):
        space = Space(table.system, int(segments))
        parts.append(space.decode(rng.random((1, space.size))))
    x = Conditions.join(parts)
    return x, truth(x)[:, index]


def noise_rows(table, index, count, rng):
    """Conditions with values of nothing."""
    x, y = true_rows(table, index, count, rng)
    return x, rng.permutation(y) * 3


def test_good_rows_are_taken_and_bad_ones_not(table, rng):
    table = table.take(np.arange(0, 31, 2))
    folds = make_folds(table, 4, rng=rng)
    learner = feature_learner(table, 0)
    arguments = {"learner": learner, "folds": folds, "counts": (25,)}
    good = choose_augmentation(table, 0, generators={"true": true_rows}, rng=rng, **arguments)
    assert good.alpha > 0
    assert good.gain > 0.1
    assert good.law > 0.3
    y = table.values[:, 0]
    at = int(np.argmin(good.losses["true", 25]))
    assert np.mean((good.held_out - y) ** 2) == pytest.approx(good.losses["true", 25][at])
    bad = choose_augmentation(table, 0, generators={"noise": noise_rows}, rng=rng, **arguments)
    assert bad.alpha == 0
    assert bad.count == 0
    assert bad.law < 0.2


def test_a_leak_is_caught(table, rng):
    shuffled = shuffle_values(table, 0, rng=rng)
    arguments = {"learner": feature_learner(table, 0), "folds": make_folds(table, 4, rng=rng), "rng": rng}
    assert leak_score(shuffled, 0, generators={"copula": GENERATORS["copula"]}, **arguments) < 0.2

    def leaking(part, index, count, rng):
        # Fitted once to everything: it hands out the rows that are held out.
        shown = {tuple(r) for r in part.conditions.raw(part.system)}
        raw = shuffled.conditions.raw(shuffled.system)
        hidden = np.array([i for i, r in enumerate(raw) if tuple(r) not in shown])
        at = np.resize(hidden, count)
        return shuffled.conditions.take(at), shuffled.values[at, index]

    with pytest.raises(InputError, match="a generator has seen them"):
        leak_score(shuffled, 0, generators={"leaking": leaking}, **arguments)


def test_weights_of_the_risk(table):
    calls = []

    def fit(x, y, weights):
        calls.append(weights)
        return lambda new: np.zeros(len(new))

    learner = Learner(lambda x: x.raw(table.system), fit)
    inputs = learner.encode(table.conditions)
    real, made = (inputs, table.values[:, 0]), (inputs[:10], np.ones(10))
    weighted_fit(learner, real, made, 0.3)
    assert calls[0][:31].sum() / calls[0].sum() == pytest.approx(0.7)
    np.testing.assert_allclose(calls[0][:31], calls[0][0])


def test_scaling_law():
    # Without bias and as good as the real ones: the excess errors are averaged half and half.
    assert scaling_law_alpha(real=2, synthetic=2, bias=1, floor=1) == pytest.approx(0.5)
    # Useless rows weigh next to nothing, perfect ones all.
    assert scaling_law_alpha(real=2, synthetic=1e6, bias=1e6, floor=1) < 0.01
    assert scaling_law_alpha(real=2, synthetic=1, bias=1, floor=1) == pytest.approx(1)


def test_hypervolumes(rng):
    assert hypervolume(np.array([[0.0, 0.0]]), np.ones(2)) == pytest.approx(1)
    assert hypervolume(np.array([[0.5, 0.0], [0.0, 0.5]]), np.ones(2)) == pytest.approx(0.75)
    assert hypervolume(np.array([[2.0, 0.0]]), np.ones(2)) == 0
    points = rng.random((20, 3))
    box = rng.random((200_000, 3))
    share = (points[:, None] <= box[None]).all(axis=2).any(axis=0).mean()
    assert hypervolume(points, np.ones(3)) == pytest.approx(share, abs=0.01)
    kept = nondominated(points)
    assert hypervolume(points[kept], np.ones(3)) == pytest.approx(hypervolume(points, np.ones(3)))


def test_expected_improvement_is_the_mean_of_draws(rng):
    front = np.array([[0.2, 0.7], [0.5, 0.4], [0.8, 0.1], [0.9, 0.9]])
    mean, sd = np.array([[0.3, 0.3], [0.9, 0.8], [0.1, 0.9]]), np.array([[0.1, 0.2], [0.05, 0.05], [0.2, 0.1]])
    got = expected_improvement(mean, sd, front, np.ones(2), rng=rng)
    before = hypervolume(front, np.ones(2))
    for i in range(3):
        draws = mean[i] + sd[i] * rng.standard_normal((4000, 2))
        gains = [hypervolume(np.vstack([front, d]), np.ones(2)) - before for d in draws]
        assert got[i] == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / np.sqrt(4000) + 1e-4)
    # Three objectives by draws: a third one that is no matter changes nothing but the noise.
    third = expected_improvement(
        np.column_stack([mean, np.zeros(3)]),
        np.column_stack([sd, np.full(3, 1e-9)]),
        np.column_stack([front, np.zeros(4)]),
        np.ones(3),
        rng=rng,
    )
    np.testing.assert_allclose(third, got, atol=0.03)


def test_fronts_are_feasible_and_better(twin, system):
    front = optimise(twin, Space(system, 5), rng=np.random.default_rng(0), population=24, generations=8)
    assert len(front) > 3
    assert nondominated(front.objectives).all()
    assert front.predictions["D50"].in_domain.all()
    assert (np.diff(front.objectives[:, 0]) >= 0).all()
    # A careful front promises no more than was measured.
    measured, promised = twin.table.values[:, 0], front.predictions["D50"].mean
    assert promised.max() <= np.nanmax(measured) * 1.001
    assert promised.min() >= np.nanmin(measured) * 0.999
    i, j = choose_recipe([front])
    assert (i, 0 <= j < len(front)) == (0, True)
    assert choose_recipe([]) == (-1, -1)


def test_intervals_of_an_optimum_are_wider_and_keep_to_their_bounds():
    system = load_system(Path(__file__).parents[3] / "examples" / "system.toml")
    p = Prediction(np.array([40.0, 2.0]), np.array([30.0, 0.1]), np.array([50.0, 9.0]), 0.9, np.ones(2, dtype=bool))
    share = Prediction(np.array([97.0]), np.array([92.0]), np.array([100.0]), 0.9, np.ones(1, dtype=bool))
    bounds = {a.column: a.bounds for a in system.attributes}
    assert (bounds["D50"], bounds["crystallinity"]) == (None, (0, 100))
    wide = at_optimum({"D50": p, "crystallinity": share}, system)
    assert np.array_equal(wide["D50"].mean, p.mean)
    assert wide["D50"].lower == pytest.approx([40 - 10 * OPTIMISM, 0.0])
    assert wide["D50"].upper == pytest.approx([40 + 10 * OPTIMISM, 2 + 7 * OPTIMISM])
    assert wide["crystallinity"].lower == pytest.approx([97 - 5 * OPTIMISM])
    assert wide["crystallinity"].upper == pytest.approx([100.0])


def test_batch_time_is_an_objective(table):
    timed = DoETable(table.system.model_copy(update={"time_objective": True}), table.conditions, table.values)
    twin = DefaultTwin(folds=4, augment=False).fit(timed, rng=np.random.default_rng(0))
    front = optimise(twin, Space(timed.system, 3), rng=np.random.default_rng(0), population=16, generations=4)
    assert front.objectives.shape[1] == 3
    np.testing.assert_allclose(front.objectives[:, 2], front.batch_time_h)
    assert len(suggest(twin, 2, rng=np.random.default_rng(0), pool=100, kept=20).conditions) == 2


def test_suggestions_are_new_feasible_and_spread(twin, system):
    got = suggest(twin, 3, rng=np.random.default_rng(0), pool=400, kept=60)
    assert len(got.conditions) == 3
    assert find_violations(got.conditions, system) == []
    assert (got.gains >= 0).all()
    assert got.beyond[0]
    raw = got.conditions.raw(system)
    assert len(np.unique(raw, axis=0)) == 3


def test_sobol_indices_of_a_sum(system):
    """Of a + 2 b far from 0: a share of 1/5 and 4/5, and no interaction."""
    space = Space(system, 1)

    class Sum:
        attributes = ("y",)

        def means(self, x):
            u = space.encode(x)
            return (1000 + u[:, [0]] + 2 * u[:, [1]]).reshape(-1, 1)

    got = sobol_indices(Sum(), space, rng=np.random.default_rng(0)).set_index("input")
    for name, share in (("c", 0.2), ("seeds", 0.8), ("T1", 0.0)):
        assert got.loc[name, "first"] == pytest.approx(share, abs=0.03)
        assert got.loc[name, "total"] == pytest.approx(share, abs=0.03)


def test_what_matters_is_found(twin):
    space = main_space(twin)
    indices = sobol_indices(twin, space, rng=np.random.default_rng(0), draws=64)
    d50 = indices[indices["cqa"] == "D50"].sort_values("total", ascending=False)["input"].tolist()
    assert set(d50[:2]) == {"c", "seeds"}
    grid, means = partial_dependence(twin, space, 0, rng=np.random.default_rng(0), points=3)
    assert means[-1, 0] > means[0, 0]
    assert len(grid) == 3
