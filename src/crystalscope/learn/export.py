"""A trained network to ONNX with its card, and back."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from crystalscope.errors import ReadError
from crystalscope.io.tables import write_json
from crystalscope.learn.kinds import KindsNet
from crystalscope.learn.net import CrystalNet, fused
from crystalscope.learn.second import SecondNet, fused_second
from crystalscope.segment.crystals import FORMAT_VERSION, TASK
from crystalscope.segment.kinds import FORMAT_VERSION as KINDS_VERSION
from crystalscope.segment.kinds import TASK as KINDS_TASK
from crystalscope.segment.layout import STRIDES
from crystalscope.segment.patches import ACROSS, ALONG
from crystalscope.segment.second import FORMAT_VERSION as SECOND_VERSION
from crystalscope.segment.second import TASK as SECOND

Net = TypeVar("Net", CrystalNet, SecondNet)


def export_crystals(net: CrystalNet, path: Path, *, card: dict[str, Any]) -> Path:
    """Write PATH (.onnx) and the card beside it.

    Parameters
    ----------
    net
        Trained.
    path
        Ends with .onnx.
    card
        Data, seed, command, scores, limits; task, version and SHA-256 are added.

    Returns
    -------
    The path of the card.
    """
    x = torch.zeros(1, 1, 128, 160)
    names = [f"level_{s}" for s in STRIDES] + ["prototypes"]
    axes = {"picture": {2: "rows", 3: "columns"}} | {n: {2: f"{n}_rows", 3: f"{n}_columns"} for n in names}
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # The exporter that keeps the names of parameters is the old one, and says that it is.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            fused(net.eval()),
            (x,),
            str(path),
            input_names=["picture"],
            output_names=names,
            dynamic_axes=axes,
            opset_version=17,
            # The initialisers keep the names of the parameters: `load_onnx` reads them back.
            keep_initializers_as_inputs=False,
            dynamo=False,
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    parameters = sum(p.numel() for p in net.parameters())
    head = {"task": TASK, "format_version": FORMAT_VERSION, "sha256": digest, "parameters": parameters}
    return write_json(path.with_suffix(".json"), head | card)


def load_onnx(path: Path) -> CrystalNet:
    """The network that `export_crystals` wrote, for further training.

    Raises
    ------
    ReadError
        When the file does not hold the parameters of this network.
    """
    return _loaded(CrystalNet(norm=False), path)


def load_second_onnx(path: Path) -> SecondNet:
    """The second look that `export_second` wrote, for further training; errors as `load_onnx`."""
    return _loaded(SecondNet(norm=False), path)


def _loaded(net: Net, path: Path) -> Net:
    import onnx
    from onnx import numpy_helper

    try:
        stored = {i.name: np.array(numpy_helper.to_array(i)) for i in onnx.load(str(path)).graph.initializer}
    except Exception as e:
        raise ReadError(f"expected a network in {path}, onnx says: {e}; copy the file again") from e
    wanted = net.state_dict()
    missing = [k for k, v in wanted.items() if k not in stored or stored[k].shape != tuple(v.shape)]
    if missing:
        raise ReadError(
            f"expected the parameters of the network `crystals` in {path}, {len(missing)} of {len(wanted)} are missing "
            f"or of another shape, such as {missing[0]}; train anew, or name weights of this version"
        )
    net.load_state_dict({k: torch.from_numpy(stored[k].astype(np.float32)) for k in wanted})
    return net


def export_second(net: SecondNet, path: Path, *, card: dict[str, Any]) -> Path:
    """Write the second look (.onnx) and its card; returns the path of the card."""
    head = {"task": SECOND, "format_version": SECOND_VERSION}
    return _of_patches(fused_second(net.eval()), path, channels=2, outputs=("masks", "quality"), card=head | card)


def export_kinds(net: KindsNet, path: Path, *, card: dict[str, Any]) -> Path:
    """Write the third look (.onnx) and its card; returns the path of the card."""
    head = {"task": KINDS_TASK, "format_version": KINDS_VERSION}
    return _of_patches(net.eval(), path, channels=3, outputs=("kinds",), card=head | card)


def _of_patches(
    net: torch.nn.Module, path: Path, *, channels: int, outputs: tuple[str, ...], card: dict[str, Any]
) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (torch.zeros(2, channels, ACROSS, ALONG),),
            str(path),
            input_names=["patches"],
            output_names=list(outputs),
            dynamic_axes={n: {0: "bodies"} for n in ("patches", *outputs)},
            opset_version=17,
            keep_initializers_as_inputs=False,
            dynamo=False,
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    told = {"sha256": digest, "parameters": sum(p.numel() for p in net.parameters())}
    return write_json(path.with_suffix(".json"), card | told)
