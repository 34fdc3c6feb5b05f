"""Labels by rule from the particles that a segmenter found: a check beside the network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crystalscope.config import LabelConfig
from crystalscope.core import KINDS, LABELS, Instances
from crystalscope.label.base import in_force
from crystalscope.measure import measure_columns

Array = NDArray[np.float64]

_LEAST_PX = 4.0
_CROWDED, _STEEP = 0.40, 25.0
_BY_KIND = {"agglomerate": "agglomerated", "bubble": "bubble", "droplet": "droplets", "other": "ufo"}


class RuleLabeller:
    """Labeller ``rules``: what the outlines of the particles say.

    Parameters
    ----------
    config
        Thresholds, 0.5 unless given.

    Notes
    -----
    An outline has no thickness: compact crystals (Feret max/min up to 2) speak for block and for platelet with half
    their score each, so that neither is given on their word. From 2 to 5.5 they are elongated, from 5.5 needles; a
    foreshortened needle counts as elongated. Kinds (bubble, droplet, agglomerate, other) are those of the segmenter:
    where it tells none, those labels are NaN.
    """

    def __init__(self, config: LabelConfig) -> None:
        self.thresholds = in_force(np.full(len(LABELS), 0.5), config.thresholds)

    def label(self, grey: NDArray[np.float32], *, instances: Instances | None = None) -> Array:
        """(10,) confidences from particles; all NaN where there are none to judge by."""
        if instances is None:
            return np.full(len(LABELS), math.nan)
        return rule_labels(instances, grey)


def rule_labels(instances: Instances, grey: NDArray[np.float32]) -> Array:
    """(10,) confidences from the particles of a picture, see `RuleLabeller`.

    Parameters
    ----------
    instances
        Particles, those out of focus too: they count for too_concentrated alone.
    grey
        (rows, columns) the picture they were found in.
    """
    measured = measure_columns(instances, grey)
    sharp = np.asarray(instances.in_focus, dtype=bool)
    covered = float((instances.labels() > 0).sum() / instances.field.area_px)
    kinds = np.array(KINDS, dtype=object)[instances.kind]
    # Members of an agglomerate speak for it alone.
    kinds[instances.agglomerate > 0] = "agglomerate"
    return rules(
        kinds[sharp],
        feret_max_px=np.asarray(measured["feret_max"])[sharp],
        feret_min_px=np.asarray(measured["feret_min"])[sharp],
        score=instances.score[sharp],
        coverage=covered,
        kinds_told=bool((kinds != "crystal").any()),
    )


def rules(
    kind: ArrayLike,
    *,
    feret_max_px: ArrayLike,
    feret_min_px: ArrayLike,
    score: ArrayLike,
    coverage: float,
    kinds_told: bool,
) -> Array:
    """(10,) confidences from measured particles in focus.

    Parameters
    ----------
    kind
        (n,) of `core.KINDS`.
    feret_max_px, feret_min_px
        (n,) px; particles below 4 px do not count.
    score
        (n,) confidence of the segmenter.
    coverage
        Share of the field under outlines, sharp and blurred.
    kinds_told
        Whether the segmenter tells kinds; else their labels are NaN.

    Returns
    -------
    1 - product of (1 - score) over the particles that speak for a label.
    """
    names = np.asarray(kind, dtype=object)
    long, short = np.asarray(feret_max_px, dtype=float), np.asarray(feret_min_px, dtype=float)
    p = np.clip(np.asarray(score, dtype=float), 0, 1)
    counts = short >= _LEAST_PX
    seen = np.divide(long, short, out=np.ones_like(long), where=short > 0)
    crystal = counts & (names == "crystal")

    def either(who: NDArray[np.bool_]) -> float:
        return float(1 - np.prod(1 - p[who]))

    compact = crystal & (seen <= 2)
    # Half a vote for each of two labels stays half a vote, however many cast it.
    half = float(p[compact].max(initial=0.0)) / 2
    found = {
        "object_present": either(counts),
        "platelet": half,
        "block": half,
        "needle": either(crystal & (seen >= 5.5)),
        "elongated": either(crystal & (seen > 2) & (seen < 5.5)),
        "too_concentrated": 1 / (1 + math.exp(-_STEEP * (coverage - _CROWDED))),
    }
    for name, label in _BY_KIND.items():
        found[label] = either(counts & (names == name)) if kinds_told else math.nan
    return np.array([found[n] for n in LABELS])


def agreement(labels: pd.DataFrame, particles: pd.DataFrame, frames: pd.DataFrame) -> dict[str, float]:
    """Share of the frames in which labels and the rules for particles agree.

    Parameters
    ----------
    labels
        Rows of labels.csv.
    particles
        Particles in focus: frame, kind, score, feret_max and feret_min in px.
    frames
        Ledger: frame, file, coverage.

    Returns
    -------
    By label; labels that the rules cannot tell (block and platelet, and kinds where the segmenter tells none) are left
    out, and so are all where no frame was labelled.
    """
    told = bool((particles["kind"] != "crystal").any())
    given = labels.set_index("file")
    own = {int(k): part for k, part in particles.groupby("frame")}
    none = particles.iloc[:0]
    same: dict[str, list[bool]] = {}
    for row in frames.to_dict("records"):
        part = own.get(int(row["frame"]), none)
        said = rules(
            part["kind"],
            feret_max_px=part["feret_max"],
            feret_min_px=part["feret_min"],
            score=part["score"],
            coverage=float(row["coverage"]),
            kinds_told=told,
        )
        for name, value in zip(LABELS, said, strict=True):
            label = given.at[row["file"], f"is_{name}"]
            if name not in ("block", "platelet") and math.isfinite(value) and not pd.isna(label):
                same.setdefault(name, []).append((value >= 0.5) == bool(label))
    return {name: round(float(np.mean(values)), 4) for name, values in same.items()}


def disagreements(shares: dict[str, float], *, least: float = 0.7) -> Sequence[str]:
    """Labels on which network and particles agree in less than a share of the frames."""
    return [name for name, share in shares.items() if share < least]
