"""How often the interval of a share holds the truth, and its bias, over simulated runs.

    python -m bench.form.coverage [--runs 500]

A run: 40 frames of 25 to 75 particles; every particle is called by a classifier with the given rates; the rates are
known from 300 labelled particles of each class, drawn anew for every run. Asked: 93 to 97 % for intervals of 95 %.
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=500)
    runs = parser.parse_args().runs
    print(f"{'ratio':12} {'held':>7} {'mean':>8} {'median':>8} {'truth':>7} {'width':>7}")
    for name, rates, shares in CASES:
        held, mean, median, width = coverage(rates, shares, runs)
        print(f"{name:12} {held:7.3f} {mean:8.4f} {median:8.4f} {shares[-1]:7.3f} {width:7.4f}", flush=True)


if __name__ == "__main__":
    main()
