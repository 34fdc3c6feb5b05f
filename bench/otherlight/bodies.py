"""Bodies as triangle meshes, seen from above: crystals, agglomerates, spheres, and things that are no crystals.

x to the right, y down, z towards the camera, in px; a body's origin is near its middle. Its outline is the exact
projection: the hull of the projected corners, the union of such hulls, or the drawn polygon itself.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, HalfspaceIntersection
from scipy.spatial.transform import Rotation
from shapely import MultiPoint, Polygon, affinity, unary_union

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """How a body takes light.

    Parameters
    ----------
    contrast
        Refractive index over that of the liquid, less 1; negative for gas.
    absorb
        Absorption per px of way.
    opacity
        Share of light that never passes, 0 to 1.
    rough, streak
        Standard deviation of the slope of rough surfaces, and of striations along the axis.
    grain
        Size of the roughness, or mean distance of striations, px.
    soft
        Radius to which edges are rounded, px.
    milk
        Light scattered back by thick places, 0 to 1.
    flaws
        Number of cracks, inclusions and veils.
    veil
        Largest darkness of a streaky film.
    polish
        Factor on the roughness at which facets reflect: below 1 for the surfaces of bubbles and droplets.
    birefringence
        nm of path difference per px of way.
    """

    contrast: float = 0.17
    absorb: float = 0.0
    opacity: float = 0.0
    rough: float = 0.0
    streak: float = 0.0
    grain: float = 2.0
    soft: float = 0.0
    milk: float = 0.2
    flaws: int = 0
    veil: float = 0.0
    polish: float = 1.0
    birefringence: float = 8.0


@dataclass(frozen=True, eq=False)
class Part:
    """One piece of a body: triangles (m, 3, 3) of x, y, z turned outwards, or balls (k, 4) x, y, z, radius.

    Neither: a film without relief, as far as the outline goes.
    """

    triangles: Points = field(default_factory=lambda: np.zeros((0, 3, 3)))
    balls: Points = field(default_factory=lambda: np.zeros((0, 4)))
    axis_angle: float = 0.0
    """Direction of the long axis in the picture, rad."""
    axis_share: float = 1.0
    """Share of the birefringence that is seen along z."""

    @property
    def film(self) -> bool:
        """Whether it has no surfaces of its own."""
        return not len(self.triangles) and not len(self.balls)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """x, y of the upper left and of the lower right corner."""
        if self.film:
            return -math.inf, -math.inf, math.inf, math.inf
        if len(self.balls):
            low = (self.balls[:, :2] - self.balls[:, 3:]).min(axis=0)
            high = (self.balls[:, :2] + self.balls[:, 3:]).max(axis=0)
        else:
            low, high = self.triangles[:, :, :2].min(axis=(0, 1)), self.triangles[:, :, :2].max(axis=(0, 1))
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def moved(self, x: float, y: float, z: float) -> Part:
        """The part, shifted."""
        shift = np.array([x, y, z, 0.0])
        return dataclasses.replace(self, triangles=self.triangles + shift[:3], balls=self.balls + shift)


@dataclass(frozen=True, eq=False)
class Body:
    """A body ready to be placed.

    Parameters
    ----------
    kind
        As in `core.KINDS`.
    name
        What it is: block, needle, fibre …
    outline
        Its projection about the origin.
    dimensions
        Length, width, thickness in three dimensions, px, in falling order.
    parts
        Its surfaces, one or more.
    material
        How it takes light.
    path
        Length along the axis of a bent body, px; NaN for a straight one.
    members
        Primaries of an agglomerate in place, outlines about the same origin.
    n_primaries
        Crystals that it is made of.
    """

    kind: str
    name: str
    outline: Polygon
    dimensions: tuple[float, float, float]
    parts: tuple[Part, ...] = ()
    material: Material = field(default_factory=Material)
    path: float = math.nan
    members: tuple[Body, ...] = ()
    n_primaries: int = 1

    @property
    def single_ball(self) -> bool:
        """Whether it is one sphere, whose refraction is known in closed form."""
        return len(self.parts) == 1 and len(self.parts[0].balls) == 1

    @cached_property
    def radius(self) -> float:
        """Distance of the farthest point of the outline from the origin."""
        return float(np.hypot(*np.asarray(self.outline.exterior.coords).T).max())

    def moved(self, x: float, y: float, z: float) -> Body:
        """The body about another origin."""
        return dataclasses.replace(
            self,
            outline=affinity.translate(self.outline, x, y),
            parts=tuple(p.moved(x, y, z) for p in self.parts),
            members=tuple(m.moved(x, y, z) for m in self.members),
        )


def hull_of(corners: Points) -> Points:
    """Triangles (m, 3, 3) of the convex hull of corners (n, 3), turned outwards."""
    hull = ConvexHull(corners)
    tri = corners[hull.simplices]
    normal = np.cross(tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0])
    wrong = np.einsum("ij,ij->i", normal, hull.equations[:, :3]) < 0
    tri[wrong] = tri[wrong][:, ::-1]
    return tri


def corners_of(planes: Sequence[tuple[float, float, float, float]]) -> Points:
    """Corners (n, 3) of the body n·x <= d, planes (nx, ny, nz, d) with d above 0."""
    p = np.asarray(planes)
    half = HalfspaceIntersection(np.column_stack([p[:, :3], -p[:, 3]]), np.zeros(3))
    return np.unique(np.round(half.intersections, 9), axis=0)


def extents(corners: Points) -> tuple[float, float, float]:
    """Length, width and thickness along the body's own axes, in falling order."""
    a, b, c = sorted(np.ptp(corners, axis=0), reverse=True)
    return float(a), float(b), float(c)


def pose(rng: np.random.Generator, *, tilt: float, roll: float) -> Rotation:
    """A body lying flat, rolled about its length and tilted out of the picture by at most so many rad, then turned."""
    if tilt >= math.pi / 2 and roll >= math.pi / 2:
        return Rotation.from_quat(rng.standard_normal(4))
    # Equal areas of the sphere of directions: the sine of the tilt is uniform.
    up = math.asin(math.sin(min(tilt, math.pi / 2)) * rng.uniform(-1, 1))
    return Rotation.from_euler("xyz", [rng.uniform(-roll, roll), up, rng.uniform(0, 2 * math.pi)])


def solid(name: str, corners: Points, turn: Rotation, material: Material) -> Body:
    """A convex crystal from corners in its own frame (x along its length)."""
    placed = turn.apply(corners - corners.mean(axis=0))
    outline = MultiPoint(placed[:, :2]).convex_hull
    if material.soft > 0:
        opened = outline.buffer(-material.soft).buffer(material.soft)
        outline = opened if isinstance(opened, Polygon) and not opened.is_empty else outline
    axis = turn.apply([1.0, 0.0, 0.0])
    part = Part(hull_of(placed), axis_angle=math.atan2(axis[1], axis[0]), axis_share=float(1 - axis[2] ** 2))
    return Body("crystal", name, outline, extents(corners), (part,), material)


# Habits: corners in the body's frame, x along the length, z along the thickness.


def box(length: float, width: float, thickness: float, rng: np.random.Generator, *, bevel: float = 0.3) -> Points:
    """Cuboid, a little oblique, with some of its edges and corners cut: a block, or a plate with inclined sides.

    Parameters
    ----------
    length, width, thickness
        px.
    rng
        Random numbers.
    bevel
        Largest share of the half thickness or width that a cut takes off.
    """
    a = np.array([length, width, thickness]) / 2
    planes = []
    lean = rng.normal(0, 0.05, 3)
    for axis in range(3):
        for sign in (-1.0, 1.0):
            n = np.zeros(3)
            n[axis] = sign
            n[(axis + 1) % 3] = sign * lean[axis]
            planes.append((*n, a[axis]))
    for axis in range(3):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        for si in (-1.0, 1.0):
            for sj in (-1.0, 1.0):
                if rng.random() < 0.75:
                    n = np.zeros(3)
                    n[i], n[j] = si, sj * rng.uniform(0.6, 1.6)
                    reach = a[i] + abs(n[j]) * a[j]
                    planes.append((*n, reach - rng.uniform(0.1, 1) * bevel * 2 * min(a[i], a[j])))
    for s in np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).T.reshape(-1, 3):
        if rng.random() < 0.35:
            n = s * rng.uniform(0.6, 1.4, 3)
            planes.append((*n, np.abs(n) @ a - rng.uniform(0.1, 1) * bevel * 2 * a.min()))
    return corners_of(planes)


def bipyramid(length: float, width: float, thickness: float, rng: np.random.Generator) -> Points:
    """Prism of 4 or 6 sides along x, closed by pyramids, their tips cut: the coffin and envelope shapes of salts."""
    sides = int(rng.choice([4, 6]))
    start = rng.uniform(0, math.pi / sides)
    cap = rng.uniform(0.55, 1.3)
    shaft = rng.uniform(0.0, 0.6)
    planes = [(1.0, 0.0, 0.0, length / 2 * rng.uniform(0.75, 1)), (-1.0, 0.0, 0.0, length / 2 * rng.uniform(0.75, 1))]
    for k in range(sides):
        angle = start + 2 * math.pi * k / sides
        y, z = math.cos(angle) / (width / 2), math.sin(angle) / (thickness / 2)
        norm = math.hypot(y, z)
        grown = rng.uniform(0.88, 1.0)
        planes.append((0.0, y / norm, z / norm, grown / norm))
        for sign in (-1.0, 1.0):
            n = np.array([sign * cap / (length / 2), y, z])
            reach = 1 + cap * shaft * rng.uniform(0.8, 1.2)
            planes.append((*(n / np.linalg.norm(n)), reach / np.linalg.norm(n)))
    return corners_of(planes)


def polygon_plate(size: float, thickness: float, rng: np.random.Generator, *, ratio: float) -> Points:
    """Plate with 4, 6 or 8 inclined sides; `ratio` length to width."""
    sides = int(rng.choice([4, 6, 8]))
    planes = [(0.0, 0.0, 1.0, thickness / 2), (0.0, 0.0, -1.0, thickness / 2)]
    start = rng.uniform(0, 2 * math.pi)
    lean = rng.uniform(0.2, 0.8)
    for k in range(sides):
        angle = start + 2 * math.pi * k / sides + (rng.normal(0, 0.06) if sides < 8 else 0)
        n = np.array([math.cos(angle) / ratio, math.sin(angle), lean * (1 if k % 2 else -1)])
        planes.append((*n, size / 2 * rng.uniform(0.88, 1.0)))
    return corners_of(planes)


def rod(length: float, width: float, thickness: float, rng: np.random.Generator, *, ends: str = "") -> Points:
    """Prism along x with 4 to 6 sides; ends flat, slanted, pointed or broken (drawn where empty)."""
    ends = ends or str(rng.choice(["flat", "slant", "point", "broken"]))
    sides = int(rng.choice([4, 5, 6]))
    start = rng.uniform(0, 2 * math.pi)
    planes = []
    for k in range(sides):
        angle = start + 2 * math.pi * (k + rng.uniform(-0.12, 0.12)) / sides
        planes.append((0.0, math.cos(angle) / (width / 2), math.sin(angle) / (thickness / 2), 1.0))
    for sign in (-1.0, 1.0):
        planes.append((sign, 0.0, 0.0, length / 2))
        if ends == "slant" or (ends == "broken" and sign > 0):
            n = np.array([sign, *rng.normal(0, 0.8, 2)])
            planes.append((*n, length / 2 - rng.uniform(0, 0.4) * width))
        elif ends == "point":
            steep = rng.uniform(0.4, 1.4)
            for k in range(2):
                side = 1.0 if k else -1.0
                planes.append((sign * steep, side, rng.normal(0, 0.2), steep * length / 2))
    return corners_of(planes)


def bent_rod(length: float, width: float, thickness: float, bend: float, turn: float, material: Material) -> Body:
    """A needle bent into an arc in the picture plane, turned by `turn` rad; `bend` is its angle end to end, rad."""
    cuts = max(4, int(abs(bend) * 12))
    s = np.linspace(-0.5, 0.5, cuts + 1)
    angle = turn + bend * s
    radius = length / bend
    x, y = radius * (np.sin(angle) - math.sin(turn)), -radius * (np.cos(angle) - math.cos(turn))
    taper = np.where(np.abs(s) > 0.49, 0.5, 1.0)
    section = np.array([[-0.5, 0.15], [-0.2, 0.5], [0.3, 0.5], [0.5, -0.1], [0.2, -0.5], [-0.4, -0.5]])
    rings = []
    for xi, yi, ai, ti in zip(x, y, angle, taper, strict=True):
        across = section[:, 0] * width * ti
        rings.append(
            np.column_stack([xi - np.sin(ai) * across, yi + np.cos(ai) * across, section[:, 1] * thickness * ti])
        )
    parts, hulls = [], []
    for k in range(cuts):
        corners = np.vstack([rings[k], rings[k + 1]])
        parts.append(hull_of(corners))
        hulls.append(MultiPoint(corners[:, :2]).convex_hull)
    outline = unary_union(hulls)
    # Faces between two pieces lie inside; taken together, the pieces show only the outer ones from above and below.
    part = Part(np.concatenate(parts), axis_angle=turn)
    return Body("crystal", "needle", outline, (length, width, thickness), (part,), material, path=length)


def sphere(diameter: float, *, kind: str, name: str, material: Material) -> Body:
    """One ball: bead, bubble or droplet."""
    turns = np.linspace(0, 2 * math.pi, 240, endpoint=False)
    # The polygon has the area of the circle.
    r = diameter / 2 * math.sqrt((2 * math.pi / 240) / math.sin(2 * math.pi / 240))
    outline = Polygon(np.column_stack([r * np.cos(turns), r * np.sin(turns)]))
    part = Part(balls=np.array([[0.0, 0.0, 0.0, diameter / 2]]))
    return Body(kind, name, outline, (diameter, diameter, diameter), (part,), material)


def granular(diameter: float, rng: np.random.Generator, material: Material) -> Body:
    """Round cluster of many fine grains, as phenylglycine gives."""
    axes = diameter / 2 * np.array([1.0, rng.uniform(0.7, 1.0), rng.uniform(0.6, 0.9)])
    size = diameter * rng.uniform(0.03, 0.065)
    n = int(np.clip(2.2 * (diameter / 2 / size) ** 2, 60, 600))
    direction = rng.standard_normal((n, 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    # Lobes make it lumpy; most grains lie on the surface, which is all that is seen.
    lobes = np.ones(n)
    for k in (2, 3, 5):
        lobes += rng.uniform(0.03, 0.12) * np.cos(direction @ rng.normal(0, k, 3))
    centre = direction * lobes[:, None] * axes * (rng.uniform(0.5, 1, n) ** 0.5)[:, None]
    turn = rng.uniform(0, 2 * math.pi)
    c, s = math.cos(turn), math.sin(turn)
    # Grains inside close the gaps between those at the surface.
    centre = np.vstack([centre, 0.55 * centre])
    centre[:, :2] = centre[:, :2] @ np.array([[c, s], [-s, c]])
    radius = np.concatenate([size * rng.lognormal(0, 0.3, n), size * rng.uniform(1.2, 1.8, n)])
    discs = shapely.buffer(shapely.points(centre[:, :2]), radius, quad_segs=6)
    outline = Polygon(largest(unary_union(discs)).exterior)
    inside = shapely.contains_xy(outline, centre[:, 0], centre[:, 1])
    balls = np.column_stack([centre, radius])[inside]
    body = Body("agglomerate", "granular", outline, _flat(outline, 2 * axes[2]), (Part(balls=balls),), material)
    return dataclasses.replace(body, n_primaries=int(np.count_nonzero(inside[:n])))


def largest(shape: object) -> Polygon:
    """The largest polygon of a union."""
    if isinstance(shape, Polygon):
        return shape
    return max(shape.geoms, key=lambda g: g.area)  # type: ignore[attr-defined]


def _flat(outline: Polygon, thickness: float) -> tuple[float, float, float]:
    box_ = np.asarray(outline.minimum_rotated_rectangle.exterior.coords)
    a, b = np.hypot(*(box_[1] - box_[0])), np.hypot(*(box_[2] - box_[1]))
    length, width = float(max(a, b)), float(min(a, b))
    return length, width, min(width, thickness)


def agglomerate(
    draw: Callable[[], Body], count: int, rng: np.random.Generator, *, overlap: float = 0.2, compact: float = 0.5
) -> Body:
    """Crystals grown together: each new one is pushed against one that is there until they overlap a little.

    Parameters
    ----------
    draw
        Makes one crystal.
    count
        Number of crystals, 2 or more.
    rng
        Random numbers.
    overlap
        Share of the smaller one's width by which two interpenetrate in the picture.
    compact
        0: chains; 1: each is pushed towards the middle.
    """
    placed = [draw()]
    for _ in range(count - 1):
        new = draw()
        host = placed[int(rng.integers(len(placed)))] if rng.random() > compact else placed[0]
        ox, oy = host.outline.centroid.x, host.outline.centroid.y
        angle = rng.uniform(0, 2 * math.pi)
        ux, uy = math.cos(angle), math.sin(angle)
        together = unary_union([b.outline for b in placed])
        near, far = 0.0, new.radius + max(b.radius for b in placed) * 2 + 2
        for _ in range(18):
            at = (near + far) / 2
            if affinity.translate(new.outline, ox + at * ux, oy + at * uy).intersects(together):
                near = at
            else:
                far = at
        push = overlap * rng.uniform(0.5, 1.2) * new.dimensions[1]
        # Pushed too far it may come out on the other side of a thin host; then it is pushed less.
        for share in (1.0, 0.6, 0.3, 0.1):
            at = max(0.0, near - share * push)
            shared = affinity.translate(new.outline, ox + at * ux, oy + at * uy).intersection(together).area
            if shared > 0.01 * new.outline.area:
                break
        placed.append(new.moved(ox + at * ux, oy + at * uy, rng.normal(0, 0.25) * new.dimensions[2]))
    outline = largest(unary_union([b.outline for b in placed]))
    shift = outline.centroid
    placed = [b.moved(-shift.x, -shift.y, 0.0) for b in placed]
    outline = affinity.translate(outline, -shift.x, -shift.y)
    thick = max(b.dimensions[2] for b in placed)
    return Body(
        "agglomerate", "agglomerate", outline, _flat(outline, thick), tuple(p for b in placed for p in b.parts),
        placed[0].material, members=tuple(placed), n_primaries=count,
    )  # fmt: skip
