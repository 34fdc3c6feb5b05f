"""Plots of needles in space, calibrations, agglomeration, shares of forms, and the report on spheres."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crystalscope.core import SizeDistribution
from crystalscope.io.tables import write_text
from crystalscope.report.plots import inline_svg
from crystalscope.report.style import BLUE, GREY, ORANGE, PALE, new_figure
from crystalscope.size.orientation import Lengths


def plot_lengths(found: Lengths, measured: Any, weight: Any, unit: str) -> Any:
    """Cumulative lengths by number as measured and in space, with D10, D50 and D90."""
    figure = new_figure(6.2, 3.6)
    axis = figure.subplots()
    order = np.argsort(measured, kind="stable")
    axis.step(
        np.asarray(measured)[order],
        np.cumsum(np.asarray(weight)[order]) / np.sum(weight),
        where="post",
        color=GREY,
        lw=1.1,
        label="in the picture",
    )
    axis.plot(found.size_edges, np.concatenate([[0], np.cumsum(found.number)]), color=BLUE, lw=1.4, label="in space")
    for share in (10, 50, 90):
        f = found.figures[f"D{share}_0"]
        bounds = None
        if math.isfinite(f.lower):
            bounds = [[max(f.value - f.lower, 0)], [max(f.upper - f.value, 0)]]
        label = "D10, D50, D90" if share == 50 else None
        axis.errorbar([f.value], [share / 100], xerr=bounds, fmt="o", color=ORANGE, ms=4, capsize=3.5, label=label)
    axis.set(
        xlabel=f"length / {'µm' if unit == 'um' else unit}", ylabel="Q₀, by number", ylim=(0, 1.02), xlim=(0, None)
    )
    axis.legend(loc="lower right")
    return figure


def plot_held_back(table: pd.DataFrame) -> Any:
    """Errors of D50 over the loading, as measured and calibrated without the batch."""
    middle = table[np.isclose(table["share"], 0.5)]
    figure = new_figure(6.2, 3.6)
    axis = figure.subplots()
    marks = "osD^vP"
    for k, (batch, rows) in enumerate(middle.groupby("batch", sort=False)):
        r = rows.sort_values("loading")
        mark = marks[k % len(marks)]
        axis.plot(r["loading"], 100 * r["measured_error"], f"{mark}--", color=GREY, ms=4, lw=0.9)
        axis.plot(r["loading"], 100 * r["calibrated_error"], f"{mark}-", color=BLUE, ms=4, lw=1.2, label=str(batch))
    axis.plot([], [], "--", color=GREY, label="as measured")
    axis.axhline(0, color=GREY, lw=0.7)
    axis.set(xlabel="solids loading", ylabel="error of D50 / %")
    axis.legend(title="batch held back")
    return figure


def plot_trend(trend: pd.DataFrame, *, label: str, value: str = "by_number", area: str = "by_area") -> Any:
    """A share over the run by windows of frames, with its interval; by area too where the column is there."""
    figure = new_figure(6.2, 3.2)
    axis = figure.subplots()
    x = 0.5 * (trend["first_frame"] + trend["last_frame"])
    axis.fill_between(x, trend["lower"], trend["upper"], color=PALE, lw=0, label="interval by number")
    axis.plot(x, trend[value], ".-", color=BLUE, lw=1.2, label="by number")
    if area in trend:
        axis.plot(x, trend[area], ".--", color=ORANGE, lw=1.0, label="by area")
    axis.set(xlabel="frame", ylabel=label, ylim=(0, None))
    axis.legend()
    return figure


def plot_class_trend(trend: pd.DataFrame) -> Any:
    """Shares of the classes over the run, with intervals."""
    figure = new_figure(6.2, 3.2)
    axis = figure.subplots()
    for colour, (name, rows) in zip((BLUE, ORANGE, GREY, "#3a7d44"), trend.groupby("class"), strict=False):
        x = 0.5 * (rows["first_frame"] + rows["last_frame"])
        axis.fill_between(x, rows["lower"], rows["upper"], color=colour, alpha=0.18, lw=0)
        axis.plot(x, rows["share"], ".-", color=colour, lw=1.2, label=str(name))
    axis.set(xlabel="frame", ylabel="share by number", ylim=(0, 1.02))
    axis.legend()
    return figure


def plot_alarm(table: pd.DataFrame, *, on: float, off: float) -> Any:
    """Share over the frames with its interval, both thresholds, and where the alarm was on."""
    figure = new_figure(6.2, 3.2)
    axis = figure.subplots()
    x = table["frame"].to_numpy(dtype=float)
    axis.fill_between(x, table["lower"], table["upper"], color=PALE, lw=0, label="interval")
    axis.plot(x, table["share"], color=BLUE, lw=1.2, label="share")
    axis.axhline(on, color=ORANGE, lw=1.0, label="on: lower bound above")
    axis.axhline(off, color=GREY, ls="--", lw=1.0, label="off: upper bound below")
    top = max(float(np.nanmax(table["upper"].to_numpy(dtype=float), initial=off)) * 1.1, 1.2 * off)
    lit = table["alarm"].to_numpy(dtype=bool)
    axis.fill_between(x, 0, top, where=lit, color="#e9b8b0", alpha=0.4, lw=0, step="mid", label="alarm")
    axis.set(xlabel="frame", ylabel="share by number", ylim=(0, top))
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


_Sizes = Mapping[float, tuple[SizeDistribution, SizeDistribution, SizeDistribution | None]]


def plot_spheres(distributions: _Sizes, unit: str) -> Any:
    """Cumulative diameters by number of run, annotations and certificate, a panel for every nominal size."""
    shown = {k: v for k, v in distributions.items() if v[0].n or v[1].n}
    figure = new_figure(9.2, 2.9)
    axes = np.atleast_1d(figure.subplots(1, max(len(shown), 1), sharey=True))
    for axis, (nominal, (run, drawn, certified)) in zip(axes, shown.items(), strict=False):
        for d, colour, style, name in (
            (run, BLUE, "-", "run"),
            (drawn, ORANGE, "--", "annotations"),
            (certified, GREY, ":", "certificate"),
        ):
            if d is not None and d.n:
                axis.step(d.size, d.Q0, style, where="post", color=colour, lw=1.3, label=name)
        axis.set(title=f"{nominal:g} µm", xlabel=f"diameter / {'µm' if unit == 'um' else unit}", ylim=(0, 1.02))
        axis.tick_params(labelleft=True)
        axis.locator_params(axis="x", nbins=5)
    axes[0].set_ylabel("Q₀, by number")
    handles = {label: h for a in axes for h, label in zip(*a.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside upper left", ncols=3)
    return figure


def write_sphere_report(path: Path, evaluation: Any, *, title: str) -> Path:
    """One page with both levels of the evaluation."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    def number(value: Any, digits: int = 3) -> str:
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return "–"
        return f"{value:,}" if isinstance(value, int | np.integer) else f"{value:.{digits}f}"

    s = evaluation.segmentation["instances"]
    names = ("precision", "recall", "f1", "panoptic_quality", "mean_iou_of_matched")
    table = evaluation.sizes
    rows = [
        [
            f"{r['nominal_um']:g}",
            number(int(r["n"])),
            *(number(float(r[c]), 1) for c in ("certified_D50", "run_D10", "run_D50", "run_D90")),
            number(100 * float(r["run_error"]), 1) + " %",
            number(float(r["annotated_D50"]), 1),
            number(100 * float(r["annotated_error"]), 1) + " %",
        ]
        for r in table.to_dict("records")
    ]
    conditions = [
        [f"{r[0]:g}", f"{r[1]:g}", number(int(r[2])), number(int(r[3])), number(float(r[4])), number(float(r[5]))]
        for r in evaluation.by_condition.itertuples(index=False)
    ]
    environment = Environment(loader=PackageLoader("crystalscope", "report"), autoescape=select_autoescape(["jinja"]))
    page = environment.get_template("spheres.html.jinja").render(
        title=title,
        verdict=sphere_verdict(evaluation),
        notes=evaluation.notes,
        segmentation={"pictures": evaluation.segmentation["pictures"]} | {n: number(s[n]) for n in names},
        conditions=conditions,
        sizes=rows,
        plot=inline_svg(
            lambda: plot_spheres(evaluation.distributions, evaluation.unit),
            "Diameters of run and certificate",
        ),
    )
    return write_text(path, page)


def sphere_verdict(evaluation: Any) -> str:
    """Both levels in one sentence."""
    s = evaluation.segmentation["instances"]
    annotated = s["tp"] + s["fn"]
    text = f"{s['tp']:,} of {annotated:,} annotated spheres found"
    if s["mean_iou_of_matched"] is not None:
        text += f" (mean IoU {s['mean_iou_of_matched']:.3f})"
    errors = evaluation.sizes["run_error"].to_numpy(dtype=float) if len(evaluation.sizes) else np.zeros(0)
    known = errors[np.isfinite(errors)]
    if known.size:
        text += f"; D50 by number within {100 * np.abs(known).max():.1f} % of the certificate for {known.size} sizes"
    return text + "."
