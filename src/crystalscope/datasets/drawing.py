"""Outlines in the forms that annotation programs know: rings, one bridged ring, ellipses."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crystalscope.core import Instances
from crystalscope.io.regions import Region, aligned, polygon_region
from crystalscope.measure.outline import outlines


def rings_of(instances: Instances) -> list[list[NDArray[np.int64]]]:
    """Outlines of every particle with their holes, on pixel corners.

    Returns
    -------
    Per particle closed polygons (k, 2) of x, y in picture coordinates: the outer outlines of its parts clockwise (y
    down), then those of holes counter-clockwise, of islands in holes clockwise, and so on. Filled even-odd, or by their
    direction (non-zero winding), they give back the mask exactly.
    """
    result = []
    for k, polygons in enumerate(outlines(instances)):
        row, column = (int(v) for v in instances.boxes[k, :2])
        rest = Region(row, column, instances.crop(k))
        rings, level, hole = list(polygons), polygons, False
        while encloses_more(level, rest.mask):
            difference = _filled(level, rest) ^ rest.mask
            # Outlines go round what is left, be it holes or islands in them: one level deeper each time.
            rest = Region(row, column, difference)
            deeper = Instances.from_crops([difference], [(row, column)], field=instances.field)
            level, hole = outlines(deeper)[0], not hole
            rings += [p[::-1] if hole else p for p in level]
        result.append(rings)
    return result


def encloses_more(polygons: Sequence[NDArray[np.int64]], mask: NDArray[np.bool_]) -> bool:
    """Whether outer outlines of the parts of a mask enclose more than the mask: it has holes."""
    return sum(abs(signed_area(p)) for p in polygons) != np.count_nonzero(mask)


def signed_area(points: NDArray[np.generic]) -> float:
    """Area inside a closed polygon (k, 2) of x, y; above 0 where it is clockwise (y down)."""
    x, y = points[:, 0].astype(np.float64), points[:, 1].astype(np.float64)
    return float(x[:-1] @ y[1:] - x[1:] @ y[:-1] + x[-1] * y[0] - x[0] * y[-1]) / 2


def _filled(polygons: Sequence[NDArray[np.int64]], frame: Region) -> NDArray[np.bool_]:
    rows, columns = frame.mask.shape
    window = frame.row, frame.column, frame.row + rows, frame.column + columns
    points = [p.astype(np.float64) for p in polygons]
    return aligned(
        polygon_region(points, window, even_odd=True), Region(frame.row, frame.column, np.ones((rows, columns), bool))
    )


def bridged(rings: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """One closed polygon from several rings, for formats that know no holes and no parts.

    The rings are joined by seams, there and back along one line, so that the even-odd rule and the non-zero rule give
    the mask of the rings back. Seams run along rows and columns of pixel corners: no pixel centre lies on one, and they
    cost no accuracy in any rounding. A program that paints outlines with the pixels they touch (``cv2.fillPoly``) shows
    a seam as a line of one pixel.

    Parameters
    ----------
    rings
        (k, 2) arrays of x, y on pixel corners, at least one.

    Returns
    -------
    (k, 2) x, y.
    """
    path = np.asarray(rings[0])
    for ring in rings[1:]:
        distance = np.abs(path[:, None, :] - ring[None, :, :]).sum(axis=2)
        i, j = divmod(int(np.argmin(distance)), len(ring))
        start, end = path[i], ring[j]
        corner = np.array([end[0], start[1]])
        seam = [corner, *np.roll(ring, -j, axis=0), end, corner, start]
        path = np.concatenate([path[: i + 1], np.array(seam), path[i + 1 :]])
    return path


def ellipse_region(
    centre: tuple[float, float],
    radii: tuple[float, float],
    window: tuple[int, int, int, int],
    *,
    angle_deg: float = 0.0,
) -> Region | None:
    """Pixels whose centre lies inside an ellipse or on it.

    Parameters
    ----------
    centre
        x, y in px from the upper left corner of the picture.
    radii
        Along x and y before turning, px.
    window
        First row, first column, one past the last row and column that count.
    angle_deg
        Turned clockwise (y down) by, degrees.

    Returns
    -------
    None where no pixel is covered.
    """
    if min(radii) <= 0:
        return None
    (x, y), (rx, ry) = centre, radii
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    half_width, half_height = math.hypot(rx * cosine, ry * sine), math.hypot(rx * sine, ry * cosine)
    row, column = max(math.floor(y - half_height), window[0]), max(math.floor(x - half_width), window[1])
    rows, columns = min(math.ceil(y + half_height), window[2]), min(math.ceil(x + half_width), window[3])
    if rows <= row or columns <= column:
        return None
    dy = np.arange(row, rows)[:, None] + 0.5 - y
    dx = np.arange(column, columns)[None, :] + 0.5 - x
    along, across = (dx * cosine + dy * sine, dy * cosine - dx * sine) if angle_deg else (dx, dy)
    mask = along**2 / rx**2 + across**2 / ry**2 <= 1
    return Region(row, column, mask) if mask.any() else None


def rectangle(corner: tuple[float, float], size: tuple[float, float], *, angle_deg: float = 0.0) -> NDArray[np.float64]:
    """(4, 2) corners x, y of a rectangle.

    Parameters
    ----------
    corner
        x, y of the upper left corner before turning, px.
    size
        Width and height, px.
    angle_deg
        Turned clockwise (y down) about its centre by, degrees.
    """
    (x, y), (width, height) = corner, size
    half = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    if angle_deg:
        cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
        half = half @ np.array([[cosine, sine], [-sine, cosine]])
    return half + np.array([x + width / 2, y + height / 2])
