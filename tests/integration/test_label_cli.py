"""Labels and events of pictures as a user meets them."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from crystalscope.cli import app
from crystalscope.config import LabelConfig
from crystalscope.core import LABELS
from crystalscope.io.pictures import to_grey
from crystalscope.io.tables import read_table
from crystalscope.label import make_labeller
from crystalscope.scenes import preset, scenes_of

runner = CliRunner()
FRAMES = 24


def run(*args, code=0):
    got = runner.invoke(app, [str(a) for a in args])
    assert got.exit_code == code, got.output
    return got


@pytest.fixture(scope="module")
def cooling(tmp_path_factory):
    """A vial that is clear, cools, and fills with dark squares from frame 12 on; a log beside it."""
    folder = tmp_path_factory.mktemp("cooling")
    rng = np.random.default_rng(2)
    (folder / "pictures").mkdir()
    for k in range(FRAMES):
        picture = rng.normal(180, 3, (160, 200))
        for i in range(3 if k >= 12 else 0):
            r, c = 20 + 45 * i, 30 + 55 * i
            side = 8 + (k - 12)
            picture[r : r + side, c : c + side] = 60
        picture = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 0.8).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "pictures" / f"v_t{60 * k:05d}s.png"), picture)
    times = np.arange(0, 60 * FRAMES, 30)
    warm = np.interp(times, [0, 300, 1080, 1440], [50, 50, 24, 24])
    pd.DataFrame({"time_s": times, "temperature_c": warm}).to_csv(folder / "log.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def analysed(cooling, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    run(
        "analyze", cooling / "pictures", "--out", out, "--scale", 2, "--segmenter", "threshold", "--log",
        cooling / "log.csv", "--time-pattern", r"_t(?P<seconds>\d+)s",
    )  # fmt: skip
    return out


def test_analyze_writes_labels_and_events(analysed):
    labels = pd.read_csv(analysed / "labels.csv")
    assert list(labels.columns) == ["file", "time_s", *LABELS, *(f"is_{n}" for n in LABELS)]
    assert len(labels) == FRAMES
    ledger = read_table(analysed / "frames.parquet")
    assert np.allclose(ledger[list(LABELS)], labels[list(LABELS)], atol=1e-6, equal_nan=True)
    # Small squares are seen by the particles first; events count those pictures too.
    there = (ledger["n_particles"] > 0).to_numpy()
    assert (labels["is_object_present"].to_numpy() <= there).all()
    assert labels["is_object_present"].sum() >= there.sum() - 3
    # The network tells kinds whatever the segmenter does.
    assert labels["is_bubble"].isin([0, 1]).all()
    assert ledger["window_coverage"].max() < 0.2
    outcome = pd.read_csv(analysed / "outcome.csv")
    assert outcome["frames"].tolist() == [FRAMES]
    events = json.loads((analysed / "events.json").read_text(encoding="utf-8"))
    assert {"cloud", "steady_state", "fouling"} <= {e["kind"] for e in events}
    reached = {e["kind"] for e in events if e["status"] == "reached"}
    assert "cloud" in reached
    assert not reached & {"oiling_out", "agglomeration"}


def test_report_shows_the_timeline(analysed):
    page = (analysed / "report.html").read_text(encoding="utf-8")
    assert "What happened" in page
    assert "too concentrated" in page
    events = json.loads((analysed / "events.json").read_text(encoding="utf-8"))
    for event in events:
        if event["status"] == "reached" and event["file"]:
            assert f"Frame {event['file']}, which shows" in page


def test_no_labels_leaves_them_out(cooling, tmp_path):
    run(
        "analyze", cooling / "pictures", "--out", tmp_path / "run", "--segmenter", "threshold", "--no-labels",
        "--files", "v_t0000*s.png",
    )  # fmt: skip
    assert not (tmp_path / "run" / "labels.csv").exists()
    assert not (tmp_path / "run" / "events.json").exists()
    assert "object_present" not in read_table(tmp_path / "run" / "frames.parquet").columns


def test_label_with_events_and_explanations(cooling, label_weights, tmp_path):
    got = run(
        "label", cooling / "pictures", "--out", tmp_path / "l", "--log", cooling / "log.csv",
        "--weights", label_weights, "--time-pattern", r"_t(?P<seconds>\d+)s", "--explain", "block", "--files",
        "v_t000*s.png",
    )  # fmt: skip
    assert "object_present" in got.output
    shown = sorted((tmp_path / "l" / "explain" / "block").glob("*.png"))
    assert len(shown) == len(pd.read_csv(tmp_path / "l" / "labels.csv"))
    assert cv2.imread(str(shown[0])).shape == (160, 200, 3)
    assert (tmp_path / "l" / "events.json").exists()
    run("events", tmp_path / "l")
    run("label", cooling / "pictures", "--out", tmp_path / "l", "--weights", label_weights, "--files", "v_t000*s.png")


def test_labels_of_a_run_take_the_place_of_its_labels(cooling, analysed, label_weights, tmp_path):
    import shutil

    shutil.copytree(analysed, tmp_path / "run")
    settings = tmp_path / "s.toml"
    settings.write_text("[label]\nthresholds = { object_present = 1.0 }\n")
    run("label", cooling / "pictures", "--out", tmp_path / "run", "--config", settings, "--weights", label_weights)
    assert pd.read_csv(tmp_path / "run" / "labels.csv")["is_object_present"].sum() == 0
    ledger = read_table(tmp_path / "run" / "frames.parquet")
    assert ledger["n_particles"].sum() > 0
    assert np.isfinite(ledger["temperature_c"]).all()


def test_one_damaged_picture_is_a_row_and_all_of_them_an_error(label_weights, tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.random.default_rng(0).integers(0, 255, (64, 80)).astype(np.uint8))
    (folder / "b.png").write_bytes(b"no picture")
    cv2.imwrite(str(folder / "c.png"), np.full((64, 80), 7, dtype=np.uint8))
    run("label", folder, "--out", tmp_path / "l", "--weights", label_weights)
    rows = pd.read_csv(tmp_path / "l" / "labels.csv")
    assert rows["is_ufo"].isna().tolist() == [False, True, True]
    assert read_table(tmp_path / "l" / "frames.parquet")["status"].tolist()[1:] == ["failed", "rejected"]
    got = run("label", folder, "--files", "b.png", "--out", tmp_path / "m", "--weights", label_weights, code=2)
    assert "expected a readable picture" in got.output


BAD = [
    (("--explain", "ufos"), "expected a label"),
    (("--weights", "nothing"), "expected weights"),
    (("--weights", "crystals"), "expected weights for label"),
]


@pytest.mark.parametrize(("options", "words"), BAD)
def test_faulty_options_are_told(cooling, label_weights, tmp_path, options, words):
    more = () if "--weights" in options else ("--weights", label_weights)
    got = run("label", cooling / "pictures", "--out", tmp_path / "l", *options, *more, code=2)
    assert words in got.output


def test_folders_that_hold_other_things_are_kept(cooling, analysed, label_weights, tmp_path):
    own = ("--weights", label_weights)
    got = run("label", cooling / "pictures", "--files", "v_t0000*", "--out", analysed, *own, code=2)
    assert "a run of other pictures" in got.output
    (tmp_path / "note.txt").write_text("mine")
    got = run("label", cooling / "pictures", "--out", tmp_path, *own, code=2)
    assert "other files" in got.output
    settings = tmp_path / "s.toml"
    settings.write_text("[label]\nthresholds = { hairs = 0.5 }\n")
    got = run("label", cooling / "pictures", "--out", tmp_path / "l", "--config", settings, *own, code=2)
    assert "check label.thresholds" in got.output


def test_labels_that_were_changed_by_hand_are_told(analysed, tmp_path):
    import shutil

    shutil.copytree(analysed, tmp_path / "run")
    (tmp_path / "run" / "labels.csv").write_text("file,ufo\na.png,1\n")
    got = run("events", tmp_path / "run", code=2)
    assert "is_object_present" in got.output


@pytest.mark.parametrize(("recipe", "shown", "absent"), [("needles", "needle", "droplets"), ("beads", None, "needle")])
def test_shipped_weights_tell_rendered_pictures_apart(recipe, shown, absent):
    labeller = make_labeller(LabelConfig())
    scenes = scenes_of(preset(recipe).changed(instrument={"rows": 600, "columns": 700}), frames=3, seed=9, workers=1)
    told = [labeller.label(to_grey(np.asarray(s.image.data), bits=8)) >= labeller.thresholds for s in scenes]
    given = dict(zip(LABELS, np.mean(told, axis=0), strict=True))
    assert given["object_present"] == 1
    assert given[absent] == 0
    if shown:
        assert given[shown] == 1
