"""Shipped weights: ONNX files, each with a card of the same name."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

from crystalscope.errors import ReadError


def weights_path(name: str | Path) -> Path:
    """The ONNX file of shipped weights by name, or a path as it is.

    Raises
    ------
    ReadError
        When there is no such file.
    """
    path = Path(name)
    if path.suffix != ".onnx":
        path = Path(str(resources.files("crystalscope.weights").joinpath(f"{name}.onnx")))
    if not path.exists():
        shipped = (
            sorted(f.name.removesuffix(".onnx") for f in path.parent.glob("*.onnx")) if path.parent.is_dir() else []
        )
        raise ReadError(
            f"expected weights in {path}, got no file; name shipped ones ({', '.join(shipped) or 'none'}) or the path "
            "of an .onnx file with its card beside it"
        )
    return path


def read_card(path: Path, *, task: str, format_version: int) -> dict[str, Any]:
    """The card beside weights, checked against them.

    Parameters
    ----------
    path
        The ONNX file; its card has the suffix .json.
    task, format_version
        What the weights must be for.

    Raises
    ------
    ReadError
        When the card is missing or damaged, the file is not the one that the card is of, or it is for another task or
        of another version.
    """
    card_file = path.with_suffix(".json")
    try:
        card: dict[str, Any] = json.loads(card_file.read_text(encoding="utf-8"))
        expected = str(card["sha256"])
        found = (str(card["task"]), int(card["format_version"]))
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ReadError(f"expected a card in {card_file}, got: {e}; copy the card along with its weights") from e
    if found != (task, format_version):
        raise ReadError(
            f"expected weights for {task} of version {format_version} in {path.name}, got {found[0]} of version "
            f"{found[1]}; train them anew, or use the version of crystalscope that made them"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != expected:
        raise ReadError(
            f"expected the weights that {card_file.name} describes (SHA-256 {expected[:12]}…) in {path.name}, got "
            f"{digest[:12]}…; the file is damaged or another: copy both again"
        )
    return card


def weights_hashes(*files: Path) -> dict[str, str]:
    """SHA-256 of weights as their cards say, by file name; without a card that says it a file is left out."""
    out: dict[str, str] = {}
    for file in files:
        try:
            out[file.name] = str(json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            # Who reads the weights says what is wrong with them.
            continue
    return out
