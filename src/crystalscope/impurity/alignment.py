"""Particles of another instrument brought to the numbers that a model has learnt from."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crystalscope.errors import InputError
from crystalscope.impurity.model import ParticleModel

Array = NDArray[np.float64]

LEAST_ALIGNED = 50
"""Fewer particles tell little of what is usual in a run."""
_MOST = 2.0
"""Factor by which a spread is changed at most."""


def aligned(numbers: ArrayLike, model: ParticleModel) -> Array:
    """Numbers of a run's particles as if they came from the instrument of a model.

    Parameters
    ----------
    numbers
        (n, k) of all particles of the run, for the view of the model.
    model
        Which they are for.

    Returns
    -------
    (n, k): each number moved and stretched so that its median and its median absolute deviation are those of the
    target particles that the model has learnt from.

    Raises
    ------
    InputError
        When there are fewer than `LEAST_ALIGNED` particles.

    Notes
    -----
    Another light, lens or loading changes the numbers of all particles alike; what a model tells apart is how an
    impurity differs from the target in the same pictures. Assumed is that most particles are the target: medians hardly
    move for an impurity of a few per cent, and towards it where it is a third of all. A habit of the target that has
    changed is taken out too: use it for another instrument, not for another batch.
    """
    x = np.asarray(numbers, dtype=float).reshape(-1, len(model.center))
    if len(x) < LEAST_ALIGNED:
        raise InputError(
            f"expected at least {LEAST_ALIGNED} particles to align with those of the model, got {len(x)}; take more "
            "pictures"
        )
    middle, spread = _usual(model.numbers[model.impure == 0].astype(float))
    own_middle, own_spread = _usual(x)
    return np.asarray((x - own_middle) * np.clip(spread / own_spread, 1 / _MOST, _MOST) + middle)


def _usual(x: Array) -> tuple[Array, Array]:
    middle = np.median(x, axis=0)
    spread = np.median(np.abs(x - middle), axis=0)
    return middle, np.where(spread > 1e-9, spread, 1.0)
