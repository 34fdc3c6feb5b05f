"""Field of view: the whole picture, or the illuminated disc of a flow cell."""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.core import FieldOfView
from crystalscope.errors import InputError

_BLACK_SHARE = 0.35
"""The surround is at most this bright relative to the disc."""


def find_field(grey: NDArray[np.generic], *, mode: Literal["auto", "picture", "disc"] = "auto") -> FieldOfView:
    """Find the field of view of a picture.

    Parameters
    ----------
    grey
        Shape (rows, columns).
    mode
        ``picture``: the whole picture; ``disc``: an illuminated disc on a black surround must be there;
        ``auto``: the disc where there is one.

    Returns
    -------
    FieldOfView whose disc, if any, lies inside what is lit by a margin of 1 % of the radius.

    Raises
    ------
    InputError
        With ``disc`` where no disc is found.

    Notes
    -----
    A disc is taken where the lit region fills at least 90 % of the smallest circle around it (as far as that
    lies in the picture), the corners are dark, and the surround has at most 35 % of its brightness. Particles
    at the rim of the disc do not matter: the circle goes around them.
    """
    rows, columns = grey.shape
    whole = FieldOfView((rows, columns))
    if mode == "picture":
        return whole
    disc = _lit_disc(grey)
    if disc is None:
        if mode == "disc":
            raise InputError("expected an illuminated disc on a black surround, found none; set field = 'picture'")
        return whole
    return FieldOfView((rows, columns), disc)


def _lit_disc(grey: NDArray[np.generic]) -> tuple[float, float, float] | None:
    rows, columns = grey.shape
    cell = max(1.0, max(rows, columns) / 400)
    size = (max(1, round(columns / cell)), max(1, round(rows / cell)))
    if min(size) < 16:
        return None
    # Most pictures have light corners and are done with at a glance.
    step = max(1, int(cell))
    glance = grey[::step, ::step].astype(np.float32)
    k = max(2, min(size) // 24)
    lit_corners = sum(
        float(np.median(c)) > _BLACK_SHARE * float(np.percentile(glance[::4, ::4], 75))
        for c in (glance[:k, :k], glance[:k, -k:], glance[-k:, :k], glance[-k:, -k:])
    )
    if lit_corners > 1:
        return None
    small = cv2.resize(grey.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    corners = [small[:k, :k], small[:k, -k:], small[-k:, :k], small[-k:, -k:]]
    dark = sorted(float(np.median(c)) for c in corners)
    light = float(np.percentile(small, 75))
    # The disc may be cut by one edge of the picture, so that one corner may be lit.
    if dark[2] > _BLACK_SHARE * light or light <= 0:
        return None
    lit = (small > 0.5 * (dark[1] + light)).astype(np.uint8)
    lit = cv2.morphologyEx(lit, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(lit, connectivity=8)
    if len(stats) < 2:
        return None
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    contours, _ = cv2.findContours((labels == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(contours, key=len)[:, 0, :].astype(np.float32)
    circle = _circle(outline, size)
    if circle is None:
        return None
    column, row, radius = circle
    r = np.arange(size[1])[:, None] - row
    c = np.arange(size[0])[None, :] - column
    inside = r * r + c * c <= radius * radius
    filled = cv2.drawContours(np.zeros_like(lit), [max(contours, key=len)], -1, 1, -1).astype(bool)
    agreement = (inside & filled).sum() / max((inside | filled).sum(), 1)
    contrast = float(np.median(small[~inside])) if (~inside).any() else light
    if agreement < 0.9 or contrast > _BLACK_SHARE * light or radius < 0.2 * min(size):
        return None
    scale = columns / size[0]
    return (row + 0.5) * scale - 0.5, (column + 0.5) * scale - 0.5, radius * scale * 0.99


def _circle(outline: NDArray[np.float32], size: tuple[int, int]) -> tuple[float, float, float] | None:
    """Circle (column, row, radius) through the outline as far as it is not the edge of the picture, robust."""
    edge = 1.5
    free = outline[
        (outline[:, 0] > edge)
        & (outline[:, 0] < size[0] - 1 - edge)
        & (outline[:, 1] > edge)
        & (outline[:, 1] < size[1] - 1 - edge)
    ].astype(np.float64)
    if len(free) < 30:
        return None
    weight = np.ones(len(free))
    column = row = radius = 0.0
    for _ in range(8):
        # Kasa's linear fit, reweighted: dents by particles at the rim lose their say.
        a = np.column_stack([2 * free, np.ones(len(free))]) * weight[:, None]
        b = (free**2).sum(axis=1) * weight
        solution, *_ = np.linalg.lstsq(a, b, rcond=None)
        column, row = float(solution[0]), float(solution[1])
        square = float(solution[2]) + column**2 + row**2
        if square <= 0:
            return None
        radius = math.sqrt(square)
        residual = np.hypot(free[:, 0] - column, free[:, 1] - row) - radius
        weight = 1.0 / (1.0 + (residual / max(0.7, float(np.median(np.abs(residual))))) ** 2)
    return column, row, radius
