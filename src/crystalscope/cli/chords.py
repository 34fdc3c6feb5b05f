"""crystalscope chords: chord lengths of pictures and of probes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystalscope.cli.common import errors, figure_text, stages

if TYPE_CHECKING:
    from crystalscope.size.chords import ChordDistribution

app = typer.Typer(
    help="Chord lengths: of outlines, of sizes and shapes, back to sizes, and beside a probe (FBRM).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for tables and plots.")]
Pictures = Annotated[Path, typer.Argument(help="Folder of a run of `analyze`, or a COCO file.")]
Probe = Annotated[Path, typer.Argument(help="Export of a probe with channels (CSV, XLSX).")]
Scale = Annotated[float | None, typer.Option(help="Pixel size in um per px, of a COCO file.")]
Channels = Annotated[str, typer.Option(help="fine (90 from 1 to 1000 um), coarse, or edges such as 0,10,50.")]
Directions = Annotated[int, typer.Option(min=1, help="Of the lines.")]
Circle = Annotated[float | None, typer.Option(help="Scan circles of this diameter in mm instead of lines.")]
ShapeOption = Annotated[str, typer.Option(help="sphere, ellipsoid or rod.")]
Ratio = Annotated[float | None, typer.Option(help="Length over width.")]
Orient = Annotated[str, typer.Option(help="random in space, or aligned in the focal plane.")]
Table = Annotated[str | None, typer.Option(help="Name of the table where a file holds several.")]
Start = Annotated[float, typer.Option("--from", help="First time in s of the records that count.")]
End = Annotated[float, typer.Option("--to", help="Last time in s.")]
Level = Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the draws.")]

_ALWAYS = float("inf")


@app.command()
def images(
    pictures: Pictures,
    out: Out,
    scale: Scale = None,
    channels: Channels = "fine",
    directions: Directions = 180,
    circle_mm: Circle = None,
    seed: Seed = 0,
) -> None:
    """Chord lengths of the outlines of a run: exact, lines in all directions, or a scanned circle."""
    with errors():
        from crystalscope.chording import channels_of, read_outlines

        found = read_outlines(pictures, pixel_size_um=scale)
        chords = _of_pictures(found, channels_of(channels), directions, circle_mm, seed)
        _write(out, "chords", [chords], ["pictures"])
        typer.echo(f"{len(found.polygons)} whole particles; {found.cut} at the edges of pictures are left out")
        _say(chords)


@app.command()
def forward(
    sizes: Annotated[Path, typer.Argument(help="A run, its sizes.csv, or a table of another instrument.")],
    out: Out,
    shape: ShapeOption = "sphere",
    ratio: Ratio = None,
    orientation: Orient = "random",
    channels: Channels = "fine",
    table: Table = None,
) -> None:
    """Chord lengths that particles of given sizes and shape would make."""
    with errors():
        from crystalscope.chording import channels_of, chords_of_sizes, read_sizes
        from crystalscope.errors import ConfigError

        if shape != "sphere" and ratio is None:
            raise ConfigError(f"expected --ratio, length over width, of a {shape}; got none")
        given: Any = {"shape": shape, "orientation": orientation}
        chords = chords_of_sizes(read_sizes(sizes, name=table), channels_of(channels), ratio=ratio, **given)
        _write(out, "chords", [chords], [f"{shape}s"])
        _say(chords)


@app.command()
def invert(
    probe: Probe,
    out: Out,
    shape: ShapeOption = "sphere",
    ratio: Annotated[float | None, typer.Option(help="Length over width; found where none is given.")] = None,
    orientation: Orient = "random",
    choose: Annotated[str, typer.Option(help="Smoothing by cross-validation or l-curve.")] = "cross-validation",
    family: Annotated[
        str, typer.Option(help="Of the sizes: free, log-normal, or auto: what predicts left-out channels better.")
    ] = "auto",
    noise: Annotated[float | None, typer.Option(help="Relative noise of a channel; of counting by default.")] = None,
    replicates: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 100,
    level: Level = 0.95,
    seed: Seed = 0,
    table: Table = None,
    start: Start = -_ALWAYS,
    end: End = _ALWAYS,
) -> None:
    """Sizes, and length over width, from measured chord lengths, with intervals."""
    with errors():
        import dataclasses

        import pandas as pd

        from crystalscope.chording import read_probe
        from crystalscope.errors import ConfigError
        from crystalscope.io.tables import write_csv, write_json
        from crystalscope.report.chords import plot_inversion
        from crystalscope.report.style import write_plot
        from crystalscope.size.chords import ChordModel, invert_chords

        if choose not in ("cross-validation", "l-curve"):
            raise ConfigError(f"expected --choose cross-validation or l-curve, got {choose!r}")
        chords, notes = read_probe(probe, name=table, start_s=start, end_s=end)
        given: Any = {"shape": shape, "ratio": ratio, "orientation": orientation}
        settings: Any = {"choose": choose, "family": family}
        with stages() as report:
            found = invert_chords(
                chords,
                ChordModel(**given),
                **settings,
                relative_noise=noise,
                replicates=replicates,
                level=level,
                rng=seed,
                progress=report,
            )
        columns = {
            "lower_um": found.size_edges[:-1],
            "upper_um": found.size_edges[1:],
            "number": found.number,
            "number_lower": found.lower,
            "number_upper": found.upper,
        }
        write_csv(out / "sizes_from_chords.csv", pd.DataFrame(columns))
        figures = {k: dataclasses.asdict(f) for k, f in found.figures.items()}
        summary = {
            "shape": shape,
            "orientation": orientation,
            "length_to_width": dataclasses.asdict(found.ratio),
            "figures": figures,
            "family": found.family,
            "error_of_channels_left_out": found.validation,
            "smoothing": found.fit.strength,
            "misfit_per_channel": found.dispersion,
            "notes": notes,
        }
        write_json(out / "inversion.json", summary)
        path = write_plot(out / "inversion.svg", lambda: plot_inversion(found, chords))
        _notes(notes)
        typer.echo(f"sizes: {found.family}")
        if shape != "sphere":
            typer.echo(f"length over width: {figure_text(found.ratio)}")
        for name, figure in found.figures.items():
            typer.echo(f"{name} / um: {figure_text(figure)}")
        if found.dispersion > 3:
            typer.echo(
                f"Note: the misfit is {found.dispersion:.1f} times the noise: another shape, or noise beyond counting",
                err=True,
            )
        typer.echo(f"Wrote {path}")


@app.command()
def compare(
    pictures: Pictures,
    probe: Probe,
    out: Out,
    scale: Scale = None,
    directions: Directions = 180,
    circle_mm: Circle = None,
    speed: Annotated[float | None, typer.Option(help="Of the spot in m/s, to compare counts per second.")] = None,
    seed: Seed = 0,
    table: Table = None,
    start: Start = -_ALWAYS,
    end: End = _ALWAYS,
) -> None:
    """Chord lengths of pictures and of a probe side by side."""
    with errors():
        import dataclasses

        from crystalscope.chording import read_outlines, read_probe
        from crystalscope.errors import ConfigError
        from crystalscope.io.tables import write_csv, write_json
        from crystalscope.size.chords import compare_chords

        measured, notes = read_probe(probe, name=table, start_s=start, end_s=end)
        found = read_outlines(pictures, pixel_size_um=scale)
        if found.unit != "um":
            raise ConfigError(f"expected a scale for {pictures}, got none: a probe measures um; give --scale")
        chords = _of_pictures(found, measured.edges, directions, circle_mm, seed)
        if speed is not None:
            chords = dataclasses.replace(chords, counts=chords.counts * 1000 * speed, per="s")
        agreement = compare_chords(chords, measured)
        _write(out, "chords", [chords, measured], ["pictures", "probe"])
        statistics = agreement.statistics.rename(columns={"first": "pictures", "second": "probe"})
        write_csv(out / "statistics.csv", statistics)
        write_json(
            out / "agreement.json", {"ks": agreement.ks, "channels_um": agreement.edges.tolist(), "notes": notes}
        )
        _notes(notes)
        typer.echo(f"{len(found.polygons)} whole particles; {found.cut} at the edges of pictures are left out")
        for name, ks in agreement.ks.items():
            typer.echo(f"KS {'without weighting' if name == 'none' else 'square-weighted'}: {ks:.3f}")
        typer.echo(statistics.to_string(index=False, float_format=lambda v: f"{v:.4g}"))


@app.command("map")
def map_(
    pairs: Annotated[Path, typer.Argument(help="CSV with a row per suspension: a probe statistic and a size.")],
    out: Out,
    statistic: Annotated[str, typer.Option(help="Column of the probe's statistic in um.")],
    size: Annotated[str, typer.Option(help="Column of the size in um.")],
    level: Level = 0.95,
) -> None:
    """Fit sizes of pictures as a power of a statistic of the probe, with intervals."""
    with errors():
        import dataclasses

        from crystalscope.errors import ReadError
        from crystalscope.io.batches import read_numbers
        from crystalscope.io.tables import write_json
        from crystalscope.report.chords import plot_mapping
        from crystalscope.report.style import write_plot
        from crystalscope.size.chords import fit_mapping

        table = read_numbers(pairs)
        missing = [c for c in (statistic, size) if c not in table]
        if missing:
            raise ReadError(
                f"expected a column {missing[0]!r} in {pairs.name}, got {', '.join(map(str, table.columns))}"
            )
        x, y = (table[c].to_numpy(dtype=float) for c in (statistic, size))
        fitted = fit_mapping(x, y, level=level)
        summary = {
            "law": f"{size} = scale * {statistic} ** exponent",
            "scale": dataclasses.asdict(fitted.scale),
            "exponent": dataclasses.asdict(fitted.exponent),
            "residual_sd_of_ln": fitted.residual,
            "n": fitted.n,
            "range": [fitted.low, fitted.high],
        }
        write_json(out / "mapping.json", summary)
        path = write_plot(out / "mapping.svg", lambda: plot_mapping(fitted, x, y, labels=(statistic, size)))
        typer.echo(f"scale: {figure_text(fitted.scale)}")
        typer.echo(f"exponent: {figure_text(fitted.exponent)}")
        typer.echo(f"About the law: {fitted.residual:.1%}, {fitted.n} suspensions")
        typer.echo(f"Wrote {path}")


def _of_pictures(found: Any, edges: Any, directions: int, circle_mm: float | None, seed: int) -> ChordDistribution:
    from crystalscope.chording import chords_of_outlines, scanned_chords
    from crystalscope.errors import ConfigError

    if circle_mm is None:
        return chords_of_outlines(found, edges, directions=directions)
    if found.unit != "um":
        raise ConfigError("expected a scale for a circle in mm, got none; give --scale")
    return scanned_chords(found, edges, diameter=1000 * circle_mm, rng=seed)


def _write(out: Path, stem: str, distributions: list[ChordDistribution], names: list[str]) -> None:
    from crystalscope.io.tables import write_csv
    from crystalscope.report.chords import plot_chords
    from crystalscope.report.style import write_plot

    for chords, name in zip(distributions, names, strict=True):
        suffix = f"_{name}" if len(names) > 1 else ""
        typer.echo(f"Wrote {write_csv(out / f'{stem}{suffix}.csv', chords.to_table())}")
    typer.echo(f"Wrote {write_plot(out / f'{stem}.svg', lambda: plot_chords(distributions, names))}")


def _say(chords: ChordDistribution) -> None:
    for weighting, words in (("none", "no weighting"), ("square", "square-weighted")):
        s = chords.statistics(weighting)  # type: ignore[arg-type]
        typer.echo(f"{words}: mean {s['mean']:.1f}, median {s['median']:.1f}, D90 {s['D90']:.1f} {chords.unit}")
    typer.echo(f"{chords.counts.sum():.4g} chords per {chords.per}")


def _notes(notes: list[str]) -> None:
    for note in notes:
        typer.echo(f"Note: {note}", err=True)
