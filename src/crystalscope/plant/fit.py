"""Parameters from measured batches, with profile-likelihood intervals, and what the data cannot tell said plainly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crystalscope.errors import ConfigError, InputError
from crystalscope.plant.batch import DEFAULT, Numerics
from crystalscope.plant.kinetics import Kinetics
from crystalscope.plant.observed import Observations

Array = NDArray[np.float64]
Progress = Callable[[str, int, int | None], None]

_INSENSITIVE = 1e-4
"""Change of the weighted residuals by a unit of a constant (a power of ten, an order, 10 kJ/mol) that is none."""
_WIDE = 4.0
"""Rate constants are sought within four powers of ten about the start."""
ABSOLUTE = {"concentration_g_per_kg": 0.05, "doa": 0.005, "crystallinity": 0.005}
"""Least standard deviation by quantity, against perfect fits; of the other quantities 0.5 %."""


@dataclass(frozen=True)
class Estimate:
    """A fitted constant.

    Parameters
    ----------
    name
        Dotted name in the kinetics.
    value, lower, upper
        Estimate and profile-likelihood interval; an end that the data do not bound is -inf or inf.
    level
        Confidence level.
    note
        What the data say: ``identified``, ``no upper bound``, ``no lower bound``, ``not identifiable``.
    """

    name: str
    value: float
    lower: float
    upper: float
    level: float
    note: str


@dataclass(frozen=True, eq=False)
class Fit:
    """Result of `fit`.

    Parameters
    ----------
    kinetics
        With the fitted constants.
    estimates
        One per free constant.
    sd
        Standard deviation of the residuals by quantity: of concentration in g per kg, of attributes as they are, of
        moments and quantiles relative.
    correlation
        (p, p) of the estimates in the order of `estimates`, from the curvature at the optimum; NaN where it is
        singular.
    counts
        Measurements used by quantity.
    memory
        By quantity, how many consecutive measurements carry what one independent one would, by their autocorrelation.
    shifts_g_per_kg
        By batch, what was added to the first concentration reading, which has its error too; 0 for batches with a
        charge.
    """

    kinetics: Kinetics
    estimates: tuple[Estimate, ...]
    sd: Mapping[str, float]
    correlation: Array
    counts: Mapping[str, int]
    memory: Mapping[str, float]
    shifts_g_per_kg: tuple[float, ...]

    def lines(self) -> list[str]:
        """What was found, in sentences."""
        out = []
        for e in self.estimates:
            text = f"{e.name} = {e.value:.4g}"
            if e.note == "identified":
                text += f" ({e.lower:.4g} to {e.upper:.4g}, {e.level:.0%})"
            elif e.note == "not identifiable":
                text += ": not identifiable, any value in the range searched fits as well"
            elif e.note == "no upper bound":
                text += f": only bounded below, by {e.lower:.4g}; larger values fit as well"
            elif e.note == "no lower bound":
                text += f": only bounded above, by {e.upper:.4g}; smaller values fit as well"
            else:
                text += f" ({e.note})"
            out.append(text)
        for i in range(len(self.estimates)):
            for j in range(i):
                r = self.correlation[i, j]
                if abs(r) > 0.95:
                    out.append(
                        f"{self.estimates[j].name} and {self.estimates[i].name} are correlated by {r:.3f}: the "
                        "data fix a "
                        "combination of the two better than either"
                    )
        return out


def free_names(kinetics: Kinetics) -> tuple[str, ...]:
    """Rate constants and orders of the mechanisms that act: what a fit frees where nothing is said."""
    rates = ("rate_um_per_s", "rate_per_kg_s", "rate_kg_per_s", "attrition_per_s", "bridges_per_s")
    return tuple(
        n
        for n, value in kinetics.constants().items()
        if value > 0
        and (n.endswith(rates) or n.endswith(".order"))
        and not n.startswith(("heterogeneous", "amorphous"))
    )


def fit(
    kinetics: Kinetics,
    batches: Sequence[Observations],
    *,
    free: Sequence[str] | None = None,
    level: float = 0.95,
    profile: bool = True,
    numerics: Numerics = DEFAULT,
    progress: Progress | None = None,
) -> Fit:
    """Fit constants of a plant to measured batches.

    Parameters
    ----------
    kinetics
        Start values, and the constants that are not fitted.
    batches
        What was measured.
    free
        Dotted names of the constants to fit; None: `free_names`.
    level
        Of the intervals.
    profile
        Whether to compute intervals (slow); without, they are NaN.
    numerics
        Of the population balance, where batches have a charge.
    progress
        Told what is done, the number done and the total.

    Raises
    ------
    InputError
        Without batches, with a constant that is not there or is 0, or with fewer measurements than twice the constants.
    ConfigError
        Where a constant has no such name.

    Notes
    -----
    Least squares on concentrations (absolute) and on logarithms of moments and quantiles, the spread of each quantity
    estimated from its residuals and refitted. The first concentration of a batch without a charge is a reading too: its
    error is fitted beside the constants. An interval ends where twice the drop of the log-likelihood, the other
    constants fitted anew, passes the chi-squared quantile (Raue et al., Bioinformatics 25 (2009) 1923), times the
    memory (1 + r)/(1 - r) of the residuals, averaged over the measurements: residuals of one batch follow each other,
    and a hundred readings of one drift are not a hundred. The intervals hold if the model does; a wrong model shows in
    `sd`.
    """
    if not batches:
        raise InputError("expected one or more batches, got none; give a table or a run")
    names = tuple(free) if free is not None else free_names(kinetics)
    if not names:
        raise InputError("expected constants to fit, got none; give --free")
    constants = kinetics.constants()
    for name in names:
        if name in constants and not constants[name] > 0:
            raise InputError(
                f"expected a start value above 0 of {name}, got {constants[name]:g}; set it in the kinetics"
            )
    problem = _Problem(kinetics, tuple(batches), names, numerics)
    total = sum(problem.counts.values())
    if total < 2 * len(names):
        raise InputError(
            f"expected at least {2 * len(names)} measurements for {len(names)} constants, got {total}; free fewer"
        )
    best = problem.optimum(progress)
    jacobian = problem.jacobian(best)
    # A constant that changes nothing keeps its start value: what the search left there means nothing.
    moves = np.linalg.norm(jacobian, axis=0) > _INSENSITIVE
    best = np.where(moves, best, problem.start)
    correlation, sd = _curvature(jacobian, moves)
    correlation = correlation[: len(names), : len(names)]
    reach = sd * math.sqrt(problem.inflation) * problem.scale
    estimates = []
    for i, name in enumerate(names):
        low, high = (-math.inf, math.inf) if not moves[i] else (math.nan, math.nan)
        if profile and moves[i]:
            if progress is not None:
                progress("intervals", i, len(names))
            low, high = (problem.end(best, i, sense, float(reach[i]), level) for sense in (-1, 1))
        estimates.append(_estimate(name, problem, best, (i, low, high, level)))
    if progress is not None and profile:
        progress("intervals", len(names), len(names))
    return Fit(
        problem.kinetics(best),
        tuple(estimates),
        problem.sd,
        correlation,
        problem.counts,
        problem.memory,
        tuple(problem.shifts(best).values()),
    )


def _curvature(jacobian: Array, moves: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Correlation (p, p) and standard deviation (p,) of the constants; NaN for those without effect."""
    p = len(moves)
    correlation, sd = np.full((p, p), math.nan), np.full(p, math.nan)
    if moves.any():
        at = np.flatnonzero(moves)
        inner = jacobian[:, at]
        covariance = np.linalg.pinv(inner.T @ inner, rcond=1e-12)
        sd[at] = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
        correlation[np.ix_(at, at)] = covariance / np.outer(sd[at], sd[at])
    return correlation, sd


def _estimate(name: str, problem: _Problem, best: Array, found: tuple[int, float, float, float]) -> Estimate:
    i, low, high, level = found
    value = problem.value(i, best[i])
    if math.isnan(low):
        return Estimate(name, value, math.nan, math.nan, math.nan, "no interval asked for")
    open_low, open_high = not math.isfinite(low), not math.isfinite(high)
    note = {
        (False, False): "identified",
        (True, False): "no lower bound",
        (False, True): "no upper bound",
        (True, True): "not identifiable",
    }[open_low, open_high]
    lower = -math.inf if open_low else problem.value(i, low)
    return Estimate(name, value, lower, math.inf if open_high else problem.value(i, high), level, note)


class _Problem:
    """Residuals of all batches as a function of transformed constants: log10 of those that span decades."""

    def __init__(
        self, kinetics: Kinetics, batches: tuple[Observations, ...], names: tuple[str, ...], numerics: Numerics
    ) -> None:
        self.base, self.batches, self.names, self.numerics = kinetics, batches, names, numerics
        constants = kinetics.constants()
        for n in names:
            if n not in constants:
                raise ConfigError(f"expected a constant of {kinetics.name}, got {n!r}; it has {', '.join(constants)}")
        start = [constants[n] for n in names]
        self.log = [not n.endswith(("order", "activation_j_per_mol")) for n in names]
        transformed = [math.log10(v) if log else v for v, log in zip(start, self.log, strict=True)]
        limits = [_limits(n, x, log) for n, x, log in zip(names, transformed, self.log, strict=True)]
        # Behind the constants stand the errors of the first concentrations in standard deviations of a reading.
        self.started = [i for i, b in enumerate(batches) if b.charge is None]
        limits += [(-5.0, 5.0)] * len(self.started)
        self.start = np.array(transformed + [0.0] * len(self.started))
        self.low, self.high = (np.array(side, dtype=float) for side in zip(*limits, strict=True))
        # Energies are thousands: steps of all constants should be of order 1.
        scale = [1e4 if n.endswith("activation_j_per_mol") else 1.0 for n in names]
        self.scale = np.array(scale + [1.0] * len(self.started))
        self.quantities = tuple(dict.fromkeys(q for b in batches for q in b.values))
        self.counts = {q: sum(int(self._used(b, q).sum()) for b in batches if q in b.values) for q in self.quantities}
        self.sd = dict.fromkeys(self.quantities, 0.05)
        for q in ABSOLUTE:
            if q in self.sd:
                spread = np.concatenate([b.values[q] for b in batches if q in b.values])
                self.sd[q] = max(0.05 * float(np.nanstd(spread)), ABSOLUTE[q])
        self.memory = dict.fromkeys(self.quantities, 1.0)

    def _used(self, batch: Observations, quantity: str) -> NDArray[np.bool_]:
        values = batch.values[quantity]
        used = np.isfinite(values)
        if quantity not in ABSOLUTE:
            used = used & (np.nan_to_num(values) > 0)
        if batch.charge is None:
            used = used.copy()
            used[0] = False  # the start is given, not predicted
        return used

    def value(self, i: int, x: float) -> float:
        """A constant from its transformed value."""
        return float(10**x) if self.log[i] else float(x)

    def kinetics(self, x: Array) -> Kinetics:
        """The kinetics at transformed constants."""
        return self.base.changed(**{n: self.value(i, float(x[i])) for i, n in enumerate(self.names)})

    def shifts(self, x: Array) -> dict[int, float]:
        """What is added to the first concentration of every batch, g per kg."""
        out = dict.fromkeys(range(len(self.batches)), 0.0)
        sd = self.sd.get("concentration_g_per_kg", 0.0)
        return out | {i: float(x[len(self.names) + k]) * sd for k, i in enumerate(self.started)}

    def raw(self, x: Array) -> dict[str, list[Array]]:
        """Residuals by quantity, one array per batch, in natural units (logs for moments and quantiles)."""
        kinetics = self.kinetics(x)
        out: dict[str, list[Array]] = {q: [] for q in self.quantities}
        shifts = self.shifts(x)
        for i, batch in enumerate(self.batches):
            predicted = batch.predicted(kinetics, numerics=self.numerics, shift_g_per_kg=shifts[i])
            for q, values in batch.values.items():
                used = self._used(batch, q)
                a, b = predicted[q][used], values[used]
                if q in ABSOLUTE:
                    r = a - b
                else:
                    with np.errstate(invalid="ignore", divide="ignore"):
                        r = np.log(np.maximum(a, 1e-30) / b)
                out[q].append(np.where(np.isfinite(r), r, 1e3))
        return out

    def residuals(self, x: Array) -> Array:
        """All residuals over their standard deviations, and the errors of the first concentrations over theirs."""
        raw = self.raw(x)
        parts = [np.concatenate(raw[q]) / self.sd[q] for q in self.quantities if raw[q]]
        # One wild point must not decide: a prediction that is off by 1e3 sd is as bad as one off by 1e6.
        return np.clip(np.concatenate([*parts, x[len(self.names) :]]), -1e3, 1e3)

    def solve(self, x0: Array, *, fixed: int | None = None, evaluations: int = 40) -> tuple[Array, float]:
        """Least squares from a start, one constant held where `fixed`; returns the constants and the sum of squares."""
        from scipy.optimize import least_squares

        moving = np.array([i for i in range(len(x0)) if i != fixed])
        if not len(moving):
            return x0, float((self.residuals(x0) ** 2).sum())
        scale = self.scale[moving]

        def partial(z: Array) -> Array:
            x = x0.copy()
            x[moving] = z * scale
            return self.residuals(x)

        inner = np.clip(x0[moving], self.low[moving] + 1e-9, self.high[moving] - 1e-9)
        got = least_squares(
            partial,
            inner / scale,
            bounds=(self.low[moving] / scale, self.high[moving] / scale),
            diff_step=1e-3,
            ftol=1e-5,
            xtol=1e-5,
            max_nfev=evaluations,
        )
        x = x0.copy()
        x[moving] = got.x * scale
        return x, float(2 * got.cost)

    def optimum(self, progress: Progress | None) -> Array:
        """The optimum, with the spreads of the quantities estimated from the residuals three times over."""
        x = self.start
        rounds = 4
        for k in range(rounds):
            if progress is not None:
                progress("fit", k, rounds)
            x, _ = self.solve(x)
            # The errors of the first concentrations are counted in standard deviations: what they are stays.
            shifts = self.shifts(x)
            self._estimate_spreads(x)
            for at, i in enumerate(self.started):
                x[len(self.names) + at] = np.clip(shifts[i] / self.sd["concentration_g_per_kg"], -4.9, 4.9)
        x, _ = self.solve(x)
        if progress is not None:
            progress("fit", rounds, rounds)
        return x

    def _estimate_spreads(self, x: Array) -> None:
        for q, parts in self.raw(x).items():
            if not parts:
                continue
            every = np.concatenate(parts)
            floor = ABSOLUTE.get(q, 0.005)
            self.sd[q] = max(float(np.sqrt(np.mean(np.minimum(every**2, 1e4)))), floor)
            pairs = [(p[1:] * p[:-1]).sum() for p in parts if len(p) > 3]
            squares = [(p[1:] ** 2).sum() + (p[:-1] ** 2).sum() for p in parts if len(p) > 3]
            r = 2 * sum(pairs) / sum(squares) if squares and sum(squares) > 0 else 0.0
            r = min(max(r, 0.0), 0.95)
            self.memory[q] = (1 + r) / (1 - r)

    @property
    def inflation(self) -> float:
        """Mean memory of a measurement."""
        return sum(self.memory[q] * n for q, n in self.counts.items()) / max(sum(self.counts.values()), 1)

    def jacobian(self, x: Array) -> Array:
        """(measurements, constants) of the weighted residuals by central differences, per scaled constant."""
        columns = []
        for i in range(len(x)):
            step = 2e-3 * self.scale[i] * max(1.0, abs(x[i] / self.scale[i]))
            up, down = x.copy(), x.copy()
            up[i], down[i] = min(x[i] + step, self.high[i]), max(x[i] - step, self.low[i])
            columns.append((self.residuals(up) - self.residuals(down)) / (up[i] - down[i]) * self.scale[i])
        return np.column_stack(columns)

    def end(self, best: Array, i: int, sense: int, sd: float, level: float) -> float:
        """Where the profile likelihood of a constant passes the threshold on one side; infinite where it does not."""
        from scipy.stats import chi2

        base = float((self.residuals(best) ** 2).sum())
        threshold = float(chi2.ppf(level, 1)) * self.inflation
        limit = self.high[i] if sense > 0 else self.low[i]
        guess = best[i] + sense * float(np.clip(2 * sd, 1e-4 * self.scale[i], 0.5 * abs(limit - best[i])))
        inside, inside_rise, from_inside = best[i], 0.0, best
        x, rise = best, 0.0
        for _ in range(12):
            x, cost = self.solve(_with(from_inside, i, guess), fixed=i, evaluations=10)
            rise = cost - base
            if rise >= threshold:
                break
            if guess == limit:
                return sense * math.inf
            # Extrapolate as a parabola, at most threefold.
            grow = math.sqrt(threshold / rise) if rise > 0.05 * threshold else 3.0
            inside, inside_rise, from_inside = guess, rise, x
            guess = best[i] + (guess - best[i]) * min(max(1.1 * grow, 1.2), 3.0)
            guess = min(guess, limit) if sense > 0 else max(guess, limit)
        else:
            return sense * math.inf
        outside, outside_rise = guess, rise
        for _ in range(6):
            if abs(outside_rise - threshold) < 0.1 * threshold:
                return float(outside)
            # The square root of the rise is nearly linear in the constant.
            a, b = math.sqrt(max(inside_rise, 0.0)), math.sqrt(outside_rise)
            part = (math.sqrt(threshold) - a) / (b - a) if b > a else 0.5
            middle = inside + (outside - inside) * min(max(part, 0.1), 0.9)
            x, cost = self.solve(_with(from_inside, i, middle), fixed=i, evaluations=10)
            if cost - base >= threshold:
                outside, outside_rise = middle, cost - base
            else:
                inside, inside_rise, from_inside = middle, cost - base, x
        return float(outside)


def _with(x: Array, i: int, value: float) -> Array:
    out = x.copy()
    out[i] = value
    return out


def _limits(name: str, x: float, log: bool) -> tuple[float, float]:
    if name.endswith("activation_j_per_mol"):
        return 0.0, 2.5e5
    if name.endswith("order"):
        return 0.0, max(6.0, 2 * x)
    if name == "solubility.factor":
        return max(x - 0.1, -0.3), min(x + 0.1, 0.3)
    if name == "volume_shape":
        return max(x - 1, -2.9), min(x + 1, 0.9)
    return (x - _WIDE, x + _WIDE) if log else (x - 10, x + 10)
