"""Tables of signals by a map of their columns, and events.json."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crystalscope.config import SignalMap, load_signal_map
from crystalscope.core import EVENT_FIELDS, Event
from crystalscope.errors import ConfigError, InputError, ReadError
from crystalscope.io.events import event_row, read_events, write_events
from crystalscope.io.signals import read_signals

ROWS = [(0, 20.0, 100), (30, 20.5, 99), (60, 21.0, 98), (90, 21.5, 97)]


def table(folder, header: str, *, rows=ROWS, encoding="utf-8", separator=",", preamble=""):
    path = folder / "t.csv"
    body = "\n".join(separator.join(str(c) for c in r) for r in rows)
    path.write_bytes(f"{preamble}{header}\n{body}\n".encode(encoding))
    return path


def test_a_crystalline_export_maps(tmp_path):
    preamble = "Crystalline report\nsome,words\n\n"
    header = "Time [min],Temperature Actual [°F],Set [°F],Transmissivity 1 [%]"
    rows = [(t / 60, c * 1.8 + 32, c * 1.8 + 32, y) for t, c, y in ROWS]
    path = table(tmp_path, header, rows=rows, preamble=preamble)
    columns = SignalMap(
        time="Time [min]", temperature="Temperature Actual [°F]", setpoint="Set [°F]",
        signals={"1": "Transmissivity 1 [%]"}, contents={"1": "5 mg/ml A in B"},
    )  # fmt: skip
    got = read_signals(path, columns=columns)
    assert np.allclose(got.time_s, [0, 30, 60, 90])
    assert np.allclose(got.temperature_c, [20, 20.5, 21, 21.5])
    assert got.setpoint_c is not None
    assert got.vial("1").concentration == 5


def test_semicolons_commas_utf16_and_dates(tmp_path):
    rows = [(f"01.02.2024 10:00:{t // 2:02d}", str(c).replace(".", ","), y) for t, c, y in ROWS]
    path = table(tmp_path, "when;temp;T", rows=rows, separator=";", encoding="utf-16")
    columns = SignalMap(time="when", time_unit="datetime", temperature="temp", temperature_unit="C", signals={"A": "T"})
    got = read_signals(path, columns=columns)
    assert np.allclose(got.time_s, [0, 15, 30, 45])
    assert np.allclose(got.temperature_c, [20, 20.5, 21, 21.5])


def test_bad_rows_are_told(tmp_path):
    rows = [*ROWS, (90, 22.0, 90), ("x", 23.0, 80), (120, "", 80)]
    got = read_signals(table(tmp_path, "time_s,temperature_c,transmissivity", rows=rows), columns=SignalMap())
    assert len(got) == 4
    assert got.temperature_c[-1] == 22.0
    assert any("2 rows without" in n for n in got.notes)
    assert any("1 rows with the time of another" in n for n in got.notes)


@pytest.mark.parametrize(
    ("header", "columns", "message"),
    [
        ("a,b,c", SignalMap(), "expected columns 'time_s', 'temperature_c', 'transmissivity'"),
        ("t,temperature_c,transmissivity", SignalMap(time="t"), "expected the unit of 't'"),
        ("time_s,temp,transmissivity", SignalMap(temperature="temp"), "expected the unit of 'temp'"),
        ("time_s,temperature_c,x", SignalMap(signals={"1": "y"}), "expected columns 'y'"),
    ],
)
def test_faults(tmp_path, header, columns, message):
    with pytest.raises(ReadError, match=message):
        read_signals(table(tmp_path, header), columns=columns)


def test_shares_are_not_taken_for_per_cent(tmp_path):
    rows = [(t, c, y / 100 - 0.005) for t, c, y in ROWS]
    path = table(tmp_path, "time_s,temperature_c,transmissivity", rows=rows)
    with pytest.raises(ReadError, match="set signal_unit to share"):
        read_signals(path, columns=SignalMap())
    got = read_signals(path, columns=SignalMap(signal_unit="share"))
    assert got.signals["1"][0] == pytest.approx(99.5)


def test_map_from_toml(tmp_path):
    path = tmp_path / "m.toml"
    path.write_text('time = "t"\ntime_unit = "min"\n[signals]\nA = "T"\n', encoding="utf-8")
    assert load_signal_map(path).signals == {"A": "T"}
    path.write_text("tim = 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="tim"):
        load_signal_map(path)


def test_events_go_round(tmp_path):
    events = [
        Event(
            "clear",
            "reached",
            10.0,
            9.0,
            11.0,
            10.5,
            20.0,
            19.9,
            20.1,
            "e",
            "1",
            1,
            "transmissivity",
            "f",
            5.0,
            "mg/ml",
        ),
        Event("cloud", "not_reached", experiment="e", reactor="1", flags=("gap",)),
    ]
    back = read_events(write_events(tmp_path / "events.json", events))
    # NaN is not equal to itself; its representation is.
    assert repr(back) == repr(events)
    assert math.isnan(back[1].time_s)
    assert back[1].flags == ("gap",)
    assert list(event_row(events[0])) == [name for name, _ in EVENT_FIELDS]


@pytest.mark.parametrize("text", ["", "{}", '[{"a": 1}]', '[{"kind": "clear", "status": "reached"}]'])
def test_what_is_no_list_of_events(tmp_path, text):
    path = tmp_path / "events.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ReadError, match=r"events\.json"):
        read_events(path)


def test_an_event_keeps_its_word():
    with pytest.raises(InputError, match="expected a time"):
        Event("clear", "reached")
    with pytest.raises(InputError, match="expected no time"):
        Event("clear", "censored", 3.0)
