"""Synthetic rows in the training: how much they weigh is chosen on rows that neither model nor generator has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crystalscope.design.conditions import Conditions
from crystalscope.design.generators import Generator
from crystalscope.design.table import DoETable
from crystalscope.errors import InputError

Array = NDArray[np.float64]
Made = tuple[Array, Array]
"""Encoded inputs and values of rows."""

COUNTS = (5, 10, 15, 20, 25)
"""Numbers of synthetic rows, as published."""
ALPHAS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
_LEAK_R2 = 0.2
_MANY = 4
"""So many times the largest number of synthetic rows stand for very many in the scaling law."""


@dataclass(frozen=True)
class Learner:
    """What is trained with weights.

    Parameters
    ----------
    encode
        Conditions of n batches to (n, p) inputs.
    fit
        (inputs, values, weights) -> predictor of inputs.
    """

    encode: Callable[[Conditions], Array]
    fit: Callable[[Array, Array, Array], Callable[[Array], Array]]


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
    law
        Weight by the scaling law for that generator and number, to be held against `alpha`; NaN where not known.
    held_out
        (n,) held-out predictions of the rows of the table with the choice; NaN where not measured or not known.
    """

    generator: str
    count: int
    alpha: float
    losses: Mapping[tuple[str, int], Array]
    alphas: Array
    gain: float
    law: float = float("nan")
    held_out: Array = field(default_factory=lambda: np.zeros(0))


def weighted_fit(learner: Learner, real: Made, synthetic: Made, alpha: float) -> Callable[[Array], Array]:
    """Least of (1 - a)/n sum over real + a/m sum over synthetic rows (Jain, Montanari, Sasoglu, arXiv 2402.04376).

    Parameters
    ----------
    real, synthetic
        (n, p) encoded inputs and (n,) values of each.
    alpha
        0 to 1; 1: the synthetic rows alone.
    """
    (x, y), (xs, ys) = real, synthetic
    if alpha == 0 or not len(ys):
        return learner.fit(x, y, np.ones(len(y)))
    if alpha == 1:
        return learner.fit(xs, ys, np.ones(len(ys)))
    weights = np.concatenate([np.full(len(y), (1 - alpha) / len(y)), np.full(len(ys), alpha / len(ys))])
    return learner.fit(np.vstack([x, xs]), np.concatenate([y, ys]), weights * (len(y) + len(ys)))


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
    got, alone = _held_out(table, index, (learner, generators, folds), rng, counts)
    y = table.values[:, index]
    rows = np.flatnonzero(np.isfinite(y))
    errors = {key: (p - y[rows]) ** 2 for key, p in got.items()}
    base = next(iter(errors.values()))[0]
    losses = {key: e.mean(axis=1) for key, e in errors.items()}
    best = min(losses, key=lambda key: float(losses[key].min()))
    at = int(np.argmin(losses[best]))
    gains = base - errors[best][at]
    clear = at > 0 and float(gains.mean()) > float(gains.std(ddof=1) / np.sqrt(len(gains)))
    gain = float(gains.mean() / base.mean()) if clear and base.mean() > 0 else 0.0
    a = table.system.attributes[index]
    law = scaling_law_alpha(
        real=float(base.mean()),
        synthetic=float(np.mean((alone[best] - y[rows]) ** 2)),
        bias=float(np.mean((alone[best[0], _MANY * max(counts)] - y[rows]) ** 2)),
        floor=float(np.mean((a.sd * y[rows]) ** 2)) if a.relative_sd else a.sd**2,
    )
    held = np.full(len(y), np.nan)
    held[rows] = got[best][at if clear else 0]
    alpha = float(alphas[at]) if clear else 0.0
    return Augmentation(best[0], best[1] if clear else 0, alpha, losses, alphas, gain, law, held)


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
    got, _ = _held_out(shuffled, index, (learner, generators, folds), rng, (COUNTS[-1],))
    y = shuffled.values[:, index]
    errors = [((p - y[np.isfinite(y)]) ** 2).mean(axis=1).min() for p in got.values()]
    r2 = 1 - float(min(errors)) / float(np.nanvar(y))
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
) -> tuple[dict[tuple[str, int], Array], dict[tuple[str, int], Array]]:
    """Predictions of held-out rows by generator and count: (alphas, rows), and (rows,) by synthetic rows alone, there
    also for very many.
    """
    learner, generators, folds = scheme
    y = table.values[:, index]
    measured = np.isfinite(y)
    rows = np.flatnonzero(measured)
    place = {int(r): i for i, r in enumerate(rows)}
    many = _MANY * max(counts)
    inputs = learner.encode(table.conditions)
    out = {(name, m): np.zeros((len(ALPHAS), len(rows))) for name in generators for m in counts}
    alone = {(name, m): np.zeros(len(rows)) for name in generators for m in (*counts, many)}
    for k in sorted(set(folds[measured].tolist())):
        train, left = np.flatnonzero(measured & (folds != k)), np.flatnonzero(measured & (folds == k))
        at = [place[int(r)] for r in left]
        part = table.take(train)
        real, new = (inputs[train], y[train]), inputs[left]
        plain = weighted_fit(learner, real, real, 0.0)(new)
        for name, generate in generators.items():
            x, ys = generate(part, index, many, rng)
            xs = learner.encode(x)
            for m in (*counts, many):
                alone[name, m][at] = weighted_fit(learner, real, (xs[:m], ys[:m]), 1.0)(new)
            for m in counts:
                for a, alpha in enumerate(ALPHAS):
                    made = (xs[:m], ys[:m])
                    out[name, m][a, at] = weighted_fit(learner, real, made, alpha)(new) if alpha > 0 else plain
    return out, alone


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
