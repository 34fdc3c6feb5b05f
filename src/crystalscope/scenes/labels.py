"""The ten labels of a picture by rule, from the truth of its bodies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from crystalscope.core import LABELS

_KINDS = {"agglomerate": "agglomerated", "bubble": "bubble", "droplet": "droplets", "other": "ufo"}
_CONCENTRATED, _PERHAPS_CONCENTRATED = 0.45, 0.30


def labels_of(truth: pd.DataFrame, *, coverage: float, overlapping: bool = False) -> dict[str, float]:
    """Labels of a picture: 1 yes, 0 no, NaN where either answer is right.

    Objects count that are in focus, at least half inside the field, and at least 4 px in their smaller Feret diameter.
    A label is 1 where one object shows it for certain, NaN where none does but one lies between the bands.

    Parameters
    ----------
    truth
        Columns `core.TRUTH_COLUMNS`, one row per body, lengths in px.
    coverage
        Share of the field under outlines, sharp and blurred.
    overlapping
        Whether outlines of sharp crystals that are not joined overlap: a picture cannot tell them from joined ones.

    Returns
    -------
    The labels in the order of `core.LABELS`.

    Notes
    -----
    By the body (length L, width W, thickness T) and its projection (Feret max/min P): block L/W to 1.6, T/W from 0.6,
    P to 2; platelet L/W to 1.8, T/W to 0.15, P to 2.5; elongated L/W 2.5 to 5, P 2 to 5.5; needle L/W from 6, P from
    4. A body whose projection does not show it leaves open what it is and what it looks like. Members of agglomerates
    do not count for these four, and a ball is no block for certain.
    """
    out: dict[str, float] = dict.fromkeys(LABELS, 0.0)
    for row in truth[counted(truth)].to_dict("records"):
        for name, value in body_labels(row).items():
            # Certain beats undecided beats absent.
            out[name] = value if out[name] == 0 or value == 1 else out[name]
    if overlapping and out["agglomerated"] == 0:
        out["agglomerated"] = math.nan
    out["too_concentrated"] = crowded(coverage)
    return out


def crowded(coverage: float) -> float:
    """Whether a share of the field under outlines is too much: 1, 0, or NaN where either answer is right."""
    return 1.0 if coverage > _CONCENTRATED else math.nan if coverage >= _PERHAPS_CONCENTRATED else 0.0


def counted(truth: pd.DataFrame) -> pd.Series[bool]:
    """Whether each body counts for the labels: sharp, at least half inside, 4 px wide, no member of an agglomerate."""
    return (
        truth["in_focus"].astype(bool)
        & (truth["inside_share"] >= 0.5)
        & (truth["feret_min"] >= 4)
        & (truth["parent"] == 0)
    )


def body_labels(row: Mapping[Any, Any]) -> dict[str, float]:
    """The labels that a body which counts gives a picture: 1, or NaN where it leaves them open; the others it lacks.

    Parameters
    ----------
    row
        Of `core.TRUTH_COLUMNS`.
    """
    if row["kind"] != "crystal":
        return {"object_present": 1.0, _KINDS[row["kind"]]: 1.0}
    return {"object_present": 1.0, **_shape(row)}


def _shape(row: Mapping[Any, Any]) -> dict[str, float]:
    """The shape labels that a crystal gives, 1 or NaN; what is left out is 0."""
    stretch = row["body_length"] / row["body_width"]
    flatness = row["body_thickness"] / row["body_width"]
    seen = row["feret_max"] / row["feret_min"]
    if row["body"] == "sphere":
        return {"block": math.nan}
    # For each label: the band of the body, and a band half open as far as the next one begins.
    bodies = {
        "block": (stretch <= 1.6 and flatness >= 0.6, stretch < 2.5 and flatness > 0.15),
        "platelet": (stretch <= 1.8 and flatness <= 0.15, stretch < 2.5 and flatness < 0.6),
        "elongated": (2.5 <= stretch <= 5 and flatness > 0.15, 1.6 < stretch < 6),
        "needle": (stretch >= 6, stretch > 5),
    }
    shows = {"block": seen <= 2, "platelet": seen <= 2.5, "elongated": 2 <= seen <= 5.5, "needle": seen >= 4}
    sure = {name for name, (exact, _) in bodies.items() if exact and shows[name]}
    if sure:
        return dict.fromkeys(sure, 1.0)
    # Nothing that lies on its edge or end looks like a plate, but it may look like any of the others.
    perhaps = {name for name, (_, near) in bodies.items() if near}
    perhaps |= {name for name in ("block", "elongated", "needle") if shows[name]}
    return dict.fromkeys(sorted(perhaps), math.nan)
