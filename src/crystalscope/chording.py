"""Chord lengths from paths: what `crystalscope chords` does."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crystalscope.core import SizeDistribution, Unit, check_pixel_size
from crystalscope.datasets.chord_tables import read_chord_tables
from crystalscope.datasets.size_tables import read_size_tables
from crystalscope.errors import ConfigError, InputError, ReadError
from crystalscope.io.coco import Annotated, read_coco
from crystalscope.io.tables import read_table
from crystalscope.measure import outlines
from crystalscope.size import make_distribution
from crystalscope.size.chords import (
    CHANNELS,
    ChordDistribution,
    Orientation,
    Shape,
    chord_measure,
    chords_of_table,
    circle_chords,
    length_in_field,
    line_chords,
    random_circles,
    smooth_outline,
)

Array = NDArray[np.float64]

_MARGIN_PX = 1
_TAIL = 0.02
"""Quantiles that leave out more than this share at an end have no tail: it is drawn on."""


@dataclass(frozen=True, eq=False)
class Outlines:
    """Whole particles of some pictures as polygons.

    Parameters
    ----------
    polygons
        (n, 2) x, y each, in `unit`.
    weight
        (polygons,) particles that each one stands for: those that fit a picture seldom without touching its edge weigh
        more (Miles and Lantuéjoul).
    picture
        (polygons,) position of the picture.
    fields
        (height, width) of every picture, in `unit`.
    unit
        um or px.
    cut
        Particles left out because they touch the edge of their picture.
    source
        Where they are from.
    """

    polygons: tuple[Array, ...]
    weight: Array
    picture: NDArray[np.int64]
    fields: tuple[tuple[float, float], ...]
    unit: Unit
    cut: int
    source: str

    @property
    def area(self) -> float:
        """Of all pictures."""
        return sum(h * w for h, w in self.fields)


def read_outlines(path: Path, *, pixel_size_um: float | None = None) -> Outlines:
    """Outlines of the whole particles of a run or of a COCO file.

    Parameters
    ----------
    path
        Folder of a run of `analyze`, or a COCO file.
    pixel_size_um
        Scale in um per px; of a run its own counts.

    Raises
    ------
    ReadError
        When there is neither a run nor a COCO file.
    InputError
        When no particle is whole: all reach beyond their pictures, or there is none.
    ConfigError
        When a scale is given for a run that has another.
    """
    scale = pixel_size_um
    check_pixel_size(scale)
    file = path / "annotations.coco.json" if path.is_dir() else path
    if not file.is_file() or file.suffix != ".json":
        raise ReadError(f"expected the folder of a run or a COCO file, got {path}; check the path")
    if path.is_dir():
        own = _run_scale(path)
        if scale is not None and own is not None and not math.isclose(scale, own, rel_tol=1e-6):
            raise ConfigError(f"expected the scale of the run, {own:g} um per px, got {scale:g}; leave --scale out")
        scale = own if own is not None else scale
    return _whole(read_coco(file), scale, path.name)


def _run_scale(run: Path) -> float | None:
    frames = read_table(run / "frames.parquet", columns=["pixel_size_um"])
    scales = frames["pixel_size_um"].dropna().unique()
    return float(scales[0]) if len(scales) else None


def _whole(pictures: Iterable[Annotated], scale: float | None, source: str) -> Outlines:
    factor = scale or 1.0
    polygons: list[Array] = []
    weight: list[float] = []
    at: list[int] = []
    fields = []
    cut = 0
    for k, entry in enumerate(pictures):
        rows, columns = entry.instances.field.shape
        fields.append((rows * factor, columns * factor))
        counted = entry.instances.select(entry.instances.in_focus & ~entry.ignore)
        top, left, bottom, right = counted.boxes.T.astype(int)
        m = _MARGIN_PX
        inside = (top >= m) & (left >= m) & (bottom <= rows - m) & (right <= columns - m)
        cut += int((~inside).sum())
        chosen = counted.select(inside)
        for i, parts in enumerate(outlines(chosen)):
            r0, c0, r1, c1 = (int(v) for v in chosen.boxes[i])
            fits = (rows - 2 * m - (r1 - r0) + 1) * (columns - 2 * m - (c1 - c0) + 1)
            for part in parts:
                polygons.append(smooth_outline(part) * factor)
                weight.append(rows * columns / fits)
                at.append(k)
    if not polygons:
        what = f"got {cut} that all touch the edge of their picture" if cut else "got none"
        raise InputError(
            f"expected whole particles in {source}, {what}; chords need whole outlines: take a larger field of view"
        )
    unit: Unit = "px" if scale is None else "um"
    return Outlines(tuple(polygons), np.array(weight), np.array(at), tuple(fields), unit, cut, source)


def channels_of(text: str) -> Array:
    """Edges of channels: a name of `CHANNELS`, or numbers in um with commas between."""
    if text in CHANNELS:
        return np.array(CHANNELS[text])
    try:
        edges = np.array([float(v) for v in text.split(",")])
    except ValueError as e:
        raise ConfigError(f"expected channels {', '.join(CHANNELS)} or edges such as 0,10,50, got {text!r}") from e
    if len(edges) < 2 or edges[0] < 0 or bool((np.diff(edges) <= 0).any()):
        raise ConfigError(f"expected edges of channels that rise from 0 or above, got {text!r}")
    return edges


def chords_of_outlines(found: Outlines, edges: ArrayLike, *, directions: int = 180) -> ChordDistribution:
    """Chord length distribution of outlines, lines in all directions; counts per mm of line (per 1,000 px in px).

    Parameters and errors as in `size.chords.line_chords`.
    """
    e = np.asarray(edges, dtype=float)
    counts = line_chords(found.polygons, e, weight=found.weight, directions=directions)
    per = "1000 px of line" if found.unit == "px" else "mm of line"
    return ChordDistribution(e, 1000.0 * counts / found.area, found.unit, per, found.source)


def scanned_chords(
    found: Outlines, edges: ArrayLike, *, diameter: float, circles: int = 500, rng: int = 0
) -> ChordDistribution:
    """Chord length distribution along the circular path of a laser spot.

    Parameters
    ----------
    found
        The outlines.
    edges
        (k + 1,) of the channels.
    diameter
        Of the path, in the unit of the outlines.
    circles
        In every picture.
    rng
        Seed.

    Raises
    ------
    InputError
        When no circle meets a particle.
    """
    generator = np.random.default_rng(rng)
    lengths, weights, scanned = [], [], 0.0
    for k, field in enumerate(found.fields):
        centres = random_circles(field, diameter=diameter, count=circles, rng=generator)
        scanned += length_in_field(field, diameter=diameter, centres=centres)
        here = np.flatnonzero(found.picture == k)
        one, w = circle_chords(
            [found.polygons[i] for i in here], weight=found.weight[here], diameter=diameter, centres=centres
        )
        lengths.append(one)
        weights.append(w)
    e = np.asarray(edges, dtype=float)
    counts = np.histogram(np.concatenate(lengths), e, weights=np.concatenate(weights))[0]
    per = "1000 px of line" if found.unit == "px" else "mm of line"
    return ChordDistribution(e, 1000.0 * counts / scanned, found.unit, per, f"{found.source}, scanned circle")


def chords_of_sizes(
    sizes: SizeDistribution,
    edges: ArrayLike,
    *,
    shape: Shape,
    ratio: float | None = None,
    orientation: Orientation = "random",
) -> ChordDistribution:
    """Chords that particles of a size distribution make; counts per 1,000 particles and unit of breadth.

    Raises
    ------
    InputError
        When the distribution is empty.
    """
    if not sizes.n:
        raise InputError("expected a size distribution with particles, got an empty one")
    e = np.asarray(edges, dtype=float)
    measure = chord_measure(e, sizes.size, shape=shape, ratio=ratio or 1.0, orientation=orientation)
    counts = np.maximum(-np.diff(measure @ sizes.number_weight), 0.0)
    return ChordDistribution(e, counts, sizes.unit, "particle and um of breadth", f"{shape}s")


def read_probe(
    path: Path, *, name: str | None = None, start_s: float = -math.inf, end_s: float = math.inf
) -> tuple[ChordDistribution, list[str]]:
    """The chord length distribution of a probe's export, and what was noted on the way.

    Raises
    ------
    ReadError
        When the file holds no chord table, or several and none of that name.
    InputError
        When its channels cannot be used (see `chords_of_table`).
    """
    tables = read_chord_tables(path)
    if not tables.tables:
        raise ReadError(
            f"expected channels such as <10, 10-50, 50-150 in {path.name}, got none: {'; '.join(tables.notes)}; export "
            "the channels as CSV"
        )
    if name is None and len(tables.tables) > 1:
        raise ReadError(
            f"expected one chord table in {path.name}, got {', '.join(map(repr, tables.tables))}; name one with --table"
        )
    chosen = name if name is not None else next(iter(tables.tables))
    if chosen not in tables.tables:
        raise ReadError(f"expected one of {', '.join(map(repr, tables.tables))} in {path.name}, got {chosen!r}")
    chords = chords_of_table(tables.tables[chosen], source=path.name, start_s=start_s, end_s=end_s)
    return chords, [*tables.notes, *chords.notes]


def read_sizes(path: Path, *, name: str | None = None, definition: str = "") -> SizeDistribution:
    """A size distribution by number from a run, its sizes.csv, or a table of another instrument.

    Parameters
    ----------
    path
        Folder of a run, sizes.csv, or a table that `datasets.size_tables` reads.
    name
        Of the distribution where a table holds several.
    definition
        That is expected; empty: any. A table that does not state one is taken.

    Raises
    ------
    ReadError
        When there is no distribution, or several and none of that name.
    InputError
        When the size definition is another, or the distribution is not given by number or by volume.
    """
    file = path / "sizes.csv" if path.is_dir() else path
    if not file.is_file():
        raise ReadError(f"expected a run or a table of sizes, got {path}; check the path")
    if file.name == "sizes.csv":
        table = pd.read_csv(file)
        weight, volume = (np.diff(table[c].to_numpy(dtype=float), prepend=0.0) for c in ("Q0", "Q3"))
        keep = weight > 0
        size = table["size"].to_numpy(dtype=float)[keep]
        return make_distribution(size, volume[keep] / weight[keep], weight=weight[keep])
    found = read_size_tables(file)
    if not found.tables:
        raise ReadError(f"expected a size distribution in {file.name}, got none: {'; '.join(found.notes)}")
    if name is None and len(found.tables) > 1:
        raise ReadError(
            f"expected one distribution in {file.name}, got {', '.join(map(repr, found.tables))}; name one with --table"
        )
    chosen = name if name is not None else next(iter(found.tables))
    if chosen not in found.tables:
        raise ReadError(f"expected one of {', '.join(map(repr, found.tables))} in {file.name}, got {chosen!r}")
    return distribution_of_table(found.tables[chosen], source=f"{chosen} in {file.name}", definition=definition)


def distribution_of_table(table: pd.DataFrame, *, source: str, definition: str = "") -> SizeDistribution:
    """A size distribution from cumulative shares at class edges: each class stands with sizes spread over it.

    Raises
    ------
    InputError
        When the size definition is not the expected one, or the table has neither Q0 nor Q3.
    """
    means = str(table.attrs.get("definition", "not stated"))
    if definition and means not in (definition, "not stated"):
        raise InputError(
            f"expected sizes by {definition}, got {source} by {means}; compare like with like: measure the pictures by "
            "that definition (size.definition) or take another table"
        )
    column = next((c for c in ("Q0", "Q3") if c in table), None)
    if column is None:
        raise InputError(
            f"expected cumulative shares by number or by volume in {source}, got {', '.join(table.columns)}; say which "
            "they are in the heading"
        )
    size, share = (table[c].to_numpy(dtype=float) for c in ("size_um", column))
    if share[0] > _TAIL or share[-1] < 1 - _TAIL:
        size, share = _with_tails(size, share, by_log="normal" not in str(table.attrs.get("read", "")))
    if "count" in table and len(np.unique(np.round(np.diff(share, prepend=0.0), 12))) <= 2:
        middle, weight = size, np.diff(share, prepend=0.0)
    else:
        # Eight sizes stand for a class, evenly over its logarithm; a class from 0 begins at half its upper edge.
        low = np.where(size[:-1] > 0, size[:-1], 0.5 * size[1:])
        parts = (np.arange(8) + 0.5) / 8
        middle = np.exp(np.log(low)[:, None] + parts * np.log(size[1:] / low)[:, None]).ravel()
        weight = np.repeat(np.diff(share) / 8, 8)
    keep = (weight > 0) & (middle > 0)
    middle, weight = middle[keep], weight[keep]
    if not middle.size:
        raise InputError(f"expected shares that rise in {source}, got none; check the columns of the table")
    if column == "Q3":
        weight = weight / middle**3
    return make_distribution(middle, middle**3, weight=weight, definition=means, volume_model="size^3")


def _with_tails(size: Array, share: Array, *, by_log: bool) -> tuple[Array, Array]:
    """Points of a cumulative that a few quantiles give, drawn on at both ends as a (log-)normal distribution."""
    from scipy.special import ndtr, ndtri

    inside = (share > 1e-4) & (share < 1 - 1e-4)
    z, x = ndtri(share[inside]), np.log(size[inside]) if by_log else size[inside]
    if len(z) < 2:
        raise InputError(f"expected at least 2 quantiles between 0 and 1, got {len(z)}; give D10, D50 and D90")
    grid = np.linspace(-3.0, 3.0, 121)
    at = np.interp(grid, z, x)
    at = np.where(grid < z[0], x[0] + (grid - z[0]) * (x[1] - x[0]) / (z[1] - z[0]), at)
    at = np.where(grid > z[-1], x[-1] + (grid - z[-1]) * (x[-1] - x[-2]) / (z[-1] - z[-2]), at)
    found = np.exp(at) if by_log else at
    keep = found > 0
    return found[keep], ndtr(grid)[keep]
