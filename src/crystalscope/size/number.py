"""How many particles a size distribution needs."""

from __future__ import annotations

import math

from crystalscope.errors import InputError


def particles_needed(gsd: float, *, precision: float = 0.05, confidence: float = 0.95) -> float:
    """Particles needed for the mean volume of a log-normal distribution.

    Masuda and Iinoya (J. Chem. Eng. Japan 4 (1971) 60), as in ISO 13322-1:
    n = u² alpha² s² (2 c² s² + 1) / delta², c = beta + alpha / 2, s = ln GSD, with alpha = 3 and beta = 0 for the
    mean volume (the third moment) of number counts, u the two-sided normal quantile. GSD 1.6, 5 %, 95 % give 6,092.

    Parameters
    ----------
    gsd
        Geometric standard deviation by number, at least 1.
    precision
        Relative half width of the interval.
    confidence
        Its level.

    Raises
    ------
    InputError
        On values outside these ranges.
    """
    if not (math.isfinite(gsd) and gsd >= 1 and precision > 0 and 0 < confidence < 1):
        raise InputError(
            f"expected GSD >= 1, precision > 0, confidence in (0, 1), got {gsd}, {precision}, {confidence}"
        )
    from scipy.stats import norm

    u = float(norm.ppf(0.5 + confidence / 2))
    s = math.log(gsd)
    alpha, beta = 3.0, 0.0
    c = beta + alpha / 2
    return u**2 * alpha**2 * s**2 * (2 * c**2 * s**2 + 1) / precision**2


def number_line(n: int, gsd: float, *, precision: float, confidence: float) -> str:
    """The line of the report: what was counted and what ISO 13322-1 asks for."""
    if n < 2 or not math.isfinite(gsd) or gsd < 1:
        return f"n = {n:,}; too few particles to say what ISO 13322-1 asks for"
    asked = particles_needed(gsd, precision=precision, confidence=confidence)
    return (
        f"n = {n:,}; ISO 13322-1 asks for {math.ceil(asked):,} (mean volume within {precision:.0%} at "
        f"{confidence:.0%}, GSD {gsd:.2f})"
    )
