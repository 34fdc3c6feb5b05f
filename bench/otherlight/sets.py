"""The sets of test pictures, by name; pictures of a set come one by one, each from its own random numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from bench.otherlight import recipes as make
from bench.otherlight.bodies import Body, Material, sphere
from bench.otherlight.frame import deposits, make_scene
from bench.otherlight.labelset import labels
from bench.otherlight.others import UFO_KINDS, ufo
from bench.otherlight.placing import Placed, scatter
from bench.otherlight.recipes import frames_of, once, suffix
from crystalscope.core import Scene


def mixed(n: int, seed: int) -> Iterator[Scene]:
    """All looks, habits, sizes and cameras, drawn anew for every picture."""
    for i, rng in frames_of("mixed", n, seed):
        shape = make.SHAPES[int(rng.integers(len(make.SHAPES)))]
        look = make.instrument(make.LOOKS[i % 4], rng, shape=shape)
        if rng.random() < 0.15:
            look = dataclasses.replace(look, bits=16, quality=0)
        if look.look == "backlit" and rng.random() < 0.2:
            red, green, blue = rng.uniform(0.85, 1.05, 3)
            look = dataclasses.replace(look, tint=(red, green, blue))
        median = rng.uniform(14, 60)
        count = (rng.uniform(15, 90) * min(1.0, (30 / median) ** 1.2)) * shape[0] * shape[1] / 1e6 + 4
        style = [None, None, None, *make.MAKERS[:5]][int(rng.integers(8))]
        biggest = 0.25 * min(shape)

        def draw() -> Body:
            size = make.lognormal(rng, median, 0.5, low=8, high=biggest)  # noqa: B023
            if rng.random() < 0.02:  # noqa: B023
                return ufo(str(rng.choice(UFO_KINDS)), float(np.clip(5 * size, 40, biggest)), rng)  # noqa: B023
            if style is None or rng.random() < 0.1:  # noqa: B023
                return make.any_body(rng, size)  # noqa: B023
            return make.of_size(style, rng, size)  # noqa: B023

        placed = scatter(draw, count, look, sharp=rng.uniform(0.3, 0.9), grey=1.0, rng=rng)
        window = make.window_of(look, rng)
        yield make_scene(placed, look, name=f"mixed_{i:05d}{suffix(look)}", rng=rng, window=window)


def crystals(n: int, seed: int) -> Iterator[Scene]:
    """Faceted crystals in transmitted light with many ghosts, one instrument."""
    shared = once("crystals", seed)
    look = make.instrument("backlit", shared, shape=(1000, 1112), quality=90)
    window = make.window_of(look, shared)
    for i, rng in frames_of("crystals", n, seed):

        def draw(rng: np.random.Generator = rng) -> Body:
            size = make.lognormal(rng, 26, 0.65, high=230)
            return make.of_size(make.MAKERS[int(rng.choice(3, p=[0.72, 0.1, 0.18]))], rng, size)

        placed = scatter(draw, rng.uniform(50, 110), look, sharp=0.25, rng=rng)
        yield make_scene(
            placed, look, name=f"crystals_{i:05d}.jpg", rng=rng, window=window, lamp=float(rng.normal(1, 0.02))
        )


def needles(n: int, seed: int, *, level: str, sharp: float, ghosts: float) -> Iterator[Scene]:
    """Needles that may cross, in transmitted light and by a probe in turn.

    Parameters
    ----------
    n, seed
        Number of pictures, seed.
    level
        Name of the loading.
    sharp, ghosts
        Mean number of needles in and out of focus in a picture.
    """
    name = f"needles-{level}"
    shared = once(name, seed)
    shape = (768, 1024)
    looks = [make.instrument(k, shared, shape=shape, quality=92) for k in ("backlit", "probe")]
    windows = [make.window_of(k, shared) for k in looks]
    for i, rng in frames_of(name, n, seed):

        def draw(rng: np.random.Generator = rng) -> Body:
            return make.needle(rng, make.lognormal(rng, 115, 0.35, low=50, high=330), ratio=rng.uniform(8, 18))

        look = looks[i % 2]
        placed = scatter(draw, sharp, look, sharp=1.0, rng=rng)
        placed += scatter(draw, ghosts, look, sharp=0.0, rng=rng)
        yield make_scene(placed, look, name=f"needles_{level}_{i:05d}.jpg", rng=rng, window=windows[i % 2])


def beads(
    n: int,
    seed: int,
    *,
    diameter_um: float = 300.0,
    cv: float = 0.05,
    look: str = "backlit",
    pixel_size_um: float = 4.4,
    loading: float = 0.08,
) -> Iterator[Scene]:
    """Polystyrene spheres in water, normally distributed.

    Parameters
    ----------
    n, seed
        Number of pictures, seed.
    diameter_um, cv
        Mean diameter, um, and coefficient of variation.
    look
        One of `recipes.LOOKS`.
    pixel_size_um
        um per px.
    loading
        Mean share of the picture that sharp and blurred beads cover, counted singly.
    """
    shared = once("beads", seed)
    shape = (768, 1024)
    optics = make.instrument(look, shared, shape=shape, quality=93, pixel_size_um=pixel_size_um)
    window = make.window_of(optics, shared, dirt=0.3)
    size = diameter_um / pixel_size_um
    count = loading * shape[0] * shape[1] / (math.pi / 4 * size**2)
    for i, rng in frames_of("beads", n, seed):

        def draw(rng: np.random.Generator = rng) -> Body:
            bead = Material(contrast=0.193, milk=0.25, rough=0.02, polish=0.6, birefringence=0.0)
            diameter = max(size * (1 + cv * rng.normal()), 0.2 * size)
            return sphere(diameter, kind="crystal", name="sphere", material=bead)

        placed = scatter(draw, count * rng.uniform(0.4, 1.6), optics, sharp=0.5, rng=rng)
        yield make_scene(placed, optics, name=f"beads_{i:05d}.jpg", rng=rng, window=window)


def agglomerates(n: int, seed: int) -> Iterator[Scene]:
    """Agglomerates of 2 to 10 primaries and single crystals that touch nothing, in transmitted light and by a probe."""
    shared = once("agglomerates", seed)
    looks = [make.instrument(k, shared, shape=(768, 1024), quality=92) for k in ("backlit", "probe")]
    windows = [make.window_of(k, shared) for k in looks]
    for i, rng in frames_of("agglomerates", n, seed):

        def single(rng: np.random.Generator = rng) -> Body:
            return make.of_size(
                make.MAKERS[int(rng.choice(4, p=[0.6, 0.1, 0.2, 0.1]))], rng, make.lognormal(rng, 34, 0.4)
            )

        def joined(rng: np.random.Generator = rng) -> Body:
            return make.cluster(rng, make.lognormal(rng, 80, 0.35, low=40, high=220))

        look = looks[i % 2]
        placed = scatter(joined, 9, look, sharp=0.85, gap=4, rng=rng)
        placed += scatter(single, 14, look, sharp=0.85, gap=4, rng=rng, taken=placed)
        placed += scatter(single, 14, look, sharp=0.0, rng=rng)
        yield make_scene(placed, look, name=f"agglomerates_{i:05d}.jpg", rng=rng, window=windows[i % 2])


SIEVES_UM = ((125.0, 180.0), (90.0, 125.0))
"""Sieve fractions of the flow cell: openings that the crystals stayed on and passed, um."""


def flow_cell(n: int, seed: int, *, sieves: Sequence[tuple[float, float]] = SIEVES_UM) -> Iterator[Scene]:
    """Sieve fractions of compact crystals in turn, in a lit disc; the cell is shallow, so all are in focus."""
    shared = once("flow-cell", seed)
    look = make.instrument("flow", shared, shape=(960, 1100), quality=0, pixel_size_um=2.5)
    window = make.window_of(look, shared, dirt=0.4)
    for i, rng in frames_of("flow-cell", n, seed):
        low, high = sieves[i % len(sieves)]

        def draw(rng: np.random.Generator = rng, low: float = low, high: float = high) -> Body:
            width = rng.uniform(low, high) / 2.5
            return make.block(rng, width, width_px=width)

        placed = scatter(draw, rng.uniform(8, 45) * (120 / high) ** 1.5, look, sharp=1.0, rng=rng)
        fraction = f"{low:.0f}-{high:.0f} um"
        yield make_scene(
            placed, look, name=f"flow_{low:.0f}_{high:.0f}_{i:05d}.png", rng=rng, window=window,
            frame={"experiment": fraction},
        )  # fmt: skip


SHARES = (0.0, 0.005, 0.01, 0.02, 0.05)
"""Shares by number of granular clusters in the pictures of `impurity`, in turn."""


def impurity(n: int, seed: int) -> Iterator[Scene]:
    """A slurry of needles by a probe, with 0 to 5 % by number of granular clusters."""
    shared = once("impurity", seed)
    look = make.instrument("probe", shared, shape=(1000, 1112), quality=92, bright=False)
    window = make.window_of(look, shared, dirt=0.3)
    for i, rng in frames_of("impurity", n, seed):
        share = SHARES[i % len(SHARES)]

        def draw(rng: np.random.Generator = rng, share: float = share) -> Body:
            if rng.random() < share:
                return make.grains(rng, make.lognormal(rng, 95, 0.35, low=40, high=220))
            length = make.lognormal(rng, 190, 0.4, low=80, high=550)
            return make.needle(rng, length, ratio=rng.uniform(9, 20), milky=True)

        placed = scatter(draw, rng.uniform(35, 60), look, sharp=1.0, rng=rng)
        placed += scatter(draw, rng.uniform(15, 40), look, sharp=0.0, rng=rng)
        scene = make_scene(placed, look, name=f"impurity_{i:05d}.jpg", rng=rng, window=window)
        found = int(((scene.truth["body"] == "granular") & scene.truth["in_focus"].astype(bool)).sum())
        extra = {"impurity_share": share, "n_impurities": found, "experiment": f"{100 * share:g} %"}
        yield dataclasses.replace(scene, frame={**scene.frame, **extra})


def cooling(n: int, seed: int) -> Iterator[Scene]:
    """A batch that is cooled: clear liquor, then crystals that nucleate and grow.

    Nuisances: the lamp drifts and flickers, dust stays on the window and stains on it grow, bubbles come when the
    stirrer starts and once more later. Times in s; the crystals grow at a rate that falls off, nucleation lasts for a
    sixth of the batch. Columns of the frame: temperature_c, stirrer, nucleated (whether crystals are in the vessel),
    growth_um_per_s, largest_um.
    """
    shared = once("cooling", seed)
    um, step_s = 2.2, 20.0
    look = make.instrument("backlit", shared, shape=(768, 1024), quality=90, pixel_size_um=um)
    dust = make.window_of(look, shared, dirt=0.5)
    fouling = deposits(look, specks=0, stains=6, strength=1.5, rng=shared)
    habit = make.MAKERS[int(shared.choice([0, 2]))]
    end_s = step_s * max(n - 1, 1)
    start_s = end_s * shared.uniform(0.3, 0.45)
    fast = 130.0 / (0.5 * end_s)
    drift = shared.normal(0, 0.03, 3)
    dense, restart = shared.uniform(40, 90), 0.15 * n + shared.integers(0, max(1, n // 3))
    for i, rng in frames_of("cooling", n, seed):
        t = i * step_s
        done = t / end_s

        def grown(age_s: float) -> float:
            """Size in um after so many s: the rate halves in a third of the batch."""
            decay = 3 * math.log(2) / end_s
            return fast * (1 - math.exp(-decay * age_s)) / decay

        born = 0.0 if t <= start_s else min(1.0, (t - start_s) / (end_s / 6))

        def draw(rng: np.random.Generator = rng, t: float = t) -> Body:
            birth = rng.uniform(start_s, min(t, start_s + end_s / 6))
            size = grown(t - birth) * rng.lognormal(0, 0.15) / um
            return make.of_size(habit, rng, max(size, 1.2))

        placed: list[Placed] = []
        if born:
            placed = scatter(draw, dense * born, look, sharp=0.35, rng=rng)
        stirred = i >= 1
        burst = sum(6 * math.exp(-(i - start) / 2) for start in (1.0, restart) if i >= start)
        if burst > 0.2:

            def bubble(rng: np.random.Generator = rng) -> Body:
                return make.bubble(rng, make.lognormal(rng, 36, 0.5, low=10, high=120))

            placed += scatter(bubble, burst, look, sharp=0.6, rng=rng)
        lamp = 1 + drift[0] * done + drift[1] * math.sin(5 * done) + 0.6 * drift[2] * math.sin(17 * done)
        rate = fast * math.exp(-3 * math.log(2) / end_s * max(t - start_s, 0.0)) if born else 0.0
        extra: dict[str, Any] = {
            "temperature_c": 55.0 - 35.0 * done,
            "stirrer": int(stirred),
            "nucleated": int(t > start_s),
            "growth_um_per_s": rate,
            "largest_um": grown(t - start_s) if born else math.nan,
        }
        yield make_scene(
            placed, look, name=f"cooling_{i:05d}.jpg", rng=rng, window=dust + np.float32(done) * fouling,
            lamp=lamp + float(rng.normal(0, 0.006)), time_s=t, frame=extra,
        )  # fmt: skip


def _level(level: str, sharp: float, ghosts: float) -> Callable[[int, int], Iterator[Scene]]:
    def of(n: int, seed: int) -> Iterator[Scene]:
        return needles(n, seed, level=level, sharp=sharp, ghosts=ghosts)

    of.__doc__ = f"{level.capitalize()} loading: {needles.__doc__}"
    return of


SETS: dict[str, Callable[[int, int], Iterator[Scene]]] = {
    "mixed": mixed,
    "crystals": crystals,
    "needles-low": _level("low", 14, 8),
    "needles-mid": _level("mid", 60, 20),
    "needles-high": _level("high", 180, 30),
    "beads": beads,
    "agglomerates": agglomerates,
    "flow-cell": flow_cell,
    "impurity": impurity,
    "labels": labels,
    "cooling": cooling,
}
"""Makers of the sets: number of pictures and seed in, scenes out."""
