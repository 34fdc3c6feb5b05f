"""The virtual instrument fitted to a laboratory's own frames: `crystalscope scenes fit`."""

from __future__ import annotations

import dataclasses
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
from crystalscope.datasets.fit_estimates import (
    Estimate,
    blur_estimates,
    camera_estimates,
    light_estimates,
    noise_estimates,
    rounded,
    veil_estimates,
    window_estimates,
)
from crystalscope.datasets.fit_frames import Frames, find_disc, read_frames, surround_level
from crystalscope.datasets.fit_light import Light, fit_light
from crystalscope.datasets.fit_noise import Camera, fit_noise
from crystalscope.datasets.fit_tiles import Curve
from crystalscope.datasets.fit_window import FEWEST_FRAMES, darkest_facets, find_spots, glare
from crystalscope.errors import ConfigError
from crystalscope.io.tables import write_bytes, write_csv, write_text
from crystalscope.scenes import Recipe, preset
from crystalscope.scenes.optics import Look

Picture = NDArray[np.float32]

_BASES: dict[str, str] = {
    "backlit": "backlit-crystals",
    "reflected": "impurity",
    "flow-cell": "flow-cell",
    "polars": "varied-polars",
}
"""Preset of each look whose sample is kept."""
_DARK_GROUND = 0.15
"""Level of the ground below which it may be that between crossed polars."""
_COLOURED = 0.25
"""Saturation of the brightest pixels from which they are coloured."""
_SAMPLES = 3
_RIM_PX = 8
_WINDOW_FRAMES = 15
_FINE_FRAMES = 8
"""Frames from which noise and blur are taken: further ones add little and take long."""
_LEFT = {
    "backlit": "aperture, lamp_tilt, lamp_deg",
    "flow-cell": "aperture, lamp_tilt, lamp_deg",
    "reflected": "lights, lights_elevation_deg, lights_sharpness, exposure, ambient, texture",
    "polars": "exposure, lights and the split of the ground's level into light and leak",
}


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
    return f"{rounded(e.low):g} to {rounded(e.high):g} over frames; "


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
        ``backlit``, ``reflected``, ``flow-cell`` or ``polars``; None: by a rule. A lit disc on black is a flow
        cell; where what departs from the ground is darker it is backlit; brighter and coloured on a ground below 15 %
        of white: polars; else reflected.
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
    return _fitted(read_frames(frames, pixel_size_um=pixel_size_um, progress=progress), look)


def _fitted(read: Frames, look: str | None) -> InstrumentFit:
    n = len(read.images)
    view = FieldOfView(read.shape)
    if look in (None, "flow-cell"):
        view = find_disc(read, demanded=look == "flow-cell")
    black = surround_level(read, view) if view.disc is not None else math.nan
    zero = black if math.isfinite(black) else 0.0
    light = fit_light([_lit(read, k, zero) for k in range(n)], field=view)
    if look is None:
        look = _guess(read, light, view)
    mask = np.ones(read.shape, dtype=bool) if view.disc is None else view.mask()
    fine = np.unique(np.linspace(0, n - 1, min(n, _FINE_FRAMES)).round().astype(int))
    source = "level far outside of the disc"
    if look == "backlit":
        greys = [read.grey(k) for k in fine]
        dark = darkest_facets([g / light.ground(k, g.shape) for k, g in zip(fine, greys, strict=True)], valid=mask)
        black = glare(greys, level=float(np.median(light.levels)), dark=dark, field=mask)
        source = "facets over each other are no darker than single ones: glare of the lens, or the camera's offset"
        if math.isfinite(black):
            zero = black
            light = fit_light([_lit(read, k, zero) for k in range(n)], field=view)
    inside = [read.inside(k) for k in fine]
    level = float(np.median(light.levels))
    noise, curve = fit_noise(
        [read.levels(k) for k in fine],
        # Outside of the disc of a flow cell is the camera alone.
        valid=[_off_rim(v, view) for v in inside],
        levels=light.levels[fine],
        camera=Camera(read.bits or 16, read.jpeg or 0, read.channels),
        ground=zero + (1 - zero) * level,
        black=zero,
        shared=light.shared and n > 1,
        even=light.shapes[0].over(read.shape),
    )
    core = mask & _off_rim(mask, view)
    ratios = [_lit(read, k, zero) / light.ground(k, read.shape) for k in fine]
    relative = math.hypot(*(v if v > 0 else 0.0 for v in (noise.ground / ((1 - zero) * level), noise.speckle)))
    edges = fit_edges(ratios, valid=[v & core for v in inside], noise=relative)
    notes = list(read.notes)
    estimates = [
        *camera_estimates(read, view, look, black, source),
        *light_estimates(read, light, look, notes),
        *noise_estimates(noise, notes),
        *blur_estimates(edges, notes),
    ]
    floor = min(float(np.quantile(_lit(read, k, zero)[mask][::7], 0.001)) for k in range(n))
    if look in ("backlit", "flow-cell"):
        estimates += veil_estimates(darkest_facets(ratios, valid=mask), notes)
    if light.shared and n >= FEWEST_FRAMES and not light.hidden:
        chosen = range(0, n, math.ceil(n / _WINDOW_FRAMES))
        clean = [_lit(read, k, zero) / light.ground(k, read.shape) for k in chosen]
        estimates += window_estimates(find_spots(clean, noise=relative, field=core))
    elif light.shared:
        reason = "no ground is seen" if light.hidden else f"{n} of at least {FEWEST_FRAMES} frames"
        notes.append(f"dust: left at the preset's, {reason}")
    share = float(np.mean([read.saturated(k) for k in range(n)]))
    estimates.append(Estimate("saturated_share", "seen", share, "share of pixels at white"))
    notes += _unseen(read, look, black=black, floor=floor)
    samples = tuple(read.images[k] for k in np.unique(np.linspace(0, n - 1, min(n, _SAMPLES)).round().astype(int)))
    return InstrumentFit(
        look=look,
        base=_BASES[look],
        vary="set" if light.shared else "frame",
        estimates=tuple(estimates),
        frames=_per_frame(read, light, edges, fine),
        notes=tuple(notes),
        samples=samples,
        curve=curve,
        widths_px=edges.width_px,
    )


def _unseen(read: Frames, look: str, *, black: float, floor: float) -> list[str]:
    """What pictures do not show."""
    out = [
        f"left at the preset's, since pictures do not tell them: {_LEFT[look]}, psf, blur_per_px, motion_px",
        "gamma cannot be seen: levels are taken as linear in the light and gamma is 1",
    ]
    if not math.isfinite(black):
        out.append(f"black: no place in the picture is known to be without light; at most {floor:.3g}, taken as 0")
    own = preset(_BASES[look]).instrument.get("pixel_size_um")
    if read.pixel_size_um is None and own is not None:
        out.append(f"no scale was given: {own} um per px is that of the preset {_BASES[look]}, not of the instrument")
    return out


def _lit(read: Frames, k: int, black: float) -> Picture:
    """Grey of a frame with the black level taken off, share of white."""
    return ((read.grey(k) - np.float32(black)) / np.float32(1 - black)).astype(np.float32)


def _guess(read: Frames, light: Light, view: FieldOfView) -> str:
    """Look by the rule of `fit_instrument`."""
    if view.disc is not None:
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


def _off_rim(valid: NDArray[np.bool_], view: FieldOfView) -> NDArray[np.bool_]:
    """The rim of a disc is an edge, but not of a particle."""
    if view.disc is None:
        return valid
    row, column, radius = view.disc
    rows, columns = view.shape
    r = np.hypot(np.arange(rows)[:, None] - row, np.arange(columns)[None, :] - column)
    return np.asarray(valid & ((r < radius - _RIM_PX) | (r > 1.05 * radius + _RIM_PX)))


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
    rendered = [s.image for s in scenes_of(fit.recipe(), frames=_SAMPLES, seed=seed)]
    read = read_frames(rendered)
    again = _fitted(dataclasses.replace(read, jpeg=int(fit["jpeg"].value)), fit.look)
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
