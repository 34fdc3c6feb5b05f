"""Pictures of three classes for the published network: weights of the classes, crops, augmentation."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystalscope.datasets import Dataset
from crystalscope.datasets.rendered import SEMANTIC, class_picture
from crystalscope.errors import InputError
from crystalscope.io.masks import read_mask
from crystalscope.io.pictures import to_grey
from crystalscope.learn.semantic_net import CLASSES
from crystalscope.prepare.field import find_field
from crystalscope.segment.semantic import seen

SIZE = 224
"""Edge of the training pictures, px."""
IGNORED = 255
"""Class of pixels beyond the picture."""
_SHEAR_DEG, _SHIFT_PX, _ZOOM = 45.0, 100.0, (0.75, 1.5)


@dataclass(frozen=True, eq=False)
class ClassPicture:
    """A picture and the class of each pixel.

    Parameters
    ----------
    name
        Of the picture.
    grey
        (rows, columns) float32 as the network sees it.
    classes
        (rows, columns) uint8: 0 black background, 1 light background, 2 crystal; 255 does not count.
    """

    name: str
    grey: NDArray[np.float32]
    classes: NDArray[np.uint8]


def class_weights(pixels: ArrayLike, pictures: ArrayLike) -> NDArray[np.float64]:
    """Weights of the classes by median frequency, rarer classes heavier.

    Parameters
    ----------
    pixels
        Pixels of each class.
    pictures
        Pixels of the pictures that hold the class at all.

    Returns
    -------
    (k,) median frequency over frequency; a class that never occurs weighs 0.

    Notes
    -----
    Eigen and Fergus (ICCV 2015), as in Chem. Ing. Tech. 2023, 95, 1146, Table 2.
    """
    count, held = np.asarray(pixels, dtype=float), np.asarray(pictures, dtype=float)
    if count.shape != held.shape or (count < 0).any() or (count > held).any():
        raise InputError(
            f"expected as many pixels of each class as its pictures hold at most, got {count.tolist()} of "
            f"{held.tolist()}; check the counts"
        )
    occurs = count > 0
    frequency = np.divide(count, held, out=np.zeros_like(count), where=occurs)
    if not occurs.any():
        raise InputError("expected pixels of at least one class, got none; check the class pictures")
    middle = float(np.median(frequency[occurs]))
    return np.divide(middle, frequency, out=np.zeros_like(count), where=occurs)


def weights_of(pictures: Sequence[ClassPicture]) -> NDArray[np.float64]:
    """Weights of the three classes over some pictures, see `class_weights`."""
    pixels, held = np.zeros(CLASSES), np.zeros(CLASSES)
    for p in pictures:
        counts = np.bincount(p.classes.ravel(), minlength=256)[:CLASSES]
        pixels += counts
        held += (counts > 0) * counts.sum()
    return class_weights(pixels, held)


def files_with_classes(data: Dataset) -> list[str]:
    """Pictures of a dataset that have a class picture or outlines."""
    truth = data.truth()
    return [n for n in data.frames["file"].astype(str) if n in truth or _class_file(data, n).exists()]


def _class_file(data: Dataset, name: str) -> Path:
    return data.root / SEMANTIC / f"{Path(name).stem}.png"


def load_classes(data: Dataset, *, files: Collection[str] | None = None) -> list[ClassPicture]:
    """Pictures of a dataset with their classes.

    Class pictures are taken from its folder ``semantic`` (PNG of the name of the picture; 0 black background, 1 light
    background, 2 crystal). Where a picture has none they are made of its outlines: crystals and agglomerates that are
    not to be ignored on light background, and black where the picture has a lit disc.

    Parameters
    ----------
    data
        The dataset.
    files
        Pictures to take; None: all that have classes.

    Raises
    ------
    InputError
        When no picture has classes, or a class picture is not of its picture.
    """
    truth = data.truth()
    out = []
    for i, name in enumerate(data.frames["file"].astype(str)):
        if files is not None and name not in files:
            continue
        given = _class_file(data, name)
        if not given.exists() and name not in truth:
            continue
        grey = to_grey(np.asarray(data.read(i).data), bits=16)
        if given.exists():
            classes = _checked(read_mask(given), grey, given.name)
        else:
            entry = truth[name]
            found = replace(entry.instances, field=find_field(grey))
            classes = class_picture(found.select(~entry.ignore))
        out.append(ClassPicture(name, seen(grey), classes))
    if not out:
        raise InputError(
            f"expected class pictures in {data.root / SEMANTIC} or outlines in {data.root}, got neither; annotate "
            "pictures or name another dataset"
        )
    return out


def _checked(mask: NDArray[np.int64], grey: NDArray[np.float32], name: str) -> NDArray[np.uint8]:
    if mask.shape != grey.shape:
        raise InputError(
            f"expected a class picture of {grey.shape[1]} x {grey.shape[0]} px in {name}, got {mask.shape[1]} x "
            f"{mask.shape[0]}; write it at the size of its picture"
        )
    if mask.max() >= CLASSES:
        raise InputError(
            f"expected the classes 0 (black background), 1 (light background), 2 (crystal) in {name}, got "
            f"{int(mask.max())}; write single-channel pictures of these values"
        )
    return mask.astype(np.uint8)


def cut(picture: ClassPicture, kind: str, *, rng: np.random.Generator) -> ClassPicture:
    """One of the four published crops, resized to 224 x 224.

    Parameters
    ----------
    picture
        The whole picture.
    kind
        ``whole``: the square that the lit disc (or the picture) fills; ``centre``: its central quarter; ``corner``: one
        of its four quarters; ``lens``: the largest square within the disc.
    rng
        Draws the corner.
    """
    row, column, radius = _lit(picture.classes)
    half = radius
    if kind == "centre":
        half = radius / 2
    elif kind == "corner":
        half = radius / 2
        row += half * rng.choice([-1, 1])
        column += half * rng.choice([-1, 1])
    elif kind == "lens":
        half = radius / math.sqrt(2)
    elif kind != "whole":
        raise InputError(f"expected a crop whole, centre, corner or lens, got {kind!r}")
    scale = SIZE / (2 * half)
    matrix = np.array([[scale, 0, SIZE / 2 - 0.5 - scale * column], [0, scale, SIZE / 2 - 0.5 - scale * row]])
    return _warped(picture, matrix, smooth=0.4 / scale if scale < 0.7 else 0.0)


def _lit(classes: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Row, column and radius of the lit disc, or of the largest circle in a picture that is lit throughout."""
    lit = (classes == 1) | (classes == 2)
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    if not rows.size:
        rows, columns = np.arange(classes.shape[0]), np.arange(classes.shape[1])
    high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    # A disc that the edge of the picture cuts shows its diameter in one direction only.
    extent = max(high, wide) if (classes == 0).any() else min(high, wide)
    return (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2, extent / 2


CROPS = (("whole", 138), ("centre", 75), ("corner", 88), ("lens", 224))
"""Kinds of crops and how many of them were published (Table 1)."""


def crops(pictures: Sequence[ClassPicture], number: int, *, rng: np.random.Generator) -> list[ClassPicture]:
    """`number` training pictures cut from some pictures in turn, in the published proportions of the four kinds."""
    share = np.array([n for _, n in CROPS], dtype=float)
    kinds = rng.choice([k for k, _ in CROPS], size=number, p=share / share.sum())
    return [cut(pictures[i % len(pictures)], str(kind), rng=rng) for i, kind in enumerate(kinds)]


def augmented(picture: ClassPicture, *, rng: np.random.Generator) -> ClassPicture:
    """The published augmentation of a training picture.

    Mirrored in X half of the time, turned by 0 to 90 degrees, sheared in X and Y by 0 to 45 degrees, shifted by up to
    100 px each way, zoomed by 0.75 to 1.5 (printed as 0.75 to 150). What comes in from beyond the picture does not
    count.
    """
    angle = math.radians(rng.uniform(0, 90))
    c, s = math.cos(angle), math.sin(angle)
    x, y = (math.tan(math.radians(rng.uniform(0, _SHEAR_DEG))) for _ in range(2))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    zoom = rng.uniform(*_ZOOM)
    linear = zoom * np.array([[c, -s], [s, c]]) @ np.array([[1, x], [0, 1]]) @ np.array([[1, 0], [y, 1]])
    linear = linear @ np.diag([mirror, 1.0])
    middle = np.full(2, (SIZE - 1) / 2)
    shift = middle - linear @ middle + rng.uniform(-_SHIFT_PX, _SHIFT_PX, 2)
    return _warped(picture, np.column_stack([linear, shift]), smooth=0.0)


def _warped(picture: ClassPicture, matrix: NDArray[np.float64], *, smooth: float) -> ClassPicture:
    grey = cv2.GaussianBlur(picture.grey, (0, 0), smooth) if smooth else picture.grey
    size = (SIZE, SIZE)
    return ClassPicture(
        picture.name,
        np.asarray(cv2.warpAffine(grey, matrix, size, flags=cv2.INTER_LINEAR, borderValue=-1.0), dtype=np.float32),
        np.asarray(
            cv2.warpAffine(picture.classes, matrix, size, flags=cv2.INTER_NEAREST, borderValue=IGNORED), dtype=np.uint8
        ),
    )
