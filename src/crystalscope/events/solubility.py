"""Solubility curves: van 't Hoff, modified Apelblat, polynomial, lambda-h."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crystalscope.core import Figure, SolubilityCurve, SolubilityPoints
from crystalscope.errors import InputError

Array = NDArray[np.float64]
Model = Literal["van_t_hoff", "apelblat", "polynomial", "lambda_h"]

MODELS: tuple[Model, ...] = ("van_t_hoff", "apelblat", "polynomial", "lambda_h")
_KELVIN = 273.15
_GAS = 8.314462618
_CENTRE_C = 25.0

_LINEAR: dict[str, tuple[tuple[str, ...], Callable[[Array], Array]]] = {
    # T in deg C to the columns of the design
    "van_t_hoff": (("a", "b_k"), lambda t: np.column_stack([np.ones_like(t), 1 / (t + _KELVIN)])),
    "apelblat": (
        ("a", "b_k", "c"),
        lambda t: np.column_stack([np.ones_like(t), 1 / (t + _KELVIN), np.log(t + _KELVIN)]),
    ),
    "polynomial": (
        ("p0", "p1_per_c", "p2_per_c2"),
        lambda t: np.column_stack([np.ones_like(t), t - _CENTRE_C, (t - _CENTRE_C) ** 2]),
    ),
}


def fit_solubility(
    points: SolubilityPoints, *, model: Model, melting_point_c: float | None = None, level: float = 0.95
) -> SolubilityCurve:
    """Fit one curve to measured points by weighted least squares of ln c.

    Parameters
    ----------
    points
        At least one more temperature than the model has parameters.
    model
        van_t_hoff: ln c = a + b/T. apelblat: ln c = a + b/T + c ln T. polynomial: ln c = p0 + p1 (t - 25) +
        p2 (t - 25)², t in deg C. lambda_h: ln(1 + lambda (1 - x)/x) = lambda h (1/T - 1/Tm), x the mole fraction. T in
        K.
    melting_point_c
        Of the solute, deg C; lambda_h only.
    level
        Of the band and the intervals.

    Returns
    -------
    The curve, valid between the lowest and the highest measured temperature. van_t_hoff of mole fractions also has
    enthalpy_j_per_mol, the apparent enthalpy of dissolution.

    Raises
    ------
    InputError
        When there are too few temperatures, or lambda_h lacks mole fractions or a melting point above all temperatures.

    Notes
    -----
    Apelblat and Manzurola, J. Chem. Thermodyn. 31 (1999) 85; Buchowski, Ksiazczak, Pietrzyk, J. Phys. Chem. 84 (1980)
    975. The errors are taken to be in ln c, of one relative size over the weights, although the concentration was
    weighed and the temperature measured; over the range of a curve the two are proportional within the change of the
    slope. A van 't Hoff line bends where the enthalpy depends on temperature. The parameters of Apelblat's equation are
    nearly collinear: their intervals are wide, the band is not.
    """
    if model == "lambda_h":
        return _fit_lambda_h(points, melting_point_c, level)
    names, design = _LINEAR[model]
    _enough(points, len(names), model)
    x, y, w = design(points.temperature_c), np.log(points.concentration), _weights(points)
    scale = np.sqrt((x * x).sum(axis=0))
    root = np.sqrt(w)
    beta, *_ = np.linalg.lstsq(root[:, None] * x / scale, root * y, rcond=None)
    inverse = np.linalg.pinv((w[:, None] * x / scale).T @ (x / scale))
    residual = y - x @ (beta / scale)
    free = len(points) - len(names)
    squares = float((w * residual**2).sum())
    variance = squares / free
    tail = _tail(level, free)

    def function(t: Array) -> tuple[Array, Array]:
        at = design(t) / scale
        return at @ beta, np.sqrt(np.clip(variance * np.einsum("ij,jk,ik->i", at, inverse, at), 0, None))

    errors = np.sqrt(variance * np.diag(inverse)) / scale
    values = beta / scale
    parameters = {
        n: Figure(float(v), float(v - tail * e), float(v + tail * e), level)
        for n, v, e in zip(names, values, errors, strict=True)
    }
    if model == "van_t_hoff" and points.unit == "mole_fraction":
        b = parameters["b_k"]
        parameters["enthalpy_j_per_mol"] = Figure(-_GAS * b.value, -_GAS * b.upper, -_GAS * b.lower, level)
    return SolubilityCurve(
        model, points, parameters, function, math.sqrt(variance), _aicc(squares, len(points), len(names)), tail, level
    )


def fit_all(
    points: SolubilityPoints, *, melting_point_c: float | None = None, level: float = 0.95
) -> list[SolubilityCurve]:
    """Every model that the points allow, the lowest AICc first; lambda_h where a melting point and mole fractions are
    given.

    Raises
    ------
    InputError
        When not even van 't Hoff's line can be fitted.
    """
    out = []
    for model in MODELS:
        if model == "lambda_h" and (melting_point_c is None or points.unit != "mole_fraction"):
            continue
        try:
            out.append(fit_solubility(points, model=model, melting_point_c=melting_point_c, level=level))
        except InputError:
            if model == "van_t_hoff":
                raise
    return sorted(out, key=lambda c: c.aicc)


def _fit_lambda_h(points: SolubilityPoints, melting_point_c: float | None, level: float) -> SolubilityCurve:
    from scipy.optimize import least_squares

    _enough(points, 2, "lambda_h")
    if points.unit != "mole_fraction" or melting_point_c is None:
        raise InputError(
            f"expected mole fractions and a melting point for lambda-h, got {points.unit} and "
            f"{melting_point_c}; convert with molar masses and give the melting point, or take another model"
        )
    if melting_point_c <= points.temperature_c.max():
        raise InputError(
            f"expected a melting point above all temperatures, got {melting_point_c:g} deg C; check its unit"
        )
    melting = melting_point_c + _KELVIN
    w = _weights(points)

    def log_x(theta: Array, t: Array) -> Array:
        lam, enthalpy = np.exp(theta[0]), np.exp(theta[1])
        # 1 + lam (1 - x)/x = e^k, k above 0 below the melting point
        k = np.clip(lam * enthalpy * (1 / (t + _KELVIN) - 1 / melting), 1e-12, 700)
        return np.asarray(np.log(lam) - np.log(np.expm1(k) + lam))

    def misfit(theta: Array) -> Array:
        return np.asarray(np.sqrt(w) * (np.log(points.concentration) - log_x(theta, points.temperature_c)))

    starts = [(math.log(a), math.log(b)) for a in (0.05, 0.5, 2.0) for b in (1000.0, 4000.0, 15000.0)]
    best = min((least_squares(misfit, s) for s in starts), key=lambda r: float(r.cost))
    theta, free = np.asarray(best.x), len(points) - 2
    squares = 2 * float(best.cost)
    variance, tail = squares / free, _tail(level, free)
    covariance = variance * np.linalg.pinv(best.jac.T @ best.jac)

    def function(t: Array) -> tuple[Array, Array]:
        step = 1e-5
        slopes = np.column_stack(
            [(log_x(theta + step * e, t) - log_x(theta - step * e, t)) / (2 * step) for e in np.eye(2)]
        )
        return log_x(theta, t), np.sqrt(np.clip(np.einsum("ij,jk,ik->i", slopes, covariance, slopes), 0, None))

    errors = np.sqrt(np.diag(covariance))
    parameters = {
        name: Figure(math.exp(m), math.exp(m - tail * e), math.exp(m + tail * e), level)
        for name, m, e in zip(("lambda", "h_k"), theta, errors, strict=True)
    }
    return SolubilityCurve(
        "lambda_h", points, parameters, function, math.sqrt(variance), _aicc(squares, len(points), 2), tail, level
    )


@dataclass(frozen=True)
class LeaveOut:
    """Errors of points that a curve was not fitted to.

    Parameters
    ----------
    concentration_rms, concentration_mean
        Root mean square and mean absolute error, in the unit of the points.
    temperature_rms_c, temperature_mean_c
        The same of the saturation temperature, deg C.
    """

    concentration_rms: float
    concentration_mean: float
    temperature_rms_c: float
    temperature_mean_c: float


def leave_one_out(points: SolubilityPoints, *, model: Model, melting_point_c: float | None = None) -> LeaveOut:
    """Error of the curve at concentrations that it was not fitted to.

    All points of one concentration are left out together, so that a repeat does not vouch for its twin. The end points
    are extrapolated to.

    Raises
    ------
    InputError
        As `fit_solubility` on what is left.
    """
    c_errors: list[float] = []
    t_errors: list[float] = []
    groups = _groups(points)
    for group in groups:
        keep = np.setdiff1d(np.arange(len(points)), group)
        assert points.weight is not None
        rest = SolubilityPoints(
            points.temperature_c[keep], points.concentration[keep], points.unit, points.weight[keep], points.form
        )
        curve = fit_solubility(rest, model=model, melting_point_c=melting_point_c)
        for i in group:
            t, c = float(points.temperature_c[i]), float(points.concentration[i])
            c_errors.append(float(np.exp(curve.function(np.array([t]))[0][0])) - c)
            grid = np.linspace(t - 30, t + 30, 6001)
            t_errors.append(float(grid[np.argmin(np.abs(curve.function(grid)[0] - math.log(c)))]) - t)
    c_all, t_all = np.array(c_errors), np.array(t_errors)
    return LeaveOut(
        float(np.sqrt(np.mean(c_all**2))),
        float(np.mean(np.abs(c_all))),
        float(np.sqrt(np.mean(t_all**2))),
        float(np.mean(np.abs(t_all))),
    )


def replicate_scatter(points: SolubilityPoints) -> tuple[float, int]:
    """Pooled standard deviation in deg C of the temperatures of one concentration, and its degrees of freedom."""
    groups = [points.temperature_c[g] for g in _groups(points)]
    free = sum(len(g) - 1 for g in groups)
    if free == 0:
        return math.nan, 0
    return math.sqrt(sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / free), free


def transition_temperature(first: SolubilityCurve, second: SolubilityCurve) -> Figure:
    """Temperature at which two polymorphs are equally soluble.

    Parameters
    ----------
    first, second
        Curves of the two in one unit.

    Returns
    -------
    The crossing, with the temperatures between which the bands overlap; NaN with the reason where the curves do not
    cross inside of the range measured for both, or do not differ by more than their bands on both sides of the
    crossing.

    Raises
    ------
    InputError
        When the units differ.
    """
    if first.points.unit != second.points.unit:
        raise InputError(f"expected curves in one unit, got {first.points.unit} and {second.points.unit}")
    low = max(first.range_c[0], second.range_c[0])
    high = min(first.range_c[1], second.range_c[1])
    if not high > low:
        return Figure(math.nan, reason="the measured ranges do not overlap")
    grid = np.linspace(low, high, 2001)
    (a, sa), (b, sb) = first.function(grid), second.function(grid)
    gap, error = a - b, np.hypot(first.tail * sa, second.tail * sb)
    crossings = np.flatnonzero(np.sign(gap[1:]) * np.sign(gap[:-1]) < 0)
    if not crossings.size:
        return Figure(math.nan, reason=f"the curves do not cross between {low:.1f} and {high:.1f} deg C")
    k = int(crossings[0])
    sure = np.abs(gap) > error
    if crossings.size > 1 or not (sure[: k + 1].any() and sure[k + 1 :].any()):
        return Figure(math.nan, reason="the curves cross, but do not differ beyond their bands on both sides")
    before, after = np.flatnonzero(sure[: k + 1]), k + 1 + np.flatnonzero(sure[k + 1 :])
    return Figure(float(grid[k]), float(grid[before[-1]]), float(grid[after[0]]), first.level)


def _groups(points: SolubilityPoints) -> list[NDArray[np.intp]]:
    """Rows of one concentration (within 0.1 %)."""
    order = np.argsort(points.concentration, kind="stable")
    sorted_c = points.concentration[order]
    cuts = np.flatnonzero(np.diff(sorted_c) > 1e-3 * sorted_c[:-1]) + 1
    return [np.asarray(g) for g in np.split(order, cuts)]


def _weights(points: SolubilityPoints) -> Array:
    assert points.weight is not None
    return np.asarray(points.weight / points.weight.mean())


def _enough(points: SolubilityPoints, parameters: int, model: str) -> None:
    distinct = len(np.unique(np.round(points.temperature_c, 3)))
    if len(points) <= parameters or distinct < parameters:
        raise InputError(
            f"expected at least {parameters + 1} points for {model}, got {len(points)} at {distinct} temperatures"
            f"{' of ' + points.form if points.form else ''}; measure more concentrations, or take a simpler model"
        )


def _tail(level: float, free: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.5 + level / 2, free))


def _aicc(squares: float, n: int, parameters: int) -> float:
    k = parameters + 1
    if n - k - 1 <= 0:
        return math.inf
    return n * math.log(max(squares, 1e-300) / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)


def compare_forms(curves: Sequence[SolubilityCurve]) -> list[tuple[str, str, Figure]]:
    """Transition temperatures of all pairs of forms: first form, second form, `transition_temperature`."""
    return [
        (a.points.form, b.points.form, transition_temperature(a, b))
        for i, a in enumerate(curves)
        for b in curves[i + 1 :]
    ]
