"""Conformal intervals by cross-validation, and how far conditions are from what was tried."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.design.conditions import Conditions
from crystalscope.design.regress import Scaler
from crystalscope.design.system import System
from crystalscope.design.table import DoETable
from crystalscope.errors import InputError

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

_DOMAIN = (
    "cycles", "log time", "heating time, h", "start, deg C", "end, deg C", "heated by, deg C", "mean cooling rate",
)  # fmt: skip


def make_folds(table: DoETable, count: int, *, rng: np.random.Generator) -> Ints:
    """(n,) number of the fold of every row.

    Repeats of the same conditions share a fold; rows with the same attributes measured are spread evenly, so that every
    fold has some of an attribute that was measured rarely.

    Raises
    ------
    InputError
        With fewer different conditions than folds.
    """
    _, group = np.unique(table.conditions.raw(table.system), axis=0, return_inverse=True)
    group = group.ravel()
    groups = int(group.max()) + 1
    if groups < count:
        raise InputError(
            f"expected at least {count} different experiments for {count} folds, got {groups}; measure more, or ask "
            "for fewer folds"
        )
    measured = np.zeros(groups)
    np.maximum.at(measured, group, np.isfinite(table.values) @ (2.0 ** np.arange(table.values.shape[1])))
    order = rng.permutation(groups)
    order = order[np.argsort(measured[order], kind="stable")]
    fold = np.empty(groups, dtype=np.int64)
    fold[order] = np.arange(groups) % count
    return np.asarray(fold[group])


def conformal_interval(centres: Array, scales: Array, scores: Array, level: float) -> tuple[Array, Array]:
    """CV+ (Barber, Candes, Ramdas, Tibshirani, Ann. Statist. 49 (2021) 486) with scaled residuals.

    Parameters
    ----------
    centres, scales
        (r, n) for each of r held-out residuals the prediction and the scale at the n new points by the model that had
        not seen its row.
    scores
        (r,) absolute residuals over the scale at their own row.
    level
        Coverage.

    Returns
    -------
    lower, upper
        (n,).

    Notes
    -----
    The order statistics of the method are interpolated: with 15 residuals the next whole one would be the largest, and
    the coverage 94 % where 90 % was asked. The guarantee of the method, at least 2 level - 1 for exchangeable rows,
    then holds up to 1/r; coverage near `level` is what is measured. Where residuals are too few for the level the
    largest is taken.
    """
    share = _share(len(scores), level)
    reach = scores[:, None] * scales
    upper = np.quantile(centres + reach, share, axis=0)
    lower = -np.quantile(-(centres - reach), share, axis=0)
    return np.minimum(lower, upper), np.maximum(lower, upper)


def held_out_reach(scores: Array, folds: Ints, level: float) -> Array:
    """(r,) scaled half width at each held-out row by the residuals of the rows of the other folds.

    Parameters
    ----------
    scores
        (r,) absolute residuals over the scale at their own row.
    folds
        (r,) number of the fold of each.
    level
        Coverage.
    """
    out = np.empty(len(scores))
    for k in np.unique(folds):
        others = scores[folds != k]
        out[folds == k] = np.quantile(others, _share(len(others), level))
    return out


def _share(r: int, level: float) -> float:
    """Place of the order statistic of r residuals, 0 to 1."""
    position = min(level * (r + 1), r) - 1
    return max(position, 0.0) / max(r - 1, 1)


@dataclass(frozen=True, eq=False)
class Domain:
    """What was tried.

    Parameters
    ----------
    system
        Of the table.
    scaler, points
        (n, p) standardised factors and figures of the profile of the rows.
    limit
        Distance above which conditions are outside.
    most_segments
        Of the rows.
    """

    system: System
    scaler: Scaler
    points: Array
    limit: float
    most_segments: int

    @classmethod
    def of(cls, conditions: Conditions, features: pd.DataFrame, system: System) -> Domain:
        """Domain of the rows of a table.

        The distance is the mean of those to the two nearest rows; the limit 1.25 times the one that 95 % of the rows
        have to the others.
        """
        x = _coordinates(features, system)
        scaler = Scaler.of(x)
        z = scaler(x)
        d = np.sqrt(((z[:, None] - z[None]) ** 2).sum(axis=2))
        np.fill_diagonal(d, np.inf)
        two = np.sort(d, axis=1)[:, : min(2, max(len(z) - 1, 1))].mean(axis=1)
        return cls(system, scaler, z, 1.25 * float(np.quantile(two, 0.95)), int(conditions.segments.max()))

    def distance(self, conditions: Conditions, features: pd.DataFrame) -> Array:
        """(n,) distance over its limit; above 1 is outside, and so are more cycles than were ever tried."""
        z = self.scaler(_coordinates(features, self.system))
        d = np.sqrt(((z[:, None] - self.points[None]) ** 2).sum(axis=2))
        two = np.sort(d, axis=1)[:, :2].mean(axis=1) / max(self.limit, 1e-9)
        return np.where(conditions.segments > self.most_segments, np.maximum(two, 1.01), two)


def _coordinates(features: pd.DataFrame, system: System) -> Array:
    names = [f.column for f in system.factors] + [n for n in _DOMAIN if n in features.columns]
    return features[names].to_numpy(dtype=float)
