"""Scores of the network `crystals`.

python -m bench.crystals.evaluate NAME=FOLDER … [--weights FILE] [--overlays DIR] [--out FILE]

A folder is a dataset (dataset.toml, outlines) or one of the real back-lit frames: NAME.jpg with NAME_mask.png beside
it, of which `--pictures` takes some.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystalscope.config import AnalyzeConfig
from crystalscope.core import Image, Instances
from crystalscope.datasets import open_dataset
from crystalscope.io.coco import Annotated
from crystalscope.io.masks import instances_of, mask_files, read_mask
from crystalscope.io.pictures import read_picture, write_png
from crystalscope.io.tables import write_json
from crystalscope.learn.evaluate import evaluate
from crystalscope.learn.job import short
from crystalscope.learn.plots import compared
from crystalscope.measure import measure_columns
from crystalscope.score import Pair, matched
from crystalscope.segment.crystals import CrystalsSegmenter

Readers = dict[str, Callable[[], Image]]
SLENDER = 5.0
"""Length over width from which a true body is a needle."""


def read_set(folder: Path, pictures: str) -> tuple[Readers, dict[str, Annotated]]:
    """Pictures and truth of a folder."""
    if (folder / "dataset.toml").exists():
        data = open_dataset(folder)
        truth = data.truth()
        names = [str(f) for f in data.frames["file"]]
        return {n: partial(data.read, i) for i, n in enumerate(names) if n in truth}, truth
    readers: Readers = {}
    found: dict[str, Annotated] = {}
    for stem, file in mask_files(folder).items():
        if not any(fnmatch(stem, p) for p in pictures.split(",")):
            continue
        instances = instances_of(read_mask(file))
        n = len(instances)
        found[stem] = Annotated(stem, instances, np.arange(1, n + 1), np.zeros(n, dtype=bool))
        readers[stem] = partial(_image, folder / f"{stem}.jpg")
    return readers, found


def _image(path: Path) -> Image:
    return Image(read_picture(path).data, None, source=path.name)


def needles(found: dict[str, Annotated], truth: dict[str, Annotated]) -> dict[str, float]:
    """Share of the true needles found as one particle with a length within 10 %; those cut by the edge do not count."""
    total = good = seen = 0
    for name, f in found.items():
        t = truth[name]
        true, own = _measured(t.instances), _measured(f.instances)
        wanted = (true[:, 0] > SLENDER * true[:, 1]) & (true[:, 3] == 0) & ~t.ignore
        hit, which, _, _ = matched(Pair(f.instances, t.instances, t.ignore), threshold=0.25)
        total += int(wanted.sum())
        for i, j in zip(hit, which, strict=True):
            if wanted[j]:
                seen += 1
                good += abs(own[i, 0] / true[j, 0] - 1) <= 0.1
    return {"needles": total, "found": seen / max(total, 1), "whole": good / max(total, 1)}


def _measured(instances: Instances) -> NDArray[np.float64]:
    """Columns Feret max, Feret min, ECD, touches the border."""
    measured = measure_columns(instances, np.zeros(instances.field.shape, np.uint8))
    return np.column_stack([measured[c] for c in ("feret_max", "feret_min", "ecd", "touches_border")]).astype(float)


def beads(found: dict[str, Annotated], truth: dict[str, Annotated]) -> dict[str, float]:
    """Median ECD and its coefficient of variation, found over true, of whole particles in focus."""
    sizes = []
    for side in (found, truth):
        values = []
        for a in side.values():
            m = _measured(a.instances)
            values.append(m[(m[:, 3] == 0) & ~a.ignore, 2])
        sizes.append(np.concatenate(values))
    own, true = sizes
    return {
        "d50_error": float(np.median(own) / np.median(true) - 1) if len(own) else math.nan,
        "cv_inflation": float((own.std() / own.mean()) / (true.std() / true.mean())) if len(own) else math.nan,
    }


def scores_of(
    segmenter: CrystalsSegmenter, readers: Readers, truth: dict[str, Annotated]
) -> tuple[dict[str, Any], dict[str, Annotated]]:
    """Scores, those of needles, of sizes and of the count."""
    result, found = evaluate(segmenter, readers, truth)
    counted = sum(int((~truth[n].ignore).sum()) for n in found)
    own = result["instances"]["tp"] + result["instances"]["fp"]
    out = short(result) | {"count_error": own / max(counted, 1) - 1}
    return out | needles(found, truth) | beads(found, truth), found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", help="NAME=FOLDER")
    parser.add_argument("--weights", default="crystals")
    parser.add_argument("--pictures", default="frame_14*,frame_157*,frame_163*")
    parser.add_argument("--least-score", type=float, nargs="*")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--overlays", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    results: dict[str, Any] = {}
    for given in args.sets:
        name, _, folder = given.partition("=")
        readers, truth = read_set(Path(folder), args.pictures)
        for least in args.least_score or [None]:
            settings: dict[str, Any] = {"weights": args.weights, "precision": args.precision}
            if least is not None:
                settings["least_score"] = least
            segmenter = CrystalsSegmenter(AnalyzeConfig(crystals=settings))
            scores, found = scores_of(segmenter, readers, truth)
            key = name if least is None else f"{name} at {least}"
            results[key] = scores
            print(
                key, json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in scores.items()}), flush=True
            )
        if args.overlays:
            for n, f in found.items():
                write_png(args.overlays / name / f"{Path(n).stem}.png", compared(readers[n](), f.instances, truth[n]))
    if args.out:
        write_json(args.out, results)


if __name__ == "__main__":
    main()
