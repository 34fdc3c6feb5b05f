"""Pictures labelled per second, decoding included: python -m bench.label.speed [--pictures 120] [--format jpg]"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from crystalscope.config import load_config
from crystalscope.labelling import label_folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=120)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--format", default="jpg", choices=("jpg", "png"))
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pictures"
        folder.mkdir()
        ground = cv2.GaussianBlur(rng.normal(170, 30, (1000, 1112)).astype(np.float32), (0, 0), 1.5)
        for k in range(args.pictures):
            picture = np.clip(np.roll(ground, k, axis=1), 0, 255).astype(np.uint8)
            cv2.circle(picture, (200 + 4 * k, 500), 60, 40, -1, cv2.LINE_AA)
            cv2.imwrite(str(folder / f"{k:04d}.{args.format}"), picture)
        config = load_config()
        label_folder(folder, Path(scratch) / "warm", config=config, workers=args.workers)
        begun, used = time.monotonic(), time.process_time()
        label_folder(folder, Path(scratch) / "run", config=config, workers=args.workers)
        took, used = time.monotonic() - begun, time.process_time() - used
    print(
        f"{args.pictures} pictures of 1112 x 1000 px, {args.format}: {args.pictures / took:.0f} per s on "
        f"{args.workers} threads; {1000 * used / args.pictures:.1f} ms of processor time each"
    )


if __name__ == "__main__":
    main()
