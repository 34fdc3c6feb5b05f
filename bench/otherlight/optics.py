"""Light: the lamp, what a body does to it in four looks, the lens, and the camera.

Every body is shaded on a fine grid as two pictures: the light that goes straight through it, which carries what lies
behind, and the light that it sends to the camera itself (bent, reflected, scattered or retarded). Both are averaged to
pixels and blurred by the lens at the depth of the body.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.otherlight.bodies import Material
from bench.otherlight.relief import Relief

Array = NDArray[np.float32]

LOOKS = ("backlit", "probe", "flow", "polars")


@dataclass(frozen=True, eq=False)
class Instrument:
    """A microscope and its camera; angles in rad, lengths in px.

    Parameters
    ----------
    look
        One of `LOOKS`.
    shape
        (rows, columns).
    pixel_size_um
        um per px or None.
    disc
        (row, column, radius) of the lit field, or None.
    level
        Grey of the empty field, 0 to 1 of full scale; of the haze for probes and polars.
    source
        Angle up to which the lamp shines (transmitted light).
    offset
        Direction from which it comes (x, y).
    floor
        Light that reaches the camera from facets that bend it away.
    halo
        Strength of the bright line round sharp bodies.
    lights
        (k, 4) of reflected light: direction x, y, z (unit) and weight.
    gloss
        Roughness of reflecting facets, 0.05 to 0.4.
    clear
        Share of light from behind that a reflecting body lets through.
    speckle, grain
        Contrast and size of laser speckle.
    polariser
        Angle of the crossed polarisers.
    tint
        Weights of red, green and blue; None: a grey camera.
    core
        Standard deviation of the blur in focus.
    blur_per_depth
        Further blur per px of distance from the focal plane.
    blades, rim
        Corners of the aperture (0: round), and how much brighter its rim is.
    gain
        Largest factor by which the camera brightens dark pictures (not in transmitted light).
    motion
        Length, px, over which bodies move along x while the shutter is open.
    gradient
        Six coefficients of the lamp's field: x, y, xx, xy, yy, rrrr.
    bands
        Amplitude of stripes across the field.
    uneven
        Seed of the stripes and of the unevenness of the lamp, which stay from picture to picture.
    well, read
        Electrons at full scale, and noise of reading, electrons.
    gamma
        Exponent of the camera.
    bits
        8 or 16.
    quality
        Of JPEG; 0: lossless.
    """

    look: str
    shape: tuple[int, int]
    pixel_size_um: float | None = None
    disc: tuple[float, float, float] | None = None
    level: float = 0.75
    source: float = 0.2
    offset: tuple[float, float] = (0.0, 0.0)
    floor: float = 0.06
    halo: float = 0.1
    lights: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    gloss: float = 0.15
    clear: float = 0.5
    speckle: float = 0.0
    grain: float = 1.5
    polariser: float = 0.0
    tint: tuple[float, float, float] | None = None
    core: float = 0.9
    blur_per_depth: float = 0.1
    blades: int = 0
    rim: float = 0.0
    gain: float = 3.0
    motion: float = 0.0
    gradient: tuple[float, float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    bands: float = 0.0
    uneven: int = 0
    well: float = 9000.0
    read: float = 12.0
    gamma: float = 1.0
    bits: int = 8
    quality: int = 0


# The lens


@lru_cache(maxsize=64)
def _unit_aperture(blades: int, rim: float) -> tuple[Array, float]:
    """Aperture of radius 1 on a grid of 129, sum 1, and its standard deviation along an axis."""
    t = np.linspace(-1.05, 1.05, 129)
    x, y = np.meshgrid(t, t)
    r = np.hypot(x, y)
    if blades:
        sector = math.pi / blades
        turned = np.mod(np.arctan2(y, x) + 0.3, 2 * sector) - sector
        reach = r * np.cos(turned) / math.cos(sector)
        reach = reach * 0.85 + r * 0.15
    else:
        reach = r
    weight = (1 + rim * reach**4) / (1 + np.exp((reach - 0.95) / 0.03))
    weight /= weight.sum()
    return weight.astype(np.float32), float(np.sqrt(((x**2 + y**2) * weight).sum() / 2))


def lens_kernel(sigma: float, instrument: Instrument) -> tuple[Array, float]:
    """Blur kernel of about a given standard deviation, and the standard deviation that it has, px.

    The core falls off as exp(-r^1.6), between a Gaussian and the wings of an Airy pattern; out of focus it is
    convolved with the shape of the aperture.
    """
    core = min(instrument.core, sigma)
    spread = math.sqrt(max(sigma**2 - core**2, 0.0))
    half = max(3, math.ceil(3.4 * core + 2.4 * spread))
    t = np.arange(-half, half + 1)
    # Standard deviation of exp(-(r/a)^1.6) in two dimensions is 0.856 a along an axis.
    kernel = np.exp(-((np.hypot(*np.meshgrid(t, t)) / (core / 0.856)) ** 1.6)).astype(np.float32)
    if spread > 0.3:
        unit, own = _unit_aperture(instrument.blades, instrument.rim)
        side = 2 * 1.05 * spread / own
        n = 2 * math.ceil(side / 2) + 1
        # The aperture scaled about the middle pixel, averaged over each.
        scale = 129 / side
        shift = 64 - scale * (n // 2)
        matrix = np.array([[scale, 0, shift], [0, scale, shift]], np.float32)
        smooth = cv2.GaussianBlur(unit, (0, 0), max(0.3 * scale, 0.1))
        stop = cv2.warpAffine(smooth, matrix, (n, n), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        kernel = cv2.filter2D(np.pad(kernel, n // 2 + 1), -1, stop, borderType=cv2.BORDER_CONSTANT)
    if instrument.motion > 0.2:
        n = 2 * math.ceil(instrument.motion / 2) + 1
        line = np.clip(instrument.motion / 2 + 0.5 - np.abs(np.arange(n) - n // 2), 0, 1)[None, :]
        kernel = np.pad(kernel, n // 2 + 1)
        kernel = cv2.filter2D(kernel, -1, line / line.sum(), borderType=cv2.BORDER_CONSTANT)
    kernel /= kernel.sum()
    half = kernel.shape[0] // 2
    t = np.arange(-half, half + 1)
    var = float((kernel * (t[None, :] ** 2 + t[:, None] ** 2)).sum() / 2)
    return kernel, math.sqrt(var)


# What a body does to light


def shade(
    found: Relief, material: Material, instrument: Instrument, *, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Straight and own light at the samples of a body.

    Parameters
    ----------
    found
        Its height field.
    material
        How it takes light.
    instrument
        The microscope.
    rng
        For the light that strays inside.

    Returns
    -------
    Share of the light from behind that passes straight, (n,), and the light that the body sends, (n,) or (n, 3), in
    units of the lamp (transmitted) or of full scale (others).
    """
    if instrument.look == "probe":
        return _reflected(found, material, instrument)
    if instrument.look == "polars":
        return _polarised(found, material, instrument)
    return _transmitted(found, material, instrument, rng)


def _collected(found: Relief, instrument: Instrument) -> Array:
    """Share of light that, bent by the body, still comes from the lamp."""
    angle = np.hypot(found.bend_x - instrument.offset[0], found.bend_y - instrument.offset[1])
    return 1 / (1 + (angle / instrument.source) ** 5)


def _transmitted(
    found: Relief, material: Material, instrument: Instrument, rng: np.random.Generator
) -> tuple[Array, Array]:
    bent = np.hypot(found.bend_x, found.bend_y)
    passed = _collected(found, instrument)
    passed = passed * _fresnel(found.top_x, found.top_y, material) * _fresnel(found.bottom_x, found.bottom_y, material)
    passed *= (1 - material.opacity) * np.exp(-material.absorb * found.thickness) * (1 - found.flaw)
    # Light that was reflected inside leaves through some facets and not through others.
    toward = np.cos(np.arctan2(found.bend_y, found.bend_x) - rng.uniform(0, 2 * math.pi))
    stray = instrument.floor * (1 + 0.7 * toward + 0.25 * np.cos(7 * bent))
    stray *= 1 - 0.8 * material.opacity
    straight = np.exp(-((bent / (0.25 * instrument.source)) ** 2))
    return passed * straight, passed * (1 - straight) + (1 - passed) * np.maximum(stray, 0)


def _fresnel(slope_x: Array, slope_y: Array, material: Material) -> Array:
    """Transmission of a surface of given slope (Schlick)."""
    cosine = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
    base = (material.contrast / (2 + material.contrast)) ** 2
    return 1 - base - (1 - base) * (1 - cosine) ** 5


def _reflected(found: Relief, material: Material, instrument: Instrument) -> tuple[Array, Array]:
    top = _glints(found.top_x, found.top_y, material, instrument)
    # The lower surface reflects what came in through the upper one; rays are bent less inside.
    back = _glints(0.7 * found.bottom_x, 0.7 * found.bottom_y, material, instrument)
    depth = 1 - np.exp(-found.thickness * 0.06)
    cosine = 1 / np.sqrt(1 + found.top_x**2 + found.top_y**2)
    side = np.zeros_like(cosine)
    for x, y, z, weight in instrument.lights:
        side += weight * np.maximum((-found.top_x * x - found.top_y * y + z) * cosine, 0)
    side /= max(float(instrument.lights[:, 3].sum()), 1e-6)
    # Rims and cracks scatter light from the lamps, and take light from the ground: bright on dark, dark on bright.
    shine = max(0.9 * (0.5 - instrument.level), 0.05)
    scattered = (material.milk * (0.25 + 0.75 * depth) + shine * found.flaw) * (0.25 + 0.75 * side)
    solid = np.maximum(material.opacity, material.milk * depth)
    edge = _collected(found, instrument)
    passed = instrument.clear * (1 - solid) * edge + (1 - instrument.clear) * (1 - solid) * edge**2 * 0.6
    passed *= 1 - found.flaw
    return passed, top + 0.7 * (1 - solid) * back + 0.75 * scattered


def _glints(slope_x: Array, slope_y: Array, material: Material, instrument: Instrument) -> Array:
    """Microfacet reflection towards the camera: normal distribution of Trowbridge and Reitz, Schlick's Fresnel."""
    square = (instrument.gloss * material.polish + 0.4 * material.rough) ** 2
    norm = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
    out = np.zeros_like(slope_x)
    base = max((material.contrast / (2 + material.contrast)) ** 2, 0.002)
    for x, y, z, weight in instrument.lights:
        h = np.array([x, y, z + 1])
        h /= np.linalg.norm(h)
        cosine = (-slope_x * h[0] - slope_y * h[1] + h[2]) * norm
        spread = square / (np.maximum(cosine, 0) ** 2 * (square - 1) + 1) ** 2
        steep = base + (1 - base) * (1 - h[2]) ** 5
        out += weight * np.where(cosine > 0, spread, 0) * steep
    return out * 4


@lru_cache(maxsize=1)
def _interference() -> Array:
    """Red, green and blue between crossed polars for path differences of 0 to 3000 nm (Michel-Levy), (3001, 3)."""
    wave = np.arange(400.0, 701.0, 5.0)
    eye = np.stack([np.exp(-(((wave - m) / s) ** 2) / 2) for m, s in ((607, 34), (541, 37), (457, 27))])
    eye /= eye.sum(axis=1)[:, None]
    path = np.arange(3001.0)
    return (np.sin(math.pi * path[:, None] / wave[None, :]) ** 2 @ eye.T).astype(np.float32)


def _polarised(found: Relief, material: Material, instrument: Instrument) -> tuple[Array, Array]:
    angle = 4 * instrument.polariser
    turned = 0.5 * (1 - found.twist_cos * math.cos(angle) - found.twist_sin * math.sin(angle))
    path = np.clip(found.retardation, 0, 3000).astype(np.int64)
    edge = _collected(found, instrument)
    seen = turned * (1 - material.opacity) * (1 - 0.7 * found.flaw) * (0.25 + 0.75 * edge)
    light = _interference()[path] * seen[:, None]
    # Refraction at steep edges turns the plane of polarisation a little: they shine weakly in every position.
    rims = (0.12 + 0.5 * material.milk) * (1 - edge) + 0.05 * material.milk + 0.25 * found.flaw
    haze = np.array([0.85, 0.95, 1.0], np.float32)
    light = (light * 0.95 + rims[:, None] * haze).astype(np.float32)
    return (0.75 * (1 - material.opacity) * (0.4 + 0.6 * edge)).astype(np.float32), light


# The field


def field_of_light(instrument: Instrument) -> Array:
    """Brightness of the lamp over the picture, about 1: gradient, stripes, unevenness."""
    rng = np.random.default_rng(instrument.uneven)
    rows, columns = instrument.shape
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, columns, dtype=np.float32)[None, :]
    a, b, c, d, e, f = instrument.gradient
    light = 1 + a * x + b * y + c * x * x + d * x * y + e * y * y + f * (x * x + y * y) ** 2
    coarse = rng.standard_normal((6, 7)).astype(np.float32) * 0.012
    light = light + cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
    if instrument.bands:
        angle, pitch, phase = rng.uniform(0, math.pi), rng.uniform(0.03, 0.4), rng.uniform(0, 6.3)
        light = light + instrument.bands * np.sin(
            2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / pitch + phase
        )
    return np.maximum(light, 0.05).astype(np.float32)


def speckle(instrument: Instrument, *, rng: np.random.Generator) -> Array:
    """Laser speckle, mean 1: squared moduli of filtered random fields (Goodman), two of them, as of two colours."""
    power = np.zeros(instrument.shape, np.float32)
    for _ in range(4):
        part = rng.standard_normal(instrument.shape, dtype=np.float32)
        power += cv2.GaussianBlur(part, (0, 0), instrument.grain) ** 2
    return 1 + instrument.speckle * (power / power.mean() - 1)


# The camera


def record(light: Array, instrument: Instrument, *, rng: np.random.Generator) -> NDArray[np.generic]:
    """Counts of the camera from light of 0 to 1: shot and read noise, uneven pixels, gamma, bits."""
    full = np.clip(light, 0, None)
    noise = np.sqrt(full / instrument.well + (instrument.read / instrument.well) ** 2)
    full = full + noise * rng.standard_normal(full.shape).astype(np.float32)
    rows = rng.standard_normal((full.shape[0], 1)).astype(np.float32) * (0.15 * instrument.read / instrument.well)
    full = full + (rows if full.ndim == 2 else rows[..., None])
    full = np.clip(full, 0, 1)
    if instrument.gamma != 1:
        full = full ** (1 / instrument.gamma)
    if instrument.bits == 16:
        # A camera of 12 bits writes its counts into the upper bits.
        return (np.round(full * 4095).astype(np.uint16) << 4).astype(np.uint16)
    return np.round(full * 255).astype(np.uint8)
