"""Training of the three-class network on a laboratory's own pictures, and how few of them suffice."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from crystalscope import __version__
from crystalscope.datasets import Dataset, open_dataset
from crystalscope.errors import ConfigError, InputError
from crystalscope.io.tables import write_bytes, write_csv
from crystalscope.learn.job import divided_names
from crystalscope.learn.semantic_data import ClassPicture, crops, cut, files_with_classes, load_classes, weights_of
from crystalscope.learn.semantic_net import Encoder, SemanticNet, load_encoder
from crystalscope.learn.semantic_train import SemanticSchedule, classified, export_classes, train_classes

Report = Callable[[str, int, int | None], None]

PICTURES = 525
"""Training pictures of 224 x 224 px, as published."""
_KINDS = ("whole", "centre", "corner", "lens")


@dataclass(frozen=True, eq=False)
class Parts:
    """Training, validation and test pictures of 224 x 224 px, cut from different frames."""

    learn: list[ClassPicture]
    check: list[ClassPicture]
    test: list[ClassPicture]


def parts_of(datasets: Sequence[str | Path], *, number: int, held_back: float, seed: int) -> Parts:
    """Cut training pictures from some datasets; frames (or experiments) are held back whole.

    Parameters
    ----------
    datasets
        Folders with class pictures or outlines, see `semantic_data.load_classes`.
    number
        Training pictures, in the published proportions of the four crops.
    held_back
        Share of the frames that is not learnt; half of it stops the training, half is the test.
    seed
        Of the division and the crops.

    Raises
    ------
    InputError
        When there are no classes, or fewer than two frames are held back.
    """
    rng = np.random.default_rng(seed)
    learnt: list[ClassPicture] = []
    kept: list[ClassPicture] = []
    for folder in datasets:
        data: Dataset = open_dataset(folder)
        learn, held = divided_names(data, files_with_classes(data), held_back=held_back, seed=seed)
        learnt += load_classes(data, files=learn)
        kept += load_classes(data, files=held)
    if len(kept) < 2:
        raise InputError(
            f"expected at least 2 frames held back, for validation and test, got {len(kept)} beside {len(learnt)} to "
            "learn; annotate more, or hold a larger share back"
        )
    learnt = [learnt[i] for i in rng.permutation(len(learnt))]
    check, test = kept[::2], kept[1::2]

    def all_kinds(pictures: list[ClassPicture]) -> list[ClassPicture]:
        return [cut(p, kind, rng=rng) for p in pictures for kind in _KINDS]

    return Parts(crops(learnt, number, rng=rng), all_kinds(check), all_kinds(test))


def train_semantic(
    datasets: Sequence[str | Path],
    out: Path,
    *,
    encoder: Encoder = "compact",
    pretrained: Path | None = None,
    schedule: SemanticSchedule | None = None,
    number: int = PICTURES,
    held_back: float = 0.2,
    command: str = "",
    progress: Report | None = None,
) -> dict[str, Any]:
    """Train the network `semantic` and write its ONNX file with a card, its log and its curve.

    Parameters
    ----------
    datasets
        Folders with a dataset.toml and class pictures or outlines.
    out
        Folder for semantic.onnx, semantic.json, log.csv, training.png; an interrupted training goes on.
    encoder
        ``compact``, or ``resnet50`` as published.
    pretrained
        Weights of a ResNet-50 as safetensors; None: from nothing.
    schedule
        Steps and rates; None: the defaults.
    number
        Training pictures.
    held_back
        Share of the frames that is not learnt.
    command
        As given by the user, for the card.
    progress
        Called with what is done, how many of it, and of how many.

    Returns
    -------
    The card.

    Raises
    ------
    ConfigError
        When pretrained weights are given for the compact encoder.
    InputError
        When there are no classes or too few pictures.
    """
    report = progress or (lambda _what, _done, _of: None)
    schedule = schedule or SemanticSchedule()
    if pretrained is not None and encoder != "resnet50":
        raise ConfigError("expected the encoder resnet50 for pretrained weights, got compact; set --encoder resnet50")
    begun = time.monotonic()
    parts = parts_of(datasets, number=number, held_back=held_back, seed=schedule.seed)
    torch.manual_seed(schedule.seed)
    net = SemanticNet(encoder)
    if pretrained is not None:
        load_encoder(net, pretrained)
    rows: list[dict[str, float]] = []

    def note(step: int, values: dict[str, float]) -> None:
        rows.append({"step": step} | values)
        report("steps", step, schedule.steps)

    net, found = train_classes(parts.learn, parts.check, out, schedule=schedule, net=net, note=note)
    named = [open_dataset(d).manifest for d in datasets]
    card: dict[str, Any] = {
        "name": "semantic",
        "made_by": f"crystalscope {__version__}",
        "command": command,
        "pretrained": None if pretrained is None else pretrained.name,
        "data": [{"dataset": m.name, "version": m.version, "licence": m.licence} for m in named],
        "pictures": {"learnt": len(parts.learn), "validation": len(parts.check), "test": len(parts.test)},
        "class_weights": [round(float(w), 4) for w in weights_of(parts.learn)],
        "schedule": asdict(schedule),
        "stopped_at": found["step"],
        "validation": _short(found["scores"]),
        "test": _short(classified(net, parts.test)),
        "seconds": round(time.monotonic() - begun),
        "licence": "BSD-3-Clause",
    }
    export_classes(net, out / "semantic.onnx", encoder=encoder, card=card)
    if rows:
        table = pd.DataFrame(rows)
        write_csv(out / "log.csv", table)
        write_bytes(out / "training.png", _curve(table))
    return card


def _short(scores: dict[str, Any]) -> dict[str, Any]:
    return {
        "accuracy": round(float(scores["accuracy"]), 4),
        "iou": [round(float(v), 4) for v in scores["iou"]],
        "mean_iou": round(float(scores["mean_iou"]), 4),
    }


def learning_curve(
    parts: Parts,
    numbers: Sequence[int],
    folder: Path,
    *,
    schedule: SemanticSchedule,
    encoder: Encoder = "compact",
    progress: Report | None = None,
) -> pd.DataFrame:
    """Accuracy and IoU on the test pictures against the number of training pictures, with and without augmentation.

    Parameters
    ----------
    parts
        The first so many training pictures are taken; validation and test stay the same.
    numbers
        Of training pictures.
    folder
        For checkpoints.
    schedule
        The same for all, but for the augmentation.
    encoder
        See `SemanticNet`.
    progress
        Called with what is done, how many of it, and of how many.

    Returns
    -------
    Columns pictures, augmented, accuracy, crystal_iou, mean_iou, stopped_at.
    """
    rows = []
    for augment in (True, False):
        for number in numbers:
            torch.manual_seed(schedule.seed)
            own = replace(schedule, augment=augment)
            where = folder / f"{'augmented' if augment else 'plain'}-{number}"
            net, found = train_classes(parts.learn[:number], parts.check, where, schedule=own, net=SemanticNet(encoder))
            scores = classified(net, parts.test)
            rows.append(
                {
                    "pictures": number,
                    "augmented": augment,
                    "accuracy": scores["accuracy"],
                    "crystal_iou": scores["iou"][2],
                    "mean_iou": scores["mean_iou"],
                    "stopped_at": found["step"],
                }
            )
            if progress:
                progress("trainings", len(rows), 2 * len(numbers))
    return pd.DataFrame(rows)


def plot_learning_curve(table: pd.DataFrame) -> bytes:
    """PNG of `learning_curve`: accuracy and crystal IoU against the number of training pictures."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    for axes, column, label in zip(
        figure.subplots(1, 2), ("accuracy", "crystal_iou"), ("pixel accuracy", "IoU of crystals"), strict=True
    ):
        for augment, style, name in ((True, "o-", "augmented"), (False, "s--", "not augmented")):
            one = table[table["augmented"] == augment]
            axes.plot(one["pictures"], one[column], style, label=name)
        axes.set(xscale="log", xlabel="training pictures", ylabel=f"{label}, test pictures")
        ticks = sorted(set(table["pictures"]))
        axes.set_xticks(ticks, [str(t) for t in ticks])
        axes.minorticks_off()
        axes.legend(frameon=False)
    return _png(figure)


def _curve(table: pd.DataFrame) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    smooth = table["loss"].rolling(max(1, len(table) // 50), min_periods=1).mean()
    left.plot(table["step"], smooth)
    left.set(xlabel="step", ylabel="loss", yscale="log")
    looks = table.dropna(subset=["mean_iou"]) if "mean_iou" in table else table[:0]
    for column, name in (("accuracy", "pixel accuracy"), ("crystal_iou", "IoU of crystals")):
        if len(looks):
            right.plot(looks["step"], looks[column], "o-", label=name)
    right.set(xlabel="step", ylabel="validation pictures")
    right.legend(frameon=False)
    return _png(figure)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
