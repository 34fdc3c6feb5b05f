"""Copies: found in any position and after any usual change; likeness of one window is none."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.datasets.drawn import block, picture_of

from crystalscope.datasets.duplicates import Copy, families, find_copies
from crystalscope.datasets.fingerprint import TURNS, fingerprint, turned

SHAPE = (360, 480)


def copies_of(pictures: list[np.ndarray]) -> list[Copy]:
    prints = [fingerprint(p, sha256=str(i)) for i, p in enumerate(pictures)]
    return find_copies(prints, read=lambda i: pictures[i])


@lru_cache(maxsize=200)
def frame(number: int, *, crystals: int, moved: float = 0.0) -> np.ndarray:
    """A picture through one dirty window; `number` seeds the noise, and the places unless crystals move."""
    places = np.random.default_rng(5 if moved else 100 + number)
    masks = []
    for _ in range(crystals):
        row, column = places.uniform(20, 340), places.uniform(20, 460)
        step = moved * number
        masks.append(block(SHAPE, row + step, column - step, places.uniform(12, 34), places.uniform(0, 180)))
    return picture_of(masks, np.random.default_rng(10_000 + number), SHAPE)


def jpeg(data: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", data, [1, quality])[1], cv2.IMREAD_UNCHANGED)


CHANGES = {
    "jpeg 90": lambda a: jpeg(a, 90),
    "jpeg 70": lambda a: jpeg(a, 70),
    "jpeg 50": lambda a: jpeg(a, 50),
    "brighter": lambda a: np.clip(a * 1.2 + 5, 0, 255).astype(np.uint8),
    "gamma": lambda a: np.round(255 * (a / 255.0) ** 0.7).astype(np.uint8),
    "noise": lambda a: np.clip(a + np.random.default_rng(0).normal(0, 4, a.shape), 0, 255).astype(np.uint8),
    "blur": lambda a: cv2.GaussianBlur(a, (0, 0), 1.2),
    "half": lambda a: cv2.resize(a, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "cut": lambda a: np.ascontiguousarray(a[9:-5, 14:-3]),
    "cut and enlarged": lambda a: cv2.resize(a[9:-5, 14:-3], a.shape[::-1], interpolation=cv2.INTER_CUBIC),
    "16 bit": lambda a: a.astype(np.uint16) * 257,
    "colour": lambda a: np.stack([a, a, np.clip(a + 3.0, 0, 255).astype(np.uint8)], axis=2),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("turn", [0, 1, 7])
def test_changed_copies_are_found(change, turn):
    pictures = [frame(i, crystals=14) for i in range(5)]
    pictures.append(CHANGES[change](turned(pictures[2], turn)))
    (copy,) = copies_of(pictures)
    assert (copy.first, copy.other, copy.exact) == (2, 5, False)
    # Turned back it is the first picture.
    assert copy.turn == next(t for t in range(8) if np.array_equal(turned(turned(pictures[2], turn), t), pictures[2]))
    assert copy.agreement >= 0.9


@given(seed=st.integers(0, 10_000), turn=st.integers(0, 7), rows=st.integers(20, 60), columns=st.integers(20, 60))
@settings(max_examples=40, deadline=None)
def test_the_same_pixels_are_found_in_any_position_and_format(seed, turn, rows, columns):
    rng = np.random.default_rng(seed)
    kind = (np.uint8, np.uint16, np.float32)[seed % 3]
    data = (rng.random((rows, columns)) * 200).astype(kind)
    other = (rng.random((rows, columns)) * 200).astype(kind)
    (copy,) = copies_of([other, data, turned(data, turn)])
    assert (copy.first, copy.other, copy.exact) == (1, 2, True)
    np.testing.assert_array_equal(turned(turned(data, turn), copy.turn), data)


@pytest.mark.parametrize("quality", [None, 90, 75, 50])
@pytest.mark.parametrize("crystals", [0, 5])
def test_pictures_through_one_window_are_no_copies(crystals, quality):
    pictures = [frame(i, crystals=crystals) for i in range(22)]
    if quality:
        pictures = [jpeg(p, quality) for p in pictures]
    assert copies_of(pictures) == []


@pytest.mark.parametrize("quality", [None, 90, 75])
def test_frames_of_a_slow_process_are_no_copies(quality):
    pictures = [frame(i, crystals=12, moved=1.5) for i in range(24)]
    if quality:
        pictures = [jpeg(p, quality) for p in pictures]
    assert copies_of(pictures) == []


def test_two_recordings_of_a_scene_at_rest_are_no_copies():
    masks = [block(SHAPE, 100, 120, 30, 20), block(SHAPE, 200, 300, 25, 70)]
    assert copies_of([picture_of(masks, np.random.default_rng(s), SHAPE) for s in range(4)]) == []


def test_neighbouring_parts_of_a_frame_are_no_copies():
    whole = np.hstack([frame(i, crystals=10) for i in range(2)])
    parts = [np.ascontiguousarray(whole[:, k : k + 320]) for k in range(0, 641, 160)]
    assert copies_of(parts) == []


def test_families_join_copies_of_copies():
    chain = [Copy(0, 2, 0, True), Copy(2, 5, 0, False), Copy(3, 4, 1, True)]
    assert families(chain) == [[0, 2, 5], [3, 4]]
    assert families([]) == []


def test_of_several_copies_each_is_told_once():
    first, second = frame(0, crystals=10), frame(1, crystals=10)
    pictures = [first, second, turned(first, 3), jpeg(first, 80), turned(jpeg(first, 60), 5), jpeg(second, 60)]
    found = copies_of(pictures)
    assert [c.other for c in found] == [2, 3, 4, 5]
    assert families(found) == [[0, 2, 3, 4], [1, 5]]


def test_no_and_one_picture_have_no_copies():
    assert copies_of([]) == []
    assert copies_of([frame(0, crystals=3)]) == []
    assert len(TURNS) == 8
