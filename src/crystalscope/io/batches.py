"""Measured batches from files: tables of moments and concentrations, runs of `analyze` and of `plant run`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crystalscope.config import SizeConfig
from crystalscope.errors import InputError, ReadError
from crystalscope.io.logs import read_table_text
from crystalscope.io.tables import read_table

LEAST_PARTICLES = 200
"""Particles that a row of quantiles is made of: frames that follow each other are joined until there are as many."""


@dataclass(frozen=True)
class Column:
    """Where a quantity stands in a foreign table.

    Parameters
    ----------
    name
        Of the column in the file.
    factor
        To the unit of the quantity.
    """

    name: str
    factor: float = 1.0


def parse_column(text: str) -> tuple[str, Column]:
    """``QUANTITY=COLUMN`` or ``QUANTITY=COLUMN*FACTOR``; raises InputError for other texts."""
    found = re.fullmatch(r"\s*([\w]+)\s*=\s*(.+?)\s*(?:\*\s*([0-9.eE+-]+))?\s*", text)
    factor = 1.0
    try:
        if found is not None and found[3] is not None:
            factor = float(found[3])
    except ValueError:
        found = None
    if found is None:
        raise InputError(f'expected QUANTITY=COLUMN or QUANTITY=COLUMN*FACTOR, got {text!r}; such as "mu0=mu0*1000"')
    return found[1], Column(found[2], factor)


def read_numbers(path: Path, columns: Mapping[str, Column] | None = None) -> pd.DataFrame:
    """A delimited table with numbers where a column holds any; renamed and scaled by `columns`.

    Parameters
    ----------
    path
        CSV, separated by comma, semicolon or tab; decimal point or comma.
    columns
        By the name a column shall have; others stay as they are.

    Raises
    ------
    ReadError
        When the file is missing, empty or no text.
    InputError
        When a named column is not in it.
    """
    table = read_table_text(path)
    # A comment sign before the first name is how some programs mark the header.
    table.columns = pd.Index([str(c).lstrip("#").strip() for c in table.columns])
    for quantity, column in (columns or {}).items():
        if column.name not in table.columns:
            raise InputError(
                f"expected a column {column.name!r} for {quantity} in {path.name}, got "
                f"{', '.join(map(repr, table.columns))}; correct --column"
            )
    named = {column.name: quantity for quantity, column in (columns or {}).items()}
    clash = [q for c, q in named.items() if q in table.columns and q != c]
    table = table.drop(columns=clash).rename(columns=named)
    for name in table.columns:
        text = table[name].astype(str).str.strip()
        plain = pd.to_numeric(text, errors="coerce")
        numbers = plain.fillna(pd.to_numeric(text.str.replace(",", ".", regex=False), errors="coerce"))
        if numbers.notna().any():
            # A text among numbers stays, so that what reads the table can say where it is.
            table[name] = numbers.where(numbers.notna() | (text == ""), text) if numbers.isna().any() else numbers
    for quantity, column in (columns or {}).items():
        if column.factor != 1:
            table[quantity] = pd.to_numeric(table[quantity], errors="coerce") * column.factor
    return table


def read_batch(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """One batch from the folder of a run, and the settings of the run.

    Returns
    -------
    table
        Of a run of `plant run`: trajectory.csv. Of a run of `analyze`: time_s, temperature_c, n, and D10, D50, D90 by
        number and volume (d10_0_um …) of frames joined until they hold `LEAST_PARTICLES`.
    settings
        run.toml.

    Raises
    ------
    ReadError
        When the folder is no run.
    InputError
        When the run has no scale, times or temperatures, or too few particles.
    """
    settings = _settings(path)
    if (path / "trajectory.csv").exists():
        return read_numbers(path / "trajectory.csv"), settings
    if not (path / "frames.parquet").exists():
        raise ReadError(f"expected the folder of a run, got {path} without frames.parquet or trajectory.csv")
    frames = read_table(path / "frames.parquet", columns=["frame", "time_s", "temperature_c", "status"])
    frames = frames[frames["status"].isin(["ok", "empty"])].sort_values("time_s", kind="stable")
    for column, remedy in (("time_s", "--interval or --time-pattern"), ("temperature_c", "--log")):
        if frames[column].isna().any():
            raise InputError(
                f"expected {column} of every frame in {path}, got {int(frames[column].isna().sum())} frames without; "
                f"analyse again with {remedy}"
            )
    size = SizeConfig.model_validate(settings.get("size", {}))
    name = f"{size.definition}_um"
    try:
        particles = read_table(path / "particles.parquet", columns=["frame", name], where=size.rows)
    except ReadError as e:
        raise InputError(
            f"expected sizes in um in {path}, got a run without a scale; analyse again with --scale"
        ) from e
    return _quantiles(frames, particles, name, path), settings


def _settings(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((path / "run.toml").read_text(encoding="utf-8"))
    except OSError as e:
        raise ReadError(f"expected run.toml in {path}: {e.strerror}; give the folder of a finished run") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ReadError(f"expected TOML in {path / 'run.toml'}: {e}") from e


def _quantiles(frames: pd.DataFrame, particles: pd.DataFrame, name: str, path: Path) -> pd.DataFrame:
    by_frame = {int(f): g[name].to_numpy(dtype=float) for f, g in particles.groupby("frame")}
    rows: list[dict[str, float]] = []
    sizes: list[np.ndarray] = []
    times: list[tuple[float, float]] = []
    for frame, time, degrees in zip(frames["frame"], frames["time_s"], frames["temperature_c"], strict=True):
        sizes.append(by_frame.get(int(frame), np.zeros(0)))
        times.append((float(time), float(degrees)))
        if sum(map(len, sizes)) < LEAST_PARTICLES:
            continue
        x = np.sort(np.concatenate(sizes))
        row = {"time_s": float(np.mean([t for t, _ in times])), "temperature_c": float(np.mean([d for _, d in times]))}
        row["n"] = float(len(x))
        for order in (0, 3):
            weight = np.cumsum(x**order) / float((x**order).sum())
            row |= {f"d{q}_{order}_um": _at(x, weight, q / 100) for q in (10, 50, 90)}
        rows.append(row)
        sizes, times = [], []
    if len(rows) < 3:
        raise InputError(
            f"expected {3 * LEAST_PARTICLES} particles or more in {path}, got {sum(map(len, by_frame.values()))}: "
            "too few for "
            "quantiles that follow the batch"
        )
    return pd.DataFrame(rows)


def _at(x: np.ndarray, cumulative: np.ndarray, share: float) -> float:
    return float(x[min(int(np.searchsorted(cumulative, share)), len(x) - 1)])
