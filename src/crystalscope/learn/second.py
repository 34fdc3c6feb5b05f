"""The second look of the network `crystals`: a body's patch in, its mask and how far it is to be believed out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from crystalscope.learn.net import Conv, fuse
from crystalscope.learn.samples import Guess, Target, Truth, sample
from crystalscope.segment.layout import Box, oriented_box
from crystalscope.segment.patches import ACROSS, ALONG, Pyramid, to_picture

PATCH_WIDTHS = (16, 32, 64, 96)
"""Channels of the layers that look at a patch, from whole to an eighth of its size."""


class SecondNet(nn.Module):
    """Grey and inside in (n, 2, ACROSS, ALONG), logits of the mask (n, ACROSS, ALONG) and of its quality (n,) out."""

    def __init__(self, *, norm: bool = True) -> None:
        super().__init__()
        a, b, c, d = PATCH_WIDTHS
        self.one = nn.Sequential(Conv(2, a, norm=norm), Conv(a, a, norm=norm))
        self.two = nn.Sequential(Conv(a, b, stride=2, norm=norm), Conv(b, b, norm=norm))
        self.three = nn.Sequential(Conv(b, c, stride=2, norm=norm), Conv(c, c, norm=norm))
        self.four = nn.Sequential(Conv(c, d, stride=2, norm=norm), Conv(d, d, norm=norm))
        self.back = nn.ModuleList([nn.Conv2d(d, c, 1), nn.Conv2d(c, b, 1), nn.Conv2d(b, a, 1)])
        self.join = nn.ModuleList([Conv(2 * n, n, norm=norm) for n in (c, b, a)])
        self.mask = nn.Conv2d(a, 1, 1)
        self.quality = nn.Sequential(nn.Linear(2 * d, 48), nn.SiLU(), nn.Linear(48, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        one = self.one(x)
        two = self.two(one)
        three = self.three(two)
        four = self.four(three)
        # The middle of the patch is the body's: it counts apart from the whole.
        seen = torch.cat([four.mean((2, 3)), four[:, :, 2:4, 2:6].mean((2, 3))], dim=1)
        y = four
        for skip, back, join in zip((three, two, one), self.back, self.join, strict=True):
            y = functional.interpolate(back(y), scale_factor=2.0, mode="bilinear", align_corners=False)
            y = join(torch.cat([y, skip], dim=1))
        return self.mask(y)[:, 0], self.quality(seen)[:, 0]


def fused_second(net: SecondNet) -> SecondNet:
    """The same function without batch norms, see `net.fuse`."""
    out = SecondNet(norm=False)
    fuse(net, out)
    return out.eval()


@dataclass(frozen=True, eq=False)
class Patches:
    """A batch: patches (n, 2, ACROSS, ALONG), masks (n, ACROSS, ALONG), and whether there is a body (n,)."""

    seen: NDArray[np.float32]
    mask: NDArray[np.float32]
    body: NDArray[np.bool_]


def patches(truths: Sequence[Truth], *, size: int, pictures: int, most: int, rng: np.random.Generator) -> Patches:
    """Patches around bodies of some samples and around what is no body.

    Where a first look has guessed (`Truth.guesses`), half of the patches are its guesses; the others are boxes of the
    bodies, shaken, and boxes that are surely wrong.

    Parameters
    ----------
    truths
        Pictures and outlines.
    size, pictures
        Edge of the samples in px, and how many.
    most
        Patches of bodies; a third as many of what is no body: ghosts, ground, halves, and two bodies as one.
    rng
        Draws.
    """
    seen: list[NDArray[np.float32]] = []
    masks: list[NDArray[np.float32]] = []
    bodies: list[bool] = []
    for _ in range(pictures):
        grey, targets, guesses = sample(truths[int(rng.integers(len(truths)))], size=size, rng=rng)
        pyramid = Pyramid(grey)
        real = [t for t in targets if t.use == 1]
        share = most // pictures
        taken = _some(guesses, 2 * share // 3, rng)
        share -= len(taken) // 2
        taken += [Guess(_shaken(_box(real[k]), rng), real[k].outline) for k in rng.permutation(len(real))[:share]]
        taken += [Guess(box, []) for box in _wrong(targets, size, max(1, share // 3), rng)]
        for guess in taken:
            patch = pyramid.patch(guess.box)
            seen.append(patch)
            masks.append(_rasterised(guess.outline, guess.box) * (patch[1] > 0))
            bodies.append(bool(guess.outline))
    return Patches(np.stack(seen), np.stack(masks), np.array(bodies))


def _some(guesses: Sequence[Guess], count: int, rng: np.random.Generator) -> list[Guess]:
    """Guesses at random, wrong ones half of them where there are as many: they are fewer and tell more."""
    right, wrong = [g for g in guesses if g.outline], [g for g in guesses if not g.outline]
    chosen = [wrong[k] for k in rng.permutation(len(wrong))[: count // 2]]
    return chosen + [right[k] for k in rng.permutation(len(right))[: count - len(chosen)]]


def _box(target: Target) -> Box:
    return Box(*(float(v) for v in target.box))


def _shaken(box: Box, rng: np.random.Generator) -> Box:
    """A box as the first look may give it."""
    long = float(np.clip(math.exp(0.22 * rng.normal()), 0.62, 1.6))
    wide = float(np.clip(math.exp(0.2 * rng.normal()), 0.6, 1.7))
    along = float(np.clip(0.1 * rng.normal(), -0.3, 0.3)) * box.length
    across = float(np.clip(0.12 * rng.normal(), -0.35, 0.35)) * box.width
    c, s = math.cos(box.angle), math.sin(box.angle)
    # A slender body's direction is known better than a compact one's.
    turn = rng.normal() * min(0.5, 0.35 * box.width / box.length)
    if rng.random() < 0.5:
        turn += math.pi
    return Box(
        box.x + along * c - across * s,
        box.y + along * s + across * c,
        max(box.length * long, 3.0),
        max(box.width * wide, 2.0),
        box.angle + turn,
    )


def _wrong(targets: Sequence[Target], size: int, count: int, rng: np.random.Generator) -> list[Box]:
    """Boxes of what is no body."""
    real = [_box(t) for t in targets if t.use >= 0]
    ghosts = [_box(t) for t in targets if t.use == -1]
    out: list[Box] = []
    for _ in range(4 * count):
        if len(out) >= count:
            break
        draw = rng.random()
        if draw < 0.4 and ghosts:
            out.append(_shaken(ghosts[int(rng.integers(len(ghosts)))], rng))
            continue
        if not real:
            side = rng.uniform(8, 80)
            place = rng.uniform(0, size, 2)
            out.append(Box(float(place[0]), float(place[1]), side, side * rng.uniform(0.2, 1), rng.uniform(0, math.pi)))
            continue
        one = real[int(rng.integers(len(real)))]
        if draw < 0.65:
            box = _pair(one, real)
        elif draw < 0.8:
            box = _half(one, rng)
        else:
            box = replace(
                _shaken(one, rng), x=one.x + rng.normal() * one.length, y=one.y + rng.normal() * one.length,
                angle=rng.uniform(0, math.pi),
            )  # fmt: skip
        if box is not None and 0 < box.x < size and 0 < box.y < size and not any(_alike(box, r) for r in real):
            out.append(_shaken(box, rng) if draw < 0.65 else box)
    return out


def _corners(box: Box) -> NDArray[np.float64]:
    c, s = math.cos(box.angle), math.sin(box.angle)
    half = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) * [box.length / 2, box.width / 2]
    return half @ np.array([[c, s], [-s, c]]) + [box.x, box.y]


def _pair(one: Box, others: Sequence[Box]) -> Box | None:
    """The box around a body and one that lies against it."""
    near = [
        o for o in others
        if o is not one and math.hypot(o.x - one.x, o.y - one.y) < 0.6 * (one.length + o.length)
        and 0.4 < o.length / one.length < 2.5
    ]  # fmt: skip
    if not near:
        return None
    nearest = min(near, key=lambda o: math.hypot(o.x - one.x, o.y - one.y))
    return oriented_box(np.concatenate([_corners(one), _corners(nearest)]))


def _half(one: Box, rng: np.random.Generator) -> Box:
    """One end of a body."""
    share = rng.uniform(0.15, 0.35)
    side = rng.choice([-0.5, 0.5]) * (1 - share) * one.length
    c, s = math.cos(one.angle), math.sin(one.angle)
    return replace(one, x=one.x + side * c, y=one.y + side * s, length=share * one.length)


def _alike(a: Box, b: Box) -> bool:
    """Whether a box may pass for that of a body."""
    near = math.hypot(a.x - b.x, a.y - b.y) < 0.35 * min(a.length, b.length)
    return near and 0.6 < a.length / b.length < 1.7 and 0.55 < (a.length * a.width) / (b.length * b.width) < 1.9


def _rasterised(outline: Sequence[NDArray[np.float32]], box: Box) -> NDArray[np.float32]:
    """A body's mask on the samples of a patch."""
    matrix = to_picture(box)
    back = np.linalg.inv(matrix[:, :2])
    fine = 3
    canvas = np.zeros((ACROSS * fine, ALONG * fine), dtype=np.uint8)
    polygons = [np.round((((p - matrix[:, 2]) @ back.T + 0.5) * fine - 0.5) * 16).astype(np.int32) for p in outline]
    cv2.fillPoly(canvas, polygons, 1, shift=4)
    small = cv2.resize(canvas * np.uint8(255), (ALONG, ACROSS), interpolation=cv2.INTER_AREA)
    return (small > 127).astype(np.float32)


def second_loss(outputs: tuple[Tensor, Tensor], batch: Patches) -> tuple[Tensor, dict[str, float]]:
    """Cross entropy and Dice of the masks of bodies; quality towards the IoU of the mask, 0 where there is no body."""
    # In half precision where the processor has it
    logits, quality = (t.float() for t in outputs)
    mask, body = torch.from_numpy(batch.mask), torch.from_numpy(batch.body)
    inside = torch.from_numpy(batch.seen[:, 1])
    own, true, weight = logits[body], mask[body], inside[body]
    cross = (functional.binary_cross_entropy_with_logits(own, true, reduction="none") * weight).mean((1, 2))
    soft = torch.sigmoid(own) * weight
    dice = 1 - (2 * (soft * true).sum((1, 2)) + 1) / (soft.sum((1, 2)) + true.sum((1, 2)) + 1)
    with torch.no_grad():
        hard = (own > 0).float() * weight
        union = torch.clamp(hard + true, 0, 1).sum((1, 2))
        iou = (hard * true).sum((1, 2)) / torch.clamp(union, min=1)
        wanted = torch.zeros_like(quality)
        wanted[body] = iou
    told = functional.binary_cross_entropy_with_logits(quality, wanted)
    # Samples of an empty picture have no body at all.
    drawn = (cross + dice).sum() / max(len(own), 1)
    apart = torch.sigmoid(quality.detach())
    return drawn + 0.5 * told, {
        "mask": float(drawn.detach()),
        "quality": float(told.detach()),
        "iou": float(iou.sum() / max(len(iou), 1)),
        "told_body": float(apart[body].sum() / max(int(body.sum()), 1)),
        "told_none": float(apart[~body].sum() / max(int((~body).sum()), 1)),
    }
