"""The command line as a user meets it, and the documentation of every command and setting."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from crystalscope import __version__
from crystalscope.cli import app
from crystalscope.config import AnalyzeConfig, SignalMap
from crystalscope.core import EVENT_FIELDS, FRAME_COLUMNS, PARTICLE_COLUMNS
from crystalscope.datasets import open_dataset
from crystalscope.scenes import Batch, Instrument, Population, Recipe, Window

ROOT = Path(__file__).parents[2]
runner = CliRunner()


def test_analyze_and_score(folder, tmp_path):
    out = tmp_path / "run"
    got = runner.invoke(app, ["analyze", str(folder), "--scale", "2", "--out", str(out), "--segmenter", "threshold"])
    assert got.exit_code == 0, got.output
    assert "particles in focus were counted in 6 frames" in got.output
    assert "ISO 13322-1" in got.output
    truth = out / "annotations.coco.json"
    got = runner.invoke(app, ["score", str(out), str(truth), "--out", str(tmp_path / "s.json")])
    assert json.loads((tmp_path / "s.json").read_text())["instances"]["f1"] == 1.0


def test_errors_are_one_line_and_status_2(tmp_path):
    got = runner.invoke(app, ["analyze", str(tmp_path), "--out", str(tmp_path / "run")])
    assert got.exit_code == 2
    assert got.output.strip().startswith("Error: expected pictures")
    assert "Traceback" not in got.output
    got = runner.invoke(app, ["analyze", str(tmp_path), "--scale", "-1", "--out", str(tmp_path / "run")])
    assert got.exit_code == 2
    assert "pixel_size_um" in got.output


def test_demo(tmp_path):
    got = runner.invoke(app, ["demo", "--out", str(tmp_path / "demo")])
    assert got.exit_code == 0, got.output
    assert (tmp_path / "demo" / "run" / "report.html").exists()


def test_help_and_version():
    assert runner.invoke(app, ["--version"]).output.strip() == f"crystalscope {__version__}"
    assert "analyze" in runner.invoke(app, ["--help"]).output


def test_help_imports_nothing_heavy():
    heavy = "{'numpy', 'pandas', 'cv2', 'numba', 'matplotlib'}"
    code = f"import sys, crystalscope.cli; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def command_names(group, prefix=""):
    names = [prefix + (c.name or c.callback.__name__) for c in group.registered_commands]
    for inner in group.registered_groups:
        names += command_names(inner.typer_instance, f"{prefix}{inner.name} ")
    return names


@pytest.mark.parametrize("command", command_names(app))
def test_every_command_is_documented(command):
    text = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    assert f"## crystalscope {command}\n" in text


def test_every_setting_and_column_is_documented():
    settings = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    for table, field in AnalyzeConfig.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            for name in field.annotation.model_fields:
                assert re.search(rf"\| `{name}` \|", settings), f"{table}.{name}"
    columns = (ROOT / "docs" / "reference" / "run-folder.md").read_text(encoding="utf-8")
    for c in (*PARTICLE_COLUMNS, *FRAME_COLUMNS):
        assert f"| `{c.name}` |" in columns, c.name
    assert all(f"| `{name}` |" in settings for name in SignalMap.model_fields)
    events = (ROOT / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in events for name, _ in EVENT_FIELDS)


@pytest.mark.parametrize("model", [Recipe, Instrument, Window, Population, Batch])
def test_every_setting_of_a_recipe_is_documented(model):
    text = (ROOT / "docs" / "reference" / "scenes.md").read_text(encoding="utf-8")
    for name in model.model_fields:
        assert f"| `{name}` |" in text, f"{model.__name__}.{name}"


def test_scenes_from_the_command_line(tmp_path):
    got = runner.invoke(app, ["scenes", "list"])
    assert "backlit-crystals" in got.output
    own = tmp_path / "probe.toml"
    own.write_text('[instrument]\nrows = 200\ncolumns = 220\n[populations.beads]\nbody = "sphere"\nsize = 30.0\n')
    out = tmp_path / "set"
    got = runner.invoke(app, ["scenes", "render", str(own), "--out", str(out), "-n", "2", "--seed", "3"])
    assert got.exit_code == 0, got.output
    dataset = open_dataset(out)
    assert len(dataset) == 2
    assert dataset.manifest.licence
    particles = pd.read_csv(out / "particles.csv")
    truth = dataset.truth()
    assert sum(len(t.instances) for t in truth.values()) == len(particles)
    assert {"ecd_px", "in_focus", "parent", "body_length_px"} <= set(particles.columns)
    assert (out / "sizes_population.csv").exists()
    # The recipe that was written renders the same pictures again.
    again = tmp_path / "again"
    runner.invoke(app, ["scenes", "render", str(out / "recipe.toml"), "--out", str(again), "-n", "2", "--seed", "3"])
    name = "images/frame_00001.png"
    assert (again / name).read_bytes() == (out / name).read_bytes()
    got = runner.invoke(app, ["scenes", "render", "nothing", "--out", str(out)])
    assert got.exit_code == 2
    assert "expected a preset" in got.output


def test_a_rendered_set_is_analysed_and_scored(tmp_path):
    out = tmp_path / "set"
    runner.invoke(app, ["scenes", "render", "beads", "--out", str(out), "-n", "2"])
    run = tmp_path / "run"
    got = runner.invoke(app, ["analyze", str(out / "images"), "--scale", "5", "--out", str(run)])
    assert got.exit_code == 0, got.output
    got = runner.invoke(app, ["score", str(run), str(out / "annotations.coco.json")])
    assert json.loads(got.output)["instances"]["f1"] > 0.9
