"""Sets of repeated runs: which induction times and zone widths belong together, and their nucleation rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from crystalscope.core import Event
from crystalscope.errors import InputError
from crystalscope.events.nucleation import NucleationRate, ZoneNucleation, fit_induction_times, fit_zone_widths


@dataclass(frozen=True)
class InductionSet:
    """Induction times of one sample, concentration and hold temperature.

    Parameters
    ----------
    sample, concentration, unit
        What was in the vials.
    temperature_c
        Of the hold, to the degree.
    rate
        The fit.
    n_before
        Vials that nucleated before the set temperature was reached; they are left out, which makes J low.
    """

    sample: str
    concentration: float
    unit: str
    temperature_c: float
    rate: NucleationRate
    n_before: int


def induction_sets(events: Sequence[Event], *, volume_ml: float) -> list[InductionSet]:
    """Nucleation rates of all sets of induction times, censored runs included.

    Parameters
    ----------
    events
        With cloud points, which hold the concentrations.
    volume_ml
        Of a vial, ml.

    Returns
    -------
    One for each sample, concentration and hold temperature.

    Raises
    ------
    InputError
        When the volume is not above 0.
    """
    content = {(e.experiment, e.reactor): e for e in events if e.kind in ("cloud", "clear") and e.value > 0}
    sets: dict[tuple[str, float, str, float], list[Event]] = {}
    for e in events:
        if e.kind != "induction" or "freezing" in e.flags:
            continue
        vial = content.get((e.experiment, e.reactor))
        degrees = e.temperature_c if math.isfinite(e.temperature_c) else e.upper_c
        value, unit = (vial.value, vial.unit) if vial is not None else (math.nan, "")
        # NaN is no key: unknown concentrations are told apart by the experiment.
        sets.setdefault((e.sample or e.experiment, value if value > 0 else -1.0, unit, round(degrees)), []).append(e)
    out = []
    for (sample, value, unit, degrees), members in sets.items():
        seen = [e.value for e in members if e.status == "reached"]
        watched = [e.value for e in members if e.status == "censored" and e.value > 0]
        if seen or watched:
            rate = fit_induction_times(seen, volume_ml=volume_ml, censored_s=watched)
            before = len(members) - len(seen) - len(watched)
            out.append(InductionSet(sample, value if value > 0 else math.nan, unit, degrees, rate, before))
    return out


def zone_sets(widths: pd.DataFrame, *, volume_ml: float) -> list[tuple[float, str, ZoneNucleation]]:
    """Nucleation from zone widths, for every concentration with at least five of them that were seen.

    Parameters
    ----------
    widths
        From `zone_widths`.
    volume_ml
        Of a vial, ml.

    Returns
    -------
    Concentration, unit and fit.
    """
    out = []
    good = widths[widths["mszw_c"] > 0]
    for (value, unit), rows in good.groupby(["concentration", "unit"]):
        try:
            fit = fit_zone_widths(
                rows["mszw_c"],
                rows["cooling_rate_c_per_min"],
                volume_ml=volume_ml,
                censored=(rows["status"] != "reached").to_numpy(),
            )
        except InputError:
            continue
        out.append((float(value), str(unit), fit))
    return out
