"""Operating conditions in arrays, and whether they keep the constraints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.design.system import Profile, System
from crystalscope.design.units import to_computed, to_given
from crystalscope.plant.profile import TemperatureProfile

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
_EPS = 1e-9


@dataclass(frozen=True, eq=False)
class Conditions:
    """Conditions of n batches; unused parts of a profile are exactly 0.

    Parameters
    ----------
    factors
        (n, p) in the units of the table.
    temperature_c
        (n, m) T_1 … T_m in deg C.
    cooling, heating
        (n, mc), (n, mh) rates in deg C/min, above 0 where used.
    segments
        (n,) ramps used: 1 linear, 2 cooled and heated, 2 k + 1 for k cycles; 0 without a profile.
    """

    factors: Array
    temperature_c: Array
    cooling: Array
    heating: Array
    segments: Ints

    def __len__(self) -> int:
        return len(self.factors)

    def take(self, rows: NDArray[np.generic] | Sequence[int]) -> Conditions:
        """Some rows, by number or by a mask."""
        at = np.asarray(rows)
        return Conditions(
            self.factors[at], self.temperature_c[at], self.cooling[at], self.heating[at], self.segments[at]
        )

    @staticmethod
    def join(parts: Sequence[Conditions]) -> Conditions:
        """Rows of several, one below the other."""
        names = ("factors", "temperature_c", "cooling", "heating", "segments")
        return Conditions(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))

    @property
    def cycles(self) -> Array:
        """(n,) cycles used; halves where the batch ends with a heating."""
        return np.maximum(self.segments - 1, 0) / 2

    @property
    def swings(self) -> Array:
        """(n, m - 1) change of temperature over every ramp in deg C; 0 where unused."""
        if self.temperature_c.shape[1] < 2:
            return np.zeros((len(self), 0))
        used = np.arange(self.temperature_c.shape[1] - 1) < self.segments[:, None]
        return np.where(used, np.diff(self.temperature_c, axis=1), 0.0)

    @property
    def rates(self) -> Array:
        """(n, m - 1) rate of every ramp in deg C/min; 0 where unused."""
        ramps = max(self.temperature_c.shape[1] - 1, 0)
        out = np.zeros((len(self), ramps))
        for i in range(ramps):
            out[:, i] = (self.cooling if i % 2 == 0 else self.heating)[:, i // 2]
        return out

    @property
    def minutes(self) -> Array:
        """(n, m - 1) duration of every ramp in min; 0 where unused."""
        rates = self.rates
        return np.where(rates > 0, np.abs(self.swings) / np.where(rates > 0, rates, 1.0), 0.0)

    @property
    def batch_time_h(self) -> Array:
        """(n,) h; NaN without a profile."""
        return np.where(self.segments > 0, self.minutes.sum(axis=1) / 60, np.nan)

    def profile(self, row: int) -> TemperatureProfile:
        """Temperature against time of a row that has a profile."""
        s = int(self.segments[row])
        corners = self.temperature_c[row, : s + 1]
        moves = np.diff(corners) != 0
        return TemperatureProfile.cycles(
            corners.tolist(),
            cooling_c_per_min=self.cooling[row, : (s + 1) // 2][moves[0::2]].tolist(),
            heating_c_per_min=self.heating[row, : s // 2][moves[1::2]].tolist(),
        )

    def raw(self, system: System) -> Array:
        """(n, d) the published inputs: factors, T, C and H, as many as the most cycles of the table need."""
        if system.profile is None:
            return self.factors
        return np.hstack([self.factors, self.temperature_c, self.cooling, self.heating])

    def to_frame(self, system: System) -> pd.DataFrame:
        """The columns and units of the table."""
        out = {f.column: self.factors[:, i] for i, f in enumerate(system.factors)}
        if system.profile is not None:
            p = system.profile
            out[p.cycles] = self.cycles
            used = np.arange(len(p.temperatures)) < self.segments[:, None] + 1
            for i, name in enumerate(p.temperatures):
                given = to_given("temperature", p.temperature_unit, self.temperature_c[:, i])
                out[name] = np.where(used[:, i], given, 0.0)
            for names, rates in ((p.cooling, self.cooling), (p.heating, self.heating)):
                for i, name in enumerate(names):
                    out[name] = to_given("rate", p.rate_unit, rates[:, i])
        return pd.DataFrame(out)


def computed_bounds(profile: Profile) -> dict[str, tuple[float, float]]:
    """Bounds of T, C and H in deg C and deg C/min."""
    out = {}
    for name, kind, unit, bounds in (
        ("T", "temperature", profile.temperature_unit, profile.temperature_bounds),
        ("C", "rate", profile.rate_unit, profile.cooling_bounds),
        ("H", "rate", profile.rate_unit, profile.heating_bounds),
    ):
        low, high = to_computed(kind, unit, bounds)  # type: ignore[arg-type]
        out[name] = (float(low), float(high))
    return out


def find_violations(conditions: Conditions, system: System) -> list[tuple[int, str]]:
    """Rows (from 0) that break a constraint, and the rule.

    The rules: factors within bounds; T_2, T_4 … below the temperature before them and T_3, T_5 … above; temperatures
    and rates that are used within bounds; those that are not used exactly 0.
    """
    out: list[tuple[int, str]] = []
    for i, f in enumerate(system.factors):
        value = conditions.factors[:, i]
        slack = _EPS * (f.bounds[1] - f.bounds[0])
        out += [
            (int(row), f"{f.column} = {value[row]:g} is not within {f.bounds[0]:g} to {f.bounds[1]:g}")
            for row in np.flatnonzero((value < f.bounds[0] - slack) | (value > f.bounds[1] + slack))
        ]
    if system.profile is None:
        return out
    bounds = computed_bounds(system.profile)
    s = conditions.segments
    for kind, values, used in (
        ("T", conditions.temperature_c, s + 1),
        ("C", conditions.cooling, (s + 1) // 2),
        ("H", conditions.heating, s // 2),
    ):
        low, high = bounds[kind]
        for i in range(values.shape[1]):
            v = values[:, i]
            on = i < used
            out += [
                (int(row), f"{kind}_{i + 1} = {v[row]:g} is not within {low:g} to {high:g}")
                for row in np.flatnonzero(on & ((v < low - 1e-7) | (v > high + 1e-7) | ~np.isfinite(v)))
            ]
            for row in np.flatnonzero(~on & (v != 0)):
                cycles = conditions.cycles[row]
                out.append((int(row), f"{kind}_{i + 1} = {v[row]:g} is not used with {cycles:g} cycles and must be 0"))
    swings = conditions.swings
    for i in range(swings.shape[1]):
        on = i < s
        wrong = swings[:, i] > 0 if i % 2 == 0 else swings[:, i] < 0
        for row in np.flatnonzero(on & wrong):
            word = "fall from" if i % 2 == 0 else "rise from"
            out.append((int(row), f"T_{i + 2} must {word} T_{i + 1} = {conditions.temperature_c[row, i]:g}"))
    return sorted(out)
