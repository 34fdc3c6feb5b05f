"""Chord length distributions from the exports of laser probes (FBRM, ParticleTrack)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.datasets.cells import Cell, Sheet, find_blocks, read_sheets, text_of

Array = NDArray[np.float64]

CHORD_COLUMNS = ("time_s", "lower_um", "upper_um", "count", "square_weighted")
"""Columns of a chord table: one row per time and channel."""

_RANGE = re.compile(r"(?<![\d.,:/-])(\d+(?:[.,]\d+)?)\s*(?:-|–|to|\.\.)\s*(\d+(?:[.,]\d+)?)(?![\d:/-])", re.IGNORECASE)
_BELOW = re.compile(r"<\s*(\d+(?:[.,]\d+)?)")
_ABOVE = re.compile(r">\s*(\d+(?:[.,]\d+)?)")
_SQUARE = re.compile(r"sq(?:r|uared?|\.)?[\s_-]*(?:w|$)|\bsqr\b|\bsquare", re.IGNORECASE)
_OTHER_WEIGHT = re.compile(r"cube|length[\s_-]*w|1/len|macro|secondary", re.IGNORECASE)
_STATISTIC = re.compile(r"mean|median|mode|std|deviation|skew|index|temperature|total", re.IGNORECASE)
_WORDS = re.compile(r"chord|\bcld\b|fbrm|particle\s*track|\bg400\b|\bg600\b|\bno[\s_]*wt|sqr?[\s_]*wt", re.IGNORECASE)
_SIZES = re.compile(r"\bpsd\b|particle size|size dist|mastersizer|morphologi", re.IGNORECASE)
_STAMPS = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%d.%m.%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
)


@dataclass
class ChordTables:
    """Chord length distributions read from one file.

    Parameters
    ----------
    tables
        By name: one row per time and channel, `CHORD_COLUMNS`. ``time_s`` from the first record, NaN for a
        distribution without time; ``lower_um`` is 0 and ``upper_um`` infinite for open channels; ``count`` is what the
        probe reports without weighting (chords per second, or per measurement), ``square_weighted`` the same weighted
        by the square of the chord where the file has it, else NaN. ``attrs``: source, read.
    notes
        What was taken, assumed and left out.
    """

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def is_chord_table(path: Path, *, name: str = "") -> bool:
    """Whether a table holds chord lengths: by its name, its headings, or three channel columns.

    Parameters
    ----------
    path
        The file.
    name
        Its path in the set, of which the folders count too; empty: only its own name. A name that speaks of sizes as
        well decides nothing.

    Raises
    ------
    ReadError
        When the file cannot be read.
    """
    words = (name or path.name).replace("_", " ")
    if _WORDS.search(words) and not _SIZES.search(words):
        return True
    for sheet in read_sheets(path):
        if _WORDS.search(sheet.name) and not _SIZES.search(sheet.name):
            return True
        for row in sheet.cells[:12]:
            texts = [text_of(c) for c in row]
            if _WORDS.search(" ".join(texts)) or sum(channel_of(t) is not None for t in texts) >= 3:
                return True
    return False


def channel_of(heading: str) -> tuple[float, float] | None:
    """Edges in um of the channel that a heading names (``<10``, ``10-50``, ``counts, No Wt, >1000 (Primary)``)."""
    if _STATISTIC.search(heading):
        return None
    if found := _RANGE.search(heading):
        low, high = (float(v.replace(",", ".")) for v in found.groups())
        return (low, high) if low < high else None
    if found := _BELOW.search(heading):
        return 0.0, float(found.group(1).replace(",", "."))
    if found := _ABOVE.search(heading):
        return float(found.group(1).replace(",", ".")), math.inf
    return None


def read_chord_tables(path: Path) -> ChordTables:
    """Read the chord length distributions of a file.

    Understood: trends, with a time column and a column per channel (iC FBRM: ``counts, No Wt, 10-50 (Primary)``); and
    distributions, with a column of chord lengths (edges or middles of channels) and a column per record or weighting.

    Parameters
    ----------
    path
        csv, tsv, txt or xlsx.

    Returns
    -------
    ChordTables; without tables where nothing in the file is a chord length distribution.

    Raises
    ------
    ReadError
        When the file cannot be read at all.

    Notes
    -----
    Channels that contain others (totals, and coarse groups beside fine channels) are left out, so that every chord
    counts once. Chord lengths without a word on which edge they are count as middles of their channels.
    """
    out = ChordTables()
    for sheet in read_sheets(path):
        where = f"{path.name}, sheet {sheet.name}" if sheet.name else path.name
        name = (
            path.stem if not sheet.name or re.fullmatch(r"(?i)sheet\s*\d*", sheet.name) else f"{path.stem} {sheet.name}"
        )
        if not _trend(sheet, name, where, out) and not _distribution(sheet, name, where, out):
            out.notes.append(f"skipped {where}: no channels, and no column of chord lengths with counts beside it")
    return out


def _add(out: ChordTables, name: str, table: pd.DataFrame, where: str, read: str) -> None:
    unique, n = name, 1
    while unique in out.tables:
        n += 1
        unique = f"{name} ({n})"
    table = table.reindex(columns=list(CHORD_COLUMNS)).astype(float)
    table.attrs.update(source=where, read=read)
    out.tables[unique] = table
    out.notes.append(f"found chords {unique!r} in {where}: {read}")


def _finest(channels: dict[int, tuple[float, float]]) -> tuple[dict[int, tuple[float, float]], int]:
    """Channels that do not overlap, the narrowest first; and how many were left out."""
    kept: dict[int, tuple[float, float]] = {}
    for c, (low, high) in sorted(channels.items(), key=lambda i: (i[1][1] - i[1][0], i[0])):
        if all(high <= a or low >= b for a, b in kept.values()):
            kept[c] = (low, high)
    return dict(sorted(kept.items(), key=lambda i: i[1])), len(channels) - len(kept)


def _trend(sheet: Sheet, name: str, where: str, out: ChordTables) -> bool:
    heads = (r for r, row in enumerate(sheet.cells) if sum(channel_of(text_of(c)) is not None for c in row) >= 3)
    r = next(heads, None)
    if r is None:
        return False
    headings = [text_of(c) for c in sheet.cells[r]]
    named = {c: edges for c, h in enumerate(headings) if (edges := channel_of(h)) is not None}
    by_weight: dict[str, dict[int, tuple[float, float]]] = {"count": {}, "square_weighted": {}}
    other = 0
    for c, edges in named.items():
        if _OTHER_WEIGHT.search(headings[c]):
            other += 1
        else:
            by_weight["square_weighted" if _SQUARE.search(headings[c]) else "count"][c] = edges
    left_out = 0
    for key, channels in by_weight.items():
        by_weight[key], n = _finest(channels)
        left_out += n
    columns = [c for channels in by_weight.values() for c in channels]
    body = [line for line in sheet.cells[r + 1 :] if any(isinstance(line[c], float) for c in columns)]
    if not body:
        return False
    time, said = _times(headings, body, skip=set(named))
    parts = [
        pd.DataFrame({"time_s": time, "lower_um": low, "upper_um": high, key: [_float(line[c]) for line in body]})
        for key, channels in by_weight.items()
        for c, (low, high) in channels.items()
    ]
    table = parts[0].iloc[:0]
    for key, channels in by_weight.items():
        if channels:
            long = pd.concat([p for p in parts if key in p], ignore_index=True).assign(
                record=lambda t: t.index % len(body)
            )
            keys = ["record", "time_s", "lower_um", "upper_um"]
            table = long if table.empty else table.merge(long, on=keys, how="outer")
    table = table.sort_values(["record", "lower_um"], kind="stable").drop(columns="record").reset_index(drop=True)
    taken = [f"{len(v)} channels of {k.replace('_', ' ')}" for k, v in by_weight.items() if v]
    read = f"{len(body)} records, {', '.join(taken)}, {said}"
    if left_out:
        read += f"; {left_out} columns left out that overlap finer channels or stand twice"
    if other:
        read += f"; {other} columns of another weighting or mode left out"
    _add(out, name, table, where, read)
    return True


def _times(headings: list[str], body: list[list[Cell]], *, skip: set[int]) -> tuple[Array, str]:
    """Times of the records in s from the first, and which column they are from."""
    candidates = [c for c, h in enumerate(headings) if c not in skip and re.search(r"time|elapsed|\bt\b|date", h, re.I)]
    candidates.sort(key=lambda c: 0 if re.search(r"rel|elapsed", headings[c], re.IGNORECASE) else 1)
    for c in candidates:
        cells = [line[c] for line in body]
        for values in (_relative(cells, headings[c]), _stamped(cells)):
            if values is not None:
                return values - values[0], f"time from {headings[c]!r}"
    return np.full(len(body), np.nan), "no time column"


def _relative(cells: list[Cell], heading: str) -> Array | None:
    factor = 1.0
    if re.search(r"\bmin", heading, re.IGNORECASE):
        factor = 60.0
    elif re.search(r"\(h\)|\bhours?\b|\bhrs?\b|in h\b", heading, re.IGNORECASE):
        factor = 3600.0
    out = []
    for cell in cells:
        if isinstance(cell, float):
            out.append(cell * factor)
        elif isinstance(cell, str) and (clock := re.fullmatch(r"(\d+):(\d{2})(?::(\d{2}(?:[.,]\d+)?))?", cell)):
            hours, minutes, seconds = clock.groups()
            out.append(3600.0 * int(hours) + 60.0 * int(minutes) + float((seconds or "0").replace(",", ".")))
        else:
            return None
    return np.array(out)


def _stamped(cells: list[Cell]) -> Array | None:
    if all(isinstance(c, datetime) for c in cells):
        return np.array([c.timestamp() for c in cells if isinstance(c, datetime)])
    texts = [re.sub(r"\.\d+", "", str(c)) for c in cells]
    best: Array | None = None
    for pattern in _STAMPS:
        try:
            values = np.array([datetime.strptime(t, pattern).timestamp() for t in texts])
        except ValueError:
            continue
        # Day and month can be taken for one another; records follow each other in time.
        if best is None or (bool((np.diff(best) < 0).any()) and bool((np.diff(values) >= 0).all())):
            best = values
    return best


def _float(cell: Cell) -> float:
    return cell if isinstance(cell, float) else math.nan


def _distribution(sheet: Sheet, name: str, where: str, out: ChordTables) -> bool:
    before = len(out.tables)
    for block in find_blocks(sheet.cells):
        rows = sheet.cells[block.first : block.last]
        columns = [np.array([_float(row[c]) for row in rows]) for c in range(len(block.headings))]
        size = [c for c, v in enumerate(columns) if np.isfinite(v).all() and v[0] >= 0 and bool((np.diff(v) > 0).all())]
        if not size or size[0] > 1:
            continue
        low = high = columns[size[0]]
        said = "lower and upper edge"
        if len(size) > 1 and size[1] == size[0] + 1 and np.allclose(columns[size[0]][1:], columns[size[1]][:-1]):
            high, used = columns[size[1]], size[:2]
        else:
            low, high, said, used = *_edges(low, block.headings[size[0]]), size[:1]
        by_label: dict[str, dict[str, Array]] = {}
        for c in range(used[-1] + 1, len(columns)):
            heading = block.headings[c]
            if not np.isfinite(columns[c]).any() or _OTHER_WEIGHT.search(heading) or _STATISTIC.search(heading):
                if heading:
                    out.notes.append(f"skipped {heading!r} in {where}: another weighting, a statistic, or empty")
                continue
            square = bool(_SQUARE.search(heading))
            label = re.sub(
                r"(?i)counts?(?:/s(?:ec)?)?|no[\s_]*(?:wt|weight)\w*|sq(?:r|uared?)?[\s_-]*(?:wt|weight)\w*|unweighted|"
                r"\(?primary\)?|#/s|\|",
                " ",
                heading,
            )
            label = re.sub(r"\s+", " ", label).strip(" ,;-()")
            by_label.setdefault(label, {}).setdefault("square_weighted" if square else "count", columns[c])
        if not by_label:
            continue
        for label, values in by_label.items():
            table = pd.DataFrame({"time_s": math.nan, "lower_um": low, "upper_um": high, **values})
            read = f"{len(rows)} channels, {' and '.join(v.replace('_', ' ') for v in values)}, {said}"
            _add(out, f"{name} {label}".strip(), table, where, read)
    return len(out.tables) > before


def _edges(size: Array, heading: str) -> tuple[Array, Array, str]:
    """Edges of channels from one column."""
    if re.search(r"upper|\bto\b|\bmax", heading, re.IGNORECASE):
        return np.concatenate([[0.0], size[:-1]]), size, f"{heading!r} is the upper edge"
    between = np.sqrt(size[1:] * size[:-1])
    if re.search(r"lower|\bfrom\b|\bmin", heading, re.IGNORECASE):
        return size, np.concatenate([size[1:], [size[-1] ** 2 / size[-2]]]), f"{heading!r} is the lower edge"
    said = "is the middle" if re.search(r"mid|cent", heading, re.IGNORECASE) else "assumed to be the middle"
    first = size[0] ** 2 / between[0] if between[0] > 0 else 0.0
    edges = np.concatenate([[first], between, [size[-1] ** 2 / between[-1]]])
    return edges[:-1], edges[1:], f"{heading!r} {said} of a channel, edges at geometric means"
