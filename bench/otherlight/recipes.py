"""Instruments and bodies drawn at random, in the ranges of the test pictures."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from bench.otherlight.bodies import (
    Body,
    Material,
    agglomerate,
    bent_rod,
    bipyramid,
    box,
    granular,
    polygon_plate,
    pose,
    rod,
    solid,
    sphere,
)  # fmt: skip
from bench.otherlight.frame import deposits
from bench.otherlight.optics import Instrument

SHAPES = ((480, 640), (600, 800), (768, 1024), (1000, 1112))


LOOKS = ("backlit", "probe", "flow", "polars")
"""Transmitted light, reflected light, a bright disc on black, crossed polarisers."""


def instrument(
    look: str,
    rng: np.random.Generator,
    *,
    shape: tuple[int, int],
    quality: int | None = None,
    bright: bool | None = None,
    pixel_size_um: float | None = None,
) -> Instrument:
    """A microscope of a given look with light, lens and camera drawn at random.

    Parameters
    ----------
    look
        One of `LOOKS`.
    rng
        Random numbers.
    shape
        (rows, columns), px.
    quality
        Of JPEG; 0: lossless; drawn where None.
    bright
        Whether a probe sees a bright, grainy ground instead of a dark one; drawn where None.
    pixel_size_um
        um per px, or None.
    """
    slope = rng.normal(0, [0.05, 0.05, 0.04, 0.03, 0.04, 0.0])
    slope[5] = -rng.uniform(0, 0.06)

    def gradient(factor: float) -> tuple[float, float, float, float, float, float]:
        a, b, c, d, e, f = (float(factor * v) for v in slope)
        return a, b, c, d, e, f

    base = Instrument(
        look,
        shape,
        pixel_size_um,
        core=rng.uniform(0.6, 1.3),
        blur_per_depth=rng.uniform(0.02, 0.12),
        blades=int(rng.choice([0, 0, 5, 6, 8])),
        rim=rng.uniform(0, 1.2),
        motion=float(max(0.0, rng.normal(0, 0.8))),
        well=rng.uniform(3000, 16000),
        read=rng.uniform(8, 40),
        uneven=int(rng.integers(2**31)),
        bands=float(max(0.0, rng.normal(0, 0.006))),
        quality=int(rng.choice([0, 0, 75, 88, 95])) if quality is None else quality,
    )
    if look == "backlit":
        from_x, from_y = rng.normal(0, 0.025, 2)
        return replace(
            base,
            level=rng.uniform(0.5, 0.9),
            source=rng.uniform(0.09, 0.22),
            gradient=gradient(1.6),
            offset=(float(from_x), float(from_y)),
            floor=rng.uniform(0.03, 0.16),
            halo=rng.uniform(0, 0.5),
        )
    if look == "flow":
        radius = 0.5 * min(shape) * rng.uniform(0.86, 0.97)
        row, column = shape[0] / 2 + rng.normal(0, 4), shape[1] / 2 + rng.normal(0, 6)
        return replace(
            base,
            disc=(float(round(row)), float(round(column)), float(round(radius))),
            level=rng.uniform(0.6, 0.9),
            source=rng.uniform(0.08, 0.17),
            gradient=gradient(0.8),
            floor=rng.uniform(0.02, 0.08),
            halo=rng.uniform(0, 0.4),
        )
    if look == "polars":
        return replace(
            base,
            level=rng.uniform(0.015, 0.12),
            source=rng.uniform(0.2, 0.35),
            gradient=gradient(4),
            polariser=rng.uniform(0, math.pi / 2),
        )
    bright = rng.random() < 0.4 if bright is None else bright
    count = int(rng.integers(1, 7))
    start, polar = rng.uniform(0, 2 * math.pi), rng.uniform(0.25, 1.0)
    angle = start + 2 * math.pi * np.arange(count) / count
    weight = rng.uniform(0.3, 1.5, count)
    weight *= rng.uniform(1.4, 2.6) / weight.sum()
    up = np.full(count, math.cos(polar))
    return replace(
        base,
        level=rng.uniform(0.3, 0.5) if bright else rng.uniform(0.06, 0.24),
        lights=np.column_stack([math.sin(polar) * np.cos(angle), math.sin(polar) * np.sin(angle), up, weight]),
        gloss=rng.uniform(0.1, 0.35),
        clear=rng.uniform(0.6, 0.95) if bright else rng.uniform(0.3, 0.7),
        source=rng.uniform(0.3, 0.6),
        speckle=rng.uniform(0.04, 0.22) if bright else rng.uniform(0, 0.15),
        grain=rng.uniform(0.8, 1.8),
        gradient=gradient(3),
        gamma=float(rng.choice([1.0, 1.3])),
    )


def stuff(rng: np.random.Generator, size: float, *, clean: bool = False) -> Material:
    """The stuff of a crystal of about `size` px; `clean`: without flaws and rounding."""
    worn = not clean and rng.random() < 0.3
    return Material(
        contrast=rng.uniform(0.09, 0.27),
        absorb=rng.uniform(0, 0.25) / size if rng.random() < 0.3 else 0.0,
        rough=rng.uniform(0.02, 0.1) + (rng.uniform(0.03, 0.15) if worn else 0.0),
        grain=max(1.0, size * rng.uniform(0.015, 0.05)),
        soft=size * rng.uniform(0.03, 0.1) if worn else 0.0,
        milk=float(rng.choice([rng.uniform(0.06, 0.2), rng.uniform(0.2, 0.6)], p=[0.6, 0.4])),
        flaws=0 if clean or size < 30 else int(rng.poisson(0.8) + (rng.integers(3, 9) if rng.random() < 0.15 else 0)),
        birefringence=rng.uniform(100, 1800) / size,
    )


def block(rng: np.random.Generator, size: float, *, width_px: float | None = None) -> Body:
    """Block of about `size` px: oblique cuboid or bipyramid, length:width up to 1.5, thickness at least 0.65.

    `width_px` sets the middle one of the three dimensions, which a sieve sorts by.
    """
    width = size * rng.uniform(0.75, 0.95)
    length, thick = width * rng.uniform(1.02, 1.5), width * rng.uniform(0.7, 0.98)
    make = box if rng.random() < 0.5 else bipyramid
    for _ in range(20):
        corners = make(length, width, thick, rng)
        a, b, c = sorted(np.ptp(corners, axis=0), reverse=True)
        if a / b <= 1.55 and c / b >= 0.62:
            break
    if width_px is not None:
        corners = corners * (width_px / b)
    turn = pose(rng, tilt=float(rng.choice([0.25, 2.0])), roll=float(rng.choice([0.3, 2.0])))
    return solid("block", corners, turn, stuff(rng, size))


def plate(rng: np.random.Generator, size: float, *, edge_on: float = 0.08) -> Body:
    """Platelet of about `size` px, thickness 0.04 to 0.13 of its width; a share of them is seen on edge."""
    ratio = rng.uniform(1.0, 1.55)
    width = size / math.sqrt(ratio)
    for _ in range(20):
        corners = polygon_plate(width, max(0.8, width * rng.uniform(0.04, 0.12)), rng, ratio=ratio)
        a, b, c = sorted(np.ptp(corners, axis=0), reverse=True)
        if a / b <= 1.75 and c / b <= 0.145:
            break
    steep = rng.random() < edge_on
    turn = pose(rng, tilt=0.7, roll=math.pi / 2 if steep else 0.55)
    return solid("platelet", corners, turn, stuff(rng, size))


def elongated(rng: np.random.Generator, size: float) -> Body:
    """Prism with length:width 2.7 to 4.7; `size`: its length, px."""
    width = size / rng.uniform(2.8, 4.6)
    for _ in range(20):
        make = rod if rng.random() < 0.7 else bipyramid
        corners = make(size, width, width * rng.uniform(0.55, 0.95), rng)
        a, b, _ = sorted(np.ptp(corners, axis=0), reverse=True)
        if 2.65 <= a / b <= 4.8:
            break
    return solid("elongated", corners, pose(rng, tilt=0.35, roll=2.0), stuff(rng, width * 1.5))


def needle(
    rng: np.random.Generator, size: float, *, ratio: float | None = None, bend: float = 0.15, milky: bool = False
) -> Body:
    """Needle of length `size` px, length:width 7 to 20 unless given; a share `bend` of them is bent."""
    width = max(size / (ratio or rng.uniform(7, 20)), 2.0)
    material = Material(
        contrast=rng.uniform(0.1, 0.25), rough=rng.uniform(0.02, 0.12), streak=rng.uniform(0.05, 0.35), grain=width / 5,
        milk=rng.uniform(0.35, 0.8) if milky else rng.uniform(0.1, 0.6), birefringence=rng.uniform(100, 700) / width,
    )  # fmt: skip
    thick = width * rng.uniform(0.6, 0.95)
    if rng.random() < bend:
        arc = rng.choice([-1, 1]) * rng.uniform(0.15, 0.7)
        return bent_rod(size, width, thick, arc, rng.uniform(0, 2 * math.pi), material)
    return solid("needle", rod(size, width, thick, rng), pose(rng, tilt=0.45, roll=2.0), material)


def bubble(rng: np.random.Generator, size: float) -> Body:
    """Gas bubble."""
    material = Material(contrast=rng.uniform(-0.31, -0.24), milk=0.02, polish=0.35, birefringence=0.0)
    return sphere(size, kind="bubble", name="bubble", material=material)


def droplet(rng: np.random.Generator, size: float, *, contrast: float | None = None) -> Body:
    """Liquid droplet: a weak lens."""
    material = Material(contrast=contrast or rng.uniform(0.045, 0.11), milk=0.06, polish=0.4, birefringence=0.0)
    return sphere(size, kind="droplet", name="droplet", material=material)


def cluster(rng: np.random.Generator, size: float) -> Body:
    """Agglomerate of 2 to 10 primaries of one habit, about `size` px over all."""
    count = int(np.clip(2 + rng.geometric(0.3) - 1, 2, 10))
    one = size / count**0.45
    make = [block, plate, elongated, needle][int(rng.choice(4, p=[0.55, 0.1, 0.25, 0.1]))]
    grow = 1.5 if make in (elongated, needle) else 1.0
    return agglomerate(
        lambda: make(rng, grow * one * rng.lognormal(0, 0.25)), count, rng, overlap=rng.uniform(0.1, 0.35),
        compact=rng.uniform(0, 1),
    )  # fmt: skip


def grains(rng: np.random.Generator, size: float) -> Body:
    """Granular round cluster."""
    material = Material(contrast=0.25, opacity=rng.uniform(0.3, 0.7), rough=0.1, milk=rng.uniform(0.6, 1.0),
                        birefringence=rng.uniform(2, 8))  # fmt: skip
    return granular(size, rng, material)


def lognormal(rng: np.random.Generator, median: float, spread: float, *, low: float = 8, high: float = 400) -> float:
    """A size in px, cut to a range."""
    return float(np.clip(median * math.exp(spread * rng.normal()), low, high))


def window_of(look: Instrument, rng: np.random.Generator, *, dirt: float | None = None) -> np.ndarray:
    """Specks and stains on the window, `dirt` 0 (clean) to 1 (fouled)."""
    d = rng.uniform(0, 1) ** 2 if dirt is None else dirt
    return deposits(look, specks=int(rng.poisson(6 * d)), stains=int(rng.poisson(3 * d)), strength=1 + d, rng=rng)


def any_body(rng: np.random.Generator, size: float) -> Body:
    """One body of any kind."""
    k = int(rng.choice(8, p=[0.3, 0.13, 0.15, 0.12, 0.12, 0.04, 0.08, 0.06]))
    return of_size(MAKERS[k], rng, size)


Maker = Callable[[np.random.Generator, float], Body]

MAKERS: tuple[Maker, ...] = (block, plate, elongated, needle, cluster, grains, bubble, droplet)


def of_size(make: Maker, rng: np.random.Generator, size: float) -> Body:
    """A body whose ECD is roughly `size` px: long ones are made longer."""
    if make is needle:
        return needle(rng, 2.6 * size)
    return make(rng, 1.6 * size if make is elongated else size)


# Numbers and names


def frames_of(name: str, n: int, seed: int) -> Iterator[tuple[int, np.random.Generator]]:
    """Number and random numbers of every picture of a set; they do not hang on how many there are."""
    for i in range(n):
        yield i, np.random.default_rng([seed, zlib.crc32(name.encode()), i])


def once(name: str, seed: int) -> np.random.Generator:
    """Random numbers for what all pictures of a set share."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def suffix(look: Instrument) -> str:
    """File type of a camera."""
    if look.quality:
        return ".jpg"
    return ".tif" if look.bits == 16 else ".png"
