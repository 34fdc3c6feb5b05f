"""Fractions of an impurity frame by frame."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from crystalscope.core import Figure
from crystalscope.impurity.confusion import Confusion
from crystalscope.impurity.corrections import IMPURITY, TARGET
from crystalscope.impurity.model import ParticleModel
from crystalscope.impurity.shares import class_shares

FRACTIONS = ("number", "area", "volume")
"""By what fractions are given; the volume is ecd³ pi/6 of the outline, an estimate."""
_ALL = 1e6


def assumed_confusion(model: ParticleModel) -> Confusion | None:
    """How often a model errs: of its held-back particles, or of an anomaly detector as if it saw every impurity.

    Nothing is known of how often an impurity that nobody has seen is missed. Taken as never, fractions are lower
    bounds, with the false alarms of the normal particles taken out.

    Returns
    -------
    None where a model does not tell its classes apart.
    """
    if model.kind == "impurity":
        return model.confusion
    called = int((model.held_back >= model.threshold).sum())
    return Confusion((TARGET, IMPURITY), np.array([[len(model.held_back) - called, called], [0.0, _ALL]]))


def fractions_by_frame(
    is_impurity: ArrayLike,
    frame: ArrayLike,
    confusion: Confusion,
    *,
    area: ArrayLike,
    volume: ArrayLike,
    frames: int,
    level: float = 0.95,
) -> pd.DataFrame:
    """Fraction of the impurity by number, area and volume in every frame, the classifier's errors taken out.

    Parameters
    ----------
    is_impurity, frame, area, volume
        (n,) of the particles; frames from 0.
    confusion
        Of classes target and impurity.
    frames
        Of the run, those without particles included.
    level
        Of the intervals.

    Returns
    -------
    A row for every frame: frame, n, n_impurity (called so), and for each of `FRACTIONS` its name, NAME_lower,
    NAME_upper; NaN where there is no particle.
    """
    called, at = np.asarray(is_impurity).astype(bool), np.asarray(frame, dtype=np.int64)
    weights = {"area": np.asarray(area, dtype=float), "volume": np.asarray(volume, dtype=float)}
    rows = []
    for k in range(frames):
        here = at == k
        figures = dict.fromkeys(FRACTIONS, Figure(math.nan))
        if here.any():
            names = np.where(called[here], IMPURITY, TARGET)
            w = {name: v[here] for name, v in weights.items()}
            found = class_shares(names, at[here], confusion, weights=w, level=level)
            figures = {"number": found.shares[IMPURITY], **{m: f[IMPURITY] for m, f in found.weighted.items()}}
        row: dict[str, float] = {"frame": k, "n": int(here.sum()), "n_impurity": int(called[here].sum())}
        for name, f in figures.items():
            row |= {name: f.value, f"{name}_lower": f.lower, f"{name}_upper": f.upper}
        rows.append(row)
    return pd.DataFrame(rows)
