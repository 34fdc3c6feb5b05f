"""From the output of the network `crystals` to masks, compiled."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from crystalscope.segment.layout import CHANNELS, EDGE, KIND_COUNT, MASK_STRIDE, PROTOTYPES, SHAPES, SLOTS, STRIDES

Floats = NDArray[np.float32]

_ALIKE = 0.55
"""Boxes whose Gaussian overlap is above this are taken for one body before masks are compared."""


def candidates(maps: list[Floats], *, least: float) -> tuple[Floats, NDArray[np.int64]]:
    """Cells that see a body, best first.

    Parameters
    ----------
    maps
        Per level (SLOTS * CHANNELS, h, w).
    least
        Lowest score.

    Returns
    -------
    (n, 6 + PROTOTYPES + SHAPES) of score, x, y, length, width, angle, coefficients; (n,) kind.
    """
    threshold = math.log(least / (1 - least))
    rows, kinds = [], []
    for stride, level in zip(STRIDES, maps, strict=True):
        slots = level.reshape(SLOTS, CHANNELS, *level.shape[1:])
        slot, i, j = np.nonzero(slots[:, 0] > threshold)
        if not slot.size:
            continue
        v = slots[slot, :, i, j]
        x, y = (j + 0.5 + v[:, 1]) * stride, (i + 0.5 + v[:, 2]) * stride
        length, width = (np.exp(np.clip(v[:, k] * 0.7, -3, 6)) * stride for k in (3, 4))
        angle = 0.5 * np.arctan2(v[:, 6], v[:, 5])
        score = 1 / (1 + np.exp(-v[:, 0]))
        rows.append(np.column_stack([score, x, y, length, width, angle, v[:, 7 : 7 + PROTOTYPES + SHAPES]]))
        kinds.append(v[:, -KIND_COUNT:].argmax(axis=1))
    if not rows:
        return np.zeros((0, 6 + PROTOTYPES + SHAPES), dtype=np.float32), np.zeros(0, dtype=np.int64)
    values, kind = np.concatenate(rows), np.concatenate(kinds)
    # A stable order: by score, then by place, so that two runs agree.
    order = np.lexsort((values[:, 1], values[:, 2], -values[:, 0]))
    return values[order].astype(np.float32), kind[order]


def distinct(values: Floats) -> NDArray[np.int64]:
    """Positions of candidates whose box is not that of a better one (Gaussian overlap, Bhattacharyya)."""
    return np.asarray(_distinct(values[:, 1:6].astype(np.float64), _ALIKE))


@njit(cache=True, nogil=True)
def _distinct(boxes, alike):  # type: ignore[no-untyped-def]
    n = len(boxes)
    kept = np.empty(n, np.int64)
    count = 0
    cov = np.empty((n, 3))
    for k in range(n):
        a, b = boxes[k, 2] ** 2 / 12, boxes[k, 3] ** 2 / 12
        c, s = math.cos(boxes[k, 4]), math.sin(boxes[k, 4])
        cov[k, 0] = a * c * c + b * s * s
        cov[k, 1] = a * s * s + b * c * c
        cov[k, 2] = (a - b) * c * s
    for k in range(n):
        fresh = True
        for q in range(count):
            m = kept[q]
            dx, dy = boxes[k, 0] - boxes[m, 0], boxes[k, 1] - boxes[m, 1]
            if abs(dx) + abs(dy) > boxes[k, 2] + boxes[m, 2]:
                continue
            sx, sy, sxy = cov[k, 0] + cov[m, 0], cov[k, 1] + cov[m, 1], cov[k, 2] + cov[m, 2]
            det = sx * sy - sxy * sxy
            one = cov[k, 0] * cov[k, 1] - cov[k, 2] ** 2
            two = cov[m, 0] * cov[m, 1] - cov[m, 2] ** 2
            far = 0.25 * (sy * dx * dx + sx * dy * dy - 2 * sxy * dx * dy) / max(det, 1e-9)
            far += 0.5 * math.log(max(det, 1e-9) / (4 * math.sqrt(max(one * two, 1e-12))))
            if 1 - math.sqrt(max(1 - math.exp(-far), 0.0)) > alike:
                fresh = False
                break
        if fresh:
            kept[count] = k
            count += 1
    return kept[:count]


@njit(cache=True, nogil=True)
def draw(value, proto, rows, columns):  # type: ignore[no-untyped-def]
    """Mask of a candidate: box r0, c0, r1, c1 and crop (uint8), within the picture.

    Parameters
    ----------
    value
        A row of `candidates`.
    proto
        (PROTOTYPES, H, W), one sample per MASK_STRIDE px.
    rows, columns
        Of the picture.
    """
    x, y, length, width, angle = value[1], value[2], value[3], value[4], value[5]
    c, s = math.cos(angle), math.sin(angle)
    ex = 0.7 * (length * abs(c) + width * abs(s)) + 3
    ey = 0.7 * (length * abs(s) + width * abs(c)) + 3
    r0, c0 = max(int(y - ey), 0), max(int(x - ex), 0)
    r1, c1 = min(int(y + ey) + 1, rows), min(int(x + ex) + 1, columns)
    if r0 >= r1 or c0 >= c1:
        return 0, 0, 0, 0, np.zeros((0, 0), np.uint8)
    out = np.zeros((r1 - r0, c1 - c0), np.uint8)
    high, wide = proto.shape[1], proto.shape[2]
    at = 6
    for i in range(r0, r1):
        for j in range(c0, c1):
            dx, dy = j + 0.5 - x, i + 0.5 - y
            u, v = 2 * (dx * c + dy * s) / length, 2 * (dy * c - dx * s) / width
            far = max(abs(u), abs(v))
            if far > 2.2:
                continue
            logit = max(EDGE * (1 - far), -4 * EDGE)
            uc, vc = min(max(u, -2.0), 2.0), min(max(v, -2.0), 2.0)
            k = at + PROTOTYPES
            logit += value[k] + value[k + 1] * uc * uc + value[k + 2] * vc * vc + value[k + 3] * uc * vc
            py, px = (i + 0.5) / MASK_STRIDE - 0.5, (j + 0.5) / MASK_STRIDE - 0.5
            a, b = min(max(py, 0.0), high - 1.0), min(max(px, 0.0), wide - 1.0)
            a0, b0 = int(a), int(b)
            a1, b1 = min(a0 + 1, high - 1), min(b0 + 1, wide - 1)
            fa, fb = a - a0, b - b0
            for q in range(PROTOTYPES):
                p = (1 - fa) * ((1 - fb) * proto[q, a0, b0] + fb * proto[q, a0, b1])
                p += fa * ((1 - fb) * proto[q, a1, b0] + fb * proto[q, a1, b1])
                logit += value[at + q] * p
            if logit > 0:
                out[i - r0, j - c0] = 1
    return r0, c0, r1, c1, out


def largest_part(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest connected part of a crop (8 neighbours), its holes filled."""
    import cv2

    n, labels, stats, _ = cv2.connectedComponentsWithStats(crop, connectivity=8)
    if n <= 1:
        return crop
    best = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    whole = np.pad((labels != best).astype(np.uint8), 1, constant_values=1)
    # What cannot be reached from outside is a hole.
    _, outside = cv2.connectedComponents(whole, connectivity=4)
    return (outside[1:-1, 1:-1] != outside[0, 0]).astype(np.uint8)
