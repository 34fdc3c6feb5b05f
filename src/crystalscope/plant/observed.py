"""What was measured of a batch, and what a plant says to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.errors import InputError
from crystalscope.plant.batch import DEFAULT, Numerics, simulate
from crystalscope.plant.kinetics import Charge, Kinetics
from crystalscope.plant.moments import solve_moments
from crystalscope.plant.profile import TemperatureProfile

Array = NDArray[np.float64]

MOMENTS = ("mu0", "mu1", "mu2", "mu3")
QUANTITIES = (
    "concentration_g_per_kg",
    *MOMENTS,
    *(f"d{q}_{order}_um" for order in (0, 3) for q in (10, 50, 90)),
    "doa",
    "crystallinity",
)
"""Columns that a fit understands: concentration, moments per kg (um^k), quantiles by number and volume, attributes."""


@dataclass(frozen=True, eq=False)
class Observations:
    """One batch as measured.

    Parameters
    ----------
    name
        Of the batch.
    profile
        Its temperature.
    time_s
        (k,) increasing times of the measurements in s on the clock of the profile.
    values
        (k,) by name of `QUANTITIES`; NaN where not measured.
    charge
        What was in the vessel at time 0; None: the batch starts from its first measured moments and concentration.

    Raises
    ------
    InputError
        For unknown quantities, lengths that differ, times that do not increase, or no way to start.
    """

    name: str
    profile: TemperatureProfile
    time_s: Array
    values: Mapping[str, Array]
    charge: Charge | None = None

    def __post_init__(self) -> None:
        time = np.asarray(self.time_s, dtype=float)
        if time.ndim != 1 or len(time) < 3 or bool(np.any(np.diff(time) <= 0)) or time[0] < 0:
            raise InputError(
                f"expected 3 or more increasing times of batch {self.name} from 0 on; sort and drop doubles"
            )
        for name, value in self.values.items():
            if name not in QUANTITIES:
                raise InputError(
                    f"expected one of {', '.join(QUANTITIES)}, got {name!r}; rename or leave out the column"
                )
            if np.shape(value) != time.shape:
                raise InputError(f"expected {len(time)} values of {name} in batch {self.name}, got {np.shape(value)}")
        if not any(np.isfinite(v).any() for v in self.values.values()):
            raise InputError(f"expected measurements in batch {self.name}, got none; see docs/how-to/run-a-plant.md")
        if self.charge is None and not self.has_moments:
            raise InputError(
                f"expected a charge for batch {self.name}, or moments mu0 to mu3 and concentration_g_per_kg in "
                "its first "
                "row, got neither; give --charge"
            )

    @property
    def has_moments(self) -> bool:
        """Whether the first row holds all moments and the concentration."""
        return all(n in self.values and np.isfinite(self.values[n][0]) for n in (*MOMENTS, "concentration_g_per_kg"))

    @property
    def start(self) -> Array:
        """(5,) first moments and concentration; the concentration from a line through the first rows, against noise.

        Where the first reading lies off that line by more than the noise explains, the start is fast: the reading
        stands.
        """
        c = self.values["concentration_g_per_kg"]
        good = np.flatnonzero(np.isfinite(c))
        first = good[:6]
        line = float(c[first[0]])
        if len(first) == 6:
            fitted = float(np.polyfit(self.time_s[first] - self.time_s[0], c[first], 1)[1])
            # Second differences see noise and hardly the process.
            noise = float(np.std(np.diff(c[good], 2))) / np.sqrt(6)
            line = fitted if abs(fitted - line) <= 3 * noise else line
        return np.array([*(self.values[n][0] for n in MOMENTS), line])

    def predicted(
        self, kinetics: Kinetics, *, numerics: Numerics = DEFAULT, shift_g_per_kg: float = 0.0
    ) -> dict[str, Array]:
        """What the plant says for the measured quantities at the measured times; NaN where it cannot be followed.

        `shift_g_per_kg` is added to the concentration of `start`, where there is no charge.
        """
        if self.charge is None:
            start = self.start
            start[4] = max(start[4] + shift_g_per_kg, 0.0)
            states = solve_moments(kinetics, start, self.profile, self.time_s)
            names = (*MOMENTS, "concentration_g_per_kg")
            return {n: states[:, names.index(n)] for n in self.values if n in names}
        run = simulate(kinetics, self.charge, self.profile, times_s=self.time_s, numerics=numerics)
        out: dict[str, Array] = {}
        for name in self.values:
            if name in MOMENTS:
                out[name] = run.moment(int(name[2]))
            elif name.startswith("d") and name.endswith("_um"):
                out[name] = run.quantile(int(name[1:3]) / 100, by="number" if name[4] == "0" else "volume")
            else:
                out[name] = getattr(run, name)
        return out


def observations_of(table: pd.DataFrame, *, charge: Charge | None = None) -> tuple[Observations, ...]:
    """Batches from a table: columns ``experiment``, ``time_s`` or ``time_min``, ``temperature_c``, and `QUANTITIES`.

    Without ``experiment`` the table is one batch. Other columns are left alone. The temperature between rows is linear;
    times count from the first row of each batch.

    Raises
    ------
    InputError
        Where a column is missing, none is a quantity, or a batch is not usable.
    """
    found = [q for q in QUANTITIES if q in table.columns]
    if not found:
        raise InputError(
            f"expected one or more of the columns {', '.join(QUANTITIES)}, got "
            f"{', '.join(map(str, table.columns))}; name "
            "yours by --column"
        )
    groups = table.groupby("experiment", sort=False) if "experiment" in table.columns else [("1", table)]
    out = []
    for name, rows in groups:
        profile = TemperatureProfile.from_table(rows)
        values = {q: pd.to_numeric(rows[q], errors="coerce").to_numpy(dtype=float) for q in found}
        label = f"{name:g}" if isinstance(name, float) else str(name)
        out.append(Observations(label, profile, profile.time_s, values, charge))
    return tuple(out)
