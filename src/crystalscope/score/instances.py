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
        (truth,) True for regions that are neither right nor wrong (COCO's crowd: any number of predictions may
        lie in one); None: none.

    Raises
    ------
    InputError
        When the pictures differ in size, or there is not one flag for every true particle.
    """

    predicted: Instances
    truth: Instances
    # None stands for the default only in the constructor; afterwards there is an array.
    ignore: NDArray[np.bool_] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.predicted.field.shape != self.truth.field.shape:
            raise InputError(
                f"expected predictions and truth of one picture size, got {self.predicted.field.shape} and "
                f"{self.truth.field.shape}"
            )
        object.__setattr__(self, "ignore", _flags(self.ignore, len(self.truth)))


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

    Returns
    -------
    0 to 1; 0 where both masks are empty.

    Raises
    ------
    InputError
        When there is not one flag for every particle of `b`.
    """
    pa, pb = _pixels(a, visible), _pixels(b, visible)
    return _iou(a.boxes, pa, a.offsets, b.boxes, pb, b.offsets, _flags(crowd, len(b)))


def _pixels(instances: Instances, visible: bool) -> NDArray[np.uint8]:
    return instances.visible if visible and instances.visible is not None else instances.pixels


def _flags(values: NDArray[np.bool_] | None, n: int) -> NDArray[np.bool_]:
    # The kernels do not check their bounds: a flag too few would read past the end.
    flags = np.zeros(n, dtype=bool) if values is None else np.asarray(values, dtype=bool)
    if flags.shape != (n,):
        raise InputError(f"expected one flag for each of {n} true particles, got shape {flags.shape}")
    return flags


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


def areas(instances: Instances, *, visible: bool = False) -> NDArray[np.float64]:
    """(n,) px of the full masks, or of the visible ones."""
    if not len(instances):
        return np.zeros(0)
    return np.add.reduceat(_pixels(instances, visible), instances.offsets[:-1], dtype=np.float64)


def _seen(pair: Pair, visible: bool) -> Pair:
    """The pair without particles that are wholly covered: no prediction can reach them by visible masks."""
    if not visible:
        return pair
    p, t = areas(pair.predicted, visible=True) > 0, areas(pair.truth, visible=True) > 0
    if p.all() and t.all():
        return pair
    return Pair(pair.predicted.select(p), pair.truth.select(t), pair.ignore[t])


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
        """Sum of IoU / (tp + fp / 2 + fn / 2) (Kirillov et al., CVPR 2019); defined at threshold 0.5.

        Equal to the product of `segmentation_quality` and `recognition_quality`. The definition is for particles
        that do not overlap and an IoU above 0.5; overlapping ones are matched as `match` says, and an IoU of exactly
        0.5 counts.
        """
        total = self.tp + self.fp / 2 + self.fn / 2
        return self.iou / total if total else float("nan")

    @property
    def segmentation_quality(self) -> float:
        """Mean IoU of the matched pairs; NaN without any."""
        return self.iou / self.tp if self.tp else float("nan")

    @property
    def recognition_quality(self) -> float:
        """tp / (tp + fp / 2 + fn / 2): another name of `f1`."""
        return self.f1


def match(pair: Pair, *, threshold: float = 0.5, visible: bool = False) -> Matching:
    """Match one to one so that as many pairs as possible reach the threshold (and then the sum of IoU is largest).

    Optimal (Hungarian), not greedy: the order of the particles and their scores do not matter. Predictions left
    over that lie by at least `threshold` of their area in one ignored region do not count as wrong. With `visible`,
    wholly covered particles are left out on both sides.

    Parameters
    ----------
    pair
        Predictions and truth of one picture.
    threshold
        Least IoU of a match, above 0, at most 1.
    visible
        Compare visible masks instead of full ones.

    Raises
    ------
    InputError
        When the threshold is out of range.
    """
    pair = _seen(pair, visible)
    rows, columns, false, iou = matched(pair, threshold=threshold, visible=visible)
    tp = len(rows)
    return Matching(tp, len(false), int((~pair.ignore).sum()) - tp, float(iou[rows, columns].sum()))


def matched(
    pair: Pair, *, threshold: float = 0.5, visible: bool = False
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Which prediction belongs to which true particle, see `match`.

    Returns
    -------
    (k,) predictions and (k,) true particles that belong together; predictions that are wrong; (n, m) IoU of all.
    """
    from scipy.optimize import linear_sum_assignment

    if not 0 < threshold <= 1:
        raise InputError(f"expected an IoU threshold above 0 and at most 1, got {threshold}")
    real = np.flatnonzero(~pair.ignore)
    iou = mask_iou(pair.predicted, pair.truth, visible=visible, crowd=pair.ignore)
    good = np.where(iou[:, real] >= threshold, 1.0 + iou[:, real] / _MOST, 0.0)
    rows, columns = linear_sum_assignment(-good)
    hit = good[rows, columns] > 0
    free = np.ones(len(pair.predicted), dtype=bool)
    free[rows[hit]] = False
    if pair.ignore.any():
        free &= ~(iou[:, pair.ignore] >= threshold).any(axis=1)
    return rows[hit], real[columns[hit]], np.flatnonzero(free), iou


def match_above(
    pair: Pair, *, area_px: float, threshold: float = 0.5, visible: bool = False
) -> tuple[Matching, Matching]:
    """Matchings for precision and for recall of particles of at least an area.

    A particle near the limit may be predicted a little below it. The limit therefore acts on one side at a time:
    precision is that of large predictions against all of the truth, recall that of large truth against all
    predictions.

    Parameters
    ----------
    pair, threshold, visible
        See `match`.
    area_px
        Least area of the mask, px.

    Returns
    -------
    The matching whose `precision` counts, and the one whose `recall` counts; their other figures mean nothing.
    """
    found = areas(pair.predicted, visible=visible) >= area_px
    true = (areas(pair.truth, visible=visible) >= area_px) | pair.ignore
    return (
        match(Pair(pair.predicted.select(found), pair.truth, pair.ignore), threshold=threshold, visible=visible),
        match(Pair(pair.predicted, pair.truth.select(true), pair.ignore[true]), threshold=threshold, visible=visible),
    )


def pooled(matchings: Sequence[Matching]) -> Matching:
    """Counts over several pictures."""
    return Matching(
        sum(m.tp for m in matchings),
        sum(m.fp for m in matchings),
        sum(m.fn for m in matchings),
        sum(m.iou for m in matchings),
    )


def average_precision(
    pairs: Sequence[Pair], *, visible: bool = False, area_px: tuple[float, float] = (0.0, float("inf"))
) -> dict[str, float]:
    """AP50, AP75 and AP50:95 by the protocol of COCO, one class, no limit on detections per picture.

    Predictions are taken in order of score over all pictures and matched greedily to the free truth of highest IoU;
    those that match only ignored regions are left out; precision is interpolated at 101 recalls. Equal scores are
    taken in the order of the pictures, as in pycocotools, so that a segmenter with few distinct scores gets a figure
    that depends a little on that order. With `visible`, wholly covered particles are left out.

    Parameters
    ----------
    pairs
        One per picture; kinds are not told apart.
    visible
        Compare visible masks instead of full ones.
    area_px
        Smallest and largest area that counts, both included, px of the masks compared. Truth outside is ignored as
        COCO does it: a prediction that matches it is left out, and so is an unmatched prediction outside.

    Returns
    -------
    0 to 1; NaN without truth.

    Source: T.-Y. Lin et al., Microsoft COCO, ECCV 2014; pycocotools.
    """
    scores, hits, left_out = [], [], []
    total = 0
    for given in pairs:
        pair = _seen(given, visible)
        size = areas(pair.truth, visible=visible)
        ignore = pair.ignore | (size < area_px[0]) | (size > area_px[1])
        total += int((~ignore).sum())
        order = np.argsort(-pair.predicted.score, kind="mergesort")
        iou = mask_iou(pair.predicted, pair.truth, visible=visible, crowd=pair.ignore)[order]
        hit, skip = _greedy(iou, ignore, pair.ignore, THRESHOLDS)
        size = areas(pair.predicted, visible=visible)[order]
        skip |= ~hit & ((size < area_px[0]) | (size > area_px[1]))[:, None]
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
def _greedy(iou, ignore, crowd, thresholds):  # type: ignore[no-untyped-def]
    n, m = iou.shape
    hit = np.zeros((n, len(thresholds)), np.bool_)
    skip = np.zeros((n, len(thresholds)), np.bool_)
    for t in range(len(thresholds)):
        least = min(thresholds[t], 1 - 1e-10)
        taken = np.zeros(m, np.bool_)
        for i in range(n):
            at = -1
            # An ignored region is taken only where no particle that counts is left for the prediction.
            for ignored in (False, True):
                best = least
                for j in range(m):
                    if ignore[j] == ignored and (crowd[j] or not taken[j]) and iou[i, j] >= best:
                        best, at = iou[i, j], j
                if at >= 0:
                    break
            if at >= 0:
                taken[at] = True
                hit[i, t] = not ignore[at]
                skip[i, t] = ignore[at]
    return hit, skip


def _interpolated(hit: NDArray[np.bool_], skip: NDArray[np.bool_], total: int) -> float:
    kept = hit[~skip]
    tp = np.cumsum(kept)
    precision = tp / np.arange(1, len(kept) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(tp / total, _RECALLS, side="left")
    return float(np.where(at < len(kept), np.append(envelope, 0.0)[np.minimum(at, len(kept))], 0.0).mean())
