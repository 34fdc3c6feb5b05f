"""Beads of known size through the whole chain: D50 and spread against the population.

python bench/beads.py [--frames 30] [--look backlit|reflected]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from crystalscope.config import load_config
from crystalscope.datasets import write_scenes
from crystalscope.io.manifest import Manifest
from crystalscope.io.tables import read_table
from crystalscope.pipeline import analyze
from crystalscope.scenes import preset, scenes_of

CV = 0.03
LOADINGS = {"low": 10.0, "mid": 30.0, "high": 70.0}
"""Beads near the focal plane per field, scaled down with their area above 300 um: the highest covers a fifth of it."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--look", choices=["backlit", "reflected"], default="backlit")
    args = parser.parse_args()
    light = 0.75 if args.look == "backlit" else 0.42
    print("| diameter / um | loading | particles | D50,0 error | D50,3 error ", end="")
    print("| CV (true 3 %) | inflation | (D84 - D16) / 2 D50 | inflation |")
    print("|---|---|---|---|---|---|---|---|---|")
    for diameter in (150, 300, 400, 500):
        for loading in ("low", "mid", "high"):
            with tempfile.TemporaryDirectory() as folder:
                pictures, out = Path(folder) / "pictures", Path(folder) / "run"
                seed = diameter + len(loading)
                count = LOADINGS[loading] * min(1.0, (300.0 / diameter) ** 2)
                recipe = preset("beads").changed(
                    instrument={"look": args.look, "light": light},
                    populations={"beads": {"size": diameter, "spread": CV, "count": count, "ghosts": count / 2}},
                )
                write_scenes(
                    scenes_of(recipe, frames=args.frames, seed=seed), pictures, manifest=Manifest(name="beads")
                )
                config = load_config(segmenter="threshold", input={"pixel_size_um": 5.0}, size={"replicates": 100})
                summary = analyze(pictures / "images", out, config=config)
                sizes = read_table(out / "particles.parquet", where="in_focus AND NOT touches_border")["ecd_um"]
            number = summary["corrected"]["number"]["D50"]["value"]
            volume = summary["corrected"]["volume"]["D50"]["value"]
            # By volume the median of a normal distribution lies 3 CV² higher (to first order).
            true_volume = diameter * (1 + 3 * CV**2)
            cv = float(np.std(sizes) / np.mean(sizes))
            # The same spread without the tails, in which the few overlaps that were not told apart lie.
            low, middle, high = np.quantile(sizes, [0.16, 0.5, 0.84])
            robust = float((high - low) / 2 / middle)
            print(
                f"| {diameter} | {loading} | {len(sizes)} | {number / diameter - 1:+.2%} "
                f"| {volume / true_volume - 1:+.2%} | "
                f"{cv:.2%} | {cv / CV:.2f} | {robust:.2%} | {robust / CV:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
