"""Crystal16 reports ("Data Report File", version 1014): header, temperature programme, data block."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core import ProgrammeStep, Timeline, Vial
from crystalscope.errors import ReadError
from crystalscope.io.clock import dates_s, elapsed_s, mend_clock, rising_rows, spread_minutes
from crystalscope.io.text import delimiter_of, number_in, numbers, read_text, to_celsius, unit_in

Array = NDArray[np.float64]

_TITLE = "Crystal16 Data Report File"
_VERSION = "1014"
_CONTENT = re.compile(
    r"\s*(?P<number>\d+(?:[.,]\d+)?)\s*(?P<unit>mg\s*/\s*m[lL]|g\s*/\s*[lL]|g\s*/\s*kg|mg\s*/\s*g)\b\s*(?P<rest>.*)"
)
_UNITS = {"mg/ml": "mg/ml", "g/l": "mg/ml", "g/kg": "g/kg", "mg/g": "g/kg"}
_REACTOR = re.compile(r"Reactor\s*(\w+)", re.IGNORECASE)
_STEPS: dict[str, Literal["heat", "cool", "hold", "tune", "stir"]] = {
    "heat to": "heat",
    "cool to": "cool",
    "hold at": "hold",
    "tune": "tune",
    "stir": "stir",
}


def is_crystal16(path: Path) -> bool:
    """Whether a file begins like a Crystal16 report; False also where it cannot be read."""
    try:
        return _TITLE in read_text(path, what="a report", hint="check the path")[:200]
    except ReadError:
        return False


def read_crystal16(path: Path) -> Timeline:
    """Read a Crystal16 report.

    Parameters
    ----------
    path
        As the instrument's program exports it, or saved again by a spreadsheet: comma, semicolon or tab, decimal point
        or comma, UTF-8, UTF-16 or Latin-1.

    Returns
    -------
    Times, temperatures, transmissions in % of the reactors in use, vials with their concentrations where the header
    names them, and the programme. Notes say what was mended or left out.

    Raises
    ------
    ReadError
        When it is no report, of another version, or has no data block, no temperature or no reactor.

    Notes
    -----
    What the exports hold, and what is done with it: the column "Decimal Time [mins]" holds H:MM:SS or decimal minutes
    and is read as either; "Date Time" is exact to the minute and serves only where the elapsed time is missing; of
    rows with one time the last stands; a clock that goes back is continued; rows that are cut off or hold no number
    are left out; a reactor whose header says 0 mg/ml, or whose column is empty, is left out.
    """
    text = read_text(path, what="a Crystal16 report", hint="check the path")
    lines = text.splitlines()
    first = next(line for line in lines if line.strip())
    if _TITLE not in first:
        raise ReadError(
            f"expected a file that begins with '{_TITLE}', got {first.strip()[:40]!r} in {path.name}; export a report "
            "from the instrument's program, or map the columns of another table (--map)"
        )
    version = re.search(r"Version\W*(\d+)", first)
    if version is None or version[1] != _VERSION:
        raise ReadError(
            f"expected a Crystal16 report of version {_VERSION}, got {version[1] if version else 'none'} in "
            f"{path.name}; export it as version {_VERSION}, or map its columns (--map)"
        )
    at = next((i for i, line in enumerate(lines) if "Temperature Actual" in line), None)
    if at is None:
        raise ReadError(
            f"expected a data block with a column 'Temperature Actual' in {path.name}, got a report that ends in its "
            f"header after {len(lines)} lines; export it again, it was cut off"
        )
    delimiter = delimiter_of(lines[at])
    header = [[c.strip() for c in line.split(delimiter)] for line in lines[:at]]
    notes: list[str] = []
    table = _table(lines, at, delimiter, path, notes)
    time = _times(table, path, notes)
    temperature = _temperature(table, "Temperature Actual", path)
    if not np.isfinite(temperature).any():
        raise ReadError(f"expected numbers in 'Temperature Actual' of {path.name}, got none; export the report again")
    has_setpoint = any("Setpoint" in c for c in table.columns)
    setpoint = _temperature(table, "Setpoint", path) if has_setpoint else None
    vials = _vials(header)
    signals = _signals(table, vials, path, notes)
    programme = _programme(header)
    if not programme:
        notes.append(
            "expected a temperature programme in the header, got none; the segments are found from the recorded "
            "temperature, and tuning cannot be recognised"
        )
    keep = rising_rows(time, np.isfinite(temperature), notes)
    return Timeline(
        time[keep],
        temperature[keep],
        {name: values[keep] for name, values in signals.items()},
        setpoint_c=None if setpoint is None else setpoint[keep],
        vials=vials,
        programme=programme,
        experiment=_entry(header, "Project") or path.stem,
        source=path.name,
        notes=tuple(notes),
    )


def _table(lines: list[str], at: int, delimiter: str, path: Path, notes: list[str]) -> pd.DataFrame:
    names = [c.strip().strip('"') for c in lines[at].split(delimiter)]
    body = [line for line in lines[at + 1 :] if line.strip(f" \t{delimiter}")]
    if delimiter == ",":
        # A spreadsheet pads rows to the widest one.
        names = [n for i, n in enumerate(names) if n or i < 2]
    if not body:
        raise ReadError(
            f"expected rows after the header of the data block in {path.name}, got none: cut off; export it again"
        )
    if body[-1].count(delimiter) < len(names) - 1:
        notes.append("the last row is cut off and left out; the report may end before the experiment did")
        body = body[:-1]
    table = pd.read_csv(
        io.StringIO("\n".join(body)),
        sep=delimiter,
        header=None,
        names=names,
        usecols=range(len(names)),
        index_col=False,
        dtype=dict.fromkeys(names[:2], "str"),
        keep_default_na=True,
        on_bad_lines="skip",
        skip_blank_lines=True,
    )
    if len(table) < len(body):
        notes.append(f"{len(body) - len(table)} rows with too many fields are left out")
    if table.empty:
        raise ReadError(f"expected whole rows in the data block of {path.name}, got none; export it again")
    return table


def _times(table: pd.DataFrame, path: Path, notes: list[str]) -> Array:
    """Times of the rows in s since the first."""
    columns = {c.split("[")[0].strip().lower(): c for c in table.columns}
    elapsed = columns.get("decimal time")
    dates = columns.get("date time")
    time = np.full(len(table), math.nan)
    if elapsed is not None:
        text = table[elapsed].fillna("").astype(str).tolist()
        unit = {"s": 1 / 60, "sec": 1 / 60, "h": 60.0}.get(unit_in(elapsed).lower(), 1.0)
        time = elapsed_s(text, minutes_per_number=unit)
    form = ""
    if dates is not None:
        stamps = table[dates].fillna("").astype(str)
        if np.isfinite(time).any():
            # The dates are not used, but their form is worth a word.
            form = dates_s(list(stamps.drop_duplicates()))[1]
        else:
            time, form = dates_s(stamps.tolist())
            if "%S" not in form:
                time = spread_minutes(time)
            notes.append("there is no elapsed time; the dates are used, and rows of one minute are spread over it")
    if not np.isfinite(time).any():
        raise ReadError(
            f"expected times as H:MM:SS in 'Decimal Time [mins]' or dates in 'Date Time' of {path.name}, got "
            f"{'neither column' if elapsed is None and dates is None else repr(str(table.iloc[0, 0]))}; export it again"
        )
    if form and form != "%m/%d/%y %H:%M":
        notes.append(
            f"expected dates as 9/30/23 13:45, got {str(table[dates].iloc[0]).strip()!r}, the form of another version "
            f"of the program; read as {form}, check day and month where the date matters (the events do not need it)"
        )
    time, jumps = mend_clock(time)
    notes += jumps
    return np.asarray(time - time[np.isfinite(time)][0])


def _temperature(table: pd.DataFrame, name: str, path: Path) -> Array:
    column = next((c for c in table.columns if name in c), None)
    if column is None:
        raise ReadError(f"expected a column '{name}' in the data block of {path.name}; export it with temperatures")
    return to_celsius(numbers(table[column]), unit_in(column) or "C", name=f"{column!r} of {path.name}")


def _signals(table: pd.DataFrame, vials: dict[str, Vial], path: Path, notes: list[str]) -> dict[str, Array]:
    columns = {m[1]: c for c in table.columns if "Transmission" in c and (m := _REACTOR.search(c))}
    signals: dict[str, Array] = {}
    for reactor, column in columns.items():
        values = numbers(table[column])
        vial = vials.get(reactor)
        if not np.isfinite(values).any():
            notes.append(f"reactor {reactor} has no values and is left out")
        elif vial is not None and vial.concentration == 0 and not vial.solute and not vial.solvent:
            notes.append(f"reactor {reactor} is named empty (0 mg/ml) and left out")
        else:
            signals[reactor] = values
            if vial is None or math.isnan(vial.concentration):
                notes.append(
                    f"reactor {reactor}: expected a concentration such as '5.1 mg/ml X in Y' in the header, got none; "
                    f"give it with --concentration {reactor}=VALUE where a solubility is wanted"
                )
    if not signals:
        raise ReadError(
            f"expected a column 'Reactor1 Transmission [%]' with values in {path.name}, got "
            f"{', '.join(map(repr, table.columns)) if not columns else 'reactors without values'}; export it with the "
            "transmissions"
        )
    absent = sorted(vials.keys() - columns.keys())
    notes += [f"reactor {reactor} is named in the header and has no column" for reactor in absent]
    return signals


def _entry(header: list[list[str]], name: str) -> str:
    return next((row[1] for row in header if row[0] == name and len(row) > 1), "")


def _vials(header: list[list[str]]) -> dict[str, Vial]:
    out = {}
    for row in header:
        match = re.fullmatch(r"Reactor\s*(\w+)", row[0], re.IGNORECASE)
        if match:
            # A name such as 1,2-dichlorobenzene holds the delimiter.
            out[match[1]] = vial_of(match[1], ",".join(row[1:]).strip(" ,"))
    return out


def vial_of(reactor: str, content: str) -> Vial:
    """A vial from words such as ``5.1 mg/ml PEG in water``; what is not named stays unknown."""
    match = _CONTENT.match(content)
    rest = match["rest"] if match else content
    solute, _, solvent = re.sub(r"\s+", " ", f" {rest} ").partition(" in ")
    if not match:
        return Vial(reactor, solute=solute.strip(), solvent=solvent.strip())
    unit = _UNITS[re.sub(r"\s", "", match["unit"]).lower()]
    return Vial(reactor, number_in(match["number"]), unit, solute.strip(), solvent.strip())


def _programme(header: list[list[str]]) -> tuple[ProgrammeStep, ...]:
    start = next((i for i, row in enumerate(header) if row[0].startswith("Temperature Program")), len(header))
    steps = []
    for row in header[start + 1 :]:
        kind = next((k for words, k in _STEPS.items() if row[0].lower().startswith(words)), None)
        if kind is None:
            continue
        cells = [c for c in row if c]
        target = number_in(cells[1]) if kind in ("heat", "cool", "hold") and len(cells) > 1 else math.nan
        after = number_in(cells[3]) if len(cells) > 3 else math.nan
        fahrenheit = "°F" in row[-1] or any("°F" in c for c in cells)
        if fahrenheit:
            target = (target - 32) / 1.8
            after = after / 1.8 if kind in ("heat", "cool") else after
        seconds = {"min": 60.0, "h": 3600.0}.get(cells[4].strip().lower(), 1.0) if len(cells) > 4 else 1.0
        steps.append(
            ProgrammeStep(
                kind,
                target,
                after if kind in ("heat", "cool") else math.nan,
                after * seconds if kind == "hold" else math.nan,
            )
        )
    return tuple(steps)
