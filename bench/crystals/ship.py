"""From nothing to the shipped weights of the network `crystals`.

python -m bench.crystals.ship data --data DIR            renders the sets (an hour on two cores at most)
python -m bench.crystals.ship train --data DIR --out RUN  trains; goes on where it was interrupted
python -m bench.crystals.ship card RUN --scores FILE      exports RUN's network with its card into the package

FILE is written by `python -m bench.crystals.evaluate … --out FILE`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from bench.crystals.spheres import write_spheres
from crystalscope import __version__
from crystalscope.learn.export import export_crystals, export_second
from crystalscope.learn.guesses import with_guesses
from crystalscope.learn.net import CrystalNet
from crystalscope.learn.samples import Truth, describe, load_truth
from crystalscope.learn.second import SecondNet
from crystalscope.learn.train import Schedule, train, train_second
from crystalscope.segment.second import second_path


@dataclass(frozen=True)
class Part:
    """A set of pictures: recipe, number, seed, and how often each is taken in each stage."""

    name: str
    recipe: str
    frames: int
    seed: int
    weights: tuple[int, ...]


PARTS = (
    Part("crystals", "varied-crystals", 240, 2001, (2, 1, 1, 1, 1, 1)),
    Part("varied_a", "varied", 260, 2002, (1, 1, 1, 1, 1, 1)),
    Part("needles", "varied-needles", 220, 2003, (1, 2, 1, 1, 1, 1)),
    Part("round", "varied-round", 130, 2004, (1, 1, 1, 1, 1, 0)),
    Part("varied_b", "varied", 240, 2005, (1, 1, 1, 1, 1, 0)),
    Part("crowded", "varied-crowded", 150, 2006, (0, 0, 2, 2, 1, 1)),
    Part("crowded_r", "varied-crowded-reflected", 110, 2008, (0, 0, 2, 2, 1, 0)),
    Part("agglomerates", "varied-agglomerates", 260, 2007, (0, 0, 2, 2, 1, 1)),
    Part("overlapping", "varied-overlapping", 130, 2009, (0, 0, 0, 0, 3, 1)),
    Part("sieve", "varied-sieve", 320, 3001, (0, 0, 0, 0, 0, 2)),
)
SPHERES = (6, 6, 5, 5, 6, 4)
STAGES = (
    Schedule(steps=5000),
    Schedule(steps=1500, rate=1e-3, seed=1, checkpoint_every=100),
    Schedule(steps=5000, rate=1.5e-3, seed=2, checkpoint_every=100, stop=1500),
    Schedule(steps=1500, rate=1.2e-3, seed=3, checkpoint_every=100),
    Schedule(steps=500, rate=8e-4, seed=4, checkpoint_every=100, average=0.99),
    Schedule(steps=400, rate=8e-4, seed=8, checkpoint_every=100, average=0.99),
)
_LOOK = Schedule(
    steps=1500, sizes=(256, 320, 448, 640), pixels=6 * 320 * 320, seed=5, checkpoint_every=100, average=0.99
)
SECONDS = (
    (3, _LOOK),
    (3, replace(_LOOK, steps=2000, stop=1500, rate=1.5e-3, seed=6)),
    (4, replace(_LOOK, steps=600, rate=1e-3, seed=7)),
    (5, replace(_LOOK, steps=350, rate=1e-3, seed=9)),
)
"""Of the second look, with the stage whose pictures it sees; all but the first see guesses of its first look too."""
AVERAGED = 3
"""Last stages of either look whose weights are averaged: what one learns comes at the price of another's."""
GUESSED = 75
"""Pictures of each set in which the first look guesses."""
LIMITS = (
    "Crossing needles at the highest loading: three quarters are found, 58 % with a length within 10 %.",
    "Agglomerates of touching crystals often come out as their members.",
    "Of dark beads that cover each other most of the way two may be drawn as one.",
    "Trained on transmitted, reflected and polarised light as rendered; other optics (holography, fluorescence) not.",
    "Below 8 px across nothing is counted; lengths of needles thinner than 3 px are not to be trusted.",
)


def render(folder: Path, spheres: Path) -> None:
    """Render the sets that are not there."""
    for part in PARTS:
        out = folder / part.name
        if not (out / "dataset.toml").exists():
            command = ["scenes", "render", part.recipe, "--out", str(out), "-n", str(part.frames)]
            subprocess.run([sys.executable, "-m", "crystalscope.cli", *command, "--seed", str(part.seed)], check=True)
    if not (folder / "spheres").exists():
        write_spheres(spheres, folder / "spheres")


def mixture(folder: Path, stage: int) -> list[Truth]:
    """Pictures of a stage, repeated by their weights."""
    out: list[Truth] = []
    for part in PARTS:
        if part.weights[stage]:
            out += load_truth(folder / part.name) * part.weights[stage]
    return out + load_truth(folder / "spheres") * SPHERES[stage]


def run(folder: Path, out: Path) -> None:
    """Train all stages."""
    net: CrystalNet | None = None
    for stage, schedule in enumerate(STAGES):
        where = out / f"stage{stage}"
        done = where / "mean.pt"
        if not done.exists():
            net = train(mixture(folder, stage), where, schedule=schedule, start=net, report=_told)
            torch.save(net.state_dict(), done)
        net = CrystalNet()
        net.load_state_dict(torch.load(done, weights_only=True))
    looked: SecondNet | None = None
    for k, (stage, schedule) in enumerate(SECONDS):
        where = out / f"second{k}"
        done = where / "mean.pt"
        if not done.exists():
            truths = (
                mixture(folder, stage) if looked is None else guessed(folder, stage, _pair(out, stage, looked, where))
            )
            looked = train_second(truths, where, schedule=schedule, start=looked, report=_told)
            torch.save(looked.state_dict(), done)
        looked = SecondNet()
        looked.load_state_dict(torch.load(done, weights_only=True))


def _pair(out: Path, stage: int, looked: SecondNet, folder: Path) -> Path:
    """Both looks as a network that guesses."""
    net = CrystalNet()
    net.load_state_dict(torch.load(out / f"stage{stage}" / "mean.pt", weights_only=True))
    path = folder / "crystals.onnx"
    folder.mkdir(parents=True, exist_ok=True)
    export_second(looked, second_path(path), card={"name": "crystals-second"})
    export_crystals(net, path, card={"name": "crystals"})
    return path


def guessed(folder: Path, stage: int, weights: Path) -> list[Truth]:
    """Pictures of a stage with the guesses of the first look, repeated by their weights."""
    out: list[Truth] = []
    for part in PARTS:
        if part.weights[stage]:
            out += with_guesses(load_truth(folder / part.name)[:GUESSED], weights) * part.weights[stage]
            print(part.name, flush=True)
    return out + with_guesses(load_truth(folder / "spheres"), weights) * SPHERES[stage]


def _told(step: int, parts: dict[str, float]) -> None:
    if step % 50 == 0:
        print(step, " ".join(f"{k} {v:.3f}" for k, v in parts.items()), flush=True)


def _averaged(stages: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Mean weights of the last stages (Wortsman et al., ICML 2022)."""
    states = [torch.load(stage / "mean.pt", weights_only=True) for stage in stages[-AVERAGED:]]
    return {
        k: sum(s[k] for s in states) / len(states) if v.dtype.is_floating_point else v for k, v in states[-1].items()
    }


def ship(run_folder: Path, scores: dict[str, Any], *, notes: Sequence[str]) -> Path:
    """Write the ONNX files and their cards into the package."""
    net, looked = CrystalNet(), SecondNet()
    net.load_state_dict(_averaged([run_folder / f"stage{k}" for k in range(len(STAGES))]))
    looked.load_state_dict(_averaged([run_folder / f"second{k}" for k in range(len(SECONDS))]))
    target = Path(str(resources.files("crystalscope.weights").joinpath("crystals.onnx")))
    card = {
        "name": "crystals",
        "made_by": f"crystalscope {__version__}",
        "command": "python -m bench.crystals.ship data|train|card",
        "data": [asdict(p) for p in PARTS] + [{"name": "spheres", "recipe": "SEM, MIT licence", "weights": SPHERES}],
        "stages": [asdict(s) for s in STAGES],
        "second": [{"stage": stage} | asdict(schedule) for stage, schedule in SECONDS],
        "averaged": AVERAGED,
        "notes": list(notes),
        "scores": scores,
        "limits": LIMITS,
        "licence": "BSD-3-Clause",
    }
    about = {"name": "crystals-second", "of": target.name, "licence": card["licence"]}
    export_second(looked, second_path(target), card=about)
    return export_crystals(net, target, card=card)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    for name in ("data", "train"):
        action = actions.add_parser(name)
        action.add_argument("--data", type=Path, required=True)
        action.add_argument("--spheres", type=Path, default=Path("../shared/data/sem-spheres"))
        if name == "train":
            action.add_argument("--out", type=Path, required=True)
    card = actions.add_parser("card")
    card.add_argument("run", type=Path)
    card.add_argument("--scores", type=Path, required=True)
    card.add_argument("--note", action="append", default=[])
    args = parser.parse_args()
    if args.action == "data":
        render(args.data, args.spheres)
        for part in PARTS:
            print(part.name, describe(load_truth(args.data / part.name)))
    elif args.action == "train":
        run(args.data, args.out)
    else:
        print(ship(args.run, json.loads(args.scores.read_text(encoding="utf-8")), notes=args.note))


if __name__ == "__main__":
    main()
