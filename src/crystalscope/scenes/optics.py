"""The instrument: lamp, lights beside the camera, lens, window, camera."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from crystalscope.config import NonNegative, Positive, Share, Table

Look = Literal["backlit", "reflected", "flow-cell", "polars"]
Picture = NDArray[np.float32]

_WAVELENGTHS_UM = (0.62, 0.54, 0.46)
"""Of red, green and blue, for the colours between crossed polars."""


class Instrument(Table):
    """Field, light, lens and camera of an instrument; grey levels are shares of white.

    Looks: ``backlit``, transmitted light, bright field; ``flow-cell``, the same within a bright disc on black;
    ``reflected``, lights beside the camera, dark to mid grey ground; ``polars``, between crossed polars.
    The standard deviation of the blur is sqrt(blur_px² + (blur_per_px |depth|)²), lengths in px.
    """

    look: Look = "backlit"
    rows: Annotated[int, Field(ge=32, le=8192)] = 1000
    columns: Annotated[int, Field(ge=32, le=8192)] = 1112
    pixel_size_um: Positive | None = None
    light: Share = 0.75
    """Level of the empty ground in the middle of the picture."""
    gradient: NonNegative = 0.15
    """Relative difference of illumination across the picture."""
    gradient_deg: float = 37.0
    """Direction in which it grows brighter, from the rows to the right, clockwise."""
    vignette: NonNegative = 0.1
    """Relative loss of light in the corners."""
    unevenness: NonNegative = 0.0
    """Relative standard deviation of broad blotches of the illumination."""
    flicker: NonNegative = 0.01
    """Relative standard deviation of the lamp from frame to frame."""
    drift: float = 0.0
    """Relative change of the lamp per 100 frames."""
    aperture: Positive = 0.12
    """Sine of the angle at which a bent ray keeps half the lamp's light: small, and facets turn black."""
    lamp_tilt: Share = 0.1
    """Angle of the lamp off the axis relative to the aperture: facets of one side turn grey."""
    lamp_deg: float = 200.0
    veil: Share = 0.05
    """Light of the lamp that comes from everywhere: level of black facets."""
    lights: Annotated[int, Field(ge=1, le=24)] = 6
    """Lamps around the camera (reflected)."""
    lights_elevation_deg: Annotated[float, Field(gt=0, le=90)] = 60.0
    lights_sharpness: Positive = 30.0
    """Of their lobes: 5 is a broad ring light, 200 a point."""
    exposure: Positive = 60.0
    """Gain on reflected light; a face reflects but about 0.5 % of it."""
    ambient: NonNegative = 0.15
    """Light from everywhere beside the camera, relative to the lamps."""
    leak: Share = 0.02
    """What crossed polars let through."""
    blur_px: Positive = 0.8
    blur_per_px: NonNegative = 0.03
    psf: Literal["gaussian", "disc", "ring"] = "disc"
    """Shape of the blur far from focus: soft, a disc, or a disc with a bright rim."""
    halo: NonNegative = 0.0
    """Height of the bright fringe around sharp edges (diffraction, sharpening of the lens)."""
    motion_px: NonNegative = 0.0
    """Way of the bodies during the exposure."""
    motion_deg: float = 0.0
    speckle: NonNegative = 0.0
    """Contrast of laser or ground-glass speckle."""
    speckle_px: Positive = 1.5
    texture: NonNegative = 0.0
    """Contrast of the structure that a suspension far out of focus leaves on the ground."""
    shot_noise: NonNegative = 0.012
    """Relative noise at white; grows with the root of the light."""
    read_noise: NonNegative = 0.004
    grain_px: NonNegative = 0.0
    """Blur that correlates the noise (demosaicing, denoising)."""
    sharpen: NonNegative = 0.0
    """Sharpening by the camera."""
    gamma: Positive = 1.0
    black: Share = 0.0
    """Level of no light."""
    tint: NonNegative = 0.0
    """Cast of a colour camera; 0: one channel."""
    bits: Literal[8, 12, 16] = 8
    jpeg: Annotated[int, Field(ge=0, le=100)] = 0
    """Quality; 0: not compressed."""
    disc: Share = 0.45
    """Radius of the bright disc of a flow cell relative to the shorter side."""

    @property
    def lit_from_behind(self) -> bool:
        """Whether the lamp stands behind the sample."""
        return self.look in ("backlit", "flow-cell")

    @property
    def colour(self) -> bool:
        """Whether pictures have three channels."""
        return self.look == "polars" or self.tint > 0

    def blur(self, depth: float, *, softness: float = 0.0) -> float:
        """Standard deviation of the blur at a distance from the focal plane, motion included, px."""
        return math.sqrt(self.blur_px**2 + (self.blur_per_px * depth) ** 2 + self.motion_px**2 / 12 + softness**2)

    def focus_depth(self, ecd: float) -> float:
        """Largest distance from the focal plane at which a body of an ECD counts as in focus, px; 0: none."""
        widest = (5 + 0.1 * ecd) / 2.5
        left = widest**2 - self.blur(0.0) ** 2
        return math.sqrt(left) / max(self.blur_per_px, 1e-9) if left > 0 else 0.0

    def disc_px(self) -> tuple[float, float, float] | None:
        """(row, column, radius) of the lit disc of a flow cell, px; None: the whole picture is lit."""
        if self.look != "flow-cell":
            return None
        radius = min(self.disc, 0.5) * min(self.rows, self.columns)
        return (self.rows / 2, self.columns / 2, radius)

    def lamp(self) -> NDArray[np.float64]:
        """The lamp as `trace` takes it."""
        tilt = self.lamp_tilt * self.aperture
        a = math.radians(self.lamp_deg)
        straight = 1 / (1 + self.lamp_tilt**6) + self.veil
        return np.array([self.aperture, tilt * math.cos(a), tilt * math.sin(a), self.veil, straight])

    def front_lights(self) -> tuple[NDArray[np.float64], float]:
        """Lights beside the camera and the light from everywhere, as `trace` takes them."""
        if self.lit_from_behind:
            return np.zeros((0, 5)), 0.0
        up = math.radians(self.lights_elevation_deg)
        angles = math.radians(self.lamp_deg) + np.arange(self.lights) * 2 * math.pi / self.lights
        power = self.exposure / math.sqrt(self.lights)
        rows = [
            [math.cos(a) * math.cos(up), math.sin(a) * math.cos(up), math.sin(up), self.lights_sharpness, power]
            for a in angles
        ]
        return np.array(rows), self.ambient * self.exposure / 100


def illumination(
    instrument: Instrument, *, frame: int, rng: np.random.Generator, fixed: np.random.Generator
) -> Picture:
    """Light on the ground without bodies, (rows, columns).

    Parameters
    ----------
    instrument
        Gradient, vignette, blotches, drift and flicker; speckle and texture.
    frame
        Number of the frame, for the drift.
    rng
        What changes from frame to frame.
    fixed
        What stays: blotches and speckle of the ground glass.
    """
    rows, columns = instrument.rows, instrument.columns
    v = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    u = np.linspace(-1, 1, columns, dtype=np.float32)[None, :]
    a = math.radians(instrument.gradient_deg)
    out = 1 + instrument.gradient / 2 * (math.cos(a) * u + math.sin(a) * v)
    off = fixed.uniform(-0.2, 0.2, 2) if instrument.unevenness else (0.0, 0.0)
    out = out * (1 - instrument.vignette * ((u - off[0]) ** 2 + (v - off[1]) ** 2) / 2)
    if instrument.unevenness:
        out = out * (1 + instrument.unevenness * _blotches((rows, columns), 5, fixed))
    if instrument.texture:
        scales = [_blotches((rows, columns), across, rng) / across**0.5 for across in (6, 14, 30, 60)]
        out = out * (1 + instrument.texture * np.sum(scales, axis=0) * 1.8)
    if instrument.speckle:
        out = out * _speckle((rows, columns), instrument, fixed)
    lamp = 1 + instrument.drift * frame / 100 + instrument.flicker * rng.normal()
    return (instrument.light * max(lamp, 0.05) * np.maximum(out, 0.02)).astype(np.float32)


def _blotches(shape: tuple[int, int], across: int, rng: np.random.Generator) -> Picture:
    """Smooth noise of standard deviation 1 with about `across` waves along the longer side."""
    step = max(shape) / across
    small = (max(3, round(shape[0] / step) + 2), max(3, round(shape[1] / step) + 2))
    noise = rng.standard_normal(small, dtype=np.float32)
    smooth = cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth / max(float(smooth.std()), 1e-6), dtype=np.float32)


def _speckle(shape: tuple[int, int], instrument: Instrument, rng: np.random.Generator) -> Picture:
    """Speckle of a mean of 1: a sum of squared Gaussian fields, as intensity is."""
    total = np.zeros(shape, dtype=np.float32)
    # The contrast of n fields added is 1 / sqrt(n / 2).
    n = int(np.clip(round(2 / instrument.speckle**2), 2, 12))
    for _ in range(n):
        field = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), instrument.speckle_px)
        total += (field / field.std()) ** 2
    wanted = instrument.speckle / math.sqrt(2 / n)
    return np.maximum(1 + wanted * (total / n - 1), 0.05).astype(np.float32)


def convolve(layer: Picture, sigma: float, psf: str) -> Picture:
    """Blur a layer (rows, columns[, 3]) by the point spread function; edges are continued."""
    if sigma < 0.2:
        return layer
    if psf == "gaussian" or sigma < 1.2:
        return np.asarray(cv2.GaussianBlur(layer, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)
    kernel = _kernel(round(sigma * 4) / 4, psf)
    return np.asarray(cv2.filter2D(layer, -1, kernel, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)


@lru_cache(maxsize=256)
def _kernel(sigma: float, psf: str) -> Picture:
    """A disc of standard deviation `sigma` per axis, its rim softened by 0.5 px; ``ring`` is brighter at the rim."""
    radius = 2 * sigma if psf == "disc" else 1.75 * sigma
    half = math.ceil(radius + 1.5)
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    r = np.hypot(x, y)
    kernel = np.clip(radius + 0.5 - r, 0, 1)
    if psf == "ring":
        kernel *= 0.35 + (r / radius) ** 4
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def smear_along(layer: Picture, length: float, degrees: float) -> Picture:
    """Motion blur: the mean along a line of `length` px."""
    half = math.ceil(length / 2) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), dtype=np.float32)
    a = math.radians(degrees)
    for t in np.linspace(-length / 2, length / 2, 8 * half):
        x, y = half + t * math.cos(a), half + t * math.sin(a)
        j, i = int(x), int(y)
        fx, fy = x - j, y - i
        for di, wy in ((0, 1 - fy), (1, fy)):
            for dj, wx in ((0, 1 - fx), (1, fx)):
                kernel[min(i + di, 2 * half), min(j + dj, 2 * half)] += wy * wx
    return np.asarray(cv2.filter2D(layer, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE), dtype=np.float32)


def interference(way_um: Picture, orientation: Picture) -> Picture:
    """Colours between crossed polars: sin²(2 phi) sin²(pi way / wavelength) for red, green and blue.

    Parameters
    ----------
    way_um
        (rows, columns) way difference.
    orientation
        (rows, columns) angle of the optic axis to the polariser, rad.

    Returns
    -------
    (rows, columns, 3), 0 to 1. Source: Michel-Levy's chart; dispersion of birefringence is neglected.
    """
    share = np.sin(2 * orientation) ** 2
    colours = [share * np.sin(math.pi * way_um / w) ** 2 for w in _WAVELENGTHS_UM]
    return np.stack(colours, axis=-1).astype(np.float32)


def record(picture: Picture, instrument: Instrument, *, rng: np.random.Generator) -> tuple[NDArray[Any], bytes | None]:
    """What the camera makes of the light: noise, levels, bits, JPEG.

    Parameters
    ----------
    picture
        (rows, columns) or (rows, columns, 3), shares of white.
    instrument
        Camera.
    rng
        Noise.

    Returns
    -------
    The picture as read from the file, and the bytes of the file where it is compressed.
    """
    out = picture
    noise = rng.standard_normal(out.shape, dtype=np.float32)
    if instrument.grain_px:
        noise = cv2.GaussianBlur(noise, (0, 0), instrument.grain_px)
        noise /= max(float(noise.std()), 1e-6)
    noise *= np.sqrt(instrument.shot_noise**2 * np.maximum(out, 0) + instrument.read_noise**2)
    out = out + noise
    if instrument.sharpen:
        out += instrument.sharpen * (out - cv2.GaussianBlur(out, (0, 0), 1.2))
    if instrument.gamma != 1:
        out = np.clip(out, 0, None) ** np.float32(instrument.gamma)
    out = instrument.black + (1 - instrument.black) * out
    full = 2**instrument.bits - 1
    dtype = np.uint8 if instrument.bits == 8 else np.uint16
    data = np.clip(np.round(out * full), 0, full).astype(dtype)
    if not instrument.jpeg or instrument.bits != 8:
        return data, None
    bgr = data if data.ndim == 2 else cv2.cvtColor(data, cv2.COLOR_RGB2BGR)
    raw = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, instrument.jpeg])[1]
    back: Any = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)
    return (back if back.ndim == 2 else cv2.cvtColor(back, cv2.COLOR_BGR2RGB)), raw.tobytes()


def tinted(picture: Picture, instrument: Instrument, *, fixed: np.random.Generator) -> Picture:
    """A colour camera's view of grey light: a cast, and the colours a little apart towards the corners."""
    cast = 1 + instrument.tint * fixed.uniform(-1, 1, 3)
    dark = instrument.tint * fixed.uniform(0, 0.15, 3)
    shift = fixed.uniform(-1, 1) * min(1.0, 8 * instrument.tint) / max(picture.shape)
    out = []
    rows, columns = picture.shape
    for channel, zoom in enumerate((1 - shift, 1.0, 1 + shift)):
        m = np.array([[zoom, 0, (1 - zoom) * columns / 2], [0, zoom, (1 - zoom) * rows / 2]])
        moved = picture
        if zoom != 1.0:
            moved = cv2.warpAffine(picture, m, (columns, rows), borderMode=cv2.BORDER_REPLICATE)
        out.append(moved * cast[channel] / cast.mean() + dark[channel] * (1 - moved))
    return np.stack(out, axis=-1).astype(np.float32)
