"""Shares of classes of particles, with the errors of the classifier taken out, and intervals that hold."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import ArrayLike, NDArray

from crystalscope.core import Figure
from crystalscope.errors import InputError
from crystalscope.impurity.confusion import Confusion

Array = NDArray[np.float64]

_LEAST_FRAMES = 5
_MOST_GROUPS = 40


@dataclass(frozen=True, eq=False)
class ClassShares:
    """Shares of the classes in a set of particles.

    Parameters
    ----------
    shares
        By number, by class, corrected, with intervals.
    apparent
        By class: the share that the classifier calls so.
    weighted
        By what (area, volume) and by class, with intervals; empty where no weights were given.
    n
        Particles.
    dispersion
        Variance between frames over that of drawing particles at random; 1 where it is not significantly more. The
        particles count as n / dispersion.
    """

    shares: dict[str, Figure]
    apparent: dict[str, float]
    weighted: dict[str, dict[str, Figure]]
    n: int
    dispersion: float


def class_shares(
    classes: ArrayLike,
    frame: ArrayLike,
    confusion: Confusion,
    *,
    weights: Mapping[str, ArrayLike] | None = None,
    level: float = 0.95,
) -> ClassShares:
    """Shares by number, and by weights such as area and volume, with the confusion taken out.

    Parameters
    ----------
    classes
        (n,) predicted class of every particle.
    frame
        (n,) where each was seen; particles of one frame may belong together, which the interval allows for.
    confusion
        Of particles whose class is known, drawn from each class at random.
    weights
        (n,) each, above 0, by name.
    level
        Of the intervals.

    Raises
    ------
    InputError
        When there is no particle, a class is unknown, or lengths differ.

    Notes
    -----
    The share is solved from what was called and the rates of the confusion (Rogan and Gladen, Am. J. Epidemiol. 107
    (1978) 71) without holding it above 0, which would be biased; only what is reported is held between 0 and 1. The
    interval takes in that the rates themselves are known from few particles: for two classes by the profile of the
    likelihood of all three counts, for more by a score interval with the variance at the share that is tested (after
    Wilson; Lang and Reiczigel, Prev. Vet. Med. 113 (2014) 13). By area and volume the same is done with the shares of
    areas and volumes, and as many particles of like size as would leave those as uncertain as they are between frames.
    Assumes that a particle is taken for another class whatever its size.
    """
    names, at = np.asarray(classes).astype(str).ravel(), np.asarray(frame).ravel()
    if not names.size:
        raise InputError("expected particles with a class, got none; are there frames with particles in focus?")
    if names.shape != at.shape:
        raise InputError(f"expected a frame of every particle, got {at.size} for {names.size}")
    if not 0 < level < 1:
        raise InputError(f"expected a level between 0 and 1, got {level}")
    for name in np.unique(names):
        confusion.index(str(name))
    k = len(confusion.classes)
    called = np.zeros((names.size, k))
    called[np.arange(names.size), [confusion.classes.index(n) for n in names]] = 1.0
    frames, numbered = np.unique(at, return_inverse=True)
    by_frame = np.zeros((len(frames), k))
    np.add.at(by_frame, numbered, called)
    counts = by_frame.sum(axis=0)
    dispersion = _dispersion(by_frame)
    bounds = _intervals(counts / dispersion, confusion, level)
    shares = {c: _held(v, low, high, level) for c, (v, low, high) in zip(confusion.classes, bounds, strict=True)}
    weighted = {}
    for what, values in (weights or {}).items():
        w = np.asarray(values, dtype=float).ravel()
        if w.shape != names.shape or not np.isfinite(w).all() or w.min() <= 0:
            raise InputError(
                f"expected a {what} above 0 of every particle, got {w.size} for {names.size} or values at 0"
            )
        sums = np.zeros((len(frames), k))
        np.add.at(sums, numbered, called * w[:, None])
        worth = _worth(sums, w) if len(frames) >= _LEAST_FRAMES else float(w.sum() ** 2 / (w**2).sum())
        found = _intervals(worth * sums.sum(axis=0) / sums.sum(), confusion, level)
        weighted[what] = dict(zip(confusion.classes, (_held(*f, level) for f in found), strict=True))
    apparent = dict(zip(confusion.classes, (counts / counts.sum()).tolist(), strict=True))
    return ClassShares(shares, apparent, weighted, int(names.size), dispersion)


def shares_over_run(
    classes: ArrayLike, frame: ArrayLike, confusion: Confusion, *, windows: int = 12, level: float = 0.95
) -> pd.DataFrame:
    """Shares by number in windows of frames.

    Parameters as in `class_shares`; `frame` are numbers in order of time.

    Returns
    -------
    A row for every window and class: first_frame, last_frame, class, n, share, lower, upper. Windows without particles
    are NaN.
    """
    names, at = np.asarray(classes).astype(str).ravel(), np.asarray(frame, dtype=np.int64).ravel()
    if not names.size:
        raise InputError("expected particles with a class, got none")
    first, end = int(at.min()), int(at.max()) + 1
    edges = np.unique(np.linspace(first, end, min(windows, end - first) + 1).round().astype(int))
    rows: list[tuple[object, ...]] = []
    for low, high in itertools.pairwise(edges):
        inside = (at >= low) & (at < high)
        found = class_shares(names[inside], at[inside], confusion, level=level).shares if inside.any() else {}
        for c in confusion.classes:
            f = found.get(c, Figure(math.nan))
            rows.append((low, high - 1, c, int(inside.sum()), f.value, f.lower, f.upper))
    return pd.DataFrame(rows, columns=["first_frame", "last_frame", "class", "n", "share", "lower", "upper"])


def _held(value: float, low: float, high: float, level: float) -> Figure:
    inside = [min(max(v, 0.0), 1.0) for v in (value, low, high)]
    return Figure(inside[0], inside[1], inside[2], level)


def _dispersion(by_frame: Array) -> float:
    """Pearson's chi-square of classes over frames per degree of freedom, where it is significantly above 1."""
    from scipy.stats import chi2

    held = by_frame[by_frame.sum(axis=1) > 0]
    used = held[:, held.sum(axis=0) > 0]
    freedom = (len(used) - 1) * (used.shape[1] - 1)
    if len(used) < _LEAST_FRAMES or freedom < 1:
        return 1.0
    expected = used.sum(axis=1, keepdims=True) * used.sum(axis=0) / used.sum()
    found = float(((used - expected) ** 2 / expected).sum())
    # Expected counts far below 1 make chi-square erratic: rare classes are then seen as they are.
    if expected.min(axis=0).min() < 0.2 or chi2.sf(found, freedom) > 0.01:
        return 1.0
    return found / freedom


def _intervals(counts: Array, confusion: Confusion, level: float) -> list[tuple[float, float, float]]:
    """Share and bounds of every class, not held between 0 and 1."""
    shares = np.linalg.solve(confusion.rates.T, counts / counts.sum())
    if len(counts) == 2:
        value, low, high = _profile(counts, confusion.counts, level)
        return [(1 - value, 1 - high, 1 - low), (value, low, high)]
    return [(float(shares[k]), *_score(k, shares, counts.sum(), confusion, level)) for k in range(len(counts))]


def _score(k: int, shares: Array, n: float, confusion: Confusion, level: float) -> tuple[float, float]:
    """Shares of class k that a score test does not refuse; the others keep their proportions."""
    from scipy.stats import norm

    z2 = float(norm.ppf(0.5 + level / 2)) ** 2
    rates = confusion.smoothed
    back = np.linalg.inv(rates.T)[k]
    known = confusion.counts.sum(axis=1)
    rest = np.clip(np.delete(shares, k), 0.0, None)
    rest = rest / rest.sum() if rest.sum() > 0 else np.full(len(rest), 1 / len(rest))
    spread = np.array([float(back**2 @ r - (back @ r) ** 2) for r in rates])

    def variance(p: float) -> float:
        pi = np.insert((1 - p) * rest, k, p)
        q = pi @ rates
        return float(back**2 @ q - (back @ q) ** 2) / n + float((pi**2 * spread / known).sum())

    # The variance is a parabola in p, so that (share - p)² = z² variance is one too.
    v0, v1, v2 = variance(0.0), variance(0.5), variance(1.0)
    c2, c1 = 2 * v0 + 2 * v2 - 4 * v1, -3 * v0 + 4 * v1 - v2
    a, b, c = 1 - z2 * c2, -2 * float(shares[k]) - z2 * c1, float(shares[k]) ** 2 - z2 * v0
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def _profile(counts: Array, known: Array, level: float) -> tuple[float, float, float]:
    """Share of the second of two classes and its bounds by the profile of the likelihood; may lie outside of 0 to 1."""
    from scipy.optimize import brentq
    from scipy.stats import chi2

    called, n = float(counts[1]), float(counts.sum())
    tables = np.ascontiguousarray(known, dtype=float)
    sensitivity, false = known[1, 1] / known[1].sum(), known[0, 1] / known[0].sum()
    best = (called / n - false) / (sensitivity - false)
    best = min(max(best, -0.5), 1.5)
    top = float(_best_likelihood(called, n, tables, best))
    drop = 0.5 * float(chi2.ppf(level, 1))

    def below(p: float) -> float:
        return top - drop - float(_best_likelihood(called, n, tables, p))

    out = []
    for side in (-1.0, 1.0):
        step, end = 0.01, best
        while below(end) < 0 and -1.0 < end < 2.0:
            end += side * step
            step *= 1.6
        out.append(float(brentq(below, best, end, xtol=1e-6)) if below(end) > 0 else end)
    return best, out[0], out[1]


@njit(cache=True, nogil=True)
def _log_likelihood(called, n, known, share, a, b):  # type: ignore[no-untyped-def]
    """For a share of the second class and logits a of its rate, b of the false rate of the first."""
    se, fp = 1.0 / (1.0 + math.exp(-a)), 1.0 / (1.0 + math.exp(-b))
    q = share * se + (1.0 - share) * fp
    if q <= 0.0 or q >= 1.0:
        return -np.inf
    out = called * math.log(q) + (n - called) * math.log(1.0 - q)
    out += known[1, 1] * math.log(se) + known[1, 0] * math.log(1.0 - se)
    return out + known[0, 1] * math.log(fp) + known[0, 0] * math.log(1.0 - fp)


@njit(cache=True, nogil=True)
def _best_likelihood(called, n, known, share):  # type: ignore[no-untyped-def]
    """Highest likelihood over both rates at a share, by damped Newton steps on their logits."""
    a = math.log((known[1, 1] + 0.5) / (known[1, 0] + 0.5))
    b = math.log((known[0, 1] + 0.5) / (known[0, 0] + 0.5))
    # A share below 0 needs a false rate that is high enough to take it from.
    value = _log_likelihood(called, n, known, share, a, b)
    while value == -np.inf and b < 20.0:
        b += 0.5 if share < 0.5 else -0.5
        if b < -20.0:
            return -np.inf
        value = _log_likelihood(called, n, known, share, a, b)
    h = 1e-4
    damping = 1e-6
    for _ in range(200):
        pa = _log_likelihood(called, n, known, share, a + h, b)
        ma = _log_likelihood(called, n, known, share, a - h, b)
        pb = _log_likelihood(called, n, known, share, a, b + h)
        mb = _log_likelihood(called, n, known, share, a, b - h)
        pp = _log_likelihood(called, n, known, share, a + h, b + h)
        mm = _log_likelihood(called, n, known, share, a - h, b - h)
        ga, gb = (pa - ma) / (2 * h), (pb - mb) / (2 * h)
        haa, hbb = (pa - 2 * value + ma) / (h * h), (pb - 2 * value + mb) / (h * h)
        hab = (pp - pa - pb + 2 * value - ma - mb + mm) / (2 * h * h)
        if not (math.isfinite(haa) and math.isfinite(hbb) and math.isfinite(hab)):
            return value
        # Never uphill the wrong way: curvature is made negative.
        da, db = max(-haa, 1e-8) + damping, max(-hbb, 1e-8) + damping
        det = da * db - hab * hab
        if det <= 0:
            sa, sb = ga / da, gb / db
        else:
            sa, sb = (db * ga + hab * gb) / det, (da * gb + hab * ga) / det
        limit = max(abs(sa), abs(sb), 1.0)
        sa, sb = sa / limit, sb / limit
        found = _log_likelihood(called, n, known, share, a + sa, b + sb)
        if found > value:
            gain = found - value
            value, a, b = found, min(max(a + sa, -15.0), 15.0), min(max(b + sb, -15.0), 15.0)
            damping = max(damping * 0.3, 1e-9)
            if gain < 1e-9:
                return value
        else:
            damping = max(damping, 1e-3) * 10.0
            if damping > 1e9:
                return value
    return value


def _worth(sums: Array, weight: Array) -> float:
    """Particles of like weight that would leave the shares by weight as uncertain as they are.

    The variance of the shares is from a jackknife over groups of frames; it is never less than that of particles drawn
    at random with these weights.
    """
    total = sums.sum(axis=0)
    shares = total / total.sum()
    most = float(weight.sum() ** 2 / (weight**2).sum())
    even = float((shares * (1 - shares)).sum())
    groups = np.arange(len(sums)) % min(len(sums), _MOST_GROUPS)
    m = int(groups.max()) + 1
    left = np.array([total - sums[groups == g].sum(axis=0) for g in range(m)])
    left = left / left.sum(axis=1, keepdims=True)
    variance = float((m - 1) / m * ((left - left.mean(axis=0)) ** 2).sum())
    return min(most, even / variance) if variance > 0 and even > 0 else most
