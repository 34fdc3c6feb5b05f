"""Rates of the mechanisms as compiled functions of a packed table of constants."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from crystalscope.plant.kinetics import Kinetics, Law

Array = NDArray[np.float64]

GAS_CONSTANT = 8.314462618
"""J/(mol K)."""
_KELVIN = 273.15

# Places in the packed table.
MASS, NUCLEUS, FORM, CURVE = 0, 1, 2, 3
GROWTH, DISSOLUTION, NUCLEATION, AGGLOMERATION, BREAKAGE, AMORPHOUS = 8, 17, 22, 43, 45, 47
LENGTH = 53


def pack(kinetics: Kinetics) -> Array:
    """The constants in one array, for the compiled functions; rates of absent mechanisms are 0."""
    p = np.zeros(LENGTH)
    p[MASS] = kinetics.mass_per_um3_g
    p[NUCLEUS] = kinetics.nucleus_um
    p[FORM] = float(kinetics.solubility.form == "exponential")
    curve = np.array(kinetics.solubility.coefficients)
    if p[FORM] > 0:
        curve[0] *= kinetics.solubility.factor
    else:
        curve *= kinetics.solubility.factor
    p[CURVE : CURVE + len(curve)] = curve
    if kinetics.growth is not None:
        g = kinetics.growth
        p[GROWTH : GROWTH + 5] = _law(g.rate_um_per_s, g)
        p[GROWTH + 5 : GROWTH + 9] = (g.log_order, g.barrier_k2, g.temperature_order, g.dead_zone)
    if kinetics.dissolution is not None:
        p[DISSOLUTION : DISSOLUTION + 5] = _law(kinetics.dissolution.rate_um_per_s, kinetics.dissolution)
    for k, law in enumerate((kinetics.primary, kinetics.heterogeneous, kinetics.secondary)):
        if law is not None:
            at = NUCLEATION + 7 * k
            p[at : at + 5] = _law(law.rate_per_kg_s, law)
            p[at + 5 : at + 7] = (law.barrier, law.solids_order)
    if kinetics.agglomeration is not None:
        p[AGGLOMERATION : AGGLOMERATION + 2] = (kinetics.agglomeration.rate_kg_per_s, kinetics.agglomeration.order)
    if kinetics.breakage is not None:
        p[BREAKAGE : BREAKAGE + 2] = (kinetics.breakage.attrition_per_s, kinetics.breakage.bridges_per_s)
    if kinetics.amorphous is not None:
        a = kinetics.amorphous
        reference = 0.0 if a.reference_c is None else 1 / (a.reference_c + _KELVIN)
        p[AMORPHOUS : AMORPHOUS + 6] = (
            a.solubility_ratio,
            a.precipitation_per_s,
            a.dissolution_per_s,
            a.conversion_per_s,
            a.activation_j_per_mol / GAS_CONSTANT,
            reference,
        )
    return p


def _law(rate: float, law: Law) -> tuple[float, ...]:
    reference = 0.0 if law.reference_c is None else 1 / (law.reference_c + _KELVIN)
    return (rate, law.order, float(law.drive == "absolute"), law.activation_j_per_mol / GAS_CONSTANT, reference)


@njit(cache=True, nogil=True)
def solubility(p: Array, degrees: float) -> float:
    """c* in g per kg at a temperature in deg C."""
    if p[FORM] > 0:
        return p[CURVE] * math.exp(p[CURVE + 1] * degrees)
    out = 0.0
    for k in range(4, -1, -1):
        out = out * degrees + p[CURVE + k]
    return out


@njit(cache=True, nogil=True)
def factors(p: Array, degrees: float, out: Array) -> None:
    """Rate constants at a temperature: growth, dissolution, three nucleations, conversion; `out` (6,)."""
    inverse = 1 / (degrees + 273.15)
    out[0] = p[GROWTH] * math.exp(-p[GROWTH + 3] * (inverse - p[GROWTH + 4]))
    if p[GROWTH + 7] > 0:
        out[0] *= (degrees + 273.15) ** p[GROWTH + 7]
    out[1] = p[DISSOLUTION] * math.exp(-p[DISSOLUTION + 3] * (inverse - p[DISSOLUTION + 4]))
    for k in range(3):
        at = NUCLEATION + 7 * k
        out[2 + k] = p[at] * math.exp(-p[at + 3] * (inverse - p[at + 4])) if p[at] > 0 else 0.0
    out[5] = p[AMORPHOUS + 3] * math.exp(-p[AMORPHOUS + 4] * (inverse - p[AMORPHOUS + 5]))


@njit(cache=True, nogil=True)
def growth(p: Array, k: Array, c: float, saturated: float, degrees: float) -> float:
    """Rate of a crystal's length in um/s before its size dependence: above 0 growth, below 0 dissolution."""
    s = c / saturated
    if s >= 1:
        x = s - 1 - p[GROWTH + 8]
        if x <= 0 or k[0] == 0:
            return 0.0
        if p[GROWTH + 2] > 0:
            x *= saturated
        out = k[0] * x ** p[GROWTH + 1]
        if p[GROWTH + 5] > 0:
            out *= math.log(s) ** p[GROWTH + 5]
        if p[GROWTH + 6] > 0:
            kelvin = degrees + 273.15
            out *= math.exp(-p[GROWTH + 6] / (kelvin * kelvin * math.log(s)))
        return out
    x = 1 - s
    if p[DISSOLUTION + 2] > 0:
        x *= saturated
    return -k[1] * x ** p[DISSOLUTION + 1]


@njit(cache=True, nogil=True)
def nucleation(p: Array, k: Array, c: float, saturated: float, solids: float) -> float:
    """Nuclei per kg and s; `solids` in g per kg."""
    s = c / saturated
    if s <= 1:
        return 0.0
    out = 0.0
    for i in range(3):
        if k[2 + i] == 0:
            continue
        at = NUCLEATION + 7 * i
        x = s - 1
        if p[at + 2] > 0:
            x *= saturated
        rate = k[2 + i] * x ** p[at + 1]
        if p[at + 5] > 0:
            rate *= math.exp(-p[at + 5] / math.log(s) ** 2)
        if p[at + 6] > 0:
            rate *= max(solids, 0.0) ** p[at + 6]
        out += rate
    return out
