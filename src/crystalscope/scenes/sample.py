"""Samples: what bodies there are, how many and how large, and where they stand before the instrument."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field, model_validator

from crystalscope.config import NonNegative, Positive, Share, Table
from crystalscope.scenes import assemble, shapes
from crystalscope.scenes.bodies import Body, Material
from crystalscope.scenes.optics import Instrument
from crystalscope.scenes.render import Placed

Between = NonNegative | tuple[NonNegative, NonNegative]
"""A number, or the two ends of an even draw."""

BodyName = Literal[
    "sphere", "block", "platelet", "needle", "elongated", "bundle", "agglomerate", "cluster", "spherulite", "dendrite",
    "bubble", "droplet", "fibre", "hair", "dust", "scratch", "smear",
]  # fmt: skip
_SINGLE = ("block", "platelet", "needle", "elongated")


class Population(Table):
    """Bodies of one sort.

    Ranges are drawn once per picture for what a substance has (size, number, index, roughness) and once per body for
    what a body has (proportions, cuts, bends).
    """

    body: BodyName
    presence: Share = 1.0
    """Probability that a picture has any."""
    count: Between = 10.0
    """Bodies near the focal plane expected in the field of view (layout ``volume``: in all of the depth)."""
    ghosts: Between = 0.0
    """Bodies far from it expected in the field of view."""
    size: Between = 40.0
    """Median length, or diameter of what is round."""
    unit: Literal["px", "um"] = "px"
    law: Literal["lognormal", "normal", "even"] = "lognormal"
    """Of sizes: log-normal, normal, or even in the logarithm between the ends of `size`."""
    spread: Between = 0.3
    """Standard deviation of the logarithm, or relative to the mean."""
    length_to_width: Between = (1.0, 1.6)
    thickness_to_width: Between = (0.6, 1.0)
    tilt_deg: Annotated[float, Field(ge=0, le=90)] = 90.0
    """Largest angle of length (plates: normal) out of the position in which it shows whole; 90: any direction."""
    habits: tuple[Literal["cuboid", "prism", "bipyramid"], ...] = ("cuboid", "prism", "bipyramid")
    cut: Between = (0.0, 0.8)
    broken: Share = 0.1
    """Share of bodies with pieces broken off."""
    bend_deg: Between = 0.0
    primaries: tuple[int, int] = (2, 6)
    of: Literal["block", "platelet", "needle", "elongated"] = "block"
    """Primaries of an agglomerate."""
    intergrown: Between = (0.0, 1.0)
    index: Between = (1.06, 1.2)
    absorption: Between = 0.0
    scatter: Between = 0.0
    rounding: Between = 0.0
    """Radius of edges and corners relative to the width."""
    bump: Between = 0.01
    steps: Share = 0.1
    """Probability that the faces of a picture's bodies carry growth steps."""
    flaws: Between = 0.0
    retardance: Between = (0.004, 0.05)

    @model_validator(mode="after")
    def _ordered(self) -> Population:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if (
                isinstance(value, tuple)
                and len(value) == 2
                and isinstance(value[0], int | float)
                and value[0] > value[1]
            ):
                raise ValueError(f"expected {name} as [low, high], got {list(value)}; turn them round")
        if self.law == "even" and not isinstance(self.size, tuple):
            raise ValueError("expected size as [low, high] for an even law")
        if self.body == "agglomerate" and self.primaries[0] < 2:
            raise ValueError(f"expected agglomerates of at least 2 primaries, got {self.primaries[0]}")
        return self


def value(between: Between, rng: np.random.Generator) -> float:
    """The number, or one drawn evenly between the two ends."""
    return float(rng.uniform(*between)) if isinstance(between, tuple) else float(between)


class Maker:
    """Makes bodies of a population as one picture has them: substance and median size are drawn once.

    Parameters
    ----------
    population
        What to make.
    instrument
        For its scale.
    rng
        For the substance.
    grown
        Factor on all sizes, for batches in time.
    """

    def __init__(
        self, population: Population, instrument: Instrument, *, rng: np.random.Generator, grown: float = 1.0
    ) -> None:
        self.population = population
        p = population
        scale = 1.0
        if p.unit == "um":
            scale = 1.0 / (instrument.pixel_size_um or 1.0)
        self.scale = scale * grown
        self.median = value(p.size, rng) * self.scale
        self.spread = value(p.spread, rng)
        round_body = p.body in ("sphere", "bubble", "droplet")
        self.material = Material(
            index=value(p.index, rng),
            absorption=value(p.absorption, rng),
            scatter=value(p.scatter, rng),
            forwards=float(rng.uniform(0.2, 0.5)),
            backwards=float(rng.uniform(0.4, 1.2)),
            bump=0.0 if round_body else value(p.bump, rng),
            steps=float(rng.uniform(0.05, 0.35)) if rng.random() < p.steps else 0.0,
            flaws=value(p.flaws, rng),
            retardance=0.0 if round_body else value(p.retardance, rng),
        )
        self.rounding = value(p.rounding, rng)

    def largest(self) -> float:
        """Reach of nearly all bodies from their centre, px."""
        p = self.population
        if p.law == "even" and isinstance(p.size, tuple):
            return 0.75 * p.size[1] * self.scale
        grow = math.exp(2.5 * self.spread) if p.law == "lognormal" else 1 + 3 * self.spread
        together = math.sqrt(p.primaries[1]) if p.body == "agglomerate" else 1.0
        return 0.75 * self.median * grow * together

    def size(self, rng: np.random.Generator) -> float:
        """One size, px, at least 2."""
        p = self.population
        if p.law == "even" and isinstance(p.size, tuple):
            low, high = (math.log(max(s * self.scale, 1.0)) for s in p.size)
            return math.exp(rng.uniform(low, high))
        if p.law == "normal":
            return max(2.0, self.median * (1 + self.spread * rng.normal()))
        return max(2.0, self.median * math.exp(self.spread * rng.normal()))

    def one(self, rng: np.random.Generator, *, length: float | None = None) -> Body:
        """One body, turned; `length` px instead of a drawn one."""
        name = self.population.body
        size = self.size(rng) if length is None else length
        if name in _SINGLE:
            return self._crystal(name, size, rng)
        if name == "agglomerate":
            p = self.population
            number = int(rng.integers(p.primaries[0], p.primaries[1] + 1))
            grown = value(p.intergrown, rng)
            return assemble.agglomerate(
                lambda g: self._crystal(p.of, size * g.lognormal(0, 0.2), g), number, intergrown=grown, rng=rng
            )
        return self._other(name, size, rng)

    def _crystal(self, name: str, length: float, rng: np.random.Generator) -> Body:
        p = self.population
        width = length / max(value(p.length_to_width, rng), 1.0)
        thickness = width * value(p.thickness_to_width, rng)
        tilt = math.radians(p.tilt_deg)
        m = self._rounded(width)
        broken = bool(rng.random() < p.broken)
        if name == "platelet":
            thin = max(thickness, 0.8)
            plate = self._rounded(min(width, 2 * thin))
            return shapes.platelet(length, width, thin, tilt=tilt, chips=int(broken), material=plate, rng=rng)
        if name == "needle":
            bend = math.radians(value(p.bend_deg, rng)) * rng.choice([-1, 1])
            flat = min(1.0, value(p.thickness_to_width, rng))
            sides = int(rng.choice([4, 6]))
            return shapes.needle(
                length, width, tilt=tilt, bend=bend, broken=broken, sides=sides, flatness=flat, material=m, rng=rng
            )
        habit = str(rng.choice(p.habits))
        cut = value(p.cut, rng)
        return shapes.block(
            length, width, thickness, habit=habit, cut=cut, chips=int(broken), tilt=tilt, material=m, name=name, rng=rng
        )

    def _rounded(self, width: float) -> Material:
        return dataclasses.replace(self.material, rounding=self.rounding * width)

    def _other(self, name: str, size: float, rng: np.random.Generator) -> Body:
        m = self.material
        tilt = math.radians(self.population.tilt_deg)
        if name == "sphere":
            return shapes.sphere(size, material=m)
        if name == "bubble":
            gas = Material(index=float(rng.uniform(0.73, 0.78)), retardance=0.0)
            if rng.random() < 0.25:
                flat = (size, size * rng.uniform(0.75, 1), size)
                return shapes.ellipsoid(flat, material=gas, name=name, kind="bubble", rng=rng)
            return shapes.sphere(size, material=gas, name=name, kind="bubble")
        if name == "droplet":
            oil = Material(index=m.index, absorption=m.absorption, retardance=0.0)
            ball = shapes.sphere(size, material=oil, name=name, kind="droplet")
            return _softened(ball, min(1.2, 0.02 * size + 0.3))
        if name == "bundle":
            width = size / max(value(self.population.length_to_width, rng), 4.0)
            return assemble.bundle(size, width, int(rng.integers(2, 6)), tilt=tilt, material=m, rng=rng)
        if name == "cluster":
            grains = int(np.clip(0.8 * size, 25, 90))
            return assemble.cluster(size, grains=grains, core=float(rng.uniform(0.6, 0.9)), material=m, rng=rng)
        if name == "spherulite":
            return assemble.spherulite(size, rays=int(np.clip(size, 30, 90)), material=m, rng=rng)
        if name == "dendrite":
            return assemble.dendrite(size, material=m, tilt=min(tilt, 0.9), rng=rng)
        if name in ("fibre", "hair"):
            thick = size / rng.uniform(18, 45) if name == "fibre" else max(2.0, size / rng.uniform(40, 90))
            cloth = Material(index=1.12, absorption=float(rng.uniform(0.0, 0.25) if name == "fibre" else 0.6 / thick))
            bend = rng.uniform(0.5, 3.2) * rng.choice([-1, 1])
            return shapes.needle(
                size,
                max(thick, 1.6),
                tilt=0.25,
                bend=float(bend),
                sides=8,
                material=cloth,
                name=name,
                kind="other",
                rng=rng,
            )
        if name == "dust":
            return shapes.flake(size, material=Material(index=1.3, absorption=float(rng.uniform(0.05, 0.6))), rng=rng)
        thin = size / rng.uniform(40, 120) if name == "scratch" else size * rng.uniform(0.25, 0.7)
        transmission = float(rng.uniform(0.35, 0.75) if name == "scratch" else rng.uniform(0.55, 0.85))
        return shapes.smear(size, max(thin, 1.5), transmission=transmission, name=name, rng=rng)


def _softened(body: Body, softness: float) -> Body:
    return dataclasses.replace(body, softness=softness)


def place(
    maker: Maker,
    instrument: Instrument,
    *,
    layout: Literal["slabs", "volume"],
    depth_px: Positive,
    count: float,
    ghosts: float,
    rng: np.random.Generator,
) -> list[Placed]:
    """Bodies at random before the instrument, over more than the field, so that its edge cuts them as in nature.

    Parameters
    ----------
    maker
        Makes the bodies.
    instrument
        Its field and depth of field.
    layout
        ``volume``: bodies evenly in depth up to `depth_px` before and behind the focal plane, `count` of them over
        the field. ``slabs``: `count` close to the focal plane and `ghosts` beyond 1.6 times the depth of focus.
    depth_px, count, ghosts
        As above.
    rng
        Places and bodies.
    """
    reach = maker.largest()
    rows, columns = instrument.rows, instrument.columns
    ratio = (rows + 2 * reach) * (columns + 2 * reach) / (rows * columns)
    out = []
    for mean, sharp in ((count, True), (ghosts, False)):
        for _ in range(rng.poisson(mean * ratio)):
            body = maker.one(rng)
            limit = instrument.focus_depth(2 * math.sqrt(body.outline.area / math.pi))
            if layout == "volume":
                depth = rng.uniform(-depth_px, depth_px)
            elif sharp:
                depth = 0.6 * limit * rng.uniform(-1, 1)
            else:
                depth = rng.uniform(1.6 * limit, max(depth_px, 2.2 * limit)) * rng.choice([-1, 1])
            x, y = rng.uniform(-reach, columns + reach), rng.uniform(-reach, rows + reach)
            out.append(Placed(body, float(x), float(y), float(depth)))
    return out


def body_names() -> tuple[str, ...]:
    """Names that `Population.body` takes."""
    return get_args(BodyName)
