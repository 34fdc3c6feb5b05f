"""Features of a patch that have a name, so that what gives a picture away can be named too."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.realism.patches import SIDE, Patches

GROUPS: dict[str, tuple[str, ...]] = {
    "light": ("ground level", "ground slope", "ground bend"),
    "noise": (
        "noise",
        "noise 0-0.1 cycles/px",
        "noise 0.1-0.2 cycles/px",
        "noise 0.2-0.3 cycles/px",
        "noise 0.3-0.4 cycles/px",
        "noise 0.4-0.5 cycles/px",
        "noise tails",
    ),
    "blocks": ("jumps every 8 px", "flat 8 px cells"),
    "grey": ("darkest 1 %", "darkest 5 %", "quartile", "brightest 5 %", "brightest 1 %", "spread of grey"),
    "darkness": ("black share", "dark share", "mid share", "bright share", "overshoot"),
    "edges": ("gradient 50 %", "gradient 90 %", "gradient 99 %", "edge width", "sharp share", "corners"),
    "inside": ("texture inside", "fine inside", "inside entropy"),
    "blur": ("contrast at 2 px", "contrast at 4 px", "contrast at 8 px", "contrast at 16 px", "one-sidedness"),
}
"""Names by what they describe."""
NAMES = tuple(name for names in GROUPS.values() for name in names)


def features_of(patches: Patches) -> NDArray[np.float64]:
    """(n, features) in the order of `NAMES`."""
    rows = [_features(grey, mask) for grey, mask in zip(patches.grey, patches.masks, strict=True)]
    return np.array(rows, dtype=float).reshape(-1, len(NAMES))


def _features(grey: NDArray[np.float32], mask: NDArray[np.bool_]) -> list[float]:
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    free = ~grown if (~grown).sum() > 500 else ~mask if (~mask).sum() > 300 else np.ones_like(mask)
    level, slope, bend, flat = _ground(grey, free)
    found = [level, slope, bend]
    found += _noise(grey - flat, free, level)
    found += _blocks(grey, free)
    relative = grey / max(level, 1.0)
    low, lower, quartile, high, top = np.percentile(relative, [1, 5, 25, 95, 99])
    found += [low, lower, quartile, high, top, float(relative.std())]
    found += [
        float((relative < 0.3).mean()),
        float((relative < 0.6).mean()),
        float(((relative >= 0.6) & (relative < 0.93)).mean()),
        float((relative > 1.07).mean()),
        float(np.percentile(relative, 99.8)) - 1,
    ]
    found += _edges(relative)
    found += _inside(relative, mask)
    return found + _contrasts((grey - flat) / max(level, 1.0))


def _ground(grey: NDArray[np.float32], free: NDArray[np.bool_]) -> tuple[float, float, float, NDArray[np.float32]]:
    """Level, slope (share of it per 100 px) and bend of a surface of second degree through the ground, and it."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / (SIDE / 2) - 1
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    c, *_ = np.linalg.lstsq(terms[free], grey[free], rcond=None)
    level = float(np.median(grey[free]))
    scale = max(level, 1.0)
    flat = (terms @ c).astype(np.float32)
    return level, float(np.hypot(c[1], c[2])) / scale * 100 / 48, float(np.hypot(c[3], c[5])) / scale, flat


def _noise(off: NDArray[np.float32], free: NDArray[np.bool_], level: float) -> list[float]:
    """Standard deviation of what is finer than 2 px, the power of the ground by frequency, and its kurtosis."""
    filled = np.where(free, off, 0)
    fine = (off - cv2.GaussianBlur(off, (0, 0), 2))[free]
    power = np.abs(np.fft.rfft2(filled * np.outer(np.hanning(SIDE), np.hanning(SIDE)))) ** 2
    f = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None, :])
    bands = [power[(f >= a) & (f < a + 0.1)].mean() for a in (0.0, 0.1, 0.2, 0.3, 0.4)]
    sigma = 1.4826 * float(np.median(np.abs(fine)))
    tails = float(np.mean(np.abs(fine) > 3 * max(sigma, 0.1)))
    scale = free.mean() * 1000
    return [sigma / max(level, 1.0) * 100, *(float(np.log10(b / scale + 1e-4)) for b in bands), tails]


def _blocks(grey: NDArray[np.float32], free: NDArray[np.bool_]) -> list[float]:
    """How much larger steps are on one of the 8 phases of a grid (JPEG), and how many of its cells are smooth."""
    worth = []
    phases = []
    for axis in (0, 1):
        step = np.abs(np.diff(grey, axis=axis))
        step = np.where(free[1:] if axis == 0 else free[:, 1:], np.minimum(step, 20), np.nan)
        lines = np.nanmean(np.where(np.isnan(step).all(axis=1 - axis, keepdims=True), 0, step), axis=1 - axis)
        by_phase = np.array([lines[k::8].mean() for k in range(8)])
        phases.append(int(by_phase.argmax()))
        worth.append(by_phase.max() / max(float(np.median(by_phase)), 1e-3))
    r, c = (phases[0] + 1) % 8, (phases[1] + 1) % 8
    cells = grey[r : r + 88, c : c + 88].reshape(11, 8, 11, 8).transpose(0, 2, 1, 3).reshape(121, 64)
    return [float(np.mean(worth)), float((cells.std(axis=1) < 0.5).mean())]


def _edges(relative: NDArray[np.float32]) -> list[float]:
    smooth = cv2.GaussianBlur(relative, (0, 0), 0.8)
    gradient = np.hypot(cv2.Sobel(smooth, -1, 1, 0, scale=1 / 8), cv2.Sobel(smooth, -1, 0, 1, scale=1 / 8))
    half, most, steep = np.percentile(gradient, [50, 90, 99])
    contrast = float(np.ptp(np.percentile(smooth, [1, 99])))
    sharp = gradient > 0.5 * gradient.max()
    corner = cv2.cornerMinEigenVal(smooth, 5)
    return [
        float(half),
        float(most),
        float(steep),
        contrast / max(float(steep), 1e-4),
        float(sharp.mean()),
        float(np.log10(np.percentile(corner, 99.5) + 1e-9)),
    ]


def _inside(relative: NDArray[np.float32], mask: NDArray[np.bool_]) -> list[float]:
    """Variation of grey within objects, away from their rims; 0 where there is no inside."""
    inner = cv2.erode(mask.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
    if inner.sum() < 60:
        return [0.0, 0.0, 0.0]
    fine = relative - cv2.GaussianBlur(relative, (0, 0), 1.5)
    counts = np.histogram(np.clip(relative[inner], 0, 1.5), bins=30, range=(0, 1.5))[0]
    p = counts[counts > 0] / counts.sum()
    return [float(relative[inner].std()), float(fine[inner].std()), float(-(p * np.log2(p)).sum())]


def _contrasts(off: NDArray[np.float32]) -> list[float]:
    """Standard deviation between two blurs an octave apart, and the mean over the standard deviation."""
    out = []
    last = cv2.GaussianBlur(off, (0, 0), 1)
    for sigma in (2, 4, 8, 16):
        now = cv2.GaussianBlur(off, (0, 0), sigma)
        out.append(float(np.log10((last - now).std() + 1e-5)))
        last = now
    return [*out, float(off.mean() / max(float(off.std()), 1e-4))]
