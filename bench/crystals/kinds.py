"""From nothing to the shipped third look of the network `crystals`: what a body is.

python -m bench.crystals.kinds data --data DIR --out OUT      patches of sets that `bench.crystals.ship data` renders
python -m bench.crystals.kinds train --out OUT                trains (half an hour on a core), from the second look
python -m bench.crystals.kinds card --out OUT [--check NAME=SET …]   exports into the package with its card

A check is a rendered set: of the bodies that the network finds there and that are true to 0.6 (IoU), or lie in an
agglomerate, how many are called what.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from crystalscope import __version__
from crystalscope.config import AnalyzeConfig, CrystalsConfig
from crystalscope.core import Instances
from crystalscope.datasets import open_dataset
from crystalscope.learn.evaluate import found_in
from crystalscope.learn.export import export_kinds, load_second_onnx
from crystalscope.learn.kinds import KindsNet, begun, bodies_of, train_kinds
from crystalscope.segment.crystals import CrystalsSegmenter
from crystalscope.segment.kinds import CLASSES, MEMBER, kinds_path
from crystalscope.segment.second import second_path
from crystalscope.weights import weights_path

SETS = ("agglomerates", "varied_a", "varied_b", "crystals", "round", "overlapping", "needles")
STEPS, BATCH, SEED = 1800, 64, 1
LIMITS = (
    "Rendered bodies only. Whether crystals that touch are joined is seen less well on pictures of another renderer "
    "than on those of the one that was learnt.",
    "Bubbles, droplets and other bodies are few among those learnt.",
)


def data(sets: Path, out: Path) -> None:
    """Patches of what is not there."""
    out.mkdir(parents=True, exist_ok=True)
    for name in SETS:
        file = out / f"{name}.npz"
        if file.exists():
            continue
        parts = list(bodies_of(sets / name, rng=np.random.default_rng(5)))
        seen = np.concatenate([x for x, _ in parts]).astype(np.float16)
        classes = np.concatenate([c for _, c in parts])
        np.savez(file, X=seen, Y=classes)
        print(name, dict(zip(CLASSES, np.bincount(classes, minlength=len(CLASSES)).tolist(), strict=True)), flush=True)


def train(out: Path) -> None:
    """Train and keep the weights."""
    parts = []
    for name in SETS:
        with np.load(out / f"{name}.npz", allow_pickle=False) as file:
            parts.append((file["X"], file["Y"]))
    torch.manual_seed(0)
    net = begun(load_second_onnx(second_path(weights_path("crystals"))))
    seen, classes = (np.concatenate(p) for p in zip(*parts, strict=True))
    for step, loss in train_kinds(net, seen, classes, steps=STEPS, batch=BATCH, seed=SEED):
        if step % 100 == 0:
            print(step, round(loss, 3), flush=True)
    torch.save(net.state_dict(), out / "kinds.pt")


def checked(folder: Path) -> NDArray[np.int64]:
    """Bodies of a class in truth (rows) and as they are called (columns)."""
    segmenter = CrystalsSegmenter(AnalyzeConfig(crystals=CrystalsConfig(diameter_px=60.0)))
    dataset = open_dataset(folder)
    truth = dataset.truth()
    out = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    for i in range(len(dataset)):
        image = dataset.read(i)
        known = truth[image.source]
        found = found_in(segmenter, image)
        for k in range(len(found)):
            actual = _truth_of(found, k, known.instances, known.ignore)
            if actual is not None:
                # Members are found as crystals that carry the number of an agglomerate.
                member = found.kind[k] == 0 and found.agglomerate[k] > 0
                out[actual, MEMBER if member else int(found.kind[k])] += 1
    return out


def _truth_of(found: Instances, k: int, true: Instances, ignore: NDArray[np.bool_]) -> int | None:
    r0, c0, r1, c1 = (int(v) for v in found.boxes[k])
    crop = found.crop(k) > 0
    best, which, inside = 0.0, -1, 0.0
    for j, (a, b, c, d) in enumerate(true.boxes):
        y0, x0, y1, x1 = max(r0, a), max(c0, b), min(r1, c), min(c1, d)
        if y0 >= y1 or x0 >= x1:
            continue
        other = true.crop(j)
        shared = int(
            np.count_nonzero(crop[y0 - r0 : y1 - r0, x0 - c0 : x1 - c0] & (other[y0 - a : y1 - a, x0 - b : x1 - b] > 0))
        )
        union = int(crop.sum()) + int(np.count_nonzero(other)) - shared
        if shared / union > best:
            best, which = shared / union, j
        if true.kind[j] == 1:
            inside = max(inside, shared / int(crop.sum()))
    if which < 0 or ignore[which]:
        return None
    return int(true.kind[which]) if best >= 0.6 else MEMBER if inside >= 0.7 else None


def card(out: Path, checks: Sequence[str]) -> Path:
    """Export with the card, then check, and write the card anew with the scores."""
    net = KindsNet()
    net.load_state_dict(torch.load(out / "kinds.pt", weights_only=True))
    told = {
        "name": "crystals-kinds",
        "made_by": f"crystalscope {__version__}",
        "command": "python -m bench.crystals.kinds data|train|card",
        "classes": CLASSES,
        "data": {"sets": SETS, "of": "bench.crystals.ship data"},
        "schedule": {"steps": STEPS, "batch": BATCH, "seed": SEED},
        "limits": LIMITS,
        "licence": "BSD-3-Clause",
    }
    with resources.as_file(resources.files("crystalscope") / "weights" / "crystals.onnx") as weights:
        path = kinds_path(weights)
    export_kinds(net, path, card=told)
    scores = {}
    for check in checks:
        name, _, folder = check.partition("=")
        counts = checked(Path(folder))
        rows = {c: dict(zip(CLASSES, r.tolist(), strict=True)) for c, r in zip(CLASSES, counts, strict=True) if r.any()}
        scores[name] = rows
        print(name, rows, flush=True)
    return export_kinds(net, path, card=told | {"called": scores})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("data", "train", "card"))
    parser.add_argument("--data", type=Path, help="where the sets lie")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--check", nargs="*", default=(), help="NAME=SET")
    args = parser.parse_args()
    if args.stage == "data":
        data(args.data, args.out)
    elif args.stage == "train":
        train(args.out)
    else:
        print(card(args.out, args.check))


if __name__ == "__main__":
    main()
