"""Particles of a rendered slurry of needles and granular clusters: found, described, and named by the truth.

    python -m bench.impurity.slurry SET … --out FOLDER [--true] [--outlines-only N]

A set is a dataset with outlines and bodies. Writes FOLDER/SET/*.npz, one a picture: a row for every particle that
the network `crystals` finds in focus, and with --true a row for every true one in focus, with their numbers as
`crystalscope.impurity.features` gives them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.config import AnalyzeConfig, CrystalsConfig
from crystalscope.datasets import open_dataset
from crystalscope.impurity.features import outline_features
from crystalscope.io.pictures import to_grey
from crystalscope.learn.evaluate import found_in
from crystalscope.score import Pair, areas, matched
from crystalscope.segment.crystals import CrystalsSegmenter

Array = NDArray[np.float64]

IMPURE = ("granular", "cluster")
"""Bodies of both renderers that are the impurity."""


@dataclass(frozen=True, eq=False)
class Slurry:
    """Particles of a set.

    Parameters
    ----------
    numbers
        (n, k) of the particles.
    frame
        (n,) picture.
    found
        (n,) whether the particle was found by the network; others are true ones.
    body
        (n,) 1: impurity, 0: target, -1: found, but no true particle overlaps it by half.
    area
        (n,) px².
    share
        (frames,) share of impurities that the picture was drawn with; NaN where none is stated.
    true
        (frames, 6) of the true particles in focus: number, area, volume (ecd³ pi/6), of all, then of the impurity.
    """

    numbers: Array
    frame: NDArray[np.int64]
    found: NDArray[np.bool_]
    body: NDArray[np.int64]
    area: Array
    share: Array
    true: Array

    def rows(self, *, found: bool) -> NDArray[np.intp]:
        """Particles found, or true ones."""
        return np.flatnonzero(self.found == found)


def describe(folder: Path, out: Path, *, true: bool = False, pictures: Sequence[int] | None = None) -> None:
    """Find and describe the particles of some pictures of a set, or of all; with `true` also the true ones.

    Pictures of which `out` holds a file are passed over.
    """
    data = open_dataset(folder)
    truth = data.truth()
    body = pd.read_csv(folder / "particles.csv").set_index("particle")["body"]
    # The pictures are in the range of the network as they are.
    segmenter = CrystalsSegmenter(AnalyzeConfig(crystals=CrystalsConfig(diameter_px=60.0)))
    shares = data.frames.get("impurity_share", pd.Series(np.full(len(data), np.nan))).to_numpy(dtype=float)
    out.mkdir(parents=True, exist_ok=True)
    for k in range(len(data)) if pictures is None else pictures:
        if (out / f"{k:04d}.npz").exists():
            continue
        image = data.read(k)
        known = truth[image.source]
        impure = body.loc[known.ids].isin(IMPURE).to_numpy()
        own = found_in(segmenter, image)
        hit, which, _, _ = matched(Pair(own, known.instances, known.ignore))
        named = np.full(len(own), -1)
        named[hit] = impure[which]
        sharp = known.instances.select(~known.ignore)
        area = areas(sharp)
        what = np.stack([np.ones(len(area)), area, np.pi / 6 * (4 / np.pi * area) ** 1.5])
        described = [(own, True, named)]
        if true:
            described.append((sharp, False, impure[~known.ignore].astype(int)))
        np.savez(
            out / f"{k:04d}.npz",
            numbers=np.concatenate([outline_features(to_grey(image.data), i) for i, _, _ in described]),
            frame=np.full(sum(len(i) for i, _, _ in described), k),
            found=np.concatenate([np.full(len(i), is_found) for i, is_found, _ in described]),
            body=np.concatenate([bodies for _, _, bodies in described]),
            area=np.concatenate([areas(i) for i, _, _ in described]),
            share=shares[k : k + 1],
            true=np.concatenate([what.sum(axis=1), what[:, impure[~known.ignore]].sum(axis=1)])[None],
        )
        print(folder.name, k, len(own), len(hit), int((~known.ignore).sum()), flush=True)


def describe_true(folder: Path, out: Path, *, targets: int) -> None:
    """Describe true particles in focus alone, without finding any: all impurities, and of each picture some targets."""
    data = open_dataset(folder)
    truth = data.truth()
    body = pd.read_csv(folder / "particles.csv").set_index("particle")["body"]
    out.mkdir(parents=True, exist_ok=True)
    for k in range(len(data)):
        image = data.read(k)
        known = truth[image.source]
        impure = body.loc[known.ids].isin(IMPURE).to_numpy()
        chosen = np.flatnonzero(impure & ~known.ignore)
        others = np.flatnonzero(~impure & ~known.ignore)
        chosen = np.concatenate([chosen, np.random.default_rng(k).permutation(others)[:targets]])
        if not len(chosen):
            continue
        instances = known.instances.select(chosen)
        np.savez(
            out / f"{k:04d}.npz",
            numbers=outline_features(to_grey(image.data), instances),
            frame=np.full(len(chosen), k),
            found=np.zeros(len(chosen), dtype=bool),
            body=impure[chosen].astype(int),
            area=areas(instances),
            share=np.full(1, np.nan),
            true=np.full((1, 6), np.nan),
        )


def load(folder: Path) -> Slurry:
    """Particles that `describe` wrote; frames are numbered as they are there."""
    parts: dict[str, list[NDArray]] = {k: [] for k in Slurry.__dataclass_fields__}
    for number, path in enumerate(sorted(folder.glob("*.npz"))):
        with np.load(path, allow_pickle=False) as file:
            for k in parts:
                parts[k].append(np.full(len(file[k]), number) if k == "frame" else file[k])
    return Slurry(**{k: np.concatenate(v) for k, v in parts.items()})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--true", action="store_true", help="true particles too")
    parser.add_argument("--outlines-only", type=int, help="true particles alone, so many targets of each picture")
    parser.add_argument("--pictures", help="numbers of those that are looked at, such as 0,4,5,9; all by default")
    args = parser.parse_args()
    chosen = [int(k) for k in args.pictures.split(",")] if args.pictures else None
    for folder in args.sets:
        if args.outlines_only is not None:
            describe_true(folder, args.out / folder.name, targets=args.outlines_only)
            continue
        describe(folder, args.out / folder.name, true=args.true, pictures=chosen)


if __name__ == "__main__":
    main()
