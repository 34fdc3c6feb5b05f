"""The shipped three-class network on rendered flow-cell pictures, through the whole chain."""

from __future__ import annotations

import numpy as np
import pytest

from crystalscope.config import load_config
from crystalscope.core import FieldOfView, Image
from crystalscope.datasets.rendered import class_picture
from crystalscope.io.pictures import to_grey
from crystalscope.prepare import prepare
from crystalscope.scenes import preset, scenes_of
from crystalscope.score import confusion, semantic_scores
from crystalscope.segment import make_segmenter
from crystalscope.segment.semantic import BLACK, CRYSTAL, LIGHT, classes_of
from crystalscope.testing import check_segmenter


@pytest.fixture(scope="module")
def segmenter():
    return make_segmenter(load_config(segmenter="semantic", semantic={"save_masks": True}))


def test_contract(segmenter):
    check_segmenter(segmenter)


def test_classes_of_rendered_flow_cell_pictures(segmenter):
    matrix = np.zeros((3, 3), dtype=np.int64)
    recipe = preset("flow-cell").changed(instrument={"rows": 600, "columns": 700})
    for scene in scenes_of(recipe, frames=2, seed=5, workers=1):
        grey = to_grey(np.asarray(scene.image.data), bits=8)
        image = Image(np.asarray(scene.image.data), None, source="a.png")
        found = segmenter.segment(prepare(image, grey, config=load_config().prepare))
        sharp = scene.instances.select(scene.truth["in_focus"].to_numpy(dtype=bool))
        matrix += confusion(found.classes, class_picture(sharp), classes=3)
    scores = semantic_scores(matrix)
    assert scores["accuracy"] > 0.95
    assert scores["iou"][CRYSTAL] > 0.6


def test_beyond_a_lit_disc_all_is_black():
    share = np.zeros((3, 100, 100), dtype=np.float32)
    share[CRYSTAL] = 1
    classes = classes_of(share, FieldOfView((100, 100), (50.0, 50.0, 30.0)))
    assert classes[50, 50] == CRYSTAL
    assert classes[2, 2] == BLACK
    share[LIGHT] = 2
    assert (classes_of(share, FieldOfView((100, 100))) == LIGHT).all()
