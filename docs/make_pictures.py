"""Draws the pictures of the documentation: python docs/make_pictures.py [NAME …]

Names: sheets (the contact sheets of the presets), and those of the makers in particle_pictures.py; all without one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from particle_pictures import PICTURES

from crystalscope.scenes import preset, scenes_of

HERE = Path(__file__).parent / "images"
WIDTH, HEIGHT = 400, 320
SHEETS = {
    "scenes-presets": ["backlit-crystals", "needles", "agglomerates", "beads", "flow-cell", "impurity"],
    "scenes-varied": ["varied-backlit", "varied-reflected", "varied-flow-cell", "varied-polars"],
}


def tile(data: np.ndarray) -> np.ndarray:
    """A picture cut and scaled to the size of a tile, 8 bit BGR."""
    if data.dtype == np.uint16:
        data = (data / (65535 if data.max() > 4095 else 4095) * 255).astype(np.uint8)
    bgr = cv2.cvtColor(data, cv2.COLOR_GRAY2BGR if data.ndim == 2 else cv2.COLOR_RGB2BGR)
    scale = max(WIDTH / bgr.shape[1], HEIGHT / bgr.shape[0])
    small = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    r, c = (small.shape[0] - HEIGHT) // 2, (small.shape[1] - WIDTH) // 2
    return small[r : r + HEIGHT, c : c + WIDTH]


def sheets() -> None:
    """Contact sheets of the presets."""
    for name, presets in SHEETS.items():
        each = 1 if name == "scenes-presets" else 3
        scenes = [s for k, p in enumerate(presets) for s in scenes_of(preset(p), frames=each, seed=21 + k)]
        tiles = [tile(np.asarray(s.image.data)) for s in scenes]
        rows = [np.hstack(tiles[i : i + 3]) for i in range(0, len(tiles), 3)]
        cv2.imwrite(str(HERE / f"{name}.jpg"), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 80])
    batch = preset("cooling-experiment")
    states = [f for k in (5, 78, 95, 120, 240, 268) for f in scenes_of(batch, frames=k + 1, seed=3, first=k)]
    tiles = [tile(np.asarray(s.image.data)) for s in states]
    rows = [np.hstack(tiles[i : i + 3]) for i in range(0, len(tiles), 3)]
    cv2.imwrite(str(HERE / "scenes-cooling.jpg"), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 80])


def main() -> None:
    wanted = sys.argv[1:]
    for maker in (sheets, *PICTURES):
        if not wanted or maker.__name__ in wanted:
            maker()
            print(maker.__name__, flush=True)


if __name__ == "__main__":
    main()
