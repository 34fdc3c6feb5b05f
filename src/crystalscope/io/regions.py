"""Masks cut out of a picture: run lengths as in COCO, polygons filled by pixel centres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from crystalscope.errors import ReadError


class Region(NamedTuple):
    """A mask cut out of a picture: row and column of its first pixel, and the mask (rows, columns)."""

    row: int
    column: int
    mask: NDArray[np.bool_]


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Compressed COCO RLE of a mask (rows, columns): column-major runs, counts as in pycocotools."""
    return encode_region(Region(0, 0, np.asarray(mask, dtype=bool)), (int(mask.shape[0]), int(mask.shape[1])))


def encode_region(region: Region, shape: tuple[int, int]) -> dict[str, Any]:
    """Compressed COCO RLE, as `encode_rle`, of a region inside a picture of `shape`."""
    rows, columns = shape
    padded = np.zeros((region.mask.shape[0] + 2, region.mask.shape[1]), dtype=np.int8)
    padded[1:-1] = region.mask
    change = np.diff(padded, axis=0).T
    at, start = np.nonzero(change == 1)
    stop = np.nonzero(change == -1)[1]
    offset = (at + region.column) * rows + region.row
    first, end = offset + start, offset + stop
    # A run that reaches the end of one column goes on at the top of the next.
    apart = np.ones(max(len(first) + 1, 2), dtype=bool)
    apart[1 : len(first)] = first[1:] != end[:-1]
    edges = np.stack([first[apart[: len(first)]], end[apart[1 : len(first) + 1]]], axis=1).ravel()
    if not edges.size or edges[-1] < rows * columns:
        edges = np.append(edges, rows * columns)
    counts = np.diff(edges, prepend=0).tolist()
    text = []
    for i, count in enumerate(counts):
        x = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            c = x & 0x1F
            x >>= 5
            more = x != -1 if c & 0x10 else x != 0
            text.append(chr((c | 0x20 if more else c) + 48))
    return {"size": [rows, columns], "counts": "".join(text)}


def decode_rle(rle: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Mask (rows, columns) of a COCO RLE, compressed or not.

    Raises
    ------
    ReadError
        When the runs do not fill the size.
    """
    (rows, columns), counts = _runs(rle)
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape((rows, columns), order="F")


def decode_region(rle: Mapping[str, Any]) -> Region | None:
    """The part of the picture that a COCO RLE covers, without the rest; None where it covers nothing.

    Raises
    ------
    ReadError
        When the runs do not fill the size.
    """
    (rows, _), counts = _runs(rle)
    top, left, bottom, right = _bounds(counts, rows)
    if bottom <= top:
        return None
    mask = np.zeros((bottom - top, right - left), dtype=np.bool_)
    _paint(counts, rows, top, left, mask)
    return Region(top, left, mask)


@njit(cache=True, nogil=True)
def _bounds(counts, rows):  # type: ignore[no-untyped-def]
    """First row, first column, one past the last row and column of column-major runs."""
    top, left, bottom, right = rows, -1, 0, 0
    at = 0
    for i in range(len(counts)):
        if i % 2 and counts[i] > 0:
            last = at + counts[i] - 1
            if left < 0:
                left = at // rows
            right = last // rows + 1
            if at // rows != last // rows:
                top, bottom = 0, rows
            else:
                top, bottom = min(top, at % rows), max(bottom, last % rows + 1)
        at += counts[i]
    return top, left, bottom, right


@njit(cache=True, nogil=True)
def _paint(counts, rows, top, left, mask):  # type: ignore[no-untyped-def]
    """Set the pixels of column-major runs in a mask that begins at `top` and `left`."""
    at = 0
    for i in range(len(counts)):
        if i % 2:
            r, c = at % rows - top, at // rows - left
            for _ in range(counts[i]):
                mask[r, c] = True
                r += 1
                if r + top == rows:
                    r, c = -top, c + 1
        at += counts[i]


def _runs(rle: Mapping[str, Any]) -> tuple[tuple[int, int], NDArray[np.int64]]:
    """Size and checked run lengths of an RLE."""
    try:
        rows, columns = (int(x) for x in rle["size"])
        text = rle["counts"]
        if isinstance(text, str | bytes):
            counts = _unpack(np.frombuffer(text.encode() if isinstance(text, str) else text, dtype=np.uint8))
        else:
            counts = np.asarray(text, dtype=np.int64).reshape(-1)
    except (KeyError, TypeError, ValueError, OverflowError) as e:
        raise ReadError(f"expected RLE with size and counts, got: {e}; the file is damaged") from e
    size = rows * columns
    if min(rows, columns) < 1 or not all(0 <= c <= size for c in (counts.min(initial=0), counts.max(initial=0))):
        raise ReadError(f"expected RLE runs of 0 to {size} px, got others; the file is damaged")
    if int(counts.sum()) != size:
        raise ReadError(f"expected RLE runs over {rows} x {columns} px, got {int(counts.sum())}; the file is damaged")
    return (rows, columns), counts


@njit(cache=True, nogil=True)
def _unpack(data):  # type: ignore[no-untyped-def]
    """Run lengths from the characters of a compressed RLE; a last length of -1 where one is damaged."""
    counts = np.zeros(len(data) + 1, np.int64)
    n = at = 0
    while at < len(data):
        x = np.int64(0)
        k = 0
        more = True
        while more:
            if at == len(data) or data[at] < 48 or data[at] > 111 or k > 11:
                counts[n] = -1
                return counts[: n + 1]
            c = np.int64(data[at]) - 48
            x |= (c & 0x1F) << (5 * k)
            more = (c & 0x20) != 0
            at += 1
            k += 1
            if not more and (c & 0x10) != 0:
                x |= np.int64(-1) << (5 * k)
        counts[n] = x + counts[n - 2] if n > 2 else x
        n += 1
    return counts[:n]


def rasterize(polygons: list[list[float]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Mask of polygons [x0, y0, x1, y1, …] in COCO coordinates (pixel corners).

    A pixel belongs to the mask when its centre lies inside a polygon (even-odd within one polygon, union over
    several). For polygons on pixel corners this is exact; for others pycocotools may differ at pixels whose
    centre is within 0.1 px of an edge.
    """
    mask = np.zeros(shape, dtype=np.bool_)
    for polygon in polygons:
        points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        if len(points) >= 3:
            _fill(points, mask, 0, 0, False)
    return mask


def polygon_region(
    polygons: Sequence[NDArray[np.float64]], window: tuple[int, int, int, int], *, even_odd: bool = False
) -> Region | None:
    """The part of a window that polygons cover, by the rule of `rasterize`, without the rest.

    Parameters
    ----------
    polygons
        (k, 2) arrays of finite x, y on pixel corners.
    window
        First row, first column, one past the last row and column that count.
    even_odd
        Even-odd also over several polygons (holes are polygons of their own) instead of their union.

    Returns
    -------
    None where no pixel is covered.
    """
    whole = [p for p in polygons if len(p) >= 3]
    if not whole:
        return None
    low = np.floor(np.min([p.min(axis=0) for p in whole], axis=0))
    high = np.ceil(np.max([p.max(axis=0) for p in whole], axis=0))
    row, column = max(int(low[1]), window[0]), max(int(low[0]), window[1])
    rows, columns = min(int(high[1]), window[2]) - row, min(int(high[0]), window[3]) - column
    if rows < 1 or columns < 1:
        return None
    mask = np.zeros((rows, columns), dtype=np.bool_)
    for points in whole:
        _fill(np.ascontiguousarray(points, dtype=np.float64), mask, row, column, even_odd)
    return Region(row, column, mask) if mask.any() else None


@njit(cache=True, nogil=True)
def _fill(points, mask, row, column, toggle):  # type: ignore[no-untyped-def]
    """Set, or with `toggle` change, the pixels inside a polygon; the mask begins at `row` and `column`."""
    rows, columns = mask.shape
    n = len(points)
    crossings = np.empty(n, np.float64)
    first = max(row, int(np.floor(points[:, 1].min() - 0.5)))
    last = min(row + rows, int(np.ceil(points[:, 1].max() + 0.5)))
    for r in range(first, last):
        y = r + 0.5
        k = 0
        for i in range(n):
            x0, y0 = points[i]
            x1, y1 = points[(i + 1) % n]
            if (y0 <= y) != (y1 <= y):
                crossings[k] = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                k += 1
        xs = np.sort(crossings[:k])
        for j in range(0, k - 1, 2):
            a = max(column, int(np.ceil(xs[j] - 0.5)))
            b = min(column + columns, int(np.ceil(xs[j + 1] - 0.5)))
            for c in range(a - column, b - column):
                mask[r - row, c] = not mask[r - row, c] if toggle else True


def aligned(region: Region | None, to: Region) -> NDArray[np.bool_]:
    """The pixels that a region shares with another, as a mask of the shape of the other."""
    out = np.zeros_like(to.mask)
    if region is None:
        return out
    rows, columns = region.mask.shape
    r0, c0 = max(region.row, to.row), max(region.column, to.column)
    r1 = min(region.row + rows, to.row + to.mask.shape[0])
    c1 = min(region.column + columns, to.column + to.mask.shape[1])
    if r0 < r1 and c0 < c1:
        out[r0 - to.row : r1 - to.row, c0 - to.column : c1 - to.column] = region.mask[
            r0 - region.row : r1 - region.row, c0 - region.column : c1 - region.column
        ]
    return out & to.mask
