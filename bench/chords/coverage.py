"""How often the intervals of sizes from chords hold the truth.

    python -m bench.chords.coverage [--runs 40]

Suspensions as in `bench.chords.inverse`, 30 draws in a bootstrap; nominal 95 %.
"""

from __future__ import annotations

import argparse

import numpy as np

from bench.chords.inverse import noisy, truth
from crystalscope.size.chords import ChordModel, Shape, invert_chords

CASES: tuple[tuple[Shape, float, bool, float, float], ...] = (
    ("sphere", 1.0, False, 100.0, 0.4),
    ("rod", 5.0, False, 100.0, 0.4),
    ("rod", 5.0, True, 200.0, 0.25),
)
"""Shape, length over width, whether it is to be found, median by number in um, sigma."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=40)
    runs = parser.parse_args().runs
    for shape, ratio, free, median, sigma in CASES:
        rng = np.random.default_rng(3)
        known = truth(median, sigma)
        held = dict.fromkeys(known, 0) | ({"ratio": 0} if free else {})
        # A free ratio takes a second a run: a quarter of the runs.
        n = max(runs // 4, 1) if free else runs
        for _ in range(n):
            model = ChordModel(shape, None if free or shape == "sphere" else ratio)
            found = invert_chords(noisy(shape, ratio, median, sigma, rng), model, replicates=30, rng=rng)
            figures = found.figures | {"ratio": found.ratio}
            for k in held:
                held[k] += figures[k].lower <= (known | {"ratio": ratio})[k] <= figures[k].upper
        words = ", ".join(f"{k} {v / n:.2f}" for k, v in held.items())
        print(f"{shape} {ratio:g}:1{', ratio found' if free else ''}, {n} runs: {words}", flush=True)


if __name__ == "__main__":
    main()
