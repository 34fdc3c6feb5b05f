"""How often the interval of a share holds the truth, and its bias, over simulated runs.

    python -m bench.form.coverage [--runs 500]

A run: 40 frames of 25 to 75 particles; every particle is called by a classifier with the given rates; the rates are
known from 300 labelled particles of each class, drawn anew for every run. Asked: 93 to 97 % for intervals of 95 %.
Then impurities of 0 to 5 % by number, area and volume, impurity particles four times as large in area, log-normal with
sigma 0.6: asked is that the interval holds the truth in 90 % of the runs.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from crystalscope.impurity import Confusion, class_shares

Array = NDArray[np.float64]

TWO = np.array([[0.97, 0.03], [0.08, 0.92]])
THREE = np.array([[0.92, 0.05, 0.03], [0.06, 0.88, 0.06], [0.02, 0.10, 0.88]])
CASES = (
    ("1:99", TWO, (0.99, 0.01)),
    ("3:97", TWO, (0.97, 0.03)),
    ("10:90", TWO, (0.9, 0.1)),
    ("25:75", TWO, (0.75, 0.25)),
    ("50:50", TWO, (0.5, 0.5)),
    ("1:9:90", THREE, (0.9, 0.09, 0.01)),
    ("20:30:50", THREE, (0.5, 0.3, 0.2)),
)
LABELLED = 300


def simulate(rates: Array, shares: tuple[float, ...], rng: np.random.Generator) -> tuple[Array, Array, Confusion]:
    """Called classes, frames and a confusion matrix of one run."""
    names = tuple("ABC"[: len(shares)])
    counts = np.array([rng.multinomial(LABELLED, r) for r in rates], dtype=float)
    number = rng.integers(25, 76, 40)
    frame = np.repeat(np.arange(40), number)
    true = rng.choice(len(shares), size=len(frame), p=shares)
    called = (rng.uniform(size=len(frame))[:, None] > np.cumsum(rates, axis=1)[true]).sum(axis=1)
    return np.array(names)[called], frame, Confusion(names, counts)


def coverage(rates: Array, shares: tuple[float, ...], runs: int, seed: int = 0) -> tuple[float, float, float, float]:
    """Share of the runs whose interval of the last class holds the truth; mean and median estimate; mean width."""
    rng = np.random.default_rng(seed)
    held, values, widths = 0, [], []
    for _ in range(runs):
        called, frame, confusion = simulate(rates, shares, rng)
        f = class_shares(called, frame, confusion).shares[confusion.classes[-1]]
        held += f.lower <= shares[-1] <= f.upper
        values.append(f.value)
        widths.append(f.upper - f.lower)
    return held / runs, float(np.mean(values)), float(np.median(values)), float(np.mean(widths))


def weighted(share: float, runs: int, seed: int = 3) -> dict[str, float]:
    """Share of the runs whose interval of an impurity holds the truth, by number, area and volume.

    The truth by area and volume is that of the suspension, not of the particles that happened to be drawn.
    """
    rng = np.random.default_rng(seed)
    held = dict.fromkeys(("number", "area", "volume"), 0)
    truth = {k: share * f / (share * f + 1 - share) for k, f in (("number", 1.0), ("area", 4.0), ("volume", 8.0))}
    for _ in range(runs):
        counts = np.array([rng.multinomial(LABELLED, r) for r in TWO], dtype=float)
        frame = np.repeat(np.arange(40), 50)
        impure = rng.uniform(size=2000) < share
        called = rng.uniform(size=2000) < np.where(impure, TWO[1, 1], TWO[0, 1])
        area = np.where(impure, 4.0, 1.0) * np.exp(0.6 * rng.standard_normal(2000))
        # Volumes with the same spread about 8 to 1, so that the truth is known.
        volume = np.where(impure, 8.0, 1.0) * np.exp(0.9 * rng.standard_normal(2000))
        known = Confusion(("A", "B"), counts)
        found = class_shares(np.where(called, "B", "A"), frame, known, weights={"area": area, "volume": volume})
        figures = {"number": found.shares["B"], **{k: v["B"] for k, v in found.weighted.items()}}
        for k, f in figures.items():
            held[k] += f.lower - 1e-12 <= truth[k] <= f.upper
    return {k: v / runs for k, v in held.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=500)
    runs = parser.parse_args().runs
    print(f"{'ratio':12} {'held':>7} {'mean':>8} {'median':>8} {'truth':>7} {'width':>7}")
    for name, rates, shares in CASES:
        held, mean, median, width = coverage(rates, shares, runs)
        print(f"{name:12} {held:7.3f} {mean:8.4f} {median:8.4f} {shares[-1]:7.3f} {width:7.4f}", flush=True)
    print(f"\n{'impurity':12} {'number':>7} {'area':>7} {'volume':>7}  held")
    for share in (0.0, 0.005, 0.01, 0.03, 0.05):
        held = weighted(share, runs)
        print(f"{share:<12g} {' '.join(f'{v:7.3f}' for v in held.values())}", flush=True)


if __name__ == "__main__":
    main()
