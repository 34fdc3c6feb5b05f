"""What a crop moved by two px and tiles change: python -m bench.crystals.stability FOLDER … [--move PX] [--out FILE]

Every picture is cut twice, the second time moved by `--move` px; particles that lie inside both crops are counted in
each. Then the same pictures by tiles of 512 px and whole. And once more: the same bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from bench.crystals.evaluate import read_set
from crystalscope.config import AnalyzeConfig
from crystalscope.core import Image, Instances
from crystalscope.io.tables import write_json
from crystalscope.learn.evaluate import found_in
from crystalscope.score import Matching, Pair, match, pooled
from crystalscope.segment import crystals
from crystalscope.segment.crystals import CrystalsSegmenter

_MARGIN = 4


def inside(found: Instances, top: int, left: int, bottom: int, right: int) -> Instances:
    """Particles whose box lies in a part of the picture."""
    b = found.boxes
    return found.select((b[:, 0] >= top) & (b[:, 1] >= left) & (b[:, 2] <= bottom) & (b[:, 3] <= right))


def agreement(a: Instances, b: Instances) -> Matching:
    """How far two results agree."""
    return match(Pair(a, b, np.zeros(len(b), dtype=bool)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--move", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    segmenter = CrystalsSegmenter(AnalyzeConfig())
    counts = np.zeros(2, dtype=int)
    moved, tiled = [], []
    same = True
    for folder in args.folders:
        readers, _ = read_set(folder, "*")
        for read in readers.values():
            data = np.asarray(read().data)
            h, w = data.shape[0] - args.move, data.shape[1] - args.move
            m, d = _MARGIN, args.move
            one = inside(found_in(segmenter, Image(data[:h, :w], None)), m + d, m + d, h - m, w - m)
            two = inside(found_in(segmenter, Image(data[d:, d:], None)), m, m, h - m - d, w - m - d)
            counts += [len(one), len(two)]
            shifted = Instances.from_crops(
                [two.crop(k) for k in range(len(two))],
                [(int(r) + d, int(c) + d) for r, c in two.boxes[:, :2]],
                field=one.field,
                score=two.score,
            )
            moved.append(agreement(shifted, one))
            whole = found_in(segmenter, Image(data, None))
            again = found_in(segmenter, Image(data, None))
            same &= bool(np.array_equal(whole.pixels, again.pixels) and np.array_equal(whole.score, again.score))
            with mock.patch.multiple(crystals, _TILE=512, _OVERLAP=256):
                tiled.append(agreement(found_in(segmenter, Image(data, None)), whole))
    result: dict[str, Any] = {
        "particles": counts.tolist(),
        "count_change": float(counts[1] / counts[0] - 1),
        "f1_moved": pooled(moved).f1,
        "f1_tiled": pooled(tiled).f1,
        "same_bytes": same,
    }
    print(result)
    if args.out:
        write_json(args.out, result)


if __name__ == "__main__":
    main()
