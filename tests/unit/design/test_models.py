"""Regressions, intervals, the two twins, verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct, Matern
from sklearn.linear_model import Ridge as SklearnRidge
from tests.unit.design.doe import made, truth

from crystalscope.core.design import Prediction
from crystalscope.design.base import FittedTwin
from crystalscope.design.generators import copula_rows
from crystalscope.design.intervals import conformal_interval, held_out_reach, make_folds
from crystalscope.design.members import combine
from crystalscope.design.published import PublishedTwin
from crystalscope.design.regress import GaussianProcess, Ridge
from crystalscope.design.saved import load_twin, save_twin
from crystalscope.design.table import DoETable
from crystalscope.design.twin import DefaultTwin
from crystalscope.design.verdict import compare, judge
from crystalscope.errors import InputError, ReadError


def test_ridge_is_that_of_another_package(rng):
    x = rng.normal(size=(40, 5)) * [1, 2, 3, 4, 5] + 7
    y = x @ [1, 0, -1, 0.5, 0] + rng.normal(size=40)
    mine = Ridge.fit(x, y)
    other = SklearnRidge(alpha=mine.penalty).fit((x - x.mean(0)) / x.std(0), y)
    np.testing.assert_allclose(mine.predict(x), other.predict((x - x.mean(0)) / x.std(0)), rtol=1e-8)
    weights = rng.integers(1, 4, 40).astype(float)
    doubled = np.repeat(np.arange(40), weights.astype(int))
    weighted = Ridge.fit(x, y, weights=weights).predict(x)
    assert np.abs(weighted - Ridge.fit(x[doubled], y[doubled]).predict(x)).max() < 0.3


def test_gaussian_process_is_that_of_another_package(rng):
    x = rng.uniform(-2, 2, size=(30, 3))
    y = np.sin(x[:, 0]) + x[:, 1]
    mine = GaussianProcess.fit(x, y)
    z = (x - x.mean(0)) / x.std(0)
    new = rng.uniform(-1, 1, size=(10, 3))
    kernel = mine.linear * mine.variance / 3 * DotProduct(np.sqrt(3.0), "fixed") + (
        1 - mine.linear
    ) * mine.variance * Matern(mine.length * np.sqrt(3), "fixed", nu=2.5)
    other = GaussianProcessRegressor(kernel, alpha=mine.noise * mine.variance, optimizer=None)
    other.fit(z, (y - y.mean()) / y.std())
    mean, sd = other.predict((new - x.mean(0)) / x.std(0), return_std=True)
    np.testing.assert_allclose(mine.predict(new)[0], y.mean() + y.std() * mean, rtol=1e-6)
    whole = np.sqrt(sd**2 + mine.noise * mine.variance) * y.std()
    np.testing.assert_allclose(mine.predict(new)[1], whole, rtol=1e-5)


def test_weights_are_those_of_the_better_member(rng):
    y = rng.normal(size=60)
    good, bad = y + 0.1 * rng.normal(size=60), y + 2 * rng.normal(size=60)
    weights = combine(np.column_stack([bad, good]), y)
    assert weights.sum() == pytest.approx(1)
    assert weights[1] > 0.9


def test_conformal_intervals_of_one_model_are_split_conformal(rng):
    scores = np.abs(rng.normal(size=99))
    lower, upper = conformal_interval(np.zeros((99, 1)), np.ones((99, 1)), scores, 0.9)
    # (99 + 1) 0.9 = 90: the 90th smallest residual.
    assert upper[0] == pytest.approx(np.sort(scores)[89])
    assert lower[0] == pytest.approx(-upper[0])


def test_intervals_of_held_out_rows_hold(rng):
    scores, folds = np.abs(rng.normal(size=3000)), np.arange(3000) % 10
    reach = held_out_reach(scores, folds, 0.9)
    assert np.mean(scores <= reach) == pytest.approx(0.9, abs=0.015)
    assert len(np.unique(reach)) > 1


def test_folds_spread_what_was_measured_rarely(table, rng):
    values = table.values.copy()
    values[10:, 1] = np.nan
    sparse = DoETable(table.system, table.conditions, values)
    folds = make_folds(sparse, 5, rng=rng)
    assert (np.bincount(folds[:10], minlength=5) == 2).all()
    repeated = sparse.take(np.array([*range(31), 3]))
    folds = make_folds(repeated, 5, rng=rng)
    assert folds[3] == folds[31]
    with pytest.raises(InputError, match="expected at least 40 different experiments"):
        make_folds(table, 40, rng=rng)
    with pytest.raises(InputError, match="expected at least 10 different experiments for 10 folds, got 9"):
        DefaultTwin(folds=10).fit(table.take(np.arange(9)), rng=rng)


def test_default_twin_predicts_and_covers(system, table):
    twin = DefaultTwin(folds=6, augment=False).fit(table, rng=np.random.default_rng(0))
    assert isinstance(twin, FittedTwin)
    new = made(system, 60, seed=9)
    got = twin.predict(new.conditions)
    for j, name in enumerate(("D50", "DoA")):
        p = got[name]
        right = truth(new.conditions)[:, j]
        assert np.mean((p.mean - right) ** 2) < 0.15 * np.var(right), name
        cover = np.mean((new.values[:, j] >= p.lower) & (new.values[:, j] <= p.upper))
        assert cover > 0.75, name
        mean, sd = twin.estimate(new.conditions)
        np.testing.assert_allclose(mean[:, j], p.mean)
        assert (sd > 0).all()
    assert got["DoA"].in_domain.mean() > 0.5
    rows = twin.predict_rows()
    for j, name in enumerate(("D50", "DoA")):
        np.testing.assert_allclose(rows[name].mean, twin.held_out[name])
        inside = (table.values[:, j] >= rows[name].lower) & (table.values[:, j] <= rows[name].upper)
        assert inside.mean() > 0.7, name
    missing = table.values.copy()
    missing[20:, 1] = np.nan
    sparse = DefaultTwin(folds=6, augment=False).fit(
        DoETable(system, table.conditions, missing), rng=np.random.default_rng(0)
    )
    # A gap in one attribute takes nothing from the other.
    assert np.isfinite(sparse.held_out["D50"]).all()
    assert np.isfinite(sparse.held_out["DoA"]).sum() == 20


def test_far_away_is_outside(system, table):
    twin = DefaultTwin(folds=5, augment=False).fit(
        table.take(table.conditions.segments == 1), rng=np.random.default_rng(0)
    )
    cycled = table.conditions.take(table.conditions.segments == 5)
    assert not twin.predict(cycled)["D50"].in_domain.any()


OPTIONS = {"default": {}, "published": {"quick": True, "augment": False, "repeats": 3}}


def test_twins_are_saved_without_code(table, tmp_path):
    for recipe, twin in (
        ("default", DefaultTwin(augment=False)),
        ("published", PublishedTwin(quick=True, augment=False, repeats=3)),
    ):
        fitted = twin.fit(table, rng=np.random.default_rng(3))
        save_twin(tmp_path / recipe, fitted, recipe=recipe, seed=3, options=OPTIONS[recipe])
        back = load_twin(tmp_path / recipe)
        a, b = fitted.predict(table.conditions), back.predict(table.conditions)
        for name in fitted.attributes:
            np.testing.assert_allclose(a[name].upper, b[name].upper, rtol=1e-6)
    text = (tmp_path / "default" / "table.csv").read_text()
    (tmp_path / "default" / "table.csv").write_text(text.replace(text.split("\n")[3], text.split("\n")[2], 1))
    with pytest.raises((ReadError, InputError)):
        load_twin(tmp_path / "default")
    with pytest.raises(ReadError, match="expected a twin"):
        load_twin(tmp_path)


def test_published_twin_never_chooses_on_the_test(table):
    twin = PublishedTwin(quick=True, augment=False, repeats=3).fit(table, rng=np.random.default_rng(1))
    for name in twin.attributes:
        rows = [s for s in twin.scores if s.attribute == name]
        assert {s.model for s in rows} == {"RF", "GBT", "XGBoost", "SVR"}
        chosen = next(s for s in rows if s.weight == 1)
        assert chosen.validation.mse == min(s.validation.mse for s in rows)
    assert not twin.augmented
    methods = twin.uncertainties(table.conditions)["D50"]
    assert set(methods) == {"monte_carlo", "bootstrap", "out_of_bag"}
    with pytest.raises(InputError, match="for 5 folds"):
        PublishedTwin(folds=5, quick=True).fit(table.take(np.arange(9)), rng=np.random.default_rng(1))


def test_published_models_are_refined(table, tmp_path, monkeypatch):
    monkeypatch.setattr("crystalscope.design.published.GENERATORS", {"copula": copula_rows})
    monkeypatch.setattr("crystalscope.design.published._LEARNERS", ("GBT", "SVR"))
    monkeypatch.setattr("crystalscope.design.augment.ALPHAS", (0.0, 0.35))
    only = table.values.copy()
    only[:, 1] = np.nan
    table = DoETable(table.system, table.conditions, only)
    twin = PublishedTwin(quick=True, repeats=2).fit(table, rng=np.random.default_rng(1))
    chosen, refined = (next(s for s in twin.scores if f(s)) for f in (_is_chosen, lambda s: "refined" in s.model))
    augmentation = twin.parts[0].choice.augmentation
    # The same folds before and after: without synthetic rows the errors are the same.
    assert augmentation.losses["copula", 25][0] == pytest.approx(chosen.validation.mse)
    assert refined.validation.mse == pytest.approx(chosen.validation.mse * (1 - augmentation.gain))
    assert np.isfinite([refined.validation.mae, refined.validation.r2, refined.test.mae]).all()
    assert np.isfinite(twin.held_out["D50"]).all()
    save_twin(tmp_path, twin, recipe="published", seed=1, options={"quick": True, "repeats": 2})
    np.testing.assert_allclose(load_twin(tmp_path).held_out["D50"], twin.held_out["D50"])


def _is_chosen(score):
    return score.weight == 1 and "refined" not in score.model


def test_the_verdict_follows_the_error(table):
    twin = DefaultTwin(folds=6, augment=False).fit(table, rng=np.random.default_rng(0))
    loose = table.system.model_copy(
        update={"attributes": tuple(a.model_copy(update={"sd": a.sd * 20}) for a in table.system.attributes)}
    )
    tight = table.system.model_copy(
        update={"attributes": tuple(a.model_copy(update={"sd": a.sd / 50}) for a in table.system.attributes)}
    )
    for system, said in ((loose, True), (tight, False)):
        object.__setattr__(twin, "table", DoETable(system, table.conditions, table.values))
        assert [v.suffices for v in judge(twin, rng=np.random.default_rng(0))] == [said, said]
    few = DefaultTwin(folds=5, augment=False).fit(table.take(np.arange(9)), rng=np.random.default_rng(0))
    assert all(v.suffices is None for v in judge(few, rng=np.random.default_rng(0)))


def test_validation_is_compared_by_a_joint_region(table):
    mean = table.values[:, 0]
    flags = np.ones(31, dtype=bool)
    good = Prediction(mean * 1.01, mean * 0.9, mean * 1.1, 0.9, flags)
    assert compare(table, {"D50": good}).agrees
    bad = Prediction(mean * 1.3, mean * 1.2, mean * 1.4, 0.9, flags)
    assert not compare(table, {"D50": bad}).agrees
    with pytest.raises(InputError, match="expected measured attributes"):
        compare(DoETable(table.system, table.conditions, table.values * np.nan), {"D50": good})
