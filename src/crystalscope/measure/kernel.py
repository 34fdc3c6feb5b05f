"""The one measuring kernel: walks the masks of all particles of a picture, compiled."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from crystalscope.measure.outline import follow, label_parts

RESULTS = (
    "area",
    "perimeter",
    "feret_max",
    "feret_min",
    "rect_length",
    "rect_width",
    "hull_area",
    "hull_perimeter",
    "x",
    "y",
    "mean_grey",
    "touches_border",
    "border_weight",
    "path_length",
)
"""Columns of the result of `measure_masks`, in order."""

_NEEDLE = 3.0
"""Length to width of the rectangle, or of the rectangle of equal area and perimeter, from which the path along
the particle is measured."""


@njit(cache=True, nogil=True)
def measure_masks(boxes, pixels, offsets, grey, disc):  # type: ignore[no-untyped-def]
    """Measures of every mask, in px.

    Parameters
    ----------
    boxes, pixels, offsets
        As in `core.Instances`.
    grey
        The recorded picture, (rows, columns).
    disc
        (row, column, radius) of the field of view; radius 0: the whole picture.

    Returns
    -------
    float64 (n, len(RESULTS)).

    Notes
    -----
    The outline runs through the middles of the pixel edges, smoothed by a quadratic Savitzky-Golay filter over 7
    of them, which takes away the staircase and keeps straight edges and mild curves where they are. Area is the
    pixel count. The largest Feret diameter is taken on the unsmoothed middles, the smallest and the
    width of the minimum-area rectangle on the smoothed outline, its length on both. Bias by shape and
    size: docs/reference/shape-accuracy.md.
    """
    n = len(boxes)
    out = np.full((n, 14), np.nan, np.float64)
    rows, columns = grey.shape
    for k in range(n):
        r0, c0, r1, c1 = boxes[k]
        h, w = r1 - r0, c1 - c0
        crop = pixels[offsets[k] : offsets[k + 1]].reshape(h, w)
        area, sx, sy, sg = 0.0, 0.0, 0.0, 0.0
        border = False
        for r in range(h):
            for c in range(w):
                if crop[r, c] == 0:
                    continue
                area += 1.0
                sx += c + 0.5
                sy += r + 0.5
                sg += grey[r0 + r, c0 + c]
                if disc[2] > 0.0:
                    border = border or math.hypot(r0 + r - disc[0], c0 + c - disc[1]) > disc[2] - 1.5
        if area == 0.0:
            continue
        border = border or r0 == 0 or c0 == 0 or r1 == rows or c1 == columns
        part = label_parts(crop)
        parts = part.max()
        seen = np.zeros((h, w), np.uint8)
        edges = _edges(crop)
        corners = np.empty((edges, 2), np.int32)
        perimeter = 0.0
        total = 0
        middles = np.empty((edges, 2), np.float64)
        smooth = np.empty((edges, 2), np.float64)
        for p in range(1, parts + 1):
            own = crop
            first = 0
            while part[first // w, first % w] != p:
                first += 1
            if parts > 1:
                own = (part == p).astype(np.uint8)
            m = follow(own, first // w, first % w, seen, corners)
            for i in range(m):
                j = (i + 1) % m
                middles[total + i, 0] = 0.5 * (corners[i, 0] + corners[j, 0])
                middles[total + i, 1] = 0.5 * (corners[i, 1] + corners[j, 1])
            perimeter += _smooth(middles[total : total + m], smooth[total : total + m])
            total += m
        hull = _hull(middles[:total])
        feret_max, _, raw_length, _ = _calipers(hull)
        fine = _hull(smooth[:total])
        _, feret_min, length, width = _calipers(fine)
        out[k, 0] = area
        out[k, 1] = perimeter
        out[k, 2] = feret_max
        out[k, 3] = min(feret_min, feret_max)
        # Smoothing shortens towards corners, the staircase lengthens: the mean of both is about unbiased.
        out[k, 4] = max(0.5 * (length + raw_length), width)
        out[k, 5] = width
        out[k, 6], out[k, 7] = _area_perimeter(fine)
        out[k, 8] = c0 + sx / area
        out[k, 9] = r0 + sy / area
        out[k, 10] = sg / area
        out[k, 11] = 1.0 if border else 0.0
        if not border:
            out[k, 12] = _border_weight(hull, r0, c0, h, w, rows, columns, disc)
        fibre = _fibre(area, perimeter)
        if parts == 1 and (length >= _NEEDLE * width or fibre >= _NEEDLE):
            out[k, 13] = _path(crop, area)
    return out


@njit(cache=True, nogil=True)
def _edges(crop):  # type: ignore[no-untyped-def]
    """Pixel edges between mask and background: as many corners as all outlines have at most."""
    h, w = crop.shape
    n = 0
    for r in range(h):
        for c in range(w):
            if crop[r, c] != 0:
                n += r == 0 or crop[r - 1, c] == 0
                n += r == h - 1 or crop[r + 1, c] == 0
                n += c == 0 or crop[r, c - 1] == 0
                n += c == w - 1 or crop[r, c + 1] == 0
    return n


@njit(cache=True, nogil=True)
def _smooth(points, out):  # type: ignore[no-untyped-def]
    """Smooth a closed chain (quadratic Savitzky-Golay over 7 points) into `out`; its length."""
    n = len(points)
    if n < 10:
        out[:] = points
    else:
        for i in range(n):
            for d in range(2):
                out[i, d] = (
                    7.0 * points[i, d]
                    + 6.0 * (points[(i + 1) % n, d] + points[i - 1, d])
                    + 3.0 * (points[(i + 2) % n, d] + points[i - 2, d])
                    - 2.0 * (points[(i + 3) % n, d] + points[i - 3, d])
                ) / 21.0
    length = 0.0
    for i in range(n):
        length += math.hypot(out[(i + 1) % n, 0] - out[i, 0], out[(i + 1) % n, 1] - out[i, 1])
    return length


@njit(cache=True, nogil=True)
def _hull(points):  # type: ignore[no-untyped-def]
    """Convex hull by Andrew's monotone chain, (k, 2)."""
    n = len(points)
    order = np.argsort(points[:, 0] * 65536.0 + points[:, 1])
    hull = np.empty((2 * n + 2, 2), np.float64)
    k = 0
    for turn in range(2):
        base = k
        for t in range(n):
            p = points[order[t if turn == 0 else n - 1 - t]]
            while k >= base + 2 and _cross(hull[k - 2], hull[k - 1], p) <= 0.0:
                k -= 1
            hull[k, 0], hull[k, 1] = p[0], p[1]
            k += 1
        k -= 1
    return hull[: max(k, 1)].copy()


@njit(cache=True, nogil=True)
def _cross(a, b, c):  # type: ignore[no-untyped-def]
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


@njit(cache=True, nogil=True)
def _calipers(hull):  # type: ignore[no-untyped-def]
    """Largest and smallest caliper diameter, longer and shorter side of the minimum-area rectangle."""
    n = len(hull)
    largest = 0.0
    for i in range(n):
        for j in range(i + 1, n):
            d = math.hypot(hull[i, 0] - hull[j, 0], hull[i, 1] - hull[j, 1])
            largest = max(largest, d)
    smallest, best = largest, math.inf
    length, width = largest, largest
    for i in range(n):
        j = (i + 1) % n
        ux, uy = hull[j, 0] - hull[i, 0], hull[j, 1] - hull[i, 1]
        norm = math.hypot(ux, uy)
        if norm == 0.0:
            continue
        ux, uy = ux / norm, uy / norm
        low, high, deep = math.inf, -math.inf, 0.0
        for t in range(n):
            dx, dy = hull[t, 0] - hull[i, 0], hull[t, 1] - hull[i, 1]
            along = dx * ux + dy * uy
            low, high = min(low, along), max(high, along)
            deep = max(deep, abs(dx * uy - dy * ux))
        smallest = min(smallest, deep)
        if (high - low) * deep < best:
            best = (high - low) * deep
            length, width = max(high - low, deep), min(high - low, deep)
    return largest, smallest, length, width


@njit(cache=True, nogil=True)
def _area_perimeter(hull):  # type: ignore[no-untyped-def]
    area, length = 0.0, 0.0
    for i in range(len(hull)):
        j = (i + 1) % len(hull)
        area += hull[i, 0] * hull[j, 1] - hull[j, 0] * hull[i, 1]
        length += math.hypot(hull[j, 0] - hull[i, 0], hull[j, 1] - hull[i, 1])
    return abs(area) / 2.0, length


@njit(cache=True, nogil=True)
def _fibre(area, perimeter):  # type: ignore[no-untyped-def]
    """Length to width of the rectangle of this area and perimeter (1 where there is none)."""
    root = perimeter * perimeter / 16.0 - area
    if root <= 0.0:
        return 1.0
    root = math.sqrt(root)
    return (perimeter / 4.0 + root) / max(perimeter / 4.0 - root, 1e-9)


@njit(cache=True, nogil=True)
def _border_weight(hull, r0, c0, h, w, rows, columns, disc):  # type: ignore[no-untyped-def]
    """Miles-Lantuejoul: area of the field over that of the field in which the particle fits untouched."""
    if disc[2] == 0.0:
        # A box of h rows fits with a free px on either side at rows - h - 1 positions.
        free = float((rows - h - 1) * (columns - w - 1))
        return rows * columns / free if free > 0.0 else math.nan
    # The positions of a fixed point of the particle at which all of the hull lies in the disc: the
    # intersection of discs about minus the hull's points. It is convex and holds the position at which the
    # hull's centre is on the disc's, so its area is an integral over directions from there.
    radius = disc[2] - 1.0
    cx = 0.5 * (hull[:, 0].min() + hull[:, 0].max())
    cy = 0.5 * (hull[:, 1].min() + hull[:, 1].max())
    steps = 360
    area = 0.0
    for s in range(steps):
        ux, uy = math.cos(2 * math.pi * s / steps), math.sin(2 * math.pi * s / steps)
        reach = math.inf
        for i in range(len(hull)):
            px, py = hull[i, 0] - cx, hull[i, 1] - cy
            along = px * ux + py * uy
            square = radius * radius - (px * px + py * py) + along * along
            if px * px + py * py >= radius * radius:
                return math.nan
            reach = min(reach, math.sqrt(square) - along)
        area += reach * reach
    area *= math.pi / steps
    return math.pi * disc[2] * disc[2] / area if area > 0.0 else math.nan


@njit(cache=True, nogil=True)
def _path(crop, area):  # type: ignore[no-untyped-def]
    """Length along a thin particle: through the centres of slices across its longest geodesic.

    The slices are sets of equal step distance from one tip; their centroids lie on the centre line also where
    the metric of steps is not Euclidean. At both ends the line is carried on to the outline.
    """
    h, w = crop.shape
    distance = np.full(h * w, -1, np.int64)
    queue = np.empty(h * w, np.int64)
    start = 0
    while crop[start // w, start % w] == 0:
        start += 1
    last = start
    for _ in range(2):
        distance[:] = -1
        head, tail = 0, 1
        queue[0] = last
        distance[last] = 0
        while head < tail:
            p = queue[head]
            head += 1
            last = p
            for dr in range(-1, 2):
                for dc in range(-1, 2):
                    i, j = p // w + dr, p % w + dc
                    if 0 <= i < h and 0 <= j < w and crop[i, j] != 0 and distance[i * w + j] < 0:
                        distance[i * w + j] = distance[p] + 1
                        queue[tail] = i * w + j
                        tail += 1
    longest = distance[last] + 1
    slices = max(3, round(longest / max(3.0, 0.7 * area / longest)))
    centre = np.zeros((slices, 3), np.float64)
    for s in range(h * w):
        if distance[s] >= 0:
            k = min(slices - 1, int(distance[s] * slices / longest))
            centre[k, 0] += s % w + 0.5
            centre[k, 1] += s // w + 0.5
            centre[k, 2] += 1.0
    for k in range(slices):
        centre[k, 0] /= max(centre[k, 2], 1.0)
        centre[k, 1] /= max(centre[k, 2], 1.0)
    # The end slices are not whole across the particle; the line starts at the second centre.
    length = 0.0
    for k in range(1, slices - 2):
        length += math.hypot(centre[k + 1, 0] - centre[k, 0], centre[k + 1, 1] - centre[k, 1])
    for end in range(2):
        k = 1 if end == 0 else slices - 2
        q = min(2, slices - 1) if end == 0 else max(slices - 3, 0)
        ux, uy = centre[k, 0] - centre[q, 0], centre[k, 1] - centre[q, 1]
        norm = math.hypot(ux, uy)
        if norm == 0.0:
            continue
        ux, uy = ux / norm, uy / norm
        reach = 0.0
        for s in range(h * w):
            if distance[s] < 0:
                continue
            own = min(slices - 1, int(distance[s] * slices / longest))
            if (end == 0 and own <= 1) or (end == 1 and own >= slices - 2):
                dx, dy = s % w + 0.5 - centre[k, 0], s // w + 0.5 - centre[k, 1]
                # Half a pixel seen along the direction.
                reach = max(reach, dx * ux + dy * uy + 0.25 * (abs(ux) + abs(uy)))
        length += reach
    return length
