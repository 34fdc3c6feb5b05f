"""Units of concentration, converted only by what was given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystalscope.core import ConcentrationUnit
from crystalscope.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Substances:
    """What a conversion needs; None where it is not known.

    Parameters
    ----------
    solvent_density_g_per_ml
        Of the solvent at the temperature at which the vials were filled.
    solute_g_per_mol, solvent_g_per_mol
        Molar masses; of a mixed solvent the mean.
    """

    solvent_density_g_per_ml: float | None = None
    solute_g_per_mol: float | None = None
    solvent_g_per_mol: float | None = None


def convert_concentration(
    values: ArrayLike, *, given: ConcentrationUnit, wanted: ConcentrationUnit, substances: Substances
) -> Array:
    """Concentrations in another unit.

    Parameters
    ----------
    values
        (n,) in the unit `given`.
    given, wanted
        mg/ml (mass of solute per volume of solvent that was filled in), g/kg (per mass of solvent), mole_fraction.
    substances
        Density for mg/ml, both molar masses for mole_fraction.

    Raises
    ------
    InputError
        When a density or molar mass that is needed was not given; nothing is guessed.

    Notes
    -----
    mg per ml of solution would need the density of the solution; below 50 mg/ml the two differ by a few per cent.
    """
    out = np.array(values, dtype=np.float64)
    if given == wanted:
        return out
    if given == "mg/ml":
        out = out / _needed(substances.solvent_density_g_per_ml, "the density of the solvent in g/ml", given, wanted)
    elif given == "mole_fraction":
        ratio = _ratio(substances, given, wanted)
        out = 1000 * ratio * out / (1 - out)
    if wanted == "mg/ml":
        return out * _needed(substances.solvent_density_g_per_ml, "the density of the solvent in g/ml", given, wanted)
    if wanted == "mole_fraction":
        moles = out / (1000 * _ratio(substances, given, wanted))
        return moles / (1 + moles)
    return out


def _ratio(substances: Substances, given: str, wanted: str) -> float:
    """Molar mass of the solute over that of the solvent."""
    solute = _needed(substances.solute_g_per_mol, "the molar mass of the solute", given, wanted)
    return solute / _needed(substances.solvent_g_per_mol, "the molar mass of the solvent", given, wanted)


def _needed(value: float | None, what: str, given: str, wanted: str) -> float:
    if value is None:
        raise InputError(
            f"expected {what} for a conversion from {given} to {wanted}, got none; give it, or keep {given}"
        )
    if not value > 0:
        raise InputError(f"expected {what} above 0, got {value:g}; correct it")
    return value
