"""The size distribution: exact, unbinned, with its size definition in its name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crystalscope.core.particles import Unit
from crystalscope.errors import InputError


@dataclass(frozen=True)
class Figure:
    """A number with its interval; NaN with the reason where it is undefined."""

    value: float
    lower: float = math.nan
    upper: float = math.nan
    level: float = math.nan
    reason: str = ""


@dataclass(frozen=True, eq=False)
class SizeDistribution:
    """Weighted sizes of single particles; the cumulatives are steps at the sizes, nothing is binned.

    Parameters
    ----------
    size
        (n,) ascending, in `unit`.
    number_weight
        (n,) share of the number that each particle stands for, after corrections; sums to 1.
    volume_weight
        (n,) share of the volume that each particle stands for; sums to 1.
    definition
        What size means: ecd, feret_max, length, …
    volume_model
        How a volume was made from a projection: ``ecd^3``, ``length*width^2``.
    unit
        um or px.
    correction
        What the weights correct for: ``none``, ``miles-lantuejoul``, …
    figures
        D10_0, D50_3, D[4,3] … by name, with intervals.
    """

    size: NDArray[np.float64]
    number_weight: NDArray[np.float64]
    volume_weight: NDArray[np.float64]
    definition: str
    volume_model: str
    unit: Unit
    correction: str = "none"
    figures: Mapping[str, Figure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.size)
        for name in ("size", "number_weight", "volume_weight"):
            array = np.ascontiguousarray(getattr(self, name), dtype=np.float64)
            if array.shape != (n,) or not np.all(np.isfinite(array)) or (n and array.min() < 0):
                raise InputError(f"expected {n} finite values of {name}, none negative")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if n > 1 and bool(np.any(np.diff(self.size) < 0)):
            raise InputError("expected sizes in ascending order")
        for name in ("number_weight", "volume_weight"):
            if n and not math.isclose(float(getattr(self, name).sum()), 1.0, rel_tol=1e-6):
                raise InputError(f"expected a {name} that sums to 1")

    @property
    def n(self) -> int:
        """Particles measured (not corrected)."""
        return len(self.size)

    @property
    def Q0(self) -> NDArray[np.float64]:
        """(n,) cumulative by number at each size."""
        return np.cumsum(self.number_weight)

    @property
    def Q3(self) -> NDArray[np.float64]:
        """(n,) cumulative by volume at each size."""
        return np.cumsum(self.volume_weight)
