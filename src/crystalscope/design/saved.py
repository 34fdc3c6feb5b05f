"""A twin on disk: its table, system and choices as text and numbers; it is fitted again when it is opened.

See docs/decisions/0011-a-saved-twin.md.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystalscope import __version__
from crystalscope.design.augment import Augmentation
from crystalscope.design.base import FittedTwin, ModelScore, Score, make_twin
from crystalscope.design.mechanism import Mechanism, start_of
from crystalscope.design.published import FittedPublished, PublishedChoice
from crystalscope.design.system import System, load_system
from crystalscope.design.table import read_doe
from crystalscope.design.twin import FittedDefault
from crystalscope.errors import ReadError
from crystalscope.io.tables import to_toml, write_json, write_text

Array = NDArray[np.float64]


def save_twin(
    folder: Path, twin: FittedTwin, *, recipe: str, seed: int, options: Mapping[str, Any] | None = None
) -> None:
    """Write FOLDER: table.csv, system.toml, twin.json, and with a plant kinetics.toml and plant.npz.

    Parameters
    ----------
    folder, twin
        Where, and what.
    recipe, seed, options
        As the twin was made: `make_twin` of the recipe with the options, fitted with the seed.

    Raises
    ------
    WriteError
        When the place cannot be written.
    """
    # All digits: models that are fitted again have to see the same numbers.
    write_text(folder / "table.csv", twin.table.to_frame().to_csv(index=False, lineterminator="\n"))
    system = twin.table.system.model_dump(exclude_none=True, exclude_defaults=True)
    settings: dict[str, Any] = {"version": __version__, "recipe": recipe, "seed": seed, "options": dict(options or {})}
    if isinstance(twin, FittedDefault):
        settings["augment"] = bool(twin.refinements)
        settings["synthetic"] = {n: _augmentation(r.choice) for n, r in twin.refinements.items()}
        if twin.mechanism is not None:
            kinetics, _ = start_of(twin.table.system)
            write_text(folder / "kinetics.toml", to_toml(kinetics.model_dump(exclude_none=True)))
            system["plant"] = {**system["plant"], "kinetics": "kinetics.toml"}
            system["plant"].pop("preset", None)
            np.savez(
                folder / "plant.npz",
                centre=twin.mechanism.centre,
                coefficients=twin.mechanism.coefficients,
                width=np.array(twin.mechanism.width),
            )
    if isinstance(twin, FittedPublished):
        settings["choices"] = {n: _choice(p.choice) for n, p in zip(twin.attributes, twin.parts, strict=True)}
    write_text(folder / "system.toml", system_toml(system))
    settings["fingerprint"] = _fingerprint(twin)
    write_json(folder / "twin.json", settings)


def load_twin(folder: str | Path) -> FittedTwin:
    """Open a saved twin.

    Raises
    ------
    ReadError
        When the folder holds no twin, or the twin that is fitted again says something else than the saved one did.
    """
    folder = Path(folder)
    try:
        settings = json.loads((folder / "twin.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise ReadError(f"expected a twin in {folder}: {e}; give the folder RUN/twin of `crystalscope design`") from e
    table = read_doe(folder / "table.csv", load_system(folder / "system.toml"))
    given: dict[str, Any] = dict(settings["options"])
    if settings["recipe"] == "default":
        given["augment"] = settings["augment"]
        given["choices"] = {n: _read_augmentation(a) for n, a in settings["synthetic"].items()}
        if (folder / "plant.npz").exists():
            kinetics, names = start_of(table.system)
            with np.load(folder / "plant.npz", allow_pickle=False) as held:
                given["mechanism"] = Mechanism(
                    table.system, kinetics, names, held["centre"], held["coefficients"], float(held["width"])
                )
    if "choices" in settings:
        given["known"] = {n: _read_choice(n, c) for n, c in settings["choices"].items()}
    twin = make_twin(settings["recipe"], **given).fit(table, rng=np.random.default_rng(settings["seed"]))
    now, before = np.array(_fingerprint(twin)), np.array(settings["fingerprint"])
    if now.shape != before.shape or not np.allclose(now, before, rtol=1e-3, atol=1e-6):
        raise ReadError(
            f"expected the twin in {folder} to say what it said when it was saved (crystalscope "
            f"{settings['version']}), "
            "got other predictions; another version of a library fits other models: run `crystalscope design` again"
        )
    return twin


def saved_system(folder: str | Path) -> System:
    """System of a saved twin; raises ReadError when the folder holds none."""
    path = Path(folder) / "system.toml"
    if not path.exists():
        raise ReadError(f"expected a twin in {folder}, got no system.toml; give the folder RUN/twin of a run")
    return load_system(path)


def _fingerprint(twin: FittedTwin) -> list[list[float]]:
    means = twin.means(twin.table.conditions)
    return [[float(v) for v in row] for row in means]


def _choice(choice: PublishedChoice) -> dict[str, Any]:
    chosen = None if choice.augmentation is None else _augmentation(choice.augmentation)
    return {
        "learner": choice.learner,
        "settings": dict(choice.settings),
        "scores": [dataclasses.asdict(s) for s in choice.scores],
        "held_out": choice.held_out.tolist(),
        "augmentation": chosen,
    }


def _augmentation(a: Augmentation) -> dict[str, Any]:
    out = {"generator": a.generator, "count": a.count, "alpha": a.alpha, "gain": a.gain, "law": a.law}
    return {**out, "held_out": a.held_out.tolist()}


def _read_augmentation(data: dict[str, Any]) -> Augmentation:
    held = _numbers(data["held_out"])
    law = np.nan if data["law"] is None else data["law"]
    return Augmentation(data["generator"], data["count"], data["alpha"], {}, np.zeros(0), data["gain"], law, held)


def _numbers(values: list[float | None]) -> Array:
    """What was not a number is null in JSON."""
    return np.array([np.nan if v is None else v for v in values])


def _read_choice(attribute: str, data: dict[str, Any]) -> PublishedChoice:
    def score(s: dict[str, Any]) -> Score:
        return Score(**{k: np.nan if v is None else v for k, v in s.items()})

    scores = tuple(
        ModelScore(attribute, s["model"], score(s["validation"]), score(s["test"]), s["weight"], s["note"])
        for s in data["scores"]
    )
    chosen = None if data["augmentation"] is None else _read_augmentation(data["augmentation"])
    return PublishedChoice(data["learner"], data["settings"], scores, _numbers(data["held_out"]), chosen)


def system_toml(data: dict[str, Any]) -> str:
    """TOML with arrays of tables for factors and attributes."""
    lists = {k: data.pop(k) for k in ("factors", "attributes") if k in data}
    text = to_toml(data)
    head = "".join(f"\n[[{name}]]\n{to_toml(item)}" for name, items in lists.items() for item in items)
    # Keys outside of tables have to stand first.
    first, _, tables = text.partition("\n[")
    return first + head + ("\n[" + tables if tables else "")
