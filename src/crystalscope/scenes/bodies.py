"""Bodies: unions of convex parts of one material, turned in space, with their exact outline."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]

_CIRCLE = 192
"""Corners of the polygon that stands for a round outline; it has the area of the circle."""


@dataclass(frozen=True)
class Material:
    """What light meets in a body.

    Parameters
    ----------
    index
        Refractive index relative to the liquid: crystals 1.05 to 1.25, gas in water 0.75, oil in water 1.05 to 1.12.
    absorption
        Share of light absorbed per px of way (natural exponent).
    scatter
        Share of light scattered per px of way: inclusions, grain boundaries.
    forwards, backwards
        Light that scatter sends to the camera from the lamp behind, and from the lights beside the camera.
    rounding
        Distance from an edge, px, within which faces are rounded off.
    bump
        Tilt of the waves of a rough face.
    steps
        Share of a face taken by the flanks of growth steps; 0: smooth.
    flaws
        Cracks and inclusions to draw, about this number per body.
    retardance
        Way difference between crossed polars, um per px of way; 0 for round and glassy bodies.
    """

    index: float = 1.15
    absorption: float = 0.0
    scatter: float = 0.0
    forwards: float = 0.35
    backwards: float = 0.6
    rounding: float = 0.0
    bump: float = 0.0
    steps: float = 0.0
    flaws: float = 0.0
    retardance: float = 0.02


@dataclass(frozen=True, eq=False)
class Part:
    """A convex part: a polyhedron, or the ellipsoid abs(Q (x - c)) < 1 where `quadric` is given.

    Parameters
    ----------
    normals, offsets
        (f, 3) outward unit normals and (f,) distances from `centre`, px.
    vertices
        (v, 3) corners relative to `centre`; of an ellipsoid points on its silhouette.
    centre
        (3,) px: x right, y down, z towards the camera.
    quadric
        (3, 3) Q, or None.
    """

    normals: Array
    offsets: Array
    vertices: Array
    centre: Array
    quadric: Array | None = None

    def turned(self, rotation: Array) -> Part:
        """Rotated about the origin."""
        quadric = None if self.quadric is None else self.quadric @ rotation.T
        if quadric is not None:
            return ellipsoid_part(quadric, self.centre @ rotation.T)
        return Part(self.normals @ rotation.T, self.offsets, self.vertices @ rotation.T, self.centre @ rotation.T)

    def moved(self, shift: Array) -> Part:
        """Shifted."""
        return dataclasses.replace(self, centre=self.centre + shift)

    def scaled(self, factor: float) -> Part:
        """Magnified about the origin."""
        if self.quadric is not None:
            return ellipsoid_part(self.quadric / factor, self.centre * factor)
        return Part(self.normals, self.offsets * factor, self.vertices * factor, self.centre * factor)

    def reach(self, direction: Array) -> float:
        """Largest extent from the centre along a unit vector (support function), px."""
        if self.quadric is not None:
            return float(np.linalg.norm(np.linalg.solve(self.quadric.T, direction)))
        return float((self.vertices @ direction).max())

    def silhouette(self) -> Any:
        """Projection along z as a shapely polygon."""
        from shapely import MultiPoint, Polygon

        flat = self.vertices[:, :2] + self.centre[:2]
        if self.quadric is not None:
            return Polygon(flat)
        return MultiPoint(flat).convex_hull


def ellipsoid_part(quadric: Array, centre: Array) -> Part:
    """The ellipsoid abs(Q (x - c)) < 1, with its silhouette along z."""
    # The shadow of the unit ball under Q^-1 is an ellipse with the matrix M of the first two rows of Q^-1.
    m = np.linalg.inv(quadric)[:2]
    u, s, _ = np.linalg.svd(m)
    t = np.linspace(0, 2 * math.pi, _CIRCLE, endpoint=False)
    grow = math.sqrt(2 * math.pi / _CIRCLE / math.sin(2 * math.pi / _CIRCLE))
    edge = (u * s[:2]) @ np.stack([np.cos(t), np.sin(t)]) * grow
    vertices = np.column_stack([edge.T, np.zeros(_CIRCLE)])
    return Part(np.zeros((0, 3)), np.zeros(0), vertices, np.asarray(centre, dtype=float), quadric)


def polyhedron_part(normals: Array, offsets: Array) -> Part:
    """The points p with normals @ p <= offsets; the origin must lie inside."""
    from scipy.spatial import HalfspaceIntersection

    n, d = np.asarray(normals, dtype=float), np.asarray(offsets, dtype=float)
    corners = HalfspaceIntersection(np.column_stack([n, -d]), np.zeros(3)).intersections
    corners = corners[np.isfinite(corners).all(axis=1)]
    return Part(n, d, corners, np.zeros(3))


@dataclass(frozen=True, eq=False)
class Body:
    """A union of convex parts, turned and ready to be placed.

    Parameters
    ----------
    name
        What it is: sphere, block, platelet, needle, elongated, agglomerate, cluster, bubble, fibre …
    kind
        crystal, agglomerate, bubble, droplet or other.
    parts
        The convex parts around the origin.
    size
        Length, width, thickness of the body in three dimensions, px; of an agglomerate those of its box.
    material
        What light meets.
    members
        Of an agglomerate: its primaries, where they stand; their parts are those of the agglomerate.
    length
        Along the axis of a bent body, px; 0: from the outline.
    flat
        Of a thing without depth (smear, scratch): its transmission; 0: traced.
    softness
        Blur of its own edge, px: smears, droplets.
    outline
        Exact silhouette around the origin as a shapely polygon without holes; made from the parts where None.
    """

    name: str
    kind: str
    parts: tuple[Part, ...]
    size: tuple[float, float, float]
    material: Material = field(default_factory=Material)
    members: tuple[Body, ...] = ()
    length: float = 0.0
    flat: float = 0.0
    softness: float = 0.0
    outline: Any = None

    def __post_init__(self) -> None:
        if self.outline is None:
            object.__setattr__(self, "outline", _outline(self.parts, self.material.rounding))

    @cached_property
    def measures(self) -> dict[str, float]:
        """Measures of the outline, see `outline_measures`."""
        return outline_measures(self.outline, length=self.length)

    def turned(self, rotation: Array) -> Body:
        """Rotated about the origin."""
        return dataclasses.replace(
            self,
            parts=tuple(p.turned(rotation) for p in self.parts),
            members=tuple(m.turned(rotation) for m in self.members),
            outline=None,
        )

    def moved(self, shift: Array) -> Body:
        """Shifted by (x, y, z) px."""
        from shapely.affinity import translate

        return dataclasses.replace(
            self,
            parts=tuple(p.moved(shift) for p in self.parts),
            members=tuple(m.moved(shift) for m in self.members),
            outline=translate(self.outline, float(shift[0]), float(shift[1])),
        )

    def reach(self, direction: Array) -> float:
        """Largest extent from the origin along a unit vector, px."""
        return max(float(p.centre @ direction) + p.reach(direction) for p in self.parts)

    def packed(self) -> tuple[NDArray[Any], ...]:
        """planes, starts, quadrics, kinds, balls as `trace` takes them."""
        n = len(self.parts)
        starts = np.concatenate([[0], np.cumsum([len(p.offsets) for p in self.parts])]).astype(np.int64)
        planes = np.zeros((max(int(starts[-1]), 1), 4))
        quadrics, kinds, balls = np.zeros((n, 3, 3)), np.zeros(n, dtype=np.int64), np.zeros((n, 4))
        for k, p in enumerate(self.parts):
            planes[starts[k] : starts[k + 1], :3] = p.normals
            planes[starts[k] : starts[k + 1], 3] = p.offsets + p.normals @ p.centre
            balls[k, :3] = p.centre
            if p.quadric is None:
                balls[k, 3] = 1.0001 * math.sqrt(float((p.vertices**2).sum(axis=1).max()))
            else:
                quadrics[k], kinds[k] = p.quadric, 1
                balls[k, 3] = 1.0001 / float(np.linalg.svd(p.quadric, compute_uv=False)[-1])
        return planes, starts, quadrics, kinds, balls


def _outline(parts: Sequence[Part], rounding: float) -> Any:
    """Union of the silhouettes, holes filled, corners rounded off by the radius `rounding`."""
    from shapely import Polygon, union_all

    if len(parts) == 1:
        whole = parts[0].silhouette()
    else:
        whole = union_all([p.silhouette() for p in parts])
        if whole.geom_type != "Polygon":
            whole = max(whole.geoms, key=lambda g: g.area)
        whole = Polygon(whole.exterior)
    if rounding > 0 and parts[0].quadric is None:
        opened = whole.buffer(-0.5 * rounding, quad_segs=6).buffer(0.5 * rounding, quad_segs=6)
        if opened.geom_type == "Polygon" and not opened.is_empty:
            whole = opened
    return whole


def outline_measures(outline: Any, *, length: float = 0.0) -> dict[str, float]:
    """Exact measures of an outline.

    Parameters
    ----------
    outline
        A shapely polygon, px.
    length
        Length along the axis of a bent body; 0: of the minimum-area rectangle.

    Returns
    -------
    area, perimeter, ecd, feret_max, feret_min, length, width, x, y (centroid).

    Notes
    -----
    Feret diameters are those of the convex hull: the largest is between two corners, the smallest stands on an edge.
    The rectangle of smallest area has a side on an edge of the hull.
    """
    hull = np.asarray(outline.convex_hull.exterior.coords)[:-1]
    feret_max, feret_min, rectangle, across = _calipers(hull)
    area = float(outline.area)
    return {
        "area": area,
        "perimeter": float(outline.exterior.length),
        "ecd": 2 * math.sqrt(area / math.pi),
        "feret_max": feret_max,
        "feret_min": feret_min,
        "length": length or rectangle,
        "width": area / length if length else across,
        "x": float(outline.centroid.x),
        "y": float(outline.centroid.y),
    }


@njit(cache=True, nogil=True)
def _calipers(hull):  # type: ignore[no-untyped-def]
    """Largest and smallest caliper of a convex polygon, sides of its smallest rectangle (longer first)."""
    n = len(hull)
    longest = 0.0
    for i in range(n):
        for j in range(i + 1, n):
            longest = max(longest, (hull[i, 0] - hull[j, 0]) ** 2 + (hull[i, 1] - hull[j, 1]) ** 2)
    narrowest, smallest, long_side, short_side = math.inf, math.inf, 0.0, 0.0
    for i in range(n):
        ex, ey = hull[(i + 1) % n, 0] - hull[i, 0], hull[(i + 1) % n, 1] - hull[i, 1]
        size = math.sqrt(ex * ex + ey * ey)
        if size < 1e-12:
            continue
        ex, ey = ex / size, ey / size
        low_a = low_b = math.inf
        high_a = high_b = -math.inf
        for j in range(n):
            a = hull[j, 0] * ex + hull[j, 1] * ey
            b = hull[j, 1] * ex - hull[j, 0] * ey
            low_a, high_a, low_b, high_b = min(low_a, a), max(high_a, a), min(low_b, b), max(high_b, b)
        a, b = high_a - low_a, high_b - low_b
        narrowest = min(narrowest, b)
        # The rectangles on the three sides of a triangle are equal in area: of equals the most compact is taken.
        equal = abs(a * b - smallest) < 1e-9 * smallest
        if (equal and max(a, b) < long_side) or (not equal and a * b < smallest):
            smallest, long_side, short_side = a * b, max(a, b), min(a, b)
    return math.sqrt(longest), narrowest, long_side, short_side


def about(axis: int, angle: float) -> Array:
    """Rotation about x (0), y (1) or z (2) by an angle in rad."""
    c, s = math.cos(angle), math.sin(angle)
    i, j = [(1, 2), (0, 2), (0, 1)][axis]
    m = np.eye(3)
    m[i, i] = m[j, j] = c
    m[i, j], m[j, i] = -s, s
    return m


def any_rotation(rng: np.random.Generator) -> Array:
    """A rotation drawn evenly from all."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return np.asarray(q if np.linalg.det(q) > 0 else -q)


def lying_rotation(rng: np.random.Generator, *, tilt: float) -> Array:
    """A rotation that keeps the x axis within `tilt` rad of the picture's plane; evenly from all from pi/2 on."""
    if tilt >= math.pi / 2:
        return any_rotation(rng)
    # Evenly over the belt of the sphere: the sine of the elevation is even.
    up = math.asin(rng.uniform(-1, 1) * math.sin(tilt))
    return about(2, rng.uniform(0, 2 * math.pi)) @ about(1, up) @ about(0, rng.uniform(0, 2 * math.pi))


def flat_rotation(rng: np.random.Generator, *, tilt: float) -> Array:
    """A rotation that keeps the z axis (a plate's normal) within `tilt` rad of the line of sight."""
    if tilt >= math.pi / 2:
        return any_rotation(rng)
    lean = math.acos(1 - rng.uniform(0, 1) * (1 - math.cos(tilt)))
    return about(2, rng.uniform(0, 2 * math.pi)) @ about(0, lean) @ about(2, rng.uniform(0, 2 * math.pi))
