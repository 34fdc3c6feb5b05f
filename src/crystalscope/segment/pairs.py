"""Two bodies that were drawn as one: where such an outline may be parted."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np

from crystalscope.segment.masks import Mask, trimmed

_CONVEX = 0.97
"""Area over that of the convex hull from which an outline holds one body."""
_DEEP = 0.06
"""Depth of a notch, of the diameter of equal area."""
_PARTNERS = 3
"""Deepest notches besides the first, of which the nearest is where the other end of the cut lies."""
_AWAY = 0.2
"""Share of the outline that lies between the two ends of a cut at least, where there is but one notch."""
_LEAST = 0.15
"""Share of the area that a part has at least."""


def halves(mask: Mask) -> tuple[Mask, Mask] | None:
    """The two parts of a mask between its notches, or None where it has none.

    Notes
    -----
    The cut goes from the deepest notch of the outline to the nearest other deep one, or straight across. Whether
    the parts are bodies is for another look to say: an agglomerate has notches too.
    """
    crop = np.pad(mask.crop, 1)
    contours, _ = cv2.findContours(crop, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(contours, key=len).reshape(-1, 2)
    hull = cv2.convexHull(outline, returnPoints=False)
    area, whole = cv2.contourArea(outline), cv2.contourArea(outline[hull.ravel()])
    if len(outline) < 8 or not whole or area >= _CONVEX * whole:
        return None
    try:
        defects = cv2.convexityDefects(outline, np.sort(hull, axis=0)[::-1])
    except cv2.error:
        # An outline that meets itself, as one pixel wide.
        return None
    notches = np.zeros((0, 4)) if defects is None else np.reshape(defects, (-1, 4))
    notches = notches[notches[:, 3] / 256 >= _DEEP * 2 * math.sqrt(mask.area / math.pi)]
    if not len(notches):
        return None
    ends = notches[np.argsort(-notches[:, 3], kind="stable"), 2].astype(int)
    if len(ends) > 1:
        others = outline[ends[1 : 1 + _PARTNERS]]
    else:
        away = round(_AWAY * len(outline))
        others = np.roll(outline, -ends[0], axis=0)[away : len(outline) - away]
    first = outline[ends[0]]
    last = others[np.argmin(np.hypot(*(others - first).T))]
    cv2.line(crop, tuple(first.tolist()), tuple(last.tolist()), 0, 2)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(crop, connectivity=4)
    large = [k for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] >= _LEAST * mask.area]
    if len(large) != 2:
        return None
    one, other = (_part(mask, labels == k) for k in large)
    return one, other


def _part(mask: Mask, inside: np.ndarray) -> Mask:
    crop, r0, c0 = trimmed(inside.astype(np.uint8), mask.r0 - 1, mask.c0 - 1)
    return replace(mask, r0=r0, c0=c0, crop=crop, x=c0 + crop.shape[1] / 2, y=r0 + crop.shape[0] / 2)
