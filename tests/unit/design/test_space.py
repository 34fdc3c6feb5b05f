"""The parametrisation keeps every constraint, plans and generators with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.design.doe import SYSTEM

from crystalscope.design.conditions import Conditions, find_violations
from crystalscope.design.features import make_features
from crystalscope.design.generators import GENERATORS, similarity
from crystalscope.design.plans import PUBLISHED_MIX, make_plan, mix_of
from crystalscope.design.space import Space, round_conditions, saturation_c, spaces_of
from crystalscope.design.system import parse_system
from crystalscope.errors import ConfigError


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), segments=st.sampled_from([1, 2, 3, 5]), border=st.booleans())
def test_any_point_keeps_the_constraints(seed, segments, border):
    space = Space(parse_system(SYSTEM, "test"), segments)
    u = np.random.default_rng(seed).random((200, space.size))
    u = np.round(u) if border else u
    x = space.decode(u)
    assert find_violations(x, space.system) == []
    assert find_violations(round_conditions(x, space.system), space.system) == []
    assert (np.abs(x.swings[:, :segments]) > 1.9).all()
    unused = np.hstack([x.temperature_c[:, segments + 1 :], x.heating[:, segments // 2 :]])
    assert (unused == 0).all()
    back = space.decode(space.encode(x))
    np.testing.assert_allclose(back.temperature_c, x.temperature_c, atol=1e-6)
    np.testing.assert_allclose(back.rates, x.rates, atol=1e-9)


def test_starts_about_saturation():
    data = {
        **SYSTEM,
        "profile": {**SYSTEM["profile"], "start_about_saturation_c": [-2, 5], "heat_below_saturation_c": 2},
    }
    system = parse_system(data, "test")
    space = Space(system, 5)
    x = space.decode(np.random.default_rng(0).random((500, space.size)))
    saturated = saturation_c(system.solubility, x.factors[:, 0])
    assert (np.abs(x.temperature_c[:, 0] - saturated - 1.5) < 3.6).all()
    assert (x.temperature_c[:, 2] <= np.maximum(saturated - 2, x.temperature_c[:, 1] + 2) + 1e-9).all()


@pytest.mark.parametrize("kind", ["lhs", "sobol", "factorial", "d-optimal"])
def test_plans_keep_the_constraints(system, kind, rng):
    plan = make_plan(system, 24, kind=kind, rng=rng)
    assert find_violations(plan, system) == []
    assert len(plan) == 24 or kind == "factorial"
    assert {s.segments for s in spaces_of(system)} >= set(plan.segments.tolist())


def test_the_published_mix(rng):
    profile = SYSTEM["profile"]
    wide = {
        **profile,
        "temperatures": [f"T{i}" for i in range(1, 11)],
        "cooling": [f"C{i}" for i in range(1, 6)],
        "heating": [f"H{i}" for i in range(1, 5)],
    }
    plan = make_plan(parse_system({**SYSTEM, "profile": wide}, "test"), 31, rng=rng)
    counts = np.bincount(plan.segments)
    assert {s: int(counts[s]) for s in PUBLISHED_MIX} == PUBLISHED_MIX
    with pytest.raises(ConfigError, match="expected a plan of"):
        make_plan(parse_system(SYSTEM, "test"), 3, kind="guess", rng=rng)  # type: ignore[arg-type]


def test_an_even_mix(system, rng):
    plan = make_plan(system, 8, rng=rng, mix=mix_of("even", system))
    assert np.bincount(plan.segments).tolist() == [0, 2, 2, 2, 0, 2]
    with pytest.raises(ConfigError, match="expected a mix"):
        mix_of("odd", system)


@pytest.mark.parametrize("name", list(GENERATORS))
def test_generators_keep_the_constraints(name, system, table, rng):
    x, y = GENERATORS[name](table, 0, 500, rng)
    assert len(x) == len(y) == 500
    assert find_violations(x, system) == []
    assert y.min() >= table.values[:, 0].min() - 1e-9
    assert y.max() <= table.values[:, 0].max() + 1e-9
    assert 0.5 < similarity(table, 0, (x, y)) <= 1


def test_rows_are_most_similar_to_themselves(table, rng):
    own = similarity(table, 0, (table.conditions, table.values[:, 0]))
    assert own == pytest.approx(1)
    far = Conditions.join([table.conditions.take(np.zeros(31, dtype=int))])
    assert similarity(table, 0, (far, rng.permutation(table.values[:, 0]))) < own


def test_features_know_cycles_and_supersaturation(system, table):
    features = make_features(table.conditions, system)
    assert np.isfinite(features.to_numpy()).all()
    np.testing.assert_allclose(features["cycles"], table.conditions.cycles)
    hot = table.conditions.temperature_c[np.arange(31), table.conditions.segments] > 60
    assert (features.loc[~hot, "yield"] > features["yield"].min() - 1).all()
    linear = table.conditions.segments == 1
    assert (features.loc[linear, "heated by, deg C"] == 0).all()
    # A faster cooling leaves more supersaturation.
    x = table.conditions.take(np.array([0, 0]))
    x.cooling[1, 0] = 0.3 if x.cooling[0, 0] < 0.2 else 0.05
    driven = make_features(x, system)["mean S - 1, 5 h"].to_numpy()
    assert (driven[1] > driven[0]) == (x.cooling[1, 0] > x.cooling[0, 0])
