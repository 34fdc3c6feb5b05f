"""The network `crystals`: a small feature pyramid with slots by direction, and prototypes of masks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalscope.segment.layout import CHANNELS, PROTOTYPES, SLOTS

WIDTHS = (32, 64, 96, 128)
PYRAMID = 48


class Conv(nn.Sequential):
    """3 x 3 convolution, batch norm, SiLU."""

    def __init__(self, before: int, after: int, *, stride: int = 1, size: int = 3) -> None:
        super().__init__(
            nn.Conv2d(before, after, size, stride, size // 2, bias=False),
            nn.BatchNorm2d(after),
            nn.SiLU(inplace=True),
        )


class Block(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = Conv(width, width), Conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(self.one(x))


class CrystalNet(nn.Module):
    """One channel in; a map of slots for each level and the prototypes out, see `segment.layout`."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = Conv(1, 16, stride=2)
        stages = []
        before = 16
        for width in WIDTHS:
            stages.append(nn.Sequential(Conv(before, width, stride=2), Block(width), Block(width)))
            before = width
        self.stages = nn.ModuleList(stages)
        self.lateral = nn.ModuleList([nn.Conv2d(w, PYRAMID, 1) for w in WIDTHS])
        self.smooth = nn.ModuleList([Conv(PYRAMID, PYRAMID) for _ in WIDTHS])
        self.head = nn.Sequential(Conv(PYRAMID, PYRAMID), Conv(PYRAMID, PYRAMID))
        self.out = nn.Conv2d(PYRAMID, SLOTS * CHANNELS, 1)
        self.proto_coarse = Conv(PYRAMID, 24)
        self.proto_fine = Conv(24 + 16, 24)
        self.proto = nn.Conv2d(24, PROTOTYPES, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        with torch.no_grad():
            bias = self.out.bias.view(SLOTS, CHANNELS)
            bias.zero_()
            # A body is rare: the score starts at 1 %.
            bias[:, 0] = -math.log(99)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        fine = self.fine(x)
        features, y = [], fine
        for stage in self.stages:
            y = stage(y)
            features.append(y)
        top = [lateral(f) for lateral, f in zip(self.lateral, features, strict=True)]
        for k in (2, 1, 0):
            top[k] = top[k] + functional.interpolate(top[k + 1], size=top[k].shape[-2:], mode="nearest")
        levels = [smooth(t) for smooth, t in zip(self.smooth, top, strict=True)]
        maps = [self.out(self.head(level)) for level in levels]
        coarse = functional.interpolate(
            self.proto_coarse(levels[0]), size=fine.shape[-2:], mode="bilinear", align_corners=False
        )
        proto = self.proto(self.proto_fine(torch.cat([coarse, fine], dim=1)))
        return (*maps, proto)
