"""What was asked of a design, and what was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core.design import ParetoFront, Prediction
from crystalscope.design.base import FittedTwin
from crystalscope.design.suggest import Suggestion
from crystalscope.design.system import System
from crystalscope.design.verdict import AttributeVerdict

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CampaignSettings:
    """What `crystalscope design` is told.

    Parameters
    ----------
    recipe
        default, published, or one that a package brings.
    level
        Of the intervals.
    count
        Experiments to propose.
    seed
        Of everything that is drawn.
    effort
        Population and generations of the fronts.
    options
        Settings of the recipe, such as ``folds``.
    """

    recipe: str = "default"
    level: float = 0.9
    count: int = 4
    seed: int = 0
    effort: tuple[int, int] = (40, 25)
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, eq=False)
class Campaign:
    """All that `crystalscope design` finds.

    Parameters
    ----------
    twin, settings
        The model, and what was asked.
    predictions
        Of the rows of the table: held out for what was measured.
    verdicts
        By attribute.
    fronts, chosen
        By kind of profile; front and row of the chosen recipe, (-1, -1) where there is none.
    suggestion
        Next experiments; None where there are not two objectives.
    sensitivity
        From `sobol_indices`.
    before
        Held-out predictions without synthetic rows, by attribute, where the twin was refined by some.
    """

    twin: FittedTwin
    settings: CampaignSettings
    predictions: dict[str, Prediction]
    verdicts: tuple[AttributeVerdict, ...]
    fronts: tuple[ParetoFront, ...]
    chosen: tuple[int, int]
    suggestion: Suggestion | None
    sensitivity: pd.DataFrame
    before: dict[str, Array] = field(default_factory=dict)

    @property
    def system(self) -> System:
        """Of the table."""
        return self.twin.table.system
