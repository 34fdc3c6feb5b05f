"""The moment equations of a batch, for data that are moments: closed for growth that is linear in the length."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from crystalscope.errors import InputError
from crystalscope.plant.kinetics import Kinetics
from crystalscope.plant.laws import MASS, NUCLEUS, factors, growth, nucleation, pack, solubility
from crystalscope.plant.profile import TemperatureProfile

Array = NDArray[np.float64]


def solve_moments(kinetics: Kinetics, start: Array, profile: TemperatureProfile, times_s: Array) -> Array:
    """Moments 0 to 3 and concentration of a batch with growth, dissolution and nucleation.

    Parameters
    ----------
    kinetics
        Without agglomeration, breakage and amorphous solid; growth with size_order 1 (or no size dependence).
    start
        (5,) moments 0 to 3 in um^k per kg and concentration in g per kg at the first time.
    profile
        The temperature.
    times_s
        (k,) increasing times in s.

    Returns
    -------
    (k, 5); NaN from where the equations could not be followed (rates beyond measure).

    Raises
    ------
    InputError
        Where the moments are not closed for these kinetics, or the start is not finite and above 0.

    Notes
    -----
    Assumes that no crystal vanishes: dissolution leaves the number as it is. Bogacki-Shampine 3(2), step controlled.
    """
    closed = kinetics.agglomeration is None and kinetics.breakage is None and kinetics.amorphous is None
    gamma = 0.0 if kinetics.growth is None else kinetics.growth.size_factor_per_um
    if not closed or (kinetics.growth is not None and gamma > 0 and kinetics.growth.size_order != 1):
        raise InputError(
            f"expected kinetics whose moments are closed, got {kinetics.name} with agglomeration, breakage, "
            "amorphous solid "
            "or size_order other than 1; give distributions and the charge instead of moments"
        )
    state = np.asarray(start, dtype=float)
    if state.shape != (5,) or not np.isfinite(state).all() or state.min() < 0:
        raise InputError(f"expected moments 0 to 3 and a concentration, finite and not negative, got {start}")
    times = np.asarray(times_s, dtype=float)
    return _march(pack(kinetics), state, profile.time_s, profile.temperature_c, times, gamma)


@njit(cache=True, nogil=True)
def _rates(p: Array, k: Array, y: Array, degrees: float, gamma: float, out: Array) -> None:
    saturated = solubility(p, degrees)
    factors(p, degrees, k)
    c = max(y[4], 1e-9)
    rate = growth(p, k, c, saturated, degrees)
    born = nucleation(p, k, c, saturated, p[MASS] * y[3])
    size = gamma if rate > 0 else 0.0
    out[0] = born
    nucleus = 1.0
    for i in range(1, 4):
        nucleus *= p[NUCLEUS]
        out[i] = i * rate * (max(y[i - 1], 0.0) + size * max(y[i], 0.0)) + born * nucleus
    out[4] = -p[MASS] * out[3]


@njit(cache=True, nogil=True)
def _march(p: Array, start: Array, corner_s: Array, corner_c: Array, times: Array, gamma: float) -> Array:
    out = np.full((len(times), 5), math.nan)
    y = start.copy()
    out[0] = y
    k, room = np.empty(6), np.empty((4, 5))
    time, h, tries = times[0], 5.0, 0
    for row in range(1, len(times)):
        while time < times[row] - 1e-9:
            tries += 1
            if tries > 20000:
                return out
            h = min(h, times[row] - time)
            _rates(p, k, y, np.interp(time, corner_s, corner_c), gamma, room[0])
            _rates(p, k, y + 0.5 * h * room[0], np.interp(time + 0.5 * h, corner_s, corner_c), gamma, room[1])
            _rates(p, k, y + 0.75 * h * room[1], np.interp(time + 0.75 * h, corner_s, corner_c), gamma, room[2])
            new = y + h * (2 * room[0] + 3 * room[1] + 4 * room[2]) / 9
            _rates(p, k, new, np.interp(time + h, corner_s, corner_c), gamma, room[3])
            worst = 1e-9
            for i in range(5):
                wrong = abs(h * (-5 / 72 * room[0, i] + room[1, i] / 12 + room[2, i] / 9 - room[3, i] / 8))
                if not math.isfinite(wrong):
                    return out
                scale = 1e-5 * max(abs(y[i]), abs(new[i])) + 1e-300
                if i < 4:
                    # A moment that starts from nothing is as good as those above it.
                    scale = max(scale, 1e-7 * max(y[3], 1.0))
                worst = max(worst, wrong / scale)
            if worst <= 1:
                time += h
                for i in range(5):
                    y[i] = max(new[i], 0.0)
            h *= min(4.0, max(0.2, 0.9 * worst ** (-1 / 3)))
        out[row] = y
    return out
