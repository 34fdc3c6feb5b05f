"""Plans of experiments within the constraints: Latin hypercube, Sobol, factorial, D-optimal."""

from __future__ import annotations

import itertools
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from crystalscope.design.conditions import Conditions
from crystalscope.design.features import make_features
from crystalscope.design.regress import Scaler
from crystalscope.design.space import Space, round_conditions, spaces_of
from crystalscope.design.system import System
from crystalscope.errors import ConfigError

Array = NDArray[np.float64]
Kind = Literal["lhs", "sobol", "factorial", "d-optimal"]

PUBLISHED_MIX: dict[int, int] = {1: 18, 2: 2, 3: 1, 5: 4, 7: 3, 9: 3}
"""Ramps to experiments of Barhate et al. (2025), Table 1: 18 linear, 2 with one heating, 1, 4, 3, 3 with 1 to 4
cycles.
"""


def make_plan(
    system: System, count: int, *, kind: Kind = "lhs", rng: np.random.Generator, mix: dict[int, int] | None = None
) -> Conditions:
    """Conditions of experiments that keep the constraints.

    Parameters
    ----------
    system
        Factors and profile.
    count
        Number of experiments; a factorial takes as many as fit a full grid, at most this.
    kind
        lhs, sobol, factorial (levels of the factors and of the mean rate, full), or d-optimal (of a linear model of the
        features, exchanged from random candidates).
    mix
        Experiments by ramps of the profile; None: the published mix, scaled to `count`.

    Raises
    ------
    ConfigError
        For other kinds, or a count below 1.
    """
    if kind not in get_args(Kind):
        raise ConfigError(f"expected a plan of {', '.join(get_args(Kind))}, got {kind!r}; check --plan")
    if count < 1:
        raise ConfigError(f"expected 1 or more experiments, got {count}; raise it")
    counts = _counts(system, count, mix)
    if kind == "d-optimal":
        return _d_optimal(system, counts, rng)
    parts = [Space(system, s).decode(_points(kind, n, Space(system, s).size, rng)) for s, n in counts.items() if n]
    return round_conditions(Conditions.join(parts), system)


def mix_of(name: str, system: System) -> dict[int, int]:
    """Experiments by ramps of a mix by its name, published or even; raises ConfigError for other names."""
    if name == "published":
        return PUBLISHED_MIX
    if name != "even":
        raise ConfigError(f"expected a mix of published or even, got {name!r}; check --mix")
    return {s.segments: 1 for s in spaces_of(system)}


def _counts(system: System, count: int, mix: dict[int, int] | None) -> dict[int, int]:
    known = [s.segments for s in spaces_of(system)]
    wanted = {s: n for s, n in (mix or PUBLISHED_MIX).items() if s in known} or dict.fromkeys(known, 1)
    share = {s: n * count / sum(wanted.values()) for s, n in wanted.items()}
    out = {s: int(v) for s, v in share.items()}
    for s in sorted(share, key=lambda k: out[k] - share[k])[: count - sum(out.values())]:
        out[s] += 1
    return out


def _points(kind: Kind, n: int, d: int, rng: np.random.Generator) -> Array:
    from scipy.stats import qmc

    if kind == "lhs":
        return np.asarray(qmc.LatinHypercube(d, rng=rng).random(n))
    if kind == "sobol":
        return np.asarray(qmc.Sobol(d, rng=rng).random_base2(max(int(np.ceil(np.log2(n))), 0))[:n])
    levels = max(int(np.floor(n ** (1 / d) + 1e-9)), 1) if d else 1
    grid = np.linspace(0, 1, levels) if levels > 1 else np.array([0.5])
    if levels > 1:
        return np.array(list(itertools.product(grid, repeat=d)))
    # Too few for a full grid: two levels of the first coordinates that fit, the others in the middle.
    varied = int(np.floor(np.log2(n))) if n > 1 else 0
    corners = np.array(list(itertools.product([0.0, 1.0], repeat=varied)))
    return np.hstack([corners, np.full((len(corners), d - varied), 0.5)])


def _d_optimal(system: System, counts: dict[int, int], rng: np.random.Generator) -> Conditions:
    """Fedorov's exchange on the determinant of the information of a linear model of the features."""
    pools = [Space(system, s).decode(rng.random((60 * n, Space(system, s).size))) for s, n in counts.items() if n]
    pool = round_conditions(Conditions.join(pools), system)
    features = make_features(pool, system).to_numpy(dtype=float)
    x = np.hstack([np.ones((len(pool), 1)), Scaler.of(features)(features)])
    chosen = np.concatenate([rng.choice(np.flatnonzero(pool.segments == s), n, False) for s, n in counts.items() if n])
    information = x[chosen].T @ x[chosen] + 0.1 * np.eye(x.shape[1])
    for _ in range(4):
        moved = False
        for i, row in enumerate(chosen):
            without = np.linalg.inv(information - np.outer(x[row], x[row]))
            candidates = np.flatnonzero(pool.segments == pool.segments[row])
            gain = np.einsum("ij,jk,ik->i", x[candidates], without, x[candidates])
            best = int(candidates[int(np.argmax(gain))])
            if gain.max() > x[row] @ without @ x[row] + 1e-9 and best not in chosen:
                information += np.outer(x[best], x[best]) - np.outer(x[row], x[row])
                chosen[i] = best
                moved = True
        if not moved:
            break
    return pool.take(np.sort(chosen))
