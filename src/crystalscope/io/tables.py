"""Result files: Parquet by DuckDB, CSV, JSON and TOML; written whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from crystalscope.errors import ReadError, WriteError


def write_bytes(path: Path, data: bytes | Iterable[bytes]) -> Path:
    """Write a file by way of a temporary one, so that it is never seen half written.

    Raises
    ------
    WriteError
        When the place cannot be written or the disk is full.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as f:
            for piece in [data] if isinstance(data, bytes) else data:
                f.write(piece)
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(path)
    except OSError as e:
        raise _write_error(path, e.strerror or str(e)) from e
    return path


def _write_error(path: Path, reason: str) -> WriteError:
    return WriteError(
        f"expected to write {path}, got: {reason}; free space or choose another --out, then run the same command "
        "again: it goes on where it stopped"
    )


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text, whole or not at all; raises WriteError."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, data: Any) -> Path:
    """Write JSON with NaN as null; raises WriteError."""
    return write_text(path, json.dumps(_no_nan(data), indent=1, ensure_ascii=False) + "\n")


def _no_nan(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {str(k): _no_nan(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_no_nan(v) for v in data]
    return data


def write_csv(path: Path, table: pd.DataFrame) -> Path:
    """Write CSV with 9 significant digits; raises WriteError."""
    return write_text(path, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def write_table(path: Path, table: pd.DataFrame) -> Path:
    """Write Parquet; the same table gives the same bytes.

    Raises
    ------
    WriteError
        When the place cannot be written or the disk is full.
    """
    connection = _connect()
    connection.register("t", table)
    return _copy(connection, "SELECT * FROM t", path)


def merge_tables(parts: Sequence[Path], path: Path) -> Path:
    """Join Parquet files in the order given, without holding them in memory; raises WriteError."""
    names = ", ".join(_quoted(p) for p in parts)
    return _copy(_connect(), f"SELECT * FROM read_parquet([{names}])", path)


def read_table(path: Path, *, columns: Sequence[str] | None = None, where: str = "") -> pd.DataFrame:
    """Read Parquet, or some columns and rows of it.

    Parameters
    ----------
    path
        The file.
    columns
        Names; None: all.
    where
        SQL condition on the rows, such as ``frame = 3``.

    Raises
    ------
    ReadError
        When the file is missing or no Parquet.
    """
    import duckdb

    chosen = "*" if columns is None else ", ".join(f'"{c}"' for c in columns)
    condition = f" WHERE {where}" if where else ""
    try:
        return _connect().execute(f"SELECT {chosen} FROM read_parquet({_quoted(path)}){condition}").df()
    except duckdb.Error as e:
        raise ReadError(f"expected a Parquet table in {path}: {e}") from e


def _connect() -> Any:
    import duckdb

    # One thread keeps the rows in order and the bytes the same.
    return duckdb.connect(":memory:", config={"threads": 1, "preserve_insertion_order": True})


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _copy(connection: Any, query: str, path: Path) -> Path:
    import duckdb

    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection.execute(
            f"COPY ({query}) TO {_quoted(temporary)} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 100000)"
        )
        temporary.replace(path)
    except (OSError, duckdb.Error) as e:
        raise _write_error(path, str(e)) from e
    finally:
        connection.close()
    return path


def to_toml(data: Mapping[str, Any], prefix: str = "") -> str:
    """A nested mapping as TOML; None is left out, since TOML has no null."""
    values, tables = [], []
    for key, value in data.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            name = f"{prefix}{_key(key)}"
            tables.append(f"\n[{name}]\n{to_toml(value, name + '.')}")
        else:
            values.append(f"{_key(key)} = {_value(value)}\n")
    return "".join(values) + "".join(tables)


def _key(key: str) -> str:
    bare = key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key)
    return key if bare else json.dumps(key, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "nan" if math.isnan(value) else repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
