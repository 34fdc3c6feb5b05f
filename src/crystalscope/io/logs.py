"""Temperature logs: CSV with named columns, aligned to the clock of the frames."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.config import InputConfig
from crystalscope.errors import ReadError
from crystalscope.io.text import delimiter_of, numbers, read_text

_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def read_log(path: Path, *, config: InputConfig, epoch_s: float) -> pd.DataFrame:
    """Read a log and put it on the clock of the frames.

    Parameters
    ----------
    path
        CSV, separated by comma, semicolon or tab; decimal point or comma; UTF-8 or UTF-16.
    config
        Names of the columns, unit of the time, offset.
    epoch_s
        Time zero of the frames in s since 1970-01-01; needed for a log with dates.

    Returns
    -------
    Columns ``time_s`` (increasing) and ``temperature_c``, and the other columns of the log as they are. Rows
    without time or temperature are left out; of rows with one time the last stands.

    Raises
    ------
    ReadError
        When the file cannot be read, a column is missing, nothing in it is a number, or it has dates and the
        frames have none.
    """
    table = read_table_text(path)
    for column in (config.log_time_column, config.log_temperature_column):
        if column not in table.columns:
            raise ReadError(
                f"expected a column {column!r} in {path.name}, got {', '.join(map(repr, table.columns))}; name it by "
                "input.log_time_column and input.log_temperature_column"
            )
    if config.log_time_unit == "datetime":
        if not math.isfinite(epoch_s):
            raise ReadError(
                f"expected frames with dates for the dated log {path.name}, got frames with relative times; give "
                "input.time_pattern with a (?P<stamp>…), or a log in s"
            )
        stamps = pd.to_datetime(table[config.log_time_column], errors="coerce", utc=True)
        time = (stamps - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy() - epoch_s
    else:
        time = numbers(table[config.log_time_column]) * _UNITS[config.log_time_unit]
    table = table.drop(columns=[c for c in ("time_s", "temperature_c") if c in table.columns]).assign(
        time_s=time + config.log_offset_s, temperature_c=numbers(table[config.log_temperature_column])
    )
    good = table[np.isfinite(table["time_s"]) & np.isfinite(table["temperature_c"])]
    if good.empty:
        raise ReadError(f"expected numbers in the log {path.name}, got none in its time and temperature columns")
    good = good.sort_values("time_s", kind="stable").drop_duplicates("time_s", keep="last")
    return good.reset_index(drop=True)


def temperatures_at(log: pd.DataFrame, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Temperatures at the frame times in deg C: linear between log entries, NaN outside the log."""
    return np.asarray(
        np.interp(
            times_s,
            log["time_s"].to_numpy(dtype=float),
            log["temperature_c"].to_numpy(dtype=float),
            left=math.nan,
            right=math.nan,
        )
    )


def read_table_text(path: Path) -> pd.DataFrame:
    """A delimited text file as strings: delimiter and encoding found out.

    Raises
    ------
    ReadError
        When the file is missing, empty, or no text.
    """
    text = read_text(path, what="a text table", hint="check --log")
    delimiter = delimiter_of(text.lstrip().splitlines()[0])
    rows = list(csv.reader(text.lstrip().splitlines(), delimiter=delimiter))
    width = len(rows[0])
    body = [r[:width] + [""] * (width - len(r)) for r in rows[1:] if any(c.strip() for c in r)]
    return pd.DataFrame(body, columns=[c.strip() for c in rows[0]], dtype=object)
