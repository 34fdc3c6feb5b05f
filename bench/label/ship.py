"""Makes the shipped labelling network, in stages that go on where they stopped.

python -m bench.label.ship data --out DIR
python -m bench.label.ship train --out DIR [--start FILE]
python -m bench.label.ship card --out DIR [--start FILE]

`data` renders pictures of `learn.label_data.recipes` into DIR/data, DIR/rich and (empty ones) DIR/bare, DIR/empty.
`train` goes on from the weights FILE (those that are shipped now). Every twelfth picture is for validation, and all of
DIR/empty: on those `card` sets calibration and thresholds, and it writes DIR/label.onnx.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

from crystalscope import __version__
from crystalscope.learn.label_data import LabelPicture, load_pictures, rendered, save_pictures
from crystalscope.learn.label_job import LabelParts, finished
from crystalscope.learn.label_net import LabelNet, export_labels, load_labels_onnx
from crystalscope.learn.label_train import LabelSchedule, train_labels
from crystalscope.weights import read_card, weights_path

CHUNK, HELD = 25, 12
DATA, RICH, BARE, EMPTY = (6000, 4001), (900, 4002), (150, 4004), (150, 4003)
"""Rendered pictures and their seed; BARE and EMPTY show nothing but ghosts, dust and noise."""
FIRST = 1800
"""Pictures of DATA that the first stage learns."""
STAGES = (
    LabelSchedule(steps=8000, rate=1e-3, keep=0.997, freeze=False, seed=6),
    LabelSchedule(steps=12000, rate=8e-4, keep=0.998, freeze=False, seed=7),
)

LIMITS = (
    "On 250 pictures of another renderer (python -m bench.label.evaluate, seed 211): macro F1 0.82; ufo 0.47, "
    "block 0.73, platelet 0.72, all others from 0.84 to 0.99.",
    "Of pictures that show nothing but ghosts, dust or noise 12 % are said to show an object.",
    "Weak between crossed polars (macro F1 0.69) and on speckled reflected light (0.75).",
)


def pictures_of(folder: Path) -> tuple[list[LabelPicture], list[LabelPicture]]:
    """Pictures to learn and those of the validation."""
    every = [p for f in sorted(folder.glob("*.npz")) for p in load_pictures(f)]
    return [p for i, p in enumerate(every) if i % HELD], every[::HELD]


def make_data(folder: Path, pictures: int, seed: int, *, rich: bool = False, empty: bool = False) -> None:
    """Render what is not there."""
    for first in range(0, pictures, CHUNK):
        file = folder / f"{first:05d}.npz"
        if not file.exists():
            chunk = rendered(first, min(first + CHUNK, pictures), seed=seed, rich=rich, empty=empty)
            print(save_pictures(file, list(chunk)), flush=True)


def learnt(out: Path, *, last: bool) -> list[LabelPicture]:
    """Pictures to learn: in the first stage the first of DATA and BARE, then all."""
    files = [f for f in sorted((out / "data").glob("*.npz")) if last or int(f.stem) < FIRST]
    every = [p for f in files for p in load_pictures(f)]
    mine = [p for i, p in enumerate(every) if i % HELD] + pictures_of(out / "bare")[0]
    return mine + (pictures_of(out / "rich")[0] if last else [])


def train(out: Path, start: Path) -> None:
    """On from weights that there are, stage by stage."""
    net = load_labels_onnx(start)
    for k, schedule in enumerate(STAGES):
        here = out / f"stage{k}"
        if (here / "mean.pt").exists():
            net.load_state_dict(torch.load(here / "mean.pt", weights_only=True))
            continue
        net = train_labels(learnt(out, last=k > 0), here, schedule=schedule, net=net, note=_told)
        torch.save(net.state_dict(), here / "mean.pt")


def card(out: Path, start: Path) -> Path:
    """Calibrate and export."""
    learn = learnt(out, last=True)
    check = pictures_of(out / "data")[1] + pictures_of(out / "rich")[1]
    check += [p for f in sorted((out / "empty").glob("*.npz")) for p in load_pictures(f)]
    net = LabelNet()
    net.load_state_dict(torch.load(out / f"stage{len(STAGES) - 1}" / "mean.pt", weights_only=True))
    before = read_card(start, task="label", format_version=1)
    told = {
        "name": "label",
        "made_by": f"crystalscope {__version__}",
        "command": "python -m bench.label.ship data|train|card",
        "start": {key: before[key] for key in ("sha256", "data", "schedule", "start") if key in before},
        "data": [
            {"recipes": "learn.label_data.recipes()", "pictures": DATA[0], "seed": DATA[1]},
            {"recipes": "learn.label_data.recipes(rich=True)", "pictures": RICH[0], "seed": RICH[1]},
            {"recipes": "learn.label_data.recipes(), empty", "pictures": BARE[0], "seed": BARE[1]},
            {
                "recipes": "learn.label_data.recipes(), empty",
                "pictures": EMPTY[0],
                "seed": EMPTY[1],
                "for": "validation",
            },
        ],
        "pictures": {"learnt": len(learn), "validation": len(check)},
        "schedule": [asdict(s) for s in STAGES],
        "limits": LIMITS,
        "licence": "BSD-3-Clause",
    }
    told |= finished(net, LabelParts(learn, check, check), out)
    told["scores"].pop("test")
    told["calibration_error"].pop("test")
    return export_labels(net, out / "label.onnx", card=told)


def _told(step: int, values: dict[str, float]) -> None:
    if step % 25 == 0:
        print(step, " ".join(f"{k} {v:.3f}" for k, v in values.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("data", "train", "card"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, default=weights_path("label"))
    args = parser.parse_args()
    if args.stage == "data":
        make_data(args.out / "data", *DATA)
        make_data(args.out / "rich", *RICH, rich=True)
        make_data(args.out / "empty", *EMPTY, empty=True)
        make_data(args.out / "bare", *BARE, empty=True)
    elif args.stage == "card":
        print(card(args.out, args.start))
    else:
        train(args.out, args.start)


if __name__ == "__main__":
    main()
