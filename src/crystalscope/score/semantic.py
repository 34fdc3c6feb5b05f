"""Agreement of class pictures, pixel by pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crystalscope.errors import InputError


def confusion(
    predicted: NDArray[np.integer],
    truth: NDArray[np.integer],
    *,
    classes: int,
    ignore: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Pixels by true class (row) and predicted class (column), (classes, classes).

    Raises
    ------
    InputError
        When the shapes differ or a class is out of range.
    """
    if predicted.shape != truth.shape:
        raise InputError(f"expected pictures of one shape, got {predicted.shape} and {truth.shape}")
    use = np.ones(truth.shape, dtype=bool) if ignore is None else ~ignore
    p, t = predicted[use].astype(np.int64), truth[use].astype(np.int64)
    if p.size and (min(p.min(), t.min()) < 0 or max(p.max(), t.max()) >= classes):
        raise InputError(f"expected classes 0 to {classes - 1}, got {min(p.min(), t.min())} to {max(p.max(), t.max())}")
    return np.bincount(t * classes + p, minlength=classes * classes).reshape(classes, classes)


def semantic_scores(matrix: NDArray[np.int64]) -> dict[str, object]:
    """Pixel accuracy, IoU and F1 by class (NaN for a class that occurs in neither), mean IoU."""
    hit = np.diag(matrix).astype(float)
    either = matrix.sum(axis=0) + matrix.sum(axis=1) - hit
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.where(either > 0, hit / either, np.nan)
        f1 = np.where(either > 0, 2 * hit / (either + hit), np.nan)
    return {
        "accuracy": float(hit.sum() / matrix.sum()) if matrix.sum() else float("nan"),
        "iou": iou.tolist(),
        "f1": f1.tolist(),
        "mean_iou": float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan"),
    }
