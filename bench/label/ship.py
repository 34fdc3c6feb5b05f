"""Makes the shipped labelling network, in stages that go on where they stopped.

python -m bench.label.ship data --out DIR [--pictures 500] [--seed 3001] [--part 0 --parts 2]
python -m bench.label.ship sets SET [SET ...] --out DIR
python -m bench.label.ship head --out DIR
python -m bench.label.ship train --out DIR [--steps 3000]
python -m bench.label.ship card --out DIR

Pictures are those of `learn.label_data.recipes`, rendered, and those of the sets of `bench.crystals.ship data`; every
twelfth is for validation. `head` trains what follows
the encoder of `crystals` while that rests, `train` both, `card` sets calibration and thresholds and writes label.onnx.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from crystalscope import __version__
from crystalscope.learn.export import load_onnx
from crystalscope.learn.label_data import LabelPicture, load_pictures, pictures_of_set, rendered, save_pictures
from crystalscope.learn.label_job import LabelParts, finished
from crystalscope.learn.label_net import LabelNet, export_labels, load_encoder
from crystalscope.learn.label_train import HeadSchedule, LabelSchedule, train_head, train_labels
from crystalscope.weights import weights_path

CHUNK, HELD = 25, 12


def pictures_of(out: Path) -> tuple[list[LabelPicture], list[LabelPicture]]:
    """Pictures to learn and those of the validation."""
    every = [p for f in sorted((out / "data").glob("*.npz")) for p in load_pictures(f)]
    return [p for i, p in enumerate(every) if i % HELD], every[::HELD]


def make_data(out: Path, *, pictures: int, seed: int, part: int, parts: int) -> None:
    """Render the chunks of one part."""
    for first in range(part * CHUNK, pictures, parts * CHUNK):
        file = out / "data" / f"{first:05d}.npz"
        if not file.exists():
            save_pictures(file, list(rendered(first, min(first + CHUNK, pictures), seed=seed)))
            print(file, flush=True)


def take_sets(out: Path, sets: Sequence[Path]) -> None:
    """Bring rendered sets in."""
    for folder in sets:
        file = out / "data" / f"{folder.name}.npz"
        if not file.exists():
            print(save_pictures(file, list(pictures_of_set(folder))), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("data", "sets", "head", "train", "card"))
    parser.add_argument("sets", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--seed", type=int, default=3001)
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--head-steps", type=int, default=HeadSchedule().steps)
    args = parser.parse_args()
    if args.stage == "data":
        make_data(args.out, pictures=args.pictures, seed=args.seed, part=args.part, parts=args.parts)
        return
    if args.stage == "sets":
        take_sets(args.out, args.sets)
        return
    begun = time.monotonic()
    learn, check = pictures_of(args.out)
    torch.manual_seed(0)
    net = LabelNet()
    load_encoder(net, load_onnx(weights_path("crystals")))
    plans = {"head": HeadSchedule(steps=args.head_steps), "train": LabelSchedule(steps=args.steps)}

    def note(step: int, values: dict[str, float]) -> None:
        if step % 25 == 0:
            told = " ".join(f"{k} {v:.3f}" for k, v in values.items())
            print(step, told, f"{time.monotonic() - begun:.0f} s", flush=True)

    train_head(learn, net, schedule=replace(plans["head"]), folder=args.out / "head", note=note)
    if args.stage == "head":
        return
    trained = (args.out / "train" / "checkpoint.pt").exists()
    if args.stage == "train" or trained:
        net = train_labels(learn, args.out / "train", schedule=plans["train"], net=net, note=note)
    if args.stage == "train":
        return
    card = {
        "name": "label",
        "made_by": f"crystalscope {__version__}",
        "command": shlex.join(["python", "-m", "bench.label.ship", *sys.argv[1:]]),
        "data": [{"name": "rendered", "recipes": "learn.label_data.recipes", "pictures": len(learn) + len(check),
                  "seed": args.seed}],
        "pictures": {"learnt": len(learn), "validation": len(check)},
        "schedule": {"head": asdict(plans["head"]), **({"train": asdict(plans["train"])} if trained else {})},
        "licence": "BSD-3-Clause",
    }  # fmt: skip
    card |= finished(net, LabelParts(learn, check, check), args.out)
    card["scores"].pop("test")
    card["calibration_error"].pop("test")
    print(export_labels(net, args.out / "label.onnx", card=card))


if __name__ == "__main__":
    main()
