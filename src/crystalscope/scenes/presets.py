"""Temporary names of earlier sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crystalscope.core import Scene
from crystalscope.scenes.recipe import preset, scenes_of

LOADINGS = {"low": 10.0, "mid": 30.0, "high": 70.0}


def beads(
    diameter_um: float,
    *,
    loading: str = "low",
    cv: float = 0.03,
    frames: int = 10,
    instrument: Any = None,
    rng: int = 0,
) -> Iterator[Scene]:
    count = LOADINGS[loading] * min(1.0, (150.0 / (diameter_um / 2)) ** 2)
    recipe = preset("beads").changed(
        populations={"beads": {"size": diameter_um, "spread": cv, "count": count, "ghosts": count / 2}}
    )
    return scenes_of(recipe, frames=frames, seed=rng)


def needles(
    length_um: float = 400.0,
    *,
    spread: float = 0.3,
    length_to_width: float = 12.0,
    count: float = 15.0,
    frames: int = 10,
    rng: int = 0,
) -> Iterator[Scene]:
    recipe = preset("needles").changed(
        populations={
            "needles": {
                "size": length_um,
                "spread": spread,
                "count": count,
                "length_to_width": length_to_width,
                "ghosts": count / 3,
            }
        }
    )
    return scenes_of(recipe, frames=frames, seed=rng)


def backlit_crystals(
    size_px: float = 40.0, *, spread: float = 0.5, count: float = 15.0, frames: int = 10, rng: int = 0
) -> Iterator[Scene]:
    recipe = preset("backlit-crystals").changed(
        populations={"small": {"size": size_px, "spread": spread, "count": count, "ghosts": 1.5 * count}}
    )
    return scenes_of(recipe, frames=frames, seed=rng)
