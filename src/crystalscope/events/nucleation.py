"""Nucleation rates from repeated induction times and from metastable zone widths."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystalscope.core import Figure
from crystalscope.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class NucleationRate:
    """Nucleation from induction times.

    Parameters
    ----------
    rate_per_m3_s
        J in 1/(m³ s).
    growth_time_s
        t_g, the time a nucleus takes to be seen, in s; at least 0.
    n, n_censored
        Runs, and those of them in which nothing was seen to the end.
    fit_distance
        Largest distance between the observed and the fitted distribution (Kolmogorov and Smirnov); NaN with censored
        runs.
    """

    rate_per_m3_s: Figure
    growth_time_s: Figure
    n: int
    n_censored: int
    fit_distance: float


def fit_induction_times(
    times_s: ArrayLike, *, volume_ml: float, censored_s: ArrayLike = (), level: float = 0.95
) -> NucleationRate:
    """Nucleation rate from P(t) = 1 - exp(-J V (t - t_g)).

    Parameters
    ----------
    times_s
        Induction times of the runs that nucleated, s.
    volume_ml
        Volume V of a vial, ml.
    censored_s
        Times to which the others were watched, s.
    level
        Of the intervals.

    Returns
    -------
    See `NucleationRate`. With fewer than two induction times J is NaN with the reason; its upper bound is given.

    Raises
    ------
    InputError
        On times below 0, none at all, or a volume that is not above 0.

    Notes
    -----
    Jiang and ter Horst, Cryst. Growth Des. 11 (2011) 256, for the model. t_g lies on the boundary of what is possible
    (no time before it can be seen), where the interval of Wald fails. Here the first induction time t1 serves as the
    origin of the others: what is left of r - 1 events and the time at risk T after t1 is exponential with rate J V,
    whatever t_g is. Without censored runs 2 J V T has the chi-square distribution with 2(r - 1) degrees of freedom,
    exactly (Epstein and Sobel, Ann. Math. Stat. 25 (1954) 373); with runs watched to a fixed time it has 2(r - 1) + 1
    nearly (Cox, Biometrika 40 (1953) 354). t_g: t1 less a quantile of F, exact without censoring, cut at 0. The
    estimate of J is (r - 1)/(V T), without censored runs (r - 2)/(V T), which has no bias. One J for all vials is
    assumed: vials that differ (impurities, scratches) make the distribution bend.
    """
    from scipy.stats import chi2, f

    t = np.sort(np.asarray(times_s, dtype=float).ravel())
    c = np.asarray(censored_s, dtype=float).ravel()
    if not t.size + c.size or not (np.isfinite(t).all() and np.isfinite(c).all()):
        raise InputError("expected at least one induction time or censored run, all finite; leave out what is missing")
    if min(t.min(initial=0), c.min(initial=0)) < 0 or not volume_ml > 0:
        raise InputError(f"expected times of at least 0 s and a volume above 0 ml, got {volume_ml:g} ml")
    cubic_m = volume_ml * 1e-6
    n, r = t.size + c.size, t.size
    if r < 2:
        risk = float((c - (t[0] if r else 0.0)).clip(0).sum())
        top = float(chi2.ppf(level, 2 * max(r, 1)) / (2 * risk * cubic_m)) if risk > 0 else math.nan
        few = Figure(math.nan, 0.0, top, level, f"{r} induction times; a rate needs two")
        return NucleationRate(few, Figure(math.nan, reason=few.reason), n, c.size, math.nan)
    first = float(t[0])
    risk = float((t[1:] - first).sum() + (c - first).clip(0).sum())
    if risk <= 0:
        same = Figure(math.nan, reason="all induction times are equal")
        return NucleationRate(same, Figure(first, reason=same.reason), n, c.size, math.nan)
    free = 2 * (r - 1) + (1 if c.size else 0)
    low, high = chi2.ppf([0.5 - level / 2, 0.5 + level / 2], free) / (2 * risk)
    rate = ((r - 1) if c.size or r < 3 else (r - 2)) / risk
    # Runs censored before t1 were no more at risk.
    at_risk = r + int((c >= first).sum())
    behind = risk / (at_risk * (r - 1))
    growth = Figure(
        max(0.0, first - behind), max(0.0, first - behind * float(f.ppf(level, 2, 2 * (r - 1)))), first, level
    )
    distance = math.nan
    if not c.size:
        model = 1 - np.exp(-rate * np.clip(t - growth.value, 0, None))
        steps = np.arange(r + 1) / r
        distance = float(max((steps[1:] - model).max(), (model - steps[:-1]).max()))
    return NucleationRate(
        Figure(rate / cubic_m, float(low) / cubic_m, float(high) / cubic_m, level), growth, n, c.size, distance
    )


@dataclass(frozen=True)
class ZoneNucleation:
    """Nucleation from metastable zone widths: J = k dT^m.

    Parameters
    ----------
    order
        m.
    rate_per_m3_s
        J in 1/(m³ s) at `undercooling_c`.
    undercooling_c
        The median zone width, deg C, at which J is best known.
    """

    order: Figure
    rate_per_m3_s: Figure
    undercooling_c: float


def fit_zone_widths(
    width_c: ArrayLike,
    rate_c_per_min: ArrayLike,
    *,
    volume_ml: float,
    censored: ArrayLike | None = None,
    level: float = 0.95,
    rng: int = 0,
) -> ZoneNucleation:
    """Nucleation rate from the distribution of metastable zone widths.

    Parameters
    ----------
    width_c
        (n,) saturation temperature less cloud point, deg C, above 0.
    rate_c_per_min
        (n,) cooling rates, above 0.
    volume_ml
        Of a vial, ml.
    censored
        (n,) bool: nothing was seen down to that undercooling; None: all were seen.
    level
        Of the intervals.
    rng
        Seed of the bootstrap.

    Returns
    -------
    See `ZoneNucleation`.

    Raises
    ------
    InputError
        When fewer than five widths were seen, or values are not above 0.

    Notes
    -----
    With J = k dT^m a vial that is cooled at the rate b stays clear down to dT with the probability
    exp(-V k dT^(m+1) / (b (m+1))): a distribution of Weibull in dT b^(-1/(m+1)). Maximum likelihood; intervals from 400
    parametric bootstrap samples (basic, of the logarithms). The time from a nucleus to what is seen is left out, so
    at fast cooling J comes out low (Kubota, J. Cryst. Growth 310 (2008) 629).
    """
    w, b = np.asarray(width_c, dtype=float).ravel(), np.asarray(rate_c_per_min, dtype=float).ravel() / 60
    gone = np.zeros(w.size, bool) if censored is None else np.asarray(censored, dtype=bool).ravel()
    if not w.shape == b.shape == gone.shape or (~gone).sum() < 5:
        raise InputError(f"expected at least five zone widths with rates, got {int((~gone).sum())}; repeat the cooling")
    if not ((w > 0).all() and (b > 0).all() and volume_ml > 0):
        raise InputError("expected zone widths, cooling rates and a volume above 0; check signs and units")
    middle = float(np.median(w[~gone]))
    shape, scale = _weibull(w / middle, b, gone)
    generator = np.random.default_rng(rng)
    samples = []
    for _ in range(400):
        drawn = (generator.exponential(size=w.size) * b / scale) ** (1 / shape) * middle
        # A vial that was watched down to its width is watched down to the same undercooling again.
        late = gone & (drawn > w)
        samples.append(_weibull(np.where(late, w, drawn) / middle, b, late))
    # Rate of events per s at the middle width: d(scale u^shape / b)/du times du/dt, u = dT/middle.
    log_j = math.log(scale * shape / middle / (volume_ml * 1e-6))
    drawn_j = np.array([math.log(s * k / middle / (volume_ml * 1e-6)) for k, s in samples])
    drawn_m = np.array([math.log(k) for k, _ in samples])
    j_low, j_high = 2 * log_j - np.quantile(drawn_j, [0.5 + level / 2, 0.5 - level / 2])
    m_low, m_high = 2 * math.log(shape) - np.quantile(drawn_m, [0.5 + level / 2, 0.5 - level / 2])
    return ZoneNucleation(
        Figure(shape - 1, math.exp(m_low) - 1, math.exp(m_high) - 1, level),
        Figure(math.exp(log_j), math.exp(j_low), math.exp(j_high), level),
        middle,
    )


def _weibull(u: Array, b: Array, gone: NDArray[np.bool_]) -> tuple[float, float]:
    """Shape and scale of the cumulative hazard scale u^shape / b by maximum likelihood."""
    from scipy.optimize import brentq

    seen = ~gone
    logs = np.log(u)

    def slope(k: float) -> float:
        powers = u**k / b
        return float(seen.sum() / k + logs[seen].sum() - seen.sum() * (powers * logs).sum() / powers.sum())

    low, high = 0.05, 200.0
    k = brentq(slope, low, high) if slope(low) > 0 > slope(high) else low if slope(low) <= 0 else high
    return float(k), float(seen.sum() / (u**k / b).sum())
