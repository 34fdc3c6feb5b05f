"""The network `crystals`: a small feature pyramid with slots by direction, and prototypes of masks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalscope.segment.layout import CHANNELS, PROTOTYPES, SLOTS

WIDTHS = (32, 64, 96, 128, 128)
BLOCKS = (1, 2, 3, 2, 1)
PYRAMID = 48
FINE = 16


class Conv(nn.Module):
    """3 x 3 convolution, batch norm (or, once trained, a bias in its place), SiLU."""

    def __init__(self, before: int, after: int, *, stride: int = 1, norm: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, stride, 1, bias=not norm)
        self.norm = nn.BatchNorm2d(after) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(self.norm(self.conv(x)), inplace=True)


class Block(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, width: int, *, norm: bool = True) -> None:
        super().__init__()
        self.one, self.two = Conv(width, width, norm=norm), Conv(width, width, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(self.one(x))


class CrystalNet(nn.Module):
    """One channel in; a map of slots for each level and the prototypes out, see `segment.layout`.

    Parameters
    ----------
    norm
        With batch norm, for a training from nothing. Without, for a trained one: each norm is a bias, see `fused`.
    """

    def __init__(self, *, norm: bool = True) -> None:
        super().__init__()
        self.fine = Conv(1, FINE, stride=2, norm=norm)
        stages = []
        before = FINE
        for width, blocks in zip(WIDTHS, BLOCKS, strict=True):
            stages.append(
                nn.Sequential(
                    Conv(before, width, stride=2, norm=norm), *(Block(width, norm=norm) for _ in range(blocks))
                )
            )
            before = width
        self.stages = nn.ModuleList(stages)
        self.lateral = nn.ModuleList([nn.Conv2d(w, PYRAMID, 1) for w in WIDTHS])
        self.head = nn.Sequential(Conv(PYRAMID, PYRAMID, norm=norm), Conv(PYRAMID, PYRAMID, norm=norm))
        self.out = nn.Conv2d(PYRAMID, SLOTS * CHANNELS, 1)
        self.proto_coarse = Conv(PYRAMID, 24, norm=norm)
        self.proto_fine = Conv(24 + FINE, 16, norm=norm)
        self.proto = nn.Conv2d(16, PROTOTYPES, 1)
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
        levels = [lateral(f) for lateral, f in zip(self.lateral, features, strict=True)]
        for k in range(len(levels) - 2, -1, -1):
            levels[k] = levels[k] + functional.interpolate(levels[k + 1], size=levels[k].shape[-2:], mode="nearest")
        maps = [self.out(self.head(level)) for level in levels]
        coarse = functional.interpolate(
            self.proto_coarse(levels[0]), size=fine.shape[-2:], mode="bilinear", align_corners=False
        )
        proto = self.proto(self.proto_fine(torch.cat([coarse, fine], dim=1)))
        return (*maps, proto)


def fused(net: CrystalNet) -> CrystalNet:
    """The same function without batch norms: their scale is in the convolutions, their shift a bias."""
    out = CrystalNet(norm=False)
    fuse(net, out)
    return out.eval()


@torch.no_grad()
def fuse(net: nn.Module, out: nn.Module) -> None:
    """Give a network without batch norms the weights of one with them, or of one like it."""
    own = dict(net.named_modules())
    state = net.state_dict()
    weights = {}
    for name, module in out.named_modules():
        if isinstance(module, Conv):
            norm = own[name].norm
            if isinstance(norm, nn.BatchNorm2d):
                scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
                weights[f"{name}.conv.weight"] = own[name].conv.weight * scale[:, None, None, None]
                weights[f"{name}.conv.bias"] = norm.bias - norm.running_mean * scale
    out.load_state_dict({k: weights.get(k, state.get(k)) for k in out.state_dict()})
