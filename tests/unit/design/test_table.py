"""Systems and tables: what they take, and what they refuse by row, column and rule."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
from tests.unit.design.doe import SYSTEM

from crystalscope.design.system import load_system, parse_system
from crystalscope.design.table import read_doe, table_of
from crystalscope.errors import ConfigError, InputError, ReadError


def changed(**values):
    """The system with settings by dotted name, such as factors__0__bounds."""
    data = copy.deepcopy(SYSTEM)
    for name, value in values.items():
        *path, last = name.split("__")
        at = data
        for p in path:
            at = at[int(p)] if p.isdigit() else at[p]
        at[last] = value
    return data


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"factors__0__bounds": [55.2, 24.8]}, "factors.0.bounds: bounds are reversed"),
        ({"profile__temperature_bounds": [70, 0]}, "reversed"),
        ({"factors__0__unit": "mol"}, "unit of concentration"),
        ({"profile__temperature_unit": "R"}, "unit of temperature"),
        ({"profile__cooling": ["C1"]}, "add the missing ones"),
        ({"attributes__1__column": "D50"}, "used twice: D50"),
        ({"attributes__0__sd": 0}, "attributes.0.sd"),
        ({"plot": True}, "plot"),
    ],
)
def test_systems_that_make_no_sense(values, message):
    with pytest.raises(ConfigError, match=message):
        parse_system(changed(**values), "test")


def test_a_system_that_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match="check --system"):
        load_system(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("= 3")
    with pytest.raises(ConfigError, match="expected TOML"):
        load_system(tmp_path / "bad.toml")


def test_a_table_goes_round(system, table, tmp_path):
    frame = table.to_frame()
    back = table_of(frame, system)
    for name in ("factors", "temperature_c", "cooling", "heating", "segments"):
        np.testing.assert_allclose(getattr(back.conditions, name), getattr(table.conditions, name))
    np.testing.assert_allclose(back.values, table.values)
    assert back.warnings == ()
    frame.to_csv(tmp_path / "t.csv", sep=";", decimal=",", index=False)
    frame.to_excel(tmp_path / "t.xlsx", index=False)
    for name in ("t.csv", "t.xlsx"):
        np.testing.assert_allclose(read_doe(tmp_path / name, system).values, table.values)
    with pytest.raises(ReadError):
        read_doe(tmp_path / "none.csv", system)


def test_units_are_computed_and_given_back(table):
    data = changed(profile__temperature_unit="K", profile__temperature_bounds=[273.15, 343.15])
    kelvin = parse_system(data, "test")
    frame = table.to_frame()
    for name in kelvin.profile.temperatures:
        frame[name] = np.where(frame[name] != 0, frame[name] + 273.15, 0.0)
    back = table_of(frame, kelvin)
    np.testing.assert_allclose(back.conditions.temperature_c, table.conditions.temperature_c, atol=1e-9)
    pd.testing.assert_frame_equal(back.to_frame()[frame.columns], frame, check_dtype=False)


def test_zero_degrees_is_a_temperature(system, table):
    frame = table.to_frame()
    frame.loc[0, "T2"] = 0.0
    got = table_of(frame, system)
    assert got.conditions.segments[0] == 1
    assert got.conditions.profile(0).temperature_c[-1] == 0


def spoilt(row, column, value):
    def change(frame):
        frame[column] = frame[column].astype(object)
        frame.loc[row - 1, column] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns=["T2", "c"]), "expected columns c, T2"),
        (lambda f: f.rename(columns={"T1": "T1 [K]"}), r"expected T1 in C .* 'T1 \[K\]'"),
        (lambda f: f.assign(c=f["c"] / 1000), "unit does not fit"),
        (spoilt(3, "c", "forty"), "number in c, got 'forty' in row 3"),
        (spoilt(3, "c", None), "expected c of every experiment, got none in row 3"),
        (spoilt(4, "c", 99.0), "row 4: c = 99 is not within 24.8 to 55.2"),
        (spoilt(2, "T2", 69.9), "row 2: T_2 must fall from T_1"),
        (spoilt(2, "T4", 30.0), "row 2: T_4 = 30 is not used with 0 cycles and must be 0"),
        (spoilt(2, "H1", 0.5), "row 2: H_1 = 0.5 is not used"),
        (spoilt(5, "C1", 2.0), "row 5: C_1 = 2 is not within 0.05 to 0.3"),
        (spoilt(6, "cycles", 7), "cycles, got 7 in row 6"),
        (spoilt(6, "cycles", 0.3), "got 0.3 in row 6"),
        (spoilt(6, "DoA", 41.0), "expected DoA within 0 to 1 share, got 41 in row 6"),
        (spoilt(6, "D50", -1.0), "D50 above 0"),
        (lambda f: pd.concat([f, f.iloc[[4]]], ignore_index=True), "row 32 the same as row 5"),
        (lambda f: f.iloc[:0], "without rows"),
        (lambda f: f.iloc[:4], "expected 6 or more different values"),
        (lambda f: f.assign(D50=np.nan, DoA=""), "at most 0"),
    ],
)
def test_tables_that_are_refused(system, table, change, message):
    with pytest.raises(InputError, match=message):
        table_of(change(table.to_frame()), system)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.assign(c=40.0), "c is 40 in every experiment"),
        (lambda f: f.assign(DoA=np.nan), "DoA was measured in no experiment"),
        (lambda f: f.assign(DoA=[0.1, 0.2, *[""] * (len(f) - 2)]), "DoA was measured in 2 experiments"),
        (lambda f: f.assign(DoA=0.5), "DoA is 0.5 in every experiment"),
        (spoilt(7, "D50", 5000.0), "D50 = 5000 in row 7 is far from all others"),
    ],
)
def test_tables_that_are_odd_are_said_so(system, table, change, message):
    got = table_of(change(table.to_frame()), system)
    assert any(message in w for w in got.warnings), got.warnings


def test_values_that_trail_off_are_no_outliers(system, table):
    """Shares near their bound: one is far from all others, the rest of the tail is not."""
    share = np.concatenate([np.linspace(0.990, 1.0, 24), [0.985, 0.978, 0.97, 0.962, 0.955, 0.95, 0.80]])
    got = table_of(table.to_frame().assign(DoA=share), system)
    assert [w[:20] for w in got.warnings] == ["DoA = 0.8 in row 31 "]


def test_repeats_are_welcome(system, table):
    frame = table.to_frame()
    again = frame.iloc[[4]].assign(D50=frame["D50"].iloc[4] * 1.01)
    assert len(table_of(pd.concat([frame, again], ignore_index=True), system)) == 32


def test_a_table_without_a_profile():
    plain = parse_system(
        {
            "factors": [{"column": "rpm", "bounds": [200, 700]}],
            "attributes": [{"column": "size", "direction": "max", "sd": 5.0}],
        },
        "test",
    )
    got = table_of(pd.DataFrame({"rpm": np.linspace(200, 700, 9), "size": np.arange(9.0)}), plain)
    assert np.isnan(got.conditions.batch_time_h).all()
