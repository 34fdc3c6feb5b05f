"""A rendered picture and everything that is true of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from crystalscope.core.image import Image
from crystalscope.core.instances import Instances
from crystalscope.core.particles import Column
from crystalscope.errors import InputError

TRUTH_COLUMNS: tuple[Column, ...] = (
    Column("kind", "str", None, "crystal, agglomerate, bubble, droplet or other"),
    Column("body", "str", None, "what was drawn: sphere, block, platelet, needle, agglomerate, fibre …"),
    Column("in_focus", "bool", None, "2.5 times the blur is at most 5 px + 0.1 ECD"),
    Column("touches_border", "bool", None, "reaches the first or last pixel of the field of view"),
    Column("inside_share", "float64", 0, "share of the full outline that lies in the field of view"),
    Column("visible_share", "float64", 0, "share of its pixels in the picture that nothing covers"),
    Column("parent", "int32", None, "number of the agglomerate that the primary belongs to; 0: stands alone"),
    Column("n_primaries", "int32", None, "crystals that an agglomerate is made of; 1 for a single one"),
    Column("blur", "float64", 1, "standard deviation of the blur"),
    Column("area", "float64", 2, "of the full outline, exact"),
    Column("perimeter", "float64", 1, "of the full outline, exact"),
    Column("ecd", "float64", 1, "diameter of the circle of equal area, ISO 9276-6"),
    Column("feret_max", "float64", 1, "largest caliper diameter"),
    Column("feret_min", "float64", 1, "smallest caliper diameter"),
    Column("length", "float64", 1, "of the minimum-area rectangle; along the axis of a bent body"),
    Column("width", "float64", 1, "of the minimum-area rectangle; area / length of a bent body"),
    Column("x", "float64", 1, "column of the centroid of the full outline, from the left edge"),
    Column("y", "float64", 1, "row of the centroid of the full outline, from the upper edge"),
    Column("depth", "float64", 1, "distance from the focal plane, positive away from the camera"),
    Column("body_length", "float64", 1, "length of the body in three dimensions"),
    Column("body_width", "float64", 1, "width of the body in three dimensions"),
    Column("body_thickness", "float64", 1, "thickness of the body in three dimensions"),
)
"""Columns of `Scene.truth`; particles.csv has frame, file and particle before them and the unit in the names."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A rendered picture with exact truth.

    Parameters
    ----------
    image
        As the camera records it (after JPEG where there is any); ``image.source`` is its file name.
    instances
        Every body that reaches into the picture, an agglomerate as one, nearest to the camera last; sharp ones and
        ghosts (``in_focus``); ``visible`` holds what nothing covers.
    truth
        One row per instance, columns `TRUTH_COLUMNS`, lengths in px of the whole body, also where the edge of the
        picture cuts it. ``parent`` is 0.
    primaries, primaries_truth
        The same for the members of agglomerates; ``parent`` is the row of the agglomerate in `truth`, from 1.
    population
        Every body drawn in the volume, seen or not: the columns of `truth` that do not need a picture (kind, body,
        ecd, feret_max, feret_min, length, width, body_length, body_width, body_thickness), px.
    frame
        What is true of the whole picture: scalars, such as coverage, temperature_c, a label (1, 0, or NaN where
        either answer is right).
    encoded
        The file's bytes where the camera compresses (JPEG); None: written losslessly.

    Raises
    ------
    InputError
        When there is not one row for every instance, or a column is missing.
    """

    image: Image
    instances: Instances
    truth: pd.DataFrame
    primaries: Instances
    primaries_truth: pd.DataFrame
    population: pd.DataFrame
    frame: Mapping[str, Any] = field(default_factory=dict)
    encoded: bytes | None = None

    def __post_init__(self) -> None:
        for found, rows in ((self.instances, self.truth), (self.primaries, self.primaries_truth)):
            missing = [c.name for c in TRUTH_COLUMNS if c.name not in rows.columns]
            if missing or len(found) != len(rows):
                raise InputError(
                    f"expected one row of truth for every one of {len(found)} particles, got {len(rows)}, missing "
                    f"columns: {', '.join(missing) or 'none'}"
                )
