"""Synthetic experiments: Gaussian copula, variational autoencoder, adversarial network, and a calibrated plant.

All of them work in the unit cube of the profile (`Space`), so that every generated profile keeps the constraints, with
unused temperatures and rates exactly 0, and nothing has to be thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from crystalscope.design.conditions import Conditions
from crystalscope.design.mechanism import Mechanism, to_attribute
from crystalscope.design.space import Space
from crystalscope.design.system import System
from crystalscope.design.table import DoETable

Array = NDArray[np.float64]
Synthetic = tuple[Conditions, Array]
"""Conditions and (m,) values of one attribute."""
Generator = Callable[[DoETable, int, int, np.random.Generator], Synthetic]
"""(table, attribute, count, rng) -> synthetic rows; sees no row but those of the table."""

_LATENT = 4


@dataclass(frozen=True, eq=False)
class Encoding:
    """Rows of one attribute as standard scores.

    Parameters
    ----------
    system
        Of the rows.
    sorted_columns
        Measured coordinates of every column in order: the marginal distributions.
    scores
        (n, d) normal scores by rank; NaN where a row does not use the coordinate. Columns: ramps, factors,
        temperatures, rates, attribute.
    """

    system: System
    sorted_columns: tuple[Array, ...]
    scores: Array

    @classmethod
    def of(cls, table: DoETable, index: int) -> Encoding:
        """Of the rows of a table in which the attribute was measured."""
        rows = np.flatnonzero(np.isfinite(table.values[:, index]))
        x, y = table.conditions.take(rows), table.values[rows, index]
        p = len(table.system.factors)
        most = int(x.segments.max())
        ramps = 2 * most + 1 if most else 0
        u = np.full((len(rows), 1 + p + ramps + 1), np.nan)
        u[:, 0], u[:, -1] = x.segments, y
        for s in np.unique(x.segments):
            mine = np.flatnonzero(x.segments == s)
            coordinates = Space(table.system, int(s)).encode(x.take(mine))
            u[np.ix_(mine, np.arange(1, 1 + p))] = coordinates[:, :p]
            if s:
                u[np.ix_(mine, np.arange(1 + p, 2 + p + s))] = coordinates[:, p : p + s + 1]
                u[np.ix_(mine, np.arange(2 + p + most, 2 + p + most + s))] = coordinates[:, p + s + 1 :]
        columns, scores = [], np.full(u.shape, np.nan)
        for j in range(u.shape[1]):
            known = np.isfinite(u[:, j])
            values = np.sort(u[known, j])
            columns.append(values)
            # Ties share the middle of their ranks.
            low, high = (np.searchsorted(values, u[known, j], side=side) for side in ("left", "right"))
            scores[known, j] = ndtri((low + high) / 2 / len(values))
        return cls(table.system, tuple(columns), scores)

    def decode(self, scores: Array) -> Synthetic:
        """Conditions and values of (m, d) normal scores."""
        p = len(self.system.factors)
        u = np.empty_like(scores)
        for j, values in enumerate(self.sorted_columns):
            share = ndtr(scores[:, j])
            if j == 0:
                # Kinds of profiles are those that were tried, as often as they were.
                u[:, j] = values[np.minimum((share * len(values)).astype(int), len(values) - 1)]
            else:
                u[:, j] = np.interp(share * len(values) - 0.5, np.arange(len(values)), values)
        most = (scores.shape[1] - 3 - p) // 2 if scores.shape[1] > p + 2 else 0
        segments = u[:, 0].astype(np.int64)
        parts, order = [], []
        for s in np.unique(segments):
            mine = np.flatnonzero(segments == s)
            names = [*range(1, 1 + p)]
            if s:
                names += [*range(1 + p, 2 + p + s), *range(2 + p + most, 2 + p + most + s)]
            parts.append(Space(self.system, int(s)).decode(u[np.ix_(mine, names)]))
            order.append(mine)
        back = np.argsort(np.concatenate(order))
        return Conditions.join(parts).take(back), u[:, -1]


def copula_rows(table: DoETable, index: int, count: int, rng: np.random.Generator) -> Synthetic:
    """Rows from a Gaussian copula: the marginals of the rows, and the correlations of their normal scores.

    Correlations are of the rows that use both coordinates, drawn towards 0 the more the fewer these are.
    """
    encoding = Encoding.of(table, index)
    z = encoding.scores
    known = np.isfinite(z)
    filled = np.where(known, z, 0.0)
    pairs = known.T.astype(float) @ known
    scale = np.sqrt((filled**2).T @ known)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.where(scale * scale.T > 0, filled.T @ filled / (scale * scale.T), 0.0)
    correlation *= pairs / (pairs + 5)
    np.fill_diagonal(correlation, 1.0)
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 1e-6))
    draws = rng.standard_normal((count, z.shape[1])) @ root.T
    return encoding.decode(draws / np.sqrt((root**2).sum(axis=1)))


def vae_rows(table: DoETable, index: int, count: int, rng: np.random.Generator) -> Synthetic:
    """Rows from a small variational autoencoder of the normal scores."""
    from crystalscope.design.nets import train_vae

    encoding = Encoding.of(table, index)
    known = np.isfinite(encoding.scores)
    decoder = train_vae(np.where(known, encoding.scores, 0.0), known, rng=rng, latent=_LATENT)
    return encoding.decode(decoder(rng.standard_normal((count, _LATENT))))


def gan_rows(table: DoETable, index: int, count: int, rng: np.random.Generator) -> Synthetic:
    """Rows from a small generative adversarial network of the normal scores."""
    from crystalscope.design.nets import train_gan

    encoding = Encoding.of(table, index)
    known = np.isfinite(encoding.scores)
    network = train_gan(np.where(known, encoding.scores, 0.0), known, rng=rng, latent=_LATENT)
    return encoding.decode(network(rng.standard_normal((count, _LATENT))))


def plant_rows(mechanism: Mechanism, everything: DoETable) -> Generator:
    """A generator of rows that a plant simulates at random conditions, calibrated to the rows that it is shown.

    Parameters
    ----------
    mechanism
        Of the rows of `everything`.
    everything
        All rows; those shown are found in it by their conditions.
    """
    whole = everything.conditions.raw(everything.system)

    def generate(table: DoETable, index: int, count: int, rng: np.random.Generator) -> Synthetic:
        shown = table.conditions.raw(table.system)
        rows = np.array([int(np.argmin(np.abs(whole - r).sum(axis=1))) for r in shown])
        theta = mechanism.calibrate(everything, rows)
        segments = rng.choice(table.conditions.segments, count)
        parts = []
        for s in np.unique(segments):
            space = Space(table.system, int(s))
            parts.append(space.decode(rng.random((int((segments == s).sum()), space.size))))
        x = Conditions.join(parts)
        values = to_attribute(table.system, mechanism.simulate(x, theta), index)
        good = np.isfinite(values)
        order = rng.permutation(int(good.sum()))
        return x.take(good).take(order), values[good][order]

    return generate


GENERATORS: dict[str, Generator] = {"copula": copula_rows, "gan": gan_rows, "vae": vae_rows}
"""Generators that need nothing but the table."""


def similarity(table: DoETable, index: int, synthetic: Synthetic) -> float:
    """How alike real and synthetic rows are, 0 to 1: mean of that of the columns and that of their correlations.

    A column counts 1 minus the Kolmogorov-Smirnov distance, a pair of columns 1 minus half the difference of the rank
    correlations. 1 is reached by a copy of the rows: likeness is no proof of use.
    """
    from scipy.stats import rankdata

    x, y = synthetic
    rows = np.isfinite(table.values[:, index])
    real = np.column_stack([table.conditions.take(rows).raw(table.system), table.values[rows, index]])
    made = np.column_stack([x.raw(table.system), y])
    varying = np.ptp(real, axis=0) > 0
    real, made = real[:, varying], made[:, varying]
    shapes = []
    for a, b in zip(real.T, made.T, strict=True):
        grid = np.sort(np.concatenate([a, b]))
        below = [np.searchsorted(np.sort(v), grid, side="right") / len(v) for v in (a, b)]
        shapes.append(1 - np.abs(below[0] - below[1]).max())
    correlations = []
    for part in (real, made):
        ranks = np.apply_along_axis(rankdata, 0, part) - (len(part) + 1) / 2
        norm = np.sqrt((ranks**2).sum(axis=0))
        ranks = ranks / np.where(norm > 0, norm, 1.0)
        correlations.append(ranks.T @ ranks)
    upper = np.triu_indices(len(shapes), 1)
    pairs = 1 - np.abs(correlations[0] - correlations[1])[upper] / 2
    return float(0.5 * np.mean(shapes) + 0.5 * (np.mean(pairs) if len(pairs) else 1.0))
