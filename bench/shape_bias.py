"""Bias of the measures on shapes of known truth, rendered with blur and noise.

    python bench/shape_bias.py [--repeats 60]

Shapes are sampled 8 x 8 per px, blurred by 0.7 px, given noise of 2 % of the contrast, thresholded at half contrast, at
random rotation and sub-pixel shift. Size is the diameter of the circle of equal area.
"""

from __future__ import annotations

import argparse
import math

import cv2
import numpy as np
import pandas as pd

from crystalscope.core import FieldOfView, Instances
from crystalscope.measure import measure_columns
from crystalscope.scenes import outline_measures

SHAPES = ("disc", "ellipse", "rectangle", "triangle", "polygon")
_FINE = 8


def _measures(p: np.ndarray) -> dict[str, float]:
    from shapely import Polygon

    return outline_measures(Polygon(p))


def outline(kind: str, size: float, rng: np.random.Generator) -> np.ndarray:
    """A convex outline whose circle of equal area has diameter `size`, turned at random."""
    if kind in ("disc", "ellipse"):
        t = np.linspace(0, 2 * math.pi, 360, endpoint=False)
        a = 1.0 if kind == "disc" else rng.uniform(1.2, 4)
        p = np.stack([np.cos(t) * a, np.sin(t)], axis=1)
    elif kind == "rectangle":
        a = rng.uniform(1, 5)
        p = np.array([[-a, -1], [a, -1], [a, 1], [-a, 1]])
    else:
        k = 3 if kind == "triangle" else int(rng.integers(5, 9))
        t = np.arange(k) * 2 * math.pi / k + rng.uniform(-0.6, 0.6, k) / k
        p = np.stack([np.cos(t), np.sin(t)], axis=1)
    p = p * size / _measures(p)["ecd"]
    turn = rng.uniform(0, 2 * math.pi)
    return p @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])


def mask_of(p: np.ndarray, *, blur: float, noise: float, rng: np.random.Generator) -> np.ndarray:
    """The outline as a camera and a threshold at half contrast see it."""
    n = int(np.ptp(p, axis=0).max()) + 14
    p = p + n / 2 - p.mean(axis=0) + rng.uniform(-0.5, 0.5, 2)
    y = (np.arange(n * _FINE)[:, None] + 0.5) / _FINE
    x = (np.arange(n * _FINE)[None, :] + 0.5) / _FINE
    inside = np.ones((n * _FINE, n * _FINE), dtype=bool)
    for a, b in zip(p, np.roll(p, -1, axis=0), strict=True):
        inside &= (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) >= 0
    grey = cv2.resize(inside.astype(np.float32), (n, n), interpolation=cv2.INTER_AREA)
    grey = cv2.GaussianBlur(grey, (0, 0), blur) if blur else grey
    mask = (grey + rng.normal(0, noise, grey.shape) > 0.5).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    return labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()


def measure_shapes(
    *, sizes: list[float], repeats: int, rng: int, blur: float = 0.7, noise: float = 0.02
) -> pd.DataFrame:
    """Relative errors: columns shape, size, measure, bias (mean) and worst (largest magnitude)."""
    generator = np.random.default_rng(rng)
    rows = []
    for kind in SHAPES:
        for size in sizes:
            for _ in range(repeats):
                p = outline(kind, size, generator)
                truth = _measures(p)
                mask = mask_of(p, blur=blur, noise=noise, rng=generator)
                c = measure_columns(Instances.from_masks([mask], field=FieldOfView(mask.shape)), mask.astype(np.uint8))
                got = {k: float(c[k][0]) for k in truth if k not in ("length", "width")}
                got |= {"length": float(c["rect_length"][0]), "width": float(c["rect_width"][0])}
                rows += [(kind, size, k, got[k] / truth[k] - 1) for k in truth if k not in ("x", "y")]
    table = pd.DataFrame(rows, columns=["shape", "size", "measure", "error"])
    grouped = table.groupby(["shape", "size", "measure"])["error"]
    return pd.DataFrame({"bias": grouped.mean(), "worst": grouped.agg(lambda e: e.loc[e.abs().idxmax()])}).reset_index()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=60)
    args = parser.parse_args()
    sizes = [6, 10, 15, 20, 30, 60, 120, 200]
    table = measure_shapes(sizes=sizes, repeats=args.repeats, rng=0)
    measures = ["area", "ecd", "perimeter", "feret_max", "feret_min", "length", "width"]
    print("Mean bias over all shapes, in per cent (worst single case in brackets)\n")
    print("| size / px | " + " | ".join(measures) + " |\n|---" * 1 + "|---" * len(measures) + "|")
    for size in sizes:
        part = table[table["size"] == size].set_index(["measure", "shape"])
        cells = []
        for m in measures:
            worst = part.loc[m, "worst"]
            cells.append(f"{100 * part.loc[m, 'bias'].mean():+.1f} ({100 * worst.loc[worst.abs().idxmax()]:+.0f})")
        print(f"| {size} | " + " | ".join(cells) + " |")
    print("\nBias by shape at 30 px, in per cent\n")
    print("| shape | " + " | ".join(measures) + " |\n|---" + "|---" * len(measures) + "|")
    for shape in SHAPES:
        part = table[(table["size"] == 30) & (table["shape"] == shape)].set_index("measure")["bias"]
        print(f"| {shape} | " + " | ".join(f"{100 * part[m]:+.1f}" for m in measures) + " |")


if __name__ == "__main__":
    main()
