"""Measured solubility: points, and a curve that was fitted to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crystalscope.core.distribution import Figure
from crystalscope.errors import InputError

Array = NDArray[np.float64]
ConcentrationUnit = Literal["mg/ml", "g/kg", "mole_fraction"]


@dataclass(frozen=True, eq=False)
class SolubilityPoints:
    """Saturation temperatures of known concentrations.

    Parameters
    ----------
    temperature_c
        (n,) deg C.
    concentration
        (n,) in `unit`, above 0.
    unit
        mg/ml (of solution or solvent, as it was prepared), g/kg (per kg of solvent) or mole_fraction.
    weight
        (n,) relative weights of the points, above 0; 1 by default.
    form
        Name of the polymorph or of the series; empty where there is one.

    Raises
    ------
    InputError
        On values that are not finite or not positive, or lengths that differ.
    """

    temperature_c: Array
    concentration: Array
    unit: ConcentrationUnit
    weight: Array | None = None
    form: str = ""

    def __post_init__(self) -> None:
        t = np.array(self.temperature_c, dtype=np.float64).ravel()
        c = np.array(self.concentration, dtype=np.float64).ravel()
        w = np.ones_like(t) if self.weight is None else np.array(self.weight, dtype=np.float64).ravel()
        if not t.shape == c.shape == w.shape:
            raise InputError(f"expected as many temperatures as concentrations, got {t.size} and {c.size}")
        if not (np.isfinite(t).all() and np.isfinite(c).all() and np.isfinite(w).all()):
            raise InputError("expected finite temperatures, concentrations and weights; leave out what is missing")
        if c.size and (c.min() <= 0 or w.min() <= 0):
            raise InputError("expected concentrations and weights above 0; leave out pure solvent")
        if self.unit == "mole_fraction" and c.size and c.max() >= 1:
            raise InputError(f"expected mole fractions below 1, got {c.max():g}; is the unit right?")
        for name, array in (("temperature_c", t), ("concentration", c), ("weight", w)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.temperature_c)


@dataclass(frozen=True, eq=False)
class SolubilityCurve:
    """Solubility against temperature, valid in the range that was measured.

    Parameters
    ----------
    model
        van_t_hoff, apelblat, polynomial or lambda_h.
    points
        What it was fitted to.
    parameters
        By name, with intervals.
    function
        Logarithm of the concentration at temperatures in deg C, and its standard error.
    residual_sd
        Of ln c about the curve, degrees of freedom taken into account.
    aicc
        Akaike's criterion with the correction for few points; infinite where there are too few for it.
    tail
        Student's factor of the level of the band.
    level
        Of the band and of the parameters' intervals.
    """

    model: str
    points: SolubilityPoints
    parameters: dict[str, Figure]
    function: Callable[[Array], tuple[Array, Array]] = field(repr=False)
    residual_sd: float = math.nan
    aicc: float = math.nan
    tail: float = math.nan
    level: float = 0.95

    @property
    def range_c(self) -> tuple[float, float]:
        """Lowest and highest measured temperature, deg C; outside of it the curve is not valid."""
        return float(self.points.temperature_c.min()), float(self.points.temperature_c.max())

    def concentration(self, temperature_c: Array | float) -> Array:
        """Solubility in `points.unit`; NaN outside of the measured range."""
        t = np.atleast_1d(np.asarray(temperature_c, dtype=np.float64))
        return np.where(self._inside(t), np.exp(self.function(t)[0]), math.nan)

    def band(self, temperature_c: Array | float) -> tuple[Array, Array]:
        """Lower and upper confidence bound of the curve; NaN outside of the measured range."""
        t = np.atleast_1d(np.asarray(temperature_c, dtype=np.float64))
        middle, error = self.function(t)
        inside = self._inside(t)
        return (
            np.where(inside, np.exp(middle - self.tail * error), math.nan),
            np.where(inside, np.exp(middle + self.tail * error), math.nan),
        )

    def temperature(self, concentration: float) -> float:
        """Saturation temperature in deg C of a concentration in `points.unit`; NaN outside of what was measured."""
        low, high = self.range_c
        grid = np.linspace(low, high, 2001)
        gap = self.function(grid)[0] - math.log(concentration)
        if gap[0] > 0 or gap[-1] < 0:
            return math.nan
        k = int(np.flatnonzero(gap >= 0)[0])
        if k == 0:
            return low
        share = -gap[k - 1] / (gap[k] - gap[k - 1])
        return float(grid[k - 1] + share * (grid[k] - grid[k - 1]))

    def _inside(self, t: Array) -> NDArray[np.bool_]:
        low, high = self.range_c
        return np.asarray((t >= low - 1e-9) & (t <= high + 1e-9))
