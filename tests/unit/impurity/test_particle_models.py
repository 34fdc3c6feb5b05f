"""Models of particles: learning, held-back figures, files, corrections, and bad input."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from crystalscope.core import FieldOfView, Instances
from crystalscope.errors import InputError, ReadError
from crystalscope.impurity import (
    aligned,
    assumed_confusion,
    auroc,
    fractions_by_frame,
    load_model,
    retrain,
    save_model,
    train_impurity,
    train_normal,
)
from crystalscope.impurity.features import FEATURES, GREY, SHAPE, crop_features, cropped_features, outline_features

K = len(FEATURES["outlines"])


def drawn(n, rng, *, moved=0.0):
    """Numbers of n particles; the last of the grey ones is moved."""
    x = rng.standard_normal((n, K))
    x[:, len(SHAPE) + len(GREY) - 1] += moved
    return x


@pytest.fixture
def known(rng):
    x = np.concatenate([drawn(150, rng), drawn(12, rng, moved=8.0)])
    y = np.arange(162) >= 150
    return x, y, np.array([f"f{k % 27}" for k in range(162)])


def test_a_rare_impurity_is_learnt(known, rng):
    x, y, g = known
    model = train_impurity(x, y, groups=g, view="outlines")
    assert model.auroc > 0.99
    fresh = model.score(np.concatenate([drawn(100, rng), drawn(100, rng, moved=8.0)]))
    assert auroc(fresh, np.arange(200) >= 100) > 0.99
    assert ((fresh >= model.threshold) == (np.arange(200) >= 100)).mean() > 0.95
    assert model.confusion.counts.sum() == 162
    assert model.card["impurities"] == 12


def test_copies_count_as_one(rng):
    x = np.concatenate([drawn(20, rng), drawn(6, rng, moved=3.0)])
    y = np.arange(26) >= 20
    g = np.array([str(k) for k in range(26)])
    one = train_impurity(x, y, groups=g, view="outlines")
    many = train_impurity(
        np.concatenate([x, np.repeat(x[25:], 5, axis=0)]),
        np.concatenate([y, np.ones(5, bool)]),
        groups=np.concatenate([g, np.repeat("25", 5)]),
        view="outlines",
    )
    assert many.score(x) == pytest.approx(one.score(x), abs=0.02)
    # None of them is learnt while another is held back.
    assert many.held_back[25] == pytest.approx(one.held_back[25], abs=0.02)


def test_normal_particles_alone(rng):
    model = train_normal(drawn(400, rng), groups=np.arange(400) % 20, false_alarm=0.05, view="outlines")
    fresh = model.score(drawn(1500, rng))
    assert (fresh >= model.threshold).mean() == pytest.approx(0.05, abs=0.03)
    assert auroc(model.score(drawn(60, rng, moved=25.0)), np.ones(60)) != 1.0  # one class: not defined
    both = np.concatenate([fresh[:200], model.score(drawn(60, rng, moved=25.0))])
    assert auroc(both, np.arange(260) >= 200) > 0.95
    assert model.false_rate <= 0.05
    rates = assumed_confusion(model).rates
    assert rates[0, 1] == model.false_rate
    assert rates[1, 1] == 1


def test_auroc_is_that_of_another_implementation(rng):
    s, y = np.round(rng.standard_normal(200), 1), rng.uniform(size=200) < 0.2
    assert auroc(s, y) == pytest.approx(roc_auc_score(y, s))


def test_a_model_comes_back_from_its_file(known, tmp_path):
    x, y, g = known
    for model in (train_impurity(x, y, groups=g, view="outlines"), train_normal(x[~y], groups=g[~y], view="outlines")):
        path = save_model(model, tmp_path / "model.npz")
        first = path.read_bytes()
        again = load_model(path)
        assert np.array_equal(again.score(x), model.score(x))
        assert again.card == model.card
        assert save_model(again, tmp_path / "b.npz").read_bytes() == first


def test_a_damaged_model_is_refused(known, tmp_path):
    x, y, g = known
    path = save_model(train_impurity(x, y, groups=g, view="outlines"), tmp_path / "model.npz")
    card = path.with_suffix(".json")
    good = json.loads(card.read_text())
    for change in ({"sha256": "0"}, {"format_version": 99}, {"features": ["size"]}, {"kind": "guess"}):
        card.write_text(json.dumps(good | change))
        with pytest.raises(ReadError, match="expected a model of particles"):
            load_model(path)
    card.unlink()
    with pytest.raises(ReadError, match="expected a model of particles"):
        load_model(path)
    card.write_text(json.dumps(good))
    np.savez(path, center=np.array([object()]))
    with pytest.raises(ReadError, match="expected a model of particles"):
        load_model(path)


def test_corrections_are_learnt(known, rng):
    x, y, g = known
    model = train_impurity(x, y, groups=g, view="outlines")
    # A kind of impurity that it has not seen.
    other = drawn(20, rng)
    other[:, len(SHAPE)] += 8.0
    assert (model.score(other) >= model.threshold).mean() < 0.8
    new = retrain(model, other[:12], np.ones(12), [f"c{k}" for k in range(12)])
    assert (new.score(other[12:]) >= new.threshold).all()
    normal = train_normal(x[~y], groups=g[~y], false_alarm=0.02, view="outlines")
    again = retrain(normal, other[:12], np.zeros(12), [f"c{k}" for k in range(12)])
    assert len(again.impure) == len(normal.impure) + 12
    assert again.score(other[12:]).mean() < normal.score(other[12:]).mean()


def test_what_cannot_be_learnt_is_said(known, rng):
    x, y, g = known
    with pytest.raises(InputError, match="none of the impurity"):
        train_impurity(x[~y], y[~y], view="outlines")
    with pytest.raises(InputError, match="none of the target"):
        train_impurity(x[y], y[y], view="outlines")
    with pytest.raises(InputError, match="none of the impurity"):
        train_impurity(x[:1], y[:1], view="outlines")
    with pytest.raises(InputError, match="two groups of the impurity"):
        train_impurity(x, y, groups=np.where(y, "a", g), view="outlines")
    with pytest.raises(InputError, match="at least 99 normal particles"):
        train_normal(x[:50], view="outlines")
    with pytest.raises(InputError, match="at least 20 normal particles"):
        train_normal(x[:1], false_alarm=0.5, view="outlines")
    with pytest.raises(InputError, match="at least 20 normal particles"):
        train_normal(np.zeros((0, K)), false_alarm=0.5, view="outlines")
    with pytest.raises(InputError, match="two groups"):
        train_normal(x[~y], groups=np.zeros(150), view="outlines")
    with pytest.raises(InputError, match="between 0 and 1"):
        train_normal(x, false_alarm=0.0, view="outlines")
    with pytest.raises(InputError, match="finite numbers"):
        train_impurity(x[:, :5], y, view="outlines")


def test_fractions_of_every_frame(known):
    x, y, g = known
    confusion = train_impurity(x, y, groups=g, view="outlines").confusion
    frame = np.repeat([0, 2], 40)
    called = np.arange(80) % 40 < np.repeat([0, 10], 40)
    ones = np.ones(80)
    table = fractions_by_frame(called, frame, confusion, area=ones, volume=ones, frames=3)
    assert table["n"].tolist() == [40, 0, 40]
    assert np.isnan(table.at[1, "number"])
    assert table.at[0, "number"] == pytest.approx(0, abs=0.02)
    assert table.at[2, "number"] == pytest.approx(0.25, abs=0.03)
    assert (table["number_lower"].dropna() <= table["number"].dropna()).all()


def picture(shape, *bodies):
    """Grey picture and masks of bars (row, column, length, width, angle) and grainy discs (row, column, radius)."""
    grey, masks = np.full(shape, 0.1, np.float32), []
    rng = np.random.default_rng(0)
    for body in bodies:
        mask = np.zeros(shape, np.uint8)
        if len(body) == 5:
            corners = cv2.boxPoints(((body[1], body[0]), (body[2], body[3]), body[4]))
            cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
            grey[mask > 0] = 0.8
        else:
            cv2.circle(mask, (body[1], body[0]), body[2], 1, -1)
            grey[mask > 0] = 0.2 + 0.7 * (rng.uniform(size=int(mask.sum())) < 0.4)
        masks.append(mask.astype(bool))
    return cv2.GaussianBlur(grey, (0, 0), 0.8), Instances.from_masks(masks, field=FieldOfView(shape))


def test_numbers_of_particles():
    grey, found = picture((160, 240), (40, 60, 80, 10, 0), (90, 180, 80, 10, 35), (110, 70, 22))
    x = outline_features(grey, found)
    assert x.shape == (3, K)
    assert np.isfinite(x).all()
    names = FEATURES["outlines"]
    at = {n: x[:, names.index(n)] for n in ("log_length_to_width", "alignment", "grain_fine", "log_ecd")}
    assert at["log_length_to_width"][:2].min() > np.log(5) > at["log_length_to_width"][2]
    assert at["alignment"][:2].min() > at["alignment"][2]
    assert at["grain_fine"][2] > 1.2 * at["grain_fine"][:2].max()
    # A body looks alike however it is turned, and unlike another.
    far = np.linalg.norm(x[:2] - x[2], axis=1).min()
    assert np.linalg.norm(x[0] - x[1]) < 0.5 * far
    scaled = outline_features(grey, found, pixel_size_um=2.0)
    assert scaled[:, 0] - x[:, 0] == pytest.approx(np.log(2))
    assert cropped_features(grey, found).shape == (3, len(FEATURES["crops"]))
    assert np.isfinite(crop_features(grey)).all()


def test_numbers_of_next_to_nothing():
    grey, _ = picture((40, 40))
    mask = np.zeros((40, 40), bool)
    mask[0, 0] = True
    assert np.isfinite(outline_features(grey, Instances.from_masks([mask], field=FieldOfView((40, 40))))).all()
    assert outline_features(grey, Instances.empty(FieldOfView((40, 40)))).shape == (0, K)
    with pytest.raises(InputError, match="a crop of at least 8 px"):
        crop_features(grey[:5])
    with pytest.raises(InputError, match="a picture of shape"):
        outline_features(grey[:20], Instances.empty(FieldOfView((40, 40))))


def test_particles_of_another_light_are_told_once_aligned(known, rng):
    x, y, g = known
    model = train_impurity(x, y, groups=g, view="outlines")
    moved = rng.normal(0, 2, K)
    other = np.concatenate([drawn(190, rng), drawn(10, rng, moved=8.0)]) * 1.5 + moved
    called = model.score(aligned(other, model)) >= model.threshold
    assert (called == (np.arange(200) >= 190)).mean() > 0.97
    assert (model.score(other) >= model.threshold).mean() != pytest.approx(0.05, abs=0.02)
    with pytest.raises(InputError, match="expected at least 50 particles to align"):
        aligned(other[:20], model)
