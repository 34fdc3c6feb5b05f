"""The solver against closed forms, against moment equations, against itself on a fine grid, and against the clock.

    python -m bench.plant.solver

Each line: what, the number reached, the number asked. Times are the best of many repeats on one core.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad, solve_ivp
from scipy.special import i1e, ndtr

from crystalscope.plant.batch import Numerics, simulate, times_of
from crystalscope.plant.grid import Grid, pair_tables
from crystalscope.plant.kernels import agglomerate, move
from crystalscope.plant.kinetics import Charge, Kinetics, Seeds, preset
from crystalscope.plant.profile import TemperatureProfile
from crystalscope.plant.result import PlantRun

Array = NDArray[np.float64]


def constant_growth(cells: int, *, seeds: str = "block", courant: float = 0.9, limiter: bool = True) -> float:
    """L1 error over the total of seeds grown by 400 um on [0, 1000] um.

    ``block``: 100 um wide, with the steepest fronts there are; ``normal``: a standard deviation of 20 um. The solver
    steps at a Courant number of 0.9; the error of both grows as the steps get smaller.
    """
    grid = Grid.even(0, 1000, cells)

    def shape(middle: float) -> Array:
        if seeds == "normal":
            return np.diff(ndtr((grid.faces - middle) / 20))
        inside = np.minimum(grid.faces[1:], middle + 50) - np.maximum(grid.faces[:-1], middle - 50)
        return np.maximum(inside, 0) / 100

    number, room = shape(150.0), np.zeros(grid.n)
    ones = np.ones(grid.n + 1)
    width = float(grid.width.min())
    count = math.ceil(400 / (courant * width) - 1e-9)
    step = 400 / count
    for _ in range(count):
        if limiter:
            move(number, grid.width, ones, step, room)
        else:
            passed = step / width * number
            number = number - passed
            number[1:] += passed[:-1]
    assert number.min() >= 0
    return float(np.abs(number - shape(550.0)).sum())


def _pivots(cells: int, largest: float) -> tuple[Grid, Array, Array]:
    """Geometric grid, pivot volumes, and the limits of volume that each pivot stands for."""
    grid = Grid(np.geomspace(0.05, largest, cells + 1))
    return grid, grid.mean_power(3), grid.faces**3


def agglomeration(kernel: str, cells: int = 480, *, extent: float | None = None) -> tuple[float, float]:
    """L1 error of the number over the total, and relative error of the second moment of the volume.

    From n0 = exp(-v) until a fifth of the number is left: the constant kernel up to tau = 8, the sum kernel to T = 0.8.
    """
    grid, v, limits = _pivots(cells, 25.0)
    start = np.exp(-limits[:-1]) - np.exp(-limits[1:])
    primary, cluster = start.copy(), np.zeros(cells)
    if kernel == "constant":
        end = 8.0 if extent is None else extent
        table = np.ones((cells, cells))
        exact = 2 / (2 + end) * (np.exp(-2 * limits[:-1] / (2 + end)) - np.exp(-2 * limits[1:] / (2 + end)))
        second = 2 + end
    else:
        last = 0.8 if extent is None else extent
        end = -math.log(1 - last)
        table = v[:, None] + v[None, :]
        exact = np.array([quad(_golovin, a, b, args=(last,))[0] for a, b in itertools.pairwise(limits)])
        second = 2 * math.exp(2 * end)
    work = np.empty((9, cells))
    tables = pair_tables(grid.faces.tobytes())
    steps = 400
    for _ in range(steps):
        agglomerate(primary, cluster, (table, np.zeros(cells), v), 1.0, tables, end / steps, work)
    number = primary + cluster
    return float(np.abs(number - exact).sum() / exact.sum()), float(abs((number * v**2).sum() / second - 1))


def _golovin(v: float, t: float) -> float:
    """Density over volume for the sum kernel from exp(-v); the Bessel function scaled, so that nothing overflows."""
    if t == 0:
        return math.exp(-v)
    z = 2 * v * math.sqrt(t)
    return (1 - t) * math.exp(-v * (1 + t) + z) * float(i1e(z)) / (v * math.sqrt(t)) if v > 0 else 1 - t


def breakage(cells: int = 320, *, extent: float = 8.0) -> float:
    """L1 error of the number of random binary breakage at a rate equal to the volume, n = (1 + t)² exp(-v (1 + t))."""
    grid, v, limits = _pivots(cells, 6.0)
    primary, cluster = np.zeros(cells), np.exp(-limits[:-1]) - np.exp(-limits[1:])
    work = np.empty((9, cells))
    tables = pair_tables(grid.faces.tobytes())
    for _ in range(400):
        agglomerate(primary, cluster, (np.zeros((cells, cells)), v, v), 0.0, tables, extent / 400, work)
        # Without primaries every fragment is an agglomerate still
        assert primary.sum() == 0
    exact = (1 + extent) * (np.exp(-limits[:-1] * (1 + extent)) - np.exp(-limits[1:] * (1 + extent)))
    return float(np.abs(cluster - exact).sum() / exact.sum())


PARACETAMOL_CHARGE = Charge(concentration_g_per_kg=271.0, seeds=Seeds(loading=0.05, median_um=60.0))
PARACETAMOL_PROFILE = TemperatureProfile.linear(40.0, 10.0, rate_c_per_min=0.05, hold_min=120.0)


def moments_against_ode(cells: int) -> tuple[float, ...]:
    """Relative errors of the moments 0 to 3 and of the concentration at the end of a seeded cooling batch."""
    kinetics = preset("paracetamol-ethanol")
    run = simulate(kinetics, PARACETAMOL_CHARGE, PARACETAMOL_PROFILE, numerics=Numerics(cells=cells))
    exact = moment_ode(kinetics, run)
    got = [float(run.moment(k)[-1]) for k in range(4)] + [float(run.concentration_g_per_kg[-1])]
    return tuple(abs(a / b - 1) for a, b in zip(got, exact, strict=True))


def moment_ode(kinetics: Kinetics, run: PlantRun) -> Array:
    """Moments 0 to 3 and concentration at the end by the moment equations, independent of the solver's rates."""
    g, b = kinetics.growth, kinetics.primary
    assert g is not None
    assert b is not None
    nucleus, mass = kinetics.nucleus_um, kinetics.mass_per_um3_g

    def rates(t: float, y: Array) -> list[float]:
        degrees = float(run.profile.at(t))
        excess = max(y[4] - float(kinetics.solubility.at(degrees)), 0.0)
        growth = (
            g.rate_um_per_s * math.exp(-g.activation_j_per_mol / 8.314462618 / (degrees + 273.15)) * excess**g.order
        )
        born = b.rate_per_kg_s * excess**b.order
        out = [born] + [k * growth * y[k - 1] + born * nucleus**k for k in (1, 2, 3)]
        return [*out, -mass * out[3]]

    start = [float(run.moment(k)[0]) for k in range(4)] + [float(run.concentration_g_per_kg[0])]
    y = np.array(start)
    for begin, end in itertools.pairwise(run.profile.time_s):
        y = solve_ivp(rates, (begin, end), y, method="LSODA", rtol=1e-9, atol=1e-12 * np.abs(y) + 1e-12).y[:, -1]
    return y


def everything() -> tuple[Kinetics, Charge, TemperatureProfile]:
    """A 12-hour profile with three cycles, and every mechanism at work."""
    kinetics = preset("paracetamol-ethanol").changed(
        secondary={"rate_per_kg_s": 50.0, "order": 1.5, "solids_order": 1.0},
        agglomeration={"rate_kg_per_s": 5e-13, "order": 1.0, "kernel": "shear"},
        breakage={"attrition_per_s": 1e-6, "bridges_per_s": 1e-3},
        amorphous={
            "solubility_ratio": 1.05,
            "precipitation_per_s": 1e-4,
            "dissolution_per_s": 1e-3,
            "conversion_per_s": 1e-5,
            "particle_um": 8.0,
        },
    )
    ramps = TemperatureProfile.cycles(
        (40, 20, 33, 18, 32, 15, 30, 5),
        cooling_c_per_min=(0.1, 0.15, 0.2, 0.3),
        heating_c_per_min=(0.5, 0.7, 1.0),
        hold_min=0.0,
    )
    rest = 12 * 3600 - ramps.duration_s
    time_s = np.append(ramps.time_s, ramps.duration_s + rest)
    return (
        kinetics,
        PARACETAMOL_CHARGE,
        TemperatureProfile(time_s, np.append(ramps.temperature_c, ramps.temperature_c[-1])),
    )


def best_time(repeats: int = 40) -> float:
    """Shortest wall time in s of the 12-hour profile on the working grid, end state only."""
    kinetics, charge, profile = everything()
    simulate(kinetics, charge, profile)
    best = math.inf
    for _ in range(repeats):
        begin = time.perf_counter()
        simulate(kinetics, charge, profile)
        best = min(best, time.perf_counter() - begin)
    return best


def lines() -> Iterator[tuple[str, str, str]]:
    """What, reached, asked."""
    for seeds, courant, asked in (
        ("block", 0.9, "0.04"),
        ("block", 0.5, ""),
        ("normal", 0.9, "0.04"),
        ("normal", 0.5, "0.04"),
    ):
        what = f"constant growth, 800 cells, {seeds}, Courant {courant:g}, L1"
        yield what, f"{constant_growth(800, seeds=seeds, courant=courant):.4f}", asked
        plain = constant_growth(800, seeds=seeds, courant=courant, limiter=False)
        yield "  the same by upwind", f"{plain:.3f}", ""
    for kernel in ("constant", "sum"):
        l1, second = agglomeration(kernel)
        yield f"{kernel} kernel, 480 cells, L1", f"{l1:.4f}", "0.005"
        yield f"{kernel} kernel, 480 cells, second moment", f"{second:.4f}", "0.01"
    yield "random breakage, 320 cells, L1", f"{breakage():.4f}", ""
    for cells in (160, 400):
        errors = moments_against_ode(cells)
        asked = "0.001" if cells == 400 else ""
        yield f"moments 0-3 and c against their ODE, {cells} cells, largest", f"{max(errors):.5f}", asked
    kinetics, charge, profile = everything()
    # The mass is checked all along the batch.
    times = times_of(profile, 100)
    working = simulate(kinetics, charge, profile, times_s=times)
    largest = float(working.grid.faces[-1])
    fine = simulate(kinetics, charge, profile, times_s=times, numerics=Numerics(cells=400, largest_um=largest))
    yield "third moment against the solute, working grid", f"{np.abs(working.mass_error).max():.5f}", "0.001"
    yield "third moment against the solute, 400 cells", f"{np.abs(fine.mass_error).max():.5f}", "0.001"
    yield "D50, working grid to 400 cells", f"{abs(working.quality.d50_um / fine.quality.d50_um - 1):.4f}", "0.01"
    yield "DoA, working grid to 400 cells", f"{abs(working.quality.doa - fine.quality.doa):.4f}", "0.01"
    yield "12-hour profile, working grid, ms", f"{1e3 * best_time():.1f}", "20"


if __name__ == "__main__":
    for what, reached, asked in lines():
        print(f"{what:60} {reached:>10} {asked:>8}")
