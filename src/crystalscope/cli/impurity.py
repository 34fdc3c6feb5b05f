"""crystalscope impurity: shares of impurities and forms, limits of detection, alarms; models stand beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crystalscope.cli import impurity_models
from crystalscope.cli.common import errors, figure_text

app = typer.Typer(
    help="Impurities and forms: models of particles, shares with their errors taken out, limits of detection, alarms.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

impurity_models.register(app)

Particles = Annotated[
    Path, typer.Argument(help="CSV of particles: file, particle and class, or scores.csv (is_impurity).")
]
Known = Annotated[
    Path, typer.Option("--confusion", help="CSV of known particles: truth and predicted, or a square table of counts.")
]
RunOption = Annotated[Path | None, typer.Option(help="Run of `analyze`: order of the frames, areas and volumes.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for tables and plots.")]
Level = Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")]


@app.command()
def shares(
    particles: Particles,
    confusion: Known,
    out: Out,
    run: RunOption = None,
    windows: Annotated[int, typer.Option(min=1, help="Into which the run is cut for the trend.")] = 12,
    level: Level = 0.95,
) -> None:
    """Share of every class (impurity, polymorph, habit) by number and, with a run, by area and volume."""
    with errors():
        import dataclasses

        from crystalscope.impurity import class_shares, shares_over_run
        from crystalscope.io.tables import write_csv, write_json
        from crystalscope.labelled import read_classes, read_confusion
        from crystalscope.report.forms import plot_class_trend
        from crystalscope.report.style import write_plot

        known = read_confusion(confusion)
        table = read_classes(particles, run=run)
        weights = {c: table[c].to_numpy(dtype=float) for c in ("area", "volume") if c in table}
        names, frame = table["class"].tolist(), table["frame"].to_numpy()
        found = class_shares(names, frame, known, weights=weights, level=level)
        trend = shares_over_run(names, frame, known, windows=windows, level=level)
        write_csv(out / "shares_over_run.csv", trend)
        summary: dict[str, Any] = {
            "n": found.n,
            "dispersion": found.dispersion,
            "apparent": found.apparent,
            "number": {c: dataclasses.asdict(f) for c, f in found.shares.items()},
        }
        for what, figures in found.weighted.items():
            summary[what] = {c: dataclasses.asdict(f) for c, f in figures.items()}
        write_json(out / "shares.json", summary)
        path = write_plot(out / "shares.svg", lambda: plot_class_trend(trend))
        typer.echo(f"{found.n} particles in {table['frame'].nunique()} frames")
        for c, f in found.shares.items():
            typer.echo(f"{c} by number: {figure_text(f)} (called so: {found.apparent[c]:.4g})")
            for what, figures in found.weighted.items():
                typer.echo(f"{c} by {what}: {figure_text(figures[c])}")
        typer.echo(f"Wrote {path}")


@app.command()
def limit(
    per_frame: Annotated[float, typer.Option(min=0.0, help="Particles in a frame, mean.")],
    frames: Annotated[int, typer.Option(min=1, help="Frames that are looked at.")],
    confusion: Annotated[Path | None, typer.Option(help="CSV of known particles.")] = None,
    impurity: Annotated[str, typer.Option(help="Name of its class.")] = "impurity",
    sensitivity: Annotated[float | None, typer.Option(help="Share of the impurity that is called so.")] = None,
    false_rate: Annotated[float | None, typer.Option(help="Share of the others that is called so.")] = None,
    power: Annotated[float, typer.Option(help="Of seeing the share.")] = 0.95,
    risk: Annotated[float, typer.Option(help="Of an alarm without impurity.")] = 0.05,
) -> None:
    """Smallest share of an impurity that is seen in a number of frames."""
    with errors():
        import math

        from crystalscope.errors import ConfigError
        from crystalscope.impurity import detection_limit
        from crystalscope.labelled import read_confusion

        if confusion is not None:
            known = read_confusion(confusion)
            k = known.index(impurity)
            others = [i for i in range(len(known.classes)) if i != k]
            sensitivity = float(known.rates[k, k])
            false_rate = float(known.counts[others, k].sum() / known.counts[others].sum())
        if sensitivity is None or false_rate is None:
            raise ConfigError("expected --confusion, or --sensitivity and --false-rate; got neither")
        found = detection_limit(
            max(round(per_frame * frames), 0), sensitivity=sensitivity, false_rate=false_rate, risk=risk, power=power
        )
        if math.isnan(found.share):
            typer.echo(f"Not even a pure impurity is seen in {found.particles} particles; take more frames")
            return
        typer.echo(
            f"Limit of detection: {found.share:.3%} by number in {found.particles:,} particles "
            f"(power {power:.0%}, risk {found.risk:.1%})"
        )
        typer.echo(f"An impurity is there from {found.least} particles on that are called so")


@app.command()
def alarm(
    particles: Particles,
    confusion: Known,
    out: Out,
    run: RunOption = None,
    watched: Annotated[str, typer.Option(help="Class that must not be there.")] = "impurity",
    on: Annotated[float, typer.Option(help="On when the lower bound of the share is above.")] = 0.01,
    off: Annotated[float, typer.Option(help="Off when the upper bound is below.")] = 0.02,
    window: Annotated[int, typer.Option(min=1, help="Frames that are pooled.")] = 20,
    level: Level = 0.95,
) -> None:
    """Alarm with hysteresis over a run."""
    with errors():
        from crystalscope.impurity import Alarm, alarm_over_run
        from crystalscope.io.tables import write_csv
        from crystalscope.labelled import read_classes, read_confusion
        from crystalscope.report.forms import plot_alarm
        from crystalscope.report.style import write_plot

        table = read_classes(particles, run=run)
        watch = Alarm(read_confusion(confusion), watched, on=on, off=off, window=window, level=level)
        frames = table.attrs["frames"]
        found = alarm_over_run(watch, table["class"].tolist(), table["frame"].to_numpy(), n_frames=frames)
        write_csv(out / "alarm.csv", found)
        path = write_plot(out / "alarm.svg", lambda: plot_alarm(found, on=on, off=off))
        state = found["alarm"].to_numpy(dtype=bool)
        changes = [k for k in range(len(state)) if state[k] != (state[k - 1] if k else False)]
        for k in changes:
            typer.echo(f"Alarm {'on' if state[k] else 'off'} at frame {k}")
        if not changes:
            typer.echo("No alarm")
        typer.echo(f"Wrote {path}")
