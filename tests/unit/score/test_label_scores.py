"""Scores of labels against an independent implementation."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, precision_recall_fscore_support

from crystalscope.errors import InputError
from crystalscope.score.labels import (
    best_threshold,
    calibration_error,
    label_scores,
    platt,
    precision_recall,
    reliability,
)

NAMES = ("a", "b", "c")


@pytest.fixture
def drawn(rng):
    truth = (rng.random((200, 3)) < [0.5, 0.2, 0.8]).astype(float)
    return np.clip(0.35 * truth + 0.65 * rng.random((200, 3)), 0, 1), truth


def test_scores_agree_with_scikit_learn(drawn):
    confidences, truth = drawn
    limits = np.array([0.5, 0.6, 0.4])
    table = label_scores(confidences, truth, thresholds=limits, names=NAMES)
    p, r, f, n = precision_recall_fscore_support(truth, confidences >= limits, zero_division=np.nan)
    assert table["precision"][:3].tolist() == pytest.approx(p.tolist())
    assert table["recall"][:3].tolist() == pytest.approx(r.tolist())
    assert table["f1"][:3].tolist() == pytest.approx(f.tolist())
    assert table["positives"][:3].tolist() == n.tolist()
    assert table["f1"].iloc[-1] == pytest.approx(f.mean())


def test_open_labels_do_not_count(drawn):
    confidences, truth = drawn
    holes = truth.copy()
    holes[:50, 0] = np.nan
    table = label_scores(confidences, holes, thresholds=[0.5] * 3, names=NAMES)
    alone = label_scores(confidences[50:, :1], truth[50:, :1], thresholds=[0.5], names=("a",))
    assert table.iloc[0].tolist() == alone.iloc[0].tolist()
    assert np.isnan(label_scores([[0.1]], [[0.0]], thresholds=[0.5], names=("a",))["f1"].iloc[0])


def test_shapes_must_agree():
    with pytest.raises(InputError, match="one shape"):
        label_scores([[0.1]], [[1.0, 0.0]], thresholds=[0.5], names=("a",))
    with pytest.raises(InputError, match="thresholds"):
        label_scores([[0.1]], [[1.0]], thresholds=[0.5, 0.5], names=("a",))


def test_curve_agrees_with_scikit_learn(drawn):
    confidences, truth = drawn
    own = precision_recall(np.round(confidences[:, 1], 2), truth[:, 1])
    p, r, t = precision_recall_curve(truth[:, 1], np.round(confidences[:, 1], 2))
    assert own["threshold"].tolist() == pytest.approx(t[::-1].tolist())
    assert own["precision"].tolist() == pytest.approx(p[-2::-1].tolist())
    assert own["recall"].tolist() == pytest.approx(r[-2::-1].tolist())
    assert precision_recall([0.5], [0.0]).empty


def test_best_threshold_lies_between_what_it_parts():
    confidence = np.concatenate([np.linspace(0, 0.3, 50), np.linspace(0.7, 1, 50)])
    truth = np.repeat([0.0, 1.0], 50)
    assert 0.35 < best_threshold(confidence, truth) < 0.65
    assert best_threshold(confidence, np.zeros(100)) == 0.5


def test_platt_finds_slope_and_shift(rng):
    z = rng.normal(0, 3, 20_000)
    truth = (rng.random(z.size) < 1 / (1 + np.exp(-(0.6 * z - 1)))).astype(float)
    slope, shift = platt(z, truth)
    assert slope == pytest.approx(0.6, abs=0.03)
    assert shift == pytest.approx(-1, abs=0.06)
    calibrated = 1 / (1 + np.exp(-(slope * z + shift)))
    assert calibration_error(calibrated[:, None], truth[:, None]) < 0.015
    assert calibration_error((1 / (1 + np.exp(-3 * z)))[:, None], truth[:, None]) > 0.1
    assert platt(z, np.ones(z.size)) == (1.0, 0.0)
    # Separable labels keep a finite slope.
    assert np.isfinite(platt([-1.0, -2.0, 1.0, 2.0], [0, 0, 1, 1])).all()


def test_reliability_counts_each_class_once():
    table = reliability([[0.05, 0.95], [0.05, 1.0]], [[0, 1], [1, np.nan]])
    assert table["n"].tolist() == [2, 1]
    assert table["share"].tolist() == [0.5, 1.0]
    assert calibration_error([[0.05, 0.95], [0.05, 1.0]], [[0, 1], [1, np.nan]]) == pytest.approx(0.95 / 3)
    assert np.isnan(calibration_error([[0.5]], [[np.nan]]))


def test_even_threshold_does_not_hang_on_the_share_of_the_label():
    rng = np.random.default_rng(0)
    yes, no = rng.normal(0.7, 0.15, 900).clip(0, 1), rng.normal(0.35, 0.15, 900).clip(0, 1)
    many = np.concatenate([yes, no[:40]]), np.concatenate([np.ones(900), np.zeros(40)])
    few = np.concatenate([yes[:40], no]), np.concatenate([np.ones(40), np.zeros(900)])
    even = [best_threshold(*p, even=True) for p in (many, few)]
    plain = [best_threshold(*p) for p in (many, few)]
    assert abs(even[0] - even[1]) < 0.1 < abs(plain[0] - plain[1])
    assert best_threshold(np.array([0.2, 0.9]), np.array([1, 1]), even=True) == 0.5
