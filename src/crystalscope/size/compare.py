"""Two size distributions compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from crystalscope.core import SizeDistribution
from crystalscope.errors import InputError
from crystalscope.score.distributions import weighted_ks, weighted_wasserstein
from crystalscope.size.distribution import quantile

_SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


@dataclass(frozen=True)
class Comparison:
    """Distances and quantiles of two distributions, by number and by volume.

    Parameters
    ----------
    ks, wasserstein
        By ``number`` and ``volume``; Wasserstein-1 in the unit of the sizes.
    quantiles
        Columns by, share, first, second, difference (relative to the first).
    """

    ks: dict[str, float]
    wasserstein: dict[str, float]
    quantiles: pd.DataFrame


def compare(first: SizeDistribution, second: SizeDistribution) -> Comparison:
    """Compare two distributions of one definition and unit.

    Raises
    ------
    InputError
        When definitions or units differ, or one is empty.
    """
    if (first.definition, first.unit) != (second.definition, second.unit):
        raise InputError(
            f"expected one size definition and unit, got {first.definition} in {first.unit} and {second.definition} in "
            f"{second.unit}; measure both alike"
        )
    ks, wasserstein, rows = {}, {}, []
    for by in ("number", "volume"):
        wa, wb = (getattr(d, f"{by}_weight") for d in (first, second))
        ks[by] = weighted_ks(first.size, wa, second.size, wb)
        wasserstein[by] = weighted_wasserstein(first.size, wa, second.size, wb)
        for share in _SHARES:
            a, b = quantile(first, share, by=by), quantile(second, share, by=by)
            rows.append({"by": by, "share": share, "first": a, "second": b, "difference": b / a - 1})
    return Comparison(ks, wasserstein, pd.DataFrame(rows))


def plot_comparison(first: SizeDistribution, second: SizeDistribution, *, names: tuple[str, str]) -> Any:
    """Q0 and Q3 of two distributions on one matplotlib Figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    for axis, by, symbol in zip(figure.subplots(1, 2, sharey=True), ("number", "volume"), ("Q0", "Q3"), strict=True):
        for distribution, name, style in zip((first, second), names, ("-", "--"), strict=True):
            share = distribution.Q0 if by == "number" else distribution.Q3
            axis.step(distribution.size, share, style, where="post", label=name)
        axis.set(xlabel=f"{first.definition} / {first.unit}", ylabel=symbol, ylim=(0, 1))
        axis.legend(frameon=False)
    return figure
