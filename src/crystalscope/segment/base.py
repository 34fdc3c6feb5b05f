"""What a segmenter is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.config import AnalyzeConfig
from crystalscope.core import Instances
from crystalscope.errors import ConfigError
from crystalscope.prepare import Prepared, edge_sharpness, sharpness_maps

GROUP = "crystalscope.segmenters"
"""Entry-point group in which a package registers a segmenter."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Result for one picture.

    Parameters
    ----------
    instances
        All particles found: those out of focus are there with ``in_focus`` False.
    n_gated
        Regions that a gate of the post-processing dropped.
    method
        What was chosen for this picture, in words, for the ledger.
    classes
        (rows, columns) class of each pixel, 0 black background, 1 light background, 2 crystal, where a method gives
        them and they are asked for.
    """

    instances: Instances
    n_gated: int = 0
    method: str = ""
    classes: NDArray[np.uint8] | None = None


@runtime_checkable
class Segmenter(Protocol):
    """Finds particles in prepared pictures.

    A class with this shape, registered in the entry-point group ``crystalscope.segmenters``, can be named
    in ``segmenter`` of the configuration. `crystalscope.testing.check_segmenter` tells whether it keeps
    the contract: thread-safe, deterministic, particles inside the picture, scores from 0 to 1.
    """

    def __init__(self, config: AnalyzeConfig) -> None: ...

    def study(self, pictures: list[Prepared]) -> Segmenter:
        """A segmenter settled on what a sample of the run tells (its polarity, say); may return itself."""
        ...

    def segment(self, picture: Prepared) -> Segmentation:
        """Particles of one picture."""
        ...


def with_sharpness(instances: Instances, picture: Prepared, config: AnalyzeConfig) -> Instances:
    """The particles with the sharpness of their edges against the background, of either sign."""
    contrast = np.abs(picture.grey - picture.background)
    # One factor for the whole picture: the background of a dark field is no measure of contrast.
    scale = np.float32(max(float(np.median(picture.background)), 0.1))
    noise, sigma = picture.noise / float(scale), config.prepare.smooth_sigma_px
    if sigma > 0:
        contrast = cv2.GaussianBlur(contrast, (0, 0), sigma)
        # White noise after the Gaussian.
        noise *= min(1.0, 1 / (2 * math.sqrt(math.pi) * sigma))
    sharp, reach = sharpness_maps(contrast / scale, noise=noise)
    sharpness, _ = edge_sharpness(instances, sharp, reach)
    return replace(instances, focus=sharpness)


def widest_edges(instances: Instances, config: AnalyzeConfig) -> NDArray[np.float64]:
    """(n,) px: the widest edge with which each particle is in focus, see `config.FocusConfig`."""
    areas = (
        np.add.reduceat(instances.pixels, instances.offsets[:-1], dtype=np.float64) if len(instances) else np.zeros(0)
    )
    ecd = np.sqrt(4 / np.pi * areas)
    focus = config.focus
    return np.minimum(focus.max_edge_px + focus.max_edge_share * ecd, focus.max_edge_limit_px)


def make_segmenter(config: AnalyzeConfig) -> Segmenter:
    """The segmenter that the configuration names.

    Raises
    ------
    ConfigError
        When no installed package registers that name.
    """
    found = {e.name: e for e in entry_points(group=GROUP)}
    if config.segmenter not in found:
        raise ConfigError(
            f"expected one of the segmenters {', '.join(sorted(found)) or '(none registered)'}, got "
            f"{config.segmenter!r}; check the name, or install the package that brings it"
        )
    segmenter: Segmenter = found[config.segmenter].load()(config)
    return segmenter
