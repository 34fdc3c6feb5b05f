"""Synthetic rows in the training: how much they weigh is chosen on rows that neither model nor generator has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crystalscope.design.conditions import Conditions
from crystalscope.design.generators import Generator, Synthetic
from crystalscope.design.table import DoETable
from crystalscope.errors import InputError

Array = NDArray[np.float64]
Learner = Callable[[Conditions, Array, Array], Callable[[Conditions], Array]]
"""(conditions, values, weights) -> predictor."""

COUNTS = (5, 10, 15, 20, 25)
"""Numbers of synthetic rows, as published."""
ALPHAS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
_LEAK_R2 = 0.2


@dataclass(frozen=True, eq=False)
class Augmentation:
    """What synthetic rows do for one attribute.

    Parameters
    ----------
    generator, count, alpha
        What was chosen; an alpha of 0 means that no synthetic row is used.
    losses
        By generator and count the held-out mean squared error at each of `alphas`.
    alphas
        Weights of the synthetic rows.
    gain
        Share by which the chosen one lowers the held-out mean squared error.
    """

    generator: str
    count: int
    alpha: float
    losses: Mapping[tuple[str, int], Array]
    alphas: Array
    gain: float


def weighted_fit(
    learner: Learner, real: tuple[Conditions, Array], synthetic: Synthetic, alpha: float
) -> Callable[[Conditions], Array]:
    """Least of (1 - a)/n sum over real + a/m sum over synthetic rows (Jain, Montanari, Sasoglu, arXiv 2402.04376)."""
    (x, y), (xs, ys) = real, synthetic
    if alpha == 0 or not len(ys):
        return learner(x, y, np.ones(len(y)))
    weights = np.concatenate([np.full(len(y), (1 - alpha) / len(y)), np.full(len(ys), alpha / len(ys))])
    return learner(Conditions.join([x, xs]), np.concatenate([y, ys]), weights * (len(y) + len(ys)))


def choose_augmentation(
    table: DoETable,
    index: int,
    *,
    learner: Learner,
    generators: Mapping[str, Generator],
    folds: NDArray[np.int64],
    rng: np.random.Generator,
    counts: Sequence[int] = COUNTS,
) -> Augmentation:
    """Generator, number and weight of synthetic rows for an attribute.

    Parameters
    ----------
    table, index
        Rows and the attribute.
    learner
        What is trained with weights.
    generators
        By name.
    folds
        (n,) of the rows.
    counts
        Numbers of synthetic rows that are tried.

    Notes
    -----
    In each fold the generator is fitted to the rows of the other folds. One that has seen the held-out rows hands them
    to the model: gains of a quarter are then made of nothing. The best of many candidates gains by chance too: it is
    taken only where its mean gain over alpha = 0 is more than its standard error over the rows; else alpha is 0.
    """
    alphas = np.array(ALPHAS)
    errors = _held_out(table, index, (learner, generators, folds), rng, counts)
    base = next(iter(errors.values()))[0]
    losses = {key: e.mean(axis=1) for key, e in errors.items()}
    best = min(losses, key=lambda key: float(losses[key].min()))
    at = int(np.argmin(losses[best]))
    gains = base - errors[best][at]
    clear = at > 0 and float(gains.mean()) > float(gains.std(ddof=1) / np.sqrt(len(gains)))
    gain = float(gains.mean() / base.mean()) if clear and base.mean() > 0 else 0.0
    return Augmentation(best[0], best[1] if clear else 0, float(alphas[at]) if clear else 0.0, losses, alphas, gain)


def shuffle_values(table: DoETable, index: int, *, rng: np.random.Generator) -> DoETable:
    """The table with the measured values of an attribute among its rows at random: there is nothing to learn."""
    rows = np.flatnonzero(np.isfinite(table.values[:, index]))
    values = table.values.copy()
    values[rows, index] = rng.permutation(values[rows, index])
    return DoETable(table.system, table.conditions, values)


def leak_score(
    shuffled: DoETable,
    index: int,
    *,
    learner: Learner,
    generators: Mapping[str, Generator],
    folds: NDArray[np.int64],
    rng: np.random.Generator,
) -> float:
    """R2 that the scheme reaches on held-out rows of a table from `shuffle_values`: about 0, or below.

    Raises
    ------
    InputError
        Where it is above 0.2: a generator has seen rows that it should not have.
    """
    errors = _held_out(shuffled, index, (learner, generators, folds), rng, (COUNTS[-1],))
    variance = float(np.nanvar(shuffled.values[:, index]))
    r2 = max(1 - float(e.mean(axis=1).min()) / variance for e in errors.values())
    if r2 > _LEAK_R2:
        raise InputError(
            f"expected nothing to be learnt from shuffled values, got R2 = {r2:.2f} on held-out rows; a generator has "
            "seen them: fit it to the rows it is given"
        )
    return r2


def _held_out(
    table: DoETable,
    index: int,
    scheme: tuple[Learner, Mapping[str, Generator], NDArray[np.int64]],
    rng: np.random.Generator,
    counts: Sequence[int],
) -> dict[tuple[str, int], Array]:
    """(alphas, rows) squared errors of held-out rows by generator and count."""
    learner, generators, folds = scheme
    y = table.values[:, index]
    measured = np.isfinite(y)
    rows = np.flatnonzero(measured)
    place = {int(r): i for i, r in enumerate(rows)}
    out = {(name, m): np.zeros((len(ALPHAS), len(rows))) for name in generators for m in counts}
    for k in sorted(set(folds[measured].tolist())):
        train, left = np.flatnonzero(measured & (folds != k)), np.flatnonzero(measured & (folds == k))
        at = [place[int(r)] for r in left]
        part = table.take(train)
        real = (part.conditions, y[train])
        new = table.conditions.take(left)
        plain = (learner(*real, np.ones(len(train)))(new) - y[left]) ** 2
        for name, generate in generators.items():
            xs, ys = generate(part, index, max(counts), rng)
            for m in counts:
                synthetic = (xs.take(np.arange(min(m, len(ys)))), ys[:m])
                for a, alpha in enumerate(ALPHAS):
                    error = plain
                    if alpha > 0:
                        error = (weighted_fit(learner, real, synthetic, alpha)(new) - y[left]) ** 2
                    out[name, m][a, at] = error
    return out


def scaling_law_alpha(*, real: float, synthetic: float, bias: float, floor: float, exponent: float = 1.0) -> float:
    """Weight of synthetic rows by the scaling law of Jain, Montanari, Sasoglu (arXiv 2402.04376).

    Parameters
    ----------
    real
        Mean squared error of a model of the real rows alone.
    synthetic
        Of one of the m synthetic rows alone.
    bias
        Of one of very many synthetic rows.
    floor
        Error that no model can go below: the variance of the measurement.
    exponent
        Rate at which the error falls with the number of rows, 1 for parametric models.

    Returns
    -------
    The a at which a² (bias - floor) + (a² V_s^(1/b) + (1 - a)² V_r^(1/b))^b is least, with the excess errors V_r =
    real - floor and V_s = synthetic - bias.
    """
    a = np.linspace(0, 1, 1001)
    v_r, v_s = max(real - floor, 1e-12), max(synthetic - bias, 0.0)
    shared = a**2 * v_s ** (1 / exponent) + (1 - a) ** 2 * v_r ** (1 / exponent)
    loss = a**2 * max(bias - floor, 0.0) + shared**exponent
    return float(a[int(np.argmin(loss))])
