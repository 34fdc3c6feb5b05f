"""The design from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.unit.design.doe import SYSTEM, made, truth
from typer.testing import CliRunner

from crystalscope.campaign import report_frames, run_campaign, write_campaign
from crystalscope.cli import app
from crystalscope.design.conditions import find_violations
from crystalscope.design.outcome import CampaignSettings
from crystalscope.design.published import PublishedTwin
from crystalscope.design.saved import system_toml
from crystalscope.design.system import load_system, parse_system
from crystalscope.design.table import read_doe, table_of
from crystalscope.design.twin import DefaultTwin
from crystalscope.report.design import write_design_report
from crystalscope.testing import check_twin

runner = CliRunner()
ROOT = Path(__file__).parents[2]
FILES = {
    "predictions.csv", "models.csv", "pareto.csv", "next.csv", "synthetic.csv", "verdict.json", "report.html",
    "profile_chosen.csv",
}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    system = parse_system(SYSTEM, "test")
    (tmp_path / "system.toml").write_text(system_toml(system.model_dump(exclude_none=True)), encoding="utf-8")
    assert load_system(tmp_path / "system.toml") == system
    made(system).to_frame().to_csv(tmp_path / "doe.csv", index=False)
    return tmp_path / "doe.csv", tmp_path / "system.toml"


def test_a_table_becomes_recipes(files, tmp_path):
    table, system = files
    out = tmp_path / "run"
    start = ["design", str(table), "--system", str(system), "--out", str(out), "--next", "3", "--folds", "5"]
    got = runner.invoke(app, start)
    assert got.exit_code == 0, got.output
    assert {p.name for p in out.iterdir()} >= FILES
    predictions = pd.read_csv(out / "predictions.csv")
    assert list(predictions.columns) == ["row", "cqa", "mean", "lower", "upper", "level", "in_domain"]
    assert len(predictions) == 62
    loaded = load_system(system)
    proposed = table_of(pd.read_csv(out / "next.csv", dtype=object), loaded, attributes=False)
    assert len(proposed) == 3
    assert find_violations(proposed.conditions, loaded) == []
    front = pd.read_csv(out / "pareto.csv", dtype=object)
    assert find_violations(table_of(front, loaded, attributes=False).conditions, loaded) == []
    assert (front["chosen"] == "True").sum() == 1
    verdict = json.loads((out / "verdict.json").read_text(encoding="utf-8"))
    assert {a["attribute"] for a in verdict["attributes"]} == {"D50", "DoA"}
    profile = pd.read_csv(out / "profile_chosen.csv")
    assert (profile["time_s"].diff().dropna() > 0).all()
    assert "Verdict" in (out / "report.html").read_text(encoding="utf-8")

    # Further runs, simulated by the saved twin and compared
    new = made(loaded, 6, seed=4)
    right = new.to_frame()
    right[["D50", "DoA"]] = truth(new.conditions)
    right.to_csv(tmp_path / "new.csv", index=False)
    got = runner.invoke(
        app, ["design", "predict", str(out / "twin"), str(tmp_path / "new.csv"), "--out", str(tmp_path / "more")]
    )
    assert got.exit_code == 0, got.output
    assert "Experiments and predictions" in got.output
    assert len(pd.read_csv(tmp_path / "more" / "comparison.csv")) == 12


def test_plans_are_written(files, tmp_path):
    _, system = files
    got = runner.invoke(
        app, ["design", "plan", "--system", str(system), "--out", str(tmp_path / "plan.csv"), "-n", "9"]
    )
    assert got.exit_code == 0, got.output
    assert len(pd.read_csv(tmp_path / "plan.csv")) == 9


def test_what_is_wrong_is_said_in_a_line(files, tmp_path):
    table, system = files
    text = table.read_text().replace("DoA", "doa")
    table.write_text(text)
    got = runner.invoke(app, ["design", str(table), "--system", str(system), "--out", str(tmp_path / "run")])
    assert got.exit_code == 2
    assert "expected columns DoA" in got.output
    assert not (tmp_path / "run").exists()


def test_help_loads_no_learners():
    """Help is quick because what computes is imported when it is needed only."""
    code = (
        "import sys\nfrom crystalscope.cli import main\nsys.argv = ['crystalscope', 'design', '--help']\n"
        "try:\n    main()\nfinally:\n"
        "    print('loaded:', *sorted({'sklearn', 'xgboost', 'pymoo', 'numba', 'torch'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "predict" in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["loaded:"]


@pytest.mark.long
def test_both_twins_keep_the_contract():
    table = made(parse_system(SYSTEM, "test"), 14)
    check_twin(DefaultTwin(folds=3, augment=False), table)
    check_twin(PublishedTwin(quick=True, augment=False, repeats=3), table)


def test_the_example_is_read():
    table = read_doe(ROOT / "examples" / "doe.csv", load_system(ROOT / "examples" / "system.toml"))
    assert np.isfinite(table.values).sum(axis=0).tolist() == [31, 21, 15]
    assert np.bincount(table.conditions.segments).tolist() == [0, 18, 2, 1, 0, 4, 0, 3, 0, 3]


def test_nine_rows_say_little(data, tmp_path):
    """The 3 x 3 plan of potassium chloride: runs, and is told so."""
    system = parse_system(
        {
            "factors": [
                {"column": "AGITATOR_SPEED", "bounds": [200, 700]},
                {"column": "SEED_CRYSTAL_MASS", "bounds": [0, 2]},
            ],
            "attributes": [
                {"column": "MEAN_DIAMETER", "direction": "max", "sd": 5.0},
                {"column": "YIELD", "direction": "max", "sd": 5.0},
            ],
        },
        "test",
    )
    table = read_doe(data / "kcl-doe" / "crystallization_input_data.csv", system)
    campaign = run_campaign(table, settings=CampaignSettings(count=1, effort=(12, 3)))
    assert all(v.suffices is None for v in campaign.verdicts)
    assert "too little" in campaign.verdicts[0].reason
    write_campaign(campaign, tmp_path)
    assert json.loads((tmp_path / "verdict.json").read_text())["suffices"] is None
    row = pd.DataFrame(
        {"row": [1], "cqa": ["YIELD"], "experiment": [50.0], "mean": [52.0], "lower": [40.0], "upper": [60.0]}
    )
    frames = {**report_frames(campaign), "comparison": row.assign(inside=True), "agreement": "They agree."}
    text = write_design_report(campaign, tmp_path, frames).read_text(encoding="utf-8")
    assert "They agree." in text
    assert "row 1: YIELD" in text
