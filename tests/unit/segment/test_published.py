"""The published post-processing and its known faults; names of class pictures; the published fit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.special import erf

from crystalscope.config import SemanticConfig
from crystalscope.core import FieldOfView, Instances
from crystalscope.measure import boundary_form_factor, measure_columns
from crystalscope.results import class_stem
from crystalscope.segment.post import post_process
from crystalscope.segment.regions import crops_of
from crystalscope.size import classes, lognormal_of_classes, make_distribution

PUBLISHED = SemanticConfig().post


def regions(draw, shape=(220, 260)):
    mask = np.zeros(shape, np.uint8)
    draw(mask)
    return crops_of(np.asarray(cv2.connectedComponents(mask, connectivity=8)[1], np.int32)), FieldOfView(shape)


def discs(*radii):
    masks = []
    for r in radii:
        y, x = np.mgrid[-r : r + 1, -r : r + 1]
        masks.append((x * x + y * y <= r * r).astype(np.uint8))
    size = max(m.shape[0] for m in masks)
    boxes = [(0, k * size, m.shape[0], k * size + m.shape[1]) for k, m in enumerate(masks)]
    return Instances(
        FieldOfView((size, size * len(masks))),
        np.array(boxes, np.int32),
        np.concatenate([m.ravel() for m in masks]),
        np.concatenate([[0], np.cumsum([m.size for m in masks])]).astype(np.int64),
        np.ones(len(masks), np.float32),
    )


def test_settings_are_the_published_ones():
    assert (PUBLISHED.min_area_px, PUBLISHED.closing_radius_px, PUBLISHED.border) == (20, 2, "drop")
    assert (PUBLISHED.form_factor_min, PUBLISHED.form_factor_max) == (0.85, 0.95)
    assert PUBLISHED.watershed
    assert not PUBLISHED.complete_overlaps


def test_small_objects_are_rounder_than_a_circle_by_the_published_perimeter():
    found = discs(2, 3, 5, 10, 60)
    published = boundary_form_factor(found)
    own = measure_columns(found, np.zeros(found.field.shape, np.uint8))["form_factor"]
    assert (np.diff(published) < 0).all()
    assert published[0] > 1.3
    assert published[-1] == pytest.approx(1, abs=0.06)
    assert (own < published).all()
    assert (own[2:] < 1.02).all()


def test_boundary_perimeter_against_straight_steps():
    # A square of 11 x 11 px: 40 straight steps, 4 corners.
    square = Instances(
        FieldOfView((11, 11)),
        np.array([[0, 0, 11, 11]], np.int32),
        np.ones(121, np.uint8),
        np.array([0, 121]),
        np.ones(1, np.float32),
    )
    assert boundary_form_factor(square)[0] == pytest.approx(4 * np.pi * 121 / (40 * 0.980 - 4 * 0.091) ** 2)


def test_the_chain_drops_specks_borders_and_what_is_not_round_enough():
    def draw(mask):
        cv2.circle(mask, (60, 60), 20, 1, -1)  # near a circle: too round for the gate
        cv2.rectangle(mask, (120, 40), (155, 75), 1, -1)  # a square: 0.785 + the bias of the perimeter
        cv2.rectangle(mask, (100, 140), (180, 150), 1, -1)  # a rod
        cv2.circle(mask, (250, 200), 20, 1, -1)  # cut by the edge
        mask[10:13, 10:13] = 1  # 9 px

    crops, field = regions(draw)
    kept, gated = post_process(crops, field=field, config=PUBLISHED)
    open_gate = PUBLISHED.model_copy(update={"form_factor_min": None, "form_factor_max": None})
    free, border = post_process(crops, field=field, config=open_gate)
    assert (len(free), border) == (3, 1)
    assert len(kept) + gated == 4
    assert all(0.85 <= f <= 0.95 for f in boundary_form_factor(kept))


def test_watershed_makes_overlapping_crystals_smaller():
    def draw(mask):
        cv2.circle(mask, (90, 100), 40, 1, -1)
        cv2.circle(mask, (150, 100), 40, 1, -1)

    crops, field = regions(draw)
    open_gate = PUBLISHED.model_copy(update={"form_factor_min": None, "form_factor_max": None})
    cut, _ = post_process(crops, field=field, config=open_gate)
    whole, _ = post_process(crops, field=field, config=open_gate.model_copy(update={"complete_overlaps": True}))
    alone = np.zeros((100, 100), np.uint8)
    cv2.circle(alone, (50, 50), 40, 1, -1)
    true = np.count_nonzero(alone)
    areas = [np.count_nonzero(cut.crop(k)) for k in range(2)]
    assert all(a < 0.96 * true for a in areas)
    assert [np.count_nonzero(whole.crop(k)) for k in range(2)] == pytest.approx([true] * 2, rel=0.02)


def test_published_fit_recovers_a_log_normal_fraction():
    rng = np.random.default_rng(0)
    x = 150 * np.exp(0.15 * rng.standard_normal(20_000))
    # By volume the median of a log-normal moves up by exp(3 sigma²).
    table = classes(make_distribution(x, x**3, definition="ecd", volume_model="ecd^3", unit="um"), width=10)
    x50, sigma = lognormal_of_classes(table)
    assert x50 == pytest.approx(150 * np.exp(3 * 0.15**2), rel=0.02)
    assert sigma == pytest.approx(0.15, rel=0.1)
    held = table[table["n"] > 0]
    fit = 0.5 * (1 + erf(np.log(held["largest"] / x50) / (np.sqrt(2) * sigma)))
    assert np.abs(fit - held["Q3"]).max() < 0.05


def test_published_fit_of_too_few_classes_is_undefined():
    one = np.array([12.0, 13.0])
    table = classes(make_distribution(one, one**3, definition="ecd", volume_model="ecd^3", unit="um"), width=10)
    assert np.isnan(lognormal_of_classes(table)).all()


def test_names_of_class_pictures():
    assert class_stem("a/b.png") == "a/b"
    assert class_stem("stack.tif#page=2") == "stack_page2"
    assert class_stem("frame.01.jpg") == "frame.01"
