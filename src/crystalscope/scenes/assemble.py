"""Bodies made of bodies: agglomerates, bundles, granular clusters, spherulites, dendrites."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from crystalscope.scenes.bodies import Array, Body, Material, about, any_rotation, ellipsoid_part
from crystalscope.scenes.shapes import block, needle

_TRIES = 12


def agglomerate(
    primary: Callable[[np.random.Generator], Body],
    number: int,
    *,
    intergrown: float,
    flat: float = 0.6,
    rng: np.random.Generator,
) -> Body:
    """Crystals grown together, one after the other, each on one that is there already.

    Parameters
    ----------
    primary
        Makes a turned crystal around the origin.
    number
        Of primaries, at least 2.
    intergrown
        0: they touch; 1: they grow through each other deeply.
    flat
        Share by which joints are pressed into the picture's plane, so that the primaries show; 0: any direction.
    rng
        Directions.

    Returns
    -------
    A body of kind agglomerate; its silhouette is one piece.
    """
    members = [primary(rng)]
    while len(members) < number:
        new = primary(rng)
        for attempt in range(_TRIES):
            base = members[int(rng.integers(len(members)))]
            u = rng.normal(size=3) * np.array([1, 1, 1 - flat])
            u /= np.linalg.norm(u)
            centre = _middle(base)
            gap = base.reach(u) - float(centre @ u) + new.reach(-u)
            # Touching planes are farther than touching bodies: a joint is closed step by step.
            share = (0.92 - 0.35 * intergrown * rng.uniform(0.5, 1)) * (1 - 0.06 * attempt)
            placed = new.moved(centre + u * gap * share)
            joined = placed.outline.intersection(base.outline).area
            smaller = min(placed.outline.area, base.outline.area)
            # Joined in the picture, yet neither hides the other.
            hidden = max(placed.outline.intersection(m.outline).area for m in members) / placed.outline.area
            if joined > 0.005 * smaller and hidden < 0.75:
                members.append(placed)
                break
        else:
            members.append(placed)
    return _joined(members, "agglomerate")


def bundle(
    length: float, width: float, number: int, *, tilt: float, material: Material, rng: np.random.Generator
) -> Body:
    """Needles grown side by side, nearly parallel."""
    turn = about(2, rng.uniform(0, 2 * math.pi))
    members = []
    for k in range(number):
        one = length * rng.uniform(0.6, 1.0)
        rod = needle(one, width * rng.uniform(0.7, 1.2), tilt=0.0, material=material, rng=np.random.default_rng(0))
        # The rod comes lying in its own direction: it is laid along x first.
        axis = _axis(rod)
        rod = rod.turned(about(2, -math.atan2(axis[1], axis[0]) + rng.normal() * 0.05))
        across = (k - (number - 1) / 2) * width * rng.uniform(0.6, 0.9)
        shift = np.array([rng.uniform(-0.25, 0.25) * length * 0.5, across, rng.uniform(-0.5, 0.5) * width])
        members.append(rod.moved(shift))
    lean = about(1, math.asin(rng.uniform(-1, 1) * math.sin(tilt)))
    return _joined([m.turned(turn @ lean) for m in members], "bundle")


def _axis(body: Body) -> Array:
    flat = body.parts[0].vertices[:, :2]
    return np.asarray(np.linalg.svd(flat - flat.mean(axis=0))[2][0])


def _middle(body: Body) -> Array:
    return np.asarray(np.mean([p.centre for p in body.parts], axis=0))


def _joined(members: list[Body], name: str) -> Body:
    middle = np.mean([_middle(m) for m in members], axis=0)
    placed = tuple(m.moved(-middle) for m in members)
    parts = tuple(p for m in placed for p in m.parts)
    return Body(name, "agglomerate", parts, _box(placed), members[0].material, members=placed)


def _box(members: tuple[Body, ...]) -> tuple[float, float, float]:
    """Extents along the three axes, largest first, px."""
    spans = [max(m.reach(axis) for m in members) + max(m.reach(-axis) for m in members) for axis in np.eye(3)]
    a, b, c = sorted(spans, reverse=True)
    return (a, b, c)


def cluster(diameter: float, *, grains: int, core: float, material: Material, rng: np.random.Generator) -> Body:
    """A granular round cluster: small grains all over a core.

    Parameters
    ----------
    diameter
        px.
    grains
        How many.
    core
        Diameter of the core relative to that of the cluster.
    material, rng
        See `Body`.
    """
    parts = [ellipsoid_part(np.diag(2 / (core * diameter * rng.uniform(0.85, 1.1, 3))), np.zeros(3))]
    grain = diameter * (1.9 / math.sqrt(grains)) * 0.55
    squash = rng.uniform(0.8, 1.1, 3)
    for _ in range(grains):
        u = rng.normal(size=3)
        u /= np.linalg.norm(u)
        size = grain * rng.uniform(0.6, 1.4)
        b = block(size, size * rng.uniform(0.6, 1), size * rng.uniform(0.5, 1), rng=rng)
        radius = 0.5 * diameter * rng.uniform(max(0.2, core - 0.1), 0.94)
        parts.append(b.parts[0].moved(u * squash * radius))
    return Body("cluster", "agglomerate", tuple(parts), (diameter,) * 3, material)


def spherulite(diameter: float, *, rays: int, material: Material, rng: np.random.Generator) -> Body:
    """Needles growing from one point to all sides."""
    parts = [ellipsoid_part(np.eye(3) * 2 / (0.25 * diameter), np.zeros(3))]
    width = max(1.2, 1.6 * diameter / math.sqrt(rays) * 0.35)
    for _ in range(rays):
        long = 0.5 * diameter * rng.uniform(0.75, 1.0)
        rod = needle(long, width * rng.uniform(0.6, 1.2), tilt=0.0, sides=4, rng=np.random.default_rng(1))
        axis = _axis(rod)
        part = rod.parts[0].turned(about(2, -math.atan2(axis[1], axis[0])))
        part = part.moved(np.array([long / 2, 0.0, 0.0])).turned(any_rotation(rng))
        parts.append(part)
    return Body("spherulite", "agglomerate", tuple(parts), (diameter,) * 3, material)


def dendrite(diameter: float, *, material: Material, tilt: float, rng: np.random.Generator) -> Body:
    """A branched crystal: stems in a four- or sixfold star, side branches growing shorter outwards."""
    arms = int(rng.choice([2, 4, 6]))
    width = max(1.5, diameter * rng.uniform(0.02, 0.045))
    parts = []
    spread = math.radians(60 if arms == 6 else 90) * rng.uniform(0.75, 1.0)
    for a in range(arms):
        angle = 2 * math.pi * a / arms + rng.normal() * 0.05
        reach = 0.5 * diameter * rng.uniform(0.7, 1.0)
        parts += _branch(np.zeros(2), angle, reach, width)
        for at in np.arange(0.2, 0.95, rng.uniform(0.1, 0.18)):
            root = reach * at * np.array([math.cos(angle), math.sin(angle)])
            for side in (-1, 1):
                long = reach * (1 - at) * rng.uniform(0.35, 0.75)
                if long > 2 * width:
                    parts += _branch(root, angle + side * spread, long, 0.7 * width)
    turn = about(2, rng.uniform(0, 2 * math.pi)) @ about(0, rng.uniform(0, tilt))
    turned = tuple(p.turned(turn) for p in parts)
    return Body("dendrite", "other", turned, (diameter, diameter, width), material)


def _branch(root: Array, angle: float, length: float, width: float) -> list:  # type: ignore[type-arg]
    rod = needle(length + width, width, tilt=0.0, sides=4, flatness=0.6, rng=np.random.default_rng(2))
    axis = _axis(rod)
    part = rod.parts[0].turned(about(2, angle - math.atan2(axis[1], axis[0])))
    middle = root + 0.5 * length * np.array([math.cos(angle), math.sin(angle)])
    return [dataclasses.replace(part, centre=np.array([middle[0], middle[1], 0.0]))]
