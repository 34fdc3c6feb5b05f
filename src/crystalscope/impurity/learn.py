"""Learning models of particles: from examples of both classes, from normal ones alone, and from corrections."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystalscope.errors import InputError
from crystalscope.impurity.features import FEATURES, GREY, SHAPE, View
from crystalscope.impurity.model import FARTHEST, Kind, ParticleModel

Array = NDArray[np.float64]

_STRENGTH = 3.0
"""Inverse strength of the ridge of the logistic regression on standardised numbers, each block scaled to one."""
_BLOCKS = np.array([2.0, 1.0, 0.5])
"""Standard deviations of the blocks of shape, grey and encoder: shape is least a matter of the instrument."""
_FOLDS = 10
_KEPT = 0.98
"""Share of the variance of the normal particles that the axes of a model of anomalies keep."""
_FLOOR = 0.3
"""Least variance of an axis, over the mean one: what hardly varies among a few normal particles is not known well."""
LEAST_NORMAL = 20


def train_impurity(
    numbers: ArrayLike, impure: ArrayLike, *, groups: ArrayLike | None = None, view: View, unit: str = "px"
) -> ParticleModel:
    """Learn a known impurity from particles of both classes.

    Parameters
    ----------
    numbers
        (n, k) of particles, see `features`.
    impure
        (n,) whether each is the impurity.
    groups
        (n,) names; particles of one group (pictures of the same crystal, or of one frame) are held back together.
        None: each is its own.
    view, unit
        Of the numbers.

    Returns
    -------
    ParticleModel
        Its threshold is the one with the smallest sum of both classes' shares of errors on held-back particles.

    Raises
    ------
    InputError
        When there is one class only, or one group of a class, so that nothing could be held back.

    Notes
    -----
    Logistic regression with a ridge on standardised numbers, in which the measures of shape weigh as a block twice as
    much as those of grey, and these twice as much as those of the encoder, however many they are. Each class weighs as
    a whole, and so does each group within it: six pictures of one crystal count as one. Groups are held back one by one
    where there are at most 20, else in ten parts; the model that is returned has seen all. Nothing is chosen by the
    held-back scores but the threshold. Failure modes: a difference between the two sets of pictures other than the
    particles (light, focus, loading) is learnt as readily as the particles.
    """
    x, y, g = _checked(numbers, impure, groups, view)
    classes = ((True, "impurity"), (False, "target"))
    for value, name in classes:
        if not (y == value).any():
            other = "target" if value else "impurity"
            raise InputError(
                f"expected particles of both classes, got {len(y)} of the {other} and none of the {name}; mark some, "
                "or learn normal particles alone with `impurity normal`"
            )
    for value, name in classes:
        if len(np.unique(g[y == value])) < 2:
            raise InputError(
                f"expected at least two groups of the {name}, so that one can be held back, got one; mark particles of "
                "another frame"
            )
    held = np.full(len(y), math.nan)
    for learn, test in _parts(g, y):
        held[test] = _fitted("impurity", x[learn], y[learn], g[learn], view, unit).score(x[test])
    return _with(_fitted("impurity", x, y, g, view, unit), x, y, g, held, _best_threshold(held, y))


def train_normal(
    numbers: ArrayLike, *, groups: ArrayLike | None = None, false_alarm: float = 0.01, view: View, unit: str = "px"
) -> ParticleModel:
    """Learn what normal particles are like, so that others stand out.

    Parameters
    ----------
    numbers, groups, view, unit
        As in `train_impurity`, of normal particles.
    false_alarm
        Share of normal particles that may be called impurity.

    Returns
    -------
    ParticleModel
        Its threshold is the score that a held-back normal particle exceeds with at most the given chance.

    Raises
    ------
    InputError
        When there are too few normal particles to learn from, or for so small a false-alarm rate.

    Notes
    -----
    Numbers are standardised and turned to the axes of largest variance, which keep 98 % of it, each scaled to one
    (Mahalanobis); the score is half the distance to the middle, half that to the nearest of all normal particles in the
    bank. The threshold is a conformal quantile: with n held-back particles at most false_alarm of further ones score
    above it, if those are drawn as the normal ones were. Particles of a new instrument are not: learn anew there.
    """
    if not 0 < false_alarm < 1:
        raise InputError(f"expected a false-alarm rate between 0 and 1, got {false_alarm}")
    x, y, g = _checked(numbers, np.zeros(len(np.asarray(numbers)), dtype=bool), groups, view)
    least = max(LEAST_NORMAL, math.ceil(1 / false_alarm) - 1)
    if len(x) < least:
        raise InputError(
            f"expected at least {least} normal particles for a false-alarm rate of {false_alarm:g}, got {len(x)}; take "
            "more pictures without impurity, or allow more false alarms"
        )
    if len(np.unique(g)) < 2:
        raise InputError("expected normal particles of at least two groups, got one; take another frame")
    held = np.full(len(x), math.nan)
    for learn, test in _parts(g, y):
        held[test] = _fitted("anomaly", x[learn], y[learn], g[learn], view, unit).score(x[test])
    rank = math.ceil((len(held) + 1) * (1 - false_alarm))
    # At least the score that so many held-back ones reach: the next above it is called impurity.
    threshold = float(np.nextafter(np.sort(held)[min(rank, len(held)) - 1], np.inf))
    return _with(_fitted("anomaly", x, y, g, view, unit), x, y, g, held, threshold)


def retrain(model: ParticleModel, numbers: ArrayLike, impure: ArrayLike, groups: ArrayLike) -> ParticleModel:
    """Learn corrected particles along with those that a model has learnt from.

    Parameters
    ----------
    model
        To be learnt anew.
    numbers
        (n, k) of the corrected particles.
    impure
        (n,) what they are in truth.
    groups
        (n,) frames.

    Returns
    -------
    ParticleModel
        Of a model of anomalies: with the corrected normal particles among the normal ones; those that are impurities
        move nothing there, and are left out.
    """
    x, y, g = _checked(numbers, impure, groups, model.view)
    if model.kind == "anomaly":
        rate = model.false_rate
        x, g = x[~y], g[~y]
        merged = np.concatenate([model.numbers.astype(float), x])
        return train_normal(
            merged,
            groups=np.concatenate([model.groups, g]),
            false_alarm=max(rate, 1 / (len(merged) + 1)),
            view=model.view,
            unit=model.unit,
        )
    return train_impurity(
        np.concatenate([model.numbers.astype(float), x]),
        np.concatenate([model.impure == 1, y]),
        groups=np.concatenate([model.groups, g]),
        view=model.view,
        unit=model.unit,
    )


def _checked(
    numbers: ArrayLike, impure: ArrayLike, groups: ArrayLike | None, view: View
) -> tuple[Array, NDArray[np.bool_], NDArray[np.str_]]:
    # As they are kept in the file, so that learning anew gives the same.
    x = np.asarray(numbers, dtype=np.float32).astype(float)
    y = np.asarray(impure).astype(bool).ravel()
    g = np.array([str(k) for k in range(len(y))] if groups is None else [str(k) for k in np.asarray(groups).ravel()])
    if x.ndim != 2 or x.shape[1] != len(FEATURES[view]) or not np.isfinite(x).all():
        raise InputError(f"expected {len(FEATURES[view])} finite numbers of every particle, got shape {x.shape}")
    if len(y) != len(x) or len(g) != len(x):
        raise InputError(f"expected a class and a group of {len(x)} particles, got {len(y)} and {len(g)}")
    return x, y, g


def _parts(groups: NDArray[np.str_], impure: NDArray[np.bool_]) -> Iterator[tuple[Any, Any]]:
    """Particles to learn and to hold back; each is held back once, and both classes are always learnt."""
    names, of = np.unique(groups, return_inverse=True)
    if len(names) <= 20:
        part = np.arange(len(names))
    else:
        # Groups with impurities are dealt out first, so that no part has all of them.
        order = np.lexsort((np.random.default_rng(0).permutation(len(names)), ~_any(of, impure)))
        part = np.empty(len(names), dtype=int)
        part[order] = np.arange(len(names)) % _FOLDS
    for k in np.unique(part):
        test = part[of] == k
        yield ~test, test


def _any(of: NDArray[np.intp], impure: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.bincount(of, weights=impure) > 0


def _class_weights(impure: NDArray[np.bool_], groups: NDArray[np.str_]) -> Array:
    """(n,) weights that sum to one: classes alike, and groups alike within a class."""
    out = np.zeros(len(impure))
    for value in np.unique(impure):
        of = impure == value
        _, where, count = np.unique(groups[of], return_inverse=True, return_counts=True)
        out[of] = 1 / count[where] / len(count)
    return np.asarray(out / out.sum())


def _blocks(view: View) -> Array:
    """(k,) factors that give shape, grey and encoder their standard deviations as blocks."""
    block = np.array([0 if f in SHAPE else 1 if f in GREY else 2 for f in FEATURES[view]])
    return np.asarray(_BLOCKS[block] / np.sqrt(np.bincount(block, minlength=3)[block]))


def _fitted(kind: Kind, x: Array, y: NDArray[np.bool_], g: NDArray[np.str_], view: View, unit: str) -> ParticleModel:
    """Fitted to particles, with nothing of them kept but the bank."""
    weight = _class_weights(y, g)
    center = weight @ x
    scale = np.sqrt(weight @ (x - center) ** 2)
    scale = np.where(scale > 1e-9, scale, 1.0)
    blocks = _blocks(view)
    z = np.clip((x - center) / scale, -FARTHEST, FARTHEST) * blocks
    bank = np.zeros((0, 0))
    if kind == "impurity":
        from sklearn.linear_model import LogisticRegression

        fit = LogisticRegression(C=_STRENGTH, max_iter=2000).fit(z, y, sample_weight=weight * len(y))
        weights = np.concatenate([fit.intercept_, fit.coef_[0] * blocks])
    else:
        _, spread, axes = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)
        variance = spread**2 / len(z)
        kept = int(np.searchsorted(np.cumsum(variance) / variance.sum(), _KEPT)) + 1
        kept = min(kept, max(len(z) // 4, 1))
        floor = _FLOOR * variance[:kept].mean()
        turned = axes[:kept].T / np.sqrt(variance[:kept] + floor)
        weights = turned * blocks[:, None]
        bank = z @ turned
    nothing = np.zeros(0)
    return ParticleModel(
        kind, view, unit, 0.5, center, scale, weights, bank,
        np.zeros((0, x.shape[1]), np.float32), np.zeros(0, np.int8), np.zeros(0, "<U1"), nothing,
    )  # fmt: skip


def _with(
    model: ParticleModel,
    x: Array,
    y: NDArray[np.bool_],
    groups: NDArray[np.str_],
    held: Array,
    threshold: float,
) -> ParticleModel:
    return replace(
        model,
        threshold=threshold,
        numbers=x.astype(np.float32),
        impure=y.astype(np.int8),
        groups=groups,
        held_back=held,
    )


def _best_threshold(score: Array, impure: NDArray[np.bool_]) -> float:
    """Threshold with the smallest sum of both classes' shares of errors, in the middle of the gap; of several gaps the
    widest, so that a score near it is no matter of chance."""
    values = np.unique(score)
    if len(values) == 1:
        return float(values[0])
    # In logits: near 0 and 1 a gap in the probability is narrow, however far apart the particles are.
    logit = np.log(np.clip(values, 1e-12, 1 - 1e-12) / np.clip(1 - values, 1e-12, 1))
    between = 1 / (1 + np.exp(-0.5 * (logit[1:] + logit[:-1])))
    missed = np.searchsorted(np.sort(score[impure]), between) / impure.sum()
    false = 1 - np.searchsorted(np.sort(score[~impure]), between) / (~impure).sum()
    errors = missed + false
    best = np.flatnonzero(errors <= errors.min() + 1e-12)
    return float(between[best[int(np.argmax(np.diff(logit)[best]))]])
