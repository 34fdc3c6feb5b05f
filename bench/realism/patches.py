"""Patches of real and rendered pictures, taken in the same way from both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 96
"""Rows and columns of a patch, px."""
_REDUCED = 8
_BINS = np.array([0.0, 0.01, 0.03, 0.06, 0.1, 0.16, 0.25, 0.4, 0.6, 1.01])
"""Of the share of object pixels in a patch; both sides get equal numbers in each."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A grey picture to take patches from.

    Parameters
    ----------
    grey
        (rows, columns), 0 to 255.
    group
        What must not be torn apart by a split: number of a real frame, of a rendered picture.
    field
        (row, column, radius) of the part to use, px; None: all of it.
    """

    grey: NDArray[np.float32]
    group: str
    field: tuple[float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class Patches:
    """Patches and where they come from.

    Parameters
    ----------
    grey
        (n, SIDE, SIDE), 0 to 255.
    masks
        (n, SIDE, SIDE) what differs from the ground.
    groups
        (n,) see `Picture.group`.
    """

    grey: NDArray[np.float32]
    masks: NDArray[np.bool_]
    groups: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.grey)

    def __getitem__(self, keep: NDArray[np.intp] | NDArray[np.bool_]) -> Patches:
        return Patches(self.grey[keep], self.masks[keep], self.groups[keep])

    @property
    def shares(self) -> NDArray[np.float64]:
        """(n,) share of object pixels."""
        return self.masks.mean(axis=(1, 2))


def joined(*parts: Patches) -> Patches:
    """All patches of several sets."""
    return Patches(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("grey", "masks", "groups")))


def grey_of(data: NDArray[np.generic]) -> NDArray[np.float32]:
    """A picture of 8 or 16 bit, grey or RGB, as grey from 0 to 255."""
    out = np.asarray(data, dtype=np.float32)
    if data.dtype == np.uint16:
        # What an 8 bit camera would have kept of it: no look gives itself away by its depth of bits.
        out = np.floor(out / 256)
    return cv2.cvtColor(out, cv2.COLOR_RGB2GRAY) if out.ndim == 3 else out


def object_mask(grey: NDArray[np.float32]) -> NDArray[np.bool_]:
    """What differs from the ground: sharp crystals and ghosts alike.

    The ground is the median over about 330 px; the limit is 5 robust standard deviations of the picture smoothed by
    1.5 px about it, at least 5 grey levels. Fails where objects cover more than half of a window of that size.
    """
    small = cv2.resize(grey, None, fx=1 / _REDUCED, fy=1 / _REDUCED, interpolation=cv2.INTER_AREA)
    window = min(41, 2 * (min(small.shape) // 4) + 1)
    ground = cv2.medianBlur(np.round(small).astype(np.uint8), window).astype(np.float32)
    ground = cv2.resize(cv2.GaussianBlur(ground, (0, 0), 4), grey.shape[::-1], interpolation=cv2.INTER_CUBIC)
    off = cv2.GaussianBlur(grey, (0, 0), 1.5) - ground
    limit = max(5.0, 5 * 1.4826 * float(np.median(np.abs(off - np.median(off)))))
    mask = (np.abs(off) > limit).astype(np.uint8)
    return cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).astype(bool)


def take(picture: Picture, *, number: int, rng: np.random.Generator) -> Patches:
    """Up to `number` patches: half about objects, half on the ground.

    Patches about objects are centred on one to within 20 px, every object being as likely as another; patches on the
    ground hold at most 1 % of object pixels. Centres are at least half a side apart. `masks` of the patches are those
    of the whole picture.
    """
    rows, columns = picture.grey.shape
    mask = object_mask(picture.grey)
    half = SIDE // 2
    _, _, stats, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    found = centres[1:][stats[1:, cv2.CC_STAT_AREA] >= 12][:, ::-1]
    found = found[rng.permutation(len(found))] + rng.uniform(-20, 20, found.shape)
    free = np.column_stack([rng.uniform(half, rows - half, 4000), rng.uniform(half, columns - half, 4000)])
    share = cv2.boxFilter(mask.astype(np.float32), -1, (SIDE, SIDE), borderType=cv2.BORDER_REFLECT)
    taken: list[tuple[int, int]] = []
    for candidates, objects in ((found, True), (free, False)):
        left = number // 2
        for r, c in candidates:
            if left == 0:
                break
            at = (round(float(np.clip(r, half, rows - half))), round(float(np.clip(c, half, columns - half))))
            if (objects or share[at] <= 0.01) and _allowed(at, taken, picture.field):
                taken.append(at)
                left -= 1
    cuts = [(slice(r - half, r + half), slice(c - half, c + half)) for r, c in taken]
    shape = (len(cuts), SIDE, SIDE)
    return Patches(
        np.array([picture.grey[cut] for cut in cuts], dtype=np.float32).reshape(shape),
        np.array([mask[cut] for cut in cuts], dtype=bool).reshape(shape),
        np.full(len(cuts), picture.group),
    )


def corners(picture: Picture) -> Patches:
    """The four corners of a crop, which may overlap; where it is larger than two sides, those about its middle."""
    rows, columns = picture.grey.shape
    h, w = min(rows, 2 * SIDE), min(columns, 2 * SIDE)
    top, left = (rows - h) // 2, (columns - w) // 2
    mask = object_mask(picture.grey)
    cuts = [(slice(r, r + SIDE), slice(c, c + SIDE)) for r in (top, top + h - SIDE) for c in (left, left + w - SIDE)]
    return Patches(
        np.array([picture.grey[cut] for cut in cuts]),
        np.array([mask[cut] for cut in cuts]),
        np.full(len(cuts), picture.group),
    )


def _allowed(at: tuple[int, int], taken: list[tuple[int, int]], field: tuple[float, float, float] | None) -> bool:
    if field is not None and np.hypot(at[0] - field[0], at[1] - field[1]) > field[2]:
        return False
    return all(max(abs(at[0] - r), abs(at[1] - c)) >= SIDE // 2 for r, c in taken)


def matched(real: Patches, rendered: Patches, *, rng: np.random.Generator) -> tuple[Patches, Patches]:
    """As many patches of one side as of the other for every share of object pixels, drawn at random."""
    bins = [np.digitize(p.shares, _BINS) for p in (real, rendered)]
    keep: tuple[list[int], list[int]] = ([], [])
    for b in range(1, len(_BINS) + 1):
        members = [np.flatnonzero(side == b) for side in bins]
        n = min(len(m) for m in members)
        for kept, m in zip(keep, members, strict=True):
            kept += rng.permutation(m)[:n].tolist()
    return real[np.array(sorted(keep[0]), dtype=int)], rendered[np.array(sorted(keep[1]), dtype=int)]


def quarters(pictures: Iterator[Picture]) -> Iterator[Picture]:
    """Each picture as four, every one a group of its own: where there are too few pictures to split them."""
    for p in pictures:
        rows, columns = p.grey.shape
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            r, c = i * rows // 2, j * columns // 2
            part = p.grey[r : r + rows // 2, c : c + columns // 2]
            field = None if p.field is None else (p.field[0] - r, p.field[1] - c, p.field[2])
            yield Picture(part, f"{p.group}/{i}{j}", field)
