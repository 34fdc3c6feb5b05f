"""The network of the ten labels: the first layers of `crystals`, and a map for every label, pooled."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalscope.core import LABELS
from crystalscope.errors import ReadError
from crystalscope.io.tables import write_json
from crystalscope.label.network import FORMAT_VERSION, TASK
from crystalscope.label.seen import CELL
from crystalscope.learn.net import FINE, WIDTHS, Block, Conv

BLOCKS = (1, 1, 2, 2, 1)
"""Of each stage: fewer than `crystals` has, for speed."""
STRIDES = (4, 8, 16, 32, 64)
WIDTH = 96
_SHARP = 4.0
"""Of the soft maximum over the cells: bodies of equal evidence add little, background adds next to nothing."""
_COVER = LABELS.index("too_concentrated")
_STEEP, _LIMIT = 25.0, 0.40
"""Logit per share of the field covered, and the share at which it is 0: what the rule calls too concentrated."""


class Trunk(nn.Module):
    """Stages at strides 4 to 64; names and shapes are those of `crystals`."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = Conv(1, FINE, stride=2, norm=False)
        before = (FINE, *WIDTHS)
        self.stages = nn.ModuleList(
            nn.Sequential(
                Conv(before[k], width, stride=2, norm=False), *(Block(width, norm=False) for _ in range(BLOCKS[k]))
            )
            for k, width in enumerate(WIDTHS)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        y, out = self.fine(x), []
        for stage in self.stages:
            y = stage(y)
            out.append(y)
        return out


class LabelNet(nn.Module):
    """One channel in; the logits of the ten labels of the picture, and those of every cell of 16 x 16 px.

    The logit of a picture is a soft maximum over the cells of the label's map, then a scale, a shift, and a little of
    what the other labels say. For too_concentrated the map is the share that outlines cover, averaged over the field,
    for which there is a map too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()
        channels = sum(WIDTHS)
        # The features of a network without norms have scales of their own, which are evened out first.
        self.mean = nn.Parameter(torch.zeros(1, channels, 1, 1), requires_grad=False)
        self.spread = nn.Parameter(torch.ones(1, channels, 1, 1), requires_grad=False)
        self.slim = nn.Conv2d(channels, WIDTH, 1)
        self.head = nn.Sequential(nn.SiLU(), Conv(WIDTH, WIDTH, norm=False), nn.Dropout2d(0.1))
        self.out = nn.Conv2d(WIDTH, len(LABELS) + 1, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        with torch.no_grad():
            assert self.out.bias is not None
            self.out.bias.fill_(-3.0)
        self.scale = nn.Parameter(torch.ones(len(LABELS)))
        self.shift = nn.Parameter(torch.zeros(len(LABELS)))
        self.mix = nn.Linear(2 * len(LABELS), len(LABELS), bias=False)
        nn.init.zeros_(self.mix.weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.answers(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """What the stages see, on cells of 16 x 16 px: (n, 448, rows, columns)."""
        seen = self.trunk(x)
        size = seen[STRIDES.index(CELL)].shape[-2:]
        return torch.cat(
            [
                functional.max_pool2d(y, CELL // stride)
                if stride < CELL
                else functional.interpolate(y, size=size, mode="nearest")
                for y, stride in zip(seen, STRIDES, strict=True)
            ],
            dim=1,
        )

    def answers(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of pictures and of cells from `features`."""
        maps = self.out(self.head(self.slim((features - self.mean) / self.spread)))
        return self.pooled(maps), maps

    def pooled(self, maps: Tensor) -> Tensor:
        """Logits of pictures (n, 10) from maps (n, 11, rows, columns)."""
        own = maps[:, :-1].flatten(2)
        most = torch.logsumexp(_SHARP * own, dim=2) / _SHARP
        share = torch.sigmoid(own)
        covered = share[:, _COVER].sum(1) / torch.sigmoid(maps[:, -1]).flatten(1).sum(1).clamp(min=1.0)
        crowd = _STEEP * (covered - _LIMIT)
        most = torch.cat([most[:, :_COVER], crowd[:, None], most[:, _COVER + 1 :]], dim=1)
        beside = torch.cat([most.clamp(-6, 6), 4 * share.mean(2).sqrt()], dim=1)
        return self.scale * most + self.shift + self.mix(beside)


ENCODER = ("trunk",)
"""Parts that `crystals` has too."""


def load_encoder(net: LabelNet, crystals: nn.Module) -> int:
    """Take what has the same name and shape from the network `crystals`; gives the number of tensors taken."""
    own, given = net.trunk.state_dict(), crystals.state_dict()
    taken = {k: given[k] for k, v in own.items() if k in given and given[k].shape == v.shape}
    net.trunk.load_state_dict(taken, strict=False)
    return len(taken)


def export_labels(net: LabelNet, path: Path, *, card: dict[str, Any]) -> Path:
    """Write PATH (.onnx) and the card beside it; returns the path of the card."""
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = {"picture": {0: "n", 2: "rows", 3: "columns"}, "labels": {0: "n"}, "maps": {0: "n", 2: "r", 3: "c"}}
    with warnings.catch_warnings():
        # The exporter that keeps the names of parameters is the old one, and says that it is.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(),
            (torch.zeros(1, 1, 128, 160),),
            str(path),
            input_names=["picture"],
            output_names=["labels", "maps"],
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
    head = {
        "task": TASK,
        "format_version": FORMAT_VERSION,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "parameters": sum(p.numel() for p in net.parameters()),
    }
    return write_json(path.with_suffix(".json"), head | card)


def load_labels_onnx(path: Path) -> LabelNet:
    """The network that `export_labels` wrote, for further training.

    Raises
    ------
    ReadError
        When the file does not hold the parameters of this network.
    """
    import onnx
    from onnx import numpy_helper

    try:
        stored = {i.name: np.array(numpy_helper.to_array(i)) for i in onnx.load(str(path)).graph.initializer}
    except Exception as e:
        raise ReadError(f"expected a network in {path}, onnx says: {e}; copy the file again") from e
    net = LabelNet()
    wanted = net.state_dict()
    # The exporter turns the matrix of a linear layer and calls it otherwise.
    turned = [v for k, v in stored.items() if k not in wanted and v.shape == tuple(wanted["mix.weight"].shape)[::-1]]
    if turned and "mix.weight" not in stored:
        stored["mix.weight"] = turned[0].T
    missing = [k for k, v in wanted.items() if k not in stored or stored[k].shape != tuple(v.shape)]
    if missing:
        raise ReadError(
            f"expected the parameters of the network `label` in {path}, {len(missing)} of {len(wanted)} are missing or "
            f"of another shape, such as {missing[0]}; train anew, or name weights of this version"
        )
    net.load_state_dict({k: torch.from_numpy(stored[k].astype(np.float32)) for k in wanted})
    return net
