"""The report of a design: one file, opens offline, prints."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from crystalscope import __version__
from crystalscope.core.design import ParetoFront
from crystalscope.design.outcome import Campaign
from crystalscope.design.pareto import choose_recipe
from crystalscope.design.sensitivity import coordinate_names, main_space, partial_dependence
from crystalscope.design.space import Space, round_conditions
from crystalscope.io.tables import write_text
from crystalscope.report import design_plots

_NONE = "–"


def write_design_report(campaign: Campaign, out: Path, frames: dict[str, Any]) -> Path:
    """Write OUT/report.html.

    Parameters
    ----------
    campaign
        What was found.
    frames
        ``verdict`` (content of verdict.json), ``augmentation`` and ``synthetic`` (tables of the files), ``kinds``
        (names of the kinds of profiles of the fronts); where further runs were compared also ``comparison``
        (comparison.csv) and ``agreement`` (a sentence).

    Raises
    ------
    WriteError
        When the place cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    system, twin = campaign.system, campaign.twin
    verdict, kinds = frames["verdict"], frames["kinds"]
    environment = Environment(
        loader=PackageLoader("crystalscope.report", "."), autoescape=True, undefined=StrictUndefined
    )
    two = len([a for a in system.objectives if a.column in twin.attributes]) >= 2
    level = f"{100 * campaign.settings.level:g}"
    plots = {
        "parity": design_plots.parity(twin.table, campaign.predictions, campaign.before),
        "fronts": design_plots.fronts(twin.table, campaign.fronts, kinds, campaign.chosen)
        if two and campaign.chosen[0] >= 0
        else "",
        "profiles": _profiles(campaign, kinds),
        "losses": design_plots.losses(frames["augmentation"]) if len(frames["augmentation"]) else "",
        "sensitivity": design_plots.sensitivity(campaign.sensitivity),
        "dependence": _dependence(campaign),
    }
    context = {
        "version": __version__,
        "style": (files("crystalscope.report") / "analysis.css").read_text(encoding="utf-8"),
        "title": system.name or "Digital design",
        "facts": _facts(campaign),
        "sentence": verdict["sentence"],
        "measure_next": verdict["measure_next"],
        "warnings": verdict["warnings"],
        "notes": verdict["notes"],
        "verdicts": _verdicts(campaign),
        "next": _next(campaign, kinds),
        "recipes": _recipes(campaign, kinds),
        "front_caption": _front_caption(campaign),
        "before_caption": " Crosses: without synthetic rows." if campaign.before else "",
        "comparison": _comparison(frames.get("comparison")),
        "comparison_caption": frames.get("agreement", ""),
        "models": _models(campaign),
        "synthetic": _synthetic(verdict["synthetic"], frames["synthetic"]),
        "main_kind": frames["main_kind"],
        "level": level,
        "plots": plots,
        "settings": frames["settings"],
    }
    page = environment.get_template("design.html.jinja").render(context)
    return write_text(out / "report.html", page)


def _facts(campaign: Campaign) -> dict[str, str]:
    table = campaign.twin.table
    counts = np.isfinite(table.values).sum(axis=0)
    out = {
        "Runs": str(len(table)),
        "Recipe": campaign.settings.recipe,
        "Intervals": f"{100 * campaign.settings.level:g} %",
    }
    for a, n in zip(table.system.attributes, counts, strict=True):
        out[a.column] = f"{n} measured, wanted {'large' if a.direction == 'max' else 'small'}"
    return out


def _front_caption(campaign: Campaign) -> str:
    if campaign.settings.recipe == "published":
        return "Predicted best trades of the objectives by NSGA-II, as published: anywhere within the bounds."
    return "Predicted best trades of the objectives by NSGA-II for each kind of profile, within what was tried."


def _verdicts(campaign: Campaign) -> dict[str, Any]:
    rows = []
    for v in campaign.verdicts:
        word = {True: "enough", False: "not enough", None: "cannot be told"}[v.suffices]
        error = f"{v.error:.3g} ({v.error_lower:.2g} to {v.error_upper:.2g})" if v.error == v.error else _NONE
        sd = f"{v.measurement_sd:.3g}" if v.measurement_sd == v.measurement_sd else _NONE
        rows.append([v.attribute, v.runs, sd, error, word])
    return {"head": ["", "runs", "sd of a measurement", "error of the model", "verdict"], "rows": rows}


def _next(campaign: Campaign, kinds: list[str]) -> dict[str, Any] | None:
    s, system = campaign.suggestion, campaign.system
    if s is None or not len(s.conditions):
        return None
    names = {f.segments: k for f, k in zip(campaign.fronts, kinds, strict=True)}
    head = ["", "profile", *(f.column for f in system.factors)]
    if system.profile is not None:
        head += ["corners, °C", "h"]
    head += [f"{a} expected" for a in campaign.twin.attributes] + ["gain", "why"]
    rows = []
    for i in range(len(s.conditions)):
        row: list[Any] = [i + 1, names[int(s.conditions.segments[i])]]
        row += [f"{v:.4g}" for v in s.conditions.factors[i]]
        if system.profile is not None:
            row += [_corners(s.conditions, i), f"{s.conditions.batch_time_h[i]:.1f}"]
        row += [f"{m:.3g}\u00a0±\u00a0{d:.2g}" for m, d in zip(s.means[i], s.sds[i], strict=True)]
        why = "expected beyond all runs" if s.beyond[i] else "uncertain, may be better"
        rows.append([*row, f"{s.gains[i]:.1%}", why + ("" if s.distance[i] <= 1 else "; new ground")])
    return {"head": head, "rows": rows}


def _corners(conditions: Any, row: int) -> str:
    used = conditions.temperature_c[row, : int(conditions.segments[row]) + 1]
    return " → ".join(f"{t:g}" for t in used)


def _nearest(front: ParetoFront) -> int:
    return choose_recipe([front])[1]


def _recipes(campaign: Campaign, kinds: list[str]) -> dict[str, Any] | None:
    system = campaign.system
    rows = []
    for i, (front, kind) in enumerate(zip(campaign.fronts, kinds, strict=True)):
        if not len(front):
            rows.append([kind, *[_NONE] * (len(system.factors) + len(front.predictions)), "none within what was tried"])
            continue
        j = campaign.chosen[1] if i == campaign.chosen[0] else _nearest(front)
        x = round_conditions(Space(system, front.segments).decode(front.coordinates[[j]]), system)
        row: list[Any] = [f"{kind}{' (chosen)' if i == campaign.chosen[0] else ''}"]
        row += [f"{v:.4g}" for v in x.factors[0]]
        row += [f"{p.mean[j]:.3g} ({p.lower[j]:.3g} to {p.upper[j]:.3g})" for p in front.predictions.values()]
        time = front.batch_time_h[j]
        rows.append([*row, f"{time:.1f} h" if time == time else _NONE])
    filled = next((f for f in campaign.fronts if len(f)), None)
    if filled is None:
        return None
    width = 2 + len(system.factors) + len(filled.predictions)
    rows = [r if len(r) == width else [r[0], *[_NONE] * (width - 2), r[-1]] for r in rows]
    return {"head": ["", *(f.column for f in system.factors), *filled.predictions, "batch time"], "rows": rows}


def _comparison(frame: Any) -> dict[str, Any] | None:
    if frame is None:
        return None
    rows = [
        [
            f"row {r.row}: {r.cqa}",
            f"{r.experiment:.4g}",
            f"{r.mean:.4g} ({r.lower:.4g} to {r.upper:.4g})",
            "yes" if r.inside else "no",
        ]
        for r in frame.itertuples()
    ]
    return {"head": ["", "experiment", "prediction", "inside"], "rows": rows}


def _models(campaign: Campaign) -> dict[str, Any]:
    rows = []
    for s in campaign.twin.scores:
        cells = [
            f"{v:.3g}" if v == v else _NONE
            for v in (s.validation.mae, s.validation.r2, s.test.mse, s.test.mae, s.test.r2)
        ]
        rows.append([f"{s.attribute}: {s.model}", f"{s.validation.mse:.3g}", *cells, f"{s.weight:.0%}"])
    head = ["", "MSE, validation", "MAE", "R²", "MSE, test", "MAE", "R²", "weight"]
    return {"head": head, "rows": rows}


def _synthetic(decided: dict[str, Any], frame: Any) -> dict[str, Any] | None:
    if not decided:
        return None
    rows = []
    for name, d in decided.items():
        alike = frame[frame["cqa"] == name]["similarity"].iloc[0]
        used = f"a = {d['alpha']:g}, {d['count']} rows" if d["alpha"] > 0 else "not used"
        law = f"{d['alpha_by_law']:.2f}" if d["alpha_by_law"] == d["alpha_by_law"] else _NONE
        rows.append([name, d["generator"], f"{alike:.2f}", used, f"{d['gain']:.0%}", law])
    head = ["", "best generator", "similarity", "decision", "gain in squared error", "a by scaling law"]
    return {"head": head, "rows": rows}


def _profiles(campaign: Campaign, kinds: list[str]) -> str:
    system = campaign.system
    if system.profile is None or campaign.chosen[0] < 0:
        return ""
    drawn = {}
    for i, (front, kind) in enumerate(zip(campaign.fronts, kinds, strict=True)):
        if not len(front):
            continue
        j = campaign.chosen[1] if i == campaign.chosen[0] else _nearest(front)
        x = round_conditions(Space(system, front.segments).decode(front.coordinates[[j]]), system)
        drawn[i] = (kind, x.profile(0))
    return design_plots.profiles(drawn, campaign.chosen[0])


def _dependence(campaign: Campaign) -> str:
    space = main_space(campaign.twin)
    names = coordinate_names(space)
    curves = {}
    for k, name in enumerate(campaign.twin.attributes):
        part = campaign.sensitivity[campaign.sensitivity["cqa"] == name].sort_values("total", ascending=False).head(3)
        lines = []
        for label in part["input"]:
            rng = np.random.default_rng(campaign.settings.seed)
            grid, values = partial_dependence(campaign.twin, space, names.index(label), rng=rng)
            lines.append((str(label), grid, values[:, k]))
        curves[name] = lines
    return design_plots.dependence(curves, {a.column: a.unit for a in campaign.system.attributes})
