"""Needles of rendered pictures, found by the network `crystals`, against their truth.

    python -m bench.needles.rendered loading|space|calibration [--frames 6] [--seed 71] [--folder DIR]

loading: mean and D50 of length, length to width, of whole needles at three loadings; asked 4 % at the lowest, 8 % at
the highest, length to width 10 %. space: needles at random in space, their length distribution; asked 8 %. calibration:
three batches at three loadings, each predicted from the others; asked 5 %. The truth is that of the needles that lie
whole and in focus in the same pictures: what is measured is the chain, not the draw of the needles.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.calibration import held_back_table, read_particles, worst
from crystalscope.config import load_config
from crystalscope.datasets import write_scenes
from crystalscope.io.manifest import Manifest
from crystalscope.pipeline import analyze
from crystalscope.runs import whole_particles
from crystalscope.scenes import preset, scenes_of
from crystalscope.size import make_distribution
from crystalscope.size.calibrate import Sample, hold_back
from crystalscope.size.orientation import lengths_in_space

Array = NDArray[np.float64]

LOADINGS = {"low": 12.0, "mid": 35.0, "high": 75.0}
"""Mean number of sharp needles in a picture of 1112 x 1000 px; their mean length is 125 px."""
_RATIO = 4.0
"""Length to width from which a body counts as a needle."""


def run_of(
    root: Path, *, length_um: float = 250.0, needles: float, tilt_deg: float, frames: int, seed: int
) -> tuple[Path, pd.DataFrame]:
    """Render and analyse a set at 2 um per px; the run, and its true whole needles in focus."""
    population = {"size": length_um, "count": needles, "ghosts": 0.3 * needles, "tilt_deg": tilt_deg}
    recipe = preset("needles").changed(populations={"needles": population})
    manifest = Manifest(name="needles", title="Needles", description="Rendered.", version="1", licence="CC0-1.0")
    if not (root / "particles.csv").exists():
        write_scenes(scenes_of(recipe, frames=frames, seed=seed, workers=1), root, manifest=manifest)
    config = load_config(
        input={"pixel_size_um": 2.0}, crystals={"diameter_px": 60.0}, report={"overlays": 2, "montage": 0}
    )
    analyze(root / "images", root / "run", config=config, workers=1)
    truth = pd.read_csv(root / "particles.csv")
    return root / "run", truth[truth["in_focus"] & ~truth["touches_border"] & (truth["parent"] == 0)]


def found_needles(run: Path) -> pd.DataFrame:
    """Whole needles of a run: frame, border_weight, length, width, um."""
    table, _ = whole_particles(run, ("length", "width"), ("length_to_width",))
    return table[table["length_to_width"] >= _RATIO]


def loading(root: Path, frames: int, seed: int) -> None:
    print(f"{'':6} {'true':>5} {'found':>6} {'mean':>7} {'D50':>7} {'length:width':>13}   errors in %")
    for name, needles in LOADINGS.items():
        run, true = run_of(root / name, needles=needles, tilt_deg=2.0, frames=frames, seed=seed)
        found = found_needles(run)
        length, own = true["length_um"].to_numpy(), found["length"].to_numpy()
        ratios = (found["length_to_width"].median(), (true["length_um"] / true["width_um"]).median())
        errors = [own.mean() / length.mean() - 1, np.median(own) / np.median(length) - 1, ratios[0] / ratios[1] - 1]
        print(f"{name:6} {len(true):5} {len(found):6} {' '.join(f'{100 * e:7.1f}' for e in errors)}", flush=True)


def space(root: Path, frames: int, seed: int) -> None:
    run, true = run_of(root / "space", needles=LOADINGS["low"], tilt_deg=90.0, frames=3 * frames, seed=seed)
    # End-on needles are compact: those too are needles, and all that is found counts.
    table, _ = whole_particles(run, ("length", "width"), ())
    got = lengths_in_space(table["length"], table["width"], table["frame"], orientation="random")
    known = true["body_length_um"].to_numpy()
    print(f"{len(true)} true, {len(table)} found")
    truth = {"mean": known.mean(), **{f"D{q}_0": float(np.quantile(known, q / 100)) for q in (10, 50, 90)}}
    for k, v in truth.items():
        f = got.figures[k]
        print(f"{k}: {v:.0f} um, picture {got.measured[k] / v - 1:+.1%}, space {f.value / v - 1:+.1%}", flush=True)


def calibration(root: Path, frames: int, seed: int) -> None:
    samples = []
    for k, length in enumerate((160.0, 230.0, 330.0)):
        for n, (name, needles) in enumerate(LOADINGS.items()):
            count = needles * (230.0 / length) ** 2
            run, true = run_of(
                root / f"{length:g}-{name}",
                length_um=length,
                needles=count,
                tilt_deg=2.0,
                frames=2 * frames,
                seed=seed + k,
            )
            size, weight, gates = read_particles(run, definition="length")
            known = true["length_um"].to_numpy()
            offline = make_distribution(known, known**3, definition="length")
            samples.append(Sample(f"{length:g}", float(n), size, weight, gates, offline))
    table = held_back_table(hold_back(samples, gates=("score", "solidity", "length_to_width")), "number")
    print(table[np.isclose(table["share"], 0.5)].to_string(index=False))
    before, after = worst(table)
    print(f"D50 of a batch held back, largest error: {before:.1%} as measured, {after:.1%} calibrated")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("loading", "space", "calibration"))
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--seed", type=int, default=71)
    parser.add_argument("--folder", type=Path, help="where pictures and runs stay")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        task = {"loading": loading, "space": space, "calibration": calibration}[args.what]
        task(args.folder or Path(scratch), args.frames, args.seed)


if __name__ == "__main__":
    main()
