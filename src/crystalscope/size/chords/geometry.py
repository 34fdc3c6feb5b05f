"""Chords of outlines: of straight lines in every direction, exact, and of scanned circles."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from crystalscope.errors import InputError

Array = NDArray[np.float64]


def smooth_outline(corners: NDArray[np.integer]) -> Array:
    """The outline of a mask without the steps of its pixels.

    The steps would cut a line that grazes the edge into many short chords that are not in the crystal.

    Parameters
    ----------
    corners
        (k, 2) x, y of an outline on pixel corners, as `measure.outlines` gives them.

    Returns
    -------
    (n, 2) x, y: the middles of the pixel edges, drawn together along the outline by a Gaussian of 1.2 px, then scaled
    about their centre so that the area of the pixels is kept; points within 0.05 px of the line between others are left
    out. Outlines of fewer than 8 pixel edges keep their corners.

    Notes
    -----
    Corners come out rounded by about a pixel: the chords of particles below some 8 px are those of a rounded shape.
    """
    import cv2
    from scipy.ndimage import gaussian_filter1d

    polygon = np.asarray(corners, dtype=float)
    steps = np.roll(polygon, -1, axis=0) - polygon
    lengths = np.abs(steps).sum(axis=1).round().astype(int)
    if lengths.sum() < 8:
        return polygon
    unit = np.repeat(steps / lengths[:, None], lengths, axis=0)
    first = np.repeat(polygon, lengths, axis=0)
    within = np.concatenate([np.arange(n) for n in lengths])
    middles = first + unit * (within + 0.5)[:, None]
    smooth = gaussian_filter1d(middles, 1.2, axis=0, mode="wrap")
    corner = smooth.min(axis=0)
    few = cv2.approxPolyDP((smooth - corner).astype(np.float32)[:, None], 0.05, True)[:, 0].astype(float) + corner
    smooth = few if len(few) >= 3 else smooth
    area, shrunk = abs(polygon_area(polygon)), abs(polygon_area(smooth))
    if shrunk <= 0:
        return middles
    centre = smooth.mean(axis=0)
    return np.asarray(centre + (smooth - centre) * math.sqrt(area / shrunk))


def polygon_area(polygon: Array) -> float:
    """Signed area of a polygon (n, 2)."""
    x, y = polygon.T
    return 0.5 * float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def pack(polygons: Sequence[Array]) -> tuple[Array, NDArray[np.int64]]:
    """Points of all polygons end to end (n, 2), and where each starts (k + 1,)."""
    for p in polygons:
        if p.ndim != 2 or p.shape[1] != 2 or len(p) < 3 or not np.isfinite(p).all():
            raise InputError(f"expected polygons of at least 3 finite points x, y, got shape {p.shape}; draw it again")
    starts = np.concatenate([[0], np.cumsum([len(p) for p in polygons], dtype=np.int64)]).astype(np.int64)
    return (np.concatenate(polygons) if polygons else np.zeros((0, 2))), starts


def line_chords(polygons: Sequence[Array], edges: ArrayLike, *, weight: ArrayLike, directions: int) -> Array:
    """How often random lines cut chords in channels of length.

    Parameters
    ----------
    polygons
        (n, 2) x, y each, in the unit of `edges`, closed, not crossing themselves; convex or not.
    edges
        (k + 1,) of the channels, ascending; chords outside are not counted.
    weight
        (number of polygons,) particles that each one stands for.
    directions
        Of the lines, spread evenly over half a turn.

    Returns
    -------
    (k,) breadth, in the unit of the edges, over which lines cut chords in each channel, mean over the directions. The
    sum over all chords of a convex outline is its mean breadth, perimeter / pi.

    Notes
    -----
    Between two vertices the chord changes evenly with the offset of the line, so that for a direction nothing is
    sampled: the result is exact. Only the mean over directions is a sum.
    """
    points, starts = pack(polygons)
    e = np.ascontiguousarray(edges, dtype=float)
    w = np.broadcast_to(np.asarray(weight, dtype=float), (len(polygons),)).copy()
    if directions < 1:
        raise InputError(f"expected at least one direction, got {directions}")
    return np.asarray(_line_chords(points, starts, e, w, directions))


@njit(cache=True, nogil=True)
def _add(out, edges, low, high, share):  # type: ignore[no-untyped-def]
    """Spread a share evenly over the lengths from low to high."""
    if high < low:
        low, high = high, low
    k = np.searchsorted(edges, low, side="right") - 1
    if high - low < 1e-12 * (high + 1e-300):
        if 0 <= k < len(out):
            out[k] += share
        return
    k = max(k, 0)
    while k < len(out) and edges[k] < high:
        part = min(high, edges[k + 1]) - max(low, edges[k])
        if part > 0:
            out[k] += share * part / (high - low)
        k += 1


@njit(cache=True, nogil=True)
def _line_chords(points, starts, edges, weight, directions):  # type: ignore[no-untyped-def]
    out = np.zeros(len(edges) - 1)
    longest = 0
    for p in range(len(starts) - 1):
        longest = max(longest, starts[p + 1] - starts[p])
    active = np.empty(longest, np.int64)
    near, far, middle = np.empty(longest), np.empty(longest), np.empty(longest)
    for d in range(directions):
        for p in range(len(starts) - 1):
            # Every outline has directions of its own, so that over many of them hardly a direction is left out; the
            # first ones lie off the axes, along which the sides of drawn rectangles lie.
            angle = math.pi * (d + (0.5 + 0.6180339887498949 * p) % 1.0) / directions
            c, s = math.cos(angle), math.sin(angle)
            a, n = starts[p], starts[p + 1] - starts[p]
            u, v = np.empty(n), np.empty(n)
            for i in range(n):
                u[i] = points[a + i, 0] * c + points[a + i, 1] * s
                v[i] = points[a + i, 1] * c - points[a + i, 0] * s
            lows = np.empty(n)
            for i in range(n):
                lows[i] = min(v[i], v[(i + 1) % n])
            by_low, levels = np.argsort(lows), np.sort(v)
            reach = levels[n - 1] - levels[0]
            count, following = 0, 0
            for k in range(n - 1):
                width = levels[k + 1] - levels[k]
                # Sides that end here leave, those that start here enter.
                kept = 0
                for m in range(count):
                    i = active[m]
                    if max(v[i], v[(i + 1) % n]) > levels[k]:
                        active[kept] = i
                        kept += 1
                count = kept
                while following < n and lows[by_low[following]] <= levels[k]:
                    i = by_low[following]
                    following += 1
                    if max(v[i], v[(i + 1) % n]) > levels[k]:
                        active[count] = i
                        count += 1
                if width <= 1e-13 * reach:
                    continue
                for m in range(count):
                    i = active[m]
                    j = (i + 1) % n
                    slope = (u[j] - u[i]) / (v[j] - v[i])
                    near[m] = u[i] + slope * (levels[k] - v[i])
                    far[m] = u[i] + slope * (levels[k + 1] - v[i])
                    middle[m] = 0.5 * (near[m] + far[m])
                order = np.argsort(middle[:count])
                for m in range(0, count - 1, 2):
                    i, j = order[m], order[m + 1]
                    share = weight[p] * width / directions
                    _add(out, edges, max(near[j] - near[i], 0.0), max(far[j] - far[i], 0.0), share)
    return out


def circle_chords(
    polygons: Sequence[Array], *, weight: ArrayLike, diameter: float, centres: ArrayLike
) -> tuple[Array, Array]:
    """Arcs that circles cut from outlines, as a laser spot on its circular path does.

    Parameters
    ----------
    polygons, weight
        As in `line_chords`.
    diameter
        Of the circles, in the unit of the polygons.
    centres
        (m, 2) x, y.

    Returns
    -------
    length, weight
        (chords,) along the arc, as a probe that takes time times speed reports them. A circle that lies within an
        outline gives none: it never begins.
    """
    points, starts = pack(polygons)
    w = np.broadcast_to(np.asarray(weight, dtype=float), (len(polygons),)).copy()
    if not diameter > 0:
        raise InputError(f"expected a diameter of the scanned circle above 0, got {diameter}")
    middles = np.ascontiguousarray(centres, dtype=float).reshape(-1, 2)
    lengths, weights = _circle_chords(points, starts, w, 0.5 * diameter, middles)
    return np.asarray(lengths), np.asarray(weights)


@njit(cache=True, nogil=True)
def _inside(points, a, n, x, y):  # type: ignore[no-untyped-def]
    found = False
    j = n - 1
    for i in range(n):
        xi, yi, xj, yj = points[a + i, 0], points[a + i, 1], points[a + j, 0], points[a + j, 1]
        if (yi > y) != (yj > y) and x < (xj - xi) * (y - yi) / (yj - yi) + xi:
            found = not found
        j = i
    return found


@njit(cache=True, nogil=True)
def _circle_chords(points, starts, weight, radius, centres):  # type: ignore[no-untyped-def]
    lengths, weights = [0.0 for _ in range(0)], [0.0 for _ in range(0)]
    for p in range(len(starts) - 1):
        a, n = starts[p], starts[p + 1] - starts[p]
        cx, cy, reach = 0.0, 0.0, 0.0
        for i in range(n):
            cx += points[a + i, 0] / n
            cy += points[a + i, 1] / n
        for i in range(n):
            reach = max(reach, math.hypot(points[a + i, 0] - cx, points[a + i, 1] - cy))
        angles = np.empty(2 * n)
        for m in range(len(centres)):
            ox, oy = centres[m, 0], centres[m, 1]
            if abs(math.hypot(cx - ox, cy - oy) - radius) > reach:
                continue
            found = 0
            for i in range(n):
                j = (i + 1) % n
                x0, y0 = points[a + i, 0] - ox, points[a + i, 1] - oy
                dx, dy = points[a + j, 0] - ox - x0, points[a + j, 1] - oy - y0
                qa, qb = dx * dx + dy * dy, x0 * dx + y0 * dy
                qc = x0 * x0 + y0 * y0 - radius * radius
                root = qb * qb - qa * qc
                if qa == 0 or root <= 0:
                    continue
                root = math.sqrt(root)
                for t in ((-qb - root) / qa, (-qb + root) / qa):
                    if 0 <= t < 1:
                        angles[found] = math.atan2(y0 + t * dy, x0 + t * dx)
                        found += 1
            if found < 2:
                continue
            crossed = np.sort(angles[:found])
            for k in range(found):
                first = crossed[k]
                last = crossed[k + 1] if k + 1 < found else crossed[0] + 2 * math.pi
                half = 0.5 * (first + last)
                if last > first and _inside(points, a, n, ox + radius * math.cos(half), oy + radius * math.sin(half)):
                    lengths.append(radius * (last - first))
                    weights.append(weight[p])
    return np.array(lengths), np.array(weights)


def random_circles(field: tuple[float, float], *, diameter: float, count: int, rng: np.random.Generator) -> Array:
    """Centres of circles that meet a field, (count, 2) x, y, so that every point is met equally often.

    Parameters
    ----------
    field
        (height, width) of the picture.
    diameter
        Of the circles, in the unit of the field.
    """
    height, width = field
    radius = 0.5 * diameter
    kept: list[Array] = []
    n = 0
    while n < count:
        drawn = rng.uniform([-radius, -radius], [width + radius, height + radius], size=(4 * count, 2))
        x, y = drawn.T
        nearest = np.hypot(np.maximum(np.maximum(-x, x - width), 0), np.maximum(np.maximum(-y, y - height), 0))
        farthest = np.hypot(np.maximum(x, width - x), np.maximum(y, height - y))
        good = drawn[(nearest <= radius) & (radius <= farthest)]
        kept.append(good)
        n += len(good)
    return np.concatenate(kept)[:count]


def length_in_field(field: tuple[float, float], *, diameter: float, centres: Array, steps: int = 720) -> float:
    """Length of the parts of circles that lie in a field of (height, width)."""
    angle = 2 * math.pi * (np.arange(steps) + 0.5) / steps
    x = centres[:, :1] + 0.5 * diameter * np.cos(angle)
    y = centres[:, 1:] + 0.5 * diameter * np.sin(angle)
    inside = (x >= 0) & (x <= field[1]) & (y >= 0) & (y <= field[0])
    return float(inside.mean() * len(centres) * math.pi * diameter)
