"""Pixel scores by their definition, distances of distributions against SciPy, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crystalscope.errors import InputError
from crystalscope.score import (
    confusion,
    relative_error,
    sample_scores,
    semantic_scores,
    weighted_ks,
    weighted_quantile,
    weighted_wasserstein,
)

SIZES = st.lists(st.floats(0.1, 100), min_size=1, max_size=25)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.booleans())
def test_pixels_by_definition(seed, classes, some_ignored):
    r = np.random.default_rng(seed)
    predicted, truth = r.integers(0, classes, (2, 9, 7))
    ignore = r.random((9, 7)) < 0.3 if some_ignored else None
    got = confusion(predicted, truth, classes=classes, ignore=ignore)
    expected = np.zeros((classes, classes), int)
    for row in range(9):
        for column in range(7):
            if ignore is None or not ignore[row, column]:
                expected[truth[row, column], predicted[row, column]] += 1
    np.testing.assert_array_equal(got, expected)
    scores = semantic_scores(got)
    use = np.ones((9, 7), bool) if ignore is None else ~ignore
    assert scores["accuracy"] == pytest.approx((predicted == truth)[use].mean())
    ious = []
    for k in range(classes):
        a, b = (predicted == k) & use, (truth == k) & use
        if (a | b).any():
            ious.append((a & b).sum() / (a | b).sum())
            assert scores["iou"][k] == pytest.approx(ious[-1])
            assert scores["f1"][k] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
        else:
            assert np.isnan(scores["iou"][k])
    assert scores["mean_iou"] == pytest.approx(np.mean(ious))


def test_pixels_of_nothing_and_what_is_refused():
    a = np.zeros((4, 5), np.int64)
    got = semantic_scores(confusion(a, a, classes=2, ignore=a == 0))
    assert np.isnan([got["accuracy"], got["mean_iou"], *got["iou"]]).all()
    with pytest.raises(InputError, match="one shape"):
        confusion(a, a[:2], classes=2)
    with pytest.raises(InputError, match="one shape"):
        confusion(a, a, classes=2, ignore=np.zeros((5, 4), bool))
    with pytest.raises(InputError, match="whole numbers"):
        confusion(a + 0.5, a, classes=2)
    with pytest.raises(InputError, match="classes 0 to 1, got -1 to 0"):
        confusion(a, a - 1, classes=2)
    assert semantic_scores(confusion(a == 1, a == 0, classes=2))["accuracy"] == 0


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, st.integers(0, 10**6))
def test_distances_against_scipy(x, y, seed):
    r = np.random.default_rng(seed)
    wx, wy = r.integers(1, 5, len(x)), r.integers(1, 5, len(y))
    got = weighted_wasserstein(x, wx, y, wy)
    assert got == pytest.approx(stats.wasserstein_distance(x, y, wx, wy), rel=1e-9, abs=1e-9)
    # A weight k is the particle k times.
    with np.errstate(divide="ignore"):  # its p-value, not used, is undefined for single particles
        other = stats.ks_2samp(np.repeat(x, wx), np.repeat(y, wy), method="asymp").statistic
    assert weighted_ks(x, wx, y, wy) == pytest.approx(other, abs=1e-12)
    assert weighted_ks(x, wx, y, wy) == pytest.approx(weighted_ks(y, wy, x, wx))
    for share in (0.1, 0.5, 0.9):
        expected = np.quantile(np.repeat(x, wx), share, method="inverted_cdf")
        assert weighted_quantile(x, wx, share) == expected


@settings(max_examples=25, deadline=None)
@given(SIZES, st.floats(0.5, 3))
def test_one_sample_against_itself_and_magnified(x, factor):
    w = np.ones(len(x))
    same = sample_scores(x, w, x, 3 * w)
    assert same["ks"] == pytest.approx(0, abs=1e-12)
    assert same["wasserstein"] == pytest.approx(0, abs=1e-9)
    larger = sample_scores(np.multiply(x, factor), w, x, w)
    assert larger["wasserstein"] == pytest.approx(abs(factor - 1) * np.mean(x), rel=1e-6, abs=1e-9)
    for name in ("D10", "D50", "D90"):
        assert same[name]["relative_error"] == 0
        assert larger[name]["relative_error"] == pytest.approx(factor - 1, abs=1e-9)


def test_samples_that_are_refused():
    one = [1.0, 2.0]
    for x, w, message in (
        ([], [], "empty or unweighted"),
        (one, [0.0, 0.0], "empty or unweighted"),
        (one, [1.0], "one weight for every size"),
        ([1.0, np.nan], one, "got 1 of 2 that are not"),
        (one, [1.0, np.inf], "got 1 of 2 that are not"),
        (one, [2.0, -1.0], "at least 0, got -1"),
    ):
        with pytest.raises(InputError, match=message):
            weighted_ks(x, w, one, one)
        with pytest.raises(InputError, match=message):
            weighted_wasserstein(one, one, x, w)
        with pytest.raises(InputError, match=message):
            weighted_quantile(x, w, 0.5)
    with pytest.raises(InputError, match="share from 0 to 1"):
        weighted_quantile(one, one, 50)
    assert np.isnan(relative_error(1.0, 0.0))
