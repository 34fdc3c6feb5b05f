"""The report of one run: one file, opens offline, prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from crystalscope import __version__
from crystalscope.config import AnalyzeConfig
from crystalscope.core import PARTICLE_COLUMNS, Image
from crystalscope.io.tables import read_table, to_toml, write_text
from crystalscope.report import pictures, plots
from crystalscope.size import classes, make_distribution

_SHOWN_FAULTS = 200
_TILE_FRAMES = 12


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
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    unit, definition = summary["unit"], config.size.definition
    frames = read_table(run / "frames.parquet")
    size = f"{definition}_{unit}"
    shape = ["aspect_ratio", "form_factor", "solidity", "length_to_width"]
    columns = ["frame", size, f"length_{unit}", f"width_{unit}", *shape]
    particles = read_table(run / "particles.parquet", columns=list(dict.fromkeys(columns)), where="in_focus")
    points = pd.read_csv(run / "sizes.csv")
    names = dict(zip(frames["frame"], frames["file"], strict=True))
    images = {k: read_picture(names[k]) for k in outlines}
    limits = (
        (float(particles[size].quantile(0.02)), float(particles[size].quantile(0.98))) if len(particles) else (1.0, 2.0)
    )
    context = {
        "version": __version__,
        "s": summary,
        "unit": "µm" if unit == "um" else unit,
        "size": definition,
        "verdict": verdict(summary),
        "overlays": _overlays(run, images, outlines, names, size=size, limits=limits),
        "limits": limits,
        "tiles": _tiles(run, images, size=size, unit=unit, limit=config.report.montage),
        "faults": _faults(frames),
        "n_faults": int(frames["status"].isin(["rejected", "failed"]).sum()),
        "methods": frames.loc[frames["method"] != "", "method"].value_counts().head(6).to_dict(),
        "columns": [c for c in PARTICLE_COLUMNS if c.dimension is not None],
        "settings": to_toml(config.model_dump()),
        "plots": _plots(points, particles, frames, summary, config) if len(particles) else {},
    }
    environment = Environment(
        loader=PackageLoader("crystalscope", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure_text
    style = files("crystalscope").joinpath("report/analysis.css").read_text(encoding="utf-8")
    html = environment.get_template("analysis.html.jinja").render(**context, style=style)
    return write_text(run / "report.html", html)


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
        f"{figure_text(number)} {unit} ({summary['size_definition']})."
    )


def figure_text(figure: dict[str, Any]) -> str:
    """A figure with its interval, or a dash."""
    if figure["value"] is None:
        return "–"
    text = f"{figure['value']:.4g}"
    if figure["lower"] is not None:
        text += f" ({figure['lower']:.4g} to {figure['upper']:.4g})"
    return text


def _overlays(
    run: Path,
    images: dict[int, Image],
    outlines: dict[int, list[dict[str, Any]]],
    names: dict[int, str],
    *,
    size: str,
    limits: tuple[float, float],
) -> list[dict[str, str]]:
    out = []
    for frame, image in images.items():
        rows = read_table(
            run / "particles.parquet",
            columns=["particle", size, "touches_border"],
            where=f"frame = {frame} AND in_focus",
        )
        src = pictures.overlay(image, outlines[frame], rows, size=size, limits=limits)
        time = "" if image.time_s != image.time_s else f", {image.time_s / 60:.1f} min"
        out.append({"src": src, "label": f"{names[frame]}{time}: {len(rows)} particles"})
    return out


def _tiles(run: Path, images: dict[int, Image], *, size: str, unit: str, limit: int) -> list[dict[str, str]]:
    if not images:
        return []
    chosen = ", ".join(str(k) for k in images)
    wanted = list(dict.fromkeys(["frame", "particle", size, f"x_{unit}", f"y_{unit}", f"feret_max_{unit}"]))
    rows = read_table(run / "particles.parquet", columns=wanted, where=f"frame IN ({chosen}) AND in_focus")
    scale = next(iter(images.values())).pixel_size_um or 1.0
    for name in ("x", "y", "feret_max"):
        rows[f"{name}_px"] = rows[f"{name}_{unit}"] / scale
    return pictures.montage(images, rows, size=size, unit="µm" if unit == "um" else unit, limit=limit)


def _faults(frames: pd.DataFrame) -> list[dict[str, Any]]:
    bad = frames[frames["status"].isin(["rejected", "failed"])]
    return [
        {"frame": r.frame, "file": r.file, "status": r.status, "reason": r.reason}
        for r in bad.head(_SHOWN_FAULTS).itertuples()
    ]


def _plots(
    points: pd.DataFrame,
    particles: pd.DataFrame,
    frames: pd.DataFrame,
    summary: dict[str, Any],
    config: AnalyzeConfig,
) -> dict[str, str]:
    unit, definition = summary["unit"], config.size.definition
    shares = points["Q0"].diff().fillna(points["Q0"])
    volumes = points["Q3"].diff().fillna(points["Q3"])
    out = {
        "shapes": plots.shapes(particles),
        "joint": plots.joint(
            particles[f"length_{unit}"].to_numpy(dtype=float),
            particles[f"width_{unit}"].to_numpy(dtype=float),
            unit=unit,
        ),
        "trends": plots.trends(
            frames,
            particles.groupby("frame")[f"{definition}_{unit}"].median(),
            unit=unit,
            definition=definition,
        ),
    }
    if len(points):
        good = (shares > 0).to_numpy()
        distribution = make_distribution(
            points["size"][good], (volumes / shares)[good], weight=shares[good], definition=definition
        )
        out["cumulative"] = plots.cumulative(points, summary)
        out["density"] = plots.density(points, classes(distribution, width=config.size.class_width), summary)
    return out
