"""How real rendered pictures look, as a number: classifiers on patches of 96 x 96 px.

    python -m bench.realism [--look backlit] [--recipe FILE.toml] [--out DIR]

Two classifiers try to tell patches of rendered from patches of real pictures: a small network, and trees on features
that have a name. Real pictures are split by frame, rendered ones by picture. 0.5 is a guess, 1 is told apart always.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from bench.realism.looks import LOOKS
from bench.realism.report import compare, markdown, montage

DATA = Path(os.environ.get("CRYSTALSCOPE_DATA", Path(__file__).parents[3] / "shared" / "data"))


def main() -> int:
    """Run the comparison of a look and write its table and montage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--look", choices=[*LOOKS, "all"], default="backlit")
    parser.add_argument("--recipe", help="TOML to hold against the real pictures instead of the look's preset")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real pictures")
    parser.add_argument("--out", type=Path, default=Path("bench/results/realism"))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--no-network", action="store_true", help="trees on features only, four times as fast")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in LOOKS if given.look == "all" else (given.look,):
        begin = time.perf_counter()
        result = compare(
            LOOKS[name], given.data, recipe=given.recipe, seed=given.seed, with_network=not given.no_network
        )
        text = markdown(result)
        (given.out / f"{name}.md").write_text(text, encoding="utf-8")
        np.savez_compressed(given.out / f"{name}.npz", features=result.features, is_real=result.is_real)
        cv2.imwrite(str(given.out / f"{name}.png"), montage(result))
        print(text)
        print(f"{name}: {time.perf_counter() - begin:.0f} s, written to {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
