"""crystalscope train: networks from a laboratory's own outlines."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from crystalscope.cli.common import errors, stages
from crystalscope.errors import MissingExtraError

app = typer.Typer(
    help="Train networks on one's own outlines (extra `train`).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@contextmanager
def learning() -> Iterator[None]:
    """Imports of what learns; without the extra an error that says so."""
    try:
        yield
    except ImportError as e:
        raise MissingExtraError(
            f"expected PyTorch and onnx for a training, {e.name} is missing; pip install 'crystalscope[train]'"
        ) from e


@app.callback()
def _train() -> None:
    """Train networks on one's own outlines (extra `train`)."""


@app.command()
def crystals(
    datasets: Annotated[
        list[Path], typer.Argument(help="Folders with a dataset.toml and outlines (`dataset init`, `dataset import`).")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for crystals.onnx, its card, curve and overlays.")],
    start: Annotated[
        str, typer.Option("--from", help="default, none (from nothing), or the path of an .onnx file with its card.")
    ] = "default",
    steps: Annotated[int | None, typer.Option(min=1, help="450 from weights, 5000 from nothing.")] = None,
    held_back: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the frames that is scored and never learnt.")
    ] = 0.2,
    rehearse: Annotated[
        int | None, typer.Option(min=0, help="Rendered pictures learnt along, so that nothing is forgotten. [30]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
) -> None:
    """Fine-tune the network that sees crystals: about 30 outlined pictures, 20 minutes on two cores.

    The same command goes on with an interrupted training. Then: analyze --weights OUT/crystals.onnx.
    """
    with errors():
        from dataclasses import replace

        with learning():
            from crystalscope.learn.job import FINE_TUNING, train_crystals
            from crystalscope.learn.train import Schedule
        from_nothing = start == "none"
        schedule = Schedule() if from_nothing else FINE_TUNING
        schedule = replace(schedule, seed=seed, steps=schedule.steps if steps is None else steps)
        scenes = (0 if from_nothing else 30) if rehearse is None else rehearse
        with stages() as report:
            card = train_crystals(
                datasets,
                out,
                start=None if from_nothing else "crystals" if start == "default" else start,
                schedule=schedule,
                held_back=held_back,
                rehearse=scenes,
                command=shlex.join(["crystalscope", *sys.argv[1:]]),
                progress=report,
            )
        for where, title in (("held_back", "held-back frames"), ("rendered", "rendered pictures of all looks")):
            if where in card["after"]:
                before = card["before"].get(where)
                was = f"{before['f1']:.3f} -> " if before else ""
                after = card["after"][where]
                typer.echo(f"F1 at IoU 0.5 on {after['pictures']} {title}: {was}{after['f1']:.3f}")
        typer.echo(f"Weights: {out / 'crystals.onnx'}, card beside them; crystalscope analyze --weights takes them")


@app.command()
def semantic(
    datasets: Annotated[
        list[Path],
        typer.Argument(help="Folders with a dataset.toml and class pictures (semantic/NAME.png: 0, 1, 2) or outlines."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for semantic.onnx, its card, log and curve.")],
    encoder: Annotated[str, typer.Option(help="compact, or resnet50 as published.")] = "compact",
    pretrained: Annotated[
        Path | None, typer.Option(help="Weights of a ResNet-50 (.safetensors), as published; else from nothing.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Most steps; validation stops earlier.")] = 4000,
    pictures: Annotated[int, typer.Option(min=8, help="Crops of 224 x 224 px that are cut.")] = 525,
    held_back: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Share of the frames for validation and test.")
    ] = 0.2,
    augment: Annotated[bool, typer.Option(help="The published augmentation.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
) -> None:
    """Train the published three-class network (black background, light background, crystal).

    The same command goes on with an interrupted training. Then: analyze --segmenter semantic --weights FILE.onnx.
    """
    with errors():
        from crystalscope.errors import ConfigError

        if encoder not in ("compact", "resnet50"):
            raise ConfigError(f"expected the encoder compact or resnet50, got {encoder!r}")
        with learning():
            from crystalscope.learn.semantic_job import train_semantic
            from crystalscope.learn.semantic_train import SemanticSchedule
        with stages() as report:
            card = train_semantic(
                datasets,
                out,
                encoder="resnet50" if encoder == "resnet50" else "compact",
                pretrained=pretrained,
                schedule=SemanticSchedule(steps=steps, augment=augment, seed=seed),
                number=pictures,
                held_back=held_back,
                command=shlex.join(["crystalscope", *sys.argv[1:]]),
                progress=report,
            )
        test = card["test"]
        typer.echo(
            f"Test pictures: accuracy {test['accuracy']:.4f}, IoU of crystals {test['iou'][2]:.4f}; best step "
            f"{card['stopped_at']}"
        )
        typer.echo(
            f"Weights: {out / 'semantic.onnx'}, card beside them; analyze --segmenter semantic --weights takes them"
        )


@app.command()
def label(
    datasets: Annotated[
        list[Path],
        typer.Argument(help="Folders with a dataset.toml and labels.csv: file, and 1, 0 or nothing under each label."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for label.onnx, its card, scores and curves.")],
    start: Annotated[
        str, typer.Option("--from", help="default, none (from nothing), or the path of an .onnx file with its card.")
    ] = "default",
    steps: Annotated[int | None, typer.Option(min=1, help="300 from weights, 2400 from nothing.")] = None,
    held_back: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Share of the pictures for thresholds and test, half each.")
    ] = 0.3,
    rehearse: Annotated[
        int, typer.Option(min=0, help="Rendered pictures learnt along, so that nothing is forgotten.")
    ] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
) -> None:
    """Fine-tune the labelling network to a laboratory's own labels.

    The same command goes on with an interrupted training. Then: label --weights OUT/label.onnx.
    """
    with errors():
        from dataclasses import replace

        with learning():
            from crystalscope.learn.label_job import FINE_TUNING, train_label
            from crystalscope.learn.label_train import LabelSchedule
        schedule = LabelSchedule() if start == "none" else FINE_TUNING
        schedule = replace(schedule, seed=seed, steps=schedule.steps if steps is None else steps)
        with stages() as report:
            card = train_label(
                datasets,
                out,
                start=None if start == "none" else "label" if start == "default" else start,
                schedule=schedule,
                held_back=held_back,
                rehearse=rehearse,
                command=shlex.join(["crystalscope", *sys.argv[1:]]),
                progress=report,
            )
        for part in ("training", "test"):
            typer.echo(f"{part}: mean F1 {card['scores'][part]['macro_f1']:.3f}, by label in scores.csv")
        typer.echo(f"Weights: {out / 'label.onnx'}, card beside them; crystalscope label --weights takes them")
