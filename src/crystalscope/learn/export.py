"""Export of a trained network to ONNX, with its card."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from crystalscope.io.tables import write_json
from crystalscope.learn.net import CrystalNet
from crystalscope.segment.crystals import FORMAT_VERSION, TASK
from crystalscope.segment.layout import STRIDES


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
    net.eval()
    x = torch.zeros(1, 1, 128, 160)
    names = [f"level_{s}" for s in STRIDES] + ["prototypes"]
    axes = {"picture": {2: "rows", 3: "columns"}} | {n: {2: f"{n}_rows", 3: f"{n}_columns"} for n in names}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        net,
        (x,),
        str(path),
        input_names=["picture"],
        output_names=names,
        dynamic_axes=axes,
        opset_version=17,
        dynamo=False,
    )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    parameters = sum(p.numel() for p in net.parameters())
    head = {"task": TASK, "format_version": FORMAT_VERSION, "sha256": digest, "parameters": parameters}
    return write_json(path.with_suffix(".json"), head | card)
