"""Classical segmentation: contrast against the background, a threshold rule, the published chain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.config import AnalyzeConfig
from crystalscope.core import Instances
from crystalscope.errors import InputError
from crystalscope.prepare import Prepared, edge_sharpness, sharpness_maps
from crystalscope.segment.base import Segmentation, widest_edges
from crystalscope.segment.post import post_process
from crystalscope.segment.regions import Crop, crops_of, half_contrast_crops
from crystalscope.segment.tree import choose_regions

Polarity = Literal["dark", "light", "two_sided"]

_FULL = 250.0
"""8-bit value of contrast 1."""
_LEVELS = 24
_LOWEST = 0.04
"""No particle below this contrast: JPEG and shading reach as far."""
_OUTER_PREFERENCE = 0.9
_ONE_SIDED = 0.25
"""The weaker side of the background counts from this share of the stronger side's evidence."""


@dataclass(frozen=True)
class ThresholdSegmenter:
    """Segmenter ``threshold``.

    Parameters
    ----------
    config
        Settings; the tables threshold, post, focus and prepare are used.
    polarity
        Polarity settled by `study`; None: decided picture by picture, unless the configuration names one.
    """

    config: AnalyzeConfig
    polarity: Polarity | None = None

    def study(self, pictures: list[Prepared]) -> ThresholdSegmenter:
        """Settle the polarity by the evidence of all pictures together, so that it does not change in a run."""
        if self.config.threshold.polarity != "auto" or not pictures:
            return self
        dark, light = np.sum([polarity_evidence(p) for p in pictures], axis=0)
        return replace(self, polarity=choose_polarity(dark, light))

    def segment(self, picture: Prepared) -> Segmentation:
        """Particles of one picture; see `docs/explanations/segmentation.md` for the steps."""
        c = self.config
        polarity = self._polarity_of(picture)
        contrast, noise = contrast_of(picture, polarity=polarity, sigma=c.prepare.smooth_sigma_px)
        if picture.field.disc is not None:
            contrast[~picture.field.mask()] = 0.0
        sharp, reach = sharpness_maps(contrast, noise=noise)
        lowest = c.threshold.level or max(_LOWEST, 4.0 * noise)
        eight = _eight_bit(contrast)
        labels, rule = self._regions(contrast, eight, sharp, lowest)
        instances, gated = post_process(self._crops(labels, eight), field=picture.field, config=c.post)
        sharpness, edge = edge_sharpness(instances, sharp, reach)
        return Segmentation(
            _judged(instances, sharpness, edge, config=c),
            gated,
            f"{polarity}, {rule}" + ("" if picture.field.disc is None else ", disc"),
        )

    def _polarity_of(self, picture: Prepared) -> Polarity:
        setting = self.config.threshold.polarity
        if setting != "auto":
            return setting
        return self.polarity or choose_polarity(*polarity_evidence(picture))

    def _regions(
        self, contrast: NDArray[np.float32], eight: NDArray[np.uint8], sharp: NDArray[np.float32], lowest: float
    ) -> tuple[NDArray[np.int32], str]:
        """Label picture by the configured rule, and the rule with its numbers."""
        rule = self.config.threshold.rule
        if rule == "tree":
            steps = np.geomspace(lowest, max(0.8, 2 * lowest), _LEVELS)
            table = np.searchsorted(steps, np.arange(256) / _FULL, side="right").astype(np.uint8)
            labels = choose_regions(
                cv2.LUT(eight, table),
                sharp,
                min_area_px=max(self.config.post.min_area_px, 1.0) / 2,
                outer_preference=_OUTER_PREFERENCE,
            )
            return labels, f"tree from {lowest:.3f}"
        low = lowest
        if rule == "otsu":
            level, mask = cv2.threshold(eight, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
            low = max(float(level) / _FULL, lowest)
            mask = (contrast > low).astype(np.uint8)
        elif rule == "local":
            radius = self.config.threshold.local_radius_px
            around = cv2.GaussianBlur(contrast, (0, 0), radius / 2)
            mask = (contrast - around > low).astype(np.uint8)
        else:
            level, _ = cv2.threshold(eight, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
            high = max(float(level) / _FULL, 2 * lowest)
            low = max(0.5 * high, lowest)
            mask = _hysteresis(contrast, low=low, high=high)
            return _labelled(mask), f"hysteresis {low:.3f}/{high:.3f}"
        return _labelled(mask), f"{rule} {low:.3f}"

    def _crops(self, labels: NDArray[np.int32], eight: NDArray[np.uint8]) -> list[Crop]:
        if not self.config.threshold.half_contrast:
            return crops_of(labels)
        high = cv2.dilate(eight, np.ones((9, 9), np.uint8))
        low = cv2.erode(eight, np.ones((13, 13), np.uint8))
        return half_contrast_crops(labels, eight, high, low)


def contrast_of(picture: Prepared, *, polarity: Polarity, sigma: float) -> tuple[NDArray[np.float32], float]:
    """Contrast against the background, particles positive, and the noise in it.

    Dark particles are measured in shares of the background (0: background, 1: black). Light ones in shares of
    the brightest of the picture (99.9th percentile of the excess, at least a tenth of full scale), because
    the background may be black. Two-sided contrast is the absolute difference in shares of the background,
    closed by 5 px so that the passage from dark to light inside a crystal does not cut it.

    Returns
    -------
    contrast
        Shape (rows, columns) float32, smoothed by a Gaussian of `sigma` px.
    noise
        Standard deviation of the fine structure of the background (median deviation from the mean of 15 x 15).

    Raises
    ------
    InputError
        On an unknown polarity.
    """
    grey = cv2.GaussianBlur(picture.grey, (0, 0), sigma) if sigma > 0 else picture.grey
    if polarity == "dark":
        contrast = 1.0 - grey / picture.background
    elif polarity == "light":
        excess = grey - picture.background
        contrast = excess / np.float32(max(float(np.percentile(excess[::4, ::4], 99.9)), 0.1))
    elif polarity == "two_sided":
        contrast = grey / picture.background - 1.0
    else:
        raise InputError(f"expected polarity dark, light or two_sided, got {polarity!r}")
    # Noise and speckle after smoothing, without shading and ghosts, which are larger than the window.
    fine = (contrast - cv2.blur(contrast, (15, 15)))[::4, ::4]
    noise = 1.4826 * float(np.median(np.abs(fine if picture.field.disc is None else fine[_sample(picture)])))
    if polarity == "two_sided":
        contrast = cv2.morphologyEx(np.abs(contrast), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    return contrast, noise


def _sample(picture: Prepared) -> NDArray[np.bool_]:
    return picture.field.mask()[::4, ::4]


def polarity_evidence(picture: Prepared) -> NDArray[np.float64]:
    """How much stands out dark and how much light, (2,), in sharp structure above the noise.

    Each pixel that differs from the background by more than six times the noise and 5 % of the background
    level counts with its difference times its sharpness, so that blurred ghosts and shading hardly count.
    """
    grey = cv2.GaussianBlur(picture.grey, (0, 0), 1.0)
    excess = grey - picture.background
    if picture.field.disc is not None:
        excess[~cv2.erode(picture.field.mask().astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)] = 0
    sharp, _ = sharpness_maps(grey, noise=picture.noise / 3.5)
    floor = max(6 * picture.noise / 3.5, 0.05 * float(np.median(picture.background)))
    weight = np.where(np.abs(excess) > floor, np.abs(excess) * sharp, 0.0)
    return np.array([weight[excess < 0].sum(), weight[excess > 0].sum()], dtype=np.float64)


def choose_polarity(dark: float, light: float) -> Polarity:
    """Polarity from the evidence of `polarity_evidence`; dark where there is none."""
    if light <= _ONE_SIDED * dark:
        return "dark"
    return "light" if dark <= _ONE_SIDED * light else "two_sided"


def _judged(
    instances: Instances, sharpness: NDArray[np.float32], edge: NDArray[np.float32], *, config: AnalyzeConfig
) -> Instances:
    """Instances with focus, the gate's verdict and a confidence.

    The confidence is a product of two logistic terms, each 1/2 at its gate: the widest edge allowed at the
    particle's size over the width of its edge, and its edge contrast over the least that is allowed.
    """
    # A particle without outline inside the picture cannot be judged and is kept.
    q = np.nan_to_num(sharpness * widest_edges(instances, config), nan=1.0)
    k = np.nan_to_num(edge / max(config.threshold.min_contrast, 1e-6), nan=1.0)
    score = 1 / (1 + np.exp(-6 * (q - 1))) / (1 + np.maximum(k, 1e-6) ** -3.0)
    in_focus = (q >= 1) & (k >= 1) if config.focus.gate else np.ones(len(instances), dtype=bool)
    return replace(instances, score=score.astype(np.float32), focus=sharpness, in_focus=in_focus)


def _eight_bit(contrast: NDArray[np.float32]) -> NDArray[np.uint8]:
    # Not by OpenCV's conversion, whose rounding of halves differs from call to call.
    return (np.clip(contrast, 0, 255 / _FULL) * np.float32(_FULL) + np.float32(0.5)).astype(np.uint8)


def _labelled(mask: NDArray[np.uint8]) -> NDArray[np.int32]:
    return np.asarray(cv2.connectedComponents(mask, connectivity=8)[1], dtype=np.int32)


def _hysteresis(contrast: NDArray[np.float32], *, low: float, high: float) -> NDArray[np.uint8]:
    """Regions above `low` that reach `high` somewhere."""
    labels = _labelled((contrast > low).astype(np.uint8))
    strong = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.uint8)
    strong[labels[contrast > high]] = 1
    strong[0] = 0
    return strong[labels]
