"""Settings tuned against offline distributions as a function of solids loading, with batches held back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from crystalscope.core import SizeDistribution
from crystalscope.errors import InputError

Array = NDArray[np.float64]

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""At which the distributions are compared."""

GATES: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "score": (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        "solidity": (0.0, 0.5, 0.6, 0.7, 0.8, 0.9),
        "length_to_width": (1.0, 1.5, 2.0, 3.0, 4.0),
    }
)
"""Gates that can be tuned, each the least value that counts, and the values that are tried at either end of the
loadings."""

LEAST_PARTICLES = 30
# Tuned by fewer particles than this share of a sample, a gate would fit a few of them.
_LEAST_SHARE = 0.2
_WORTH = 0.9


@dataclass(frozen=True, eq=False)
class Sample:
    """Particles of one batch at one solids loading, with the distribution that another instrument measured.

    Parameters
    ----------
    batch
        Name of the batch.
    loading
        Solids, such as wt%, at least 0.
    size
        (n,) sizes of the particles, um, all of them: before any gate.
    weight
        (n,) particles that each one stands for.
    gates
        (n,) values of the columns of `GATES` by name.
    offline
        What to agree with.

    Raises
    ------
    InputError
        When lengths differ, there are fewer than 30 particles, or the loading is negative.
    """

    batch: str
    loading: float
    size: Array
    weight: Array
    gates: Mapping[str, Array]
    offline: SizeDistribution

    def __post_init__(self) -> None:
        where = f"{self.batch} at {self.loading:g}"
        n = len(self.size)
        if any(len(v) != n for v in (self.weight, *self.gates.values())):
            raise InputError(f"expected {n} weights and values of every gate in {where}, got other lengths")
        if n < LEAST_PARTICLES:
            raise InputError(f"expected at least {LEAST_PARTICLES} particles in {where}, got {n}; take more pictures")
        if not (math.isfinite(self.loading) and self.loading >= 0):
            raise InputError(f"expected a loading of at least 0 for {self.batch}, got {self.loading}; state it")
        if not self.offline.n:
            raise InputError(f"expected an offline distribution with particles for {where}, got an empty one")


@dataclass(frozen=True)
class Calibration:
    """What turns particles of pictures into sizes that agree with the offline instrument.

    Parameters
    ----------
    by
        number or volume: the weighting of the quantiles that were matched.
    gates
        By name the least value at no and at the highest loading; between them it goes evenly.
    offset, slope
        Logarithm of the factor of the size: offset + slope * loading.
    low, high
        Loadings that it was tuned on.
    """

    by: str
    gates: Mapping[str, tuple[float, float]]
    offset: float
    slope: float
    low: float
    high: float

    def limits(self, loading: float) -> dict[str, float]:
        """Least value of every gate at a loading."""
        t = _position(loading, self.low, self.high)
        return {k: a + (b - a) * t for k, (a, b) in self.gates.items()}

    def factor(self, loading: float) -> float:
        """By which sizes are multiplied at a loading."""
        return math.exp(self.offset + self.slope * loading)

    def keep(self, gates: Mapping[str, Array], loading: float) -> NDArray[np.bool_]:
        """(n,) which particles count at a loading."""
        limits = self.limits(loading)
        n = len(next(iter(gates.values())))
        out = np.ones(n, dtype=bool)
        for name, least in limits.items():
            out &= ~(gates[name] < least)
        return out

    def quantiles(self, sample: Sample) -> Array:
        """Calibrated sizes of a sample at `SHARES`."""
        kept = self.keep(sample.gates, sample.loading) if self.gates else np.ones(len(sample.size), dtype=bool)
        if not kept.any():
            return np.full(len(SHARES), math.nan)
        logs = _log_quantiles(sample.size[kept], sample.weight[kept], self.by)
        return np.asarray(np.exp(logs) * self.factor(sample.loading))


def offline_quantiles(sample: Sample, by: str) -> Array:
    """Sizes of the offline distribution at `SHARES`."""
    weight = sample.offline.number_weight
    return np.asarray(np.exp(_log_quantiles(sample.offline.size, weight, by)))


def calibrate(
    samples: Sequence[Sample], *, gates: Sequence[str] = ("score", "solidity"), by: str = "number"
) -> Calibration:
    """Tune gates and the correction of the size on samples.

    Parameters
    ----------
    samples
        Of at least one batch; for a correction that depends on the loading at least two loadings.
    gates
        Which to tune, of `GATES`; a gate that changes little stays open.
    by
        number or volume.

    Raises
    ------
    InputError
        When there is no sample, a gate is unknown, or a sample lacks its values.

    Notes
    -----
    Every gate may change evenly with the loading, and so may the logarithm of the factor of the size. All pairs of
    values at either end are tried, one gate after the other and round again, each with the best correction (least
    squares of the logarithms of the quantiles, batches weighing alike); a gate closes only where it takes away a tenth
    of the error, so that noise alone closes none. The idea is that of adaptive image analysis calibrated by an offline
    instrument (Wu et al., Cryst. Growth Des. 23 (2023) 7076; Barhate et al., Digital Chem. Eng. 11 (2024) 100150).
    """
    if not samples:
        raise InputError("expected samples to calibrate on, got none; give runs with their loadings")
    if by not in ("number", "volume"):
        raise InputError(f"expected by number or volume, got {by!r}")
    unknown = [g for g in gates if g not in GATES]
    if unknown:
        raise InputError(f"expected gates among {', '.join(GATES)}, got {unknown[0]!r}")
    for s in samples:
        if lacking := [g for g in gates if g not in s.gates]:
            raise InputError(f"expected {lacking[0]} of the particles of {s.batch}, got none; leave the gate out")
    loadings = [s.loading for s in samples]
    low, high = min(loadings), max(loadings)
    targets = np.array([np.log(offline_quantiles(s, by)) for s in samples])
    several = high > low
    chosen: dict[str, tuple[float, float]] = {g: (GATES[g][0], GATES[g][0]) for g in gates}
    best, offset, slope = _fit(samples, targets, chosen, by, (low, high))
    for _ in range(2):
        for gate in gates:
            values = GATES[gate]
            pairs = itertools.product(values, values) if several else ((v, v) for v in values)
            for pair in pairs:
                tried = chosen | {gate: pair}
                error, a, b = _fit(samples, targets, tried, by, (low, high))
                opened = all(p <= c for p, c in zip(pair, chosen[gate], strict=True))
                if error < best * (1.0 if opened else _WORTH):
                    best, offset, slope, chosen = error, a, b, tried
    used = {g: p for g, p in chosen.items() if p != (GATES[g][0], GATES[g][0])}
    return Calibration(by, used, offset, slope, low, high)


@dataclass(frozen=True, eq=False)
class HeldBack:
    """A batch predicted by a calibration on the others.

    Parameters
    ----------
    batch
        That was held back.
    calibration
        Tuned on the others.
    samples
        Its samples.
    """

    batch: str
    calibration: Calibration
    samples: tuple[Sample, ...]

    def errors(self) -> Array:
        """(samples, shares) relative errors of the calibrated quantiles."""
        by = self.calibration.by
        return np.array([self.calibration.quantiles(s) / offline_quantiles(s, by) - 1 for s in self.samples])


def hold_back(
    samples: Sequence[Sample], *, gates: Sequence[str] = ("score", "solidity"), by: str = "number"
) -> tuple[HeldBack, ...]:
    """Predict every batch from the others.

    Parameters and errors as in `calibrate`.

    Raises
    ------
    InputError
        With fewer than two batches.
    """
    batches = list(dict.fromkeys(s.batch for s in samples))
    if len(batches) < 2:
        raise InputError(f"expected at least 2 batches to hold one back, got {len(batches)}; measure another batch")
    out = []
    for batch in batches:
        own = tuple(s for s in samples if s.batch == batch)
        out.append(HeldBack(batch, calibrate([s for s in samples if s.batch != batch], gates=gates, by=by), own))
    return tuple(out)


def uncalibrated_errors(samples: Sequence[Sample], by: str) -> Array:
    """(samples, shares) relative errors of the quantiles as measured."""
    plain = Calibration(by, {}, 0.0, 0.0, 0.0, 0.0)
    return np.array([plain.quantiles(s) / offline_quantiles(s, by) - 1 for s in samples])


def _position(loading: float, low: float, high: float) -> float:
    return min(max((loading - low) / (high - low), 0.0), 1.0) if high > low else 0.0


def _log_quantiles(size: Array, weight: Array, by: str) -> Array:
    order = np.argsort(size, kind="stable")
    x, w = size[order], weight[order]
    w = w * x**3 if by == "volume" else w
    # In the middle of every step, so that a share is met without the half step that a count of few would add.
    at = (np.cumsum(w) - 0.5 * w) / w.sum()
    return np.asarray(np.interp(SHARES, at, np.log(x)))


def _fit(
    samples: Sequence[Sample],
    targets: Array,
    gates: Mapping[str, tuple[float, float]],
    by: str,
    loadings: tuple[float, float],
) -> tuple[float, float, float]:
    """Mean squared error of the logarithms, offset and slope under some gates."""
    trial = Calibration(by, gates, 0.0, 0.0, *loadings)
    logs = np.empty_like(targets)
    for i, s in enumerate(samples):
        kept = trial.keep(s.gates, s.loading) if gates else np.ones(len(s.size), dtype=bool)
        if kept.sum() < max(LEAST_PARTICLES, _LEAST_SHARE * len(s.size)):
            return math.inf, 0.0, 0.0
        logs[i] = _log_quantiles(s.size[kept], s.weight[kept], by)
    off = targets - logs
    names = [s.batch for s in samples]
    weight = np.array([1.0 / names.count(n) for n in names])
    loading = np.array([s.loading for s in samples])
    columns = [np.ones_like(loading)] + ([loading] if loadings[1] > loadings[0] else [])
    root = np.sqrt(weight)
    design = np.column_stack(columns) * root[:, None]
    b, *_ = np.linalg.lstsq(design, off.mean(axis=1) * root, rcond=None)
    left = off - (np.column_stack(columns) @ b)[:, None]
    error = float((weight[:, None] * left**2).sum() / (weight.sum() * len(SHARES)))
    return error, float(b[0]), float(b[1]) if len(b) > 1 else 0.0
