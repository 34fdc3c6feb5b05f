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

    Matrices of several pictures add up.

    Parameters
    ----------
    predicted, truth
        (rows, columns) class of each pixel, 0 to ``classes - 1``.
    classes
        Number of classes, the background included.
    ignore
        (rows, columns) True where a pixel does not count; None: all count.

    Raises
    ------
    InputError
        When the shapes differ, the pictures hold no whole numbers, or a class is out of range.
    """
    shapes = {predicted.shape, truth.shape} | (set() if ignore is None else {ignore.shape})
    if len(shapes) > 1:
        raise InputError(f"expected pictures of one shape, got {' and '.join(map(str, sorted(shapes)))}")
    if predicted.dtype.kind not in "biu" or truth.dtype.kind not in "biu":
        raise InputError(f"expected classes as whole numbers, got {predicted.dtype} and {truth.dtype}; convert them")
    use = np.ones(truth.shape, dtype=bool) if ignore is None else ~ignore
    p, t = predicted[use].astype(np.int64), truth[use].astype(np.int64)
    if p.size and (min(p.min(), t.min()) < 0 or max(p.max(), t.max()) >= classes):
        raise InputError(f"expected classes 0 to {classes - 1}, got {min(p.min(), t.min())} to {max(p.max(), t.max())}")
    return np.bincount(t * classes + p, minlength=classes * classes).reshape(classes, classes)


def semantic_scores(matrix: NDArray[np.int64]) -> dict[str, object]:
    """Pixel accuracy, IoU and F1 by class (NaN for a class that occurs in neither), mean IoU.

    Parameters
    ----------
    matrix
        (classes, classes) pixels, see `confusion`.

    Returns
    -------
    ``accuracy``, ``iou`` and ``f1`` (lists by class) and ``mean_iou`` over the classes that occur; NaN without pixels.
    """
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
