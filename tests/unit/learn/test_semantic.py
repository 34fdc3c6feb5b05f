"""The published three-class network: its recipe, and what must hold whatever is learnt."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
safetensors = pytest.importorskip("safetensors.torch")

from typer.testing import CliRunner  # noqa: E402

from crystalscope.cli import app  # noqa: E402
from crystalscope.config import load_config  # noqa: E402
from crystalscope.datasets import open_dataset, write_scenes  # noqa: E402
from crystalscope.errors import ConfigError, InputError, ReadError  # noqa: E402
from crystalscope.io.manifest import Manifest  # noqa: E402
from crystalscope.io.masks import read_mask  # noqa: E402
from crystalscope.io.pictures import write_png  # noqa: E402
from crystalscope.learn.semantic_data import (  # noqa: E402
    IGNORED,
    SIZE,
    ClassPicture,
    augmented,
    class_weights,
    crops,
    cut,
    load_classes,
    weights_of,
)
from crystalscope.learn.semantic_job import learning_curve, parts_of, plot_learning_curve, train_semantic  # noqa: E402
from crystalscope.learn.semantic_net import SemanticNet, load_encoder  # noqa: E402
from crystalscope.learn.semantic_train import SemanticSchedule, classified, export_classes, train_classes  # noqa: E402
from crystalscope.scenes import preset, scenes_of  # noqa: E402
from crystalscope.segment import make_segmenter  # noqa: E402
from crystalscope.segment.semantic import class_shares, load_classifier, seen  # noqa: E402
from crystalscope.testing import check_segmenter  # noqa: E402

TINY = SemanticSchedule(steps=4, batch=2, check_every=2)


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    recipe = preset("flow-cell").changed(instrument={"rows": 240, "columns": 260, "pixel_size_um": 8.0})
    return write_scenes(
        scenes_of(recipe, frames=6, seed=3, workers=1), folder, manifest=Manifest(name="small", version="1")
    )


@pytest.fixture(scope="module")
def pictures(small_set):
    return load_classes(open_dataset(small_set))


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("net") / "semantic.onnx"
    export_classes(SemanticNet("compact").eval(), path, encoder="compact", card={"seed": 0})
    return path


def test_published_class_weights():
    got = class_weights([26_255_602, 96_827_755, 14_221_337], [78_162_629, 137_304_694, 137_007_498])
    np.testing.assert_allclose(got, [1, 0.4763, 3.2361], atol=5e-5)


def test_weights_of_a_class_that_never_occurs():
    np.testing.assert_allclose(class_weights([10, 0, 30], [40, 0, 40]), [2, 0, 2 / 3])
    with pytest.raises(InputError, match="as many pixels"):
        class_weights([50], [40])
    with pytest.raises(InputError, match="at least one class"):
        class_weights([0, 0], [0, 0])


def test_class_pictures_of_rendered_scenes(small_set, pictures):
    assert len(pictures) == 6
    for p in pictures:
        assert set(np.unique(p.classes)) <= {0, 1, 2}
        # Black is black and light is light, as the network sees it.
        assert p.grey[p.classes == 0].mean() < -0.7 < p.grey[p.classes == 1].mean()
    assert len(list((small_set / "semantic").glob("*.png"))) == 6


def test_classes_come_from_outlines_where_there_is_no_class_picture(small_set, pictures, tmp_path):
    import shutil

    shutil.copytree(small_set, tmp_path / "set")
    shutil.rmtree(tmp_path / "set" / "semantic")
    pairs = zip(load_classes(open_dataset(tmp_path / "set")), pictures, strict=True)
    # Where crystals hide the rim the disc is not found.
    assert np.median([(own.classes == exact.classes).mean() for own, exact in pairs]) > 0.96


@pytest.mark.parametrize(("shape", "value", "told"), [((10, 12), 1, "240 px"), ((240, 260), 7, "got 7")])
def test_class_pictures_that_do_not_fit_are_refused(small_set, tmp_path, shape, value, told):
    import shutil

    shutil.copytree(small_set, tmp_path / "set")
    file = sorted((tmp_path / "set" / "semantic").glob("*.png"))[0]
    write_png(file, np.full(shape, value, np.uint8))
    with pytest.raises(InputError, match=told):
        load_classes(open_dataset(tmp_path / "set"))


@pytest.mark.parametrize("kind", ["whole", "centre", "corner", "lens"])
def test_four_kinds_of_crops(pictures, kind):
    got = cut(pictures[0], kind, rng=np.random.default_rng(0))
    assert got.grey.shape == got.classes.shape == (SIZE, SIZE)
    black = float((got.classes == 0).mean())
    # The square in the lens and the central quarter hold no black; the whole shows the corners of the disc's square.
    assert black < 0.02 if kind in ("centre", "lens") else black > 0.1
    if kind == "whole":
        assert black == pytest.approx(1 - np.pi / 4, abs=0.06)


def test_an_unknown_crop_is_refused(pictures):
    with pytest.raises(InputError, match="whole, centre"):
        cut(pictures[0], "half", rng=np.random.default_rng(0))


def test_augmentation_moves_picture_and_classes_together():
    grey = np.full((SIZE, SIZE), -1, np.float32)
    cv2.circle(grey, (120, 90), 40, 1.0, -1)
    picture = ClassPicture("a", grey, (grey > 0).astype(np.uint8) * 2)
    shapes = []
    for seed in range(30):
        got = augmented(picture, rng=np.random.default_rng(seed))
        inside = got.classes != IGNORED
        assert ((got.grey > 0) == (got.classes == 2))[inside].mean() > 0.985
        shapes.append((got.classes == 2).sum())
    # Zoomed from 0.75 to 1.5, sheared, and sometimes shifted out.
    assert min(shapes) < 0.6 * (grey > 0).sum()
    assert max(shapes) > 1.5 * (grey > 0).sum()


def test_networks_give_three_classes_at_any_size():
    for encoder in ("compact", "resnet50"):
        with torch.no_grad():
            assert SemanticNet(encoder).eval()(torch.zeros(1, 1, 64, 96)).shape == (1, 3, 64, 96)


def test_pretrained_encoders_are_taken_by_name(tmp_path):
    torch.manual_seed(2)
    state = {k: torch.randn_like(v.float()) for k, v in SemanticNet("resnet50").encoder.state_dict().items()}
    safetensors.save_file(state | {"fc.weight": torch.zeros(3, 3)}, tmp_path / "r.safetensors")
    net = SemanticNet("resnet50")
    assert load_encoder(net, tmp_path / "r.safetensors") == sum(not k.endswith("tracked") for k in state)
    assert torch.equal(net.encoder.layer3[5].conv2.weight, state["layer3.5.conv2.weight"])
    del state["layer1.0.conv1.weight"]
    safetensors.save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(ReadError, match=r"such as layer1\.0\.conv1\.weight"):
        load_encoder(net, tmp_path / "less.safetensors")
    (tmp_path / "no.safetensors").write_bytes(b"no")
    with pytest.raises(ReadError, match="safetensors"):
        load_encoder(net, tmp_path / "no.safetensors")


def test_an_interrupted_training_gives_the_same_network(pictures, tmp_path):
    rng = np.random.default_rng(0)
    learn, check = crops(pictures, 6, rng=rng), crops(pictures, 2, rng=rng)
    torch.manual_seed(0)
    start = SemanticNet("compact")
    whole, found = train_classes(learn, check, tmp_path / "whole", schedule=TINY, net=start)

    class Stop(Exception):
        pass

    def stop(step, _):
        if step == 3:
            raise Stop

    with pytest.raises(Stop):
        train_classes(learn, check, tmp_path / "parts", schedule=TINY, net=start, note=stop)
    again, found_again = train_classes(learn, check, tmp_path / "parts", schedule=TINY, net=start)
    assert found == found_again
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(InputError, match="of other pictures"):
        train_classes(learn, check, tmp_path / "parts", schedule=replace(TINY, rate=1e-3), net=start)
    with pytest.raises(InputError, match="training and validation"):
        train_classes(learn, [], tmp_path / "none", schedule=TINY, net=start)


def test_training_stops_when_validation_no_longer_gains(pictures, tmp_path):
    rng = np.random.default_rng(0)
    learn, check = crops(pictures, 6, rng=rng), crops(pictures, 2, rng=rng)
    steps = []
    # Without a rate nothing is learnt: two looks without a gain after the first.
    schedule = replace(TINY, steps=40, rate=0.0, patience=2)
    train_classes(
        learn, check, tmp_path, schedule=schedule, net=SemanticNet("compact"), note=lambda s, _: steps.append(s)
    )
    assert steps[-1] < 40


def test_learning_is_possible_at_all(pictures, tmp_path):
    rng = np.random.default_rng(0)
    learn, check = crops(pictures, 8, rng=rng), [cut(pictures[0], "whole", rng=rng)]
    torch.manual_seed(0)
    schedule = SemanticSchedule(steps=60, batch=4, check_every=30, augment=False)
    net, found = train_classes(learn, check, tmp_path, schedule=schedule, net=SemanticNet("compact"))
    assert found["scores"]["accuracy"] > 0.7
    assert classified(net, check)["accuracy"] == found["scores"]["accuracy"]


def test_job_writes_weights_card_log_and_curve(small_set, tmp_path):
    card = train_semantic([small_set], tmp_path, schedule=TINY, number=8, held_back=0.4, command="crystalscope train")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint.pt", "log.csv", "semantic.json", "semantic.onnx", "training.png",
    ]  # fmt: skip
    written = json.loads((tmp_path / "semantic.json").read_text())
    assert {"data", "command", "class_weights", "schedule", "validation", "test"} <= set(written)
    assert card["pictures"] == {"learnt": 8, "validation": 4, "test": 4}
    assert (tmp_path / "semantic.onnx").stat().st_size < 10_000_000
    with pytest.raises(ConfigError, match="resnet50"):
        train_semantic([small_set], tmp_path, pretrained=tmp_path / "r.safetensors")
    with pytest.raises(InputError, match="at least 2 frames"):
        parts_of([small_set], number=8, held_back=0.1, seed=0)


def test_learning_curve_with_and_without_augmentation(small_set, tmp_path):
    parts = parts_of([small_set], number=8, held_back=0.4, seed=0)
    table = learning_curve(parts, [2, 4], tmp_path, schedule=replace(TINY, steps=2))
    assert list(table["pictures"]) == [2, 4, 2, 4]
    assert table["accuracy"].between(0, 1).all()
    assert plot_learning_curve(table)[:4] == b"\x89PNG"


def test_tiles_and_the_whole_picture_agree(untrained, monkeypatch):
    from crystalscope.segment import semantic as module

    run = load_classifier(str(untrained))
    grey = cv2.GaussianBlur(np.random.default_rng(0).random((400, 512)).astype(np.float32), (0, 0), 3)
    whole = class_shares(run, grey)
    np.testing.assert_allclose(whole.sum(axis=0), 1, atol=1e-5)
    monkeypatch.setattr(module, "_TILE", 352)
    tiled = class_shares(run, grey)
    # The dilated branches see farther than the margin; what they add is small.
    assert np.abs(tiled - whole).mean() < 0.01


def test_command_line_and_class_pictures(small_set, tmp_path):
    runner = CliRunner()
    out = runner.invoke(
        app,
        ["train", "semantic", str(small_set), "--out", str(tmp_path / "net"), "--steps", "2", "--pictures", "8",
         "--held-back", "0.4"],
    )  # fmt: skip
    assert out.exit_code == 0, out.output
    assert "IoU of crystals" in out.output
    weights = str(tmp_path / "net" / "semantic.onnx")
    command = ["analyze", str(small_set / "images"), "--segmenter", "semantic", "--weights", weights, "--save-masks"]
    out = runner.invoke(app, [*command, "--out", str(tmp_path / "run")])
    assert out.exit_code == 0, out.output
    written = sorted((tmp_path / "run" / "semantic").iterdir())
    assert [p.stem for p in written] == sorted(p.stem for p in (small_set / "images").iterdir())
    mask = read_mask(written[0])
    assert mask.shape == (240, 260)
    assert mask.max() <= 2
    out = runner.invoke(app, ["score", str(tmp_path / "run"), str(small_set), "--classes"])
    scores = json.loads(out.stdout)
    assert scores["pictures"] == 6
    assert np.sum(scores["classes"]["confusion"]) == 6 * 240 * 260
    out = runner.invoke(app, ["score", str(tmp_path), str(small_set), "--classes"])
    assert out.exit_code == 2
    out = runner.invoke(app, ["train", "semantic", str(small_set), "--out", str(tmp_path / "x"), "--encoder", "vgg"])
    assert out.exit_code == 2
    assert "compact or resnet50" in out.output


def test_seen_scales_by_the_light():
    grey = np.full((60, 60), 0.2, np.float32)
    grey[:10] = 0.0
    got = seen(grey)
    assert got.max() == pytest.approx(1, abs=1e-6)
    assert got.min() == -1
    np.testing.assert_allclose(seen(grey * 3), got, atol=1e-6)


def test_weights_over_pictures_count_only_pictures_that_hold_the_class(pictures):
    plain = ClassPicture("p", np.zeros((10, 10), np.float32), np.ones((10, 10), np.uint8))
    half = replace(plain, classes=np.repeat([[0], [2]], 5, axis=0).repeat(10, axis=1).astype(np.uint8))
    # Frequencies: black 1/2, light 1, crystal 1/2.
    np.testing.assert_allclose(weights_of([plain, half]), [1, 0.5, 1])
    assert weights_of(pictures)[2] > weights_of(pictures)[1]


def test_contract_of_the_segmenter(untrained):
    check_segmenter(make_segmenter(load_config(segmenter="semantic", semantic={"weights": str(untrained)})))


def test_weights_for_something_else_are_refused(untrained, tmp_path):
    with pytest.raises(ReadError, match="expected weights for semantic"):
        make_segmenter(load_config(segmenter="semantic", semantic={"weights": "crystals"}))
    with pytest.raises(ReadError, match="expected weights for crystals"):
        make_segmenter(load_config(crystals={"weights": str(untrained)}))
