"""crystalscope dataset: own folders and public sets, review, splits, cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crystalscope.cli.common import errors, stages

app = typer.Typer(
    help="Datasets of pictures: get and open, import and export, review, split, stats and card.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Folder = Annotated[Path, typer.Argument(help="Folder of the dataset, with its dataset.toml.")]


def _say(report: Any) -> None:
    for line in report.lines():
        typer.echo(line)


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="cephalexin-impurity, agcrystal, polystyrene or vansil-glutamic.")],
    handle: Annotated[str | None, typer.Option(help="Another Kaggle handle, OWNER/NAME.")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Version; the newest where none is given.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder instead of kagglehub's own.")] = None,
) -> None:
    """Download a set of OpenCrystalData and check its counts (extra `cards`)."""
    with errors():
        from crystalscope.datasets import dataset_report, get_dataset

        typer.echo(dataset_report(get_dataset(name, handle=handle, version=version, out=out)))


@app.command("open")
def open_(
    name: Annotated[str, typer.Argument(help="cephalexin-impurity, agcrystal, polystyrene or vansil-glutamic.")],
    path: Annotated[Path, typer.Argument(help="Folder of the download.")],
    scale: Annotated[
        list[str] | None, typer.Option(help="Pixel size in um per px; INSTRUMENT=UM where a set has several.")
    ] = None,
) -> None:
    """Read a set of OpenCrystalData that is there already: what was found, expected and skipped."""
    with errors():
        from crystalscope.datasets import dataset_report, open_known

        typer.echo(dataset_report(open_known(name, path, pixel_size_um=_scales(scale))))


def _scales(given: list[str] | None) -> float | dict[str, float] | None:
    from crystalscope.errors import ConfigError

    if not given:
        return None
    try:
        if len(given) == 1 and "=" not in given[0]:
            return float(given[0])
        return {k.strip(): float(v) for k, _, v in (g.partition("=") for g in given)}
    except ValueError as e:
        raise ConfigError(f"expected --scale UM or --scale INSTRUMENT=UM, got {' '.join(given)}") from e


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="cephalexin-impurity, agcrystal, polystyrene or vansil-glutamic.")],
    path: Annotated[Path, typer.Argument(help="Folder of the download.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for runs, tables and the report.")],
    scale: Annotated[float | None, typer.Option(help="Pixel size in um per px.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="TOML with settings of analyze.")] = None,
    standin: Annotated[
        int, typer.Option(min=0, help="Render a stand-in of so many pictures a folder where the set is not there.")
    ] = 0,
) -> None:
    """Do the task of an OpenCrystalData set: impurity, needles, spheres or chord lengths, with a report."""
    with errors():
        from crystalscope.config import load_config
        from crystalscope.datasets import open_known
        from crystalscope.datasets.standins import write_standin
        from crystalscope.studies import study_dataset

        if standin and not path.exists():
            write_standin(name, path, scale=standin)
        given: Any = {"pixel_size_um": scale} if scale is not None else {}
        settings = load_config(config, input=given)
        opened = open_known(name, path, pixel_size_um=scale)
        with stages() as report:
            lines = study_dataset(name, opened, out, config=settings, progress=report)
        for line in lines:
            typer.echo(line)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder of one's own pictures.")],
    name: Annotated[str, typer.Option(help="Name of the dataset.")],
    pictures: Annotated[str | None, typer.Option(help="Subfolder of the pictures; found where none is given.")] = None,
    licence: Annotated[str, typer.Option(help="Such as CC-BY-4.0.")] = "",
    instrument: Annotated[str, typer.Option(help="That took the pictures.")] = "",
    scale: Annotated[float | None, typer.Option(help="Pixel size in um per px.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a dataset.toml.")] = False,
) -> None:
    """Make a dataset of a folder of pictures; nothing is moved."""
    with errors():
        from crystalscope.datasets import init_dataset

        _say(
            init_dataset(
                folder,
                name=name,
                pictures=pictures,
                licence=licence,
                instrument=instrument,
                pixel_size_um=scale,
                overwrite=overwrite,
            )
        )


@app.command("import")
def import_(
    folder: Folder,
    source: Annotated[Path, typer.Argument(help="Annotations made elsewhere: a file or a folder.")],
    format: Annotated[
        str | None, typer.Option(help="coco, cvat, yolo, labels or imagej; found from the content where none is given.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="NAME=KIND of a class: crystal, agglomerate, bubble, droplet, other.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace annotations that are there.")] = False,
) -> None:
    """Bring annotations from COCO, CVAT, YOLO, label pictures or ImageJ into a dataset."""
    with errors():
        from crystalscope.datasets import import_annotations
        from crystalscope.errors import ConfigError

        if any("=" not in k for k in kind or []):
            raise ConfigError(f"expected --kind NAME=KIND, got {' '.join(kind or [])}")
        kinds = {k.strip(): v.strip() for k, _, v in (g.partition("=") for g in kind or [])}
        _say(import_annotations(folder, source, format=format, kinds=kinds or None, overwrite=overwrite))


@app.command()
def export(
    folder: Folder,
    target: Annotated[Path, typer.Argument(help="File or folder to write.")],
    format: Annotated[str, typer.Option(help="coco, cvat, yolo, labels or imagej.")],
    copy_pictures: Annotated[bool, typer.Option("--copy-pictures", help="Write the pictures there too.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace what is there.")] = False,
) -> None:
    """Write the annotations of a dataset for another program."""
    with errors():
        from crystalscope.datasets import export_annotations

        _say(export_annotations(folder, target, format=format, copy_pictures=copy_pictures, overwrite=overwrite))


@app.command()
def review(
    folder: Folder,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for findings.csv and review.html.")] = None,
    known: Annotated[str | None, typer.Option(help="Review a set of OpenCrystalData of this name instead.")] = None,
) -> None:
    """Look for defects: copies, leaks, broken outlines, wrong metadata; exit status 1 where there are any."""
    with errors():
        from crystalscope.datasets import open_known, review_dataset, write_review

        with stages() as report:
            found = review_dataset(open_known(known, folder) if known else folder, progress=report)
        typer.echo(str(found))
        if out:
            typer.echo(f"Report: {write_review(found, out)}")
    raise typer.Exit(found.exit_code)


@app.command()
def split(
    folder: Folder,
    by: Annotated[str, typer.Option(help="What stays together: experiment, batch or frame.")] = "experiment",
    shares: Annotated[str, typer.Option(help="Of train, validation and test.")] = "0.7,0.15,0.15",
    stratify: Annotated[str | None, typer.Option(help="Column whose mix is kept in every part.")] = None,
    pattern: Annotated[
        str | None, typer.Option(help="Regular expression whose group in the file name says what belongs together.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    check: Annotated[bool, typer.Option("--check", help="Check the split that is there instead.")] = False,
) -> None:
    """Divide the pictures by experiment, batch or frame, never by crop; refuses a leak."""
    with errors():
        from crystalscope.datasets import check_split, open_dataset, split_dataset
        from crystalscope.errors import ConfigError

        dataset = open_dataset(folder)
        if by not in ("experiment", "batch", "frame"):
            raise ConfigError(f"expected --by experiment, batch or frame, got {by!r}")
        try:
            wanted = tuple(float(s) for s in shares.split(","))
        except ValueError as e:
            raise ConfigError(f"expected shares as 0.7,0.15,0.15, got {shares!r}") from e
        with stages() as report:
            if check:
                check_split(dataset, by=by, pattern=pattern, progress=report)  # type: ignore[arg-type]
            else:
                found = split_dataset(
                    dataset,
                    by=by,  # type: ignore[arg-type]
                    shares=wanted,
                    stratify=stratify,
                    seed=seed,
                    pattern=pattern,
                    progress=report,
                )
        if check:
            typer.echo("No leak: nothing that belongs together stands in two parts.")
            return
        typer.echo(str(found))
        typer.echo(f"Wrote {found.write(folder)}")


@app.command()
def stats(
    folder: Folder,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for stats.json and stats.html.")] = None,
) -> None:
    """Count and measure what a dataset holds: particles, sizes, focus, loading, light and noise."""
    with errors():
        from crystalscope.datasets import dataset_stats, open_dataset, write_stats

        with stages() as report:
            found = dataset_stats(open_dataset(folder), progress=report)
        typer.echo(str(found))
        if out:
            typer.echo(f"Report: {write_stats(found, out)}")


@app.command()
def card(
    folder: Folder,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder; the dataset's own where none.")] = None,
) -> None:
    """Write a page about a dataset, and the same as Croissant JSON-LD for machines."""
    with errors():
        from crystalscope.datasets import open_dataset, write_card

        with stages() as report:
            written = write_card(open_dataset(folder), out, progress=report)
        typer.echo(str(written))
