"""Plots of the report, each a function returning SVG text."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import numpy as np
import pandas as pd

_BLUE, _ORANGE, _GREY, _GREEN = "#2166ac", "#d6604d", "#777777", "#1b7837"


def _figure(width: float, height: float) -> Any:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update(
        {
            "svg.hashsalt": "crystalscope",
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#e6e6e6",
            "grid.linewidth": 0.6,
            "axes.axisbelow": True,
            "legend.frameon": False,
        }
    )
    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    # Without the block of metadata, which names addresses.
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)


def cumulative(points: pd.DataFrame, summary: dict[str, Any]) -> str:
    """Q0 and Q3 with D10, D50, D90, their intervals and the log-normal fit of Q3."""
    figure = _figure(9.2, 3.6)
    for axis, by, column in zip(figure.subplots(1, 2, sharey=True), ("number", "volume"), ("Q0", "Q3"), strict=True):
        x, q = _thinned(points["size"].to_numpy(), points[column].to_numpy())
        axis.step(x, q, where="post", color=_BLUE, lw=1.4, label=f"{column}, measured")
        values = summary["corrected"][by]
        for name, share in (("D10", 0.1), ("D50", 0.5), ("D90", 0.9)):
            f = values[name]
            if f["value"] is None:
                continue
            if f["lower"] is not None:
                axis.plot([f["lower"], f["upper"]], [share, share], color=_ORANGE, lw=3, solid_capstyle="butt")
            axis.plot([f["value"]], [share], "o", color=_ORANGE, ms=4)
        if by == "volume":
            fit = summary["corrected"]["lognormal_q3"]["least_squares"]
            x50, sigma = fit["x50_3"]["value"], fit["sigma"]["value"]
            if x50 and sigma:
                t = np.linspace(x.min(), x.max(), 200)
                q3 = [0.5 * (1 + math.erf(math.log(v / x50) / sigma / math.sqrt(2))) for v in t]
                axis.plot(t, q3, "--", color=_GREY, lw=1, label="log-normal, least squares")
        axis.set(xlabel=_axis(summary), ylabel=column, ylim=(0, 1))
        axis.legend(loc="lower right")
    return _svg(figure)


def density(points: pd.DataFrame, table: pd.DataFrame, summary: dict[str, Any]) -> str:
    """q0 and q3: kernel, classes, and the largest particle of every class on Q."""
    figure = _figure(9.2, 3.4)
    for axis, by in zip(figure.subplots(1, 2), ("0", "3"), strict=True):
        axis.bar(
            table["lower"],
            table[f"q{by}"],
            table["upper"] - table["lower"],
            align="edge",
            color="#cfe0ef",
            label="classes",
        )
        x, q = _thinned(points["size"].to_numpy(), points[f"q{by}"].to_numpy())
        axis.plot(x, q, color=_BLUE, lw=1.3, label="kernel")
        largest = table.dropna(subset="largest")
        axis.plot(
            largest["largest"],
            np.zeros(len(largest)),
            "|",
            color=_ORANGE,
            ms=7,
            clip_on=False,
            label="largest of each class",
        )
        axis.set(xlabel=_axis(summary), ylabel=f"q{by} / (1/{_unit(summary)})", ylim=(0, None))
        axis.legend()
    return _svg(figure)


def shapes(particles: pd.DataFrame) -> str:
    """Distributions of shape descriptors by number."""
    figure = _figure(9.2, 2.5)
    names = ("aspect_ratio", "form_factor", "solidity", "length_to_width")
    for axis, name in zip(figure.subplots(1, 4, sharey=True), names, strict=True):
        values = particles[name].dropna().to_numpy(dtype=float)
        top = max(1.05, float(np.quantile(values, 0.99))) if values.size else 1.0
        low = 1.0 if name == "length_to_width" else 0.0
        axis.hist(
            np.clip(values, low, top),
            bins=np.linspace(low, top, 31),
            color=_BLUE,
            weights=np.full(len(values), 1 / max(len(values), 1)),
        )
        axis.set(xlabel=name)
    figure.axes[0].set_ylabel("share by number")
    return _svg(figure)


def joint(length: np.ndarray, width: np.ndarray, *, unit: str) -> str:
    """Length against width, by number."""
    from crystalscope.size import joint_distribution

    figure = _figure(4.4, 3.4)
    axis = figure.subplots()
    counts, a, b = joint_distribution(length, width, bins=28)
    if counts.size:
        share = counts * np.outer(np.diff(a), np.diff(b))
        mesh = axis.pcolormesh(b, a, np.where(share > 0, share, np.nan), cmap="Blues", rasterized=False)
        figure.colorbar(mesh, label="share by number")
        axis.set(xscale="log", yscale="log")
    axis.set(xlabel=f"width / {_mu(unit)}", ylabel=f"length / {_mu(unit)}")
    return _svg(figure)


def trends(frames: pd.DataFrame, medians: pd.Series, *, unit: str, definition: str) -> str:
    """Count, median size, coverage and temperature over time, or over the frames where there are no times."""
    timed = bool(np.isfinite(frames["time_s"]).any())
    x = frames["time_s"] / 60 if timed else frames["frame"]
    warm = bool(np.isfinite(frames["temperature_c"]).any())
    figure = _figure(9.2, 5.2)
    axes = figure.subplots(3, 1, sharex=True)
    good = frames["status"].isin(["ok", "empty"])
    axes[0].plot(x[good], frames.loc[good, "n_particles"], ".-", color=_BLUE, lw=0.8, ms=3)
    axes[0].set(ylabel="particles")
    axes[1].plot(x, medians.reindex(frames["frame"]).to_numpy(), ".-", color=_GREEN, lw=0.8, ms=3)
    axes[1].set(ylabel=f"median {definition}\n/ {_mu(unit)}")
    axes[2].plot(x[good], 100 * frames.loc[good, "coverage"], ".-", color=_GREY, lw=0.8, ms=3)
    axes[2].set(ylabel="coverage / %", xlabel="time / min" if timed else "frame", ylim=(0, None))
    if warm:
        second = axes[0].twinx()
        second.plot(x, frames["temperature_c"], color=_ORANGE, lw=1)
        second.set_ylabel("temperature / °C", color=_ORANGE)
        second.grid(visible=False)
    for row, t in zip(frames["status"], x, strict=True):
        if row in ("rejected", "failed") and math.isfinite(t):
            axes[0].axvline(t, color="#f4c7c3", lw=0.8, zorder=0)
    return _svg(figure)


def _thinned(x: np.ndarray, y: np.ndarray, limit: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """At most `limit` points: more cannot be seen."""
    if len(x) <= limit:
        return x, y
    at = np.linspace(0, len(x) - 1, limit).round().astype(int)
    return x[at], y[at]


def _axis(summary: dict[str, Any]) -> str:
    return f"{summary['size_definition']} / {_unit(summary)}"


def _unit(summary: dict[str, Any]) -> str:
    return _mu(summary["unit"])


def _mu(unit: str) -> str:
    return "µm" if unit == "um" else unit
