"""What sticks to the window: dust and deposits that stay from frame to frame, and grow."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.config import NonNegative, Table
from crystalscope.scenes.optics import Instrument


class Window(Table):
    """Dust and fouling of the window.

    Deposits grow: with `growth` 0.01 their radius is 1 % larger each frame, and `spread` new ones settle per frame.
    """

    dust: NonNegative = 0.0
    """Specks, expected number: small, sharp, dark."""
    deposits: NonNegative = 0.0
    """Crusts, expected number at the first frame."""
    deposit_px: NonNegative = 25.0
    growth: NonNegative = 0.0
    spread: NonNegative = 0.0
    softness_px: NonNegative = 1.2
    """Blur of what sits on the window: it lies before or behind the focal plane."""


def window_layer(
    window: Window, instrument: Instrument, *, frame: int, fixed: np.random.Generator
) -> tuple[NDArray[np.float32], float]:
    """Transmission of the window at a frame, and the share of it that deposits cover.

    Parameters
    ----------
    window, instrument
        What sticks where.
    frame
        Number of the frame; deposits grow with it.
    fixed
        Of the same state for every frame of a set, so that everything stays in its place.

    Returns
    -------
    (rows, columns), 1 where the window is clean; share of pixels darkened by deposits by more than 10 %.
    """
    shape = (instrument.rows, instrument.columns)
    specks = np.ones(shape, dtype=np.float32)
    for _ in range(fixed.poisson(window.dust)):
        centre = (fixed.uniform(0, shape[1]), fixed.uniform(0, shape[0]))
        _blob(specks, centre, fixed.uniform(1.2, 5.0), fixed.uniform(0.25, 0.75), fixed)
    crust = np.ones(shape, dtype=np.float32)
    first = int(fixed.poisson(window.deposits))
    # Later deposits come in a fixed order, so that those of an earlier frame are all there at a later one.
    last = first + int(window.spread * frame)
    for k in range(last):
        born = 0.0 if k < first else (k - first + 1) / window.spread
        size = window.deposit_px * fixed.lognormal(0, 0.5) * (1 + window.growth * (frame - born))
        centre = (fixed.uniform(0, shape[1]), fixed.uniform(0, shape[0]))
        seed = np.random.default_rng(int(fixed.integers(2**62)))
        for _ in range(14):
            at = centre + seed.normal(size=2) * size * 0.5
            _blob(crust, (float(at[0]), float(at[1])), size * seed.uniform(0.1, 0.35), seed.uniform(0.5, 0.9), seed)
    covered = float((crust < 0.9).mean())
    layer = np.maximum(specks * crust, 0.05)
    if window.softness_px:
        layer = cv2.GaussianBlur(layer, (0, 0), window.softness_px)
    return layer.astype(np.float32), covered


def _blob(
    layer: NDArray[np.float32], centre: tuple[float, float], radius: float, level: float, rng: np.random.Generator
) -> None:
    """Multiply by an irregular spot."""
    t = np.linspace(0, 2 * math.pi, 14, endpoint=False)
    r = radius * (1 + 0.25 * rng.normal(size=14)).clip(0.4, 1.8)
    points = np.stack([centre[0] + r * np.cos(t), centre[1] + r * np.sin(t)], axis=1)
    r0, c0 = (np.floor(points.min(axis=0)[::-1]) - 1).astype(int)
    r1, c1 = (np.ceil(points.max(axis=0)[::-1]) + 2).astype(int)
    r0, c0, r1, c1 = max(r0, 0), max(c0, 0), min(r1, layer.shape[0]), min(c1, layer.shape[1])
    if r0 >= r1 or c0 >= c1:
        return
    spot = np.zeros((r1 - r0, c1 - c0), dtype=np.uint8)
    cv2.fillPoly(spot, [np.round((points - [c0, r0]) * 16).astype(np.int32)], 1, shift=4)
    layer[r0:r1, c0:c1][spot > 0] *= level
