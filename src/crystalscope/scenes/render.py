"""A picture of bodies as an instrument sees them, with the truth about every body."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.config import Positive, Share, Table
from crystalscope.core import FieldOfView, Image, Instances
from crystalscope.scenes.bodies import Body, polygon_measures

_FINE = 4
"""Samples per px and direction: outlines are exact to better than a tenth of a px."""


class Instrument(Table):
    """The instrument: field, light, optics, camera.

    Blur is a Gaussian whose standard deviation grows with the distance from the focal plane:
    sqrt(blur_px² + (blur_per_px |z|)²), lengths in px.
    """

    rows: int = 1000
    columns: int = 1112
    pixel_size_um: Positive | None = None
    look: Literal["backlit", "reflected"] = "backlit"
    light: Share = 0.75
    gradient: Share = 0.15
    """Relative difference of illumination across the picture."""
    vignette: Share = 0.1
    flicker: Share = 0.01
    aperture: Share = 0.12
    """Sine of the largest angle at which a bent ray still reaches the camera."""
    index: Positive = 1.15
    """Refractive index of the bodies relative to the liquid."""
    blur_px: Positive = 0.8
    blur_per_px: Positive = 0.03
    shot_noise: Share = 0.012
    read_noise: Share = 0.004
    bits: Literal[8, 16] = 8


@dataclass(frozen=True)
class Placed:
    """A body at x (column), y (row) and distance z from the focal plane, px."""

    body: Body
    x: float
    y: float
    z: float
    kind: str = "crystal"


@dataclass(frozen=True, eq=False)
class Scene:
    """A rendered picture and what is true of it.

    Parameters
    ----------
    image
        As the camera records it.
    instances
        Exact masks of all bodies that reach into the picture, nearest to the camera last; ``visible`` holds
        what nothing covers.
    truth
        One row per instance, lengths in px: particle, kind, in_focus, touches_border, x, y, z, blur, area,
        perimeter, ecd, feret_max, feret_min, length, width, body_length, body_width, body_thickness. Exact, from
        geometry. in_focus: the edge, 2.5 times the blur, is at most 5 px + 0.1 ECD wide.
    """

    image: Image
    instances: Instances
    truth: pd.DataFrame


def render(
    bodies: list[Placed],
    instrument: Instrument,
    *,
    rng: np.random.Generator,
    dust: NDArray[np.float32] | None = None,
    source: str = "",
    time_s: float = math.nan,
) -> Scene:
    """Render bodies.

    Parameters
    ----------
    bodies
        In any order; they are drawn from the far to the near.
    instrument
        Light, optics, camera.
    rng
        Noise and flicker.
    dust
        Transmission of what sticks to the window, (rows, columns), or None.
    source, time_s
        For the picture.
    """
    shape = (instrument.rows, instrument.columns)
    light = (_illumination(instrument) * (1 + instrument.flicker * rng.normal())).astype(np.float32)
    picture = light.astype(np.float32)
    masks, rows = [], []
    for placed in sorted(bodies, key=lambda b: -b.z):
        blur = math.hypot(instrument.blur_px, instrument.blur_per_px * placed.z)
        _draw(picture, light, placed, blur, instrument)
        mask = _mask(placed, shape)
        if mask.any():
            masks.append(mask)
            rows.append(_truth(placed, mask, blur, instrument))
    if dust is not None:
        picture *= dust
    noise = np.sqrt(instrument.shot_noise**2 * np.maximum(picture, 0) + instrument.read_noise**2)
    picture += noise * rng.standard_normal(shape, dtype=np.float32)
    full = 2**instrument.bits - 1
    data = np.clip(np.round(picture * full), 0, full).astype(np.uint8 if instrument.bits == 8 else np.uint16)
    covered = np.zeros(shape, dtype=bool)
    visible = []
    for mask in reversed(masks):
        visible.append(mask & ~covered)
        covered |= mask
    instances = Instances.from_masks(masks, field=FieldOfView(shape), visible=visible[::-1])
    truth = pd.DataFrame(rows, columns=_COLUMNS)
    truth.insert(0, "particle", np.arange(1, len(truth) + 1))
    return Scene(Image(data, instrument.pixel_size_um, time_s, source), instances, truth)


_COLUMNS = [
    "kind", "in_focus", "touches_border", "x", "y", "z", "blur",
    "area", "perimeter", "ecd", "feret_max", "feret_min", "length", "width",
    "body_length", "body_width", "body_thickness",
]  # fmt: skip


def window_dust(instrument: Instrument, *, specks: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Transmission (rows, columns) of specks on the window: sharp, dark, in place from frame to frame."""
    out = np.ones((instrument.rows, instrument.columns), dtype=np.float32)
    for _ in range(specks):
        centre = (int(rng.integers(instrument.columns)), int(rng.integers(instrument.rows)))
        axes = tuple(int(v) for v in rng.integers(3, 9, 2))
        cv2.ellipse(out, centre, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(0.3, 0.7)), -1)
    return np.asarray(cv2.GaussianBlur(out, (0, 0), instrument.blur_px), dtype=np.float32)


def _illumination(instrument: Instrument) -> NDArray[np.float32]:
    v = np.linspace(-1, 1, instrument.rows)[:, None]
    u = np.linspace(-1, 1, instrument.columns)[None, :]
    slope = 1 + instrument.gradient / 2 * (0.8 * u + 0.6 * v)
    return (instrument.light * slope * (1 - instrument.vignette * (u * u + v * v) / 2)).astype(np.float32)


def _window(placed: Placed, margin: float, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    outline = placed.body.outline() + np.array([placed.x, placed.y])
    c0, r0 = np.floor(outline.min(axis=0) - margin).astype(int)
    c1, r1 = np.ceil(outline.max(axis=0) + margin).astype(int)
    return max(int(r0), 0), max(int(c0), 0), min(int(r1), shape[0]), min(int(c1), shape[1])


def _draw(
    picture: NDArray[np.float32],
    light: NDArray[np.float32],
    placed: Placed,
    blur: float,
    instrument: Instrument,
) -> None:
    """Multiply the picture by the blurred transmission of a body, or lay its reflection over it."""
    r0, c0, r1, c1 = _window(placed, 4 * blur + 2, picture.shape)
    if r0 >= r1 or c0 >= c1:
        return
    # Far out of focus nothing fine is left, and a coarser grid does.
    fine = _FINE if blur < 3 else 1
    y = (np.arange((r1 - r0) * fine) + 0.5) / fine + r0 - placed.y
    x = (np.arange((c1 - c0) * fine) + 0.5) / fine + c0 - placed.x
    grid_x, grid_y = np.meshgrid(x, y)
    inside = placed.body.silhouette(grid_x, grid_y)
    if instrument.look == "backlit":
        sine = placed.body.deflection(grid_x, grid_y, instrument.index)
        level = 0.06 + 0.9 / (1 + (sine / instrument.aperture) ** 6)
    else:
        nx, ny, nz = placed.body.facing(grid_x, grid_y)
        level = 0.35 + 1.1 * np.clip(0.35 * nx - 0.3 * ny + 0.85 * nz - 0.3, 0, None) ** 1.5
    layer = np.where(inside, level, 1.0).astype(np.float32)
    layer = cv2.resize(layer, (c1 - c0, r1 - r0), interpolation=cv2.INTER_AREA)
    layer = cv2.GaussianBlur(layer, (0, 0), blur, borderType=cv2.BORDER_REPLICATE)
    if instrument.look == "backlit":
        picture[r0:r1, c0:c1] *= layer
    else:
        cover = cv2.resize(inside.astype(np.float32), (c1 - c0, r1 - r0), interpolation=cv2.INTER_AREA)
        cover = cv2.GaussianBlur(cover, (0, 0), blur, borderType=cv2.BORDER_REPLICATE)
        under = picture[r0:r1, c0:c1]
        under[:] = under * (1 - cover) + light[r0:r1, c0:c1] * (layer - (1 - cover))


def _mask(placed: Placed, shape: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    r0, c0, r1, c1 = _window(placed, 1, shape)
    if r0 < r1 and c0 < c1:
        y = np.arange(r0, r1, dtype=float)[:, None] + 0.5 - placed.y
        x = np.arange(c0, c1, dtype=float)[None, :] + 0.5 - placed.x
        mask[r0:r1, c0:c1] = placed.body.silhouette(x, y)
    return mask


def _truth(placed: Placed, mask: NDArray[np.bool_], blur: float, instrument: Instrument) -> list[object]:
    m = polygon_measures(placed.body.outline())
    border = bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
    in_focus = 2.5 * blur <= 5 + 0.1 * m["ecd"]
    return [
        placed.kind, in_focus, border, placed.x, placed.y, placed.z, blur,
        *(m[k] for k in ("area", "perimeter", "ecd", "feret_max", "feret_min", "length", "width")),
        *placed.body.dimensions(),
    ]  # fmt: skip
