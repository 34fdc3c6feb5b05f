"""Patches in a body's own frame: what is sampled, and that a mask comes back where it was."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from crystalscope.segment.layout import Box
from crystalscope.segment.patches import ACROSS, ALONG, Pyramid, mask_of, spans, to_picture


def rotated(box, shape=(300, 400)):
    """Mask of a box, by exact half-planes on pixel centres."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    c, s = math.cos(box.angle), math.sin(box.angle)
    u, v = (x - box.x) * c + (y - box.y) * s, (y - box.y) * c - (x - box.x) * s
    return ((np.abs(u) <= box.length / 2) & (np.abs(v) <= box.width / 2)).astype(np.uint8)


@pytest.mark.parametrize("angle", [0.0, 0.6, math.pi / 2, 2.5])
@pytest.mark.parametrize(("length", "width"), [(30.0, 30.0), (90.0, 9.0), (200.0, 120.0)])
def test_mask_comes_back_where_it_was(angle, length, width):
    box = Box(190.3, 151.7, length, width, angle)
    true = rotated(box)
    seen = Pyramid(true.astype(np.float32)).patch(box)
    assert seen.shape == (2, ACROSS, ALONG)
    r0, c0, crop = mask_of((seen[0] - 0.5) * 8, box, true.shape)
    back = np.zeros_like(true)
    back[r0 : r0 + crop.shape[0], c0 : c0 + crop.shape[1]] = crop
    both, either = np.count_nonzero(back & true), np.count_nonzero(back | true)
    assert both / either > 0.93
    # Neither larger nor smaller, nor moved.
    assert int(back.sum()) == pytest.approx(int(true.sum()), rel=0.04)
    assert [a.mean() for a in np.nonzero(back)] == pytest.approx([a.mean() for a in np.nonzero(true)], abs=0.6)


def test_middle_and_ends_of_a_patch():
    box = Box(100.0, 60.0, 80.0, 20.0, 0.0)
    matrix = to_picture(box)
    long, wide = spans(box)
    middle = matrix @ [(ALONG - 1) / 2, (ACROSS - 1) / 2, 1]
    np.testing.assert_allclose(middle, [100, 60])
    first = matrix @ [-0.5, -0.5, 1]
    np.testing.assert_allclose(first, [100 - long / 2, 60 - wide / 2])


def test_a_large_body_is_sampled_without_aliasing():
    stripes = np.tile(np.array([0.0, 1.0], np.float32), (1200, 600))
    seen = Pyramid(stripes).patch(Box(600.0, 600.0, 500.0, 500.0, 0.0))
    assert np.ptp(seen[0][5:-5, 5:-5]) < 0.2


def test_beyond_the_picture_is_told():
    seen = Pyramid(np.zeros((100, 100), np.float32)).patch(Box(0.0, 50.0, 40.0, 40.0, 0.0))
    assert seen[1][:, : ALONG // 2 - 1].max() == 0
    assert seen[1][10:-10, ALONG // 2 + 1 :].min() == 1
    assert mask_of(np.full((ACROSS, ALONG), 5, np.float32), Box(-500.0, 50.0, 40.0, 40.0, 0.0), (100, 100))[2].size == 0


def test_mask_at_the_edge_is_cut_by_it():
    box = Box(2.0, 50.0, 40.0, 30.0, 0.0)
    r0, c0, crop = mask_of(np.full((ACROSS, ALONG), 5, np.float32), box, (100, 100))
    assert c0 == 0
    assert r0 + crop.shape[0] <= 100
    true = cv2.countNonZero(crop)
    long, wide = spans(box)
    assert true == pytest.approx((2 + long / 2) * wide, rel=0.08)
