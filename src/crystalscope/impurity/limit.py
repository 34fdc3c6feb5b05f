"""The smallest share of an impurity that would be seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crystalscope.errors import InputError


@dataclass(frozen=True)
class DetectionLimit:
    """Smallest share of an impurity that is seen with a given power.

    Parameters
    ----------
    share
        By number; NaN where even a pure impurity would not be seen.
    particles
        Looked at.
    least
        Particles called impurity from which on an impurity is said to be there.
    risk
        Chance that as many are called so where there is none.
    power
        Chance that at least as many are called so at the limit.
    """

    share: float
    particles: int
    least: int
    risk: float
    power: float


def detection_limit(
    particles: int, *, sensitivity: float, false_rate: float, risk: float = 0.05, power: float = 0.95
) -> DetectionLimit:
    """Limit of detection of a count of particles.

    Parameters
    ----------
    particles
        Looked at: particles per frame times frames.
    sensitivity
        Share of the impurity that is called so.
    false_rate
        Share of the others that is called so.
    risk
        Of an alarm where there is no impurity.
    power
        Of an alarm at the limit.

    Raises
    ------
    InputError
        When a rate lies outside of 0 to 1, the classifier does not tell the classes apart, or there is no particle.

    Notes
    -----
    Exact binomial counts, particles independent of one another: where impurities come in swarms, frames count rather
    than particles, and the limit is higher by as much. The decision limit and the limit of detection are those of
    Currie, Anal. Chem. 40 (1968) 586. The rates are taken as known.
    """
    from scipy.optimize import brentq
    from scipy.stats import binom

    for name, value in (
        ("sensitivity", sensitivity),
        ("false_rate", false_rate),
        ("risk", risk),
        ("power", power),
    ):
        if not 0 <= value <= 1:
            raise InputError(f"expected {name} from 0 to 1, got {value}")
    if not 0 < risk < 1 or not 0 < power < 1:
        raise InputError(f"expected risk and power between 0 and 1, got {risk} and {power}")
    if particles < 1:
        raise InputError(f"expected at least one particle, got {particles}; take frames with particles")
    if sensitivity <= false_rate:
        raise InputError(
            f"expected more of the impurity than of the others to be called impurity, got {sensitivity} and "
            f"{false_rate}; train the classifier anew"
        )
    least = int(binom.isf(risk, particles, false_rate)) + 1
    met = float(binom.sf(least - 1, particles, false_rate))

    def short(share: float) -> float:
        return power - float(binom.sf(least - 1, particles, share * sensitivity + (1 - share) * false_rate))

    if short(1.0) > 0:
        return DetectionLimit(math.nan, particles, least, met, power)
    return DetectionLimit(float(brentq(short, 0.0, 1.0, xtol=1e-9)), particles, least, met, power)


def frames_needed(
    share: float,
    *,
    per_frame: float,
    sensitivity: float,
    false_rate: float,
    risk: float = 0.05,
    power: float = 0.95,
    most: int = 1_000_000,
) -> int | None:
    """Frames from which on a share is seen; None where not even `most` frames suffice.

    Parameters
    ----------
    share
        Of the impurity by number, above 0.
    per_frame
        Particles in a frame, mean.
    sensitivity, false_rate, risk, power
        As in `detection_limit`.
    most
        Frames.
    """
    if not (0 < share <= 1 and per_frame > 0):
        raise InputError(f"expected a share above 0 and particles in a frame, got {share} and {per_frame}")

    def seen(frames: int) -> bool:
        n = max(round(frames * per_frame), 1)
        found = detection_limit(n, sensitivity=sensitivity, false_rate=false_rate, risk=risk, power=power).share
        return found <= share

    high = 1
    while not seen(high):
        high *= 2
        if high > most:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return high
