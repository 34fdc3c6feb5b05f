"""What is held against what: real pictures of a look and the recipe that should look like them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.realism.patches import Picture, grey_of
from crystalscope.errors import InputError

HELD_BACK = ("218", "227")
"""Frames of insitu-backlit that are never looked at."""


@dataclass(frozen=True)
class Look:
    """A comparison.

    Parameters
    ----------
    title
        For tables.
    files
        Patterns of real pictures in the folder of real data.
    recipe
        Preset held against them.
    scale
        Factor of size of the real pictures before patches are cut.
    pictures
        Number of rendered pictures.
    per_real, per_rendered
        Patches of a real and of a rendered picture.
    by
        frame: a real picture (all quarters of one frame) is never in two folds; quarter: its four quarters are groups
        of their own, for lack of pictures; crop: pictures are crops of one object, of which the corners are taken.
    fields
        Part of a real picture to use, by file name: (row, column, radius) after scaling, px.
    """

    title: str
    files: tuple[str, ...]
    recipe: str
    scale: float = 1.0
    pictures: int = 48
    per_real: int = 64
    per_rendered: int = 40
    by: str = "frame"
    fields: tuple[tuple[str, tuple[float, float, float]], ...] = ()


LOOKS = {
    "backlit": Look("back-lit crystals", ("insitu-backlit/frame_*.jpg",), "backlit-crystals"),
    "plates": Look(
        "plates, back-lit", ("rods-plates/plates_*",), "varied-backlit", pictures=60, per_real=90, by="quarter"
    ),
    "rods": Look(
        "rods on speckle", ("rods-plates/rods_speckle.tif",), "varied-backlit", pictures=36, per_real=640, by="quarter"
    ),
    "polars": Look(
        "crossed polars",
        ("bright-on-dark/crystals_*.JPG",),
        "polars-crystals",
        scale=0.5,
        per_real=500,
        by="quarter",
        fields=(
            ("crystals_bright", (700.0, 1080.0, 490.0)),
            ("crystals_crowded", (720.0, 1230.0, 560.0)),
            ("crystals_good_separation", (710.0, 1080.0, 490.0)),
        ),
    ),
    "impurity": Look("crops of needles and clusters", ("impurity-crops/*.png",), "impurity", pictures=24, by="crop"),
}
_COPIES = ("PG5309", "PG5310", "PG5311", "PG5312", "PG566", "PG567", "PG590", "PG591", "PG592", "PG593", "PG594")
"""Crops of impurity-crops that are other crops turned."""
_CROP = 152
"""Rows and columns of a crop about a rendered object, px: as the real ones of needles."""


def real_pictures(look: Look, folder: Path) -> Iterator[Picture]:
    """The real pictures of a look as grey, groups named by frame.

    Raises
    ------
    InputError
        When there is none.
    """
    files = sorted(f for pattern in look.files for f in folder.glob(pattern))
    files = [f for f in files if not _is_held_back(f)]
    if not files:
        raise InputError(f"expected {' or '.join(look.files)} in {folder}, got none; set CRYSTALSCOPE_DATA")
    for f in files:
        data = cv2.imread(str(f), cv2.IMREAD_GRAYSCALE)
        if data is None:
            raise InputError(f"expected a picture in {f}, got something that cannot be read")
        grey = grey_of(data)
        if look.scale != 1:
            grey = cv2.resize(grey, None, fx=look.scale, fy=look.scale, interpolation=cv2.INTER_AREA)
        parts = f.stem.split("_")
        group = f"real {parts[1] if parts[0] == 'frame' else f.stem}"
        yield Picture(np.ascontiguousarray(grey), group, dict(look.fields).get(f.stem))


def _is_held_back(file: Path) -> bool:
    parts = file.stem.split("_")
    return file.stem.endswith("_mask") or file.stem in _COPIES or (parts[0] == "frame" and parts[1] in HELD_BACK)


def rendered_pictures(look: Look, *, recipe: str | None, seed: int) -> Iterator[Picture]:
    """Pictures of the recipe, each with an instrument of its own; `recipe`: TOML instead of the preset."""
    from crystalscope.scenes import load_recipe, preset, scenes_of

    chosen = preset(look.recipe) if recipe is None else load_recipe(recipe)
    chosen = chosen.changed(vary="frame")
    for scene in scenes_of(chosen, frames=look.pictures, seed=seed, workers=1):
        group = f"rendered {scene.image.source}"
        grey = grey_of(scene.image.data)
        if look.by == "crop":
            yield from (Picture(crop, group) for crop in _crops(grey, scene.truth))
        else:
            yield Picture(grey, group)


def _crops(grey: NDArray[np.float32], truth: pd.DataFrame) -> Iterator[NDArray[np.float32]]:
    """Crops about up to two whole bodies of each sort in focus."""
    whole = truth[truth["in_focus"].astype(bool) & (truth["inside_share"] > 0.9)]
    half = _CROP // 2
    for _, bodies in whole.groupby("body"):
        for row in bodies.head(2).itertuples():
            r = int(np.clip(row.y, half, grey.shape[0] - half))
            c = int(np.clip(row.x, half, grey.shape[1] - half))
            yield grey[r - half : r + half, c - half : c + half]
