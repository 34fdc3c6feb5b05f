"""What is true of a picture: exact measures of outlines, and the ten labels by rule."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from shapely import Polygon

from bench.otherlight.bodies import Body
from crystalscope.core import LABELS

SHARP = 2.5
"""A body is in focus when so many standard deviations of its blur are at most 5 px + 0.1 ECD."""

SMALL_PX = 4.0
"""Smaller Feret diameter below which an object does not count for a label."""

CROWDED = (0.30, 0.40, 0.45)
"""Coverage from which too_concentrated is open, true by the rule, and true beyond doubt."""


def outline_measures(outline: Polygon) -> dict[str, float]:
    """Area, perimeter (of the outer ring), ECD, Feret diameters, sides of the minimum-area rectangle, centroid; px."""
    hull = np.asarray(outline.convex_hull.exterior.coords)[:-1]
    edges = np.roll(hull, -1, axis=0) - hull
    along = edges / np.linalg.norm(edges, axis=1)[:, None]
    u = hull @ along.T
    v = hull @ np.column_stack([-along[:, 1], along[:, 0]]).T
    span_u, span_v = np.ptp(u, axis=0), np.ptp(v, axis=0)
    best = int(np.argmin(span_u * span_v))
    far = np.linalg.norm(hull[:, None] - hull[None], axis=2)
    return {
        "area": outline.area,
        "perimeter": outline.exterior.length,
        "ecd": math.sqrt(4 * outline.area / math.pi),
        "feret_max": float(far.max()),
        "feret_min": float(span_v.min()),
        "length": float(max(span_u[best], span_v[best])),
        "width": float(min(span_u[best], span_v[best])),
        "x": outline.centroid.x,
        "y": outline.centroid.y,
    }


def body_measures(body: Body) -> dict[str, Any]:
    """Measures of a body's outline and its three dimensions; a bent body's length goes along its axis."""
    m = outline_measures(body.outline)
    if math.isfinite(body.path):
        m["length"], m["width"] = body.path, body.outline.area / body.path
    length, width, thickness = body.dimensions
    return {
        "kind": body.kind,
        "body": body.name,
        "n_primaries": body.n_primaries,
        **m,
        "body_length": length,
        "body_width": width,
        "body_thickness": thickness,
    }


def sharp_limit(ecd: float) -> float:
    """Largest standard deviation of the blur, px, at which a body of this ECD, px, is in focus."""
    return (5 + 0.1 * ecd) / SHARP


def labels_of(truth: pd.DataFrame, *, coverage: float, joined_looks: bool) -> dict[str, float]:
    """The ten labels of a picture by rule: 1, 0, or NaN where either answer is right.

    Parameters
    ----------
    truth
        Rows of `Scene.truth`.
    coverage
        Share of the field that outlines cover, sharp and blurred ones.
    joined_looks
        Whether outlines of sharp crystals that are not joined overlap in the picture: it cannot tell then.

    Notes
    -----
    Counted: in focus, at least half inside the field, smaller Feret at least 4 px. A counted single crystal speaks for
    the label whose body and projection it has. Where it has the body of one and the projection of another, or lies
    between the bands, it leaves open every label that its body or its projection could stand for. A sphere leaves
    `block` open.
    """
    counted = truth[truth["in_focus"].astype(bool) & (truth["inside_share"] >= 0.5) & (truth["feret_min"] >= SMALL_PX)]
    kind = counted["kind"]
    out: dict[str, float] = dict.fromkeys(LABELS, 0.0)
    out["object_present"] = float(len(counted) > 0)
    out["agglomerated"] = 1.0 if (kind == "agglomerate").any() else (math.nan if joined_looks else 0.0)
    out["ufo"] = float((kind == "other").any())
    out["bubble"] = float((kind == "bubble").any())
    out["droplets"] = float((kind == "droplet").any())
    sure: set[str] = set()
    maybe: set[str] = set()
    for row in counted[kind == "crystal"].itertuples():
        yes, open_ = shape_labels(row.body_length, row.body_width, row.body_thickness, row.feret_max / row.feret_min)
        if row.body == "sphere":
            yes, open_ = set(), {"block"}
        sure |= yes
        maybe |= open_
    for name in sure:
        out[name] = 1.0
    for name in maybe - sure:
        out[name] = math.nan
    low, _, high = CROWDED
    out["too_concentrated"] = 0.0 if coverage < low else (1.0 if coverage > high else math.nan)
    return out


def shape_labels(length: float, width: float, thickness: float, projection: float) -> tuple[set[str], set[str]]:
    """Labels that a single crystal has, and labels that it leaves open.

    Parameters
    ----------
    length, width, thickness
        Of the body.
    projection
        Largest over smallest Feret diameter of the outline.
    """
    a, t = length / width, thickness / width
    # Per label: the body's band, a band widened as far as the next one, and the projection's band.
    bodies = {
        "block": (a <= 1.6 and t >= 0.6, a < 2.5 and t > 0.15),
        "platelet": (a <= 1.8 and t <= 0.15, a < 2.5 and t < 0.6),
        "elongated": (2.5 <= a <= 5, 1.6 < a < 6),
        "needle": (a >= 6, a > 5),
    }
    shown = {
        "block": projection <= 2,
        "platelet": projection <= 2.5,
        "elongated": 2 <= projection <= 5.5,
        "needle": projection >= 4,
    }
    yes = {n for n, (exact, _) in bodies.items() if exact and shown[n]}
    if yes:
        return yes, set()
    # A plate seen on edge shows no face; what is no plate cannot look like one from the side of its length.
    open_ = {n for n, (_, near) in bodies.items() if near}
    open_ |= {n for n in ("block", "elongated", "needle") if shown[n]}
    return set(), open_


def crosses(masks: list[NDArray[np.bool_]], boxes: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(n,) whether a particle shares a pixel with another one; masks are crops to their boxes."""
    n = len(masks)
    out = np.zeros(n, dtype=bool)
    for i in range(n):
        for j in range(i + 1, n):
            if out[i] and out[j]:
                continue
            r0, c0 = np.maximum(boxes[i, :2], boxes[j, :2])
            r1, c1 = np.minimum(boxes[i, 2:], boxes[j, 2:])
            if r1 <= r0 or c1 <= c0:
                continue
            a = masks[i][r0 - boxes[i, 0] : r1 - boxes[i, 0], c0 - boxes[i, 1] : c1 - boxes[i, 1]]
            b = masks[j][r0 - boxes[j, 0] : r1 - boxes[j, 0], c0 - boxes[j, 1] : c1 - boxes[j, 1]]
            if (a & b).any():
                out[i] = out[j] = True
    return out
