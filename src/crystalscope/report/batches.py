"""Plots of simulated and fitted batches, as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystalscope.plant.fit import Fit
from crystalscope.plant.observed import MOMENTS, Observations
from crystalscope.plant.result import PlantRun
from crystalscope.report.style import BLUE, GREY, ORANGE, STYLE, new_figure

Array = NDArray[np.float64]

_GREEN = "#3a7d44"
_LABELS = {
    "concentration_g_per_kg": "concentration, g/{0}",
    "doa": "DoA",
    "mu0": "$\\mu_0$, 1/{0}",
    "mu1": "$\\mu_1$, µm/{0}",
    "mu2": "$\\mu_2$, µm²/{0}",
    "mu3": "$\\mu_3$, µm³/{0}",
}


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return buffer.getvalue()


def trajectory_png(run: PlantRun) -> bytes:
    """Temperature, concentration against solubility, supersaturation, sizes, quality attributes and yield by time."""
    import matplotlib as mpl

    basis = run.kinetics.basis.split()[0]
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        figure = new_figure(9.0, 6.2)
        axes = figure.subplots(3, 2, sharex=True)
        hours = run.time_s / 3600
        axes[0, 0].plot(run.profile.time_s / 3600, run.profile.temperature_c, color=ORANGE)
        axes[0, 0].set_ylabel("temperature, °C")
        axes[0, 1].plot(hours, run.concentration_g_per_kg, color=BLUE, label="dissolved")
        axes[0, 1].plot(hours, run.solubility_g_per_kg, color=GREY, ls="--", label="solubility")
        if run.amorphous_g_per_kg.max() > 0:
            axes[0, 1].plot(hours, run.amorphous_g_per_kg, color=_GREEN, label="amorphous")
        axes[0, 1].set_ylabel(f"g/{basis}")
        axes[0, 1].set_ylim(bottom=0)
        axes[0, 1].legend()
        axes[1, 0].plot(hours, run.supersaturation, color=BLUE)
        axes[1, 0].axhline(1, color=GREY, lw=0.8, ls="--")
        axes[1, 0].set_ylabel("supersaturation S")
        _bands(axes[1, 1], hours, run)
        axes[2, 0].plot(hours, run.doa, color=ORANGE, label="agglomerates by volume (DoA)")
        axes[2, 0].plot(hours, run.crystallinity, color=BLUE, label="crystallinity")
        axes[2, 0].plot(hours, run.yield_, color=GREY, ls="--", label="yield")
        axes[2, 0].set_ylabel("share")
        # Dissolved seeds make the yield negative: that is to be seen.
        axes[2, 0].set_ylim(min(-0.03, 1.1 * float(np.nanmin(run.yield_, initial=0.0))), 1.03)
        axes[2, 0].legend()
        # Less than one crystal per kg is no crystal.
        number = np.where(run.moment(0) >= 1, run.moment(0), np.nan)
        axes[2, 1].plot(hours, number, color=BLUE)
        _scale(axes[2, 1], number)
        axes[2, 1].set_ylabel(f"crystals per {basis}")
        for axis in axes[2]:
            axis.set_xlabel("time, h")
        return _png(figure)


def _scale(axis: Any, values: Array) -> None:
    """Logarithmic where the values span more than a factor of 30."""
    positive = values[np.isfinite(values) & (values > 0)]
    if positive.size and positive.max() > 30 * positive.min():
        axis.set_yscale("log")


def _bands(axis: Any, hours: Array, run: PlantRun) -> None:
    low, middle, high = (run.quantile(q) for q in (0.1, 0.5, 0.9))
    axis.fill_between(hours, low, high, color=BLUE, alpha=0.18, lw=0, label="D10 to D90")
    axis.plot(hours, middle, color=BLUE, label="D50")
    axis.set_ylabel("size by volume, µm")
    axis.set_ylim(bottom=0)
    axis.legend()


def sizes_png(run: PlantRun, *, times: int = 5) -> bytes:
    """q3 over the logarithm of the length at some times, and at the end primaries and agglomerates apart."""
    import matplotlib as mpl
    from matplotlib.ticker import LogLocator, NullFormatter

    volume, faces = run.grid.mean_power(3), run.grid.faces
    step = np.diff(np.log(faces))
    middle = np.sqrt(faces[1:] * faces[:-1])
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        figure = new_figure(9.0, 3.2)
        left, right = figure.subplots(1, 2)
        rows = np.unique(np.linspace(0, len(run.time_s) - 1, times).round().astype(int))
        seen = np.zeros(run.grid.n, dtype=bool)
        for k, row in enumerate(rows):
            weight = run.crystals[row] * volume
            if weight.sum() <= 0:
                continue
            shade = 0.25 + 0.75 * k / max(len(rows) - 1, 1)
            left.plot(
                middle, weight / weight.sum() / step, color=BLUE, alpha=shade, label=f"{run.time_s[row] / 3600:.1f} h"
            )
            seen |= weight > 1e-4 * weight.max()
        end = max(float((run.crystals[-1] * volume).sum()), 1e-300)
        for counts, colour, label in (
            (run.primaries[-1], BLUE, "primaries"),
            (run.agglomerates[-1], ORANGE, "agglomerates"),
        ):
            right.fill_between(middle, counts * volume / end / step, color=colour, alpha=0.35, lw=0)
            right.plot(middle, counts * volume / end / step, color=colour, label=label)
        left.set_ylabel("volume per ln of length")
        left.set_title("all crystals by time")
        right.set_title(f"at the end, {run.time_s[-1] / 3600:.1f} h")
        for axis in (left, right):
            axis.set_xscale("log")
            axis.set_xlabel("length, µm")
            axis.set_ylim(bottom=0)
            if seen.any():
                at = np.flatnonzero(seen)
                axis.set_xlim(middle[at[0]], middle[at[-1]])
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter(NullFormatter())
            if axis.get_legend_handles_labels()[0]:
                axis.legend()
        return _png(figure)


def fit_png(batches: Sequence[Observations], predicted: Sequence[Mapping[str, Array]], result: Fit) -> bytes:
    """Measured points and fitted lines of every quantity, a column for each of up to six batches."""
    import matplotlib as mpl

    basis = result.kinetics.basis.split()[0]
    shown = list(zip(batches, predicted, strict=True))[:6]
    quantities = [q for q in result.sd if result.counts[q]]
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        figure = new_figure(2.1 * len(shown) + 1.2, 1.45 * len(quantities) + 0.6)
        axes = figure.subplots(len(quantities), len(shown), sharex="col", sharey="row", squeeze=False)
        for j, (batch, values) in enumerate(shown):
            hours = batch.time_s / 3600
            for i, quantity in enumerate(quantities):
                axis = axes[i, j]
                if quantity in batch.values:
                    axis.plot(hours, batch.values[quantity], "o", ms=2.2, color=GREY)
                    axis.plot(hours, values[quantity], color=BLUE)
                if j == 0:
                    if quantity in MOMENTS:
                        _scale(axis, np.concatenate([b.values[quantity] for b, _ in shown if quantity in b.values]))
                    axis.set_ylabel(
                        _LABELS.get(quantity, quantity.replace("_um", ", µm").replace("_", ",")).format(basis)
                    )
            axes[0, j].set_title(f"batch {batch.name}")
            axes[-1, j].set_xlabel("time, h")
        return _png(figure)
