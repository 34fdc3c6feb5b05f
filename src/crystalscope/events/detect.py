"""Clear points, cloud points and induction times from a signal and the temperature programme."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crystalscope.core import Event, EventKind, Segment, Timeline, Vial
from crystalscope.errors import InputError
from crystalscope.events.segments import cut_programme, cut_short, hold_reached_s
from crystalscope.events.series import Onset, find_onset
from crystalscope.events.states import Run, States, find_states

Array = NDArray[np.float64]

LONGEST_GAP_S = 600.0
"""Between samples further apart than this no time is given: the event is censored, with the gap as its bounds."""


def detect_events(timeline: Timeline, *, signal: str = "transmissivity") -> list[Event]:
    """All clear points, cloud points and induction times of a record.

    Parameters
    ----------
    timeline
        Signals of which 100 is clear and 0 is dense (see `presence_timeline` for pictures).
    signal
        Name of what was recorded, for the events.

    Returns
    -------
    For every reactor and cycle: a cloud point for each cooling, a clear point for each heating, an induction time for
    each hold after a cooling; what did not happen too, with its status (see `core.Event`). Reactors in order.

    Raises
    ------
    InputError
        When no temperature is finite.

    Notes
    -----
    Change points between the states of `find_states`, refined by `find_onset` on the recorded samples. Clear point:
    where the signal has come to the clear level. On a ramp it lies above the saturation temperature, the further the
    faster the ramp; see `clear_point_at_rest`. Cloud point: where the signal leaves the clear level; a signal through
    the whole vial sees crystals later than a picture does. A vial without clear state, or darker when hot than when
    cold, has events that are censored or not reached only.
    """
    if not np.isfinite(timeline.temperature_c).any():
        raise InputError("expected measured temperatures, got none; events need them")
    segments = cut_programme(timeline)
    out: list[Event] = []
    for reactor, values in timeline.signals.items():
        blank = Event(
            "clear",
            "not_reached",
            experiment=timeline.experiment,
            reactor=reactor,
            signal=signal,
            file=timeline.source,
            sample=timeline.vial(reactor).sample,
        )
        out += _Search(timeline, values, segments, blank).events()
    return out


class _Search:
    """Events of one reactor."""

    def __init__(self, timeline: Timeline, values: Array, segments: tuple[Segment, ...], blank: Event) -> None:
        self.timeline, self.values, self.segments, self.blank = timeline, values, segments, blank
        self.states: States = find_states(timeline.time_s, timeline.temperature_c, values, segments)
        self.vial: Vial = timeline.vial(blank.reactor)
        self.changes = self._changes()

    def events(self) -> list[Event]:
        out = []
        for i, segment in enumerate(self.segments):
            after = self.segments[i + 1] if i + 1 < len(self.segments) else None
            ended = after is None and cut_short(self.timeline)
            if segment.kind == "cooling" and segment.cycle > 0:
                out.append(self._cloud(segment, after, ended))
            elif segment.kind == "heating":
                out.append(self._clear(segment, after, ended))
            elif segment.kind == "hold" and self._cooled_before(i):
                out.append(self._induction(segment))
        return out

    def _cooled_before(self, i: int) -> bool:
        """Whether a hold makes a supersaturation: it follows a cooling, or nothing that was recorded."""
        earlier = [s for s in self.segments[:i] if s.kind != "tuning"]
        alone = all(s.kind in ("hold", "tuning") for s in self.segments)
        return (earlier[-1].kind == "cooling" and self.segments[i].cycle > 0) if earlier else alone

    def _changes(self) -> list[tuple[bool, Onset, float]]:
        """Changes of state in order: whether it became clear, when it began to, and when that was seen."""
        s = self.states
        t, y = self.timeline.time_s[s.rows], self.values[s.rows]
        # What stands far from its neighbours is a nuisance; it would pull the fit.
        y = np.clip(y, s.smooth - 4 * s.sd, s.smooth + 4 * s.sd) if s.sd > 0 else y
        out = []
        for before, after in zip(s.runs[:-1], s.runs[1:], strict=True):
            if after.clear:
                # Backwards in time it leaves the clear level.
                a, b = before.last, _gone(s, before, rising=True)
                mirrored = _refined(-t[::-1], y[::-1], len(t) - 1 - a, len(t) - 1 - b, len(t) - 1 - after.last)
                onset = Onset(-mirrored.time_s, -mirrored.upper_s, -mirrored.lower_s, mirrored.gap_s)
            else:
                onset = _refined(t, y, after.first, _gone(s, after, rising=False), before.first)
            seen = onset.upper_s if after.clear else max(onset.time_s, float(t[_seen(s, before, after)]))
            out.append((after.clear, onset, seen))
        return out

    def _state_at(self, time_s: float) -> bool | None:
        """Whether the vial is clear at a time; None where it has no state."""
        if not self.states.runs:
            return None
        clear = self.states.runs[0].clear
        for becomes_clear, onset, _ in self.changes:
            if onset.time_s > time_s:
                break
            clear = becomes_clear
        return clear

    def _within(self, becomes_clear: bool, start_s: float, end_s: float) -> Onset | None:
        found = [o for c, o, _ in self.changes if c == becomes_clear and start_s <= o.time_s < end_s]
        return found[-1] if becomes_clear and found else found[0] if found else None

    def _cloud(self, segment: Segment, after: Segment | None, ended: bool) -> Event:
        base = self._base("cloud", segment)
        end = segment.end_s
        if after is not None and after.kind == "hold":
            # The set temperature is reached after the programme says so.
            end = max(end, hold_reached_s(self.timeline, after))
        if self._state_at(segment.start_s) is not True:
            return replace(base, status="censored", upper_s=segment.start_s)
        onset = self._within(False, segment.start_s, end)
        if onset is None:
            bound = self.timeline.temperature_at(end)
            return replace(base, status="censored" if ended else "not_reached", lower_s=end, upper_c=bound)
        return self._reached(base, onset)

    def _clear(self, segment: Segment, after: Segment | None, ended: bool) -> Event:
        base = self._base("clear", segment)
        if self._state_at(segment.start_s) is True and self._within(True, segment.start_s, segment.end_s) is None:
            # There was nothing to dissolve.
            return replace(base, status="not_reached")
        onset = self._within(True, segment.start_s, segment.end_s)
        if onset is None and after is not None and after.kind == "hold":
            onset = self._within(True, segment.end_s, after.end_s)
            base = replace(base, flags=("in_hold",) if onset else ())
        if onset is None:
            bound = self.timeline.temperature_at(segment.end_s)
            return replace(base, status="censored" if ended else "not_reached", lower_s=segment.end_s, lower_c=bound)
        first = not self._crystallised_before(onset.time_s)
        return self._reached(replace(base, flags=(*base.flags, "as_filled") if first else base.flags), onset)

    def _crystallised_before(self, time_s: float) -> bool:
        """Whether crystals came on cooling before a time, so that what dissolves then was grown in the vial."""
        cold = [s for s in self.segments if s.cycle > 0 and s.kind in ("cooling", "hold")]
        falls = [o.time_s for clear, o, _ in self.changes if not clear and o.time_s < time_s]
        return any(s.start_s <= t < s.end_s for t in falls for s in cold)

    def _induction(self, segment: Segment) -> Event:
        base = self._base("induction", segment)
        start = hold_reached_s(self.timeline, segment)
        degrees = self.timeline.temperature_at(segment.end_s)
        state = self._state_at(start)
        if state is not True:
            # It nucleated on the way; only that the induction time is below 0 is known.
            return replace(base, status="censored", upper_s=start, upper_c=degrees, unit="s")
        onset = self._within(False, start, segment.end_s)
        if onset is None:
            watched = segment.end_s - start
            return replace(base, status="censored", lower_s=segment.end_s, upper_c=degrees, value=watched, unit="s")
        event = self._reached(base, onset)
        if event.status == "reached":
            event = replace(event, value=onset.time_s - start)
        return replace(event, unit="s")

    def _base(self, kind: EventKind, segment: Segment) -> Event:
        rate = 0.0 if segment.kind == "hold" else segment.rate_c_per_min
        event = replace(self.blank, kind=kind, cycle=segment.cycle, rate_c_per_min=rate)
        if kind != "induction" and math.isfinite(self.vial.concentration):
            event = replace(event, value=self.vial.concentration, unit=self.vial.unit)
        return event

    def _reached(self, base: Event, onset: Onset) -> Event:
        if onset.gap_s > LONGEST_GAP_S:
            return replace(
                base, status="censored", lower_s=onset.lower_s, upper_s=onset.upper_s, flags=(*base.flags, "gap")
            )
        time = self.timeline.time_s
        a = int(np.clip(np.searchsorted(time, onset.lower_s) - 1, 0, len(time) - 1))
        b = int(np.searchsorted(time, onset.upper_s, side="right"))
        inside = self.timeline.temperature_c[a : b + 1]
        return replace(
            base,
            status="reached",
            time_s=onset.time_s,
            lower_s=onset.lower_s,
            upper_s=onset.upper_s,
            seen_s=next(seen for _, o, seen in self.changes if o is onset),
            temperature_c=self.timeline.temperature_at(onset.time_s),
            lower_c=float(np.nanmin(inside)),
            upper_c=float(np.nanmax(inside)),
        )


def _seen(states: States, before: Run, after: Run) -> int:
    """First position from which on the running median stays beyond the noise of the clear level before a fall."""
    clear = states.smooth[max(before.first, before.last - 400) : before.last + 1]
    level = float(np.median(clear))
    # A percent at least: a running median hides the noise of what drifts.
    allowed = max(4 * float(np.std(clear[: max(1, clear.size // 2)])), 0.01 * level)
    inside = np.flatnonzero(level - states.smooth[before.first : after.first + 1] <= allowed)
    return before.first + int(inside[-1]) + 1 if inside.size else after.first


def _gone(states: States, cloudy: Run, *, rising: bool) -> int:
    """Position at which the signal has gone a part of the way into a cloudy run, or has that part left to come back.

    The part is as small as the noise allows, so that the shape of the departure matters little: 8 standard deviations
    of the noise, from 15 to 50 % of the depth.
    """
    rows = slice(cloudy.first, cloudy.last + 1)
    share = 1 - states.smooth[rows] / states.level[rows]
    deepest = float(np.max(share))
    part = deepest * float(np.clip(8 * states.sd / (deepest * states.level[cloudy.first]), 0.15, 0.5))
    beyond = np.flatnonzero(share >= part)
    return cloudy.first + int(beyond[-1] if rising else beyond[0])


def _refined(t: Array, y: Array, crossed: int, gone: int, earliest: int) -> Onset:
    """Onset of a fall that crosses the threshold at `crossed`, first in a wide window, then in one about it."""
    wide = find_onset(t, y, first=max(earliest, crossed - 4 * (gone - crossed) - 60), last=gone)
    found = int(np.searchsorted(t, wide.time_s))
    return find_onset(t, y, first=max(earliest, found - 2 * (gone - found) - 30), last=gone)
