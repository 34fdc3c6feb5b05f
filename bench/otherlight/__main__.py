"""Write a set of test pictures.

python -m bench.otherlight SET --out DIR [--n N] [--seed S]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.otherlight.recipes import LOOKS
from bench.otherlight.sets import SETS, beads
from crystalscope.core import KINDS, Scene
from crystalscope.datasets import write_scenes
from crystalscope.io.manifest import Manifest

CLASSES = {
    "mixed": KINDS,
    "labels": KINDS,
    "agglomerates": ("crystal", "agglomerate"),
    "impurity": ("crystal", "agglomerate"),
    "cooling": ("crystal", "bubble"),
}
"""Kinds of body in a set; only crystals in the others."""


def write_set(
    name: str, folder: Path, *, n: int, seed: int, maker: Callable[[int, int], Iterator[Scene]] | None = None
) -> Path:
    """Write a set as a dataset.

    Parameters
    ----------
    name
        One of `sets.SETS`.
    folder
        Made where it does not exist.
    n
        Number of pictures.
    seed
        Random seed: the same seed gives the same bytes.
    maker
        Of the scenes, where it has settings of its own.

    Returns
    -------
    The folder.
    """
    made = maker or SETS[name]
    manifest = Manifest(
        name=f"otherlight-{name}",
        title=f"Test pictures: {name}",
        description=(made.__doc__ or name).strip().split("\n")[0] or name,
        version="1",
        licence="BSD-3-Clause",
        creators=("The crystalscope developers",),
        instrument="rendered by the test renderer (bench.otherlight)",
        solids_loading="as rendered, see coverage in frames.csv",
        annotated_by="exact",
        annotation_rules=(
            "Every body that reaches into the picture is annotated with its whole and its visible outline; those out "
            "of focus are to be ignored; those that the edge cuts are kept."
        ),
        limits=(f"seed {seed}, {n} pictures", "rendered; for testing only, never for training"),
        classes=CLASSES.get(name, ("crystal",)),
    )

    return write_scenes(made(n, seed), folder, manifest=manifest)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.otherlight", description="Write a set of test pictures.")
    parser.add_argument("set", choices=sorted(SETS))
    parser.add_argument("--out", type=Path, required=True, help="folder of the set")
    parser.add_argument("--n", type=int, default=40, help="number of pictures")
    parser.add_argument("--seed", type=int, default=0)
    spheres = parser.add_argument_group("beads")
    spheres.add_argument("--diameter-um", type=float, default=300.0)
    spheres.add_argument("--cv", type=float, default=0.05, help="coefficient of variation of the diameter")
    spheres.add_argument("--look", choices=LOOKS, default="backlit")
    args = parser.parse_args()
    maker = None
    if args.set == "beads":
        maker = partial(beads, diameter_um=args.diameter_um, cv=args.cv, look=args.look)
        maker.__doc__ = beads.__doc__
    out = write_set(args.set, args.out, n=args.n, seed=args.seed, maker=maker)
    print(f"{args.n} pictures of {args.set} in {out}")


if __name__ == "__main__":
    main()
