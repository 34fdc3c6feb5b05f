"""A table of experiments: reading, and every check before anything is computed from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.design.conditions import Conditions, find_violations
from crystalscope.design.system import System
from crystalscope.design.units import heading_unit, same_unit, to_computed
from crystalscope.errors import InputError, ReadError

Array = NDArray[np.float64]

LEAST_VALUES = 6
"""Fewer measured values of an attribute than this support no model."""
_FAR, _GAP = 6.0, 4.0
"""Robust standard deviations from the median, and from the next value towards it, beyond which a value is said to be
an outlier: values that trail off, such as shares near their bound, are none."""


@dataclass(frozen=True, eq=False)
class DoETable:
    """Experiments of a system.

    Parameters
    ----------
    system
        What the columns mean.
    conditions
        Of the n runs.
    values
        (n, q) measured attributes in the order of the system; NaN where not measured.
    warnings
        What is odd and was kept.
    """

    system: System
    conditions: Conditions
    values: Array
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.conditions)

    def take(self, rows: NDArray[np.generic]) -> DoETable:
        """Some runs."""
        return DoETable(self.system, self.conditions.take(rows), self.values[np.asarray(rows)], self.warnings)

    def with_runs(self, conditions: Conditions, values: Array) -> DoETable:
        """With further runs below."""
        joined = Conditions.join([self.conditions, conditions])
        return DoETable(self.system, joined, np.vstack([self.values, values]), self.warnings)

    def to_frame(self) -> pd.DataFrame:
        """The columns and units of the table."""
        out = self.conditions.to_frame(self.system)
        for i, a in enumerate(self.system.attributes):
            out[a.column] = self.values[:, i]
        return out


def read_frame(path: str | Path) -> pd.DataFrame:
    """A CSV (comma, semicolon or tab) or the first sheet of an Excel file; raises ReadError."""
    path = Path(path)
    if path.suffix.lower() in (".xlsx", ".xlsm"):
        try:
            return pd.read_excel(path, dtype=object)
        except (OSError, ValueError, KeyError) as e:
            raise ReadError(f"expected an Excel table in {path}: {e}; check the path, or export as CSV") from e
    from crystalscope.io.logs import read_table_text

    return read_table_text(path)


def read_doe(path: str | Path, system: System, *, attributes: bool = True) -> DoETable:
    """Read and check a table of experiments; see `table_of`.

    Raises
    ------
    ReadError
        When the file is missing or no table.
    InputError
        As `table_of` does.
    """
    return table_of(read_frame(path), system, attributes=attributes)


def table_of(frame: pd.DataFrame, system: System, *, attributes: bool = True) -> DoETable:
    """Check a table.

    Parameters
    ----------
    frame
        With the columns of the system; others are left alone. Attributes may be empty where they were not measured.
    system
        What the columns mean.
    attributes
        Whether measured attributes are asked for (not for conditions to be predicted).

    Raises
    ------
    InputError
        On missing columns, units that do not fit, texts among numbers, empty conditions, rows that break a constraint
        (row and rule named), doubled rows, no rows, or attributes of which none has values. Rows count from 1.
    """
    wanted = system.columns if attributes else system.input_columns
    found = _columns(frame, wanted)
    if not len(frame):
        raise InputError("expected experiments, got a table without rows; see docs/how-to/design.md")
    _check_units(found, system)
    numbers = {name: _numbers(frame[heading], name) for name, heading in found.items()}
    conditions = _conditions(numbers, system, len(frame))
    wrong = find_violations(conditions, system)
    _check_scale(numbers, system, wrong)
    if wrong:
        text = "; ".join(f"row {row + 1}: {rule}" for row, rule in wrong[:6])
        more = f"; and {len(wrong) - 6} more" if len(wrong) > 6 else ""
        raise InputError(f"expected rows that keep the constraints, got {text}{more}; correct the rows or the system")
    if not attributes:
        return DoETable(system, conditions, np.full((len(frame), len(system.attributes)), np.nan))
    values = np.column_stack([numbers[a.column] for a in system.attributes])
    warnings = _check_attributes(values, system)
    _check_doubles(conditions.raw(system), values)
    warnings += _odd(conditions, values, system)
    return DoETable(system, conditions, values, tuple(warnings))


def _columns(frame: pd.DataFrame, wanted: list[str]) -> dict[str, str]:
    """Headings by column; a unit in brackets behind the name is allowed."""
    headings = [str(c).strip() for c in frame.columns]
    frame.columns = pd.Index(headings)
    out, missing = {}, []
    for name in wanted:
        fits = [h for h in headings if h == name or (heading_unit(h) and h[: h.rfind(_bracket(h))].strip() == name)]
        if fits:
            out[name] = fits[0]
        else:
            missing.append(name)
    if missing:
        raise InputError(
            f"expected columns {', '.join(missing)}, got {', '.join(headings)}; rename them or correct the system"
        )
    return out


def _bracket(heading: str) -> str:
    return "[" if heading.rstrip().endswith("]") else "("


def _check_units(found: dict[str, str], system: System) -> None:
    said = {f.column: f.unit for f in system.factors} | {a.column: a.unit for a in system.attributes}
    if system.profile is not None:
        p = system.profile
        said |= dict.fromkeys(p.temperatures, p.temperature_unit)
        said |= dict.fromkeys((*p.cooling, *p.heating), p.rate_unit)
    for name, heading in found.items():
        unit = heading_unit(heading) if heading != name else None
        if unit is not None and said.get(name) and not same_unit(unit, said[name]):
            raise InputError(
                f"expected {name} in {said[name]} as the system says, got the heading {heading!r}; correct one of them"
            )


def _numbers(column: pd.Series, name: str) -> Array:
    text = column.astype(object).where(column.notna(), "").astype(str).str.strip()
    empty = text.str.lower().isin(["", "na", "n/a", "nan", "-"])
    numbers = pd.to_numeric(text.str.replace(",", ".", regex=False), errors="coerce")
    wrong = np.flatnonzero((numbers.isna() | np.isinf(numbers)) & ~empty)
    if len(wrong):
        row = int(wrong[0])
        raise InputError(
            f"expected a number in {name}, got {text.iloc[row]!r} in row {row + 1}; correct it, or leave it empty"
        )
    return np.asarray(numbers.where(~empty), dtype=float)


def _conditions(numbers: dict[str, Array], system: System, n: int) -> Conditions:
    for f in system.factors:
        _refuse_empty(numbers[f.column], f.column)
    factors = np.column_stack([numbers[f.column] for f in system.factors]) if system.factors else np.zeros((n, 0))
    if system.profile is None:
        none = np.zeros((n, 0))
        return Conditions(factors, none, none, none, np.zeros(n, dtype=np.int64))
    p = system.profile
    cycles = numbers[p.cycles]
    _refuse_empty(cycles, p.cycles)
    segments = 2 * cycles + 1
    good = (segments == np.round(segments)) & (segments >= 1) & (segments <= p.most_segments)
    if not good.all():
        row = int(np.argmin(good))
        raise InputError(
            f"expected 0, 0.5, 1 … {(p.most_segments - 1) / 2:g} cycles in {p.cycles}, got {cycles[row]:g} in row "
            f"{row + 1}; correct it, or add columns of temperatures and rates"
        )
    s = segments.astype(np.int64)
    parts = []
    for columns, used, kind, unit in (
        (p.temperatures, s + 1, "temperature", p.temperature_unit),
        (p.cooling, (s + 1) // 2, "rate", p.rate_unit),
        (p.heating, s // 2, "rate", p.rate_unit),
    ):
        out = np.zeros((n, len(columns)))
        for i, name in enumerate(columns):
            on = i < used
            given = numbers[name]
            _refuse_empty(np.where(on, given, 0.0), name)
            computed = to_computed(kind, unit, given)  # type: ignore[arg-type]
            out[:, i] = np.where(on, computed, np.nan_to_num(given))
        parts.append(out)
    return Conditions(factors, parts[0], parts[1], parts[2], s)


def _refuse_empty(values: Array, name: str) -> None:
    if np.isnan(values).any():
        row = int(np.argmax(np.isnan(values)))
        raise InputError(f"expected {name} of every experiment, got none in row {row + 1}; fill it in or drop the row")


def _check_scale(numbers: dict[str, Array], system: System, wrong: list[tuple[int, str]]) -> None:
    """Where most values of a column lie beyond their bounds, the unit is wrong and not the rows."""
    columns = {f.column: (f.bounds, f.unit) for f in system.factors}
    if system.profile is not None:
        p = system.profile
        columns[p.temperatures[0]] = (p.temperature_bounds, p.temperature_unit)
        columns[p.cooling[0]] = (p.cooling_bounds, p.rate_unit)
    if not wrong:
        return
    for name, (bounds, unit) in columns.items():
        v = numbers[name]
        if len(v) >= 3 and np.mean((v < bounds[0]) | (v > bounds[1])) > 0.5:
            raise InputError(
                f"expected {name} within {bounds[0]:g} to {bounds[1]:g} {unit}, got a median of {np.median(v):g}; the "
                "unit does not fit: correct the unit or the bounds in the system"
            )


def _check_attributes(values: Array, system: System) -> list[str]:
    out = []
    counts = np.isfinite(values).sum(axis=0)
    for a, n, column in zip(system.attributes, counts, values.T, strict=True):
        measured = column[np.isfinite(column)]
        if n == 0:
            out.append(f"{a.column} was measured in no experiment: it is left out")
        elif n < LEAST_VALUES:
            out.append(f"{a.column} was measured in {n} experiments, {LEAST_VALUES} are the least: it is left out")
        elif np.ptp(measured) == 0:
            out.append(f"{a.column} is {measured[0]:g} in every experiment: it is left out")
        if a.bounds is not None and n and (measured.min() < a.bounds[0] or measured.max() > a.bounds[1]):
            bad = int(np.nanargmax((column < a.bounds[0]) | (column > a.bounds[1])))
            raise InputError(
                f"expected {a.column} within {a.bounds[0]:g} to {a.bounds[1]:g} {a.unit}, got {column[bad]:g} in row "
                f"{bad + 1}; correct the value or the unit"
            )
        if a.scale == "log" and n and measured.min() <= 0:
            bad = int(np.nanargmin(column))
            raise InputError(
                f"expected {a.column} above 0 for its logarithmic scale, got {column[bad]:g} in row {bad + 1}; "
                f"correct it"
            )
    if not any(usable(column) for column in values.T):
        names = ", ".join(a.column for a in system.attributes)
        raise InputError(
            f"expected {LEAST_VALUES} or more different values of one of {names}, got at most {int(counts.max())}; "
            "a model cannot be made of them: measure more"
        )
    return out


def usable(column: Array) -> bool:
    """Whether the measured values of an attribute support a model."""
    measured = column[np.isfinite(column)]
    return len(measured) >= LEAST_VALUES and float(np.ptp(measured)) > 0


def _check_doubles(raw: Array, values: Array) -> None:
    rows = np.hstack([raw, np.nan_to_num(values, nan=-1e300)])
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    original = first[inverse.ravel()]
    doubled = np.flatnonzero(original != np.arange(len(rows)))
    if len(doubled):
        row = int(doubled[0])
        raise InputError(
            f"expected experiments that differ, got row {row + 1} the same as row {original[row] + 1} in every column; "
            "delete one (repeats with their own measurements are welcome)"
        )


def _odd(conditions: Conditions, values: Array, system: System) -> list[str]:
    out = []
    for i, f in enumerate(system.factors):
        if len(conditions) > 1 and np.ptp(conditions.factors[:, i]) == 0:
            out.append(f"{f.column} is {conditions.factors[0, i]:g} in every experiment: its effect cannot be told")
    for a, column in zip(system.attributes, values.T, strict=True):
        v = np.log(column) if a.scale == "log" else column
        middle = np.nanmedian(v) if np.isfinite(v).any() else np.nan
        spread = 1.4826 * np.nanmedian(np.abs(v - middle)) if np.isfinite(v).any() else np.nan
        if spread > 0:
            gap = _gaps(v, middle)
            out += [
                f"{a.column} = {column[row]:g} in row {row + 1} is far from all others (median "
                f"{np.nanmedian(column):g}): check it; it was kept"
                for row in np.flatnonzero((np.abs(v - middle) > _FAR * spread) & (gap > _GAP * spread))
            ]
    return out


def _gaps(v: Array, middle: float) -> Array:
    """(n,) the widest gap between neighbouring values on the way from the median to each; NaN where not measured."""
    out = np.full(len(v), np.nan)
    for side in (v >= middle, v < middle):
        rows = np.flatnonzero(side)
        away = np.abs(v[rows] - middle)
        order = np.argsort(away)
        out[rows[order]] = np.maximum.accumulate(np.diff(away[order], prepend=0.0))
    return out
