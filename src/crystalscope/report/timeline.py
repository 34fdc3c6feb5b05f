"""The timeline of a run: temperature, counts, sizes and labels with the events, and the frames that show them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import pandas as pd

from crystalscope.core import LABELS, Event, Image
from crystalscope.report.pictures import eight_bit, jpeg
from crystalscope.report.plots import _binned, _clock, _rolling_median, svg
from crystalscope.report.style import BLUE, GREY, ORANGE, new_figure

NAMES = {
    "clear": "clear point", "cloud": "cloud point", "induction": "induction", "oiling_out": "oiling out",
    "growth_rate": "growth rate", "agglomeration": "agglomeration", "fouling": "fouling",
    "steady_state": "steady state",
}  # fmt: skip
_DARK = "#1c2733"
_WIDE = 300
_MOST = 12
"""Events with a picture."""


@svg("Temperature, particles, size and labels against time, with the events marked")
def timeline(
    frames: pd.DataFrame,
    particles: pd.DataFrame,
    labels: pd.DataFrame | None,
    events: Sequence[Event],
    *,
    size: str,
    unit: str,
) -> Any:
    """Temperature and count, median size, and which labels are given, against time.

    Parameters
    ----------
    frames
        The ledger.
    particles
        Columns frame and `size` of the particles whose size is followed, in order of the frames.
    labels
        Rows of labels.csv; None where pictures were not labelled.
    events
        Those reached are marked by number, in order of time.
    size
        Header of the size, such as ``ecd_um``.
    unit
        um or px.
    """
    x, name = _clock(frames)
    per = {"time / h": 3600.0, "time / min": 60.0}.get(name, 1.0)
    good = frames["status"].isin(["ok", "empty"]).to_numpy()
    heights = [2.0, 1.2] + ([1.9] if labels is not None else [])
    figure = new_figure(9.2, 1.1 + sum(heights))
    axes = figure.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights})
    axes[0].plot(*_binned(x[good], frames.loc[good, "n_particles"].to_numpy(dtype=float)), color=BLUE, lw=1.0)
    axes[0].set_ylabel("particles\nper frame")
    axes[0].set_ylim(bottom=0)
    warm = frames["temperature_c"].to_numpy(dtype=float)
    if np.isfinite(warm).any():
        second = axes[0].twinx()
        second.plot(*_binned(x, warm), color=ORANGE, lw=1.2)
        second.set_ylabel("temperature / °C", color=ORANGE)
        second.grid(visible=False)
        second.tick_params(colors=ORANGE)
    at, middle, _ = _rolling_median(frames["frame"].to_numpy()[good], particles, size)
    times = dict(zip(frames["frame"], x, strict=True))
    axes[1].plot([times[k] for k in at], middle, color=BLUE, lw=1.0)
    spoken = size.rpartition("_")[0]
    axes[1].set_ylabel(f"median {'ECD' if spoken == 'ecd' else spoken}\n/ {'µm' if unit == 'um' else unit}")
    if np.isfinite(middle).any():
        axes[1].set_ylim(0, 1.15 * np.nanmax(middle))
    if labels is not None:
        _label_rows(axes[2], frames, labels, x)
    for number, event in enumerate(shown(events), start=1):
        for axis in axes:
            axis.axvline(event.time_s / per, color=_DARK, lw=0.7, ls=":")
        axes[0].annotate(
            str(number), (event.time_s / per, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3),
            textcoords="offset points", ha="center", fontsize=7.5, color=_DARK,
        )  # fmt: skip
    axes[-1].set_xlabel(name)
    figure.align_ylabels(axes)
    return figure


def _label_rows(axis: Any, frames: pd.DataFrame, labels: pd.DataFrame, x: np.ndarray) -> None:
    """A line for each label, dark while it is given."""
    rows = labels.set_index("file").reindex(frames["file"].astype(str))
    order = np.argsort(x, kind="stable")
    order = order[np.isfinite(x[order])]
    if not len(order):
        return
    at = x[order]
    # Each frame stands for the time halfway to its neighbours.
    middle = (at[1:] + at[:-1]) / 2
    edges = np.concatenate([at[:1], middle, at[-1:]])
    for k, name in enumerate(LABELS):
        given = rows[f"is_{name}"].fillna(0).to_numpy(dtype=float)[order] > 0
        steps = np.flatnonzero(np.diff(np.concatenate([[False], given, [False]])))
        bars = [(edges[i], edges[j] - edges[i]) for i, j in zip(steps[::2], steps[1::2], strict=True)]
        axis.broken_barh([(edges[0], edges[-1] - edges[0])], (-k - 0.32, 0.64), facecolors="#eef1f4")
        axis.broken_barh(bars, (-k - 0.32, 0.64), facecolors=BLUE)
    axis.set(yticks=-np.arange(len(LABELS)), ylim=(-len(LABELS) + 0.3, 0.7))
    axis.set_yticklabels([n.replace("_", " ") for n in LABELS], fontsize=7.5)
    axis.grid(visible=False)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0, colors=GREY)


def shown(events: Sequence[Event]) -> list[Event]:
    """Events that were reached, in order of time; growth rates, which have no moment, are left out."""
    return sorted((e for e in events if e.status == "reached" and e.kind != "growth_rate"), key=lambda e: e.time_s)


def thumbnails(events: Sequence[Event], read: Callable[[str], Image]) -> list[dict[str, Any]]:
    """The frames that show the events first, as small pictures with what they show.

    Parameters
    ----------
    events
        Of the run.
    read
        Gives the picture of a frame by its name; raises where it cannot be read.

    Returns
    -------
    Entries number (as in `timeline`), kind, text, file, picture (a data address, empty where no frame is known).
    """
    out = []
    for number, event in enumerate(shown(events), start=1):
        picture = ""
        if event.file and number <= _MOST:
            full = eight_bit(read(event.file))
            high = round(full.shape[0] * _WIDE / full.shape[1])
            picture = jpeg(np.asarray(cv2.resize(full, (_WIDE, high), interpolation=cv2.INTER_AREA), dtype=np.uint8))
        out.append(
            {"number": number, "kind": NAMES[event.kind], "text": _words(event), "file": event.file, "picture": picture}
        )
    return out


def event_rows(events: Sequence[Event]) -> list[dict[str, str]]:
    """Rows of the table of events: kind, cycle, status, what was found, the signal."""
    return [
        {
            "kind": NAMES[e.kind],
            "cycle": str(e.cycle),
            "status": e.status.replace("_", " "),
            "found": _words(e) if e.status == "reached" else "–",
            "signal": e.signal.replace("_", " "),
        }
        for e in events
    ]


def _words(event: Event) -> str:
    """Time, temperature and figure of an event that was reached."""
    parts = [f"{event.time_s / 60:.1f} min" if math.isfinite(event.time_s) else ""]
    if math.isfinite(event.temperature_c) and event.kind != "growth_rate":
        bounds = ""
        if math.isfinite(event.lower_c) and math.isfinite(event.upper_c):
            bounds = f" ({event.lower_c:.1f} to {event.upper_c:.1f})"
        parts.append(f"{event.temperature_c:.1f} °C{bounds}")
    if math.isfinite(event.value) and event.unit:
        interval = ""
        if math.isfinite(event.value_lower) and math.isfinite(event.value_upper):
            interval = f" ({event.value_lower:.3g} to {event.value_upper:.3g})"
        parts.append(f"{event.value:.3g} {event.unit}{interval}")
    return ", ".join(p for p in parts if p)
