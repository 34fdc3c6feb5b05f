"""crystalscope label: what pictures show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crystalscope.cli.common import errors, progress


def label(
    folder: Annotated[Path, typer.Argument(help="Folder of pictures (one folder per experiment), a video, a stack.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for labels.csv, outcome.csv and events.json.")],
    explain: Annotated[
        str | None, typer.Option(help="A label: pictures of where it is seen, in OUT/explain/LABEL.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML with settings: thresholds, least run.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="An .onnx file with its card, such as `train label` writes.")
    ] = None,
    log: Annotated[Path | None, typer.Option(help="Temperature log (CSV).")] = None,
    time_pattern: Annotated[
        str | None, typer.Option(help="Regular expression with a group (?P<seconds>…), minutes, hours or stamp.")
    ] = None,
    interval: Annotated[float | None, typer.Option(help="Time between frames in s.")] = None,
    files: Annotated[str | None, typer.Option(help="Pattern of the file names, such as 'frame_*.jpg'.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace labels of other pictures in --out.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; the result does not depend on it.")] = None,
) -> None:
    """Ten confidences for every picture, the outcome of every experiment, and events where times are known."""
    given = {
        "log": str(log) if log else None,
        "time_pattern": time_pattern,
        "frame_interval_s": interval,
        "files": files,
    }
    with errors():
        from crystalscope.config import load_config
        from crystalscope.core import LABELS
        from crystalscope.labelling import label_folder

        overrides: dict[str, Any] = {"input": {k: v for k, v in given.items() if v is not None}}
        if weights:
            overrides["label"] = {"weights": weights}
        settings = load_config(config, **overrides)
        with progress("frames") as report:
            done = label_folder(
                folder, out, config=settings, explain=explain, overwrite=overwrite, workers=workers, progress=report
            )
        for note in done.warnings:
            typer.echo(f"Note: {note}", err=True)
        for name in LABELS:
            given_to = done.labels[f"is_{name}"].dropna()
            typer.echo(f"{name:17}{int(given_to.sum()):6} of {len(given_to)} pictures")
        for path in done.explained[:1]:
            typer.echo(f"{len(done.explained)} pictures of where {explain} is seen: {path.parent}")
        typer.echo(f"Labels: {out / 'labels.csv'}, outcome: {out / 'outcome.csv'}")
