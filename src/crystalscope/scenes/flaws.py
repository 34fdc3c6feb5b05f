"""Cracks and inclusions inside a crystal, as they show in its projection."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.scenes.bodies import Body

Layer = NDArray[np.float32]


def draw_flaws(
    passed: Layer,
    thrown: Layer,
    body: Body,
    *,
    origin: tuple[float, float],
    scale: float,
    rng: np.random.Generator,
) -> None:
    """Darken transmitted light at cracks and inclusions and let them throw light back, in place.

    Parameters
    ----------
    passed, thrown
        (rows, columns) of the body's grid.
    body
        ``material.flaws`` is the mean number.
    origin
        x, y of the body's centre on the grid.
    scale
        Samples of the grid per px.
    rng
        Where they are.
    """
    x0, y0, x1, y1 = body.outline.bounds
    size = scale * min(x1 - x0, y1 - y0)
    if size < 8:
        return
    mask = np.zeros(passed.shape, dtype=np.float32)
    for _ in range(max(1, int(rng.poisson(body.material.flaws)))):
        at = np.array(origin) + scale * np.array([rng.uniform(x0, x1), rng.uniform(y0, y1)]) * 0.6
        at += scale * 0.2 * np.array([x0 + x1, y0 + y1])
        if rng.random() < 0.55:
            _crack(mask, at, size * rng.uniform(0.1, 0.5), rng.uniform(0, 2 * math.pi), rng, depth=0)
        else:
            _inclusion(mask, at, size * rng.uniform(0.01, 0.06), rng)
    mask = cv2.GaussianBlur(mask, (0, 0), max(0.5, 0.006 * size))
    passed *= 1 - mask
    thrown += 0.25 * mask * float(np.median(thrown[thrown > 0])) if (thrown > 0).any() else 0.0


def _crack(
    mask: Layer, at: NDArray[np.float64], length: float, angle: float, rng: np.random.Generator, *, depth: int
) -> None:
    """A wandering line with side branches."""
    points = [at]
    n = int(rng.integers(4, 9))
    for _ in range(n):
        angle += rng.normal() * 0.25
        points.append(points[-1] + length / n * np.array([math.cos(angle), math.sin(angle)]))
        if depth < 2 and rng.random() < 0.35:
            _crack(
                mask,
                points[-1],
                length * rng.uniform(0.25, 0.6),
                angle + rng.choice([-1, 1]) * 0.9,
                rng,
                depth=depth + 1,
            )
    line = np.zeros_like(mask)
    thick = max(1, round(length * 0.02))
    cv2.polylines(line, [np.round(np.array(points) * 16).astype(np.int32)], False, 1.0, thick, cv2.LINE_AA, 4)
    np.maximum(mask, line * np.float32(rng.uniform(0.3, 0.9)), out=mask)


def _inclusion(mask: Layer, at: NDArray[np.float64], radius: float, rng: np.random.Generator) -> None:
    """A small cavity: a dark ring with a lighter middle."""
    spot = np.zeros_like(mask)
    centre = (round(float(at[0]) * 16), round(float(at[1]) * 16))
    cv2.circle(spot, centre, round(max(radius, 0.8) * 16), 1.0, -1, cv2.LINE_AA, 4)
    if radius > 2.5:
        cv2.circle(spot, centre, round(radius * 0.35 * 16), 0.25, -1, cv2.LINE_AA, 4)
    np.maximum(mask, spot * np.float32(rng.uniform(0.4, 0.95)), out=mask)
