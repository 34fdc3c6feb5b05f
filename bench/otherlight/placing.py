"""Where bodies stand: at random in a volume round the focal plane that reaches beyond the picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from shapely import Point, Polygon, affinity, box

from bench.otherlight.bodies import Body
from bench.otherlight.optics import Instrument, lens_kernel
from bench.otherlight.truth import sharp_limit


@dataclass(frozen=True, eq=False)
class Placed:
    """A body at a place.

    Parameters
    ----------
    body
        The body.
    x, y
        Of its origin, px from the left and upper edge of the picture.
    depth
        Behind the focal plane, px.
    lens
        Blur that the lens is set to, px.
    blur
        Standard deviation of the kernel that this gives, px.
    """

    body: Body
    x: float
    y: float
    depth: float
    lens: float
    blur: float

    @cached_property
    def outline(self) -> Polygon:
        """In picture coordinates."""
        return affinity.translate(self.body.outline, self.x, self.y)

    @cached_property
    def sharp(self) -> bool:
        """Whether it is in focus by the rule."""
        return self.blur <= sharp_limit(math.sqrt(4 * self.body.outline.area / math.pi))


def settle_depth(
    body: Body, instrument: Instrument, *, sharp: float, grey: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Depth, blur of the lens and blur of the whole kernel of a body somewhere in the volume, px.

    Parameters
    ----------
    body
        The body.
    instrument
        The microscope.
    sharp
        Share of bodies of 40 px that are in focus; larger ones are so more often, as their limit is wider. 1: all
        are well in focus, within 2.5 px of blur, 0: none.
    grey
        Chance that a body near the limit of focus stays there; else it is moved to 0.8 times the limit, or beyond 1.5.
    rng
        Random numbers.
    """
    limit = sharp_limit(math.sqrt(4 * body.outline.area / math.pi))
    far = math.sqrt(sharp_limit(40.0) ** 2 - instrument.core**2) / max(sharp, 1e-3)
    if sharp >= 1:
        spread = rng.uniform(0, min(0.6 * limit, 2.5))
    elif sharp <= 0:
        spread = rng.uniform(1.6, 6.0) * limit
    else:
        spread = rng.uniform(0, far)
    blur = math.hypot(spread, instrument.core)
    if rng.random() >= grey and 0.8 * limit < blur < 1.5 * limit:
        blur = rng.uniform(0.6, 0.8) * limit if blur <= limit else rng.uniform(1.5, 1.8) * limit
    blur = max(blur, instrument.core)
    side = 1.0 if rng.random() < 0.5 else -1.0
    depth = side * math.sqrt(max(blur**2 - instrument.core**2, 0)) / instrument.blur_per_depth
    _, exact = lens_kernel(blur, instrument)
    return depth, blur, exact


def scatter(
    draw: Callable[[], Body],
    count: float,
    instrument: Instrument,
    *,
    sharp: float,
    rng: np.random.Generator,
    grey: float = 0.03,
    gap: float | None = None,
    whole: bool = False,
    taken: list[Placed] | None = None,
) -> list[Placed]:
    """Place bodies at random over the picture and a margin round it.

    Parameters
    ----------
    draw
        Makes a body.
    count
        Mean number of bodies over the area of the picture.
    instrument
        The microscope.
    sharp, grey
        As in `settle_depth`.
    rng
        Random numbers.
    gap
        Sharp bodies keep so many px between their outlines; None: they may cross. What finds no place in 40 trials is
        left out, of the population too.
    whole
        Keep sharp bodies from being cut by the edge: at least 60 % inside, or outside altogether.
    taken
        Bodies placed before, from which the new ones keep their distance.

    Returns
    -------
    All bodies, those outside of the picture too.
    """
    rows, columns = instrument.shape
    drawn = [draw() for _ in range(max(8, round(count)))]
    margin = 1.15 * max(b.radius for b in drawn) + 3
    wanted = rng.poisson(count * (rows + 2 * margin) * (columns + 2 * margin) / (rows * columns))
    drawn = drawn[:wanted] + [draw() for _ in range(wanted - len(drawn))]
    field = field_polygon(instrument)
    fixed = [p.outline for p in taken or [] if p.sharp]
    out = []
    for body in sorted(drawn, key=lambda b: -b.radius):
        depth, lens, blur = settle_depth(body, instrument, sharp=sharp, grey=grey, rng=rng)
        for _ in range(40):
            x, y = rng.uniform(-margin, columns + margin), rng.uniform(-margin, rows + margin)
            placed = Placed(body, x, y, depth, lens, blur)
            if not placed.sharp or (gap is None and not whole):
                break
            outline = placed.outline
            if whole and 0.0 < outline.intersection(field).area < 0.6 * outline.area:
                continue
            if gap is None or all(outline.distance(o) > gap for o in fixed):
                break
        else:
            continue
        if placed.sharp and gap is not None:
            fixed.append(placed.outline)
        out.append(placed)
    return out


def field_polygon(instrument: Instrument) -> Polygon:
    """The field of view: the picture or the lit disc."""
    if instrument.disc is None:
        return box(0, 0, instrument.shape[1], instrument.shape[0])
    row, column, radius = instrument.disc
    # FieldOfView measures from pixel to pixel, so the disc's middle is a pixel's.
    return Point(column + 0.5, row + 0.5).buffer(radius, quad_segs=64)
