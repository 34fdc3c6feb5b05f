"""Shapes of known truth, invariances, and other implementations."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from bench.shape_bias import measure_shapes
from faster_coco_eval.core import mask as coco_mask
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops

from crystalscope.core import FieldOfView, Image, Instances
from crystalscope.errors import InputError
from crystalscope.measure import has_holes, measure_columns, measure_particles, outlines, shape


def blobs(rng, shape=(60, 70), sigma=4.0):
    m = cv2.GaussianBlur(rng.random(shape).astype(np.float32), (0, 0), sigma)
    n, labels = cv2.connectedComponents((m > np.median(m)).astype(np.uint8), connectivity=8)
    return [labels == i for i in range(1, n)]


def of(masks, **kwargs):
    i = Instances.from_masks(masks, field=FieldOfView(masks[0].shape))
    return measure_columns(i, np.full(masks[0].shape, 7, np.uint8), **kwargs)


@pytest.mark.parametrize("size", [30, 50])
def test_bias_within_one_percent_above_20_px(size):
    table = measure_shapes(sizes=[size], repeats=20, rng=1)
    overall = table.groupby("measure")["bias"].mean()
    for measure in ("area", "ecd", "feret_max", "feret_min", "length", "width", "perimeter"):
        assert abs(overall[measure]) < 0.01, f"{measure}: {overall[measure]:+.2%}"


def test_axis_parallel_rectangle():
    m = np.zeros((80, 120), bool)
    m[20:60, 30:100] = True
    c = of([m])
    assert c["area"][0] == 2800
    assert c["feret_min"][0] == pytest.approx(40, abs=0.2)
    assert c["rect_length"][0] == pytest.approx(70, abs=0.3)
    # Four-direction Crofton is 6 % low here.
    assert c["perimeter"][0] == pytest.approx(220, rel=0.015)
    assert (c["x"][0], c["y"][0]) == (65, 40)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.booleans())
def test_turning_and_mirroring_change_nothing(seed, turns, mirror):
    masks = blobs(np.random.default_rng(seed))
    turned = [np.ascontiguousarray(np.rot90(m[:, ::-1] if mirror else m, turns)) for m in masks]
    a, b = of(masks), of(turned)
    for name in ("area", "perimeter", "feret_max", "feret_min", "solidity"):
        np.testing.assert_allclose(a[name], b[name], rtol=1e-9)


def test_scaling_by_whole_numbers(rng):
    masks = [m for m in blobs(rng, sigma=6) if m.sum() > 300]
    a, b = of(masks), of([np.kron(m, np.ones((3, 3), bool)) for m in masks])
    np.testing.assert_allclose(b["area"], 9 * a["area"])
    np.testing.assert_allclose(b["feret_max"], 3 * a["feret_max"], rtol=0.03)


def test_order_does_not_matter(rng):
    masks = blobs(rng)
    a, b = of(masks), of(masks[::-1])
    np.testing.assert_array_equal(a["perimeter"], b["perimeter"][::-1])


def test_against_regionprops(rng):
    masks = [m for m in blobs(rng, shape=(150, 150), sigma=5) if m.sum() > 60]
    c = of(masks)
    for i, m in enumerate(masks):
        p = regionprops(m.astype(np.uint8))[0]
        assert c["area"][i] == p.area
        assert (c["y"][i] - 0.5, c["x"][i] - 0.5) == pytest.approx(p.centroid)
        assert c["feret_max"][i] == pytest.approx(p.feret_diameter_max, abs=1.0)
        box = cv2.minAreaRect(np.argwhere(m).astype(np.float32))[1]
        assert c["rect_length"][i] == pytest.approx(max(box) + 0.7, abs=1.5)


@pytest.mark.parametrize(("length", "width", "radius"), [(100, 8, None), (60, 5, None), (150, 10, 80), (120, 6, 60)])
def test_needles_along_their_path(length, width, radius, rng):
    found = []
    for _ in range(12):
        if radius is None:
            p = np.array([[-length, -width], [length, -width], [length, width], [-length, width]]) / 2
        else:
            t = np.linspace(-length / radius / 2, length / radius / 2, 100)
            ring = np.stack([np.cos(t), np.sin(t)], axis=1)
            p = np.concatenate([(radius + width / 2) * ring, (radius - width / 2) * ring[::-1]]) - [radius, 0]
        a = rng.uniform(0, math.pi)
        p = p @ np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]) + 120 + rng.uniform(-0.5, 0.5, 2)
        fine = np.zeros((240 * 8, 240 * 8), np.uint8)
        cv2.fillPoly(fine, [np.round((p * 8 - 0.5) * 256).astype(np.int32)], 1, shift=8)
        found.append(of([cv2.resize(fine.astype(np.float32), (240, 240), interpolation=cv2.INTER_AREA) > 0.5]))
    assert np.mean([c["length"][0] for c in found]) == pytest.approx(length, rel=0.015)
    assert np.mean([c["width"][0] for c in found]) == pytest.approx(width, rel=0.03)


def test_outlines_give_back_the_masks(rng):
    for _ in range(10):
        masks = blobs(rng, shape=(40, 50), sigma=2)
        i = Instances.from_masks(masks, field=FieldOfView((40, 50)))
        holes = has_holes(i)
        for k, polygons in enumerate(outlines(i)):
            if holes[k]:
                continue
            flat = [p.astype(float).ravel().tolist() for p in polygons]
            rle = coco_mask.merge(coco_mask.frPyObjects(flat, 40, 50))
            assert np.array_equal(coco_mask.decode(rle).astype(bool), masks[k])


def test_holes_and_diagonal_pixels():
    m = np.zeros((10, 10), bool)
    m[2:8, 2:8] = True
    m[4, 4] = False
    assert has_holes(Instances.from_masks([m], field=FieldOfView((10, 10)))).tolist() == [True]
    d = np.zeros((6, 6), bool)
    d[1, 1] = d[2, 2] = d[3, 1] = True
    i = Instances.from_masks([d], field=FieldOfView((6, 6)))
    assert of([d])["area"][0] == 3
    assert len(outlines(i)[0]) == 1


def test_border_and_its_weight():
    m = np.zeros((100, 200), bool)
    m[10:30, 50:90] = True
    cut = np.zeros_like(m)
    cut[0:5, 5:9] = True
    c = of([m, cut])
    assert c["touches_border"].tolist() == [False, True]
    # 20 x 40 px fit untouched at (100 - 2 - 20 + 1) x (200 - 2 - 40 + 1) positions.
    assert c["border_weight"][0] == pytest.approx(100 * 200 / (79 * 159))
    assert np.isnan(c["border_weight"][1])


def test_weight_in_a_disc_is_the_eroded_disc():
    y, x = np.mgrid[:500, :500]
    m = (y - 250) ** 2 + (x - 250) ** 2 < 30**2
    field = FieldOfView((500, 500), (250.0, 250.0, 200.0))
    c = measure_columns(Instances.from_masks([m], field=field), np.zeros((500, 500), np.uint8))
    assert c["border_weight"][0] == pytest.approx((200 / (199 - 30)) ** 2, rel=0.01)


def test_shape_formulas():
    side = np.array([10.0])
    area, p = side**2, 4 * side
    assert shape.form_factor(area, p)[0] == pytest.approx(math.pi / 4)  # fails the published gate of 0.85
    assert shape.circularity(area, p)[0] == pytest.approx(math.sqrt(math.pi / 4))
    assert shape.elongation(np.array([30.0]), np.array([34.0]))[0] == pytest.approx(2 / 15)
    assert shape.elongation(np.array([math.pi]), np.array([2 * math.pi]))[0] == pytest.approx(1)
    assert shape.compactness(area, side * math.sqrt(2))[0] == pytest.approx(math.sqrt(2 / math.pi))
    assert np.isnan(shape.form_factor(np.array([1.0]), np.array([0.0])))[0]
    assert shape.length_to_width(np.array([3.0]), np.array([2.0]))[0] == 1.5


def test_table_and_empty_picture():
    image = Image(np.full((20, 30), 9, np.uint8), pixel_size_um=2.0, source="a.png")
    empty = measure_particles(Instances.empty(FieldOfView((20, 30))), image)
    assert len(empty.particles) == 0
    assert empty.frames["status"].tolist() == ["empty"]
    m = np.zeros((20, 30), bool)
    m[5:10, 5:10] = True
    table = measure_particles(Instances.from_masks([m], field=FieldOfView((20, 30))), image)
    assert table.column("area").tolist() == [100.0]
    assert table.column("mean_grey").tolist() == [9.0]
    with pytest.raises(InputError, match="of shape"):
        measure_columns(Instances.empty(FieldOfView((20, 30))), np.zeros((5, 5), np.uint8))
