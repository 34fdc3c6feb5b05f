"""What a segmenter is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

import numpy as np

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
    """

    instances: Instances
    n_gated: int = 0
    method: str = ""


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


def with_sharpness(instances: Instances, picture: Prepared) -> Instances:
    """The particles with the sharpness of their edges, as far as their segmenter has not measured it."""
    contrast = np.abs(picture.grey / np.maximum(picture.background, 1e-6) - 1).astype(np.float32)
    sharp, reach = sharpness_maps(contrast, noise=picture.noise)
    sharpness, _ = edge_sharpness(instances, sharp, reach)
    return replace(instances, focus=np.asarray(sharpness, dtype=np.float32))


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
