"""Post-processing in the published order, each step with its own setting.

Order and defaults after Chem. Ing. Tech. 2023, 95, 1146: drop areas below a number of px, closing by a disc,
fill holes, drop what touches the border (here kept and flagged by default), watershed, form-factor gate (here
off by default).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.config import PostConfig
from crystalscope.core import FieldOfView, Instances
from crystalscope.measure import boundary_form_factor, measure_columns
from crystalscope.segment.regions import Crop, fill_holes
from crystalscope.segment.split import completed, split_at_necks

_LARGE_HOLE, _SMALL_HOLE, _CONVEX, _CRYSTAL, _BEADS = 0.15, 0.02, 0.85, 0.95, 4
"""Shares of the filled area from which a hole is large and below which it is small; solidity below which a shape with
a large hole is no crystal, and above which it is one; parts from which a rim is a string of beads."""


def post_process(crops: list[Crop], *, field: FieldOfView, config: PostConfig) -> tuple[Instances, int]:
    """Run the chain on the regions of one picture.

    Parameters
    ----------
    crops
        Regions, in any number of pieces and with holes.
    field
        Field of view; what lies outside is dropped, what reaches its edge touches the border.
    config
        The steps and their settings.

    Returns
    -------
    instances
        What passes, in order of their first row and column.
    n_gated
        Number of regions dropped by the border rule and the form-factor gate. Areas below the minimum
        are noise and are not counted.
    """
    kept: list[Crop] = []
    for crop in crops:
        if np.count_nonzero(crop[2]) < config.min_area_px:
            continue
        row, column, mask = _with_margin(crop, field.shape, 1 + round(config.closing_radius_px))
        if config.closing_radius_px > 0:
            mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disc(config.closing_radius_px))
        for part in _parts((row, column, mask), field.shape):
            if np.count_nonzero(part[2]) < config.min_area_px:
                continue
            whole = _filled(part, field.shape) if config.fill_holes else part
            kept.extend(_split(whole, config))
    kept = [c for c in kept if np.count_nonzero(c[2]) >= max(config.min_area_px, 1.0)]
    kept.sort(key=lambda c: (c[0], c[1]))
    instances = _instances(_inside_field(_outermost(kept), field), field)
    if not len(instances):
        return instances, 0
    keep = np.ones(len(instances), dtype=bool)
    if config.border == "drop" or config.form_factor_min is not None or config.form_factor_max is not None:
        columns = measure_columns(instances, np.zeros(field.shape, dtype=np.uint8))
        if config.border == "drop":
            keep &= ~columns["touches_border"].astype(bool)
        form = columns["form_factor"]
        if config.form_factor_by == "boundary":
            form = boundary_form_factor(instances)
        if config.form_factor_min is not None:
            keep &= form >= config.form_factor_min
        if config.form_factor_max is not None:
            keep &= form <= config.form_factor_max
    return (instances if keep.all() else instances.select(keep)), int((~keep).sum())


def _parts(crop: Crop, shape: tuple[int, int]) -> list[Crop]:
    """The pieces of a mask, 8-connected."""
    row, column, mask = crop
    n, labels = cv2.connectedComponents(mask, connectivity=8)
    if n <= 2:
        return [crop] if n == 2 else []
    pieces = [(row, column, (labels == i).astype(np.uint8)) for i in range(1, n)]
    return [_with_margin(p, shape, 1) for p in pieces]


def _filled(crop: Crop, shape: tuple[int, int]) -> Crop:
    """The mask with its holes filled.

    A large hole is the clear interior of a crystal where the filled shape is about convex and its rim is no string
    of beads; else it is background that a ring of touching particles encloses, and stays open.
    """
    row, column, mask = crop
    filled = fill_holes(mask, row, column, *shape, mask.size)
    area = np.count_nonzero(filled)
    if area - np.count_nonzero(mask) > _LARGE_HOLE * area:
        contours, _ = cv2.findContours(filled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        hull = cv2.fillConvexPoly(np.zeros_like(filled), cv2.convexHull(np.concatenate(contours)), 1)
        solidity = area / np.count_nonzero(hull)
        beads = solidity < _CRYSTAL and split_at_necks(np.pad(mask, 1), depth=0.3).max() >= _BEADS
        if solidity < _CONVEX or beads:
            filled = fill_holes(mask, row, column, *shape, round(_SMALL_HOLE * area))
    return row, column, np.asarray(filled)


def _disc(radius: float) -> NDArray[np.uint8]:
    k = int(radius)
    r = np.arange(-k, k + 1)
    return ((r[:, None] ** 2 + r[None, :] ** 2) <= radius * radius).astype(np.uint8)


def _with_margin(crop: Crop, shape: tuple[int, int], margin: int) -> Crop:
    """The crop grown by a margin, as far as the picture goes, trimmed to its pixels first."""
    row, column, mask = _trimmed(crop)
    upper, left = min(margin, row), min(margin, column)
    lower = min(margin, shape[0] - row - mask.shape[0])
    right = min(margin, shape[1] - column - mask.shape[1])
    return row - upper, column - left, np.pad(mask, ((upper, lower), (left, right)))


def _trimmed(crop: Crop) -> Crop:
    row, column, mask = crop
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return row, column, mask[:0, :0]
    tight = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return row + int(rows[0]), column + int(columns[0]), np.ascontiguousarray(tight)


def _split(crop: Crop, config: PostConfig) -> list[Crop]:
    row, column, mask = crop
    if not config.watershed or not mask.any():
        return [crop]
    # A free margin all around: the picture's edge is an outline for the distance.
    parts = split_at_necks(np.pad(mask, 1), depth=config.watershed_depth)
    n = int(parts.max(initial=0))
    if n <= 1:
        return [crop]
    whole = [
        completed(parts, i) if config.complete_overlaps else (parts == i).astype(np.uint8) for i in range(1, n + 1)
    ]
    return [_trimmed((row, column, np.ascontiguousarray(m[1:-1, 1:-1]))) for m in whole]


def _outermost(crops: list[Crop]) -> list[Crop]:
    """Without regions of which more than half lies inside a larger one: facets of a filled crystal."""
    areas = [int(np.count_nonzero(m)) for _, _, m in crops]
    boxes = np.array([(r, c, r + m.shape[0], c + m.shape[1]) for r, c, m in crops]).reshape(-1, 4)
    keep = []
    for i, (row, column, mask) in enumerate(crops):
        r1, c1 = row + mask.shape[0], column + mask.shape[1]
        meets = (boxes[:, 0] < r1) & (boxes[:, 2] > row) & (boxes[:, 1] < c1) & (boxes[:, 3] > column)
        inside = False
        for j in np.flatnonzero(meets):
            if j == i or areas[j] <= areas[i]:
                continue
            a0, b0 = max(row, int(boxes[j, 0])), max(column, int(boxes[j, 1]))
            a1, b1 = min(r1, int(boxes[j, 2])), min(c1, int(boxes[j, 3]))
            mine = mask[a0 - row : a1 - row, b0 - column : b1 - column]
            r, c, other = crops[j]
            shared = np.count_nonzero(mine & other[a0 - r : a1 - r, b0 - c : b1 - c])
            inside = inside or bool(2 * shared > areas[i])
        if not inside:
            keep.append(crops[i])
    return keep


def _inside_field(crops: list[Crop], field: FieldOfView) -> list[Crop]:
    if field.disc is None:
        return crops
    mask = field.mask()
    inside = []
    for row, column, crop in crops:
        cut = crop & mask[row : row + crop.shape[0], column : column + crop.shape[1]]
        if 2 * np.count_nonzero(cut) > np.count_nonzero(crop):
            inside.append(_trimmed((row, column, cut)))
    return inside


def _instances(crops: list[Crop], field: FieldOfView) -> Instances:
    tight = [_trimmed(c) for c in crops]
    sizes = [m.size for _, _, m in tight]
    return Instances(
        field,
        np.array([(r, c, r + m.shape[0], c + m.shape[1]) for r, c, m in tight], dtype=np.int32).reshape(-1, 4),
        np.concatenate([m.ravel() for _, _, m in tight]) if tight else np.zeros(0, dtype=np.uint8),
        np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64),
        np.ones(len(tight), dtype=np.float32),
    )
