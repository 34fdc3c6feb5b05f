"""Truth in other forms than COCO: class and label pictures, VGG Image Annotator polygons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.core import FieldOfView, Instances
from crystalscope.errors import ReadError
from crystalscope.io.coco import Annotated, rasterize
from crystalscope.io.pictures import PICTURE_SUFFIXES, read_picture


def read_mask(path: Path) -> NDArray[np.int64]:
    """A class or label picture, (rows, columns); a colour picture becomes one number per colour (0: black)."""
    data = read_picture(path).data.astype(np.int64)
    return data if data.ndim == 2 else data[..., 0] * 65536 + data[..., 1] * 256 + data[..., 2]


def instances_of(mask: NDArray[np.int64]) -> Instances:
    """Particles of a class or label picture: connected regions (8) of every value above 0."""
    field = FieldOfView((int(mask.shape[0]), int(mask.shape[1])))
    found: list[NDArray[np.bool_]] = []
    for value in np.unique(mask[mask > 0]):
        n, labels = cv2.connectedComponents((mask == value).astype(np.uint8), connectivity=8)
        found += [labels == i for i in range(1, n)]
    return Instances.from_masks(found, field=field)


def labelled(mask: NDArray[np.int64]) -> Instances:
    """Particles of a label picture: every value above 0 is one, also where another cuts it in two.

    A picture of one value is a mask: its connected regions (8) are the particles.
    """
    values, inverse = np.unique(mask, return_inverse=True)
    if len(values[values > 0]) < 2:
        return instances_of(mask)
    inverse = inverse.reshape(mask.shape)
    first = 1 if values[0] == 0 else 0
    found = [inverse == k for k in range(first, len(values))]
    return Instances.from_masks(found, field=FieldOfView((int(mask.shape[0]), int(mask.shape[1]))))


def mask_files(folder: Path) -> dict[str, Path]:
    """Mask pictures by the stem of their picture: NAME_mask.png where there are such, else every picture file."""
    pictures = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in PICTURE_SUFFIXES]
    named = {p.stem.removesuffix("_mask"): p for p in pictures if p.stem.endswith("_mask")}
    return named or {p.stem: p for p in pictures}


def read_via(path: Path) -> list[Annotated]:
    """Polygons of a VGG Image Annotator project; the pictures must lie beside it, for their size.

    Raises
    ------
    ReadError
        When the file is no VIA project or no picture of it lies beside it.
    """
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        entries = data["_via_img_metadata"].values()
    except (OSError, ValueError, KeyError, AttributeError) as e:
        raise ReadError(f"expected a VIA project in {path}: {e}") from e
    out = []
    for entry in entries:
        picture = path.parent / Path(entry["filename"]).name
        if not picture.exists():
            continue
        shape = read_picture(picture).data.shape[:2]
        masks = []
        for region in entry["regions"]:
            s = region["shape_attributes"]
            if s.get("name") not in ("polygon", "polyline"):
                continue
            # VIA marks pixel positions; COCO's corners lie half a pixel before.
            points = np.stack([s["all_points_x"], s["all_points_y"]], axis=1) + 0.5
            mask = rasterize([points.ravel().tolist()], shape)
            if mask.any():
                masks.append(mask)
        found = Instances.from_masks(masks, field=FieldOfView((int(shape[0]), int(shape[1]))))
        n = len(found)
        out.append(Annotated(picture.name, found, np.arange(1, n + 1), np.zeros(n, dtype=bool)))
    if not out:
        raise ReadError(f"expected the pictures of {path.name} beside it, found none of {len(entries)}")
    return out
