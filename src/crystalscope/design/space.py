"""Conditions of one kind of profile in the unit cube: whatever point is taken, the constraints hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crystalscope.design.conditions import Conditions, computed_bounds
from crystalscope.design.system import System
from crystalscope.plant.kinetics import Solubility

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Space:
    """Conditions with a fixed number of ramps.

    Parameters
    ----------
    system
        Factors and bounds.
    segments
        Ramps: 1 linear, 2 k + 1 for k cycles; 0 without a profile.

    Notes
    -----
    Coordinates, each from 0 to 1: the factors between their bounds; T_1 between the bounds (or about saturation); each
    further temperature as the share of what is left between the one before and the bound in its direction; the rates
    between their bounds. A temperature on a cooling can thus not lie above the one before it, and what is not used is
    not there: it is written as exactly 0.
    """

    system: System
    segments: int

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return len(self.system.factors) + (2 * self.segments + 1 if self.segments else 0)

    def decode(self, unit: Array) -> Conditions:
        """Conditions of (n, d) points; values beyond the cube are taken to its border."""
        u = np.clip(np.atleast_2d(np.asarray(unit, dtype=float)), 0, 1)
        n, p, s = len(u), len(self.system.factors), self.segments
        factors = np.empty((n, p))
        for i, f in enumerate(self.system.factors):
            factors[:, i] = f.bounds[0] + u[:, i] * (f.bounds[1] - f.bounds[0])
        profile = self.system.profile
        if profile is None:
            none = np.zeros((n, 0))
            return Conditions(factors, none, none, none, np.zeros(n, dtype=np.int64))
        t = np.zeros((n, len(profile.temperatures)))
        cooling, heating = np.zeros((n, len(profile.cooling))), np.zeros((n, len(profile.heating)))
        bounds = computed_bounds(profile)
        for i in range(s + 1):
            low, high = self._range(i, factors, t)
            t[:, i] = low + u[:, p + i] * (high - low)
        for i in range(s):
            slow, fast = bounds["C" if i % 2 == 0 else "H"]
            (cooling if i % 2 == 0 else heating)[:, i // 2] = slow + u[:, p + s + 1 + i] * (fast - slow)
        return Conditions(factors, t, cooling, heating, np.full(n, s, dtype=np.int64))

    def encode(self, conditions: Conditions) -> Array:
        """(n, d) coordinates of conditions with this number of ramps; what the space does not reach goes to its
        border.
        """
        n, p, s = len(conditions), len(self.system.factors), self.segments
        u = np.full((n, self.size), 0.5)
        for i, f in enumerate(self.system.factors):
            u[:, i] = (conditions.factors[:, i] - f.bounds[0]) / (f.bounds[1] - f.bounds[0])
        if self.system.profile is not None:
            bounds = computed_bounds(self.system.profile)
            rates = conditions.rates
            for i in range(s + 1):
                low, high = self._range(i, conditions.factors, conditions.temperature_c)
                wide = high > low
                u[:, p + i] = np.where(
                    wide, (conditions.temperature_c[:, i] - low) / np.where(wide, high - low, 1.0), 0.5
                )
            for i in range(s):
                low_r, high_r = bounds["C" if i % 2 == 0 else "H"]
                u[:, p + s + 1 + i] = (rates[:, i] - low_r) / (high_r - low_r)
        return np.clip(u, 0, 1)

    def _range(self, i: int, factors: Array, t: Array) -> tuple[Array, Array]:
        """Lowest and highest T_{i+1} after the temperatures before it."""
        profile = self.system.profile
        assert profile is not None
        low, high = computed_bounds(profile)["T"]
        swing = min(profile.least_swing_c, high - low)
        lows, highs = np.full(len(t), low), np.full(len(t), high)
        saturated = self._saturated(factors)
        if i == 0:
            lows += swing
            if profile.start_about_saturation_c is not None:
                a, b = profile.start_about_saturation_c
                highs = np.clip(saturated + b, lows, highs)
                lows = np.clip(saturated + a, lows, highs)
            return lows, highs
        before = t[:, i - 1]
        if i % 2 == 1:
            return lows, np.maximum(before - swing, low)
        if profile.heat_below_saturation_c is not None:
            highs = np.minimum(highs, saturated - profile.heat_below_saturation_c)
        lows = np.minimum(before + swing, high)
        return lows, np.maximum(highs, lows)

    def _saturated(self, factors: Array) -> Array:
        i = self.system.role_index("concentration")
        if self.system.solubility is None or i is None:
            return np.full(len(factors), np.nan)
        return saturation_c(self.system.solubility, concentration_mg_per_g(self.system, factors))


def concentration_mg_per_g(system: System, factors: Array) -> Array:
    """(n,) the factor that is the concentration, in mg per g of solvent."""
    from crystalscope.design.units import to_computed

    i = system.role_index("concentration")
    assert i is not None
    return to_computed("concentration", system.factors[i].unit, factors[:, i])


def saturation_c(solubility: Solubility, concentration: Array) -> Array:
    """Temperature in deg C at which concentrations in g per kg are saturated; to the ends of the curve beyond it."""
    t = np.linspace(solubility.lowest_c, solubility.highest_c, 400)
    return np.asarray(np.interp(concentration, solubility.at(t), t))


def spaces_of(system: System) -> tuple[Space, ...]:
    """One space for every kind of profile: linear, one heating, then whole cycles."""
    if system.profile is None:
        return (Space(system, 0),)
    most = system.profile.most_segments
    if system.profile.most_cycles is not None:
        most = min(most, round(2 * system.profile.most_cycles + 1))
    return tuple(Space(system, s) for s in range(1, most + 1) if s % 2 == 1 or s == 2)


def round_conditions(conditions: Conditions, system: System) -> Conditions:
    """Conditions as one would set them: temperatures to 0.1 deg C, rates to 0.001 deg C/min, factors to 4 digits."""
    factors = conditions.factors.copy()
    for i, f in enumerate(system.factors):
        step = 10.0 ** (np.floor(np.log10(f.bounds[1] - f.bounds[0])) - 3)
        factors[:, i] = np.clip(np.round(factors[:, i] / step) * step, *f.bounds)
    if system.profile is None:
        return Conditions(
            factors, conditions.temperature_c, conditions.cooling, conditions.heating, conditions.segments
        )
    bounds = computed_bounds(system.profile)
    parts = []
    for values, name, digits, used in (
        (conditions.temperature_c, "T", 1, conditions.segments + 1),
        (conditions.cooling, "C", 3, (conditions.segments + 1) // 2),
        (conditions.heating, "H", 3, conditions.segments // 2),
    ):
        on = np.arange(values.shape[1]) < used[:, None]
        parts.append(np.where(on, np.clip(np.round(values, digits), *bounds[name]), 0.0))
    return Conditions(factors, parts[0], parts[1], parts[2], conditions.segments)
