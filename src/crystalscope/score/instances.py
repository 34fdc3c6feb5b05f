"""Agreement of particles found with particles annotated, by mask IoU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from crystalscope.core import Instances
from crystalscope.errors import InputError

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""IoU thresholds of AP50:95."""
_RECALLS = np.linspace(0, 1, 101)
_MOST = 100_000


@dataclass(frozen=True, eq=False)
class Pair:
    """Predictions and truth of one picture.

    Parameters
    ----------
    predicted, truth
        Of one shape.
    ignore
        (truth,) True for regions that are neither right nor wrong; None: none.
    """

    predicted: Instances
    truth: Instances
    ignore: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.predicted.field.shape != self.truth.field.shape:
            raise InputError(
                f"expected predictions and truth of one picture size, got {self.predicted.field.shape} and "
                f"{self.truth.field.shape}"
            )
        if self.ignore is None:
            object.__setattr__(self, "ignore", np.zeros(len(self.truth), dtype=bool))


def mask_iou(
    a: Instances, b: Instances, *, visible: bool = False, crowd: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """IoU of every mask of `a` with every mask of `b`, (len(a), len(b)).

    Parameters
    ----------
    a, b
        Particles of one picture; they may overlap.
    visible
        Compare visible masks instead of full ones.
    crowd
        (len(b),) regions for which the share of `a` inside the region is taken instead (COCO's rule).
    """
    pa = a.visible if visible and a.visible is not None else a.pixels
    pb = b.visible if visible and b.visible is not None else b.pixels
    flags = np.zeros(len(b), dtype=bool) if crowd is None else crowd
    return _iou(a.boxes, pa, a.offsets, b.boxes, pb, b.offsets, flags)


@njit(cache=True, nogil=True)
def _iou(box_a, pix_a, off_a, box_b, pix_b, off_b, crowd):  # type: ignore[no-untyped-def]
    n, m = len(box_a), len(box_b)
    out = np.zeros((n, m))
    area_b = np.empty(m)
    for j in range(m):
        area_b[j] = pix_b[off_b[j] : off_b[j + 1]].sum()
    for i in range(n):
        area_a = float(pix_a[off_a[i] : off_a[i + 1]].sum())
        wa = box_a[i, 3] - box_a[i, 1]
        for j in range(m):
            r0, r1 = max(box_a[i, 0], box_b[j, 0]), min(box_a[i, 2], box_b[j, 2])
            c0, c1 = max(box_a[i, 1], box_b[j, 1]), min(box_a[i, 3], box_b[j, 3])
            if r0 >= r1 or c0 >= c1:
                continue
            wb = box_b[j, 3] - box_b[j, 1]
            shared = 0
            for r in range(r0, r1):
                sa = off_a[i] + (r - box_a[i, 0]) * wa - box_a[i, 1]
                sb = off_b[j] + (r - box_b[j, 0]) * wb - box_b[j, 1]
                for c in range(c0, c1):
                    shared += pix_a[sa + c] & pix_b[sb + c]
            union = area_a if crowd[j] else area_a + area_b[j] - shared
            out[i, j] = shared / union if union > 0 else 0.0
    return out


def areas(instances: Instances) -> NDArray[np.float64]:
    """(n,) px of the full masks."""
    return np.array([float(instances.crop(i).sum()) for i in range(len(instances))])


@dataclass(frozen=True)
class Matching:
    """Counts at one IoU threshold; `iou` is the sum over the matched pairs."""

    tp: int
    fp: int
    fn: int
    iou: float

    @property
    def precision(self) -> float:
        """tp / (tp + fp); NaN without predictions."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else float("nan")

    @property
    def recall(self) -> float:
        """tp / (tp + fn); NaN without truth."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else float("nan")

    @property
    def f1(self) -> float:
        """2 tp / (2 tp + fp + fn); NaN when there is neither."""
        total = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / total if total else float("nan")

    @property
    def panoptic_quality(self) -> float:
        """Sum of IoU / (tp + fp / 2 + fn / 2) (Kirillov et al., CVPR 2019); defined at threshold 0.5."""
        total = self.tp + self.fp / 2 + self.fn / 2
        return self.iou / total if total else float("nan")


def match(pair: Pair, *, threshold: float = 0.5, visible: bool = False) -> Matching:
    """Match one to one so that as many pairs as possible reach the threshold (and then the sum of IoU is largest).

    Predictions left over that lie by at least `threshold` of their area in ignored regions do not count as wrong.
    """
    from scipy.optimize import linear_sum_assignment

    assert pair.ignore is not None
    real = ~pair.ignore
    iou = mask_iou(pair.predicted, pair.truth, visible=visible, crowd=pair.ignore)
    good = np.where(iou[:, real] >= threshold, 1.0 + iou[:, real] / _MOST, 0.0)
    rows, columns = linear_sum_assignment(-good)
    hit = good[rows, columns] > 0
    free = np.ones(len(pair.predicted), dtype=bool)
    free[rows[hit]] = False
    if pair.ignore.any():
        free &= ~(iou[:, pair.ignore] >= threshold).any(axis=1)
    tp = int(hit.sum())
    return Matching(tp, int(free.sum()), int(real.sum()) - tp, float(iou[:, real][rows[hit], columns[hit]].sum()))


def pooled(matchings: Sequence[Matching]) -> Matching:
    """Counts over several pictures."""
    return Matching(
        sum(m.tp for m in matchings),
        sum(m.fp for m in matchings),
        sum(m.fn for m in matchings),
        sum(m.iou for m in matchings),
    )


def average_precision(pairs: Sequence[Pair], *, visible: bool = False) -> dict[str, float]:
    """AP50, AP75 and AP50:95 by the protocol of COCO, one class, no limit on detections per picture.

    Predictions are taken in order of score over all pictures and matched greedily to the free truth of highest IoU;
    those that match only ignored regions are left out; precision is interpolated at 101 recalls. NaN without truth.
    """
    scores, hits, left_out = [], [], []
    total = 0
    for pair in pairs:
        assert pair.ignore is not None
        total += int((~pair.ignore).sum())
        order = np.argsort(-pair.predicted.score, kind="mergesort")
        iou = mask_iou(pair.predicted, pair.truth, visible=visible, crowd=pair.ignore)[order]
        hit, skip = _greedy(iou, pair.ignore, THRESHOLDS)
        scores.append(pair.predicted.score[order])
        hits.append(hit)
        left_out.append(skip)
    if total == 0:
        return dict.fromkeys(("AP50", "AP75", "AP50:95"), float("nan"))
    order = np.argsort(-np.concatenate(scores), kind="mergesort")
    hit, skip = np.concatenate(hits, axis=0)[order], np.concatenate(left_out, axis=0)[order]
    ap = np.array([_interpolated(hit[:, t], skip[:, t], total) for t in range(len(THRESHOLDS))])
    return {"AP50": float(ap[0]), "AP75": float(ap[5]), "AP50:95": float(ap.mean())}


@njit(cache=True, nogil=True)
def _greedy(iou, ignore, thresholds):  # type: ignore[no-untyped-def]
    n, m = iou.shape
    hit = np.zeros((n, len(thresholds)), np.bool_)
    skip = np.zeros((n, len(thresholds)), np.bool_)
    for t in range(len(thresholds)):
        taken = np.zeros(m, np.bool_)
        for i in range(n):
            best, at = min(thresholds[t], 1 - 1e-10), -1
            for j in range(m):
                if not ignore[j] and not taken[j] and iou[i, j] >= best:
                    best, at = iou[i, j], j
            if at >= 0:
                hit[i, t] = True
                taken[at] = True
                continue
            for j in range(m):
                if ignore[j] and iou[i, j] >= min(thresholds[t], 1 - 1e-10):
                    skip[i, t] = True
    return hit, skip


def _interpolated(hit: NDArray[np.bool_], skip: NDArray[np.bool_], total: int) -> float:
    kept = hit[~skip]
    tp = np.cumsum(kept)
    precision = tp / np.arange(1, len(kept) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(tp / total, _RECALLS, side="left")
    return float(np.where(at < len(kept), np.append(envelope, 0.0)[np.minimum(at, len(kept))], 0.0).mean())
