"""The labellers: what they see, their contract, their settings."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from crystalscope.config import AnalyzeConfig, LabelConfig
from crystalscope.core import LABELS, FieldOfView, Image, Instances
from crystalscope.errors import ConfigError, ReadError
from crystalscope.label import NetworkLabeller, RuleLabeller, make_labeller, rule_labels
from crystalscope.label.rules import agreement, disagreements
from crystalscope.label.seen import AREA_PX, CELL, levelled, resized, seen_shape
from crystalscope.prepare import prepare
from crystalscope.segment.base import make_segmenter
from crystalscope.testing import check_labeller


@pytest.mark.parametrize("shape", [(480, 640), (1000, 1112), (96, 160), (3000, 400), (100, 4000)])
def test_seen_shape_keeps_area_and_proportions(shape):
    rows, columns = seen_shape(*shape)
    assert rows % 32 == 0
    assert columns % 32 == 0
    assert 0.6 * AREA_PX < rows * columns < 1.5 * AREA_PX
    assert resized(np.zeros(shape, dtype=np.float32)).shape == (rows, columns)
    assert rows % CELL == 0


def test_levels_do_not_hang_on_exposure(rng):
    grey = (0.5 + 0.1 * rng.normal(size=(64, 96))).astype(np.float32)
    assert np.allclose(levelled(grey), levelled(0.5 * grey), atol=1e-4)
    assert np.abs(levelled(np.full((64, 96), 0.7, dtype=np.float32))).max() == 0


@pytest.mark.parametrize("name", ["network", "rules"])
def test_labellers_keep_the_contract(name, label_weights):
    check_labeller(make_labeller(LabelConfig(labeller=name, weights=str(label_weights))))


def test_thresholds_are_changed_by_the_settings(label_weights):
    changed = NetworkLabeller(LabelConfig(weights=str(label_weights), thresholds={"ufo": 0.9}))
    assert changed.thresholds[LABELS.index("ufo")] == 0.9
    with pytest.raises(ConfigError, match=r"expected thresholds of .*got 'ufos'"):
        RuleLabeller(LabelConfig(thresholds={"ufos": 0.9}))
    with pytest.raises(ConfigError, match="one of the labellers"):
        make_labeller(LabelConfig(labeller="guess"))


def test_card_without_thresholds_is_refused(tmp_path, label_weights):
    for suffix in (".onnx", ".json"):
        shutil.copy(label_weights.with_suffix(suffix), tmp_path / f"own{suffix}")
    card = json.loads((tmp_path / "own.json").read_text())
    del card["thresholds"]
    (tmp_path / "own.json").write_text(json.dumps(card))
    with pytest.raises(ReadError, match="calibration and thresholds"):
        NetworkLabeller(LabelConfig(weights=str(tmp_path / "own.onnx")))
    with pytest.raises(ReadError, match="expected weights for label"):
        NetworkLabeller(LabelConfig(weights="crystals"))


def test_explanation_has_the_size_of_the_picture(label_weights):
    network = NetworkLabeller(LabelConfig(weights=str(label_weights))).network
    heat = network.explanation(np.full((120, 170), 0.5, dtype=np.float32), "ufo")
    assert heat.shape == (120, 170)
    assert 0 <= heat.min() <= heat.max() <= 1
    with pytest.raises(ConfigError, match="expected a label"):
        network.explanation(np.zeros((64, 64), dtype=np.float32), "crystals")


def instances(masks, kinds, shape=(100, 120)):
    boxes, crops = [], []
    for m in masks:
        r, c = np.nonzero(m)
        boxes.append((r.min(), c.min(), r.max() + 1, c.max() + 1))
        crops.append(m[r.min() : r.max() + 1, c.min() : c.max() + 1].astype(np.uint8).ravel())
    offsets = np.concatenate([[0], np.cumsum([c.size for c in crops])]).astype(np.int64)
    return Instances(
        FieldOfView(shape), np.array(boxes, dtype=np.int32).reshape(-1, 4),
        np.concatenate(crops) if crops else np.zeros(0, np.uint8), offsets,
        np.full(len(masks), 0.9, dtype=np.float32), np.array(kinds, dtype=np.uint8),
    )  # fmt: skip


def bar(row, column, high, wide, shape=(100, 120)):
    m = np.zeros(shape, dtype=bool)
    m[row : row + high, column : column + wide] = True
    return m


def test_rules_by_outline_and_kind():
    grey = np.full((100, 120), 0.5, dtype=np.float32)
    found = instances([bar(10, 10, 5, 60), bar(30, 10, 8, 25), bar(50, 10, 20, 22), bar(50, 60, 10, 10)], [0, 0, 0, 2])
    got = dict(zip(LABELS, rule_labels(found, grey), strict=True))
    assert got["object_present"] > 0.99
    assert got["needle"] == pytest.approx(0.9)
    assert got["elongated"] == pytest.approx(0.9)
    assert got["block"] == got["platelet"] == pytest.approx(0.45)
    assert got["bubble"] == pytest.approx(0.9)
    assert got["droplets"] == 0
    untold = dict(zip(LABELS, rule_labels(instances([bar(10, 10, 5, 60)], [0]), grey), strict=True))
    assert np.isnan(untold["bubble"])
    crowd = rule_labels(instances([bar(0, 0, 60, 120)], [0]), grey)
    assert crowd[LABELS.index("too_concentrated")] > 0.95
    assert (np.nan_to_num(rule_labels(instances([], []), grey))[:-1] == 0).all()
    assert np.isnan(RuleLabeller(LabelConfig()).label(grey)).all()


def test_rules_take_what_a_segmenter_finds():
    config = AnalyzeConfig(segmenter="threshold")
    grey = np.full((120, 160), 0.8, dtype=np.float32)
    grey[40:60, 30:55] = 0.2
    picture = prepare(Image(grey), grey, config=config.prepare)
    found = make_segmenter(config).segment(picture).instances
    assert rule_labels(found, grey)[0] > 0.5


def test_agreement_of_labels_and_particles():
    frames = pd.DataFrame({"frame": [0, 1], "file": ["a", "b"], "coverage": [0.1, 0.1]})
    particles = pd.DataFrame(
        {"frame": [0], "kind": ["crystal"], "score": [0.9], "feret_max": [80.0], "feret_min": [9.0]}
    )
    labels = pd.DataFrame({"file": ["a", "b"]} | {f"is_{n}": [0, 0] for n in LABELS})
    labels["is_object_present"] = [1, 1]
    got = agreement(labels, particles, frames)
    assert got == {"object_present": 0.5, "needle": 0.5, "elongated": 1.0, "too_concentrated": 1.0}
    assert disagreements(got) == ["object_present", "needle"]


def test_an_object_is_present_as_far_as_particles_say_so(label_weights, rng):
    network = NetworkLabeller(LabelConfig(weights=str(label_weights)))
    grey = (0.5 + 0.1 * rng.normal(size=(96, 128))).astype(np.float32)
    alone = network.label(grey)
    none = network.label(grey, instances=Instances.empty(FieldOfView((96, 128))))
    assert (none[:-1] == 0).all()
    assert none[-1] == alone[-1]
    assert (alone[1:-1] <= alone[0]).all()
