"""From nothing to the shipped third look of the network `crystals`: what a body is.

python -m bench.crystals.kinds data --data DIR --out OUT      patches of sets that `bench.crystals.ship data` renders
python -m bench.crystals.kinds train --out OUT                trains (15 minutes on a core), from the second look
python -m bench.crystals.kinds card --out OUT                 exports into the package with its card
python -m bench.crystals.kinds check NAME=SET …               adds to the card how bodies of rendered sets are called

Checked are bodies that the network finds and that are true to 0.6 (IoU), or lie in an agglomerate.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crystalscope import __version__
from crystalscope.config import AnalyzeConfig, CrystalsConfig
from crystalscope.datasets import open_dataset
from crystalscope.io.tables import write_json
from crystalscope.learn.evaluate import found_in
from crystalscope.learn.export import export_kinds, load_second_onnx
from crystalscope.learn.kinds import KindsNet, begun, bodies_of, train_kinds
from crystalscope.score.instances import mask_iou
from crystalscope.segment.crystals import CrystalsSegmenter
from crystalscope.segment.kinds import AGGLOMERATE, CLASSES, MEMBER, kinds_path
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


def called(folder: Path) -> NDArray[np.int64]:
    """Bodies of a class in truth (rows) and as they are called (columns)."""
    segmenter = CrystalsSegmenter(AnalyzeConfig(crystals=CrystalsConfig(diameter_px=60.0)))
    dataset = open_dataset(folder)
    truth = dataset.truth()
    out = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    for i in range(len(dataset)):
        image = dataset.read(i)
        known, own = truth[image.source], found_in(segmenter, image)
        if not len(own) or not len(known.instances):
            continue
        true = known.instances
        iou = mask_iou(own, true)
        # Of a crowd it is the share of what was found that lies in it.
        joined = true.kind == AGGLOMERATE
        inside = mask_iou(own, true, crowd=joined)[:, joined].max(axis=1, initial=0.0)
        which = iou.argmax(axis=1)
        best = iou[np.arange(len(own)), which]
        actual = np.where(best >= 0.6, true.kind[which], np.where(inside >= 0.7, MEMBER, -1))
        actual[(best == 0) | known.ignore[which]] = -1
        # Members are found as crystals that carry the number of an agglomerate.
        said = np.where((own.kind == 0) & (own.agglomerate > 0), MEMBER, own.kind)
        np.add.at(out, (actual[actual >= 0], said[actual >= 0]), 1)
    return out


def card(out: Path) -> Path:
    """Export into the package; what is measured of these weights is added to the card afterwards."""
    net = KindsNet()
    net.load_state_dict(torch.load(out / "kinds.pt", weights_only=True))
    told = {
        "name": "crystals-kinds",
        "made_by": f"crystalscope {__version__}",
        "command": "python -m bench.crystals.kinds data|train|card|check, python -m bench.form.rendered --rates",
        "classes": CLASSES,
        "data": {"sets": SETS, "of": "bench.crystals.ship data"},
        "schedule": {"steps": STEPS, "batch": BATCH, "seed": SEED},
        "limits": LIMITS,
        "licence": "BSD-3-Clause",
    }
    return export_kinds(net, kinds_path(weights_path("crystals")), card=told)


def check(sets: Sequence[str]) -> None:
    """Add to the card how bodies of some sets, NAME=FOLDER, are called."""
    scores = {}
    for one in sets:
        name, _, folder = one.partition("=")
        rows = zip(CLASSES, called(Path(folder)), strict=True)
        scores[name] = {c: dict(zip(CLASSES, r.tolist(), strict=True)) for c, r in rows if r.any()}
        print(name, scores[name], flush=True)
    add_to_card({"called": scores})


def add_to_card(values: dict[str, Any]) -> None:
    """Write what was measured of the shipped weights into their card."""
    path = kinds_path(weights_path("crystals")).with_suffix(".json")
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("data", "train", "card", "check"))
    parser.add_argument("sets", nargs="*", help="of check: NAME=SET")
    parser.add_argument("--data", type=Path, help="where the sets lie")
    parser.add_argument("--out", type=Path, help="for patches and weights")
    args = parser.parse_args()
    if args.stage == "check":
        check(args.sets)
    elif args.out is None:
        parser.error("expected --out")
    elif args.stage == "data":
        data(args.data, args.out)
    elif args.stage == "train":
        train(args.out)
    else:
        print(card(args.out))


if __name__ == "__main__":
    main()
