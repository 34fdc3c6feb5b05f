"""Features that an engineer would use, from the profile and the solubility."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.design.conditions import Conditions
from crystalscope.design.space import concentration_mg_per_g
from crystalscope.design.system import System
from crystalscope.design.units import to_computed
from crystalscope.plant.kinetics import Solubility

Array = NDArray[np.float64]

_STEPS = 16
"""Steps of a ramp in which the relaxation towards the solubility is followed."""
_TIMES_MIN = (60.0, 300.0)
"""Times in min with which the concentration is taken to follow the solubility: a fast and a slow compound."""


def make_features(conditions: Conditions, system: System) -> pd.DataFrame:
    """Features of conditions, a column each; the same for every table of a system.

    Parameters
    ----------
    conditions
        Of n batches.
    system
        With [solubility], features of supersaturation are added.

    Returns
    -------
    (n, p) table: the factors; cycles, times in h, temperatures in deg C, swings and rates of the profile; and relative
    supersaturations, yield and dissolved shares along it.

    Notes
    -----
    The supersaturation along the profile is that of a first-order relaxation dc/dt = -(c - c*(T))/tau for two times
    tau,
    a stand-in for kinetics that are not known. It orders batches by how hard they were driven; it is no prediction.
    """
    out: dict[str, Array] = {f.column: conditions.factors[:, i] for i, f in enumerate(system.factors)}
    if system.profile is not None:
        out |= _profile_features(conditions)
        if system.solubility is not None and system.concentration is not None:
            c = concentration_mg_per_g(system, conditions.factors)
            seeds = np.zeros(len(conditions))
            at = system.role_index("seed_loading")
            if at is not None:
                seeds = c * to_computed("seed_loading", system.factors[at].unit, conditions.factors[:, at])
            out |= _solubility_features(conditions, system.solubility, c, seeds)
    return pd.DataFrame(out)


def _profile_features(x: Conditions) -> dict[str, Array]:
    rows = np.arange(len(x))
    swings, minutes = x.swings, x.minutes
    fall, rise = np.where(swings < 0, -swings, 0.0), np.where(swings > 0, swings, 0.0)
    cooling_h, heating_h = (np.where(part > 0, minutes, 0.0).sum(axis=1) / 60 for part in (fall, rise))
    last = 2 * ((x.segments - 1) // 2)
    return {
        "cycles": x.cycles,
        "log time": np.log(np.maximum(x.batch_time_h, 0.1)),
        "heating time, h": heating_h,
        "start, deg C": x.temperature_c[:, 0],
        "end, deg C": x.temperature_c[rows, x.segments],
        "coldest, deg C": np.where(
            np.arange(x.temperature_c.shape[1]) <= x.segments[:, None], x.temperature_c, np.inf
        ).min(axis=1),
        "heated by, deg C": rise.sum(axis=1),
        "largest heating, deg C": rise.max(axis=1, initial=0.0),
        "last cooling, deg C": fall[rows, last],
        "mean cooling rate": fall.sum(axis=1) / np.maximum(60 * cooling_h, 1e-9),
        "first cooling rate": x.cooling[:, 0],
        "last cooling rate": x.cooling[rows, (x.segments - 1) // 2],
    }


def _solubility_features(x: Conditions, solubility: Solubility, c: Array, seeds: Array) -> dict[str, Array]:
    rows = np.arange(len(x))
    curve = solubility.at(x.temperature_c)
    end = curve[rows, x.segments]
    rise = np.where(x.swings > 0, np.diff(curve, axis=1), 0.0) if x.temperature_c.shape[1] > 1 else curve * 0
    out = {
        "ln S at the start": np.log(c / curve[:, 0]),
        "ln S at the end if nothing grew": np.log(c / end),
        "yield": (c - end) / c,
        "dissolvable by heating": rise.sum(axis=1) / c,
    }
    if seeds.any():
        # Without nucleation seeds grow by the cube root of the mass they take up.
        out["growth of the seeds"] = np.cbrt(np.maximum(1 + (c - end) / np.maximum(seeds, 1e-9), 0.01))
    # (ramps, steps, n) solubility along the profile; at ramps that are not used, of the start.
    at = (np.arange(_STEPS) + 0.5) / _STEPS
    most = int(x.segments.max(initial=0))
    degrees = x.temperature_c[:, :most].T[:, None] + x.swings[:, :most].T[:, None] * at[:, None]
    used = np.arange(most)[:, None, None] < x.segments
    along = solubility.at(np.where(used, degrees, x.temperature_c[:, 0]))
    for tau in _TIMES_MIN:
        out |= _relaxed(x, along, c, tau)
    return out


def _relaxed(x: Conditions, along: Array, c: Array, tau: float) -> dict[str, Array]:
    state = c.copy()
    driven = np.zeros(len(x))
    squared, peak, dissolved = driven.copy(), driven.copy(), driven.copy()
    minutes = x.minutes
    for i, ramp in enumerate(along):
        step = minutes[:, i] / _STEPS
        decay = np.exp(-step / tau)
        moves = step > 0
        for curve in ramp:
            before = state
            # Never more than was charged: what dissolves are crystals.
            state = np.where(moves, np.minimum(curve + (state - curve) * decay, c), state)
            s = np.maximum((0.5 * (state + before) - curve) / curve, 0.0)
            driven += s * step
            squared += s**2 * step
            peak = np.where(moves, np.maximum(peak, s), peak)
            dissolved += np.maximum(state - before, 0.0)
    total = np.maximum(minutes.sum(axis=1), 1e-9)
    name = f"{tau / 60:g} h"
    return {
        f"mean S - 1, {name}": driven / total,
        f"log of the integral of (S - 1)^2, {name}": np.log(squared + 1e-3),
        f"peak S - 1, {name}": peak,
        f"dissolved by heating, {name}": dissolved / c,
    }
