"""Outcome of an experiment from its frames."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystalscope.config import LabelConfig
from crystalscope.core import LABELS
from crystalscope.errors import InputError
from crystalscope.label import label_states, label_table, outcomes


def states(values, **more):
    return label_states(
        np.array(values, dtype=float), **({"threshold": 0.5, "hysteresis": 0.1, "least": 3} | more)
    ).tolist()


def test_one_false_frame_decides_nothing():
    assert not any(states([0, 0.9, 0, 0, 0.9, 0.9, 0]))
    assert states([0, 0.9, 0.9, 0.9, 0]) == [False, True, True, True, False]


def test_hysteresis_bridges_a_dip():
    assert states([0.6, 0.45, 0.6, 0.2]) == [True, True, True, False]
    assert not any(states([0.6, 0.45, 0.6, 0.2], hysteresis=0.0))


def test_frames_not_seen_change_nothing_and_short_experiments_need_all_frames():
    assert states([0.9, np.nan, 0.9]) == [True, True, True]
    assert states([0.9]) == [True]
    assert states([0.9, 0.1]) == [False, False]


@given(st.lists(st.floats(0, 1), max_size=40), st.integers(1, 6))
def test_runs_are_long_enough(values, least):
    on = np.array(states(values, least=least), dtype=int)
    steps = np.flatnonzero(np.diff(np.concatenate([[0], on, [0]])))
    assert all(b - a >= min(least, len(values)) for a, b in zip(steps[::2], steps[1::2], strict=True))


def table(files, times, object_present):
    confidences = np.zeros((len(files), len(LABELS)))
    confidences[:, 0] = object_present
    return label_table(files, np.array(times, dtype=float), confidences, np.full(len(LABELS), 0.5))


def test_experiments_by_labels():
    files = [f"A1/{k}.png" for k in range(5)] + [f"A2/{k}.png" for k in range(4)]
    rows = table(files, [0, 10, 20, 30, 40, 0, 10, 20, 30], [0, 0.9, 0.9, 0.9, 0, 0, 0.9, 0, 0])
    got = outcomes(rows, thresholds=[0.5] * 10, config=LabelConfig())
    assert got["experiment"].tolist() == ["A1", "A2"]
    assert got["object_present"].tolist() == [1, 0]
    first = got.iloc[0]
    assert (first["object_present_share"], first["object_present_longest"]) == (0.6, 3)
    assert (first["object_present_first_s"], first["object_present_last_s"]) == (10, 30)
    assert np.isnan(got["object_present_first_s"].iloc[1])
    assert list(got.columns[:12]) == ["experiment", "frames", *LABELS]
    with pytest.raises(InputError, match="missing: droplets"):
        outcomes(rows.drop(columns="droplets"), thresholds=[0.5] * 10, config=LabelConfig())


def test_table_of_labels_leaves_unread_frames_empty():
    confidences = np.array([[0.7] * 10, [np.nan] * 10])
    rows = label_table(["a.png", "b.png"], np.array([0.0, 1.0]), confidences, np.array([0.71] + [0.5] * 9))
    assert list(rows.columns) == ["file", "time_s", *LABELS, *(f"is_{n}" for n in LABELS)]
    assert rows["is_object_present"].tolist()[0] == 0
    assert rows["is_ufo"].tolist()[0] == 1
    assert pd.isna(rows["is_ufo"].iloc[1])
