"""Text of exports: encodings, delimiters, decimal commas."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.errors import ReadError

Array = NDArray[np.float64]


def read_text(path: Path, *, what: str, hint: str) -> str:
    """Text of a file in UTF-8, UTF-16 or Latin-1.

    Parameters
    ----------
    path
        The file.
    what
        What it should be, for the message: ``a log``.
    hint
        What to check where it cannot be opened, for the message.

    Raises
    ------
    ReadError
        When the file is missing, empty, or no text.
    """
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise ReadError(f"expected {what}, got {path}: {e.strerror}; {hint}") from e
    text = _decoded(raw)
    if not text.strip():
        raise ReadError(f"expected {what} in {path.name}, got nothing: the file is empty; export it again")
    if "\0" in text:
        raise ReadError(f"expected {what} in {path.name}, got binary data; export it as text (CSV)")
    return text


def _decoded(raw: bytes) -> str:
    encoding = "utf-8-sig"
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif len(raw) > 3 and b"\0" in raw[:2]:
        # UTF-16 without its mark: every other byte of plain text is 0.
        encoding = "utf-16-le" if raw[1] == 0 else "utf-16-be"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        # A file cut off in the middle of a character, or one in Latin-1
        return raw.decode(encoding, errors="ignore") if encoding.startswith("utf-16") else raw.decode("latin-1")


def delimiter_of(line: str) -> str:
    """Comma, semicolon or tab: what stands most often in a line."""
    return max(";\t,", key=line.count)


def numbers(column: pd.Series) -> Array:
    """Numbers of a column of text with decimal point or comma; NaN where there is none."""
    if column.dtype.kind in "fi":
        return column.to_numpy(dtype=np.float64)
    text = column.astype(str).str.strip()
    plain = pd.to_numeric(text, errors="coerce")
    if bool(plain.notna().all()):
        return np.asarray(plain, dtype=np.float64)
    comma = pd.to_numeric(text.str.replace(",", ".", regex=False), errors="coerce")
    return np.asarray(plain.fillna(comma), dtype=np.float64)


def to_celsius(values: Array, unit: str, *, name: str) -> Array:
    """Temperatures in deg C from C, F or K.

    Raises
    ------
    ReadError
        On another unit.
    """
    key = unit.strip().lstrip("°º").strip().lower()
    key = {"celsius": "c", "degc": "c", "deg c": "c", "fahrenheit": "f", "degf": "f", "deg f": "f", "kelvin": "k"}.get(
        key, key
    )
    if key == "c":
        return values
    if key == "f":
        return (values - 32.0) / 1.8
    if key == "k":
        return values - 273.15
    raise ReadError(f"expected a temperature in °C, °F or K in {name}, got the unit {unit!r}; name the unit")


def unit_in(header: str) -> str:
    """Unit that stands in brackets in the header of a column, or nothing."""
    for left, right in (("[", "]"), ("(", ")")):
        start = header.rfind(left)
        end = header.find(right, start)
        if start >= 0 and end > start:
            return header[start + 1 : end].strip()
    return ""


def number_in(text: str) -> float:
    """A number with decimal point or comma; NaN where the text is none."""
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        return math.nan
