"""From needles as they lie in pictures to needles in space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystalscope.core import Figure
from crystalscope.errors import InputError
from crystalscope.size.interval import LEAST_FRAMES
from crystalscope.size.unfold import unfold

Array = NDArray[np.float64]
Orientation = Literal["random", "aligned"]

LENGTH_FIGURES = ("mean", "D10_0", "D50_0", "D90_0", "D10_3", "D50_3", "D90_3")
"""Figures of the lengths in space. The volume of a needle goes with its length times the square of its width, which
the picture shows as it is: here with one width, so that shares by volume go with the length."""

_CLASSES = 40
_CHANNELS = 30
_LEAST = 50
_SPREADS_DEG = (0.0, 60.0)


@dataclass(frozen=True, eq=False)
class Lengths:
    """Lengths of needles in space, and as they were measured.

    Parameters
    ----------
    orientation
        random or aligned, as assumed.
    spread_deg
        Standard deviation of the tilt out of the focal plane where aligned.
    size_edges
        (n + 1,) of the classes.
    number
        (n,) share of the needles in each class.
    figures
        In space, by `LENGTH_FIGURES`, with intervals.
    measured
        The same figures of the picture.
    thickness
        Mean width over mean length in space that the ends of tilted needles add.
    n
        Needles.
    """

    orientation: Orientation
    spread_deg: float
    size_edges: Array
    number: Array
    figures: dict[str, Figure]
    measured: dict[str, float]
    thickness: float
    n: int


def projected_share(
    ratio: ArrayLike, *, orientation: Orientation, spread_deg: float = 0.0, thickness: float = 0.0
) -> Array:
    """Share of needles of length 1 that look shorter than `ratio`.

    Parameters
    ----------
    ratio
        Length in the picture over that in space.
    orientation
        random: the axis points anywhere in space. aligned: it lies about the focal plane, tilted out of it by a normal
        angle.
    spread_deg
        Standard deviation of that angle, 0 to 60 degrees.
    thickness
        Width over length: a needle tilted by t looks cos t + thickness |sin t| long, because its ends are flat.
    """
    cosine, weight = _tilts(orientation, spread_deg)
    sine = np.sqrt(1.0 - cosine**2)
    look = np.sort(cosine + thickness * sine)
    order = np.argsort(cosine + thickness * sine, kind="stable")
    cumulative = np.concatenate([[0.0], np.cumsum(weight[order])])
    return np.asarray(cumulative[np.searchsorted(look, np.asarray(ratio, dtype=float), side="right")])


def _tilts(orientation: str, spread_deg: float) -> tuple[Array, Array]:
    """Cosines of the tilt out of the focal plane and their weights."""
    if orientation == "random":
        # Of the angle to the line of sight every cosine is as frequent; the tilt out of the plane has that as its sine.
        sine = (np.arange(2000) + 0.5) / 2000
        return np.sqrt(1.0 - sine**2), np.full(2000, 1 / 2000)
    if orientation != "aligned":
        raise InputError(f"expected orientation random or aligned, got {orientation!r}")
    low, high = _SPREADS_DEG
    if not low <= spread_deg <= high:
        raise InputError(
            f"expected a spread of {low:g} to {high:g} degrees, got {spread_deg:g}; needles in no order are random"
        )
    if spread_deg == 0:
        return np.ones(1), np.ones(1)
    tilt = np.linspace(0.0, math.pi / 2, 1001)[:-1] + math.pi / 4000
    weight = np.exp(-0.5 * (tilt / math.radians(spread_deg)) ** 2)
    return np.cos(tilt), weight / weight.sum()


def lengths_in_space(
    length: ArrayLike,
    width: ArrayLike,
    frame: ArrayLike,
    *,
    orientation: Orientation,
    spread_deg: float = 0.0,
    weight: ArrayLike | None = None,
    replicates: int = 100,
    level: float = 0.95,
    rng: int | np.random.Generator = 0,
) -> Lengths:
    """Length distribution of needles in space from their lengths in pictures.

    Parameters
    ----------
    length, width
        (n,) of whole needles, in one unit, above 0.
    frame
        (n,) the picture of each: frames are what the bootstrap draws.
    orientation, spread_deg
        Of the needles, see `projected_share`; nothing in the lengths tells them, so they are stated.
    weight
        (n,) needles that each one stands for (border); None: 1 each.
    replicates, level, rng
        Of the bootstrap.

    Raises
    ------
    InputError
        With fewer than 50 needles, values that are not above 0, or an orientation that is none.

    Notes
    -----
    The distribution is unfolded (`unfold`); mean and quantiles are taken from it, the mean by the exact relation
    between mean lengths: for random orientation the mean in the picture is pi/4 of that in space, plus half the width
    for flat ends. Assumes that needles are seen alike however they are turned: a probe that sees needles end-on less
    often, or out of focus at one end, shows too many long ones, and the correction is too large by as much. Widths are
    taken as they are seen. Source of the kernel: Larsen and Rawlings, AIChE J. 55 (2009) 896; unfolding of projected
    lengths is Abel's equation (Wicksell, Biometrika 17 (1925) 84).
    """
    x, b = (np.asarray(v, dtype=float).ravel() for v in (length, width))
    f = np.asarray(frame).ravel()
    w = np.ones_like(x) if weight is None else np.asarray(weight, dtype=float).ravel()
    if not x.shape == b.shape == f.shape == w.shape:
        raise InputError(f"expected a width, a frame and a weight of every length, got {x.shape}, {b.shape}, {f.shape}")
    if x.size < _LEAST:
        raise InputError(f"expected at least {_LEAST} whole needles, got {x.size}; take more pictures")
    if not (np.isfinite(x).all() and np.isfinite(b).all() and x.min() > 0 and b.min() > 0):
        raise InputError("expected finite lengths and widths above 0; leave out the others")
    cosine, share = _tilts(orientation, spread_deg)
    shrink = float((share * cosine).sum())
    swell = float((share * np.sqrt(1.0 - cosine**2)).sum())
    thickness = _thickness(x, b, w, shrink, swell)
    top = float(x.max())
    channels = np.geomspace(max(float(np.quantile(x, 0.01)) * 0.7, 1e-3 * top), top * 1.001, _CHANNELS + 1)
    channels[0] = 0.0
    edges = np.geomspace(max(channels[1], 1e-3 * top), 1.25 * top, _CLASSES + 1)
    matrix = _matrix(channels, edges, _width_law(x, b, w, thickness, (cosine, share)), orientation, spread_deg)
    at = np.clip(np.searchsorted(channels, x, side="right") - 1, 0, _CHANNELS - 1)
    ids, numbered = np.unique(f, return_inverse=True)
    by_frame = np.zeros((len(ids), _CHANNELS))
    np.add.at(by_frame, (numbered, at), w)
    sums = np.zeros((len(ids), 3))
    np.add.at(sums, numbered, np.column_stack([w * x, w * b, w]))
    counts = by_frame.sum(axis=0)
    # Deviations by what is expected in a channel: by what was counted, channels that came out low would count more.
    fit = unfold(matrix, counts, sd=np.sqrt(counts + 1.0))
    for _ in range(2):
        sd = np.sqrt(matrix @ fit.values + 0.5)
        fit = unfold(matrix, counts, sd=sd)
    # The bootstrap chooses the smoothing anew, near the one found: the choice is a part of the error.
    strength = fit.strength * np.array([0.05, 0.2, 1.0, 5.0])

    def values(drawn: Array, totals: Array, solved: Array) -> dict[str, float]:
        mean = (totals[0] - swell * totals[1]) / (shrink * totals[2])
        return {"mean": float(mean)} | _quantiles(edges, solved)

    found = values(counts, sums.sum(axis=0), fit.values)
    samples: list[dict[str, float]] = []
    if len(ids) >= LEAST_FRAMES:
        generator = np.random.default_rng(rng)
        for _ in range(replicates):
            times = np.bincount(generator.integers(0, len(ids), len(ids)), minlength=len(ids))
            drawn = times @ by_frame
            law = _width_law(x, b, w * times[numbered], thickness, (cosine, share))
            again = unfold(_matrix(channels, edges, law, orientation, spread_deg), drawn, sd=sd, strengths=strength)
            samples.append(values(drawn, times @ sums, again.values))
    return Lengths(
        orientation,
        spread_deg,
        edges,
        fit.values / fit.values.sum(),
        {k: _figure(v, [s[k] for s in samples], level, len(ids)) for k, v in found.items()},
        {"mean": float((w * x).sum() / w.sum())} | _measured(x, w),
        thickness,
        x.size,
    )


def _thickness(x: Array, b: Array, w: Array, shrink: float, swell: float) -> float:
    """Mean width over mean length in space."""
    mean, width = (float((w * v).sum() / w.sum()) for v in (x, b))
    longer = (mean - swell * width) / shrink
    if longer <= width:
        raise InputError(
            f"expected needles, got particles of mean length {mean:.4g} and width {width:.4g}; this correction is for "
            "long ones: leave out the others by length_to_width"
        )
    return width / longer


def _width_law(x: Array, b: Array, w: Array, thickness: float, tilts: tuple[Array, Array]) -> tuple[float, float]:
    """Factor and exponent of the width as a power of the length in space.

    The slope in the picture is too small because tilt scatters the lengths; the scatter of a tilt is known.
    """
    cosine, share = tilts
    logs, widths = np.log(x), np.log(b)
    p = w / w.sum()
    turned = np.log(np.maximum(cosine, 1e-3))
    scatter = float((share * turned**2).sum() - (share * turned).sum() ** 2)
    mean = float((p * logs).sum())
    variance = float((p * (logs - mean) ** 2).sum()) - scatter
    covariance = float((p * (logs - mean) * (widths - float((p * widths).sum()))).sum())
    exponent = min(max(covariance / variance, 0.0), 1.0) if variance > 0.2 * scatter + 1e-9 else 1.0
    width = float((w * b).sum() / w.sum())
    longest = width / thickness
    return width / longest**exponent, exponent


def _matrix(channels: Array, edges: Array, law: tuple[float, float], orientation: Orientation, spread: float) -> Array:
    """(channels, classes) share of the needles of a class that look as long as a channel says."""
    logs = np.log(edges)
    out = np.zeros((len(channels) - 1, len(edges) - 1))
    parts = 4
    for j in range(out.shape[1]):
        for s in (np.arange(parts) + 0.5) / parts:
            size = math.exp(logs[j] + s * (logs[j + 1] - logs[j]))
            thick = min(law[0] * size ** law[1] / size, 1.0)
            share = projected_share(channels / size, orientation=orientation, spread_deg=spread, thickness=thick)
            out[:, j] += np.diff(share) / parts
    return out


def _quantiles(edges: Array, number: Array) -> dict[str, float]:
    logs, middles = np.log(edges), np.sqrt(edges[1:] * edges[:-1])
    out = {}
    for name, mass in (("0", number), ("3", number * middles)):
        cumulative = np.concatenate([[0.0], np.cumsum(mass)]) / mass.sum()
        for q in (10, 50, 90):
            out[f"D{q}_{name}"] = float(np.exp(np.interp(q / 100, cumulative, logs)))
    return out


def _measured(x: Array, w: Array) -> dict[str, float]:
    order = np.argsort(x, kind="stable")
    out = {}
    for name, mass in (("0", w[order]), ("3", (w * x)[order])):
        cumulative = np.cumsum(mass) / mass.sum()
        for q in (10, 50, 90):
            out[f"D{q}_{name}"] = float(x[order][min(int(np.searchsorted(cumulative, q / 100)), len(x) - 1)])
    return out


def _figure(value: float, drawn: list[float], level: float, frames: int) -> Figure:
    if not drawn:
        return Figure(value, reason=f"{frames} frames; an interval needs {LEAST_FRAMES}")
    from scipy.stats import t as student

    # From the spread of the draws, not from their place: smoothing shifts every draw once more.
    half = float(student.ppf(0.5 + level / 2, frames - 1)) * float(np.std(np.log(drawn), ddof=1))
    return Figure(value, value * math.exp(-half), value * math.exp(half), level)
