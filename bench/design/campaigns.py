"""Simulated campaigns: tables of a plant with the published mix and gaps, test recipes, true fronts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.design.plants import Plant
from crystalscope.design.conditions import Conditions
from crystalscope.design.plans import PUBLISHED_MIX, make_plan
from crystalscope.design.space import Space
from crystalscope.design.system import System
from crystalscope.design.table import DoETable
from crystalscope.plant.recipe import Recipe

Array = NDArray[np.float64]

GAPS = (31, 21, 15)
"""Runs of 31 in which D50, DoA and crystallinity were measured."""


def recipe_of(conditions: Conditions, row: int) -> Recipe:
    """The recipe of a row of conditions of the example's system."""
    s = int(conditions.segments[row])
    return Recipe(
        float(conditions.factors[row, 0]),
        float(conditions.factors[row, 1]),
        tuple(conditions.temperature_c[row, : s + 1].tolist()),
        tuple(conditions.cooling[row, : (s + 1) // 2].tolist()),
        tuple(conditions.heating[row, : s // 2].tolist()),
    )


def run_plant(plant: Plant, conditions: Conditions, *, rng: np.random.Generator | None = None) -> Array:
    """(n, 3) D50 in um, DoA and crystallinity in %; measured with noise where there is a generator, else true."""
    out = np.empty((len(conditions), 3))
    for i in range(len(conditions)):
        recipe = recipe_of(conditions, i)
        q = plant.quality(recipe) if rng is None else plant.measure(recipe, rng=rng)
        out[i] = q.d50_um, 100 * q.doa, 100 * q.crystallinity
    return out


def simulated_table(
    plant: Plant, system: System, *, rng: np.random.Generator, gaps: tuple[int, int, int] | None = None
) -> DoETable:
    """31 measured runs with the published mix of profiles; with `gaps`, attributes are missing in the others."""
    conditions = make_plan(system, 31, rng=rng)
    values = run_plant(plant, conditions, rng=rng)
    if gaps is not None:
        for j, count in enumerate(gaps):
            values[rng.permutation(len(values))[count:], j] = np.nan
    return DoETable(system, conditions, values)


def random_conditions(system: System, count: int, *, rng: np.random.Generator) -> Conditions:
    """Random conditions of the kinds that a table has, as often: intervals hold for what is like the table."""
    parts = []
    for s in rng.choice(list(PUBLISHED_MIX), count, p=np.array(list(PUBLISHED_MIX.values())) / 31):
        space = Space(system, int(s))
        parts.append(space.decode(rng.random((1, space.size))))
    return Conditions.join(parts)
