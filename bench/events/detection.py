"""Detection on simulated transmissivity runs: python -m bench.events.detection [--runs 400] [--misses]"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import pandas as pd

from bench.events.runs import SimulatedRun, simulate
from crystalscope.core import Event
from crystalscope.events import detect_events

CASES = ("normal", "normal", "normal", "induction", "always_clear", "always_cloudy", "inverse")


def compare(run: SimulatedRun, events: list[Event]) -> list[dict[str, object]]:
    """One row for every true change, and one for every event that was reached and is not true."""
    reached = {(e.kind, e.cycle): e for e in events if e.status == "reached" and e.cycle > 0}
    rows: list[dict[str, object]] = []
    common = {"case": run.case, "spacing_s": run.spacing_s, "noise": run.noise, "nuisances": " ".join(run.nuisances)}
    for true in run.truth:
        found = reached.pop((true.kind, true.cycle), None)
        happens = bool(np.isfinite(true.time_s))
        if not happens and found is None:
            continue
        row = {**common, "kind": true.kind, "what": "found" if happens and found else "missed"}
        if found is not None and not happens:
            row["what"] = "invented"
        if found is not None and happens:
            row["error_s"] = found.time_s - true.time_s
            row["inside"] = found.lower_s <= true.time_s <= found.upper_s
        rows.append(row)
    rows += [{**common, "kind": kind, "what": "invented"} for kind, _ in reached]
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--first", type=int, default=0, help="seed of the first run")
    parser.add_argument("--misses", action="store_true", help="list runs with a miss or an invented event")
    args = parser.parse_args()
    rows = []
    quiet: Counter[str] = Counter()
    for seed in range(args.first, args.first + args.runs):
        case = CASES[seed % len(CASES)]
        run = simulate(seed, case="normal" if case == "induction" else case, induction=case == "induction")
        got = compare(run, detect_events(run.timeline))
        rows += [{"seed": seed, **row} for row in got]
        if case not in ("normal", "induction"):
            quiet[case] += 1
    table = pd.DataFrame(rows)
    found = table[table["what"] == "found"]
    error = found["error_s"].abs()
    table["one"] = error <= found["spacing_s"]
    table["minute"] = error <= found["spacing_s"].clip(lower=60)
    print(
        "| kind | true | found | invented | within one sampling interval | within 60 s | median error / s | covered |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for kind, part in table.groupby("kind"):
        hit, true = part[part["what"] == "found"], part[part["what"] != "invented"]
        print(
            f"| {kind} | {len(true)} | {len(hit)} | {(part['what'] == 'invented').sum()} | "
            f"{hit['one'].astype(bool).mean():.1%} | {hit['minute'].astype(bool).mean():.1%} | "
            f"{hit['error_s'].abs().median():.1f} | {hit['inside'].astype(bool).mean():.1%} |"
        )
    none = sum(quiet.values())
    invented = table[(table["what"] == "invented") & (table["case"] != "normal")]["seed"].nunique()
    print(f"runs in which nothing crystallises: {none}, with an invented event: {invented}")
    for by in ("noise", "spacing_s"):
        for value, part in found.groupby(by):
            off = part["error_s"].abs()
            print(f"{by} {value:g}: median error {off.median():.1f} s, 90 % below {off.quantile(0.9):.0f} s")
    if args.misses:
        print(table[table["what"] != "found"].to_string())
        print(found[error > 300].to_string())


if __name__ == "__main__":
    main()
