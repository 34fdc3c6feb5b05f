"""Plots of the report of a design, each a function returning SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core.design import ParetoFront, Prediction
from crystalscope.design.table import DoETable
from crystalscope.plant.profile import TemperatureProfile
from crystalscope.report.plots import svg
from crystalscope.report.style import BLUE, GREY, ORANGE, PALE, new_figure

Array = NDArray[np.float64]

# Markers and lines tell them apart without colour.
KIND_LOOKS = (
    ("#7fb2dd", "o", "--"), ("#c8551b", "s", "-."), ("#3b7d4f", "^", ":"), ("#1f5f99", "v", (0, (5, 1))),
    ("#8a5aa8", "D", (0, (3, 1, 1, 1))), ("#1c2733", "P", "-"),
)  # fmt: skip


@svg("Measured against held-out predicted values with their intervals, one panel for each attribute")
def parity(table: DoETable, predictions: dict[str, Prediction], before: Mapping[str, Array]) -> Any:
    """Held-out predictions with intervals against measured values; rows outside of what was tried are hollow, crosses
    are those `before` synthetic rows.
    """
    figure = new_figure(9.2, 3.5 if len(predictions) > 1 else 4.0)
    axes = figure.subplots(1, max(len(predictions), 2), squeeze=False)[0]
    names = [a.column for a in table.system.attributes]
    for axis, (name, p) in zip(axes, predictions.items(), strict=False):
        attribute = table.system.attributes[names.index(name)]
        y = table.values[:, names.index(name)]
        known = np.isfinite(y)
        half = [p.mean[known] - p.lower[known], p.upper[known] - p.mean[known]]
        axis.errorbar(y[known], p.mean[known], yerr=half, fmt="none", color=BLUE, lw=1, alpha=0.55)
        if name in before:
            axis.plot(y, before[name], "x", color=ORANGE, ms=4, mew=0.9)
        inside = p.in_domain[known]
        axis.plot(y[known][inside], p.mean[known][inside], "o", color=BLUE, ms=4, label="tried")
        if not inside.all():
            axis.plot(y[known][~inside], p.mean[known][~inside], "o", color=BLUE, mfc="white", ms=4)
        ends = [float(min(y[known].min(), p.lower[known].min())), float(max(y[known].max(), p.upper[known].max()))]
        axis.plot(ends, ends, color=GREY, lw=0.9, ls="--")
        unit = f" / {_unit(attribute.unit)}" if attribute.unit else ""
        axis.set(xlabel=f"{name} measured{unit}", ylabel=f"{name} predicted{unit}", title=f"{name}, {known.sum()} runs")
        axis.set_aspect("equal", adjustable="datalim")
    for axis in axes[len(predictions) :]:
        axis.axis("off")
    return figure


@svg("Pareto fronts by kind of profile, with the runs of the table")
def fronts(table: DoETable, found: Sequence[ParetoFront], kinds: Sequence[str], chosen: tuple[int, int]) -> Any:
    """Two objectives against each other by kind of profile, again with the third attribute, where there is one, as a
    colour, and with the batch time, where it is an objective.
    """
    system = table.system
    x, y = system.objectives[:2]
    shown = [i for i, f in enumerate(found) if len(f)]
    mapped: list[tuple[str, list[Array]]] = []
    third = next((a for a in system.attributes if a not in (x, y)), None)
    if third is not None and all(third.column in found[i].predictions for i in shown):
        mapped.append((_label(third), [found[i].predictions[third.column].mean for i in shown]))
    if system.time_objective:
        mapped.append(("batch time / h", [found[i].batch_time_h for i in shown]))
    figure = new_figure(9.2, 3.9 if len(mapped) < 2 else 3.4)
    axes = figure.subplots(1, 1 + len(mapped), squeeze=False)[0]
    names = [a.column for a in system.attributes]
    runs = table.values[:, [names.index(x.column), names.index(y.column)]]
    for axis in axes:
        axis.plot(runs[:, 0], runs[:, 1], ".", color=GREY, ms=5, label="runs of the table")
        axis.set(xlabel=_label(x), ylabel=_label(y))
    places = [tuple(found[i].predictions[a.column].mean for a in (x, y)) for i in shown]
    for i, place in zip(shown, places, strict=True):
        colour, mark, _ = KIND_LOOKS[i % len(KIND_LOOKS)]
        axes[0].plot(*place, mark, color=colour, ms=4, label=kinds[i])
    if chosen[0] >= 0:
        p, q = (found[chosen[0]].predictions[a.column] for a in (x, y))
        j = chosen[1]
        axes[0].errorbar(
            p.mean[[j]],
            q.mean[[j]],
            xerr=[[p.mean[j] - p.lower[j]], [p.upper[j] - p.mean[j]]],
            yerr=[[q.mean[j] - q.lower[j]], [q.upper[j] - q.mean[j]]],
            fmt="o",
            ms=10,
            mfc="none",
            color="#1c2733",
            lw=1,
            label="chosen, with its interval",
        )
    axes[0].set_title("by kind of profile")
    for axis, (label, colours) in zip(axes[1:], mapped, strict=True):
        every = np.concatenate(colours)
        for i, place, c in zip(shown, places, colours, strict=True):
            drawn = axis.scatter(
                *place, c=c, cmap="viridis", vmin=every.min(), vmax=every.max(), s=18, marker=KIND_LOOKS[i % 6][1]
            )
        figure.colorbar(drawn, ax=axis, label=label)
        axis.set_title(f"{label.split(' / ')[0]} on the fronts")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=5)
    return figure


@svg("Temperature against time of the recipes of each kind of profile nearest to the ideal point")
def profiles(chosen: dict[int, tuple[str, TemperatureProfile]], best: int) -> Any:
    """Temperature against time by the number of the front; the chosen recipe is heavier."""
    figure = new_figure(9.2, 3.0)
    axis = figure.subplots()
    for i, (kind, profile) in chosen.items():
        colour, _, line = KIND_LOOKS[i % len(KIND_LOOKS)]
        axis.plot(
            profile.time_s / 3600,
            profile.temperature_c,
            color=colour,
            lw=2.6 if i == best else 1.1,
            ls="-" if i == best else line,
            label=f"{kind}, chosen" if i == best else kind,
        )
    axis.set(xlabel="time / h", ylabel="temperature / °C", xlim=(0, None))
    figure.legend(loc="outside upper left", ncols=6)
    return figure


@svg("Held-out loss against the weight of the synthetic rows, by generator, one panel for each attribute")
def losses(frame: pd.DataFrame) -> Any:
    """Mean squared error over that without synthetic rows against alpha, for the largest number of rows."""
    names = list(dict.fromkeys(frame["cqa"]))
    figure = new_figure(9.2, 2.8)
    axes = figure.subplots(1, max(len(names), 2), squeeze=False, sharey=True)[0]
    looks = {
        "copula": (BLUE, "-", "o"),
        "gan": (GREY, "--", "s"),
        "vae": ("#3b7d4f", "-.", "^"),
        "plant": (ORANGE, "-", "D"),
    }
    for axis, name in zip(axes, names, strict=False):
        part = frame[(frame["cqa"] == name)]
        part = part[part["count"] == part["count"].max()]
        for generator, rows in part.groupby("generator", sort=True):
            colour, line, mark = looks.get(str(generator), (PALE, "-", "o"))
            base = float(rows["mse"].iloc[0])
            axis.plot(rows["alpha"], rows["mse"] / base, line, color=colour, marker=mark, ms=3, label=generator)
        axis.axhline(1, color=GREY, lw=0.7)
        axis.set(title=f"{name}, {int(part['count'].max())} rows", xlabel="weight a of synthetic rows")
    # A generator that is far off shall not press the others to the floor.
    axes[0].set(ylabel="held-out error over that at a = 0", ylim=(0, 2.5))
    for axis in axes[len(names) :]:
        axis.axis("off")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return figure


@svg("Total Sobol indices of the inputs, one panel for each attribute")
def sensitivity(frame: pd.DataFrame) -> Any:
    """First-order and total Sobol indices of the eight inputs that matter most."""
    names = list(dict.fromkeys(frame["cqa"]))
    figure = new_figure(9.2, 2.9)
    axes = figure.subplots(1, max(len(names), 2), squeeze=False)[0]
    for axis, name in zip(axes, names, strict=False):
        part = frame[frame["cqa"] == name].sort_values("total", ascending=False).head(8).iloc[::-1]
        at = np.arange(len(part))
        axis.barh(at, part["total"], height=0.6, color=PALE, label="total")
        axis.barh(at, np.minimum(part["first"], part["total"]), height=0.3, color=BLUE, label="first order")
        axis.set(yticks=at, yticklabels=part["input"], title=name, xlabel="share of the variance", xlim=(0, 1))
    for axis in axes[len(names) :]:
        axis.axis("off")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


@svg("Mean prediction against the inputs that matter most, one panel for each attribute")
def dependence(curves: dict[str, list[tuple[str, Array, Array]]], units: dict[str, str]) -> Any:
    """Partial dependence of each attribute on its three most important inputs, scaled 0 to 1."""
    figure = new_figure(9.2, 2.8)
    axes = figure.subplots(1, max(len(curves), 2), squeeze=False)[0]
    for axis, (name, lines) in zip(axes, curves.items(), strict=False):
        for (label, grid, values), colour, style in zip(lines, (BLUE, ORANGE, GREY), ("-", "--", "-."), strict=False):
            axis.plot(grid, values, style, color=colour, label=label)
        unit = f" / {_unit(units[name])}" if units[name] else ""
        axis.set(xlabel="input, lowest to highest", ylabel=f"{name}{unit}", title=name)
        axis.legend()
    for axis in axes[len(curves) :]:
        axis.axis("off")
    return figure


def _label(attribute: Any) -> str:
    return f"{attribute.column} / {_unit(attribute.unit)}" if attribute.unit else str(attribute.column)


def _unit(unit: str) -> str:
    return {"um": "µm", "share": "–"}.get(unit, unit)
