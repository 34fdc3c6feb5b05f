"""What happened over time: recorded signals, the temperature programme cut into segments, and events."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crystalscope.errors import InputError

Array = NDArray[np.float64]

EventKind = Literal[
    "induction", "cloud", "clear", "oiling_out", "growth_rate", "agglomeration", "fouling", "steady_state"
]
Status = Literal["reached", "not_reached", "censored"]
"""reached: seen, with its time. not_reached: watched to the end of the segment, did not happen. censored: only a
bound is known, because watching began after it happened, ended before it could, or was interrupted."""

SegmentKind = Literal["heating", "cooling", "hold", "tuning"]


@dataclass(frozen=True)
class Vial:
    """What is in one reactor.

    Parameters
    ----------
    name
        Name of the reactor, such as ``1``.
    concentration
        In `unit`; NaN where it is not known.
    unit
        Of the concentration: ``mg/ml``, ``g/kg`` (per kg of solvent), ``mole_fraction``, or empty.
    solute, solvent
        Names; empty where not known.
    """

    name: str
    concentration: float = math.nan
    unit: str = ""
    solute: str = ""
    solvent: str = ""

    @property
    def sample(self) -> str:
        """Solute in solvent, as far as they are known."""
        return " in ".join(part for part in (self.solute, self.solvent) if part)


@dataclass(frozen=True)
class ProgrammeStep:
    """One line of a temperature programme.

    Parameters
    ----------
    kind
        heat, cool, hold, tune or stir.
    temperature_c
        Target in deg C; NaN for tune and stir.
    rate_c_per_min
        Of a ramp, positive; NaN for others.
    duration_s
        Of a hold; NaN for others.
    """

    kind: Literal["heat", "cool", "hold", "tune", "stir"]
    temperature_c: float = math.nan
    rate_c_per_min: float = math.nan
    duration_s: float = math.nan


@dataclass(frozen=True, eq=False)
class Timeline:
    """Signals of one or more reactors on one clock, with the temperature.

    Parameters
    ----------
    time_s
        (n,) strictly increasing, s since the start of the record.
    temperature_c
        (n,) measured, deg C.
    signals
        (n,) per reactor, NaN where nothing was recorded; transmissivity in %.
    setpoint_c
        (n,) demanded temperature, deg C; None where it was not recorded.
    vials
        What is in the reactors; those without an entry have unknown content.
    programme
        Steps of the programme as written in the record; empty where there is none.
    experiment
        Name of the experiment.
    source
        Name of the file.
    notes
        What the reader mended or left out, in words.

    Raises
    ------
    InputError
        When lengths differ, times do not increase, or nothing was recorded.
    """

    time_s: Array
    temperature_c: Array
    signals: Mapping[str, Array]
    setpoint_c: Array | None = None
    vials: Mapping[str, Vial] = field(default_factory=dict)
    programme: tuple[ProgrammeStep, ...] = ()
    experiment: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        time = _column(self.time_s)
        if not time.size or not bool(np.isfinite(time).all()) or bool(np.any(np.diff(time) <= 0)):
            raise InputError(
                f"expected times in s that increase strictly, got {time.size} times from {self.source or 'an array'}; "
                "sort them and drop duplicates first"
            )
        object.__setattr__(self, "time_s", time)
        object.__setattr__(self, "temperature_c", _like(self.temperature_c, time, "temperature_c"))
        if self.setpoint_c is not None:
            object.__setattr__(self, "setpoint_c", _like(self.setpoint_c, time, "setpoint_c"))
        object.__setattr__(self, "signals", {k: _like(v, time, f"reactor {k}") for k, v in self.signals.items()})

    def __len__(self) -> int:
        return len(self.time_s)

    def vial(self, reactor: str) -> Vial:
        """Content of a reactor; unknown content where the record says nothing."""
        return self.vials.get(reactor, Vial(reactor))

    def temperature_at(self, time_s: float) -> float:
        """Measured temperature at a time in deg C, linear between samples; NaN outside of the record."""
        return float(np.interp(time_s, self.time_s, self.temperature_c, left=math.nan, right=math.nan))


@dataclass(frozen=True)
class Segment:
    """A stretch of the temperature programme.

    Parameters
    ----------
    kind
        heating, cooling, hold, or tuning (left out of every search).
    start_s, end_s
        Times of its ends in s.
    start_c, end_c
        Temperatures there, deg C.
    cycle
        0 until the first cooling, then the number of the cooling that it belongs to: a cycle is a cooling, what
        follows it, and the heating that dissolves the crystals again.
    """

    kind: SegmentKind
    start_s: float
    end_s: float
    start_c: float
    end_c: float
    cycle: int = 0

    @property
    def rate_c_per_min(self) -> float:
        """Mean rate in deg C/min: positive for heating, negative for cooling."""
        return 60.0 * (self.end_c - self.start_c) / (self.end_s - self.start_s)


@dataclass(frozen=True)
class Event:
    """Something that happened, or did not, with the interval in which its time lies.

    Parameters
    ----------
    kind
        See `EventKind`.
    status
        See `Status`.
    time_s
        When, s; NaN unless reached.
    lower_s, upper_s
        95 % interval of the time from sampling and noise; where censored or not reached, the bound that is known (the
        other is NaN).
    seen_s
        When the signal first showed it beyond its noise, s; the change itself began at `time_s`, before that.
    temperature_c, lower_c, upper_c
        Measured temperature at the time, and the lowest and highest that the interval of the time allows, deg C; of a
        cloud point that was not reached upper_c, of a clear point lower_c, the temperature to which the vial was
        watched.
    experiment, reactor, cycle
        Where it belongs (see `Segment.cycle`).
    signal
        What gave it: transmissivity, object_present, …
    file
        The picture that shows it first, or the record.
    value, unit
        induction: the induction time in s. clear and cloud: the concentration of the vial. growth_rate: um/min.
        fouling: share of the field. NaN and empty where there is none.
    value_lower, value_upper
        95 % interval of `value` where it has one of its own.
    rate_c_per_min
        Rate of the ramp on which it was looked for; 0 on a hold.
    sample
        What is in the reactor, without its concentration; empty where not known.
    flags
        What to bear in mind: ``as_filled`` (first dissolution of the solid as filled), ``freezing``, ``in_hold``,
        ``gap``.
    """

    kind: EventKind
    status: Status
    time_s: float = math.nan
    lower_s: float = math.nan
    upper_s: float = math.nan
    seen_s: float = math.nan
    temperature_c: float = math.nan
    lower_c: float = math.nan
    upper_c: float = math.nan
    experiment: str = ""
    reactor: str = ""
    cycle: int = 0
    signal: str = ""
    file: str = ""
    value: float = math.nan
    unit: str = ""
    value_lower: float = math.nan
    value_upper: float = math.nan
    rate_c_per_min: float = math.nan
    sample: str = ""
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.status == "reached" and not math.isfinite(self.time_s):
            raise InputError(f"expected a time of a {self.kind} that was reached, got {self.time_s}")
        if self.status != "reached" and math.isfinite(self.time_s):
            raise InputError(f"expected no time of a {self.kind} that is {self.status}, got {self.time_s} s")


EVENT_FIELDS: tuple[tuple[str, str], ...] = (
    ("kind", "induction, cloud, clear, oiling_out, growth_rate, agglomeration, fouling, steady_state"),
    ("experiment", "name of the experiment"),
    ("reactor", "name of the reactor"),
    ("cycle", "0: before the first cooling (the solid as filled); then the number of the cooling"),
    ("status", "reached, not_reached (watched to the end, did not happen), censored (only a bound is known)"),
    ("time_s", "when; null unless reached"),
    ("lower_s", "lower end of the 95 % interval of the time, or the bound that is known"),
    ("upper_s", "upper end of it"),
    ("seen_s", "when the signal first showed it beyond its noise"),
    ("temperature_c", "measured temperature at the time; null unless reached"),
    ("signal", "what gave it: transmissivity, object_present, …"),
    ("file", "picture that shows it first, or the record"),
    (
        "value",
        "induction: s from the set supersaturation; clear, cloud: concentration; others: the figure",
    ),
    ("unit", "of value"),
    ("value_lower", "lower end of the 95 % interval of value, where it has one of its own"),
    ("value_upper", "upper end of it"),
    ("lower_c", "lowest temperature that the interval of the time allows"),
    ("upper_c", "highest of them"),
    ("rate_c_per_min", "rate of the ramp on which it was looked for; 0 on a hold"),
    ("sample", "what is in the reactor, such as paracetamol in ethanol"),
    ("flags", "as_filled, freezing, in_hold, gap"),
)
"""Fields of an entry of events.json, in order, with their meaning."""


def _column(values: object) -> Array:
    array = np.ascontiguousarray(values, dtype=np.float64).ravel()
    array = array.view()
    array.flags.writeable = False
    return array


def _like(values: object, time: Array, name: str) -> Array:
    array = _column(values)
    if array.shape != time.shape:
        raise InputError(f"expected {time.size} values of {name}, one for every time, got {array.size}")
    return array
