"""Events from counts of crystals per picture, on batches of known truth: python -m bench.events.pictures [--runs 60]

The batch of the virtual instrument without its pictures: crystals seen are drawn from the state of the batch (those
above 12 um, Poisson), lengths with 3 % error. So it tells what the search for events costs, not what seeing does.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import pandas as pd

from crystalscope.core import Event, Timeline
from crystalscope.events import detect_events, growth_rate_event, picture_lead, presence_events
from crystalscope.scenes import preset, true_events

PROGRAMMES = (
    ((0, 50), (10, 50), (50, 20), (80, 20), (110, 50), (125, 50)),
    ((0, 55), (15, 55), (85, 15), (100, 15), (170, 55), (190, 55)),
    ((0, 50), (10, 50), (14, 34), (160, 34)),
    ((0, 50), (15, 50), (20, 45), (120, 45)),
)
LEAST_SEEN_UM = 12.0


def batch(
    seed: int, programme: tuple[tuple[float, float], ...]
) -> tuple[pd.DataFrame, pd.DataFrame, list[dict[str, object]]]:
    """Ledger with counts and transmissivity, crystals, and the true events of one batch."""
    rng = np.random.default_rng([seed, 30])
    recipe = preset("cooling-experiment").batch
    assert recipe is not None
    varied = recipe.model_copy(
        update={
            "programme": programme,
            "interval_s": float(rng.choice([10.0, 25.0, 60.0])),
            "growth_um_per_min": float(rng.uniform(8, 22)),
            "transmissivity_noise": float(rng.choice([0.01, 0.03])),
            "transmissivity_drift_per_h": float(rng.uniform(-0.03, 0.03)),
        }
    )
    states = varied.states(frames=0, seed=seed)
    rows, crystals, seen = [], [], []
    for state in states:
        visible = state.length_um > LEAST_SEEN_UM
        counts = rng.poisson(np.where(visible, state.number, 0.0))
        lengths = np.repeat(state.length_um, counts) * (1 + 0.03 * rng.normal(size=counts.sum()))
        crystals.append(pd.DataFrame({"frame": state.frame, "length_um": lengths}))
        seen.append(int(counts.sum()))
        false = rng.random() < 0.02
        rows.append(
            {
                "frame": state.frame, "file": f"{state.frame}.png", "time_s": state.time_s,
                "temperature_c": state.temperature_c, "n": max(seen[-1], int(false)),
                "transmissivity": state.transmissivity,
            }
        )  # fmt: skip
    return pd.DataFrame(rows), pd.concat(crystals, ignore_index=True), true_events(states, seen)


def compared(
    truth: list[dict[str, object]], found: Sequence[Event], *, spacing_s: float, seed: int
) -> list[dict[str, object]]:
    """One row for every event that a batch has or has not: whether it was found, and how late.

    Parameters
    ----------
    truth
        As `true_events` gives them.
    found
        Events of the pictures.
    spacing_s
        Between pictures.
    seed
        Of the batch.
    """
    rows: list[dict[str, object]] = []
    for true in truth:
        kind, happens = str(true["kind"]), true["status"] == "reached"
        if kind == "growth_rate":
            rates = [e.value for e in found if e.kind == "growth_rate" and e.status == "reached"]
            if rates:
                rows.append({"kind": kind, "seed": seed, "error": rates[0] / float(str(true["value"])) - 1})
            continue
        # Born on a fast ramp, crystals show on the hold after it: an induction time, at the same picture.
        kinds = ("cloud", "induction") if kind in ("cloud", "induction") else (kind,)
        same = [e for e in found if e.kind in kinds and e.status == "reached"]
        # What pictures can tell is between which of them it first shows.
        late = np.nan
        if happens and same:
            late = same[0].time_s - 0.5 * (float(str(true["lower_s"])) + float(str(true["upper_s"])))
        row = {"kind": kind, "seed": seed, "happens": happens, "found": bool(same), "error": late}
        rows.append(row | {"within": abs(late) <= 1.001 * spacing_s})
    return rows


def told(table: pd.DataFrame, lead: pd.DataFrame, *, misses: bool) -> None:
    """Print what `compared` and `picture_lead` gave for all batches."""
    growth = table["kind"] == "growth_rate"
    for kind, part in table[~growth].groupby("kind"):
        happens, found = part["happens"].astype(bool), part["found"].astype(bool)
        within = part.loc[happens, "within"].astype(bool).mean()
        print(
            f"{kind}: {happens.sum()} true, found {(happens & found).sum()}, within one picture interval {within:.1%}; "
            f"invented {(found & ~happens).sum()}"
        )
    errors = table.loc[growth, "error"].dropna()
    near = (errors.abs() <= 0.05).mean()
    print(f"growth rate: {len(errors)} runs, median error {errors.median():+.1%}, within 5 %: {near:.0%}")
    earlier = (lead["lead_s"] > 0).mean()
    print(f"pictures earlier in {earlier:.0%} of {len(lead)}, by {lead['lead_s'].median():.0f} s (median)")
    if misses:
        print(table.loc[growth, ["seed", "error"]].round(3).to_numpy().tolist())
        print(lead[lead["lead_s"] <= 0].to_string())
        missed = ~growth & ~table["within"].fillna(False).astype(bool)
        print(table[missed & (table["happens"].fillna(False).astype(bool) | table["found"])].to_string())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--first", type=int, default=0, help="seed of the first run")
    parser.add_argument("--misses", action="store_true", help="list what was missed")
    args = parser.parse_args()
    rows, leads = [], []
    for seed in range(args.first, args.first + args.runs):
        frames, crystals, truth = batch(seed, PROGRAMMES[seed % len(PROGRAMMES)])
        spacing = float(np.median(np.diff(frames["time_s"])))
        found = presence_events(frames, column="n", threshold=1.0, experiment=str(seed))
        line = Timeline(
            frames["time_s"], frames["temperature_c"], {"1": frames["transmissivity"]}, experiment=str(seed)
        )
        leads.append(picture_lead(found, detect_events(line)))
        for true in truth:
            if true["kind"] == "growth_rate":
                start, end = (float(str(true[k])) for k in ("lower_s", "upper_s"))
                found.append(growth_rate_event(crystals, frames, size="length_um", start_s=start, end_s=end))
        rows += compared(truth, found, spacing_s=spacing, seed=seed)
    told(pd.DataFrame(rows), pd.concat(leads), misses=args.misses)


if __name__ == "__main__":
    main()
