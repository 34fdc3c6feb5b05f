"""Nuisances of training pictures of the labels."""

import numpy as np
import pytest

from crystalscope.core import LABELS
from crystalscope.learn.label_data import IGNORED, LabelPicture
from crystalscope.learn.nuisances import _MAKERS, _OFTEN, _emptied, _with_ghosts, _with_thing, disturbed

_UFO, _COVER = LABELS.index("ufo"), LABELS.index("too_concentrated")


@pytest.fixture
def picture():
    grey = np.full((160, 240), 0.5, dtype=np.float32)
    grey[40:80, 40:90] = 0.1
    labels, cells = np.zeros(10, dtype=np.float32), np.zeros((11, 10, 15), dtype=np.uint8)
    labels[[0, 2]], cells[[0, 2], 3:5, 3:6], cells[-1] = 1, 100, 100
    return LabelPicture("a.png", grey.astype(np.float16), labels, cells)


@pytest.mark.parametrize("name", list(_MAKERS))
def test_things_are_drawn(name):
    for seed in range(4):
        pattern = _MAKERS[name](150.0, np.random.default_rng(seed))
        assert pattern.dtype == np.float32
        assert np.isfinite(pattern).all()
        assert (np.abs(pattern) > 0.15).sum() > 50


def test_as_often_as_there_are_makers():
    assert len(_OFTEN) == len(_MAKERS)
    assert sum(_OFTEN) == pytest.approx(1)


def test_a_thing_is_labelled_where_it_is_drawn(picture):
    drawn = 0
    for seed in range(12):
        out = _with_thing(picture, np.random.default_rng(seed))
        changed = np.abs(out.grey.astype(float) - picture.grey.astype(float)) > 0.05
        assert out.labels[2] == 1
        if out.labels[_UFO] == 1:
            drawn += 1
            assert (out.cells[_UFO] == 100).any()
            cells = changed.reshape(10, 16, 15, 16).any(axis=(1, 3))
            assert not (out.cells[_UFO] == 100)[~cells].any()
        else:
            assert not changed.any()
    assert drawn > 3


def test_what_is_out_of_focus_shows_nothing(picture):
    out = _emptied(picture, np.random.default_rng(0))
    assert np.isnan(out.labels[_COVER])
    assert np.nansum(out.labels) == 0
    assert (out.cells[_COVER] == IGNORED).all()
    assert not out.cells[:_COVER].any()
    edges = np.abs(np.diff(out.grey.astype(float), axis=1)).max()
    assert edges < 0.5 * np.abs(np.diff(picture.grey.astype(float), axis=1)).max()


def test_ghosts_change_no_label_but_cover(picture):
    out = _with_ghosts(picture, picture, np.random.default_rng(1))
    keep = [k for k in range(10) if k != _COVER]
    np.testing.assert_array_equal(out.labels[keep], picture.labels[keep])
    assert np.isnan(out.labels[_COVER])


def test_the_picture_itself_is_left_as_it_is(picture):
    before = picture.grey.copy(), picture.labels.copy(), picture.cells.copy()
    outs = [disturbed(picture, [picture], np.random.default_rng(s)) for s in range(20)]
    for now, then in zip((picture.grey, picture.labels, picture.cells), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert all(o.grey.dtype == np.float16 and np.isfinite(o.grey.astype(float)).all() for o in outs)
    same = disturbed(picture, [picture], np.random.default_rng(3))
    np.testing.assert_array_equal(same.grey, outs[3].grey)


def test_pictures_without_cells(picture):
    bare = LabelPicture(picture.name, picture.grey, picture.labels)
    outs = [disturbed(bare, [bare], np.random.default_rng(s)) for s in range(20)]
    assert all(o.cells is None for o in outs)
    assert any(o.labels[_UFO] == 1 for o in outs)
