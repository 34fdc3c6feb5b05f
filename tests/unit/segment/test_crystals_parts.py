"""The output of the network `crystals`: how bodies are laid into it and read out again."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crystalscope.errors import ReadError
from crystalscope.segment.crystals import _owns, scale_for, tiles
from crystalscope.segment.decode import candidates, distinct, draw, largest_part
from crystalscope.segment.layout import (
    CHANNELS,
    DIRECTIONS,
    PROTOTYPES,
    SLOTS,
    STRIDES,
    Box,
    levels_of,
    levels_of_grey,
    normalised,
    oriented_box,
    slots_of,
)
from crystalscope.weights import read_card, weights_path


def written(boxes, shape):
    """Maps in which every box stands in its slots, with certainty."""
    maps = [np.zeros((SLOTS * CHANNELS, shape[0] // s, shape[1] // s), np.float32) for s in STRIDES]
    for level in maps:
        level.reshape(SLOTS, CHANNELS, *level.shape[1:])[:, 0] = -9.0
    for b in boxes:
        k = levels_of(b)[0]
        stride = STRIDES[k]
        i, j = int(b.y // stride), int(b.x // stride)
        v = maps[k].reshape(SLOTS, CHANNELS, *maps[k].shape[1:])[slots_of(b)[0], :, i, j]
        v[0] = 4.0
        v[1:3] = b.x / stride - j - 0.5, b.y / stride - i - 0.5
        v[3:5] = math.log(b.length / stride) / 0.7, math.log(b.width / stride) / 0.7
        v[5:7] = math.cos(2 * b.angle), math.sin(2 * b.angle)
    return maps


def test_crossing_needles_fall_into_slots_of_their_own_and_come_out_whole():
    one, two = Box(100, 96, 150, 8, 0.1), Box(100, 96, 140, 10, 0.1 + math.pi / 2)
    assert not set(slots_of(one)) & set(slots_of(two))
    values, kinds = candidates(written([one, two], (192, 224)), least=0.5)
    assert len(distinct(values)) == 2
    assert kinds.tolist() == [0, 0]
    proto = np.zeros((PROTOTYPES, 96, 112), np.float32)
    for value, box in zip(values[np.argsort(-values[:, 3])], (one, two), strict=True):
        assert value[1:5] == pytest.approx([box.x, box.y, box.length, box.width], abs=0.01)
        # A direction is known up to half a turn.
        assert math.cos(2 * (value[5] - box.angle)) == pytest.approx(1, abs=1e-5)
        r0, c0, r1, c1, crop = draw(value, proto, 192, 224)
        assert crop.shape == (r1 - r0, c1 - c0)
        # The frame alone draws the box, also where the other needle covers it.
        assert crop.sum() == pytest.approx(box.length * box.width, rel=0.05)
        assert r0 >= 0
        assert c1 <= 224


def test_one_body_seen_twice_counts_once():
    a, b = Box(60, 60, 30, 24, 0.0), Box(80.5, 60, 30, 24, 0.02)
    values, _ = candidates(written([a, b], (128, 128)), least=0.5)
    assert len(values) == 2
    assert len(distinct(values)) == 2  # side by side: two
    near = Box(62, 61, 31, 24, 0.05)
    values, _ = candidates(written([a, Box(near.x + 8, near.y, 31, 24, 0.05)], (128, 128)), least=0.5)
    values[1, 1] -= 8
    assert len(distinct(values)) == 1


def test_slots_and_levels_cover_every_body():
    for angle in np.linspace(0, math.pi, 60):
        for ratio in (1.0, 1.7, 2.4, 8.0):
            box = Box(0, 0, 40 * ratio, 40, float(angle))
            assert slots_of(box)
            assert (DIRECTIONS in slots_of(box)) == (ratio < 2.5)
    for size in (5, 20, 50, 120, 500):
        assert levels_of(Box(0, 0, size, size, 0.0))


def test_oriented_box_of_a_turned_rectangle():
    c, s = math.cos(0.4), math.sin(0.4)
    points = np.array([[-30, -5], [30, -5], [30, 5], [-30, 5]]) @ np.array([[c, s], [-s, c]]) + [50, 40]
    box = oriented_box(points)
    assert (box.x, box.y, box.length, box.width) == pytest.approx((50, 40, 60, 10), abs=0.01)
    assert math.cos(2 * (box.angle - 0.4)) == pytest.approx(1, abs=1e-4)


def test_normalised_does_not_stretch_noise(rng):
    flat = (0.7 + 0.002 * rng.standard_normal((90, 90))).astype(np.float32)
    assert np.abs(normalised(flat, levels_of_grey(flat))).max() < 0.4
    flat[20:50, 20:50] = 0.1
    assert normalised(flat, levels_of_grey(flat)).min() == pytest.approx(-2, abs=0.1)


def test_largest_part_fills_holes():
    crop = np.zeros((12, 14), np.uint8)
    crop[1:8, 1:8] = 1
    crop[3:5, 3:5] = 0
    crop[10, 12] = 1
    out = largest_part(crop)
    assert out.sum() == 49
    assert out[10, 12] == 0


def test_weights_that_are_missing_or_damaged(tmp_path):
    with pytest.raises(ReadError, match="expected weights"):
        weights_path(tmp_path / "none.onnx")
    with pytest.raises(ReadError, match="expected weights"):
        weights_path("unknown")
    file = tmp_path / "net.onnx"
    file.write_bytes(b"abc")
    with pytest.raises(ReadError, match="expected a card"):
        read_card(file, task="crystals", format_version=1)
    card = '{"task": "%s", "format_version": %d, "sha256": "%s"}'
    file.with_suffix(".json").write_text(card % ("label", 1, "0"))
    with pytest.raises(ReadError, match="weights for crystals"):
        read_card(file, task="crystals", format_version=1)
    file.with_suffix(".json").write_text(card % ("crystals", 1, "0" * 64))
    with pytest.raises(ReadError, match="SHA-256"):
        read_card(file, task="crystals", format_version=1)


@pytest.mark.parametrize("n", [1536, 1537, 2000, 2848, 4288])
def test_every_centre_belongs_to_a_tile_and_lies_well_inside(n):
    spans = sorted({(a, b) for a, _, b, _ in tiles(n, 64)})
    assert spans[0][0] == 0
    assert spans[-1][1] == n
    assert all(a % 64 == 0 for a, _ in spans)
    for at in range(n):
        owners = [(a, b) for a, b in spans if _owns(at, a, b, n)]
        assert owners
        for a, b in owners:
            assert a == 0 or at - a >= 248
            assert b == n or b - at >= 248
    assert tiles(1000, 1112) == [(0, 0, 1000, 1112)]


def test_scale_is_left_alone_where_particles_are_seen_well():
    assert scale_for(10.0) == scale_for(40.0) == scale_for(600.0) == 1.0
    assert scale_for(5.0) == pytest.approx(3.2)
    assert scale_for(1000.0) == pytest.approx(0.3)
    assert scale_for(5000.0) == 0.25
    assert scale_for(1.0) == 4.0
