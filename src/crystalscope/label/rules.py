"""Labels by rule from the particles that a segmenter found: a check beside the network."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from crystalscope.config import LabelConfig
from crystalscope.core import KINDS, LABELS, Instances
from crystalscope.label.network import in_force
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
    their score each, so that neither label is given for one alone. From 2 to 5.5 they are elongated, from 5.5 needles;
    a foreshortened needle counts as elongated. Kinds (bubble, droplet, agglomerate, other) are those of the segmenter:
    `threshold` tells none, and then bubble, droplets, agglomerated and ufo are NaN.
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

    Returns
    -------
    1 - product of (1 - score) over the particles that speak for a label.
    """
    misses = dict.fromkeys(LABELS, 1.0)
    measured = measure_columns(instances, grey)
    feret_max, feret_min = (np.asarray(measured[n], dtype=float) for n in ("feret_max", "feret_min"))
    told = bool((instances.kind != 0).any())
    for k in np.flatnonzero(instances.in_focus & (feret_min >= _LEAST_PX)):
        score = float(np.clip(instances.score[k], 0, 1))
        kind = KINDS[int(instances.kind[k])]
        names = {"object_present": score}
        if kind != "crystal":
            names[_BY_KIND[kind]] = score
        else:
            seen = feret_max[k] / feret_min[k]
            if seen <= 2:
                names |= {"block": score / 2, "platelet": score / 2}
            else:
                names["needle" if seen >= 5.5 else "elongated"] = score
        for name, value in names.items():
            # Half a vote for each of two labels stays half a vote, however many cast it.
            misses[name] = min(misses[name], 1 - value) if name in ("block", "platelet") else misses[name] * (1 - value)
    out = np.array([1 - misses[n] for n in LABELS])
    if not told:
        for name in _BY_KIND.values():
            out[LABELS.index(name)] = math.nan
    covered = float((instances.labels() > 0).sum() / instances.field.area_px)
    out[LABELS.index("too_concentrated")] = 1 / (1 + math.exp(-_STEEP * (covered - _CROWDED)))
    return out
