"""From kinetics, a charge and a temperature profile to a simulated batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from crystalscope.config import Positive, Table
from crystalscope.errors import InputError
from crystalscope.plant.grid import Grid, pair_tables
from crystalscope.plant.kinetics import Charge, Kinetics
from crystalscope.plant.profile import TemperatureProfile
from crystalscope.plant.result import PlantRun

Array = NDArray[np.float64]

_SPILL = 2e-3
"""Share of the volume that may stand in the last cell before the grid is taken to be too short."""


class Numerics(Table):
    """How finely the balance is solved; the defaults are the working grid."""

    cells: Annotated[int, Field(ge=10, le=4000)] = 160
    largest_um: Positive | None = None
    """End of the grid; None: found from the mass that can crystallize, and doubled until the crystals fit."""
    courant: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of the thinnest cell that growth may cross in a step."""
    tolerance: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Error of the concentration that a step may make, relative to its distance from saturation."""
    loss_step: Annotated[float, Field(gt=0, le=0.5)] = 0.02
    """Relative loss of number by agglomeration between two exchanges of growth and agglomeration."""
    longest_s: Positive = 300.0
    """Longest step in s."""


DEFAULT = Numerics()


def simulate(
    kinetics: Kinetics,
    charge: Charge,
    profile: TemperatureProfile,
    *,
    times_s: ArrayLike | None = None,
    numerics: Numerics = DEFAULT,
) -> PlantRun:
    """Solve the population balance of a batch.

    Parameters
    ----------
    kinetics, charge, profile
        The system, what is in the vessel at time 0, the temperature.
    times_s
        (k,) times in s at which the state is kept, from 0 to the end of the profile, increasing; None: 0 and the end.
    numerics
        Grid and steps.

    Raises
    ------
    InputError
        Where the profile leaves the temperatures for which the solubility holds, the times are not in the batch, there
        is nothing that could crystallize, crystals outgrow the grid, or a rate is beyond what can be resolved.

    Notes
    -----
    Growth and dissolution by finite volumes of second order with van Leer's limiter, agglomeration and breakage
    by fixed pivots between two half steps of growth (Strang), the solute by the implicit midpoint rule with its own
    balance. Numbers are never negative. See docs/explanations/plant.md.
    """
    _check_range(kinetics, profile)
    times = np.array([0.0, profile.duration_s]) if times_s is None else np.array(times_s, dtype=float)
    if times.ndim != 1 or not len(times) or times[0] < 0 or bool(np.any(np.diff(times) <= 0)):
        raise InputError("expected times_s in s, increasing from 0 or later; sort them and drop doubles")
    if times[-1] > profile.duration_s * (1 + 1e-9) + 1e-6:
        raise InputError(
            f"expected times within the profile of {profile.duration_s:g} s, got {times[-1]:g} s; lengthen the profile"
        )
    largest = numerics.largest_um or _estimate_largest(kinetics, charge, profile)
    for _ in range(8):
        grid = Grid.stretched(kinetics.nucleus_um, largest, numerics.cells)
        run, fullest = solve(kinetics, charge, profile, grid=grid, times_s=times, numerics=numerics)
        if fullest <= _SPILL:
            return run
        if numerics.largest_um is not None:
            raise InputError(
                f"expected crystals below largest_um = {largest:g}, got {fullest:.1%} of their volume in the last "
                "cell; raise numerics.largest_um or leave it out"
            )
        largest *= 2
    raise InputError(f"expected crystals that end somewhere, got some beyond {largest / 2:g} um; check the rates")


def solve(
    kinetics: Kinetics,
    charge: Charge,
    profile: TemperatureProfile,
    *,
    grid: Grid,
    times_s: Array,
    numerics: Numerics = DEFAULT,
) -> tuple[PlantRun, float]:
    """Solve on a given grid; see `simulate`.

    Returns
    -------
    The run, and the largest share of the volume that ever stood in the last cell.
    """
    from crystalscope.plant.laws import pack
    from crystalscope.plant.solver import DONE, NOT_FINITE, integrate

    primary, cluster = seed_numbers(kinetics, charge, grid)
    start = (charge.concentration_g_per_kg, charge.amorphous_g_per_kg)
    seeds = float(kinetics.mass_per_um3_g * ((primary + cluster) @ grid.mean_power(3)))
    if sum(start) + seeds <= 0:
        raise InputError(
            "expected solute, seeds or amorphous solid in the charge, got none; set concentration_g_per_kg"
        )
    factor = np.ones(grid.n + 1)
    if kinetics.growth is not None and kinetics.growth.size_factor_per_um > 0:
        factor = (1 + kinetics.growth.size_factor_per_um * grid.faces) ** kinetics.growth.size_order
    # Copies: the compiled functions are made for arrays that can be written.
    width, m2, m3 = grid.width.copy(), grid.mean_power(2).copy(), grid.mean_power(3).copy()
    m2g = m2 * 0.5 * (factor[1:] + factor[:-1])
    length = np.cbrt(m3)
    wear = (length / 100) ** (kinetics.breakage.size_order if kinetics.breakage is not None else 0.0)
    k = len(times_s)
    out = (np.zeros((k, grid.n)), np.zeros((k, grid.n)), np.zeros((k, 4)))
    status, steps, reached, fullest = integrate(
        pack(kinetics),
        (primary, cluster),
        start,
        (profile.time_s, profile.temperature_c, times_s),
        (width, m2, m2g, m3, factor, np.ones(grid.n + 1), _turned(kinetics, grid)),
        (*pair_tables(grid.faces.tobytes()), collision_kernel(kinetics, length), wear),
        (numerics.courant, numerics.tolerance, numerics.loss_step, numerics.longest_s),
        out,
    )
    if status != DONE:
        what = "a rate that is not finite" if status == NOT_FINITE else "ever shorter steps"
        raise InputError(
            f"expected a batch that can be resolved, got {what} at {reached:g} s; a rate constant or its unit "
            "is likely wrong"
        )
    run = PlantRun(
        kinetics, profile, grid, times_s, out[0], out[1], out[2][:, 0].copy(), out[2][:, 1].copy(), sum(start) + seeds,
        seeds, steps,
    )  # fmt: skip
    return run, float(fullest)


def collision_kernel(kinetics: Kinetics, length: Array) -> Array:
    """(n, n) collision kernel without its rate constant, for lengths in um; zeros without agglomeration."""
    if kinetics.agglomeration is None:
        return np.zeros((len(length), len(length)))
    a, b = length[:, None], length[None, :]
    shape = kinetics.agglomeration.kernel
    if shape == "constant":
        return np.ones((len(length), len(length)))
    return np.asarray((a**3 + b**3) / 1e6 if shape == "sum" else ((a + b) / 100) ** 3)


def seed_numbers(kinetics: Kinetics, charge: Charge, grid: Grid) -> tuple[Array, Array]:
    """Primaries and agglomerates of the seeds, number per kg in each cell; their mass is kept exactly."""
    if charge.seeds is None:
        return np.zeros(grid.n), np.zeros(grid.n)
    seeds = charge.seeds
    mass = seeds.loading * charge.concentration_g_per_kg
    if mass <= 0:
        raise InputError("expected dissolved solute for a seed loading relative to it, got concentration_g_per_kg = 0")
    cumulative = _lognormal_cdf(grid.faces, seeds.median_um, seeds.geometric_sd)
    inside = cumulative[-1] - cumulative[0]
    if inside < 0.99:
        raise InputError(
            f"expected seeds between {grid.faces[0]:g} and {grid.faces[-1]:g} um, got {1 - inside:.1%} of them "
            "outside; check median_um, geometric_sd and numerics.largest_um"
        )
    number = mass * np.diff(cumulative) / inside / (kinetics.mass_per_um3_g * grid.mean_power(3))
    return number * (1 - seeds.agglomerated), number * seeds.agglomerated


def _turned(kinetics: Kinetics, grid: Grid) -> Array:
    """Crystals in each cell per g of amorphous solid that converts."""
    if kinetics.amorphous is None:
        return np.zeros(grid.n)
    cumulative = _lognormal_cdf(grid.faces, kinetics.amorphous.particle_um, kinetics.amorphous.particle_geometric_sd)
    inside = cumulative[-1] - cumulative[0]
    if inside < 0.9:
        raise InputError(
            f"expected amorphous particles between {grid.faces[0]:g} and {grid.faces[-1]:g} um, got "
            f"{1 - inside:.1%} of "
            "them outside; check amorphous.particle_um and nucleus_um"
        )
    return np.asarray(np.diff(cumulative) / inside / (kinetics.mass_per_um3_g * grid.mean_power(3)))


def _lognormal_cdf(length: Array, median: float, geometric_sd: float) -> Array:
    from scipy.special import ndtr

    with np.errstate(divide="ignore"):
        return np.asarray(ndtr(np.log(length / median) / math.log(geometric_sd)))


def _check_range(kinetics: Kinetics, profile: TemperatureProfile) -> None:
    low, high = kinetics.solubility.lowest_c, kinetics.solubility.highest_c
    coldest, hottest = float(profile.temperature_c.min()), float(profile.temperature_c.max())
    if coldest < low - 1e-6 or hottest > high + 1e-6:
        raise InputError(
            f"expected temperatures from {low:g} to {high:g} deg C, where the solubility of {kinetics.name} holds, got "
            f"{coldest:g} to {hottest:g}; change the profile or the solubility"
        )


def _estimate_largest(kinetics: Kinetics, charge: Charge, profile: TemperatureProfile) -> float:
    """End of the grid: seeds with all that can crystallize on them, and room for agglomerates."""
    if charge.seeds is None:
        return 600.0
    left = float(kinetics.solubility.at(profile.temperature_c.min()))
    seeds = charge.seeds.loading * charge.concentration_g_per_kg
    gain = (1 + max(charge.concentration_g_per_kg - left, 0.0) / seeds) ** (1 / 3)
    clusters = 3.0 if kinetics.agglomeration is not None else 1.0
    needed = charge.seeds.median_um * charge.seeds.geometric_sd**3 * gain * clusters
    # Few different grids, so that recipes near each other share one and its tables.
    return float(1.25 ** math.ceil(math.log(needed) / math.log(1.25)))


def times_of(profile: TemperatureProfile, count: int = 200) -> Array:
    """`count` even times of a profile and its corners, s."""
    corners: Sequence[float] = profile.time_s.tolist()
    return np.unique(np.concatenate([np.linspace(0, profile.duration_s, count), corners]))
