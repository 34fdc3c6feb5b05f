"""What a labeller is."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from crystalscope.config import LabelConfig
from crystalscope.core import LABELS, Instances
from crystalscope.errors import ConfigError

GROUP = "crystalscope.labellers"
"""Entry-point group in which a package registers a labeller."""


@runtime_checkable
class Labeller(Protocol):
    """Says what a picture shows.

    A class with this shape, registered in the entry-point group ``crystalscope.labellers``, can be named in
    ``label.labeller`` of the configuration. `crystalscope.testing.check_labeller` tells whether it keeps the contract:
    ten confidences from 0 to 1, or NaN for what it cannot tell; thread-safe; deterministic.
    """

    thresholds: NDArray[np.float64]
    """(10,) confidence from which a label is given, in the order of `core.LABELS`."""

    def __init__(self, config: LabelConfig) -> None: ...

    def label(self, grey: NDArray[np.float32], *, instances: Instances | None = None) -> NDArray[np.float64]:
        """(10,) confidences of a picture (rows, columns), full scale 1, in which `instances` were found."""
        ...


def make_labeller(config: LabelConfig) -> Labeller:
    """The labeller that the configuration names.

    Raises
    ------
    ConfigError
        When no installed package registers that name.
    """
    found = {e.name: e for e in entry_points(group=GROUP)}
    if config.labeller not in found:
        raise ConfigError(
            f"expected one of the labellers {', '.join(sorted(found)) or '(none registered)'}, or none, got "
            f"{config.labeller!r}; check the name, or install the package that brings it"
        )
    labeller: Labeller = found[config.labeller].load()(config)
    return labeller


def in_force(thresholds: NDArray[np.float64], given: Mapping[str, float]) -> NDArray[np.float64]:
    """(10,) thresholds with the given ones in place of others.

    Raises
    ------
    ConfigError
        When one is for a label that does not exist.
    """
    out = thresholds.copy()
    for name, value in given.items():
        if name not in LABELS:
            raise ConfigError(f"expected thresholds of {', '.join(LABELS)}, got {name!r}; check label.thresholds")
        out[LABELS.index(name)] = value
    return out
