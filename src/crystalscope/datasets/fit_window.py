"""How dark pictures get, and what stays in place over them: veil, glare, window dust and deposits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.prepare import static_mask

Picture = NDArray[np.float32]

FEWEST_FRAMES = 5
"""Frames below which a crystal cannot be told from dust."""
_MOST_FRAMES = 15
_SHARE = 0.7
"""Share of the frames in which dust must be seen: a body may cover it in the others."""
_DARK = 0.06
_LARGEST_SPECK_PX = 16.0
"""Diameter beyond which a spot is a deposit, not dust."""
_DARK_FACET = 0.6
_REACH_PX = 5
_DARKEST = 0.05
_FEWEST_PIXELS = 60
_FLOOR = 0.0003
"""Share of the pixels, those below which are left to chance, that sets the floor."""
_DARKEST_OF_ALL = 2e-5
"""Share of the pixels that may lie below the glare, by noise."""
_GLARE = 0.65
"""Floor over darkest facets from which the floor is light that bodies do not hold back."""
_DARK_SHARE = 0.004
"""Pixels that must be dark before their floor says anything."""


@dataclass(frozen=True)
class Spots:
    """Spots that stay: number of specks, number of deposits and their median radius, px (NaN without any)."""

    dust: int
    deposits: int
    deposit_px: float


def find_spots(ratios: Sequence[Picture], *, noise: float, field: NDArray[np.bool_]) -> Spots:
    """Count what stays in place on the window.

    Parameters
    ----------
    ratios
        (rows, columns) each, at least 5: picture over its ground.
    noise
        Standard deviation of the noise, relative to the ground.
    field
        (rows, columns) the field of view.

    Notes
    -----
    A spot is darker than its surroundings by 6 % or 5 standard deviations of the noise in at least 70 % of the frames,
    see `prepare.static_mask`. A crystal that sits still that long counts as a spot; bright spots are not counted.
    """
    limit = max(_DARK, 5 * noise)
    chosen = list(ratios[:: math.ceil(len(ratios) / _MOST_FRAMES)])
    surround = 4 * _LARGEST_SPECK_PX

    def cover(ratio: Picture) -> NDArray[np.bool_]:
        smooth = cv2.blur(np.where(field, ratio, np.float32(1)), (round(surround), round(surround)))
        return np.asarray(field & (cv2.GaussianBlur(ratio, (0, 0), 0.8) < np.minimum(smooth, 1) - limit))

    mask = static_mask(chosen, cover=cover, min_share=_SHARE) & field
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    # The mask is one px wider all round than what is dark.
    diameter = np.sqrt(stats[1:, cv2.CC_STAT_AREA] * 4 / math.pi) - 2
    real = diameter[diameter > 0.5]
    large = real[real > _LARGEST_SPECK_PX]
    radius = float(np.median(large)) / 2 if large.size else math.nan
    return Spots(int((real <= _LARGEST_SPECK_PX).sum()), int(large.size), radius)


def darkest_facets(ratios: Sequence[Picture], *, valid: NDArray[np.bool_]) -> float:
    """Level of the darkest facets relative to the ground; NaN where no facet is wide enough to be seen without blur.

    Parameters
    ----------
    ratios
        (rows, columns) each: picture over its ground.
    valid
        (rows, columns) the field of view.

    Notes
    -----
    5th percentile of the pixels below 60 % of the ground that lie at least 5 px within such a region.
    """
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _REACH_PX + 1, 2 * _REACH_PX + 1))
    found = []
    for ratio in ratios:
        dark = ((ratio < _DARK_FACET) & valid).astype(np.uint8)
        inner = cv2.erode(dark, around, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
        found.append(cv2.GaussianBlur(ratio, (0, 0), 1.0)[inner][::3])
    pixels = np.concatenate(found)
    return float(np.quantile(pixels, _DARKEST)) if pixels.size >= _FEWEST_PIXELS else math.nan


def glare(greys: Sequence[Picture], *, level: float, dark: float, field: NDArray[np.bool_]) -> float:
    """Level of light that reaches the camera past all bodies; NaN where it cannot be told from the veil of facets.

    Parameters
    ----------
    greys
        (rows, columns) each, shares of white as recorded.
    level
        Of the ground.
    dark
        Of the darkest facets, relative to the ground.
    field
        (rows, columns) the field of view.

    Notes
    -----
    Bodies dim what lies behind them: dark facets and ghosts over each other are darker than one of them, unless what is
    left is light that does not come through bodies at all (glare of lens and window, offset of the camera). The floor
    of the picture then lies close to the level of single facets (above 65 % of it; without glare below 50 %). With b
    for glare and a doubled facet at the floor, (floor - b) (level - b) = (dark level - b)², which gives b; it is at
    most the level of the darkest pixels. Frames with few bodies over each other show no glare even where there is.
    """
    smooth = np.concatenate([cv2.GaussianBlur(g, (0, 0), 1.0)[field][::3] for g in greys])
    floor, facet = float(np.quantile(smooth, _FLOOR)), dark * level
    enough = float((smooth < max(1.5 * facet, 0.35 * level)).mean()) > _DARK_SHARE
    if not (enough and floor > _GLARE * facet):
        return math.nan
    found = (floor * level - facet**2) / max(floor + level - 2 * facet, 1e-6)
    return min(max(found, 0.0), float(np.quantile(smooth, _DARKEST_OF_ALL)))
