"""The ten labels of a picture by rule, from the truth of its bodies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from crystalscope.core import LABELS

_UFOS = ("fibre", "hair", "dust", "scratch", "smear", "dendrite")
_CONCENTRATED, _PERHAPS_CONCENTRATED = 0.45, 0.30


def labels_of(truth: pd.DataFrame, *, coverage: float) -> dict[str, float]:
    """Labels of a picture: 1 yes, 0 no, NaN where either answer is right.

    Objects count that are in focus, at least half inside the field, and at least 4 px in their smaller Feret diameter.
    A label is 1 where one object shows it for certain, NaN where none does but one lies between the bands.

    Parameters
    ----------
    truth
        Columns `core.TRUTH_COLUMNS`, one row per body, lengths in px.
    coverage
        Share of the field under outlines, sharp and blurred.

    Returns
    -------
    The labels in the order of `core.LABELS`.

    Notes
    -----
    By the body (length L, width W, thickness T) and its projection (Feret max/min P): block L/W to 1.6, T/W from 0.6,
    P to 2; platelet L/W to 1.8, T/W to 0.15, P to 2.5; elongated L/W 2.5 to 5, P 2 to 5.5; needle L/W from 6, P from
    4. Members of agglomerates do not count for these four, and a ball is no block for certain.
    """
    use = truth[
        truth["in_focus"].astype(bool)
        & (truth["inside_share"] >= 0.5)
        & (truth["feret_min"] >= 4)
        & (truth["parent"] == 0)
    ]
    out: dict[str, float] = dict.fromkeys(LABELS, 0.0)
    out["object_present"] = float(len(use) > 0)
    kinds = set(use["kind"])
    out["agglomerated"] = float("agglomerate" in kinds)
    out["bubble"] = float("bubble" in kinds)
    out["droplets"] = float("droplet" in kinds)
    out["ufo"] = float("other" in kinds)
    for row in use[use["kind"] == "crystal"].to_dict("records"):
        for name, value in _shape(row).items():
            # Certain beats undecided beats absent.
            out[name] = value if out[name] == 0 or value == 1 else out[name]
    if coverage > _CONCENTRATED:
        out["too_concentrated"] = 1.0
    elif coverage >= _PERHAPS_CONCENTRATED:
        out["too_concentrated"] = math.nan
    return out


def _shape(row: dict[Any, Any]) -> dict[str, float]:
    """The shape labels that a crystal gives, 1 or NaN; what is left out is 0."""
    stretch = row["body_length"] / row["body_width"]
    flatness = row["body_thickness"] / row["body_width"]
    seen = row["feret_max"] / row["feret_min"]
    sphere = row["body"] == "sphere"
    bodies = {
        "block": stretch <= 1.6 and flatness >= 0.6 and not sphere,
        "platelet": stretch <= 1.8 and flatness <= 0.15,
        "elongated": 2.5 <= stretch <= 5 and flatness > 0.15,
        "needle": stretch >= 6,
    }
    shows = {
        "block": seen <= 2,
        "platelet": seen <= 2.5,
        "elongated": 2 <= seen <= 5.5,
        "needle": seen >= 4,
    }
    # Half open bands: what lies between two of them may be called either.
    perhaps = {
        "block": stretch < 2.5 and flatness > 0.15,
        "platelet": stretch < 2.5 and flatness < 0.6,
        "elongated": 1.6 < stretch < 6 or (stretch >= 6 and seen < 4),
        "needle": stretch > 5,
    }
    out = {}
    for name in bodies:
        if bodies[name] and shows[name]:
            out[name] = 1.0
        elif bodies[name] or (perhaps[name] and not any(bodies[k] and shows[k] for k in bodies)):
            out[name] = float(np.nan)
    return out
