"""Whether a table of experiments is enough, and whether validation runs agree with what was predicted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crystalscope.core.design import Prediction
from crystalscope.design.base import FittedTwin
from crystalscope.design.table import DoETable
from crystalscope.errors import InputError

Array = NDArray[np.float64]

LEAST_FOR_VERDICT = 12
"""Fewer values of an attribute than this tell nothing of the error of a model."""
_FACTOR = 2.0


@dataclass(frozen=True)
class AttributeVerdict:
    """Whether the model of an attribute is as good as it needs to be.

    Parameters
    ----------
    attribute
        Its column.
    runs
        In which it was measured.
    measurement_sd, error, error_lower, error_upper
        In the unit of the column: standard deviation of a measurement; root mean square error of the model against the
        truth, with a 90 % bootstrap interval over the rows; NaN where not known.
    suffices
        Whether the error is at most twice the measurement's; None where the table cannot tell.
    reason
        In a sentence.
    """

    attribute: str
    runs: int
    measurement_sd: float
    error: float
    error_lower: float
    error_upper: float
    suffices: bool | None
    reason: str


def judge(twin: FittedTwin, *, rng: np.random.Generator) -> tuple[AttributeVerdict, ...]:
    """A verdict on each attribute.

    Notes
    -----
    The error of a held-out row is that of the model and that of the measurement. The variance of the measurement is
    taken off the mean squared held-out error; what is left is the error against the truth. Models of the folds have
    seen fewer rows than the twin: the verdict errs on the side of measuring more.
    """
    return tuple(_judge(twin, j, rng) for j in range(len(twin.table.system.attributes)))


def _judge(twin: FittedTwin, index: int, rng: np.random.Generator) -> AttributeVerdict:
    a = twin.table.system.attributes[index]
    y = twin.table.values[:, index]
    runs = int(np.isfinite(y).sum())
    sds = a.sd * np.abs(y) if a.relative_sd else np.full(len(y), a.sd)
    sd = float(np.sqrt(np.nanmean(np.where(np.isfinite(y), sds, np.nan) ** 2))) if runs else math.nan
    nan = math.nan
    if a.column not in twin.attributes:
        return AttributeVerdict(
            a.column, runs, sd, nan, nan, nan, None, f"{runs} usable runs: no model was made; measure {a.column} first"
        )
    held = twin.held_out[a.column]
    rows = np.flatnonzero(np.isfinite(y) & np.isfinite(held))
    squares = (held[rows] - y[rows]) ** 2 - sds[rows] ** 2
    draws = rng.integers(len(rows), size=(2000, len(rows)))
    means = np.sort(squares[draws].mean(axis=1))
    error, low, high = (math.sqrt(max(float(v), 0.0)) for v in (squares.mean(), *np.quantile(means, [0.05, 0.95])))
    text = f"error {error:.3g} ({low:.3g} to {high:.3g}) against {sd:.3g} of a measurement"
    if runs < LEAST_FOR_VERDICT:
        text = f"{runs} runs say too little of the error: {LEAST_FOR_VERDICT} are the least; {text}"
        return AttributeVerdict(a.column, runs, sd, error, low, high, None, text)
    suffices = error <= _FACTOR * sd
    text += ": enough" if suffices else f": not enough, at most {_FACTOR:g} times are asked"
    return AttributeVerdict(a.column, runs, sd, error, low, high, suffices, text)


@dataclass(frozen=True)
class Agreement:
    """Validation runs against their prediction, all attributes together.

    Parameters
    ----------
    distance
        Mean over the runs of the squared errors over their expected variances, summed over the attributes.
    limit
        Of the joint region at `level`: below it the runs agree.
    agrees
        Whether they do.
    inside
        (n, q) whether each value lies in its own interval.
    """

    distance: float
    limit: float
    agrees: bool
    inside: NDArray[np.bool_]


def compare(table: DoETable, predictions: dict[str, Prediction]) -> Agreement:
    """Whether measured attributes of new runs lie in the joint region of their predictions.

    Each attribute being inside its own 90 % interval is not 90 % for all of them. The errors over the standard
    deviations that the intervals stand for are squared, summed and held against the chi-squared quantile of their
    number; attributes are taken as independent.

    Raises
    ------
    InputError
        Where nothing was measured.
    """
    from scipy.special import ndtri
    from scipy.stats import chi2

    total, count, level = 0.0, 0, 0.9
    inside = np.zeros((len(table), len(predictions)), dtype=bool)
    for k, (name, p) in enumerate(predictions.items()):
        j = next(i for i, a in enumerate(table.system.attributes) if a.column == name)
        level = p.level
        y = table.values[:, j]
        known = np.isfinite(y)
        inside[:, k] = known & (y >= p.lower) & (y <= p.upper)
        half = np.where(y >= p.mean, p.upper - p.mean, p.mean - p.lower)
        sd = np.maximum(half / float(ndtri(0.5 + level / 2)), 1e-12)
        total += float((((y - p.mean) / sd) ** 2)[known].sum())
        count += int(known.sum())
    if not count:
        raise InputError("expected measured attributes to compare with, got none; fill them in")
    limit = float(chi2.ppf(level, count))
    return Agreement(total, limit, total <= limit, inside)
