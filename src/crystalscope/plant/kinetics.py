"""Kinetics of a system: frozen models; constructor = schema = TOML file.

Every rate is k exp(-E/R (1/T - 1/T_ref)) times a power of a driving force. Where `reference_c` is not given, 1/T_ref is
0 and k is the pre-exponential factor of the literature; a fit should use a reference inside its temperatures, else
k and E cannot be told apart. The driving force is relative, S - 1 with S = c/c*, or absolute, c - c* in g per kg (per
L where `basis` says so). All amounts are per kg of solvent (or per L of solution): numbers too.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, ValidationError, model_validator

from crystalscope.config import NonNegative, Positive, Share, Table
from crystalscope.errors import ConfigError

Array = NDArray[np.float64]
Drive = Literal["relative", "absolute"]


class Solubility(Table):
    """c* in g per kg of solvent (or per L of solution) against temperature in deg C."""

    form: Literal["polynomial", "exponential"]
    """polynomial: a0 + a1 T + a2 T² …; exponential: a0 exp(a1 T)."""
    coefficients: Annotated[tuple[float, ...], Field(min_length=1, max_length=5)]
    lowest_c: float
    """Lowest temperature for which the curve was measured; profiles below are refused."""
    highest_c: float
    """Highest temperature for which the curve was measured."""
    handbook: tuple[tuple[float, float, float], ...] = ()
    """Independent values the curve is checked against: (deg C, g per kg or L, relative tolerance)."""
    factor: Annotated[float, Field(ge=0.5, le=2)] = 1.0
    """Multiplies the curve, after the check: a solution or a probe whose saturation differs from the handbook's."""

    def at(self, temperature_c: ArrayLike) -> Array:
        """c* at temperatures in deg C."""
        t = np.asarray(temperature_c, dtype=float)
        a = self.coefficients
        if self.form == "exponential":
            return np.asarray(self.factor * a[0] * np.exp(a[1] * t))
        return np.asarray(self.factor * np.polynomial.polynomial.polyval(t, np.asarray(a)))

    @model_validator(mode="after")
    def _sensible(self) -> Solubility:
        if self.form == "exponential" and len(self.coefficients) != 2:
            raise ValueError(f"an exponential solubility has two coefficients, got {len(self.coefficients)}")
        if not self.lowest_c < self.highest_c:
            raise ValueError(f"lowest_c must be below highest_c, got {self.lowest_c:g} and {self.highest_c:g}")
        curve = self.at(np.linspace(self.lowest_c, self.highest_c, 50))
        if curve.min() <= 0:
            raise ValueError(f"the solubility must be above 0 in its range, got {curve.min():.3g}")
        if bool(np.any(np.diff(curve) <= 0)):
            raise ValueError("the solubility must rise with temperature: the plant crystallizes by cooling")
        for degrees, value, tolerance in self.handbook:
            got = float(self.at(degrees)) / self.factor
            if abs(got - value) > tolerance * value:
                raise ValueError(
                    f"the solubility at {degrees:g} deg C is {got:.4g}, the handbook says {value:g} within "
                    f"{tolerance:.0%}"
                )
        return self


class Law(Table):
    """What all rates share."""

    order: NonNegative = 1.0
    """Exponent of the driving force."""
    drive: Drive = "relative"
    """Driving force: S - 1, or c - c* in g per kg. One of: relative, absolute."""
    activation_j_per_mol: NonNegative = 0.0
    """Activation energy E."""
    reference_c: float | None = None
    """Temperature at which the rate constant is stated; None: pre-exponential factor."""


class Growth(Law):
    """G = k f(T) drive^order (1 + size_factor L)^size_order, and by birth and spread (ln S)^log_order
    T^temperature_order exp(-barrier/(T² ln S)) times that, with T in K.
    """

    rate_um_per_s: Positive
    """k: growth rate of the length in um/s at a driving force of 1."""
    size_factor_per_um: NonNegative = 0.0
    size_order: Annotated[float, Field(ge=-2, le=2)] = 1.0
    log_order: NonNegative = 0.0
    """Exponent of ln S, of the birth-and-spread law (1/6)."""
    barrier_k2: NonNegative = 0.0
    """Barrier of the birth-and-spread law in K²."""
    temperature_order: NonNegative = 0.0
    """Exponent of the temperature in K."""
    dead_zone: NonNegative = 0.0
    """Relative supersaturation below which impurities stop growth (Kubota, Mullin, J. Cryst. Growth 152 (1995) 203)."""


class Nucleation(Law):
    """B = k f(T) drive^order exp(-barrier/ln² S) M^solids_order, in number per kg and s; M = suspended g per kg."""

    rate_per_kg_s: Positive
    """k: nuclei per kg (or L) and s at a driving force of 1 and, for secondary nucleation, 1 g per kg of crystals."""
    barrier: NonNegative = 0.0
    """Thermodynamic barrier B of classical nucleation."""
    solids_order: NonNegative = 0.0
    """Exponent of the mass of suspended crystals; 0: primary."""


class Dissolution(Law):
    """D = k f(T) (1 - S)^order, or (c* - c)^order: the length shrinks at this rate below saturation."""

    rate_um_per_s: Positive


class Agglomeration(Table):
    """Collisions that are cemented: beta = k (S - 1)^order times a kernel of the two lengths; none below saturation."""

    rate_kg_per_s: Positive
    """k in kg (or L) per s and pair of crystals."""
    kernel: Literal["constant", "sum", "shear"] = "shear"
    """constant: 1; sum: (L1³ + L2³)/(100 um)³; shear: ((L1 + L2)/100 um)³."""
    order: NonNegative = 1.0
    """Exponent of S - 1: bridges are cemented by growth."""


class Breakage(Table):
    """Agglomerates break in two; rate = attrition (L/100 um)^size_order + bridges (1 - S) below saturation.

    The volume of the first fragment is uniform. A fragment no larger than the mean primary (by volume) is a primary,
    a larger one with the probability of their ratio.
    """

    attrition_per_s: NonNegative = 0.0
    size_order: NonNegative = 3.0
    bridges_per_s: NonNegative = 0.0
    """Bridges between crystals dissolve on heating: rate at full undersaturation."""


class Amorphous(Table):
    """An amorphous solid of higher solubility beside the crystals.

    It precipitates where c > ratio c* at precipitation_per_s (c - ratio c*), dissolves below at dissolution_per_s (1 -
    c/(ratio c*)) times its mass, and turns in the solid into crystals, log-normal by volume, at conversion_per_s f(T).
    """

    solubility_ratio: Annotated[float, Field(gt=1)]
    precipitation_per_s: NonNegative
    dissolution_per_s: NonNegative
    conversion_per_s: NonNegative = 0.0
    activation_j_per_mol: NonNegative = 0.0
    reference_c: float | None = None
    particle_um: Positive = 5.0
    """Median length by volume of the crystals that the solid turns into."""
    particle_geometric_sd: Annotated[float, Field(gt=1, le=5)] = 1.4


class Kinetics(Table):
    """A system of solute and solvent: solubility, crystal, mechanisms; a mechanism that is not given does not act."""

    name: str
    source: str
    """Where the constants are from, and what was chosen where none were found."""
    basis: Literal["kg of solvent", "L of solution"] = "kg of solvent"
    density_kg_per_m3: Annotated[float, Field(gt=300, lt=12000)]
    """Density of the crystal."""
    volume_shape: Annotated[float, Field(gt=0.001, lt=10)]
    """k_v: volume of a crystal over its length³."""
    nucleus_um: Positive = 1.0
    """Length at which nuclei appear; crystals that shrink below it are dissolved."""
    solubility: Solubility
    growth: Growth | None = None
    dissolution: Dissolution | None = None
    primary: Nucleation | None = None
    heterogeneous: Nucleation | None = None
    """A second primary law, such as nucleation on foreign surfaces."""
    secondary: Nucleation | None = None
    agglomeration: Agglomeration | None = None
    breakage: Breakage | None = None
    amorphous: Amorphous | None = None

    @model_validator(mode="after")
    def _sensible(self) -> Kinetics:
        if self.secondary is not None and not self.secondary.solids_order > 0:
            raise ValueError("secondary nucleation needs solids_order above 0; without it is primary")
        for name in ("primary", "heterogeneous"):
            law = getattr(self, name)
            if law is not None and law.solids_order != 0:
                raise ValueError(f"{name} nucleation does not depend on the crystals; leave out solids_order")
        return self

    @property
    def mass_per_um3_g(self) -> float:
        """Mass in g of a crystal of length 1 um."""
        return self.density_kg_per_m3 * 1e-15 * self.volume_shape

    def changed(self, **values: Any) -> Kinetics:
        """A copy with values by dotted name, such as ``**{"growth.order": 1.5}``; checked anew.

        Raises
        ------
        ConfigError
            Where the name does not exist or the value is outside its range.
        """
        data = self.model_dump()
        for name, value in values.items():
            *path, last = name.split(".")
            at: Any = data
            for part in path:
                at = at.get(part) if isinstance(at, dict) else None
            if not isinstance(at, dict) or last not in at:
                raise ConfigError(f"expected the name of a constant of {self.name}, got {name!r}; see `plant presets`")
            at[last] = value
        return parse_kinetics(data, self.name)

    def constants(self) -> dict[str, float]:
        """All numbers by dotted name, but for the curve of the solubility, of which there is its factor."""
        out = {"volume_shape": self.volume_shape, "solubility.factor": self.solubility.factor}
        for part, model in self:
            if isinstance(model, Table) and part != "solubility":
                out |= {f"{part}.{n}": float(v) for n, v in model if isinstance(v, float | int)}
        return out


class Seeds(Table):
    """Seed crystals, log-normal by volume."""

    loading: Annotated[float, Field(gt=0, le=5)]
    """Mass of seeds over the mass of dissolved solute."""
    median_um: Positive
    """Median length by volume."""
    geometric_sd: Annotated[float, Field(gt=1, le=5)] = 1.4
    agglomerated: Share = 0.0
    """Share of the seeds that are agglomerates already."""


class Charge(Table):
    """What is in the vessel at time 0."""

    concentration_g_per_kg: NonNegative
    """Dissolved solute, g per kg of solvent (or per L of solution)."""
    seeds: Seeds | None = None
    amorphous_g_per_kg: NonNegative = 0.0


def parse_kinetics(data: dict[str, Any], where: str) -> Kinetics:
    """Kinetics from a nested mapping; raises ConfigError that names the settings at fault."""
    return _parse(Kinetics, data, where)


def parse_charge(data: dict[str, Any], where: str) -> Charge:
    """A charge from a nested mapping; raises ConfigError that names the settings at fault."""
    return _parse(Charge, data, where)


def load_kinetics(path: str | Path) -> Kinetics:
    """Kinetics from a TOML file.

    Raises
    ------
    ConfigError
        Where the file is missing or no TOML, a key is unknown, or a value is outside its range.
    """
    return parse_kinetics(_toml(path), str(path))


def load_charge(path: str | Path) -> Charge:
    """A charge from a TOML file; raises ConfigError as `load_kinetics` does."""
    return parse_charge(_toml(path), str(path))


_Model = TypeVar("_Model", bound=Table)


def _parse(model: type[_Model], data: dict[str, Any], where: str) -> _Model:
    try:
        return model.model_validate(data)
    except ValidationError as e:
        faults = "; ".join(
            f"{'.'.join(str(p) for p in f['loc']) or 'settings'}: {f['msg']} (got {_short(f['input'])})"
            for f in e.errors()
        )
        raise ConfigError(
            f"expected a valid {model.__name__.lower()} in {where}; {faults}; see docs/reference/plant.md"
        ) from e


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "…"


def _toml(path: str | Path) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"expected a TOML file, got {path}: {e.strerror}; check the path") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"expected TOML in {path}: {e}") from e


def preset(name: str) -> Kinetics:
    """Shipped kinetics by name; raises ConfigError with the names where there is none."""
    path = Path(__file__).parent / "presets" / f"{name}.toml"
    if name not in preset_names():
        raise ConfigError(
            f"expected one of {', '.join(preset_names())}, got {name!r}; see `crystalscope plant presets`"
        )
    return load_kinetics(path)


def preset_names() -> tuple[str, ...]:
    """Names of the shipped kinetics."""
    return tuple(sorted(p.stem for p in (Path(__file__).parent / "presets").glob("*.toml")))
