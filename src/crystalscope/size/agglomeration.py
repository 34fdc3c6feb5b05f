"""Degree of agglomeration of a run, with intervals, and the primaries of its agglomerates."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core import Figure, Unit
from crystalscope.errors import InputError
from crystalscope.size.interval import LEAST_FRAMES, block_length, tail_of

Array = NDArray[np.float64]

COLUMNS = ("frame", "kind", "in_focus", "agglomerate", "focus", "border_weight")
"""Columns of the particle table that are needed, beside area and ecd with their unit."""

FOCUS_RATIO = 2.0
"""Edge sharpness of members of one agglomerate differs by less: further apart, they lie at different depths."""


@dataclass(frozen=True, eq=False)
class Agglomeration:
    """How much of a run is agglomerated.

    Parameters
    ----------
    by_number
        Agglomerates over all bodies (agglomerates and single crystals).
    by_area
        Projected area of agglomerates over that of all bodies.
    primaries
        Mean number of primaries in the agglomerates whose members are known.
    bodies
        A row for every body: frame, agglomerate (True or False), members (0: not known), area, weight.
    members
        A row for every primary of an agglomerate: frame, ecd.
    overlaps
        Groups that were marked as touching and are none: their members lie at different depths.
    unit
        um or px.
    """

    by_number: Figure
    by_area: Figure
    primaries: Figure
    bodies: pd.DataFrame
    members: pd.DataFrame
    overlaps: int
    unit: Unit


def degree_of_agglomeration(
    particles: pd.DataFrame,
    *,
    n_frames: int,
    unit: Unit,
    level: float = 0.95,
    replicates: int = 1000,
    focus_ratio: float = FOCUS_RATIO,
    rng: int | np.random.Generator = 0,
) -> Agglomeration:
    """Degree of agglomeration by number and by area.

    Parameters
    ----------
    particles
        Crystals and agglomerates of a particle table, `COLUMNS`, ``area_<unit>2`` and ``ecd_<unit>``; ``frame`` counts
        the frames that were looked at, from 0.
    n_frames
        Of them.
    unit
        Of the table.
    level, replicates, rng
        Of the bootstrap over blocks of frames.
    focus_ratio
        Members of a group whose edge sharpness differs by more than this factor from its sharpest lie at another
        depth.

    Returns
    -------
    Agglomeration.

    Raises
    ------
    InputError
        When there is no crystal, a column is missing, or the ratio is not above 1.

    Notes
    -----
    A body is an agglomerate where its kind says so, or where two or more bodies in focus share an agglomerate number
    and a depth: crystals at different depths overlap in the picture only (Cardona et al., Chem. Eng. Sci. 191 (2018)
    208). Particles out of focus do not count, also not as members. Bodies weigh by the chance that they lie whole in
    the picture. The area of a group is the sum of its members' areas: where they cover each other it is more than
    that of their silhouette. Crystals that touch only in the projection, at one depth, cannot be told apart: in a dense
    slurry the degree is an upper bound.
    """
    if not focus_ratio > 1:
        raise InputError(f"expected a ratio of edge sharpness above 1, got {focus_ratio}")
    area, ecd = f"area_{unit}2", f"ecd_{unit}"
    if missing := [c for c in (*COLUMNS, area, ecd) if c not in particles]:
        raise InputError(f"expected a column {missing[0]} of particles, got {', '.join(map(str, particles.columns))}")
    chosen = particles[particles["in_focus"].to_numpy(dtype=bool) & particles["kind"].isin(["crystal", "agglomerate"])]
    if chosen.empty:
        raise InputError("expected crystals in focus, got none; look at the report of the run")
    bodies, members, overlaps = _bodies(chosen.rename(columns={area: "area", ecd: "ecd"}), focus_ratio)
    figures = _figures(bodies, n_frames, level, replicates, rng)
    return Agglomeration(*figures, bodies=bodies, members=members, overlaps=overlaps, unit=unit)


def _bodies(particles: pd.DataFrame, focus_ratio: float) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Bodies with their areas and weights, primaries, and groups that only overlap."""
    frame, number = particles["frame"].to_numpy(), particles["agglomerate"].to_numpy()
    area, weight = (particles[c].to_numpy(dtype=float) for c in ("area", "border_weight"))
    focus, ecd = (particles[c].to_numpy(dtype=float) for c in ("focus", "ecd"))
    whole = particles["kind"].to_numpy() == "agglomerate"
    single = np.ones(len(particles), dtype=bool)
    rows: list[tuple[int, bool, int, float, float]] = []
    primaries: list[tuple[int, float]] = []
    overlaps = 0
    marked = np.flatnonzero(number > 0)
    groups = pd.Series(marked).groupby([frame[marked], number[marked]]) if len(marked) else ()
    for _, at in groups:
        k = at.to_numpy()
        if len(k) < 2:
            continue
        # Where sharpness is not known, nothing says that the members are apart.
        sharp = np.where(np.isfinite(focus[k]), focus[k], np.nanmax(focus[k]) if np.isfinite(focus[k]).any() else 1.0)
        together = k[sharp * focus_ratio > sharp.max()]
        if len(together) < 2:
            overlaps += 1
            continue
        single[together] = False
        # A group is whole only if all of it is: the least likely member says how often.
        w = math.nan if np.isnan(weight[together]).any() else float(weight[together].max())
        own = together[~whole[together]]
        # Beside a part that was drawn as one nobody knows how many there are.
        count = len(own) if len(own) == len(together) else 0
        rows.append((int(frame[k[0]]), True, count, float(area[together].sum()), w))
        primaries += [(int(frame[i]), float(ecd[i])) for i in own]
    rows += [(int(frame[i]), bool(whole[i]), 0 if whole[i] else 1, area[i], weight[i]) for i in np.flatnonzero(single)]
    bodies = pd.DataFrame(rows, columns=["frame", "agglomerate", "members", "area", "weight"])
    # Those at the edge of the picture have no area; their share is made up for by the weights of the others.
    inside = bodies[np.isfinite(bodies["weight"].to_numpy(dtype=float))].reset_index(drop=True)
    return inside, pd.DataFrame(primaries, columns=["frame", "ecd"]), overlaps


def _figures(
    bodies: pd.DataFrame, n_frames: int, level: float, replicates: int, rng: int | np.random.Generator
) -> tuple[Figure, Figure, Figure]:
    frame = bodies["frame"].to_numpy()
    weight, area = (bodies[c].to_numpy(dtype=float) for c in ("weight", "area"))
    joined, members = bodies["agglomerate"].to_numpy(dtype=bool), bodies["members"].to_numpy(dtype=float)
    known = joined & (members > 1)
    sums = np.column_stack(
        [
            np.bincount(frame, weights=v, minlength=n_frames)
            for v in (
                weight * joined,
                weight,
                weight * area * joined,
                weight * area,
                weight * members * known,
                weight * known,
            )
        ]
    )
    totals = sums.sum(axis=0)
    reasons = ("no whole body", "no whole body", "no agglomerate with known members")
    if n_frames < LEAST_FRAMES:
        short = f"{n_frames} frames; an interval needs {LEAST_FRAMES}"
        values = [_ratio(totals[2 * i], totals[2 * i + 1]) for i in range(3)]
        return tuple(Figure(v, reason=short if math.isfinite(v) else r) for v, r in zip(values, reasons, strict=True))  # type: ignore[return-value]
    length = max(block_length(sums[:, i].astype(float)) for i in range(4))
    generator = np.random.default_rng(rng)
    starts = generator.integers(0, n_frames, (replicates, math.ceil(n_frames / length)))
    drawn = ((starts[:, :, None] + np.arange(length)) % n_frames).reshape(replicates, -1)[:, :n_frames]
    samples = sums[drawn].sum(axis=1)
    tail = tail_of(level, n_frames / length)
    out = []
    for i, reason in enumerate(reasons):
        value = _ratio(totals[2 * i], totals[2 * i + 1])
        good = samples[:, 2 * i + 1] > 0
        if not math.isfinite(value) or good.sum() < 0.9 * replicates:
            out.append(Figure(value, reason=reason if not math.isfinite(value) else "too few frames hold any"))
            continue
        low, high = np.quantile(samples[good, 2 * i] / samples[good, 2 * i + 1], [tail, 1 - tail])
        out.append(Figure(value, float(low), float(high), level))
    return out[0], out[1], out[2]


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else math.nan


def agglomeration_trend(found: Agglomeration, *, n_frames: int, windows: int = 12, level: float = 0.95) -> pd.DataFrame:
    """Degree of agglomeration over a run.

    Parameters
    ----------
    found
        Of the run.
    n_frames
        Frames looked at.
    windows
        Into which they are cut, alike in frames.
    level
        Of the intervals.

    Returns
    -------
    A row for every window: first_frame, last_frame, bodies, by_number, by_area, lower, upper (of by_number, Wilson's
    score interval with the number of bodies that weigh alike).
    """
    from scipy.stats import norm

    edges = np.unique(np.linspace(0, n_frames, min(windows, n_frames) + 1).round().astype(int))
    z = float(norm.ppf(0.5 + level / 2))
    rows = []
    for first, last in itertools.pairwise(edges):
        b = found.bodies[(found.bodies["frame"] >= first) & (found.bodies["frame"] < last)]
        w, joined = b["weight"].to_numpy(dtype=float), b["agglomerate"].to_numpy(dtype=bool)
        area = w * b["area"].to_numpy(dtype=float)
        p = _ratio(float(w[joined].sum()), float(w.sum()))
        n = float(w.sum() ** 2 / (w**2).sum()) if len(w) else math.nan
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n) if len(w) else math.nan
        by_area = _ratio(float(area[joined].sum()), float(area.sum()))
        rows.append((first, last - 1, len(b), p, by_area, middle - half, middle + half))
    return pd.DataFrame(rows, columns=["first_frame", "last_frame", "bodies", "by_number", "by_area", "lower", "upper"])
