"""The clear point at rest: extrapolated over heating rates."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from crystalscope.core import Figure
from crystalscope.errors import InputError


def clear_point_at_rest(rate_c_per_min: ArrayLike, clear_c: ArrayLike, *, level: float = 0.95) -> Figure:
    """Clear point at a heating rate of zero.

    Parameters
    ----------
    rate_c_per_min
        (n,) heating rates, above 0.
    clear_c
        (n,) clear points at these rates, deg C; repeats are welcome.
    level
        Of the interval.

    Returns
    -------
    Intercept of the straight line of the clear point against the rate, with Student's interval (NaN with two points).
    With one rate: the mean clear point, no interval, and the reason that it lies above the saturation temperature. With
    a line that falls: the mean at the slowest rate, and the reason.

    Raises
    ------
    InputError
        When lengths differ, nothing is given, or a rate is not above 0.

    Notes
    -----
    Crystals need time to dissolve, so a ramp passes the saturation temperature before the last of them is gone; the
    overshoot grows with the rate and is taken as proportional to it (ter Horst, Deij, Cains, Cryst. Growth Des. 9
    (2009) 1531). For large crystals it grows more slowly than that, and the intercept then lies somewhat high.
    """
    from scipy.stats import t

    rate, clear = np.asarray(rate_c_per_min, dtype=float).ravel(), np.asarray(clear_c, dtype=float).ravel()
    if rate.shape != clear.shape or not rate.size:
        raise InputError(f"expected as many clear points as rates and at least one, got {clear.size} and {rate.size}")
    if not (rate > 0).all():
        raise InputError(f"expected heating rates above 0 deg C/min, got {rate.min():g}; leave out holds")
    slowest = float(rate.min())
    # Rates of one setting differ by how the ramp was cut.
    if rate.max() < 1.2 * slowest:
        reason = f"one heating rate ({slowest:.3g} deg C/min): above the saturation temperature, by an unknown amount"
        return Figure(float(clear.mean()), reason=reason)
    design = np.column_stack([np.ones_like(rate), rate])
    (rest, slope), *_ = np.linalg.lstsq(design, clear, rcond=None)
    if slope < 0:
        reason = "clear points do not rise with the heating rate: the mean at the slowest rate"
        return Figure(float(clear[rate < 1.2 * slowest].mean()), reason=reason)
    free = rate.size - 2
    if free < 1:
        return Figure(float(rest), reason="two clear points: an interval needs three")
    residual = clear - design @ np.array([rest, slope])
    covariance = np.linalg.inv(design.T @ design) * float(residual @ residual) / free
    half = float(t.ppf(0.5 + level / 2, free)) * math.sqrt(covariance[0, 0])
    return Figure(float(rest), float(rest) - half, float(rest) + half, level)
