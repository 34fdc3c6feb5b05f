"""A system and tables of a made-up truth that costs nothing to evaluate."""

from __future__ import annotations

import numpy as np

from crystalscope.design.conditions import Conditions
from crystalscope.design.plans import make_plan
from crystalscope.design.system import System
from crystalscope.design.table import DoETable

SYSTEM = {
    "factors": [
        {"column": "c", "unit": "mg/g", "bounds": [24.8, 55.2], "role": "concentration"},
        {"column": "seeds", "unit": "share", "bounds": [0.05, 0.15], "role": "seed_loading"},
    ],
    "profile": {
        "cycles": "cycles",
        "temperatures": ["T1", "T2", "T3", "T4", "T5", "T6"],
        "cooling": ["C1", "C2", "C3"],
        "heating": ["H1", "H2"],
    },
    "attributes": [
        {"column": "D50", "unit": "um", "direction": "max", "sd": 0.5, "scale": "log"},
        {"column": "DoA", "unit": "share", "direction": "min", "sd": 0.02, "bounds": [0, 1]},
    ],
    "solubility": {"form": "exponential", "coefficients": [7.0, 0.0362], "lowest_c": -5, "highest_c": 75},
}


def truth(x: Conditions) -> np.ndarray:
    """(n, 2) D50 in um and DoA of conditions: smooth, with a trade-off."""
    c, seeds = (x.factors[:, 0] - 40) / 15, (x.factors[:, 1] - 0.1) / 0.05
    d50 = 20 * np.exp(0.25 * c - 0.2 * seeds + 0.1 * x.cycles)
    doa = 0.4 + 0.15 * c - 0.08 * x.cycles + 0.5 * (x.cooling[:, 0] - 0.15)
    return np.column_stack([d50, np.clip(doa, 0.02, 0.98)])


def made(system: System, n: int = 31, *, seed: int = 0) -> DoETable:
    """A measured table."""
    rng = np.random.default_rng(seed)
    x = make_plan(system, n, rng=rng)
    y = truth(x)
    noise = rng.normal(size=y.shape)
    values = np.column_stack([y[:, 0] * np.exp(0.02 * noise[:, 0]), np.clip(y[:, 1] + 0.01 * noise[:, 1], 0, 1)])
    return DoETable(system, x, values)
