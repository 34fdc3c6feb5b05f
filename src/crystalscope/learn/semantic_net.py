"""The published three-class network: an encoder, atrous pyramid pooling and a DeepLabv3+-like decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalscope.errors import ReadError

CLASSES = 3
Encoder = Literal["resnet50", "compact"]
RATES = (6, 12, 18)
"""Dilation of the atrous branches at 1/16 of the picture (Chen et al., ECCV 2018)."""


def _conv(before: int, after: int, size: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, size, stride, dilation * (size // 2), dilation=dilation, bias=False)


class _Unit(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, before: int, after: int, size: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(
            _conv(before, after, size, stride=stride, dilation=dilation), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
        )


class _Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 around a shortcut; names as in the published weights."""

    def __init__(self, before: int, width: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        after = 4 * width
        self.conv1, self.bn1 = _conv(before, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride=stride, dilation=dilation), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, after, 1), nn.BatchNorm2d(after)
        same = stride == 1 and before == after
        self.downsample = None if same else nn.Sequential(_conv(before, after, 1, stride=stride), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


class ResNet50(nn.Module):
    """ResNet-50 (He et al., CVPR 2016) whose last stage is dilated: features at 1/4 and 1/16 of the picture."""

    fine, coarse = 256, 2048

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.layer1 = self._stage(64, 64, 3, stride=1)
        self.layer2 = self._stage(256, 128, 4, stride=2)
        self.layer3 = self._stage(512, 256, 6, stride=2)
        self.layer4 = self._stage(1024, 512, 3, stride=1, dilation=2)

    @staticmethod
    def _stage(before: int, width: int, blocks: int, *, stride: int, dilation: int = 1) -> nn.Sequential:
        first = _Bottleneck(before, width, stride=stride, dilation=dilation)
        rest = [_Bottleneck(4 * width, width, stride=1, dilation=dilation) for _ in range(blocks - 1)]
        return nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # The published weights take three channels; a grey picture is the same in each.
        y = functional.relu(self.bn1(self.conv1(x.expand(-1, 3, -1, -1))), inplace=True)
        fine = self.layer1(functional.max_pool2d(y, 3, 2, 1))
        return fine, self.layer4(self.layer3(self.layer2(fine)))


class Compact(nn.Module):
    """A small encoder with features at 1/4 and 1/16: two plain units per stage."""

    fine, coarse = 32, 128

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_Unit(1, 16, 3, stride=2), _Unit(16, 16, 3))
        self.quarter = nn.Sequential(_Unit(16, 32, 3, stride=2), _Unit(32, 32, 3), _Unit(32, 32, 3))
        self.eighth = nn.Sequential(_Unit(32, 64, 3, stride=2), _Unit(64, 64, 3), _Unit(64, 64, 3))
        self.sixteenth = nn.Sequential(_Unit(64, 128, 3, stride=2), _Unit(128, 128, 3), _Unit(128, 128, 3, dilation=2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.quarter(self.stem(x))
        return fine, self.sixteenth(self.eighth(fine))


_WIDTHS: dict[Encoder, tuple[int, int]] = {"resnet50": (256, 48), "compact": (64, 24)}
"""Channels of the decoder, and of the fine features that enter it."""


class SemanticNet(nn.Module):
    """One channel in, the logits of three classes out, at the size of the picture.

    Parameters
    ----------
    encoder
        ``resnet50`` as published, or ``compact``, which is shipped.

    Notes
    -----
    DeepLabv3+ (Chen et al., ECCV 2018) without the branch that averages over the whole picture: pictures are classified
    in tiles, and the average of a tile is another thing than that of a training crop.
    """

    def __init__(self, encoder: Encoder = "compact") -> None:
        super().__init__()
        self.encoder: ResNet50 | Compact = ResNet50() if encoder == "resnet50" else Compact()
        width, slim = _WIDTHS[encoder]
        before = self.encoder.coarse
        self.pyramid = nn.ModuleList(
            [_Unit(before, width, 1), *(_Unit(before, width, 3, dilation=rate) for rate in RATES)]
        )
        self.joined = _Unit(4 * width, width, 1)
        self.slim = _Unit(self.encoder.fine, slim, 1)
        self.decoder = nn.Sequential(_Unit(width + slim, width, 3), _Unit(width, width, 3))
        self.out = nn.Conv2d(width, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine, coarse = self.encoder(x)
        y = self.joined(torch.cat([branch(coarse) for branch in self.pyramid], dim=1))
        y = functional.interpolate(y, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        y = self.out(self.decoder(torch.cat([y, self.slim(fine)], dim=1)))
        return functional.interpolate(y, scale_factor=4, mode="bilinear", align_corners=False)


def load_encoder(net: SemanticNet, path: Path) -> int:
    """Take pretrained weights of a ResNet-50 from a safetensors file.

    Parameters
    ----------
    net
        With the encoder ``resnet50``.
    path
        Tensors by the common names (``conv1.weight``, ``layer1.0.conv1.weight`` …); further ones are left out.

    Returns
    -------
    Number of tensors taken.

    Raises
    ------
    ReadError
        When the file is no safetensors, or lacks tensors of the encoder or has them in another shape.
    """
    from safetensors.torch import load_file

    if not isinstance(net.encoder, ResNet50):
        raise ReadError("expected the encoder resnet50 for pretrained weights, got compact; set --encoder resnet50")
    try:
        stored = load_file(path)
    except Exception as e:
        raise ReadError(
            f"expected weights of a ResNet-50 as safetensors in {path}, got: {e}; convert them to safetensors"
        ) from e
    wanted = net.encoder.state_dict()
    # Counters of batches are left out of some files; they do nothing here.
    needed = {k: v for k, v in wanted.items() if not k.endswith("num_batches_tracked")}
    missing = [k for k, v in needed.items() if k not in stored or stored[k].shape != v.shape]
    if missing:
        raise ReadError(
            f"expected the tensors of a ResNet-50 in {path}, {len(missing)} of {len(needed)} are missing or of another "
            f"shape, such as {missing[0]}; name another file"
        )
    net.encoder.load_state_dict({k: stored[k].float() for k in needed}, strict=False)
    return len(needed)
