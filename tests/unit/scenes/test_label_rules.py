"""Labels by rule from the truth of bodies."""

import math

import pandas as pd
import pytest

from crystalscope.core import LABELS, TRUTH_COLUMNS
from crystalscope.scenes import preset
from crystalscope.scenes.labels import body_labels, counted, labels_of
from crystalscope.scenes.recipe import frame_of


def body(length=40.0, width=30.0, thickness=25.0, *, seen=1.3, kind="crystal", name="block", **more):
    row = {c.name: 0.0 for c in TRUTH_COLUMNS}
    row |= {
        "kind": kind,
        "body": name,
        "in_focus": True,
        "inside_share": 1.0,
        "feret_max": 20.0 * seen,
        "feret_min": 20.0,
    }
    row |= {"body_length": length, "body_width": width, "body_thickness": thickness, "parent": 0}
    return row | more


CASES = [
    (body(40, 30, 25), {"block"}, set()),
    (body(40, 30, 3, seen=1.4, name="platelet"), {"platelet"}, set()),
    # On its edge a plate may be taken for anything but a plate seen whole.
    (body(40, 30, 3, seen=4.5, name="platelet"), set(), {"platelet", "elongated", "needle"}),
    (body(40, 10, 8, seen=3.8), {"elongated"}, set()),
    (body(40, 10, 8, seen=1.2), set(), {"elongated", "block"}),
    (body(100, 10, 8, seen=9.0, name="needle"), {"needle"}, set()),
    (body(100, 10, 8, seen=3.0, name="needle"), set(), {"needle", "elongated"}),
    (body(55, 10, 8, seen=5.4), set(), {"needle", "elongated"}),
    (body(40, 20, 15, seen=1.9), set(), {"block", "elongated"}),
    (body(40, 40, 40, seen=1.0, name="sphere"), set(), {"block"}),
    (body(kind="agglomerate"), {"agglomerated"}, set()),
    (body(kind="bubble"), {"bubble"}, set()),
    (body(kind="droplet"), {"droplets"}, set()),
    (body(kind="other", name="hair"), {"ufo"}, set()),
]


@pytest.mark.parametrize(("row", "sure", "open_"), CASES)
def test_labels_of_one_body(row, sure, open_):
    given = body_labels(row)
    assert {k for k, v in given.items() if v == 1} == sure | {"object_present"} if sure else given.keys() >= open_
    assert {k for k, v in given.items() if math.isnan(v)} == open_
    out = labels_of(pd.DataFrame([row]), coverage=0.1)
    assert tuple(out) == LABELS
    assert out["object_present"] == 1
    assert {k for k, v in out.items() if v == 1} == sure | {"object_present"}


def test_certain_beats_open_and_what_does_not_count_is_left_out():
    rows = pd.DataFrame([body(40, 20, 15, seen=1.9), body(40, 30, 25)])
    assert labels_of(rows, coverage=0.1)["block"] == 1
    away = [body(in_focus=False), body(inside_share=0.4), body(feret_min=3.9), body(parent=2)]
    assert not counted(pd.DataFrame(away)).any()
    assert set(labels_of(pd.DataFrame(away), coverage=0.0).values()) == {0.0}


def test_crowds_and_overlaps_are_open():
    rows = pd.DataFrame([body()])
    assert labels_of(rows, coverage=0.29)["too_concentrated"] == 0
    assert math.isnan(labels_of(rows, coverage=0.4)["too_concentrated"])
    assert labels_of(rows, coverage=0.46)["too_concentrated"] == 1
    assert math.isnan(labels_of(rows, coverage=0.1, overlapping=True)["agglomerated"])
    joined = pd.DataFrame([body(kind="agglomerate")])
    assert labels_of(joined, coverage=0.1, overlapping=True)["agglomerated"] == 1


def test_rendered_frame_carries_its_labels():
    recipe = preset("varied-backlit").changed(instrument={"rows": 96, "columns": 128}, empty=1.0)
    scene = frame_of(recipe, 0, seed=1)
    assert scene.frame["object_present"] == 0
