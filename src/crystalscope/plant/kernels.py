"""Compiled steps of the population balance: growth by finite volumes, agglomeration by fixed pivots, breakage."""

from __future__ import annotations

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
                d = min(distance * factor[i + 1], width[i])
                out = d * (number[i] / width[i] + 0.5 * slope[i] * (width[i] - d))
                out = min(max(out, 0.0), number[i])
            number[i] += before - out
            before = out
    else:
        before = 0.0
        for k in range(n):
            i = n - 1 - k
            d = min(-distance * factor[i], width[i])
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
    birth: Array,
    death: Array,
) -> None:
    """Births by agglomeration and the rate at which a crystal of each cell is lost to it.

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
    birth
        (n,) filled: new agglomerates per kg and s.
    death
        (n,) filled: 1/s.
    """
    n = len(total)
    target, share, alone = tables
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
            birth[i] += own * (count - up)
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
        (6, n) room.

    Returns
    -------
    The relative loss of number per s at the start, by which the caller sets its next step.

    Notes
    -----
    Heun's method (strong-stability preserving: both stages are Euler steps that lose at most half of a cell). Primaries
    among the fragments are those no larger than the mean primary by volume, and larger ones with the ratio of the two.
    """
    left = duration
    first = -1.0
    kernel, break_rate, volume = rates
    n = len(volume)
    total, birth, death, born, p1, c1 = work[0], work[1], work[2], work[3], work[4], work[5]
    breaks = False
    for i in range(n):
        if break_rate[i] > 0:
            breaks = True
    while left > 0:
        h = left
        for stage in range(2):
            p = primary if stage == 0 else p1
            c = cluster if stage == 0 else c1
            number = 0.0
            v1 = 0.0
            v2 = 0.0
            for i in range(n):
                total[i] = p[i] + c[i]
                number += total[i]
                v1 += p[i] * volume[i]
                v2 += p[i] * volume[i] * volume[i]
            if scale > 0:
                collide(total, kernel, scale, tables, volume, birth, death)
            else:
                birth[:] = 0.0
                death[:] = 0.0
            if breaks:
                split(c, break_rate, volume, born)
            else:
                born[:] = 0.0
            mean = v2 / v1 if v1 > 0 else 0.0
            if stage == 0:
                fastest = 0.0
                loss = 0.0
                for i in range(n):
                    loss += 0.5 * death[i] * total[i]
                    if total[i] > 0:
                        fastest = max(fastest, death[i] + break_rate[i])
                if first < 0:
                    first = loss / number if number > 0 else 0.0
                if fastest > 0:
                    h = min(left, 0.5 / fastest)
                for i in range(n):
                    to_primary = min(1.0, mean / volume[i]) if breaks else 0.0
                    p1[i] = p[i] + h * (to_primary * born[i] - death[i] * p[i])
                    c1[i] = c[i] + h * (birth[i] + (1 - to_primary) * born[i] - (death[i] + break_rate[i]) * c[i])
            else:
                for i in range(n):
                    to_primary = min(1.0, mean / volume[i]) if breaks else 0.0
                    p2 = p[i] + h * (to_primary * born[i] - death[i] * p[i])
                    c2 = c[i] + h * (birth[i] + (1 - to_primary) * born[i] - (death[i] + break_rate[i]) * c[i])
                    primary[i] = max(0.5 * (primary[i] + p2), 0.0)
                    cluster[i] = max(0.5 * (cluster[i] + c2), 0.0)
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
