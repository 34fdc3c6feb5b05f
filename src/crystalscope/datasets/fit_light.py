"""Illumination from frames: level of the empty ground, its gradient, vignette and unevenness, flicker and drift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from crystalscope.core import FieldOfView
from crystalscope.prepare import flat_field

Floats = NDArray[np.float64]
Picture = NDArray[np.float32]

_ACROSS = 48
"""Cells along the longer side."""
_CUT = 4.0
"""Residuals beyond this many standard deviations are particles (Tukey's biweight)."""
_DENSEST = 0.3
_FLOOR = 0.002
"""Least relative standard deviation of a cell: below it weights would follow rounding."""
_SHARED = 1.6
"""Frames share an illumination where one shape for all leaves residuals at most this much broader."""
_EVEN = 0.006
"""Residuals of the shared shape that are no reason to speak of several illuminations."""
_HIDDEN = 0.04
"""Standard error of the levels beyond which no ground is seen."""
_FAR = 0.35
"""Relative distance from the ground that is no ground any more, however little of that is seen."""
_PATCHES = 3
"""Patches along each side from which the uncertainty of a frame's level is taken."""


@dataclass(frozen=True)
class Shape:
    """Light relative to the middle of the picture: (1 + x u + y v) (1 - vignette (u² + v²) / 2), u and v from -1 to 1.

    The law of `scenes.Instrument`: `x` and `y` are half of the gradient along the columns and the rows.
    """

    x: float
    y: float
    vignette: float

    @property
    def gradient(self) -> float:
        """Relative difference across the picture."""
        return 2 * math.hypot(self.x, self.y)

    @property
    def gradient_deg(self) -> float:
        """Direction in which it grows brighter, 0 to 360, from the rows to the right, clockwise."""
        return math.degrees(math.atan2(self.y, self.x)) % 360

    def at(self, u: Floats, v: Floats) -> Floats:
        """The law at columns `u` and rows `v`."""
        return (1 + self.x * u + self.y * v) * (1 - self.vignette * (u * u + v * v) / 2)

    def over(self, shape: tuple[int, int]) -> Picture:
        """The law over a picture of (rows, columns)."""
        u, v = np.linspace(-1, 1, shape[1])[None, :], np.linspace(-1, 1, shape[0])[:, None]
        return self.at(u, v).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Light:
    """Illumination of a set of frames; levels are shares of white, black level taken off.

    Parameters
    ----------
    levels
        (frames,) level of the ground in the middle of the picture.
    errors
        (frames,) standard error of a level, relative.
    shapes
        Of each frame: the same one for all where they share an illumination.
    own
        Shapes as found from each frame alone.
    shared
        Whether one shape holds for all frames (also for a single frame).
    unevenness
        Relative standard deviation of broad blotches that stay from frame to frame; of a single frame of its smooth
        surface, ghosts included.
    bright_share
        Share of the departures from the ground, by sum of absolute values, that are brighter.
    """

    levels: Floats
    errors: Floats
    shapes: tuple[Shape, ...]
    own: tuple[Shape, ...]
    shared: bool
    unevenness: float
    bright_share: float

    @property
    def hidden(self) -> bool:
        """Whether the parts of the picture do not agree on a ground: there is next to none to be seen."""
        return float(np.median(self.errors)) > _HIDDEN

    def ground(self, frame: int, shape: tuple[int, int]) -> Picture:
        """Level of the empty ground over a frame of (rows, columns)."""
        return np.float32(self.levels[frame]) * np.maximum(self.shapes[frame].over(shape), np.float32(0.02))


@dataclass(frozen=True, eq=False)
class _Cells:
    """Cell medians of a frame and a first guess of the ground there."""

    values: Floats
    guess: Floats


def fit_light(greys: Sequence[Picture], *, field: FieldOfView) -> Light:
    """Fit the law of illumination of `scenes.Instrument` to the ground of frames.

    Parameters
    ----------
    greys
        (rows, columns) each, all of one shape, shares of white with the black level taken off.
    field
        Field of view of all of them; cells at its rim are left out.

    Returns
    -------
    Light

    Notes
    -----
    Medians of cells of 1/48 of the picture are fitted by Tukey's biweight around their densest part, from a start at
    `prepare.flat_field`; where all frames share one illumination, which is tested on the residuals, the shape is fitted
    to the median over frames. Assumes that ground is the most frequent brightness of the picture, or of a cell over the
    frames: in a crowd that covers more than half of the field in every frame the level is that of the crowd. Blotches
    broader than a third of the picture are in part taken for gradient and vignette.
    """
    u, v, inside = _grid(field)
    cells = [_cells(g, field, inside) for g in greys]
    fits = [_fit(c.values, u, v, start=c.guess) for c in cells]
    levels = np.array([f[0] for f in fits])
    own = tuple(f[1] for f in fits)
    shared, common = _one_shape(cells, levels, own, u, v)
    shapes = (common,) * len(greys) if shared else own
    errors = np.zeros(len(greys))
    residuals = np.zeros((len(greys), u.size))
    for k, (c, shape) in enumerate(zip(cells, shapes, strict=True)):
        ratio = c.values / np.maximum(shape.at(u, v), 0.02)
        if shared and len(greys) > 1:
            levels[k] = _location(ratio, start=levels[k])
        errors[k] = _patch_error(ratio / levels[k], u, v)
        residuals[k] = ratio / levels[k] - 1
    bright = [_bright_share(g, levels[k], shapes[k], field) for k, g in enumerate(greys)]
    if len(greys) == 1 or not shared:
        smooth = [c.guess / (levels[k] * np.maximum(shapes[k].at(u, v), 0.02)) - 1 for k, c in enumerate(cells)]
        uneven = float(np.median([_spread(s) for s in smooth]))
    else:
        uneven = _kept(residuals)
    return Light(levels, errors, shapes, own, shared, uneven, float(np.median(bright)))


def _grid(field: FieldOfView) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Columns u and rows v (-1 to 1) of the cells inside the field, and which cells of the grid these are."""
    rows, columns = field.shape
    size = max(4, max(rows, columns) // _ACROSS)
    r = (np.arange(rows // size) + 0.5) * size
    c = (np.arange(columns // size) + 0.5) * size
    v, u = np.meshgrid(2 * r / rows - 1, 2 * c / columns - 1, indexing="ij")
    inside = np.ones(u.shape, dtype=bool)
    if field.disc is not None:
        row, column, radius = field.disc
        inside = np.hypot(r[:, None] - row, c[None, :] - column) < radius - 1.5 * size
    return u[inside], v[inside], inside


def _cells(grey: Picture, field: FieldOfView, inside: NDArray[np.bool_]) -> _Cells:
    rows, columns = field.shape
    size = max(4, max(rows, columns) // _ACROSS)
    n, m = inside.shape
    blocks = grey[: n * size, : m * size].reshape(n, size, m, size)
    values = np.median(blocks.swapaxes(1, 2).reshape(n, m, size * size), axis=2)
    smooth = flat_field(grey, field=None if field.disc is None else field.mask())
    r = np.minimum(((np.arange(n) + 0.5) * size).astype(int), rows - 1)
    c = np.minimum(((np.arange(m) + 0.5) * size).astype(int), columns - 1)
    return _Cells(values[inside].astype(np.float64), smooth[np.ix_(r, c)][inside].astype(np.float64))


def _fit(values: Floats, u: Floats, v: Floats, *, start: Floats) -> tuple[float, Shape, float]:
    """Level, shape and relative robust spread of the ground; `start` is a first guess of it, (cells,)."""
    level = max(float(np.median(start)), 1e-4)
    p = np.array([level, 0.0, 0.0, 0.0])

    def law(q: Floats) -> Floats:
        return np.asarray(q[0] * (1 + q[1] * u + q[2] * v) * (1 - q[3] * (u * u + v * v) / 2))

    p = least_squares(lambda q: law(q) - start, p, loss="soft_l1", f_scale=0.01 * level).x
    spread = _FLOOR
    for _ in range(10):
        relative = (values - law(p)) / p[0]
        spread, weight = _tukey(relative)
        root = np.sqrt(weight) / p[0]
        before, p = p, least_squares(lambda q, w=root: w * (law(q) - values), p).x
        if abs(p - before).max() < 1e-4:
            break
    return float(max(p[0], 1e-4)), Shape(float(p[1]), float(p[2]), float(p[3])), spread


def _tukey(relative: Floats) -> tuple[float, Floats]:
    """Spread of the densest residuals and the weights around them: those far off, particles and ghosts, weigh nothing.

    Ghosts only darken (or only brighten): the ground is the densest part, not the middle. It is the shortest interval
    that holds 30 % of the cells, whose half width is 0.385 standard deviations of a Gaussian.
    """
    # Even facets may be denser than the ground: what is far off is not asked, unless there is little else.
    near = relative[np.abs(relative) < _FAR]
    ordered = np.sort(near if near.size > 0.2 * relative.size else relative)
    n = len(ordered)
    many = max(int(_DENSEST * n), min(n, 5))
    width = ordered[many - 1 :] - ordered[: n - many + 1]
    first = int(width.argmin())
    spread = max(float(width[first]) / (2 * 0.385), _FLOOR)
    middle = float(np.median(ordered[first : first + many]))
    return spread, np.clip(1 - ((relative - middle) / (_CUT * spread)) ** 2, 0, None) ** 2


def _location(ratio: Floats, *, start: float) -> float:
    """Level of the ground by Tukey's biweight."""
    level = start
    for _ in range(10):
        weight = _tukey(ratio / level - 1)[1]
        if weight.sum() < 5:
            return start
        level = max(float((weight * ratio).sum() / weight.sum()), 1e-4)
    return level


def _one_shape(
    cells: Sequence[_Cells], levels: Floats, own: Sequence[Shape], u: Floats, v: Floats
) -> tuple[bool, Shape]:
    """Whether one shape holds for all frames, and that shape."""
    if len(cells) == 1:
        return True, own[0]
    stack = np.array([c.values / x for c, x in zip(cells, levels, strict=True)])
    guess = np.median([s.at(u, v) for s in own], axis=0)
    middle = np.median(stack, axis=0)
    _, common, _ = _fit(middle, u, v, start=np.where(np.abs(middle / guess - 1) < 0.2, middle, guess))
    worse = []
    for values, shape in zip(stack, own, strict=True):
        alone = _tukey(values / np.maximum(shape.at(u, v), 0.02) - 1)[0]
        together = values / np.maximum(common.at(u, v), 0.02)
        with_all = _tukey(together / _location(together, start=1.0) - 1)[0]
        worse.append(with_all / max(alone, _EVEN / _SHARED))
    return bool(np.median(worse) < _SHARED), common


def _patch_error(ratio: Floats, u: Floats, v: Floats) -> float:
    """Relative standard error of the level, from levels of patches of the picture."""
    patch = np.clip(((u + 1) * _PATCHES / 2).astype(int), 0, _PATCHES - 1) * _PATCHES
    patch = patch + np.clip(((v + 1) * _PATCHES / 2).astype(int), 0, _PATCHES - 1)
    found = [_location(ratio[patch == k], start=1.0) for k in range(_PATCHES**2) if (patch == k).sum() >= 12]
    if len(found) < 3:
        return 0.0
    return 1.4826 * float(np.median(np.abs(np.array(found) - 1))) / math.sqrt(len(found))


def _spread(relative: Floats) -> float:
    """Standard deviation of residuals without the outer ones."""
    inner = relative[np.abs(relative) <= np.quantile(np.abs(relative), 0.9)]
    return float(inner.std()) * 1.2 if inner.size else 0.0


def _kept(residuals: Floats) -> float:
    """Standard deviation of what the residuals of frames (frames, cells) have in common.

    The mean product of two frames is free of what changes between them: noise, particles and ghosts only widen it.
    """
    limit = np.maximum(3 * 1.4826 * np.median(np.abs(residuals), axis=1), _FLOOR)[:, None]
    r = np.clip(residuals, -limit, limit)
    r -= r.mean(axis=1, keepdims=True)
    n = len(r)
    pairs = (r.sum(axis=0) ** 2 - (r**2).sum(axis=0)) / (n * (n - 1))
    return math.sqrt(max(float(pairs.mean()), 0.0))


def _bright_share(grey: Picture, level: float, shape: Shape, field: FieldOfView) -> float:
    """Share of the departures from the ground that are brighter, on every third pixel."""
    step = 3
    relative = grey[::step, ::step] / np.maximum(level * shape.over(field.shape)[::step, ::step], 1e-4) - 1
    if field.disc is not None:
        row, column, radius = field.disc
        r = np.hypot(np.arange(0, field.shape[0], step)[:, None] - row, np.arange(0, field.shape[1], step) - column)
        relative = relative[r < 0.95 * radius]
    limit = min(4 * 1.4826 * float(np.median(np.abs(relative))), _FAR)
    far = relative[np.abs(relative) > limit]
    return float(far[far > 0].sum() / np.abs(far).sum()) if far.size else 0.0


def flicker_and_drift(levels: Floats, errors: Floats, numbers: NDArray[np.intp]) -> tuple[float, float, float]:
    """Flicker, drift and the level at frame 0.

    Parameters
    ----------
    levels
        (frames,) levels of the ground.
    errors
        (frames,) their relative standard errors, which are taken off the flicker.
    numbers
        (frames,) places in the sequence.

    Returns
    -------
    Relative standard deviation from frame to frame (NaN with fewer than 4 frames); relative change per 100 frames (NaN
    with fewer than 10; 0 where it is within twice its standard error); level at frame 0 (the median without a drift).
    """
    middle = float(np.median(levels))
    relative = levels / middle - 1
    drift, at_zero = math.nan, middle
    n = len(levels)
    if n >= 10:
        i, j = np.triu_indices(n, 1)
        slope = float(np.median((relative[j] - relative[i]) / (numbers[j] - numbers[i])))
        rest = relative - slope * (numbers - numbers.mean())
        error = 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
        error /= max(math.sqrt(float(((numbers - numbers.mean()) ** 2).sum())), 1e-9)
        drift = 0.0
        if abs(slope) > 2 * error:
            at_zero = middle * (1 + float(np.median(rest)) - slope * float(numbers.mean()))
            drift = 100 * slope * middle / at_zero
            relative = rest
    if n < 4:
        return math.nan, drift, at_zero
    off = np.abs(relative - np.median(relative))
    # A frame behind a large ghost is no flicker.
    kept = relative[off <= max(4 * 1.4826 * float(np.median(off)), 1e-6)]
    spread = float(kept.std(ddof=1)) if len(kept) > 1 else 0.0
    return math.sqrt(max(spread**2 - float(np.median(errors)) ** 2, 0.0)), drift, at_zero
