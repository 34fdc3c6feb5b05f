"""From a folder to a run: the contract, resuming, and every bad input of a laboratory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from tests.conftest import picture, save
from tests.unit.io.test_pictures import huge_png

from crystalscope.config import load_config
from crystalscope.core import FRAME_COLUMNS, LABELS, headers
from crystalscope.errors import ConfigError, CrystalscopeError, InputError, ReadError, WriteError
from crystalscope.io.coco import read_coco
from crystalscope.io.tables import read_table
from crystalscope.pipeline import analyze
from crystalscope.results import MORE_FILES, RUN_FILES

QUICK = {"segmenter": "threshold", "size": {"replicates": 100}, "report": {"overlays": 1, "montage": 4}}
DISCS = [(30, 40, 12), (70, 100, 9)]


def run(folder, out, **tables):
    config = load_config(**{**QUICK, **tables})
    return analyze(folder, out, config=config)


def ledger(out):
    return read_table(out / "frames.parquet")


def test_the_contract(folder, tmp_path):
    out = tmp_path / "run"
    log = tmp_path / "log.csv"
    log.write_text("time_s,temperature_c\n0,40\n30,25\n")
    given = {"pixel_size_um": 2.0, "time_pattern": r"_t(?P<seconds>\d+)s", "log": str(log)}
    summary = run(folder, out, input=given)
    names = {p.name for p in out.iterdir()}
    assert {*RUN_FILES, "labels.csv", "outcome.csv"} <= names <= {*RUN_FILES, *MORE_FILES}
    particles, frames = read_table(out / "particles.parquet"), ledger(out)
    assert list(particles) == headers("um")
    assert list(frames) == [*(c.name for c in FRAME_COLUMNS), *LABELS]
    assert frames["time_s"].tolist() == [0, 10, 20, 30, 40, 50]
    assert frames["temperature_c"].tolist()[:4] == [40, 35, 30, 25]
    assert frames["temperature_c"].isna().tolist() == [False] * 4 + [True] * 2
    assert "gives no temperature for 2 of 6 frames" in " ".join(summary["warnings"])
    assert summary["frames"] == {"ok": 6, "empty": 0, "rejected": 0, "failed": 0}
    counted = particles[particles["in_focus"]]
    assert frames["n_particles"].sum() == len(counted) == summary["n_particles"]
    coco = read_coco(out / "annotations.coco.json")
    assert sum(len(a.ids) for a in coco) == len(counted)
    assert set(np.concatenate([a.ids for a in coco])) == set(counted["particle"])
    for annotated in coco:
        for i, number in enumerate(annotated.ids):
            row = particles[particles["particle"] == number].iloc[0]
            assert row["area_um2"] == pytest.approx(4 * annotated.instances.crop(i).sum())
    sizes = pd.read_csv(out / "sizes.csv")
    assert list(sizes) == ["size", "q0", "Q0", "q3", "Q3"]
    toml = tomllib.loads((out / "run.toml").read_text())
    assert toml["config"]["input"]["pixel_size_um"] == 2.0
    assert len(toml["inputs"]) == 6
    assert all(len(v) == 64 for v in toml["inputs"].values())
    html = (out / "report.html").read_text()
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?https?:""", html)
    assert str(tmp_path) not in (out / "summary.json").read_text()


def test_without_a_scale_everything_is_in_px(folder, tmp_path):
    summary = run(folder, tmp_path / "run")
    assert summary["unit"] == "px"
    assert "no scale was given" in " ".join(summary["warnings"])
    columns = list(read_table(tmp_path / "run" / "particles.parquet"))
    assert "ecd_px" in columns
    assert not [c for c in columns if "um" in c.split("_")]


def test_scale_only_scales(folder, tmp_path):
    run(folder, tmp_path / "a")
    run(folder, tmp_path / "b", input={"pixel_size_um": 3.0})
    a, b = (read_table(tmp_path / x / "particles.parquet") for x in "ab")
    np.testing.assert_allclose(b["ecd_um"], 3 * a["ecd_px"])
    np.testing.assert_allclose(b["area_um2"], 9 * a["area_px2"])


def test_same_bytes_also_with_another_number_of_threads(folder, tmp_path):
    config = load_config(**QUICK)
    for name, workers in (("a", 1), ("b", 4)):
        analyze(folder, tmp_path / name, config=config, workers=workers)
    for name in RUN_FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_complete_run_is_left_alone_and_another_needs_overwrite(folder, tmp_path):
    out = tmp_path / "run"
    run(folder, out)
    before = (out / "report.html").stat().st_mtime_ns
    run(folder, out)
    assert (out / "report.html").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="another --out, or --overwrite"):
        run(folder, out, post={"min_area_px": 60})
    analyze(folder, out, config=load_config(**QUICK, post={"min_area_px": 60}), overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match="got other files"):
        run(folder, tmp_path / "other")
    with pytest.raises(ConfigError, match="got the file"):
        run(folder, tmp_path / "other" / "thesis.txt")


def test_killed_in_the_middle_goes_on_and_gives_the_same(tmp_path):
    for i in range(160):
        save(tmp_path / "pictures" / f"f_{i:03d}.png", picture([(30 + i % 50, 60, 9)], seed=i))
    code = (
        "import sys; from crystalscope.pipeline import analyze; from crystalscope.config import load_config;"
        "analyze(sys.argv[1], sys.argv[2], config=load_config(segmenter='threshold', size={'replicates': 100},"
        " report={'overlays': 1,"
        " 'montage': 4}), workers=1)"
    )
    out = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "pictures"), str(out)])
    deadline = time.monotonic() + 120
    while not list(out.glob(".parts/frames-*.parquet")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "run.toml").exists()
    assert list(out.glob(".parts/frames-*.parquet"))
    summary = run(tmp_path / "pictures", out)
    run(tmp_path / "pictures", tmp_path / "whole")
    assert summary["n_frames"] == 160
    assert not (out / ".parts").exists()
    for name in RUN_FILES:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_bad_pictures_are_rows_with_a_reason(folder, tmp_path):
    save(folder / "g0.png", np.full((1, 1), 9, np.uint8))
    save(folder / "g1.png", np.zeros((120, 160), np.uint8))
    save(folder / "g2.png", np.full((120, 160), 255, np.uint8))
    (folder / "g3.png").write_bytes((folder / "frame_0_t0s.png").read_bytes()[:900])
    (folder / "g4.png").write_text("not a picture")
    (folder / "g5.png").write_bytes(huge_png(30_000, 30_000))
    (folder / "g6.mp4").write_bytes(b"no video")
    save(folder / "g7.png", picture(DISCS, shape=(200, 210)))
    alpha = np.dstack([np.repeat(picture(DISCS)[:, :, None], 3, 2), np.full((120, 160), 128, np.uint8)])
    save(folder / "g8.png", alpha)
    tifffile.imwrite(folder / "g9.tif", picture(DISCS).astype(np.uint16) << 4)
    # The discs stand at one place in all of them: they are not dust.
    summary = run(folder, tmp_path / "run", prepare={"static": "off"})
    rows = ledger(tmp_path / "run").set_index("file")
    expected = {
        "g0.png": ("rejected", "1 x 1 px"),
        "g1.png": ("rejected", "every pixel is 0"),
        "g2.png": ("rejected", "every pixel is 255"),
        "g3.png": ("failed", "truncated"),
        "g4.png": ("failed", "no picture"),
        "g5.png": ("failed", "30000 x 30000"),
        "g6.mp4#frame=0": ("failed", "video"),
        "g7.png": ("ok", ""),
        "g8.png": ("ok", "alpha channel ignored"),
        "g9.tif": ("ok", ""),
    }
    for name, (status, reason) in expected.items():
        assert rows.loc[name, "status"] == status, name
        assert reason in rows.loc[name, "reason"], name
    assert len(rows) == 16
    assert summary["frames"] == {"ok": 9, "empty": 0, "rejected": 3, "failed": 4}
    assert rows.loc["g9.tif", "n_particles"] == 2
    assert "7 of 16 frames were rejected or failed" in " ".join(summary["warnings"])
    assert "sizes" in " ".join(summary["warnings"])


def test_contradictory_times_lose_no_frame(tmp_path):
    for i, t in enumerate((0, 10, 10, 5, 30)):
        save(tmp_path / "p" / f"{i}_t{t}s.png", picture(DISCS, seed=i))
    run(tmp_path / "p", tmp_path / "run", input={"time_pattern": r"_t(?P<seconds>\d+)s"})
    rows = ledger(tmp_path / "run")
    assert (rows["n_particles"] == 2).all()
    assert rows["time_s"].notna().sum() == 3
    assert rows.loc[rows["time_s"].isna(), "reason"].str.contains("dropped").all()


def test_a_run_that_starts_with_a_hundred_empty_frames(tmp_path):
    for i in range(110):
        save(
            tmp_path / "p" / f"{i}.png",
            picture(DISCS if i >= 100 else [], shape=(64, 96) if i < 0 else (120, 160), seed=i),
        )
    summary = run(tmp_path / "p", tmp_path / "run")
    assert summary["frames"]["empty"] == 100
    assert summary["frames"]["ok"] == 10
    assert summary["n_particles"] == 20


def test_an_empty_run_is_a_run(tmp_path):
    for i in range(6):
        save(tmp_path / "p" / f"{i}.png", picture(seed=i))
    summary = run(tmp_path / "p", tmp_path / "run")
    assert summary["n_particles"] == 0
    assert summary["corrected"]["volume"]["D50"] == {
        "value": None,
        "lower": None,
        "upper": None,
        "reason": "no particles",
    }
    assert "No particle in focus" in (tmp_path / "run" / "report.html").read_text()
    assert len(read_table(tmp_path / "run" / "particles.parquet")) == 0


def test_nothing_readable_is_an_error(tmp_path):
    (tmp_path / "p").mkdir()
    with pytest.raises(ReadError, match="empty folder"):
        run(tmp_path / "p", tmp_path / "run")
    for i in range(2):
        (tmp_path / "p" / f"{i}.png").write_text("text")
    with pytest.raises(ReadError, match="all 2 failed"):
        run(tmp_path / "p", tmp_path / "run")


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_impossible_scales(scale):
    with pytest.raises(CrystalscopeError, match="pixel_size_um"):
        load_config(input={"pixel_size_um": scale})


def test_unwritable_output(folder, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(CrystalscopeError):
        run(folder, tmp_path / "file" / "run")
    if os.path.exists("/dev/full"):
        from unittest.mock import patch

        from crystalscope.io import tables

        real = tables.Path.open

        def full(self, mode="r", *args, **kwargs):
            return real(Path("/dev/full") if "w" in mode and "jsonl" in self.name else self, mode, *args, **kwargs)

        with patch.object(tables.Path, "open", full), pytest.raises(WriteError, match="free space"):
            run(folder, tmp_path / "run")
        assert run(folder, tmp_path / "run")["n_frames"] == 6  # it goes on afterwards


def test_static_dust_is_kept_out_of_the_counts(tmp_path):
    for i in range(14):
        save(tmp_path / "p" / f"{i}.png", picture([(30, 40, 8), (80, 14 + 9 * i, 9)], seed=i))
    summary = run(tmp_path / "p", tmp_path / "run")
    assert summary["n_particles"] == 14
    assert summary["n_static"] == 14


@pytest.mark.parametrize("background", ["none", "rolling_ball", "frames_median", "mog2"])
def test_other_backgrounds_through_the_chain(folder, tmp_path, background):
    summary = run(folder, tmp_path / "run", prepare={"background": background})
    assert summary["frames"]["ok"] == 6


def test_configuration_refuses_what_it_does_not_know(tmp_path):
    (tmp_path / "c.toml").write_text("[post]\nmin_area = 3\n")
    with pytest.raises(ConfigError, match=r"post\.min_area"):
        load_config(tmp_path / "c.toml")
    (tmp_path / "c.toml").write_text("[post\n")
    with pytest.raises(ConfigError, match="expected TOML"):
        load_config(tmp_path / "c.toml")
    with pytest.raises(ConfigError, match="check --config"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="go together"):
        load_config(input={"marked_um": 3})


def test_errors_have_built_in_parents():
    assert issubclass(ReadError, OSError)
    assert issubclass(InputError, ValueError)
