"""The particle table, its frame ledger, and what their columns mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core.image import check_pixel_size
from crystalscope.core.labels import LABELS
from crystalscope.errors import InputError

Unit = Literal["um", "px"]
"""Unit of every length of a table: um where a scale was given, else px."""

STATUSES = ("ok", "empty", "rejected", "failed")
"""Status of a frame: particles were counted; none was found; the frame was refused (see reason); it could
not be read or processed (see reason)."""


@dataclass(frozen=True)
class Column:
    """One column: name without unit, dtype, power of length in its unit (None: never converted), meaning."""

    name: str
    dtype: str
    dimension: int | None
    meaning: str

    def header(self, unit: Unit) -> str:
        """Name as written, with the unit in it where the column has one."""
        if not self.dimension:
            return self.name
        return f"{self.name}_{unit}" + ("2" if self.dimension == 2 else "")


PARTICLE_COLUMNS: tuple[Column, ...] = (
    Column("frame", "int32", None, "index of the frame in the ledger, from 0"),
    Column("file", "str", None, "name of the frame, relative to the folder"),
    Column("particle", "int32", None, "number of the particle in the run, from 1; the id in the COCO file"),
    Column("score", "float32", None, "confidence of the segmenter, 0 to 1"),
    Column("kind", "str", None, "crystal, agglomerate, bubble, droplet or other"),
    Column("in_focus", "bool", None, "sharp enough to be counted (prepare.focus)"),
    Column("touches_border", "bool", None, "reaches the first or last pixel of the field of view"),
    Column("agglomerate", "int32", None, "0, or number of the agglomerate that the particle belongs to"),
    Column("area", "float64", 2, "pixels of the full mask times the area of a pixel"),
    Column("perimeter", "float64", 1, "length of the outline (measure.outline)"),
    Column("ecd", "float64", 1, "diameter of the circle of equal area, ISO 9276-6"),
    Column("feret_max", "float64", 1, "largest caliper diameter"),
    Column("feret_min", "float64", 1, "smallest caliper diameter"),
    Column("length", "float64", 1, "along the skeleton for needles, else of the minimum-area rectangle"),
    Column("width", "float64", 1, "area / length for needles, else of the minimum-area rectangle"),
    Column("x", "float64", 1, "column of the centroid, from the left edge"),
    Column("y", "float64", 1, "row of the centroid, from the upper edge"),
    Column("aspect_ratio", "float64", 0, "feret_min / feret_max, at most 1, ISO 9276-6"),
    Column("length_to_width", "float64", 0, "length / width, at least 1"),
    Column("form_factor", "float64", 0, "4 pi A / P²; 0.785 for a square"),
    Column("circularity", "float64", 0, "2 sqrt(pi A) / P, ISO 9276-6"),
    Column("solidity", "float64", 0, "A / area of the convex hull, ISO 9276-6"),
    Column("convexity", "float64", 0, "perimeter of the convex hull / P, ISO 9276-6"),
    Column("elongation", "float64", 0, "thickness / geodesic length, ISO 9276-6 (measure.shape)"),
    Column("compactness", "float64", 0, "ecd / feret_max, ISO 9276-6"),
    Column("focus", "float64", 0, "edge sharpness in 1/px (prepare.focus)"),
    Column("mean_grey", "float64", 0, "mean grey of the recorded picture inside the mask"),
    Column("rect_length", "float64", 1, "longer side of the minimum-area rectangle"),
    Column("rect_width", "float64", 1, "shorter side of the minimum-area rectangle"),
    Column("border_weight", "float64", 0, "Miles-Lantuejoul weight; NaN where the border is touched"),
)
"""Columns of particles.parquet, in order."""

FRAME_COLUMNS: tuple[Column, ...] = (
    Column("frame", "int32", None, "index of the frame, from 0"),
    Column("file", "str", None, "name of the frame, relative to the folder"),
    Column("time_s", "float64", None, "time since the first timed frame; NaN where unknown"),
    Column("temperature_c", "float64", None, "from the aligned log; NaN where the log has none"),
    Column("status", "str", None, "ok, empty, rejected or failed"),
    Column("reason", "str", None, "why the frame is rejected or failed, and warnings of other frames"),
    Column("width_px", "int32", None, "columns of the picture"),
    Column("height_px", "int32", None, "rows of the picture"),
    Column("pixel_size_um", "float64", None, "scale; NaN where none was given"),
    Column("focus", "float64", None, "median edge sharpness of the counted particles in 1/px"),
    Column("coverage", "float64", None, "share of the field covered by what was found, sharp and blurred"),
    Column(
        "window_coverage", "float64", None, "share of the field that stays covered over 11 frames; NaN in shorter runs"
    ),
    Column("n_particles", "int32", None, "particles counted"),
    Column("n_border", "int32", None, "of these, touching the border of the field"),
    Column("n_out_of_focus", "int32", None, "found and not counted: out of focus"),
    Column("n_static", "int32", None, "found and not counted: static dust or deposit"),
    Column("n_gated", "int32", None, "found and not counted: outside a gate of the post-processing"),
    Column("field_area_px", "float64", None, "area of the field of view in px²"),
    Column("method", "str", None, "what the segmenter chose for this frame"),
)
"""Columns of frames.parquet, in order; one column per label follows where labels were asked for."""


@dataclass(frozen=True, eq=False)
class ParticleTable:
    """Particles in tidy rows, and a ledger with a row for every frame, empty and failed ones too.

    Counts per frame and per volume come from the ledger alone: an empty frame has no row among the particles.

    Parameters
    ----------
    particles
        Columns as `PARTICLE_COLUMNS`, with the unit in the name where there is one.
    frames
        Columns as `FRAME_COLUMNS`.
    unit
        um or px, of every length in `particles`.
    """

    particles: pd.DataFrame
    frames: pd.DataFrame
    unit: Unit

    def __post_init__(self) -> None:
        missing = [h for h in headers(self.unit) if h not in self.particles.columns]
        missing += [c.name for c in FRAME_COLUMNS if c.name not in self.frames.columns]
        if missing:
            raise InputError(f"expected a table in {self.unit} with all columns, missing: {', '.join(missing)}")

    def column(self, name: str) -> pd.Series:
        """A column of the particles by its name without unit, e.g. ``ecd``."""
        for c in PARTICLE_COLUMNS:
            if c.name == name:
                return self.particles[c.header(self.unit)]
        raise InputError(f"expected a column of the particle table, got {name!r}")

    def counted(self) -> pd.DataFrame:
        """Rows of the particles that are counted: those in focus."""
        return self.particles[self.particles["in_focus"].to_numpy(dtype=bool)]


def headers(unit: Unit) -> list[str]:
    """Names of the columns of particles.parquet in `unit`."""
    return [c.header(unit) for c in PARTICLE_COLUMNS]


def particle_frame(columns: Mapping[str, NDArray[np.generic]], *, pixel_size_um: float | None) -> pd.DataFrame:
    """Typed rows of particles from columns in px, converted to um where there is a scale.

    Parameters
    ----------
    columns
        One array of shape (n,) for every name of `PARTICLE_COLUMNS`, lengths in px, areas in px².
    pixel_size_um
        um per px, or None.
    """
    check_pixel_size(pixel_size_um)
    unit: Unit = "px" if pixel_size_um is None else "um"
    scale = 1.0 if pixel_size_um is None else pixel_size_um
    data: dict[str, object] = {}
    for c in PARTICLE_COLUMNS:
        values = np.asarray(columns[c.name])
        if c.dtype == "str":
            data[c.header(unit)] = pd.array(values.astype(object), dtype="str")
        elif c.dimension:
            data[c.header(unit)] = values.astype(c.dtype) * scale**c.dimension
        else:
            data[c.header(unit)] = values.astype(c.dtype)
    return pd.DataFrame(data)


def ledger_frame(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Typed ledger from rows; what a row leaves out is NaN, 0 or empty. Labels follow where a row has any."""
    data: dict[str, object] = {}
    for c in FRAME_COLUMNS:
        default: object = "" if c.dtype == "str" else math.nan if c.dtype.startswith("float") else 0
        values = [r.get(c.name, default) for r in rows]
        data[c.name] = pd.array(values, dtype="str") if c.dtype == "str" else np.array(values, dtype=c.dtype)
    if any(LABELS[0] in r for r in rows):
        data |= {name: np.array([r.get(name, math.nan) for r in rows], dtype=np.float64) for name in LABELS}
    return pd.DataFrame(data)
