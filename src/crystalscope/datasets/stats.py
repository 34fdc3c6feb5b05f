"""What a dataset holds, in numbers: pictures, particles, sizes, focus, loading, light."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.datasets.checks_annotations import read_annotations
from crystalscope.datasets.checks_metadata import instruments_of, scales_of
from crystalscope.datasets.checks_particles import Particle
from crystalscope.datasets.checks_pictures import Progress
from crystalscope.datasets.dataset import Dataset
from crystalscope.errors import ReadError
from crystalscope.io.pictures import bits_in_use, read_picture, to_grey
from crystalscope.io.tables import write_json

GROUPS = ("experiment", "batch", "split", "class", "instrument", "part")
"""Columns of the table of pictures whose values are counted."""
LOADINGS = ("loading_wt", "loading")
"""Columns of the table of pictures that hold the solids loading, wt%."""

_TILE = 32


@dataclass(frozen=True, eq=False)
class Stats:
    """A dataset in numbers.

    Parameters
    ----------
    summary
        What stats.json holds.
    pictures
        One row per picture: file, rows_px, columns_px, kind, brightness, contrast and noise (share of full scale; NaN
        where the picture cannot be read), particles, ignored, at_border, coverage, loading (wt%).
    particles
        One row per annotated particle: file, annotation, label, kind, ecd_px, ecd_um, ignored, at_border.
    """

    summary: dict[str, Any]
    pictures: pd.DataFrame
    particles: pd.DataFrame

    def __str__(self) -> str:
        """The figures as a terminal shows them."""
        return "\n".join(f"{name:<28} {text}" for name, text in facts(self.summary))

    def write(self, folder: str | Path) -> Path:
        """Write FOLDER/stats.json; raises WriteError."""
        return write_json(Path(folder) / "stats.json", self.summary)


def dataset_stats(dataset: Dataset, *, progress: Progress | None = None) -> Stats:
    """Count and measure what a dataset holds.

    Parameters
    ----------
    dataset
        The dataset. Pictures and annotations that cannot be read are left out and counted.
    progress
        As in `review_dataset`.

    Returns
    -------
    Stats

    Notes
    -----
    Sizes are equivalent circle diameters (ECD, ISO 9276-6) of the annotated outlines, of particles that are not ignored
    and not cut by the border, quantiles by number, not corrected for what the border cuts. Coverage is the share of a
    picture under outlines that are not ignored. Brightness is the mean grey, contrast the standard deviation of the
    grey, noise its standard deviation from pixel to pixel (mixed second differences over 2, in the calmest fifth of
    tiles of 32 x 32 px), each as a share of full scale; 16-bit pictures take the smallest of 10, 12, 14 and 16 bits
    that holds them all.
    """
    files = dataset.frames["file"].astype(str).tolist()
    pictures = _pictures(dataset.root, files, progress)
    shapes = {r.file: (r.rows_px, r.columns_px) for r in pictures.itertuples() if r.rows_px}
    annotations = read_annotations(dataset, shapes)
    scales = scales_of(dataset.frames, dataset.manifest.pixel_size_um)
    particles = _particles(annotations.particles, scales)
    by_file: dict[str, list[Particle]] = {f: [] for f in files}
    for p in annotations.particles:
        by_file[p.file].append(p)
    pictures["particles"] = [sum(not p.ignored for p in by_file[f]) for f in files]
    pictures["ignored"] = [sum(p.ignored for p in by_file[f]) for f in files]
    pictures["at_border"] = [sum(p.at_border and not p.ignored for p in by_file[f]) for f in files]
    pictures["coverage"] = [_coverage(by_file[f], shapes.get(f)) if dataset.annotations else np.nan for f in files]
    pictures["loading"] = _loading(dataset.frames)
    return Stats(_summary(dataset, pictures, particles, annotations.n), pictures, particles)


def _pictures(root: Path, files: Sequence[str], progress: Progress | None) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for row in pool.map(lambda f: _picture(root, f), files):
            rows.append(row)
            if progress:
                progress("reading pictures", len(rows), len(files))
    table = pd.DataFrame(rows)
    # Grey of full scale 1 stands for 16 bits; those in use are known only when all pictures have been seen.
    deep = table["kind"].str.startswith("16 bit")
    if deep.any():
        factor = 65535 / (2.0 ** bits_in_use(table.loc[deep, "top"].astype(int).tolist()) - 1)
        table.loc[deep, ["brightness", "contrast", "noise"]] *= factor
    return table.drop(columns="top")


def _picture(root: Path, file: str) -> dict[str, Any]:
    try:
        data = read_picture(root / file).data
    except ReadError:
        unread = dict.fromkeys(("brightness", "contrast", "noise"), np.nan)
        return {"file": file, "rows_px": 0, "columns_px": 0, "kind": "unreadable", **unread, "top": 0}
    grey = to_grey(data)
    bits = {"uint8": "8 bit", "uint16": "16 bit"}.get(data.dtype.name, data.dtype.name)
    return {
        "file": file,
        "rows_px": data.shape[0],
        "columns_px": data.shape[1],
        "kind": f"{bits} {'grey' if data.ndim == 2 else 'colour'}",
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
        "noise": noise_of(grey),
        "top": int(data.max()) if data.dtype == np.uint16 else 0,
    }


def noise_of(grey: NDArray[np.float32]) -> float:
    """Standard deviation of the noise of a picture, in units of its grey.

    Parameters
    ----------
    grey
        (rows, columns).

    Notes
    -----
    Mixed second differences cancel what changes evenly along rows or columns; of independent noise they have four
    times the variance. The calmest fifth of the tiles has the least structure. Where structure fills the picture, or
    compression has smoothed the noise, this is what is left, not what the camera has.
    """
    fine = (grey[1:, 1:] - grey[1:, :-1] - grey[:-1, 1:] + grey[:-1, :-1]) / 2
    rows, columns = (max(1, n // _TILE) for n in fine.shape)
    height, width = min(fine.shape[0], rows * _TILE), min(fine.shape[1], columns * _TILE)
    if not height or not width:
        return float("nan")
    tiles = fine[:height, :width].reshape(rows, height // rows, columns, width // columns)
    return float(np.quantile(tiles.std(axis=(1, 3), dtype=np.float64), 0.2))


def _particles(found: Sequence[Particle], scales: dict[str, float]) -> pd.DataFrame:
    rows = [(p.file, p.annotation, p.label, p.kind or "other", p.ecd_px, p.ignored, p.at_border) for p in found]
    table = pd.DataFrame(rows, columns=["file", "annotation", "label", "kind", "ecd_px", "ignored", "at_border"])
    table = table.astype({"ecd_px": float, "ignored": bool, "at_border": bool})
    table.insert(5, "ecd_um", table["ecd_px"] * table["file"].map(scales).astype(float))
    return table


def _coverage(particles: Sequence[Particle], shape: tuple[int, int] | None) -> float:
    if shape is None:
        return float("nan")
    covered = np.zeros(shape, dtype=bool)
    for p in particles:
        if not p.ignored:
            r, c = p.region.row, p.region.column
            part = covered[r : r + p.region.mask.shape[0], c : c + p.region.mask.shape[1]]
            part |= p.region.mask[: part.shape[0], : part.shape[1]]
    return float(covered.mean())


def _loading(frames: pd.DataFrame) -> list[float]:
    column = next((c for c in LOADINGS if c in frames), None)
    if column is None:
        return [float("nan")] * len(frames)
    return [float(v) for v in pd.to_numeric(frames[column], errors="coerce")]


def spread(values: pd.Series | NDArray[Any]) -> dict[str, float | int | None]:
    """Number, mean, extremes and deciles of values; None where there is none."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    if not known.size:
        return {"n": 0, **dict.fromkeys(("mean", "min", "p10", "p50", "p90", "max"))}
    low, middle, high = (float(q) for q in np.quantile(known, [0.1, 0.5, 0.9]))
    ends = {"mean": float(known.mean()), "min": float(known.min())}
    return {"n": int(known.size), **ends, "p10": low, "p50": middle, "p90": high, "max": float(known.max())}


def whole_particles(particles: pd.DataFrame) -> pd.DataFrame:
    """Particles that have a size: not ignored, not cut by the border."""
    return particles[~particles["ignored"] & ~particles["at_border"]]


def _summary(dataset: Dataset, pictures: pd.DataFrame, particles: pd.DataFrame, n: int) -> dict[str, Any]:
    readable = pictures[pictures["rows_px"] > 0]
    formats = readable["columns_px"].astype(str) + " x " + readable["rows_px"].astype(str) + " px, " + readable["kind"]
    counted = particles[~particles["ignored"]]
    frames = dataset.frames.assign(instrument=instruments_of(dataset.frames, dataset.manifest.instrument))
    whole = whole_particles(particles)
    scales = sorted(set(scales_of(dataset.frames, dataset.manifest.pixel_size_um).values()))
    return {
        "name": dataset.manifest.name,
        "pictures": len(pictures),
        "unreadable": len(pictures) - len(readable),
        "formats": _counts(formats),
        "pixel_size_um": scales,
        "groups": {c: _counts(frames[c]) for c in GROUPS if c in frames},
        "solids_loading": dataset.manifest.solids_loading,
        "loading_wt": spread(pictures["loading"]),
        "annotations": n,
        "particles": len(counted),
        "ignored": len(particles) - len(counted),
        "ignored_share": _share(len(particles) - len(counted), len(particles)),
        "at_border": int(counted["at_border"].sum()),
        "at_border_share": _share(int(counted["at_border"].sum()), len(counted)),
        "empty_pictures": int((pictures["particles"] == 0).sum()) if dataset.annotations else None,
        "per_picture": spread(pictures["particles"]) if dataset.annotations else spread(pd.Series(dtype=float)),
        "coverage": spread(pictures["coverage"]),
        "classes": _counts(counted["label"]),
        "sizes": {
            label: {"ecd_px": spread(group["ecd_px"]), "ecd_um": spread(group["ecd_um"])}
            for label, group in whole.groupby("label")
        },
        "brightness": spread(pictures["brightness"]),
        "contrast": spread(pictures["contrast"]),
        "noise": spread(pictures["noise"]),
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _counts(values: pd.Series) -> dict[str, int]:
    found = values.dropna().astype(str)
    counts = found[found != ""].value_counts().sort_index(kind="stable").sort_values(ascending=False, kind="stable")
    return {str(k): int(v) for k, v in counts.items()}


def facts(summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and text of every figure that is known."""

    def several(counts: dict[str, int], most: int = 4) -> str:
        shown = ", ".join(f"{k} ({v:,})" for k, v in list(counts.items())[:most])
        return shown + (f" and {len(counts) - most} more" if len(counts) > most else "")

    def between(name: str, factor: float = 1.0, unit: str = "") -> str:
        s = summary[name]
        return f"{factor * s['p50']:.3g}{unit} ({factor * s['p10']:.3g} to {factor * s['p90']:.3g})" if s["n"] else ""

    s = summary
    yield "pictures", f"{s['pictures']:,}" + (f", {s['unreadable']:,} unreadable" if s["unreadable"] else "")
    yield "formats", several(s["formats"])
    if s["pixel_size_um"]:
        ends = s["pixel_size_um"][0], s["pixel_size_um"][-1]
        yield "scale", f"{ends[0]:g} µm/px" if ends[0] == ends[1] else f"{ends[0]:g} to {ends[1]:g} µm/px"
    for name, counts in s["groups"].items():
        if counts:
            yield name, several(counts)
    if s["solids_loading"] or s["loading_wt"]["n"]:
        yield "solids loading", s["solids_loading"] or between("loading_wt", unit=" wt%")
    if s["annotations"]:
        yield "annotated particles", f"{s['particles']:,}"
        yield "ignored (out of focus)", f"{s['ignored']:,} ({100 * (s['ignored_share'] or 0):.1f} %)"
        yield "cut by the border", f"{s['at_border']:,} ({100 * (s['at_border_share'] or 0):.1f} %)"
        yield "classes", several(s["classes"])
        yield "particles per picture", f"{between('per_picture')}, {s['empty_pictures']:,} pictures without"
        yield "coverage", between("coverage", 100, " %")
        for label, size in s["sizes"].items():
            unit, figures = ("µm", size["ecd_um"]) if size["ecd_um"]["n"] else ("px", size["ecd_px"])
            yield f"ECD of {label}", f"{figures['p50']:.3g} {unit} ({figures['p10']:.3g} to {figures['p90']:.3g})"
    for name in ("brightness", "contrast", "noise"):
        yield name, between(name, 100, " %")
