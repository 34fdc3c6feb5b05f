"""events.json: written, and read back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crystalscope.core import EVENT_FIELDS, Event
from crystalscope.errors import InputError, ReadError
from crystalscope.io.tables import write_json

_NUMBERS = (
    "time_s",
    "lower_s",
    "upper_s",
    "seen_s",
    "temperature_c",
    "lower_c",
    "upper_c",
    "value",
    "value_lower",
    "value_upper",
    "rate_c_per_min",
)
_DIGITS = {"value": 6, "value_lower": 6, "value_upper": 6, "rate_c_per_min": 4}


def event_row(event: Event) -> dict[str, Any]:
    """An event as an entry of events.json; what is not known is NaN, which is written as null."""
    row = {}
    for name, _ in EVENT_FIELDS:
        value = getattr(event, name)
        if name in _NUMBERS:
            # Milliseconds, and thousandths of a degree: no event is known better.
            value = round(value, _DIGITS.get(name, 3)) if math.isfinite(value) else math.nan
        row[name] = list(value) if name == "flags" else value
    return row


def write_events(path: Path, events: Iterable[Event]) -> Path:
    """Write events.json; raises WriteError."""
    return write_json(path, [event_row(e) for e in events])


def read_events(path: Path) -> list[Event]:
    """Events from events.json.

    Raises
    ------
    ReadError
        When the file is missing, is no JSON, or is no list of events.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise ReadError(f"expected events in {path}: {e.strerror}; run crystalscope events first") from e
    except ValueError as e:
        raise ReadError(f"expected JSON in {path}: {e}; write it anew by crystalscope events") from e
    if not isinstance(data, list) or not all(
        isinstance(row, dict) and {"kind", "status"} <= row.keys() for row in data
    ):
        raise ReadError(f"expected a list of events with kind and status in {path}; write it by crystalscope events")
    names = [name for name, _ in EVENT_FIELDS]
    out = []
    for row in data:
        given: dict[str, Any] = {k: row[k] for k in names if row.get(k) is not None}
        given |= {k: float(given[k]) for k in _NUMBERS if k in given}
        given["flags"] = tuple(given.get("flags", ()))
        given["reactor"] = str(given.get("reactor", ""))
        try:
            out.append(Event(**given))
        except (InputError, TypeError, ValueError) as e:
            raise ReadError(f"expected an event in {path}, got {row}: {e}") from e
    return out
