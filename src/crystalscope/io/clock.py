"""Clocks of exports: elapsed times, dates, and what goes wrong with both."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from crystalscope.io.text import number_in

Array = NDArray[np.float64]

_ELAPSED = re.compile(r"(?:(\d+)[.\s])?(\d+):(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)")
_DAY_S = 86400.0
DATE_FORMATS = (
    "%m/%d/%y %H:%M", "%m/%d/%Y %H:%M", "%m/%d/%y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %I:%M %p", "%d/%m/%y %H:%M", "%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%d.%m.%y %H:%M", "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S", "%d-%m-%Y %H:%M", "%d-%m-%Y %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S", "%Y/%m/%d %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f",
)  # fmt: skip
"""Forms of dates that are tried, in order: month first, as Crystal16 writes it, before day first."""


def elapsed_s(texts: Sequence[str], *, minutes_per_number: float = 1.0) -> Array:
    """Elapsed times in s from ``H:MM:SS`` (also ``D.HH:MM:SS``) or plain numbers.

    Parameters
    ----------
    texts
        One per row.
    minutes_per_number
        What 1 means where a plain number stands, in min.

    Returns
    -------
    (n,) s; NaN where there is no time.
    """
    minutes: dict[str, int] = {}
    out = []
    for text in texts:
        # The common form first, and each minute read once: a day of seconds has 86,400 rows.
        start, colon, seconds = text.rpartition(":")
        try:
            if start not in minutes:
                hour, minute = start.split(":")
                minutes[start] = int(hour) * 3600 + int(minute) * 60
            out.append(float(minutes[start] + int(seconds)))
        except ValueError:
            out.append(_elapsed(text) if colon else 60 * minutes_per_number * number_in(text))
    return np.array(out, dtype=np.float64)


def _elapsed(text: str) -> float:
    match = _ELAPSED.fullmatch(text.strip())
    if match is None:
        return math.nan
    days, hours, minutes, seconds = match.groups()
    return int(days or 0) * _DAY_S + int(hours) * 3600 + int(minutes) * 60 + number_in(seconds)


def dates_s(texts: Sequence[str]) -> tuple[Array, str]:
    """Dates in s since 1970 (read as UTC), and the form that fits all of them.

    Returns
    -------
    times
        (n,) s; NaN where there is no date.
    form
        The first of `DATE_FORMATS` that reads every row, and for which the dates do not jump by more than a day where
        another form does not; empty where none fits.
    """
    distinct = list(dict.fromkeys(t.strip() for t in texts if t.strip()))
    best: tuple[float, str, dict[str, float]] | None = None
    for form in DATE_FORMATS:
        try:
            found = {t: datetime.strptime(t, form).replace(tzinfo=UTC).timestamp() for t in distinct}
        except ValueError:
            continue
        steps = np.abs(np.diff(list(found.values())))
        # Read with day and month changed about, midnight is a jump of a month.
        jump = float(steps.max(initial=0.0))
        if best is None or (jump < best[0] and best[0] > _DAY_S):
            best = (jump, form, found)
    if best is None:
        return np.full(len(texts), math.nan), ""
    return np.array([best[2].get(t.strip(), math.nan) for t in texts]), best[1]


def spread_minutes(times: Array) -> Array:
    """Times of a clock that shows whole minutes only: rows of one minute are spread evenly over it.

    A first and a last minute that are not full are taken to hold as many rows per minute as the median minute.
    """
    out = times.copy()
    starts = np.flatnonzero(np.diff(times, prepend=math.nan) != 0)
    ends = np.append(starts[1:], len(times))
    counts = ends - starts
    if len(counts) < 2:
        return out
    usual = max(1.0, float(np.median(counts)))
    for k, (a, b) in enumerate(zip(starts, ends, strict=True)):
        n = b - a
        step = 60.0 / max(n, usual if k in (0, len(starts) - 1) else n)
        # The record begins somewhere in its first minute: its rows end with that minute.
        first = 60.0 - step * n if k == 0 else 0.0
        out[a:b] = times[a] + first + step * np.arange(n)
    return out


def mend_clock(times: Array) -> tuple[Array, list[str]]:
    """Times that never go back by more than jitter, and a note for what was mended.

    A clock that goes back by hours (summer time, midnight of a clock without dates, a computer that set its clock) is
    continued: what follows is shifted so that one usual spacing lies between the rows.

    Parameters
    ----------
    times
        (n,) s in the order of the record, NaN where unknown.

    Returns
    -------
    times
        Shifted; duplicates and small steps back are left in.
    notes
        One per jump.
    """
    out = times.copy()
    known = np.flatnonzero(np.isfinite(out))
    notes: list[str] = []
    if known.size < 3:
        return out, notes
    steps = np.diff(out[known])
    usual = float(np.median(steps[steps > 0])) if np.any(steps > 0) else 1.0
    back = np.flatnonzero(steps < -max(60.0, 3 * usual))
    for k in back:
        jump = float(out[known[k + 1]] - out[known[k]])
        shift = usual - jump
        if abs(shift - _DAY_S) < 3600:
            shift = _DAY_S
        out[known[k + 1] :] += shift
        what = "passes midnight" if shift == _DAY_S else f"goes back by {-jump:g} s"
        notes.append(f"the clock {what} at {times[known[k]]:g} s; the times after it are shifted by {shift:g} s")
    return out, notes


def rising_rows(time: Array, usable: NDArray[np.bool_], notes: list[str]) -> NDArray[np.intp]:
    """Rows in order of their times; of rows with one time the last. What is left out is told in `notes`.

    Parameters
    ----------
    time
        (n,) s; NaN where unknown.
    usable
        (n,) whether the row holds what is needed.
    notes
        Is added to.
    """
    rows = np.flatnonzero(np.isfinite(time) & usable)
    if rows.size < time.size:
        notes.append(f"{time.size - rows.size} rows without time or temperature are left out")
    order = rows[np.argsort(time[rows], kind="stable")]
    if not order.size:
        return order
    last = np.append(np.diff(time[order]) > 0, True)
    if not last.all():
        notes.append(f"{int((~last).sum())} rows with the time of another row are left out; the last of them stands")
    return order[last]
