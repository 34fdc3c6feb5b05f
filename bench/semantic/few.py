"""How few pictures suffice: python -m bench.semantic.few SET --out DIR [--docs].

Trains the compact network on 8 to 525 pictures of SET, with and without the published augmentation, and scores each on
the same test pictures (other frames). Writes few.csv and few.png; `--docs` puts the picture into docs/images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from crystalscope.io.tables import write_bytes, write_csv
from crystalscope.learn.semantic_job import learning_curve, parts_of, plot_learning_curve
from crystalscope.learn.semantic_train import SemanticSchedule

NUMBERS = (8, 24, 75, 200, 525)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--numbers", type=int, nargs="*", default=list(NUMBERS))
    parser.add_argument("--docs", action="store_true")
    args = parser.parse_args()
    parts = parts_of([args.set], number=max(args.numbers), held_back=0.2, seed=0)
    schedule = SemanticSchedule(steps=args.steps, check_every=max(1, args.steps // 6))
    table = learning_curve(
        parts, args.numbers, args.out, schedule=schedule, progress=lambda w, k, n: print(f"{k} of {n} {w}", flush=True)
    )
    write_csv(args.out / "few.csv", table)
    write_bytes(args.out / "few.png", plot_learning_curve(table))
    if args.docs:
        write_bytes(Path("docs/images/semantic-few.png"), plot_learning_curve(table))
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
