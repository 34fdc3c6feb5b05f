"""The shipped network through the whole chain, and what must hold whatever it has learnt."""

from __future__ import annotations

import json
import tomllib

import cv2
import numpy as np
import pytest
from tests.conftest import picture, save
from typer.testing import CliRunner

from crystalscope.cli import app
from crystalscope.config import load_config
from crystalscope.core import Image
from crystalscope.errors import CrystalscopeError
from crystalscope.io.pictures import to_grey
from crystalscope.io.tables import read_table
from crystalscope.prepare import prepare
from crystalscope.scenes import preset, scenes_of
from crystalscope.score import Pair, match, pooled
from crystalscope.segment import crystals as module
from crystalscope.segment import make_segmenter
from crystalscope.testing import check_segmenter

runner = CliRunner()


@pytest.fixture(scope="module")
def scenes():
    recipe = preset("backlit-crystals").changed(instrument={"rows": 700, "columns": 900})
    return list(scenes_of(recipe, frames=3, seed=77, workers=1))


@pytest.fixture(scope="module")
def segmenter():
    return make_segmenter(load_config())


def prepared(data):
    image = Image(data, None, source="a.png")
    return prepare(image, to_grey(data, bits=8), config=load_config().prepare)


def in_focus(segmenter, data):
    found = segmenter.segment(prepared(data)).instances
    return found.select(found.in_focus)


def test_contract(segmenter):
    check_segmenter(segmenter)


def test_rendered_crystals_are_found(segmenter, scenes):
    counts = []
    for scene in scenes:
        found = in_focus(segmenter, np.asarray(scene.image.data))
        ghosts = ~scene.truth["in_focus"].to_numpy(dtype=bool)
        counts.append(match(Pair(found, scene.instances, ghosts)))
    assert pooled(counts).f1 > 0.6


def test_the_same_crystals_light_on_dark_and_in_16_bit(segmenter, scenes):
    data = np.asarray(scenes[0].image.data)
    data = data if data.ndim == 2 else data[..., 0]
    plain, wide = in_focus(segmenter, data), in_focus(segmenter, data.astype(np.uint16) * 257)
    assert len(plain) > 3
    assert abs(len(wide) - len(plain)) <= 1
    inverted = in_focus(segmenter, 255 - data)
    assert 0.6 * len(plain) <= len(inverted) <= 1.6 * len(plain)


def test_tiles_and_whole_picture_agree(segmenter, scenes, monkeypatch):
    data = np.asarray(scenes[0].image.data)
    whole = in_focus(segmenter, data)
    monkeypatch.setattr(module, "_TILE", 512)
    monkeypatch.setattr(module, "_OVERLAP", 256)
    assert len(module.tiles(*data.shape[:2])) > 1
    tiled = in_focus(segmenter, data)
    agreed = match(Pair(tiled, whole, np.zeros(len(whole), bool)))
    assert agreed.f1 > 0.85


@pytest.mark.parametrize("data", [np.full((90, 120), 128, np.uint8), np.zeros((70, 64), np.uint8)])
def test_a_picture_of_one_value_holds_nothing(segmenter, data):
    assert len(segmenter.segment(prepared(data)).instances) == 0


def test_noise_alone_holds_next_to_nothing(segmenter, rng):
    data = (150 + 4 * rng.standard_normal((400, 500))).clip(0, 255).astype(np.uint8)
    assert len(in_focus(segmenter, data)) <= 1


def test_analyze_takes_the_network_and_says_so(scenes, tmp_path):
    for k, scene in enumerate(scenes):
        save(tmp_path / "p" / f"f{k}.png", np.asarray(scene.image.data))
    save(tmp_path / "p" / "g.png", np.full((200, 200), 90, np.uint8))
    results = []
    for name in ("a", "b"):
        got = runner.invoke(app, ["analyze", str(tmp_path / "p"), "--out", str(tmp_path / name), "--workers", "2"])
        assert got.exit_code == 0, got.output
        results.append((tmp_path / name / "particles.parquet").read_bytes())
    assert results[0] == results[1]
    run = tomllib.loads((tmp_path / "a" / "run.toml").read_text())
    assert run["config"]["segmenter"] == "crystals"
    assert run["config"]["crystals"]["precision"] == "fp32"
    assert set(run["weights"]) == {"crystals-kinds.onnx", "crystals-second.onnx", "crystals.onnx", "label.onnx"}
    frames = read_table(tmp_path / "a" / "frames.parquet").set_index("file")
    assert "crystals" in frames.loc["f0.png", "method"]
    assert frames.loc["g.png", "status"] == "rejected"


def test_a_diameter_settles_the_scale():
    assert make_segmenter(load_config(crystals={"diameter_px": 2000})).scale == 0.25
    assert make_segmenter(load_config(crystals={"diameter_px": 50})).scale == 1.0


def test_given_particles_are_sized_as_they_are(tmp_path):
    save(tmp_path / "p" / "a.png", picture([(40, 40, 15)]))
    save(tmp_path / "p" / "b.png", picture([(60, 70, 12)]))
    square = [30, 30, 50, 30, 50, 50, 30, 50]
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": 160, "height": 120}],
        "categories": [{"id": 1, "name": "crystal"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [square], "iscrowd": 0}],
    }
    (tmp_path / "found.json").write_text(json.dumps(coco))
    command = ["analyze", str(tmp_path / "p"), "--out", str(tmp_path / "run"), "--instances"]
    got = runner.invoke(app, [*command, str(tmp_path / "found.json")])
    assert got.exit_code == 0, got.output
    particles = read_table(tmp_path / "run" / "particles.parquet")
    assert particles["area_px2"].tolist() == [400.0]
    frames = read_table(tmp_path / "run" / "frames.parquet").set_index("file")
    assert frames.loc["b.png", "status"] == "failed"
    assert "expected particles of b.png" in frames.loc["b.png", "reason"]


def test_other_kinds_stand_beside_the_sizes(tmp_path):
    save(tmp_path / "p" / "a.png", picture([(40, 40, 15), (80, 110, 20)]))
    boxes = {"crystal": [30, 30, 50, 30, 50, 50, 30, 50], "bubble": [90, 60, 130, 60, 130, 100, 90, 100]}
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": 160, "height": 120}],
        "categories": [{"id": k + 1, "name": n} for k, n in enumerate(boxes)],
        "annotations": [
            {"id": k + 1, "image_id": 1, "category_id": k + 1, "segmentation": [b], "iscrowd": 0}
            for k, b in enumerate(boxes.values())
        ],
    }
    (tmp_path / "found.json").write_text(json.dumps(coco))
    command = ["analyze", str(tmp_path / "p"), "--out", str(tmp_path / "run"), "--instances"]
    got = runner.invoke(app, [*command, str(tmp_path / "found.json")])
    assert got.exit_code == 0, got.output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["n_other_kinds"] == {"bubble": 1}
    assert "1 bubble in focus" in " ".join(summary["warnings"])
    assert len(read_table(tmp_path / "run" / "particles.parquet")) == 2


def test_weights_that_are_not_there(tmp_path):
    save(tmp_path / "p" / "a.png", picture([(40, 40, 15)]))
    command = ["analyze", str(tmp_path / "p"), "--out", str(tmp_path / "run"), "--weights", str(tmp_path / "no.onnx")]
    got = runner.invoke(app, command)
    assert got.exit_code == 2
    assert "expected weights" in got.output
    with pytest.raises(CrystalscopeError):
        make_segmenter(load_config(crystals={"weights": "nothing"}))


def test_openvino_finds_the_same(segmenter, scenes):
    pytest.importorskip("openvino")
    other = make_segmenter(load_config(crystals={"precision": "openvino-fp32"}))
    data = np.asarray(scenes[1].image.data)
    a, b = in_focus(segmenter, data), in_focus(other, data)
    assert match(Pair(b, a, np.zeros(len(a), bool))).f1 > 0.95


def test_a_lit_disc_is_no_crystal_and_does_not_set_the_scale(segmenter, rng):
    # Seen from afar the disc of a flow cell looks like one large body.
    grey = np.full((960, 1100), 12.0)
    cv2.circle(grey, (550, 477), 438, 170.0, -1)
    for x, y, angle in rng.uniform([330, 270, 0], [760, 690, 180], size=(10, 3)):
        cv2.ellipse(grey, ((x, y), (70, 55), angle), 90.0, -1)
    data = np.clip(cv2.GaussianBlur(grey, (0, 0), 1.0) + rng.normal(0, 2, grey.shape), 0, 255).astype(np.uint8)
    assert segmenter.study([prepared(data)]).scale == 1.0
    found = in_focus(segmenter, data)
    assert len(found) >= 6
    assert max(int(found.crop(k).sum()) for k in range(len(found))) < 20_000
