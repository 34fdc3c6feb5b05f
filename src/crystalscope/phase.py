"""From clear and cloud points, or a table of saturation temperatures, to curves, zone widths and their files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from crystalscope.core import ConcentrationUnit, Event, Figure, SolubilityCurve, SolubilityPoints
from crystalscope.errors import ConfigError, InputError, ReadError
from crystalscope.events import (
    MODELS,
    InductionSet,
    Substances,
    ZoneFit,
    ZoneNucleation,
    compare_forms,
    convert_concentration,
    fit_all,
    fit_solubility,
    fit_zone_rates,
    induction_sets,
    leave_one_out,
    replicate_scatter,
    saturation_point,
    solution_of,
    zone_sets,
    zone_widths,
)
from crystalscope.io.logs import read_table_text
from crystalscope.io.tables import write_csv, write_json
from crystalscope.io.text import numbers

POINT_COLUMNS = (
    "what", "form", "kind", "temperature_c", "concentration", "lower", "upper", "unit", "model", "used",
    "experiment", "reactor", "cycle",
)  # fmt: skip
"""Columns of solubility.csv: measured points (what = measured; kind clear, cloud, oiling_out or given; used: in the
fit), and the fitted curve with its band (what = fitted)."""


@dataclass(frozen=True)
class FitRequest:
    """What is to be fitted.

    Parameters
    ----------
    unit
        In which the curve is wanted; None: as measured.
    model
        One of `MODELS`; None: the one with the lowest AICc.
    melting_point_c
        Of the solute, deg C; lambda_h needs it.
    substances
        For conversions.
    volume_ml
        Of a vial, for nucleation rates; None: none are wanted.
    """

    unit: ConcentrationUnit | None = None
    model: str | None = None
    melting_point_c: float | None = None
    substances: Substances = field(default_factory=Substances)
    volume_ml: float | None = None

    def __post_init__(self) -> None:
        if self.unit is not None and self.unit not in get_args(ConcentrationUnit):
            raise ConfigError(f"expected a unit of {', '.join(get_args(ConcentrationUnit))}, got {self.unit!r}")
        if self.model is not None and self.model not in MODELS:
            raise ConfigError(f"expected a model of {', '.join(MODELS)}, got {self.model!r}")


@dataclass(frozen=True, eq=False)
class PhaseDiagram:
    """All that `crystalscope solubility` finds.

    Parameters
    ----------
    points
        Measured points, as in solubility.csv.
    curves
        The chosen curve of every form.
    candidates
        All curves of every form.
    limits
        Metastable limits, by cooling rate.
    widths
        Rows of mszw.csv.
    zone_fits
        Zone width against cooling rate; empty where there is one rate.
    notes
        What was left out or cannot be told.
    inductions, zones
        Nucleation rates, where the volume of a vial was given.
    """

    points: pd.DataFrame
    curves: tuple[SolubilityCurve, ...]
    candidates: tuple[SolubilityCurve, ...]
    limits: tuple[SolubilityCurve, ...]
    widths: pd.DataFrame
    zone_fits: tuple[ZoneFit, ...]
    notes: tuple[str, ...]
    inductions: tuple[InductionSet, ...] = ()
    zones: tuple[tuple[float, str, ZoneNucleation], ...] = ()


def diagram_of_events(events: Sequence[Event], request: FitRequest) -> PhaseDiagram:
    """Phase diagram from clear and cloud points.

    Parameters
    ----------
    events
        With the concentrations of their vials; each sample (solute in solvent) is a form of its own.
    request
        What to fit.

    Returns
    -------
    A solution counts as one point: its saturation temperature over all cycles and experiments, weighted by their
    number. Left out, and told: first dissolutions, what froze, what dissolved on a hold.

    Raises
    ------
    InputError
        When no clear point has a concentration, or a conversion lacks a density or a molar mass.
    """
    notes: list[str] = []
    points = _measured(events, request, notes)
    vials = _saturation(events, request)
    if points.empty or vials.empty:
        known = any(e.kind == "clear" and math.isfinite(e.value) for e in events)
        what = "none was reached" if known else "none has a concentration"
        raise InputError(
            f"expected clear points with concentrations, got {len(events)} events of which {what}; give concentrations "
            "with --concentration REACTOR=VALUE, or records in which crystals dissolve"
        )
    curves, candidates = _fits(vials, request, notes)
    rates = sorted({round(f, 3) for f in vials["rate"] if math.isfinite(f)})
    if len(rates) == 1:
        notes.append(
            f"one heating rate ({rates[0]:g} deg C/min): the clear points, and with them the curve, lie above the "
            "saturation temperature (read at the curve, the solubility is too low); heat at a second, slower rate"
        )
    widths = zone_widths(events)
    return PhaseDiagram(
        points, tuple(curves), tuple(candidates), tuple(_limits(points, events, notes)), widths,
        tuple(_zone_fits(widths, notes)), tuple(notes),
        tuple(induction_sets(events, volume_ml=request.volume_ml)) if request.volume_ml else (),
        tuple(zone_sets(widths, volume_ml=request.volume_ml)) if request.volume_ml else (),
    )  # fmt: skip


def diagram_of_tables(tables: Sequence[pd.DataFrame], request: FitRequest) -> PhaseDiagram:
    """Phase diagram from saturation temperatures that were measured elsewhere.

    Parameters
    ----------
    tables
        Columns form, temperature_c, concentration, unit.
    request
        What to fit.
    """
    notes: list[str] = []
    rows = pd.concat(tables, ignore_index=True)
    rows["concentration"] = [
        float(convert_concentration(c, given=u, wanted=request.unit or u, substances=request.substances))
        for c, u in zip(rows["concentration"], rows["unit"], strict=True)
    ]
    rows["unit"] = [request.unit or u for u in rows["unit"]]
    points = rows.assign(what="measured", kind="given", used=True).reindex(columns=list(POINT_COLUMNS))
    curves, candidates = _fits(rows.assign(weight=1.0), request, notes)
    return PhaseDiagram(points, tuple(curves), tuple(candidates), (), zone_widths([]), (), tuple(notes))


def read_points(path: Path, *, temperature: str, concentration: str, unit: ConcentrationUnit) -> pd.DataFrame:
    """Saturation temperatures from a delimited table; the form is its column ``form``, or the name of the file.

    Raises
    ------
    ReadError
        When a column is missing or no row has both numbers.
    """
    table = read_table_text(path)
    table.columns = [c.strip() for c in table.columns]
    missing = [c for c in (temperature, concentration) if c not in table.columns]
    if missing:
        raise ReadError(
            f"expected columns {', '.join(map(repr, missing))} in {path.name}, got "
            f"{', '.join(map(repr, table.columns))}; name them by --temperature-column and --concentration-column"
        )
    form = table["form"].astype(str) if "form" in table.columns else path.stem
    out = pd.DataFrame(
        {"form": form, "temperature_c": numbers(table[temperature]), "concentration": numbers(table[concentration])}
    )
    out = out[np.isfinite(out["temperature_c"]) & np.isfinite(out["concentration"])].assign(unit=unit)
    if out.empty:
        raise ReadError(f"expected rows with a temperature and a concentration in {path.name}, got none")
    return out.reset_index(drop=True)


def write_diagram(diagram: PhaseDiagram, out: Path, *, suffix: str = ".svg") -> list[Path]:
    """Write solubility.csv, mszw.csv, fits.json and the plots; raises WriteError."""
    from crystalscope.report.events import plot_phase_diagram, plot_zone_widths
    from crystalscope.report.style import write_plot

    fitted = []
    for curve in diagram.curves:
        t = np.linspace(*curve.range_c, 101)
        low, high = curve.band(t)
        fitted.append(
            pd.DataFrame(
                {
                    "what": "fitted", "form": curve.points.form, "temperature_c": t,
                    "concentration": curve.concentration(t), "lower": low, "upper": high, "unit": curve.points.unit,
                    "model": curve.model,
                }
            )
        )  # fmt: skip
    rows = [row for part in (diagram.points, *fitted) for row in part.to_dict("records")]
    paths = [
        write_csv(out / "solubility.csv", pd.DataFrame(rows, columns=list(POINT_COLUMNS))),
        write_csv(out / "mszw.csv", diagram.widths),
        write_json(out / "fits.json", describe(diagram)),
        write_plot(
            out / f"phase_diagram{suffix}", lambda: plot_phase_diagram(diagram.curves, diagram.limits, diagram.points)
        ),
    ]
    if diagram.zone_fits:
        seen = diagram.widths[diagram.widths["status"] == "reached"].dropna(subset=["mszw_c"])
        paths.append(write_plot(out / f"mszw{suffix}", lambda: plot_zone_widths(seen, diagram.zone_fits)))
    return paths


def describe(diagram: PhaseDiagram) -> dict[str, Any]:
    """Content of fits.json: parameters with intervals, AICc, errors of points left out, transitions, zone widths."""
    curves = []
    for curve in diagram.candidates:
        chosen = curve in diagram.curves
        scatter, free = replicate_scatter(curve.points)
        entry: dict[str, Any] = {
            "form": curve.points.form,
            "model": curve.model,
            "chosen": chosen,
            "unit": curve.points.unit,
            "n": len(curve.points),
            "valid_c": list(curve.range_c),
            "aicc": curve.aicc,
            "residual_sd_ln": curve.residual_sd,
            "replicate_sd_c": scatter,
            "replicate_df": free,
            "parameters": {k: [v.value, v.lower, v.upper] for k, v in curve.parameters.items()},
        }
        try:
            left = leave_one_out(curve.points, model=curve.model)  # type: ignore[arg-type]
            entry |= {"leave_one_out_rms": left.concentration_rms, "leave_one_out_rms_c": left.temperature_rms_c}
        except InputError as e:
            entry["leave_one_out"] = str(e)
        curves.append(entry)
    return {
        "curves": curves,
        "transitions": [
            {"forms": [a, b], "temperature_c": f.value, "lower_c": f.lower, "upper_c": f.upper, "reason": f.reason}
            for a, b, f in compare_forms(diagram.curves)
        ],
        "zone_widths": [
            {
                "model": fit.model,
                "equation": fit.equation,
                "residual_c": fit.residual_c,
                "parameters": {k: [v.value, v.lower, v.upper] for k, v in fit.parameters.items()},
            }
            for fit in diagram.zone_fits
        ],
        "nucleation": _nucleation(diagram),
        "notes": list(diagram.notes),
    }


def _nucleation(diagram: PhaseDiagram) -> list[dict[str, Any]]:
    def row(figure: Figure) -> list[float]:
        return [figure.value, figure.lower, figure.upper]

    inductions = [
        {
            "from": "induction times", "sample": s.sample, "concentration": s.concentration, "unit": s.unit,
            "temperature_c": s.temperature_c, "rate_per_m3_s": row(s.rate.rate_per_m3_s),
            "growth_time_s": row(s.rate.growth_time_s), "n": s.rate.n, "n_censored": s.rate.n_censored,
            "n_before": s.n_before, "reason": s.rate.rate_per_m3_s.reason,
        }
        for s in diagram.inductions
    ]  # fmt: skip
    zones = [
        {
            "from": "zone widths", "concentration": value, "unit": unit, "undercooling_c": z.undercooling_c,
            "order": row(z.order), "rate_per_m3_s": row(z.rate_per_m3_s),
        }
        for value, unit, z in diagram.zones
    ]  # fmt: skip
    return [*inductions, *zones]


def _form(event: Event) -> str:
    return event.sample or event.experiment


def _converted(event: Event, request: FitRequest) -> tuple[float, str]:
    if event.unit not in get_args(ConcentrationUnit):
        raise InputError(
            f"expected a concentration in {', '.join(get_args(ConcentrationUnit))}, got {event.unit or 'none'!r} for "
            f"reactor {event.reactor} of {event.experiment}; give it with --concentration"
        )
    wanted = request.unit or event.unit
    value = convert_concentration(
        event.value,
        given=event.unit,  # type: ignore[arg-type]
        wanted=wanted,  # type: ignore[arg-type]
        substances=request.substances,
    )
    return float(value), wanted


def _measured(events: Sequence[Event], request: FitRequest, notes: list[str]) -> pd.DataFrame:
    """Every clear point, cloud point and oiling-out that was reached in a vial of known concentration."""
    rows, frozen = [], set()
    for e in events:
        if e.kind not in ("clear", "cloud", "oiling_out") or e.status != "reached" or not e.value > 0:
            continue
        if "freezing" in e.flags:
            frozen.add(f"reactor {e.reactor} of {e.experiment}")
            continue
        value, unit = _converted(e, request)
        used = not {"as_filled", "in_hold"} & set(e.flags)
        rows.append(
            {
                "what": "measured", "form": _form(e), "kind": e.kind, "temperature_c": e.temperature_c,
                "concentration": value, "unit": unit, "used": used, "experiment": e.experiment, "reactor": e.reactor,
                "cycle": e.cycle,
            }
        )  # fmt: skip
    notes += [f"{name}: the solvent freezes; left out" for name in sorted(frozen)]
    filled = sum(r["kind"] == "clear" and not r["used"] for r in rows)
    if filled:
        notes.append(f"{filled} clear points of the solid as filled, or reached on a hold, are shown and not fitted")
    return pd.DataFrame(rows, columns=list(POINT_COLUMNS))


def _saturation(events: Sequence[Event], request: FitRequest) -> pd.DataFrame:
    """One row for every solution: form, temperature_c, concentration, unit, weight (number of cycles), rate."""
    vials: dict[tuple[str, str, float, str], list[Event]] = {}
    for e in events:
        if e.kind == "clear" and e.value > 0 and "freezing" not in e.flags:
            vials.setdefault(solution_of(e), []).append(e)
    rows = []
    for members in vials.values():
        figure = saturation_point(members)
        if not math.isfinite(figure.value):
            continue
        value, unit = _converted(members[0], request)
        seen = [e for e in members if e.status == "reached" and not {"as_filled", "in_hold"} & set(e.flags)]
        # At rest the rate is none: what is left is what was not extrapolated.
        rate = (
            float(np.median([e.rate_c_per_min for e in seen])) if figure.reason.startswith("one heating") else math.nan
        )
        rows.append(
            {
                "form": _form(members[0]), "temperature_c": figure.value, "concentration": value, "unit": unit,
                "weight": float(len(seen)), "rate": rate,
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=["form", "temperature_c", "concentration", "unit", "weight", "rate"])


def _fits(
    vials: pd.DataFrame, request: FitRequest, notes: list[str]
) -> tuple[list[SolubilityCurve], list[SolubilityCurve]]:
    chosen, candidates = [], []
    for form, rows in vials.groupby("form", sort=False):
        if rows["unit"].nunique() > 1:
            raise InputError(
                f"expected one unit for {form}, got {', '.join(rows['unit'].unique())}; choose one by --unit"
            )
        points = SolubilityPoints(
            rows["temperature_c"].to_numpy(), rows["concentration"].to_numpy(), rows["unit"].iloc[0],
            rows["weight"].to_numpy(), str(form),
        )  # fmt: skip
        try:
            found = fit_all(points, melting_point_c=request.melting_point_c)
            if request.model is not None:
                best = fit_solubility(
                    points,
                    model=request.model,  # type: ignore[arg-type]
                    melting_point_c=request.melting_point_c,
                )
                found = [best, *(c for c in found if c.model != best.model)]
        except InputError as e:
            notes.append(f"{form}: no curve: {e}")
            continue
        chosen.append(found[0])
        candidates += found
    return chosen, candidates


def _limits(points: pd.DataFrame, events: Sequence[Event], notes: list[str]) -> list[SolubilityCurve]:
    """A van 't Hoff line through the cloud points of every form and cooling rate."""
    rate = {(e.experiment, e.reactor, e.cycle): -e.rate_c_per_min for e in events if e.kind == "cloud"}
    clouds = points[points["kind"] == "cloud"]
    keys = zip(clouds["experiment"], clouds["reactor"], clouds["cycle"], strict=True)
    clouds = clouds.assign(rate=[round(rate[k], 2) for k in keys])
    out = []
    for (form, speed), rows in clouds.groupby(["form", "rate"], sort=False):
        if rows["concentration"].nunique() < 3:
            continue
        measured = SolubilityPoints(
            rows["temperature_c"].to_numpy(), rows["concentration"].to_numpy(), rows["unit"].iloc[0],
            form=f"{form} | {speed:g} °C/min",
        )  # fmt: skip
        try:
            out.append(fit_solubility(measured, model="van_t_hoff"))
        except InputError as e:
            notes.append(f"{form}: no metastable limit at {speed:g} deg C/min: {e}")
    return out


def _zone_fits(widths: pd.DataFrame, notes: list[str]) -> list[ZoneFit]:
    seen = widths[(widths["status"] == "reached") & (widths["mszw_c"] > 0)]
    if seen.empty:
        return []
    try:
        return fit_zone_rates(seen["mszw_c"], seen["cooling_rate_c_per_min"], seen["saturation_c"])
    except InputError as e:
        notes.append(f"no fit of the zone width against the cooling rate: {e}")
        return []
