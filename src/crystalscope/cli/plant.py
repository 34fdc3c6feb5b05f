"""crystalscope plant: the population balance of a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crystalscope.cli.common import errors, stages

app = typer.Typer(
    help="The population balance of a batch: simulate a profile, fit kinetics to measured batches.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Preset = Annotated[str | None, typer.Option(help="Shipped kinetics, see `plant presets`.")]
KineticsFile = Annotated[Path | None, typer.Option("--kinetics", help="TOML of kinetics.")]
ChargeFile = Annotated[
    Path | None, typer.Option("--charge", help="TOML with concentration_g_per_kg, amorphous_g_per_kg and [seeds].")
]
Cells = Annotated[int | None, typer.Option(min=10, help="Cells of the grid instead of 160.")]


@app.command()
def presets() -> None:
    """Names of the shipped kinetics and where their constants are from."""
    from crystalscope.plant.kinetics import preset, preset_names

    for name in preset_names():
        kinetics = preset(name)
        typer.echo(f"{name}: {kinetics.name}\n  {' '.join(kinetics.source.split())}")


@app.command()
def run(
    profile: Annotated[Path, typer.Argument(help="CSV with time_s (or time_min) and temperature_c.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")],
    preset: Preset = None,
    kinetics: KineticsFile = None,
    charge: ChargeFile = None,
    concentration: Annotated[float | None, typer.Option(help="Dissolved at the start, g per kg of solvent.")] = None,
    seed_loading: Annotated[float | None, typer.Option(help="Mass of seeds over that of dissolved solute.")] = None,
    seed_um: Annotated[float | None, typer.Option(help="Median length of the seeds by volume, um.")] = None,
    seed_spread: Annotated[float, typer.Option(help="Geometric standard deviation of the seeds.")] = 1.4,
    points: Annotated[int, typer.Option(min=2, help="Times in trajectory.csv, beside the corners.")] = 200,
    cells: Cells = None,
) -> None:
    """Simulate a batch: concentration, sizes, agglomeration, crystallinity and yield by time."""
    with errors():
        from crystalscope import __version__
        from crystalscope.io.batches import read_numbers
        from crystalscope.io.tables import to_toml, write_bytes, write_csv, write_json, write_text
        from crystalscope.plant.batch import Numerics, simulate, times_of
        from crystalscope.plant.profile import TemperatureProfile
        from crystalscope.report.batches import sizes_png, trajectory_png

        system = _kinetics(preset, kinetics)
        filled = _charge(charge, concentration, (seed_loading, seed_um, seed_spread))
        temperature = TemperatureProfile.from_table(read_numbers(profile))
        numerics = Numerics() if cells is None else Numerics(cells=cells)
        result = simulate(system, filled, temperature, times_s=times_of(temperature, points), numerics=numerics)
        write_csv(out / "trajectory.csv", result.trajectory())
        write_csv(out / "distributions.csv", result.distributions())
        write_csv(out / "profile.csv", temperature.to_table())
        write_bytes(out / "trajectory.png", trajectory_png(result))
        write_bytes(out / "sizes.png", sizes_png(result))
        end = result.trajectory().iloc[-1].to_dict()
        write_json(out / "summary.json", {"end": end, "largest_mass_error": float(abs(result.mass_error).max())})
        settings = {
            "version": __version__,
            "charge": filled.model_dump(exclude_none=True),
            "numerics": numerics.model_dump(exclude_none=True),
            "kinetics": system.model_dump(exclude_none=True),
        }
        write_text(out / "run.toml", to_toml(settings))
        quality = result.quality
        found = f"D50 {quality.d50_um:.1f} um, DoA {quality.doa:.3f}, crystallinity {quality.crystallinity:.3f}, yield "
        found = found + f"{result.yield_[-1]:.3f}" if quality.doa == quality.doa else "no crystals"
        typer.echo(f"After {temperature.duration_s / 3600:.2f} h: {found}")
        typer.echo(f"Mass balance within {abs(result.mass_error).max():.2%}; tables and plots in {out}")


@app.command()
def fit(
    data: Annotated[
        list[Path], typer.Argument(help="Tables (CSV) with measured batches, or runs of `analyze` or `plant run`.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for kinetics.toml, fit.json, predictions, plot.")],
    preset: Preset = None,
    kinetics: KineticsFile = None,
    charge: ChargeFile = None,
    free: Annotated[
        list[str] | None,
        typer.Option(help="Constant to fit, such as growth.order; again for each. Default: all rates."),
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help='Where a quantity stands in a table: "mu0=m0*1000"; again for each.')
    ] = None,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
    intervals: Annotated[bool, typer.Option(help="Profile-likelihood intervals (take longer).")] = True,
    cells: Cells = None,
) -> None:
    """Kinetics from measured moments, size quantiles and concentrations, with intervals."""
    with errors():
        from crystalscope.plant.batch import Numerics
        from crystalscope.plant.fit import fit as fit_plant

        start = _kinetics(preset, kinetics)
        batches = _batches(data, column or [], charge)
        numerics = Numerics() if cells is None else Numerics(cells=cells)
        with stages() as report:
            result = fit_plant(
                start, batches, free=free, level=level, profile=intervals, numerics=numerics, progress=report
            )
        _write_fit(result, batches, numerics, out)
        for line in result.lines():
            typer.echo(line)
        spreads = ", ".join(f"{q} {_spread(q, v)}" for q, v in result.sd.items())
        typer.echo(f"Standard deviation of the residuals: {spreads}")
        typer.echo(f"Fitted kinetics: {out / 'kinetics.toml'}")


def _spread(quantity: str, value: float) -> str:
    from crystalscope.plant.fit import ABSOLUTE

    return f"{value:.3g}" if quantity in ABSOLUTE else f"{value:.1%}"


def _kinetics(name: str | None, path: Path | None) -> Any:
    from crystalscope.errors import ConfigError
    from crystalscope.plant.kinetics import load_kinetics, preset, preset_names

    if (name is None) == (path is None):
        raise ConfigError(
            f"expected either --preset or --kinetics, got {'neither' if name is None else 'both'}; presets are "
            f"{', '.join(preset_names())}"
        )
    return preset(name) if name is not None else load_kinetics(str(path))


def _charge(path: Path | None, concentration: float | None, seeds: tuple[float | None, float | None, float]) -> Any:
    from crystalscope.errors import ConfigError
    from crystalscope.plant.kinetics import load_charge, parse_charge

    loading, median, spread = seeds
    if path is not None:
        if concentration is not None or loading is not None or median is not None:
            raise ConfigError("expected either --charge or --concentration with its seeds, got both; drop one")
        return load_charge(path)
    if concentration is None:
        raise ConfigError("expected what is in the vessel, got nothing; give --concentration or --charge")
    if (loading is None) != (median is None):
        raise ConfigError("expected --seed-loading and --seed-um together, got one; seeds have a mass and a size")
    data: dict[str, Any] = {"concentration_g_per_kg": concentration}
    if loading is not None:
        data["seeds"] = {"loading": loading, "median_um": median, "geometric_sd": spread}
    return parse_charge(data, "the options")


def _batches(paths: list[Path], columns: list[str], charge_file: Path | None) -> list[Any]:
    from crystalscope.io.batches import parse_column, read_batch, read_numbers
    from crystalscope.plant.kinetics import load_charge, parse_charge
    from crystalscope.plant.observed import observations_of

    charge = load_charge(charge_file) if charge_file is not None else None
    named = dict(parse_column(c) for c in columns)
    out: list[Any] = []
    for path in paths:
        if not path.is_dir():
            out += observations_of(read_numbers(path, named), charge=charge)
            continue
        table, settings = read_batch(path)
        own = charge
        if own is None and "charge" in settings:
            own = parse_charge(settings["charge"], str(path / "run.toml"))
        out += observations_of(table.assign(experiment=path.name), charge=own)
    return out


def _write_fit(result: Any, batches: list[Any], numerics: Any, out: Path) -> None:
    import dataclasses

    import pandas as pd

    from crystalscope.io.tables import to_toml, write_bytes, write_csv, write_json, write_text
    from crystalscope.report.batches import fit_png

    predicted = [
        b.predicted(result.kinetics, numerics=numerics, shift_g_per_kg=shift)
        for b, shift in zip(batches, result.shifts_g_per_kg, strict=True)
    ]
    parts = []
    for batch, values in zip(batches, predicted, strict=True):
        table: dict[str, Any] = {"experiment": batch.name, "time_s": batch.time_s}
        for quantity, measured in batch.values.items():
            table |= {quantity: measured, f"{quantity}_fitted": values[quantity]}
        parts.append(pd.DataFrame(table))
    write_csv(out / "predictions.csv", pd.concat(parts, ignore_index=True))
    write_json(
        out / "fit.json",
        {
            "estimates": [dataclasses.asdict(e) for e in result.estimates],
            "sd": dict(result.sd),
            "counts": dict(result.counts),
            "correlation": result.correlation.tolist(),
            "lines": result.lines(),
        },
    )
    write_text(out / "kinetics.toml", to_toml(result.kinetics.model_dump(exclude_none=True)))
    write_bytes(out / "fit.png", fit_png(batches, predicted, result))
