"""The plant as a part of the twin: calibrated anew wherever rows are held out, at no cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crystalscope.design.conditions import Conditions
from crystalscope.design.space import concentration_mg_per_g
from crystalscope.design.system import System
from crystalscope.design.table import DoETable
from crystalscope.design.units import to_computed, to_given
from crystalscope.errors import ConfigError, CrystalscopeError
from crystalscope.plant.batch import Numerics, simulate
from crystalscope.plant.kinetics import Charge, Kinetics, Seeds, load_kinetics, preset

Array = NDArray[np.float64]

OUTPUTS = ("d50_um", "doa", "crystallinity")
_COARSE = Numerics(cells=80, tolerance=0.1, longest_s=600)
"""Three times as fast as the working grid and within 2 % of D50 of it: far below the error of any twin."""
_PRIOR_SD = 0.7
"""Standard deviation of the logarithm of a rate constant about its start: a factor of two."""
_RATES = (
    "rate_um_per_s", "rate_per_kg_s", "rate_kg_per_s", "attrition_per_s", "bridges_per_s",
    "amorphous.precipitation_per_s", "amorphous.conversion_per_s",
)  # fmt: skip
_ORDERS = {
    "secondary.order": "secondary.rate_per_kg_s",
    "agglomeration.order": "agglomeration.rate_kg_per_s",
    "breakage.size_order": "breakage.attrition_per_s",
}
"""Exponents that are calibrated where their rate acts: what depends on the driving force or the size otherwise than the
preset says is the mechanism that a plant mostly lacks."""
_REACH = 2.0
"""Constants are sought within so many standard deviations."""


@dataclass(frozen=True, eq=False)
class Mechanism:
    """A plant whose outputs at the rows of a table are known as functions of its constants.

    Parameters
    ----------
    system
        Of the table.
    kinetics
        Start.
    names
        Constants that are calibrated.
    centre
        (p,) logarithm of the factors on the start about which the outputs were computed.
    coefficients
        (n, 3, b) of second-order polynomials of the log factors for ln D50, DoA, crystallinity at the n rows.
    width
        Standard deviation of the log factors that were tried.

    Notes
    -----
    Simulating every row for every trial set of constants in every fold would take hours. Instead each row is simulated
    for some sets of constants spread about the start, its outputs are fitted by polynomials of the constants, and these
    are simulated again more closely about the first optimum. A calibration to any subset of rows is then a small
    least-squares problem. That the second centre has seen all rows moves where the polynomials are good, not what they
    say.
    """

    system: System
    kinetics: Kinetics
    names: tuple[str, ...]
    centre: Array
    coefficients: Array
    width: float

    @classmethod
    def build(cls, table: DoETable, *, rng: np.random.Generator, draws: int | None = None) -> Mechanism:
        """Simulate the rows of a table; `draws` sets of constants (None: as many as the polynomials need)."""
        kinetics, names = start_of(table.system)
        terms = _terms(np.zeros((1, len(names)))).shape[1]
        whole = draws or terms + max(terms // 3, 8)
        centre = np.zeros(len(names))
        out = cls(table.system, kinetics, names, centre, np.zeros((len(table), 3, terms)), 1.0)
        # The first optimum only says where to look closely: half the draws, without interactions, will do.
        for width, count in ((1.0, (whole + 1) // 2), (0.5, whole)):
            theta = centre + width * _PRIOR_SD * _spread(count, len(names), rng)
            y = np.stack([_transformed(out.simulate(table.conditions, t)) for t in theta])
            out = cls(table.system, kinetics, names, centre, _fit(theta - centre, y, crossed=width < 1), width)
            centre = out.calibrate(table, np.arange(len(table)))
        return out

    def extended(self, table: DoETable, *, rng: np.random.Generator) -> Mechanism:
        """With the rows that `table` has beyond those known."""
        known = len(self.coefficients)
        new = table.conditions.take(np.arange(known, len(table)))
        count = self.coefficients.shape[2] + max(self.coefficients.shape[2] // 3, 8)
        theta = self.centre + self.width * _PRIOR_SD * _spread(count, len(self.names), rng)
        y = np.stack([_transformed(self.simulate(new, t)) for t in theta])
        more = np.concatenate([self.coefficients, _fit(theta - self.centre, y)])
        return Mechanism(self.system, self.kinetics, self.names, self.centre, more, self.width)

    def simulate(self, conditions: Conditions, theta: Array) -> Array:
        """(n, 3) D50 in um, DoA, crystallinity at constants with (p,) log factors; NaN where nothing is left."""
        constants = self.kinetics.constants()
        changed = self.kinetics.changed(
            **{n: constants[n] * float(np.exp(t)) for n, t in zip(self.names, theta, strict=True)}
        )
        settings = self.system.plant
        assert settings is not None
        at = self.system.role_index("seed_loading")
        assert at is not None
        loading = to_computed("seed_loading", self.system.factors[at].unit, conditions.factors[:, at])
        c = concentration_mg_per_g(self.system, conditions.factors)
        out = np.full((len(conditions), 3), np.nan)
        for i in range(len(conditions)):
            seeds = Seeds(
                loading=float(loading[i]),
                median_um=settings.seed_median_um,
                geometric_sd=settings.seed_geometric_sd,
            )
            try:
                q = simulate(
                    changed,
                    Charge(concentration_g_per_kg=float(c[i]), seeds=seeds),
                    conditions.profile(i),
                    numerics=_COARSE,
                ).quality
            except CrystalscopeError:
                # Constants at the edge of what can be resolved: this draw says nothing of this row.
                continue
            out[i] = (q.d50_um, q.doa, q.crystallinity)
        return out

    def rows(self, theta: Array) -> Array:
        """(n, 3) outputs at the rows of the table by the polynomials, as `simulate` gives them."""
        return _back(self.coefficients @ _terms((theta - self.centre)[None, :])[0])

    def calibrate(self, table: DoETable, rows: NDArray[np.int64]) -> Array:
        """(p,) log factors that fit the measured values of some rows best.

        Least squares with the scatter of each attribute estimated from its residuals, and a prior of a factor of two
        about the start for every constant.
        """
        from scipy.optimize import least_squares

        links = [(j, OUTPUTS.index(a.plant)) for j, a in enumerate(table.system.attributes) if a.plant is not None]
        measured = np.full((len(rows), 3), np.nan)
        for j, k in links:
            measured[:, k] = _from_table(table, j)[rows]
        known = np.isfinite(measured)
        coefficients = self.coefficients[rows]
        least = np.array([0.03, 0.02, 0.02])
        sd = np.array([0.15, 0.08, 0.08])
        theta = np.clip(self.centre, -_REACH * _PRIOR_SD, _REACH * _PRIOR_SD)
        bound = _REACH * _PRIOR_SD

        def residuals(x: Array) -> Array:
            d = coefficients @ _terms((x - self.centre)[None, :])[0] - measured
            return np.concatenate([(d / sd)[known], x / _PRIOR_SD])

        def slopes(x: Array) -> Array:
            d = coefficients @ _term_slopes(x - self.centre)
            return np.vstack([(d / sd[:, None])[known], np.eye(len(x)) / _PRIOR_SD])

        for _ in range(3):
            got = least_squares(
                residuals, theta, jac=slopes, bounds=(-bound, bound), max_nfev=15, loss="soft_l1", f_scale=2.0
            )
            theta = np.clip(got.x, -bound + 1e-6, bound - 1e-6)
            d = coefficients @ _terms((theta - self.centre)[None, :])[0] - measured
            counts = known.sum(axis=0)
            rms = np.sqrt((np.where(known, d, 0.0) ** 2).sum(axis=0) / np.maximum(counts, 1))
            sd = np.where(counts > 0, np.maximum(rms, least), sd)
        # The last digits are of the machine; the plant's adaptive steps would pass them on.
        return np.round(theta, 5)


def start_of(system: System) -> tuple[Kinetics, tuple[str, ...]]:
    """Kinetics of [plant], and the constants to calibrate; raises ConfigError where a name is not one of them."""
    settings = system.plant
    if settings is None:
        raise ConfigError("expected [plant] in the system, got none; add preset or kinetics")
    kinetics = preset(settings.preset) if settings.preset is not None else load_kinetics(str(settings.kinetics))
    constants = kinetics.constants()
    names = settings.free or tuple(
        n for n, v in constants.items() if v > 0 and (n.endswith(_RATES) or constants.get(_ORDERS.get(n, ""), 0.0) > 0)
    )
    unknown = [n for n in names if not constants.get(n, 0.0) > 0]
    if unknown:
        raise ConfigError(
            f"expected constants above 0 of {kinetics.name} in plant.free, got {', '.join(unknown)}; see `plant "
            f"presets`"
        )
    return kinetics, names


def to_attribute(system: System, outputs: Array, index: int) -> Array:
    """(n,) plant output of an attribute in the unit of its column."""
    a = system.attributes[index]
    assert a.plant is not None
    value = outputs[:, OUTPUTS.index(a.plant)]
    return value if a.plant == "d50_um" else to_given("share", a.unit or "share", value)


def _from_table(table: DoETable, index: int) -> Array:
    a = table.system.attributes[index]
    if a.plant == "d50_um":
        return np.log(table.values[:, index])
    return to_computed("share", a.unit or "share", table.values[:, index])


def _transformed(outputs: Array) -> Array:
    out = outputs.copy()
    out[:, 0] = np.log(np.maximum(out[:, 0], 1e-3))
    return out


def _back(outputs: Array) -> Array:
    return np.column_stack([np.exp(np.clip(outputs[:, 0], -5, 10)), np.clip(outputs[:, 1:], 0.0, 1.0)])


def _terms(theta: Array) -> Array:
    """(m, b) 1, theta_i, theta_i theta_j."""
    p = theta.shape[1]
    i, j = np.triu_indices(p)
    return np.hstack([np.ones((len(theta), 1)), theta, theta[:, i] * theta[:, j]])


def _term_slopes(theta: Array) -> Array:
    """(b, p) slopes of `_terms` by the (p,) constants."""
    p = len(theta)
    i, j = np.triu_indices(p)
    one = np.eye(p)
    return np.vstack([np.zeros((1, p)), one, theta[i][:, None] * one[j] + theta[j][:, None] * one[i]])


def _fit(theta: Array, y: Array, *, crossed: bool = True) -> Array:
    """(n, 3, b) from (m, p) draws and (m, n, 3) outputs, with or without products of different constants; draws that
    gave nothing at a row count there as the mean of the others.
    """
    phi = _terms(theta)
    if not crossed:
        i, j = np.triu_indices(theta.shape[1])
        phi[:, 1 + theta.shape[1] :][:, i != j] = 0.0
    m, n, q = y.shape
    flat = y.reshape(m, n * q)
    # A trace of penalty: second-order terms that no draw tells apart stay 0.
    gram = phi.T @ phi + 1e-3 * np.eye(phi.shape[1])
    good = np.isfinite(flat)
    middle = np.array([c[g].mean() if g.any() else 0.0 for c, g in zip(flat.T, good.T, strict=True)])
    filled = np.where(good, flat, middle)
    # In the order in which it is read back from a file, so that sums come out the same.
    return np.ascontiguousarray(np.linalg.solve(gram, phi.T @ filled).T.reshape(n, q, -1), dtype=float)


def _spread(count: int, p: int, rng: np.random.Generator) -> Array:
    """(count, p) standard normal draws spread evenly."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    u = qmc.LatinHypercube(p, rng=rng).random(count)
    return np.asarray(ndtri(np.clip(u, 0.02, 0.98)))
