"""From chord lengths back to sizes and to the length over width."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystalscope.core import Figure, SizeDistribution
from crystalscope.errors import InputError
from crystalscope.size.chords.distribution import ChordDistribution
from crystalscope.size.chords.lognormal import LogNormal, LogNormalFit
from crystalscope.size.chords.models import LARGEST_RATIO, Orientation, Shape, chord_matrix
from crystalscope.size.distribution import make_distribution
from crystalscope.size.unfold import Choice, Unfolded, unfold

Array = NDArray[np.float64]
Family = Literal["auto", "free", "log-normal"]

FAMILIES: tuple[Family, ...] = ("auto", "free", "log-normal")
"""Of the sizes: any smooth distribution, log-normal, or the one of both that predicts channels left out better."""

INVERSE_FIGURES = ("D10_0", "D50_0", "D90_0", "D10_3", "D50_3", "D90_3", "D[1,0]", "D[4,3]")
"""Figures of an inversion: quantiles by number and by volume, and means."""

_RATIOS = np.geomspace(1.0, LARGEST_RATIO, 257)
_COARSE = 16


@dataclass(frozen=True)
class ChordModel:
    """Particles that are looked for in chords.

    Parameters
    ----------
    shape, orientation
        Of the particles, see `chord_measure`.
    ratio
        Length over width; None: found from the chords of rods. Spheres have none, and that of ellipsoids must be given:
        across an ellipse lines cut as across a disc, so that their chords are also those of spheres of other sizes.
    classes
        Size classes, even over the logarithm.
    size_range
        Smallest and largest size; None: from the length below which 1 % of the chords lie to 1.3 times the longest.
    """

    shape: Shape
    ratio: float | None = None
    orientation: Orientation = "random"
    classes: int = 60
    size_range: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Inversion:
    """Sizes whose chords are those measured.

    Parameters
    ----------
    shape, orientation
        The model.
    ratio
        Length over width, with its interval where it was found from the chords.
    size_edges
        (n + 1,) of the size classes.
    number
        (n,) share of the particles in each class.
    lower, upper
        (n,) bounds of `number`.
    figures
        By the names of `INVERSE_FIGURES`, with intervals.
    fit
        What the smoothing was chosen from.
    predicted
        (k,) chords of the model in the channels of the measurement.
    dispersion
        Misfit per degree of freedom: far above 1, noise or shape are not those of the model.
    family
        free or log-normal, whichever was asked for or predicts channels left out better.
    validation
        Error of channels left out by family, in sd², mean; of those that were tried.
    ratios, misfits
        Length over width that were tried, and how well each predicts channels left out (in sd², mean).
    """

    shape: Shape
    orientation: Orientation
    ratio: Figure
    size_edges: Array
    number: Array
    lower: Array
    upper: Array
    figures: dict[str, Figure]
    fit: Unfolded
    predicted: Array
    dispersion: float
    family: str = "free"
    validation: dict[str, float] = field(default_factory=dict)
    ratios: Array = field(default_factory=lambda: np.zeros(0))
    misfits: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def middles(self) -> Array:
        """(n,) geometric middles of the size classes."""
        return np.sqrt(self.size_edges[1:] * self.size_edges[:-1])

    def distribution(self) -> SizeDistribution:
        """As a size distribution whose particles stand at the middles of the classes."""
        keep = self.number > 0
        size = self.middles[keep]
        name = "diameter" if self.shape == "sphere" else "length"
        return make_distribution(
            size,
            size**3,
            weight=self.number[keep],
            definition=name,
            volume_model=f"{name}^3",
            correction=f"from chords of {self.shape}s",
        )


def class_figures(edges: Array, number: Array) -> dict[str, float]:
    """Figures of `INVERSE_FIGURES` from shares by number in classes, sizes even over their logarithm within a class."""
    logs = np.log(edges)
    step = np.diff(logs)
    out = {}
    moments = [float((number * (edges[1:] ** k - edges[:-1] ** k) / (k * step)).sum()) for k in (1, 3, 4)]
    for power, name in ((0, "0"), (3, "3")):
        mass = number if power == 0 else number * (edges[1:] ** 3 - edges[:-1] ** 3) / (3 * step)
        cumulative = np.concatenate([[0.0], np.cumsum(mass)]) / mass.sum()
        for share in (10, 50, 90):
            out[f"D{share}_{name}"] = float(np.exp(np.interp(share / 100, cumulative, logs)))
    return out | {"D[1,0]": moments[0] / float(number.sum()), "D[4,3]": moments[2] / moments[1]}


def invert_chords(
    chords: ChordDistribution,
    model: ChordModel,
    *,
    choose: Choice = "cross-validation",
    family: Family = "auto",
    relative_noise: float | None = None,
    replicates: int = 100,
    level: float = 0.95,
    rng: int | np.random.Generator = 0,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Inversion:
    """Size distribution of particles of one shape from their chord lengths.

    Parameters
    ----------
    chords
        Measured, in at least 12 channels.
    model
        Shape and sizes that are looked for.
    choose
        How the smoothing is chosen, see `unfold`.
    family
        What the sizes may be, one of `FAMILIES`.
    relative_noise
        Standard deviation of a count relative to it; None: of counting, or of the scatter of the
        records where there are several.
    replicates
        Of the bootstrap; 0: no intervals.
    level
        Of the intervals.
    rng
        Seed.
    progress
        Called with stage, done, total.

    Returns
    -------
    Inversion.

    Raises
    ------
    InputError
        When there are too few channels with chords, or the settings make no sense.

    Notes
    -----
    Assumes one length over width for all particles, silhouettes as `chord_measure` says, and that every particle that
    the beam crosses is counted. A ratio that is free and a free distribution trade against each other: what is lost by
    smoothing the one shifts the other. Log-normal sizes are therefore fitted along with the ratio, and taken where they
    predict channels left out at least as well; their intervals hold as far as the sizes are log-normal. The bootstrap
    draws counts anew about the fitted ones with the noise scaled to the
    misfit and repeats the search of the ratio near the one found, the choice of the smoothing and the solution; its
    bounds are from the spread of the draws, widened by the shift that solving once more makes.
    """
    _check(chords, model, level)
    if family not in FAMILIES:
        raise InputError(f"expected family {', '.join(FAMILIES)}, got {family!r}")
    problem = _Problem(chords, model, _deviations(chords, relative_noise))
    tried: dict[int, float] = {}
    found, exact = 0, model.ratio or 1.0
    if model.ratio is None and model.shape != "sphere":
        coarse = range(0, len(_RATIOS), _COARSE)
        for n, k in enumerate(coarse):
            tried[k] = problem.score(k)
            if progress:
                progress("length over width", n + 1, len(coarse))
        found = _climb(min(tried, key=lambda k: tried[k]), problem.score, tried, step=_COARSE // 2)
        exact = float(_RATIOS[found])
    fit = unfold(problem.matrix(exact), chords.counts, sd=problem.sd, choose=choose)
    order = sorted(tried)
    searched = {"ratios": _RATIOS[order], "misfits": np.array([tried[k] for k in order])}
    errors = {"free": tried[found] if tried else _left_out(problem, exact, fit)}
    if family != "free":
        simple = _LogNormalProblem(problem, fit, exact)
        errors["log-normal"] = simple.validation
        if family == "log-normal" or errors["log-normal"] <= errors["free"]:
            return simple.inversion(
                fit, errors, searched, replicates=replicates, level=level, rng=rng, progress=progress
            )
    predicted = problem.matrix(exact) @ fit.values
    dispersion = fit.misfit / max(len(chords.counts) - 1, 1)
    scale = problem.sd * math.sqrt(max(dispersion, 1.0))
    noise = scale * np.random.default_rng(rng).standard_normal((replicates, len(scale)))
    samples, ratios = [], []
    for n, one in enumerate(noise):
        solved, at = problem.again(np.maximum(predicted + one, 0.0), exact, found if tried else None, fit.strength)
        if solved.sum() > 0:
            samples.append(solved / solved.sum())
            ratios.append(at)
        if progress:
            progress("bootstrap", n + 1, replicates)
    number = fit.values / problem.middles
    number = number / number.sum()
    lower, upper, figures = _intervals(problem.edges, number, samples, level)
    return Inversion(
        shape=model.shape,
        orientation=model.orientation,
        ratio=_ratio_figure(exact, model, ratios, level),
        size_edges=problem.edges,
        number=number,
        lower=lower,
        upper=upper,
        figures=figures,
        fit=fit,
        predicted=predicted,
        dispersion=dispersion,
        family="free",
        validation=errors,
        **searched,
    )


def _left_out(problem: _Problem, ratio: float, fit: Unfolded) -> float:
    """Error of channels left out by the free distribution."""
    if fit.validation.size:
        return float(fit.validation.min())
    return float(unfold(problem.matrix(ratio), problem.chords.counts, sd=problem.sd).validation.min())


class _LogNormalProblem:
    """Log-normal sizes for the same measurement.

    Parameters
    ----------
    problem
        Of the free distribution.
    fit, ratio
        Its solution, from which is started.
    """

    def __init__(self, problem: _Problem, fit: Unfolded, ratio: float) -> None:
        self.problem = problem
        model, counts = problem.model, problem.chords.counts
        low, high = float(problem.edges[0]), float(problem.edges[-1])
        self.solver = LogNormalFit(
            problem.chords.edges,
            problem.sd,
            shape=model.shape,
            orientation=model.orientation,
            ratio=model.ratio,
            size_range=(low, high),
        )
        number = fit.values / problem.middles
        free = class_figures(problem.edges, number / number.sum())
        sigma = math.log(free["D90_0"] / free["D50_0"]) / 1.28
        starts = [None, LogNormal(free["D50_0"], min(max(sigma, 0.05), 1.5), ratio)]
        fits = [self.solver.fit(counts, s) for s in starts]
        misfits = [self._misfit(f) for f in fits]
        self.found = fits[int(np.argmin(misfits))]
        self.misfit = min(misfits)
        self.validation = self.solver.left_out(counts, self.found)

    def _misfit(self, found: LogNormal) -> float:
        counts = self.problem.chords.counts
        return float((((self.solver.predicted(found, counts) - counts) / self.problem.sd) ** 2).sum())

    def inversion(
        self,
        fit: Unfolded,
        errors: dict[str, float],
        searched: dict[str, Array],
        *,
        replicates: int,
        level: float,
        rng: int | np.random.Generator,
        progress: Callable[[str, int, int | None], None] | None,
    ) -> Inversion:
        """The result, with intervals from fits to counts drawn anew about the fitted ones."""
        problem, model = self.problem, self.problem.model
        counts = problem.chords.counts
        predicted = self.solver.predicted(self.found, counts)
        dispersion = self.misfit / max(len(counts) - 3, 1)
        scale = problem.sd * math.sqrt(max(dispersion, 1.0))
        noise = scale * np.random.default_rng(rng).standard_normal((replicates, len(scale)))
        drawn = []
        for n, one in enumerate(noise):
            drawn.append(self.solver.fit(np.maximum(predicted + one, 0.0), self.found))
            if progress:
                progress("bootstrap", n + 1, replicates)
        number = self.found.shares(problem.edges)
        values = self.found.figures()
        if drawn:
            shares = np.array([d.shares(problem.edges) for d in drawn])
            lower, upper = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2], axis=0)
            table = [d.figures() for d in drawn]
            figures = {k: Figure(v, *_spread(v, [t[k] for t in table], level), level) for k, v in values.items()}
        else:
            lower = upper = np.full(len(number), math.nan)
            figures = {k: Figure(v, reason="no bootstrap was asked for") for k, v in values.items()}
        return Inversion(
            shape=model.shape,
            orientation=model.orientation,
            ratio=_ratio_figure(self.found.ratio, model, [d.ratio for d in drawn], level),
            size_edges=problem.edges,
            number=number,
            lower=lower,
            upper=upper,
            figures=figures,
            fit=fit,
            predicted=predicted,
            dispersion=dispersion,
            family="log-normal",
            validation=errors,
            **searched,
        )


class _Problem:
    """Matrices of one measurement by length over width, each made once."""

    def __init__(self, chords: ChordDistribution, model: ChordModel, sd: Array) -> None:
        low, high = model.size_range or _range(chords)
        self.chords, self.model, self.sd = chords, model, sd
        self.edges = np.geomspace(low, high, model.classes + 1)
        self.middles = np.sqrt(self.edges[1:] * self.edges[:-1])
        self._made: dict[float, Array] = {}

    def matrix(self, ratio: float) -> Array:
        """Chords by share of the chords rather than of the particles: columns of like size, so that small sizes need as
        much evidence as large ones."""
        if ratio not in self._made:
            m = self.model
            made = chord_matrix(self.chords.edges, self.edges, shape=m.shape, ratio=ratio, orientation=m.orientation)
            self._made[ratio] = made / self.middles
        return self._made[ratio]

    def score(self, k: int) -> float:
        """Error of channels left out at a length over width."""
        fit = unfold(self.matrix(float(_RATIOS[k])), self.chords.counts, sd=self.sd, choose="cross-validation")
        return float(fit.validation.min())

    def again(self, counts: Array, ratio: float, start: int | None, strength: float) -> tuple[Array, float]:
        """Particles in the classes and length over width, searched from `start` on, of other counts."""
        one = np.array([strength])
        at = ratio
        if start is not None:

            def loss(k: int) -> float:
                fit = unfold(self.matrix(float(_RATIOS[k])), counts, sd=self.sd, strengths=one)
                return fit.misfit + strength**2 * float(fit.roughness[0])

            at = float(_RATIOS[_climb(start, loss, {start: loss(start)}, step=1)])
        # The choice of the smoothing is a part of the error: it is made anew, near the one found.
        near = strength * np.array([0.05, 0.2, 1.0, 5.0])
        return unfold(self.matrix(at), counts, sd=self.sd, strengths=near).values / self.middles, at


def _intervals(
    edges: Array, number: Array, samples: list[Array], level: float
) -> tuple[Array, Array, dict[str, Figure]]:
    """Bounds of the classes, and the figures with intervals."""
    values = class_figures(edges, number)
    if not samples:
        unknown = np.full(len(number), math.nan)
        return unknown, unknown, {k: Figure(v, reason="no bootstrap was asked for") for k, v in values.items()}
    low, high = np.quantile(samples - np.mean(samples, axis=0), [(1 - level) / 2, (1 + level) / 2], axis=0)
    table = [class_figures(edges, s) for s in samples]
    figures = {k: Figure(v, *_spread(v, [t[k] for t in table], level), level) for k, v in values.items()}
    return np.maximum(number + low, 0.0), number + high, figures


def _check(chords: ChordDistribution, model: ChordModel, level: float) -> None:
    held = int((chords.counts > 0).sum())
    if held < 12:
        raise InputError(
            f"expected chords in at least 12 channels, got {held} of {len(chords.counts)}; export the fine channels, "
            "trends of a few groups do not tell sizes"
        )
    if model.classes < 8 or not 0 < level < 1:
        raise InputError(f"expected at least 8 classes and a level between 0 and 1, got {model.classes} and {level}")
    if model.size_range is not None and not 0 < model.size_range[0] < model.size_range[1]:
        raise InputError(f"expected sizes from above 0 to more, got {model.size_range}; mend the range")
    if model.shape == "ellipsoid" and model.ratio is None:
        raise InputError(
            "expected a length over width of the ellipsoids, got none: their chords are also those of rounder ones of "
            "other sizes; give the ratio, from pictures"
        )
    if model.shape == "sphere" and model.ratio not in (None, 1.0):
        raise InputError(
            f"expected no length over width for spheres, got {model.ratio}; drop it or choose another shape"
        )


def _range(chords: ChordDistribution) -> tuple[float, float]:
    # Particles below the shortest hundredth of the chords are few, if they are there, and cannot be told from the short
    # chords that every larger one makes.
    top = float(chords.edges[int(np.flatnonzero(chords.counts > 0)[-1]) + 1])
    return max(chords.quantile(0.01), 1e-3 * top), 1.3 * top


def _deviations(chords: ChordDistribution, relative: float | None) -> Array:
    """Standard deviations of the counts, none of them 0."""
    counts = chords.counts
    if relative is not None:
        if not relative > 0:
            raise InputError(f"expected a relative noise above 0, got {relative}")
        return np.maximum(relative * counts, 0.1 * relative * counts.max())
    if chords.records is None:
        return np.asarray(np.sqrt(counts + 1))
    n = len(chords.records)
    # How much more, or less, than by counting the records scatter, alike in all channels: a channel alone does not
    # tell its scatter from a few records.
    held = counts > 0
    scatter = float(np.median(chords.records.var(axis=0, ddof=1)[held] / counts[held]))
    return np.asarray(np.sqrt(max(scatter, 1e-6) * (counts + 1 / n) / n))


def _climb(start: int, score: Callable[[int], float], seen: dict[int, float], *, step: int) -> int:
    """Index of the smallest score near a start, by halving steps."""
    best = start
    while step:
        for k in (best - step, best + step):
            if 0 <= k < len(_RATIOS) and k not in seen:
                seen[k] = score(k)
        nearest = min((k for k in (best - step, best, best + step) if k in seen), key=lambda k: seen[k])
        if nearest == best:
            step //= 2
        best = nearest
    return best


def _spread(value: float, drawn: ArrayLike, level: float) -> tuple[float, float]:
    """Bounds of a positive figure from the spread of the draws about it, not from their place: smoothing shifts every
    draw once more. The shift of the draws tells how much it may have shifted the figure."""
    from scipy.stats import norm

    logs = np.log(drawn)
    half = math.hypot(float(norm.ppf(0.5 + level / 2)) * float(np.std(logs)), float(np.mean(logs)) - math.log(value))
    return value * math.exp(-half), value * math.exp(half)


def _ratio_figure(found: float, model: ChordModel, drawn: list[float], level: float) -> Figure:
    if model.shape == "sphere":
        return Figure(1.0, reason="spheres")
    if model.ratio is not None:
        return Figure(model.ratio, reason="given")
    if found <= 1.0001 or found >= 0.9999 * LARGEST_RATIO:
        reason = "at the end of the range: the chords are not those of this shape, or do not tell the length"
        return Figure(found, reason=reason)
    if not drawn:
        return Figure(found, reason="no bootstrap was asked for")
    # The ratios stand on a grid of 1.8 %: half a step is the resolution.
    half = math.sqrt(float(_RATIOS[1]))
    lower, upper = _spread(found, drawn, level)
    return Figure(found, max(lower / half, 1.0), upper * half, level)
