"""A recipe of a thermocyclic batch and the quality attributes that a plant gives for it."""

from __future__ import annotations

from dataclasses import dataclass

from crystalscope.errors import InputError
from crystalscope.plant.batch import DEFAULT, Numerics, simulate
from crystalscope.plant.kinetics import Charge, Kinetics, Seeds
from crystalscope.plant.profile import TemperatureProfile
from crystalscope.plant.result import Quality

BOUNDS: dict[str, tuple[float, float]] = {
    "concentration_mg_per_g": (24.8, 55.2),
    "seed_loading": (0.05, 0.15),
    "temperature_c": (0.0, 70.0),
    "cooling_c_per_min": (0.05, 0.3),
    "heating_c_per_min": (0.5, 1.0),
}
"""Of the decision variables in Barhate et al., PSE Press (2025), Table 2."""


@dataclass(frozen=True)
class Recipe:
    """Inputs of a thermocyclic cooling crystallization, as in Barhate et al., PSE Press (2025), Fig. 2.

    Parameters
    ----------
    concentration_mg_per_g
        Dissolved at the start, mg per g of solvent (g per kg).
    seed_loading
        Mass of seeds over that of dissolved solute.
    temperatures_c
        T_1 … T_m; 2 k + 2 of them for k cycles.
    cooling_c_per_min, heating_c_per_min
        C_i and H_i, one for every segment that falls or rises.
    seed_median_um, seed_geometric_sd
        Of the seeds, log-normal by volume.
    """

    concentration_mg_per_g: float
    seed_loading: float
    temperatures_c: tuple[float, ...]
    cooling_c_per_min: tuple[float, ...]
    heating_c_per_min: tuple[float, ...] = ()
    seed_median_um: float = 10.0
    seed_geometric_sd: float = 1.5

    @property
    def profile(self) -> TemperatureProfile:
        """The temperature profile; raises InputError where rates and temperatures do not fit each other."""
        return TemperatureProfile.cycles(
            self.temperatures_c, cooling_c_per_min=self.cooling_c_per_min, heating_c_per_min=self.heating_c_per_min
        )

    @property
    def charge(self) -> Charge:
        """What is in the vessel at the start."""
        return Charge(
            concentration_g_per_kg=self.concentration_mg_per_g,
            seeds=Seeds(loading=self.seed_loading, median_um=self.seed_median_um, geometric_sd=self.seed_geometric_sd),
        )

    def check_bounds(self) -> None:
        """Raise InputError that names the first input outside `BOUNDS`."""
        for name, values in (
            ("concentration_mg_per_g", (self.concentration_mg_per_g,)),
            ("seed_loading", (self.seed_loading,)),
            ("temperature_c", self.temperatures_c),
            ("cooling_c_per_min", self.cooling_c_per_min),
            ("heating_c_per_min", self.heating_c_per_min),
        ):
            low, high = BOUNDS[name]
            for i, value in enumerate(values):
                if not low <= value <= high:
                    raise InputError(
                        f"expected {name} from {low:g} to {high:g}, got {value:g} (number {i + 1}); change the recipe"
                    )


def quality(kinetics: Kinetics, recipe: Recipe, *, numerics: Numerics = DEFAULT) -> Quality:
    """D50, degree of agglomeration and crystallinity at the end of a recipe.

    Raises
    ------
    InputError
        As `simulate` does. Attributes are NaN where no crystals are left.
    """
    return simulate(kinetics, recipe.charge, recipe.profile, numerics=numerics).quality
