"""Chord length tables of laser probes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from crystalscope.datasets.chord_tables import CHORD_COLUMNS, channel_of, is_chord_table, read_chord_tables

CHANNELS = ["<10", "10-50", "50-150", "150-300", "300-1000"]
EDGES = [(0, 10), (10, 50), (50, 150), (150, 300), (300, 1000)]


def only(path):
    found = read_chord_tables(path)
    assert len(found.tables) == 1, found.notes
    table = next(iter(found.tables.values()))
    assert tuple(table.columns) == CHORD_COLUMNS
    return table


@pytest.mark.parametrize(
    ("heading", "edges"),
    [
        ("counts, No Wt, <10 (Primary)", (0, 10)),
        ("counts, No Wt, 10-50 (Primary)", (10, 50)),
        ("150 to 300 um", (150, 300)),
        ("1,5-2,5", (1.5, 2.5)),
        (">1000", (1000, math.inf)),
        ("Mean, Sqr Wt, 1-1000", None),
        ("2024-01-05", None),
        ("Abs. Time (UTC+02 : 00)", None),
        ("50-10", None),
    ],
)
def test_channels_of_headings(heading, edges):
    assert channel_of(heading) == edges


def test_trend_of_an_instrument(tmp_path):
    table = pd.DataFrame({"Rel. Time (in s)": [2.0, 12.0], "Abs. Time (UTC+02 : 00)": ["03/02/2024 10:00:00"] * 2})
    for k, name in enumerate(CHANNELS):
        table[f"counts, No Wt, {name} (Primary)"] = [10.0 * k, 10.0 * k + 1]
        table[f"counts, Sqr Wt, {name} (Primary)"] = [100.0 * k, 100.0 * k + 1]
    table["counts, No Wt, 1-1000 (Primary)"] = 99
    table["counts, No Wt, <10 (Macro)"] = 7
    table["Fouling index (%) (Primary)"] = 0.5
    table.to_csv(tmp_path / "trend.csv", index=False)
    out = only(tmp_path / "trend.csv")
    assert out["time_s"].tolist() == [0] * 5 + [10] * 5
    assert list(zip(out["lower_um"], out["upper_um"], strict=True)) == EDGES * 2
    assert out["count"].tolist() == [0, 10, 20, 30, 40, 1, 11, 21, 31, 41]
    assert out["square_weighted"].tolist() == [0, 100, 200, 300, 400, 1, 101, 201, 301, 401]
    assert "1 columns left out that overlap" in out.attrs["read"]
    assert "1 columns of another weighting" in out.attrs["read"]


@pytest.mark.parametrize(
    ("stamps", "gap"),
    [
        (["2024-02-03 10:00:00", "2024-02-03 10:01:30"], 90),
        (["31/01/2024 23:59:00", "01/02/2024 00:00:30"], 90),
        (["1/2/2024 11:59:00 PM", "1/3/2024 12:00:30 AM"], 90),
        (["00:00:05", "00:01:35"], 90),
        (["1,5", "91,5"], 90),
    ],
)
def test_times(tmp_path, stamps, gap):
    lines = ["Time;" + ";".join(CHANNELS), *(";".join([s, "1", "2", "3", "4", "5"]) for s in stamps)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert only(tmp_path / "t.csv")["time_s"].unique().tolist() == [0, gap]


def test_minutes_workbooks_and_missing_times(tmp_path):
    table = pd.DataFrame([[0.0, 1, 2, 3, 4, 5], [1.5, 1, 2, 3, 4, 5]], columns=["Time (min)", *CHANNELS])
    table.to_excel(tmp_path / "CLD.xlsx", index=False)
    assert only(tmp_path / "CLD.xlsx")["time_s"].unique().tolist() == [0, 90]
    table.drop(columns="Time (min)").to_csv(tmp_path / "n.csv", index=False)
    assert only(tmp_path / "n.csv")["time_s"].isna().all()


def test_distribution_by_middles(tmp_path):
    edges = np.geomspace(1, 1000, 91)
    middle = np.sqrt(edges[1:] * edges[:-1])
    count = 100 * np.exp(-(np.log(middle / 60) ** 2))
    pd.DataFrame({"Channel midpoint (um)": middle, "No Wt": count, "Sqr Wt": count * middle**2, "Mean": 1.0}).to_csv(
        tmp_path / "d.csv", index=False
    )
    out = only(tmp_path / "d.csv")
    assert out["lower_um"].to_numpy() == pytest.approx(edges[:-1])
    assert out["upper_um"].to_numpy() == pytest.approx(edges[1:])
    assert out["count"].to_numpy() == pytest.approx(count)
    assert out["square_weighted"].to_numpy() == pytest.approx(count * middle**2)


def test_distribution_of_several_suspensions_by_edges(tmp_path):
    edges = np.array([1.0, 10, 50, 150, 1000])
    pd.DataFrame(
        {"Lower": edges[:-1], "Upper": edges[1:], "Wollastonite 1 wt% counts": [1, 2, 3, 4], "LGA counts": [5, 6, 7, 8]}
    ).to_csv(tmp_path / "cld.csv", index=False)
    found = read_chord_tables(tmp_path / "cld.csv").tables
    assert sorted(found) == ["cld LGA", "cld Wollastonite 1 wt%"]
    assert found["cld LGA"]["count"].tolist() == [5, 6, 7, 8]
    assert found["cld LGA"]["upper_um"].tolist() == [10, 50, 150, 1000]


def test_what_is_a_chord_table(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    assert is_chord_table(tmp_path / "a.csv", name="ParticleTrack G400/a.csv")
    assert not is_chord_table(tmp_path / "a.csv", name="CLD and particle size/a.csv")
    assert not is_chord_table(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("Time," + ",".join(CHANNELS) + "\n1,2,3,4,5,6\n")
    assert is_chord_table(tmp_path / "b.csv")
    nothing = read_chord_tables(tmp_path / "a.csv")
    assert not nothing.tables
    assert "no channels" in nothing.notes[0]
