"""Distributions of known truth, intervals, corrections, the number asked for."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystalscope.config import FocusConfig, load_config
from crystalscope.errors import ConfigError, InputError
from crystalscope.size import (
    bootstrap_figures,
    border_weights,
    censored_lengths,
    classes,
    compare,
    densities,
    depth_weights,
    joint_distribution,
    make_distribution,
    number_line,
    particles_needed,
    plot_comparison,
    quantile,
    size_particles,
    size_points,
    summarize,
    volumes_of,
)
from crystalscope.size.distribution import FIGURES, figures_of
from crystalscope.size.interval import block_length


def figures(x, w=None):
    x = np.sort(np.asarray(x, dtype=float))
    return dict(zip(FIGURES, figures_of(x, x**3, np.ones_like(x) if w is None else w), strict=True))


def test_log_normal_moments_by_hatch_and_choate(rng):
    s, median = 0.3, 55.0
    # Quantiles in place of random draws: no sampling error.
    from scipy.stats import norm

    x = median * np.exp(s * norm.ppf((np.arange(200_000) + 0.5) / 200_000))
    f = figures(x)
    assert f["D50_0"] == pytest.approx(median, rel=1e-3)
    assert f["D50_3"] == pytest.approx(median * math.exp(3 * s**2), rel=2e-3)
    assert f["D[1,0]"] == pytest.approx(median * math.exp(s**2 / 2), rel=1e-3)
    assert f["D[3,2]"] == pytest.approx(median * math.exp(2.5 * s**2), rel=1e-3)
    assert f["D[4,3]"] == pytest.approx(median * math.exp(3.5 * s**2), rel=1e-3)
    assert f["mode_0"] == pytest.approx(median * math.exp(-(s**2)), rel=0.02)
    assert f["mode_3"] == pytest.approx(median * math.exp(2 * s**2), rel=0.02)
    for way in ("ml", "ls"):
        assert f[f"x50,3_{way}"] == pytest.approx(median * math.exp(3 * s**2), rel=5e-3)
        assert f[f"sigma_{way}"] == pytest.approx(s, rel=0.01)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(1, 1000), min_size=2, max_size=40), st.floats(0.1, 10))
def test_scaling_and_doubling(x, k):
    f, g, twice = figures(x), figures(np.array(x) * k), figures(np.repeat(x, 2))
    for name in ("D10_0", "D50_3", "D[4,3]", "D[3,2]"):
        assert g[name] == pytest.approx(k * f[name], rel=1e-6)
        assert twice[name] == pytest.approx(f[name], rel=1e-6)


def test_quantiles_are_exact_and_not_read_at_class_middles():
    d = make_distribution(np.arange(1.0, 101.0), np.ones(100))
    assert quantile(d, 0.5, by="number") == 50.5
    assert quantile(d, 0.9, by="number") == 90.5
    assert quantile(d, 0.905, by="number") == 91
    assert math.isnan(quantile(make_distribution([], []), 0.5))
    table = classes(d, width=10)
    # The cumulative belongs to the upper edge: class 40-50 holds 40 to 49, so Q0(50) is 0.49.
    assert table.loc[table["upper"] == 50, "Q0"].item() == pytest.approx(0.49)
    assert table["n"].sum() == 100
    assert table.loc[4, "largest"] == 49


def test_single_empty_and_bad_particles():
    one = figures([5.0])
    assert one["D50_3"] == 5
    assert math.isnan(one["mode_0"])
    assert make_distribution([], []).n == 0
    with pytest.raises(InputError, match="positive finite"):
        make_distribution([1.0, -1.0], [1.0, 1.0])
    with pytest.raises(InputError, match="one length"):
        make_distribution([1.0], [1.0, 2.0])


def test_densities_and_joint_integrate_to_one(rng):
    x = np.exp(rng.normal(4, 0.4, 2000))
    d = make_distribution(x, x**3)
    at = np.linspace(1, 600, 4000)
    for by in ("number", "volume"):
        assert np.trapezoid(densities(d, at, by=by), at) == pytest.approx(1, abs=0.01)
    density, a, b = joint_distribution(x, x / 2)
    assert (density * np.outer(np.diff(a), np.diff(b))).sum() == pytest.approx(1)
    assert joint_distribution([], [])[0].size == 0


def test_intervals(rng):
    x = np.exp(rng.normal(4, 0.3, 400))
    frame = np.sort(rng.integers(0, 20, 400))
    kwargs = {"level": 0.95, "replicates": 200}
    a = bootstrap_figures(x, x**3, np.ones(400), frame, n_frames=20, rng=1, **kwargs)
    b = bootstrap_figures(x, x**3, np.ones(400), frame, n_frames=20, rng=1, **kwargs)
    assert a == b
    assert a["D50_3"].lower < a["D50_3"].value < a["D50_3"].upper
    few = bootstrap_figures(x, x**3, np.ones(400), np.zeros(400, int), n_frames=4, rng=1, **kwargs)
    assert math.isnan(few["D50_3"].lower)
    assert few["D50_3"].reason == "4 frames; an interval needs 5"
    none = bootstrap_figures(*[np.zeros(0)] * 3, np.zeros(0, int), n_frames=9, rng=1, **kwargs)
    assert none["D50_0"].reason == "no particles"


def test_blocks_grow_with_autocorrelation(rng):
    white = rng.normal(size=400)
    slow = np.zeros(400)
    for i in range(1, 400):
        slow[i] = 0.9 * slow[i - 1] + rng.normal()
    assert block_length(white) <= 9 < block_length(slow)
    assert block_length(np.ones(50)) == 1


def discs_in_a_field(rng, radius_of, field, n=60_000):
    """Frames of discs thrown on a field; sizes and weights of those that do not touch."""
    a, b = field
    r = radius_of(rng, n)
    x, y = rng.uniform(-200, a + 200, n), rng.uniform(-200, b + 200, n)
    seen = (x + r > 0) & (x - r < a) & (y + r > 0) & (y - r < b)
    touches = (x - r < 0) | (x + r > a) | (y - r < 0) | (y + r > b)
    weight = a * b / ((a - 2 * r) * (b - 2 * r))
    return r[seen], touches[seen], weight[seen], r


def test_miles_lantuejoul_gives_the_population(rng):
    size, touches, weight, population = discs_in_a_field(rng, lambda g, n: g.uniform(10, 90, n), (400, 300))
    means = {}
    for method in ("none", "drop", "miles-lantuejoul"):
        w = border_weights(touches, weight, method=method)
        means[method] = np.average(size, weights=w)
    assert means["miles-lantuejoul"] == pytest.approx(population.mean(), rel=0.02)
    assert means["drop"] < 0.93 * population.mean()
    with pytest.raises(InputError, match="miles-lantuejoul"):
        border_weights(touches, weight, method="magic")


def test_censored_needles_longer_than_half_the_field(rng):
    a, n = 500.0, 30_000
    length = rng.lognormal(5.3, 0.35, n)
    angle, cx, cy = rng.uniform(0, math.pi, n), rng.uniform(-1200, 1700, n), rng.uniform(-1200, 1700, n)
    inside, cut = [], []
    for t, phi, x, y in zip(length, angle, cx, cy, strict=True):
        low, high = -t / 2, t / 2
        for p, d in ((x, math.cos(phi)), (y, math.sin(phi))):
            e = sorted((-p / d, (a - p) / d))
            low, high = max(low, e[0]), min(high, e[1])
        if high > low:
            (inside if high - low > t - 1e-9 else cut).append(high - low)
    middle, density = censored_lengths(np.array(inside), np.array(cut), field=(a, a))
    mean = (middle * density).sum() / density.sum()
    assert mean == pytest.approx(length.mean(), rel=0.05)
    assert np.mean(inside) < 0.93 * length.mean()
    with pytest.raises(InputError, match="expected needles"):
        censored_lengths(np.zeros(0), np.zeros(0), field=(a, a))


def test_depth_of_field_correction_gives_the_population(rng):
    gate = FocusConfig()
    ecd = rng.uniform(15, 60, 200_000)
    z = rng.uniform(-400, 400, 200_000)
    edge = np.hypot(2.5, 0.05 * z)
    passed = edge <= np.minimum(gate.max_edge_px + gate.max_edge_share * ecd, gate.max_edge_limit_px)
    raw = ecd[passed].mean()
    weight = depth_weights(ecd[passed], 1 / edge[passed], gate=gate)
    assert raw > 1.06 * ecd.mean()
    assert np.average(ecd[passed], weights=weight) == pytest.approx(ecd.mean(), rel=0.01)
    with pytest.raises(InputError, match="focus gate on"):
        depth_weights(ecd, edge, gate=FocusConfig(gate=False))


def test_number_of_particles():
    assert round(particles_needed(1.6)) == 6092
    assert number_line(412, 1.6, precision=0.05, confidence=0.95).startswith("n = 412; ISO 13322-1 asks for 6,092")
    assert "too few" in number_line(1, math.nan, precision=0.05, confidence=0.95)
    with pytest.raises(InputError, match="GSD"):
        particles_needed(0.5)


def test_comparison(rng):
    x = np.exp(rng.normal(4, 0.3, 500))
    a, b = make_distribution(x, x**3), make_distribution(1.1 * x, (1.1 * x) ** 3)
    c = compare(a, b)
    assert c.ks["number"] > 0
    assert c.wasserstein["number"] == pytest.approx(0.1 * x.mean(), rel=1e-6)
    assert c.quantiles["difference"].to_numpy() == pytest.approx(0.1)
    assert plot_comparison(a, b, names=("a", "b")).axes
    with pytest.raises(InputError, match="one size definition"):
        compare(a, make_distribution(x, x**3, definition="length"))


def table(rng, n=300):
    x = np.exp(rng.normal(3.5, 0.3, n))
    return pd.DataFrame(
        {
            "frame": np.sort(rng.integers(0, 12, n)),
            "ecd_um": x,
            "length_um": 2 * x,
            "width_um": x / 2,
            "touches_border": rng.random(n) < 0.1,
            "border_weight": 1.2,
            "focus": 0.3,
        }
    )


def test_summary_has_corrected_beside_uncorrected(rng):
    config = load_config(size={"replicates": 100})
    both = size_particles(table(rng), n_frames=12, unit="um", config=config)
    s = summarize(*both, config=config)
    assert s["corrected"]["n"] < s["uncorrected"]["n"] == 300
    assert s["correction"] == "miles-lantuejoul"
    assert s["corrected"]["volume"]["D50"]["lower"] < s["corrected"]["volume"]["D50"]["value"]
    points = size_points(both[0])
    assert list(points) == ["size", "q0", "Q0", "q3", "Q3"]
    assert points["Q3"].iloc[-1] == pytest.approx(1)


def test_needle_volume_and_censored_settings(rng):
    t = table(rng)
    assert volumes_of(t, unit="um", model="length*width^2") == pytest.approx(2 * t["ecd_um"] ** 3 / 4)
    with pytest.raises(InputError, match="volume model"):
        volumes_of(t, unit="um", model="cube")
    config = load_config(size={"replicates": 100, "border": "censored"})
    with pytest.raises(ConfigError, match=r"size\.definition"):
        size_particles(t, n_frames=12, unit="um", config=config)
    config = load_config(size={"replicates": 100, "border": "censored", "definition": "length"})
    got, _ = size_particles(t, n_frames=12, unit="um", config=config, field_px=(500, 500))
    assert got.correction == "censored maximum likelihood"
    assert got.figures["D50_0"].reason.startswith("no interval")
