"""Plots of events: signals over time, the phase diagram, zone widths, and the lead of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core import Event, Segment, SolubilityCurve, Timeline
from crystalscope.events import ZoneFit
from crystalscope.report.style import BLUE, GREY, ORANGE, PALE, new_figure

Array = NDArray[np.float64]

_DARK = "#1c2733"
_SERIES = (BLUE, ORANGE, "#3b7d4f", "#7a4d9c", "#8a6d1d", _DARK)
_MARKS = {
    "clear": ("^", "clear"),
    "cloud": ("v", "cloud"),
    "induction": ("o", "induction"),
    "oiling_out": ("D", "oils out"),
}
_MOST_POINTS = 3000


def plot_timeline(timeline: Timeline, events: Sequence[Event], segments: Sequence[Segment]) -> Any:
    """Signal and temperature against time, a panel for each reactor, with the events marked.

    Parameters
    ----------
    timeline
        The record.
    events
        Its events; those reached are marked, with their temperature.
    segments
        Of the programme; tuning is shaded.

    Returns
    -------
    A matplotlib figure.
    """
    reactors = list(timeline.signals)
    figure = new_figure(9.2, 0.9 + 1.75 * len(reactors))
    axes = figure.subplots(len(reactors), 1, sharex=True, squeeze=False)[:, 0]
    hours = timeline.time_s / 3600
    for axis, reactor in zip(axes, reactors, strict=True):
        vial = timeline.vial(reactor)
        content = f", {vial.concentration:g} {vial.unit}" if math.isfinite(vial.concentration) else ""
        axis.set_title(f"reactor {reactor}{content} {vial.sample}".rstrip())
        axis.plot(*_envelope(hours, timeline.signals[reactor]), color=BLUE, lw=0.8)
        axis.set(ylabel="transmissivity / %", ylim=(-4, 142), yticks=[0, 25, 50, 75, 100])
        second = axis.twinx()
        second.plot(*_envelope(hours, timeline.temperature_c), color=ORANGE, lw=0.9)
        second.set_ylabel("temperature / °C", color=ORANGE)
        second.tick_params(colors=ORANGE)
        second.grid(visible=False)
        low, high = np.nanmin(timeline.temperature_c), np.nanmax(timeline.temperature_c)
        # The upper fifth is for the names of the events.
        second.set_ylim(low - 0.05 * (high - low + 1), high + 0.42 * (high - low + 1))
        for segment in segments:
            if segment.kind == "tuning":
                axis.axvspan(segment.start_s / 3600, segment.end_s / 3600, color="#eceff2", lw=0)
        _mark(axis, [e for e in events if e.reactor == reactor and e.status == "reached"])
    axes[-1].set(xlabel="time / h", xlim=(0, float(hours[-1])))
    return figure


def _mark(axis: Any, events: Sequence[Event]) -> None:
    span = axis.lines[0].get_xdata()[-1]
    last, flagged = -math.inf, False
    for event in sorted(events, key=lambda e: e.time_s):
        if event.kind not in _MARKS:
            continue
        mark, name = _MARKS[event.kind]
        at = event.time_s / 3600
        axis.axvline(at, color=_DARK, lw=0.7, ls=":")
        axis.plot([at], [106], mark, color=_DARK, ms=5, mfc="white" if event.flags else _DARK, clip_on=False)
        text = f"{event.value / 60:.0f} min" if event.kind == "induction" else f"{event.temperature_c:.1f} °C"
        flags = "".join(f"\n{f.replace('_', ' ')}" for f in event.flags[:1])
        # Towards the clear stretch, where there is room; one line up where two events are close.
        side = "right" if event.kind == "cloud" else "left"
        high = 112
        if at - last < 0.2 * span and side == "right":
            high = 121 + 9 * flagged
        axis.annotate(
            f"{name} {text}{flags}",
            (at, high),
            fontsize=7,
            va="bottom",
            ha=side,
            annotation_clip=False,
            linespacing=0.95,
        )
        last, flagged = at, bool(event.flags)


def _envelope(x: Array, y: Array) -> tuple[Array, Array]:
    """Lowest and highest of neighbours where there are more samples than can be seen: noise keeps its height."""
    if len(x) <= 2 * _MOST_POINTS:
        return x, y
    k = math.ceil(len(x) / _MOST_POINTS)
    n = len(x) // k * k
    block = y[:n].reshape(-1, k)
    middle = x[:n].reshape(-1, k).mean(axis=1)
    return np.repeat(middle, 2), np.column_stack([block.min(axis=1), block.max(axis=1)]).ravel()


def plot_phase_diagram(
    curves: Sequence[SolubilityCurve], limits: Sequence[SolubilityCurve], points: pd.DataFrame
) -> Any:
    """Solubility, metastable limit, oiling-out boundary and every measured point.

    Parameters
    ----------
    curves
        Solubility, one for each form.
    limits
        Metastable limits: curves through cloud points, named by the form of their points.
    points
        Measured points: form, kind (clear, cloud, oiling_out, given), temperature_c, concentration, used (in the fit).

    Returns
    -------
    A matplotlib figure.
    """
    figure = new_figure(6.6, 4.8)
    axis = figure.subplots()
    unit = curves[0].points.unit if curves else str(points["unit"].iloc[0])
    forms = list(dict.fromkeys(points["form"]))
    for form, colour in zip(forms, _SERIES * (1 + len(forms) // len(_SERIES)), strict=False):
        title = f"{form}: " if len(forms) > 1 else ""
        for curve in (c for c in curves if c.points.form == form):
            t = np.linspace(*curve.range_c, 200)
            low, high = curve.band(t)
            axis.fill_between(
                t, low, high, color=PALE if colour == BLUE else colour, alpha=0.5 if colour == BLUE else 0.15, lw=0
            )
            axis.plot(
                t, curve.concentration(t), color=colour, lw=1.5, label=f"{title}solubility ({_words(curve.model)})"
            )
        mine = [c for c in limits if c.points.form.startswith(f"{form} | ")]
        for curve, style in zip(mine, ("--", ":", (0, (6, 1)), (0, (1, 3))) * len(mine), strict=False):
            t = np.linspace(*curve.range_c, 200)
            name = f"{title}metastable limit, {curve.points.form.split(' | ')[1]}"
            axis.plot(t, curve.concentration(t), linestyle=style, color=colour, lw=1.2, label=name)
        for kind, used, mark, fill, name in (
            ("given", True, "o", True, "measured"),
            ("clear", False, "^", False, "clear points not fitted (solid as filled)"),
            ("clear", True, "^", True, "clear points"),
            ("cloud", True, "v", False, "cloud points"),
            ("oiling_out", True, "D", False, "oils out"),
        ):
            part = points[(points["form"] == form) & (points["kind"] == kind) & (points["used"] == used)]
            if len(part):
                shade = colour if used else GREY
                axis.plot(
                    part["temperature_c"],
                    part["concentration"],
                    mark,
                    color=shade,
                    ms=5,
                    mfc=shade if fill else "white",
                    label=f"{title}{name}",
                )
        oils = points[(points["form"] == form) & (points["kind"] == "oiling_out")].sort_values("concentration")
        if len(oils) > 1:
            middle = oils.groupby("concentration")["temperature_c"].mean()
            axis.plot(
                middle.to_numpy(),
                middle.index.to_numpy(),
                "-.",
                color=colour,
                lw=1,
                label=f"{title}oiling-out boundary",
            )
    # A wide band of few points shall not press the points to the floor.
    top = 1.25 * float(points["concentration"].max())
    axis.set(xlabel="temperature / °C", ylabel=f"concentration / {_unit(unit)}", ylim=(0, top))
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2 if max(map(len, labels)) < 46 else 1)
    return figure


def plot_zone_widths(widths: pd.DataFrame, fits: Sequence[ZoneFit]) -> Any:
    """Metastable zone width against cooling rate, with the fits of Nyvlt and Sangwal.

    Parameters
    ----------
    widths
        Rows of mszw.csv that were reached.
    fits
        From `fit_zone_rates`.

    Returns
    -------
    A matplotlib figure.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = new_figure(5.6, 3.9)
    axis = figure.subplots()
    axis.plot(widths["cooling_rate_c_per_min"], widths["mszw_c"], "o", color=BLUE, ms=4, label="measured")
    b = np.geomspace(widths["cooling_rate_c_per_min"].min(), widths["cooling_rate_c_per_min"].max(), 100)
    for fit, style in zip((f for f in fits if f.model != "kubota"), ("-", "--"), strict=False):
        name = "Nyvlt and Kubota" if fit.model == "nyvlt" else "Sangwal"
        axis.plot(b, fit.width_c(b, float(widths["saturation_c"].mean())), style, color=ORANGE, lw=1.3, label=name)
    axis.set(xscale="log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set(xlabel="cooling rate / (°C/min)", ylabel="metastable zone width / °C", ylim=(0, None))
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def plot_lead(lead: pd.DataFrame) -> Any:
    """How much earlier pictures see crystals than the transmissivity, event by event.

    Parameters
    ----------
    lead
        From `picture_lead`, not empty.

    Returns
    -------
    A matplotlib figure.
    """
    figure = new_figure(6.6, 0.9 + 0.28 * len(lead))
    axis = figure.subplots()
    at, minutes = np.arange(len(lead)), lead["lead_s"].to_numpy() / 60
    axis.barh(at, minutes, height=0.55, color=BLUE)
    axis.axvline(0, color=GREY, lw=1)
    names = [f"{e} {k} {c}".strip() for e, k, c in zip(lead["experiment"], lead["kind"], lead["cycle"], strict=True)]
    axis.set(yticks=at, yticklabels=names, xlabel="pictures earlier by / min")
    axis.invert_yaxis()
    return figure


def _words(model: str) -> str:
    return {"van_t_hoff": "van 't Hoff", "apelblat": "Apelblat", "polynomial": "polynomial", "lambda_h": "λh"}[model]


def _unit(unit: str) -> str:
    return {"g/kg": "(g/kg solvent)", "mole_fraction": "mole fraction", "mg/ml": "(mg/ml)"}.get(unit, unit)
