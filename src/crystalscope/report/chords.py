"""Plots of chord lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from crystalscope.report.style import BLUE, GREY, ORANGE, PALE, new_figure
from crystalscope.size.chords import ChordDistribution, Inversion, Mapping, Weighting

_COLOURS = (BLUE, ORANGE, GREY)
_TITLES: tuple[tuple[Weighting, str], ...] = (("none", "no weighting"), ("square", "square-weighted"))


def _log_axis(axis: Any, low: float, high: float) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_xscale("log")
    axis.set_xlim(low, high)
    wide = high > 50 * low
    axis.xaxis.set_major_locator(LogLocator(subs=(1,) if wide and high > 500 * low else (1, 2, 5)))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def _unit(unit: str) -> str:
    return "µm" if unit == "um" else unit


def _densities(chords: ChordDistribution, weighting: Weighting) -> tuple[Any, Any]:
    """Edges and shares per ln of length; a channel from 0 is drawn from half its upper edge."""
    edges = np.array(chords.edges)
    if edges[0] <= 0:
        edges[0] = 0.5 * edges[1]
    return edges, 100 * chords.shares(weighting) / np.diff(np.log(edges))


def plot_chords(distributions: Sequence[ChordDistribution], names: Sequence[str]) -> Any:
    """Densities and cumulatives of up to three chord length distributions, without weighting and square-weighted."""
    figure = new_figure(9.2, 5.4)
    axes = figure.subplots(2, 2, sharex=True)
    # Shortest and longest chords that can be seen in a plot.
    held = [
        (d.edges[np.flatnonzero(d.counts > 2e-3 * d.counts.max())[0]], d.edges[np.flatnonzero(d.counts)[-1] + 1])
        for d in distributions
    ]
    low = min(max(lo, 0.5 * d.edges[1]) for (lo, _), d in zip(held, distributions, strict=True))
    high = max(hi for _, hi in held)
    unit = _unit(distributions[0].unit)
    for column, (weighting, title) in enumerate(_TITLES):
        top, bottom = axes[:, column]
        for d, name, colour in zip(distributions, names, _COLOURS, strict=False):
            edges, density = _densities(d, weighting)
            top.stairs(density, edges, color=colour, lw=1.3, label=name)
            bottom.plot(edges[1:], d.cumulative(weighting)[1:], color=colour, lw=1.3, marker=".", ms=3)
        top.set(title=title, ylabel="% per ln of chord length", ylim=(0, None))
        bottom.set(xlabel=f"chord length / {unit}", ylabel="cumulative share", ylim=(0, 1.02))
        _log_axis(bottom, low, high)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


def plot_inversion(found: Inversion, measured: ChordDistribution) -> Any:
    """Measured and fitted chords, the sizes found with their band, and what chose ratio and smoothing."""
    figure = new_figure(9.2, 5.6)
    axes = figure.subplots(2, 2)
    edges, density = _densities(measured, "none")
    fitted = ChordDistribution(measured.edges, found.predicted, measured.unit)
    scale = fitted.counts.sum() / measured.counts.sum()
    axes[0, 0].stairs(density, edges, fill=True, color=PALE, label="measured")
    axes[0, 0].stairs(scale * _densities(fitted, "none")[1], edges, color=BLUE, lw=1.3, label="of the sizes found")
    held = np.flatnonzero(measured.counts)
    axes[0, 0].set(xlabel="chord length / µm", ylabel="% per ln of chord length", ylim=(0, None))
    _log_axis(axes[0, 0], edges[held[0]], edges[held[-1] + 1])
    axes[0, 0].legend()
    step = np.diff(np.log(found.size_edges))
    volume = found.number * found.middles**3
    for axis, share, factor, name in (
        (axes[0, 1], found.number, 1.0, "number"),
        (axes[1, 0], volume / volume.sum(), found.middles**3 / volume.sum(), "volume"),
    ):
        if np.isfinite(found.lower).all():
            low, high = (100 * b * factor / step for b in (found.lower, found.upper))
            axis.fill_between(found.middles, low, high, step="mid", color=PALE, lw=0, label="interval")
        axis.step(found.middles, 100 * share / step, where="mid", color=BLUE, lw=1.3, label="found")
        index = "0" if name == "number" else "3"
        for q in (10, 50, 90):
            f = found.figures[f"D{q}_{index}"]
            axis.axvline(f.value, color=ORANGE, lw=1.0, label="D10, D50, D90" if q == 50 else None)
        word = "diameter" if found.shape == "sphere" else "length"
        axis.set(xlabel=f"{word} / µm", ylabel=f"% by {name} per ln of size", ylim=(0, None))
        seen = found.middles[100 * share / step > 0.1]
        _log_axis(axis, seen[0] / 1.2, seen[-1] * 1.2)
        axis.legend()
    _choice(axes[1, 1], found)
    return figure


def _choice(axis: Any, found: Inversion) -> None:
    if len(found.ratios):
        # Far from the best the misfit says nothing but that it is bad.
        near = found.misfits < 40 * found.misfits.min() + 10
        axis.plot(found.ratios[near], found.misfits[near], ".-", color=BLUE, lw=1.0)
        axis.axvline(found.ratio.value, color=ORANGE, lw=1.0)
        axis.set(xlabel="length / width", ylabel="error of channels left out / sd²", yscale="log")
        axis.set_title(f"length over width {found.ratio.value:.2f}", color=ORANGE)
        return
    from matplotlib.ticker import NullFormatter

    fit = found.fit
    axis.loglog(fit.misfits, fit.roughness, ".-", color=BLUE, lw=1.0)
    at = int(np.argmin(np.abs(fit.strengths - fit.strength)))
    axis.plot(fit.misfits[at], fit.roughness[at], "o", color=ORANGE, ms=6, label=f"smoothing {fit.strength:.3g}")
    axis.set(xlabel="misfit", ylabel="roughness")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.legend()


def plot_mapping(mapping: Mapping, statistic: Any, size: Any, *, labels: tuple[str, str]) -> Any:
    """Pairs of statistic and size with the law and the interval of a new suspension."""
    figure = new_figure(4.9, 3.9)
    axis = figure.subplots()
    grid = np.geomspace(0.81 * mapping.low, 1.24 * mapping.high, 60)
    middle, lower, upper = mapping.predict(grid)
    axis.fill_between(grid, lower, upper, color=PALE, lw=0, label=f"{100 * mapping.level:g} % of new suspensions")
    axis.plot(grid, middle, color=BLUE, lw=1.3, label=f"{mapping.scale.value:.3g} x^{mapping.exponent.value:.3g}")
    axis.plot(statistic, size, "o", color=ORANGE, ms=4, label="measured")
    axis.set(xlabel=labels[0], ylabel=labels[1], xlim=(0, None), ylim=(0, None))
    axis.legend()
    return figure
