"""crystalscope events: what happened in an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crystalscope.cli.common import errors

if TYPE_CHECKING:
    from crystalscope.config import SignalMap
    from crystalscope.core import Event
    from crystalscope.recordings import Recording


def events(
    records: Annotated[
        list[Path], typer.Argument(help="Crystal16 reports, tables of signals, or folders of runs of `analyze`.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for events.json and plots; default: the run itself.")
    ] = None,
    map_: Annotated[
        Path | None, typer.Option("--map", "-m", help="TOML that names the columns of a table of signals.")
    ] = None,
    concentration: Annotated[
        list[str] | None,
        typer.Option(help="What is in a reactor: '1=5.1 mg/ml', or '1=5.1 mg/ml paracetamol in ethanol'; repeat it."),
    ] = None,
    plots: Annotated[bool, typer.Option(help="Plot every record.")] = True,
    png: Annotated[bool, typer.Option("--png", help="Plots as PNG instead of SVG.")] = False,
) -> None:
    """Clear points, cloud points, induction times and more, with intervals, from records and pictures."""
    with errors():
        from crystalscope.errors import ConfigError
        from crystalscope.io.events import write_events

        if out is None:
            if len(records) != 1 or not records[0].is_dir():
                raise ConfigError("expected --out, a folder for events.json; got none")
            out = records[0]
        found = read_all(records, map_, concentration)
        all_events = [e for r in found for e in r.events]
        for event in all_events:
            if event.status == "reached":
                typer.echo(_line(event))
        reached = sum(e.status == "reached" for e in all_events)
        typer.echo(f"{reached} events reached, {len(all_events) - reached} not reached or censored")
        typer.echo(f"Wrote {write_events(out / 'events.json', all_events)}")
        if plots:
            for path in _plots(found, out, ".png" if png else ".svg"):
                typer.echo(f"Wrote {path}")


def read_all(records: list[Path], map_: Path | None, concentration: list[str] | None) -> list[Recording]:
    """Recordings of files and folders; their notes go to stderr."""
    from crystalscope.config import load_signal_map
    from crystalscope.recordings import read_recording

    columns: SignalMap | None = load_signal_map(map_) if map_ else None
    contents = _contents(concentration or [])
    out = []
    for record in records:
        recording = read_recording(record, columns=columns, contents=contents)
        for note in recording.notes:
            typer.echo(f"Note: {record.name}: {note}", err=True)
        out.append(recording)
    return out


def _contents(given: list[str]) -> dict[str, str]:
    from crystalscope.errors import ConfigError

    out = {}
    for text in given:
        reactor, equals, words = text.partition("=")
        if not equals or not words.strip():
            raise ConfigError(f"expected --concentration REACTOR=VALUE such as '1=5.1 mg/ml', got {text!r}")
        # A number alone is in mg/ml, the unit of the instrument's reports.
        words = words.strip()
        plain = words.replace(".", "", 1).replace(",", "", 1).isdigit()
        out[reactor.strip()] = f"{words} mg/ml" if plain else words
    return out


def _line(event: Event) -> str:
    where = f"{event.experiment}{f', reactor {event.reactor}' if event.reactor else ''}, cycle {event.cycle}"
    content = f" ({event.value:g} {event.unit})" if event.unit in ("mg/ml", "g/kg", "mole_fraction") else ""
    figure = f"{event.value:.4g} {event.unit}" if event.unit and not content else f"{event.temperature_c:.2f} deg C"
    bounds = ""
    if event.kind in ("clear", "cloud"):
        bounds = f" [{event.lower_c:.2f}, {event.upper_c:.2f}]"
    flags = f" ({', '.join(f.replace('_', ' ') for f in event.flags)})" if event.flags else ""
    return f"{where}{content}: {event.kind} {figure}{bounds} at {event.time_s / 60:.1f} min{flags}"


def _plots(found: list[Recording], out: Path, suffix: str) -> list[Path]:
    import re
    from functools import partial

    from crystalscope.events import cut_programme, picture_lead
    from crystalscope.report.events import plot_lead, plot_timeline
    from crystalscope.report.style import write_plot

    paths = []
    for recording in found:
        timeline = recording.timeline
        if timeline is None:
            continue
        name = re.sub(r"[^\w.-]+", "_", Path(timeline.source).stem).strip("_")
        segments = cut_programme(timeline)
        draw = partial(plot_timeline, timeline, recording.events, segments)
        paths.append(write_plot(out / f"timeline_{name}{suffix}", draw))
    lead = picture_lead(*_paired(found))
    if len(lead):
        from crystalscope.io.tables import write_csv

        paths.append(write_csv(out / "lead.csv", lead))
        paths.append(write_plot(out / f"lead{suffix}", lambda: plot_lead(lead)))
    return paths


def _paired(found: list[Recording]) -> tuple[list[Event], list[Event]]:
    """Events of pictures and of signals; one run and one record of one reactor belong together whatever their names."""
    from dataclasses import replace

    runs = [r for r in found if r.timeline is None]
    records = [r for r in found if r.timeline is not None]
    pictures = [e for r in runs for e in r.events]
    signals = [e for r in records for e in r.events]
    alone = len(runs) == len(records) == 1 and len({e.reactor for e in signals}) == 1
    if alone and pictures:
        signals = [replace(e, experiment=pictures[0].experiment) for e in signals]
    return pictures, signals
