"""The calibrated plant of the twin."""

from __future__ import annotations

import numpy as np

from crystalscope.design.mechanism import _fit, _term_slopes, _terms


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
