"""What matters: Sobol indices and partial dependence of the twin within what was tried."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.design.base import FittedTwin
from crystalscope.design.space import Space

Array = NDArray[np.float64]


def coordinate_names(space: Space) -> list[str]:
    """Names of the coordinates of a space: factors, T_i, rates."""
    names = [f.column for f in space.system.factors]
    if space.segments:
        names += [f"T{i + 1}" for i in range(space.segments + 1)]
        names += [f"{'C' if i % 2 == 0 else 'H'}{i // 2 + 1}" for i in range(space.segments)]
    return names


def main_space(twin: FittedTwin) -> Space:
    """The kind of profile that most of the runs have."""
    kinds, counts = np.unique(twin.table.conditions.segments, return_counts=True)
    return Space(twin.table.system, int(kinds[int(np.argmax(counts))]))


def sobol_indices(twin: FittedTwin, space: Space, *, rng: np.random.Generator, draws: int = 256) -> pd.DataFrame:
    """First-order and total Sobol indices of the coordinates of a space.

    Parameters
    ----------
    twin, space
        What is looked at; the coordinates are uniform (a temperature is the share of what the one before it leaves).
    draws
        N; (d + 2) N predictions.

    Returns
    -------
    cqa, input, first, total; first by Saltelli (2010), total by Jansen (1999), cut to 0 … 1.
    """
    from scipy.stats import qmc

    d = space.size
    u = qmc.Sobol(2 * d, rng=rng).random(draws)
    a, b = u[:, :d], u[:, d:]
    mixed = np.concatenate([a, b, *(_swap(a, b, i) for i in range(d))])
    values = twin.means(space.decode(mixed)).reshape(d + 2, draws, -1)
    # About the mean: the estimator of the first order would else carry the noise of the square of the mean.
    values = values - values[:2].mean(axis=(0, 1))
    ya, yb, yc = values[0], values[1], values[2:]
    variance = np.var(np.concatenate([ya, yb]), axis=0) + 1e-30
    first = (yb * (yc - ya)).mean(axis=1) / variance
    total = ((ya - yc) ** 2).mean(axis=1) / (2 * variance)
    rows = []
    for k, name in enumerate(twin.attributes):
        for i, coordinate in enumerate(coordinate_names(space)):
            rows.append(
                {
                    "cqa": name,
                    "input": coordinate,
                    "first": float(np.clip(first[i, k], 0, 1)),
                    "total": float(np.clip(total[i, k], 0, 1)),
                }
            )
    return pd.DataFrame(rows)


def partial_dependence(
    twin: FittedTwin, space: Space, coordinate: int, *, rng: np.random.Generator, points: int = 9, draws: int = 24
) -> tuple[Array, Array]:
    """Mean prediction against one coordinate, the others drawn evenly.

    Returns
    -------
    grid
        (points,) 0 to 1.
    means
        (points, q).
    """
    grid = np.linspace(0, 1, points)
    u = np.repeat(rng.random((draws, space.size))[None], points, axis=0)
    u[:, :, coordinate] = grid[:, None]
    values = twin.means(space.decode(u.reshape(-1, space.size)))
    return grid, values.reshape(points, draws, -1).mean(axis=1)


def _swap(a: Array, b: Array, column: int) -> Array:
    out = a.copy()
    out[:, column] = b[:, column]
    return out
