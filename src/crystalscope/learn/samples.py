"""Training samples: pictures with outlines, turned, scaled and cut at random."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.datasets import Dataset, open_dataset
from crystalscope.errors import InputError
from crystalscope.io.pictures import to_grey
from crystalscope.measure.outline import outlines
from crystalscope.segment.layout import Box, levels_of, levels_of_grey, normalised, oriented_box, slots_of

GRID = 24
"""Points across and along a body's box at which its mask is compared."""
REACH = 1.35
"""Size of that grid relative to the box, and at least this many px more."""
MARGIN_PX = 3.0
_LEAST_SIDE = 4.0
_PREFERENCE = 0.75
"""A cut is made about a body with a probability that rises with this power of its extent."""
_LEAST_SCALE = 0.3
_LEAST_SEEN = 0.12


@dataclass(frozen=True, eq=False)
class Truth:
    """A picture and its bodies.

    Parameters
    ----------
    grey
        (rows, columns) float32, full scale 1.
    outlines
        Per body polygons (k, 2) x, y on pixel corners.
    kind
        (n,) position in `core.KINDS`.
    use
        (n,) 1: to be found; 0: neither right nor wrong; -1: not to be found (a ghost).
    guesses
        What a first look took for bodies: boxes, and the position of the body in `outlines`, None where there is none.
    """

    grey: NDArray[np.float32]
    outlines: list[list[NDArray[np.float32]]]
    kind: NDArray[np.int64]
    use: NDArray[np.int64]
    guesses: tuple[tuple[Box, int | None], ...] = ()

    @cached_property
    def extents(self) -> NDArray[np.float64]:
        """(n,) diagonal of each body's bounding box, px."""
        return np.array([np.hypot(*np.ptp(np.concatenate(p), axis=0)) for p in self.outlines])

    @cached_property
    def levels(self) -> NDArray[np.float64]:
        """Percentiles of the whole picture, see `segment.layout.normalised`."""
        return levels_of_grey(self.grey[::3, ::3])


@dataclass(frozen=True, eq=False)
class Guess:
    """What a first look took for a body in a sample: its box, and the body's polygons (none where there is none)."""

    box: Box
    outline: list[NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Target:
    """A body in a sample: box, slots, levels and its mask on a grid of its own box.

    Parameters
    ----------
    box
        x, y, length, width, angle.
    places
        (level, slot) pairs that answer for it.
    kind, use
        See `Truth`.
    points
        (GRID, GRID, 2) x, y of the grid, px of the sample.
    mask
        (GRID, GRID) 0 or 1.
    outline
        Polygons (k, 2) x, y, px of the sample, also beyond it.
    """

    box: NDArray[np.float32]
    places: list[tuple[int, int]]
    kind: int
    use: int
    points: NDArray[np.float32]
    mask: NDArray[np.float32]
    outline: list[NDArray[np.float32]]


def load_truth(dataset: Dataset | str | Path, *, files: Collection[str] | None = None) -> list[Truth]:
    """Pictures and outlines of a dataset; of a rendered one, ghosts and the blur too.

    Parameters
    ----------
    dataset
        The dataset, or its folder.
    files
        Pictures to take; None: all that have outlines.

    Raises
    ------
    InputError
        When no picture has an outline.
    """
    data = dataset if isinstance(dataset, Dataset) else open_dataset(dataset)
    annotated = data.truth()
    table = data.root / "particles.csv"
    blur = _blur_ratio(pd.read_csv(table)) if table.exists() else {}
    out = []
    for i, name in enumerate(data.frames["file"].astype(str)):
        entry = annotated.get(name)
        if entry is None or (files is not None and name not in files):
            continue
        grey = to_grey(np.asarray(data.read(i).data), bits=16)
        use = np.where(entry.ignore, 0, 1)
        for k, number in enumerate(entry.ids):
            if int(number) in blur:
                ratio, seen, side = blur[int(number)]
                sharp = ratio <= 1 and seen >= _LEAST_SEEN and side >= _LEAST_SIDE
                use[k] = 1 if sharp else -1 if ratio > 1.4 else 0
        polygons = [[p.astype(np.float32) for p in parts] for parts in outlines(entry.instances)]
        out.append(Truth(grey, polygons, entry.instances.kind.astype(np.int64), use.astype(np.int64)))
    if not any((t.use == 1).any() for t in out):
        raise InputError(f"expected outlines in {data.root}, got none; annotate pictures or name another dataset")
    return out


def _blur_ratio(table: pd.DataFrame) -> dict[int, tuple[float, float, float]]:
    """Per particle: blur over its limit, share that is visible, smaller Feret diameter in px."""
    unit = "px" if "blur_px" in table else "um"
    scale = 1.0
    if unit == "um":
        scale = 1.0 if "pixel_size_um" not in table else 1.0 / float(table["pixel_size_um"].iloc[0])
    limit = (5 + 0.1 * table[f"ecd_{unit}"] * scale) / 2.5
    ratio = np.where(table["in_focus"].astype(bool), 1.0, np.maximum(table[f"blur_{unit}"] * scale / limit, 1.01))
    return {
        int(n): (float(r), float(s), float(f))
        for n, r, s, f in zip(
            table["particle"], ratio, table["visible_share"], table[f"feret_min_{unit}"] * scale, strict=True
        )
    }


def sample(
    truth: Truth, *, size: int, rng: np.random.Generator, widest: float = 2.0
) -> tuple[NDArray[np.float32], list[Target], list[Guess]]:
    """A square cut of a picture, turned, mirrored, scaled and with other grey levels.

    Parameters
    ----------
    truth
        The picture.
    size
        Edge of the cut, px.
    rng
        Draws.
    widest
        Scales from 1 / widest to widest, evenly in the logarithm.

    Returns
    -------
    (size, size) as the network sees it, the bodies in it, and the guesses of a first look.
    """
    rows, columns = truth.grey.shape
    scale = math.exp(rng.uniform(-1, 1) * math.log(widest))
    turn = rng.uniform(0, 2 * math.pi) if rng.random() < 0.5 else float(rng.integers(4)) * math.pi / 2
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    found = np.flatnonzero(truth.use == 1)
    if found.size and rng.random() < 0.8:
        # Large bodies and agglomerates are few beside specks: they are taken more often, and shown whole.
        weight = truth.extents[found] ** _PREFERENCE
        chosen = int(rng.choice(found, p=weight / weight.sum()))
        points = truth.outlines[chosen][0]
        if truth.extents[chosen] * scale > 0.9 * size:
            scale = max(rng.uniform(0.4, 0.9) * size / truth.extents[chosen], _LEAST_SCALE)
        centre = points.mean(axis=0) + rng.uniform(-0.35, 0.35, 2) * size / scale
    else:
        centre = rng.uniform(0, 1, 2) * [columns, rows]
    c, s = math.cos(turn) * scale, math.sin(turn) * scale
    linear = np.array([[c * mirror, -s], [s * mirror, c]])
    shift = np.array([size / 2, size / 2]) - linear @ centre
    # Half a pixel: outlines are on pixel corners, the warp works on pixel centres.
    half = np.array([0.5, 0.5])
    matrix = np.column_stack([linear, linear @ half + shift - half])
    flags = cv2.INTER_AREA if scale < 0.7 else cv2.INTER_LINEAR
    source = truth.grey
    if scale < 0.6:
        source = cv2.GaussianBlur(source, (0, 0), 0.4 / scale)
    # Beyond the picture there is plain ground: mirrored bodies would be there without an outline.
    ground = float(np.median(source[::8, ::8]))
    cut = cv2.warpAffine(source, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=ground)
    inside = cv2.warpAffine(np.ones_like(source, dtype=np.uint8), matrix, (size, size), flags=cv2.INTER_NEAREST)
    targets = []
    placed = [[p @ linear.T.astype(np.float32) + shift.astype(np.float32) for p in parts] for parts in truth.outlines]
    for k, moved in enumerate(placed):
        target = _target(moved, inside, int(truth.kind[k]), int(truth.use[k]), size)
        if target is not None:
            targets.append(target)
    guesses = []
    for box, body in truth.guesses:
        x, y = linear @ [box.x, box.y] + shift
        if 0 < x < size and 0 < y < size:
            along = linear @ [math.cos(box.angle), math.sin(box.angle)]
            there = Box(float(x), float(y), box.length * scale, box.width * scale, math.atan2(along[1], along[0]))
            guesses.append(Guess(there, [] if body is None else placed[body]))
    return _regraded(cut, truth.levels, rng), targets, guesses


def _target(
    parts: list[NDArray[np.float32]], inside: NDArray[np.uint8], kind: int, use: int, size: int
) -> Target | None:
    low, high = np.min([p.min(axis=0) for p in parts], axis=0), np.max([p.max(axis=0) for p in parts], axis=0)
    if (high <= 0).any() or (low >= size).any() or (high - low).max() < 3:
        return None
    r0, c0 = max(int(low[1]) - 1, 0), max(int(low[0]) - 1, 0)
    r1, c1 = min(int(high[1]) + 2, size), min(int(high[0]) + 2, size)
    if r0 >= r1 or c0 >= c1:
        return None
    fine = 4
    crop = np.zeros(((r1 - r0) * fine, (c1 - c0) * fine), dtype=np.uint8)
    scaled = [np.round((p - [c0, r0]) * fine * 16 - 8).astype(np.int32) for p in parts]
    cv2.fillPoly(crop, scaled, 1, shift=4)
    whole = cv2.resize(crop * 255, (c1 - c0, r1 - r0), interpolation=cv2.INTER_AREA) > 127
    whole &= inside[r0:r1, c0:c1] > 0
    if whole.sum() < 8:
        return None
    rows, columns = np.nonzero(whole)
    corners = np.column_stack([columns, rows]).astype(np.float64)
    hull = cv2.convexHull(corners.astype(np.float32))[:, 0, :]
    # The corners of the pixels, not their centres.
    hull = np.concatenate([hull + d for d in ([0, 0], [1, 0], [0, 1], [1, 1])])
    box = oriented_box(hull + np.array([c0, r0]))
    u = np.linspace(-1, 1, GRID)
    along = box.length * REACH / 2 + MARGIN_PX
    across = box.width * REACH / 2 + MARGIN_PX
    cos, sin = math.cos(box.angle), math.sin(box.angle)
    du, dv = np.meshgrid(u * along, u * across)
    points = np.stack([box.x + du * cos - dv * sin, box.y + du * sin + dv * cos], axis=-1).astype(np.float32)
    on_fine = (points - [c0, r0]) * fine - 0.5
    cropped = cv2.resize(whole.astype(np.uint8), crop.shape[::-1], interpolation=cv2.INTER_NEAREST)
    mask = cv2.remap(
        (crop * cropped).astype(np.float32),
        on_fine[..., 0].astype(np.float32),
        on_fine[..., 1].astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
    )
    # What is seen of less than a fifth of a body's width is no body to learn from.
    small = min(box.length, box.width) < _LEAST_SIDE * 0.75
    places = [(level, slot) for level in levels_of(box) for slot in slots_of(box)]
    values = np.array([box.x, box.y, box.length, box.width, box.angle], dtype=np.float32)
    return Target(
        values, places, kind, 0 if small and use == 1 else use, points, (mask > 0.5).astype(np.float32), parts
    )


def _regraded(cut: NDArray[np.float32], whole: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Other grey levels: inverted, another gamma, a slope, noise, blur; then normalised.

    `whole` are the levels of the whole picture, by which a cut is normalised as often as by its own: inference sees
    whole pictures, empty and crowded ones.
    """
    out, levels = cut, whole
    if rng.random() < 0.25:
        out, levels = 1 - out, 1 - levels[::-1]
    if rng.random() < 0.4:
        gamma = rng.uniform(0.6, 1.6)
        out, levels = np.clip(out, 1e-4, 1) ** gamma, np.clip(levels, 1e-4, 1) ** gamma
    if rng.random() < 0.3:
        n = out.shape[0]
        slope = np.linspace(-1, 1, n, dtype=np.float32)
        out = out * (1 + rng.uniform(-0.3, 0.3) * slope[None, :] + rng.uniform(-0.3, 0.3) * slope[:, None])
    if rng.random() < 0.2:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.3, 0.7))
    if rng.random() < 0.35:
        spread = float(out.std())
        out = out + rng.normal(0, rng.uniform(0, 0.25) * spread, out.shape).astype(np.float32)
    if rng.random() < 0.5:
        levels = levels_of_grey(out[::2, ::2])
    out = normalised(out.astype(np.float32), levels)
    return out * np.float32(math.exp(rng.uniform(-0.3, 0.3))) + np.float32(rng.uniform(-0.1, 0.1))


def batches(
    truths: Sequence[Truth], *, size: int, count: int, rng: np.random.Generator, widest: float = 2.0
) -> tuple[NDArray[np.float32], list[list[Target]]]:
    """`count` samples: (count, 1, size, size) and their bodies."""
    pictures, all_targets = [], []
    for _ in range(count):
        picture, targets, _ = sample(truths[int(rng.integers(len(truths)))], size=size, rng=rng, widest=widest)
        pictures.append(picture)
        all_targets.append(targets)
    return np.stack(pictures)[:, None], all_targets


def describe(truths: Sequence[Truth]) -> dict[str, Any]:
    """Numbers of a training set for its card."""
    return {
        "pictures": len(truths),
        "bodies": int(sum((t.use == 1).sum() for t in truths)),
        "ghosts": int(sum((t.use == -1).sum() for t in truths)),
    }
