"""Plots of the report, each a function returning SVG text; the same data give the same bytes in any style."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.report.style import BLUE, GREY, ORANGE, PALE, RED, STYLE, new_figure
from crystalscope.size import joint_distribution

Array = NDArray[np.float64]
_P = ParamSpec("_P")

_MOST_POINTS = 1200
_MOST_STEPS = 400
_MOST_LINES = 150


def svg(alt: str) -> Callable[[Callable[_P, Any]], Callable[_P, str]]:
    """Turns a function that draws a matplotlib figure into one that returns SVG text with an alternative text."""

    def wrap(draw: Callable[_P, Any]) -> Callable[_P, str]:
        @wraps(draw)
        def render(*args: _P.args, **kwargs: _P.kwargs) -> str:
            return inline_svg(lambda: draw(*args, **kwargs), alt, salt=draw.__name__)

        return render

    return wrap


def inline_svg(draw: Callable[[], Any], alt: str, *, salt: str = "plot") -> str:
    """Draw a matplotlib figure in the style of the reports as SVG for a page, with an alternative text.

    Names in the SVG are hashed with the salt: one salt per plot keeps them apart on one page.
    """
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        mpl.rcParams["svg.hashsalt"] = salt
        buffer = io.StringIO()
        draw().savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), alt)


def _inline(text: str, alt: str) -> str:
    """SVG for a page of HTML: no metadata, style or names that meet others; size and font by the page."""
    text = text[text.index("<svg") :]
    for pattern in (r"<metadata>.*?</metadata>", r"<style .*?</style>", r"<!--.*?-->", r' id="[a-zA-Z]+[\w.]*_\d+"'):
        text = re.sub(pattern, "", text, flags=re.DOTALL)
    text = re.sub(r"\n\s*", "\n", text)
    box = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg {box.group(0) if box else ""} role="img" aria-label="{alt}">'
    return head + text[text.index(">") + 1 :]


@svg("Cumulative distributions by number (Q0) and by volume (Q3), with D10, D50, D90 and their intervals")
def cumulative(points: pd.DataFrame, summary: dict[str, Any]) -> Any:
    """Q0 and Q3 with D10, D50, D90, their intervals and the log-normal fit of Q3.

    Parameters
    ----------
    points
        Rows of sizes.csv, not empty.
    summary
        Content of summary.json.
    """
    figure = new_figure(9.2, 3.5)
    size = points["size"].to_numpy(dtype=float)
    for axis, by, column in zip(figure.subplots(1, 2, sharey=True), ("number", "volume"), ("Q0", "Q3"), strict=True):
        x, q = _steps(size, points[column].to_numpy(dtype=float))
        axis.step(x, q, where="post", color=BLUE, lw=1.3, label="measured")
        if by == "volume":
            _lognormal(axis, size, summary["corrected"]["lognormal_q3"]["least_squares"])
        whisker = f"{100 * summary['level']:g} % interval"
        for name, share in (("D10", 0.1), ("D50", 0.5), ("D90", 0.9)):
            f = summary["corrected"][by][name]
            if f["value"] is None:
                continue
            label = f"D10, D50, D90, {whisker}" if f["lower"] is not None else "D10, D50, D90"
            bounds = [[f["value"] - f["lower"]], [f["upper"] - f["value"]]] if f["lower"] is not None else None
            axis.errorbar(
                [f["value"]],
                [share],
                # The estimate may lie outside of a percentile interval.
                xerr=None if bounds is None else np.maximum(bounds, 0),
                fmt="o",
                color=ORANGE,
                ms=4,
                lw=1.6,
                capsize=3.5,
                label=label if share == 0.5 else None,
            )
        axis.set(ylabel="Q₀, by number" if by == "number" else "Q₃, by volume", ylim=(0, 1.02))
        _size_axis(axis, size, summary)
        axis.tick_params(labelleft=True)
    _legend(figure)
    return figure


def _legend(figure: Any) -> None:
    """One legend above all axes, with what the last one shows."""
    figure.legend(*figure.axes[-1].get_legend_handles_labels(), loc="outside upper left", ncols=4)


def _lognormal(axis: Any, size: Array, fit: dict[str, Any]) -> None:
    x50, sigma = fit["x50_3"]["value"], fit["sigma"]["value"]
    if x50 and sigma:
        t = np.geomspace(size[0], size[-1], 200)
        q3 = [0.5 * (1 + math.erf(math.log(v / x50) / sigma / math.sqrt(2))) for v in t]
        axis.plot(t, q3, "--", color=GREY, lw=1, label="log-normal, least squares")


@svg("Densities by number (q0) and by volume (q3): classes, kernel estimate, and the largest particle of each class")
def density(points: pd.DataFrame, table: pd.DataFrame, summary: dict[str, Any]) -> Any:
    """q0 and q3 by classes and by kernel, and the largest particle of every class.

    Parameters
    ----------
    points
        Rows of sizes.csv, not empty.
    table
        From `size.classes`.
    summary
        Content of summary.json.
    """
    figure = new_figure(9.2, 3.2)
    edges = np.append(table["lower"].to_numpy(), table["upper"].to_numpy()[-1:])
    # Evenly over the sizes: the curve is smooth.
    size = points["size"].to_numpy(dtype=float)
    at = np.unique(np.searchsorted(size, np.linspace(size[0], size[-1], _MOST_STEPS)))
    largest, unit = table["largest"].dropna(), _mu(summary["unit"])
    for axis, by in zip(figure.subplots(1, 2), ("0", "3"), strict=True):
        axis.stairs(table[f"q{by}"], edges, fill=True, color=PALE, label=f"classes of {edges[1] - edges[0]:g} {unit}")
        axis.plot(size[at], points[f"q{by}"].to_numpy()[at], color=BLUE, lw=1.3, label="kernel estimate")
        axis.plot(
            largest,
            np.zeros(len(largest)),
            "v",
            color=ORANGE,
            ms=3.5,
            clip_on=False,
            label="largest particle of each class",
        )
        name = "q₀, by number" if by == "0" else "q₃, by volume"
        axis.set(
            xlabel=_label(summary["size_definition"], summary["unit"]),
            ylabel=f"{name} / (1/{unit})",
            ylim=(0, None),
            xlim=(0, None),
        )
    _legend(figure)
    return figure


@svg("Distributions of aspect ratio, form factor, solidity and length to width by number")
def shapes(particles: pd.DataFrame) -> Any:
    """Distributions of shape descriptors by number, with their medians.

    Parameters
    ----------
    particles
        Columns aspect_ratio, form_factor, solidity and length_to_width; may hold NaN.
    """
    figure = new_figure(4.9, 3.9)
    names = ("aspect_ratio", "form_factor", "solidity", "length_to_width")
    for axis, name in zip(figure.subplots(2, 2).ravel(), names, strict=True):
        values = particles[name].dropna().to_numpy(dtype=float)
        low = 1.0 if name == "length_to_width" else 0.0
        top = max(low + 1.0, float(np.quantile(values, 0.99))) if values.size else low + 1.0
        share = np.full(len(values), 100 / max(len(values), 1))
        axis.hist(np.clip(values, low, top), bins=np.linspace(low, top, 31), color=BLUE, weights=share)
        if values.size:
            middle = float(np.median(values))
            axis.axvline(middle, color=ORANGE, lw=1.2)
            axis.set_title(f"median {middle:.2f}", color=ORANGE)
        axis.set(xlabel=name)
        axis.grid(visible=False, axis="x")
    figure.supylabel("% by number", fontsize=8.5)
    return figure


@svg("Joint distribution of length and width by number")
def joint(length: Array, width: Array, *, unit: str) -> Any:
    """Length against width, by number, on logarithmic axes.

    Parameters
    ----------
    length, width
        (n,) in `unit`, above 0.
    unit
        um or px.
    """
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = new_figure(4.9, 3.9)
    axis = figure.subplots()
    counts, a, b = joint_distribution(length, width, bins=28)
    if counts.size:
        share = 100 * counts * np.outer(np.diff(a), np.diff(b))
        # Without the palest blues, in which a cell with one particle would not be seen.
        blues = ListedColormap(colormaps["Blues"](np.linspace(0.25, 1, 128)))
        mesh = axis.pcolormesh(b, a, np.where(share > 0, share, np.nan), cmap=blues)
        figure.colorbar(mesh, label="% by number", pad=0.02)
        low, high = max(a[0], b[0]) * 0.9, a[-1]
        for ratio in (1, 2, 5):
            ends = np.array([low, high / ratio])
            if ends[1] > ends[0]:
                axis.plot(ends, ratio * ends, ":", color=GREY, lw=0.9)
                axis.annotate(f"{ratio}:1", (ends[1], high), color=GREY, fontsize=7.5, va="bottom", ha="center")
        axis.set(xscale="log", yscale="log", xlim=(b[0] * 0.9, max(b[-1], high) * 1.15), ylim=(a[0] * 0.9, high * 1.3))
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
            scale.set_major_formatter(StrMethodFormatter("{x:g}"))
            scale.set_minor_formatter(NullFormatter())
    axis.set(xlabel=_label("width", unit), ylabel=_label("length", unit))
    return figure


@svg("Over the run: particles per frame, median size, coverage and focus, and the temperature where it is known")
def trends(frames: pd.DataFrame, particles: pd.DataFrame, *, size: str, unit: str) -> Any:
    """Count, median size, coverage and focus over time, or over the frames where there are no times.

    Parameters
    ----------
    frames
        The ledger.
    particles
        Columns frame and `size` of the particles whose size is to be followed, in order of the frames.
    size
        Header of the size, such as ``ecd_um``.
    unit
        um or px.
    """
    x, label = _clock(frames)
    good = frames["status"].isin(["ok", "empty"]).to_numpy()
    figure = new_figure(9.2, 6.2)
    axes = figure.subplots(4, 1, sharex=True)
    style: dict[str, Any] = {"color": BLUE, "lw": 0.9, "marker": "." if len(frames) <= 150 else "", "ms": 3.5}
    for axis, column, name, factor in (
        (axes[0], "n_particles", "particles\nper frame", 1.0),
        (axes[2], "coverage", "coverage / %", 100.0),
        (axes[3], "focus", "focus / (1/px)", 1.0),
    ):
        axis.plot(*_binned(x[good], factor * frames.loc[good, column].to_numpy(dtype=float)), **style)
        axis.set_ylabel(name)
    at, middle, window = _rolling_median(frames["frame"].to_numpy()[good], particles, size)
    times = dict(zip(frames["frame"], x, strict=True))
    pooled = f"\n({window} frames)" if window > 1 else ""
    axes[1].plot([times[k] for k in at], middle, **style)
    axes[1].set(ylabel=f"median {_label(size.rpartition('_')[0], unit)}{pooled}")
    axes[3].set(xlabel=label)
    bad = x[~good & np.isfinite(x)]
    for axis in axes:
        axis.set_ylim(0, 1.1 * _highest(axis))
        if bad.size:
            shown = bad[:: math.ceil(bad.size / _MOST_LINES)]
            axis.vlines(shown, 0, 1, transform=axis.get_xaxis_transform(), colors=RED, lw=0.9, zorder=0)
    warm = frames["temperature_c"].to_numpy(dtype=float)
    if np.isfinite(warm).any():
        second = axes[0].twinx()
        second.plot(*_binned(x, warm), color=ORANGE, lw=1.2)
        second.set_ylabel("temperature / °C", color=ORANGE)
        second.grid(visible=False)
        second.tick_params(colors=ORANGE)
    figure.align_ylabels(axes)
    return figure


def _highest(axis: Any) -> float:
    """Highest finite value of the line of an axis; 1 where there is none above 0."""
    y = axis.lines[0].get_ydata()
    return float(np.max(y, where=np.isfinite(y), initial=0.0)) or 1.0


def _clock(frames: pd.DataFrame) -> tuple[Array, str]:
    """Times in a unit that suits the run, or frame numbers where no time is known, and the label of the axis."""
    seconds = frames["time_s"].to_numpy(dtype=float)
    if not np.isfinite(seconds).any():
        return frames["frame"].to_numpy(dtype=float), "frame (times are not known)"
    span = float(np.nanmax(seconds) - np.nanmin(seconds))
    name, per = ("h", 3600.0) if span > 5 * 3600 else ("min", 60.0) if span > 300 else ("s", 1.0)
    return seconds / per, f"time / {name}"


def _rolling_median(frames: NDArray[Any], particles: pd.DataFrame, size: str) -> tuple[NDArray[Any], Array, int]:
    """Median of the particles of neighbouring frames: middle frame, median (NaN without particles), frames pooled."""
    window = min(max(1, len(frames) // 12), 25)
    starts = np.unique(np.linspace(0, max(len(frames) - window, 0), _MOST_STEPS).astype(int))[: len(frames)]
    number, values = particles["frame"].to_numpy(), particles[size].to_numpy(dtype=float)
    middle = []
    for k in starts:
        first, last = np.searchsorted(number, [frames[k], frames[k + window - 1] + 1])
        middle.append(float(np.median(values[first:last])) if last > first else math.nan)
    return frames[starts + window // 2], np.array(middle), window


def _binned(x: Array, y: Array) -> tuple[Array, Array]:
    """Means over neighbours where there are more points than can be seen."""
    if len(x) <= _MOST_STEPS:
        return x, y
    table = pd.DataFrame({"x": x, "y": y})
    means = table.groupby(np.arange(len(x)) * _MOST_STEPS // len(x)).mean()
    return means["x"].to_numpy(), means["y"].to_numpy()


def _steps(x: Array, q: Array) -> tuple[Array, Array]:
    """Steps from 0 up; where there are many, those that rise by what can be seen."""
    if len(x) > _MOST_POINTS:
        level = np.floor(q * _MOST_POINTS)
        keep = np.flatnonzero(np.diff(level, append=np.inf) > 0)
        x, q = x[keep], q[keep]
    return np.concatenate([x[:1], x]), np.concatenate([[0.0], q])


def _size_axis(axis: Any, size: Array, summary: dict[str, Any]) -> None:
    """Logarithmic for wide distributions, linear else."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    if size[-1] >= 30 * size[0]:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
    else:
        axis.set_xlim(0, None)
    axis.set_xlabel(_label(summary["size_definition"], summary["unit"]))


def _label(name: str, unit: str) -> str:
    return f"{'ECD' if name == 'ecd' else name} / {_mu(unit)}"


def _mu(unit: str) -> str:
    return "µm" if unit == "um" else unit
