"""The command line as a user meets it, and the documentation of every command and setting."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crystalscope import __version__
from crystalscope.cli import app
from crystalscope.config import AnalyzeConfig
from crystalscope.core import FRAME_COLUMNS, PARTICLE_COLUMNS

ROOT = Path(__file__).parents[2]
runner = CliRunner()


def test_analyze_and_score(folder, tmp_path):
    out = tmp_path / "run"
    got = runner.invoke(app, ["analyze", str(folder), "--scale", "2", "--out", str(out)])
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


@pytest.mark.parametrize("command", [c.callback.__name__ for c in app.registered_commands])
def test_every_command_is_documented(command):
    text = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    assert f"crystalscope {command}" in text


def test_every_setting_and_column_is_documented():
    settings = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    for table, field in AnalyzeConfig.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            for name in field.annotation.model_fields:
                assert re.search(rf"\| `{name}` \|", settings), f"{table}.{name}"
    columns = (ROOT / "docs" / "reference" / "run-folder.md").read_text(encoding="utf-8")
    for c in (*PARTICLE_COLUMNS, *FRAME_COLUMNS):
        assert f"| `{c.name}` |" in columns, c.name
