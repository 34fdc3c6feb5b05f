"""Metastable zone widths, and how they grow with the cooling rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crystalscope.core import Event, Figure
from crystalscope.errors import InputError
from crystalscope.events.rates import clear_point_at_rest

Array = NDArray[np.float64]

MSZW_COLUMNS = (
    "experiment", "reactor", "cycle", "concentration", "unit", "cooling_rate_c_per_min", "saturation_c",
    "cloud_c", "cloud_lower_c", "cloud_upper_c", "mszw_c", "status",
)  # fmt: skip


def zone_widths(events: Sequence[Event]) -> pd.DataFrame:
    """Metastable zone widths from clear and cloud points.

    Parameters
    ----------
    events
        Of any number of experiments; those flagged ``freezing`` are left out.

    Returns
    -------
    One row for every cooling that started clear, columns `MSZW_COLUMNS`. saturation_c is the clear point of the same
    solution (all its cycles, in all experiments where its sample and concentration are known; extrapolated to rest
    where it has several heating rates; the first dissolution of the solid as filled does not count), NaN where none was
    reached. Where nothing was seen on the way down but crystals came on the
    hold, or never, cloud_c is NaN and mszw_c the width to the end of the cooling: a lower bound, with status
    not_reached.
    """
    usable = [e for e in events if "freezing" not in e.flags]
    rows = []
    for e in usable:
        if e.kind != "cloud" or (e.status != "reached" and not math.isfinite(e.lower_s)):
            continue
        saturation = saturation_point([c for c in usable if solution_of(c) == solution_of(e)]).value
        # Not seen: the zone is at least as wide as the vial was cooled.
        width = saturation - (e.temperature_c if e.status == "reached" else e.upper_c)
        rows.append(
            {
                "experiment": e.experiment, "reactor": e.reactor, "cycle": e.cycle, "concentration": e.value,
                "unit": e.unit, "cooling_rate_c_per_min": -e.rate_c_per_min, "saturation_c": saturation,
                "cloud_c": e.temperature_c, "cloud_lower_c": e.lower_c, "cloud_upper_c": e.upper_c, "mszw_c": width,
                "status": e.status,
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(MSZW_COLUMNS))


def saturation_point(events: Sequence[Event]) -> Figure:
    """Saturation temperature of a vial from its clear points, see `clear_point_at_rest`; NaN where there is none."""
    good = [
        e
        for e in events
        if e.kind == "clear" and e.status == "reached" and not {"as_filled", "freezing", "in_hold"} & set(e.flags)
    ]
    if not good:
        return Figure(math.nan, reason="no clear point of crystals grown in the vial")
    return clear_point_at_rest([e.rate_c_per_min for e in good], [e.temperature_c for e in good])


def solution_of(event: Event) -> tuple[str, str, float, str]:
    """What tells a solution: its sample and concentration, of whichever experiment; else the vial of one experiment."""
    value = event.value if event.value > 0 else -1.0
    if event.sample and value > 0:
        return event.sample, "", value, event.unit
    return event.experiment, event.reactor, value, event.unit


@dataclass(frozen=True)
class ZoneFit:
    """A fit of zone widths against cooling rates.

    Parameters
    ----------
    model
        nyvlt, sangwal or kubota.
    parameters
        By name, with intervals.
    equation
        In words.
    residual_c
        Root mean square of the residuals, deg C.
    """

    model: str
    parameters: dict[str, Figure]
    equation: str
    residual_c: float

    def width_c(self, rate_c_per_min: ArrayLike, saturation_c: float = math.nan) -> Array:
        """Fitted zone width in deg C at cooling rates; Sangwal's needs the saturation temperature."""
        b = np.asarray(rate_c_per_min, dtype=float)
        p = {k: v.value for k, v in self.parameters.items()}
        if self.model == "sangwal":
            return np.asarray((saturation_c + 273.15) / np.sqrt(p["f"] - p["f1"] * np.log(b)))
        return np.asarray(np.exp(p["ln_width_at_1_c_per_min"] + p["slope"] * np.log(b)))


def fit_zone_rates(
    width_c: ArrayLike, rate_c_per_min: ArrayLike, saturation_c: ArrayLike, *, level: float = 0.95
) -> list[ZoneFit]:
    """Nyvlt's, Sangwal's and Kubota's equations for the zone width against the cooling rate.

    Parameters
    ----------
    width_c, rate_c_per_min, saturation_c
        (n,) zone widths and cooling rates above 0, saturation temperatures in deg C, of one concentration or near it.
    level
        Of the intervals.

    Returns
    -------
    nyvlt: ln dT = a + (1/m) ln b, with the apparent order m. kubota: the same line, dT^(n+1) = (N/V)(n+1) b / k, with
    the order n = m - 1 and ``k_per_density``, k over the detectable number density N/V, in 1/(min K^n). sangwal:
    (T0/dT)² = F - F1 ln b, of classical nucleation.

    Raises
    ------
    InputError
        With fewer than three widths, fewer than two rates, or values that are not above 0.

    Notes
    -----
    Nyvlt, J. Cryst. Growth 3-4 (1968) 377; Kubota, J. Cryst. Growth 310 (2008) 629; Sangwal, Cryst. Growth Des. 9
    (2009) 942. Ordinary least squares on the transformed widths; in small vials the scatter is that of nucleation
    itself, for which `fit_zone_widths` has the likelihood.
    """
    w, b, t0 = (np.asarray(v, dtype=float).ravel() for v in (width_c, rate_c_per_min, saturation_c))
    if not w.shape == b.shape == t0.shape or w.size < 3:
        raise InputError(f"expected at least three zone widths with rates and saturation temperatures, got {w.size}")
    if not ((w > 0).all() and (b > 0).all() and np.isfinite(t0).all()):
        raise InputError("expected zone widths and cooling rates above 0 and finite saturation temperatures")
    if b.max() < 1.2 * b.min():
        raise InputError(f"expected at least two cooling rates, got {b.min():.3g} deg C/min only; cool at another rate")
    log_b = np.log(b)
    (a, slope), half = _line(log_b, np.log(w), level)
    shared = {
        "ln_width_at_1_c_per_min": _interval(a, half[0], level),
        "slope": _interval(slope, half[1], level),
    }
    order = _inverse(shared["slope"])
    less = Figure(order.value - 1, order.lower - 1, order.upper - 1, level, order.reason)
    k = Figure(order.value * math.exp(-a * order.value) if slope > 0 else math.nan, reason=order.reason)
    power = float(np.sqrt(np.mean((np.exp(a + slope * log_b) - w) ** 2)))
    (f, minus_f1), half = _line(log_b, ((t0 + 273.15) / w) ** 2, level)
    inside = f + minus_f1 * log_b
    squares = ((t0 + 273.15) / np.sqrt(np.where(inside > 0, inside, math.nan)) - w) ** 2
    sangwal = {"f": _interval(f, half[0], level), "f1": _interval(-minus_f1, half[1], level)}
    return [
        ZoneFit("nyvlt", {**shared, "m": order}, "ln dT = a + (1/m) ln b", power),
        ZoneFit("kubota", {**shared, "n": less, "k_per_density": k}, "dT^(n+1) = (N/V) (n+1) b / k", power),
        ZoneFit("sangwal", sangwal, "(T0/dT)^2 = F - F1 ln b", float(np.sqrt(np.mean(squares)))),
    ]


def _line(x: Array, y: Array, level: float) -> tuple[Array, Array]:
    """Intercept and slope, and the half widths of their intervals."""
    from scipy.stats import t

    design = np.column_stack([np.ones_like(x), x])
    beta, *_ = np.linalg.lstsq(design, y, rcond=None)
    free = x.size - 2
    residual = y - design @ beta
    covariance = np.linalg.inv(design.T @ design) * float(residual @ residual) / free
    return np.asarray(beta), float(t.ppf(0.5 + level / 2, free)) * np.sqrt(np.diag(covariance))


def _interval(value: float, half: float, level: float) -> Figure:
    return Figure(float(value), float(value - half), float(value + half), level)


def _inverse(slope: Figure) -> Figure:
    if slope.value <= 0:
        return Figure(math.nan, reason="the zone width does not grow with the cooling rate")
    upper = 1 / slope.lower if slope.lower > 0 else math.inf
    return Figure(1 / slope.value, 1 / slope.upper, upper, slope.level)
