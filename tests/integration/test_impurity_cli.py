"""Impurities from pictures to fractions, by the command line."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from crystalscope.cli import app
from crystalscope.io.tables import read_table

runner = CliRunner()


def invoke(*arguments, ok=True):
    got = runner.invoke(app, [str(a) for a in arguments])
    assert got.exit_code == (0 if ok else 2), got.output
    return got.output


def slurry(shape, clusters, seed):
    """Dark bars and grainy discs on light, 8 bit, that do not touch, and a picture of their numbers."""
    rng = np.random.default_rng(seed)
    grey, labels = np.full(shape, 190, np.uint8), np.zeros(shape, np.uint8)
    places = [(r, c) for r in (40, 110) for c in (45, 120, 195, 270)]
    for k, (r, c) in enumerate(places):
        mask = np.zeros(shape, np.uint8)
        if k < clusters:
            cv2.circle(mask, (c, r), int(rng.integers(16, 24)), 1, -1)
            grey[mask > 0] = np.where(rng.uniform(size=int(mask.sum())) < 0.3, 110, 40)
        else:
            size = (float(rng.uniform(40, 60)), float(rng.uniform(7, 11)))
            corners = cv2.boxPoints(((c, r), size, float(rng.uniform(0, 180))))
            cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
            grey[mask > 0] = 50
        labels[mask > 0] = k + 1
    noise = rng.normal(0, 1.5, shape)
    return np.clip(cv2.GaussianBlur(grey, (0, 0), 0.9) + noise, 0, 255).astype(np.uint8), labels


CLUSTERS = (0, 1, 2, 1, 0, 2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run with impurities and one without, with their pictures; outlines are given."""
    at = tmp_path_factory.mktemp("impurity")
    for name, clusters in (("mixed", CLUSTERS), ("pure", (0,) * 8)):
        for folder in (name, f"{name}-labels"):
            (at / folder).mkdir()
        for k, n in enumerate(clusters):
            grey, labels = slurry((150, 320), n, 10 * len(clusters) + k)
            cv2.imwrite(str(at / name / f"f{k}.png"), grey)
            cv2.imwrite(str(at / f"{name}-labels" / f"f{k}.png"), labels)
        (at / "c.toml").write_text(
            "[focus]\ngate = false\n[size]\nreplicates = 100\n[report]\noverlays = 0\nmontage = 0\n"
            '[prepare]\nstatic = "off"\n'
        )
        invoke(
            "analyze", at / name, "--scale", 2, "--config", at / "c.toml", "--instances", at / f"{name}-labels",
            "--out", at / f"run-{name}",
        )  # fmt: skip
    table = read_table(at / "run-mixed" / "particles.parquet", where="in_focus")
    marks = table[["file", "particle"]].assign(is_impurity=(table["length_to_width"] < 2).astype(int))
    marks.to_csv(at / "labels.csv", index=False)
    return at


def test_a_known_impurity(runs, tmp_path):
    run, pictures = runs / "run-mixed", ("--pictures", runs / "mixed")
    said = invoke("impurity", "train", run, *pictures, "--labels", runs / "labels.csv", "--out", tmp_path / "m")
    assert "48 particles in 6 groups, 6 of them impurity" in said
    assert "AUROC 1.0" in said
    out = tmp_path / "s"
    said = invoke("impurity", "score", tmp_path / "m" / "model.npz", run, *pictures, "--out", out)
    assert "Limit of detection" in said
    scores, marks = pd.read_csv(out / "scores.csv"), pd.read_csv(runs / "labels.csv")
    assert list(scores.columns) == ["file", "particle", "score", "threshold", "is_impurity"]
    assert (scores["is_impurity"] == marks["is_impurity"]).all()
    fractions = pd.read_csv(out / "fractions.csv")
    assert fractions["n_impurity"].tolist() == list(CLUSTERS)
    truth = marks["is_impurity"].mean()
    inside = (fractions["number_lower"] <= truth) & (truth <= fractions["number_upper"])
    assert inside.all()
    assert cv2.imread(str(out / "strangest.png")) is not None
    assert len(list((out / "heat").glob("*.png"))) == 4
    assert "<img" in (out / "impurity.html").read_text()
    # The share of the run by the other command, from the files of this one.
    said = invoke(
        "impurity", "shares", out / "scores.csv", "--confusion", out / "confusion.csv", "--run", run,
        "--out", tmp_path / "shares",
    )  # fmt: skip
    assert "impurity by volume" in said


def test_an_unknown_impurity_and_corrections(runs, tmp_path):
    model = tmp_path / "n" / "model.npz"
    pure = (runs / "run-pure", "--pictures", runs / "pure")
    said = invoke("impurity", "normal", *pure, "--false-alarm", 0.02, "--out", tmp_path / "n")
    assert "64 normal particles in 8 groups" in said
    assert "expected at least 999 normal" in invoke(
        "impurity", "normal", *pure, "--false-alarm", 0.001, "--out", tmp_path / "n", ok=False
    )
    mixed = (runs / "run-mixed", "--pictures", runs / "mixed")
    said = invoke("impurity", "score", model, *mixed, "--heat-maps", 0, "--out", tmp_path / "s")
    assert "at least these" in said
    scores = pd.read_csv(tmp_path / "s" / "scores.csv")
    marks = pd.read_csv(runs / "labels.csv")
    assert (
        scores.loc[marks["is_impurity"] == 1, "score"].min() > scores.loc[marks["is_impurity"] == 0, "score"].median()
    )
    trained = tmp_path / "m" / "model.npz"
    invoke("impurity", "train", *mixed, "--labels", runs / "labels.csv", "--out", tmp_path / "m")
    invoke("impurity", "score", trained, *mixed, "--out", tmp_path / "t", "--montage", 0)
    marks.head(6).assign(is_impurity=lambda t: 1 - t["is_impurity"]).to_csv(tmp_path / "c.csv", index=False)
    fixed = tmp_path / "f"
    said = invoke(
        "impurity", "correct", tmp_path / "t" / "scores.csv", tmp_path / "c.csv", "--model", trained,
        "--source", mixed[0], *mixed[1:], "--out", fixed,
    )  # fmt: skip
    assert "Of 6 corrected particles 6 were called wrongly" in said
    assert (fixed / "model.npz").exists()
    assert (fixed / "scores.csv").exists()
    assert "expected --source" in invoke(
        "impurity", "correct", tmp_path / "t" / "scores.csv", tmp_path / "c.csv", "--model", trained, "--out", fixed,
        ok=False,
    )  # fmt: skip


def test_crops_in_folders(tmp_path):
    crops = tmp_path / "crops"
    for name, clusters in (("cex", 0), ("pg", 1)):
        (crops / name).mkdir(parents=True)
        for k in range(4):
            cut = slurry((150, 320), clusters, 50 + k)[0][10:75, 10:80]
            for turn in range(2):
                cv2.imwrite(str(crops / name / f"{name}{k}{turn}.png"), np.rot90(cut, turn))
    said = invoke("impurity", "train", crops, "--impurity", "pg", "--out", tmp_path / "m")
    assert "8 crops are copies of others" in said
    assert "16 particles in 8 groups, 8 of them impurity" in said
    said = invoke("impurity", "score", tmp_path / "m" / "model.npz", crops, "--out", tmp_path / "s")
    scores = pd.read_csv(tmp_path / "s" / "scores.csv")
    assert (scores["is_impurity"] == scores["file"].str.startswith("pg")).all()
    assert "expected pictures in a folder" in invoke(
        "impurity", "train", crops, "--impurity", "xy", "--out", tmp_path / "m", ok=False
    )
    assert "expected --labels" in invoke("impurity", "train", crops, "--out", tmp_path / "m", ok=False)


def test_what_does_not_fit_is_said(runs, tmp_path):
    run, out = runs / "run-mixed", ("--out", tmp_path / "m")
    assert "expected --pictures with a run" in invoke(
        "impurity", "train", run, "--labels", runs / "labels.csv", *out, ok=False
    )
    other = ("--pictures", runs / "pure")
    assert "expected the picture that was analysed" in invoke("impurity", "normal", run, *other, *out, ok=False)
    pictures = ("--pictures", runs / "mixed")
    for text, message in (
        ("file,particle\nf0.png,1\n", "expected a column is_impurity"),
        ("file,particle,is_impurity\nf0.png,1,2\n", "expected is_impurity 0 or 1"),
        ("file,particle,is_impurity\nf0.png,9999,1\n", "expected marked particles among"),
        ("file,is_impurity\nf0.png,1\n", "expected a column particle"),
        ("file,particle,is_impurity\nf0.png,1,1\n", "none of the target"),
    ):
        (tmp_path / "l.csv").write_text(text)
        assert message in invoke(
            "impurity", "train", run, *pictures, "--labels", tmp_path / "l.csv", *out, ok=False
        ).replace("\n", " ")
    assert "expected a model of particles" in invoke(
        "impurity", "score", tmp_path / "none.npz", run, *pictures, *out, ok=False
    )
