"""Bodies: where light goes through them, and their silhouettes, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_ANGLES = np.linspace(0.0, math.pi, 720, endpoint=False)


@dataclass(frozen=True)
class Sphere:
    """A sphere of radius `radius` px."""

    radius: float

    def outline(self) -> Array:
        """(k, 2) silhouette x, y around the centre, px."""
        t = np.linspace(0, 2 * math.pi, 256, endpoint=False)
        return self.radius * np.stack([np.cos(t), np.sin(t)], axis=1)

    def dimensions(self) -> tuple[float, float, float]:
        """Length, width, thickness of the body, px."""
        return (2 * self.radius,) * 3

    def silhouette(self, x: Array, y: Array) -> NDArray[np.bool_]:
        """Whether points lie in the projection."""
        return x * x + y * y <= self.radius**2

    def deflection(self, x: Array, y: Array, index: float) -> Array:
        """Sine of the angle by which a ray along the axis leaves turned; 1 where it is lost."""
        s = np.clip(np.hypot(x, y) / self.radius, 0, 1)
        # Twice the difference of the angles of incidence and refraction (Snell).
        return np.asarray(np.sin(np.clip(2 * (np.arcsin(s) - np.arcsin(s / index)), 0, math.pi / 2)))

    def facing(self, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """Unit normal of the surface seen."""
        nx, ny = x / self.radius, y / self.radius
        return nx, ny, np.sqrt(np.clip(1 - nx * nx - ny * ny, 0, 1))


@dataclass(frozen=True)
class Polyhedron:
    """A convex body: points p with normals @ p <= offsets, px, already turned.

    Parameters
    ----------
    normals
        (f, 3) unit normals x, y, z (z towards the camera).
    offsets
        (f,).
    vertices
        (v, 3).
    size
        Length, width, thickness, px.
    """

    normals: Array
    offsets: Array
    vertices: Array
    size: tuple[float, float, float]

    def outline(self) -> Array:
        """(k, 2) silhouette x, y around the centre, px: hull of the projected vertices."""
        from scipy.spatial import ConvexHull

        flat = self.vertices[:, :2]
        return np.asarray(flat[ConvexHull(flat).vertices])

    def dimensions(self) -> tuple[float, float, float]:
        """Length, width, thickness of the body, px."""
        return self.size

    def silhouette(self, x: Array, y: Array) -> NDArray[np.bool_]:
        """Whether points lie in the projection."""
        inside = np.ones(np.broadcast(x, y).shape, dtype=bool)
        hull = self.outline()
        for a, b in zip(hull, np.roll(hull, -1, axis=0), strict=True):
            inside &= (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) >= 0
        return inside

    def _surface(self, x: Array, y: Array, side: int) -> NDArray[np.intp]:
        """Facet met by the line of sight at x, y on the side of the camera (1) or the lamp (-1)."""
        best = np.full(np.broadcast(x, y).shape, math.inf)
        facet = np.zeros(best.shape, dtype=np.intp)
        for i, (n, d) in enumerate(zip(self.normals, self.offsets, strict=True)):
            if side * n[2] <= 1e-6:
                continue
            height = side * (d - n[0] * x - n[1] * y) / n[2]
            nearer = height < best
            best = np.where(nearer, height, best)
            facet[nearer] = i
        return facet

    def deflection(self, x: Array, y: Array, index: float) -> Array:
        """Sine of the angle by which a ray along the axis leaves turned; 1 where it is lost.

        The ray enters by the facet on the lamp's side, is bent (Snell), and leaves by the facet that stands over
        the same point; its walk within the crystal is neglected, total reflection is not.
        """
        enter = self.normals[self._surface(x, y, -1)]
        leave = self.normals[self._surface(x, y, 1)]
        ray = np.zeros(enter.shape)
        ray[..., 2] = 1.0
        inner, _ = _refract(ray, -enter, 1.0 / index)
        outer, lost = _refract(inner, -leave, index)
        return np.where(lost, 1.0, np.hypot(outer[..., 0], outer[..., 1]))

    def facing(self, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """Unit normal of the surface seen."""
        n = self.normals[self._surface(x, y, 1)]
        return n[..., 0], n[..., 1], n[..., 2]


Body = Sphere | Polyhedron


def _refract(ray: Array, normal: Array, ratio: float) -> tuple[Array, NDArray[np.bool_]]:
    """Snell's law in vectors; `normal` points against the ray; `ratio` = index before / behind."""
    cosine = -(ray * normal).sum(axis=-1)
    square = 1 - ratio**2 * (1 - cosine**2)
    lost = square < 0
    k = ratio * cosine - np.sqrt(np.maximum(square, 0))
    return ratio * ray + k[..., None] * normal, lost


def block(length: float, width: float, thickness: float, *, cut: float, rng: np.random.Generator) -> Polyhedron:
    """A cuboid with corners truncated by `cut` (0: none, 1: to the middle of the edges), turned at random."""
    half = np.array([length, width, thickness]) / 2
    faces = [(np.eye(3)[i] * s, half[i]) for i in range(3) for s in (1, -1)]
    if cut > 0:
        for sx in (1, -1):
            for sy in (1, -1):
                for sz in (1, -1):
                    n = np.array([sx, sy, sz]) / half
                    norm = float(np.linalg.norm(n))
                    faces.append((n / norm, (3 - cut * rng.uniform(0.5, 1.0)) / norm))
    return _turned(faces, (length, width, thickness), _rotation(rng))


def bipyramid(length: float, width: float, *, rng: np.random.Generator) -> Polyhedron:
    """A tetragonal bipyramid with its tips cut, turned at random."""
    faces = []
    for q in range(4):
        for s in (1, -1):
            t = math.pi / 2 * q
            n = np.array([s * width, math.cos(t) * length, math.sin(t) * length])
            faces.append((n / np.linalg.norm(n), length * width / 2 / float(np.linalg.norm(n))))
    faces += [(np.array([s, 0.0, 0.0]), 0.4 * length) for s in (1.0, -1.0)]
    return _turned(faces, (0.8 * length, width, width), _rotation(rng))


def needle(length: float, width: float, *, tilt: float, rng: np.random.Generator) -> Polyhedron:
    """A hexagonal prism along its length, at most `tilt` radians out of the plane of the picture."""
    faces = [(np.array([0.0, math.cos(t), math.sin(t)]), width / 2) for t in np.arange(6) * math.pi / 3]
    faces += [(np.array([s, 0.0, 0.0]), length / 2) for s in (1.0, -1.0)]
    spin, turn, up = rng.uniform(0, 2 * math.pi), rng.uniform(0, 2 * math.pi), rng.uniform(-tilt, tilt)
    rotation = _about(2, turn) @ _about(1, up) @ _about(0, spin)
    return _turned(faces, (length, width, width), rotation)


def _about(axis: int, angle: float) -> Array:
    c, s = math.cos(angle), math.sin(angle)
    i, j = [(1, 2), (0, 2), (0, 1)][axis]
    m = np.eye(3)
    m[i, i] = m[j, j] = c
    m[i, j], m[j, i] = -s, s
    return m


def _rotation(rng: np.random.Generator) -> Array:
    """A rotation drawn evenly from all."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return np.asarray(q if np.linalg.det(q) > 0 else -q)


def _turned(faces: list[tuple[Array, float]], size: tuple[float, float, float], rotation: Array) -> Polyhedron:
    from scipy.spatial import HalfspaceIntersection

    normals = np.array([n for n, _ in faces])
    offsets = np.array([d for _, d in faces])
    corners = HalfspaceIntersection(np.column_stack([normals, -offsets]), np.zeros(3)).intersections
    corners = corners[np.isfinite(corners).all(axis=1)]
    return Polyhedron(normals @ rotation.T, offsets, corners @ rotation.T, size)


def polygon_measures(outline: Array) -> dict[str, float]:
    """Exact area, perimeter, ECD, Feret diameters, length and width (minimum-area rectangle) of a convex outline."""
    following = np.roll(outline, -1, axis=0)
    area = abs(float((outline[:, 0] * following[:, 1] - following[:, 0] * outline[:, 1]).sum())) / 2
    edges = following - outline
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    directions = np.concatenate([np.arctan2(edges[:, 1], edges[:, 0]), _ANGLES])
    along = np.stack([np.cos(directions), np.sin(directions)])
    across = np.stack([-np.sin(directions), np.cos(directions)])
    a, b = np.ptp(outline @ along, axis=0), np.ptp(outline @ across, axis=0)
    best = int((a * b).argmin())
    return {
        "area": area,
        "perimeter": float(lengths.sum()),
        "ecd": 2 * math.sqrt(area / math.pi),
        "feret_max": float(a.max()),
        "feret_min": float(min(a.min(), b.min())),
        "length": float(max(a[best], b[best])),
        "width": float(min(a[best], b[best])),
    }
