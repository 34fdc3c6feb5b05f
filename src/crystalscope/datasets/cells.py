"""Tables as other programs export them: a grid of cells, from text or from a workbook."""

from __future__ import annotations

import csv
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from crystalscope.errors import ReadError

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm", ".xls")

Cell = float | str | datetime | None
"""A number, a text, a date, or nothing."""

_OLD_WORKBOOK = b"\xd0\xcf\x11\xe0"
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True, eq=False)
class Sheet:
    """One table.

    Parameters
    ----------
    name
        Of the sheet of a workbook; empty for a text file.
    cells
        Rows of equal length.
    """

    name: str
    cells: list[list[Cell]]


def read_sheets(path: Path) -> list[Sheet]:
    """Read a table; its content decides what it is, not its name.

    Text: comma, semicolon, tab or blanks between the cells; decimal point, or comma where commas do not separate;
    UTF-8, UTF-16 or Latin-1. Workbooks: xlsx; formulas count by the value that was saved with them.

    Raises
    ------
    ReadError
        When the file is missing, empty, damaged, an old workbook, or no table.
    """
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise ReadError(f"expected a table in {path.name}, got: {e.strerror}; check the file") from e
    if raw[:4] == _OLD_WORKBOOK:
        raise ReadError(f"expected a text table or xlsx, got the old Excel format in {path.name}; save it as xlsx")
    sheets = _workbook(path) if raw[:4] == _ZIP else [Sheet("", _text(raw, path.name))]
    sheets = [s for s in sheets if any(any(c is not None for c in row) for row in s.cells)]
    if not sheets:
        raise ReadError(f"expected a table in {path.name}, got nothing; export it again")
    return sheets


def _workbook(path: Path) -> list[Sheet]:
    import pandas as pd

    try:
        with warnings.catch_warnings():
            # openpyxl tells of styles and rules that it cannot keep; only values are read.
            warnings.simplefilter("ignore")
            tables = pd.read_excel(path, sheet_name=None, header=None, engine="openpyxl", dtype=object)
    except ImportError:
        raise
    except Exception as e:  # a damaged workbook raises whatever its zip and XML readers like
        raise ReadError(f"expected a workbook in {path.name}, got: {e}; save it again as xlsx") from e
    return [Sheet(str(name), [[_plain(c) for c in row] for row in t.to_numpy()]) for name, t in tables.items()]


def _plain(value: Any) -> Cell:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, datetime):
        return value
    if isinstance(value, date | time):
        return value.isoformat()
    text = str(value).strip()
    number = as_number(text, decimal_comma="," in text and "." not in text)
    return (text or None) if number is None else number


def _text(raw: bytes, name: str) -> list[list[Cell]]:
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if "\0" in text:
        raise ReadError(f"expected a text table in {name}, got binary data; export it again")
    lines = [line for line in text.splitlines() if line.strip()]
    separator = next((s for s in "\t;," if 2 * sum(s in line for line in lines) > len(lines)), "")
    if separator:
        rows = list(csv.reader(lines, delimiter=separator))
    else:
        rows = [re.split(r"\s{2,}|\s(?=[\d.+-])", line.strip()) for line in lines]
    width = max((len(r) for r in rows), default=0)
    out: list[list[Cell]] = []
    for row in rows:
        cells: list[Cell] = []
        for text_cell in row:
            stripped = text_cell.strip()
            number = as_number(stripped, decimal_comma=separator != ",")
            cells.append((stripped or None) if number is None else number)
        out.append(cells + [None] * (width - len(row)))
    return out


def as_number(text: str, *, decimal_comma: bool) -> float | None:
    """The number that a text is, or None.

    Parameters
    ----------
    text
        Such as ``2.5``, ``2,5``, ``12 %``, ``1,000``.
    decimal_comma
        Whether a single comma is a decimal sign; otherwise it groups thousands.
    """
    plain = text.replace("\u00a0", "").removesuffix("%").strip()
    if "," in plain:
        if "." in plain:
            # Whichever comes last is the decimal sign.
            group, sign = (",", ".") if plain.rfind(".") > plain.rfind(",") else (".", ",")
            plain = plain.replace(group, "").replace(sign, ".")
        else:
            plain = plain.replace(",", "." if decimal_comma and plain.count(",") == 1 else "")
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", plain, re.IGNORECASE):
        return None
    return float(plain)


def first_number(cell: Cell) -> float | None:
    """A cell that is a number, or the first number of a text such as ``150.3 um +/- 2.1 um``."""
    if isinstance(cell, float):
        return cell
    if isinstance(cell, str) and (found := re.search(r"\d+(?:[.,]\d+)?", cell)):
        return float(found.group().replace(",", "."))
    return None


def text_of(cell: Cell) -> str:
    """A cell as text; whole numbers without decimals."""
    if cell is None:
        return ""
    return f"{cell:g}" if isinstance(cell, float) else str(cell)


@dataclass(frozen=True, eq=False)
class Block:
    """Numbers under headings.

    Parameters
    ----------
    first, last
        First row of the numbers and one past the last.
    headings
        Heading of every column: the cells above it, from the top down; of a cell over several columns each gets it.
    title
        What stands above the headings.
    """

    first: int
    last: int
    headings: list[str]
    title: str


def find_blocks(cells: Sequence[Sequence[Cell]], *, rows: int = 3) -> list[Block]:
    """Every run of at least `rows` rows with two numbers or more each, with its headings.

    A row with a single number and no text right before or after a run belongs to it: the class at an end has no value.
    """
    numeric = [sum(isinstance(c, float) for c in row) >= 2 for row in cells]
    out: list[Block] = []
    start, free = None, 0
    for i, good in enumerate([*numeric, False]):
        if good and start is None:
            start = i
        elif not good and start is not None:
            if i - start >= rows:
                first = start - 1 if start > free and _numbers_only(cells[start - 1]) else start
                last = i + 1 if i < len(cells) and _numbers_only(cells[i]) else i
                out.append(_headed(cells[free:first], first, last, width=len(cells[first])))
                free = last
            start = None
    return out


def _numbers_only(row: Sequence[Cell]) -> bool:
    filled = [c for c in row if c is not None]
    return bool(filled) and all(isinstance(c, float) for c in filled)


def _headed(above: Sequence[Sequence[Cell]], first: int, last: int, *, width: int) -> Block:
    headings: list[list[str]] = []
    title = ""
    for row in reversed(above):
        texts = [text_of(c) for c in row]
        filled = [t for t in texts if t]
        if len(filled) < 2:
            title = " ".join([*filled, title]).strip()
        elif len(headings) < 3:
            # A merged cell holds its text in its first column only; the row right above the numbers is taken as it is.
            headings.insert(0, _filled_right(texts) if headings else texts)
    return Block(first, last, [" | ".join(t for t in (row[c] for row in headings) if t) for c in range(width)], title)


def _filled_right(texts: list[str]) -> list[str]:
    out: list[str] = []
    for t in texts:
        out.append(t or (out[-1] if out else ""))
    return out
