"""Shares of classes, limits of detection, alarms, corrections, and bad input."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from crystalscope.errors import InputError
from crystalscope.impurity import (
    Alarm,
    Confusion,
    alarm_over_run,
    class_shares,
    confusion_of_labels,
    confusion_of_table,
    correct_threshold,
    detection_limit,
    frames_needed,
    shares_over_run,
)

KNOWN = Confusion(("target", "impurity"), np.array([[291.0, 9.0], [24.0, 276.0]]))


def seen(share, rng, *, frames=40, n=50, swarm=0.0):
    frame = np.repeat(np.arange(frames), n)
    p = np.repeat(np.clip(share + swarm * rng.standard_normal(frames), 0, 1), n)
    impure = rng.uniform(size=len(frame)) < p
    called = rng.uniform(size=len(frame)) < np.where(impure, 0.92, 0.03)
    return np.where(called, "impurity", "target"), frame, impure


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_the_confusion_is_taken_out(share, rng):
    inside, values = 0, []
    for _ in range(60):
        called, frame, _ = seen(share, rng)
        counts = np.array([rng.multinomial(300, r) for r in ([0.97, 0.03], [0.08, 0.92])], dtype=float)
        f = class_shares(called, frame, Confusion(KNOWN.classes, counts)).shares["impurity"]
        inside += f.lower <= share <= f.upper
        values.append(f.value)
    assert inside >= 52
    assert np.median(values) == pytest.approx(share, abs=0.006)


def test_without_errors_it_is_nearly_wilson(rng):
    sure = Confusion(("a", "b"), np.diag([1e7, 1e7]))
    called = np.array(["b"] * 30 + ["a"] * 70)
    f = class_shares(called, np.arange(100) % 10, sure).shares["b"]
    z, n, p = 1.96, 100, 0.3
    middle, half = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z * math.sqrt(p * 0.7 / n + z * z / 4 / n / n) / (1 + z * z / n),
    )
    assert f.value == pytest.approx(0.3, abs=1e-6)
    assert (f.lower, f.upper) == pytest.approx((middle - half, middle + half), abs=0.01)


def test_three_classes_sum_to_one(rng):
    rates = np.array([[0.9, 0.05, 0.05], [0.1, 0.85, 0.05], [0.02, 0.1, 0.88]])
    known = Confusion(("A", "B", "C"), np.round(400 * rates))
    true = rng.choice(3, size=4000, p=[0.6, 0.3, 0.1])
    called = (rng.uniform(size=4000)[:, None] > np.cumsum(rates, axis=1)[true]).sum(axis=1)
    found = class_shares(np.array(list("ABC"))[called], np.arange(4000) % 80, known)
    values = [found.shares[c].value for c in "ABC"]
    assert sum(values) == pytest.approx(1)
    for c, p in zip("ABC", (0.6, 0.3, 0.1), strict=True):
        assert found.shares[c].lower < p < found.shares[c].upper
        assert found.shares[c].upper - found.shares[c].lower < 0.12


def test_shares_by_area_and_volume(rng):
    inside = 0
    for _ in range(30):
        called, frame, impure = seen(0.05, rng)
        area = np.where(impure, 4.0, 1.0) * np.exp(0.3 * rng.standard_normal(len(frame)))
        found = class_shares(called, frame, KNOWN, weights={"area": area, "volume": area**1.5})
        truth = 0.05 * 4 / (0.05 * 4 + 0.95)
        f = found.weighted["area"]["impurity"]
        inside += f.lower <= truth <= f.upper
        assert found.weighted["volume"]["impurity"].value > f.value > found.shares["impurity"].value
    assert inside >= 26


def test_frames_that_differ_widen_the_interval(rng):
    called, frame, _ = seen(0.3, rng, swarm=0.2)
    swarm = class_shares(called, frame, KNOWN)
    even = class_shares(called, rng.permutation(frame), KNOWN)
    assert swarm.dispersion > 3
    assert even.dispersion == 1
    width = [f.shares["impurity"].upper - f.shares["impurity"].lower for f in (swarm, even)]
    assert width[0] > 1.5 * width[1]


def test_all_impurity_and_one_particle():
    all_of_it = class_shares(["impurity"] * 50, np.arange(50) % 10, KNOWN, weights={"area": np.ones(50)})
    assert all_of_it.shares["impurity"].value == 1
    assert all_of_it.weighted["area"]["impurity"].value == 1
    one = class_shares(["target"], [0], KNOWN).shares["impurity"]
    assert one.value == 0
    assert one.upper > 0.7


def test_shares_follow_a_run(rng):
    parts = [seen(p, rng, frames=20) for p in (0.0, 0.2, 0.5)]
    called = np.concatenate([p[0] for p in parts])
    frame = np.concatenate([p[1] + 20 * k for k, p in enumerate(parts)])
    trend = shares_over_run(called, frame, KNOWN, windows=3)
    found = trend[trend["class"] == "impurity"]["share"].to_numpy()
    assert found == pytest.approx([0.0, 0.2, 0.5], abs=0.06)


@pytest.mark.parametrize(
    ("classes", "counts", "message"),
    [
        (("a",), [[5]], "at least two classes, got a"),
        (("a", "b"), [[5, 1], [0, 0]], "particles known to be b, got none"),
        (("a", "b"), [[5, 5], [5, 5]], "tells the classes apart"),
        (("a", "b"), [[5, -1], [1, 5]], "counts of at least 0"),
    ],
)
def test_confusions_that_cannot_be(classes, counts, message):
    with pytest.raises(InputError, match=message):
        Confusion(classes, np.array(counts, dtype=float))


def test_confusions_from_tables():
    table = pd.DataFrame({"truth": ["a", "a", "b"], "predicted": ["a", "b", "b"]})
    assert confusion_of_table(table).counts.tolist() == [[1, 1], [0, 1]]
    square = pd.DataFrame({"true": ["b", "a"], "a": [1, 8], "b": [9, 2]})
    assert confusion_of_table(square).counts.tolist() == [[8, 2], [1, 9]]
    with pytest.raises(InputError, match="got rows 1, 2 and columns y"):
        confusion_of_table(pd.DataFrame({"x": [1, 2], "y": [3, 4]}))
    with pytest.raises(InputError, match="at least two classes"):
        confusion_of_labels(["a"], ["a"])
    with pytest.raises(InputError, match="got class 'c'"):
        class_shares(["c"], [0], confusion_of_table(square))
    with pytest.raises(InputError, match="expected particles with a class, got none"):
        class_shares([], [], KNOWN)


def test_the_limit_of_detection_has_its_power():
    found = detection_limit(2000, sensitivity=0.92, false_rate=0.01)
    p = found.share * 0.92 + (1 - found.share) * 0.01
    assert binom.sf(found.least - 1, 2000, p) == pytest.approx(0.95, abs=1e-6)
    assert binom.sf(found.least - 1, 2000, 0.01) <= 0.05
    assert found.share < detection_limit(200, sensitivity=0.92, false_rate=0.01).share
    # No false alarms: three times the inverse of the number.
    assert detection_limit(1000, sensitivity=1.0, false_rate=0.0).share == pytest.approx(3 / 1000, rel=0.01)
    assert math.isnan(detection_limit(2, sensitivity=0.5, false_rate=0.3).share)


def test_frames_that_are_needed():
    rates = {"sensitivity": 0.92, "false_rate": 0.01}
    n = frames_needed(0.01, per_frame=40, **rates)
    assert detection_limit(40 * n, **rates).share <= 0.01
    assert frames_needed(1e-6, per_frame=1, most=100, **rates) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sensitivity": 0.01}, "more of the impurity than of the others"),
        ({"sensitivity": 1.5}, "sensitivity from 0 to 1"),
        ({"power": 1.0}, "risk and power between"),
    ],
)
def test_limits_that_cannot_be(changed, message):
    with pytest.raises(InputError, match=message):
        detection_limit(100, **({"sensitivity": 0.9, "false_rate": 0.02} | changed))
    with pytest.raises(InputError, match="at least one particle"):
        detection_limit(0, sensitivity=0.9, false_rate=0.02)


def test_an_alarm_goes_on_and_off_once(rng):
    parts = [seen(p, rng, frames=60, n=40) for p in (0.0, 0.15, 0.0)]
    called = np.concatenate([p[0] for p in parts])
    frame = np.concatenate([p[1] + 60 * k for k, p in enumerate(parts)])
    found = alarm_over_run(Alarm(KNOWN, "impurity", on=0.02, off=0.05), called, frame, n_frames=180)
    state = found["alarm"].to_numpy()
    changes = np.flatnonzero(np.diff(state.astype(int)))
    assert len(changes) == 2
    assert 60 <= changes[0] < 85
    assert 120 <= changes[1] < 145
    assert not state[0]


def test_alarms_that_cannot_be():
    with pytest.raises(InputError, match="0 <= on < off <= 1"):
        Alarm(KNOWN, "impurity", on=0.05, off=0.01)
    with pytest.raises(InputError, match="got class 'dust'"):
        Alarm(KNOWN, "dust")
    with pytest.raises(InputError, match="window of at least one"):
        Alarm(KNOWN, "impurity", window=0)
    watch = Alarm(KNOWN, "impurity")
    assert math.isnan(watch.update([])["share"])


def scores(values, threshold=0.5):
    n = len(values)
    return pd.DataFrame(
        {
            "file": ["a.png"] * n,
            "particle": np.arange(1, n + 1),
            "score": values,
            "threshold": threshold,
            "is_impurity": (np.array(values) >= threshold).astype(int),
        }
    )


def marked(numbers, truth):
    return pd.DataFrame({"file": "a.png", "particle": numbers, "is_impurity": truth})


def test_corrections_move_the_threshold_as_far_as_asked():
    table = scores([0.1, 0.2, 0.4, 0.55, 0.6, 0.9])
    found = correct_threshold(table, marked([4, 5, 6], [0, 0, 1]))
    assert found.threshold == pytest.approx(0.6, abs=1e-9)
    assert found.threshold > 0.6
    assert found.scores["is_impurity"].tolist() == [0, 0, 0, 0, 0, 1]
    assert (found.wrong_before, found.wrong_after) == (2, 0)
    assert found.confusion.counts.tolist() == [[2, 0], [0, 1]]
    down = correct_threshold(table, marked([3], [1]))
    assert down.threshold == 0.4
    assert down.confusion is None
    right = correct_threshold(table, marked([1, 6], [0, 1]))
    assert right.threshold == 0.5


@pytest.mark.parametrize(
    ("corrections", "message"),
    [
        (marked([9], [1]), "got a.png, particle 9"),
        (marked([1], [2]), "is_impurity 0 or 1"),
        (marked([], []), "is_impurity 0 or 1, got none"),
        (marked([1], [1]).drop(columns="particle"), "column particle of corrections"),
    ],
)
def test_corrections_that_cannot_be(corrections, message):
    with pytest.raises(InputError, match=message):
        correct_threshold(scores([0.1, 0.9]), corrections)
    with pytest.raises(InputError, match="expected one threshold"):
        correct_threshold(scores([0.1, 0.9]).assign(threshold=[0.4, 0.5]), marked([1], [1]))
    with pytest.raises(InputError, match="every particle once"):
        correct_threshold(scores([0.1, 0.9]).assign(particle=1), marked([1], [1]))
