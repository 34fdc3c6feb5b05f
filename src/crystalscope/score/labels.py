"""Agreement of confidences with labels: precision, recall, F1, curves, calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crystalscope.errors import InputError

Array = NDArray[np.float64]


def label_scores(
    confidences: ArrayLike, truth: ArrayLike, *, thresholds: ArrayLike, names: Sequence[str]
) -> pd.DataFrame:
    """Precision, recall and F1 of each label, and their means.

    Parameters
    ----------
    confidences
        (n, k), 0 to 1.
    truth
        (n, k): 1, 0, or NaN where either answer is accepted or none is known; those do not count.
    thresholds
        (k,) at or above which a label is given.
    names
        (k,) of the labels.

    Returns
    -------
    Columns label, n (pictures that count), positives, precision, recall, f1; last row ``macro``, the mean over the
    labels that have a figure. A figure without pictures to define it is NaN.

    Raises
    ------
    InputError
        When the shapes differ.
    """
    given, true = _pair(confidences, truth)
    limits = np.asarray(thresholds, dtype=float)
    if given.shape[1] != len(names) or limits.shape != (len(names),):
        raise InputError(
            f"expected {len(names)} labels and thresholds, got {given.shape[1]} and {limits.size}; give one of each"
        )
    rows = []
    for k, name in enumerate(names):
        known = np.isfinite(true[:, k])
        yes, said = true[known, k] == 1, given[known, k] >= limits[k]
        hits = int((yes & said).sum())
        precision, recall = _ratio(hits, int(said.sum())), _ratio(hits, int(yes.sum()))
        f1 = _ratio(2 * hits, int(said.sum() + yes.sum()))
        rows.append(
            {"label": name, "n": int(known.sum()), "positives": int(yes.sum()), "precision": precision,
             "recall": recall, "f1": f1}
        )  # fmt: skip
    table = pd.DataFrame(rows)
    mean = {c: float(table[c].mean()) for c in ("precision", "recall", "f1")}
    last = {"label": "macro", "n": len(true), "positives": int(table["positives"].sum()), **mean}
    return pd.concat([table, pd.DataFrame([last])], ignore_index=True)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _pair(confidences: ArrayLike, truth: ArrayLike) -> tuple[Array, Array]:
    given, true = np.asarray(confidences, dtype=float), np.asarray(truth, dtype=float)
    if given.ndim != 2 or given.shape != true.shape:
        raise InputError(f"expected confidences and truth of one shape (n, k), got {given.shape} and {true.shape}")
    return given, true


def precision_recall(confidence: ArrayLike, truth: ArrayLike) -> pd.DataFrame:
    """Precision and recall of one label at every threshold.

    Parameters
    ----------
    confidence, truth
        (n,), as in `label_scores`.

    Returns
    -------
    Columns threshold (falling), precision, recall; empty where the label never occurs.
    """
    given, true = np.asarray(confidence, dtype=float), np.asarray(truth, dtype=float)
    known = np.isfinite(true)
    given, yes = given[known], true[known] == 1
    if not yes.any():
        return pd.DataFrame({"threshold": [], "precision": [], "recall": []})
    order = np.argsort(-given, kind="stable")
    given, yes = given[order], yes[order]
    # All pictures of one confidence come in together.
    ends = np.append(np.flatnonzero(np.diff(given)), given.size - 1)
    hits = np.cumsum(yes)[ends]
    return pd.DataFrame({"threshold": given[ends], "precision": hits / (ends + 1), "recall": hits / yes.sum()})


def best_threshold(confidence: ArrayLike, truth: ArrayLike, *, even: bool = False) -> float:
    """The threshold of the highest F1, in the middle between two confidences; 0.5 where the label never occurs.

    Parameters
    ----------
    confidence, truth
        (n,), as in `label_scores`.
    even
        Count pictures with and without the label as if there were as many of either: where the share of those in the
        validation says nothing of their share in an experiment.

    Notes
    -----
    F1 is smoothed over neighbouring thresholds, 0.1 wide, so that no single picture decides. Bias: F1 on the pictures
    that chose it is too high; report it on others.
    """
    curve = precision_recall(confidence, truth)
    if curve.empty:
        return 0.5
    grid = np.linspace(0.02, 0.98, 97)
    # Precision and recall of the last confidence at or above each threshold of the grid.
    place = np.searchsorted(-curve["threshold"].to_numpy(), -grid, side="right") - 1
    p, r = curve["precision"].to_numpy(), curve["recall"].to_numpy()
    if even:
        yes, known = (np.asarray(truth) == 1).sum(), np.isfinite(np.asarray(truth, dtype=float)).sum()
        if known == yes:
            return 0.5
        wrong = r * yes * (1 / np.maximum(p, 1e-12) - 1) / (known - yes)
        p = r / np.maximum(r + wrong, 1e-12)
    f1 = np.where(place >= 0, 2 * p[place] * r[place] / (p[place] + r[place] + 1e-12), 0.0)
    smooth = np.convolve(np.pad(f1, 5, mode="edge"), np.ones(11) / 11, mode="valid")
    best = np.flatnonzero(smooth >= smooth.max() - 1e-9)
    return float(np.round(grid[best[len(best) // 2]], 3))


def reliability(confidences: ArrayLike, truth: ArrayLike, *, bins: int = 10) -> pd.DataFrame:
    """How often a label is there against the confidence that says so.

    Parameters
    ----------
    confidences, truth
        (n, k), as in `label_scores`; all labels together.
    bins
        Equal classes of confidence.

    Returns
    -------
    One row per class that holds any: lower, upper, n, confidence (mean), share (of the labels that are there).
    """
    given, true = _pair(confidences, truth)
    known = np.isfinite(true)
    p, y = given[known], true[known]
    place = np.minimum((p * bins).astype(int), bins - 1)
    rows = []
    for b in range(bins):
        here = place == b
        if here.any():
            rows.append(
                {"lower": b / bins, "upper": (b + 1) / bins, "n": int(here.sum()), "confidence": float(p[here].mean()),
                 "share": float(y[here].mean())}
            )  # fmt: skip
    return pd.DataFrame(rows, columns=["lower", "upper", "n", "confidence", "share"])


def calibration_error(confidences: ArrayLike, truth: ArrayLike, *, bins: int = 10) -> float:
    """Expected calibration error: mean of |confidence - share| over the classes of `reliability`, weighted by number.

    Notes
    -----
    Guo et al., ICML 2017. Bias: positive, of the order of the scatter of a share over the pictures of a class.
    """
    table = reliability(confidences, truth, bins=bins)
    if table.empty:
        return math.nan
    apart = (table["confidence"] - table["share"]).abs()
    return float((apart * table["n"]).sum() / table["n"].sum())


def platt(logits: ArrayLike, truth: ArrayLike) -> tuple[float, float]:
    """Slope and shift by which logits become calibrated: confidence = 1 / (1 + exp(-(slope x logit + shift))).

    Parameters
    ----------
    logits, truth
        (n,), truth as in `label_scores`.

    Returns
    -------
    Slope (at least 0.05) and shift; 1 and 0 where the label is always or never there.

    Notes
    -----
    Platt (1999), with his softened targets, so that separable labels keep a finite slope; Newton's method.
    """
    z, y = np.asarray(logits, dtype=float), np.asarray(truth, dtype=float)
    known = np.isfinite(y)
    z, y = z[known], y[known]
    n1, n0 = float((y == 1).sum()), float((y == 0).sum())
    if not n1 or not n0:
        return 1.0, 0.0
    target = np.where(y == 1, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
    x = np.column_stack([z, np.ones_like(z)])
    w = np.array([1.0, 0.0])

    def loss(v: Array) -> float:
        s = x @ v
        return float((np.logaddexp(0, s) - target * s).sum() + 0.5e-3 * (v[0] - 1) ** 2)

    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -500, 500)))
        gradient = x.T @ (p - target) + np.array([1e-3 * (w[0] - 1), 0])
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag([1e-3, 1e-9])
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-4 and loss(w - size * step) > loss(w):
            size /= 2
        w = w - size * step
        if np.abs(size * step).max() < 1e-7:
            break
    return float(max(w[0], 0.05)), float(w[1])
