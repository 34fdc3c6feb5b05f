"""Statistical claims of the events room."""

from __future__ import annotations

import time

import numpy as np
import pytest
from bench.events.detection import compare
from bench.events.exports import report
from bench.events.induction import coverage
from bench.events.runs import simulate

from crystalscope.events import detect_events, fit_zone_widths
from crystalscope.io.crystal16 import read_crystal16

pytestmark = pytest.mark.long


@pytest.mark.parametrize("censoring", ["none", "fixed", "own"])
@pytest.mark.parametrize("n", [10, 20, 80])
def test_intervals_of_nucleation_rates_cover(n, censoring):
    rate, growth, _ = coverage(n, censoring=censoring, sets=1000)
    assert 0.93 <= rate <= 0.97
    assert 0.93 <= growth <= 0.985


def test_intervals_of_rates_from_zone_widths_cover():
    rng, inside, runs = np.random.default_rng(4), 0, 100
    order, k = 3.0, 5.0
    b = np.repeat([0.2, 1.0], 20) / 60
    for seed in range(runs):
        width = (rng.exponential(size=b.size) * b * (order + 1) / (k * 1e-6)) ** (1 / (order + 1))
        got = fit_zone_widths(width, 60 * b, volume_ml=1.0, rng=seed)
        inside += got.rate_per_m3_s.lower <= k * got.undercooling_c**order <= got.rate_per_m3_s.upper
    assert inside / runs >= 0.88


def test_detection_on_simulated_runs():
    rows = []
    for seed in range(3000, 3140):
        case = ("normal", "normal", "induction", "always_clear", "always_cloudy", "inverse")[seed % 6]
        run = simulate(seed, case="normal" if case == "induction" else case, induction=case == "induction")
        rows += [{"spacing_s": run.spacing_s, **r} for r in compare(run, detect_events(run.timeline))]
    found = [r for r in rows if r["what"] == "found"]
    assert sum(r["what"] == "invented" for r in rows) <= 2
    assert len(found) >= 0.98 * sum(r["what"] != "invented" for r in rows)
    assert np.mean([abs(r["error_s"]) <= max(60, r["spacing_s"]) for r in found]) >= 0.88
    assert np.mean([r["inside"] for r in found]) >= 0.90


def test_a_day_of_four_reactors_in_a_second(tmp_path):
    path = tmp_path / "day.csv"
    path.write_text(report(rate=0.5, cycles=4, noise=2.0), encoding="utf-8")
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        record = read_crystal16(path)
        detect_events(record)
        best = min(best, time.perf_counter() - start)
    assert record.time_s[-1] > 23 * 3600
    assert best < 1.0
