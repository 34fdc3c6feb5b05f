"""Flat tiles of pictures: their noise against level, and how noise correlates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Picture = NDArray[np.float32]

FINE = 8
"""Tile for the strength of noise, px: it finds flat places within facets."""
WIDE = 24
"""Tile for speckle, px: wide against its grain."""
QUANTILE = 0.2
"""Of the variances of tiles of one level: below it lie tiles without structure while these are a quarter of all."""
LAGS = 4
_OFFSET = 4
"""Tiles lie across the 8 x 8 blocks of JPEG, or their variance would be that of single blocks, mostly none."""
_BIN = 0.04
_LEAST = 24
"""Tiles that a level needs."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Noise against level, shares of white.

    Parameters
    ----------
    level, noise
        (levels,) mean level and standard deviation of its flat regions.
    tiles
        (levels,) number of tiles at the level.
    """

    level: Floats
    noise: Floats
    tiles: Floats

    def at(self, level: float) -> float:
        """Noise at a level, between the nearest ones."""
        return float(np.interp(level, self.level, self.noise)) if len(self.level) else math.nan


def residuals(
    plane: Picture, valid: NDArray[np.bool_], *, tile: int, other: Picture | None = None
) -> tuple[Floats, Floats]:
    """Tiles of a picture less a smooth surface (cubic in small tiles, a plane in wide ones), and their means.

    Parameters
    ----------
    plane
        (rows, columns).
    valid
        Pixels that may be used; a tile needs all of its own.
    tile
        Edge of a tile, px.
    other
        A second frame of the same field and level: the tiles are of the difference over sqrt(2).

    Returns
    -------
    (tiles, tile, tile) and (tiles,).
    """
    rows, columns = plane.shape
    n, m = (rows - _OFFSET) // tile, (columns - _OFFSET) // tile
    if n < 1 or m < 1:
        return np.zeros((0, tile, tile)), np.zeros(0)

    def cut(a: NDArray[np.generic]) -> NDArray[np.generic]:
        part = a[_OFFSET : _OFFSET + n * tile, _OFFSET : _OFFSET + m * tile]
        return part.reshape(n, tile, m, tile).swapaxes(1, 2).reshape(n * m, tile * tile)

    whole = cut(valid).all(axis=1)
    first = cut(plane)[whole].astype(np.float64)
    level = first.mean(axis=1)
    if other is not None:
        second = cut(other)[whole].astype(np.float64)
        # Half of a tile's noise must not be that of a particle which only one of the frames shows.
        same = np.abs(second.mean(axis=1) - level) < 0.05 * np.abs(level) + 1e-3
        first, level = ((first - second) / math.sqrt(2))[same], level[same]
    basis = _basis(tile)
    return (first - (first @ basis) @ basis.T).reshape(-1, tile, tile), level


@lru_cache(maxsize=8)
def _basis(tile: int) -> Floats:
    """Orthonormal cubic surfaces over small tiles, planes over wide ones, (tile², terms)."""
    degree = 3 if tile == FINE else 1
    t = np.linspace(-1, 1, tile)
    y, x = np.meshgrid(t, t, indexing="ij")
    terms = [(x**i * y**j).ravel() for i in range(degree + 1) for j in range(degree + 1 - i)]
    return np.linalg.qr(np.stack(terms, axis=1))[0]


def variances(r: Floats) -> Floats:
    n = r.shape[1] * r.shape[2]
    return np.asarray((r**2).sum(axis=(1, 2)) / (n - _basis(r.shape[1]).shape[1]))


def noise_curve(variance: Floats, level: Floats) -> Curve:
    """Noise against level from variances of tiles, by a low quantile, which structure does not reach.

    Parameters
    ----------
    variance, level
        (tiles,).
    """
    bins = np.floor(level / _BIN).astype(int)
    found = [
        (float(np.median(level[b])), float(np.quantile(variance[b], QUANTILE)), float(b.sum()))
        for b in (bins == k for k in np.unique(bins))
        if b.sum() >= _LEAST
    ]
    if not found:
        return Curve(np.zeros(0), np.zeros(0), np.zeros(0))
    m, q, n = np.array(found).T
    return Curve(m, np.sqrt(q), n)


def quiet(r: Floats) -> Floats:
    """The quietest fifth of tiles: what noise does where there is no structure."""
    v = variances(r)
    return r[v <= np.quantile(v, QUANTILE)] if len(r) else r


def ordinary(r: Floats) -> Floats:
    """Tiles without those that vary much more than most: what stays is speckle, without particles."""
    v = variances(r)
    return r[v <= 2.5 * np.median(v)] if len(r) else r


def correlations(r: Floats) -> Floats:
    """Covariances of pixels 0, 1, … px apart along rows and columns; NaN without tiles."""
    if not len(r):
        return np.full(LAGS, math.nan)
    pairs = [((r[:, :, d:] * r[:, :, :-d]).mean() + (r[:, d:] * r[:, :-d]).mean()) / 2 for d in range(1, LAGS)]
    return np.array([(r**2).mean(), *pairs])


@dataclass(frozen=True, eq=False)
class Tiles:
    """Variances and levels of small tiles, and residuals of small and wide tiles near the level of the ground."""

    variance: Floats
    level: Floats
    near: Floats
    wide: Floats

    @classmethod
    def of(cls, plane: Picture, *, valid: NDArray[np.bool_], level: float, other: Picture | None = None) -> Tiles:
        r, mean = residuals(plane, valid, tile=FINE, other=other)
        wide, wide_mean = residuals(plane, valid, tile=WIDE, other=other)
        near, wide_near = (np.abs(m / level - 1) < 0.3 for m in (mean, wide_mean))
        return cls(variances(r), mean, r[near], wide[wide_near])

    @classmethod
    def joined(cls, parts: Sequence[Tiles]) -> Tiles:
        return cls(
            np.concatenate([p.variance for p in parts]),
            np.concatenate([p.level for p in parts]),
            np.concatenate([p.near for p in parts]),
            np.concatenate([p.wide for p in parts]),
        )

    def curve(self) -> Curve:
        return noise_curve(self.variance, self.level)
