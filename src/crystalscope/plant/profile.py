"""Temperature programmes: cooling, heating and thermocycles."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crystalscope.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TemperatureProfile:
    """Temperature against time, joined by straight lines.

    Parameters
    ----------
    time_s
        (n,) s, from 0 on, strictly increasing, at least two.
    temperature_c
        (n,) deg C, above the absolute zero.

    Raises
    ------
    InputError
        For other shapes, times that do not increase, or values that are not finite.
    """

    time_s: Array
    temperature_c: Array

    def __post_init__(self) -> None:
        time = np.array(self.time_s, dtype=np.float64)
        degrees = np.array(self.temperature_c, dtype=np.float64)
        if time.ndim != 1 or time.shape != degrees.shape or len(time) < 2:
            raise InputError(
                f"expected two or more times and as many temperatures, got shapes {time.shape} and {degrees.shape}; "
                "give one temperature for every time"
            )
        if not (np.isfinite(time).all() and np.isfinite(degrees).all()):
            row = int(np.argmin(np.isfinite(time) & np.isfinite(degrees)))
            raise InputError(f"expected finite times and temperatures, got NaN or infinity in row {row}; take it out")
        if time[0] != 0 or bool(np.any(np.diff(time) <= 0)):
            row = int(np.argmax(np.diff(time) <= 0)) + 1 if bool(np.any(np.diff(time) <= 0)) else 0
            raise InputError(
                f"expected times from 0 on, strictly increasing, got {time[row]:g} s in row {row}; sort the profile "
                "and subtract its first time"
            )
        if degrees.min() < -273.15:
            raise InputError(f"expected temperatures in deg C, got {degrees.min():g}; check the unit")
        for name, array in (("time_s", time), ("temperature_c", degrees)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @property
    def duration_s(self) -> float:
        """Length of the batch in s."""
        return float(self.time_s[-1])

    def at(self, time_s: ArrayLike) -> Array:
        """Temperature in deg C at times in s; before and after the profile its first and last value."""
        return np.asarray(np.interp(np.asarray(time_s, dtype=float), self.time_s, self.temperature_c))

    @classmethod
    def linear(
        cls, start_c: float, end_c: float, *, rate_c_per_min: float, hold_min: float = 0.0
    ) -> TemperatureProfile:
        """One ramp between two temperatures at a rate (above 0), then `hold_min` at the end."""
        if start_c == end_c:
            raise InputError(f"expected two temperatures that differ, got {start_c:g} twice; give a hold as points")
        cooling, heating = ((rate_c_per_min,), ()) if end_c < start_c else ((), (rate_c_per_min,))
        return cls.cycles((start_c, end_c), cooling_c_per_min=cooling, heating_c_per_min=heating, hold_min=hold_min)

    @classmethod
    def cycles(
        cls,
        temperatures_c: Sequence[float],
        *,
        cooling_c_per_min: Sequence[float],
        heating_c_per_min: Sequence[float] = (),
        hold_min: float = 0.0,
    ) -> TemperatureProfile:
        """A thermocyclic profile from T_i, C_i and H_i.

        Parameters
        ----------
        temperatures_c
            T_1 … T_m, the corners in deg C. A profile of k cycles that starts by cooling has 2 k + 2 of them: cooled to
            T_2, then k times heated to an odd and cooled to an even one (Barhate et al., PSE Press, 2025). The
            direction of a segment is that of its temperatures; one between equal ones is left out, with its rate.
        cooling_c_per_min, heating_c_per_min
            C_i and H_i, above 0, one for every segment that falls or rises, in order of time.
        hold_min
            Time held at the end of every segment, in min.

        Raises
        ------
        InputError
            Where a rate is missing, one is too many, or one is not above 0.
        """
        corners = np.asarray(temperatures_c, dtype=float)
        if corners.ndim != 1 or len(corners) < 2 or not np.isfinite(corners).all():
            raise InputError(f"expected two or more finite corner temperatures, got {list(temperatures_c)}")
        if hold_min < 0:
            raise InputError(f"expected a hold of 0 min or more, got {hold_min:g}")
        steps = np.diff(corners)
        for sense, rates, needed in (
            ("cooling", cooling_c_per_min, int((steps < 0).sum())),
            ("heating", heating_c_per_min, int((steps > 0).sum())),
        ):
            if len(rates) != needed:
                raise InputError(
                    f"expected {needed} {sense} rates for the corners {corners.tolist()}, got {len(rates)}; give one "
                    f"for every segment that is {'cooled' if sense == 'cooling' else 'heated'}"
                )
            if any(not r > 0 for r in rates):
                raise InputError(
                    f"expected {sense} rates above 0 deg C/min, got {list(rates)}; direction is in the T_i"
                )
        cooling, heating = iter(cooling_c_per_min), iter(heating_c_per_min)
        points = [(0.0, float(corners[0]))]
        for before, after in itertools.pairwise(corners):
            if before == after:
                continue
            rate = next(cooling) if after < before else next(heating)
            points.append((points[-1][0] + 60 * abs(after - before) / rate, float(after)))
            if hold_min > 0:
                points.append((points[-1][0] + 60 * hold_min, float(after)))
        if len(points) < 2:
            raise InputError(f"expected corner temperatures that differ, got {corners.tolist()}")
        time, degrees = zip(*points, strict=True)
        return cls(np.array(time), np.array(degrees))

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> TemperatureProfile:
        """From columns ``time_s`` (or ``time_min``) and ``temperature_c``; the first time becomes 0.

        Raises
        ------
        InputError
            Where a column is missing, a value is no number, or the times do not increase.
        """
        column = next((c for c in ("time_s", "time_min") if c in table.columns), None)
        if column is None or "temperature_c" not in table.columns:
            raise InputError(
                f"expected columns time_s (or time_min) and temperature_c, got {', '.join(map(str, table.columns))}; "
                "rename them"
            )
        values = {c: pd.to_numeric(table[c], errors="coerce").to_numpy(dtype=float) for c in (column, "temperature_c")}
        for name, numbers in values.items():
            if not np.isfinite(numbers).all():
                row = int(np.argmin(np.isfinite(numbers)))
                raise InputError(
                    f"expected numbers in {name}, got {table[name].iloc[row]!r} in row {row + 1}; correct it or "
                    "take it out"
                )
        time = values[column] * (60.0 if column == "time_min" else 1.0)
        return cls(time - time[0] if len(time) else time, values["temperature_c"])

    def to_table(self) -> pd.DataFrame:
        """Columns time_s, temperature_c: the corners."""
        return pd.DataFrame({"time_s": self.time_s, "temperature_c": self.temperature_c})
