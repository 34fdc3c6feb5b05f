"""The particles of one picture, overlapping ones included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystalscope.errors import InputError

KINDS = ("crystal", "agglomerate", "bubble", "droplet", "other")
"""Kinds of particle; `Instances.kind` holds positions in this tuple."""


@dataclass(frozen=True)
class FieldOfView:
    """The part of a picture in which particles are counted.

    Parameters
    ----------
    shape
        (rows, columns) of the picture, px.
    disc
        (row, column, radius) in px of an illuminated disc (flow cell), or None: the whole picture.
    """

    shape: tuple[int, int]
    disc: tuple[float, float, float] | None = None

    @property
    def area_px(self) -> float:
        """Area of the field in px² (a disc is taken to lie inside the picture)."""
        if self.disc is None:
            return float(self.shape[0] * self.shape[1])
        return math.pi * self.disc[2] ** 2

    def mask(self) -> NDArray[np.bool_]:
        """Shape (rows, columns): True inside the field."""
        if self.disc is None:
            return np.ones(self.shape, dtype=bool)
        row, column, radius = self.disc
        r = np.arange(self.shape[0])[:, None] - row
        c = np.arange(self.shape[1])[None, :] - column
        return np.asarray(r * r + c * c <= radius * radius)


@dataclass(frozen=True, eq=False)
class Instances:
    """The particles found in one picture; each has its own full mask, so they may overlap.

    Masks are stored as crops laid end to end: particle i occupies rows ``boxes[i, 0]:boxes[i, 2]`` and
    columns ``boxes[i, 1]:boxes[i, 3]``, and its crop, in row-major order, is
    ``pixels[offsets[i]:offsets[i + 1]]``. Compiled code walks this without copies.

    Parameters
    ----------
    field
        The field of view; its shape is that of the picture.
    boxes
        (n, 4) int32: first row, first column, one past the last row, one past the last column.
    pixels
        uint8, 0 or 1, the crops laid end to end.
    offsets
        (n + 1,) int64 into `pixels`.
    score
        (n,) float32 confidence, 0 to 1.
    kind
        (n,) uint8 position in `KINDS`; crystal by default.
    focus
        (n,) float32 edge sharpness in 1/px (see `prepare.focus`); NaN where unknown.
    in_focus
        (n,) bool; True by default.
    agglomerate
        (n,) int32: 0, or the number of the agglomerate of which the particle is a primary.
    visible
        Like `pixels`: what is not covered by another particle; None where nothing is covered.

    Raises
    ------
    InputError
        When the arrays do not fit each other.
    """

    field: FieldOfView
    boxes: NDArray[np.int32]
    pixels: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    score: NDArray[np.float32]
    # None stands for the default only in the constructor; afterwards there is an array.
    kind: NDArray[np.uint8] = None  # type: ignore[assignment]
    focus: NDArray[np.float32] = None  # type: ignore[assignment]
    in_focus: NDArray[np.bool_] = None  # type: ignore[assignment]
    agglomerate: NDArray[np.int32] = None  # type: ignore[assignment]
    visible: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        n = len(self.boxes)
        filled: dict[str, NDArray[np.generic]] = {
            "boxes": np.ascontiguousarray(self.boxes, dtype=np.int32).reshape(n, 4),
            "pixels": np.ascontiguousarray(self.pixels, dtype=np.uint8),
            "offsets": np.ascontiguousarray(self.offsets, dtype=np.int64),
            "score": np.ascontiguousarray(self.score, dtype=np.float32),
            "kind": _filled(self.kind, n, 0, np.uint8),
            "focus": _filled(self.focus, n, math.nan, np.float32),
            "in_focus": _filled(self.in_focus, n, True, np.bool_),
            "agglomerate": _filled(self.agglomerate, n, 0, np.int32),
        }
        if self.visible is not None:
            filled["visible"] = np.ascontiguousarray(self.visible, dtype=np.uint8)
            if filled["visible"].shape != filled["pixels"].shape:
                raise InputError("expected visible masks laid out as the full masks")
        for name in ("score", "kind", "focus", "in_focus", "agglomerate"):
            if filled[name].shape != (n,):
                raise InputError(f"expected {n} values of {name}, got shape {filled[name].shape}")
        b = filled["boxes"].astype(np.int64)
        areas = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
        offsets = filled["offsets"]
        if offsets.shape != (n + 1,) or not np.array_equal(np.diff(offsets), areas):
            raise InputError("expected offsets that fit the boxes")
        if n and (
            b[:, :2].min() < 0
            or b[:, 2].max() > self.field.shape[0]
            or b[:, 3].max() > self.field.shape[1]
            or areas.min() < 1
        ):
            raise InputError(f"expected boxes inside the picture of shape {self.field.shape}")
        for name, array in filled.items():
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.boxes)

    def crop(self, index: int) -> NDArray[np.bool_]:
        """Full mask of one particle, cropped to its box."""
        r0, c0, r1, c1 = self.boxes[index]
        flat = self.pixels[self.offsets[index] : self.offsets[index + 1]]
        return flat.reshape(r1 - r0, c1 - c0).astype(bool)

    def visible_crop(self, index: int) -> NDArray[np.bool_]:
        """Visible mask of one particle, cropped to its box."""
        if self.visible is None:
            return self.crop(index)
        r0, c0, r1, c1 = self.boxes[index]
        flat = self.visible[self.offsets[index] : self.offsets[index + 1]]
        return flat.reshape(r1 - r0, c1 - c0).astype(bool)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Full mask of one particle in the whole picture, shape (rows, columns)."""
        out = np.zeros(self.field.shape, dtype=bool)
        r0, c0, r1, c1 = self.boxes[index]
        out[r0:r1, c0:c1] = self.crop(index)
        return out

    def labels(self) -> NDArray[np.int32]:
        """Label picture (rows, columns): particle i is i + 1; where particles overlap, the later one shows."""
        out = np.zeros(self.field.shape, dtype=np.int32)
        for i, (r0, c0, r1, c1) in enumerate(self.boxes):
            out[r0:r1, c0:c1][self.crop(i)] = i + 1
        return out

    def select(self, keep: ArrayLike) -> Instances:
        """The particles where `keep` (n, bool) is True, or at positions `keep` (int), as new Instances."""
        k = np.asarray(keep)
        if k.dtype == bool:
            if k.shape != (len(self),):
                raise InputError(f"expected {len(self)} values of keep, got shape {k.shape}")
            k = np.flatnonzero(k)
        parts = [self.pixels[self.offsets[i] : self.offsets[i + 1]] for i in k]
        seen = None
        if self.visible is not None:
            seen = [self.visible[self.offsets[i] : self.offsets[i + 1]] for i in k]
        return Instances(
            self.field,
            self.boxes[k],
            _joined(parts),
            np.concatenate([[0], np.cumsum([p.size for p in parts], dtype=np.int64)]).astype(np.int64),
            self.score[k],
            self.kind[k],
            self.focus[k],
            self.in_focus[k],
            self.agglomerate[k],
            None if seen is None else _joined(seen),
        )

    @staticmethod
    def from_masks(
        masks: Sequence[NDArray[np.bool_]],
        *,
        field: FieldOfView,
        score: ArrayLike | None = None,
        kind: ArrayLike | None = None,
        visible: Sequence[NDArray[np.bool_]] | None = None,
    ) -> Instances:
        """Instances from masks of the whole picture, each (rows, columns) and not empty; they may overlap.

        `visible`: what is seen of each, where something covers it.
        """
        for mask in masks:
            if np.shape(mask) != field.shape:
                raise InputError(f"expected masks of shape {field.shape}, got shape {np.shape(mask)}")
        corners = np.zeros((len(masks), 2), dtype=np.int64)
        return Instances.from_crops(masks, corners, field=field, score=score, kind=kind, visible=visible)

    @staticmethod
    def from_crops(
        crops: Sequence[NDArray[np.bool_]],
        corners: ArrayLike,
        *,
        field: FieldOfView,
        score: ArrayLike | None = None,
        kind: ArrayLike | None = None,
        in_focus: ArrayLike | None = None,
        visible: Sequence[NDArray[np.bool_]] | None = None,
    ) -> Instances:
        """Instances from masks cut out of the picture; they may overlap.

        Parameters
        ----------
        crops
            Full masks, each (rows, columns) of its own and not empty; empty margins are cut off.
        corners
            (n, 2) row and column of the first pixel of every crop in the picture.
        field
            The field of view; its shape is that of the picture.
        score, kind, in_focus
            (n,) as in `Instances`; None: the default.
        visible
            What is seen of each, of the shapes of `crops`, where something covers it.

        Raises
        ------
        InputError
            When a crop is empty or has pixels outside the picture.
        """
        origin = np.asarray(corners, dtype=np.int64).reshape(len(crops), 2)
        boxes = np.zeros((len(crops), 4), dtype=np.int64)
        parts: list[NDArray[np.uint8]] = []
        seen: list[NDArray[np.uint8]] = []
        for i, mask in enumerate(crops):
            m = np.asarray(mask, dtype=bool)
            rows, columns = np.flatnonzero(m.any(axis=1)), np.flatnonzero(m.any(axis=0))
            if rows.size == 0:
                raise InputError(f"expected masks with pixels, got an empty one of shape {m.shape}")
            inside = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            boxes[i] = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
            parts.append(m[inside].astype(np.uint8).ravel())
            if visible is not None:
                seen.append(np.asarray(visible[i], dtype=bool)[inside].astype(np.uint8).ravel())
        n = len(boxes)
        return Instances(
            field,
            (boxes + np.tile(origin, 2)).astype(np.int32),
            _joined(parts),
            np.concatenate([[0], np.cumsum([p.size for p in parts], dtype=np.int64)]).astype(np.int64),
            np.ones(n, np.float32) if score is None else np.asarray(score, dtype=np.float32),
            None if kind is None else np.asarray(kind, dtype=np.uint8),  # type: ignore[arg-type]
            in_focus=None if in_focus is None else np.asarray(in_focus, dtype=bool),  # type: ignore[arg-type]
            visible=None if visible is None else _joined(seen),
        )

    @staticmethod
    def empty(field: FieldOfView) -> Instances:
        """No particle."""
        return Instances.from_masks([], field=field)


def _filled(
    values: NDArray[np.generic] | None, n: int, default: object, dtype: type[np.generic]
) -> NDArray[np.generic]:
    return np.full(n, default, dtype=dtype) if values is None else np.ascontiguousarray(values, dtype=dtype)


def _joined(parts: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint8)
