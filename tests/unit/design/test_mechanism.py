"""The calibrated plant of the twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crystalscope.design.mechanism import _fit, _term_slopes, _terms, start_of
from crystalscope.design.system import load_system
from crystalscope.errors import ConfigError


def test_slopes_of_the_polynomial_are_its_differences(rng):
    theta, step = rng.normal(size=4), 1e-6
    slopes = _term_slopes(theta)
    for k in range(4):
        moved = theta + step * np.eye(4)[k]
        np.testing.assert_allclose(slopes[:, k], (_terms(moved[None])[0] - _terms(theta[None])[0]) / step, atol=1e-5)


def test_outputs_are_fitted_with_and_without_interactions(rng):
    theta = rng.normal(size=(60, 3))
    y = (1 + theta[:, 0] + 0.5 * theta[:, 1] ** 2 + 0.3 * theta[:, 0] * theta[:, 2]).reshape(60, 1, 1).repeat(3, axis=2)
    y[0, 0, 1] = np.nan
    new = rng.normal(size=(5, 3))
    right = 1 + new[:, 0] + 0.5 * new[:, 1] ** 2 + 0.3 * new[:, 0] * new[:, 2]
    np.testing.assert_allclose(_fit(theta, y)[0, 0] @ _terms(new).T, right, atol=1e-3)
    plain = _fit(theta, y, crossed=False)[0, 0]
    i, j = np.triu_indices(3)
    assert (plain[4:][i != j] == 0).all()
    assert abs(plain[1] - 1) < 0.3


def test_rates_and_the_exponents_of_what_acts_are_calibrated():
    system = load_system(Path(__file__).parents[3] / "examples" / "system.toml")
    kinetics, names = start_of(system)
    orders = {"secondary.order", "agglomeration.order", "breakage.size_order"}
    assert orders <= set(names)
    assert "growth.order" not in names
    assert all(kinetics.constants()[n] > 0 for n in names)
    assert system.plant is not None

    def having(**settings):
        return system.model_copy(update={"plant": system.plant.model_copy(update=settings)})

    # Nothing agglomerates there.
    assert not orders & set(start_of(having(preset="potassium-nitrate-water"))[1]) - {"secondary.order"}
    assert start_of(having(free=("growth.order",)))[1] == ("growth.order",)
    with pytest.raises(ConfigError, match=r"plant\.free, got growth\.speed"):
        start_of(having(free=("growth.speed",)))
