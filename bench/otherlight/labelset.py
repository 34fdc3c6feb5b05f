"""The set for the ten labels: pictures made to a plan, so that every label is there often enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench.otherlight import recipes as make
from bench.otherlight.bodies import Body
from bench.otherlight.frame import make_scene
from bench.otherlight.optics import Instrument
from bench.otherlight.others import UFO_KINDS, ufo
from bench.otherlight.placing import Placed, field_polygon, settle_depth
from bench.otherlight.recipes import frames_of, once, suffix
from bench.otherlight.truth import CROWDED, outline_measures, shape_labels
from crystalscope.core import Scene

PLANNED = ("platelet", "block", "needle", "elongated", "agglomerated", "ufo", "bubble", "droplets")
"""Labels that the plan sets; object_present follows from them."""

SHARE = 0.26
"""Share of pictures that hold each."""

_SINGLE: dict[str, make.Maker] = {
    "platelet": make.plate,
    "block": make.block,
    "needle": make.needle,
    "elongated": make.elongated,
}

_ROOM = 0.22
"""Coverage that a picture that is not crowded keeps below."""


def plan(n: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What each picture shows.

    Parameters
    ----------
    n
        Number of pictures.
    seed
        Random seed.

    Returns
    -------
    (n, 8) whether a picture shows each of `PLANNED`, every column true in the same share of pictures and drawn
    independently of the others, and (n,) whether it is too concentrated. An eighth of the pictures shows nothing.
    """
    rng = once("labels plan", seed)
    full = np.sort(rng.permutation(n)[: n - round(n / 8)])
    shows = np.zeros((n, len(PLANNED)), dtype=bool)
    for k in range(len(PLANNED)):
        shows[rng.permutation(full)[: math.ceil(SHARE * n)], k] = True
    crowded = np.zeros(n, dtype=bool)
    dense = np.flatnonzero(shows.any(axis=1))
    crowded[rng.permutation(dense)[: math.ceil(0.16 * n)]] = True
    return shows, crowded


def labels(n: int, seed: int) -> Iterator[Scene]:
    """Pictures of all combinations of the labels, empty ones with ghosts, dust or noise among them."""
    shows, crowded = plan(n, seed)
    ufos = 0
    for i, rng in frames_of("labels", n, seed):
        # Droplets and bubbles hardly show between crossed polarisers.
        weak = bool(shows[i, 6] or shows[i, 7])
        kind = str(rng.choice(make.LOOKS, p=[0.45, 0.35, 0.2, 0.0] if weak else [0.35, 0.3, 0.15, 0.2]))
        look = make.instrument(kind, rng, shape=make.SHAPES[int(rng.integers(3))])
        stage = _Stage(look, rng)
        for k in np.flatnonzero(shows[i]):
            name = PLANNED[k]
            draw = partial(_body, name, rng, look, ufos)
            for _ in range(_count(name, rng)):
                stage.add(draw, sharp=True)
            ufos += name == "ufo"
        if crowded[i]:
            _crowd(stage, [PLANNED[k] for k in np.flatnonzero(shows[i])])
        elif rng.random() < 0.7:
            for _ in range(int(rng.integers(1, 30))):
                stage.add(partial(make.any_body, rng, make.lognormal(rng, 30, 0.5, high=120)), sharp=False)
        window = make.window_of(look, rng)
        name = f"labels_{i:05d}{suffix(look)}"
        yield make_scene(stage.placed, look, name=name, rng=rng, window=window)


class _Stage:
    """A picture being filled; sharp bodies stand apart and mostly inside, and the whole stays below a coverage."""

    def __init__(self, look: Instrument, rng: np.random.Generator) -> None:
        self.look, self.rng = look, rng
        self.placed: list[Placed] = []
        self.covered = 0.0
        self.field = field_polygon(look)

    def add(self, draw: Callable[[], Body], *, sharp: bool, crowd: bool = False) -> None:
        """Place a body; drawn again where it finds no room, and left out after many trials."""
        low_x, low_y, high_x, high_y = self.field.bounds
        for _ in range(60):
            body = draw()
            share = body.outline.area / self.field.area
            if not crowd and self.covered + share > _ROOM:
                continue
            depth, lens, blur = settle_depth(body, self.look, sharp=1.0 if sharp else 0.0, grey=0.0, rng=self.rng)
            x, y = self.rng.uniform(low_x, high_x), self.rng.uniform(low_y, high_y)
            placed = Placed(body, x, y, depth, lens, blur)
            if sharp != placed.sharp:
                continue
            outline = placed.outline
            inside = outline.intersection(self.field).area / outline.area
            if sharp and inside < 0.65:
                continue
            if sharp and not crowd and any(p.sharp and p.outline.distance(outline) < 4 for p in self.placed):
                continue
            self.placed.append(placed)
            self.covered += share * inside
            return


def _count(name: str, rng: np.random.Generator) -> int:
    """How many bodies stand for a label."""
    most = {"droplets": 22, "bubble": 5, "agglomerated": 3, "ufo": 1, "needle": 9}.get(name, 6)
    return int(rng.integers(3 if name == "droplets" else 1, most + 1))


def _body(name: str, rng: np.random.Generator, look: Instrument, number: int, *, median: float = 46.0) -> Body:
    """A body that has a label by body and by projection, at least 6 px wide; `number` counts the ufos."""
    biggest = 0.3 * min(look.shape)
    for _ in range(50):
        size = make.lognormal(rng, median, 0.45, low=14, high=biggest)
        if name == "ufo":
            kind = UFO_KINDS[number % len(UFO_KINDS)]
            body = ufo(kind, float(np.clip(rng.uniform(2.0, 6) * size, 60, 1.5 * biggest)), rng)
        elif name == "agglomerated":
            make_one = make.grains if rng.random() < 0.25 else make.cluster
            body = make_one(rng, max(1.6 * size, 36.0))
        elif name == "droplets":
            body = make.droplet(rng, 0.7 * size)
        elif name == "bubble":
            body = make.bubble(rng, size)
        else:
            body = make.of_size(_SINGLE[name], rng, size)
        m = outline_measures(body.outline)
        if m["feret_min"] < 6:
            continue
        if body.kind == "crystal" and name not in shape_labels(*body.dimensions, m["feret_max"] / m["feret_min"])[0]:
            continue
        return body
    raise AssertionError(f"no body for {name}")


def _crowd(stage: _Stage, shown: list[str]) -> None:
    """Fill a picture beyond the share of it that counts as crowded, with what it shows, sharp and blurred."""
    rng, look = stage.rng, stage.look
    kinds = [k for k in shown if k != "ufo"] or ["block"]
    size = rng.uniform(28, 75)
    # Places overlap: a Poisson field of sum s covers 1 - exp(-s).
    wanted = -math.log(1 - rng.uniform(CROWDED[2] + 0.08, 0.85))
    while stage.covered < wanted:
        name = kinds[int(rng.integers(len(kinds)))]
        sharp = bool(rng.random() < 0.45) and shown != ["ufo"]
        stage.add(partial(_body, name, rng, look, 0, median=size), sharp=sharp, crowd=True)
