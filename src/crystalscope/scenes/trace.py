"""Rays through bodies: refraction, total reflection and Fresnel's shares at every face, compiled.

A ray starts at the camera (z upwards, towards it) and is followed backwards to where its light came from: the lamp
behind the sample or the lights beside the camera. A body is a union of convex parts (polyhedra, ellipsoids) of one
refractive index; inner boundaries of the union do not exist for the ray.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_EVENTS = 7
"""Faces that a ray is followed through; what is left by then is taken as lost."""
_FAINT = 0.02


@njit(cache=True, nogil=True, inline="always")
def _enter_part(part, ox, oy, oz, dx, dy, dz, planes, starts, quadrics, kinds, balls):  # type: ignore[no-untyped-def]
    """Distance to the entry into a part (-1: none) and the plane met (-1: ellipsoid)."""
    bx, by, bz = ox - balls[part, 0], oy - balls[part, 1], oz - balls[part, 2]
    b = bx * dx + by * dy + bz * dz
    c = bx * bx + by * by + bz * bz - balls[part, 3] * balls[part, 3]
    if b * b < c or (b > 0 and c > 0):
        return -1.0, -1
    if kinds[part] == 1:
        q = quadrics[part]
        ux = q[0, 0] * bx + q[0, 1] * by + q[0, 2] * bz
        uy = q[1, 0] * bx + q[1, 1] * by + q[1, 2] * bz
        uz = q[2, 0] * bx + q[2, 1] * by + q[2, 2] * bz
        vx = q[0, 0] * dx + q[0, 1] * dy + q[0, 2] * dz
        vy = q[1, 0] * dx + q[1, 1] * dy + q[1, 2] * dz
        vz = q[2, 0] * dx + q[2, 1] * dy + q[2, 2] * dz
        a2 = vx * vx + vy * vy + vz * vz
        b2 = ux * vx + uy * vy + uz * vz
        c2 = ux * ux + uy * uy + uz * uz - 1.0
        root = b2 * b2 - a2 * c2
        if root <= 0:
            return -1.0, -1
        t = (-b2 - math.sqrt(root)) / a2
        return (t, -1) if t > 1e-6 else (-1.0, -1)
    near, far, which = 1e-6, 1e30, -2
    for j in range(starts[part], starts[part + 1]):
        along = planes[j, 0] * dx + planes[j, 1] * dy + planes[j, 2] * dz
        gap = planes[j, 3] - planes[j, 0] * ox - planes[j, 1] * oy - planes[j, 2] * oz
        if along < -1e-12:
            t = gap / along
            if t > near:
                near, which = t, j
        elif along > 1e-12:
            t = gap / along
            if t < far:
                far = t
        elif gap < 0:
            return -1.0, -1
        if near >= far:
            return -1.0, -1
    return (near, which) if which >= 0 else (-1.0, -1)


@njit(cache=True, nogil=True, inline="always")
def _leave_part(part, ox, oy, oz, dx, dy, dz, planes, starts, quadrics, kinds, balls):  # type: ignore[no-untyped-def]
    """Distance to the exit from a part for a ray inside it, and the plane met."""
    if kinds[part] == 1:
        q = quadrics[part]
        bx, by, bz = ox - balls[part, 0], oy - balls[part, 1], oz - balls[part, 2]
        ux = q[0, 0] * bx + q[0, 1] * by + q[0, 2] * bz
        uy = q[1, 0] * bx + q[1, 1] * by + q[1, 2] * bz
        uz = q[2, 0] * bx + q[2, 1] * by + q[2, 2] * bz
        vx = q[0, 0] * dx + q[0, 1] * dy + q[0, 2] * dz
        vy = q[1, 0] * dx + q[1, 1] * dy + q[1, 2] * dz
        vz = q[2, 0] * dx + q[2, 1] * dy + q[2, 2] * dz
        a2 = vx * vx + vy * vy + vz * vz
        b2 = ux * vx + uy * vy + uz * vz
        c2 = min(ux * ux + uy * uy + uz * uz - 1.0, 0.0)
        return (-b2 + math.sqrt(b2 * b2 - a2 * c2)) / a2, -1
    far, which = 1e30, starts[part]
    for j in range(starts[part], starts[part + 1]):
        along = planes[j, 0] * dx + planes[j, 1] * dy + planes[j, 2] * dz
        if along > 1e-12:
            t = (planes[j, 3] - planes[j, 0] * ox - planes[j, 1] * oy - planes[j, 2] * oz) / along
            if t < far:
                far, which = t, j
    return max(far, 0.0), which


@njit(cache=True, nogil=True, inline="always")
def _nearest(ox, oy, oz, dx, dy, dz, planes, starts, quadrics, kinds, balls):  # type: ignore[no-untyped-def]
    best, at, which = 1e30, -1, -1
    for part in range(len(kinds)):
        t, j = _enter_part(part, ox, oy, oz, dx, dy, dz, planes, starts, quadrics, kinds, balls)
        if t > 0 and t < best:
            best, at, which = t, part, j
    return best, at, which


@njit(cache=True, nogil=True, inline="always")
def _part_around(px, py, pz, but, planes, starts, quadrics, kinds, balls):  # type: ignore[no-untyped-def]
    """Another part that holds the point, or -1."""
    for part in range(len(kinds)):
        if part == but:
            continue
        bx, by, bz = px - balls[part, 0], py - balls[part, 1], pz - balls[part, 2]
        if bx * bx + by * by + bz * bz >= balls[part, 3] * balls[part, 3]:
            continue
        if kinds[part] == 1:
            q = quadrics[part]
            ux = q[0, 0] * bx + q[0, 1] * by + q[0, 2] * bz
            uy = q[1, 0] * bx + q[1, 1] * by + q[1, 2] * bz
            uz = q[2, 0] * bx + q[2, 1] * by + q[2, 2] * bz
            if ux * ux + uy * uy + uz * uz < 0.999999:
                return part
            continue
        inside = True
        for j in range(starts[part], starts[part + 1]):
            if planes[j, 3] - planes[j, 0] * px - planes[j, 1] * py - planes[j, 2] * pz <= 1e-6:
                inside = False
                break
        if inside:
            return part
    return -1


@njit(cache=True, nogil=True, inline="always")
def _normal(part, plane, px, py, pz, planes, starts, quadrics, balls, rounding, bump, waves, steps):  # type: ignore[no-untyped-def]
    """Outward normal, with rounded edges, a rough face and growth steps."""
    if plane < 0:
        q = quadrics[part]
        bx, by, bz = px - balls[part, 0], py - balls[part, 1], pz - balls[part, 2]
        ux = q[0, 0] * bx + q[0, 1] * by + q[0, 2] * bz
        uy = q[1, 0] * bx + q[1, 1] * by + q[1, 2] * bz
        uz = q[2, 0] * bx + q[2, 1] * by + q[2, 2] * bz
        nx = q[0, 0] * ux + q[1, 0] * uy + q[2, 0] * uz
        ny = q[0, 1] * ux + q[1, 1] * uy + q[2, 1] * uz
        nz = q[0, 2] * ux + q[1, 2] * uy + q[2, 2] * uz
    else:
        nx, ny, nz = planes[plane, 0], planes[plane, 1], planes[plane, 2]
        if rounding > 0:
            sx, sy, sz = nx, ny, nz
            for j in range(starts[part], starts[part + 1]):
                if j == plane:
                    continue
                slack = planes[j, 3] - planes[j, 0] * px - planes[j, 1] * py - planes[j, 2] * pz
                if slack < rounding:
                    w = 1.0 - max(slack, 0.0) / rounding
                    w *= w
                    sx += w * planes[j, 0]
                    sy += w * planes[j, 1]
                    sz += w * planes[j, 2]
            nx, ny, nz = sx, sy, sz
        if steps[4] > 0:
            # Terraces: the face is tilted where it comes down from one step to the next.
            along = (steps[0] * px + steps[1] * py + steps[2] * pz) / steps[3]
            if along - math.floor(along) < steps[4]:
                nx += steps[5] * steps[0]
                ny += steps[5] * steps[1]
                nz += steps[5] * steps[2]
    if bump > 0:
        for k in range(len(waves)):
            s = bump * math.sin(waves[k, 0] * px + waves[k, 1] * py + waves[k, 2] * pz + waves[k, 3])
            nx += s * waves[k, 4]
            ny += s * waves[k, 5]
            nz += s * waves[k, 6]
    size = math.sqrt(nx * nx + ny * ny + nz * nz)
    return nx / size, ny / size, nz / size


@njit(cache=True, nogil=True, inline="always")
def _split(dx, dy, dz, nx, ny, nz, ratio):  # type: ignore[no-untyped-def]
    """Share reflected (Fresnel, unpolarised; 1: total) and the refracted direction; the normal faces the ray."""
    cos_in = -(dx * nx + dy * ny + dz * nz)
    if cos_in < 1e-6:
        cos_in = 1e-6
    square = 1.0 - ratio * ratio * (1.0 - cos_in * cos_in)
    if square <= 0:
        return 1.0, dx, dy, dz
    cos_out = math.sqrt(square)
    rs = (ratio * cos_in - cos_out) / (ratio * cos_in + cos_out)
    rp = (cos_in - ratio * cos_out) / (cos_in + ratio * cos_out)
    k = ratio * cos_in - cos_out
    tx, ty, tz = ratio * dx + k * nx, ratio * dy + k * ny, ratio * dz + k * nz
    size = math.sqrt(tx * tx + ty * ty + tz * tz)
    return 0.5 * (rs * rs + rp * rp), tx / size, ty / size, tz / size


@njit(cache=True, nogil=True, inline="always")
def _lamp(dx, dy, dz, lamp):  # type: ignore[no-untyped-def]
    """Light of the lamp behind the sample from a direction, 1 where nothing bends the ray."""
    if dz >= 0:
        return 0.0
    u = (dx - lamp[1]) / lamp[0]
    v = (dy - lamp[2]) / lamp[0]
    r2 = u * u + v * v
    return (1.0 / (1.0 + r2 * r2 * r2) + lamp[3]) / lamp[4]


@njit(cache=True, nogil=True, inline="always")
def _lights(dx, dy, dz, lights, ambient):  # type: ignore[no-untyped-def]
    """Light of the lamps on the side of the camera from a direction."""
    out = ambient
    for k in range(len(lights)):
        c = dx * lights[k, 0] + dy * lights[k, 1] + dz * lights[k, 2]
        if c > 0:
            # A lobe: exp(-(1 - cos) / spread), 1 in its middle.
            out += lights[k, 4] * math.exp((c - 1.0) * lights[k, 3])
    return out


@njit(cache=True, nogil=True)
def trace(  # type: ignore[no-untyped-def]
    x0, y0, step, alpha, planes, starts, quadrics, kinds, balls, material, waves, steps, lamp, lights, ambient,
    passed, thrown, path, hit_part,
):  # fmt: skip
    """Follow one ray per sample that the outline covers.

    Parameters
    ----------
    x0, y0, step
        Position of the first sample and distance of samples, px, from the centre of the body.
    alpha
        (rows, columns) cover of the samples by the outline; where it is 0 nothing is done.
    planes, starts
        (f, 4) outward unit normals and offsets of all faces; part k owns ``starts[k]:starts[k + 1]``.
    quadrics, kinds
        (p, 3, 3) and (p,): kind 1 is the ellipsoid abs(Q (x - c)) < 1, kind 0 a polyhedron.
    balls
        (p, 4) centre and radius of a sphere around each part.
    material
        Index relative to the liquid, absorption and scatter per px, rounding in px, bump, light that scatter throws
        forwards and back.
    waves, steps
        (w, 7) wave vectors, phases and tilts of a rough face; direction, period, share and tilt of growth steps.
    lamp
        Aperture (sine), tilt x and y, veil, light of a straight ray.
    lights, ambient
        (l, 5) direction, sharpness and power of lights beside the camera; light from everywhere.
    passed, thrown
        Filled: light of the lamp that comes through (1: as without body), light thrown back to the camera.
    path, hit_part
        Filled: way inside on the first passage in px; part met first, -1 where the ray missed.
    """
    rows, columns = alpha.shape
    index, absorb, scatter, rounding, bump, forwards, backwards = material
    many = len(kinds) > 1
    top = 0.0
    for k in range(len(kinds)):
        top = max(top, balls[k, 2] + balls[k, 3])
    for i in range(rows):
        for j in range(columns):
            hit_part[i, j] = -1
            if alpha[i, j] <= 0:
                continue
            px, py, pz = x0 + j * step, y0 + i * step, top + 1.0
            dx, dy, dz = 0.0, 0.0, -1.0
            t, part, plane = _nearest(px, py, pz, dx, dy, dz, planes, starts, quadrics, kinds, balls)
            if part < 0:
                continue
            hit_part[i, j] = part
            through, back, weight, way, first = 0.0, 0.0, 1.0, 0.0, True
            px, py, pz = px + t * dx, py + t * dy, pz + t * dz
            nx, ny, nz = _normal(
                part, plane, px, py, pz, planes, starts, quadrics, balls, rounding, bump, waves, steps
            )  # fmt: skip
            share, ex, ey, ez = _split(dx, dy, dz, nx, ny, nz, 1.0 / index)
            c = 2.0 * (dx * nx + dy * ny + dz * nz)
            rx, ry, rz = dx - c * nx, dy - c * ny, dz - c * nz
            through += share * _lamp(rx, ry, rz, lamp)
            if rz > 0:
                back += share * _lights(rx, ry, rz, lights, ambient)
            weight -= share
            dx, dy, dz = ex, ey, ez
            for _ in range(_EVENTS):
                if weight < _FAINT:
                    break
                t, plane = _leave_part(part, px, py, pz, dx, dy, dz, planes, starts, quadrics, kinds, balls)
                if first:
                    way += t
                px, py, pz = px + t * dx, py + t * dy, pz + t * dz
                lost = weight * (1.0 - math.exp(-scatter * t))
                through += lost * forwards
                back += lost * backwards
                weight = (weight - lost) * math.exp(-absorb * t)
                if many:
                    other = _part_around(px, py, pz, part, planes, starts, quadrics, kinds, balls)
                    if other >= 0:
                        part = other
                        continue
                nx, ny, nz = _normal(
                    part, plane, px, py, pz, planes, starts, quadrics, balls, rounding, bump, waves, steps
                )  # fmt: skip
                share, ex, ey, ez = _split(dx, dy, dz, -nx, -ny, -nz, index)
                if share < 1.0:
                    first = False
                    entered = False
                    if many:
                        t, other, met = _nearest(
                            px, py, pz, ex, ey, ez, planes, starts, quadrics, kinds, balls
                        )  # fmt: skip
                        if other >= 0:
                            # Into the next part: its reflection is neglected.
                            px, py, pz = px + t * ex, py + t * ey, pz + t * ez
                            nx, ny, nz = _normal(
                                other, met, px, py, pz, planes, starts, quadrics, balls, rounding, bump, waves, steps
                            )  # fmt: skip
                            again, dx, dy, dz = _split(ex, ey, ez, nx, ny, nz, 1.0 / index)
                            weight *= (1.0 - share) * (1.0 - again)
                            part = other
                            entered = True
                    if entered:
                        continue
                    out = weight * (1.0 - share)
                    if ez < 0:
                        through += out * _lamp(ex, ey, ez, lamp)
                    else:
                        back += out * _lights(ex, ey, ez, lights, ambient)
                    weight *= share
                c = 2.0 * (dx * nx + dy * ny + dz * nz)
                dx, dy, dz = dx - c * nx, dy - c * ny, dz - c * nz
            passed[i, j] = through
            thrown[i, j] = back
            path[i, j] = way


def empty_layers(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Arrays that `trace` fills: passed, thrown, path, hit_part."""
    zeros = [np.zeros(shape, dtype=np.float32) for _ in range(3)]
    return zeros[0], zeros[1], zeros[2], np.full(shape, -1, dtype=np.int16)
