"""Events of rendered batches, found by `analyze` in their pictures: python -m bench.events.rendered --out DIR

Batches of the virtual instrument (cooling, hold, heating) with what disturbs real ones: bubbles as the stirrer starts
and later, dust, deposits that grow, a lamp that drifts, flickers and jumps, a probe that is cleaned, ghosts. Half are
dimmer and noisier. Nothing crystallises in every fifth, nor on the programme that stays above saturation. DIR keeps
pictures and runs: a second call only does what is not there.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from bench.events.pictures import compared, told
from crystalscope.config import AnalyzeConfig
from crystalscope.core import Event, Timeline
from crystalscope.datasets import write_scenes
from crystalscope.events import detect_events, growth_rate_event, picture_lead
from crystalscope.io.events import read_events
from crystalscope.io.manifest import Manifest
from crystalscope.io.tables import write_json
from crystalscope.pipeline import analyze
from crystalscope.scenes import Recipe, preset, scenes_of, true_events

PROGRAMMES = (
    ((0, 50), (8, 50), (48, 20), (70, 20), (100, 50), (112, 50)),
    ((0, 55), (10, 55), (70, 15), (80, 15), (120, 55), (132, 55)),
    ((0, 50), (8, 50), (12, 32), (90, 32), (108, 50), (118, 50)),
    ((0, 50), (10, 50), (14, 44), (90, 44)),
)
UM_PER_PX = 2.0


def recipe_of(seed: int) -> Recipe:
    """The batch of a seed with its nuisances."""
    rng = np.random.default_rng([seed, 31])
    base = preset("cooling-experiment")
    assert base.batch is not None
    programme = PROGRAMMES[seed % len(PROGRAMMES)]
    end = programme[-1][0]
    nothing = seed % 5 == 4
    batch = {
        "programme": programme,
        "interval_s": float(rng.choice([45.0, 60.0, 75.0])),
        "saturated_c": 5.0 if nothing else 42.0,
        "growth_um_per_min": float(rng.uniform(8, 22)),
        "transmissivity_noise": float(rng.choice([0.01, 0.03])),
        "transmissivity_drift_per_h": float(rng.uniform(-0.03, 0.03)),
        "stirrer_start_min": float(rng.uniform(1, 4)),
        "cleaned_min": float(rng.uniform(0.1, 0.9) * end) if rng.random() < 0.4 else None,
        "lamp_step_min": float(rng.uniform(0.1, 0.9) * end) if rng.random() < 0.4 else None,
    }
    instrument = {"rows": 480, "columns": 640, "pixel_size_um": UM_PER_PX, "flicker": float(rng.uniform(0, 0.03))}
    if seed % 2:
        instrument |= {"light": [0.35, 0.6], "shot_noise": 0.02, "read_noise": 0.006, "gradient": 0.3}
    populations = {
        "bubbles": {"count": float(rng.uniform(0, 0.12)), "ghosts": float(rng.uniform(0, 0.5))},
        "dust": {"count": 0.0, "ghosts": float(rng.uniform(0, 0.5))},
    }
    return base.changed(
        instrument=instrument, populations=populations, batch={**base.batch.model_dump(exclude_none=True), **batch}
    )


def render(seed: int, folder: Path) -> None:
    """Pictures of a batch, its log and what happened in it, where they are not there."""
    if (folder / "events.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    recipe = recipe_of(seed)
    manifest = Manifest(
        name=f"batch-{seed}", title="Batch", description=f"Seed {seed}.", version="1", licence="CC0-1.0",
        creators=("crystalscope",), instrument="virtual instrument", solids_loading="see frames.csv",
        annotated_by="exact truth of the renderer", annotation_rules="every body", limits=("rendered",),
    )  # fmt: skip
    write_scenes(scenes_of(recipe, frames=0, seed=seed, workers=1), folder, manifest=manifest)
    frames = pd.read_csv(folder / "frames.csv")
    frames[["time_s", "temperature_c", "transmissivity"]].to_csv(folder / "log.csv", index=False)
    assert recipe.batch is not None
    states = recipe.batch.states(frames=0, seed=seed)
    write_json(folder / "events.json", true_events(states, frames["n_crystals"].tolist()))


def true_rates(folder: Path, found: Sequence[Event]) -> list[dict[str, object]]:
    """The growth rate that the outlines drawn give between the same times: what is measured is the seeing."""
    frames = pd.read_csv(folder / "frames.csv")
    bodies = pd.read_csv(folder / "particles.csv")
    bodies = bodies[bodies["in_focus"] & (bodies["kind"] == "crystal") & (bodies["parent"] == 0)]
    reached = [e for e in found if e.kind == "growth_rate" and e.status == "reached"]
    true = [
        growth_rate_event(bodies, frames, size="length_um", start_s=e.lower_s, end_s=e.upper_s) for e in reached[:1]
    ]
    return [{"kind": "growth_rate", "status": "reached", "value": e.value} for e in true]


def run(folder: Path, *, workers: int) -> Path:
    """The run of `analyze` on the pictures, made where it is not there."""
    out = folder / "run"
    if not (out / "summary.json").exists():
        settings = {
            "input": {
                "pixel_size_um": UM_PER_PX,
                "time_pattern": r"t(?P<seconds>\d+)s",
                "log": str(folder / "log.csv"),
            }
        }
        analyze(folder / "images", out, config=AnalyzeConfig.model_validate(settings), overwrite=True, workers=workers)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="seed of the first run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--misses", action="store_true", help="list what was missed")
    args = parser.parse_args()
    rows, leads = [], []
    for seed in range(args.first, args.first + args.runs):
        folder = args.out / f"{seed:03d}"
        render(seed, folder)
        found = read_events(run(folder, workers=args.workers) / "events.json")
        frames = pd.read_csv(folder / "frames.csv")
        line = Timeline(
            frames["time_s"].to_numpy(), frames["temperature_c"].to_numpy(), {"1": frames["transmissivity"].to_numpy()}
        )
        same_name = [replace(e, experiment="") for e in found]
        leads.append(picture_lead(same_name, detect_events(line)).assign(experiment=seed))
        spacing = float(np.median(np.diff(frames["time_s"])))
        truth = [t for t in json.loads((folder / "events.json").read_text()) if t["kind"] != "growth_rate"]
        rows += compared([*truth, *true_rates(folder, found)], found, spacing_s=spacing, seed=seed)
        print(seed, len(frames), "pictures", flush=True)
    told(pd.DataFrame(rows), pd.concat(leads), misses=args.misses)


if __name__ == "__main__":
    main()
