"""Samples by name: populations placed in a volume wider than the field, so that border effects are right."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pandas as pd

from crystalscope.scenes.bodies import Body, Sphere, bipyramid, block, needle
from crystalscope.scenes.render import Instrument, Placed, Scene, render, window_dust

LOADINGS = {"low": 10.0, "mid": 30.0, "high": 70.0}
"""Bodies in the focal volume per 1000 x 1112 px field, before border effects."""


def _placed(
    make: Callable[[np.random.Generator], Body],
    instrument: Instrument,
    *,
    sharp: float,
    ghosts: float,
    reach: float,
    rng: np.random.Generator,
) -> list[Placed]:
    """Bodies at random: `sharp` expected per field near the focal plane, `ghosts` far from it, `reach` the margin."""
    area = (instrument.rows + 2 * reach) * (instrument.columns + 2 * reach)
    ratio = area / (instrument.rows * instrument.columns)
    out = []
    for mean, near in ((sharp, True), (ghosts, False)):
        for _ in range(rng.poisson(mean * ratio)):
            z = rng.uniform(-20, 20) if near else rng.uniform(250, 900) * rng.choice([-1, 1])
            x = rng.uniform(-reach, instrument.columns + reach)
            y = rng.uniform(-reach, instrument.rows + reach)
            out.append(Placed(make(rng), float(x), float(y), float(z)))
    return out


def beads(
    diameter_um: float,
    *,
    loading: Literal["low", "mid", "high"] = "low",
    cv: float = 0.03,
    frames: int = 10,
    instrument: Instrument | None = None,
    rng: int = 0,
) -> Iterator[Scene]:
    """Polystyrene beads as an in-situ probe sees them: 5 um per px, gradient, noise, ghosts.

    Parameters
    ----------
    diameter_um
        Mean diameter; `cv` is the relative standard deviation.
    loading
        ``low``, ``mid``, ``high``: 10, 30, 70 beads in the focal volume per field, scaled down with the area of beads
        above 300 um so that the highest still covers about a fifth of the field.
    frames
        Number of independent pictures.
    instrument
        Another instrument; it needs a scale.
    rng
        Seed.
    """
    optics = instrument or Instrument(pixel_size_um=5.0, blur_px=1.0, gradient=0.2)
    assert optics.pixel_size_um is not None
    mean = diameter_um / 2 / optics.pixel_size_um
    count = LOADINGS[loading] * min(1.0, (30.0 / mean) ** 2)
    generator = np.random.default_rng(rng)
    for i in range(frames):
        bodies = _placed(
            lambda g: Sphere(mean * max(0.2, 1 + cv * g.normal())),
            optics,
            sharp=count,
            ghosts=0.5 * count,
            reach=4 * mean,
            rng=generator,
        )
        yield render(bodies, optics, rng=generator, source=f"frame_{i:04d}.png")


def needles(
    length_um: float = 400.0,
    *,
    spread: float = 0.3,
    length_to_width: float = 12.0,
    count: float = 15.0,
    frames: int = 10,
    rng: int = 0,
) -> Iterator[Scene]:
    """Needles of log-normal length (ln standard deviation `spread`), nearly in the picture's plane, 2 um per px."""
    optics = Instrument(pixel_size_um=2.0)
    generator = np.random.default_rng(rng)

    def make(g: np.random.Generator) -> Body:
        length = length_um / 2.0 * math.exp(spread * g.normal())
        return needle(length, length / length_to_width, tilt=0.15, rng=g)

    for i in range(frames):
        bodies = _placed(make, optics, sharp=count, ghosts=count / 3, reach=length_um, rng=generator)
        yield render(bodies, optics, rng=generator, source=f"frame_{i:04d}.png")


def _crystal(g: np.random.Generator, size: float) -> Body:
    if g.random() < 0.35:
        return bipyramid(size * g.uniform(1.0, 1.6), size * g.uniform(0.7, 1.0), rng=g)
    return block(
        size * g.uniform(1, 1.7),
        size * g.uniform(0.7, 1),
        size * g.uniform(0.4, 0.9),
        cut=float(g.uniform(0, 0.8)),
        rng=g,
    )


def backlit_crystals(
    size_px: float = 40.0, *, spread: float = 0.5, count: float = 15.0, frames: int = 10, rng: int = 0
) -> Iterator[Scene]:
    """Faceted clear crystals in transmitted light with many ghosts, log-normal size in px."""
    optics = Instrument(light=0.76, blur_px=1.1)
    generator = np.random.default_rng(rng)
    for i in range(frames):
        bodies = _placed(
            lambda g: _crystal(g, size_px * math.exp(spread * g.normal())),
            optics,
            sharp=count,
            ghosts=1.5 * count,
            reach=4 * size_px,
            rng=generator,
        )
        yield render(bodies, optics, rng=generator, source=f"frame_{i:04d}.png")


def demo_frames(*, frames: int = 24, rng: int = 7) -> tuple[Iterator[Scene], pd.DataFrame]:
    """A small batch in time: crystals appear on cooling and grow, with ghosts, window dust and a flickering lamp.

    Returns
    -------
    scenes
        One a minute, 2 um per px.
    log
        Columns time_s and temperature_c: 45 deg C, falling by 0.5 deg C/min from minute 4.

    Notes
    -----
    The growth law is stated, not fitted: from minute 6 crystals appear at a constant rate and each grows by 4 um/min.
    """
    optics = Instrument(rows=720, columns=960, pixel_size_um=2.0, blur_px=1.0)
    times = 60.0 * np.arange(frames)
    log = pd.DataFrame({"time_s": times, "temperature_c": 45 - 0.5 * np.clip(times / 60 - 4, 0, None)})

    def scenes() -> Iterator[Scene]:
        generator = np.random.default_rng(rng)
        dust = window_dust(optics, specks=6, rng=generator)
        for i in range(frames):
            grown = max(0.0, i - 6.0)

            def make(g: np.random.Generator, grown: float = grown) -> Body:
                # A crystal born at a random moment since nucleation began.
                return _crystal(g, 8 + 2.0 * grown * g.uniform(0.4, 1.0) * g.lognormal(0, 0.2))

            bodies = _placed(make, optics, sharp=min(24.0, 2.0 * grown), ghosts=6 + grown, reach=120, rng=generator)
            yield render(
                bodies,
                optics,
                rng=generator,
                dust=dust,
                source=f"frame_{i:03d}_t{i * 60:05d}s.png",
                time_s=i * 60.0,
            )

    return scenes(), log


def write_frames(scenes: Iterable[Scene], folder: Path) -> pd.DataFrame:
    """Write pictures as PNG; returns the truth of all of them with a column file."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = []
    for scene in scenes:
        data = np.asarray(scene.image.data)
        ok, png = cv2.imencode(".png", data)
        assert ok
        (folder / scene.image.source).write_bytes(png.tobytes())
        tables.append(scene.truth.assign(file=scene.image.source))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
