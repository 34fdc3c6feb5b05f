"""The two sieve fractions of the paper by the test renderer: python -m bench.semantic.fractions --out DIR.

DIR/125-180 holds 162 pictures, DIR/90-125 holds 323, as published; of other seeds than any set that was tuned on.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from bench.otherlight.__main__ import write_set
from bench.otherlight.sets import flow_cell

FRACTIONS = {"125-180": ((125.0, 180.0), 162, 301), "90-125": ((90.0, 125.0), 323, 302)}
"""Openings of the sieves in um, pictures, seed."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=1.0, help="of the pictures, for a quick look")
    args = parser.parse_args()
    for name, (sieve, pictures, seed) in FRACTIONS.items():
        folder = args.out / name
        if not (folder / "dataset.toml").exists():
            maker = partial(flow_cell, sieves=(sieve,))
            maker.__doc__ = f"Crystals of the sieve fraction {name} um in a flow cell"
            write_set("flow-cell", folder, n=max(2, round(args.share * pictures)), seed=seed, maker=maker)
        print(folder, flush=True)


if __name__ == "__main__":
    main()
