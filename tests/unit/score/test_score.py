"""Every measure of agreement against another implementation."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tests.conftest import save

from crystalscope.core import FieldOfView, Instances
from crystalscope.errors import InputError, ReadError
from crystalscope.io.coco import encode_rle
from crystalscope.score import (
    Pair,
    average_precision,
    confusion,
    mask_iou,
    match,
    pooled,
    semantic_scores,
    weighted_ks,
    weighted_quantile,
    weighted_wasserstein,
)
from crystalscope.scoring import score_paths

FIELD = FieldOfView((90, 110))


def blob(r):
    m = np.zeros(FIELD.shape, np.uint8)
    axes = (int(r.integers(4, 18)), int(r.integers(4, 18)))
    cv2.ellipse(m, (int(r.integers(5, 105)), int(r.integers(5, 85))), axes, float(r.uniform(0, 180)), 0, 360, 1, -1)
    return m > 0


def scene(r):
    truth = [blob(r) for _ in range(r.integers(0, 8))]
    near = [np.roll(m, (int(r.integers(-3, 4)), int(r.integers(-3, 4))), (0, 1)) for m in truth if r.random() < 0.8]
    found = near + [blob(r) for _ in range(r.integers(0, 4))]
    score = r.random(len(found)).astype(np.float32)
    return Pair(
        Instances.from_masks(found, field=FIELD, score=score),
        Instances.from_masks(truth, field=FIELD),
        r.random(len(truth)) < 0.2,
    )


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_agrees_with_coco(seed):
    r = np.random.default_rng(seed)
    pairs = [scene(r) for _ in range(8)]
    images, truth, found = [], [], []
    for k, p in enumerate(pairs, 1):
        images.append({"id": k, "file_name": str(k), "height": 90, "width": 110})
        for i in range(len(p.truth)):
            m = p.truth.mask(i)
            entry = {"id": len(truth) + 1, "image_id": k, "category_id": 1, "segmentation": encode_rle(m)}
            truth.append(entry | {"area": float(m.sum()), "bbox": [0, 0, 1, 1], "iscrowd": int(p.ignore[i])})
        for i in range(len(p.predicted)):
            entry = {"image_id": k, "category_id": 1, "segmentation": encode_rle(p.predicted.mask(i))}
            found.append(entry | {"score": float(p.predicted.score[i])})
    coco = COCO({"images": images, "annotations": truth, "categories": [{"id": 1, "name": "crystal"}]})
    other = COCOeval_faster(coco, coco.loadRes(found), "segm")
    other.evaluate()
    other.accumulate()
    other.summarize()
    got = average_precision(pairs)
    assert [got["AP50:95"], got["AP50"], got["AP75"]] == pytest.approx(list(other.stats[:3]), abs=1e-9)


def test_panoptic_quality_against_its_definition(rng):
    pairs = [scene(rng) for _ in range(10)]
    pairs = [Pair(p.predicted, p.truth) for p in pairs]
    got = pooled([match(p, threshold=0.5) for p in pairs])
    total = tp = fp = fn = 0.0
    for p in pairs:
        iou = mask_iou(p.predicted, p.truth)
        good = [(i, j) for i, j in zip(*np.nonzero(iou > 0.5), strict=True)]
        # Overlapping predictions may share a truth; greedy by IoU is the literal reading there.
        good.sort(key=lambda ij: -iou[ij])
        a, b = set(), set()
        for i, j in good:
            if i not in a and j not in b:
                a.add(i)
                b.add(j)
                total += iou[i, j]
        tp, fp, fn = tp + len(a), fp + len(p.predicted) - len(a), fn + len(p.truth) - len(b)
    assert got.tp >= tp
    assert got.panoptic_quality == pytest.approx(total / (tp + fp / 2 + fn / 2), rel=0.03)
    assert got.f1 == pytest.approx(2 * got.tp / (2 * got.tp + got.fp + got.fn))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_iou_is_that_of_whole_masks_and_symmetric(seed):
    p = scene(np.random.default_rng(seed))
    iou = mask_iou(p.predicted, p.truth)
    np.testing.assert_allclose(iou, mask_iou(p.truth, p.predicted).T)
    for i in range(len(p.predicted)):
        for j in range(len(p.truth)):
            a, b = p.predicted.mask(i), p.truth.mask(j)
            assert iou[i, j] == pytest.approx((a & b).sum() / (a | b).sum())


def test_perfect_predictions_and_ignored_regions(rng):
    masks = [blob(rng) for _ in range(4)]
    i = Instances.from_masks(masks, field=FIELD)
    assert match(Pair(i, i)).f1 == 1
    assert set(average_precision([Pair(i, i)]).values()) == {1.0}
    ignored = match(Pair(i, i, np.array([True, False, False, False])))
    assert (ignored.tp, ignored.fp, ignored.fn) == (3, 0, 0)
    nothing = match(Pair(Instances.empty(FIELD), Instances.empty(FIELD)))
    assert np.isnan(nothing.f1)
    assert np.isnan(average_precision([])["AP50"])
    with pytest.raises(InputError, match="one picture size"):
        Pair(i, Instances.empty(FieldOfView((3, 3))))


def test_pixels(rng):
    t, p = rng.integers(0, 3, (40, 50)), rng.integers(0, 3, (40, 50))
    got = semantic_scores(confusion(p, t, classes=3))
    assert got["accuracy"] == pytest.approx((t == p).mean())
    for k in range(3):
        assert got["iou"][k] == pytest.approx(((t == k) & (p == k)).sum() / ((t == k) | (p == k)).sum())
    with pytest.raises(InputError, match="classes 0 to 1"):
        confusion(p, t, classes=2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=30), st.lists(st.floats(0.1, 100), min_size=1, max_size=30))
def test_distances_against_scipy(x, y):
    one, two = np.ones(len(x)), np.ones(len(y))
    at = np.union1d(x, y)
    difference = stats.ecdf(x).cdf.evaluate(at) - stats.ecdf(y).cdf.evaluate(at)
    assert weighted_ks(x, one, y, two) == pytest.approx(np.abs(difference).max(), abs=1e-12)
    weights = np.arange(1, len(x) + 1.0)
    got = weighted_wasserstein(x, weights, y, two)
    assert got == pytest.approx(stats.wasserstein_distance(x, y, weights, two), rel=1e-9, abs=1e-9)
    assert weighted_quantile(x, one, 1.0) == max(x)


def test_scoring_of_folders_and_tables(tmp_path):
    for n in ("a", "b"):
        mask = np.zeros((60, 80), np.uint8)
        mask[10:30, 10:30] = 38
        mask[40:50, 40:70] = 75
        save(tmp_path / "truth" / f"{n}_mask.png", mask)
        save(tmp_path / "truth" / f"{n}.jpg", mask)
        save(tmp_path / "found" / f"{n}.png", (mask == 38).astype(np.uint8))
    got = score_paths(tmp_path / "found", tmp_path / "truth")
    assert (got["instances"]["tp"], got["instances"]["fn"], got["instances"]["fp"]) == (2, 2, 0)
    assert got["pixels"]["iou"][1] == pytest.approx(400 / 700)
    assert score_paths(tmp_path / "found", tmp_path / "truth", pictures="a")["pictures"] == 1
    (tmp_path / "x.csv").write_text("ecd_um\n10\n20\n30\n")
    (tmp_path / "y.csv").write_text("diameter\n10\n20\n40\n")
    sizes = score_paths(tmp_path / "x.csv", tmp_path / "y.csv")["distribution"]
    assert sizes["number"]["ks"] == pytest.approx(1 / 3)
    assert sizes["number"]["D50"]["relative_error"] == 0
    json.dumps(got)
    save(tmp_path / "other" / "z.png", mask)
    with pytest.raises(ReadError, match="same names"):
        score_paths(tmp_path / "other", tmp_path / "truth")
    (tmp_path / "z.csv").write_text("a\n1\n")
    with pytest.raises(ReadError, match="expected a column"):
        score_paths(tmp_path / "z.csv", tmp_path / "y.csv")
    with pytest.raises(ReadError, match="check the path"):
        score_paths(tmp_path / "none.json", tmp_path / "truth")
