"""The measure of how real rendered pictures look: its parts."""

from __future__ import annotations

import numpy as np
import pytest
from bench.realism.classify import area, auroc, folds_of
from bench.realism.features import NAMES, features_of
from bench.realism.patches import SIDE, Picture, take

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
