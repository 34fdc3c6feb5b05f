"""The measure of how real rendered pictures look: its parts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from bench.realism.classify import area, auroc, folds_of, network_scores
from bench.realism.features import NAMES, features_of
from bench.realism.looks import LOOKS, real_pictures
from bench.realism.patches import SIDE, Patches, Picture, corners, matched, object_mask, quarters, take

from crystalscope.errors import InputError
from crystalscope.scenes import preset, scenes_of


def patches(*, noise, seed=0):
    recipe = preset("beads").changed(
        instrument={"rows": 600, "columns": 640, "shot_noise": noise}, populations={"beads": {"count": 25.0}}
    )
    grey = np.asarray(next(iter(scenes_of(recipe, frames=1, seed=seed))).image.data).astype(np.float32)
    return take(Picture(grey, f"p{seed}"), number=12, rng=np.random.default_rng(1))


def test_area_is_the_probability_to_rank_right():
    truth = np.array([True, True, False, False])
    assert area(truth, np.array([0.9, 0.8, 0.2, 0.1])) == 1.0
    assert area(truth, np.array([0.1, 0.2, 0.8, 0.9])) == 0.0
    assert area(truth, np.array([0.5, 0.5, 0.5, 0.5])) == 0.5
    assert area(truth, np.array([0.9, 0.3, 0.5, 0.1])) == 0.75


def test_groups_never_stand_in_two_folds():
    groups = np.array([f"g{k // 5}" for k in range(60)])
    real = np.arange(60) < 30
    folds = folds_of(groups, real, rng=np.random.default_rng(0))
    for g in np.unique(groups):
        assert len(np.unique(folds[groups == g])) == 1
    for f in np.unique(folds):
        assert real[folds == f].any()
        assert (~real[folds == f]).any()


def test_noise_gives_itself_away():
    quiet, loud = patches(noise=0.002), patches(noise=0.05)
    x = np.concatenate([features_of(quiet), features_of(loud)])
    n = len(quiet)
    assert x.shape == (n + len(loud), len(NAMES))
    column = list(NAMES).index("noise")
    assert x[n:, column].min() > x[:n, column].max()
    truth = np.arange(len(x)) < n
    folds = np.arange(len(x)) % 3
    assert auroc(truth, -x[:, column], folds).mean == pytest.approx(1.0)


def test_patches_hold_objects_and_ground():
    got = patches(noise=0.01)
    assert got.grey.shape == (len(got), SIDE, SIDE)
    assert set(got.groups) == {"p0"}
    assert got.shares.max() > 0.05
    assert got.shares.min() < 0.02


def a_set(shares, *, group="g", level=100.0):
    """Patches with given shares of object pixels, all of one level."""
    masks = np.zeros((len(shares), SIDE, SIDE), dtype=bool)
    for mask, share in zip(masks, shares, strict=True):
        mask.reshape(-1)[: round(share * SIDE * SIDE)] = True
    grey = np.full(masks.shape, level, dtype=np.float32)
    return Patches(grey, masks, np.array([f"{group}{k}" for k in range(len(shares))]))


def test_both_sides_get_as_many_patches_of_every_density(rng):
    real = a_set([0.0] * 30 + [0.5] * 10 + [0.9] * 4)
    rendered = a_set([0.0] * 12 + [0.05] * 40 + [0.5] * 25)
    a, b = matched(real, rendered, rng=rng)
    assert len(a) == len(b) == 22
    assert np.sort(a.shares) == pytest.approx(np.sort(b.shares), abs=0.01)


def test_quarters_are_groups_of_their_own():
    picture = Picture(np.arange(200 * 300, dtype=np.float32).reshape(200, 300), "a", (100.0, 150.0, 50.0))
    parts = list(quarters(iter([picture])))
    assert [p.group for p in parts] == ["a/00", "a/01", "a/10", "a/11"]
    assert (parts[3].grey == picture.grey[100:, 150:]).all()
    assert parts[3].field == (0.0, 0.0, 50.0)


def test_corners_of_a_crop_cover_it():
    grey = np.random.default_rng(0).uniform(0, 255, (151, 151)).astype(np.float32)
    got = corners(Picture(grey, "crop"))
    assert len(got) == 4
    assert (got.grey[0] == grey[:SIDE, :SIDE]).all()
    assert (got.grey[3] == grey[-SIDE:, -SIDE:]).all()


def test_objects_of_either_sign_differ_from_the_ground(rng):
    grey = rng.normal(120, 1, (400, 400)).astype(np.float32)
    grey[100:130, 100:130] -= 60
    grey[250:280, 300:330] += 60
    mask = object_mask(grey)
    assert mask[105:125, 105:125].all()
    assert mask[255:275, 305:325].all()
    mask[90:140, 90:140] = mask[240:290, 290:340] = False
    assert mask.mean() < 1e-3


def test_blocks_of_jpeg_show(rng):
    flat = np.clip(rng.normal(150, 2, (6, SIDE, SIDE)), 0, 255).astype(np.uint8)
    packed = np.array([cv2.imdecode(cv2.imencode(".jpg", g, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], -1) for g in flat])
    mask = np.zeros(flat.shape, dtype=bool)
    column = NAMES.index("jumps every 8 px")
    plain, blocky = (
        features_of(Patches(g.astype(np.float32), mask, np.array(["g"] * 6)))[:, column] for g in (flat, packed)
    )
    assert blocky.min() > 1.5 > plain.max()


def test_copies_and_held_back_frames_are_left_out(data):
    groups = {p.group for p in real_pictures(LOOKS["backlit"], data)}
    assert groups == {f"real {k}" for k in (140, 141, 142, 143, 157, 163)}
    assert len(list(real_pictures(LOOKS["impurity"], data))) == 11


def test_missing_pictures_are_named(tmp_path):
    with pytest.raises(InputError, match="expected impurity-crops"):
        list(real_pictures(LOOKS["impurity"], tmp_path))


def test_network_tells_what_differs_and_nothing_else(rng):
    pytest.importorskip("torch")
    is_real = np.arange(48) < 24
    folds = np.arange(48) % 2
    masks, groups = np.zeros((48, SIDE, SIDE), dtype=bool), np.array([f"g{k}" for k in range(48)])
    for contrast, low, high in ((6.0, 0.95, 1.0), (0.0, 0.2, 0.8)):
        sigma = np.where(is_real, 2.0, 2.0 + contrast)[:, None, None]
        grey = (128 + sigma * rng.standard_normal(masks.shape)).astype(np.float32)
        scores = network_scores(Patches(grey, masks, groups), is_real, folds, seed=0, epochs=8)
        assert low <= area(is_real, scores) <= high
