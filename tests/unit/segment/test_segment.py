"""The classical segmenter: rules, polarities, the published chain, splits, contract."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from tests.conftest import picture

from crystalscope.config import load_config
from crystalscope.core import FieldOfView, Image
from crystalscope.errors import ConfigError, InputError
from crystalscope.prepare import prepare
from crystalscope.segment import Segmentation, make_segmenter
from crystalscope.segment.post import post_process
from crystalscope.segment.split import _distances, completed, split_at_necks
from crystalscope.segment.threshold import choose_polarity, contrast_of, polarity_evidence
from crystalscope.testing import check_segmenter

DISCS = [(30, 40, 12), (70, 100, 9), (85, 30, 7)]


def prepared(data, config=None):
    grey = data.astype(np.float32) / 255
    return prepare(Image(data), grey, config=(config or load_config()).prepare)


def found(data, **tables):
    config = load_config(segmenter="threshold", **tables)
    return make_segmenter(config).segment(prepared(data, config))


@pytest.mark.parametrize("rule", ["tree", "hysteresis", "otsu", "local"])
def test_every_rule_finds_the_discs(rule):
    result = found(picture(DISCS), threshold={"rule": rule})
    i = result.instances.select(result.instances.in_focus)
    assert len(i) == 3
    assert "dark" in result.method
    assert rule in result.method
    for (_, _, radius), k in zip(DISCS, range(3), strict=True):
        assert i.crop(k).sum() == pytest.approx(np.pi * radius**2, rel=0.06)


def test_light_on_dark_and_two_sided():
    assert "light" in found(255 - picture(DISCS)).method
    data = picture([(60, 50, 14)]).astype(int)
    light = picture([(60, 110, 14)]).astype(int)
    both = np.clip(data - (light - 180), 0, 255).astype(np.uint8)
    result = found(both)
    assert "two_sided" in result.method
    assert result.instances.in_focus.sum() == 2
    assert choose_polarity(0, 0) == "dark"
    with pytest.raises(InputError, match="polarity"):
        contrast_of(prepared(picture()), polarity="grey", sigma=1.0)


def test_a_run_settles_on_one_polarity():
    config = load_config(segmenter="threshold")
    pictures = [prepared(picture(seed=i)) for i in range(3)] + [prepared(255 - picture(DISCS))]
    assert "light" in make_segmenter(config).study(pictures).segment(pictures[0]).method
    assert np.all(polarity_evidence(pictures[0]) == 0)


def test_a_crystal_in_front_of_a_ghost_is_found_alone():
    scene = np.full((200, 240), 0.75, np.float32)
    ghost = np.zeros_like(scene)
    cv2.circle(ghost, (120, 100), 45, 0.35, -1)
    scene *= 1 - cv2.GaussianBlur(ghost, (0, 0), 12)
    crystal = np.zeros_like(scene)
    cv2.rectangle(crystal, (100, 85), (139, 108), 0.8, -1)
    scene *= 1 - cv2.GaussianBlur(crystal, (0, 0), 0.8)
    data = (scene * 255 + np.random.default_rng(0).normal(0, 1, scene.shape)).astype(np.uint8)
    i = found(data).instances
    i = i.select(i.in_focus)
    assert len(i) == 1
    assert i.crop(0).sum() == pytest.approx(40 * 24, rel=0.05)


def test_clear_interiors_are_filled_also_at_the_edge():
    data = picture()
    cv2.rectangle(data, (60, 40), (100, 80), 40, 4)
    cv2.rectangle(data, (-20, 90), (20, 110), 40, 4)
    i = found(data).instances
    areas = sorted(int(i.crop(k).sum()) for k in range(len(i)))
    assert areas == pytest.approx([23 * 25, 45 * 45], rel=0.06)


def test_half_contrast_does_not_depend_on_the_threshold():
    data = picture([(60, 80, 15)])
    areas = [found(data, threshold={"rule": "hysteresis", "level": v}).instances.crop(0).sum() for v in (0.05, 0.2)]
    assert areas == pytest.approx([np.pi * 15**2] * 2, rel=0.02)


def test_flow_cell_is_the_field():
    data = np.full((300, 400), 6, np.uint8)
    cv2.circle(data, (200, 150), 130, 180, -1)
    for c in ((200, 150), (150, 100)):
        cv2.circle(data, c, 12, 40, -1)
    data = np.clip(cv2.GaussianBlur(data, (0, 0), 0.8) + np.random.default_rng(0).normal(0, 1, data.shape), 0, 255)
    result = found(data.astype(np.uint8))
    assert "disc" in result.method
    assert result.instances.in_focus.sum() == 2


def crop(mask, row=50, column=60):
    return [(row, column, mask.astype(np.uint8))]


def chain(mask, **settings):
    config = load_config(post={"watershed": False, "closing_radius_px": 0, "min_area_px": 1, **settings}).post
    return post_process(crop(mask), field=FieldOfView((200, 300)), config=config)


def test_steps_of_the_published_chain():
    square = np.ones((20, 20), bool)
    assert len(chain(square, min_area_px=401)[0]) == 0
    assert len(chain(square, min_area_px=400)[0]) == 1
    ring = square.copy()
    ring[8:11, 8:11] = False
    assert chain(ring)[0].crop(0).sum() == 400
    assert chain(ring, fill_holes=False)[0].crop(0).sum() == 391
    slit = square.copy()
    slit[:, 10] = False
    assert len(chain(slit)[0]) == 2
    assert len(chain(slit, closing_radius_px=2)[0]) == 1
    # A perfect square has form factor 0.785 and fails the published gate.
    gated = chain(square, form_factor_min=0.85, form_factor_max=0.95)
    assert (len(gated[0]), gated[1]) == (0, 1)
    config = load_config(post={"border": "drop"}).post
    assert len(post_process(crop(square, 0, 0), field=FieldOfView((200, 300)), config=config)[0]) == 0


def test_rings_of_touching_particles_stay_open():
    y, x = np.mgrid[:120, :120]
    mask = np.zeros((120, 120), bool)
    for a in np.arange(8) * np.pi / 4:
        mask |= (y - 60 - 40 * np.sin(a)) ** 2 + (x - 60 - 40 * np.cos(a)) ** 2 < 16.5**2
    i, _ = chain(mask, watershed=True)
    assert len(i) == 8


def test_distances_agree_with_scipy(rng):
    for _ in range(5):
        m = (cv2.GaussianBlur(rng.random((50, 60)).astype(np.float32), (0, 0), 3) > 0.5).astype(np.uint8)
        m[0] = m[-1] = 0
        m[:, 0] = m[:, -1] = 0
        np.testing.assert_allclose(_distances(m), distance_transform_edt(m), atol=1e-4)


@pytest.mark.parametrize("distance", [24, 30, 36])
def test_overlapping_beads_keep_their_size(distance):
    y, x = np.mgrid[:60, :100]
    a = (y - 30) ** 2 + (x - 30) ** 2 < 20**2
    b = (y - 30) ** 2 + (x - 30 - distance) ** 2 < 20**2
    parts = split_at_necks((a | b).astype(np.uint8), depth=0.15)
    assert parts.max() == 2
    assert [completed(parts, k).sum() for k in (1, 2)] == pytest.approx([a.sum()] * 2, rel=0.04)


def test_a_convex_particle_is_not_split(rng):
    for _ in range(20):
        mask = np.zeros((120, 120), np.uint8)
        box = ((60, 60), (float(rng.uniform(20, 90)), float(rng.uniform(8, 40))), float(rng.uniform(0, 180)))
        cv2.fillPoly(mask, [cv2.boxPoints(box).astype(np.int32)], 1)
        assert split_at_necks(mask, depth=0.15).max() == 1


def test_contract_of_the_built_in():
    check_segmenter(make_segmenter(load_config(segmenter="threshold")))
    with pytest.raises(ConfigError, match="one of the segmenters crystals, given, semantic, threshold"):
        make_segmenter(load_config(segmenter="magic"))


def test_contract_catches_a_bad_one():
    class Bad:
        def __init__(self, config):
            self.n = 0

        def study(self, pictures):
            return self

        def segment(self, picture):
            i = make_segmenter(load_config(segmenter="threshold")).segment(picture).instances
            self.n += 1
            return Segmentation(i if self.n < 7 else i.select(np.zeros(len(i), bool)))

    with pytest.raises(InputError, match="another thread"):
        check_segmenter(Bad(None))
