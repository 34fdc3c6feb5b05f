"""What a simulated batch gives: trajectories, size distributions, quality attributes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.plant.grid import Grid
from crystalscope.plant.kinetics import Kinetics
from crystalscope.plant.profile import TemperatureProfile

Array = NDArray[np.float64]

_TRACE = 1e-6


@dataclass(frozen=True)
class Quality:
    """The critical quality attributes at the end of a batch.

    Parameters
    ----------
    d50_um
        Median length by volume of all crystals; NaN where there are none.
    doa
        Degree of agglomeration: share of agglomerates in the volume of the crystals, 0 to 1; NaN where there are none.
    crystallinity
        Crystals over all solids by mass, 0 to 1; NaN where there are no solids.
    """

    d50_um: float
    doa: float
    crystallinity: float


@dataclass(frozen=True, eq=False)
class PlantRun:
    """States of a simulated batch at k times, on n cells.

    Parameters
    ----------
    kinetics, profile, grid
        What was run.
    time_s
        (k,) s.
    primaries, agglomerates
        (k, n) crystals per kg of solvent (or L of solution) in each cell.
    concentration_g_per_kg, amorphous_g_per_kg
        (k,) dissolved solute and amorphous solid, integrated on their own.
    start_g_per_kg
        Solute in all forms that was charged.
    seeds_g_per_kg
        Mass of the seeds.
    steps
        Growth steps taken.
    """

    kinetics: Kinetics
    profile: TemperatureProfile
    grid: Grid
    time_s: Array
    primaries: Array
    agglomerates: Array
    concentration_g_per_kg: Array
    amorphous_g_per_kg: Array
    start_g_per_kg: float
    seeds_g_per_kg: float
    steps: int

    @cached_property
    def temperature_c(self) -> Array:
        """(k,) deg C."""
        return self.profile.at(self.time_s)

    @cached_property
    def solubility_g_per_kg(self) -> Array:
        """(k,) c* at the temperature of the time."""
        return self.kinetics.solubility.at(self.temperature_c)

    @cached_property
    def supersaturation(self) -> Array:
        """(k,) S = c/c*."""
        return np.asarray(self.concentration_g_per_kg / self.solubility_g_per_kg)

    @cached_property
    def crystals(self) -> Array:
        """(k, n) primaries and agglomerates together."""
        return self.primaries + self.agglomerates

    def moment(self, k: int) -> Array:
        """(times,) k-th moment of the length of all crystals, um^k per kg."""
        return np.asarray(self.crystals @ self.grid.mean_power(k))

    @cached_property
    def solids_g_per_kg(self) -> Array:
        """(k,) mass of the crystals from the third moment."""
        return self.kinetics.mass_per_um3_g * self.moment(3)

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """(k,) whether there are crystals to speak of: a millionth of the solute; less is what arithmetic leaves."""
        return self.solids_g_per_kg > _TRACE * self.start_g_per_kg

    @cached_property
    def doa(self) -> Array:
        """(k,) share of agglomerates in the volume of the crystals; NaN where there are none."""
        share = _ratio(self.agglomerates @ self.grid.mean_power(3), self.moment(3))
        return np.where(self.present, share, math.nan)

    @cached_property
    def doa_number(self) -> Array:
        """(k,) share of agglomerates in the number of the crystals; nuclei that no instrument sees count."""
        return np.where(self.present, _ratio(self.agglomerates.sum(axis=1), self.moment(0)), math.nan)

    @cached_property
    def crystallinity(self) -> Array:
        """(k,) crystals over crystals and amorphous solid, by mass; NaN where there is neither."""
        solids = self.solids_g_per_kg + self.amorphous_g_per_kg
        return np.where(solids > _TRACE * self.start_g_per_kg, _ratio(self.solids_g_per_kg, solids), math.nan)

    @cached_property
    def yield_(self) -> Array:
        """(k,) mass of the crystals less that of the seeds, over the solute charged without the seeds."""
        charged = self.start_g_per_kg - self.seeds_g_per_kg
        if charged <= 0:
            return np.full(len(self.time_s), math.nan)
        return np.asarray((self.solids_g_per_kg - self.seeds_g_per_kg) / charged)

    @cached_property
    def mass_error(self) -> Array:
        """(k,) solute in all forms less what was charged, over the largest mass that changed hands: a check."""
        total = self.solids_g_per_kg + self.concentration_g_per_kg + self.amorphous_g_per_kg
        changed = np.abs(self.concentration_g_per_kg - self.concentration_g_per_kg[0]).max()
        return np.asarray((total - self.start_g_per_kg) / max(changed, self.solids_g_per_kg.max(), 1e-12))

    def cumulative(self, row: int, *, by: str = "volume") -> Array:
        """(n + 1,) Q3 (``volume``) or Q0 (``number``) at the faces of the grid; NaN where there are no crystals."""
        weight = self.crystals[row] * (self.grid.mean_power(3) if by == "volume" else 1.0)
        total = weight.sum()
        if not self.present[row]:
            return np.full(self.grid.n + 1, math.nan)
        return np.concatenate([[0.0], np.cumsum(weight) / total])

    def quantile(self, share: float, *, by: str = "volume") -> Array:
        """(k,) length in um below which `share` of the crystals lie; NaN where there are none."""
        return np.array([_quantile(self.grid.faces, self.cumulative(i, by=by), share) for i in range(len(self.time_s))])

    @property
    def quality(self) -> Quality:
        """At the end."""
        d50 = _quantile(self.grid.faces, self.cumulative(len(self.time_s) - 1), 0.5)
        return Quality(d50, float(self.doa[-1]), float(self.crystallinity[-1]))

    def trajectory(self) -> pd.DataFrame:
        """One row per time: state, moments, quantiles, quality attributes."""
        columns = {
            "time_s": self.time_s,
            "temperature_c": self.temperature_c,
            "concentration_g_per_kg": self.concentration_g_per_kg,
            "solubility_g_per_kg": self.solubility_g_per_kg,
            "supersaturation": self.supersaturation,
            "solids_g_per_kg": self.solids_g_per_kg,
            "amorphous_g_per_kg": self.amorphous_g_per_kg,
        }
        columns |= {f"mu{k}": self.moment(k) for k in range(5)}
        for by, order in (("number", 0), ("volume", 3)):
            columns |= {f"d{q}_{order}_um": self.quantile(q / 100, by=by) for q in (10, 50, 90)}
        columns |= {
            "doa": self.doa,
            "doa_number": self.doa_number,
            "crystallinity": self.crystallinity,
            "yield": self.yield_,
            "mass_error": self.mass_error,
        }
        return pd.DataFrame(columns)

    def distributions(self, *, most_times: int = 25) -> pd.DataFrame:
        """Q0, q0, Q3, q3 at the faces, and Q3 of the agglomerates as share of all, at up to `most_times` times."""
        rows = np.unique(np.linspace(0, len(self.time_s) - 1, min(most_times, len(self.time_s))).round().astype(int))
        parts = []
        volume = self.grid.mean_power(3)
        for row in rows:
            table = {"time_s": np.full(self.grid.n + 1, self.time_s[row]), "size_um": self.grid.faces}
            for by, order in (("number", 0), ("volume", 3)):
                q = self.cumulative(int(row), by=by)
                table[f"q{order}"] = np.concatenate([[0.0], np.diff(q) / self.grid.width])
                table[f"Q{order}"] = q
            share = self.agglomerates[row] * volume
            total = float((self.crystals[row] * volume).sum())
            agglomerates = np.concatenate([[0.0], np.cumsum(share) / max(total, 1e-300)])
            table["Q3_agglomerates"] = agglomerates if self.present[row] else table["Q3"]
            parts.append(pd.DataFrame(table))
        return pd.concat(parts, ignore_index=True)


def _ratio(a: Array, b: Array) -> Array:
    out = np.full(len(b), math.nan)
    np.divide(a, b, out=out, where=b > 0)
    return out


def _quantile(faces: Array, cumulative: Array, share: float) -> float:
    if not math.isfinite(cumulative[-1]):
        return math.nan
    k = int(np.searchsorted(cumulative, share))
    k = min(max(k, 1), len(faces) - 1)
    low, high = cumulative[k - 1], cumulative[k]
    x = (share - low) / (high - low) if high > low else 0.5
    return float(faces[k - 1] + x * (faces[k] - faces[k - 1]))
