"""crystalscope size: needles in space, calibration, agglomeration, and spheres against their certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crystalscope.cli.common import errors, figure_text, progress

app = typer.Typer(
    help="Sizes of a run: needles in space, calibrated sizes, agglomeration, spheres against their certificate.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Run = Annotated[Path, typer.Argument(help="Folder of a run of `analyze`.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for tables and plots.")]
Level = Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the draws.")]


@app.command()
def needles(
    run: Run,
    out: Out,
    orientation: Annotated[str, typer.Option(help="random in space, or aligned about the focal plane.")],
    spread: Annotated[float, typer.Option(help="Of the tilt where aligned, degrees.")] = 0.0,
    least_ratio: Annotated[float, typer.Option(min=1.0, help="Least length_to_width of a needle.")] = 2.0,
    level: Level = 0.95,
    seed: Seed = 0,
) -> None:
    """Lengths of needles in space from their lengths in pictures."""
    with errors():
        import dataclasses

        import pandas as pd

        from crystalscope.io.tables import write_csv, write_json
        from crystalscope.report.forms import plot_lengths
        from crystalscope.report.style import write_plot
        from crystalscope.runs import whole_particles
        from crystalscope.size.orientation import lengths_in_space

        table, unit = whole_particles(run, ("length", "width"), ("length_to_width",))
        table = table[table["length_to_width"] >= least_ratio]
        length, width, weight = (table[c].to_numpy(dtype=float) for c in ("length", "width", "border_weight"))
        given: Any = {"orientation": orientation}
        found = lengths_in_space(
            length, width, table["frame"].to_numpy(), spread_deg=spread, weight=weight, level=level, rng=seed, **given
        )
        columns = {
            f"lower_{unit}": found.size_edges[:-1],
            f"upper_{unit}": found.size_edges[1:],
            "number": found.number,
        }
        write_csv(out / "lengths.csv", pd.DataFrame(columns))
        summary = {
            "orientation": orientation,
            "spread_deg": spread,
            "unit": unit,
            "n": found.n,
            "width_over_length": found.thickness,
            "in_space": {k: dataclasses.asdict(f) for k, f in found.figures.items()},
            "in_the_picture": found.measured,
        }
        write_json(out / "lengths.json", summary)
        path = write_plot(out / "lengths.svg", lambda: plot_lengths(found, length, weight, unit))
        aligned = f", tilted by {spread:g} degrees" if orientation == "aligned" else ""
        typer.echo(f"{found.n} whole needles, taken to be {orientation}{aligned}; length in {unit}")
        for name, figure in found.figures.items():
            typer.echo(f"{name}: {found.measured[name]:.4g} in the picture, {figure_text(figure)} in space")
        typer.echo(f"Wrote {path}")


@app.command()
def calibrate(
    campaign: Annotated[Path, typer.Argument(help="CSV: run, batch, loading, offline and, where needed, table.")],
    out: Out,
    definition: Annotated[str, typer.Option(help="Size that is compared: length, ecd, feret_max …")] = "length",
    by: Annotated[str, typer.Option(help="number or volume.")] = "number",
    gates: Annotated[
        str, typer.Option(help="Gates to tune: score, solidity, length_to_width; empty: none.")
    ] = "score,solidity",
) -> None:
    """Tune gates and a length correction by solids loading against offline distributions; batches are held back."""
    with errors():
        from crystalscope.calibration import held_back_table, read_campaign, worst, write_calibration
        from crystalscope.io.tables import write_csv
        from crystalscope.report.forms import plot_held_back
        from crystalscope.report.style import write_plot
        from crystalscope.size.calibrate import calibrate as tune
        from crystalscope.size.calibrate import hold_back

        samples = read_campaign(campaign, definition=definition)
        wanted = [g.strip() for g in gates.split(",") if g.strip()]
        found = tune(samples, gates=wanted, by=by)
        path = write_calibration(out / "calibration.toml", found, definition=definition)
        typer.echo(
            f"{len(samples)} samples; factor of the {definition} {found.factor(found.low):.3f} at {found.low:g} and "
            f"{found.factor(found.high):.3f} at {found.high:g}"
        )
        for gate, (low, high) in found.gates.items():
            typer.echo(f"least {gate}: {low:g} at {found.low:g}, {high:g} at {found.high:g}")
        if len({s.batch for s in samples}) > 1:
            table = held_back_table(hold_back(samples, gates=wanted, by=by), by)
            write_csv(out / "held_back.csv", table)
            before, after = worst(table)
            plot = write_plot(out / "held_back.svg", lambda: plot_held_back(table))
            typer.echo(f"D50 of a batch held back, largest error: {before:.1%} as measured, {after:.1%} calibrated")
            typer.echo(f"Wrote {plot}")
        else:
            typer.echo("Note: one batch: nothing says how well it holds for another; add a batch", err=True)
        typer.echo(f"Wrote {path}")


@app.command("apply")
def apply_(
    calibration: Annotated[Path, typer.Argument(help="calibration.toml of `size calibrate`.")],
    run: Run,
    out: Out,
    loading: Annotated[float, typer.Option(help="Solids loading of the run.")],
) -> None:
    """Sizes of a run under a calibration."""
    with errors():
        from crystalscope.calibration import apply_calibration, load_calibration
        from crystalscope.io.tables import write_csv
        from crystalscope.size import quantile, size_points

        found, definition = load_calibration(calibration)
        sizes = apply_calibration(run, found, definition=definition, loading=loading)
        path = write_csv(out / "sizes.csv", size_points(sizes))
        for by in ("number", "volume"):
            values = ", ".join(f"D{q} {quantile(sizes, q / 100, by=by):.4g}" for q in (10, 50, 90))
            typer.echo(f"{definition} by {by}: {values} um")
        typer.echo(f"Wrote {path}")


@app.command()
def agglomeration(
    run: Run,
    out: Out,
    windows: Annotated[int, typer.Option(min=1, help="Into which the run is cut for the trend.")] = 12,
    confusion: Annotated[
        Path | None,
        typer.Option(
            help="CSV of known bodies, truth and predicted single or agglomerate, whose errors are taken out; without "
            "it, those of the network on rendered pictures."
        ),
    ] = None,
    level: Level = 0.95,
    seed: Seed = 0,
) -> None:
    """Degree of agglomeration of a run by number and by area, and the primaries."""
    with errors():
        import dataclasses

        from crystalscope.impurity import confusion_of_table
        from crystalscope.io.tables import write_csv, write_json
        from crystalscope.labelled import read_csv
        from crystalscope.report.forms import plot_trend
        from crystalscope.report.style import write_plot
        from crystalscope.runs import agglomeration_confusion, agglomeration_table, corrected_agglomeration
        from crystalscope.size.agglomeration import agglomeration_trend, degree_of_agglomeration

        table, frames, unit = agglomeration_table(run)
        found = degree_of_agglomeration(table, n_frames=frames, unit=unit, level=level, rng=seed)
        trend = agglomeration_trend(found, n_frames=frames, windows=windows, level=level)
        write_csv(out / "agglomeration_trend.csv", trend)
        write_csv(out / "primaries.csv", found.members.rename(columns={"ecd": f"ecd_{unit}"}))
        figures = {"by_number": found.by_number, "by_area": found.by_area, "primaries": found.primaries}
        known = agglomeration_confusion(run) if confusion is None else confusion_of_table(read_csv(confusion))
        corrected = (
            {} if known is None or found.bodies.empty else corrected_agglomeration(found.bodies, known, level=level)
        )
        figures |= {f"{k}_corrected": f for k, f in corrected.items()}
        summary = {k: dataclasses.asdict(f) for k, f in figures.items()}
        write_json(out / "agglomeration.json", summary | {"bodies": len(found.bodies), "overlaps": found.overlaps})
        path = write_plot(out / "agglomeration.svg", lambda: plot_trend(trend, label="degree of agglomeration"))
        typer.echo(f"Degree of agglomeration by number: {figure_text(found.by_number)}")
        typer.echo(f"Degree of agglomeration by area: {figure_text(found.by_area)}")
        for name, figure in corrected.items():
            whose = "the network's errors on rendered pictures" if confusion is None else "the errors of known bodies"
            typer.echo(f"Degree of agglomeration {name.replace('_', ' ')}, {whose} taken out: {figure_text(figure)}")
        typer.echo(f"Primaries per agglomerate: {figure_text(found.primaries)}")
        if found.overlaps:
            typer.echo(f"{found.overlaps} groups at different depths overlap in the picture and are none")
        typer.echo(f"Wrote {path}")


@app.command()
def spheres(
    dataset: Annotated[Path, typer.Argument(help="Folder of the set of spheres (OpenCrystalData polystyrene).")],
    out: Out,
    scale: Annotated[float | None, typer.Option(help="Pixel size in um per px.")] = None,
    run: Annotated[Path | None, typer.Option(help="A finished run on the folder; made in OUT/run else.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="TOML with settings of the run.")] = None,
) -> None:
    """Spheres of known size at both levels: outlines against annotations, sizes against the certificate."""
    with errors():
        from crystalscope.config import load_config
        from crystalscope.datasets import open_known
        from crystalscope.evaluation import evaluate_spheres
        from crystalscope.io.tables import write_csv, write_json
        from crystalscope.report.forms import sphere_verdict, write_sphere_report

        opened = open_known("polystyrene", dataset, pixel_size_um=scale)
        if run is None:
            from crystalscope.pipeline import analyze

            run = out / "run"
            given: Any = {"pixel_size_um": scale} if scale is not None else {}
            with progress("frames") as report:
                analyze(dataset, run, config=load_config(config, input=given), progress=report)
        found = evaluate_spheres(opened, run)
        write_json(out / "evaluation.json", {"segmentation": found.segmentation, "notes": list(found.notes)})
        write_csv(out / "sizes.csv", found.sizes)
        write_csv(out / "conditions.csv", found.by_condition)
        path = write_sphere_report(out / "spheres.html", found, title=opened.manifest.title or "Spheres")
        for note in found.notes:
            typer.echo(f"Note: {note}", err=True)
        typer.echo(sphere_verdict(found))
        typer.echo(f"Report: {path}")
