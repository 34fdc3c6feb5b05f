"""The system: which columns of a table are factors, thermal profile and quality attributes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from crystalscope.config import NonNegative, Positive, Table
from crystalscope.design.units import check_unit
from crystalscope.errors import ConfigError
from crystalscope.plant.kinetics import Solubility

Bounds = tuple[float, float]


def _ordered(bounds: Bounds | None) -> Bounds | None:
    if bounds is not None and not bounds[0] < bounds[1]:
        raise ValueError(f"bounds are reversed or equal: expected [low, high], got {list(bounds)}; swap them")
    return bounds


class Factor(Table):
    """An operating condition of one number."""

    column: str
    """Heading of the column."""
    bounds: Bounds
    """Lowest and highest value, in the unit of the column."""
    unit: str = ""
    role: Literal["concentration", "seed_loading"] | None = None
    """What the physics takes it for. Concentrations are in mg/g, g/kg, g/g or g/100 g of solvent, seed loadings in
    share or %."""

    _check = field_validator("bounds")(_ordered)

    @model_validator(mode="after")
    def _known(self) -> Factor:
        if self.role is not None:
            check_unit(self.role, self.unit)
        return self


class Profile(Table):
    """Columns of a thermocyclic profile: T_1, cooled to T_2, heated to T_3 … (Barhate et al., 2025, Fig. 2).

    The cycles that a row uses stand in a column of their own: 0 for linear cooling, 1 for cooled, heated, cooled, and
    so on; a half more where the batch ends with a heating (0.5: cooled and heated). What is beyond them is empty or 0.
    """

    cycles: str
    """Column of the number of cycles used."""
    temperatures: Annotated[tuple[str, ...], Field(min_length=2)]
    """Columns of T_1 … T_m."""
    cooling: Annotated[tuple[str, ...], Field(min_length=1)]
    """Columns of the cooling rates C_1 …, above 0."""
    heating: tuple[str, ...] = ()
    """Columns of the heating rates H_1 …, above 0."""
    temperature_bounds: Bounds = (0.0, 70.0)
    """In the unit of the columns, as the two below."""
    cooling_bounds: Bounds = (0.05, 0.3)
    heating_bounds: Bounds = (0.5, 1.0)
    temperature_unit: str = "C"
    """C, K or F."""
    rate_unit: str = "C/min"
    """C/min or C/h."""
    least_swing_c: Positive = 2.0
    """Proposed ramps are at least this long in deg C."""
    start_about_saturation_c: Bounds | None = None
    """Proposed batches start so far from the saturation temperature of their concentration; needs [solubility]."""
    heat_below_saturation_c: NonNegative | None = None
    """Proposed heatings end at least so far below the saturation temperature of the charge; needs [solubility]."""
    most_cycles: Annotated[float, Field(ge=0, le=20, multiple_of=0.5)] | None = None
    """Most cycles of proposed profiles; None: what the columns hold."""

    _check = field_validator("temperature_bounds", "cooling_bounds", "heating_bounds", "start_about_saturation_c")(
        _ordered
    )

    @model_validator(mode="after")
    def _fits(self) -> Profile:
        check_unit("temperature", self.temperature_unit)
        check_unit("rate", self.rate_unit)
        ramps = len(self.temperatures) - 1
        if len(self.cooling) < (ramps + 1) // 2 or len(self.heating) < ramps // 2:
            raise ValueError(
                f"{len(self.temperatures)} temperatures have {(ramps + 1) // 2} coolings and {ramps // 2} heatings, "
                f"got {len(self.cooling)} and {len(self.heating)} columns of rates; add the missing ones"
            )
        return self

    @property
    def most_segments(self) -> int:
        """Ramps that the columns hold."""
        return len(self.temperatures) - 1


class Attribute(Table):
    """A critical quality attribute."""

    column: str
    direction: Literal["max", "min"]
    """Whether it is wanted large or small."""
    sd: Positive
    """Standard deviation of a repeated measurement, in the unit of the column or relative."""
    relative_sd: bool = False
    """Whether `sd` is a share of the value."""
    objective: bool = True
    """Whether it is traded off in the Pareto front, or only predicted on it."""
    unit: str = ""
    scale: Literal["linear", "log"] = "linear"
    """log: errors are relative (sizes)."""
    bounds: Bounds | None = None
    """What is possible, such as [0, 1] for a share."""
    plant: Literal["d50_um", "doa", "crystallinity"] | None = None
    """Which output of [plant] it is; shares in the unit share or %."""

    _check = field_validator("bounds")(_ordered)

    @model_validator(mode="after")
    def _known(self) -> Attribute:
        if self.plant in ("doa", "crystallinity"):
            check_unit("share", self.unit or "share")
        if self.plant == "d50_um" and self.unit not in ("um", "µm"):
            raise ValueError(f"D50 of the plant is in um, got the unit {self.unit!r}; convert the column")
        return self


class PlantSettings(Table):
    """The population balance that the twin may use."""

    preset: str | None = None
    """Shipped kinetics to start from."""
    kinetics: str | None = None
    """TOML file of kinetics to start from, relative to the file of the system."""
    free: tuple[str, ...] = ()
    """Constants that are calibrated; none: all rates of the mechanisms that act, and the orders of secondary
    nucleation and agglomeration and the size order of breakage."""
    seed_median_um: Positive = 10.0
    seed_geometric_sd: Annotated[float, Field(gt=1, le=5)] = 1.5

    @model_validator(mode="after")
    def _one(self) -> PlantSettings:
        if (self.preset is None) == (self.kinetics is None):
            raise ValueError("give either preset or kinetics")
        return self


class System(Table):
    """A crystallization: its factors, profile, quality attributes, and what is known of its physics."""

    name: str = ""
    factors: tuple[Factor, ...] = ()
    profile: Profile | None = None
    attributes: Annotated[tuple[Attribute, ...], Field(min_length=1)]
    time_objective: bool = False
    """Whether the batch time is a further objective."""
    solubility: Solubility | None = None
    """As in the file of kinetics; without it features of supersaturation are left out."""
    plant: PlantSettings | None = None

    @model_validator(mode="after")
    def _whole(self) -> System:
        names = self.columns
        doubled = sorted({n for n in names if names.count(n) > 1})
        if doubled:
            raise ValueError(f"columns are used twice: {', '.join(doubled)}; every column has one meaning")
        if not self.factors and self.profile is None:
            raise ValueError("there is nothing to vary; give [[factors]] or [profile]")
        roles = [f.role for f in self.factors if f.role is not None]
        if len(set(roles)) < len(roles):
            raise ValueError(f"a role is given twice: {', '.join(roles)}")
        if not any(a.objective for a in self.attributes):
            raise ValueError("no attribute is an objective")
        if self.profile is None:
            if self.time_objective or self.plant is not None:
                raise ValueError("time_objective and [plant] need [profile]")
            return self
        about = self.profile.start_about_saturation_c is not None or self.profile.heat_below_saturation_c is not None
        if about and (self.solubility is None or self.concentration is None):
            raise ValueError("distances from saturation need [solubility] and a factor with the role concentration")
        if self.plant is not None and (self.concentration is None or self.role_index("seed_loading") is None):
            raise ValueError("[plant] needs factors with the roles concentration and seed_loading")
        return self

    @property
    def columns(self) -> list[str]:
        """All columns in the order of the system: factors, cycles, T, C, H, attributes."""
        out = [f.column for f in self.factors]
        if self.profile is not None:
            p = self.profile
            out += [p.cycles, *p.temperatures, *p.cooling, *p.heating]
        return out + [a.column for a in self.attributes]

    @property
    def input_columns(self) -> list[str]:
        """Columns that are set, without the attributes."""
        return self.columns[: -len(self.attributes)]

    @property
    def concentration(self) -> Factor | None:
        """The factor that is the concentration."""
        i = self.role_index("concentration")
        return None if i is None else self.factors[i]

    def role_index(self, role: str) -> int | None:
        """Number of the factor with a role."""
        return next((i for i, f in enumerate(self.factors) if f.role == role), None)

    @property
    def objectives(self) -> tuple[Attribute, ...]:
        """Attributes that are traded off."""
        return tuple(a for a in self.attributes if a.objective)


def parse_system(data: dict[str, Any], where: str) -> System:
    """A system from a nested mapping; raises ConfigError that names the settings at fault."""
    try:
        return System.model_validate(data)
    except ValidationError as e:
        faults = "; ".join(
            f"{'.'.join(str(p) for p in f['loc']) or 'system'}: {f['msg'].removeprefix('Value error, ')}"
            for f in e.errors()
        )
        raise ConfigError(f"expected a valid system in {where}; {faults}; see docs/reference/design.md") from e


def load_system(path: str | Path) -> System:
    """A system from a TOML file; a file of kinetics is then given by its whole path.

    Raises
    ------
    ConfigError
        Where the file is missing or no TOML, a key is unknown, or a value is outside its range.
    """
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"expected a TOML file, got {path}: {e.strerror}; check --system") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"expected TOML in {path}: {e}; correct the line") from e
    kinetics = data.get("plant", {}).get("kinetics") if isinstance(data.get("plant"), dict) else None
    if isinstance(kinetics, str):
        data["plant"]["kinetics"] = str(path.parent / kinetics)
    return parse_system(data, str(path))
