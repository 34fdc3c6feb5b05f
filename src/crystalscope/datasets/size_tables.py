"""Offline size distributions from the tables of other instruments, in the terms of ISO 9276-1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.datasets.cells import Block, Cell, Sheet, find_blocks, first_number, read_sheets, text_of
from crystalscope.datasets.size_columns import (
    Weight,
    definition_of,
    role_of,
    sample_of,
    weight_of,
)
from crystalscope.datasets.size_values import value_table

Array = NDArray[np.float64]

_QUANTILE = re.compile(r"^[dx]\s*[\[(]?\s*([vn])?[,\s]*[\[(]?\s*(0?[.,]\d+|\d{1,2})\s*[\])]?\s*(?:,\s*([03]))?\b", re.I)


@dataclass
class SizeTables:
    """Distributions read from one file.

    Parameters
    ----------
    tables
        By name. Rows are class edges in ascending order, or single particles: ``size_um``, and any of ``Q0``, ``Q3``
        (cumulative undersize by number and by volume, 0 to 1), ``q0``, ``q3`` (density in 1/um in the class below the
        edge; NaN at the first edge), ``count``; ``Q`` and ``q`` where the table says neither number nor volume.
        ``attrs``: definition (what size means), source (file and sheet), read (how the columns were understood),
        volume_model (only where volumes were made from sizes here).
    notes
        What was taken, assumed and left out, a sentence each.
    """

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_size_tables(path: Path) -> SizeTables:
    """Read the size distributions of a file.

    Understood: columns of class edges (upper, lower, both, or middle) with frequencies, cumulative undersize or
    oversize, densities or counts, in per cent or fractions, several samples side by side (Mastersizer 3000 and most
    hand-made sheets); ``Result Between User Sizes`` in one row per sample (Mastersizer 2000); one row per particle
    (Morphologi); D10, D50, D90; mean and standard deviation (certificates of standard particles).

    Parameters
    ----------
    path
        csv, tsv, txt or xlsx.

    Returns
    -------
    SizeTables; without tables where nothing in the file is a size distribution.

    Raises
    ------
    ReadError
        When the file cannot be read at all.

    Notes
    -----
    Assumptions, each told in the notes where it is made: sizes without unit are um; of frequencies with one size
    column whose heading does not say which edge it is, the upper edge is meant (a lower edge would shift every size by
    one class). Cumulatives are not scaled to end at 1.
    """
    out = SizeTables()
    for sheet in read_sheets(path):
        where = f"{path.name}, sheet {sheet.name}" if sheet.name else path.name
        stem = path.stem if not sheet.name or re.fullmatch(r"(?i)sheet\s*\d*", sheet.name) else sheet.name
        before = len(out.tables)
        for attempt in (_wide, _blocks, _short):
            attempt(sheet, stem, where, out)
            if len(out.tables) > before:
                break
        if len(out.tables) == before and not any(where in n for n in out.notes):
            out.notes.append(f"skipped {where}: no column of sizes with a distribution beside it")
    return out


def _add(out: SizeTables, name: str, table: pd.DataFrame, **attrs: str) -> None:
    unique, n = name, 1
    while unique in out.tables:
        n += 1
        unique = f"{name} ({n})"
    table.attrs.update(attrs)
    out.tables[unique] = table
    out.notes.append(f"found sizes {unique!r} in {attrs['source']}: {attrs['read']}; size is {attrs['definition']}")


def _wide(sheet: Sheet, stem: str, where: str, out: SizeTables) -> None:
    """Mastersizer 2000: sizes in a row, one row of results per sample, each under the upper edge of its class."""
    for r, row in enumerate(sheet.cells[:-2]):
        c = next((i for i, v in enumerate(row) if isinstance(v, str) and "between user sizes" in v.lower()), None)
        if c is None:
            continue
        edges = []
        for value in sheet.cells[r + 1][c:]:
            if not isinstance(value, float):
                break
            edges.append(value)
        kind_column = next((i for i, v in enumerate(row) if "transform" in text_of(v).lower()), None)
        for sample in sheet.cells[r + 2 :]:
            values = np.array([v if isinstance(v, float) else np.nan for v in sample[c : c + len(edges)]])
            filled = np.isfinite(values)
            if filled.sum() < len(edges) - 1 or len(edges) < 3:
                continue
            said = text_of(sample[kind_column]) if kind_column is not None else "volume"
            # Where every cell is filled the export has put the value at the lower edge, the last of them empty of use.
            steps = values[1:] if not filled[0] else values[:-1]
            _distribution(
                out, text_of(sample[0]) or stem, where, edges=np.array(edges), steps=steps, percent=True,
                weight=weight_of(said) or "", definition="laser diffraction",
                read=f"row {text_of(sample[0])!r}, per cent by {said.lower()} between user sizes",
            )  # fmt: skip
        return


def _distribution(
    out: SizeTables,
    name: str,
    where: str,
    *,
    edges: Array,
    steps: Array,
    percent: bool,
    weight: Weight,
    definition: str,
    read: str,
) -> None:
    """Classes between edges (n) with shares (n - 1)."""
    share = steps / (100.0 if percent else 1.0)
    cumulative = np.concatenate([[0.0], np.cumsum(share)])
    table = pd.DataFrame({"size_um": edges, f"Q{weight}": cumulative})
    table[f"q{weight}"] = np.concatenate([[np.nan], share / np.diff(edges)])
    _add(out, name, table, definition=definition, source=where, read=read)


def _blocks(sheet: Sheet, stem: str, where: str, out: SizeTables) -> None:
    for block in find_blocks(sheet.cells):
        if _particles(sheet, block, stem, where, out):
            continue
        _columns(sheet, block, stem, where, out)


def _column(sheet: Sheet, block: Block, c: int) -> Array:
    return np.array([v if isinstance(v := row[c], float) else np.nan for row in sheet.cells[block.first : block.last]])


def _particles(sheet: Sheet, block: Block, stem: str, where: str, out: SizeTables) -> bool:
    """One row per particle: sizes in no order, next to shape factors."""
    sizes: dict[str, Array] = {}
    for c, heading in enumerate(block.headings):
        role = role_of(heading)
        meaning = definition_of(heading)
        if role.role == "size" and meaning in ("ecd", "feret_max", "length", "width"):
            values = _column(sheet, block, c) * role.to_um
            steps = np.diff(values[np.isfinite(values)])
            if (steps > 0).any() and (steps < 0).any():
                sizes.setdefault(meaning, values)
    if not sizes:
        return False
    if "ecd" in sizes:
        volume, model = sizes["ecd"] ** 3, "ecd^3"
    elif "length" in sizes and "width" in sizes:
        volume, model = sizes["length"] * sizes["width"] ** 2, "length*width^2"
    else:
        first = next(iter(sizes))
        volume, model = sizes[first] ** 3, f"{first}^3"
    for meaning, values in sizes.items():
        good = np.isfinite(values) & np.isfinite(volume) & (values > 0)
        order = np.argsort(values[good], kind="stable")
        size, share = values[good][order], volume[good][order]
        table = pd.DataFrame(
            {
                "size_um": size,
                "count": 1,
                "Q0": np.arange(1, len(size) + 1) / len(size),
                "Q3": np.cumsum(share) / share.sum(),
            }
        )
        name = sample_of(block.title) or stem
        read = f"{len(size)} particles, one a row; volume as {model}"
        if len(size) < len(values):
            read += f"; {len(values) - len(size)} rows without a size left out"
        _add(out, f"{name} {meaning}", table, definition=meaning, source=where, read=read, volume_model=model)
    return True


def _columns(sheet: Sheet, block: Block, stem: str, where: str, out: SizeTables) -> None:
    if sum(_QUANTILE.match(h.rsplit(" | ", 1)[-1]) is not None for h in block.headings) >= 2:
        return
    roles = [role_of(h) for h in block.headings]
    columns = [_column(sheet, block, c) for c in range(len(roles))]
    if not any(r.role in ("size", "lower", "upper") for r in roles):
        rising = np.diff(columns[0][np.isfinite(columns[0])])
        if not (len(rising) > 1 and columns[0][np.isfinite(columns[0])][0] >= 0 and (rising > 0).all()):
            return
        roles[0] = role_of("size")
    made: dict[str, pd.DataFrame] = {}
    for c, role in enumerate(roles):
        heading = block.headings[c]
        sized = [i for i in range(c) if roles[i].role in ("size", "lower", "upper")]
        if role.role in ("size", "lower", "upper", "statistic") or not sized or not np.isfinite(columns[c]).any():
            continue
        near = [i for i in sized if i >= sized[-1] - 1]
        context = (heading, block.title, sheet.name, Path(where.split(",")[0]).stem)
        weight = weight_of(*context)
        if weight is None:
            out.notes.append(f"skipped {heading!r} in {where}: weighted by area, which nothing here uses")
            continue
        scaled = {i: columns[i] * roles[i].to_um for i in near}
        found = value_table(
            heading,
            columns[c],
            near,
            roles=[roles[i].role for i in near],
            sizes=scaled,
            size_heading=block.headings[near[-1]],
        )
        if isinstance(found, str):
            out.notes.append(f"skipped {heading or f'column {c + 1}'!r} in {where}: {found}")
            continue
        table, read = found
        table = table.rename(columns={"Q": f"Q{weight}", "q": f"q{weight}"})
        if not any(roles[i].unit_stated for i in near):
            read += "; no unit stated, um assumed"
        if not weight:
            read += "; the table says neither number nor volume, so Q has no index"
        name = sample_of(heading) or sample_of(block.title) or stem
        meaning = definition_of(block.headings[near[-1]], *context)
        _merge(made, name, table, definition=meaning, source=where, read=read)
    for name, table in made.items():
        _add(out, name, table, **{str(k): v for k, v in table.attrs.items()})


def _merge(made: dict[str, pd.DataFrame], name: str, table: pd.DataFrame, **attrs: str) -> None:
    """Put number and volume of one sample beside each other; of two tables of one weighting the first stands."""
    if name in made:
        old = made[name]
        new = [c for c in table.columns if c not in old.columns]
        if new and len(old) == len(table) and np.allclose(old["size_um"], table["size_um"]):
            for column in new:
                old[column] = table[column].to_numpy()
            old.attrs["read"] += "; " + attrs["read"]
            return
        if not new:
            return
        name = (
            f"{name} {attrs['definition'] if attrs['definition'] != old.attrs['definition'] else 'otherwise classed'}"
        )
    table.attrs.update(attrs)
    made[name] = table


def _short(sheet: Sheet, stem: str, where: str, out: SizeTables) -> None:
    """D10, D50, D90, or mean and standard deviation: in columns, or one below the other."""
    cells = sheet.cells
    turned = [list(column) for column in zip(*cells, strict=True)]
    for grid, upright in ((cells, True), (turned, False)):
        for r, row in enumerate(grid[:-1]):
            headings = [text_of(c) for c in row]
            quantiles = {c: m for c, h in enumerate(headings) if (m := _QUANTILE.match(h))}
            mean = next((c for c, h in enumerate(headings) if re.search(r"mean|average|nominal diam", h, re.I)), None)
            spread = next(
                (c for c, h in enumerate(headings) if re.search(r"std|deviation|\bsd\b|\bcv\b|coeff", h, re.I)), None
            )
            if len(quantiles) < 2 and (mean is None or spread is None or mean == spread):
                continue
            for values in grid[r + 1 :]:
                label = "" if first_number(values[0]) is not None and 0 in (*quantiles, mean) else text_of(values[0])
                name = f"{stem} {label}".strip() if upright else stem
                if len(quantiles) >= 2:
                    _quantiles(out, name, where, headings, quantiles, values, context=(sheet.name, stem))
                elif mean is not None and spread is not None:
                    _normal(out, name, where, headings, mean, spread, values)
            return


def _quantiles(
    out: SizeTables,
    name: str,
    where: str,
    headings: list[str],
    found: dict[int, re.Match[str]],
    values: Sequence[Cell],
    *,
    context: tuple[str, ...],
) -> None:
    points = []
    weight: Weight | None = ""
    for c, match in found.items():
        share = float(match.group(2).replace(",", "."))
        size = first_number(values[c])
        if size is not None:
            points.append((size, share if share < 1 else share / 100))
        letter = (match.group(1) or "").lower()
        weight = weight or ("3" if letter == "v" or match.group(3) == "3" else "0" if letter or match.group(3) else "")
    weight = weight or weight_of(" ".join(headings), *context) or ""
    if len(points) >= 2:
        size, share = np.array(sorted(points)).T
        if bool((np.diff(share) <= 0).any()):
            out.notes.append(f"skipped {name!r} in {where}: its quantiles do not rise")
            return
        read = f"{len(points)} quantiles, nothing between them"
        if not weight:
            read += "; by number or by volume is not stated, so Q has no index"
        table = pd.DataFrame({"size_um": size, f"Q{weight}": share})
        _add(out, name, table, definition=definition_of(*headings, *context), source=where, read=read)


def _normal(
    out: SizeTables, name: str, where: str, headings: list[str], mean: int, spread: int, values: Sequence[Cell]
) -> None:
    centre, width = first_number(values[mean]), first_number(values[spread])
    if centre is None or width is None or centre <= 0:
        return
    if re.search(r"\bcv\b|coeff|%", headings[spread], re.IGNORECASE) or "%" in text_of(values[spread]):
        width = centre * width / 100
    factor = role_of(f"size {headings[mean]}").to_um
    # Quantiles of a normal distribution at -1, 0 and 1 standard deviations.
    size = factor * np.array([centre - width, centre, centre + width])
    table = pd.DataFrame({"size_um": size, "Q0": [0.15866, 0.5, 0.84134]})
    read = f"mean {centre * factor:g} um, standard deviation {width * factor:g} um; normal by number assumed"
    _add(out, name, table, definition=definition_of(*headings, "sphere, equivalent"), source=where, read=read)
