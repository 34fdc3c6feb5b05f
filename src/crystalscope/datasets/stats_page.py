"""The figures of a dataset as a page with plots: one file that opens offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crystalscope.datasets.page import COLOURS, log_axis, plot, render
from crystalscope.datasets.stats import Stats, facts, whole_particles
from crystalscope.io.tables import write_text

Plots = list[tuple[str, str]]


def write_stats(stats: Stats, folder: str | Path, *, title: str = "") -> Path:
    """Write FOLDER/stats.json and FOLDER/stats.html.

    Parameters
    ----------
    stats
        From `dataset_stats`.
    folder
        Made where it does not exist.
    title
        Heading of the page; empty: the name of the dataset.

    Returns
    -------
    Path of the page. The same figures give the same bytes.

    Raises
    ------
    WriteError
        When the folder cannot be written.
    """
    stats.write(folder)
    sections = [("Particles", particle_plots(stats)), ("Pictures", picture_plots(stats))]
    html = render(
        "stats.html.jinja",
        title=title or stats.summary["name"],
        facts=list(facts(stats.summary)),
        sections=[(heading, plots) for heading, plots in sections if plots],
    )
    return write_text(Path(folder) / "stats.html", html)


def particle_plots(stats: Stats) -> Plots:
    """Plots of sizes, of what is out of focus or cut, and of particles per picture; each with its caption."""
    if stats.particles.empty:
        return []
    whole = whole_particles(stats.particles)
    scaled = bool(len(whole)) and bool(whole["ecd_um"].notna().all())
    column, unit = ("ecd_um", "µm") if scaled else ("ecd_px", "px")
    labels = list(stats.particles["label"].value_counts().index)[: len(COLOURS)]

    def sizes(figure: Any) -> None:
        axis = figure.subplots()
        for label, colour in zip(labels, COLOURS, strict=False):
            size = np.sort(whole.loc[whole["label"] == label, column].to_numpy(dtype=float))
            if size.size:
                share = np.arange(1, size.size + 1) / size.size
                axis.step(size, share, where="post", color=colour, lw=1.3, label=f"{label} ({size.size:,})")
        log_axis(axis)
        axis.set(xlabel=f"ECD / {unit}", ylabel="Q₀, by number", ylim=(0, 1.02))
        axis.legend(loc="lower right")

    def fate(figure: Any) -> None:
        axis = figure.subplots()
        p = stats.particles
        parts = [
            ("whole, in focus", ~p["ignored"] & ~p["at_border"], COLOURS[0]),
            ("cut by the border", ~p["ignored"] & p["at_border"], COLOURS[1]),
            ("ignored (out of focus)", p["ignored"], "#c3cad1"),
        ]
        left = np.zeros(len(labels))
        for name, rows, colour in parts:
            counts = np.array([int((rows & (p["label"] == label)).sum()) for label in labels], dtype=float)
            axis.barh(labels, counts, left=left, color=colour, label=name, height=0.6)
            left += counts
        axis.invert_yaxis()
        axis.grid(visible=False, axis="y")
        axis.set(xlabel="annotated particles")
        figure.legend(loc="outside upper left", ncols=3)

    def per_picture(figure: Any) -> None:
        first, second = figure.subplots(1, 2)
        _histogram(first, stats.pictures["particles"], "particles per picture", whole_numbers=True)
        _histogram(second, 100 * stats.pictures["coverage"], "coverage / %")

    out = [
        (
            plot(per_picture, name="per-picture", alt="Particles per picture, and coverage", size=(9.2, 2.6)),
            _PER_PICTURE,
        ),
        (
            plot(
                fate, name="fate", alt="Particles whole, cut and ignored by class", size=(9.2, 1.1 + 0.32 * len(labels))
            ),
            _FATE,
        ),
    ]
    if len(whole):
        out.insert(0, (plot(sizes, name="sizes", alt="Cumulative sizes by class"), _SIZES))
    if stats.pictures["loading"].notna().any():
        out.append((_by_loading(stats.pictures), _LOADING))
    return out


def picture_plots(stats: Stats) -> Plots:
    """Distributions of brightness, contrast and noise."""
    readable = stats.pictures[stats.pictures["rows_px"] > 0]
    if readable.empty:
        return []

    def light(figure: Any) -> None:
        for axis, name in zip(figure.subplots(1, 3), ("brightness", "contrast", "noise"), strict=True):
            _histogram(axis, 100 * readable[name], f"{name} / % of full scale")

    return [(plot(light, name="light", alt="Brightness, contrast and noise of the pictures", size=(9.2, 2.6)), _LIGHT)]


def _by_loading(pictures: pd.DataFrame) -> str:
    """Particles per picture and coverage against solids loading."""
    known = pictures[pictures["loading"].notna()]
    levels = sorted(known["loading"].unique())

    def draw(figure: Any) -> None:
        columns = (("particles", "particles per picture", 1.0), ("coverage", "coverage / %", 100.0))
        for axis, (column, label, factor) in zip(figure.subplots(1, 2), columns, strict=True):
            groups = [factor * known.loc[known["loading"] == v, column].dropna().to_numpy() for v in levels]
            axis.boxplot(
                groups,
                tick_labels=[f"{v:g}" for v in levels],
                medianprops={"color": COLOURS[1]},
                flierprops={"marker": ".", "markersize": 3},
            )
            axis.set(xlabel="solids loading / wt%", ylabel=label, ylim=(0, None))
            axis.grid(visible=False, axis="x")

    return plot(draw, name="loading", alt="Particles per picture and coverage by solids loading", size=(9.2, 2.8))


def _histogram(axis: Any, values: pd.Series, label: str, *, whole_numbers: bool = False) -> None:
    known = values.dropna().to_numpy(dtype=float)
    if known.size:
        low, high = float(known.min()), float(known.max())
        if whole_numbers:
            step = max(1, int(np.ceil((high - low + 1) / 30)))
            edges = np.arange(low, high + step + 1, step) - 0.5
        else:
            # One value in all pictures is a bar, not a line.
            pad = max(0.5 * (high - low) / 30, 0.01 * abs(high), 1e-6)
            edges = np.linspace(low - pad, high + pad, 31)
        axis.hist(known, bins=edges, color=COLOURS[0])
    axis.set(xlabel=label, ylabel="pictures")
    axis.grid(visible=False, axis="x")


_SIZES = "Sizes by class, cumulative by number: a step at every whole particle in focus."
_PER_PICTURE = "Particles that are not ignored, per picture, and the share of the picture that their outlines cover."
_FATE = "What can be sized (whole, in focus), what the border cuts, and what annotations mark as to be ignored."
_LOADING = (
    "Particles per picture and coverage against solids loading: medians, quartiles, whiskers of 1.5 quartile ranges."
)
_LIGHT = "Mean grey, standard deviation of the grey, and noise from pixel to pixel, of every picture."
