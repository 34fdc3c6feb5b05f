"""What disturbs training pictures of the labels: things of no kind, ghosts, stripes, speckle, an empty field.

Drawn on pictures at the size that the network sees, so that every step has new ones: a rendered set holds a few hundred
fibres, hairs and dendrites, a training of some thousand steps sees ten thousand. They are drawn, not traced: for what
they must teach, that a thing is curved, branched, ragged or not sharp, their optics matter little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.core import LABELS
from crystalscope.learn.label_data import IGNORED, LabelPicture

Floats = NDArray[np.float32]
Maker = Callable[[float, np.random.Generator], Floats]

_OBJECT, _UFO, _COVER = (LABELS.index(n) for n in ("object_present", "ufo", "too_concentrated"))
_FINER = 3
"""Things are drawn on a grid this much finer and averaged."""
_EMPTY, _GHOSTS, _THINGS, _STRIPES, _SPECKLE = 0.08, 0.25, 0.25, 0.15, 0.12
"""Shares of the pictures."""


def disturbed(picture: LabelPicture, others: Sequence[LabelPicture], rng: np.random.Generator) -> LabelPicture:
    """A picture with nuisances, and what it shows then.

    Parameters
    ----------
    picture
        To be disturbed; it is left as it is.
    others
        Pictures of which ghosts are made.
    rng
        What comes, and how.
    """
    out = picture
    if rng.random() < _EMPTY:
        out = _emptied(out, rng)
    if rng.random() < _GHOSTS:
        out = _with_ghosts(out, others[int(rng.integers(len(others)))], rng)
    if rng.random() < _THINGS:
        for _ in range(int(rng.integers(1, 4))):
            out = _with_thing(out, rng)
    grey = out.grey.astype(np.float32)
    if rng.random() < _STRIPES:
        grey = _striped(grey, rng)
    if rng.random() < _SPECKLE:
        grey = _speckled(grey, rng)
    return replace(out, grey=np.clip(grey, 0, 1).astype(np.float16))


def _contrast(grey: Floats) -> float:
    low, middle, high = (float(v) for v in np.percentile(grey[::4, ::4], [1, 50, 99]))
    return max(high - low, 0.15 * middle, 0.02)


def _emptied(picture: LabelPicture, rng: np.random.Generator) -> LabelPicture:
    """Everything out of focus: what is left are ghosts, and the picture shows nothing."""
    grey = picture.grey.astype(np.float32)
    noise = grey - cv2.medianBlur(grey, 3)
    soft = cv2.GaussianBlur(grey, (0, 0), float(rng.uniform(6, 20)), borderType=cv2.BORDER_REFLECT)
    grey = soft + np.float32(min(float(noise.std()), 0.02)) * rng.standard_normal(grey.shape, dtype=np.float32)
    labels = np.zeros_like(picture.labels)
    labels[_COVER] = np.nan
    cells = None
    if picture.cells is not None:
        cells = np.zeros_like(picture.cells)
        cells[_COVER] = IGNORED
        # A blurred edge of the lit field is still an edge of it, but not to a cell.
        cells[-1] = picture.cells[-1] if (picture.cells[-1] == 100).all() else IGNORED
    return replace(picture, grey=grey.astype(np.float16), labels=labels, cells=cells)


def _with_ghosts(picture: LabelPicture, other: LabelPicture, rng: np.random.Generator) -> LabelPicture:
    """The bodies of another picture, far out of focus, behind those of this one."""
    grey, behind = picture.grey.astype(np.float32), other.grey.astype(np.float32)
    if behind.shape != grey.shape:
        behind = behind.T
    if behind.shape != grey.shape:
        return picture
    behind = cv2.GaussianBlur(behind, (0, 0), float(rng.uniform(5, 18)), borderType=cv2.BORDER_REFLECT)
    level = float(np.median(behind))
    if level > 0.1:
        grey = grey * (1 + np.float32(rng.uniform(0.3, 1)) * (np.clip(behind / level, 0.2, 1.6) - 1))
    else:
        grey = grey + np.float32(rng.uniform(0.3, 1) * _contrast(grey)) * np.clip(behind - level, 0, 1)
    labels, cells = picture.labels.copy(), picture.cells
    labels[_COVER] = np.nan
    if cells is not None:
        cells = cells.copy()
        cells[_COVER] = IGNORED
    return replace(picture, grey=np.clip(grey, 0, 1).astype(np.float16), labels=labels, cells=cells)


def _with_thing(picture: LabelPicture, rng: np.random.Generator) -> LabelPicture:
    """A thing of no kind at a place inside the field."""
    grey = picture.grey.astype(np.float32)
    name = str(rng.choice(list(_MAKERS), p=_OFTEN))
    size = float(np.exp(rng.uniform(np.log(24), np.log(0.55 * min(grey.shape)))))
    pattern = _MAKERS[name](size * _FINER, rng)
    rows, columns = (max(1, n // _FINER) for n in pattern.shape)
    pattern = cv2.resize(pattern, (columns, rows), interpolation=cv2.INTER_AREA)
    pattern = cv2.copyMakeBorder(pattern, 3, 3, 3, 3, cv2.BORDER_CONSTANT)
    inside = np.ones(grey.shape, dtype=bool)
    if picture.cells is not None and (picture.cells[-1] != IGNORED).all():
        lit = (picture.cells[-1] == 100).astype(np.uint8)
        inside = cv2.resize(lit, grey.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    high, wide = pattern.shape
    r0, c0 = (int(rng.integers(-k // 5, max(1, n - 4 * k // 5))) for n, k in zip(grey.shape, (high, wide), strict=True))
    r1, c1 = min(r0 + high, grey.shape[0]), min(c0 + wide, grey.shape[1])
    cut = pattern[max(0, -r0) : r1 - r0, max(0, -c0) : c1 - c0]
    r0, c0 = max(0, r0), max(0, c0)
    drawn = np.abs(cut) > 0.15
    if drawn.sum() < 12 or drawn.sum() < 0.65 * (np.abs(pattern) > 0.15).sum() or not inside[r0:r1, c0:c1][drawn].all():
        return picture
    here = grey[r0:r1, c0:c1]
    contrast = _contrast(grey)
    spread = float(np.std(grey - cv2.GaussianBlur(grey, (0, 0), 1.5)))
    strength = np.float32(rng.uniform(0.35, 0.95))
    dark_field = float(np.median(here)) < 0.35 * float(np.percentile(grey[::4, ::4], 99.5))
    if dark_field or rng.random() < 0.12:
        changed = here + strength * contrast * np.abs(cut)
    else:
        changed = here * (1 + strength * cut)
    # What drowns in the noise shows nothing.
    if float(np.abs(changed - here)[drawn].mean()) < max(1.5 * spread, 0.08 * contrast):
        return picture
    grey[r0:r1, c0:c1] = changed
    labels, cells = picture.labels.copy(), picture.cells
    labels[[_OBJECT, _UFO]] = 1
    if cells is not None:
        cells = cells.copy()
        share = np.zeros(grey.shape, dtype=np.float32)
        share[r0:r1, c0:c1] = drawn
        share = cv2.resize(share, cells.shape[:0:-1], interpolation=cv2.INTER_AREA)
        for k in (_OBJECT, _UFO):
            # Cells that it only grazes are left open.
            cells[k] = np.where(share >= 0.06, 100, np.where((share > 0) & (cells[k] == 0), IGNORED, cells[k]))
        known = cells[_COVER] != IGNORED
        cells[_COVER] = np.where(known, np.minimum(100, cells[_COVER] + np.round(100 * share)), IGNORED)
    return replace(picture, grey=np.clip(grey, 0, 1).astype(np.float16), labels=labels, cells=cells)


def _striped(grey: Floats, rng: np.random.Generator) -> Floats:
    """Interference between parallel windows, or the lines of a sensor."""
    angle = rng.choice([0.0, math.pi / 2, rng.uniform(0, math.pi)])
    period = float(np.exp(rng.uniform(np.log(2.5), np.log(40))))
    r, c = (np.arange(n, dtype=np.float32) for n in grey.shape)
    phase = (math.cos(angle) * c[None, :] + math.sin(angle) * r[:, None]) * np.float32(2 * math.pi / period)
    bow = np.float32(rng.normal(0, 1e-3)) * (r[:, None] - grey.shape[0] / 2) ** 2 * np.float32(1 / period)
    return np.asarray(grey * (1 + np.float32(rng.uniform(0.003, 0.07)) * np.sin(phase + bow)), dtype=np.float32)


def _speckled(grey: Floats, rng: np.random.Generator) -> Floats:
    """Coherent light: multiplied by grains."""
    grains = rng.standard_normal(grey.shape, dtype=np.float32)
    grains = cv2.GaussianBlur(grains, (0, 0), float(rng.uniform(0.4, 1.3)))
    grains *= np.float32(rng.uniform(0.03, 0.18) / max(float(grains.std()), 1e-6))
    return np.asarray(grey * np.clip(1 + grains, 0.1, 2.5), dtype=np.float32)


def _canvas(points: NDArray[np.float64], margin: float) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """An empty canvas about points (k, 2), and the points on it in 1/16 px."""
    low = points.min(axis=0) - margin
    wide, high = np.ceil(points.max(axis=0) + margin - low).astype(int) + 1
    return np.zeros((int(high), int(wide)), dtype=np.uint8), np.round(16 * (points - low)).astype(np.int32)


def _profile(mask: NDArray[np.uint8], rng: np.random.Generator) -> Floats:
    """Grey levels of a thread or rod from the distance to its edge: dark all over, or clear with dark edges."""
    inner = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 3)
    depth = inner / max(float(np.percentile(inner[inner > 0], 90)), 1.0) if (inner > 0).any() else inner
    solid = (mask / np.float32(255)).astype(np.float32)
    style = rng.random()
    if style < 0.4:
        return np.asarray(-solid, dtype=np.float32)
    if style < 0.85:
        bright = np.float32(rng.uniform(0, 0.7))
        return np.asarray(
            solid * (-1 + (1 + bright) * np.clip(depth, 0, 1) ** np.float32(rng.uniform(1, 3))), np.float32
        )
    return np.asarray(-0.5 * solid, dtype=np.float32)


def _thread(size: float, rng: np.random.Generator) -> Floats:
    """A fibre or hair that bends, curls or ends in a hook."""
    k = 60
    s = np.linspace(0, 1, k)
    turn = rng.choice([-1, 1]) * rng.uniform(0.5, 5.0)
    bend = np.ones(k) if rng.random() < 0.5 else 0.2 + 4 * s**4
    for n in range(1, 4):
        bend = bend + rng.normal(0, 0.7) * np.cos(math.pi * n * s + rng.uniform(0, 6.3))
    total = max(float(np.ptp(np.cumsum(bend) / k)), 0.2)
    angle = rng.uniform(0, 2 * math.pi) + turn * np.cumsum(bend) / k / total
    steps = np.column_stack([np.cos(angle), np.sin(angle)]) * size * rng.uniform(0.8, 2.2) / k
    path = np.cumsum(steps, axis=0)
    width = float(np.clip(size * rng.uniform(0.012, 0.06), 1.2 * _FINER, 8 * _FINER))
    canvas, points = _canvas(path, width)
    cv2.polylines(canvas, [points], False, 255, max(1, round(width)), cv2.LINE_AA, 4)
    return _profile(canvas, rng)


def _dendrite(size: float, rng: np.random.Generator) -> Floats:
    """Stems with side branches that grow shorter outwards: a fern or a star."""
    arms = int(rng.choice([1, 1, 2, 3, 4, 6]))
    spread, step = rng.uniform(0.6, 1.4), rng.uniform(0.07, 0.18)
    start = rng.uniform(0, 2 * math.pi)
    lines: list[tuple[NDArray[np.float64], NDArray[np.float64], float]] = []
    length = size * (1.0 if arms == 1 else 0.5)
    width = max(1.2 * _FINER, size * rng.uniform(0.012, 0.035))
    for a in range(arms):
        angle = start + 2 * math.pi * a / arms + rng.normal(0, 0.08)
        way = np.array([math.cos(angle), math.sin(angle)])
        reach = length * rng.uniform(0.75, 1.0)
        lines.append((np.zeros(2), reach * way, width))
        for at in np.arange(0.15, 0.95, step):
            for side in (-1, 1):
                long = reach * (1 - at) * rng.uniform(0.3, 0.7)
                root = reach * (at + rng.normal(0, 0.01)) * way
                off = angle + side * spread + rng.normal(0, 0.06)
                lines.append((root, root + long * np.array([math.cos(off), math.sin(off)]), 0.7 * width))
    ends = np.array([p for a, b, _ in lines for p in (a, b)])
    canvas, points = _canvas(ends, 2 * width)
    for i, (_, _, thick) in enumerate(lines):
        cv2.polylines(canvas, [points[2 * i : 2 * i + 2]], False, 255, max(1, round(thick)), cv2.LINE_AA, 4)
    return _profile(canvas, rng)


def _flake(size: float, rng: np.random.Generator) -> Floats:
    """A dark ragged flake, grained."""
    k = 90
    angle = np.linspace(0, 2 * math.pi, k, endpoint=False)
    r = np.ones(k)
    jag = rng.uniform(0.12, 0.4)
    for n in range(2, 30):
        r += jag / n**1.1 * rng.normal() * np.cos(n * angle + rng.uniform(0, 6.3))
    r = np.clip(r, 0.25, None)
    shape = np.column_stack([r * np.cos(angle) * rng.uniform(1, 2.2), r * np.sin(angle)])
    turn = rng.uniform(0, 2 * math.pi)
    shape = shape @ np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    canvas, points = _canvas(shape * 0.6 * size / float(np.ptp(shape, axis=0).max()), 3)
    cv2.fillPoly(canvas, [points], 255, cv2.LINE_AA, 4)
    grain = cv2.GaussianBlur(rng.standard_normal(canvas.shape, dtype=np.float32), (0, 0), max(1.5, 0.02 * size))
    grain *= np.float32(rng.uniform(0, 0.4) / max(float(grain.std()), 1e-6))
    return np.asarray(-np.clip(rng.uniform(0.5, 1.0) + grain, 0.1, 1) * (canvas / 255), dtype=np.float32)


def _smear(size: float, rng: np.random.Generator) -> Floats:
    """A streaky film that was wiped over the window."""
    turn = rng.uniform(0, math.pi)
    along, across = np.array([math.cos(turn), math.sin(turn)]), np.array([-math.sin(turn), math.cos(turn)])
    tracks = []
    for _ in range(int(rng.integers(4, 13))):
        t = np.linspace(-1, 1, 10)[:, None] * size * rng.uniform(0.2, 0.5) + rng.normal(0, 0.1) * size
        off = (rng.normal(0, 0.12) + rng.normal(0, 0.03) * np.linspace(-1, 1, 10)[:, None] ** 2) * size
        tracks.append(t * along + off * across)
    canvas, points = _canvas(np.vstack(tracks), 0.1 * size)
    sheet = np.zeros(canvas.shape, dtype=np.float32)
    for i in range(len(tracks)):
        one = np.zeros_like(canvas)
        thick = max(2, round(size * rng.uniform(0.015, 0.07)))
        cv2.polylines(one, [points[10 * i : 10 * i + 10]], False, 255, thick, cv2.LINE_AA, 4)
        sheet += np.float32(rng.uniform(0.2, 0.6)) * one / np.float32(255)
    sheet = cv2.GaussianBlur(sheet, (0, 0), max(1.0, 0.008 * size))
    return np.asarray(-np.clip(sheet, 0, 1), dtype=np.float32)


def _scratch(size: float, rng: np.random.Generator) -> Floats:
    """A long thin line, hardly bent, that fades and comes back."""
    k = 40
    x = np.linspace(-0.5, 0.5, k) * size * rng.uniform(1, 2)
    y = rng.normal(0, 0.08) * size * np.cos(math.pi * np.linspace(-0.5, 0.5, k)) + rng.normal(0, 0.003, k) * size
    turn = rng.uniform(0, math.pi)
    path = np.column_stack([x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)])
    canvas, points = _canvas(path, 6)
    width = max(1, round(rng.uniform(0.8, 1.8) * _FINER))
    strength = 0.65 + 0.35 * np.cos(np.linspace(0, rng.uniform(3, 40), k) + rng.uniform(0, 6.3))
    for i in range(k - 1):
        cv2.polylines(canvas, [points[i : i + 2]], False, int(255 * strength[i]), width, cv2.LINE_AA, 4)
    out = -(canvas / np.float32(255))
    if rng.random() < 0.5:
        # One wall of the groove is lit.
        out -= 0.8 * np.roll(out, width, axis=0)
    return np.asarray(out, dtype=np.float32)


_MAKERS: dict[str, Maker] = {
    "thread": _thread, "dendrite": _dendrite, "flake": _flake, "smear": _smear, "scratch": _scratch,
}  # fmt: skip
_OFTEN = (0.4, 0.18, 0.18, 0.12, 0.12)
