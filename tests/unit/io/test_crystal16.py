"""Crystal16 reports: what is read, and what is said of each fault."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from bench.events.exports import report

from crystalscope.errors import ReadError
from crystalscope.io.clock import dates_s, elapsed_s, mend_clock, spread_minutes
from crystalscope.io.crystal16 import read_crystal16, vial_of


@pytest.fixture(scope="module")
def text() -> str:
    return report(rate=5.0, cycles=1, spacing_s=20)


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "export.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_what_a_report_holds(text, tmp_path):
    got = read_crystal16(write(tmp_path, text))
    assert list(got.signals) == ["1", "2", "3", "4"]
    assert got.notes == ()
    assert got.experiment == "simulated"
    assert got.vial("3").concentration == 30
    assert got.vial("3").unit == "mg/ml"
    assert got.vial("3").sample == "X in Y"
    assert got.time_s[0] == 0
    assert np.allclose(np.diff(got.time_s), 20)
    assert got.temperature_c.max() == 60
    assert [s.kind for s in got.programme][:4] == ["heat", "hold", "tune", "hold"]
    cool = next(s for s in got.programme if s.kind == "cool")
    assert (cool.temperature_c, cool.rate_c_per_min) == (10, 5)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1", "utf-8-sig"])
def test_encodings(text, tmp_path, encoding):
    plain = read_crystal16(write(tmp_path, text))
    got = read_crystal16(write(tmp_path, text, encoding))
    assert np.array_equal(got.temperature_c, plain.temperature_c)


def test_semicolons_and_decimal_commas(text, tmp_path):
    plain = read_crystal16(write(tmp_path, text))
    got = read_crystal16(write(tmp_path, text.replace(",", ";").replace(".", ",")))
    assert np.allclose(got.temperature_c, plain.temperature_c)
    assert got.programme == plain.programme


def test_fahrenheit(text, tmp_path):
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("Date Time"))
    for i in range(at + 1, len(lines)):
        cells = lines[i].split(",")
        cells[2:4] = [f"{float(c) * 1.8 + 32:.2f}" for c in cells[2:4]]
        lines[i] = ",".join(cells)
    got = read_crystal16(write(tmp_path, "\n".join(lines).replace("[°C]", "[°F]")))
    assert np.allclose(got.temperature_c, read_crystal16(write(tmp_path, text)).temperature_c, atol=0.01)


def test_decimal_minutes_in_the_column_that_says_so(text, tmp_path):
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("Date Time"))
    for i in range(at + 1, len(lines)):
        cells = lines[i].split(",")
        hours, minutes, seconds = map(int, cells[1].split(":"))
        cells[1] = f"{60 * hours + minutes + seconds / 60:.4f}"
        lines[i] = ",".join(cells)
    got = read_crystal16(write(tmp_path, "\n".join(lines)))
    assert np.allclose(np.diff(got.time_s), 20, atol=0.02)


def test_dates_serve_where_there_is_no_elapsed_time(text, tmp_path):
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("Date Time"))
    for i in range(at, len(lines)):
        cells = lines[i].split(",")
        lines[i] = ",".join([cells[0], *cells[2:]])
    got = read_crystal16(write(tmp_path, "\n".join(lines)))
    assert any("there is no elapsed time" in n for n in got.notes)
    assert np.allclose(np.diff(got.time_s), 20, atol=1)


def test_a_report_cut_off_in_the_middle_of_a_row(text, tmp_path):
    got = read_crystal16(write(tmp_path, text[: len(text) * 2 // 3].rsplit(",", 3)[0]))
    assert any("last row is cut off" in n for n in got.notes)


def test_duplicated_stamps_gaps_and_a_clock_that_goes_back(text, tmp_path):
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("Date Time"))
    body = lines[at + 1 :]
    body[10] = body[9].replace(",100,", ",77,")
    got = read_crystal16(write(tmp_path, "\n".join([*lines[: at + 1], *body[:60], *body[200:]])))
    assert any("time of another row" in n for n in got.notes)
    assert np.diff(got.time_s).max() > 2000
    back = [b.split(",") for b in body]
    for row in back[100:]:
        hours, rest = row[1].split(":", 1)
        row[1] = f"{max(int(hours) - 1, -9)}:{rest}"
    body = [",".join(r) for r in back[:100] + [r for r in back[100:] if not r[1].startswith("-")]]
    got = read_crystal16(write(tmp_path, "\n".join([*lines[: at + 1], *body])))
    assert any("goes back by" in n for n in got.notes)
    assert np.all(np.diff(got.time_s) > 0)


def test_missing_reactors_and_concentrations(text, tmp_path):
    changed = text.replace("Reactor1,5 mg/ml X in Y", "Reactor1,X in Y").replace(
        "Reactor4,50 mg/ml X in Y", "Reactor4,0 mg/ml  in "
    )
    got = read_crystal16(write(tmp_path, changed))
    assert list(got.signals) == ["1", "2", "3"]
    assert math.isnan(got.vial("1").concentration)
    assert any("reactor 1: expected a concentration" in n and "--concentration" in n for n in got.notes)
    assert any("reactor 4 is named empty" in n for n in got.notes)


def test_no_programme(text, tmp_path):
    start, end = text.index("Temperature Program"), text.index("Data Block")
    got = read_crystal16(write(tmp_path, text[:start] + text[end:]))
    assert got.programme == ()
    assert any("expected a temperature programme" in n for n in got.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: "", "got nothing"),
        (lambda t: "a,b\n1,2\n", "expected a file that begins with 'Crystal16 Data Report File'"),
        (lambda t: t.replace("1014", "1012"), "expected a Crystal16 report of version 1014, got 1012"),
        (lambda t: t[: t.index("Data Block")], "ends in its header"),
        (lambda t: t[: t.index("\n", t.index("Date Time"))], "expected rows after the header"),
        (lambda t: t.replace("Transmission", "Something"), "expected a column 'Reactor1 Transmission"),
        (lambda t: t.replace("[°C]", "[°R]"), "expected a temperature in °C, °F or K"),
        (lambda t: t.replace("Decimal Time", "A").replace("Date Time", "B"), "expected times as H:MM:SS"),
    ],
)
def test_faults_have_their_own_messages(text, tmp_path, change, message):
    with pytest.raises(ReadError, match=message.replace("[", r"\[")):
        read_crystal16(write(tmp_path, change(text)))


def test_no_file_and_binary(tmp_path):
    with pytest.raises(ReadError, match="No such file"):
        read_crystal16(tmp_path / "none.csv")
    path = tmp_path / "x.csv"
    path.write_bytes(b"Crystal16 Data Report File\0\0\0\0")
    with pytest.raises(ReadError, match="binary"):
        read_crystal16(path)


def test_contents_in_words():
    vial = vial_of("2", "5,1 mg/mL 1,2-diol in  ethyl acetate")
    assert (vial.concentration, vial.unit, vial.solute, vial.solvent) == (5.1, "mg/ml", "1,2-diol", "ethyl acetate")
    assert vial_of("1", "12 g/kg A in B").unit == "g/kg"
    assert vial_of("1", "3 g/l A in B").unit == "mg/ml"
    assert math.isnan(vial_of("1", "saturated A in B").concentration)


def test_clock():
    assert elapsed_s(["0:01:02", "25:00:00", "1.01:00:00", "0:00:01,5", "", "x"])[:4].tolist() == [
        62,
        90000,
        90000,
        1.5,
    ]
    times, form = dates_s(["4/3/2024 11:50", "4/3/2024 23:59", "4/4/2024 0:00"])
    assert form == "%m/%d/%Y %H:%M"
    assert np.diff(times).max() < 86400
    assert dates_s(["31.12.2023 10:00"])[1] == "%d.%m.%Y %H:%M"
    # Month first would make midnight a jump of a month.
    assert dates_s(["3/4/2024 23:59", "4/4/2024 0:00"])[1] == "%d/%m/%Y %H:%M"
    even = spread_minutes(np.repeat([0.0, 60.0, 120.0], 4))
    assert np.allclose(np.diff(even), 15)
    mended, notes = mend_clock(np.array([0.0, 3600, 7200, 10800, 86390, 5, 20]))
    assert np.all(np.diff(mended) > 0)
    assert "passes midnight" in notes[0]


@pytest.mark.data
def test_every_real_report_is_read(data):
    files = sorted((data / "crystal16").glob("*.csv"))
    assert len(files) == 10
    for path in files:
        got = read_crystal16(path)
        assert len(got.signals) == 4
        assert got.programme
        assert all(math.isfinite(got.vial(r).concentration) for r in got.signals)


@pytest.mark.data
def test_malformed_reports_have_their_own_messages(data):
    folder = data / "crystal16-malformed"
    with pytest.raises(ReadError, match="the file is empty"):
        read_crystal16(folder / "empty_csv.csv")
    with pytest.raises(ReadError, match="got 'a random csv,'"):
        read_crystal16(folder / "non_csst_file.csv")
    old = read_crystal16(folder / "old_datetime_format_error.csv")
    assert any(n.startswith("expected dates as") and "'4/3/2024 11:50'" in n for n in old.notes)
    valid = read_crystal16(folder / "example_data_version_1014.csv")
    assert list(valid.signals) == ["1", "2", "3"]
    assert valid.vial("1").solvent == "1,2dichlorobenzene"
