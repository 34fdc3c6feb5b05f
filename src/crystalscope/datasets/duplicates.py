"""Copies among pictures: the same recording again, also turned, mirrored, compressed anew, brightened or cropped.

Two pictures of one window look alike without being copies: light, dust and deposits are the same, and crystals of a
slow process hardly move. What only copies share is every single particle and, where it can be measured, the noise of
the camera. Both are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.datasets.fingerprint import MASKED, PATCH, THUMB, TURNS, Array, Fingerprint, turned
from crystalscope.io.pictures import to_grey

_COARSE, _FINE = 32, 768
"""Sides at which pictures are first laid over each other, and at which they are compared most closely, px."""
_BLOCKS = 16
_NEIGHBOURS = 8
"""Candidates looked at per picture."""
_ALIKE = 0.4
"""Correlation of descriptors from which a pair is looked at; a crop of 5 % on every side keeps about 0.6."""
_GROUP = 20
"""Pictures of one size from which what they have in common (light, dust, deposits) is taken out of the descriptors."""
_AGREE = (0.8, 0.9)
"""Correlation that blocks of a thumbnail that hold anything must have, and the share of them that must have it."""
_SHARED_NOISE = 0.12
"""Independent noise correlates by at most 0.07 over all shifts; JPEG of quality 75 keeps about 0.2."""
_COVERED = 0.92
"""Correlation that copies have at least when they are laid over each other coarsely; those tried have 0.96."""
_RESAMPLED = 0.004
"""Change of scale from which interpolation has changed the noise."""


@dataclass(frozen=True)
class Copy:
    """A picture that shows the same recording as another.

    Parameters
    ----------
    first, other
        Positions of the pictures; `first` is the earlier.
    turn
        Position in `TURNS` that brings `other` to `first`.
    exact
        True: pixel for pixel.
    agreement
        Share of the blocks with structure that agree, 0 to 1.
    """

    first: int
    other: int
    turn: int
    exact: bool
    agreement: float = 1.0


def find_copies(
    prints: Sequence[Fingerprint],
    *,
    read: Callable[[int], NDArray[Any]],
    progress: Callable[[int, int], None] | None = None,
) -> list[Copy]:
    """Copies among pictures, one entry per picture that is a copy of an earlier one.

    Parameters
    ----------
    prints
        Fingerprints of the pictures.
    read
        Gives the pixels of a picture by its position, for what fingerprints cannot tell.
    progress
        Called with the number of pairs looked at and of all that are to be looked at.

    Returns
    -------
    In order of the copies; each is named with one earlier picture that it equals (`families` joins them).

    Notes
    -----
    Copies pixel for pixel, in any of the eight positions, are always found. Any other pair is a copy when one can be
    laid over the other (affine, by the enhanced correlation coefficient, Evangelidis and Psarakis 2008), what is seen
    in one is seen in the other (normalised correlation in every one of 16 x 16 blocks that holds anything), and the
    noise of the two correlates. Where noise tells nothing (strong compression, another size) they are compared at full
    size instead, more strictly; unturned pictures of one size must then hold something in a fifth of their area, so
    that one dirty window is no copy of another.

    Found: JPEG down to quality 50, brightness, contrast, gamma, added noise, blur, another size, crops of up to 5 % on
    a side. Not found: a small part of a picture, inverted grey, empty pictures compressed until no noise is left. Two
    recordings of a scene at rest are no copies, as long as their noise can be measured.
    """
    recall = lru_cache(maxsize=16)(read)
    found, unique = _exact(prints, recall)
    linked = {c.other for c in found}
    common = _common_noise(prints)
    pairs = _candidates([prints[i] for i in unique])
    for n, (a, b, turn) in enumerate(pairs):
        if progress:
            progress(n + 1, len(pairs))
        first, other = unique[a], unique[b]
        if other not in linked:
            agreement = _agreement(
                prints[first],
                prints[other],
                turn,
                common=common,
                pixels=lambda i=first, j=other: (recall(i), recall(j)),  # type: ignore[misc]
            )
            if agreement is not None:
                linked.add(other)
                found.append(Copy(first, other, turn, exact=False, agreement=agreement))
    return sorted(found, key=lambda c: c.other)


def families(copies: Sequence[Copy]) -> list[list[int]]:
    """Pictures that are copies of one another: positions in order, families in order of their first."""
    root: dict[int, int] = {}

    def top(i: int) -> int:
        while root.setdefault(i, i) != i:
            i = root[i]
        return i

    for c in copies:
        a, b = sorted((top(c.first), top(c.other)))
        root[b] = a
    out: dict[int, list[int]] = {}
    for i in sorted(root):
        out.setdefault(top(i), []).append(i)
    return sorted(out.values())


def _exact(prints: Sequence[Fingerprint], read: Callable[[int], NDArray[Any]]) -> tuple[list[Copy], list[int]]:
    """Copies pixel for pixel, and the pictures that are none."""
    found: list[Copy] = []
    unique: list[int] = []
    groups: dict[bytes, list[int]] = {}
    for i, print_ in enumerate(prints):
        same = groups.setdefault(print_.key, [])
        for first in same:
            turn = 0 if prints[first].sha256 == print_.sha256 else _equal_turn(read(first), read(i))
            if turn is not None:
                found.append(Copy(first, i, turn, exact=True))
                break
        else:
            same.append(i)
            unique.append(i)
    return found, unique


def _equal_turn(first: NDArray[Any], other: NDArray[Any]) -> int | None:
    return next((t for t in range(len(TURNS)) if np.array_equal(first, turned(other, t))), None)


def _groups(prints: Sequence[Fingerprint]) -> list[list[int]]:
    """Pictures of one size, where there are enough of them to tell what they have in common."""
    by_shape: dict[tuple[int, int], list[int]] = {}
    for i, print_ in enumerate(prints):
        by_shape.setdefault(print_.shape, []).append(i)
    return [group for group in by_shape.values() if len(group) >= _GROUP]


def _candidates(prints: Sequence[Fingerprint]) -> list[tuple[int, int, int]]:
    """Pairs worth a look (first, other, turn of the other), the most alike of every picture."""
    plain = np.array([_descriptor(p.thumb) for p in prints], dtype=np.float32).reshape(-1, 32, 32)
    changing = plain.copy()
    for group in _groups(prints):
        changing[group] -= np.median(changing[group], axis=0)
    aspect = np.array([np.log(p.shape[0] / p.shape[1]) for p in prints], dtype=np.float32)
    # What does not change explains pictures in one position; of a turned copy it is a part.
    return sorted({*_nearest(changing, aspect, range(8)), *_nearest(plain, aspect, range(1, 8))})


def _nearest(descriptors: Array, aspect: Array, turns: range) -> list[tuple[int, int, int]]:
    """The most alike pairs of square descriptors (n, side, side) in some positions; `aspect` is ln(rows / columns)."""
    n = len(descriptors)
    if n < 2:
        return []
    even = descriptors - descriptors.mean(axis=(1, 2), keepdims=True)
    even /= np.maximum(np.linalg.norm(even, axis=(1, 2), keepdims=True), 1e-12)
    flat = even.reshape(n, -1)
    others = {t: np.array([turned(d, t) for d in even]).reshape(n, -1) for t in turns}
    pairs = []
    for start in range(0, n, 256):
        rows = np.arange(start, min(start + 256, n))
        best = np.full((len(rows), n), -1.0, dtype=np.float32)
        turn_of = np.zeros((len(rows), n), dtype=np.int8)
        for t, other in others.items():
            alike = flat[rows] @ other.T
            alike[np.abs(aspect[rows, None] - (-1 if t % 2 else 1) * aspect[None, :]) > 0.12] = -1
            better = alike > best
            best[better], turn_of[better] = alike[better], t
        best[rows[:, None] >= np.arange(n)[None, :]] = -1
        nearest = np.argsort(-best, axis=1, kind="stable")[:, :_NEIGHBOURS]
        for k, near in enumerate(nearest):
            pairs += [(int(rows[k]), int(j), int(turn_of[k, j])) for j in near if best[k, j] >= _ALIKE]
    return pairs


def _descriptor(thumb: NDArray[np.float16]) -> Array:
    """(32, 32) without what is finer than a particle and coarser than a third of the picture."""
    smooth = cv2.GaussianBlur(thumb.astype(np.float32), (0, 0), 3.5)
    return np.asarray(cv2.resize(_detrended(smooth, 14), (32, 32), interpolation=cv2.INTER_AREA))


def _detrended(grey: Array, sigma: float) -> Array:
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), sigma))


def _common_noise(prints: Sequence[Fingerprint]) -> dict[tuple[int, int], Array]:
    """Noise that all pictures of one size have: the pattern of the sensor, what clings to the window."""
    out = {}
    for group in _groups(prints):
        some = [prints[i].patch for i in group[:: max(1, len(group) // 60)] if prints[i].noise]
        if len(some) >= _GROUP // 2:
            seen = np.array(some)
            out[prints[group[0]].shape] = np.median(np.where(seen == MASKED, 0, seen), axis=0).astype(np.float32)
    return out


def _agreement(
    first: Fingerprint,
    other: Fingerprint,
    turn: int,
    *,
    common: dict[tuple[int, int], Array],
    pixels: Callable[[], tuple[NDArray[Any], NDArray[Any]]],
) -> float | None:
    """Share of the structure that agrees where two pictures are copies, None where they are not."""
    a, b = first.thumb.astype(np.float32), turned(other.thumb, turn).astype(np.float32)
    shape = other.shape[:: -1 if turn % 2 else 1]
    area = np.sqrt(first.shape[0] * first.shape[1]) / THUMB
    floor = max(_floor(p, area) for p in (first, other))
    fewer, more = sorted(int(_holding(x, floor).sum()) for x in (a, b))
    # A crop leaves out a part, no more.
    if fewer < 0.5 * more - 2:
        return None
    straight = np.eye(2, 3, dtype=np.float32)
    if more == 0:
        same = first.shape == shape and first.noise and other.noise
        shared = same and _noise_correlation(first, other, turn, common, shifted=False) >= _SHARED_NOISE
        return 1.0 if shared else None
    warp = _aligned(a, b, _COARSE, straight, least=_COVERED)
    if warp is None:
        return None
    in_place = first.shape == shape and bool(np.abs(warp - straight).max() < 0.3 and _sheared(warp) < 0.006)
    warp = straight if in_place else _aligned(a, b, THUMB, warp)
    if warp is None:
        return None
    agree, _ = _structure(a, b, warp, floor=floor, least=_AGREE[0])
    if agree < _AGREE[1]:
        return None
    # Two like recordings have like noise; where one has less, it was smoothed away, and nothing follows.
    alike = max(first.noise, other.noise) <= 1.5 * min(first.noise, other.noise)
    if first.noise and other.noise:
        rho = _noise_correlation(first, other, turn, common, shifted=not in_place)
        if rho >= _SHARED_NOISE:
            return agree
        to_px = np.diag([shape[1], shape[0]]) @ warp[:, :2] @ np.diag([1 / first.shape[1], 1 / first.shape[0]])
        if alike and np.isfinite(rho) and np.abs(to_px - np.eye(2)).max() <= _RESAMPLED:
            return None
    if turn or first.shape != other.shape:
        rule = _Rule(least=0.8, agree=0.97, held=0.03)
    elif _sheared(warp) > 0.015:
        # A crop made as large as the picture was: a window at rest would not have to be stretched.
        rule = _Rule(least=0.8, agree=0.97, held=0.2)
    else:
        # Light, dust and deposits of one window explain pictures in one position; crystals that moved by 2 px keep 0.9.
        rule = _Rule(least=0.95, agree=0.9, held=0.2 if alike else 0.06)
        agree, held = _structure(a, b, warp, floor=floor, least=rule.least)
        if agree < rule.agree or held < rule.held:
            return None
    return _fine_agreement(first, other, turn, warp, pixels=pixels, rule=rule)


def _floor(print_: Fingerprint, reduction: float) -> float:
    """Standard deviation from which a block of a picture made smaller by `reduction` holds something."""
    return max(0.01 * print_.light, 2 * print_.step, 4 * print_.noise / max(reduction, 1.0))


def _sheared(warp: Array) -> float:
    return float(np.abs(warp[:, :2] - np.eye(2)).max())


def _aligned(a: Array, b: Array, side: int, start: Array, *, least: float = 0.0) -> Array | None:
    """Affine map (2, 3) from places in `a` to places in `b`, both square, found at a size of `side` px.

    Maps are in px of the size of `a`. None where there is none, or what is laid over correlates by less than `least`.
    """
    full = a.shape[0]
    factor = side / full
    offset = (factor - 1) / 2
    small = [_detrended(cv2.resize(x, (side, side), interpolation=cv2.INTER_AREA), side / 8) for x in (a, b)]
    warp = start.copy()
    warp[:, 2] = factor * start[:, 2] + offset - start[:, :2].sum(axis=1) * offset
    try:
        found, warp = cv2.findTransformECC(small[0], small[1], warp, cv2.MOTION_AFFINE, (3, 40, 1e-4), None, 3)
    except cv2.error:  # it does not converge: the pictures have nothing in common
        return None
    # Places where more than a crop is needed to explain the map are not the same recording.
    if _sheared(warp) > 0.25 or found < least:
        return None
    out = warp.copy()
    out[:, 2] = (warp[:, 2] - offset + warp[:, :2].sum(axis=1) * offset) / factor
    return np.asarray(out)


def _structure(a: Array, b: Array, warp: Array, *, floor: float, least: float) -> tuple[float, float]:
    """Share of the blocks with structure that agree (1 where there is none), and share of blocks with structure."""
    side = a.shape[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    over = cv2.warpAffine(b, warp, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones_like(b), warp, (side, side), flags=flags)
    x, y = _detrended(a, side / 25), _detrended(over, side / 25)

    vx, vy = _mean(x * x) - _mean(x) ** 2, _mean(y * y) - _mean(y) ** 2
    correlation = (_mean(x * y) - _mean(x) * _mean(y)) / np.sqrt(np.maximum(vx * vy, 1e-16))
    valid = _mean(inside) > 0.99
    holds = valid & (np.maximum(vx, vy) > floor**2)
    if valid.mean() < 0.5:
        return 0.0, 0.0
    if not holds.any():
        return 1.0, 0.0
    return float((correlation[holds] >= least).mean()), float(holds.sum() / valid.sum())


def _mean(values: Array) -> Array:
    """Means of 16 x 16 blocks."""
    return np.asarray(cv2.resize(values, (_BLOCKS, _BLOCKS), interpolation=cv2.INTER_AREA))


def _holding(grey: Array, floor: float) -> NDArray[np.bool_]:
    """Blocks (16, 16) that hold anything."""
    x = _detrended(grey, grey.shape[0] / 25)
    return np.asarray(_mean(x * x) - _mean(x) ** 2 > floor**2)


def _noise_correlation(
    first: Fingerprint,
    other: Fingerprint,
    turn: int,
    common: dict[tuple[int, int], Array],
    *,
    shifted: bool,
) -> float:
    """Correlation of the noise, at the best shift where `shifted`; NaN where too little of it is seen."""
    (x, wx), (y, wy) = ((_plain(p, common)) for p in (first, other))
    y, wy = turned(y, turn), turned(wy, turn)
    if not shifted and x.shape == y.shape:
        both = wx * wy
        if both.sum() < 2000:
            return float("nan")
        return float((x * y).sum() / np.sqrt(max((x * x * both).sum() * (y * y * both).sum(), 1e-12)))
    size = (2 * PATCH, 2 * PATCH)
    fx, fwx, fx2 = (np.fft.rfft2(v, size) for v in (x, wx, x * x))
    fy, fwy, fy2 = (np.conj(np.fft.rfft2(v, size)) for v in (y, wy, y * y))
    number = np.fft.irfft2(fwx * fwy, size)
    scale = np.sqrt(np.maximum(np.fft.irfft2(fx2 * fwy, size) * np.fft.irfft2(fwx * fy2, size), 1e-6))
    rho = np.where(number > 5000, np.fft.irfft2(fx * fy, size) / scale, -1.0)
    return float(rho.max()) if number.max() > 5000 else float("nan")


def _plain(print_: Fingerprint, common: dict[tuple[int, int], Array]) -> tuple[Array, Array]:
    """Noise without what all pictures have of it, 0 where it is not seen; and where it is seen."""
    seen = (print_.patch != MASKED).astype(np.float32)
    noise = print_.patch.astype(np.float32)
    if print_.shape in common:
        noise = noise - common[print_.shape]
    return noise * seen, seen


class _Rule(NamedTuple):
    """Correlation that blocks must have at least, share of the blocks that must, share that must hold anything."""

    least: float
    agree: float
    held: float


def _fine_agreement(
    first: Fingerprint,
    other: Fingerprint,
    turn: int,
    warp: Array,
    *,
    pixels: Callable[[], tuple[NDArray[Any], NDArray[Any]]],
    rule: _Rule,
) -> float | None:
    """`_agreement` at full size, for pairs of which the noise tells nothing."""
    side = min(_FINE, max(min(first.shape), min(other.shape)) // _BLOCKS * _BLOCKS)
    a, b = (cv2.resize(to_grey(p), (side, side), interpolation=cv2.INTER_AREA) for p in pixels())
    b = turned(b, turn)
    factor = side / THUMB
    start = warp.copy()
    start[:, 2] = factor * warp[:, 2] + (factor - 1) / 2 * (1 - warp[:, :2].sum(axis=1))
    found = _aligned(a, b, min(side, _FINE // 2), start)
    if found is None:
        return None
    area = np.sqrt(first.shape[0] * first.shape[1]) / side
    # A blur of 1.5 px leaves a fifth of the noise.
    a, b = (cv2.GaussianBlur(x, (0, 0), 1.5) for x in (a, b))
    floor = max(_floor(p, 5 * area) for p in (first, other))
    agree, held = _structure(a, b, found, floor=floor, least=rule.least)
    return agree if agree >= rule.agree and held >= rule.held else None
