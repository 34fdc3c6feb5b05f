"""A solvent that freezes: clear and cloud points that do not depend on the concentration."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from crystalscope.core import Event, Timeline

_LEAST_RATIO = 2.0
_CLEAR_RISE_C = 0.5
_CLOUD_RISE_C = 1.0
_SPREAD_C = 3.0


def flag_freezing(events: Sequence[Event], timeline: Timeline) -> list[Event]:
    """Flag the events of solvents that freeze.

    Parameters
    ----------
    events
        Of one record.
    timeline
        The record, with the solvent and the concentration of every reactor.

    Returns
    -------
    The events in order, those of reactors with a freezing solvent flagged ``freezing``.

    Notes
    -----
    Dissolved matter lowers the freezing point and hardly more than by 1 deg C in what is studied for solubility, while
    a solubility rises with temperature. So a solvent freezes where reactors of one solvent and one solute, whose
    concentrations differ by a factor of 2 or more, have clear points that do not rise with the concentration by more
    than 0.5 deg C, nor cloud points by more than 1 deg C, and that agree within 3 deg C. With one concentration it
    cannot be told. A solute whose solubility rises a hundredfold within 0.5 deg C would be flagged too.
    """
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for reactor in timeline.signals:
        vial = timeline.vial(reactor)
        if vial.solvent and math.isfinite(vial.concentration):
            groups[vial.solvent.casefold(), vial.solute.casefold()].append(reactor)
    frozen = {r for members in groups.values() if _freezes(events, timeline, members) for r in members}
    return [replace(e, flags=(*e.flags, "freezing")) if e.reactor in frozen else e for e in events]


def _freezes(events: Sequence[Event], timeline: Timeline, reactors: Sequence[str]) -> bool:
    content = [timeline.vial(r).concentration for r in reactors]
    middle = math.sqrt(min(content) * max(content))
    if min(content) <= 0 or max(content) < _LEAST_RATIO * min(content):
        return False
    seen = 0
    for kind, most in (("clear", _CLEAR_RISE_C), ("cloud", _CLOUD_RISE_C)):
        low: list[float] = []
        high: list[float] = []
        for e in events:
            grown = "as_filled" not in e.flags and e.status == "reached"
            if e.kind in (kind, "induction" if kind == "cloud" else kind) and grown and e.reactor in reactors:
                side = low if timeline.vial(e.reactor).concentration < middle else high
                side.append(e.temperature_c)
        if not low or not high:
            continue
        seen += 1
        rise = float(np.median(high) - np.median(low))
        if rise > most or rise < -_SPREAD_C:
            return False
    return seen == 2
