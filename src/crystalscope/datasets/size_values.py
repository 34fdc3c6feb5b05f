"""A column of values beside a column of sizes, as cumulative and density (ISO 9276-1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.datasets.size_columns import kind_of, place_of

Array = NDArray[np.float64]


def value_table(
    heading: str,
    values: Array,
    near: Sequence[int],
    *,
    roles: Sequence[str],
    sizes: dict[int, Array],
    size_heading: str,
) -> tuple[pd.DataFrame, str] | str:
    """One column of values beside its columns of sizes, as edges, Q and q.

    Parameters
    ----------
    heading
        Of the values.
    values
        (n,) NaN where a cell is empty.
    near
        Numbers of the one or two columns of sizes that the values belong to.
    roles
        What each of them is: size, lower or upper.
    sizes
        (n,) um, by the number of the column.
    size_heading
        Of the last of them.

    Returns
    -------
    The table, with columns size_um, Q, q and perhaps count, and how it was understood; or why it is none.

    Notes
    -----
    Cumulatives are not scaled to end at 1. A frequency in one row with a size belongs to the class below that size
    (upper edge) unless the heading or an empty end says otherwise; a lower edge would shift every size by one class.
    """
    lower = next((sizes[i] for i, r in zip(near, roles, strict=True) if r == "lower"), None)
    upper = next((sizes[i] for i, r in zip(near, roles, strict=True) if r == "upper"), None)
    single = sizes[near[-1]] if lower is None or upper is None else None
    key = single if single is not None else upper
    assert key is not None
    rows = np.isfinite(key) & (key >= 0)
    if rows.sum() < 3:
        return "fewer than three sizes"
    order = np.flatnonzero(rows)[np.argsort(key[rows], kind="stable")]
    if bool((np.diff(key[order]) <= 0).any()):
        return "sizes stand twice"
    value = values[order]
    kind = kind_of(heading)
    finite = value[np.isfinite(value)]
    if finite.size < 2:
        return "fewer than two values"
    if finite.min() < 0:
        return "negative values"
    steps = np.diff(finite)
    rising, falling = bool((steps >= 0).all()), bool((steps <= 0).all())
    top = float(finite.max())
    if kind is None:
        # Frequencies rise and fall; what only rises, or only falls, and ends at all or nothing is a sum.
        ends = min(abs(top - 1), abs(top - 100) / 100) < 0.02
        kind = "cumulative" if (rising or falling) and ends else "frequency"
    if kind in ("cumulative", "undersize", "oversize"):
        edge = key if single is not None or kind != "oversize" else lower
        assert edge is not None
        return _cumulative(edge[order], value, kind=kind, heading=heading, rising=rising, falling=falling, top=top)
    if lower is not None and upper is not None:
        start, end, note = lower[order], upper[order], "classes by lower and upper edge"
    else:
        start, end, value, note = _classes(key[order], value, size_heading, roles[-1])
    if bool((end <= start).any()):
        return "classes with an upper edge that is not above the lower"
    value = np.nan_to_num(value)
    return _classed(start, end, value, kind=kind, heading=heading, note=note)


def _cumulative(
    edge: Array, value: Array, *, kind: str, heading: str, rising: bool, falling: bool, top: float
) -> tuple[pd.DataFrame, str] | str:
    good = np.isfinite(value)
    edge, value = edge[good], value[good]
    if not rising and not falling:
        return "said to be cumulative, but it rises and falls"
    scale = 100.0 if top > 1.5 else 1.0
    if top > 101:
        return f"said to be cumulative, but it reaches {top:g}"
    share = value / scale
    oversize = falling and not rising
    note = "oversize turned into undersize" if oversize else "cumulative undersize"
    if (kind == "oversize") != oversize and kind != "cumulative":
        note += f", though the heading {heading!r} says the opposite"
    q = np.concatenate([[np.nan], np.diff(1 - share if oversize else share) / np.diff(edge)])
    table = pd.DataFrame({"size_um": edge, "Q": 1 - share if oversize else share, "q": q})
    return table, f"{heading!r} as {note}, {'per cent' if scale > 1 else 'fraction'}"


def _classes(size: Array, value: Array, size_heading: str, role: str) -> tuple[Array, Array, Array, str]:
    """Edges of the classes from one column of sizes."""
    place = role if role in ("lower", "upper") else place_of(size_heading)
    filled = np.isfinite(value)
    note = (
        f"{size_heading!r} is the {place} of a class" if place == "middle" else f"{size_heading!r} is the {place} edge"
    )
    if not place:
        # A value stands between two edges: where an end has none, it tells which of them the row names.
        if not filled[0] and filled[1:].all():
            place, note = "upper", "the first size has no value, so sizes are upper edges"
        elif not filled[-1] and filled[:-1].all():
            place, note = "lower", "the last size has no value, so sizes are lower edges"
        else:
            place, note = "upper", f"{size_heading!r} assumed to be the upper edge of its class"
    if place == "middle":
        ratio = size[1:] / np.where(size[:-1] > 0, size[:-1], np.nan)
        if np.nanstd(ratio) < 0.05 * (np.nanmean(ratio) - 1):
            between = np.sqrt(size[1:] * size[:-1])
            first, last = size[0] ** 2 / between[0], size[-1] ** 2 / between[-1]
        else:
            between = (size[1:] + size[:-1]) / 2
            first, last = 2 * size[0] - between[0], 2 * size[-1] - between[-1]
        edges = np.concatenate([[max(first, 0.0)], between, [last]])
        return edges[:-1], edges[1:], value, note
    if place == "lower":
        return size[:-1], size[1:], value[:-1], note
    if not filled[0] or value[0] == 0:
        return size[:-1], size[1:], value[1:], note
    # The first class has no lower edge in the table; sizes have no other bound than 0.
    return np.concatenate([[0.0], size[:-1]]), size, value, note


def _classed(
    start: Array, end: Array, value: Array, *, kind: str, heading: str, note: str
) -> tuple[pd.DataFrame, str] | str:
    total = float(value.sum())
    if total <= 0:
        return "nothing but zeros"
    count: Array | None = None
    if kind == "density":
        integral = float((value * (end - start)).sum())
        scale = 100.0 if integral > 1.5 else 1.0
        share, said = value * (end - start) / scale, "density"
        if not 0.9 < integral / scale < 1.1:
            return f"said to be a density in 1/um, but its integral is {integral:.3g}"
    elif kind == "count" or (total > 110 and bool((value == np.round(value)).all())):
        # Shares cannot sum to more than all; whole numbers that do are counts.
        count, share, said = value, value / total, "count"
    else:
        scale = 100.0 if total > 1.5 else 1.0
        if not 0.9 < total / scale < 1.1:
            return f"shares sum to {total:.4g}, neither 1 nor 100"
        share, said = value / scale, f"{'per cent' if scale > 1 else 'fraction'} in class"
        if abs(total / scale - 1) > 0.005:
            said += f", which sum to {total:.4g}"
    size = np.concatenate([[start[0]], end])
    table = pd.DataFrame({"size_um": size, "Q": np.concatenate([[0.0], np.cumsum(share)])})
    table["q"] = np.concatenate([[np.nan], share / (end - start)])
    if count is not None:
        table["count"] = np.concatenate([[0.0], count])
    return table, f"{heading!r} as {said}, {note}"
