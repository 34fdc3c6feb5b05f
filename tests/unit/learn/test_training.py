"""Training of the network `crystals` on a few small pictures: what must hold whatever is learnt."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from crystalscope.config import AnalyzeConfig  # noqa: E402
from crystalscope.core import Image, Instances  # noqa: E402
from crystalscope.datasets import open_dataset, write_scenes  # noqa: E402
from crystalscope.errors import InputError, ReadError  # noqa: E402
from crystalscope.io.coco import Annotated  # noqa: E402
from crystalscope.io.manifest import Manifest, read_manifest, write_manifest  # noqa: E402
from crystalscope.learn.evaluate import found_in  # noqa: E402
from crystalscope.learn.export import export_crystals, export_second, load_onnx, load_second_onnx  # noqa: E402
from crystalscope.learn.guesses import with_guesses  # noqa: E402
from crystalscope.learn.job import Held, _held, chosen_limit, divided, train_crystals  # noqa: E402
from crystalscope.learn.loss import crystal_loss  # noqa: E402
from crystalscope.learn.net import CrystalNet, fused  # noqa: E402
from crystalscope.learn.samples import Truth, batches, load_truth, sample  # noqa: E402
from crystalscope.learn.second import SecondNet, fused_second, patches, second_loss  # noqa: E402
from crystalscope.learn.train import Schedule, train, train_second  # noqa: E402
from crystalscope.scenes import preset, scenes_of  # noqa: E402
from crystalscope.segment.crystals import LEAST_SCORE, CrystalsSegmenter  # noqa: E402
from crystalscope.segment.layout import Box  # noqa: E402
from crystalscope.segment.masks import Mask  # noqa: E402
from crystalscope.segment.patches import ACROSS, ALONG  # noqa: E402
from crystalscope.segment.second import second_path  # noqa: E402
from crystalscope.weights import weights_path  # noqa: E402

TINY = Schedule(steps=4, sizes=(64, 96), pixels=2 * 96 * 96, checkpoint_every=2)


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    recipe = preset("backlit-crystals").changed(instrument={"rows": 160, "columns": 192})
    return write_scenes(
        scenes_of(recipe, frames=5, seed=3, workers=1), folder, manifest=Manifest(name="small", version="1")
    )


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    net = CrystalNet()
    net(torch.randn(2, 1, 128, 128))
    export_crystals(net, path, card={"seed": 0})
    second = SecondNet()
    second(torch.randn(4, 2, ACROSS, ALONG))
    export_second(second, second_path(path), card={"seed": 0})
    return path


def test_fused_network_is_the_same_function():
    torch.manual_seed(1)
    net = CrystalNet()
    for _ in range(2):
        net(torch.randn(2, 1, 128, 128))
    x = torch.randn(1, 1, 128, 192)
    with torch.no_grad():
        for a, b in zip(net.eval()(x), fused(net)(x), strict=True):
            assert torch.allclose(a, b, atol=1e-5)


def test_weights_go_to_onnx_and_back(untrained):
    import onnxruntime

    net = load_onnx(untrained).eval()
    x = torch.randn(1, 1, 128, 192)
    with torch.no_grad():
        own = [o.numpy() for o in net(x)]
    for a, b in zip(own, onnxruntime.InferenceSession(str(untrained)).run(None, {"picture": x.numpy()}), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert untrained.stat().st_size < 10_000_000


def test_second_look_goes_to_onnx_and_back(untrained):
    import onnxruntime

    file = second_path(untrained)
    net = load_second_onnx(file).eval()
    x = torch.randn(3, 2, ACROSS, ALONG)
    with torch.no_grad():
        own = [o.numpy() for o in net(x)]
        for a, b in zip(own, fused_second(net)(x), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    for a, b in zip(own, onnxruntime.InferenceSession(str(file)).run(None, {"patches": x.numpy()}), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    with pytest.raises(ReadError, match="of another shape"):
        load_second_onnx(untrained)


def test_patches_hold_bodies_and_what_is_none(small_set):
    truths = load_truth(small_set)
    batch = patches(truths, size=128, pictures=6, most=30, rng=np.random.default_rng(0))
    assert batch.seen.shape[1:] == (2, ACROSS, ALONG)
    assert batch.body.any()
    assert (~batch.body).any()
    assert batch.mask[~batch.body].max() == 0
    # A body fills a good part of its patch; what lies beyond the picture is not asked for.
    assert 0.1 < np.median(batch.mask[batch.body].mean(axis=(1, 2))) < 0.6
    assert (batch.mask * (1 - batch.seen[:, 1])).max() == 0


def test_guesses_turn_with_their_picture_and_know_their_body(small_set, untrained):
    body = np.array([(60, 70), (100, 70), (100, 90), (60, 90)], dtype=np.float32)
    other = body + np.array([20, -40], dtype=np.float32)
    grey = np.full((160, 200), 0.5, dtype=np.float32)
    guesses = ((Box(80.0, 80.0, 40.0, 20.0, 0.0), 0), (Box(20.0, 20.0, 12.0, 10.0, 0.0), None))
    truth = Truth(grey, [[body], [other]], np.zeros(2, np.int64), np.ones(2, np.int64), guesses)
    rng = np.random.default_rng(0)
    right = wrong = 0
    for _ in range(30):
        for guess in sample(truth, size=160, rng=rng)[2]:
            if not guess.outline:
                wrong += 1
                continue
            right += 1
            middle = guess.outline[0].mean(axis=0)
            assert np.allclose(middle, [guess.box.x, guess.box.y], atol=0.01)
            edge = guess.outline[0][1] - guess.outline[0][0]
            assert np.hypot(*edge) == pytest.approx(guess.box.length, rel=1e-3)
            assert abs(math.sin(math.atan2(edge[1], edge[0]) - guess.box.angle)) < 1e-3
    assert right > 10
    assert wrong > 0
    batch = patches([truth], size=160, pictures=4, most=24, rng=rng)
    assert batch.body.any()


def test_guesses_of_a_first_look(monkeypatch):
    square = np.array([(0, 0), (20, 0), (20, 20), (0, 20)], dtype=np.float32)
    outlines = [[square + d] for d in ([10, 10], [30, 10], [100, 60], [100, 10])]
    use = np.array([1, 1, 0, -1])
    truth = Truth(np.full((100, 140), 0.5, np.float32), outlines, np.zeros(4, np.int64), use)

    def block(r0, c0, rows, columns):
        return Mask(r0, c0, np.ones((rows, columns), np.uint8), 0.5, 0, 0.0, 0.0)

    found = [block(11, 11, 18, 18), block(10, 10, 20, 40), block(60, 100, 20, 20), block(10, 100, 20, 20)]
    monkeypatch.setattr(CrystalsSegmenter, "guesses", lambda self, grey: found)
    told = with_guesses([truth], weights_path("crystals"))[0].guesses
    # One body; two as one; one that neither counts nor is wrong says nothing; a ghost.
    assert [body for _, body in told] == [0, None, None]
    assert told[0][0].length == pytest.approx(18)


def test_second_look_learns_and_goes_on(small_set, tmp_path):
    truths = load_truth(small_set)
    batch = patches(truths, size=128, pictures=4, most=16, rng=np.random.default_rng(0))
    loss, parts = second_loss(SecondNet()(torch.from_numpy(batch.seen)), batch)
    assert torch.isfinite(loss)
    assert set(parts) == {"mask", "quality", "iou", "told_body", "told_none"}
    short = Schedule(steps=4, sizes=(96,), pixels=2 * 96 * 96, checkpoint_every=2)
    whole = train_second(truths, tmp_path / "a", schedule=short)
    train_second(truths, tmp_path / "b", schedule=replace(short, stop=2))
    with pytest.raises(InputError, match="another"):
        train_second(truths, tmp_path / "b", schedule=replace(short, rate=1e-4))
    again = train_second(truths, tmp_path / "a", schedule=short)
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_what_is_no_network_is_refused(tmp_path, untrained):
    import onnx

    (tmp_path / "no.onnx").write_bytes(b"no network")
    with pytest.raises(ReadError, match="expected a network"):
        load_onnx(tmp_path / "no.onnx")
    model = onnx.load(str(untrained))
    del model.graph.initializer[0]
    onnx.save(model, str(tmp_path / "less.onnx"))
    with pytest.raises(ReadError, match="are missing"):
        load_onnx(tmp_path / "less.onnx")


def test_samples_keep_outlines_on_their_bodies():
    outlines = [
        np.array(p, dtype=np.float32) for p in ([(30, 40), (90, 60), (80, 90)], [(120, 30), (180, 34), (176, 120)])
    ]
    inside = np.zeros((160, 200), np.uint8)
    for p in outlines:
        cv2.fillPoly(inside, [np.round(p * 16 - 8).astype(np.int32)], 1, shift=4)
    grey = (0.3 + 0.4 * inside).astype(np.float32)
    truth = Truth(grey, [[p] for p in outlines], np.zeros(2, np.int64), np.ones(2, np.int64))
    rng = np.random.default_rng(0)
    alike = []
    for _ in range(60):
        picture, targets, _ = sample(truth, size=96, rng=rng)
        assert picture.shape == (96, 96)
        assert picture.dtype == np.float32
        for t in targets:
            points = np.round(t.points - 0.5).astype(int)
            ok = ((points >= 0) & (points < 96)).all(axis=2)
            values = picture[points[..., 1].clip(0, 95), points[..., 0].clip(0, 95)][ok]
            if np.ptp(t.mask[ok]):
                alike.append(abs(np.corrcoef(values, t.mask[ok])[0, 1]))
    assert len(alike) > 40
    assert np.median(alike) > 0.9


def test_ghosts_of_rendered_pictures_are_not_to_be_found(small_set):
    truth = load_truth(small_set)
    assert [t.grey.shape for t in truth] == [(160, 192)] * 5
    assert any((t.use == -1).any() for t in truth)
    assert len(load_truth(small_set, files={"images/frame_00001.jpg"})) == 1


def test_loss_falls_on_one_batch(small_set):
    torch.manual_seed(0)
    pictures, targets = batches(load_truth(small_set), size=128, count=3, rng=np.random.default_rng(4))
    net = CrystalNet()
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
    losses = []
    for _ in range(12):
        loss, parts = crystal_loss(net(torch.from_numpy(pictures)), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert set(parts) == {"score", "box", "mask", "kind", "iou"}


def test_loss_without_bodies_is_finite():
    loss, _ = crystal_loss(CrystalNet()(torch.zeros(2, 1, 64, 64)), [[], []])
    assert torch.isfinite(loss)
    loss.backward()


def test_interrupted_training_gives_the_result_of_an_uninterrupted_one(small_set, tmp_path):
    truth = load_truth(small_set)

    class Stop(Exception):
        pass

    def stop(step, parts):
        if step == 3:
            raise Stop

    whole = train(truth, tmp_path / "whole", schedule=TINY)
    with pytest.raises(Stop):
        train(truth, tmp_path / "cut", schedule=TINY, report=stop)
    resumed = train(truth, tmp_path / "cut", schedule=TINY)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    with pytest.raises(InputError, match="checkpoint of this training"):
        train(truth, tmp_path / "cut", schedule=replace(TINY, seed=1))


def test_fine_tuning_writes_weights_card_and_pictures(small_set, untrained, tmp_path):
    seen = []
    card = train_crystals(
        [small_set],
        tmp_path,
        start=untrained,
        schedule=TINY,
        held_back=0.4,
        rehearse=0,
        command="crystalscope train crystals …",
        progress=lambda *a: seen.append(a),
    )
    written = json.loads((tmp_path / "crystals.json").read_text())
    assert written["task"] == "crystals"
    assert written["from"] == "net.onnx"
    assert len(written["held_back"]) == 2
    assert {"before", "after", "schedule", "learnt", "seed", "command"} <= written.keys()
    assert written["before"]["held_back"]["pictures"] == card["after"]["held_back"]["pictures"] == 2
    for name in ("crystals.onnx", "training.png", "held-back.png", "log.csv"):
        assert (tmp_path / name).stat().st_size > 0
    assert ("steps", 4, 4) in seen
    assert seen[-1] == ("steps of the second look", 4, 4)
    # The weights run.
    segmenter = CrystalsSegmenter(AnalyzeConfig(crystals={"weights": str(tmp_path / "crystals.onnx")}))
    data = open_dataset(small_set)
    a, b = (found_in(segmenter, data.read(0)) for _ in range(2))
    np.testing.assert_array_equal(a.pixels, b.pixels)


def test_the_confidence_that_counts_is_that_of_the_card_unless_one_is_given(untrained, tmp_path):
    for stem in ("net", "net-second"):
        for end in ("onnx", "json"):
            shutil.copy(untrained.parent / f"{stem}.{end}", tmp_path)
    weights, card = str(tmp_path / "net.onnx"), tmp_path / "net.json"
    told = json.loads(card.read_text())
    assert CrystalsSegmenter(AnalyzeConfig(crystals={"weights": weights})).least == LEAST_SCORE
    card.write_text(json.dumps(told | {"least_score": 0.6}))
    assert CrystalsSegmenter(AnalyzeConfig(crystals={"weights": weights})).least == 0.6
    assert CrystalsSegmenter(AnalyzeConfig(crystals={"weights": weights, "least_score": 0.3})).least == 0.3
    card.write_text(json.dumps(told | {"least_score": "high"}))
    with pytest.raises(ReadError, match="least_score between 0 and 1"):
        CrystalsSegmenter(AnalyzeConfig(crystals={"weights": weights}))


def test_the_confidence_is_chosen_on_pictures_not_yet_learnt(small_set):
    data = open_dataset(small_set)
    seen = _held(data, list(data.truth()))
    chosen = chosen_limit(weights_path("crystals"), seen)
    assert 0.3 <= chosen <= 0.75
    none = np.zeros(0, dtype=np.int64)
    truth = {
        n: Annotated(n, Instances.empty(t.instances.field), none, none.astype(bool)) for n, t in seen.truth.items()
    }
    nothing = Held(seen.pictures, truth)
    assert chosen_limit(weights_path("crystals"), nothing) is None


def test_frames_are_held_back_whole_and_by_experiment(small_set):
    data = open_dataset(small_set)
    frames = data.frames.assign(experiment=["a", "a", "b", "c", "d"])
    learnt, held = divided(replace(data, frames=frames), held_back=0.4, seed=0)
    names = dict(zip(frames["file"], frames["experiment"], strict=True))
    groups = {names[n] for n in learnt}
    assert groups.isdisjoint({names[n.removeprefix("small/")] for n in held.truth})
    given = frames.assign(split=["train", "test", "train", "train", "validation"])
    learnt, held = divided(replace(data, frames=given), held_back=0.0, seed=0)
    assert len(learnt) == 3
    assert len(held.truth) == 2
    with pytest.raises(InputError, match="at least 3 annotated pictures"):
        divided(replace(data, annotations=()), held_back=0.2, seed=0)


def test_a_dataset_without_outlines_is_refused(small_set, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(small_set, folder)
    (folder / "annotations.coco.json").unlink()
    (folder / "particles.csv").unlink()
    write_manifest(folder, read_manifest(folder).model_copy(update={"annotations": ""}))
    with pytest.raises(InputError, match="expected outlines"):
        train_crystals([folder], tmp_path / "out", start=None, schedule=TINY, held_back=0.0, rehearse=0)


@pytest.mark.parametrize("shape", [(16, 16), (40, 700), (64, 64), (129, 65)])
def test_small_and_odd_pictures(untrained, shape):
    segmenter = CrystalsSegmenter(AnalyzeConfig(crystals={"weights": str(untrained), "least_score": 0.05}))
    grey = (128 + 20 * np.random.default_rng(0).standard_normal(shape)).clip(0, 255).astype(np.uint8)
    found = found_in(segmenter, Image(grey, None, source="a.png"))
    assert (found.boxes[:, 2] <= shape[0]).all()
    assert (found.boxes[:, 3] <= shape[1]).all()
