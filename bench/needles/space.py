"""Lengths of needles in space from exact projections.

    python -m bench.needles.space [--runs 20]

Round cylinders of log-normal length, turned at random (or aligned within 15 degrees), seen as they project: length
cos t + width |sin t|. 1,500 needles in 30 frames. Asked: 8 %.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from numpy.typing import NDArray

from crystalscope.size.orientation import Orientation, lengths_in_space

Array = NDArray[np.float64]


def project(
    n: int, median: float, sigma: float, ratio: float, orientation: Orientation, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Lengths and widths in the picture."""
    length = median * np.exp(sigma * rng.standard_normal(n))
    width = np.full(n, median / ratio) * np.exp(0.1 * rng.standard_normal(n))
    tilt = np.arcsin(rng.uniform(0, 1, n)) if orientation == "random" else math.radians(15) * rng.standard_normal(n)
    return length * np.cos(tilt) + width * np.abs(np.sin(tilt)), width


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    print(f"{'':34} {'mean':>7} {'D10':>7} {'D50':>7} {'D90':>7}   of the truth in the interval of 95 %")
    for orientation, spread in (("random", 0.0), ("aligned", 15.0)):
        for sigma, ratio in ((0.25, 12.0), (0.4, 8.0), (0.6, 15.0)):
            z = 1.2815515655446004 * sigma
            truth = {
                "mean": 200 * math.exp(sigma**2 / 2),
                "D10_0": 200 * math.exp(-z),
                "D50_0": 200.0,
                "D90_0": 200 * math.exp(z),
            }
            worst = dict.fromkeys(truth, 0.0)
            raw = dict.fromkeys(truth, 0.0)
            covered = 0
            rng = np.random.default_rng(5)
            for _ in range(runs):
                x, b = project(1500, 200.0, sigma, ratio, orientation, rng)  # type: ignore[arg-type]
                found = lengths_in_space(
                    x, b, np.arange(1500) % 30, orientation=orientation, spread_deg=spread, replicates=100, rng=rng
                )  # type: ignore[arg-type]
                for k, v in truth.items():
                    f = found.figures[k]
                    worst[k] = max(worst[k], abs(f.value / v - 1))
                    raw[k] = max(raw[k], abs(found.measured[k] / v - 1))
                    covered += f.lower <= v <= f.upper
            what = f"{orientation}, sigma {sigma:g}, {ratio:g}:1"
            share = covered / runs / len(truth)
            print(f"{what:34} {' '.join(f'{100 * w:7.2f}' for w in worst.values())}   {share:.2f}")
            print(f"{'  as measured':34} {' '.join(f'{100 * w:7.2f}' for w in raw.values())}", flush=True)


if __name__ == "__main__":
    main()
