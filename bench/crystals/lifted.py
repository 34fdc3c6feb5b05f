"""The design that was not taken, for comparison: foreground lifted into orientation bins.

python -m bench.crystals.lifted train --out DIR --steps N DATASET …
python -m bench.crystals.lifted score DIR NAME=FOLDER …

Both designs are trained from nothing on the same samples in as many steps, and scored by one look at a picture, each at
the limit of its score that serves it best.

The same trunk as `crystals`, whose fine branch gives a map of the cores of bodies for each direction of the length
and one for compact bodies. Bodies are the connected regions of a map, grown back by what makes a core; one body found
in two neighbouring maps counts once. No boxes, no scores but the mean of the map.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bench.crystals.evaluate import read_set, scores_of
from crystalscope.config import load_config
from crystalscope.learn.export import export_crystals, export_second
from crystalscope.learn.net import FINE, PYRAMID, Conv, CrystalNet
from crystalscope.learn.samples import Target, Truth, batches, load_truth
from crystalscope.learn.second import SecondNet
from crystalscope.learn.train import Schedule, _rate, train
from crystalscope.prepare import Prepared
from crystalscope.segment.base import Segmentation
from crystalscope.segment.crystals import CrystalsSegmenter
from crystalscope.segment.layout import SLENDER, levels_of_grey, normalised
from crystalscope.segment.masks import Mask, suppressed, to_instances, trimmed, within
from crystalscope.segment.patches import Pyramid
from crystalscope.segment.second import second_path

BINS = 8
STRIDE = 2


class LiftedNet(nn.Module):
    """One channel in; BINS maps by direction and one of compact bodies out, at half the size."""

    def __init__(self) -> None:
        super().__init__()
        self.base = CrystalNet()
        self.coarse, self.fine = Conv(PYRAMID, 32), Conv(32 + FINE, 24)
        self.last = nn.Conv2d(24, BINS + 1, 1)
        del self.base.head, self.base.out, self.base.proto, self.base.proto_coarse, self.base.proto_fine

    def forward(self, x: Tensor) -> Tensor:
        b = self.base
        fine = b.fine(x)
        features, y = [], fine
        for stage in b.stages:
            y = stage(y)
            features.append(y)
        level = b.lateral[-1](features[-1])
        for lateral, f in zip(list(b.lateral)[-2::-1], features[-2::-1], strict=True):
            level = lateral(f) + functional.interpolate(level, size=f.shape[-2:], mode="nearest")
        up = functional.interpolate(self.coarse(level), size=fine.shape[-2:], mode="bilinear", align_corners=False)
        out: Tensor = self.last(self.fine(torch.cat([up, fine], dim=1)))
        return out


def core_width(width: float) -> float:
    """Width of the core of a body: a margin of 15 %, from 1 to 4 px on each side, is taken off."""
    return max(width - 2 * min(max(0.15 * width, 1.0), 4.0), 2.0)


def bins_of(angle: float) -> list[int]:
    """Maps that a direction belongs to: one, or two near a limit."""
    step = math.pi / BINS
    apart = [abs((angle - k * step + math.pi / 2) % math.pi - math.pi / 2) for k in range(BINS)]
    return [k for k in range(BINS) if apart[k] < 0.65 * step]


def wanted(targets: list[Target], size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Maps (BINS + 1, size / 2, size / 2) and their weights."""
    maps = np.zeros((BINS + 1, size // STRIDE, size // STRIDE), np.uint8)
    weight = np.ones_like(maps)
    for t in targets:
        if t.use == -1:
            continue
        x, y, length, width, angle = (float(v) for v in t.box)
        slender = length > SLENDER * width
        which = bins_of(angle) if slender else [BINS]
        if slender:
            margin = width - core_width(width)
            box = ((x / STRIDE, y / STRIDE), ((length - margin) / STRIDE, core_width(width) / STRIDE))
            points = cv2.boxPoints((*box, math.degrees(angle)))
        else:
            inside = t.points[t.mask > 0.5]
            if len(inside) < 3:
                continue
            centre = inside.mean(axis=0)
            points = cv2.convexHull((centre + (inside - centre) * core_width(width) / width) / STRIDE)[:, 0]
        for k in range(BINS + 1) if t.use == 0 else which:
            cv2.fillPoly(
                weight[k] if t.use == 0 else maps[k], [np.round(points).astype(np.int32)], 0 if t.use == 0 else 1
            )
    return maps.astype(np.float32), weight.astype(np.float32)


PIXELS = 2 * 320 * 320


def train_slots(truths: list[Truth], out: Path, steps: int) -> None:
    """Train the network as it is taken, and write OUT/slots.onnx."""
    schedule = Schedule(steps=steps, pixels=PIXELS, average=0.99)
    net = train(truths, out / "slots", schedule=schedule, report=_told)
    export_crystals(net, out / "slots.onnx", card={})
    # The file has to be there; its second look is not used.
    export_second(SecondNet(), second_path(out / "slots.onnx"), card={})


def _told(step: int, parts: dict[str, float]) -> None:
    if step % 100 == 0:
        print("slots", step, round(parts["loss"], 3), flush=True)


def train_lifted(truths: list[Truth], out: Path, steps: int, seed: int = 0) -> None:
    """Train and write OUT/lifted.pt."""
    schedule = Schedule(steps=steps, pixels=PIXELS, seed=seed)
    torch.manual_seed(seed)
    net = LiftedNet()
    optimiser = torch.optim.AdamW(net.parameters(), lr=schedule.rate, weight_decay=schedule.decay)
    for step in range(steps):
        rng = np.random.default_rng([seed, step])
        size = int(rng.choice(schedule.sizes))
        pictures, targets = batches(truths, size=size, count=max(1, schedule.pixels // size**2), rng=rng)
        pairs = [wanted(t, size) for t in targets]
        true, weight = (torch.from_numpy(np.stack([p[k] for p in pairs])) for k in (0, 1))
        for group in optimiser.param_groups:
            group["lr"] = _rate(step, schedule)
        logits = net(torch.from_numpy(pictures))
        cross = (functional.binary_cross_entropy_with_logits(logits, true, reduction="none") * weight).mean()
        soft = torch.sigmoid(logits) * weight
        dice = 1 - (2 * (soft * true).sum((0, 2, 3)) + 50) / ((soft + true * weight).sum((0, 2, 3)) + 50)
        loss = 5 * cross + dice.mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        if step % 100 == 0:
            print("lifted", step, round(float(loss.detach()), 3), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), out / "lifted.pt")


class OneLook(CrystalsSegmenter):
    """The network as it is taken, without its second look."""

    def _looked_at(self, pyramid: Pyramid, masks: list[Mask]) -> list[Mask]:
        return masks

    def _judged(self, pyramid: Pyramid, looked: list[Mask]) -> list[Mask]:
        return suppressed([m for m in looked if m.score >= self.least])

    def _agglomerates_beside(self, pyramid: Pyramid, masks: list[Mask], looked: list[Mask]) -> list[Mask]:
        return []


@dataclass(frozen=True, eq=False)
class LiftedSegmenter:
    """Reads the maps of a trained net."""

    net: LiftedNet
    threshold: float = 0.5

    def study(self, pictures: list[Prepared]) -> LiftedSegmenter:
        """Nothing is to be settled."""
        return self

    def segment(self, picture: Prepared) -> Segmentation:
        """Bodies of one picture."""
        grey = normalised(picture.grey, levels_of_grey(picture.grey[::3, ::3]))
        rows, columns = grey.shape
        padded = cv2.copyMakeBorder(grey, 0, -rows % 64, 0, -columns % 64, cv2.BORDER_REPLICATE)
        with torch.no_grad():
            soft = torch.sigmoid(self.net(torch.from_numpy(padded)[None, None]))[0].numpy()
        found = []
        for channel in soft:
            _n, labels, stats, _ = cv2.connectedComponentsWithStats((channel > self.threshold).astype(np.uint8))
            for k, (c0, r0, width, height, area) in enumerate(stats[1:], start=1):
                if area < 4:
                    continue
                part = (slice(r0, r0 + height), slice(c0, c0 + width))
                core = labels[part] == k
                found.append(self._grown(core, int(r0), int(c0), float(channel[part][core].mean())))
        # The maps reach beyond the picture, and bodies grow.
        inside = np.pad(picture.field.mask(), ((0, 80), (0, 80)))
        whole = [m for m in (within(f, inside) for f in found) if m is not None]
        return Segmentation(to_instances(suppressed(whole), picture.field))

    @staticmethod
    def _grown(core: NDArray[np.bool_], r0: int, c0: int, score: float) -> Mask:
        """A core with what was taken off it, in px of the picture."""
        contours, _ = cv2.findContours(core.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        _, (a, b), _ = cv2.minAreaRect(np.concatenate(contours)[:, 0])
        margin = round(min(max(0.15 / 0.7 * (min(a, b) + 1) * STRIDE, 1.0), 4.0))
        large = cv2.resize(core.astype(np.uint8), None, fx=STRIDE, fy=STRIDE, interpolation=cv2.INTER_NEAREST)
        # Growth beyond the first row or column of the picture is cut off.
        top, left = min(margin, STRIDE * r0), min(margin, STRIDE * c0)
        large = np.pad(large, ((top, margin), (left, margin)))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
        crop, r, c = trimmed(cv2.dilate(large, kernel), STRIDE * r0 - top, STRIDE * c0 - left)
        return Mask(r, c, crop, score, 0, 0.0, 0.0)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    fit = actions.add_parser("train")
    fit.add_argument("datasets", nargs="+", type=Path)
    fit.add_argument("--out", type=Path, required=True)
    fit.add_argument("--steps", type=int, default=800)
    score = actions.add_parser("score")
    score.add_argument("folder", type=Path)
    score.add_argument("sets", nargs="+", help="NAME=FOLDER")
    score.add_argument("--first", type=int, default=12, help="pictures of each set")
    args = parser.parse_args()
    if args.action == "train":
        truths = [t for f in args.datasets for t in load_truth(f)]
        args.out.mkdir(parents=True, exist_ok=True)
        train_slots(truths, args.out, args.steps)
        train_lifted(truths, args.out, args.steps)
        return
    net = LiftedNet()
    net.load_state_dict(torch.load(args.folder / "lifted.pt", weights_only=True))
    slots = {"weights": str(args.folder / "slots.onnx")}
    designs: list[tuple[str, list[Any]]] = [
        ("slots", [OneLook(load_config(crystals=slots | {"least_score": s})) for s in (0.3, 0.45)]),
        ("lifted", [LiftedSegmenter(net.eval(), threshold) for threshold in (0.35, 0.5, 0.65)]),
    ]
    for given in args.sets:
        name, _, folder = given.partition("=")
        readers, truth = read_set(Path(folder), "*")
        names = list(readers)[: args.first]
        pair = {n: readers[n] for n in names}, {n: truth[n] for n in names}
        for design, segmenters in designs:
            scores, _ = max((scores_of(s, *pair) for s in segmenters), key=lambda r: r[0]["f1"])
            kept = {k: scores[k] for k in ("f1", "precision", "recall", "AP50:95", "crystal_iou", "found", "whole")}
            print(name, design, json.dumps({k: round(float(v), 3) for k, v in kept.items()}), flush=True)


if __name__ == "__main__":
    main()
