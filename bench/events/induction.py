"""Coverage of intervals for J from induction times: python -m bench.events.induction [--sets 1000]

Sets of n = 10, 20, 80 vials of P(t) = 1 - exp(-J V (t - t_g)), without censoring, watched to a fixed time after which
30 % are left, and watched to times of their own.
"""

from __future__ import annotations

import argparse

import numpy as np

from crystalscope.events import fit_induction_times

TRUE_J, VOLUME_ML, GROWTH_S = 500.0, 1.0, 600.0


def coverage(n: int, *, censoring: str, sets: int, seed: int = 0) -> tuple[float, float, float]:
    """Share of 95 % intervals that hold the true J, the true t_g, and the median of J over the true one."""
    rng = np.random.default_rng([seed, n])
    hazard = TRUE_J * VOLUME_ML * 1e-6
    inside_j = inside_g = used = 0
    ratios = []
    for _ in range(sets):
        times = GROWTH_S + rng.exponential(1 / hazard, n)
        end = np.full(n, np.inf)
        if censoring == "fixed":
            end[:] = GROWTH_S - np.log(0.3) / hazard
        elif censoring == "own":
            end = GROWTH_S + rng.uniform(0.4, 3, n) / hazard
        seen = times <= end
        got = fit_induction_times(times[seen], volume_ml=VOLUME_ML, censored_s=end[~seen])
        used += 1
        inside_j += got.rate_per_m3_s.lower <= TRUE_J <= got.rate_per_m3_s.upper
        inside_g += got.growth_time_s.lower <= GROWTH_S <= got.growth_time_s.upper
        ratios.append(got.rate_per_m3_s.value / TRUE_J)
    return inside_j / used, inside_g / used, float(np.nanmedian(ratios))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print("| n | censoring | J covered | t_g covered | median J / true J |")
    print("|---|---|---|---|---|")
    for n in (10, 20, 80):
        for censoring in ("none", "fixed", "own"):
            j, g, ratio = coverage(n, censoring=censoring, sets=args.sets, seed=args.seed)
            print(f"| {n} | {censoring} | {j:.1%} | {g:.1%} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
