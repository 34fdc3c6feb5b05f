"""Simulated transmissivity runs of known truth, with everything that disturbs real ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crystalscope.core import Timeline, Vial

Array = NDArray[np.float64]

NUISANCES = ("bubbles", "dust", "deposit", "lamp", "cleaning", "stirrer", "lamp_step")


@dataclass(frozen=True)
class Truth:
    """One change: kind (cloud, clear, induction), cycle, time in s; NaN time: it does not happen."""

    kind: str
    cycle: int
    time_s: float


@dataclass(frozen=True, eq=False)
class SimulatedRun:
    """A record of one vial and what happened in it."""

    timeline: Timeline
    truth: tuple[Truth, ...]
    case: str
    spacing_s: float
    noise: float
    nuisances: tuple[str, ...] = field(default=())


def simulate(seed: int, *, case: str = "normal", induction: bool = False) -> SimulatedRun:
    """One run.

    Parameters
    ----------
    seed
        The same seed gives the same run.
    case
        normal; always_clear; always_cloudy; inverse (darker when hot).
    induction
        Fast cooling to a hold on which the crystals come, in place of a slow ramp.
    """
    rng = np.random.default_rng([seed, 20])
    spacing = float(rng.choice([1.0, 2.0, 10.0, 60.0], p=[0.35, 0.35, 0.15, 0.15]))
    cycles = int(rng.integers(1, 4))
    rate = 10.0 if induction else float(rng.choice([0.1, 0.3, 0.5, 1.0]))
    hot, cold = 60.0, 10.0
    hold = float(rng.uniform(1800, 5400))
    corners: list[tuple[float, float]] = [(0.0, 20.0), (1200.0, 20.0)]
    rise = 60 * (hot - 20) / max(rate, 0.5)
    corners += [(corners[-1][0] + rise, hot), (corners[-1][0] + rise + hold, hot)]
    truth: list[Truth] = []
    changes: list[tuple[float, float]] = []
    saturated, undercooled = float(rng.uniform(32, 52)), float(rng.uniform(6, 18))
    for cycle in range(1, cycles + 1):
        start = corners[-1][0]
        down = 60 * (hot - cold) / rate
        up = 60 * (hot - cold) / max(rate, 0.5)
        wait = hold if not induction else float(rng.uniform(3, 6)) * 3600
        corners += [(start + down, cold), (start + down + wait, cold), (start + down + wait + up, hot)]
        corners += [(corners[-1][0] + hold, hot)]
        if case != "normal":
            truth += [Truth("cloud", cycle, np.nan), Truth("clear", cycle, np.nan), Truth("induction", cycle, np.nan)]
            continue
        cloud_c = saturated - undercooled + rng.normal(0, 0.8)
        born = start + 60 * (hot - cloud_c) / rate
        if induction:
            born = start + down + 60 + float(rng.exponential(0.3 * wait))
        seen = born < start + down + wait - 900
        clear_c = saturated + 2 * max(rate, 0.5) ** 0.5 + rng.normal(0, 0.1)
        gone = start + down + wait + 60 * (clear_c - cold) / max(rate, 0.5)
        truth.append(Truth("induction" if induction else "cloud", cycle, born if seen else np.nan))
        truth.append(Truth("clear", cycle, gone if seen else np.nan))
        if seen:
            changes += [(born, gone)]
    time = np.arange(0.0, corners[-1][0], spacing) + (rng.uniform(0, 0.2 * spacing) if spacing > 2 else 0.0)
    degrees = np.interp(time, *zip(*corners, strict=True))
    clear = float(rng.choice([100.0, rng.uniform(65, 98)], p=[0.6, 0.4]))
    deep = float(rng.choice([0.0, rng.uniform(0, 0.75)], p=[0.5, 0.5])) * clear
    signal = np.full(time.size, clear)
    if case == "always_cloudy":
        signal[:] = rng.uniform(0, 30)
    if case == "inverse":
        signal = np.interp(degrees, [cold, hot], [clear * 0.7, clear * 0.15])
    for born, gone in changes:
        signal = np.minimum(signal, _dip(time, born, gone, clear, deep, rng))
    noise = float(rng.choice([0.2, 1.0, 3.0, 5.0]))
    used = tuple(n for n in NUISANCES if rng.random() < 0.35)
    signal = _disturbed(time, signal, used, rng)
    measured = signal + noise * rng.normal(size=time.size)
    if rng.random() < 0.7:
        measured = np.round(np.clip(measured, 0, 100))
    timeline = Timeline(
        time,
        degrees + 0.05 * rng.normal(size=time.size),
        {"1": measured},
        setpoint_c=np.round(degrees, 1) if rng.random() < 0.5 else None,
        vials={"1": Vial("1", 20.0, "mg/ml", "X", "Y")},
        experiment=f"run {seed}",
    )
    return SimulatedRun(timeline, tuple(truth), case, spacing, noise, used)


def _dip(time: Array, born: float, gone: float, clear: float, deep: float, rng: np.random.Generator) -> Array:
    """Transmissivity with crystals from `born` to `gone`."""
    fall, rise = np.exp(rng.uniform(np.log(20), np.log(600), 2))
    rise = min(rise, 0.3 * (gone - born))
    p, q = rng.uniform(1, 2.5, 2)
    down = 1 - np.exp(-(np.clip((time - born) / fall, 0, None) ** p))
    up = 1 - np.exp(-(np.clip((gone - time) / rise, 0, None) ** q))
    return clear - (clear - deep) * np.minimum(down, up)


def _disturbed(time: Array, signal: Array, used: tuple[str, ...], rng: np.random.Generator) -> Array:
    out, end = signal.copy(), time[-1]
    if "deposit" in used:
        out *= 1 - rng.uniform(0.02, 0.12) * time / end
    if "lamp" in used:
        out *= 1 + rng.uniform(-0.05, 0.05) * np.sin(2 * np.pi * time / end * rng.uniform(0.3, 1.2))
    if "lamp_step" in used:
        out[time > rng.uniform(0, end)] *= 0.95
    for name, count, longest, depth in (
        ("bubbles", 30, 20.0, 0.6), ("dust", 20, 6.0, 0.9), ("cleaning", 2, 400.0, 1.0), ("stirrer", 1, 180.0, 0.5),
    ):  # fmt: skip
        if name not in used:
            continue
        for at in rng.uniform(0, end, count):
            inside = (time >= at) & (time < at + rng.uniform(0.3, 1) * longest)
            out[inside] *= 1 - depth * rng.uniform(0.3, 1)
    return out
