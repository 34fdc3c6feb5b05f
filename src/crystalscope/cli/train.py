"""crystalscope train: networks from a laboratory's own outlines."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from crystalscope.cli.common import errors, stages

app = typer.Typer(
    help="Train networks on one's own outlines (extra `train`).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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

        from crystalscope.errors import MissingExtraError

        try:
            from crystalscope.learn.job import FINE_TUNING, train_crystals
            from crystalscope.learn.train import Schedule
        except ImportError as e:
            raise MissingExtraError(
                f"expected PyTorch and onnx for a training, {e.name} is missing; pip install 'crystalscope[train]'"
            ) from e
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
