"""Training of the labelling network, on a few tiny pictures."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from crystalscope.core import LABELS, Scene
from crystalscope.errors import InputError, ReadError
from crystalscope.label import load_labels
from crystalscope.learn.export import load_onnx
from crystalscope.learn.label_data import (
    IGNORED,
    MAPS,
    LabelPicture,
    label_picture,
    load_pictures,
    recipes,
    rendered,
    save_pictures,
    visible,
)
from crystalscope.learn.label_net import LabelNet, export_labels, load_encoder, load_labels_onnx
from crystalscope.learn.label_train import (
    HeadSchedule,
    LabelSchedule,
    _labels_of_part,
    _weights,
    label_loss,
    logits_of,
    train_head,
    train_labels,
)
from crystalscope.scenes import preset
from crystalscope.scenes.labels import counted
from crystalscope.scenes.recipe import frame_of
from crystalscope.weights import weights_path


@pytest.fixture(scope="module")
def scene() -> Scene:
    recipe = preset("varied-backlit").changed(instrument={"rows": 200, "columns": 300, "bits": 8}, crowd=0.0, empty=0.0)
    return frame_of(recipe, 4, seed=11)


@pytest.fixture(scope="module")
def pictures(rng=None):
    draw = np.random.default_rng(3)
    out = []
    for k in range(6):
        grey = draw.normal(0.5, 0.02, (64, 96))
        labels, cells = np.zeros(10, dtype=np.float32), np.zeros((11, 4, 6), dtype=np.uint8)
        cells[-1] = 100
        if k % 2:
            grey[16:32, 32:48] = 0.1
            labels[[0, 2]], cells[[0, 2], 1, 2] = 1, 100
        out.append(LabelPicture(f"{k}.png", np.clip(grey, 0, 1).astype(np.float16), labels, cells))
    return out


def test_cells_of_a_scene(scene):
    p = label_picture(scene)
    assert p.cells.shape == (len(MAPS), p.grey.shape[0] // 16, p.grey.shape[1] // 16)
    assert (p.cells[-1] == 100).all()
    for k, name in enumerate(LABELS[:-1]):
        # A label is certain where a cell shows it for certain, and nowhere where none does.
        assert (p.cells[k] == 100).any() == (scene.frame[name] == 1), name
        assert set(np.unique(p.cells[k])) <= {0, 100, IGNORED}
    cover = p.cells[LABELS.index("too_concentrated")].mean() / 100
    assert cover == pytest.approx(scene.frame["coverage"], abs=0.02)


def test_pictures_are_kept_without_pickle(tmp_path, scene):
    p = label_picture(scene)
    back = load_pictures(save_pictures(tmp_path / "a.npz", [p]))[0]
    assert back.name == p.name
    for name in ("grey", "labels", "cells"):
        assert np.array_equal(getattr(back, name), getattr(p, name), equal_nan=name == "labels")


def test_what_cannot_be_made_out_leaves_its_labels_open(scene):
    counts = np.flatnonzero(counted(scene.truth))
    seen = visible(scene)
    assert not seen[~counted(scene.truth).to_numpy()].any()
    assert seen[counts].mean() > 0.5
    flat = np.full_like(np.asarray(scene.image.data), 120)
    painted_over = replace(scene, image=replace(scene.image, data=flat))
    assert not visible(painted_over).any()
    labels, truth = label_picture(painted_over).labels, [scene.frame[name] for name in LABELS]
    open_ = [k for k in range(9) if truth[k] == 1]
    assert open_
    assert np.isnan(labels[open_]).all()
    assert (labels[[k for k in range(9) if truth[k] == 0]] == 0).all()


def test_parts_show_what_lies_in_them():
    labels = np.zeros(10, dtype=np.float32)
    labels[[0, 2, 3]] = 1, 1, np.nan
    cells = np.zeros((11, 4, 6), dtype=np.uint8)
    cells[-1] = 100
    assert _labels_of_part(labels, cells)[:4].tolist() == [0, 0, 0, 0]
    cells[2, 0, 0] = 100
    assert np.isnan(_labels_of_part(labels, cells)[2])
    cells[2, 1, 2] = 100
    cells[LABELS.index("too_concentrated")] = 60
    part = _labels_of_part(labels, cells)
    assert part[2] == part[-1] == 1
    cells[-1] = IGNORED
    assert np.isnan(_labels_of_part(labels, cells)[-1])


def test_pictures_of_rare_labels_are_drawn_more_often(pictures):
    rare = replace(pictures[0], labels=np.eye(10, dtype=np.float32)[6])
    weights = _weights([*pictures, *pictures, rare])
    assert weights[-1] > weights[1] > weights[0] > 0


def test_recipes_hold_every_label():
    made, rich = recipes(), recipes(rich=True)
    for plain, more in zip(made, rich, strict=True):
        often = {k: (plain.populations[k].presence, more.populations[k].presence) for k in ("bubbles", "blocks")}
        blocks = often["blocks"][1] / often["blocks"][0]
        bubbles = often["bubbles"][1] / max(often["bubbles"][0], 1e-9)
        assert blocks == pytest.approx(0.6)
        assert bubbles == pytest.approx(2.0 if plain.instrument["look"] != "polars" else 0.0)
        assert more.populations["droplets"].index[0] > plain.populations["droplets"].index[0]
    assert {r.instrument["look"] for r in made} == {"backlit", "reflected", "flow-cell", "polars"}
    assert next(iter(rendered(0, 0, seed=1)), None) is None


def test_encoder_is_that_of_crystals():
    crystals, net = load_onnx(weights_path("crystals")), LabelNet()
    taken = load_encoder(net, crystals)
    own = net.trunk.state_dict()
    assert taken == len(own)
    assert all(torch.equal(v, crystals.state_dict()[k]) for k, v in own.items())


def test_written_network_is_read_back_and_gives_the_same(tmp_path, pictures):
    torch.manual_seed(0)
    net = LabelNet().eval()
    with torch.no_grad():
        net.mix.weight.normal_()
    card = {
        "calibration": {n: {"slope": 1.0, "shift": 0.0} for n in LABELS},
        "thresholds": dict.fromkeys(LABELS, 0.5),
    }
    export_labels(net, tmp_path / "x.onnx", card=card)
    back = load_labels_onnx(tmp_path / "x.onnx")
    for k, v in net.state_dict().items():
        assert torch.equal(v, back.state_dict()[k]), k
    from crystalscope.label.seen import levelled

    grey = levelled(pictures[1].grey.astype(np.float32))
    logits, maps = load_labels(str(tmp_path / "x.onnx")).run(grey[None, None])
    assert maps.shape == (1, 11, 4, 6)
    assert logits[0] == pytest.approx(logits_of(net, pictures[1:2])[0], abs=1e-3)
    with pytest.raises(ReadError, match="parameters of the network `label`"):
        load_labels_onnx(weights_path("crystals"))
    (tmp_path / "y.onnx").write_bytes(b"no model")
    with pytest.raises(ReadError, match="expected a network"):
        load_labels_onnx(tmp_path / "y.onnx")


def test_loss_leaves_out_what_is_open():
    torch.manual_seed(0)
    net = LabelNet().eval()
    logits, maps = net(torch.zeros(2, 1, 64, 96))
    cells = torch.full((2, 11, 4, 6), IGNORED, dtype=torch.uint8)
    nothing, parts = label_loss(logits, maps, torch.full((2, 10), torch.nan), cells, weight=3.0)
    assert float(nothing.detach()) == 0
    assert "cells" not in parts
    known, _ = label_loss(logits, maps, torch.ones(2, 10), cells, weight=3.0)
    assert float(known.detach()) > 0.5


def test_training_learns_and_goes_on_where_it_stopped(tmp_path, pictures):
    torch.manual_seed(0)
    start = LabelNet()
    load_encoder(start, load_onnx(weights_path("crystals")))
    train_head(pictures, start, schedule=HeadSchedule(steps=30, batch=6, views=1))
    apart = logits_of(start, pictures)[:, 0]
    assert apart[1::2].min() > apart[::2].max()
    plan = LabelSchedule(steps=4, batch=3, save_every=2)
    whole = train_labels(pictures, tmp_path / "a", schedule=plan, net=start)

    class Stop(Exception):
        pass

    def stop(step, values):
        if step == 2:
            raise Stop

    with pytest.raises(Stop):
        train_labels(pictures, tmp_path / "b", schedule=plan, net=start, note=stop)
    again = train_labels(pictures, tmp_path / "b", schedule=plan, net=start)
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(InputError, match="checkpoint of this training"):
        train_labels(pictures[:3], tmp_path / "b", schedule=plan, net=start)
    with pytest.raises(InputError, match="labelled pictures to learn"):
        train_labels([], tmp_path / "c", schedule=plan, net=start)


def dataset(folder, table=None, *, n=8):
    import cv2

    (folder / "images").mkdir(parents=True)
    draw = np.random.default_rng(1)
    for k in range(n):
        cv2.imwrite(str(folder / "images" / f"{k}.png"), draw.integers(90, 110, (48, 64)).astype(np.uint8))
    lines = ['name = "own"', 'title = "own"', 'version = "1"', 'licence = "CC0-1.0"', 'pictures = "images"']
    (folder / "dataset.toml").write_text("\n".join(lines) + "\n")
    if table is not None:
        (folder / "labels.csv").write_text(table)
    return folder


BAD = [
    (None, InputError, "expected labels.csv"),
    ("picture,ufo\n0.png,1\n", ReadError, "column file"),
    ("file,ufo\n0.png,1\n0.png,0\n", ReadError, "0.png twice"),
    ("file,ufo\n9.png,1\n", ReadError, "9.png is missing"),
    ("file,ufo\n0.png,yes\n", ReadError, "expected 1, 0 or nothing under ufo"),
    ("file,hairs\n0.png,1\n", InputError, "got no labels"),
]


@pytest.mark.parametrize(("table", "error", "words"), BAD)
def test_faulty_labels_are_told(tmp_path, table, error, words):
    from crystalscope.datasets import open_dataset
    from crystalscope.learn.label_job import label_rows

    data = open_dataset(dataset(tmp_path / "d", table, n=2))
    with pytest.raises(error, match=words):
        label_rows(data)


def test_fine_tuning_to_own_labels(label_weights, tmp_path):
    from crystalscope.learn.label_job import train_label

    rows = "".join(f"{k}.png,{k % 2},{'' if k > 3 else 0}\n" for k in range(8))
    folder = dataset(tmp_path / "d", "file,ufo,needle\n" + rows)
    plan = LabelSchedule(steps=2, batch=2)
    card = train_label([folder], tmp_path / "out", start=label_weights, schedule=plan, held_back=0.5, rehearse=0)
    assert card["pictures"] == {"learnt": 4, "validation": 2, "test": 2}
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert set(scores["part"]) == {"training", "validation", "test"}
    assert list(scores.columns) == ["part", "label", "n", "positives", "precision", "recall", "f1"]
    assert load_labels(str(tmp_path / "out" / "label.onnx")).thresholds.shape == (10,)
    assert (tmp_path / "out" / "curves.png").stat().st_size > 5000
    few = dataset(tmp_path / "e", "file,ufo\n0.png,1\n1.png,0\n2.png,1\n", n=3)
    with pytest.raises(InputError, match="at least 2 pictures held back"):
        train_label([few], tmp_path / "out2", schedule=LabelSchedule(steps=1), held_back=0.3, rehearse=0)
