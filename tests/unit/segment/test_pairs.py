"""Two bodies drawn as one: where their outline is cut."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from crystalscope.segment.masks import Mask, iou, shared_pixels, trimmed
from crystalscope.segment.pairs import halves


def drawn(*discs, at=(100, 200)):
    crop = np.zeros((160, 260), np.uint8)
    for x, y, r in discs:
        cv2.circle(crop, (x, y), r, 1, -1)
    crop, r0, c0 = trimmed(crop, *at)
    return Mask(r0, c0, crop, 0.8, 1, 0.0, 0.0)


def test_two_discs_are_cut_at_their_waist():
    left, right = sorted(halves(drawn((80, 80, 40), (150, 80, 40))), key=lambda m: m.c0)
    for part, x in ((left, 80), (right, 150)):
        assert iou(part, drawn((x, 80, 40))) > 0.85
        assert (part.score, part.kind) == (0.8, 1)
        assert part.x == pytest.approx(200 + x, abs=12)


def test_one_notch_is_cut_straight_across():
    # The second disc stands out on one side alone.
    crop = np.zeros((120, 200), np.uint8)
    cv2.rectangle(crop, (20, 20), (90, 80), 1, -1)
    cv2.rectangle(crop, (90, 20), (170, 50), 1, -1)
    parts = halves(Mask(0, 0, trimmed(crop, 0, 0)[0], 0.8, 0, 0.0, 0.0))
    assert sorted(p.area for p in parts) == pytest.approx([80 * 31, 71 * 61], rel=0.06)


@pytest.mark.parametrize("mask", [drawn((80, 80, 40)), drawn((80, 80, 40), (85, 80, 40)), drawn((80, 80, 1))])
def test_what_is_convex_is_one(mask):
    assert halves(mask) is None


def test_parts_of_a_thin_line_lie_on_it():
    crop = np.zeros((60, 60), np.uint8)
    cv2.polylines(crop, [np.array([[5, 5], [50, 5], [50, 50], [20, 30]])], False, 1)
    line = Mask(0, 0, trimmed(crop, 0, 0)[0], 0.8, 0, 0.0, 0.0)
    parts = halves(line)
    assert all(shared_pixels(p, line) == p.area > 0 for p in parts)
    assert sum(p.area for p in parts) < line.area
