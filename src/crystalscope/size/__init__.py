"""ParticleTable -> SizeDistribution, its figures, intervals and corrections."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from crystalscope.config import AnalyzeConfig
from crystalscope.core import Figure, SizeDistribution, Unit
from crystalscope.size.border import border_weights, censored_lengths
from crystalscope.size.compare import Comparison, compare, plot_comparison
from crystalscope.size.depth import depth_weights
from crystalscope.size.distribution import (
    classes,
    densities,
    joint_distribution,
    lognormal_of_classes,
    make_distribution,
    quantile,
    volumes_of,
)
from crystalscope.size.interval import bootstrap_figures
from crystalscope.size.number import number_line, particles_needed

__all__ = [
    "Comparison",
    "bootstrap_figures",
    "border_weights",
    "censored_lengths",
    "classes",
    "compare",
    "densities",
    "depth_weights",
    "joint_distribution",
    "lognormal_of_classes",
    "make_distribution",
    "number_line",
    "particles_needed",
    "plot_comparison",
    "quantile",
    "size_particles",
    "size_points",
    "summarize",
    "volumes_of",
]


def size_particles(
    particles: pd.DataFrame,
    *,
    n_frames: int,
    unit: Unit,
    config: AnalyzeConfig,
    pixel_size_um: float | None = None,
    field_px: tuple[int, int] | None = None,
) -> tuple[SizeDistribution, SizeDistribution]:
    """Corrected and uncorrected distribution of the counted particles, with figures.

    Parameters
    ----------
    particles
        Rows of the particle table that count.
    n_frames
        Frames looked at (ok and empty).
    unit
        Of the table.
    config
        Definition, volume model, border rule, depth correction, interval.
    pixel_size_um
        Scale; None in px.
    field_px
        (rows, columns) of the pictures, for the censored maximum likelihood.

    Returns
    -------
    corrected, uncorrected
        The uncorrected one counts every particle once with what is visible of it, border or not.
    """
    c = config.size
    size = particles[f"{c.definition}_{unit}"].to_numpy(dtype=float)
    volume = volumes_of(particles, unit=unit, model=c.volume_model)
    touches = particles["touches_border"].to_numpy(dtype=bool)
    frame = particles["frame"].to_numpy(dtype=np.int64)
    named: dict[str, Any] = {"definition": c.definition, "volume_model": c.volume_model, "unit": unit}

    def with_figures(weight: np.ndarray, correction: str) -> SizeDistribution:
        keep = weight > 0
        distribution = make_distribution(size[keep], volume[keep], weight=weight[keep], correction=correction, **named)
        figures = bootstrap_figures(
            size[keep],
            volume[keep],
            weight[keep],
            frame[keep],
            n_frames=n_frames,
            level=c.level,
            replicates=c.replicates,
            rng=c.seed,
        )
        return replace(distribution, figures=figures)

    plain = with_figures(np.ones(len(size)), "none")
    if c.border == "censored":
        return _censored(size, touches, config, unit, pixel_size_um, field_px), plain
    weight = border_weights(touches, particles["border_weight"].to_numpy(dtype=float), method=c.border)
    correction: str = c.border
    if c.focus_correction:
        scale = pixel_size_um or 1.0
        ecd_px = particles[f"ecd_{unit}"].to_numpy(dtype=float) / scale
        weight = weight * depth_weights(ecd_px, particles["focus"].to_numpy(dtype=float), gate=config.focus)
        correction += " and depth of field"
    return with_figures(weight, correction), plain


def _censored(
    size: np.ndarray,
    touches: np.ndarray,
    config: AnalyzeConfig,
    unit: Unit,
    pixel_size_um: float | None,
    field_px: tuple[int, int] | None,
) -> SizeDistribution:
    """Distribution by the censored maximum likelihood: classes, without intervals."""
    from crystalscope.errors import ConfigError
    from crystalscope.size.distribution import FIGURES, figures_of

    c = config.size
    if c.definition not in ("length", "feret_max") or field_px is None:
        raise ConfigError(
            "expected size.definition = 'length' or 'feret_max' and pictures of one size for border = 'censored', got "
            f"{c.definition}; use border = 'miles-lantuejoul'"
        )
    scale = pixel_size_um or 1.0
    if not size.size:
        return make_distribution([], [], definition=c.definition, volume_model="length^3", unit=unit)
    length, density = censored_lengths(size[~touches], size[touches], field=(field_px[0] * scale, field_px[1] * scale))
    keep = density > 1e-12 * density.max()
    # Cut needles have a width but no length, so the volume is that of needles of one shape.
    distribution = make_distribution(
        length[keep],
        length[keep] ** 3,
        weight=density[keep],
        definition=c.definition,
        volume_model="length^3",
        unit=unit,
        correction="censored maximum likelihood",
    )
    values = figures_of(length[keep], length[keep] ** 3, density[keep])
    reason = "no interval for the censored maximum likelihood"
    figures = {k: Figure(float(v), reason=reason) for k, v in zip(FIGURES, values, strict=True)}
    return replace(distribution, figures=figures)


def size_points(distribution: SizeDistribution) -> pd.DataFrame:
    """Points of sizes.csv: size, q0, Q0, q3, Q3, one row per particle, densities by kernel."""
    return pd.DataFrame(
        {
            "size": distribution.size,
            "q0": densities(distribution, distribution.size, by="number"),
            "Q0": distribution.Q0,
            "q3": densities(distribution, distribution.size, by="volume"),
            "Q3": distribution.Q3,
        }
    )


def summarize(corrected: SizeDistribution, uncorrected: SizeDistribution, *, config: AnalyzeConfig) -> dict[str, Any]:
    """The figures as they stand in summary.json."""
    c = config.size
    # The censored fit has classes in place of particles.
    n = uncorrected.n if corrected.volume_model == "length^3" else corrected.n
    w = corrected.number_weight
    t = np.log(corrected.size) if corrected.n else np.zeros(0)
    gsd = math.exp(math.sqrt(max(float((w * t * t).sum() - (w * t).sum() ** 2), 0.0))) if corrected.n else math.nan
    return {
        "size_definition": c.definition,
        "unit": corrected.unit,
        "volume_model": corrected.volume_model,
        "correction": corrected.correction,
        "level": c.level,
        "n_sized": n,
        "gsd_number": gsd,
        "number_line": number_line(n, gsd, precision=c.precision, confidence=c.level),
        "corrected": _figures(corrected),
        "uncorrected": _figures(uncorrected),
    }


def _figures(distribution: SizeDistribution) -> dict[str, Any]:
    def entry(name: str) -> dict[str, Any]:
        f = distribution.figures[name]
        out: dict[str, Any] = {"value": f.value, "lower": f.lower, "upper": f.upper}
        return {**out, "reason": f.reason} if f.reason else out

    return {
        "n": distribution.n,
        "number": {k: entry(f"{k}_0") for k in ("D10", "D50", "D90", "span", "mode", "sd", "cv")},
        "volume": {k: entry(f"{k}_3") for k in ("D10", "D50", "D90", "span", "mode")},
        "D[1,0]": entry("D[1,0]"),
        "D[3,2]": entry("D[3,2]"),
        "D[4,3]": entry("D[4,3]"),
        "lognormal_q3": {
            "maximum_likelihood": {"x50_3": entry("x50,3_ml"), "sigma": entry("sigma_ml")},
            "least_squares": {"x50_3": entry("x50,3_ls"), "sigma": entry("sigma_ls")},
        },
    }
