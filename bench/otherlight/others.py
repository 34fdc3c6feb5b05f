"""Things that are no crystals: fibre, hair, dust flake, scratch, smear, dendrite."""

from __future__ import annotations

import itertools
import math

import numpy as np
from shapely import LineString, MultiPoint, Point, Polygon, affinity, unary_union

from bench.otherlight.bodies import Body, Material, Part, Points, hull_of, largest

UFO_KINDS = ("fibre", "hair", "dust flake", "scratch", "smear", "dendrite")


def ufo(name: str, size: float, rng: np.random.Generator) -> Body:
    """One thing of `UFO_KINDS`, about `size` px long."""
    makers = dict(zip(UFO_KINDS, (fibre, hair, dust_flake, scratch, smear, dendrite), strict=True))
    return makers[name](size, rng)


def fibre(size: float, rng: np.random.Generator) -> Body:
    """Textile fibre: a clear thread of even width that curls, with dark edges and a bright middle line."""
    width = float(np.clip(size * rng.uniform(0.014, 0.03), 3.0, 16.0))
    material = Material(contrast=rng.uniform(0.12, 0.2), milk=0.5, rough=0.05, birefringence=rng.uniform(10, 60))
    return _thread("fibre", wander(size, rng, curl=rng.uniform(1.5, 4.0)), width, material)


def hair(size: float, rng: np.random.Generator) -> Body:
    """Hair: dark, stiff, gently bent, with scales."""
    width = float(np.clip(size * rng.uniform(0.02, 0.04), 4.0, 20.0))
    material = Material(
        contrast=0.15, absorb=rng.uniform(0.5, 1.5) / width, rough=0.15, grain=1.5, milk=0.35, birefringence=6
    )
    return _thread("hair", wander(size, rng, curl=rng.uniform(0.6, 1.6)), width, material)


def wander(length: float, rng: np.random.Generator, *, curl: float) -> Points:
    """A smooth path (k, 2) of a given length, px; `curl`: angle that it turns through, rad, at random to both sides."""
    k = 48
    s = np.linspace(0, 1, k)
    waves = sum(rng.normal(0, 1 / (n + 1)) * np.sin(math.pi * (n + 1) * s + rng.uniform(0, 6.3)) for n in range(3))
    angle = rng.uniform(0, 2 * math.pi) + curl * (waves + rng.choice([-1, 1]) * 0.8 * s)
    steps = np.column_stack([np.cos(angle), np.sin(angle)]) * length / (k - 1)
    path = np.vstack([[0.0, 0.0], np.cumsum(steps[:-1], axis=0)])
    return path - path.mean(axis=0)


def _thread(name: str, path: Points, width: float, material: Material) -> Body:
    """A round thread along a path."""
    outline = largest(LineString(path).buffer(width / 2, quad_segs=8))
    turns = np.arange(8) * math.pi / 4
    # The ring of corners lies around the circle, so that the mesh covers the outline.
    r = width / 2 / math.cos(math.pi / 8)
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1)[:, None]
    rings = []
    for p, t in zip(path, tangent, strict=True):
        across = np.array([-t[1], t[0]])
        xy = p + np.outer(r * np.cos(turns), across)
        rings.append(np.column_stack([xy, r * np.sin(turns)]))
    parts = []
    length = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    for a, b in itertools.pairwise(rings):
        d = b[:, :2].mean(axis=0) - a[:, :2].mean(axis=0)
        parts.append(Part(hull_of(np.vstack([a, b])), axis_angle=math.atan2(d[1], d[0])))
    # One part per piece would count the overlaps twice; the thread is one mesh, its axis the mean one.
    whole = Part(np.concatenate([p.triangles for p in parts]), axis_angle=parts[len(parts) // 2].axis_angle)
    return Body("other", name, outline, (length + width, width, width), (whole,), material, path=length + width)


def ragged(size: float, rng: np.random.Generator, *, ratio: float, jag: float) -> Polygon:
    """An irregular patch: a circle with noise that falls off with frequency, stretched by `ratio`, turned."""
    k = 240
    angle = np.linspace(0, 2 * math.pi, k, endpoint=False)
    r = np.ones(k)
    for n in range(2, 48):
        r += jag / n**1.15 * 1.3 * rng.normal() * np.cos(n * angle + rng.uniform(0, 6.3))
    r = np.maximum(r, 0.25)
    shape = Polygon(np.column_stack([r * np.cos(angle) * ratio, r * np.sin(angle)])).buffer(0)
    shape = affinity.rotate(largest(shape), rng.uniform(0, 360), origin=(0, 0))
    low_x, low_y, high_x, high_y = shape.bounds
    scale = size / max(high_x - low_x, high_y - low_y)
    shape = affinity.scale(shape, scale, scale, origin=(0, 0))
    return affinity.translate(shape, -shape.centroid.x, -shape.centroid.y)


def dust_flake(size: float, rng: np.random.Generator) -> Body:
    """Dust flake: dark, ragged, rough."""
    outline = ragged(size, rng, ratio=rng.uniform(1, 2), jag=rng.uniform(0.15, 0.3))
    material = Material(
        contrast=0.3,
        opacity=rng.uniform(0.5, 0.92),
        rough=1.1,
        grain=max(0.7, 0.018 * size),
        milk=rng.uniform(0.2, 0.7),
        birefringence=2,
    )
    return Body("other", "dust flake", outline, (*_sides(outline), 0.2 * size), (Part(),), material)


def smear(size: float, rng: np.random.Generator) -> Body:
    """Smear: a streaky film of something that was wiped over the window."""
    angle = rng.uniform(0, math.pi)
    c, s = math.cos(angle), math.sin(angle)
    tracks = []
    for _ in range(int(rng.integers(6, 14))):
        off, along = rng.normal(0, 0.12) * size, rng.normal(0, 0.12) * size
        half = size * rng.uniform(0.2, 0.45)
        bow = rng.normal(0, 0.04) * size
        t = np.linspace(-1, 1, 12)
        u, v = along + half * t, off + bow * t**2
        line = LineString(np.column_stack([u * c - v * s, u * s + v * c]))
        tracks.append(line.buffer(size * rng.uniform(0.012, 0.05), quad_segs=4))
    # Bridged by the film between them.
    outline = largest(unary_union(tracks).buffer(0.02 * size).buffer(-0.01 * size))
    outline = Polygon(outline.exterior)
    outline = affinity.translate(outline, -outline.centroid.x, -outline.centroid.y)
    material = Material(contrast=0.1, veil=rng.uniform(0.35, 0.8), rough=0.05, milk=0.06, birefringence=0.5)
    return Body("other", "smear", outline, (*_sides(outline), 2.0), (Part(axis_angle=angle),), material)


def scratch(size: float, rng: np.random.Generator) -> Body:
    """Scratch: a thin groove with chipped edges and a kink or a bow."""
    angle = rng.uniform(0, 2 * math.pi)
    bow = rng.choice([-1, 1]) * rng.uniform(0.04, 0.12) * size
    t = np.linspace(-1, 1, 40)
    u, v = size / 2 * t, bow * t**2 + rng.normal(0, 0.15, 40)
    w = np.maximum(0.6, rng.uniform(0.9, 2.2) * (1 - t**4) + np.abs(rng.normal(0, 0.5, 40)))
    upper, lower = np.column_stack([u, v + w]), np.column_stack([u, v - w])[::-1]
    outline = affinity.rotate(largest(Polygon(np.vstack([upper, lower])).buffer(0)), math.degrees(angle), origin=(0, 0))
    outline = affinity.translate(outline, -outline.centroid.x, -outline.centroid.y)
    material = Material(contrast=0.5, opacity=rng.uniform(0.3, 0.7), rough=1.2, grain=1.0, milk=0.8, birefringence=1)
    length = float(np.hypot(np.diff(u), np.diff(v)).sum())
    return Body("other", "scratch", outline, (length, float(2 * w.mean()), 1.0), (Part(),), material, path=length)


def dendrite(size: float, rng: np.random.Generator) -> Body:
    """Dendrite: trunks from one centre with side branches that get shorter outwards."""
    arms = int(rng.choice([1, 3, 4, 6]))
    fork = math.radians(rng.choice([60, 90, 45]))
    start = rng.uniform(0, 2 * math.pi)
    half = size / 2 if arms > 1 else size
    thick = max(2.0, size * rng.uniform(0.025, 0.04))
    bars: list[tuple[float, float, float, float, float]] = []
    for k in range(arms):
        angle = start + 2 * math.pi * k / arms + rng.normal(0, 0.04)
        reach = half * rng.uniform(0.75, 1.0)
        bars.append((0.0, 0.0, angle, reach, thick))
        gap = max(3.2 * thick, 0.09 * size)
        at = gap
        while at < reach - gap:
            for side in (-1, 1):
                long = (reach - at) * rng.uniform(0.35, 0.65) * (1 if arms < 6 else 0.7)
                bars.append((at * math.cos(angle), at * math.sin(angle), angle + side * fork, long, 0.75 * thick))
            at += gap * rng.uniform(0.8, 1.3)
    parts, shapes = [], []
    for x, y, angle, long, w in bars:
        c, s = math.cos(angle), math.sin(angle)
        u = np.array([-w / 2, long * 0.85, long, long * 0.85, -w / 2])
        v = np.array([-w / 2, -w / 2.6, 0.0, w / 2.6, w / 2])
        xy = np.column_stack([x + u * c - v * s, y + u * s + v * c])
        ridge = np.column_stack([x + np.array([0, long * 0.85]) * c, y + np.array([0, long * 0.85]) * s])
        corners = np.vstack(
            [np.column_stack([xy, np.zeros(5)]), np.column_stack([ridge, [w * 0.5] * 2]),
             np.column_stack([ridge, [-w * 0.5] * 2])]
        )  # fmt: skip
        parts.append(Part(hull_of(corners), axis_angle=angle))
        shapes.append(MultiPoint(xy).convex_hull)
    outline = unary_union([*shapes, Point(0, 0).buffer(thick * 0.8)])
    outline = largest(outline.buffer(0.15 * thick).buffer(-0.15 * thick))
    shift = outline.centroid
    outline = affinity.translate(outline, -shift.x, -shift.y)
    material = Material(contrast=rng.uniform(0.12, 0.25), milk=0.9, rough=0.1, birefringence=rng.uniform(5, 25))
    return Body(
        "other", "dendrite", outline, (*_sides(outline), thick), tuple(p.moved(-shift.x, -shift.y, 0) for p in parts),
        material,
    )  # fmt: skip


def _sides(outline: Polygon) -> tuple[float, float]:
    box = np.asarray(outline.minimum_rotated_rectangle.exterior.coords)
    a, b = float(np.hypot(*(box[1] - box[0]))), float(np.hypot(*(box[2] - box[1])))
    return max(a, b), min(a, b)
