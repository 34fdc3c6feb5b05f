"""The compiled loop over time: solute, crystals, agglomerates and amorphous solid of one batch."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from crystalscope.plant.kernels import agglomerate, dot, move
from crystalscope.plant.laws import (
    AGGLOMERATION,
    AMORPHOUS,
    BREAKAGE,
    MASS,
    NUCLEUS,
    factors,
    growth,
    nucleation,
    solubility,
)

Array = NDArray[np.float64]

DONE, TOO_MANY_STEPS, NOT_FINITE = 0, 1, 2


@njit(nogil=True)
def solute_rate(p: Array, k: Array, c: float, at: tuple[float, float], crystals: tuple[float, float, float]) -> float:
    """Solute that crystals take in g per kg and s (below 0 where they dissolve).

    Parameters
    ----------
    at
        Solubility in g per kg, temperature in deg C.
    crystals
        Second moment weighted by the size dependence of growth, plain second moment (um² per kg), solids (g per kg).
    """
    rate = growth(p, k, c, at[0], at[1])
    area = crystals[0] if rate > 0 else crystals[1]
    nuclei = nucleation(p, k, c, at[0], crystals[2])
    return p[MASS] * (3 * rate * area + nuclei * p[NUCLEUS] ** 3)


@njit(nogil=True)
def amorphous_step(
    p: Array, k: Array, mass: float, c: float, saturated: float, dt: float
) -> tuple[float, float, float]:
    """Amorphous solid after a step (implicit in its mass), the solute it took and the crystals made, g per kg."""
    if p[AMORPHOUS] <= 0:
        return mass, 0.0, 0.0
    limit = p[AMORPHOUS] * saturated
    falls = p[AMORPHOUS + 1] * max(c - limit, 0.0)
    dissolves = p[AMORPHOUS + 2] * max(1 - c / limit, 0.0)
    after = (mass + dt * falls) / (1 + dt * (dissolves + k[5]))
    return after, dt * (falls - dissolves * after), dt * k[5] * after


@njit(nogil=True)
def solve(
    p: Array,
    k: Array,
    c: float,
    amorphous: float,
    dt: float,
    at: tuple[float, float],
    crystals: tuple[float, float, float],
) -> float:
    """Concentration after a step by the implicit midpoint rule (bracketed secant)."""
    low, f_low, high, f_high = c, 0.0, c, 0.0
    guess = c
    for trial in range(60):
        mid = 0.5 * (c + guess)
        _, fallen, _ = amorphous_step(p, k, amorphous, mid, at[0], dt)
        f = guess - c + dt * solute_rate(p, k, mid, at, crystals) + fallen
        if abs(f) < 1e-10 * at[0]:
            break
        if trial == 0:
            # Rates rise with c, so the root lies between c and an explicit step; and before the step that would turn
            # the rate of the crystals round, where there is no amorphous solid.
            low, f_low, high, f_high = c, f, c, f
            guess = max(c - f, -c)
            edge = 2 * at[0] - c
            if p[AMORPHOUS] <= 0 and (edge - c) * f < 0:
                guess = max(guess, edge) if f > 0 else min(guess, edge)
            continue
        if f > 0:
            high, f_high = guess, f
        else:
            low, f_low = guess, f
        guess = 0.5 * (low + high)
        if trial % 3 != 2 and f_high > f_low:
            secant = (low * f_high - high * f_low) / (f_high - f_low)
            if low < secant < high:
                guess = secant
    return guess


@njit(nogil=True)
def _integrate(
    p: Array,
    numbers: tuple[Array, Array],
    start: tuple[float, float],
    course: tuple[Array, Array, Array],
    cells: tuple[Array, Array, Array, Array, Array, Array, Array],
    pairs: tuple[NDArray[np.int32], Array, NDArray[np.int32], Array, Array],
    control: tuple[float, float, float, float],
    out: tuple[Array, Array, Array],
) -> tuple[int, int, float, float]:
    """Advance a batch from 0 to the last stop.

    Parameters
    ----------
    p
        `laws.pack`.
    numbers
        (n,) primaries and (n,) agglomerates per kg in each cell; changed.
    start
        Concentration and amorphous solid in g per kg.
    course
        (m,) times in s and (m,) temperatures in deg C of the profile; (k,) times in s at which the state is kept,
        increasing, the last the end.
    cells
        Widths, mean L², mean L² weighted by the size dependence, mean L³ (n,); size dependence of growth at the
        faces, ones (n + 1,); crystals in each cell per g of amorphous solid that converts (n,).
    pairs
        Tables of `grid.pair_tables`, kernel (n, n), size dependence of attrition (n,).
    control
        Share of a cell that may be crossed in a step, tolerance of the concentration per step relative to the distance
        from saturation, loss of number by agglomeration per step, longest step in s.
    out
        (k, n) primaries, (k, n) agglomerates, (k, 4) concentration, amorphous, growth rate um/s, time s; filled.

    Returns
    -------
    Status, number of growth steps, time reached in s, share of the volume that ever stood in the last cell.
    """
    primary, cluster = numbers
    corner_s, corner_c, stops = course
    width, m2, m2g, m3, factor, ones, turned = cells
    target, share, alone, kernel, wear = pairs
    courant, tolerance, loss_step, longest = control
    n = len(width)
    slope, k = np.empty(n), np.empty(6)
    work = np.empty((9, n))
    breaks = np.zeros(n)
    crowds = p[AGGLOMERATION] > 0 or p[BREAKAGE] > 0 or p[BREAKAGE + 1] > 0
    thinnest, thinnest_ones = 1e300, 1e300
    for i in range(n):
        thinnest = min(thinnest, width[i] / max(factor[i], factor[i + 1]))
        thinnest_ones = min(thinnest_ones, width[i])
    c, amorphous = start
    time, dt = 0.0, min(1.0, longest)
    rate, saturated = 0.0, solubility(p, corner_c[0])
    steps, corner, fullest = 0, 1, 0.0
    macro = min(longest, 10.0)
    area_g, area, solids = dot(primary, cluster, m2g), dot(primary, cluster, m2), p[MASS] * dot(primary, cluster, m3)
    trend_g, trend = 0.0, 0.0
    for stop in range(len(stops)):
        while time < stops[stop] - 1e-9:
            # Steps end where the profile has a corner, so that the slope of the temperature is constant in each.
            while corner < len(corner_s) - 1 and corner_s[corner] <= time + 1e-9:
                corner += 1
            until = stops[stop]
            if time < corner_s[corner] - 1e-9:
                until = min(until, corner_s[corner])
            begin = time
            span = min(macro, until - begin) if crowds else until - begin
            finish = until if until - begin - span < 1e-9 else begin + span
            for half in range(2 if crowds else 1):
                goal = begin + 0.5 * span if crowds and half == 0 else finish
                while time < goal - 1e-9:
                    steps += 1
                    if steps > 1_000_000:
                        return TOO_MANY_STEPS, steps, time, fullest
                    h = min(dt, goal - time, longest)
                    middle = time + 0.5 * h
                    lo, hi = corner_s[corner - 1], corner_s[corner]
                    x = min(max((middle - lo) / (hi - lo), 0.0), 1.0)
                    degrees = corner_c[corner - 1] + x * (corner_c[corner] - corner_c[corner - 1])
                    saturated = solubility(p, degrees)
                    factors(p, degrees, k)
                    place = (saturated, degrees)
                    crystals = (max(area_g + 0.5 * h * trend_g, 0.0), max(area + 0.5 * h * trend, 0.0), solids)
                    after = solve(p, k, c, amorphous, h, place, crystals)
                    mid = 0.5 * (c + after)
                    rate = growth(p, k, mid, saturated, degrees)
                    if not (np.isfinite(after) and np.isfinite(rate)):
                        return NOT_FINITE, steps, time, fullest
                    reach = thinnest if rate > 0 else thinnest_ones
                    nuclei = nucleation(p, k, mid, saturated, solids) * h
                    # Where there are no crystals, none cross a cell, however fast they would grow.
                    crossed = abs(rate) * h / reach if area > 0 or nuclei > 0 else 0.0
                    # Midpoint against endpoint: what a first-order rule would have done otherwise.
                    error = h * abs(solute_rate(p, k, after, place, crystals) - solute_rate(p, k, mid, place, crystals))
                    allowed = tolerance * max(abs(mid - saturated), 0.01 * saturated)
                    worst = max(crossed / courant, error / allowed)
                    if worst > 1.0 and h > 1e-4:
                        dt = h * max(0.9 / worst, 0.2)
                        continue
                    distance = rate * h
                    speed = factor if rate > 0 else ones
                    moved = move(primary, width, speed, distance, slope)
                    moved += move(cluster, width, speed, distance, slope)
                    primary[0] += nuclei
                    new_g, new = dot(primary, cluster, m2g), dot(primary, cluster, m2)
                    # The solute pays for growth by the mean area over the step; crystals that vanish give their rest.
                    mean_area = 0.5 * (area_g + new_g) if rate > 0 else 0.5 * (area + new)
                    c -= p[MASS] * (3 * distance * mean_area + (nuclei - moved) * p[NUCLEUS] ** 3)
                    amorphous, fallen, converted = amorphous_step(p, k, amorphous, mid, saturated, h)
                    c = max(c - fallen, 0.0)
                    if converted > 0:
                        for i in range(n):
                            primary[i] += converted * turned[i]
                        new_g, new = dot(primary, cluster, m2g), dot(primary, cluster, m2)
                    trend_g, trend = (new_g - area_g) / h, (new - area) / h
                    area_g, area, solids = new_g, new, p[MASS] * dot(primary, cluster, m3)
                    time += h
                    dt = h * min(2.0, 0.9 / max(worst, 0.3))
                if crowds and half == 0:
                    x = min(max((time - corner_s[corner - 1]) / (corner_s[corner] - corner_s[corner - 1]), 0.0), 1.0)
                    s = c / solubility(p, corner_c[corner - 1] + x * (corner_c[corner] - corner_c[corner - 1]))
                    sticking = p[AGGLOMERATION] * (s - 1) ** p[AGGLOMERATION + 1] if s > 1 else 0.0
                    for i in range(n):
                        breaks[i] = p[BREAKAGE] * wear[i] + p[BREAKAGE + 1] * max(1 - s, 0.0)
                    rates = (kernel, breaks, m3)
                    lost = agglomerate(primary, cluster, rates, sticking, (target, share, alone), span, work)
                    if lost < 0:
                        return TOO_MANY_STEPS, steps, time, fullest
                    area_g, area = dot(primary, cluster, m2g), dot(primary, cluster, m2)
                    macro = min(longest, 2 * macro, loss_step / max(lost, 1e-300))
            if solids > 0:
                fullest = max(fullest, (primary[n - 1] + cluster[n - 1]) * m3[n - 1] * p[MASS] / solids)
        out[0][stop] = primary
        out[1][stop] = cluster
        out[2][stop, 0] = c
        out[2][stop, 1] = amorphous
        out[2][stop, 2] = rate
        out[2][stop, 3] = time
    return DONE, steps, time, fullest


def _compiled(sources: int) -> Callable[..., Any]:
    """`_integrate`, kept by numba from run to run.

    numba's cache notices edits of the file of a function alone, not of the files that it calls: what it kept would go
    on with old laws. `sources` is a number that changes with those files; as a captured variable it is part of the
    key.
    """

    @njit(cache=True, nogil=True)
    def integrate(p, numbers, start, course, cells, pairs, control, out):  # type: ignore[no-untyped-def]
        if sources < 0:
            return TOO_MANY_STEPS, 0, 0.0, 0.0
        return _integrate(p, numbers, start, course, cells, pairs, control, out)

    return integrate


integrate = _compiled(
    zlib.crc32(b"".join((Path(__file__).parent / name).read_bytes() for name in ("kernels.py", "laws.py")))
)
"""The loop over time: see `_integrate`."""
