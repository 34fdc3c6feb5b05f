"""Compiled steps of the population balance: growth by finite volumes, agglomeration by fixed pivots, breakage."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]


@njit(cache=True, nogil=True)
def slopes(number: Array, width: Array, out: Array) -> None:
    """Slope of the density in each cell by van Leer's harmonic mean, so limited that no density is negative.

    Parameters
    ----------
    number, width
        (n,) crystals in each cell; widths in um.
    out
        (n,) slopes in 1/um²; 0 in the first and last cell.
    """
    n = len(number)
    out[0] = 0.0
    out[n - 1] = 0.0
    for i in range(1, n - 1):
        here = number[i] / width[i]
        a = (here - number[i - 1] / width[i - 1]) / (0.5 * (width[i] + width[i - 1]))
        b = (number[i + 1] / width[i + 1] - here) / (0.5 * (width[i] + width[i + 1]))
        s = 0.0
        if a * b > 0:
            s = 2 * a * b / (a + b)
            # On uneven cells the harmonic mean alone may cut below 0 at an edge.
            most = 2 * here / width[i]
            s = min(max(s, -most), most)
        out[i] = s


@njit(cache=True, nogil=True)
def move(number: Array, width: Array, factor: Array, distance: float, slope: Array) -> float:
    """Move the crystals along the length by distance * factor at each face; returns the number that left at the bottom.

    Parameters
    ----------
    number
        (n,) crystals in each cell; changed.
    width
        (n,) um.
    factor
        (n + 1,) size dependence of the rate at the faces.
    distance
        um: growth above 0, dissolution below; |distance| factor at most the width of the cell that is left.
    slope
        (n,) room for the slopes.

    Notes
    -----
    What passes a face is the integral of the reconstructed density over the length that passes it (Godunov's method of
    second order; LeVeque, Finite Volume Methods for Hyperbolic Problems, 2002, chapter 6). It is never more than the
    cell holds, so no number turns negative; numbers are kept. The high end is closed.
    """
    n = len(number)
    slopes(number, width, slope)
    lost = 0.0
    if distance >= 0:
        before = 0.0
        for i in range(n):
            out = 0.0
            if i < n - 1:
                # What reaches a face was slower (or faster) before: its way at the speed of half way.
                bend = (factor[i + 1] - factor[i]) / width[i]
                d = min(max(distance * factor[i + 1] * (1 - 0.5 * distance * bend), 0.0), width[i])
                out = d * (number[i] / width[i] + 0.5 * slope[i] * (width[i] - d))
                out = min(max(out, 0.0), number[i])
            number[i] += before - out
            before = out
    else:
        before = 0.0
        for k in range(n):
            i = n - 1 - k
            bend = (factor[i + 1] - factor[i]) / width[i]
            d = min(max(-distance * factor[i] * (1 - 0.5 * distance * bend), 0.0), width[i])
            out = d * (number[i] / width[i] - 0.5 * slope[i] * (width[i] - d))
            out = min(max(out, 0.0), number[i])
            number[i] += before - out
            before = out
        lost = before
    return lost


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def collide(
    total: Array,
    kernel: Array,
    scale: float,
    tables: tuple[NDArray[np.int32], Array, NDArray[np.int32]],
    volume: Array,
    rates: tuple[Array, Array, Array],
) -> None:
    """Rates of agglomeration.

    Parameters
    ----------
    total
        (n,) primaries and agglomerates together: a collision does not ask which.
    kernel, scale
        (n, n) and its factor in kg per s.
    tables
        `grid.pair_tables`.
    volume
        (n,) pivots in um³.
    rates
        Filled, (n,) each: new agglomerates per kg and s that come from other cells; the rate in 1/s at which a crystal
        collides; the part of that rate after which it is still in its cell, as what it met was small.

    Notes
    -----
    Large agglomerates collide with many fines and hardly grow: telling these collisions apart keeps the steps long.
    """
    n = len(total)
    target, share, alone = tables
    birth, death, stay = rates
    number, mass = 0.0, 0.0
    for i in range(n):
        number += total[i]
        mass += total[i] * volume[i]
    # Cells above which there is nothing to speak of take no part: most of a grid that leaves room for agglomerates.
    top = n
    while top > 0 and total[top - 1] <= 1e-12 * number and total[top - 1] * volume[top - 1] <= 1e-12 * mass:
        top -= 1
    birth[:] = 0.0
    death[:] = 0.0
    stay[:] = 0.0
    for i in range(top):
        lost = 0.0
        for j in range(top):
            lost += kernel[i, j] * total[j]
        death[i] = scale * lost
    for i in range(top):
        own = scale * total[i]
        if own <= 0:
            continue
        # Small partners leave the pair between this pivot and the next, where the share is linear in their volume.
        count, brought = 0.0, 0.0
        for j in range(alone[i]):
            pairs = kernel[i, j] * total[j]
            count += pairs
            brought += pairs * volume[j]
        if alone[i] > 0:
            up = brought / (volume[i + 1] - volume[i])
            stay[i] = scale * (count - up)
            birth[i + 1] += own * up
        for j in range(alone[i], i + 1):
            rate = own * kernel[i, j] * total[j]
            if i == j:
                rate *= 0.5
            k = target[i, j]
            birth[k] += rate * share[i, j]
            if k < n - 1:
                birth[k + 1] += rate * (1 - share[i, j])


@njit(cache=True, nogil=True)
def split(agglomerates: Array, rate: Array, volume: Array, born: Array) -> None:
    """Fragments per kg and s of binary breakage, the volume of the first fragment uniform.

    Parameters
    ----------
    agglomerates, rate
        (n,) number per kg; 1/s at which each breaks.
    volume
        (n,) pivots in um³.
    born
        (n,) filled; number doubles, volume is kept exactly (fixed pivots).
    """
    n = len(volume)
    above = 0.0
    for k in range(n):
        i = n - 1 - k
        own = rate[i] * agglomerates[i] / volume[i]
        low = volume[i - 1] if i > 0 else 0.0
        high = volume[i + 1] if i < n - 1 else volume[i]
        born[i] = above * (high - low) + own * (volume[i] - low)
        above += own


@njit(cache=True, nogil=True)
def agglomerate(
    primary: Array,
    cluster: Array,
    rates: tuple[Array, Array, Array],
    scale: float,
    tables: tuple[NDArray[np.int32], Array, NDArray[np.int32]],
    duration: float,
    work: Array,
) -> float:
    """Advance agglomeration and breakage by `duration` (s); changes both populations.

    Parameters
    ----------
    primary, cluster
        (n,) primaries and agglomerates per kg.
    rates
        Kernel (n, n); rate of breakage (n,) in 1/s; pivots (n,) in um³.
    scale
        Factor of the kernel in kg/s.
    tables
        `grid.pair_tables`.
    work
        (9, n) room.

    Returns
    -------
    The relative loss of number per s at the start, by which the caller sets its next step; -1 where the rates would
    take thousands of substeps.

    Notes
    -----
    Heun's method for all crystals together (strong-stability preserving: both stages are Euler steps in which no cell
    loses more than half); primaries, which only ever collide away, by an exponential, so that neither can turn
    negative. Primaries among the fragments are those no larger than the mean primary by volume, and larger ones with
    the ratio of the two.
    """
    left, first = duration, -1.0
    kernel, break_rate, volume = rates
    n = len(volume)
    birth, death, stay, born = work[0], work[1], work[2], work[3]
    total, next_total, next_cluster, gone, fresh = work[4], work[5], work[6], work[7], work[8]
    breaks = False
    for i in range(n):
        if break_rate[i] > 0:
            breaks = True
    birth[:], death[:], stay[:], born[:] = 0.0, 0.0, 0.0, 0.0
    substeps = 0
    while left > 0:
        substeps += 1
        if substeps > 5000:
            return -1.0
        h = left
        number, v1, v2 = 0.0, 0.0, 0.0
        for i in range(n):
            total[i] = primary[i] + cluster[i]
            number += total[i]
            v1 += primary[i] * volume[i]
            v2 += primary[i] * volume[i] * volume[i]
        mean = v2 / v1 if v1 > 0 else 0.0
        if scale > 0:
            collide(total, kernel, scale, tables, volume, (birth, death, stay))
        if breaks:
            split(cluster, break_rate, volume, born)
        fastest, loss = 0.0, 0.0
        for i in range(n):
            loss += 0.5 * death[i] * total[i]
            if total[i] > 1e-12 * number or total[i] * volume[i] > 1e-9 * v1:
                fastest = max(fastest, death[i] - stay[i] + break_rate[i])
        if first < 0:
            first = loss / number if number > 0 else 0.0
        if fastest > 0:
            h = min(left, 0.5 / fastest)
        for i in range(n):
            part = min(1.0, mean / volume[i])
            change = birth[i] + born[i] - (death[i] - stay[i]) * total[i] - break_rate[i] * cluster[i]
            next_total[i] = max(total[i] + h * change, 0.0)
            decay = math.exp(-h * death[i])
            next_cluster[i] = max(next_total[i] - (primary[i] * decay + h * part * born[i]), 0.0)
            gone[i], fresh[i] = death[i], part * born[i]
        if scale > 0:
            collide(next_total, kernel, scale, tables, volume, (birth, death, stay))
        if breaks:
            split(next_cluster, break_rate, volume, born)
        for i in range(n):
            part = min(1.0, mean / volume[i])
            change = birth[i] + born[i] - (death[i] - stay[i]) * next_total[i] - break_rate[i] * next_cluster[i]
            after = max(0.5 * (total[i] + next_total[i] + h * change), 0.0)
            half = math.exp(-0.25 * h * (gone[i] + death[i]))
            p = primary[i] * half * half + 0.5 * h * half * (fresh[i] + part * born[i])
            primary[i] = min(p, after)
            cluster[i] = after - primary[i]
        left -= h
        if left < 1e-9 * duration:
            left = 0.0
    return max(first, 0.0)


@njit(cache=True, nogil=True)
def dot(a: Array, b: Array, c: Array) -> float:
    """Sum of (a + b) c."""
    out = 0.0
    for i in range(len(c)):
        out += (a[i] + b[i]) * c[i]
    return out
