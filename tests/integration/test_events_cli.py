"""The commands events and solubility as a user meets them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from bench.events.exports import report
from typer.testing import CliRunner

from crystalscope.cli import app
from crystalscope.core import EVENT_FIELDS
from crystalscope.core.particles import ledger_frame
from crystalscope.events import MSZW_COLUMNS
from crystalscope.io.tables import write_table
from crystalscope.phase import POINT_COLUMNS

runner = CliRunner()


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Two reports of the same vials at two rates."""
    folder = tmp_path_factory.mktemp("exports")
    for name, rate, shift in (("slow", 2.0, 0.0), ("fast", 5.0, 1.0)):
        text = report(
            rate=rate, cycles=2, spacing_s=5, clear_c=tuple(c + shift for c in (41.0, 43.0, 45.0, 47.0)),
            cloud_c=tuple(c - shift for c in (27.0, 29.0, 31.0, 33.0)),
        )  # fmt: skip
        (folder / f"{name}.csv").write_text(text.replace("simulated", name), encoding="utf-8")
    return folder


def run(*args):
    got = runner.invoke(app, [str(a) for a in args])
    assert got.exit_code == 0, got.output
    return got


def test_events_of_reports(exports, tmp_path):
    got = run("events", exports / "slow.csv", exports / "fast.csv", "--out", tmp_path, "--png")
    assert "slow, reactor 1, cycle 1 (5 mg/ml): cloud 2" in got.output
    rows = json.loads((tmp_path / "events.json").read_text(encoding="utf-8"))
    assert all(list(r) == [name for name, _ in EVENT_FIELDS] for r in rows)
    table = pd.DataFrame(rows)
    reached = table[(table["status"] == "reached") & (table["cycle"] > 0)]
    assert len(reached) == 2 * 4 * 2 * 2
    slow = reached[(reached["experiment"] == "slow") & (reached["kind"] == "clear") & (reached["reactor"] == "2")]
    assert slow["temperature_c"].tolist() == pytest.approx([43, 43], abs=0.3)
    assert (tmp_path / "timeline_slow.png").stat().st_size > 10_000


def test_solubility_of_reports_and_of_their_events(exports, tmp_path):
    one = run("solubility", exports / "slow.csv", exports / "fast.csv", "--out", tmp_path / "a")
    run("events", exports / "slow.csv", exports / "fast.csv", "--out", tmp_path / "b", "--no-plots")
    two = run("solubility", tmp_path / "b", "--out", tmp_path / "b")
    for name in ("solubility.csv", "mszw.csv"):
        a, b = (pd.read_csv(tmp_path / d / name) for d in "ab")
        pd.testing.assert_frame_equal(a, b, rtol=1e-3)
    assert "Zone width, nyvlt" in one.output
    assert "X in Y: " in two.output
    table = pd.read_csv(tmp_path / "a" / "solubility.csv")
    assert list(table.columns) == list(POINT_COLUMNS)
    assert (table["what"] == "fitted").sum() == 101
    widths = pd.read_csv(tmp_path / "a" / "mszw.csv")
    assert list(widths.columns) == list(MSZW_COLUMNS)
    assert (widths["mszw_c"] > 0).all()
    assert "<svg" in (tmp_path / "a" / "phase_diagram.svg").read_text(encoding="utf-8")
    fits = json.loads((tmp_path / "a" / "fits.json").read_text(encoding="utf-8"))
    assert {f["model"] for f in fits["zone_widths"]} == {"nyvlt", "kubota", "sangwal"}


def test_the_same_bytes_twice(exports, tmp_path):
    for name in "ab":
        run("solubility", exports / "slow.csv", "--out", tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_one_rate_is_said_to_be_biased(exports, tmp_path):
    got = run("solubility", exports / "slow.csv", "--out", tmp_path)
    assert "one heating rate (2 deg C/min): the clear points" in got.output
    assert "at least two cooling rates" in got.output


def test_units_need_densities(exports, tmp_path):
    got = runner.invoke(app, ["solubility", str(exports / "slow.csv"), "--out", str(tmp_path), "--unit", "g/kg"])
    assert got.exit_code == 2
    assert "expected the density of the solvent" in got.output
    run("solubility", exports / "slow.csv", "--out", tmp_path, "--unit", "g/kg", "--density", "0.8")
    table = pd.read_csv(tmp_path / "solubility.csv")
    assert table["concentration"].min() == pytest.approx(5 / 0.8, rel=0.1)


def test_a_table_of_points(tmp_path):
    t = np.linspace(10, 60, 9)
    for form, a in (("I", 8.0), ("II", 7.8)):
        pd.DataFrame({"T": t, "c": np.exp(a + 4 - 3000 / (t + 273.15))}).to_csv(tmp_path / f"{form}.csv", index=False)
    forms = (tmp_path / "I.csv", tmp_path / "II.csv")
    columns = ("--temperature-column", "T", "--concentration-column", "c", "--given-unit", "mg/ml")
    got = run("solubility", *forms, *columns, "--out", tmp_path / "run")
    assert "the curves do not cross between 10.0 and 60.0 deg C" in got.output


def test_a_mapped_table_with_a_concentration_of_ones_own(tmp_path):
    time = np.arange(0, 20000, 10.0)
    degrees = np.interp(time, [0, 1800, 7800, 11400, 17400, 20000], [60, 60, 10, 10, 60, 60])
    signal = np.where((time > 5000) & (time < 15000), 4, 100)
    table = pd.DataFrame({"t/min": time / 60, "T": degrees * 1.8 + 32, "light": signal})
    table.to_csv(tmp_path / "own.csv", index=False, sep=";", decimal=",")
    toml = 'time = "t/min"\ntime_unit = "min"\ntemperature = "T"\ntemperature_unit = "F"\n[signals]\nA = "light"\n'
    (tmp_path / "map.toml").write_text(toml, encoding="utf-8")
    got = run(
        "events",
        tmp_path / "own.csv",
        "--map",
        tmp_path / "map.toml",
        "--concentration",
        "A=12",
        "--out",
        tmp_path / "run",
    )
    assert "reactor A, cycle 1 (12 mg/ml): cloud 33.29 deg C" in got.output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["events", "{}/slow.csv"], "expected --out"),
        (["events", "{}/none.csv", "--out", "x"], "No such file"),
        (["events", "{}/slow.csv", "--out", "x", "--concentration", "9=1"], "got '9'"),
        (["events", "{}/slow.csv", "--out", "x", "--concentration", "nonsense"], "REACTOR=VALUE"),
        (["events", "{}/slow.csv", "--out", "x", "--concentration", "1=much"], "expected a concentration"),
        (["solubility", "{}/slow.csv", "--out", "x", "--model", "magic"], "expected a model of"),
        (["solubility", "{}/slow.csv", "--out", "x", "--temperature-column", "T"], "expected --given-unit"),
        (["solubility", "{}", "--out", "x"], "run crystalscope events first"),
    ],
)
def test_errors_are_one_line(exports, args, message):
    got = runner.invoke(app, [a.format(exports) for a in args])
    assert got.exit_code == 2, got.output
    assert message in got.output
    assert "Traceback" not in got.output


def test_events_of_a_run_of_pictures(tmp_path, rng):
    """The ledger, labels and particles of a run; the labels decide what is there."""
    time = np.arange(0, 7800, 30.0)
    degrees = np.interp(time, [0, 600, 3600, 5400, 7200, 7800], [50, 50, 20, 20, 50, 50])
    there = (time > 2000) & (time < 6500)
    counts = np.where(there, 5, 0)
    rows = [
        {
            "frame": i,
            "file": f"{i}.png",
            "time_s": t,
            "temperature_c": c,
            "status": "ok" if n else "empty",
            "n_particles": n,
        }
        for i, (t, c, n) in enumerate(zip(time, degrees, counts, strict=True))
    ]
    write_table(tmp_path / "frames.parquet", ledger_frame(rows))
    frame = np.repeat(np.arange(time.size), counts)
    length = np.clip((np.minimum(time[frame], 5400) - 1900) / 60 * 5, 1, None) * (
        1 + 0.02 * rng.normal(size=frame.size)
    )
    crystals = pd.DataFrame(
        {"frame": frame, "length_um": length, "ecd_um": 0.8 * length, "in_focus": True, "kind": "crystal"}
    )
    write_table(tmp_path / "particles.parquet", crystals)
    table = pd.DataFrame({"file": [f"{i}.png" for i in range(time.size)], "time_s": time})
    for name, on in (("object_present", there), ("droplets", there & (time < 2600)), ("block", (time > 2600) & there)):
        # A threshold of 0.3 is in force.
        table[name], table[f"is_{name}"] = np.where(on, 0.4, 0.2), on.astype(int)
    table.to_csv(tmp_path / "labels.csv", index=False)
    run("events", tmp_path)
    events = pd.DataFrame(json.loads((tmp_path / "events.json").read_text(encoding="utf-8")))
    found = events[events["status"] == "reached"].set_index("kind")
    assert found.loc["cloud", "time_s"] == pytest.approx(2000, abs=30)
    assert found.loc["clear", "time_s"] == pytest.approx(6500, abs=30)
    assert found.loc["oiling_out", "time_s"] == pytest.approx(2000, abs=30)
    assert found.loc["growth_rate", "value"] == pytest.approx(5, rel=0.05)
    assert found.loc["cloud", "signal"] == "object_present"
    # The network does not see the first two pictures with crystals yet, nor does a ghost far before make an event.
    first = int(np.flatnonzero(there)[0])
    table.loc[[first, first + 1], ["object_present", "is_object_present"]] = [0.2, 0]
    table.to_csv(tmp_path / "labels.csv", index=False)
    write_table(
        tmp_path / "frames.parquet", ledger_frame([r | {"n_particles": 1} if k == 5 else r for k, r in enumerate(rows)])
    )
    run("events", tmp_path)
    again = pd.DataFrame(json.loads((tmp_path / "events.json").read_text(encoding="utf-8")))
    again = again[again["status"] == "reached"].set_index("kind")
    assert again.loc["cloud", "time_s"] == found.loc["cloud", "time_s"]
    # Bubbles from the start of the stirrer into the cooling leave the vial clear.
    swarm = time < 1200
    table["bubble"], table["is_bubble"] = np.where(swarm, 0.9, 0.1), swarm.astype(int)
    table.loc[swarm, ["object_present", "is_object_present"]] = [0.9, 1]
    table.to_csv(tmp_path / "labels.csv", index=False)
    run("events", tmp_path)
    stirred = pd.DataFrame(json.loads((tmp_path / "events.json").read_text(encoding="utf-8")))
    stirred = stirred[stirred["status"] == "reached"].set_index("kind")
    assert stirred.loc["cloud", "time_s"] == found.loc["cloud", "time_s"]
    assert stirred.loc["clear", "time_s"] == found.loc["clear", "time_s"]
    # A speck that lies in every picture is no first crystal.
    speck = crystals.head(1).assign(length_um=5.0, ecd_um=4.0)
    specks = [speck.assign(frame=k) for k in range(time.size)]
    write_table(tmp_path / "particles.parquet", pd.concat([crystals, *specks], ignore_index=True))
    run("events", tmp_path)
    specked = pd.DataFrame(json.loads((tmp_path / "events.json").read_text(encoding="utf-8")))
    assert specked[specked["kind"] == "cloud"]["time_s"].iloc[0] == found.loc["cloud", "time_s"]
    write_table(tmp_path / "particles.parquet", crystals)
    late = 100 * np.exp(-(np.clip((time - 2000) / 900, 0, None) ** 3))
    record = pd.DataFrame(
        {"time_s": time, "temperature_c": degrees, "transmissivity": np.where(time > 6500, 100, late)}
    )
    record.to_csv(tmp_path / "light.csv", index=False)
    run("events", tmp_path, tmp_path / "light.csv", "--out", tmp_path / "both")
    lead = pd.read_csv(tmp_path / "both" / "lead.csv")
    assert len(lead) == 1
    assert 60 < lead["lead_s"].iloc[0] < 600
    assert (tmp_path / "both" / "lead.svg").exists()


@pytest.mark.data
def test_phase_diagram_of_peg(data, tmp_path):
    export = next((data / "crystal16").glob("PEG_n-Butyl*"))
    got = run("solubility", export, "--out", tmp_path, "--png")
    assert "PEG in n-Butyl Acetate: van_t_hoff" in got.output
    assert (tmp_path / "phase_diagram.png").exists()
    assert len(pd.read_csv(tmp_path / "mszw.csv")) == 8
