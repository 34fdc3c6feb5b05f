"""Image -> Prepared: grey on one scale, its background, its field of view, its noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.config import PrepareConfig
from crystalscope.core import FieldOfView, Image
from crystalscope.prepare.background import background_class, flat_field, rolling_ball
from crystalscope.prepare.field import find_field
from crystalscope.prepare.focus import edge_sharpness, sharpness_maps
from crystalscope.prepare.sequence import frames_background, static_mask

__all__ = [
    "Prepared",
    "edge_sharpness",
    "find_field",
    "flat_field",
    "frames_background",
    "noise_level",
    "prepare",
    "rolling_ball",
    "sharpness_maps",
    "static_mask",
]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture ready to be segmented.

    Parameters
    ----------
    image
        The picture as recorded.
    grey
        Shape (rows, columns) float32, full scale 1, not smoothed.
    background
        Shape (rows, columns) float32, same scale.
    field
        Field of view.
    noise
        Standard deviation of the noise of `grey`.
    """

    image: Image
    grey: NDArray[np.float32]
    background: NDArray[np.float32]
    field: FieldOfView
    noise: float


def prepare(
    image: Image,
    grey: NDArray[np.float32],
    *,
    config: PrepareConfig,
    frames: NDArray[np.float32] | None = None,
) -> Prepared:
    """Find field of view, background and noise of a picture.

    Parameters
    ----------
    image
        The picture as recorded.
    grey
        Its grey, full scale 1 (see `io.grey`).
    config
        Settings.
    frames
        Background made of frames (`frames_background`), needed where the configuration names one. It is
        scaled to the brightness of this picture, so that a flickering lamp does not matter.

    Raises
    ------
    InputError
        Where a disc was demanded and none is there.
    """
    field = find_field(grey, mode=config.field)
    inside = None if field.disc is None else field.mask()
    if config.background == "none":
        values = (grey if inside is None else grey[inside]).ravel()[::7].astype(np.float64)
        low, high, _ = background_class(values)
        level = float(np.median(values[(values >= low) & (values <= high)]))
        background = np.full(grey.shape, level, dtype=np.float32)
    elif config.background == "rolling_ball":
        smooth = flat_field(grey, field=inside)
        dark = float(np.mean(grey - smooth)) < 0
        background = rolling_ball(grey, radius_px=config.rolling_ball_radius_px, dark_particles=dark)
    elif config.background != "flat_field" and frames is not None and frames.shape == grey.shape:
        ratio = grey[::4, ::4] / np.maximum(frames[::4, ::4], 1e-3)
        background = frames * np.float32(np.median(ratio))
    else:
        background = flat_field(grey, field=inside)
    return Prepared(image, grey, np.maximum(background, np.float32(1e-3)), field, noise_level(grey))


def noise_level(grey: NDArray[np.float32]) -> float:
    """Standard deviation of white noise in a picture.

    From the median magnitude of a Laplacian-like residual that is blind to slopes (Immerkaer, Comput. Vis.
    Image Underst. 64 (1996) 300, with a median in place of the mean so that edges do not count). Noise that
    is correlated over pixels (JPEG, sharpening) is read too small.
    """
    if min(grey.shape) < 4:
        return 0.0
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
    # Every third row is enough for a median.
    residual = cv2.filter2D(grey, cv2.CV_32F, kernel)[1:-1:3, 1:-1:2]
    return float(1.4826 * np.median(np.abs(residual)) / 6.0)
