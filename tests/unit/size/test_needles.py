"""Needles in space, calibration by loading, and agglomeration."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from crystalscope.errors import InputError
from crystalscope.size import make_distribution
from crystalscope.size.agglomeration import agglomeration_trend, degree_of_agglomeration
from crystalscope.size.calibrate import SHARES, Calibration, Sample, calibrate, hold_back, uncalibrated_errors
from crystalscope.size.orientation import lengths_in_space, projected_share


def project(n, sigma, ratio, rng, *, aligned=False):
    length = 200 * np.exp(sigma * rng.standard_normal(n))
    width = np.full(n, 200 / ratio) * np.exp(0.1 * rng.standard_normal(n))
    tilt = math.radians(15) * rng.standard_normal(n) if aligned else np.arcsin(rng.uniform(0, 1, n))
    return length * np.cos(tilt) + width * np.abs(np.sin(tilt)), width


def test_projection_is_that_of_needles_thrown_at_random(rng):
    at = np.linspace(0, 1.1, 23)
    # A needle without width: 1 - sqrt(1 - x²).
    exact = 1 - np.sqrt(1 - np.minimum(at, 1) ** 2)
    assert projected_share(at, orientation="random") == pytest.approx(exact, abs=2e-3)
    sine = rng.uniform(0, 1, 200_000)
    seen = np.sqrt(1 - sine**2) + 0.1 * sine
    thrown = [(seen <= a).mean() for a in at]
    assert projected_share(at, orientation="random", thickness=0.1) == pytest.approx(thrown, abs=5e-3)
    assert projected_share([0.99, 1.0], orientation="aligned").tolist() == [0, 1]


@pytest.mark.parametrize(("sigma", "ratio", "aligned"), [(0.25, 12.0, False), (0.4, 8.0, False), (0.3, 10.0, True)])
def test_lengths_in_space_within_8_percent(sigma, ratio, aligned, rng):
    x, b = project(2000, sigma, ratio, rng, aligned=aligned)
    given = {"orientation": "aligned", "spread_deg": 15.0} if aligned else {"orientation": "random"}
    found = lengths_in_space(x, b, np.arange(2000) % 40, replicates=15, rng=1, **given)
    tail = math.exp(1.2816 * sigma)
    truth = {"mean": 200 * math.exp(sigma**2 / 2), "D10_0": 200 / tail, "D50_0": 200, "D90_0": 200 * tail}
    for name, value in truth.items():
        assert found.figures[name].value == pytest.approx(value, rel=0.08), name
        assert found.figures[name].lower < found.figures[name].value < found.figures[name].upper
    if not aligned:
        assert found.measured["mean"] < 0.9 * truth["mean"]


def test_needles_that_cannot_be_corrected(rng):
    x, b = project(60, 0.3, 8.0, rng)
    frame = np.arange(60) % 3
    few = lengths_in_space(x, b, frame, orientation="random")
    assert "3 frames" in few.figures["D50_0"].reason
    with pytest.raises(InputError, match="at least 50 whole needles, got 1"):
        lengths_in_space(x[:1], b[:1], frame[:1], orientation="random")
    with pytest.raises(InputError, match="expected needles, got particles"):
        lengths_in_space(x, x, frame, orientation="random")
    with pytest.raises(InputError, match="orientation random or aligned, got 'any'"):
        lengths_in_space(x, b, frame, orientation="any")
    with pytest.raises(InputError, match="spread of 0 to 60 degrees"):
        lengths_in_space(x, b, frame, orientation="aligned", spread_deg=80)
    with pytest.raises(InputError, match="lengths and widths above 0"):
        lengths_in_space(np.append(x[1:], 0), b, frame, orientation="random")


def sample(batch, median, loading, rng, n=1200):
    size = median * np.exp(0.3 * rng.standard_normal(n)) * math.exp(-0.02 - 0.03 * loading)
    fragment = rng.uniform(size=n) < 0.06 * loading
    size[fragment] *= 0.25
    score = np.where(fragment, rng.beta(3, 5, n), rng.beta(8, 2, n))
    offline = median * np.exp(0.3 * np.random.default_rng(1).standard_normal(4000))
    gates = {"score": score, "solidity": np.full(n, 0.9)}
    return Sample(batch, loading, size, np.ones(n), gates, make_distribution(offline, offline**3))


def test_two_batches_predict_the_third_within_5_percent(rng):
    samples = [
        sample(b, m, c, rng)
        for b, m in (("small", 100.0), ("medium", 200.0), ("large", 400.0))
        for c in (0.5, 2.0, 5.0)
    ]
    middle = SHARES.index(0.5)
    assert np.abs(uncalibrated_errors(samples, "number")[:, middle]).max() > 0.15
    for held in hold_back(samples, gates=["score"]):
        errors = held.errors()
        assert np.abs(errors[:, middle].mean()) < 0.05
        assert np.abs(errors.mean(axis=0)).max() < 0.05
        # Fragments are kept out by their scores.
        assert held.calibration.gates["score"][1] > 0.2


def test_one_loading_has_one_factor(rng):
    found = calibrate([sample("a", 100.0, 1.0, rng), sample("b", 200.0, 1.0, rng)], gates=[])
    assert found.slope == 0
    assert not found.gates
    assert found.factor(1.0) == pytest.approx(math.exp(0.05), rel=0.05)


def test_gates_go_evenly_with_the_loading():
    found = Calibration("number", {"score": (0.2, 0.6)}, 0.1, 0.02, 1.0, 5.0)
    assert found.limits(3.0)["score"] == pytest.approx(0.4)
    assert found.limits(9.0)["score"] == 0.6
    assert found.factor(5.0) == pytest.approx(math.exp(0.2))


def test_calibrations_that_cannot_be(rng):
    one = sample("a", 100.0, 1.0, rng)
    with pytest.raises(InputError, match="at least 2 batches to hold one back, got 1"):
        hold_back([one])
    with pytest.raises(InputError, match="expected samples"):
        calibrate([])
    with pytest.raises(InputError, match="gates among score"):
        calibrate([one], gates=["colour"])
    with pytest.raises(InputError, match="number or volume, got 'area'"):
        calibrate([one], by="area")
    with pytest.raises(InputError, match="at least 30 particles in a at 1, got 1"):
        Sample("a", 1.0, one.size[:1], np.ones(1), {}, one.offline)
    with pytest.raises(InputError, match="loading of at least 0"):
        Sample("a", -1.0, one.size, one.weight, {}, one.offline)


def bodies(rng, *, frames=60, doa=0.3, apart=False):
    """Particles of a run: single crystals, pairs and triples with their numbers."""
    rows = []
    for f in range(frames):
        for _ in range(20):
            grouped = rng.uniform() < doa
            members = int(rng.integers(2, 4)) if grouped else 1
            number = len(rows) + 1 if grouped else 0
            for m in range(members):
                sharp = 0.5 if not apart or m == 0 else 0.1
                rows.append((f, "crystal", True, number, sharp, 1.0, float(rng.uniform(50, 150)), 10.0))
    columns = ["frame", "kind", "in_focus", "agglomerate", "focus", "border_weight", "area_um2", "ecd_um"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize("doa", [0.05, 0.3, 0.8])
def test_degree_of_agglomeration(doa, rng):
    found = degree_of_agglomeration(bodies(rng, doa=doa), n_frames=60, unit="um", rng=1)
    assert found.by_number.value == pytest.approx(doa, abs=0.04)
    assert found.by_number.lower < doa < found.by_number.upper
    area = 2.5 * doa / (2.5 * doa + 1 - doa)
    assert found.by_area.value == pytest.approx(area, abs=0.05)
    assert found.primaries.value == pytest.approx(2.5, abs=0.15)
    trend = agglomeration_trend(found, n_frames=60, windows=6)
    assert len(trend) == 6
    assert trend["bodies"].sum() == len(found.bodies)
    assert (trend["lower"] <= trend["by_number"]).all()


def test_crystals_at_different_depths_overlap_only(rng):
    found = degree_of_agglomeration(bodies(rng, apart=True), n_frames=60, unit="um", rng=1)
    assert found.by_number.value == 0
    assert found.overlaps > 100
    assert "no agglomerate" in found.primaries.reason


def test_bodies_of_kind_agglomerate_count_without_members(rng):
    table = bodies(rng, doa=0.0)
    table.loc[:299, "kind"] = "agglomerate"
    found = degree_of_agglomeration(table, n_frames=60, unit="um", rng=1)
    assert found.by_number.value == pytest.approx(300 / 1200)
    assert math.isnan(found.primaries.value)


def test_a_part_drawn_as_one_and_the_members_that_touch_it_are_one_agglomerate(rng):
    table = bodies(rng, doa=0.0).iloc[:40].copy()
    table["frame"] = 0
    table.loc[:2, "agglomerate"] = 1
    table.loc[0, "kind"] = "agglomerate"
    found = degree_of_agglomeration(table, n_frames=60, unit="um", rng=1)
    assert found.by_number.value == pytest.approx(1 / 38)
    assert math.isnan(found.primaries.value)
    assert len(found.members) == 2


def test_agglomeration_of_little(rng):
    one = bodies(rng, frames=1).iloc[:1]
    found = degree_of_agglomeration(one, n_frames=1, unit="um")
    assert "1 frames" in found.by_number.reason
    with pytest.raises(InputError, match="expected crystals in focus, got none"):
        degree_of_agglomeration(one.assign(in_focus=False), n_frames=1, unit="um")
    with pytest.raises(InputError, match="expected a column area_px2"):
        degree_of_agglomeration(one, n_frames=1, unit="px")
    with pytest.raises(InputError, match="ratio of edge sharpness above 1"):
        degree_of_agglomeration(one, n_frames=1, unit="um", focus_ratio=1.0)
