"""What a twin says, and what an optimiser finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crystalscope.errors import InputError

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predicted values of one quality attribute.

    Parameters
    ----------
    mean
        (n,) in the unit of the attribute.
    lower, upper
        (n,) ends of the interval in which a new measurement lies with the probability `level`.
    level
        0 to 1.
    in_domain
        (n,) whether the conditions lie within what was tried.

    Raises
    ------
    InputError
        On lengths that differ, or intervals that do not hold their mean.
    """

    mean: Array
    lower: Array
    upper: Array
    level: float
    in_domain: Flags

    def __post_init__(self) -> None:
        shape = np.shape(self.mean)
        for name in ("mean", "lower", "upper", "in_domain"):
            array = np.array(getattr(self, name), dtype=bool if name == "in_domain" else np.float64)
            if array.shape != shape or array.ndim != 1:
                raise InputError(f"expected {name} of shape {shape}, got {array.shape}; give one value for every row")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if bool(np.any(self.lower > self.mean)) or bool(np.any(self.upper < self.mean)):
            raise InputError("expected lower <= mean <= upper, got an interval beside its mean; order the ends")


@dataclass(frozen=True, eq=False)
class ParetoFront:
    """Conditions of which none is better than another in every objective.

    Parameters
    ----------
    segments
        Ramps of the profile: 1 linear, 2 k + 1 for k cycles; 0 without a profile.
    coordinates
        (n, d) of the conditions in the unit cube of their space.
    objectives
        (n, m) to be minimised; those that are wanted large carry a minus sign.
    predictions
        By attribute.
    batch_time_h
        (n,) h; NaN without a profile.
    """

    segments: int
    coordinates: Array
    objectives: Array
    predictions: Mapping[str, Prediction]
    batch_time_h: Array

    def __len__(self) -> int:
        return len(self.coordinates)
