"""Tables of signals over time, by a map of their columns."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.config import SignalMap
from crystalscope.core import Timeline
from crystalscope.errors import ReadError
from crystalscope.io.clock import dates_s, elapsed_s, mend_clock, rising_rows, spread_minutes
from crystalscope.io.crystal16 import vial_of
from crystalscope.io.text import delimiter_of, numbers, read_text, to_celsius, unit_in

Array = NDArray[np.float64]

_TIME_UNITS = {
    "s": 1.0, "sec": 1.0, "seconds": 1.0, "min": 60.0, "mins": 60.0, "minutes": 60.0,
    "h": 3600.0, "hr": 3600.0, "hrs": 3600.0, "hours": 3600.0,
}  # fmt: skip


def read_signals(path: Path, *, columns: SignalMap) -> Timeline:
    """Read a delimited table of times, temperatures and transmissivities.

    Parameters
    ----------
    path
        Comma, semicolon or tab; decimal point or comma; UTF-8, UTF-16 or Latin-1; a preamble before the header line is
        passed over.
    columns
        Which column holds what, and in which unit.

    Returns
    -------
    Signals in %, temperatures in deg C, times in s from the first row. Notes say what was mended: rows left out,
    duplicated times (the last row stands), a clock that goes back (continued).

    Raises
    ------
    ReadError
        When a column is missing, a unit is not known, or nothing in a needed column is a number.
    """
    table = _table(path, columns)
    notes: list[str] = []
    time = _times(table[columns.time], columns, path, notes)
    unit = (
        columns.temperature_unit or unit_in(columns.temperature) or ("C" if columns.temperature.endswith("_c") else "")
    )
    if not unit:
        raise ReadError(
            f"expected the unit of {columns.temperature!r} in {path.name}, got none; set temperature_unit to C, F or K"
        )
    temperature = to_celsius(numbers(table[columns.temperature]), unit, name=columns.temperature)
    setpoint = None
    if columns.setpoint is not None:
        setpoint = to_celsius(numbers(table[columns.setpoint]), unit, name=columns.setpoint)
    signals = {name: numbers(table[column]) for name, column in columns.signals.items()}
    empty = [name for name, values in signals.items() if not np.isfinite(values).any()]
    notes += [f"reactor {name} has no values and is left out" for name in empty]
    signals = {name: _percent(v, columns, path) for name, v in signals.items() if name not in empty}
    if not signals:
        raise ReadError(f"expected numbers in a column of signals of {path.name}, got none; check the map")
    keep = rising_rows(time, np.isfinite(temperature), notes)
    if not keep.size:
        raise ReadError(
            f"expected numbers in {columns.time!r} and {columns.temperature!r} of {path.name}, got none in the same "
            "row; check the map"
        )
    return Timeline(
        time[keep] - time[keep[0]],
        temperature[keep],
        {name: values[keep] for name, values in signals.items()},
        setpoint_c=None if setpoint is None else setpoint[keep],
        vials={name: vial_of(name, words) for name, words in columns.contents.items()},
        experiment=path.stem,
        source=path.name,
        notes=tuple(notes),
    )


def _table(path: Path, columns: SignalMap) -> pd.DataFrame:
    text = read_text(path, what="a table of signals", hint="check the path")
    wanted = [columns.time, columns.temperature, *columns.signals.values()]
    wanted += [columns.setpoint] if columns.setpoint else []
    lines = text.splitlines()
    names: list[str] = []
    for at, line in enumerate(lines):
        delimiter = delimiter_of(line)
        names = [c.strip() for c in next(csv.reader([line], delimiter=delimiter), [])]
        if set(wanted) <= set(names):
            rows = [r for r in csv.reader(lines[at + 1 :], delimiter=delimiter) if any(c.strip() for c in r)]
            break
    else:
        first = next(line for line in lines if line.strip())
        names = [c.strip() for c in first.split(delimiter_of(first))]
        missing = [c for c in wanted if c not in names]
        raise ReadError(
            f"expected columns {', '.join(map(repr, missing))} in {path.name}, got a table that begins with "
            f"{', '.join(map(repr, names[:6]))}; name its columns in a map (--map FILE.toml)"
        )
    if not rows:
        raise ReadError(f"expected rows below the header of {path.name}, got none; export it again")
    width = len(names)
    body = [r[:width] + [""] * (width - len(r)) for r in rows]
    return pd.DataFrame(body, columns=names, dtype=object)


def _times(column: pd.Series, columns: SignalMap, path: Path, notes: list[str]) -> Array:
    text = column.astype(str).tolist()
    unit = columns.time_unit or unit_in(columns.time).lower() or ("s" if columns.time.endswith("_s") else "")
    if unit == "datetime":
        time, form = dates_s(text)
        if "%S" not in form:
            time = spread_minutes(time)
    elif any(":" in t for t in text[:5]):
        time = elapsed_s(text)
    elif unit in _TIME_UNITS:
        time = numbers(column) * _TIME_UNITS[unit]
    else:
        raise ReadError(
            f"expected the unit of {columns.time!r} in {path.name}, got {unit or 'none'}; set time_unit to s, min, h, "
            "elapsed or datetime"
        )
    if not np.isfinite(time).any():
        raise ReadError(f"expected times in {columns.time!r} of {path.name}, got {text[0]!r}; set time_unit")
    time, jumps = mend_clock(time)
    notes += jumps
    return time


def _percent(values: Array, columns: SignalMap, path: Path) -> Array:
    if columns.signal_unit == "share":
        return 100.0 * values
    largest = float(np.nanmax(values, initial=-math.inf))
    if largest <= 1.5 and np.any(values % 1 != 0):
        raise ReadError(
            f"expected transmissivities in % in {path.name}, got values up to {largest:g}; set signal_unit to share"
        )
    return values
