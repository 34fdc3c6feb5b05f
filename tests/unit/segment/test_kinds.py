"""What bodies are called, and which of them are one agglomerate."""

from dataclasses import replace

import numpy as np

from crystalscope.segment.kinds import CLASSES, MEMBER, named, outlined
from crystalscope.segment.masks import Mask, box_of
from crystalscope.segment.patches import ACROSS, ALONG, Pyramid


def square(r0, c0, size=20):
    return Mask(r0, c0, np.ones((size, size), np.uint8), 0.9, 0, c0 + size / 2, r0 + size / 2)


def chances(*classes):
    out = np.full((len(classes), len(CLASSES)), 0.05, dtype=np.float32)
    out[np.arange(len(classes)), classes] = 0.75
    return out


def test_members_that_touch_are_one_agglomerate():
    masks = [square(10, 10), square(10, 31), square(100, 100), square(10, 52)]
    found, number = named(masks, chances(MEMBER, MEMBER, 0, 0))
    # The crystal beside them touches too, and is none of them.
    assert number.tolist() == [1, 1, 0, 0]
    assert [m.kind for m in found] == [0, 0, 0, 0]


def test_a_member_alone_stands_for_its_agglomerate():
    found, number = named([square(10, 10), square(100, 100)], chances(MEMBER, 0))
    assert number.tolist() == [0, 0]
    assert [m.kind for m in found] == [1, 0]


def test_gas_and_liquid_stay_what_the_first_look_took_them_for():
    bubble = replace(square(10, 10), kind=2)
    found, number = named([bubble, square(100, 100)], chances(MEMBER, 3))
    assert number.tolist() == [0, 0]
    # What the third look takes for a droplet is a crystal by its next best answer.
    assert [m.kind for m in found] == [2, 0]


def test_members_go_with_the_agglomerate_that_they_touch_and_agglomerates_do_not_join():
    masks = [square(10, 10), square(10, 31), square(10, 52), square(100, 10), square(100, 31)]
    found, number = named(masks, chances(1, MEMBER, 1, 1, 1))
    assert number.tolist() == [1, 1, 1, 0, 0]
    assert [m.kind for m in found] == [1, 0, 1, 1, 1]


def test_no_bodies():
    assert named([], np.zeros((0, len(CLASSES)), np.float32))[1].shape == (0,)


def test_an_outline_lies_where_its_patch_shows_it():
    grey = np.zeros((80, 120), np.float32)
    grey[30:50, 20:70] = -1
    mask = Mask(30, 20, np.ones((20, 50), np.uint8), 0.9, 0, 45, 40)
    patch = outlined(Pyramid(grey), box_of(mask), mask)
    assert patch.shape == (3, ACROSS, ALONG)
    assert np.abs(patch[0] + patch[2]).mean() < 0.02
