"""The virtual instrument fitted to a laboratory's own frames: `crystalscope scenes fit`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core import FieldOfView, Image
from crystalscope.datasets.fit_edges import Edges, fit_edges
from crystalscope.datasets.fit_frames import Frames, disc_share, find_disc, read_frames, surround_level
from crystalscope.datasets.fit_light import Light, fit_light, flicker_and_drift
from crystalscope.datasets.fit_noise import Camera, Curve, Noise, fit_noise
from crystalscope.datasets.fit_window import FEWEST_FRAMES, darkest_facets, find_spots
from crystalscope.errors import ConfigError
from crystalscope.io.tables import write_bytes, write_csv, write_text
from crystalscope.scenes import Recipe, preset
from crystalscope.scenes.optics import Look

Picture = NDArray[np.float32]
Setting = float | int | str

_BASES: dict[str, str] = {
    "backlit": "backlit-crystals",
    "reflected": "impurity",
    "flow-cell": "flow-cell",
    "polars": "varied-polars",
}
"""Preset of each look whose sample is kept."""
_DARK_GROUND = 0.15
_COLOURED = 0.25
_FINE_FRAMES = 8
"""Frames from which noise and blur are taken: further ones add little and take long."""
_SPREAD = 1.25
"""Ratio of the 90th to the 10th percentile from which a setting is written as a range."""
_LEFT = {
    "backlit": "aperture, lamp_tilt, lamp_deg",
    "flow-cell": "aperture, lamp_tilt, lamp_deg",
    "reflected": "lights, lights_elevation_deg, lights_sharpness, exposure, ambient, texture",
    "polars": "exposure, lights and the split of the ground's level into light and leak",
}


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
            return [_rounded(self.low), _rounded(self.high)]
        return _rounded(self.value) if isinstance(self.value, float) else self.value


@dataclass(frozen=True, eq=False)
class InstrumentFit:
    """An instrument as its frames show it.

    Parameters
    ----------
    look
        Of the four of `scenes.Instrument`.
    base
        Preset whose sample and remaining settings are kept.
    vary
        ``set`` where all frames show one illumination, else ``frame``: ranges are then drawn anew for every picture.
    estimates
        In the order of the settings.
    frames
        One row per frame used: file, number, light, gradient, gradient_deg, vignette, blur_px, saturated_share.
    notes
        What could not be estimated and why, what was left out.
    samples
        Up to three frames, for the comparison.
    curve, widths_px
        Noise against level, and blur of edges, as measured.
    """

    look: str
    base: str
    vary: str
    estimates: tuple[Estimate, ...]
    frames: pd.DataFrame
    notes: tuple[str, ...]
    samples: tuple[Image, ...] = field(repr=False)
    curve: Curve = field(repr=False)
    widths_px: NDArray[np.float64] = field(repr=False)

    def __getitem__(self, name: str) -> Estimate:
        """The estimate of a name; raises KeyError where there is none."""
        for e in self.estimates:
            if e.name == name:
                return e
        raise KeyError(name)

    def settings(self, table: str) -> dict[str, Any]:
        """Settings of ``instrument`` or ``window`` as a recipe takes them."""
        return {e.name: e.setting for e in self.estimates if e.table == table}

    def recipe(self) -> Recipe:
        """The preset with this instrument and window."""
        return preset(self.base).changed(
            instrument=self.settings("instrument"),
            window=self.settings("window"),
            title=_title(self),
            description=_description(self),
            vary=self.vary,
        )

    def to_toml(self) -> str:
        """The recipe as TOML that `scenes.load_recipe` reads, with the grounds of every value as comments."""
        lines = [f"# {note}" for note in self.notes]
        lines += [
            f"title = {json.dumps(_title(self), ensure_ascii=False)}",
            f"description = {json.dumps(_description(self), ensure_ascii=False)}",
            f'base = "{self.base}"',
            f'vary = "{self.vary}"',
        ]
        for table in ("instrument", "window"):
            chosen = [e for e in self.estimates if e.table == table]
            lines += ["", f"[{table}]"] if chosen else []
            lines += [f"{e.name} = {json.dumps(e.setting)}  # {_spread_text(e)}{e.how}" for e in chosen]
        return "\n".join(lines) + "\n"

    def lines(self) -> list[str]:
        """What was found, for a reader."""
        rows = [f"look {self.look}, over the preset {self.base}"]
        rows += [f"{e.name} = {json.dumps(e.setting)}: {_spread_text(e)}{e.how}" for e in self.estimates]
        return rows + [f"Note: {note}" for note in self.notes]


def _title(fit: InstrumentFit) -> str:
    return f"{fit.look} instrument fitted to {len(fit.frames)} frames"


def _description(fit: InstrumentFit) -> str:
    return f"Instrument and window from frames; the sample is that of the preset {fit.base}."


def _spread_text(e: Estimate) -> str:
    if not math.isfinite(e.low):
        return ""
    return f"{_rounded(e.low):g} to {_rounded(e.high):g} over frames; "


def _rounded(value: Setting) -> float:
    return float(f"{float(value):.4g}")


def fit_instrument(
    frames: Sequence[Image] | str | Path,
    *,
    pixel_size_um: float | None = None,
    look: str | None = None,
    progress: Callable[..., None] | None = None,
) -> InstrumentFit:
    """Estimate the settings of the virtual instrument from frames of a real one.

    Parameters
    ----------
    frames
        Pictures of one size, in order of time, or a folder, stack or video of them. Best are some with few particles;
        at least 4 for the flicker, 5 for dust, 10 for a drift.
    pixel_size_um
        Scale in um per px; None: from the tags of the files.
    look
        ``backlit``, ``reflected``, ``flow-cell`` or ``polars``; None: by a rule. A lit disc on black is a flow cell; where
        what departs from the ground is darker it is backlit; brighter and coloured on a ground below 15 % of white:
        polars; else reflected.
    progress
        Called with the number of frames read and their total.

    Returns
    -------
    InstrumentFit. Nothing is made up: what frames cannot show is left to the preset, and `notes` say so.

    Raises
    ------
    InputError
        Without frames, with frames of several sizes, or where none is a photograph.
    ReadError
        When no file can be read.
    ConfigError
        On an unknown look, or tags with several scales.

    Notes
    -----
    The illumination is fitted to the ground (`fit_light`), the noise by photon transfer (`fit_noise`), the blur to the
    sharpest edges (`fit_edges`); their docstrings tell assumptions and failure modes. Levels are taken as linear in the
    light: gamma cannot be seen in a picture, and is set to 1.
    """
    if look is not None and look not in get_args(Look):
        raise ConfigError(f"expected a look of {', '.join(get_args(Look))}, got {look!r}")
    read = read_frames(frames, pixel_size_um=pixel_size_um, progress=progress)
    field_of_view = FieldOfView(read.shape)
    if look in (None, "flow-cell"):
        field_of_view = find_disc(read, demanded=look == "flow-cell")
    black = surround_level(read, field_of_view) if field_of_view.disc is not None else math.nan
    zero = black if math.isfinite(black) else 0.0
    n = len(read.images)
    light = fit_light([_lit(read, k, zero) for k in range(n)], field=field_of_view)
    if look is None:
        look = _guess(read, light, field_of_view)
    mask = np.ones(read.shape, dtype=bool) if field_of_view.disc is None else field_of_view.mask()
    fine = np.unique(np.linspace(0, n - 1, min(n, _FINE_FRAMES)).round().astype(int))
    valid = [mask & read.inside(k) for k in fine]
    ground = zero + (1 - zero) * float(np.median(light.levels))
    shared = light.shared and n > 1
    noise, curve = fit_noise(
        [read.levels(k) for k in fine],
        valid=valid,
        levels=light.levels[fine] * (1 - zero),
        camera=Camera(read.bits or 16, read.jpeg or 0, read.channels),
        ground=ground,
        black=zero,
        shared=shared,
        even=light.shapes[0].over(read.shape),
    )
    ratios = [_lit(read, k, zero) / light.ground(k, read.shape) for k in fine]
    relative = noise.ground / max(ground - zero, 1e-6)
    rough = math.hypot(relative if math.isfinite(relative) else 0.0, noise.speckle if noise.speckle > 0 else 0.0)
    edges = fit_edges(ratios, valid=[_without_rim(v, field_of_view) for v in valid], noise=rough)
    notes = list(read.notes)
    estimates = [
        *_camera(read, field_of_view, look, black),
        *_light(read, light, look, notes),
        *_noise(noise, notes),
        *_blur(edges, notes),
    ]
    if look in ("backlit", "flow-cell"):
        dark = darkest_facets(
            ratios, blur_px=edges.blur_px if math.isfinite(edges.blur_px) else 1.0, valid=[mask] * len(ratios)
        )
        estimates += _veil(dark, notes)
    estimates += _window(read, light, field_of_view, zero, rough, notes)
    share = float(np.mean([read.saturated(k) for k in range(n)]))
    estimates.append(Estimate("saturated_share", "seen", share, "share of pixels at white"))
    notes.append(f"left at the preset's, since pictures do not tell them: {_LEFT[look]}, psf, blur_per_px, motion_px")
    notes.append("gamma cannot be seen: levels are taken as linear in the light and gamma is 1")
    if look != "flow-cell" or not math.isfinite(black):
        lowest = min(float(np.quantile(read.grey(k)[::3, ::3], 0.001)) for k in range(n))
        notes.append(f"black: nothing in the picture is without light; it is at most {lowest:.3g} and is taken as 0")
    if read.pixel_size_um is None:
        own = preset(_BASES[look]).instrument.get("pixel_size_um")
        if own is not None:
            notes.append(
                f"no scale was given: {own} um per px is that of the preset {_BASES[look]}, not of the instrument"
            )
    table = _per_frame(read, light, edges, fine)
    samples = tuple(read.images[k] for k in np.unique(np.linspace(0, n - 1, min(n, 3)).round().astype(int)))
    vary = "set" if light.shared else "frame"
    return InstrumentFit(
        look, _BASES[look], vary, tuple(estimates), table, tuple(notes), samples, curve, edges.width_px
    )


def _lit(read: Frames, k: int, black: float) -> Picture:
    """Grey of a frame with the black level taken off, share of white."""
    return ((read.grey(k) - np.float32(black)) / np.float32(1 - black)).astype(np.float32)


def _guess(read: Frames, light: Light, field_of_view: FieldOfView) -> str:
    """Look by the rule of `fit_instrument`."""
    if field_of_view.disc is not None:
        return "flow-cell"
    if light.bright_share < 0.5:
        return "backlit"
    if read.channels == 3 and float(np.median(light.levels)) < _DARK_GROUND:
        colour = [_colourfulness(read.levels(k)) for k in range(0, len(read.images), max(1, len(read.images) // 8))]
        if np.median(colour) > _COLOURED:
            return "polars"
    return "reflected"


def _colourfulness(frame: Picture) -> float:
    """Median saturation of the brightest hundredth of the pixels."""
    thin = frame[::3, ::3].reshape(-1, 3)
    top, bottom = thin.max(axis=1), thin.min(axis=1)
    bright = top >= np.quantile(top, 0.99)
    return float(np.median((top - bottom)[bright] / np.maximum(top[bright], 1e-6)))


def _without_rim(valid: NDArray[np.bool_], field_of_view: FieldOfView) -> NDArray[np.bool_]:
    """The rim of a disc is an edge, but not of a particle."""
    if field_of_view.disc is None:
        return valid
    row, column, radius = field_of_view.disc
    rows, columns = field_of_view.shape
    r = np.hypot(np.arange(rows)[:, None] - row, np.arange(columns)[None, :] - column)
    return np.asarray(valid & (r < radius - 8))


def _quantiles(values: NDArray[np.float64]) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if known.size < 2:
        return math.nan, math.nan
    return float(np.quantile(known, 0.1)), float(np.quantile(known, 0.9))


def _camera(read: Frames, field_of_view: FieldOfView, look: str, black: float) -> list[Estimate]:
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
    if read.jpeg is not None:
        out.append(
            Estimate("jpeg", "instrument", read.jpeg, "by the type of the files and their tables; 0: not compressed")
        )
    if field_of_view.disc is not None:
        out.append(
            Estimate("disc", "instrument", disc_share(field_of_view), "radius of the lit disc over the shorter side")
        )
    known = math.isfinite(black)
    out += [
        Estimate(
            "black", "instrument", black if known else 0.0, "level far outside of the disc" if known else "not known"
        ),
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


def _light(read: Frames, light: Light, look: str, notes: list[str]) -> list[Estimate]:
    n = len(light.levels)
    several = n > 1 and not light.shared
    gradients = np.array([s.gradient for s in light.own])
    vignettes = np.array([max(s.vignette, 0.0) for s in light.own])
    shape = light.shapes[0] if light.shared else light.own[int(np.argsort(gradients)[n // 2])]
    flicker, drift, at_zero = flicker_and_drift(light.levels, light.errors, read.numbers)
    level = at_zero if light.shared else float(np.median(light.levels))
    low, high = _quantiles(light.levels)
    one = "the surface that all frames share" if n > 1 else "the surface of the only frame"
    how = "each frame's own surface" if several else one
    out = []
    if look == "polars":
        mean = 0.6
        out.append(Estimate("light", "instrument", mean, "not known: only the product with leak is seen"))
        out.append(Estimate("leak", "instrument", min(level / mean, 1.0), "level of the ground over light"))
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
    kept = (
        "what the residuals of frames have in common" if light.shared and n > 1 else "smooth residuals, ghosts included"
    )
    uneven = light.unevenness if light.unevenness > 0.004 else 0.0
    out.append(Estimate("unevenness", "instrument", uneven, kept))
    if several:
        notes.append(
            "the frames do not share one illumination (several places, lamps or exposures): light, gradient and vignette "
            "are ranges, drawn anew for every picture; flicker, drift and dust cannot be told"
        )
        out.append(Estimate("flicker", "instrument", 0.0, "counted in the range of light"))
        out.append(Estimate("drift", "instrument", 0.0, "counted in the range of light"))
        return out
    if math.isfinite(flicker):
        how = f"spread of the levels of {n} frames, their own errors taken off" + ("; rough" if n < 12 else "")
        out.append(Estimate("flicker", "instrument", flicker, how))
    else:
        notes.append(f"flicker: left at the preset's, {n} of at least 4 frames")
    if math.isfinite(drift):
        out.append(
            Estimate("drift", "instrument", drift, "median slope of the levels, per 100 frames; 0: within its error")
        )
    else:
        notes.append(f"drift: left at the preset's, {n} of at least 10 frames")
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


def _noise(noise: Noise, notes: list[str]) -> list[Estimate]:
    out = []
    if math.isfinite(noise.ground):
        source = "differences of frames" if noise.from_pairs else "flat tiles of frames"
        low, high = _quantiles(np.array(noise.per_frame))
        varies = math.isfinite(low) and high > _SPREAD * low
        how = f"photon transfer, {source}"
        if noise.below_step:
            how = "hidden by the steps of grey: 0.3 of a step"
        elif not noise.split:
            how = f"{source}; all taken for shot noise, levels lie too close to tell it from read noise"
        for name, value in (("shot_noise", noise.shot_noise), ("read_noise", noise.read_noise)):
            out.append(Estimate(name, "instrument", value, how, value * low, value * high, varies and value > 0))
        out.append(
            Estimate("grain_px", "instrument", noise.grain_px, "correlation of neighbouring pixels of the noise")
        )
        out.append(Estimate("ground_noise", "seen", noise.ground, "standard deviation of the noise at the ground"))
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


def _blur(edges: Edges, notes: list[str]) -> list[Estimate]:
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


def _veil(dark: float, notes: list[str]) -> list[Estimate]:
    if not math.isfinite(dark):
        notes.append("veil: left at the preset's, no dark facet is wide enough")
        return []
    level = min(max(dark, 0.0), 0.5)
    # The renderer's ground is lit by lamp and veil, its black facets by the veil alone.
    return [
        Estimate("veil", "instrument", level / (1 - level), f"darkest facets have {level:.2f} of the ground's level")
    ]


def _window(
    read: Frames, light: Light, field_of_view: FieldOfView, zero: float, rough: float, notes: list[str]
) -> list[Estimate]:
    n = len(read.images)
    if not light.shared or n < FEWEST_FRAMES:
        if light.shared:
            notes.append(f"dust: left at the preset's, {n} of at least {FEWEST_FRAMES} frames")
        return []
    mask = np.ones(read.shape, dtype=bool) if field_of_view.disc is None else field_of_view.mask()
    chosen = range(0, n, math.ceil(n / 15))
    spots = find_spots(
        [_lit(read, k, zero) / light.ground(k, read.shape) for k in chosen],
        noise=rough,
        field=_without_rim(mask, field_of_view),
    )
    out = [
        Estimate("dust", "window", spots.dust, "dark specks that stay in place"),
        Estimate("deposits", "window", spots.deposits, "larger spots that stay in place"),
    ]
    if spots.deposits:
        out.append(Estimate("deposit_px", "window", spots.deposit_px, "their median radius"))
    return out


def _per_frame(read: Frames, light: Light, edges: Edges, fine: NDArray[np.intp]) -> pd.DataFrame:
    blur = np.full(len(read.images), np.nan)
    blur[fine] = edges.per_frame
    return pd.DataFrame(
        {
            "file": [i.source for i in read.images],
            "number": read.numbers,
            "light": light.levels,
            "gradient": [s.gradient for s in light.own],
            "gradient_deg": [s.gradient_deg for s in light.own],
            "vignette": [s.vignette for s in light.own],
            "blur_px": blur,
            "saturated_share": [read.saturated(k) for k in range(len(read.images))],
        }
    )


def write_fit(fit: InstrumentFit, out: str | Path, *, seed: int = 0) -> list[Path]:
    """Write instrument.toml, comparison.png, estimates.csv and frames.csv.

    Parameters
    ----------
    fit
        From `fit_instrument`.
    out
        Folder, made where it does not exist.
    seed
        Of the rendered pictures.

    Returns
    -------
    The files. The comparison shows frames, rendered pictures below them, and the grey levels, noise and edges of both;
    estimates.csv has a column with what the same measurement finds on the rendered pictures.

    Raises
    ------
    WriteError
        When the folder cannot be written.
    """
    from crystalscope.datasets.fit_picture import comparison
    from crystalscope.scenes import scenes_of

    folder = Path(out)
    rendered = [s.image for s in scenes_of(fit.recipe(), frames=max(len(fit.samples), 2), seed=seed)]
    again = fit_instrument(rendered, look=fit.look)
    found = {e.name: e.value for e in again.estimates}
    table = pd.DataFrame(
        [
            {
                "name": e.name,
                "table": e.table,
                "value": e.value,
                "low": e.low,
                "high": e.high,
                "rendered": found.get(e.name, ""),
                "how": e.how,
            }
            for e in fit.estimates
        ]
    )
    return [
        write_text(folder / "instrument.toml", fit.to_toml()),
        write_bytes(folder / "comparison.png", comparison(fit, again)),
        write_csv(folder / "estimates.csv", table),
        write_csv(folder / "frames.csv", fit.frames),
    ]
