"""crystalscope solubility: curves and zone widths from clear and cloud points."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystalscope.cli.common import errors
from crystalscope.cli.events import read_all

if TYPE_CHECKING:
    from crystalscope.phase import PhaseDiagram


def solubility(
    records: Annotated[
        list[Path],
        typer.Argument(help="events.json or folders with it, Crystal16 reports, or tables (see --temperature-column)."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for solubility.csv, mszw.csv, fits.json, plots.")],
    temperature_column: Annotated[
        str | None, typer.Option(help="The records are tables of saturation temperatures in deg C in this column.")
    ] = None,
    concentration_column: Annotated[str, typer.Option(help="Their concentrations.")] = "concentration",
    given_unit: Annotated[str | None, typer.Option(help="Of them: mg/ml, g/kg or mole_fraction.")] = None,
    map_: Annotated[
        Path | None, typer.Option("--map", "-m", help="TOML that names the columns of a table of signals.")
    ] = None,
    concentration: Annotated[
        list[str] | None, typer.Option(help="What is in a reactor, such as '1=5.1 mg/ml'; repeat it.")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="Of the curve: mg/ml, g/kg or mole_fraction.")] = None,
    model: Annotated[
        str | None, typer.Option(help="van_t_hoff, apelblat, polynomial, lambda_h; default: the lowest AICc.")
    ] = None,
    density: Annotated[float | None, typer.Option(help="Of the solvent, g/ml.")] = None,
    solute_mass: Annotated[float | None, typer.Option(help="Molar mass of the solute, g/mol.")] = None,
    solvent_mass: Annotated[float | None, typer.Option(help="Molar mass of the solvent, g/mol.")] = None,
    melting_point: Annotated[float | None, typer.Option(help="Of the solute, deg C, for lambda_h.")] = None,
    volume: Annotated[float | None, typer.Option(help="Of a vial, ml: nucleation rates are wanted.")] = None,
    png: Annotated[bool, typer.Option("--png", help="Plots as PNG instead of SVG.")] = False,
) -> None:
    """Solubility curves, metastable limits and zone widths, with intervals and a phase diagram."""
    with errors():
        from crystalscope.events import Substances
        from crystalscope.phase import FitRequest, diagram_of_events, write_diagram

        request = FitRequest(
            unit,  # type: ignore[arg-type]
            model,
            melting_point,
            Substances(density, solute_mass, solvent_mass),
            volume,
        )
        if temperature_column is not None:
            diagram = _from_tables(records, temperature_column, concentration_column, given_unit, request)
        else:
            diagram = diagram_of_events(_events(records, map_, concentration), request)
        _say(diagram)
        for path in write_diagram(diagram, out, suffix=".png" if png else ".svg"):
            typer.echo(f"Wrote {path}")


def _from_tables(
    records: list[Path], temperature: str, concentration: str, given_unit: str | None, request: Any
) -> PhaseDiagram:
    from typing import get_args

    from crystalscope.core import ConcentrationUnit
    from crystalscope.errors import ConfigError
    from crystalscope.phase import diagram_of_tables, read_points

    if given_unit not in get_args(ConcentrationUnit):
        raise ConfigError(
            f"expected --given-unit of {', '.join(get_args(ConcentrationUnit))} for tables, got {given_unit or 'none'}"
        )
    tables = [
        read_points(r, temperature=temperature, concentration=concentration, unit=given_unit)  # type: ignore[arg-type]
        for r in records
    ]
    return diagram_of_tables(tables, request)


def _events(records: list[Path], map_: Path | None, concentration: list[str] | None) -> list[Any]:
    from crystalscope.io.events import read_events

    out: list[Any] = []
    for record in records:
        written = record / "events.json" if record.is_dir() else record
        if written.suffix == ".json":
            out += read_events(written)
        else:
            out += [e for r in read_all([record], map_, concentration) for e in r.events]
    return out


def _say(diagram: PhaseDiagram) -> None:
    from crystalscope.events import compare_forms

    for curve in diagram.curves:
        low, high = curve.range_c
        numbers = ", ".join(f"{k} = {v.value:.5g} [{v.lower:.5g}, {v.upper:.5g}]" for k, v in curve.parameters.items())
        typer.echo(f"{curve.points.form}: {curve.model}, valid {low:.1f} to {high:.1f} deg C: {numbers}")
    for first, second, figure in compare_forms(diagram.curves):
        found = f"{figure.value:.1f} deg C [{figure.lower:.1f}, {figure.upper:.1f}]"
        typer.echo(f"Transition of {first} and {second}: {figure.reason or found}")
    for fit in diagram.zone_fits:
        numbers = ", ".join(f"{k} = {v.value:.4g} [{v.lower:.4g}, {v.upper:.4g}]" for k, v in fit.parameters.items())
        typer.echo(f"Zone width, {fit.model}: {fit.equation}: {numbers}")
    for found_set in diagram.inductions:
        j = found_set.rate.rate_per_m3_s
        typer.echo(
            f"Induction times of {found_set.sample} at {found_set.temperature_c:g} deg C: "
            f"J = {j.value:.3g} [{j.lower:.3g}, {j.upper:.3g}] per m3 and s, n = {found_set.rate.n}, of which "
            f"{found_set.rate.n_censored} censored {j.reason}".rstrip()
        )
    for value, unit, zone in diagram.zones:
        j = zone.rate_per_m3_s
        typer.echo(
            f"Zone widths at {value:g} {unit}: J = {j.value:.3g} [{j.lower:.3g}, {j.upper:.3g}] per m3 and s at "
            f"{zone.undercooling_c:.1f} deg C, order {zone.order.value:.2g}"
        )
    for note in diagram.notes:
        typer.echo(f"Note: {note}", err=True)
