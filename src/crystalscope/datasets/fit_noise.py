"""Noise of a camera by photon transfer, told from what stays in place: speckle of the ground."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from crystalscope.datasets.fit_tiles import (
    FINE,
    LAGS,
    QUANTILE,
    WIDE,
    Curve,
    Tiles,
    correlations,
    ordinary,
    quiet,
    residuals,
    variances,
)
from crystalscope.scenes.optics import Instrument, record

Floats = NDArray[np.float64]
Picture = NDArray[np.float32]

LITTLE_KEPT = 0.6
"""Share of the noise left by compression below which its strength is rough and its grain unknown."""
_GRAINS = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.05)
"""Blurs of the noise that are tried, px."""
_SIMULATED = 192
"""Edge of the simulated pictures, px."""
_SLOPE = 0.02
"""Half of the difference of level across them."""
_RANGE = 1.6
"""Highest over lowest level from which shot and read noise are told apart."""
_LEAST_SPECKLE = 0.02
"""Contrast of fine structure common to frames below which it is not called speckle."""
_COARSEST_SPECKLE_PX = 4.0
_SPECKLED = 0.08
"""Relative noise of a single frame from which, if correlated, it is called speckle."""
_CORRELATED = 0.35


@dataclass(frozen=True)
class Noise:
    """What the camera and the ground do to an even light; NaN where it cannot be told.

    Parameters
    ----------
    shot_noise, read_noise, grain_px
        As in `scenes.Instrument`.
    ground
        Standard deviation of the noise at the ground, without speckle, before it is blurred.
    speckle, speckle_px
        Contrast and grain of what stays from frame to frame.
    split
        Whether shot and read noise could be told apart; else all is given as shot noise.
    below_step
        Whether the noise is hidden by the steps of the grey levels: `read_noise` is then at most 0.3 of a step.
    from_pairs
        Whether it comes from differences of frames, so that what stays in place does not count.
    kept
        Share of the noise at the ground that compression left.
    per_frame
        Noise at the ground within each frame relative to that of all.
    """

    shot_noise: float
    read_noise: float
    grain_px: float
    ground: float
    speckle: float
    speckle_px: float
    split: bool
    below_step: bool
    from_pairs: bool
    kept: float
    per_frame: tuple[float, ...]


@dataclass(frozen=True)
class Camera:
    """How pictures were written: `bits`, JPEG `quality` (0: none), number of `channels`."""

    bits: Literal[8, 12, 16]
    quality: int = 0
    channels: int = 1

    @property
    def step(self) -> float:
        """Distance of two grey levels."""
        return 1.0 / (2**self.bits - 1)


def fit_noise(
    frames: Sequence[NDArray[np.floating]],
    *,
    valid: Sequence[NDArray[np.bool_]],
    levels: Floats,
    camera: Camera,
    ground: float,
    black: float,
    shared: bool,
    even: Picture,
) -> tuple[Noise, Curve]:
    """Shot and read noise, their correlation, and speckle.

    Parameters
    ----------
    frames
        (rows, columns[, 3]) each, shares of white as recorded.
    valid
        (rows, columns) each: in the field, not saturated.
    levels
        (frames,) level of the lamp in each.
    camera
        Bits, JPEG, channels.
    ground
        Level of the ground in the middle, as recorded.
    black
        Level of no light.
    shared
        Whether the frames show one field: noise then is what changes from frame to frame.
    even
        (rows, columns) ground relative to the middle of the picture, where the frames share it.

    Returns
    -------
    Noise, and noise with speckle against level as measured within frames.

    Notes
    -----
    Photon transfer (Janesick, Photon Transfer, SPIE Press 2007): variance of flat tiles of 8 x 8 px against their mean,
    var = read² + shot² x level. Tiles are measured and then compared with even pictures that went through the camera
    of the renderer (`scenes.optics.record`), so that steps of grey, correlation and JPEG count alike on both sides.
    Assumes that a quarter of the tiles of a level hold nothing but noise. Compression that leaves nothing of the noise,
    and noise below a third of a grey step, cannot be undone.
    """
    planes = [[_channel(f, c) for c in range(camera.channels)] for f in frames]
    within = [Tiles.of(p, valid=valid[k], level=ground) for k, channels in enumerate(planes) for p in channels]
    best, from_pairs = Tiles.joined(within), False
    seen = curve = best.curve()
    all_here = max(curve.at(ground), 1e-9)
    each = tuple(t.curve().at(ground) / all_here for t in within[:: camera.channels])
    fixed, fixed_px = 0.0, math.nan
    if shared and len(frames) > 1:
        between = [
            Tiles.of(a, valid=valid[k] & valid[k + 1], level=ground, other=_scaled(b, levels[k] / levels[k + 1], black))
            for k in range(len(frames) - 1)
            for a, b in zip(planes[k], planes[k + 1], strict=True)
        ]
        paired = Tiles.joined(between)
        fixed, fixed_px = _fixed_pattern(frames, valid, levels, ground, black, even, camera)
        # Structure only ever adds: the lower of the two is the better one.
        if paired.curve().at(ground) < curve.at(ground):
            best, from_pairs = paired, True
            curve = curve if not fixed else paired.curve()
    spread = correlations(ordinary(best.wide))
    if not from_pairs and _is_speckle(spread, ground - black):
        fixed, fixed_px, white = _split_speckle(spread, ground - black)
        total = math.sqrt(white)
        shot = total / math.sqrt((ground - black) * (1 - black))
        return Noise(shot, 0.0, 0.0, total, fixed, fixed_px, False, False, False, 1.0, each), seen
    covariance = correlations(quiet(best.near))
    rho = float(covariance[1] / covariance[0]) if covariance[0] > 0 else math.nan
    here = best.curve().at(ground)
    if here < 0.33 * camera.step and not camera.quality:
        least = 0.3 * camera.step
        return Noise(0.0, least, 0.0, least, fixed, fixed_px, False, True, from_pairs, 1.0, each), seen
    grain, total = _grain(rho, here, ground, camera, from_pairs)
    # What little JPEG leaves has its correlation from JPEG.
    plain = _undone(here, ground, 0.0, camera, from_pairs)
    kept = here / plain if camera.quality and plain > 0 else 1.0
    if kept < LITTLE_KEPT:
        grain, total = 0.0, plain
    shot = read = math.nan
    split = False
    if total > 0 and kept < LITTLE_KEPT:
        shot, read = total / math.sqrt((ground - black) * (1 - black)), 0.0
    elif total > 0:
        shot, read, split = _shot_and_read(
            curve, camera, total, grain, ground=ground, black=black, pairs=from_pairs, speckled=fixed > 0
        )
    return Noise(shot, read, grain, total, fixed, fixed_px, split, False, from_pairs, kept, each), seen


def _channel(frame: NDArray[np.floating], c: int) -> Picture:
    return np.asarray(frame if frame.ndim == 2 else frame[:, :, c], dtype=np.float32)


def _scaled(plane: Picture, factor: float, black: float) -> Picture:
    return ((plane - np.float32(black)) * np.float32(factor) + np.float32(black)).astype(np.float32)


def _is_speckle(covariance: Floats, light: float) -> bool:
    strong = math.sqrt(max(covariance[0], 0.0)) > _SPECKLED * light
    return bool(strong and covariance[1] > _CORRELATED * covariance[0] and covariance[3] < _CORRELATED * covariance[0])


def _split_speckle(covariance: Floats, light: float) -> tuple[float, float, float]:
    """Contrast and grain of speckle and the variance of white noise: what a Gaussian through lags 1 and 2 misses."""
    ratio = covariance[1] / max(covariance[2], 0.02 * covariance[1])
    px = math.sqrt(1.5 / max(math.log(max(ratio, 1.05)), 1e-3))
    own = min(covariance[1] * math.exp(1 / (2 * px * px)), covariance[0])
    return math.sqrt(own) / light, px, max(covariance[0] - own, 0.0)


def _fixed_pattern(
    frames: Sequence[NDArray[np.floating]],
    valid: Sequence[NDArray[np.bool_]],
    levels: Floats,
    ground: float,
    black: float,
    even: Picture,
    camera: Camera,
) -> tuple[float, float]:
    """Contrast and grain of the fine structure that two frames have in common (0, NaN where there is none)."""
    total = np.zeros(LAGS)
    count = 0
    for i in range(len(frames) - 1):
        pair = []
        keep = None
        for k in (i, i + 1):
            plane = (_channel(frames[k], min(1, camera.channels - 1)) - black) / (levels[k] * even)
            r, mean = residuals(plane.astype(np.float32), valid[i] & valid[i + 1], tile=WIDE)
            calm = (np.abs(mean - 1) < 0.15) & (variances(r) < 2.5 * np.median(variances(r)) + 1e-12)
            keep = calm if keep is None else keep & calm
            pair.append(r)
        a, b = pair[0][keep], pair[1][keep]
        if not len(a):
            continue
        count += 1
        total[0] += (a * b).mean()
        for lag in range(1, LAGS):
            along = (a[:, :, lag:] * b[:, :, :-lag]).mean() + (b[:, :, lag:] * a[:, :, :-lag]).mean()
            across = (a[:, lag:] * b[:, :-lag]).mean() + (b[:, lag:] * a[:, :-lag]).mean()
            total[lag] += (along + across) / 4
    if not count:
        return math.nan, math.nan
    total /= count
    step = camera.step / max(ground - black, 1e-6)
    if total[0] < max(step**2 / 12, _LEAST_SPECKLE**2):
        return 0.0, math.nan
    px = _speckle_px(float(np.clip(total[1] / total[0], 0.02, 0.98)))
    # Coarser structure is no speckle but something that stands still.
    return (math.sqrt(total[0]), px) if px < _COARSEST_SPECKLE_PX else (0.0, math.nan)


def _speckle_px(rho: float) -> float:
    """Blur of a Gaussian field whose square has correlation `rho` one px apart."""
    sizes = np.geomspace(0.3, 6.0, 120)
    return float(np.interp(rho, [_lag_one(s) ** 2 for s in sizes], sizes))


@lru_cache(maxsize=256)
def _lag_one(sigma: float) -> float:
    """Correlation one px apart of white noise after a Gaussian blur, as the pixels see it."""
    k = cv2.getGaussianKernel(int(sigma * 8) | 1, sigma)[:, 0] if sigma > 0 else np.ones(1)
    return float((k[1:] * k[:-1]).sum() / (k**2).sum())


def _shot_and_read(
    curve: Curve,
    camera: Camera,
    total: float,
    grain: float,
    *,
    ground: float,
    black: float,
    pairs: bool,
    speckled: bool,
) -> tuple[float, float, bool]:
    """Shot and read noise, and whether they could be told apart; `total` is the noise at the ground."""
    undone = [_undone(s, m, grain, camera, pairs) for s, m in zip(curve.noise, curve.level, strict=True)]
    known = np.array(undone) > 0
    # Light falls on the sensor before the black level is added and the rest is squeezed.
    light = np.maximum(curve.level[known] - black, 0.0) / (1 - black)
    sigma, at_light = np.array(undone)[known] / (1 - black), max(ground - black, 1e-6) / (1 - black)
    wide = known.sum() >= 3 and light.max() > _RANGE * max(light.min(), 1e-3)
    if not wide or (speckled and not pairs):
        return total / (1 - black) / math.sqrt(at_light), 0.0, False
    shot, read = _transfer(light, sigma, curve.tiles[known])
    # The ground has by far the most tiles: the line is to pass there.
    scale = total / (1 - black) / max(math.sqrt(shot**2 * at_light + read**2), 1e-9)
    return shot * scale, read * scale, True


def _transfer(light: Floats, sigma: Floats, tiles: Floats) -> tuple[float, float]:
    """Shot and read noise from variance against light; structure only adds to it, so points above weigh less."""
    variance = sigma**2
    weight = np.sqrt(np.minimum(tiles, 2000)) / variance
    a = np.stack([light, np.ones_like(light)], axis=1)
    for _ in range(8):
        (shot2, read2), _ = nnls(a * weight[:, None], variance * weight)
        model = np.maximum(a @ np.array([shot2, read2]), 1e-14)
        above = np.maximum(variance / model - 1, 0)
        weight = np.sqrt(np.minimum(tiles, 2000)) / model / (1 + (above / 0.15) ** 2)
    return math.sqrt(shot2), math.sqrt(read2)


def _simulate(sigma: float, level: float, grain: float, camera: Camera, *, pairs: bool) -> Floats:
    """Tiles of an even picture of `level` with noise `sigma` through the renderer's camera."""
    settings = Instrument(shot_noise=0.0, read_noise=sigma, grain_px=grain, bits=camera.bits, jpeg=camera.quality)
    shape = (_SIMULATED, _SIMULATED, 3)[: 3 if camera.channels == 3 else 2]
    rng = np.random.default_rng(7)
    white = np.float32(2**camera.bits - 1)
    # A slope as of real light: on an even level JPEG rounds every block alike.
    slope = level + np.linspace(-_SLOPE, _SLOPE, _SIMULATED, dtype=np.float32)
    plane = np.broadcast_to(slope.reshape((1, -1, 1)[: len(shape)]), shape).astype(np.float32)
    made = [record(plane, settings, rng=rng)[0].astype(np.float32) / white for _ in range(2 if pairs else 1)]
    valid = np.ones(shape[:2], dtype=bool)
    out = [
        residuals(_channel(made[0], c), valid, tile=FINE, other=_channel(made[1], c) if pairs else None)[0]
        for c in range(camera.channels)
    ]
    return np.concatenate(out)


def _undone(measured: float, level: float, grain: float, camera: Camera, pairs: bool) -> float:
    """Noise before the camera's steps, blur and JPEG that leaves `measured` after them; NaN where nothing is left."""

    def left(sigma: float) -> float:
        tiles = _simulate(sigma, level, grain, camera, pairs=pairs)
        return math.sqrt(np.quantile(variances(tiles), QUANTILE))

    if not measured > 0:
        return math.nan
    sigma = max(measured, 0.3 * camera.step)
    if not camera.quality:
        # Nearly linear: two steps do.
        for _ in range(2):
            sigma *= float(np.clip(measured / max(left(sigma), 1e-9), 0.25, 4.0))
        return sigma
    # JPEG drops what is below its steps: the answer is steep, but it only grows.
    low, high = 0.7 * sigma, 12 * sigma
    for _ in range(8):
        sigma = math.sqrt(low * high)
        low, high = (sigma, high) if left(sigma) < measured else (low, sigma)
    return sigma if sigma < 0.3 else math.nan


def _grain(rho: float, measured: float, level: float, camera: Camera, pairs: bool) -> tuple[float, float]:
    """Blur after which noise has correlation `rho`, and the noise at the ground before it; NaN where it is no noise."""
    found = []
    for grain in _GRAINS:
        sigma = _undone(measured, level, grain, camera, pairs)
        if sigma > 0:
            c = correlations(quiet(_simulate(sigma, level, grain, camera, pairs=pairs)))
            found.append((c[1] / c[0] if c[0] > 0 else 0.0, grain, sigma))
            if found[-1][0] > rho:
                break
    # No camera's noise is softer than the softest: the picture has no flat region.
    if not found or not rho <= found[-1][0] + 0.005:
        return math.nan, math.nan
    table = np.array(found)
    grain, sigma = (float(np.interp(rho, table[:, 0], table[:, k])) for k in (1, 2))
    # Below the first step of the grid the blur is so small that it does nothing.
    return (grain, sigma) if grain > 0.2 else (0.0, float(table[0, 2]))
