"""Recipes: instrument, window and sample of a set of pictures, as presets by name or from TOML."""

from __future__ import annotations

import os
import tomllib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from crystalscope.config import Positive, Share, Table
from crystalscope.core import Scene
from crystalscope.errors import ConfigError
from crystalscope.scenes.batch import Batch, State
from crystalscope.scenes.optics import Instrument
from crystalscope.scenes.render import Placed, render
from crystalscope.scenes.sample import Between, Maker, Population, place, value
from crystalscope.scenes.window import Window

Draw = float | int | str | bool | list[Any] | dict[str, Any] | None
"""A value; [low, high] drawn evenly; {log = [low, high]} evenly in the logarithm; {choice = [a, b, …]}."""

_FOLDER = "recipes"
_RARE = ("fibre", "hair", "dust", "scratch", "smear", "dendrite")
"""Bodies of which there is no crowd."""


class Recipe(Table):
    """A set of pictures: what is before the instrument and what the instrument is.

    Settings of instrument and window may be a value, ``[low, high]`` (drawn evenly), ``{log = [low, high]}`` or
    ``{choice = [a, b]}``.
    """

    title: str = ""
    description: str = ""
    vary: Literal["set", "frame"] = "set"
    """Whether instrument and window are drawn once for the set or anew for every picture."""
    layout: Literal["slabs", "volume"] = "slabs"
    """``volume``: bodies evenly in depth, the population is seen through the depth of field. ``slabs``: bodies close
    to the focal plane, and ghosts far from it."""
    depth_px: Positive = 900.0
    """Half of the depth of the volume."""
    crowd: Share = 0.0
    """Probability of a picture so dense that outlines cover about half of it and more."""
    crowding: Between = (0.5, 1.5)
    """Sum of the outlines of a dense picture over its field."""
    crowd_most: Positive = 3000.0
    """Most bodies of a population, expected, that a dense picture is filled with."""
    empty: Share = 0.0
    """Probability of a picture without anything in focus: ghosts, dust and noise only."""
    instrument: dict[str, Draw] = Field(default_factory=dict)
    window: dict[str, Draw] = Field(default_factory=dict)
    populations: dict[str, Population] = Field(default_factory=dict)
    mix: tuple[str, ...] = ()
    """Names of presets, one of which is drawn for every picture instead."""
    batch: Batch | None = None
    """A batch in time instead of independent pictures."""

    @model_validator(mode="after")
    def _drawable(self) -> Recipe:
        for low in (0.0, 1.0):
            corner = _Corner(low)
            Instrument(**_drawn(self.instrument, corner))
            Window(**_drawn(self.window, corner))
        if not self.populations and not self.mix and not self.empty:
            raise ValueError("expected populations or a mix of presets, got neither")
        return self

    def changed(
        self,
        *,
        instrument: Mapping[str, Draw] | None = None,
        window: Mapping[str, Draw] | None = None,
        populations: Mapping[str, Mapping[str, Any]] | None = None,
        **settings: Any,
    ) -> Recipe:
        """A recipe with other settings; those of populations by name."""
        data = self.model_dump(exclude_none=True)
        data["instrument"] |= dict(instrument or {})
        data["window"] |= dict(window or {})
        for name, change in (populations or {}).items():
            data["populations"][name] = data["populations"].get(name, {}) | dict(change)
        return _checked(data | settings, "the recipe")


class _Corner:
    """Stands for a generator that draws the ends of ranges, to check a recipe before it is used."""

    def __init__(self, share: float) -> None:
        self.share = share

    def uniform(self, low: float, high: float) -> float:
        return low + self.share * (high - low)

    def integers(self, n: int) -> int:
        return round(self.share * (n - 1))


def _drawn(settings: Mapping[str, Draw], rng: Any) -> dict[str, Any]:
    """Values from ranges and choices."""
    out: dict[str, Any] = {}
    for key, given in settings.items():
        if isinstance(given, dict):
            if set(given) == {"choice"}:
                options = given["choice"]
                out[key] = options[int(rng.integers(len(options)))]
            elif set(given) == {"log"} and len(given["log"]) == 2:
                a, b = given["log"]
                out[key] = float(np.exp(rng.uniform(np.log(a), np.log(b))))
            else:
                raise ValueError(f"expected {key} as {{choice = [...]}} or {{log = [low, high]}}, got {given}")
        elif isinstance(given, list):
            if len(given) != 2:
                raise ValueError(f"expected {key} as [low, high], got {given}")
            drawn = float(rng.uniform(*given))
            out[key] = round(drawn) if all(isinstance(v, int) for v in given) else drawn
        else:
            out[key] = given
    return out


def preset_names() -> tuple[str, ...]:
    """Names of the presets."""
    files = resources.files("crystalscope.scenes").joinpath(_FOLDER).iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


def preset(name: str) -> Recipe:
    """A preset by name.

    Raises
    ------
    ConfigError
        When there is none of this name.
    """
    file = resources.files("crystalscope.scenes").joinpath(_FOLDER, f"{name}.toml")
    if name not in preset_names():
        raise ConfigError(f"expected a preset of {', '.join(preset_names())}, got {name!r}")
    return _checked(tomllib.loads(file.read_text(encoding="utf-8")), f"preset {name}")


def load_recipe(path: str | Path, *, base: str | None = None) -> Recipe:
    """A recipe from TOML, over a preset where `base` (or ``base`` in the file) names one.

    Raises
    ------
    ConfigError
        When the file cannot be read, a key is unknown or a value out of range.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"expected a recipe in {path}, got: {e.strerror}") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"expected TOML in {path}: {e}") from e
    base = data.pop("base", base)
    if base is None:
        return _checked(data, str(path))
    return preset(base).changed(**data)


def _checked(data: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(data)
    except ValidationError as e:
        first = e.errors()[0]
        place = ".".join(str(p) for p in first["loc"]) or "the recipe"
        raise ConfigError(f"expected valid settings in {where}, got {place}: {first['msg']}") from e


def scenes_of(
    recipe: Recipe, *, frames: int, seed: int, first: int = 0, suffix: str = ".png", workers: int | None = None
) -> Iterator[Scene]:
    """Render the pictures of a recipe.

    Parameters
    ----------
    recipe
        What to render.
    frames
        Number of pictures; of a batch all that its programme has, where 0.
    seed
        The same seed gives the same bytes, whatever the number of workers; picture k does not depend on the others.
    first
        Number of the first picture.
    suffix
        Of the file names: .png or .tif (16 bit are written by both); JPEG recipes always give .jpg.
    workers
        Threads; None: as many as processors.

    Yields
    ------
    Scene
        In order.
    """
    if recipe.batch is not None:
        states = recipe.batch.states(frames=frames, seed=seed)[first:]
        jobs = [partial(_batch_frame, recipe, state, seed=seed, suffix=suffix) for state in states]
    else:
        jobs = [partial(frame_of, recipe, k, seed=seed, suffix=suffix) for k in range(first, first + frames)]
    yield from _in_order(jobs, workers or os.cpu_count() or 1)


def _in_order(jobs: Sequence[Callable[[], Scene]], workers: int) -> Iterator[Scene]:
    if workers == 1:
        yield from (job() for job in jobs)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Scene]] = deque()
        for job in jobs:
            waiting.append(pool.submit(job))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def frame_of(recipe: Recipe, number: int, *, seed: int, suffix: str = ".png") -> Scene:
    """One picture of a recipe without a batch, see `scenes_of`."""
    rng = np.random.default_rng([seed, number])
    chosen = recipe
    if recipe.mix:
        chosen = preset(recipe.mix[int(rng.integers(len(recipe.mix)))])
    each = recipe.vary == "frame" or bool(recipe.mix)
    fixed_seed = seed * 1_000_003 + (number if each else 0)
    settings = np.random.default_rng([fixed_seed, 0])
    own = {k: v for k, v in recipe.instrument.items() if k != "pixel_size_um"} if recipe.mix else {}
    instrument = Instrument(**_drawn({**chosen.instrument, **own}, settings))
    window = Window(**_drawn(chosen.window, settings))
    bodies = _bodies(chosen, instrument, rng)
    if recipe.mix:
        # Sizes of the presets stay in px: the set has one scale, or none.
        scale = recipe.instrument.get("pixel_size_um")
        instrument = instrument.model_copy(update={"pixel_size_um": scale})
    name = f"frame_{number:05d}{'.jpg' if instrument.jpeg and instrument.bits == 8 else suffix}"
    return render(
        bodies,
        instrument,
        seed=[seed, number, 1],
        fixed_seed=fixed_seed,
        window=window,
        frame=0 if each else number,
        source=name,
        facts={"look": instrument.look, "experiment": f"{seed}-{number}" if each else str(seed)},
    )


def _bodies(recipe: Recipe, instrument: Instrument, rng: np.random.Generator) -> list[Placed]:
    empty = bool(rng.random() < recipe.empty)
    crowded = not empty and bool(rng.random() < recipe.crowd)
    out: list[Placed] = []
    present = [p for p in recipe.populations.values() if rng.random() < p.presence]
    for population in present:
        maker = Maker(population, instrument, rng=rng)
        count = 0.0 if empty else value(population.count, rng)
        ghosts = value(population.ghosts, rng)
        if crowded and population.body not in _RARE:
            one = np.mean([maker.one(rng).outline.area for _ in range(8)])
            wanted = value(recipe.crowding, rng) * instrument.rows * instrument.columns / len(present)
            grow = min(wanted / max(one * (count + ghosts), 1.0), recipe.crowd_most / max(count + ghosts, 1.0))
            count, ghosts = count * max(grow, 1.0), ghosts * max(grow, 1.0)
        out += place(
            maker, instrument, layout=recipe.layout, depth_px=recipe.depth_px, count=count, ghosts=ghosts, rng=rng
        )
    return out


def _batch_frame(recipe: Recipe, state: State, *, seed: int, suffix: str) -> Scene:
    settings = np.random.default_rng([seed * 1_000_003, 0])
    instrument = Instrument(**_drawn(recipe.instrument, settings))
    window = Window(**_drawn(recipe.window, settings))
    rng = np.random.default_rng([seed, state.frame])
    assert recipe.batch is not None
    bodies = recipe.batch.bodies(state, recipe.populations, instrument, depth_px=recipe.depth_px, rng=rng, seed=seed)
    instrument, window = recipe.batch.disturbed(state, instrument, window)
    return render(
        bodies,
        instrument,
        seed=[seed, state.frame, 1],
        fixed_seed=seed * 1_000_003,
        window=window,
        frame=state.frame,
        source=f"frame_{state.frame:05d}_t{round(state.time_s):06d}s{suffix}",
        time_s=state.time_s,
        facts={"look": instrument.look, "experiment": str(seed), **state.facts()},
    )
