"""Degree of agglomeration of rendered pictures, found by the network `crystals`, against its truth.

    python -m bench.form.rendered [--frames 6] [--seed 81] [--folder DIR] [--rates]

Agglomerates of 2 to 10 primaries among single crystals in transmitted light. The truth is that of the bodies in focus
in the same pictures. Asked: within 0.04 over 0.05 to 0.8. As measured, and with the errors of the network taken out.

`--rates` (seed 91, 12 frames) writes into the card of the network how often it calls single crystals and agglomerates
an agglomerate: the line through the degrees measured over the true ones.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.crystals.kinds import add_to_card
from crystalscope.config import load_config
from crystalscope.datasets import write_scenes
from crystalscope.io.manifest import Manifest
from crystalscope.pipeline import analyze
from crystalscope.runs import agglomeration_confusion, agglomeration_table, corrected_agglomeration
from crystalscope.scenes import preset, scenes_of
from crystalscope.size.agglomeration import degree_of_agglomeration

DEGREES = (0.05, 0.2, 0.5, 0.8)
_BODIES = 16.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--seed", type=int, default=81)
    parser.add_argument("--folder", type=Path, help="where pictures and runs stay")
    parser.add_argument("--rates", action="store_true", help="write the rates into the card of the network")
    args = parser.parse_args()
    rows = []
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
            own, n = found.by_number.value, len(found.bodies)
            rows.append((true, len(bodies), own))
            text = f"true {true:.3f} of {len(bodies)} bodies, found {own:.3f} of {n}"
            if not args.rates:
                confusion = agglomeration_confusion(root / "run")
                assert confusion is not None, "the card has no rates: measure them with --rates"
                told = corrected_agglomeration(found.bodies, confusion)["by_number"]
                text += f", errors taken out {told.value:.3f} [{told.lower:.3f}, {told.upper:.3f}]"
            print(text, flush=True)
    if args.rates:
        write_rates(np.array(rows))


def write_rates(rows: NDArray[np.float64]) -> None:
    """Known bodies by what they are and are called, from true degree, bodies and measured degree of some sets."""
    true, n, own = rows.T
    slope, low = np.polyfit(true, own, 1)
    counts = {
        kind: {"single": float(m * (1 - q)), "agglomerate": float(m * q)}
        for kind, m, q in (("single", (n * (1 - true)).sum(), low), ("agglomerate", (n * true).sum(), low + slope))
    }
    print(counts)
    add_to_card({"agglomeration": counts})


if __name__ == "__main__":
    main()
