"""Figures of a fitted instrument, each with its grounds and its spread over frames."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crystalscope.core import FieldOfView
from crystalscope.datasets.fit_edges import Edges
from crystalscope.datasets.fit_frames import Frames, disc_share
from crystalscope.datasets.fit_light import Light, flicker_and_drift
from crystalscope.datasets.fit_noise import LITTLE_KEPT, Noise
from crystalscope.datasets.fit_window import Spots

Setting = float | int | str

_SPREAD = 1.25
"""Ratio of the 90th to the 10th percentile from which a setting is written as a range."""
_FEW_FOR_FLICKER = 12
"""Frames below which the flicker is called rough."""
_FEWEST_FOR_UNEVENNESS = 4
_LIGHT_BEFORE_POLARS = 0.6
"""Taken where only its product with `leak` is seen."""


@dataclass(frozen=True)
class Estimate:
    """One figure of an instrument.

    Parameters
    ----------
    name
        The setting of `scenes.Instrument` or `scenes.Window`, or what was seen.
    table
        ``instrument``, ``window``, or ``seen``: not a setting.
    value
        Best value over all frames.
    how
        What it rests on.
    low, high
        10th and 90th percentile over frames; NaN where it comes from all frames together.
    varies
        Whether it is written as the range from `low` to `high`.
    """

    name: str
    table: str
    value: Setting
    how: str
    low: float = math.nan
    high: float = math.nan
    varies: bool = False

    @property
    def setting(self) -> Setting | list[float]:
        """As a recipe takes it."""
        if self.varies:
            return [rounded(self.low), rounded(self.high)]
        return rounded(self.value) if isinstance(self.value, float) else self.value


def rounded(value: Setting) -> float:
    """Four significant digits: more than any of the figures is worth."""
    return float(f"{float(value):.4g}")


def _quantiles(values: NDArray[np.float64]) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if known.size < 2:
        return math.nan, math.nan
    return float(np.quantile(known, 0.1)), float(np.quantile(known, 0.9))


def camera_estimates(read: Frames, field_of_view: FieldOfView, look: str, black: float, source: str) -> list[Estimate]:
    """Field, bits, compression, black level, cast; `black`, known from `source`, is NaN where it is not."""
    rows, columns = read.shape
    out = [
        Estimate("look", "instrument", look, "by the ground, the side of the particles, colour and a lit disc"),
        Estimate("rows", "instrument", rows, "of the files"),
        Estimate("columns", "instrument", columns, "of the files"),
    ]
    if read.pixel_size_um is not None:
        out.append(Estimate("pixel_size_um", "instrument", read.pixel_size_um, "as given or tagged"))
    if read.bits is not None:
        out.append(Estimate("bits", "instrument", read.bits, "of the files"))
    how = "by the type of the files and their tables; 0: not compressed"
    if read.jpeg is None:
        how = "not known: noise and edges are taken as recorded"
    out.append(Estimate("jpeg", "instrument", read.jpeg or 0, how))
    if field_of_view.disc is not None:
        out.append(
            Estimate("disc", "instrument", disc_share(field_of_view), "radius of the lit disc over the shorter side")
        )
    known = math.isfinite(black)
    out += [
        Estimate("black", "instrument", black if known else 0.0, source if known else "not known"),
        Estimate("gamma", "instrument", 1.0, "not known"),
        Estimate("sharpen", "instrument", 0.0, "counted with noise and halo, as recorded"),
    ]
    if look != "polars":
        out.append(Estimate("tint", "instrument", _tint(read, field_of_view), "spread of the channels at the ground"))
    return out


def _tint(read: Frames, field_of_view: FieldOfView) -> float:
    """Cast whose random channels spread as those of the ground; 0 for grey or below 1 %.

    Channels drawn evenly from 1 - tint to 1 + tint have a standard deviation of tint x sqrt(2/9) about their mean.
    """
    if read.channels == 1:
        return 0.0
    found = []
    for k in range(0, len(read.images), max(1, len(read.images) // 8)):
        frame = read.levels(k)[::3, ::3]
        grey = frame.mean(axis=2)
        near = np.abs(grey / np.median(grey) - 1) < 0.15
        channels = np.median(frame[near], axis=0)
        found.append(float(np.std(channels / channels.mean())) / math.sqrt(2 / 9))
    tint = float(np.median(found))
    return tint if tint > 0.01 else 0.0


def light_estimates(read: Frames, light: Light, look: str, notes: list[str]) -> list[Estimate]:
    """Light, gradient, vignette, unevenness, flicker, drift; `notes` gets what cannot be told."""
    n = len(light.levels)
    several = n > 1 and not light.shared
    gradients = np.array([s.gradient for s in light.own])
    vignettes = np.array([max(s.vignette, 0.0) for s in light.own])
    shape = light.shapes[0] if light.shared else light.own[int(np.argsort(gradients)[n // 2])]
    flicker, drift, at_zero = flicker_and_drift(light.levels, light.errors, read.numbers)
    level = at_zero if light.shared and not light.hidden else float(np.median(light.levels))
    low, high = _quantiles(light.levels)
    one = "the surface that all frames share" if n > 1 else "the surface of the only frame"
    how = "each frame's own surface" if several else one
    out = []
    if look == "polars":
        lamp = _LIGHT_BEFORE_POLARS
        out.append(Estimate("light", "instrument", lamp, "not known: only its product with leak is seen"))
        out.append(Estimate("leak", "instrument", min(level / lamp, 1.0), "level of the ground over light"))
    else:
        out.append(
            Estimate("light", "instrument", min(level, 1.0), "level of the ground in the middle", low, high, several)
        )
    degrees, spread = _direction(light)
    out += [
        Estimate("gradient", "instrument", shape.gradient, how, *_quantiles(gradients), several),
        Estimate("gradient_deg", "instrument", degrees, how, degrees - spread, degrees + spread, several),
        Estimate("vignette", "instrument", max(shape.vignette, 0.0), how, *_quantiles(vignettes), several),
    ]
    if shape.vignette < -0.02:
        notes.append(
            f"vignette: corners are {-shape.vignette:.0%} brighter, which the virtual lamp cannot do: 0 is taken"
        )
    if light.hidden:
        notes.append("light: hardly any ground is seen between the particles; light, gradient and vignette are rough")
    if light.shared and n >= _FEWEST_FOR_UNEVENNESS and not light.hidden:
        uneven = light.unevenness if light.unevenness > 0.004 else 0.0
        out.append(Estimate("unevenness", "instrument", uneven, "what the residuals of frames have in common"))
    else:
        out.append(
            Estimate("smooth_residual", "seen", light.unevenness, "broad residuals of the ground, ghosts included")
        )
        notes.append("unevenness: left at the preset's, ghosts cannot be told from it in these frames")
    if several:
        notes.append(
            "the frames do not share one illumination (several places, lamps or exposures): light, gradient and "
            "vignette are ranges, drawn anew for every picture; flicker, drift and dust cannot be told"
        )
        out.append(Estimate("flicker", "instrument", 0.0, "counted in the range of light"))
        out.append(Estimate("drift", "instrument", 0.0, "counted in the range of light"))
        return out
    if math.isfinite(flicker) and not light.hidden:
        how = f"spread of the levels of {n} frames, their own errors taken off" + (
            "; rough" if n < _FEW_FOR_FLICKER else ""
        )
        out.append(Estimate("flicker", "instrument", flicker, how))
    else:
        reason = "no ground is seen" if light.hidden else f"{n} of at least 4 frames"
        notes.append(f"flicker: left at the preset's, {reason}")
    if math.isfinite(drift) and not light.hidden:
        out.append(
            Estimate("drift", "instrument", drift, "median slope of the levels, per 100 frames; 0: within its error")
        )
    else:
        reason = "no ground is seen" if light.hidden else f"{n} of at least 10 frames"
        notes.append(f"drift: left at the preset's, {reason}")
    return out


def _direction(light: Light) -> tuple[float, float]:
    """Direction of the gradient and half of the range that holds most frames, degrees; 180: all directions."""
    if light.shared:
        return light.shapes[0].gradient_deg, math.nan
    angles = np.radians([s.gradient_deg for s in light.own])
    mean = math.degrees(math.atan2(np.sin(angles).mean(), np.cos(angles).mean())) % 360
    off = np.abs((np.degrees(angles) - mean + 180) % 360 - 180)
    spread = float(np.quantile(off, 0.9))
    return mean, spread if spread < 90 else 180.0


def noise_estimates(noise: Noise, notes: list[str]) -> list[Estimate]:
    """Shot and read noise, grain, speckle; `notes` gets what cannot be told."""
    out = []
    if math.isfinite(noise.ground):
        source = "differences of frames" if noise.from_pairs else "flat tiles of frames"
        low, high = _quantiles(np.array(noise.per_frame))
        varies = math.isfinite(low) and high > _SPREAD * low
        how = f"photon transfer, {source}"
        if noise.below_step:
            how = "hidden by the steps of grey: 0.3 of a step"
        elif not noise.split:
            how = f"{source}; all taken for shot noise, which cannot be told from read noise here"
        for name, value in (("shot_noise", noise.shot_noise), ("read_noise", noise.read_noise)):
            out.append(Estimate(name, "instrument", value, how, value * low, value * high, varies and value > 0))
        out.append(
            Estimate("grain_px", "instrument", noise.grain_px, "correlation of neighbouring pixels of the noise")
        )
        out.append(Estimate("ground_noise", "seen", noise.ground, "standard deviation of the noise at the ground"))
        if noise.kept < LITTLE_KEPT:
            notes.append(
                f"noise: compression left {noise.kept:.0%} of it; its strength before is known to a third, its grain "
                "not at all and taken as 0"
            )
    else:
        notes.append("noise: left at the preset's, no flat region in any frame")
    if math.isfinite(noise.speckle):
        told = noise.from_pairs or noise.speckle == 0
        how = (
            "fine structure that stays from frame to frame"
            if told
            else "correlated, strong and fine: one frame cannot prove it"
        )
        out.append(Estimate("speckle", "instrument", noise.speckle, how))
        if noise.speckle > 0:
            out.append(Estimate("speckle_px", "instrument", noise.speckle_px, "its correlation"))
    return out


def blur_estimates(edges: Edges, notes: list[str]) -> list[Estimate]:
    """Blur, halo, blur of the ghosts; `notes` gets what cannot be told."""
    if not math.isfinite(edges.blur_px):
        notes.append(
            f"blur_px: left at the preset's, only {len(edges.width_px)} of at least 30 edges between even sides"
        )
        return []
    out = [
        Estimate(
            "blur_px",
            "instrument",
            edges.blur_px,
            f"sharpest of {len(edges.width_px)} edges",
            *_quantiles(edges.per_frame),
        )
    ]
    if math.isfinite(edges.halo):
        out.append(Estimate("halo", "instrument", edges.halo, "fringe along the sharpest edges"))
    else:
        notes.append("halo: left at the preset's, the edges do not agree or are too blurred")
    if math.isfinite(edges.ghosts[0]):
        middle = math.sqrt(edges.ghosts[0] * edges.ghosts[1])
        out.append(
            Estimate("ghost_blur_px", "seen", middle, "edges out of focus, 10th to 90th percentile", *edges.ghosts)
        )
    return out


def veil_estimates(dark: float, notes: list[str]) -> list[Estimate]:
    """Veil from the level of the darkest facets relative to the ground; `notes` gets what cannot be told."""
    if not math.isfinite(dark):
        notes.append("veil: left at the preset's, no dark facet is wide enough")
        return []
    share = min(max(dark, 0.0), 0.5)
    # The renderer's ground is lit by lamp and veil, its black facets by the veil alone.
    return [
        Estimate("veil", "instrument", share / (1 - share), f"darkest facets have {share:.2f} of the ground's level")
    ]


def window_estimates(spots: Spots) -> list[Estimate]:
    """Number of specks and deposits, and the size of deposits."""
    out = [
        Estimate("dust", "window", spots.dust, "dark specks that stay in place"),
        Estimate("deposits", "window", spots.deposits, "larger spots that stay in place"),
    ]
    if spots.deposits:
        out.append(Estimate("deposit_px", "window", spots.deposit_px, "their median radius"))
    return out
