"""What is kept of a picture to find its copies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.io.pictures import to_grey

Array = NDArray[np.float32]

TURNS = (
    "unturned", "turned by 90°", "turned by 180°", "turned by 270°",
    "mirrored", "mirrored and turned by 90°", "mirrored and turned by 180°", "mirrored and turned by 270°",
)  # fmt: skip
"""The eight positions of a picture: turned counterclockwise, then mirrored left to right."""


THUMB, PATCH = 128, 160
"""Side of thumbnails and of patches of noise, px."""
MASKED = -128
"""Value of a patch where there is structure."""


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is kept of a picture to find its copies, about 60 kB.

    Parameters
    ----------
    sha256
        Of the file.
    key
        Equal for pictures that have the same pixels in any of the eight positions, and hardly ever for others.
    shape
        (rows, columns), px.
    thumb
        (128, 128) grey, full scale 1, whatever the shape of the picture.
    patch
        Noise of the centre: int8 in steps of `noise` / 42, -128 where there is structure.
    noise
        Standard deviation of the noise above 1 / (2 pi) cycles per px; 0 where it is below what 8 bit can show.
    light
        Median grey.
    step
        Of the grey values: 1/255 where the file has 8 bit.
    """

    sha256: str
    key: bytes
    shape: tuple[int, int]
    thumb: NDArray[np.float16]
    patch: NDArray[np.int8]
    noise: float
    light: float
    step: float


def turned(data: NDArray[Any], turn: int) -> NDArray[Any]:
    """The picture in one of the eight positions (`TURNS`), contiguous."""
    out = np.rot90(data, turn % 4)
    return np.ascontiguousarray(out[:, ::-1] if turn >= 4 else out)


def fingerprint(data: NDArray[Any], *, sha256: str) -> Fingerprint:
    """Fingerprint of a picture.

    Parameters
    ----------
    data
        (rows, columns[, 3]), uint8, uint16 or float32.
    sha256
        Of its file.
    """
    grey = to_grey(data)
    rows, columns = grey.shape
    way = cv2.INTER_AREA if min(rows, columns) >= THUMB else cv2.INTER_LINEAR
    thumb = cv2.resize(grey, (THUMB, THUMB), interpolation=way)
    # Cut so that the centre of the patch is the centre of the picture, in every position.
    height, width = (min(PATCH, n) - (n - min(PATCH, n)) % 2 for n in (rows, columns))
    top, left = (rows - height) // 2, (columns - width) // 2
    step = 1 / 255 if data.dtype == np.uint8 else 1 / 65535
    patch, noise = _noise(grey[top : top + height, left : left + width], step=step)
    return Fingerprint(
        sha256,
        _key(data),
        (rows, columns),
        thumb.astype(np.float16),
        patch,
        noise,
        float(np.median(thumb)),
        step,
    )


def _key(data: NDArray[Any]) -> bytes:
    """Digest of the values without their places."""
    digest = hashlib.blake2b(repr((sorted(data.shape[:2]), data.shape[2:], data.dtype.name)).encode())
    for plane in np.atleast_3d(data).transpose(2, 0, 1):
        values = np.bincount(plane.ravel()) if data.dtype.kind == "u" else np.sort(plane, axis=None)
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.digest()


def _noise(grey: Array, *, step: float) -> tuple[NDArray[np.int8], float]:
    """Noise of a part of a picture where it has no structure, and its standard deviation (0: not measurable)."""
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 1.0)
    local = np.sqrt(np.maximum(cv2.boxFilter(fine * fine, -1, (7, 7)), 0))
    level = float(np.quantile(local, 0.2))
    if level < 0.28 * step:
        return np.full(grey.shape, MASKED, np.int8), 0.0
    scaled = np.clip(np.round(fine * np.float32(42 / level)), -126, 126).astype(np.int8)
    scaled[local > 1.7 * level] = MASKED
    return scaled, level
