"""Corrections against the population that scenes were drawn from, not against what was seen.

    python -m bench.population [--frames 60]

The true distribution is that of every body drawn in the volume, seen or not. Border: bodies up to a third of the field
and needles up to longer than it, by their exact masks, so that nothing but the border rule acts; those that the edge
cuts are dropped, weighted (Miles-Lantuejoul) or used as censored lengths. Depth: spheres evenly in depth, found by the
`threshold` segmenter and its focus gate, so that larger ones stay in focus deeper.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crystalscope.config import load_config
from crystalscope.core import Scene
from crystalscope.datasets import write_scenes
from crystalscope.io.manifest import Manifest
from crystalscope.measure import measure_particles
from crystalscope.pipeline import analyze
from crystalscope.scenes import Recipe, preset, scenes_of
from crystalscope.score import weighted_quantile
from crystalscope.size import size_particles, summarize


def spheres(layout: str) -> Recipe:
    """Spheres of log-normal size at 2 um per px, few enough that they hardly overlap."""
    big = layout == "slabs"
    return preset("beads").changed(
        layout=layout,
        depth_px=500.0,
        instrument={"pixel_size_um": 2.0},
        populations={
            "beads": {
                "law": "lognormal",
                "size": 250.0 if big else 80.0,
                "spread": 0.4,
                "count": 6.0 if big else 60.0,
                "ghosts": 0.0,
            }
        },
    )


def needles() -> Recipe:
    """Needles up to longer than the field."""
    return preset("needles").changed(
        populations={"needles": {"size": 800.0, "spread": 0.35, "count": 3.0, "ghosts": 0.0, "tilt_deg": 1.0}}
    )


Ways = tuple[tuple[str, dict[str, Any]], ...]
CASES: tuple[tuple[str, Recipe, str, Ways], ...] = (
    (
        "border, spheres",
        spheres("slabs"),
        "ecd",
        (("dropped", {"border": "drop"}), ("Miles-Lantuejoul", {"border": "miles-lantuejoul"})),
    ),
    (
        "border, needles",
        needles(),
        "length",
        (
            ("dropped", {"border": "drop"}),
            ("Miles-Lantuejoul", {"border": "miles-lantuejoul"}),
            ("censored maximum likelihood", {"border": "censored"}),
        ),
    ),
    (
        "depth of field, spheres",
        spheres("volume"),
        "ecd",
        (("none", {"focus_correction": False}), ("weights", {"focus_correction": True})),
    ),
)


def by_masks(recipe: Recipe, definition: str, ways: Ways, frames: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Sizes of all bodies drawn, and the summaries from the exact masks of what is seen."""
    drawn, tables = [], []
    for k, scene in enumerate(scenes_of(recipe, frames=frames, seed=1)):
        scale = scene.image.pixel_size_um or 1.0
        drawn.append(scene.population["ecd" if definition == "ecd" else "length"].to_numpy(dtype=float) * scale)
        tables.append(measure_particles(scene.instances, scene.image).particles.assign(frame=k))
        shape = scene.image.shape
    particles = pd.concat(tables, ignore_index=True)
    summaries = []
    for _, settings in ways:
        config = load_config(segmenter="threshold", size={"definition": definition, "replicates": 100, **settings})
        both = size_particles(particles, n_frames=frames, unit="um", config=config, pixel_size_um=scale, field_px=shape)
        summaries.append(summarize(*both, config=config))
    return np.concatenate(drawn), summaries


def by_segmenter(recipe: Recipe, definition: str, ways: Ways, frames: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Sizes of all bodies drawn, and the summaries of whole analyses."""
    drawn: list[np.ndarray] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)

        def noted() -> Iterator[Scene]:
            for scene in scenes_of(recipe, frames=frames, seed=1):
                drawn.append(scene.population["ecd"].to_numpy(dtype=float) * (scene.image.pixel_size_um or 1))
                yield scene

        write_scenes(noted(), root / "set", manifest=Manifest(name="population"))
        summaries = []
        for name, settings in ways:
            config = load_config(
                segmenter="threshold",
                input={"pixel_size_um": 2.0},
                size={"definition": definition, "replicates": 100, **settings},
            )
            summaries.append(analyze(root / "set" / "images", root / name, config=config))
    return np.concatenate(drawn), summaries


def errors(true: np.ndarray, summary: dict[str, Any]) -> dict[str, float]:
    """Relative errors of D10, D50 and D90 by number and by volume."""
    out = {}
    for by, power in (("number", 0), ("volume", 3)):
        for share in (0.1, 0.5, 0.9):
            expected = weighted_quantile(true, true**power, share)
            out[f"D{share * 100:.0f} {by}"] = summary["corrected"][by][f"D{share * 100:.0f}"]["value"] / expected - 1
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=60)
    args = parser.parse_args()
    names = [f"D{d} {by}" for by in ("number", "volume") for d in (10, 50, 90)]
    print("| case | correction | particles sized | bodies drawn | " + " | ".join(f"{n}, error" for n in names) + " |")
    print("|---|---|---|---|" + "---|" * len(names))
    for case, recipe, definition, ways in CASES:
        way = by_masks if "border" in case else by_segmenter
        true, summaries = way(recipe, definition, ways, args.frames)
        for (name, _), summary in zip(ways, summaries, strict=True):
            found = errors(true, summary)
            cells = " | ".join(f"{found[n]:+.1%}" for n in names)
            print(f"| {case} | {name} | {summary['n_sized']} | {len(true)} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
