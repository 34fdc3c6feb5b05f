"""Chord length distributions in channels: what a probe reports and what outlines give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crystalscope.core import Unit
from crystalscope.errors import InputError

Array = NDArray[np.float64]
Weighting = Literal["none", "square"]

CHANNELS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "coarse": (0.0, 10.0, 50.0, 150.0, 300.0, 1000.0),
        "fine": (0.0, *(float(v) for v in np.geomspace(1.0, 1000.0, 91))),
    }
)
"""Edges of channels in um: the groups that probes show as trends, and 90 channels of equal ratio from 1 to 1000 um
below which lies one more."""


@dataclass(frozen=True, eq=False)
class ChordDistribution:
    """Chords counted in channels that follow one another.

    Parameters
    ----------
    edges
        (k + 1,) ascending from 0 or above, in `unit`.
    counts
        (k,) chords, at least 0: per measurement, per second, or per mm of scanned line, as `per` says.
    unit
        um or px.
    per
        What the counts are per; empty where it is not known.
    source
        Where it is from.
    records
        (r, k) counts of single records, of which `counts` are the mean; None where there is one.
    notes
        What was left out, in words.

    Raises
    ------
    InputError
        On edges that do not rise, counts that are negative or not finite, or a distribution without chords.
    """

    edges: Array
    counts: Array
    unit: Unit = "um"
    per: str = ""
    source: str = ""
    records: Array | None = None
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        where = f" in {self.source}" if self.source else ""
        edges, counts = (np.array(v, dtype=np.float64).ravel() for v in (self.edges, self.counts))
        if edges.size < 2 or counts.size != edges.size - 1:
            raise InputError(
                f"expected one edge more than channels{where}, got {edges.size} edges and {counts.size} channels"
            )
        if not np.isfinite(edges).all() or edges[0] < 0 or bool((np.diff(edges) <= 0).any()):
            raise InputError(f"expected channel edges that rise from 0 or above{where}, got {edges[:6].tolist()} …")
        if not np.isfinite(counts).all() or counts.min() < 0:
            bad = int(np.flatnonzero(~np.isfinite(counts) | (counts < 0))[0])
            raise InputError(
                f"expected counts of at least 0{where}, got {counts[bad]:g} in the channel {edges[bad]:g}-"
                f"{edges[bad + 1]:g} {self.unit}; export the counts without a background taken off"
            )
        if counts.sum() <= 0:
            raise InputError(f"expected chords{where}, got none in {counts.size} channels; is the probe in the slurry?")
        for name, array in (("edges", edges), ("counts", counts)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @property
    def middles(self) -> Array:
        """(k,) geometric middles of the channels; of one that begins at 0 half of its upper edge."""
        low, high = self.edges[:-1], self.edges[1:]
        return np.where(low > 0, np.sqrt(low * high), 0.5 * high)

    def shares(self, weighting: Weighting = "none") -> Array:
        """(k,) shares of the chords by channel, by number or by the square of the middle of the channel."""
        w = self.counts * (self.middles**2 if weighting == "square" else 1.0)
        return np.asarray(w / w.sum())

    def cumulative(self, weighting: Weighting = "none") -> Array:
        """(k + 1,) share of the chords below each edge."""
        return np.concatenate([[0.0], np.cumsum(self.shares(weighting))])

    def quantile(self, share: float, weighting: Weighting = "none") -> float:
        """Chord length below which a share lies, linear within a channel."""
        return float(np.interp(share, self.cumulative(weighting), self.edges))

    def statistics(self, weighting: Weighting = "none") -> dict[str, float]:
        """Counts, mean, median, mode, standard deviation, D10 and D90, as a probe computes them from its channels."""
        s, m = self.shares(weighting), self.middles
        mean = float((s * m).sum())
        return {
            "counts": float(self.counts.sum()),
            "mean": mean,
            "median": self.quantile(0.5, weighting),
            "mode": float(m[int(np.argmax(s / np.diff(np.log(np.maximum(self.edges, 0.5 * self.edges[1])))))]),
            "sd": math.sqrt(max(float((s * m * m).sum()) - mean**2, 0.0)),
            "D10": self.quantile(0.1, weighting),
            "D90": self.quantile(0.9, weighting),
        }

    def in_channels(self, edges: ArrayLike) -> ChordDistribution:
        """The same chords in coarser channels.

        Raises
        ------
        InputError
            When a wanted edge within the range is not one of this distribution's: counts cannot be divided.
        """
        wanted = np.asarray(edges, dtype=float)
        at = [int(np.argmin(np.abs(self.edges - e))) for e in wanted]
        off = [e for e, k in zip(wanted, at, strict=True) if not math.isclose(self.edges[k], e, rel_tol=1e-3)]
        if off:
            raise InputError(
                f"expected channels whose edges stand in both distributions, got {off[0]:g} {self.unit} beside "
                f"{', '.join(f'{e:g}' for e in self.edges[:8])} …; export both in the same channels"
            )
        total = np.concatenate([[0.0], np.cumsum(self.counts)])
        return ChordDistribution(self.edges[at], np.diff(total[at]), self.unit, self.per, self.source)

    def to_table(self) -> pd.DataFrame:
        """Columns lower, upper, count, share, cumulative, square_share, square_cumulative; unit in the names."""
        u = self.unit
        return pd.DataFrame(
            {
                f"lower_{u}": self.edges[:-1],
                f"upper_{u}": self.edges[1:],
                "count": self.counts,
                "share": self.shares(),
                "cumulative": self.cumulative()[1:],
                "square_share": self.shares("square"),
                "square_cumulative": self.cumulative("square")[1:],
            }
        )


def common_edges(first: ChordDistribution, second: ChordDistribution) -> Array:
    """Edges that stand in both distributions.

    Raises
    ------
    InputError
        When units differ or fewer than four edges are common.
    """
    if first.unit != second.unit:
        raise InputError(
            f"expected chords in one unit, got {first.unit} and {second.unit}; give the scale in um per px"
        )
    near = [e for e in first.edges if np.isclose(second.edges, e, rtol=1e-3, atol=0).any()]
    if len(near) < 4:
        raise InputError(
            f"expected at least 3 channels in common, got {max(len(near) - 1, 0)}: "
            f"{', '.join(f'{e:g}' for e in first.edges[:6])} … in {first.source or 'the first'} and "
            f"{', '.join(f'{e:g}' for e in second.edges[:6])} … in {second.source or 'the second'}; export the same "
            "channels"
        )
    return np.array(near)


def chords_of_table(
    table: pd.DataFrame, *, source: str = "", start_s: float = -math.inf, end_s: float = math.inf
) -> ChordDistribution:
    """One distribution from the records of a probe: their mean.

    Parameters
    ----------
    table
        Columns time_s, lower_um, upper_um, count, as `datasets.chord_tables` reads them.
    source
        Its name.
    start_s, end_s
        Records of these times count; records without a time always do.

    Raises
    ------
    InputError
        When there is no record, records differ in their channels, a channel is missing or negative, or only weighted
        counts are there.

    Notes
    -----
    A channel that is open at the top has no middle: it is left out, with a note where it holds chords.
    """
    where = f" in {source}" if source else ""
    time = table["time_s"].to_numpy(dtype=float)
    rows = table[~((time < start_s) | (time > end_s))]
    if rows.empty:
        raise InputError(f"expected records between {start_s:g} and {end_s:g} s{where}, got none; widen the times")
    if rows["count"].isna().all():
        raise InputError(f"expected counts without weighting{where}, got only weighted ones; export 'No Wt' too")
    keys = ["lower_um", "upper_um"]
    order = rows.groupby(keys, sort=True).cumcount()
    wide = rows.assign(record=order).pivot_table(index="record", columns=keys, values="count", dropna=False)
    wide = wide.dropna(axis=1, how="all")
    if wide.isna().to_numpy().any():
        raise InputError(f"expected the same channels in every record{where}, got gaps; export the records again")
    low, high = (np.array([c[i] for c in wide.columns], dtype=float) for i in (0, 1))
    values = wide.to_numpy(dtype=float)
    notes = []
    if math.isinf(high[-1]):
        share = float(values[:, -1].sum() / max(values.sum(), 1e-300))
        if share > 0:
            notes.append(f"{share:.2%} of the chords lie in the open channel above {low[-1]:g} um and are left out")
        low, high, values = low[:-1], high[:-1], values[:, :-1]
    if not np.allclose(low[1:], high[:-1], rtol=1e-6):
        k = int(np.flatnonzero(~np.isclose(low[1:], high[:-1], rtol=1e-6))[0])
        raise InputError(
            f"expected channels that follow one another{where}, got {low[k]:g}-{high[k]:g} and then "
            f"{low[k + 1]:g}-{high[k + 1]:g} um; export the channels between"
        )
    edges = np.concatenate([low[:1], high])
    records = values if len(values) > 1 else None
    return ChordDistribution(edges, values.mean(axis=0), "um", "", source, records, tuple(notes))
