"""Rendered pictures: seeded, exact, and as a microscope would show them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crystalscope.core import FieldOfView
from crystalscope.scenes import Instrument, Placed, backlit_crystals, beads, demo_frames, needles, render, write_frames
from crystalscope.scenes.bodies import Sphere, block, needle, polygon_measures

QUIET = {"gradient": 0, "vignette": 0, "flicker": 0, "shot_noise": 0, "read_noise": 0, "rows": 200, "columns": 220}


def test_same_seed_same_bytes_other_seed_other_bytes():
    a, b, c = (next(iter(beads(300, frames=1, rng=s))).image.data for s in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_sphere_at_half_contrast_has_its_ecd():
    for radius in (10.3, 21.7, 40.0):
        scene = render([Placed(Sphere(radius), 108.3, 99.6, 0)], Instrument(**QUIET), rng=np.random.default_rng(0))
        data = np.asarray(scene.image.data, dtype=float)
        light = data[0, 0]
        dark = data < light * (1 + 0.06) / 2
        y, x = np.mgrid[:200, :220]
        rim = dark | (np.hypot(y + 0.5 - 99.6, x + 0.5 - 108.3) < 0.8 * radius)  # the clear centre
        assert 2 * math.sqrt(rim.sum() / math.pi) == pytest.approx(2 * radius, rel=0.006)


def test_truth_agrees_with_the_masks():
    for scene in backlit_crystals(frames=2, rng=3):
        whole = ~scene.truth["touches_border"].to_numpy()
        areas = np.array([scene.instances.crop(i).sum() for i in range(len(scene.instances))])
        big = scene.truth["ecd"].to_numpy() > 15
        np.testing.assert_allclose(areas[whole & big], scene.truth["area"][whole & big], rtol=0.03)
        for i in range(len(scene.instances)):
            assert not (scene.instances.visible_crop(i) & ~scene.instances.crop(i)).any()


def test_geometry_of_bodies(rng):
    m = polygon_measures(np.array([[0, 0], [30, 0], [30, 10], [0, 10]], dtype=float))
    assert (m["area"], m["perimeter"], m["length"], m["width"]) == pytest.approx((300, 80, 30, 10))
    assert m["feret_max"] == pytest.approx(math.hypot(30, 10), rel=1e-4)
    n = polygon_measures(needle(100, 8, tilt=0.0, rng=rng).outline())
    assert n["length"] == pytest.approx(100, rel=0.01)
    for _ in range(5):
        b = block(30, 20, 10, cut=0.5, rng=rng)
        assert (b.normals @ b.vertices.T <= b.offsets[:, None] + 1e-6).all()
        assert polygon_measures(b.outline())["feret_max"] <= math.sqrt(30**2 + 20**2 + 10**2)


def test_flat_faces_are_clear_and_sloping_ones_dark():
    body = Sphere(30)
    scene = render([Placed(body, 110, 100, 0)], Instrument(**QUIET), rng=np.random.default_rng(0))
    data = np.asarray(scene.image.data, dtype=float) / float(scene.image.data[0, 0])
    assert data[100, 110] > 0.9
    assert data[100, 110 + 26] < 0.15


def test_ghosts_are_not_in_focus_and_the_population_is_met():
    optics = Instrument(pixel_size_um=5.0, blur_px=1.0)
    truth = [s.truth for s in beads(300, frames=6, loading="mid", instrument=optics, rng=5)]
    ghosts = np.concatenate([t.loc[t["z"].abs() > 200, "in_focus"] for t in truth])
    sharp = np.concatenate([t.loc[t["z"].abs() < 30, "in_focus"] for t in truth])
    assert not ghosts.any()
    assert sharp.all()
    sizes = np.concatenate([5 * t["ecd"] for t in truth])
    assert sizes.mean() == pytest.approx(300, rel=0.01)


def test_sixteen_bit_reflected_and_needles():
    scene = render(
        [Placed(Sphere(20), 110, 100, 0)],
        Instrument(bits=16, look="reflected", light=0.4, **QUIET),
        rng=np.random.default_rng(0),
    )
    assert scene.image.data.dtype == np.uint16
    assert scene.instances.field == FieldOfView((200, 220))
    truth = next(iter(needles(frames=1, rng=1))).truth
    assert (truth["body_length"] / truth["body_width"]).median() == pytest.approx(12)


def test_demo_and_its_files(tmp_path):
    scenes, log = demo_frames(frames=9)
    truth = write_frames(scenes, tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 9
    assert log["temperature_c"].iloc[[0, -1]].tolist() == [45, 43]
    assert (truth["file"] >= "frame_000").all()
