"""Speed of the virtual instrument: python -m bench.scenes [--frames 20]

Pictures per second of wall time with two threads, and per second of processor time, which other programs on the machine
do not change.
"""

from __future__ import annotations

import argparse
import time

from crystalscope.scenes import preset, preset_names, scenes_of


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=20)
    args = parser.parse_args()
    print("| preset | Mpx a picture | pictures/s, 2 threads | processor s per picture of 1 Mpx |")
    print("|---|---|---|---|")
    for name in preset_names():
        recipe = preset(name)
        # Compiled before the clock starts.
        list(scenes_of(recipe, frames=2, seed=1, workers=2))
        wall, cpu = time.perf_counter(), time.process_time()
        size = sum(
            s.image.shape[0] * s.image.shape[1] for s in scenes_of(recipe, frames=args.frames, seed=5, workers=2)
        )
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        pixels = size / 1e6
        print(f"| {name} | {pixels / args.frames:.2f} | {args.frames / wall:.1f} | {cpu / pixels:.2f} |", flush=True)


if __name__ == "__main__":
    main()
