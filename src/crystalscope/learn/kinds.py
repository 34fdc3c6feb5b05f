"""What a body is, learnt from its patch and its outline: the network `crystals-kinds`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crystalscope.core import Instances
from crystalscope.datasets import open_dataset
from crystalscope.io.coco import read_coco
from crystalscope.io.pictures import to_grey
from crystalscope.learn.net import Conv
from crystalscope.learn.second import PATCH_WIDTHS, SecondNet
from crystalscope.segment.kinds import AGGLOMERATE, CLASSES, MEMBER, outlined
from crystalscope.segment.layout import Box, levels_of_grey, normalised
from crystalscope.segment.masks import Mask, box_of, shared_pixels, trimmed
from crystalscope.segment.patches import Pyramid

Floats = NDArray[np.float32]

_LEAST_PX = 60
"""Area from which a body is shown."""
_MOST = 60
"""Bodies of a picture that are shown."""


class KindsNet(nn.Module):
    """Grey, inside and outline in (n, 3, ACROSS, ALONG), logits of `segment.kinds.CLASSES` out.

    The layers down to an eighth are those of the second look, from whose weights a training starts.
    """

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = PATCH_WIDTHS
        self.one = nn.Sequential(Conv(3, a, norm=False), Conv(a, a, norm=False))
        self.two = nn.Sequential(Conv(a, b, stride=2, norm=False), Conv(b, b, norm=False))
        self.three = nn.Sequential(Conv(b, c, stride=2, norm=False), Conv(c, c, norm=False))
        self.four = nn.Sequential(Conv(c, d, stride=2, norm=False), Conv(d, d, norm=False))
        self.five = Conv(d, d, norm=False)
        self.out = nn.Sequential(nn.Dropout(0.2), nn.Linear(3 * d, 64), nn.SiLU(), nn.Linear(64, len(CLASSES)))

    def forward(self, x: Tensor) -> Tensor:
        y = self.five(self.four(self.three(self.two(self.one(x)))))
        middle = y[:, :, 2:4, 2:6]
        return self.out(torch.cat([y.mean((2, 3)), middle.mean((2, 3)), y.amax((2, 3))], dim=1))


def begun(second: SecondNet) -> KindsNet:
    """A network that starts from a trained second look (without norms)."""
    net = KindsNet()
    own, given = net.state_dict(), second.state_dict()
    for name, value in own.items():
        if name in given and given[name].shape == value.shape:
            own[name] = given[name]
    first = "one.0.conv.weight"
    own[first] = torch.cat([given[first], own[first][:, 2:] * 0.5], dim=1)
    net.load_state_dict(own)
    return net


def bodies_of(folder: Path, *, rng: np.random.Generator) -> Iterator[tuple[Floats, NDArray[np.int64]]]:
    """Patches (n, 3, ACROSS, ALONG) and classes (n,) of the bodies of a rendered set, picture by picture.

    Whole bodies in focus by their kind; of agglomerates also members alone, and some that touch as one.
    """
    data = open_dataset(folder)
    truth = data.truth()
    file = folder / "primaries.coco.json"
    members = {a.file_name.rpartition("/")[2]: a for a in read_coco(file)} if file.exists() else {}
    for i, name in enumerate(data.frames["file"].astype(str)):
        known = truth.get(name)
        if known is None:
            continue
        image = np.asarray(data.read(i).data)
        grey = to_grey(image, bits=8 if image.dtype == np.uint8 else 16)
        pyramid = Pyramid(normalised(grey, levels_of_grey(grey[::3, ::3])))
        shown = [(m, int(known.instances.kind[k])) for k, m in _masks(known.instances, ~known.ignore)]
        if (parts := members.get(name.rpartition("/")[2])) is not None:
            shown += _of_members(known.instances, known.ignore, parts.instances, rng)
        chosen = [shown[k] for k in rng.permutation(len(shown))[:_MOST]]
        if chosen:
            patches = [outlined(pyramid, _shaken(box_of(m), rng), _changed(m, rng)) for m, _ in chosen]
            yield np.stack(patches), np.array([c for _, c in chosen])


def _masks(instances: Instances, wanted: NDArray[np.bool_]) -> list[tuple[int, Mask]]:
    out = []
    for k in np.flatnonzero(wanted):
        crop = instances.crop(int(k)).astype(np.uint8)
        if np.count_nonzero(crop) >= _LEAST_PX:
            crop, r0, c0 = trimmed(crop, int(instances.boxes[k, 0]), int(instances.boxes[k, 1]))
            out.append((int(k), Mask(r0, c0, crop, 1.0, 0, 0.0, 0.0)))
    return out


def _of_members(
    whole: Instances, ignore: NDArray[np.bool_], parts: Instances, rng: np.random.Generator
) -> list[tuple[Mask, int]]:
    """Members of agglomerates in focus, and pairs of them that touch."""
    masks = _masks(parts, np.ones(len(parts), dtype=bool))
    joined = _masks(whole, ~ignore & (whole.kind == AGGLOMERATE))
    out: list[tuple[Mask, int]] = []
    for _, body in joined:
        own = [m for _, m in masks if shared_pixels(m, body) > 0.9 * m.area and m.area < 0.75 * body.area]
        out += [(m, MEMBER) for m in own]
        for m in own:
            other = own[int(rng.integers(len(own)))]
            if other is not m and (pair := _together(m, other)) is not None and pair.area < 0.8 * body.area:
                out.append((pair, AGGLOMERATE))
    return out


def _together(a: Mask, b: Mask) -> Mask | None:
    """Two masks as one, where they touch."""
    r0, c0 = min(a.r0, b.r0), min(a.c0, b.c0)
    crop = np.zeros((max(a.r1, b.r1) - r0, max(a.c1, b.c1) - c0), np.uint8)
    for m in (a, b):
        crop[m.r0 - r0 : m.r1 - r0, m.c0 - c0 : m.c1 - c0] |= m.crop
    crop = cv2.morphologyEx(np.pad(crop, 2), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))[2:-2, 2:-2]
    if cv2.connectedComponents(crop, connectivity=8)[0] != 2:
        return None
    return Mask(r0, c0, crop, 1.0, 0, 0.0, 0.0)


def _shaken(box: Box, rng: np.random.Generator) -> Box:
    """A box after the second look: less off than those that `learn.second` learns from."""
    right, down = rng.normal(0, 0.04, 2)
    long, wide = np.exp(rng.normal(0, 0.07, 2))
    return Box(
        box.x + right * box.length, box.y + down * box.width, box.length * long, box.width * wide,
        box.angle + rng.normal(0, 0.04),
    )  # fmt: skip


def _changed(mask: Mask, rng: np.random.Generator) -> Mask:
    """An outline as a network might draw it: a little larger, smaller or smoother."""
    way = rng.random()
    if way < 0.4:
        return mask
    size = int(rng.integers(1, 3))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * size + 1,) * 2)
    crop = np.pad(mask.crop, 4)
    if way < 0.6:
        crop = cv2.dilate(crop, kernel)
    elif way < 0.8:
        crop = cv2.erode(crop, kernel)
    else:
        crop = cv2.morphologyEx(crop, cv2.MORPH_OPEN, kernel)
    if not crop.any():
        return mask
    crop, r0, c0 = trimmed(crop, mask.r0 - 4, mask.c0 - 4)
    return Mask(r0, c0, crop, 1.0, 0, 0.0, 0.0)


def train_kinds(
    net: KindsNet, seen: NDArray[np.floating[Any]], classes: NDArray[np.int64], *, steps: int, batch: int, seed: int
) -> Iterator[tuple[int, float]]:
    """Train in place; gives step and loss.

    A class is drawn as often as the root of its number; patches are mirrored, regraded and made noisy.
    """
    rng = np.random.default_rng(seed)
    counts = np.bincount(classes, minlength=len(CLASSES))
    weight = 1 / np.sqrt(np.maximum(counts[classes], 1))
    weight /= weight.sum()
    optimiser = torch.optim.AdamW(net.parameters(), lr=6e-4, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=6e-4, total_steps=steps, pct_start=0.05)
    net.train()
    for step in range(steps):
        torch.manual_seed(seed * 1_000_003 + step)
        chosen = rng.choice(len(classes), size=batch, p=weight)
        x = seen[chosen].astype(np.float32)
        for axis in (2, 3):
            turned = rng.random(batch) < 0.5
            x[turned] = np.flip(x[turned], axis)
        inverse = rng.random((batch, 1, 1)) < 0.15
        gain = rng.uniform(0.6, 1.5, (batch, 1, 1)) * np.where(inverse, -1, 1)
        x[:, 0] = x[:, 0] * gain + rng.normal(0, 0.15, (batch, 1, 1))
        x[:, 0] += rng.normal(size=x[:, 0].shape) * rng.uniform(0, 0.12, (batch, 1, 1))
        loss = nn.functional.cross_entropy(
            net(torch.from_numpy(x)), torch.from_numpy(classes[chosen]), label_smoothing=0.03
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        yield step + 1, float(loss.detach())
    net.eval()
