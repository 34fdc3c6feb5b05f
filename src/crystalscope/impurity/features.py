"""What a classifier of particles looks at: measures of shape, of grey and texture, and a frozen encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.core import Instances
from crystalscope.errors import InputError
from crystalscope.impurity import encoder
from crystalscope.measure import measure_columns
from crystalscope.segment.layout import Box, levels_of_grey, normalised, oriented_box
from crystalscope.segment.patches import Pyramid

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
View = Literal["outlines", "crops"]

VIEWS: tuple[View, ...] = ("outlines", "crops")
"""outlines: the particle in its outline. crops: a picture of one particle, or the rectangle around an outline."""

SHAPE = (
    "log_ecd", "log_length_to_width", "aspect_ratio", "solidity", "convexity", "circularity", "elongation",
    "compactness",
)  # fmt: skip
GREY = ("level", "spread", "bright", "dark", "contrast", "grain_fine", "grain_coarse", "alignment")
FEATURES: dict[View, tuple[str, ...]] = {
    "outlines": (*SHAPE, *GREY, *encoder.NAMES),
    "crops": (*(g for g in GREY if g != "contrast"), *encoder.NAMES),
}
"""Names of the numbers of a particle, by view."""

_RING_PX = 6
_MARGIN_PX = 12
_SMALLEST_PX = 8


@dataclass(frozen=True, eq=False)
class Surroundings:
    """A picture as the encoder sees it, made once for all its particles.

    Parameters
    ----------
    grey
        (rows, columns), normalised to the levels of the whole picture.
    """

    grey: Floats

    @property
    def pyramid(self) -> Pyramid:
        """At whole, half, quarter … size."""
        return Pyramid(self.grey)


def seen(grey: Floats) -> Surroundings:
    """A picture of full scale 1 made comparable with others by its 1st, 50th and 99th percentile."""
    return Surroundings(normalised(grey, levels_of_grey(grey[::3, ::3])))


def outline_features(grey: Floats, instances: Instances, *, pixel_size_um: float | None = None) -> Array:
    """Numbers of particles in their outlines.

    Parameters
    ----------
    grey
        (rows, columns), full scale 1 (see `io.pictures.to_grey`).
    instances
        The particles.
    pixel_size_um
        um per px; None: sizes in px. A model is for one unit.

    Returns
    -------
    (n, len(FEATURES["outlines"])), all finite.
    """
    if grey.shape != instances.field.shape:
        raise InputError(f"expected a picture of shape {instances.field.shape}, got {grey.shape}")
    if not len(instances):
        return np.zeros((0, len(FEATURES["outlines"])))
    view = seen(grey)
    measured = measure_columns(instances, grey)
    with np.errstate(divide="ignore", invalid="ignore"):
        shape = np.column_stack(
            [
                np.log(measured["ecd"] * (pixel_size_um or 1.0)),
                np.log(measured["length_to_width"]),
                *(measured[c] for c in SHAPE[2:]),
            ]
        ).astype(float)
    # A body of a pixel or two has no second side: as round as can be.
    shape = np.where(np.isfinite(shape), shape, np.where(np.isin(np.arange(len(SHAPE)), (1,)), 0.0, 1.0))
    boxes, greys = [], []
    for k, (r0, c0, r1, c1) in enumerate(instances.boxes):
        crop = instances.crop(k).astype(np.uint8)
        boxes.append(_box(crop, int(r0), int(c0)))
        a, b, c, d = max(r0 - _RING_PX, 0), max(c0 - _RING_PX, 0), r1 + _RING_PX, c1 + _RING_PX
        around = view.grey[a:c, b:d]
        mask = np.zeros(around.shape, np.uint8)
        mask[r0 - a : r1 - a, c0 - b : c1 - b] = crop
        greys.append(_grey_numbers(around, mask))
    return np.column_stack([shape, np.array(greys), encoder.encoded(view.pyramid, boxes)])


def crop_features(grey: Floats) -> Array:
    """Numbers of a picture of one particle that fills most of it.

    Parameters
    ----------
    grey
        (rows, columns), full scale 1, at least 8 px each way.

    Returns
    -------
    (len(FEATURES["crops"]),).

    Raises
    ------
    InputError
        When the picture is too small.
    """
    if min(grey.shape) < _SMALLEST_PX:
        raise InputError(
            f"expected a crop of at least {_SMALLEST_PX} px each way, got {grey.shape[1]} x {grey.shape[0]}"
        )
    view = seen(grey)
    numbers = _grey_numbers(view.grey, np.ones(grey.shape, np.uint8))
    kept = [v for v, name in zip(numbers, GREY, strict=True) if name != "contrast"]
    return np.concatenate([kept, encoder.encoded(view.pyramid, [encoder.whole_box(*grey.shape)])[0]])


def cropped_features(grey: Floats, instances: Instances) -> Array:
    """Numbers of particles seen as crops: the rectangle around each, with a margin of 12 px."""
    if not len(instances):
        return np.zeros((0, len(FEATURES["crops"])))
    m = _MARGIN_PX
    return np.array(
        [crop_features(grey[max(r0 - m, 0) : r1 + m, max(c0 - m, 0) : c1 + m]) for r0, c0, r1, c1 in instances.boxes]
    )


def _box(crop: NDArray[np.uint8], r0: int, c0: int) -> Box:
    contours, _ = cv2.findContours(crop, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate(contours)[:, 0, :]
    corners = np.concatenate([points + d for d in ([0, 0], [1, 0], [0, 1], [1, 1])])
    return oriented_box(corners + np.array([c0, r0]))


def _grey_numbers(grey: Floats, mask: NDArray[np.uint8]) -> list[float]:
    """Numbers of `GREY`: of the normalised grey within a mask, against a ring around it."""
    inside = mask > 0
    values = grey[inside]
    low, high = np.percentile(values, [10, 90])
    ring = cv2.dilate(mask, np.ones((2 * _RING_PX - 1,) * 2, np.uint8)) - mask > 0
    outside = float(np.median(grey[ring])) if ring.any() else float(low)
    # The grain at two scales, without what the outline itself does to the grey: the mean within takes the place of
    # what is outside.
    filled = np.where(inside, grey, np.float32(values.mean()))
    fine, coarse = (filled - cv2.GaussianBlur(filled, (0, 0), s) for s in (1.0, 4.0))
    gx, gy = cv2.Sobel(filled, cv2.CV_32F, 1, 0), cv2.Sobel(filled, cv2.CV_32F, 0, 1)
    turned = (gx + 1j * gy)[inside] ** 2
    power = float(np.abs(turned).sum())
    alignment = float(abs(turned.sum())) / power if power > 0 else 0.0
    return [
        float(values.mean()), float(values.std()), float(high), float(low), float(values.mean()) - outside,
        float(fine[inside].std()), float(coarse[inside].std()), alignment,
    ]  # fmt: skip
