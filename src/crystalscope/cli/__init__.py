"""Command line. Heavy imports are made in the commands, so that --help is quick."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from crystalscope import __version__
from crystalscope.cli import chords, dataset, design, impurity, plant, scenes, size, train
from crystalscope.cli.common import errors, progress
from crystalscope.cli.events import events
from crystalscope.cli.label import label
from crystalscope.cli.solubility import solubility

app = typer.Typer(
    name="crystalscope",
    help="Pictures of a crystallization in, numbers that a particle scientist can defend out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(chords.app, name="chords")
app.add_typer(dataset.app, name="dataset")
app.add_typer(impurity.app, name="impurity")
app.add_typer(design.app, name="design")
app.add_typer(plant.app, name="plant")
app.add_typer(scenes.app, name="scenes")
app.add_typer(size.app, name="size")
app.add_typer(train.app, name="train")
app.command()(events)
app.command()(label)
app.command()(solubility)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"crystalscope {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version


@app.command()
def analyze(
    folder: Annotated[Path, typer.Argument(help="Folder of pictures, a video, or a TIFF stack.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run: tables, COCO, report.")],
    scale: Annotated[
        float | None, typer.Option(help="Pixel size in um per px. Without it all lengths are in px.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="TOML with settings, see docs/reference/configuration.md."),
    ] = None,
    log: Annotated[Path | None, typer.Option(help="Temperature log (CSV).")] = None,
    time_pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression with a group (?P<seconds>…), minutes, hours or stamp."),
    ] = None,
    interval: Annotated[float | None, typer.Option(help="Time between frames in s.")] = None,
    segmenter: Annotated[
        str | None,
        typer.Option(help="crystals (the network), threshold, semantic (as published), or one that a package brings."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Of the network: an .onnx file with its card, such as `train` writes.")
    ] = None,
    diameter: Annotated[
        float | None, typer.Option(help="Typical diameter in px, where the network's own estimate is wrong.")
    ] = None,
    instances: Annotated[
        Path | None,
        typer.Option(help="Particles found by another program: a COCO file or a folder of label pictures."),
    ] = None,
    save_masks: Annotated[
        bool,
        typer.Option("--save-masks", help="With semantic: class pictures in RUN/semantic, 0 black 1 light 2 crystal."),
    ] = False,
    labels: Annotated[bool, typer.Option(help="Say of every picture what it shows (the ten labels).")] = True,
    files: Annotated[str | None, typer.Option(help="Pattern of the file names, such as 'frame_*.jpg'.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace another run in --out.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; the result does not depend on it.")] = None,
) -> None:
    """Sizes and shapes of the particles in a folder of pictures, with a report."""
    given = {
        "pixel_size_um": scale,
        "log": str(log) if log else None,
        "time_pattern": time_pattern,
        "frame_interval_s": interval,
        "files": files,
    }
    with errors():
        from crystalscope.config import load_config

        overrides: dict[str, Any] = {"input": {k: v for k, v in given.items() if v is not None}}
        if segmenter or instances:
            overrides["segmenter"] = segmenter or "given"
        table = "semantic" if overrides.get("segmenter", load_config(config).segmenter) == "semantic" else "crystals"
        overrides[table] = {"weights": weights} if weights else {}
        if diameter is not None:
            overrides.setdefault("crystals", {})["diameter_px"] = diameter
        if save_masks:
            overrides.setdefault("semantic", {})["save_masks"] = True
        if not labels:
            overrides["label"] = {"labeller": "none"}
        if instances:
            overrides["given"] = {"path": str(instances)}
        _analyze(folder, out, load_config(config, **overrides), overwrite=overwrite, workers=workers)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where pictures and run are written.")] = Path("demo-run"),
) -> None:
    """Render a small cooling batch, analyse it, and say where the report is."""
    with errors():
        from crystalscope.cli.scenes import render_set
        from crystalscope.config import load_config
        from crystalscope.scenes import preset

        recipe = preset("cooling-experiment")
        assert recipe.batch is not None
        # From before the first crystals to when they fill a good part of the field.
        batch = recipe.batch.model_copy(update={"interval_s": 135.0})
        batch_only = recipe.changed(batch=batch.model_dump(exclude_none=True))
        typer.echo(f"Rendering a cooling batch into {out / 'scenes'} …")
        render_set(batch_only, out / "scenes", name="cooling-experiment", frames=26, seed=7)
        settings = load_config(
            input={
                "pixel_size_um": 2.0,
                "time_pattern": r"_t(?P<seconds>\d+)s",
                "log": str(out / "scenes" / "frames.csv"),
            }
        )
        _analyze(out / "scenes" / "images", out / "run", settings, overwrite=True, workers=None)


@app.command()
def score(
    predictions: Annotated[Path, typer.Argument(help="A run, a COCO file, a folder of masks, or a table of sizes.")],
    truth: Annotated[Path, typer.Argument(help="COCO, VIA, a folder of masks, or a table of sizes.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the JSON there too.")] = None,
    min_area: Annotated[float, typer.Option(help="Predictions and truth below this area in px are ignored.")] = 0.0,
    pictures: Annotated[
        str, typer.Option(help="Pattern of the names, without suffix, of the true pictures that count.")
    ] = "*",
    classes: Annotated[
        bool, typer.Option("--classes", help="Compare class pictures (folder `semantic`) pixel by pixel.")
    ] = False,
) -> None:
    """Agreement of predictions with truth, as JSON."""
    with errors():
        from crystalscope.io.tables import write_json
        from crystalscope.scoring import score_classes, score_paths

        if classes:
            result = score_classes(predictions, truth, pictures=pictures)
        else:
            result = score_paths(predictions, truth, min_area_px=min_area, pictures=pictures)
        typer.echo(json.dumps(result, indent=1))
        if out:
            write_json(out, result)


def _analyze(folder: Path, out: Path, config: Any, *, overwrite: bool, workers: int | None) -> None:
    from crystalscope.pipeline import analyze as run
    from crystalscope.report.analysis import verdict

    with progress("frames") as report:
        summary = run(folder, out, config=config, overwrite=overwrite, workers=workers, progress=report)
    typer.echo(verdict(summary))
    typer.echo(summary["number_line"])
    for warning in summary["warnings"]:
        typer.echo(f"Note: {warning}", err=True)
    typer.echo(f"Report: {out / 'report.html'}")


def main() -> None:
    """Entry point."""
    # Results go to pipes and files too: never fail on a console that cannot print a sign.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    app()


if __name__ == "__main__":
    main()
