"""Single bodies by name: crystals, bubbles, droplets, fibres, dust."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from crystalscope.scenes.bodies import (
    Array,
    Body,
    Material,
    Part,
    about,
    any_rotation,
    ellipsoid_part,
    flat_rotation,
    lying_rotation,
    polyhedron_part,
)

_CRYSTAL = Material()


def sphere(diameter: float, *, material: Material = _CRYSTAL, name: str = "sphere", kind: str = "crystal") -> Body:
    """A ball of a diameter in px; also gas bubbles and droplets."""
    part = ellipsoid_part(np.eye(3) * 2 / diameter, np.zeros(3))
    return Body(name, kind, (part,), (diameter, diameter, diameter), material)


def ellipsoid(
    size: tuple[float, float, float], *, material: Material, name: str, kind: str, rng: np.random.Generator
) -> Body:
    """An ellipsoid of three diameters in px, turned at random."""
    rotation = any_rotation(rng)
    part = ellipsoid_part(np.diag([2 / s for s in size]) @ rotation.T, np.zeros(3))
    return Body(name, kind, (part,), size, material)


def block(
    length: float,
    width: float,
    thickness: float,
    *,
    habit: str = "cuboid",
    cut: float = 0.0,
    chips: int = 0,
    tilt: float = math.pi / 2,
    material: Material = _CRYSTAL,
    name: str = "block",
    rng: np.random.Generator,
) -> Body:
    """A compact or elongated faceted crystal.

    Parameters
    ----------
    length, width, thickness
        Of the box around it, px.
    habit
        ``cuboid``; ``prism`` (four- to eight-sided along the length, roofs at the ends); ``bipyramid``.
    cut
        How far corners (cuboid), tips (bipyramid) or ends (prism) are cut, 0 to 1.
    chips
        Pieces broken off.
    tilt
        Largest angle of the length to the picture's plane, rad.
    material, name
        See `Body`.
    rng
        Proportions, chips and direction.
    """
    half = np.array([length, width, thickness]) / 2
    if habit == "bipyramid":
        normals, offsets = _bipyramid(half, cut)
    elif habit == "prism":
        normals, offsets = _prism(half, cut, rng)
    else:
        normals, offsets = _cuboid(half, cut, rng)
    part = _chipped(normals, offsets, half, chips, rng)
    rotation = lying_rotation(rng, tilt=tilt)
    return Body(name, "crystal", (part.turned(rotation),), (length, width, thickness), material)


def _cuboid(half: Array, cut: float, rng: np.random.Generator) -> tuple[Array, Array]:
    normals = [np.eye(3)[i] * s for i in range(3) for s in (1, -1)]
    offsets = [half[i] for i in range(3) for _ in (1, -1)]
    if cut > 0:
        for signs in np.array(np.meshgrid([1, -1], [1, -1], [1, -1])).T.reshape(-1, 3):
            n = signs / half
            size = float(np.linalg.norm(n))
            normals.append(n / size)
            offsets.append((3 - cut * rng.uniform(0.4, 1.0)) / size)
    return np.array(normals), np.array(offsets)


def _prism(half: Array, cut: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Sides tangent to the ellipse of width and thickness, ends closed by two to four roof faces."""
    sides = int(rng.choice([4, 6, 6, 8]))
    turn = rng.uniform(0, 2 * math.pi / sides)
    # The box is kept: opposite faces stand on width and thickness.
    angles = np.concatenate([np.arange(sides) * 2 * math.pi / sides + turn, [0, math.pi / 2, math.pi, -math.pi / 2]])
    c, s = np.cos(angles), np.sin(angles)
    reach = np.hypot(half[1] * c, half[2] * s) * np.where(np.arange(len(angles)) < sides, rng.uniform(0.95, 1.25), 1.0)
    normals = [np.array([0.0, a, b]) for a, b in zip(c, s, strict=True)]
    offsets = list(reach)
    slope = rng.uniform(0.5, 1.6)
    for end in (1.0, -1.0):
        normals.append(np.array([end, 0.0, 0.0]))
        offsets.append(half[0])
        if cut <= 0:
            continue
        start = rng.uniform(0, math.pi)
        for k in range(int(rng.integers(2, 5))):
            a = start + k * math.pi / 2
            n = np.array([end, slope * math.cos(a), slope * math.sin(a)])
            size = float(np.linalg.norm(n))
            side = slope * math.hypot(half[1] * math.cos(a), half[2] * math.sin(a))
            normals.append(n / size)
            offsets.append((half[0] + (1 - cut * rng.uniform(0.3, 1.0)) * side) / size)
    return np.array(normals), np.array(offsets)


def _bipyramid(half: Array, cut: float) -> tuple[Array, Array]:
    normals, offsets = [], []
    for signs in np.array(np.meshgrid([1, -1], [1, -1], [1, -1])).T.reshape(-1, 3):
        n = signs / half
        size = float(np.linalg.norm(n))
        normals.append(n / size)
        # Faces move out so that the cut body fills its box.
        offsets.append((1 + 0.35 * cut) / size)
    for i in range(3):
        for s in (1.0, -1.0):
            normals.append(np.eye(3)[i] * s)
            offsets.append(half[i] * (1.0 if cut > 0 else 1.001))
    return np.array(normals), np.array(offsets)


def _chipped(normals: Array, offsets: Array, half: Array, chips: int, rng: np.random.Generator) -> Part:
    for _ in range(chips):
        n = rng.normal(size=3)
        n /= np.linalg.norm(n)
        reach = float((np.abs(n) * half).sum())
        normals = np.vstack([normals, n])
        offsets = np.append(offsets, reach * rng.uniform(0.5, 0.85))
    return polyhedron_part(normals, offsets)


def platelet(
    length: float,
    width: float,
    thickness: float,
    *,
    tilt: float = math.pi / 3,
    chips: int = 0,
    material: Material = _CRYSTAL,
    rng: np.random.Generator,
) -> Body:
    """A thin plate: rectangle, rhomb, hexagon or octagon, bevelled at the rim; its normal leans by at most `tilt`."""
    half = np.array([length, width, thickness]) / 2
    style = str(rng.choice(["rectangle", "rhomb", "hexagon", "octagon"]))
    if style == "rectangle":
        angles = np.array([0, 0.5, 1, 1.5]) * math.pi
        reach = np.array([half[0], half[1], half[0], half[1]])
    elif style == "rhomb":
        a = math.atan2(half[1], half[0])
        angles = np.array([math.pi / 2 - a, math.pi / 2 + a, 1.5 * math.pi - a, 1.5 * math.pi + a])
        reach = np.full(4, half[0] * half[1] / math.hypot(half[0], half[1]))
    else:
        sides = 6 if style == "hexagon" else 8
        angles = np.arange(sides) * 2 * math.pi / sides
        reach = np.hypot(half[0] * np.cos(angles), half[1] * np.sin(angles)) * rng.uniform(0.9, 1.0, sides)
    bevel = rng.uniform(0.0, 0.6, len(angles))
    normals = np.column_stack([np.cos(angles), np.sin(angles), rng.choice([-1, 1], len(angles)) * bevel])
    size = np.linalg.norm(normals, axis=1)
    normals = np.vstack([normals / size[:, None], [[0, 0, 1], [0, 0, -1]]])
    # A bevelled face is set so that the plate's middle keeps its reach.
    offsets = np.concatenate([reach / size, [half[2], half[2]]])
    part = _chipped(normals, offsets, half, chips, rng)
    rotation = flat_rotation(rng, tilt=tilt)
    return Body("platelet", "crystal", (part.turned(rotation),), (length, width, thickness), material)


def needle(
    length: float,
    width: float,
    *,
    tilt: float = 0.2,
    bend: float = 0.0,
    broken: bool = False,
    sides: int = 6,
    flatness: float = 1.0,
    material: Material = _CRYSTAL,
    name: str = "needle",
    kind: str = "crystal",
    rng: np.random.Generator,
) -> Body:
    """A needle, straight or bent.

    Parameters
    ----------
    length, width
        Along the axis and across, px.
    tilt
        Largest angle to the picture's plane, rad.
    bend
        Angle between the directions of the two ends, rad; 0: straight.
    broken
        Whether the ends are torn off aslant instead of faceted.
    sides
        Faces around the axis.
    flatness
        Thickness over width.
    material, name, kind
        See `Body`; fibres and hairs are round bent needles.
    rng
        Direction, ends.
    """
    rotation = lying_rotation(rng, tilt=tilt)
    size = (length, width, width * flatness)
    if bend == 0.0:
        part = _rod(length, width, sides, flatness, ends="torn" if broken else "tip", rng=rng)
        return Body(name, kind, (part.turned(rotation),), size, material)
    pieces = max(4, min(14, math.ceil(abs(bend) / 0.12)))
    radius = length / bend
    step = length / pieces
    parts = []
    # The bend lies in the plane of the picture or aslant to it.
    roll = about(0, rng.uniform(-0.6, 0.6))
    for k in range(pieces):
        angle = bend * ((k + 0.5) / pieces - 0.5)
        middle = np.array([radius * math.sin(angle), radius * (1 - math.cos(angle)), 0.0])
        end = "flat" if 0 < k < pieces - 1 else "tip"
        # Joints overlap so that no gap opens on the outer side of the bend.
        rod = _rod(step + 0.35 * width * abs(bend) / pieces + 0.02, width, sides, flatness, ends=end, rng=rng)
        turn = about(2, angle)
        parts.append(dataclasses.replace(rod.turned(turn), centre=middle).turned(rotation @ roll))
    return Body(name, kind, tuple(parts), size, material, length=length)


def _rod(length: float, width: float, sides: int, flatness: float, *, ends: str, rng: np.random.Generator) -> Part:
    angles = np.arange(sides) * 2 * math.pi / sides
    c, s = np.cos(angles), np.sin(angles)
    # The polygon's width across its faces is the width of the needle, also when flattened.
    offsets = list(np.hypot(c, flatness * s) * width / 2)
    size = np.hypot(c, s)
    normals = [np.array([0.0, a, b]) / k for a, b, k in zip(c, s, size, strict=True)]
    for end in (1.0, -1.0):
        if ends == "torn":
            n = np.array([1.0, rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8)]) * end
            norm = float(np.linalg.norm(n))
            normals.append(n / norm)
            offsets.append((length / 2 - 0.3 * width) / norm)
        normals.append(np.array([end, 0.0, 0.0]))
        offsets.append(length / 2)
        if ends == "tip" and rng.random() < 0.6:
            slope = rng.uniform(0.4, 1.5)
            for side in (1.0, -1.0):
                n = np.array([end, side * slope, 0.0])
                norm = float(np.linalg.norm(n))
                normals.append(n / norm)
                offsets.append((length / 2 + 0.3 * slope * width / 2) / norm)
    return polyhedron_part(np.array(normals), np.array(offsets))


def flake(size: float, *, material: Material, name: str = "dust", rng: np.random.Generator) -> Body:
    """A dust flake: two to five opaque splinters joined."""
    parts = []
    for _ in range(int(rng.integers(2, 6))):
        n = rng.normal(size=(9, 3))
        n /= np.linalg.norm(n, axis=1)[:, None]
        part = polyhedron_part(n, size * rng.uniform(0.15, 0.4, 9)) if _closed(n) else None
        if part is not None:
            parts.append(part.moved(size * rng.uniform(-0.2, 0.2, 3)))
    if not parts:
        return flake(size, material=material, name=name, rng=rng)
    return Body(name, "other", tuple(parts), (size, size, size), material)


def _closed(normals: Array) -> bool:
    """Whether half-spaces with these normals around the origin bound a body."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = ConvexHull(normals)
    except QhullError:
        return False
    return bool((hull.equations[:, 3] < -0.15).all())


def smear(length: float, width: float, *, transmission: float, name: str, rng: np.random.Generator) -> Body:
    """A flat thing on or near the window, without depth: a smear (wide, soft) or a scratch (thin, sharp)."""
    from shapely import LineString, Polygon
    from shapely.affinity import rotate

    n = 24
    turn = rng.uniform(0, 2 * math.pi)
    if name == "scratch":
        x = np.linspace(-0.5, 0.5, n) * length
        y = rng.uniform(-0.15, 0.15) * length * np.cos(math.pi * x / length) + 0.004 * length * rng.normal(size=n)
        outline = LineString(np.column_stack([x, y])).buffer(width / 2, quad_segs=2)
        soft = 0.3
    else:
        t = np.linspace(0, 2 * math.pi, n, endpoint=False)
        wobble = np.sum([rng.normal() * 0.12 * np.cos(k * t + rng.uniform(0, 6.3)) for k in range(2, 6)], axis=0)
        outline = Polygon(np.column_stack([np.cos(t), np.sin(t)]) * (0.5 + wobble * 0.5)[:, None] * [length, width])
        soft = 0.03 * width
    outline = rotate(outline.buffer(0), turn, origin=(0, 0), use_radians=True)
    if outline.geom_type != "Polygon":
        outline = max(outline.geoms, key=lambda g: g.area)
    outline = Polygon(outline.exterior)
    return Body(name, "other", (), (length, width, 0.0), flat=transmission, softness=soft, outline=outline)
