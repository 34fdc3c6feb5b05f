"""The report of one run: one file, opens offline, prints."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crystalscope import __version__
from crystalscope.config import AnalyzeConfig
from crystalscope.core import PARTICLE_COLUMNS, Image
from crystalscope.io.events import read_events
from crystalscope.io.pictures import file_sha256
from crystalscope.io.tables import read_table, to_toml, write_text
from crystalscope.report import pictures, plots
from crystalscope.report.timeline import event_rows, thumbnails, timeline
from crystalscope.size import classes, make_distribution

_SHOWN_FAULTS = 200
_SHOWN_NOTES = 6
_SHAPES = ("aspect_ratio", "form_factor", "solidity", "length_to_width")
_SOURCES = ("frames.parquet", "particles.parquet", "sizes.csv", "summary.json")


def write_report(
    run: Path,
    *,
    outlines: dict[int, list[dict[str, Any]]],
    read_picture: Callable[[str], Image],
    config: AnalyzeConfig,
) -> Path:
    """Write RUN/report.html from the tables of a run.

    Parameters
    ----------
    run
        Folder that holds frames.parquet, particles.parquet, sizes.csv and summary.json.
    outlines
        COCO annotations of the frames to be shown, by frame.
    read_picture
        Gives the picture of a frame by its name.
    config
        Settings of the run.

    Returns
    -------
    Path of the report. The same run gives the same bytes.

    Raises
    ------
    ReadError
        When a table or a picture of the run cannot be read.
    WriteError
        When the report cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    frames = read_table(run / "frames.parquet")
    unit, size = summary["unit"], f"{config.size.definition}_{summary['unit']}"
    wanted = ["frame", size, f"length_{unit}", f"width_{unit}", "touches_border", *_SHAPES]
    counted = read_table(run / "particles.parquet", columns=list(dict.fromkeys(wanted)), where=config.size.rows)
    limits = _limits(counted[size])
    names = dict(zip(frames["frame"], frames["file"], strict=True))

    def read(frame: int) -> Image:
        return read_picture(names[frame])

    context = {
        "version": __version__,
        "s": summary,
        "unit": "µm" if unit == "um" else unit,
        "size": _spoken(config.size.definition),
        "verdict": verdict(summary),
        "facts": _facts(frames, summary),
        "no_interval": _no_interval(summary),
        "overlays": _overlays(run, read, outlines, names, size=size, limits=limits),
        "bar": pictures.colour_bar(limits),
        "montage": _montage(run, read, outlines, size=size, limit=config.report.montage),
        "faults": frames[frames["status"].isin(["rejected", "failed"])].head(_SHOWN_FAULTS).to_dict("records"),
        "n_faults": int(frames["status"].isin(["rejected", "failed"]).sum()),
        "notes": _most_frequent(frames.loc[frames["status"].isin(["ok", "empty"]), "reason"]),
        "methods": _most_frequent(frames["method"]),
        "measures": [c for c in PARTICLE_COLUMNS if c.dimension is not None],
        "settings": to_toml(config.model_dump()),
        "hashes": {name: file_sha256(run / name) for name in _SOURCES},
        "plots": _plots(pd.read_csv(run / "sizes.csv"), counted, frames, summary, config),
        **_happened(run, frames, counted, read_picture, size=size, unit=unit),
    }
    environment = Environment(
        loader=PackageLoader("crystalscope", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": figure_text, "value": value_text, "interval": interval_text}
    style = files("crystalscope").joinpath("report/analysis.css").read_text(encoding="utf-8")
    html = environment.get_template("analysis.html.jinja").render(**context, style=style)
    return write_text(run / "report.html", html)


def _happened(
    run: Path, frames: pd.DataFrame, counted: pd.DataFrame, read: Callable[[str], Image], *, size: str, unit: str
) -> dict[str, Any]:
    """What the labels say and what happened: the timeline, its events, and the frames that show them."""
    labels = pd.read_csv(run / "labels.csv") if (run / "labels.csv").exists() else None
    happened = read_events(run / "events.json") if (run / "events.json").exists() else []
    out: dict[str, Any] = {"timeline": "", "thumbnails": [], "events": event_rows(happened)}
    if np.isfinite(frames["time_s"]).any() and (labels is not None or happened):
        whole = counted[~counted["touches_border"]]
        out["timeline"] = timeline(frames, whole, labels, happened, size=size, unit=unit)
        out["thumbnails"] = thumbnails(happened, read)
    return out


def verdict(summary: dict[str, Any]) -> str:
    """What the run says, in two sentences."""
    f = summary["frames"]
    looked = f["ok"] + f["empty"]
    text = f"{summary['n_particles']:,} particles in focus were counted in {looked:,} frames"
    if f["empty"]:
        text += f" ({f['empty']:,} of them empty)"
    text += "."
    volume = summary["corrected"]["volume"]["D50"]
    if volume["value"] is None:
        return text + " There is no size distribution."
    number = summary["corrected"]["number"]["D50"]
    unit = "µm" if summary["unit"] == "um" else summary["unit"]
    return (
        f"{text} Half of their volume is in particles below {figure_text(volume)} {unit}, half of their number below "
        f"{figure_text(number)} {unit} ({_spoken(summary['size_definition'])})."
    )


def figure_text(figure: dict[str, Any]) -> str:
    """A figure with its interval, or a dash."""
    interval = interval_text(figure)
    return f"{value_text(figure)} ({interval})" if interval else value_text(figure)


def value_text(figure: dict[str, Any]) -> str:
    """The value of a figure with the digits that its interval warrants, or a dash."""
    return "–" if figure["value"] is None else f"{figure['value']:,.{_decimals(figure)}f}"


def interval_text(figure: dict[str, Any]) -> str:
    """The interval of a figure, or nothing."""
    if figure["lower"] is None or figure["value"] is None:
        return ""
    return f"{figure['lower']:,.{_decimals(figure)}f} to {figure['upper']:,.{_decimals(figure)}f}"


def _decimals(figure: dict[str, Any]) -> int:
    """Two digits of the half width of the interval, as the GUM has it (7.2.6), else four digits of the value."""
    half = 0.0 if figure["lower"] is None else (figure["upper"] - figure["lower"]) / 2
    of_value = 3 - math.floor(math.log10(abs(figure["value"]))) if figure["value"] else 0
    of_interval = 1 - math.floor(math.log10(half)) if half > 0 else of_value
    return max(0, min(of_interval, of_value + 1))


def _spoken(definition: str) -> str:
    return "ECD" if definition == "ecd" else definition


def _limits(sizes: pd.Series) -> tuple[float, float]:
    """Ends of the colour scale: all but the extremes."""
    if not len(sizes):
        return 1.0, 2.0
    return float(sizes.quantile(0.02)), float(sizes.quantile(0.98))


def _facts(frames: pd.DataFrame, summary: dict[str, Any]) -> dict[str, str]:
    """What was looked at and how, for the head of the report."""
    out = {"Frames": f"{summary['n_frames']:,}"}
    seen = frames[frames["width_px"] > 0]
    shapes = sorted(set(zip(seen["width_px"], seen["height_px"], strict=True)))
    scale = summary["pixel_size_um"]
    if len(shapes) == 1:
        columns, rows = shapes[0]
        out["Picture"] = f"{columns} × {rows} px"
        if scale:
            out["Picture"] += f" = {columns * scale / 1000:.3g} × {rows * scale / 1000:.3g} mm"
    elif shapes:
        out["Picture"] = f"{len(shapes)} sizes, {shapes[0][0]} × {shapes[0][1]} px and more"
    out["Scale"] = f"{scale:g} µm/px" if scale else "none given: every length is in px"
    times, warm = (frames[c].to_numpy(dtype=float) for c in ("time_s", "temperature_c"))
    times, warm = times[np.isfinite(times)], warm[np.isfinite(warm)]
    out["Time"] = _duration(times.max() - times.min()) if times.size else "not known"
    if warm.size:
        out["Temperature"] = f"{warm[0]:.1f} to {warm[-1]:.1f} °C"
    meaning = {c.name: c.meaning for c in PARTICLE_COLUMNS}[summary["size_definition"]]
    out["Size"] = f"{_spoken(summary['size_definition'])}, {meaning}"
    out["Volume"] = {"ecd^3": "π/6 · ECD³", "length*width^2": "length · width²"}.get(
        summary["volume_model"], summary["volume_model"].replace("^3", "³")
    )
    out["Correction"] = summary["correction"].replace("miles-lantuejoul", "Miles-Lantuejoul weights")
    return out


def _duration(seconds: float) -> str:
    if seconds >= 5 * 3600:
        return f"{seconds / 3600:.2f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.3g} s"


def _no_interval(summary: dict[str, Any]) -> str:
    """Why figures have no interval: the reasons, each once."""
    corrected = summary["corrected"]
    shown = [*corrected["volume"].values(), *corrected["number"].values()]
    return "; ".join(dict.fromkeys(f["reason"] for f in shown if f.get("reason")))


def _most_frequent(texts: pd.Series) -> dict[str, int]:
    """The most frequent of some texts that are not empty; ties in order of the text."""
    counts = texts[texts != ""].value_counts().sort_index(kind="stable").sort_values(ascending=False, kind="stable")
    return {str(k): int(v) for k, v in counts.head(_SHOWN_NOTES).items()}


def _in_px(run: Path, columns: list[str], size: str, *, where: str) -> pd.DataFrame:
    """Particles with the size as measured, and the lengths `columns` in px under names such as ``x_px``.

    The scale stands in the frame, so that this holds for any run.
    """
    unit = size.rpartition("_")[2]
    wanted = ["frame", "particle", "in_focus", "touches_border", size, *(f"{c}_{unit}" for c in columns)]
    rows = read_table(run / "particles.parquet", columns=list(dict.fromkeys(wanted)), where=where)
    if unit == "um":
        scales = read_table(run / "frames.parquet", columns=["frame", "pixel_size_um"])
        scale = rows["frame"].map(scales.set_index("frame")["pixel_size_um"])
        for c in columns:
            rows[f"{c}_px"] = rows[f"{c}_um"] / scale
    return rows


def _overlays(
    run: Path,
    read: Callable[[int], Image],
    outlines: dict[int, list[dict[str, Any]]],
    names: dict[int, str],
    *,
    size: str,
    limits: tuple[float, float],
) -> list[dict[str, Any]]:
    width = 1000 if len(outlines) <= 8 else 640
    out = []
    for frame, entries in outlines.items():
        rows = _in_px(run, ["x", "y"], size, where=f"frame = {frame}")
        image = read(frame)
        out.append(
            {
                "svg": pictures.overlay(image, entries, rows, size=size, limits=limits, width=width),
                "file": names[frame],
                "time": _duration(image.time_s) if math.isfinite(image.time_s) else "",
                "n": int(rows["in_focus"].sum()),
                "n_not": int((~rows["in_focus"]).sum()),
            }
        )
    return out


def _montage(
    run: Path,
    read: Callable[[int], Image],
    outlines: dict[int, list[dict[str, Any]]],
    *,
    size: str,
    limit: int,
) -> list[dict[str, Any]]:
    """Montage of the whole particles of the frames that are shown."""
    if not outlines or not limit:
        return []
    where = f"in_focus AND NOT touches_border AND frame IN ({', '.join(str(k) for k in outlines)})"
    rows = _in_px(run, ["x", "y", "feret_max"], size, where=where)
    unit = "µm" if size.endswith("_um") else "px"
    return pictures.montage(read, rows, outlines, size=size, unit=unit, limit=limit)


def _plots(
    points: pd.DataFrame,
    counted: pd.DataFrame,
    frames: pd.DataFrame,
    summary: dict[str, Any],
    config: AnalyzeConfig,
) -> dict[str, str]:
    """SVG of the plots that the run has data for, by name."""
    unit, size = summary["unit"], f"{config.size.definition}_{summary['unit']}"
    # What the edge of the field cuts has neither its size nor its shape.
    whole = counted[~counted["touches_border"]]
    out = {"trends": plots.trends(frames, whole, size=size, unit=unit)}
    if len(whole):
        length, width = (whole[f"{c}_{unit}"].to_numpy(dtype=float) for c in ("length", "width"))
        out |= {"shapes": plots.shapes(whole), "joint": plots.joint(length, width, unit=unit)}
    if len(points):
        shares, volumes = (np.diff(points[c].to_numpy(dtype=float), prepend=0.0) for c in ("Q0", "Q3"))
        good = shares > 0
        distribution = make_distribution(
            points["size"].to_numpy(dtype=float)[good],
            volumes[good] / shares[good],
            weight=shares[good],
            definition=config.size.definition,
        )
        table = classes(distribution, width=config.size.class_width)
        out |= {"cumulative": plots.cumulative(points, summary), "density": plots.density(points, table, summary)}
    return out
