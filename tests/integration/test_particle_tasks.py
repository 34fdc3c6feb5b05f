"""Chords, sizes and impurities by the command line."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from crystalscope.cli import app
from crystalscope.core import PARTICLE_COLUMNS, ledger_frame, particle_frame
from crystalscope.io.tables import write_json, write_table, write_text
from crystalscope.size.chords import CHANNELS, chord_matrix

runner = CliRunner()


def invoke(*arguments, ok=True):
    got = runner.invoke(app, [str(a) for a in arguments])
    assert got.exit_code == (0 if ok else 2), got.output
    return got.output


def rectangle(length, width, turned, at):
    x, y = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]).T * np.array([[length / 2], [width / 2]])
    c, s = math.cos(turned), math.sin(turned)
    return np.column_stack([x * c - y * s, x * s + y * c]) + at


@pytest.fixture
def coco(tmp_path, rng):
    """Needles of 40 x 8 px in three pictures."""
    images, annotations = [], []
    for k in range(3):
        images.append({"id": k, "file_name": f"{k}.png", "height": 300, "width": 400})
        for _ in range(8):
            polygon = rectangle(40, 8, rng.uniform(0, math.pi), rng.uniform([40, 40], [360, 260]))
            entry = {"id": len(annotations), "image_id": k, "category_id": 1, "bbox": [0, 0, 1, 1], "area": 320}
            annotations.append(entry | {"segmentation": [polygon.ravel().tolist()], "iscrowd": 0})
    path = tmp_path / "needles.json"
    write_json(path, {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "crystal"}]})
    return path


@pytest.fixture
def probe(tmp_path, rng):
    """Records of a probe in rods of 5:1, length 200 um."""
    edges = np.array(CHANNELS["fine"])
    sizes = np.geomspace(60, 700, 121)
    number = np.exp(-0.5 * (np.log(np.sqrt(sizes[1:] * sizes[:-1]) / 200) / 0.3) ** 2)
    counts = chord_matrix(edges, sizes, shape="rod", ratio=5.0) @ number
    counts = 1e4 * counts / counts.max()
    table = {"Rel. Time (in s)": np.arange(6) * 10.0}
    for low, high, c in zip(edges[:-1], edges[1:], counts, strict=True):
        table[f"counts, No Wt, {low:.4f}-{high:.4f} (Primary)"] = rng.poisson(c, 6)
    path = tmp_path / "CLD.csv"
    pd.DataFrame(table).to_csv(path, index=False)
    return path


def test_chords_of_outlines(coco, tmp_path):
    said = invoke("chords", "images", coco, "--scale", 2, "--out", tmp_path / "a", "--channels", "0,8,16,24,100")
    assert "24 whole particles" in said
    table = pd.read_csv(tmp_path / "a" / "chords.csv")
    # By Cauchy: breadth over area of the field, in mm.
    expected = 24 * (2 * (80 + 16) / math.pi) / (3 * 300 * 400 * 4) * 1000
    assert table["count"].sum() == pytest.approx(expected, rel=0.2)
    assert (tmp_path / "a" / "chords.svg").exists()
    said = invoke(
        "chords", "images", coco, "--scale", 2, "--out", tmp_path / "b", "--circle-mm", 8, "--channels", "coarse"
    )
    assert "chords per mm" in said


def test_chords_back_to_sizes(probe, tmp_path):
    said = invoke(
        "chords", "invert", probe, "--shape", "rod", "--ratio", 5, "--replicates", 10, "--out", tmp_path / "a"
    )
    assert "D50_0 / um: 2" in said or "D50_0 / um: 19" in said
    found = json.loads((tmp_path / "a" / "inversion.json").read_text())
    assert found["figures"]["D50_0"]["value"] == pytest.approx(200, rel=0.03)
    assert found["length_to_width"]["reason"] == "given"
    again = tmp_path / "b"
    invoke("chords", "invert", probe, "--shape", "rod", "--ratio", 5, "--replicates", 10, "--out", again)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name


def test_pictures_beside_a_probe_and_a_mapping(coco, probe, tmp_path):
    said = invoke("chords", "compare", coco, probe, "--scale", 5, "--out", tmp_path / "a", "--directions", 30)
    assert "KS without weighting" in said
    statistics = pd.read_csv(tmp_path / "a" / "statistics.csv")
    assert set(statistics["weighting"]) == {"none", "square"}
    pd.DataFrame({"median": [50, 80, 120, 200.0], "d50": [110, 178, 260, 445.0]}).to_csv(
        tmp_path / "p.csv", index=False
    )
    said = invoke(
        "chords", "map", tmp_path / "p.csv", "--statistic", "median", "--size", "d50", "--out", tmp_path / "m"
    )
    assert "exponent: 1.0" in said or "exponent: 0.9" in said


def test_chords_of_sizes(tmp_path):
    text = "Size (um),Q3 (%)\n50,0\n100,20\n150,70\n200,100\n"
    (tmp_path / "sieve volume.csv").write_text(text)
    out = tmp_path / "a"
    said = invoke("chords", "forward", tmp_path / "sieve volume.csv", "--shape", "rod", "--ratio", 4, "--out", out)
    assert "no weighting" in said
    assert "expected --ratio" in invoke(
        "chords", "forward", tmp_path / "sieve volume.csv", "--shape", "rod", "--out", out, ok=False
    )


def test_chords_that_cannot_be(coco, probe, tmp_path):
    out = ("--out", tmp_path / "x")
    assert "a probe measures um; give --scale" in invoke("chords", "compare", coco, probe, *out, ok=False)
    assert "expected channels coarse, fine or edges" in invoke(
        "chords", "images", coco, "--channels", "some", *out, ok=False
    )
    assert "the folder of a run or a COCO file" in invoke("chords", "images", tmp_path / "no", *out, ok=False)
    trend = tmp_path / "trend CLD.csv"
    trend.write_text("Time (s),<10,10-50,50-150,150-300\n0,1,2,3,4\n10,1,-2,3,4\n")
    said = invoke("chords", "invert", trend, *out, ok=False)
    assert "at least 12 channels" in said
    trend.write_text("Time (s),<10,10-50,50-150,150-300\n0,1,-2,3,4\n")
    assert "got -2 in the channel 10-50" in invoke("chords", "invert", trend, *out, ok=False)
    data = json.loads(coco.read_text())
    for entry in data["annotations"]:
        entry["segmentation"] = [[0, 10, 400, 10, 400, 20, 0, 20]]
    long = tmp_path / "long.json"
    write_json(long, data)
    assert "got 24 that all touch the edge" in invoke("chords", "images", long, *out, ok=False)


def make_run(folder, rng, *, factor=1.0, n=600, median=200.0, grouped=0.2, cut=False):
    """A run of needles turned at random, some of them in pairs."""
    length = factor * median * np.exp(0.3 * rng.standard_normal(n))
    width = np.full(n, median / 10)
    sine = rng.uniform(0, 1, n)
    length = length * np.sqrt(1 - sine**2) + width * sine
    frame = np.sort(rng.integers(0, 20, n))
    values = {c.name: np.zeros(n, dtype=object if c.dtype == "str" else c.dtype) for c in PARTICLE_COLUMNS}
    values |= {
        "frame": frame,
        "file": np.array([f"{f:02d}.png" for f in frame], dtype=object),
        "particle": np.arange(1, n + 1),
        "score": rng.beta(8, 2, n),
        "kind": np.full(n, "crystal", dtype=object),
        "in_focus": np.ones(n, dtype=bool),
        "touches_border": np.full(n, cut),
        "agglomerate": np.where(rng.uniform(size=n) < grouped, 1, 0),
        "length": length,
        "width": width,
        "length_to_width": length / width,
        "area": length * width,
        "ecd": np.sqrt(4 * length * width / math.pi),
        "solidity": np.full(n, 0.9),
        "focus": np.full(n, 0.5),
        "border_weight": np.full(n, math.nan if cut else 1.0),
    }
    write_table(folder / "particles.parquet", particle_frame(values, pixel_size_um=1.0))
    rows = [{"frame": f, "file": f"{f:02d}.png", "status": "ok", "pixel_size_um": 1.0} for f in range(20)]
    write_table(folder / "frames.parquet", ledger_frame(rows))
    return folder


def test_needles_and_agglomeration_of_a_run(tmp_path, rng):
    run = make_run(tmp_path / "run", rng)
    said = invoke("size", "needles", run, "--orientation", "random", "--least-ratio", 1, "--out", tmp_path / "n")
    found = json.loads((tmp_path / "n" / "lengths.json").read_text())
    assert found["in_space"]["D50_0"]["value"] == pytest.approx(200, rel=0.08)
    assert "taken to be random" in said
    said = invoke("size", "agglomeration", run, "--out", tmp_path / "g")
    assert "Degree of agglomeration by number" in said
    assert len(pd.read_csv(tmp_path / "g" / "agglomeration_trend.csv")) == 12
    assert "taken out" not in said
    known = tmp_path / "known.csv"
    known.write_text("truth,single,agglomerate\nsingle,80,20\nagglomerate,10,90\n")
    said = invoke("size", "agglomeration", run, "--confusion", known, "--out", tmp_path / "k")
    assert "the errors of known bodies taken out" in said
    figures = json.loads((tmp_path / "k" / "agglomeration.json").read_text())
    measured, told = figures["by_number"]["value"], figures["by_number_corrected"]
    assert told["value"] == pytest.approx(min(max((measured - 0.2) / 0.7, 0), 1), abs=0.02)
    # A run of the network brings its own errors.
    write_text(run / "run.toml", '[config]\nsegmenter = "crystals"\n')
    assert "errors on rendered pictures taken out" in invoke("size", "agglomeration", run, "--out", tmp_path / "r")
    cut = make_run(tmp_path / "cut", rng, cut=True)
    said = invoke("size", "needles", cut, "--orientation", "random", "--out", tmp_path / "c", ok=False)
    assert "got 600 that all touch the edge" in said
    assert "without particles.parquet" in invoke("size", "agglomeration", tmp_path, "--out", tmp_path / "d", ok=False)


def campaign(tmp_path, rng, *, heading="Length (um)"):
    rows = []
    for batch, median in (("small", 100.0), ("large", 300.0)):
        size = median * np.exp(0.3 * np.linspace(-2.8, 2.8, 60))
        share = 50 * (1 + np.vectorize(math.erf)(np.linspace(-2.8, 2.8, 60) / math.sqrt(2)))
        table = pd.DataFrame({heading: size, "Number undersize (%)": share})
        table.to_csv(tmp_path / f"{batch}.csv", index=False)
        for loading in (1.0, 5.0):
            name = f"{batch}-{loading:g}"
            make_run(tmp_path / name, rng, factor=math.exp(-0.03 * loading), median=median)
            rows.append({"run": name, "batch": batch, "loading": loading, "offline": f"{batch}.csv"})
    path = tmp_path / "campaign.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_calibrating_and_applying(tmp_path, rng):
    path = campaign(tmp_path, rng)
    said = invoke("size", "calibrate", path, "--out", tmp_path / "c", "--gates", "score")
    assert "D50 of a batch held back" in said
    held = pd.read_csv(tmp_path / "c" / "held_back.csv")
    middle = held[held["share"] == 0.5]
    assert middle["calibrated_error"].abs().max() < 0.08
    assert middle["measured_error"].abs().min() > 0.1
    said = invoke(
        "size",
        "apply",
        tmp_path / "c" / "calibration.toml",
        tmp_path / "large-5",
        "--loading",
        5,
        "--out",
        tmp_path / "a",
    )
    assert "length by number" in said
    assert "loading near 1 to 5, got 50" in invoke(
        "size", "apply", tmp_path / "c" / "calibration.toml", tmp_path / "large-5", "--loading", 50, "--out",
        tmp_path / "a", ok=False,
    )  # fmt: skip


def test_offline_sizes_of_another_definition(tmp_path, rng):
    path = campaign(tmp_path, rng, heading="CE Diameter (um)")
    said = invoke("size", "calibrate", path, "--out", tmp_path / "c", ok=False)
    assert "expected sizes by length" in said
    assert "by ecd" in said
    path.write_text("run,batch\na,b\n")
    assert "expected columns run, batch, loading, offline" in invoke(
        "size", "calibrate", path, "--out", tmp_path / "c", ok=False
    )


@pytest.fixture
def classed(tmp_path, rng):
    """A run with called classes, and known particles."""
    run = make_run(tmp_path / "run", rng)
    impure = rng.uniform(size=600) < 0.1
    called = rng.uniform(size=600) < np.where(impure, 0.9, 0.05)
    number = np.arange(1, 601)
    score = np.where(called, 0.8, 0.2) + 0.1 * rng.uniform(size=600)
    files = [f"{k % 20:02d}.png" for k in range(600)]
    table = pd.DataFrame(
        {"file": files, "particle": number, "score": score, "threshold": 0.5, "is_impurity": called.astype(int)}
    )
    table.to_csv(tmp_path / "scores.csv", index=False)
    known = pd.DataFrame({"true": ["target", "impurity"], "target": [285, 30], "impurity": [15, 270]})
    known.to_csv(tmp_path / "known.csv", index=False)
    return run, tmp_path / "scores.csv", tmp_path / "known.csv"


def test_shares_limits_and_alarms(classed, tmp_path):
    run, table, known = classed
    said = invoke("impurity", "shares", table, "--confusion", known, "--run", run, "--out", tmp_path / "s")
    assert "impurity by area" in said
    found = json.loads((tmp_path / "s" / "shares.json").read_text())
    f = found["number"]["impurity"]
    assert f["lower"] < 0.1 < f["upper"]
    assert found["apparent"]["impurity"] > f["value"]
    said = invoke("impurity", "alarm", table, "--confusion", known, "--out", tmp_path / "al", "--window", 10)
    assert "Alarm on at frame" in said
    said = invoke("impurity", "limit", "--per-frame", 40, "--frames", 50, "--confusion", known)
    assert "Limit of detection" in said
    assert "expected --confusion" in invoke("impurity", "limit", "--per-frame", 40, "--frames", 50, ok=False)


def test_corrections_by_file(classed, tmp_path):
    _, table, _ = classed
    scores = pd.read_csv(table)
    wrong = scores[scores["is_impurity"] == 1].head(3)
    wrong.assign(is_impurity=0)[["file", "particle", "is_impurity"]].to_csv(tmp_path / "c.csv", index=False)
    said = invoke("impurity", "correct", table, tmp_path / "c.csv", "--out", tmp_path / "o")
    assert "Of 3 corrected 3 were called wrongly, 0 now" in said or "now 0" in said
    again = pd.read_csv(tmp_path / "o" / "scores.csv")
    assert again["threshold"].iloc[0] > 0.5


def test_classes_that_cannot_be(classed, tmp_path):
    run, table, known = classed
    out = ("--out", tmp_path / "x")
    one = tmp_path / "one.csv"
    one.write_text("truth,predicted\ntarget,target\n")
    assert "at least two classes" in invoke("impurity", "shares", table, "--confusion", one, *out, ok=False)
    other = tmp_path / "other.csv"
    other.write_text("file,particle,class\na.png,9999,target\n")
    said = invoke("impurity", "shares", other, "--confusion", known, "--run", run, *out, ok=False)
    assert "particle 9999" in said
    other.write_text("file,particle\na.png,1\n")
    assert "expected a column class" in invoke("impurity", "shares", other, "--confusion", known, *out, ok=False)
