"""Learning from corrections: particles marked right or wrong move the threshold of the scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crystalscope.errors import InputError
from crystalscope.impurity.confusion import Confusion

SCORE_COLUMNS = ("file", "particle", "score", "threshold", "is_impurity")
"""Columns of scores.csv."""

TARGET, IMPURITY = "target", "impurity"


@dataclass(frozen=True, eq=False)
class Corrected:
    """Scores after corrections.

    Parameters
    ----------
    scores
        As `SCORE_COLUMNS`, under the new threshold.
    threshold
        New; particles that score at least this are called impurity.
    before
        The old one.
    confusion
        Of the corrected particles under the new threshold; None where only one class was corrected.
    wrong_before, wrong_after
        Corrected particles that are called wrongly.
    n
        Corrected particles.
    """

    scores: pd.DataFrame
    threshold: float
    before: float
    confusion: Confusion | None
    wrong_before: int
    wrong_after: int
    n: int


def check_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores with typed columns.

    Raises
    ------
    InputError
        When a column is missing, a score is not finite, or a particle stands twice.
    """
    missing = [c for c in SCORE_COLUMNS if c not in scores]
    if missing:
        raise InputError(f"expected a column {missing[0]} of scores, got {', '.join(map(str, scores.columns))}")
    out = scores.copy()
    for c in ("score", "threshold"):
        out[c] = pd.to_numeric(out[c], errors="coerce")
    if out.empty or not np.isfinite(out[["score", "threshold"]].to_numpy()).all():
        raise InputError("expected a finite score and threshold of every particle, got others or no particle")
    if out.duplicated(["file", "particle"]).any():
        raise InputError("expected every particle once in the scores, got one twice; join the tables first")
    return out


def correct_threshold(scores: pd.DataFrame, corrections: pd.DataFrame) -> Corrected:
    """Move the threshold so that the corrected particles are called rightly, and no further.

    Parameters
    ----------
    scores
        As `SCORE_COLUMNS`, with one threshold throughout.
    corrections
        Columns file, particle, is_impurity (0 or 1, what it is in truth). Particles that were marked right count as
        well as those marked wrong.

    Raises
    ------
    InputError
        When a column is missing, a particle is not among the scores, or nothing is corrected.

    Notes
    -----
    Of all thresholds the one with the smallest sum of both classes' shares of errors is taken, of several alike the
    nearest to the old one: a class of which more particles were marked weighs no more than the other. Where only one
    class was corrected, its errors alone count. Users mark errors rather than particles drawn at random, so that the
    confusion is that of hard cases: it makes the classifier look worse than it is.
    """
    table = check_scores(scores)
    needed = ("file", "particle", "is_impurity")
    missing = [c for c in needed if c not in corrections]
    if missing:
        raise InputError(
            f"expected a column {missing[0]} of corrections, got {', '.join(map(str, corrections.columns))}"
        )
    truth = pd.to_numeric(corrections["is_impurity"], errors="coerce")
    if corrections.empty or not truth.isin([0, 1]).all():
        raise InputError("expected corrections with is_impurity 0 or 1, got none or other values; 1 is an impurity")
    before = float(table["threshold"].iloc[0])
    if table["threshold"].nunique() > 1:
        raise InputError("expected one threshold of all scores, got several; correct every run by itself")
    marked = corrections.assign(is_impurity=truth.astype(int)).drop_duplicates(["file", "particle"], keep="last")
    known = marked[list(needed)].merge(table[["file", "particle", "score"]], on=["file", "particle"], how="left")
    if known["score"].isna().any():
        row = known[known["score"].isna()].iloc[0]
        raise InputError(
            f"expected corrected particles among the scores, got {row['file']}, particle {row['particle']}; is it the "
            "table of another run?"
        )
    score, is_impurity = known["score"].to_numpy(dtype=float), known["is_impurity"].to_numpy() == 1
    threshold = _threshold(score, is_impurity, before)
    confusion = None
    if is_impurity.any() and not is_impurity.all():
        called = score >= threshold
        counts = [[int((~is_impurity & (called == c)).sum()) for c in (False, True)]]
        counts += [[int((is_impurity & (called == c)).sum()) for c in (False, True)]]
        rates = np.array(counts, dtype=float)
        if abs(np.linalg.det(rates / rates.sum(axis=1, keepdims=True))) >= 1e-3:
            confusion = Confusion((TARGET, IMPURITY), rates)
    out = table.assign(threshold=threshold, is_impurity=(table["score"] >= threshold).astype(int))
    wrong = [int(((score >= t) != is_impurity).sum()) for t in (before, threshold)]
    return Corrected(out, threshold, before, confusion, wrong[0], wrong[1], len(known))


def _threshold(score: np.ndarray, is_impurity: np.ndarray, before: float) -> float:
    values = np.unique(score)
    between = 0.5 * (values[1:] + values[:-1])
    margin = 0.01 * max(float(np.ptp(values)), 1e-6)
    tried = np.concatenate([[before, values[0] - margin, values[-1] + margin], between])
    # The nearest edge of the gap that is free of scores, rather than its middle, moves no further than asked.
    tried = np.concatenate([tried, values, np.nextafter(values, np.inf)])
    errors = np.zeros(len(tried))
    for known in (True, False):
        chosen = score[is_impurity == known]
        if len(chosen):
            called = chosen[None, :] >= tried[:, None]
            errors += (called != known).mean(axis=1)
    best = errors <= errors.min() + 1e-12
    return float(tried[best][int(np.argmin(np.abs(tried[best] - before)))])
