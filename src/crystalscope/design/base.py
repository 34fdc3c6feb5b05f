"""What a twin is: the protocol, and the method by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from crystalscope.core.design import Prediction
from crystalscope.design.conditions import Conditions
from crystalscope.design.table import DoETable
from crystalscope.errors import ConfigError

Array = NDArray[np.float64]
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Score:
    """Errors of a model on rows it was not fitted to.

    Parameters
    ----------
    mse, mae, r2
        Mean squared and absolute error in the unit of the attribute and its square, and 1 - MSE/variance; NaN where
        there are no rows.
    """

    mse: float
    mae: float
    r2: float

    @classmethod
    def of(cls, predicted: Array, measured: Array) -> Score:
        """Of (n,) predicted and measured values."""
        if not len(measured):
            return cls(np.nan, np.nan, np.nan)
        error = predicted - measured
        variance = float(np.var(measured))
        mse = float(np.mean(error**2))
        return cls(mse, float(np.mean(np.abs(error))), 1 - mse / variance if variance > 0 else np.nan)


@dataclass(frozen=True)
class ModelScore:
    """A row of models.csv.

    Parameters
    ----------
    attribute, model
        Names.
    validation
        On rows held out for choosing.
    test
        On rows that nothing was chosen on.
    weight
        Share in the prediction.
    note
        Settings, or why it was dropped.
    """

    attribute: str
    model: str
    validation: Score
    test: Score
    weight: float
    note: str = ""


@runtime_checkable
class FittedTwin(Protocol):
    """A twin that predicts.

    ``attributes`` are the names of those that it has a model of; ``scores`` what it was chosen by; ``held_out`` for
    each attribute the (n,) prediction of every row by models that had not seen it, NaN where it was not measured;
    ``notes`` what a reader has to know.
    """

    table: DoETable
    attributes: tuple[str, ...]
    scores: tuple[ModelScore, ...]
    held_out: Mapping[str, Array]
    notes: tuple[str, ...]

    def predict(self, conditions: Conditions, *, level: float = 0.9) -> dict[str, Prediction]:
        """Means and intervals of new measurements, by attribute."""
        ...

    def estimate(self, conditions: Conditions) -> tuple[Array, Array]:
        """(n, q) means and standard deviations in the order of `attributes`, without the cost of intervals."""
        ...

    def means(self, conditions: Conditions) -> Array:
        """(n, q) means in the order of `attributes`: what optimisers ask for thousands of times."""
        ...

    def distance(self, conditions: Conditions) -> Array:
        """(n,) how far from what was tried; above 1 is outside."""
        ...


@runtime_checkable
class Twin(Protocol):
    """A method that makes a twin of a table."""

    def fit(self, table: DoETable, *, rng: np.random.Generator, progress: Progress | None = None) -> FittedTwin:
        """Fit to a table; the same table and generator give the same twin.

        Raises
        ------
        InputError
            Where the table does not support a model.
        """
        ...


def make_twin(name: str, **settings: Any) -> Twin:
    """A twin by the name of its entry point in the group ``crystalscope.twins``; raises ConfigError for other names."""
    found = {e.name: e for e in entry_points(group="crystalscope.twins")}
    if name not in found:
        raise ConfigError(f"expected a recipe of {', '.join(sorted(found))}, got {name!r}; check --recipe")
    twin = found[name].load()(**settings)
    if not isinstance(twin, Twin):
        raise ConfigError(f"expected a twin from {found[name].value}, got {type(twin).__name__}; see how-to/add-a-twin")
    return twin
