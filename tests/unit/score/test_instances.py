"""Instance scores against pycocotools, bipartite matching by SciPy and the literal definition of panoptic quality."""

from __future__ import annotations

import contextlib
import io

import cv2
import numpy as np
import pytest
from faster_coco_eval import COCO as FasterCOCO
from faster_coco_eval import COCOeval_faster
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from crystalscope.core import FieldOfView, Instances
from crystalscope.errors import InputError
from crystalscope.io.coco import encode_rle
from crystalscope.score import Pair, areas, average_precision, mask_iou, match, match_above, pooled

FIELD = FieldOfView((70, 90))
EDGES = (0.0, 150.0, 400.0)
"""Edges of the area ranges tried, px; the last is open."""


def ellipse(r):
    mask = np.zeros(FIELD.shape, np.uint8)
    centre, axes = (int(r.integers(5, 85)), int(r.integers(5, 65))), (int(r.integers(3, 18)), int(r.integers(3, 18)))
    cv2.ellipse(mask, centre, axes, float(r.uniform(0, 180)), 0, 360, 1, -1)
    return mask > 0


def scene(r, *, crowds=0.25, coarse=False, most=7):
    """Overlapping particles, found more or less; `coarse` gives many equal scores."""
    truth = [ellipse(r) for _ in range(r.integers(0, most + 1))]
    found = [np.roll(m, r.integers(-3, 4, 2), (0, 1)) for m in truth if r.random() < 0.8]
    found += [ellipse(r) for _ in range(r.integers(0, 4))]
    score = r.integers(1, 4, len(found)) / 4 if coarse else r.permutation(len(found)) / 100 + r.random() / 1000
    return Pair(
        Instances.from_masks(found, field=FIELD, score=score),
        Instances.from_masks(truth, field=FIELD),
        r.random(len(truth)) < crowds,
    )


def disjoint(r):
    """Label pictures: no particle overlaps another one of its side, so that every IoU over 0.5 is a unique match."""
    labels = np.zeros((2, *FIELD.shape), np.int64)
    for k in range(1, 9):
        mask = ellipse(r)
        labels[0][mask & (labels[0] == 0)] = k
        if r.random() < 0.8:
            mask = np.roll(mask, r.integers(-2, 3, 2), (0, 1))
            labels[1][mask & (labels[1] == 0)] = k
    return labels


def of_labels(labels):
    return Instances.from_masks([labels == k for k in np.unique(labels[labels > 0])], field=FIELD)


def as_coco(pairs):
    images, truth, found = [], [], []
    for k, p in enumerate(pairs, 1):
        images.append({"id": k, "file_name": str(k), "height": FIELD.shape[0], "width": FIELD.shape[1]})
        for i, area in enumerate(areas(p.truth)):
            entry = {"id": len(truth) + 1, "image_id": k, "category_id": 1, "area": float(area), "bbox": [0, 0, 1, 1]}
            truth.append(entry | {"segmentation": encode_rle(p.truth.mask(i)), "iscrowd": int(p.ignore[i])})
        for i, score in enumerate(p.predicted.score):
            entry = {"image_id": k, "category_id": 1, "segmentation": encode_rle(p.predicted.mask(i))}
            found.append(entry | {"score": float(score)})
    return {"images": images, "annotations": truth, "categories": [{"id": 1, "name": "crystal"}]}, found


def by_other(pairs, ranges, *, most, library):
    """AP50:95, AP50 and AP75 of each area range by another library."""
    truth, found = as_coco(pairs)
    with contextlib.redirect_stdout(io.StringIO()):
        if library == "pycocotools":
            coco_class = pytest.importorskip("pycocotools.coco").COCO
            coco = coco_class()
            coco.dataset = truth
            coco.createIndex()
            evaluation = pytest.importorskip("pycocotools.cocoeval").COCOeval(coco, coco.loadRes(found), "segm")
        else:
            coco = FasterCOCO(truth)
            evaluation = COCOeval_faster(coco, coco.loadRes(found), "segm")
        evaluation.params.areaRng = [list(r) for r in ranges]
        evaluation.params.areaRngLbl = [str(r) for r in ranges]
        evaluation.params.maxDets = [most]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"])[:, :, 0, :, 0]  # threshold, recall, area range
    precision = np.where((precision == -1).all(axis=(0, 1)), np.nan, precision)
    ap = precision.mean(axis=1)
    return [(ap[:, k].mean(), ap[0, k], ap[5, k]) for k in range(len(ranges))]


@pytest.mark.parametrize("library", ["pycocotools", "faster_coco_eval"])
@pytest.mark.parametrize(("seed", "coarse"), [(0, False), (1, False), (2, True), (3, True)])
def test_average_precision_by_area_agrees(library, seed, coarse):
    r = np.random.default_rng(seed)
    pairs = [scene(r, coarse=coarse) for _ in range(12)]
    nothing = Instances.empty(FIELD)
    pairs += [Pair(nothing, nothing), Pair(pairs[0].predicted, nothing), Pair(nothing, pairs[0].truth)]
    ranges = [(0.0, 1e9), (EDGES[0], EDGES[1]), (EDGES[1], EDGES[2]), (EDGES[2], 1e9)]
    expected = by_other(pairs, ranges, most=1000, library=library)
    for limits, other in zip(ranges, expected, strict=True):
        got = average_precision(pairs, area_px=limits)
        assert [got["AP50:95"], got["AP50"], got["AP75"]] == pytest.approx(other, abs=1e-9, nan_ok=True)
    assert average_precision(pairs) == average_precision(pairs, area_px=(0.0, 1e9))


@pytest.mark.parametrize("library", ["pycocotools", "faster_coco_eval"])
def test_limits_of_area_are_included(rng, library):
    """Limits that are the very areas of particles, found and true."""
    pairs = [scene(rng, crowds=0.1) for _ in range(12)]
    ranges = []
    for side in ("truth", "predicted"):
        sizes = np.unique(np.concatenate([areas(getattr(p, side)) for p in pairs]))
        ranges += [(float(sizes[k]), float(sizes[-k - 1])) for k in range(2, len(sizes) // 3)]
    assert len(ranges) > 10
    for limits, other in zip(ranges, by_other(pairs, ranges, most=1000, library=library), strict=True):
        got = average_precision(pairs, area_px=limits)
        assert (got["AP50:95"], got["AP50"], got["AP75"]) == pytest.approx(other, abs=1e-9)


def test_no_limit_on_detections(rng):
    """pycocotools keeps the best 100 of a picture unless told otherwise; a dense picture has more."""
    pairs = [scene(rng, most=160)]
    assert len(pairs[0].predicted) > 100
    got = average_precision(pairs)
    other = by_other(pairs, [(0.0, 1e9)], most=1000, library="faster_coco_eval")[0]
    assert (got["AP50:95"], got["AP50"], got["AP75"]) == pytest.approx(other, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.5, 0.75]))
def test_as_many_matches_as_possible(seed, threshold):
    p = scene(np.random.default_rng(seed), crowds=0)
    got = match(p, threshold=threshold)
    possible = csr_matrix(mask_iou(p.predicted, p.truth) >= threshold)
    most = int((maximum_bipartite_matching(possible, perm_type="column") >= 0).sum()) if possible.nnz else 0
    assert (got.tp, got.fp, got.fn) == (most, len(p.predicted) - most, len(p.truth) - most)


def test_maximum_matching_where_greedy_finds_one():
    """A prediction that fits both particles must not take the one that the other prediction needs."""
    strip = np.zeros((3, *FIELD.shape), bool)
    strip[0, 10, 0:12], strip[1, 10, 0:10], strip[2, 10, 4:16] = True, True, True
    found = Instances.from_masks([strip[0], strip[1]], field=FIELD)
    truth = Instances.from_masks([strip[0], strip[2]], field=FIELD)
    iou = mask_iou(found, truth)
    assert iou[0, 0] == 1
    assert iou[0, 1] == 0.5
    assert iou[1, 0] > 0.5 > iou[1, 1]
    assert match(Pair(found, truth)).tp == 2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_panoptic_quality_is_the_literal_definition(seed):
    truth, found = disjoint(np.random.default_rng(seed))
    matched_found, matched_truth, total = set(), set(), 0.0
    for t in set(np.unique(truth)) - {0}:
        for p in set(np.unique(found)) - {0}:
            iou = np.logical_and(truth == t, found == p).sum() / np.logical_or(truth == t, found == p).sum()
            if iou > 0.5:
                matched_found.add(p)
                matched_truth.add(t)
                total += iou
    tp = len(matched_truth)
    assert tp == len(matched_found)
    fp, fn = len(np.unique(found[found > 0])) - tp, len(np.unique(truth[truth > 0])) - tp
    # An IoU of exactly 0.5 counts here and does not in the definition: a threshold just above excludes it.
    got = match(Pair(of_labels(found), of_labels(truth)), threshold=0.5 + 1e-9)
    assert (got.tp, got.fp, got.fn) == (tp, fp, fn)
    assert got.panoptic_quality == pytest.approx(total / (tp + fp / 2 + fn / 2))
    if tp:
        assert got.segmentation_quality == pytest.approx(total / tp)
        assert got.panoptic_quality == pytest.approx(got.segmentation_quality * got.recognition_quality)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_order_of_particles_does_not_matter(seed):
    r = np.random.default_rng(seed)
    p = scene(r)
    a, b = r.permutation(len(p.predicted)), r.permutation(len(p.truth))
    q = Pair(p.predicted.select(a), p.truth.select(b), p.ignore[b])
    one, other = match(p), match(q)
    assert (one.tp, one.fp, one.fn) == (other.tp, other.fp, other.fn)
    assert one.iou == pytest.approx(other.iou)
    assert average_precision([p]) == pytest.approx(average_precision([q]), nan_ok=True)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_perfect_predictions_score_one(seed):
    truth = scene(np.random.default_rng(seed), crowds=0).truth
    got = match(Pair(truth, truth), threshold=1)
    assert (got.tp, got.fp, got.fn) == (len(truth), 0, 0)
    if len(truth):
        assert (got.precision, got.recall, got.f1) == (1, 1, 1)
        assert got.panoptic_quality == pytest.approx(1)


def test_pooled_counts_add(rng):
    parts = [match(scene(rng)) for _ in range(5)]
    total = pooled(parts)
    assert (total.tp, total.fp, total.fn) == tuple(sum(getattr(m, k) for m in parts) for k in ("tp", "fp", "fn"))
    nothing = pooled([])
    assert np.isnan([nothing.precision, nothing.recall, nothing.f1, nothing.segmentation_quality]).all()


def test_limit_of_area_acts_on_one_side_at_a_time():
    """Truth of 42 px found as 36 px is neither a false alarm nor missed above 40 px."""
    masks = np.zeros((3, *FIELD.shape), bool)
    masks[0, 10:16, 10:17], masks[1, 10:16, 10:16], masks[2, 40:50, 40:50] = True, True, True
    truth = Instances.from_masks([masks[0], masks[2]], field=FIELD)
    found = Instances.from_masks([masks[1], masks[2]], field=FIELD)
    np.testing.assert_array_equal(areas(truth), [42, 100])
    precision, recall = match_above(Pair(found, truth), area_px=40)
    assert (precision.tp, precision.fp, precision.precision) == (1, 0, 1)
    assert (recall.tp, recall.fn, recall.recall) == (2, 0, 1)


def test_visible_masks_leave_out_what_is_covered():
    upper, lower = np.zeros(FIELD.shape, bool), np.zeros(FIELD.shape, bool)
    upper[10:30, 10:30] = lower[15:25, 15:25] = True
    truth = Instances.from_masks([upper, lower], field=FIELD, visible=[upper, lower & ~upper])
    np.testing.assert_array_equal(areas(truth, visible=True), [400, 0])
    found = truth.select([0])
    assert match(Pair(found, truth)).fn == 1
    got = match(Pair(found, truth), visible=True)
    assert (got.tp, got.fp, got.fn) == (1, 0, 0)
    assert match(Pair(truth, found), visible=True).fp == 0
    assert average_precision([Pair(found, truth)], visible=True)["AP50"] == 1
    assert average_precision([Pair(found, truth)])["AP50"] < 1


def test_empty_pictures_and_areas():
    nothing = Instances.empty(FIELD)
    assert mask_iou(nothing, nothing).shape == (0, 0)
    assert areas(nothing).shape == (0,)
    got = match_above(Pair(nothing, nothing), area_px=40)
    assert [m.tp + m.fp + m.fn for m in got] == [0, 0]


def test_flags_must_fit(rng):
    one = Instances.from_masks([ellipse(rng)] * 3, field=FIELD)
    with pytest.raises(InputError, match="one flag for each of 3"):
        Pair(one, one, np.array([True]))
    with pytest.raises(InputError, match="one flag for each of 3"):
        mask_iou(one, one, crowd=np.array([True]))
    for bad in (0, -1, 1.01, float("nan")):
        with pytest.raises(InputError, match="above 0 and at most 1"):
            match(Pair(one, one), threshold=bad)
