"""The plant from the command line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from crystalscope.cli import app
from crystalscope.io.tables import write_table, write_text
from crystalscope.plant.batch import simulate
from crystalscope.plant.kinetics import Charge, Seeds, load_kinetics, preset
from crystalscope.plant.profile import TemperatureProfile

runner = CliRunner()
START = ["--preset", "paracetamol-ethanol", "--concentration", "270", "--seed-loading", "0.05", "--seed-um", "60"]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "profile.csv"
    path.write_text("time_min,temperature_c\n0,40\n100,20\n110,25\n200,10\n")
    return path


def test_a_run_is_written_and_fitted_again(profile, tmp_path):
    out = tmp_path / "run"
    got = runner.invoke(app, ["plant", "run", str(profile), *START, "--points", "40", "--out", str(out)])
    assert got.exit_code == 0, got.output
    assert "DoA 0.000, crystallinity 1.000" in got.output
    table = pd.read_csv(out / "trajectory.csv")
    assert table["d50_3_um"].iloc[-1] > 80
    assert table["mass_error"].abs().max() < 2e-3
    sizes = pd.read_csv(out / "distributions.csv")
    last = sizes[sizes["time_s"] == sizes["time_s"].max()]
    assert last["Q3"].iloc[-1] == pytest.approx(1)
    assert (last["Q3"].diff().dropna() >= 0).all()
    for picture in ("trajectory.png", "sizes.png"):
        assert cv2.imdecode(np.fromfile(out / picture, np.uint8), cv2.IMREAD_COLOR) is not None
    settings = tomllib.loads((out / "run.toml").read_text(encoding="utf-8"))
    assert settings["charge"]["seeds"]["median_um"] == 60
    assert json.loads((out / "summary.json").read_text())["end"]["crystallinity"] == 1.0

    # The run, its own charge, and a start that is wrong by a factor of two
    wrong = tmp_path / "wrong.toml"
    text = (Path(__file__).parents[2] / "src/crystalscope/plant/presets/paracetamol-ethanol.toml").read_text("utf-8")
    write_text(wrong, text.replace("rate_um_per_s = 1841.0\norder = 1.602", "rate_um_per_s = 900.0\norder = 1.602"))
    fitted = tmp_path / "fit"
    arguments = ["--kinetics", str(wrong), "--free", "growth.rate_um_per_s", "--no-intervals", "--out", str(fitted)]
    got = runner.invoke(app, ["plant", "fit", str(out), *arguments])
    assert got.exit_code == 0, got.output
    growth = load_kinetics(fitted / "kinetics.toml").growth
    assert growth is not None
    assert growth.rate_um_per_s == pytest.approx(1841, rel=0.05)
    assert {"predictions.csv", "fit.json", "fit.png"} <= {p.name for p in fitted.iterdir()}


def test_the_same_run_twice_gives_the_same_bytes(profile, tmp_path):
    for name in ("a", "b"):
        runner.invoke(app, ["plant", "run", str(profile), *START, "--out", str(tmp_path / name)])
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_runs_of_analyze_are_fitted(tmp_path, rng):
    """Pictures of a growing batch: sizes alone, and what they cannot tell is said."""
    kinetics = preset("paracetamol-ethanol")
    temperature = TemperatureProfile.linear(40, 15, rate_c_per_min=0.2)
    charge = Charge(concentration_g_per_kg=270.0, seeds=Seeds(loading=0.05, median_um=60))
    times = np.linspace(0, temperature.duration_s, 12)
    run = simulate(kinetics, charge, temperature, times_s=times)
    frames, particles = [], []
    for i, time in enumerate(times):
        frames.append((i, float(time), float(temperature.at(time)), "ok"))
        by = run.cumulative(i, by="number")
        drawn = np.interp(rng.uniform(size=400), by, run.grid.faces)
        particles += [(i, float(x), True, "crystal") for x in drawn]
    folder = tmp_path / "pictures-run"
    write_table(folder / "frames.parquet", pd.DataFrame(frames, columns=["frame", "time_s", "temperature_c", "status"]))
    columns = ["frame", "ecd_um", "in_focus", "kind"]
    write_table(folder / "particles.parquet", pd.DataFrame(particles, columns=columns))
    write_text(folder / "run.toml", "[size]\ndefinition = 'ecd'\n")
    inside = tmp_path / "charge.toml"
    inside.write_text("concentration_g_per_kg = 270.0\n[seeds]\nloading = 0.05\nmedian_um = 60.0\n")
    arguments = ["--preset", "paracetamol-ethanol", "--free", "growth.rate_um_per_s", "--cells", "80"]
    got = runner.invoke(
        app, ["plant", "fit", str(folder), *arguments, "--charge", str(inside), "--out", str(tmp_path / "fit")]
    )
    assert got.exit_code == 0, got.output
    estimate = json.loads((tmp_path / "fit" / "fit.json").read_text())["estimates"][0]
    assert estimate["lower"] is None or estimate["lower"] < 1841
    assert estimate["upper"] is None or estimate["upper"] > 1841
    got = runner.invoke(app, ["plant", "fit", str(folder), *arguments, "--out", str(tmp_path / "fit")])
    assert got.exit_code == 2
    assert "give --charge" in got.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--concentration", "200"], "either --preset or --kinetics, got neither"),
        (["--preset", "sugar", "--concentration", "200"], "expected one of"),
        (["--preset", "paracetamol-ethanol"], "give --concentration or --charge"),
        (["--preset", "paracetamol-ethanol", "--concentration", "9", "--seed-um", "5"], "together, got one"),
        (["--preset", "paracetamol-ethanol", "--concentration", "-9"], "concentration_g_per_kg"),
    ],
)
def test_settings_that_make_no_sense(profile, tmp_path, arguments, message):
    got = runner.invoke(app, ["plant", "run", str(profile), *arguments, "--out", str(tmp_path / "run")])
    assert got.exit_code == 2
    assert message in got.output
    assert not (tmp_path / "run").exists()


def test_presets_are_listed_and_documented():
    got = runner.invoke(app, ["plant", "presets"])
    assert "potassium-sulfate-water: potassium sulfate in water" in got.output
    text = (Path(__file__).parents[2] / "docs" / "reference" / "plant.md").read_text(encoding="utf-8")
    for model in (preset("thermocycled-api"), Charge(concentration_g_per_kg=1, seeds=Seeds(loading=0.1, median_um=1))):
        for name, value in model:
            assert f"| `{name}` |" in text, name
            for inner in getattr(type(value), "model_fields", {}):
                assert f"| `{inner}` |" in text, f"{name}.{inner}"
