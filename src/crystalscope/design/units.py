"""Units of a table of experiments, and the one unit that each kind is computed in."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystalscope.errors import ConfigError

Array = NDArray[np.float64]
Kind = Literal["temperature", "rate", "concentration", "seed_loading", "share"]

_UNITS: dict[Kind, dict[str, tuple[float, float]]] = {
    # computed = scale * (given - offset)
    "temperature": {"C": (1.0, 0.0), "K": (1.0, 273.15), "F": (5 / 9, 32.0)},
    "rate": {"C/min": (1.0, 0.0), "K/min": (1.0, 0.0), "C/h": (1 / 60, 0.0), "K/h": (1 / 60, 0.0)},
    "concentration": {"mg/g": (1.0, 0.0), "g/kg": (1.0, 0.0), "g/g": (1000.0, 0.0), "g/100 g": (10.0, 0.0)},
    "seed_loading": {"share": (1.0, 0.0), "g/g": (1.0, 0.0), "%": (0.01, 0.0)},
    "share": {"share": (1.0, 0.0), "%": (0.01, 0.0)},
}
_SIGNS = str.maketrans({"°": "", "º": "", " ": "", "µ": "u", "μ": "u"})


def units_of(kind: Kind) -> tuple[str, ...]:
    """Units of a kind; the first is the one that is computed in: deg C, deg C/min, mg/g, shares."""
    return tuple(_UNITS[kind])


def check_unit(kind: Kind, unit: str) -> None:
    """Raise ConfigError where a unit is none of its kind."""
    if unit not in _UNITS[kind]:
        raise ConfigError(
            f"expected a unit of {kind} ({', '.join(units_of(kind))}), got {unit!r}; correct it in the system"
        )


def to_computed(kind: Kind, unit: str, values: ArrayLike) -> Array:
    """Values of a table in the unit that is computed in."""
    scale, offset = _UNITS[kind][unit]
    return np.asarray(scale * (np.asarray(values, dtype=float) - offset))


def to_given(kind: Kind, unit: str, values: ArrayLike) -> Array:
    """The way back of `to_computed`."""
    scale, offset = _UNITS[kind][unit]
    return np.asarray(np.asarray(values, dtype=float) / scale + offset)


def heading_unit(heading: str) -> str | None:
    """The unit in brackets at the end of a heading, as in ``T1 [K]``; None where there is none."""
    found = re.search(r"[\[(]([^\])]+)[\])]\s*$", heading)
    return found[1].strip() if found else None


def same_unit(a: str, b: str) -> bool:
    """Whether two spellings mean one unit: ``°C`` and ``C``, ``K/min`` and ``C/min`` for a rate."""
    plain = [re.sub(r"^deg", "", u.translate(_SIGNS)).lower() for u in (a, b)]
    if all("/" in p for p in plain):
        plain = [re.sub(r"^k/", "c/", p) for p in plain]
    alike = {"mg/g": "g/kg", "-": "share", "1": "share", "micron": "um", "microns": "um"}
    return alike.get(plain[0], plain[0]) == alike.get(plain[1], plain[1])
