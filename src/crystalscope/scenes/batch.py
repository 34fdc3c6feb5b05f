"""A batch in time: temperature programme, nucleation, growth, dissolution, settling, and a lagging transmissivity."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from crystalscope.config import NonNegative, Positive, Share, Table
from crystalscope.scenes.optics import Instrument
from crystalscope.scenes.render import Placed
from crystalscope.scenes.sample import Maker, Population, place, value
from crystalscope.scenes.window import Window

Array = NDArray[np.float64]

_STEP_S = 5.0
_NUCLEUS_UM = 2.0
"""Length of a new crystal: far below what a picture shows."""


class Batch(Table):
    """A crystallization by stated laws, well mixed but for settling.

    Solubility c* = solubility_at_20 exp(solubility_per_c (T - 20)), g per kg of solvent; S = c / c*. The first nucleus
    comes at the rate primary_rate exp(-primary_barrier / ln² S) per minute (a chance event: the seed decides when);
    from then on new crystals appear at secondary_rate (S - 1) per minute and per mm² of crystals over the field. Length
    grows by growth_um_per_min (S - 1)^growth_order where S > 1 and shrinks by dissolution_um_per_min (1 - S) below.
    What crystals take from the solution is their mass, length³ times mass_per_um3.
    """

    programme: tuple[tuple[float, float], ...]
    """Corners (minute, deg C) of the temperature programme, joined by straight lines."""
    interval_s: Positive = 30.0
    """Time between pictures."""
    saturated_c: float = 40.0
    """Temperature at which the solution is saturated."""
    solubility_at_20: Positive = 100.0
    solubility_per_c: Positive = 0.03
    primary_rate: NonNegative = 20.0
    primary_barrier: NonNegative = 0.02
    first_crystals: Positive = 5.0
    """Crystals over the field from the first shower of nuclei."""
    secondary_rate: NonNegative = 40.0
    growth_um_per_min: NonNegative = 22.0
    growth_order: Positive = 1.0
    dissolution_um_per_min: NonNegative = 60.0
    mass_per_um3: Positive = 8.0e-7
    """Solute in g per kg of solvent that crystals of 1 um³ in all over the field bind."""
    settling_per_min: NonNegative = 0.0
    """Rate at which crystals of 100 um leave the field; grows with length² (Stokes)."""
    stirrer_start_min: float | None = None
    """When the stirrer starts: bubbles fill the field and fade over five minutes."""
    cleaned_min: float | None = None
    """When the probe is cleaned: two pictures are bright and empty, deposits are gone."""
    lamp_step_min: float | None = None
    """When the lamp jumps by 6 %."""
    transmissivity_lag_s: NonNegative = 60.0
    transmissivity_noise: Share = 0.01
    transmissivity_drift_per_h: float = 0.0
    extinction: Positive = 2.2
    """Of the transmissivity: exp(-extinction times the crystals' length² over the field in mm²)."""

    @model_validator(mode="after")
    def _programme(self) -> Batch:
        times = [t for t, _ in self.programme]
        if len(times) < 2 or any(b <= a for a, b in itertools.pairwise(times)) or times[0] != 0:
            raise ValueError("expected a programme of at least two (minute, deg C) from minute 0 on, minutes rising")
        return self

    def temperature(self, time_s: Array | float) -> Array:
        """Temperature at times in s, deg C."""
        minutes, degrees = zip(*self.programme, strict=True)
        return np.asarray(np.interp(np.asarray(time_s) / 60, minutes, degrees))

    def solubility(self, temperature_c: Array | float) -> Array:
        """g per kg of solvent."""
        return np.asarray(self.solubility_at_20 * np.exp(self.solubility_per_c * (np.asarray(temperature_c) - 20)))

    def states(self, *, frames: int, seed: int) -> list[State]:
        """States of the batch at the times of the pictures.

        Parameters
        ----------
        frames
            How many, spread by `interval_s`; 0: all of the programme.
        seed
            Decides when the first nucleus comes, and the noise of the transmissivity.
        """
        rng = np.random.default_rng([seed, 7])
        whole = int(self.programme[-1][0] * 60 / self.interval_s) + 1
        n = min(frames, whole) if frames else whole
        patience = rng.exponential()
        length, number = np.zeros(0), np.zeros(0)
        start = float(self.solubility(self.saturated_c))
        out: list[State] = []
        hazard, time, signal, nucleated = 0.0, 0.0, 1.0, math.nan
        for k in range(n):
            while time < k * self.interval_s - 1e-9:
                s = self._supersaturation(start, length, number, time)
                if not number.sum() and s > 1:
                    hazard += self.primary_rate * math.exp(-self.primary_barrier / math.log(s) ** 2) * _STEP_S / 60
                    if hazard > patience:
                        nucleated = time
                        hazard, patience = 0.0, rng.exponential()
                        length, number = np.append(length, _NUCLEUS_UM), np.append(number, self.first_crystals)
                length, number = self._advanced(length, number, s)
                time += _STEP_S
                clear = math.exp(-self.extinction * _cover(length, number))
                lag = 1 - math.exp(-_STEP_S / max(self.transmissivity_lag_s, 1e-6))
                signal += (clear - signal) * lag
            s = self._supersaturation(start, length, number, time)
            drift = self.transmissivity_drift_per_h * time / 3600
            measured = signal * (1 + drift) + self.transmissivity_noise * rng.normal()
            out.append(
                State(
                    k, time, float(self.temperature(time)), s, float(start - self._bound(length, number)),
                    100 * max(0.0, measured), length.copy(), number.copy(), nucleated,
                )
            )  # fmt: skip
        return out

    def _bound(self, length: Array, number: Array) -> float:
        return float(self.mass_per_um3 * (number * length**3).sum())

    def _supersaturation(self, start: float, length: Array, number: Array, time_s: float) -> float:
        left = max(start - self._bound(length, number), 1e-9)
        return left / float(self.solubility(self.temperature(time_s)))

    def _advanced(self, length: Array, number: Array, s: float) -> tuple[Array, Array]:
        minutes = _STEP_S / 60
        if s > 1:
            length = length + self.growth_um_per_min * (s - 1) ** self.growth_order * minutes
            area = float((number * length**2).sum()) * 1e-6
            born = self.secondary_rate * (s - 1) * area * minutes
            if born > 1e-6:
                length, number = np.append(length, _NUCLEUS_UM), np.append(number, born)
        else:
            length = length - self.dissolution_um_per_min * (1 - s) * minutes
        number = number * np.exp(-self.settling_per_min * (length / 100) ** 2 * minutes)
        keep = (length > 0.5 * _NUCLEUS_UM) & (number > 1e-9)
        return length[keep], number[keep]

    def bodies(
        self,
        state: State,
        populations: dict[str, Population],
        instrument: Instrument,
        *,
        depth_px: float,
        rng: np.random.Generator,
        seed: int,
    ) -> list[Placed]:
        """What stands before the instrument: the population ``crystals`` at its sizes, and the others as they are.

        The substance and the habit are those of the batch (`seed`), the crystals in the field are others each time.
        """
        if self._being_cleaned(state):
            return []
        out: list[Placed] = []
        scale = instrument.pixel_size_um or 1.0
        for name, population in populations.items():
            maker = Maker(population, instrument, rng=np.random.default_rng([seed, sum(map(ord, name))]))
            if name != "crystals":
                count, ghosts = value(population.count, rng), value(population.ghosts, rng)
                if population.body == "bubble" and self.stirrer_start_min is not None:
                    since = state.time_s / 60 - self.stirrer_start_min
                    more = 20 * math.exp(-since) if 0 <= since < 5 else 0.0
                    count, ghosts = count + more, ghosts + more
                out += place(maker, instrument, layout="slabs", depth_px=depth_px, count=count, ghosts=ghosts, rng=rng)
                continue
            blurred = value(population.ghosts, rng)
            for length, number in zip(state.length_um, state.number, strict=True):
                if length / scale < 2:
                    continue
                grown = _Sized(maker, length / scale)
                out += place(
                    grown, instrument, layout="slabs", depth_px=depth_px, count=number, ghosts=blurred * number, rng=rng
                )
        return out

    def _being_cleaned(self, state: State) -> bool:
        if self.cleaned_min is None:
            return False
        return 0 <= state.time_s - self.cleaned_min * 60 < 2 * self.interval_s

    def disturbed(self, state: State, instrument: Instrument, window: Window) -> tuple[Instrument, Window]:
        """Instrument and window at the moment: the lamp's jump, and a clean window after cleaning."""
        if self.lamp_step_min is not None and state.time_s >= self.lamp_step_min * 60:
            instrument = instrument.model_copy(update={"light": min(1.0, instrument.light * 1.06)})
        if self.cleaned_min is not None and state.time_s >= self.cleaned_min * 60:
            window = window.model_copy(update={"deposits": 0.0, "spread": 0.0})
        return instrument, window


class _Sized(Maker):
    """The maker of a batch, for crystals of one length with the spread of the population."""

    def __init__(self, maker: Maker, length: float) -> None:
        self.__dict__.update(maker.__dict__)
        self.median = length


@dataclass(frozen=True, eq=False)
class State:
    """The batch at one moment.

    Parameters
    ----------
    frame, time_s, temperature_c
        When.
    supersaturation, concentration_g_per_kg
        S and c.
    transmissivity
        Per cent, with lag, drift and noise.
    length_um, number
        (cohorts,) length and expected number over the field of crystals born together.
    nucleated_s
        When the first nucleus came; NaN: not yet.
    """

    frame: int
    time_s: float
    temperature_c: float
    supersaturation: float
    concentration_g_per_kg: float
    transmissivity: float
    length_um: Array
    number: Array
    nucleated_s: float

    def facts(self) -> dict[str, Any]:
        """Truth for the ledger."""
        seen = self.length_um[self.number > 1e-3]
        return {
            "temperature_c": self.temperature_c,
            "supersaturation": self.supersaturation,
            "concentration_g_per_kg": self.concentration_g_per_kg,
            "transmissivity": self.transmissivity,
            "crystals_expected": float(self.number.sum()),
            "largest_um": float(seen.max()) if seen.size else 0.0,
            "nucleated_s": self.nucleated_s,
        }


def _cover(length: Array, number: Array) -> float:
    """Crystals' area over the field in mm², as a measure of the light they take."""
    return float((number * length**2).sum()) * 1e-6


def true_events(states: Sequence[State], seen: Sequence[int]) -> list[dict[str, Any]]:
    """What happened in a batch, in the form of events.json.

    Parameters
    ----------
    states
        Of all pictures, in order.
    seen
        Crystals in focus in each picture.

    Returns
    -------
    cloud (or induction, where the temperature did not fall at the time) and clear, each with the time at which it
    happened, ``lower_s`` and ``upper_s``, the pictures between which it shows, and status not_reached where it did not
    happen; growth_rate in um/min of the longest crystals while they grow, from the first to the last picture of it.
    """
    times = np.array([s.time_s for s in states])
    shown = np.array(seen) > 0
    born = states[-1].nucleated_s if states else math.nan
    out: list[dict[str, Any]] = []
    if math.isfinite(born) and shown.any():
        first = int(np.argmax(shown))
        at = int(np.searchsorted(times, born))
        falling = at > 0 and states[min(at, len(states) - 1)].temperature_c < states[at - 1].temperature_c - 1e-9
        out.append(_event("cloud" if falling else "induction", states, born, first - 1, first))
    else:
        out.append({"kind": "cloud", "status": "not_reached"})
    number = np.array([s.number.sum() for s in states])
    if number.max(initial=0) > 0 and number[-1] == 0:
        gone = len(states) - int(np.argmax(number[::-1] > 0))
        last = len(states) - 1 - int(np.argmax(shown[::-1])) if shown.any() else gone - 1
        out.append(_event("clear", states, float(times[gone]), last, min(last + 1, len(states) - 1)))
    else:
        out.append({"kind": "clear", "status": "not_reached"})
    longest = np.array([s.length_um.max(initial=0) for s in states])
    rise = np.flatnonzero((np.diff(longest) > 0) & (longest[:-1] > 0))
    if rise.size > 1:
        a, b = int(rise[0]), int(rise[-1]) + 1
        rate = (longest[b] - longest[a]) / (times[b] - times[a]) * 60
        entry = {"kind": "growth_rate", "status": "reached", "time_s": float(times[a]), "value": float(rate)}
        out.append(entry | {"unit": "um/min", "lower_s": float(times[a]), "upper_s": float(times[b])})
    return out


def _event(kind: str, states: Sequence[State], time_s: float, before: int, after: int) -> dict[str, Any]:
    times = [s.time_s for s in states]
    degrees = float(np.interp(time_s, times, [s.temperature_c for s in states]))
    return {
        "kind": kind,
        "status": "reached",
        "time_s": time_s,
        "temperature_c": degrees,
        "lower_s": times[max(before, 0)],
        "upper_s": times[after],
    }
