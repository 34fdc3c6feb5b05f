"""Height fields: upper and lower surface of a body on a fine grid, their slopes, and how they bend light.

A body is taken as a thin element: light that comes straight up is bent by the difference of the slopes of its two
surfaces times the contrast of the refractive index, and parts that lie over one another add up. Source: the eikonal
of a thin element (Goodman, Introduction to Fourier Optics, ch. 6). Holds for slopes up to about 1; steeper facets come
out dark, as they do in a microscope, but internal reflections are not followed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray
from shapely import Polygon

from bench.otherlight.bodies import Body, Part

_STEEP = 6.0
"""Slope given to places that no facet covers: the walls seen end on."""

_RIM = 0.4
"""Share of light that is diffracted away within 1 px of the outline."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Sampling points: centre of sample (i, j) is at x0 + (j + 0.5) step, y0 + (i + 0.5) step.

    Parameters
    ----------
    x0, y0
        Upper left corner, px.
    step
        Distance of the samples, px.
    shape
        (rows, columns) of samples.
    """

    x0: float
    y0: float
    step: float
    shape: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Relief:
    """What light meets at every sample inside the outline; all (n,) float32 but `inside`.

    Parameters
    ----------
    inside
        Flat positions of the samples on the grid, int64.
    bend_x, bend_y
        Angle by which transmitted light is bent, rad.
    thickness
        Way through the body, px.
    top_x, top_y, bottom_x, bottom_y
        Slopes of the upper and the lower surface.
    retardation
        Path difference of the two polarisations, nm.
    twist
        sin² of twice the angle between optic axis and polariser, at polariser angle 0, as cosine and sine of the
        fourfold angle, weighted by thickness.
    flaw
        Darkness of the rim, of cracks and inclusions, 0 to 1.
    """

    inside: NDArray[np.int64]
    bend_x: NDArray[np.float32]
    bend_y: NDArray[np.float32]
    thickness: NDArray[np.float32]
    top_x: NDArray[np.float32]
    top_y: NDArray[np.float32]
    bottom_x: NDArray[np.float32]
    bottom_y: NDArray[np.float32]
    retardation: NDArray[np.float32]
    twist_cos: NDArray[np.float32]
    twist_sin: NDArray[np.float32]
    flaw: NDArray[np.float32]


def cover(outline: Polygon, grid: Grid) -> NDArray[np.bool_]:
    """Samples of the grid inside an outline, holes left out; for step 1 this is the mask at pixel centres."""
    rings = [np.asarray(r.coords)[:-1] for r in (outline.exterior, *outline.interiors)]
    starts = np.cumsum([0, *(len(r) for r in rings)])
    out = np.zeros(grid.shape, dtype=np.bool_)
    _fill(np.concatenate(rings), starts, grid.x0, grid.y0, grid.step, out)
    return out


def relief(body: Body, grid: Grid, *, x: float, y: float, rng: np.random.Generator) -> Relief:
    """The height field of a body whose origin stands at (x, y) px.

    Parameters
    ----------
    body
        The body.
    grid
        Where to sample; has to hold the whole body.
    x, y
        Place of the body's origin, px from the left and upper edge of the picture.
    rng
        For roughness and striations.
    """
    local = Grid(grid.x0 - x, grid.y0 - y, grid.step, grid.shape)
    inside = np.flatnonzero(cover(body.outline, local))
    names = [f.name for f in fields(Relief)][1:-1]
    total = {n: np.zeros(grid.shape, np.float32) for n in names}
    level = np.full(grid.shape, -np.inf, np.float32)
    low = np.full(grid.shape, np.inf, np.float32)
    met = np.zeros(grid.shape, dtype=bool)
    for part in body.parts:
        window = _window(part, local)
        if window is None:
            continue
        rows, columns, sub = window
        sheet = _sheets(part, sub)
        if part.film:
            sheet[0], sheet[1] = body.dimensions[2], 0.0
        ok = sheet[0] > sheet[1]
        thick = np.where(ok, sheet[0] - sheet[1], 0).astype(np.float32)
        if body.material.soft > 0:
            _soften(sheet, ok, body.material.soft / grid.step)
        _texture(sheet, part, body, sub, rng)
        view = {n: total[n][rows, columns] for n in names}
        if body.single_ball:
            bend_x, bend_y = _ball_bend(part, sub, body.material.contrast)
        else:
            bend_x = body.material.contrast * (sheet[2] - sheet[4])
            bend_y = body.material.contrast * (sheet[3] - sheet[5])
        view["bend_x"] += np.where(ok, bend_x, 0)
        view["bend_y"] += np.where(ok, bend_y, 0)
        view["thickness"] += thick
        way = thick * part.axis_share
        view["retardation"] += way * body.material.birefringence
        view["twist_cos"] += way * math.cos(4 * part.axis_angle)
        view["twist_sin"] += way * math.sin(4 * part.axis_angle)
        upper = ok & (sheet[0] > level[rows, columns])
        lower = ok & (sheet[1] < low[rows, columns])
        level[rows, columns][upper] = sheet[0][upper]
        low[rows, columns][lower] = sheet[1][lower]
        for k, n in ((2, "top_x"), (3, "top_y")):
            view[n][upper] = sheet[k][upper]
        for k, n in ((4, "bottom_x"), (5, "bottom_y")):
            view[n][lower] = sheet[k][lower]
        met[rows, columns] |= ok
    out = {n: a.ravel()[inside] for n, a in total.items()}
    missed = ~met.ravel()[inside]
    for n in ("bend_x", "top_x", "bottom_x"):
        out[n][missed] = _STEEP
    way = np.maximum(np.hypot(out["twist_cos"], out["twist_sin"]), 1e-6)
    out["twist_cos"] /= way
    out["twist_sin"] /= way
    flaw = _flaws(body, inside, grid, rng)
    return Relief(inside=inside.astype(np.int64), **out, flaw=flaw)


def _flaws(body: Body, inside: NDArray[np.intp], grid: Grid, rng: np.random.Generator) -> NDArray[np.float32]:
    """The rim, and cracks (lines that branch), inclusions (spots) and veils (clouds) at random places inside."""
    dark = np.zeros(grid.shape, np.float32)
    if not inside.size:
        return dark.ravel()[inside]
    if not body.parts[0].film:
        # Light is diffracted away at the outline; without it, thin plates would not show at all.
        full = np.zeros(grid.shape, np.uint8)
        full.ravel()[inside] = 1
        reach = 2 * max(1, round(0.9 / grid.step)) + 1
        rim = full - cv2.erode(full, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
        dark[rim > 0] = _RIM * min(1.0, 1 / grid.step)
    size = math.sqrt(body.outline.area) / grid.step
    if body.material.veil > 0:
        np.maximum(dark, _veil(body, inside, grid, rng), out=dark)
    for _ in range(body.material.flaws):
        row, column = divmod(int(inside[rng.integers(inside.size)]), grid.shape[1])
        layer = np.zeros(grid.shape, np.float32)
        kind = rng.choice(3, p=[0.5, 0.3, 0.2])
        if kind == 0:
            heads = [(float(column), float(row), rng.uniform(0, 2 * math.pi))]
            for _ in range(int(rng.integers(3, 9))):
                x, y, angle = heads[int(rng.integers(len(heads)))]
                angle += rng.normal(0, 0.5)
                long = size * rng.uniform(0.04, 0.18)
                end = x + long * math.cos(angle), y + long * math.sin(angle)
                width = max(1, round(rng.uniform(0.3, 1.3) / grid.step))
                _line(layer, (x, y), end, width)
                heads.append((*end, angle))
            layer *= rng.uniform(0.3, 0.9)
        elif kind == 1:
            axes = (max(1, round(size * rng.uniform(0.01, 0.05))), max(1, round(size * rng.uniform(0.01, 0.05))))
            cv2.ellipse(layer, (column, row), axes, rng.uniform(0, 180), 0, 360, rng.uniform(0.4, 0.9), -1)
        else:
            axes = (max(1, round(size * rng.uniform(0.05, 0.2))), max(1, round(size * rng.uniform(0.03, 0.1))))
            cv2.ellipse(layer, (column, row), axes, rng.uniform(0, 180), 0, 360, rng.uniform(0.2, 0.5), -1)
            layer = cv2.GaussianBlur(layer, (0, 0), max(0.5, 0.03 * size))
        np.maximum(dark, layer, out=dark)
    return cv2.GaussianBlur(dark, (0, 0), 0.4 / grid.step).ravel()[inside]


def _veil(body: Body, inside: NDArray[np.intp], grid: Grid, rng: np.random.Generator) -> NDArray[np.float32]:
    """A film that was wiped along the axis of the body: streaks of uneven darkness that fade towards the outline."""
    full = np.zeros(grid.shape, np.uint8)
    full.ravel()[inside] = 1
    deep = cv2.distanceTransform(full, cv2.DIST_L2, 5)
    length = max(3, round(0.12 * math.sqrt(inside.size)))
    kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
    c, s = length * math.cos(body.parts[0].axis_angle), length * math.sin(body.parts[0].axis_angle)
    _line(kernel, (length - c, length - s), (length + c, length + s), 1)
    noise = rng.standard_normal(grid.shape).astype(np.float32)
    streaks = cv2.filter2D(noise, -1, kernel) + 0.4 * cv2.filter2D(
        cv2.GaussianBlur(noise, (0, 0), 3 / grid.step), -1, cv2.GaussianBlur(kernel, (0, 0), length / 6)
    )
    streaks /= max(float(streaks[full > 0].std()), 1e-6)
    fade = np.clip(deep / max(0.35 * float(deep.max()), 1.0), 0.12, 1)
    return np.clip(body.material.veil * fade * (0.55 + 0.3 * streaks), 0.03, 0.9).astype(np.float32)


def _line(layer: NDArray[np.float32], start: tuple[float, float], end: tuple[float, float], width: int) -> None:
    a, b = (round(start[0]), round(start[1])), (round(end[0]), round(end[1]))
    cv2.line(layer, a, b, 1.0, width, cv2.LINE_8)


def _window(part: Part, grid: Grid) -> tuple[slice, slice, Grid] | None:
    if part.film:
        return slice(None), slice(None), grid
    x_low, y_low, x_high, y_high = part.bounds
    c0 = max(0, math.floor((x_low - grid.x0) / grid.step) - 1)
    r0 = max(0, math.floor((y_low - grid.y0) / grid.step) - 1)
    c1 = min(grid.shape[1], math.ceil((x_high - grid.x0) / grid.step) + 1)
    r1 = min(grid.shape[0], math.ceil((y_high - grid.y0) / grid.step) + 1)
    if c1 <= c0 or r1 <= r0:
        return None
    sub = Grid(grid.x0 + c0 * grid.step, grid.y0 + r0 * grid.step, grid.step, (r1 - r0, c1 - c0))
    return slice(r0, r1), slice(c0, c1), sub


def _sheets(part: Part, grid: Grid) -> NDArray[np.float32]:
    """Heights and slopes (6, rows, columns): top, bottom, top x, top y, bottom x, bottom y."""
    sheet = np.zeros((6, *grid.shape), np.float32)
    sheet[0], sheet[1] = -np.inf, np.inf
    if len(part.triangles):
        _mesh(part.triangles, grid.x0, grid.y0, grid.step, sheet)
    if len(part.balls):
        _balls(part.balls, grid.x0, grid.y0, grid.step, sheet)
    return sheet


def _soften(sheet: NDArray[np.float32], ok: NDArray[np.bool_], width: float) -> None:
    """Round the edges between facets: slopes averaged over `width` samples inside the body."""
    weight = cv2.GaussianBlur(ok.astype(np.float32), (0, 0), width) + 1e-6
    for k in range(2, 6):
        sheet[k] = cv2.GaussianBlur(np.where(ok, np.clip(sheet[k], -_STEEP, _STEEP), 0), (0, 0), width) / weight


def _texture(sheet: NDArray[np.float32], part: Part, body: Body, grid: Grid, rng: np.random.Generator) -> None:
    """Roughness and striations along the axis, as slopes of the upper surface."""
    rough, streak = body.material.rough, body.material.streak
    if rough > 0:
        grain = max(0.8, body.material.grain / grid.step)
        noise = cv2.GaussianBlur(rng.standard_normal(grid.shape, dtype=np.float32), (0, 0), grain)
        noise *= rough / max(float(noise.std()), 1e-6)
        sheet[2] += noise
        # Turned round, the same noise serves for the other direction.
        sheet[3] += noise[::-1, ::-1]
    if streak > 0:
        c, s = math.cos(part.axis_angle), math.sin(part.axis_angle)
        ys = grid.y0 + (np.arange(grid.shape[0], dtype=np.float32) + 0.5) * grid.step
        xs = grid.x0 + (np.arange(grid.shape[1], dtype=np.float32) + 0.5) * grid.step
        across = xs[None, :] * -s + ys[:, None] * c
        # Lines of unequal width, each with a tilt of its own: the lands of a striated prism.
        edges = np.cumsum(rng.exponential(max(body.material.grain, 0.5), 400))
        edges -= edges[-1] / 2
        tilt = rng.normal(0, streak, 401).astype(np.float32)
        lands = tilt[np.searchsorted(edges, across)]
        sheet[2] += lands * -s
        sheet[3] += lands * c


def _ball_bend(part: Part, grid: Grid, contrast: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Exact bending by a sphere of relative index 1 + contrast; total reflection counts as bent away."""
    bx, by, _, radius = part.balls[0]
    ys = (grid.y0 + (np.arange(grid.shape[0]) + 0.5) * grid.step - by)[:, None]
    xs = (grid.x0 + (np.arange(grid.shape[1]) + 0.5) * grid.step - bx)[None, :]
    b = np.minimum(np.hypot(xs, ys) / radius, 1.0)
    inner = b / (1 + contrast)
    angle = np.where(inner < 1, 2 * (np.arcsin(b) - np.arcsin(np.minimum(inner, 1))), _STEEP)
    scale = angle / np.maximum(b * radius, 1e-6)
    return (scale * xs).astype(np.float32), (scale * ys).astype(np.float32)


@njit(cache=True, nogil=True)
def _fill(points, starts, x0, y0, step, out):  # type: ignore[no-untyped-def]
    """Even-odd fill of rings at sample centres."""
    rows, columns = out.shape
    crossings = np.empty(len(points), np.float64)
    for r in range(rows):
        y = y0 + (r + 0.5) * step
        k = 0
        for ring in range(len(starts) - 1):
            first, last = starts[ring], starts[ring + 1]
            for i in range(first, last):
                j = i + 1 if i + 1 < last else first
                ya, yb = points[i, 1], points[j, 1]
                if (ya <= y) != (yb <= y):
                    crossings[k] = points[i, 0] + (y - ya) * (points[j, 0] - points[i, 0]) / (yb - ya)
                    k += 1
        xs = np.sort(crossings[:k])
        for p in range(0, k - 1, 2):
            a = max(0, math.ceil((xs[p] - x0) / step - 0.5))
            b = min(columns, math.ceil((xs[p + 1] - x0) / step - 0.5))
            for c in range(a, b):
                out[r, c] = True


@njit(cache=True, nogil=True)
def _mesh(triangles, x0, y0, step, sheet):  # type: ignore[no-untyped-def]
    """Highest upward and lowest downward facet at every sample."""
    _, rows, columns = sheet.shape
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        if abs(nz) < 1e-9 * (abs(nx) + abs(ny)) + 1e-12:
            continue
        sx, sy = -nx / nz, -ny / nz
        up = nz > 0
        low = min(a[1], b[1], c[1])
        high = max(a[1], b[1], c[1])
        left = min(a[0], b[0], c[0])
        right = max(a[0], b[0], c[0])
        r0 = max(0, math.ceil((low - y0) / step - 0.5))
        r1 = min(rows - 1, math.floor((high - y0) / step - 0.5))
        c0 = max(0, math.ceil((left - x0) / step - 0.5))
        c1 = min(columns - 1, math.floor((right - x0) / step - 0.5))
        for r in range(r0, r1 + 1):
            y = y0 + (r + 0.5) * step
            for q in range(c0, c1 + 1):
                x = x0 + (q + 0.5) * step
                e0 = ux * (y - a[1]) - uy * (x - a[0])
                e1 = (c[0] - b[0]) * (y - b[1]) - (c[1] - b[1]) * (x - b[0])
                e2 = (a[0] - c[0]) * (y - c[1]) - (a[1] - c[1]) * (x - c[0])
                if not ((e0 >= 0 and e1 >= 0 and e2 >= 0) or (e0 <= 0 and e1 <= 0 and e2 <= 0)):
                    continue
                z = a[2] + sx * (x - a[0]) + sy * (y - a[1])
                if up and z > sheet[0, r, q]:
                    sheet[0, r, q], sheet[2, r, q], sheet[3, r, q] = z, sx, sy
                elif not up and z < sheet[1, r, q]:
                    sheet[1, r, q], sheet[4, r, q], sheet[5, r, q] = z, sx, sy


@njit(cache=True, nogil=True)
def _balls(balls, x0, y0, step, sheet):  # type: ignore[no-untyped-def]
    """The same for spheres (x, y, z, radius)."""
    _, rows, columns = sheet.shape
    for k in range(len(balls)):
        bx, by, bz, radius = balls[k]
        r0 = max(0, math.ceil((by - radius - y0) / step - 0.5))
        r1 = min(rows - 1, math.floor((by + radius - y0) / step - 0.5))
        c0 = max(0, math.ceil((bx - radius - x0) / step - 0.5))
        c1 = min(columns - 1, math.floor((bx + radius - x0) / step - 0.5))
        for r in range(r0, r1 + 1):
            y = y0 + (r + 0.5) * step - by
            for q in range(c0, c1 + 1):
                x = x0 + (q + 0.5) * step - bx
                rest = radius * radius - x * x - y * y
                if rest <= 0:
                    continue
                h = math.sqrt(rest)
                slope = 1.0 / max(h, 0.05 * radius)
                if bz + h > sheet[0, r, q]:
                    sheet[0, r, q], sheet[2, r, q], sheet[3, r, q] = bz + h, -x * slope, -y * slope
                if bz - h < sheet[1, r, q]:
                    sheet[1, r, q], sheet[4, r, q], sheet[5, r, q] = bz - h, x * slope, y * slope
