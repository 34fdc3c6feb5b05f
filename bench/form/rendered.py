"""Degree of agglomeration of rendered pictures, found by the network `crystals`, against its truth.

    python -m bench.form.rendered [--frames 6] [--seed 81] [--folder DIR]

Agglomerates of 2 to 10 primaries among single crystals in transmitted light. The truth is that of the bodies in focus
in the same pictures. Asked: within 0.04 over 0.05 to 0.8.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pandas as pd

from crystalscope.config import load_config
from crystalscope.datasets import write_scenes
from crystalscope.io.manifest import Manifest
from crystalscope.pipeline import analyze
from crystalscope.runs import agglomeration_table
from crystalscope.scenes import preset, scenes_of
from crystalscope.size.agglomeration import degree_of_agglomeration

DEGREES = (0.05, 0.2, 0.5, 0.8)
_BODIES = 16.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--seed", type=int, default=81)
    parser.add_argument("--folder", type=Path, help="where pictures and runs stay")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        for degree in DEGREES:
            root = folder / f"{degree:g}"
            populations = {
                "agglomerates": {"count": _BODIES * degree, "ghosts": 2.0},
                "single": {"count": _BODIES * (1 - degree), "ghosts": 4.0},
            }
            recipe = preset("agglomerates").changed(populations=populations)
            manifest = Manifest(
                name="doa", title="Agglomerates", description="Rendered.", version="1", licence="CC0-1.0"
            )
            if not (root / "particles.csv").exists():
                scenes = scenes_of(recipe, frames=args.frames, seed=args.seed, workers=1)
                write_scenes(scenes, root, manifest=manifest)
            config = load_config(
                input={"pixel_size_um": 1.5}, crystals={"diameter_px": 60.0}, report={"overlays": 2, "montage": 0}
            )
            analyze(root / "images", root / "run", config=config, workers=1)
            truth = pd.read_csv(root / "particles.csv")
            bodies = truth[truth["in_focus"] & (truth["parent"] == 0)]
            true = float((bodies["kind"] == "agglomerate").mean())
            table, frames, unit = agglomeration_table(root / "run")
            found = degree_of_agglomeration(table, n_frames=frames, unit=unit)
            own = found.by_number.value
            print(f"true {true:.3f} of {len(bodies)} bodies, found {own:.3f} of {len(found.bodies)}", flush=True)


if __name__ == "__main__":
    main()
