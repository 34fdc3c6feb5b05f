"""Families of plants for simulated campaigns: kinetics drawn about three mechanisms, and noisy measurements.

    python -m bench.design.plants

prints the spread of the quality attributes over random recipes, the time of a call and the largest error of the mass
balance. A twin may know the structure of `agglomerating`; `breeding` and `impure` have mechanisms that it lacks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from crystalscope.plant.batch import simulate
from crystalscope.plant.kinetics import Kinetics, preset
from crystalscope.plant.recipe import BOUNDS, Recipe, quality
from crystalscope.plant.result import Quality

NOISE_D50, NOISE_DOA, NOISE_CRYSTALLINITY = 0.03, 0.02, 0.015
"""Standard deviations of a measurement: D50 relative, DoA and crystallinity as shares."""

# What the members of each family do differently from the preset; ranges are factors, drawn evenly on a log scale.
_COMMON = {
    "growth.rate_um_per_s": 1.6,
    "dissolution.rate_um_per_s": 1.6,
    "secondary.rate_per_kg_s": 2.5,
    "agglomeration.rate_kg_per_s": 2.0,
    "breakage.bridges_per_s": 2.0,
    "amorphous.precipitation_per_s": 1.6,
    "amorphous.conversion_per_s": 2.0,
}
FAMILIES: dict[str, dict[str, object]] = {
    # The structure that a twin's own plant may have.
    "agglomerating": {},
    # Collisions of fines, wear of agglomerates by the stirrer, and growth that rises with length.
    "breeding": {
        "agglomeration": {"rate_kg_per_s": 4e-14, "order": 0.5, "kernel": "constant"},
        "breakage.attrition_per_s": 1e-3,
        "breakage.size_order": 1.0,
        "growth.size_factor_per_um": 0.05,
        "secondary.rate_per_kg_s": 1e6,
        "secondary.order": 1.4,
    },
    # An impurity stops growth near saturation; the amorphous solid forms early and converts in the solid when warm.
    "impure": {
        "growth.dead_zone": 0.08,
        "growth.rate_um_per_s": 0.012,
        "amorphous.solubility_ratio": 1.15,
        "amorphous.dissolution_per_s": 2e-4,
        "amorphous.conversion_per_s": 3e-5,
        "amorphous.activation_j_per_mol": 90000.0,
    },
}


@dataclass(frozen=True)
class Plant:
    """A member of a family: the truth of a campaign."""

    family: str
    kinetics: Kinetics

    def quality(self, recipe: Recipe) -> Quality:
        """True attributes."""
        return quality(self.kinetics, recipe)

    def measure(self, recipe: Recipe, *, rng: np.random.Generator) -> Quality:
        """Attributes as an instrument gives them; shares stay between 0 and 1."""
        true = self.quality(recipe)
        d50, doa, crystallinity = rng.normal(size=3)
        return Quality(
            true.d50_um * float(np.exp(NOISE_D50 * d50)),
            float(np.clip(true.doa + NOISE_DOA * doa, 0, 1)),
            float(np.clip(true.crystallinity + NOISE_CRYSTALLINITY * crystallinity, 0, 1)),
        )


def draw_plant(family: str, *, rng: np.random.Generator) -> Plant:
    """A member of a family by its name in `FAMILIES`."""
    kinetics = preset("thermocycled-api").changed(**FAMILIES[family])
    constants = kinetics.constants()
    drawn = {n: constants[n] * float(np.exp(rng.uniform(-1, 1) * np.log(f))) for n, f in _COMMON.items()}
    return Plant(family, kinetics.changed(**drawn))


def draw_recipe(cycles: int, *, rng: np.random.Generator) -> Recipe:
    """A random feasible recipe within the published bounds, started near saturation and cooled first."""
    concentration = float(rng.uniform(*BOUNDS["concentration_mg_per_g"]))
    solubility = preset("thermocycled-api").solubility.coefficients
    saturated = float(np.log(concentration / solubility[0]) / solubility[1])
    corners = [min(saturated + float(rng.uniform(-2, 5)), BOUNDS["temperature_c"][1])]
    for k in range(cycles + 1):
        low = 0.0 if k == cycles else 5.0
        corners.append(float(rng.uniform(low, max(low + 1, corners[-1] - 10))))
        if k < cycles:
            corners.append(float(rng.uniform(corners[-1] + 3, max(corners[-1] + 4, saturated - 2))))
    return Recipe(
        concentration,
        float(rng.uniform(*BOUNDS["seed_loading"])),
        tuple(corners),
        tuple(rng.uniform(*BOUNDS["cooling_c_per_min"], size=cycles + 1).tolist()),
        tuple(rng.uniform(*BOUNDS["heating_c_per_min"], size=cycles).tolist()),
    )


def main() -> None:
    """Spread of the attributes by family and number of cycles, the time of a call, the largest error of the mass."""
    rng = np.random.default_rng(0)
    print(
        "| family | cycles | D50, um | DoA | crystallinity | ms a call | mass error, % |\n|---|---|---|---|---|---|---|"
    )
    for family in FAMILIES:
        plants = [draw_plant(family, rng=rng) for _ in range(4)]
        for cycles in (0, 1, 2, 4):
            recipes = [draw_recipe(cycles, rng=rng) for _ in range(40)]
            plants[0].quality(recipes[0])
            begin = time.perf_counter()
            runs = [simulate(plants[i % 4].kinetics, recipe.charge, recipe.profile) for i, recipe in enumerate(recipes)]
            spent = 1e3 * (time.perf_counter() - begin) / len(recipes)
            wrong = 100 * max(abs(float(r.mass_error[-1])) for r in runs)
            got = np.array([(q.d50_um, q.doa, q.crystallinity) for q in (r.quality for r in runs)])
            low, mid, high = np.nanpercentile(got, [10, 50, 90], axis=0)
            cells = " | ".join(f"{m:.3g} ({a:.3g} to {b:.3g})" for a, m, b in zip(low, mid, high, strict=True))
            print(f"| {family} | {cycles} | {cells} | {spent:.1f} | {wrong:.2f} |")


if __name__ == "__main__":
    main()
