"""Cells of length on which the population balance is solved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from crystalscope.errors import InputError

Array = NDArray[np.float64]

_STRETCH = 4.0
"""Widths grow by exp(4) from the first cell to the last: nuclei and agglomerates on one grid."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells of length.

    Parameters
    ----------
    faces
        (n + 1,) lengths in um, increasing, from above or at 0.
    """

    faces: Array

    def __post_init__(self) -> None:
        faces = np.array(self.faces, dtype=np.float64)
        if faces.ndim != 1 or len(faces) < 5 or faces[0] < 0 or bool(np.any(np.diff(faces) <= 0)):
            raise InputError("expected 5 or more faces in um, increasing from 0 or above; see Grid.stretched")
        faces.flags.writeable = False
        object.__setattr__(self, "faces", faces)

    @classmethod
    def stretched(cls, smallest_um: float, largest_um: float, cells: int) -> Grid:
        """Widths in geometric progression: nearly even at nuclei, proportional to length at large crystals."""
        if not 0 <= smallest_um < largest_um or cells < 10:
            raise InputError(
                f"expected lengths 0 <= smallest < largest and 10 cells or more, got {smallest_um:g}, {largest_um:g} "
                f"um and {cells} cells"
            )
        return _stretched(smallest_um, largest_um, cells)

    @classmethod
    def even(cls, smallest_um: float, largest_um: float, cells: int) -> Grid:
        """Cells of one width."""
        return cls(np.linspace(smallest_um, largest_um, cells + 1))

    @property
    def n(self) -> int:
        """Number of cells."""
        return len(self.faces) - 1

    @cached_property
    def width(self) -> Array:
        """(n,) widths in um."""
        return _fixed(np.diff(self.faces))

    @property
    def centre(self) -> Array:
        """(n,) middles in um."""
        return 0.5 * (self.faces[1:] + self.faces[:-1])

    def mean_power(self, k: int) -> Array:
        """(n,) mean of L^k over each cell, um^k; the third is the pivot volume over k_v."""
        return self._powers(k)

    @cached_property
    def _powers(self) -> Callable[[int], Array]:
        f = self.faces
        return lru_cache(lambda k: _fixed((f[1:] ** (k + 1) - f[:-1] ** (k + 1)) / ((k + 1) * np.diff(f))))


def _fixed(values: Array) -> Array:
    """Read-only: the grids are shared."""
    values.flags.writeable = False
    return values


@lru_cache(maxsize=64)
def _stretched(smallest_um: float, largest_um: float, cells: int) -> Grid:
    """Recipes near each other share a grid."""
    u = np.linspace(0, 1, cells + 1)
    return Grid(smallest_um + (largest_um - smallest_um) * np.expm1(_STRETCH * u) / np.expm1(_STRETCH))


@lru_cache(maxsize=16)
def pair_tables(faces: bytes) -> tuple[NDArray[np.int32], Array, NDArray[np.int32]]:
    """Fixed pivots: where the volume of a pair falls, and the share that the lower pivot gets.

    Parameters
    ----------
    faces
        Bytes of the float64 faces (so that grids are compared by value).

    Returns
    -------
    target
        (n, n) index of the pivot at or below the pair's volume.
    share
        (n, n) number for that pivot; the next one gets 1 - share, which keeps number and volume. Above the last pivot
        the volume alone is kept: share = volume over that of the last pivot.
    alone
        (n,) number of partners j < i so small that the pair stays between pivots i and i + 1.

    Notes
    -----
    Kumar, Ramkrishna, Chem. Eng. Sci. 51 (1996) 1311.
    """
    v = Grid(np.frombuffer(faces)).mean_power(3)
    pair = v[:, None] + v[None, :]
    target = np.clip(np.searchsorted(v, pair, side="right") - 1, 0, len(v) - 1).astype(np.int32)
    above = v[np.minimum(target + 1, len(v) - 1)]
    inside = target < len(v) - 1
    share = np.where(inside, (above - pair) / np.where(inside, above - v[target], 1.0), pair / v[-1])
    n = len(v)
    below = np.tril(np.ones((n, n), dtype=bool), -1)
    alone = ((target == np.arange(n)[:, None]) & below).sum(axis=1)
    alone[-1] = 0  # above the last pivot the rule is another
    return target, np.ascontiguousarray(share), alone.astype(np.int32)
