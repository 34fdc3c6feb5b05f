"""Background, field, focus, static objects."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.conftest import picture

from crystalscope.config import PrepareConfig
from crystalscope.core import FieldOfView, Image, Instances
from crystalscope.errors import InputError
from crystalscope.prepare import (
    edge_sharpness,
    find_field,
    flat_field,
    frames_background,
    noise_level,
    prepare,
    rolling_ball,
    sharpness_maps,
    static_mask,
)


def shaded(shape=(240, 320)):
    v, u = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    return (0.7 * (1 + 0.15 * u - 0.1 * v - 0.12 * (u * u + v * v))).astype(np.float32)


def test_flat_field_goes_under_the_particles(rng):
    light = shaded()
    grey = light + 0.005 * rng.standard_normal(light.shape, dtype=np.float32)
    for _ in range(12):
        r, c = rng.integers(20, 220), rng.integers(20, 300)
        cv2.circle(grey, (int(c), int(r)), int(rng.integers(6, 25)), 0.1, -1)
    assert np.abs(flat_field(grey) / light - 1).max() < 0.03


def test_flat_field_of_a_crowd_takes_the_quieter_class(rng):
    grey = np.full((200, 300), 0.1, np.float32) + 0.01 * rng.standard_normal((200, 300), dtype=np.float32)
    for r in range(20, 200, 36):
        for c in range(20, 300, 36):
            cv2.circle(grey, (c, r), 17, float(rng.uniform(0.4, 0.8)), -1)
    assert np.abs(flat_field(grey) - 0.1).max() < 0.05


def test_flat_field_of_tiny_and_constant_pictures():
    assert flat_field(np.full((4, 5), 0.3, np.float32)) == pytest.approx(0.3)
    assert flat_field(np.full((300, 400), 0.3, np.float32)) == pytest.approx(0.3, abs=1e-4)


@pytest.mark.parametrize("dark", [True, False])
def test_rolling_ball(dark):
    light = shaded()
    grey = light.copy()
    cv2.circle(grey, (150, 100), 10, 0.1 if dark else 1.0, -1)
    found = rolling_ball(grey, radius_px=60, dark_particles=dark)
    assert np.abs(found[100, 150] - light[100, 150]) < 0.06
    with pytest.raises(InputError, match="above 0"):
        rolling_ball(grey, radius_px=0, dark_particles=True)


def test_flow_cell_disc_is_found():
    y, x = np.mgrid[:300, :400]
    grey = np.where(np.hypot(y - 140, x - 210) < 120, 0.7, 0.03).astype(np.float32)
    cv2.circle(grey, (210, 25), 14, 0.1, -1)  # a particle at the rim
    row, column, radius = find_field(grey).disc
    assert (row, column) == (pytest.approx(140, abs=1.5), pytest.approx(210, abs=1.5))
    assert radius == pytest.approx(119, abs=2.5)
    assert find_field(grey, mode="picture").disc is None


@pytest.mark.parametrize("what", ["flat", "crystal", "corner"])
def test_no_disc_where_there_is_none(what):
    grey = shaded((300, 400))
    if what == "crystal":
        grey[60:240, 100:300] = 0.05
    if what == "corner":
        grey[:120, :160] = 0.02
    assert find_field(grey).disc is None
    with pytest.raises(InputError, match="found none"):
        find_field(grey, mode="disc")


@pytest.mark.parametrize("method", ["frames_mean", "frames_median", "mog", "mog2", "knn", "gmg"])
def test_backgrounds_of_frames(method, rng):
    light = shaded((120, 160))
    frames = []
    for i in range(16):
        f = light.copy()
        cv2.circle(f, (10 + 9 * i, 60), 8, 0.1, -1)
        frames.append(f + 0.003 * rng.standard_normal(f.shape, dtype=np.float32))
    found = frames_background(frames, method=method)
    # The particle is 0.6 darker; a subtractor that learns leaves a trace of a sixth of it at most.
    assert np.abs(found - light).max() < {"frames_median": 0.02, "frames_mean": 0.12}.get(method, 0.1)
    with pytest.raises(InputError, match="at least 2 frames"):
        frames_background(frames[:1], method=method)


def test_frames_background_follows_the_lamp():
    light = shaded((120, 160))
    grey = (0.8 * light).astype(np.float32)
    p = prepare(Image(grey), grey, config=PrepareConfig(background="frames_mean"), frames=light)
    assert p.background == pytest.approx(grey, abs=1e-3)


def test_static_objects_are_told_from_moving_ones():
    frames = []
    for i in range(12):
        f = picture([(30, 40, 8), (80, 12 + 11 * i, 9)], seed=i).astype(np.float32) / 255
        frames.append(f)
    mask = static_mask(frames, cover=lambda g: g < 0.45, min_share=0.7)
    assert mask[30, 40]
    assert not mask[80].any()


@pytest.mark.parametrize("sigma", [1.5, 3.0, 5.0])
def test_sharpness_is_the_inverse_width_of_the_edge(sigma):
    y, x = np.mgrid[:160, :160]
    disc = ((y - 80) ** 2 + (x - 80) ** 2 < 45**2).astype(np.float32)
    contrast = cv2.GaussianBlur(disc, (0, 0), sigma)
    i = Instances.from_masks([disc > 0], field=FieldOfView((160, 160)))
    sharpness, edge = edge_sharpness(i, *sharpness_maps(contrast, noise=0.0))
    width = 1 / sharpness[0]
    assert width == pytest.approx(2.5066 * sigma * (1 if sigma < 4 else edge[0]), rel=0.15)
    half = edge_sharpness(i, *sharpness_maps(0.5 * contrast, noise=0.0))
    assert half[0][0] == pytest.approx(sharpness[0], rel=0.02)


def test_noise_level_is_blind_to_shading(rng):
    grey = shaded() + 0.01 * rng.standard_normal((240, 320), dtype=np.float32)
    assert noise_level(grey) == pytest.approx(0.01, rel=0.08)
