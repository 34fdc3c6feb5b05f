"""Particles that another program found."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from tests.conftest import picture

from crystalscope.config import load_config
from crystalscope.core import FieldOfView, Image
from crystalscope.errors import ConfigError, InputError, ReadError
from crystalscope.io.masks import labelled
from crystalscope.io.pictures import to_grey
from crystalscope.prepare import prepare
from crystalscope.segment import make_segmenter

DISCS = [(40.0, 40.0, 15.0), (70.0, 110.0, 20.0)]


@pytest.fixture
def prepared(config):
    grey = picture(DISCS)
    image = Image(grey, None, source="a.png")
    return prepare(image, to_grey(grey, bits=8), config=config.prepare)


def labels():
    out = np.zeros((120, 160), np.uint16)
    for k, (r, c, radius) in enumerate(DISCS, start=1):
        cv2.circle(out, (int(c), int(r)), int(radius), k * 300, -1)
    return out


def segmenter(path):
    return make_segmenter(load_config(segmenter="given", given={"path": str(path)}))


@pytest.mark.parametrize("name", ["a.tif", "a_cp_masks.tif", "a_mask.png"])
def test_label_pictures_of_the_usual_names(prepared, tmp_path, name):
    cv2.imwrite(str(tmp_path / name), labels())
    found = segmenter(tmp_path).segment(prepared).instances
    assert len(found) == 2
    np.testing.assert_array_equal(found.labels() > 0, labels() > 0)
    assert np.isfinite(found.focus).all()


def test_a_label_cut_in_two_is_one_particle():
    mask = labels().astype(np.int64)
    mask[:, 38:42] = 900
    found = labelled(mask)
    assert len(found) == 3
    # A mask of one value is something else: its regions are the particles.
    assert len(labelled((labels() > 0).astype(np.int64))) == 2


def test_coco_with_overlapping_outlines(prepared, tmp_path):
    boxes = [[20, 20, 100, 20, 100, 40, 20, 40], [50, 5, 70, 5, 70, 90, 50, 90]]
    coco = {
        "images": [{"id": 1, "file_name": "images/a.png", "width": 160, "height": 120}],
        "categories": [{"id": 1, "name": "crystal"}],
        "annotations": [
            {"id": k + 1, "image_id": 1, "category_id": 1, "segmentation": [b], "iscrowd": 0}
            for k, b in enumerate(boxes)
        ],
    }
    file = tmp_path / "found.json"
    file.write_text(json.dumps(coco))
    result = segmenter(file).segment(prepared)
    areas = [int(result.instances.crop(k).sum()) for k in range(2)]
    assert sorted(areas) == [1600, 1700]
    assert result.method.startswith("given ")


def test_what_does_not_fit_says_so(prepared, tmp_path):
    with pytest.raises(ConfigError, match="--instances"):
        segmenter("")
    with pytest.raises(ReadError, match="does not exist"):
        segmenter(tmp_path / "none.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="label pictures"):
        segmenter(tmp_path / "empty")
    cv2.imwrite(str(tmp_path / "b.png"), labels())
    with pytest.raises(InputError, match=r"expected particles of a\.png"):
        segmenter(tmp_path).segment(prepared)
    cv2.imwrite(str(tmp_path / "a.png"), labels()[:60])
    with pytest.raises(InputError, match=r"160 x 120 px .*160 x 60 px"):
        segmenter(tmp_path).segment(prepared)


def test_field_is_that_of_the_picture(prepared, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), labels())
    assert segmenter(tmp_path).segment(prepared).instances.field == FieldOfView((120, 160))
