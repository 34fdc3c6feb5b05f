"""Chord lengths: exact on known outlines, back to sizes, and bad input."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from crystalscope.errors import InputError
from crystalscope.size.chords import (
    CHANNELS,
    ChordDistribution,
    ChordModel,
    chord_matrix,
    chord_measure,
    chords_of_table,
    circle_chords,
    compare_chords,
    fit_mapping,
    invert_chords,
    line_chords,
    mean_breadth,
    random_circles,
    rectangle_cumulative,
    smooth_outline,
    sphere_cumulative,
)

FINE = np.array(CHANNELS["fine"])


def ring(diameter, corners=2000):
    turn = 2 * math.pi * np.arange(corners) / corners
    return 0.5 * diameter * np.column_stack([np.cos(turn), np.sin(turn)])


def bar(length, width, turned=0.0):
    x, y = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]).T * np.array([[length / 2], [width / 2]])
    return np.column_stack([x * math.cos(turned) - y * math.sin(turned), x * math.sin(turned) + y * math.cos(turned)])


def ks(counts, edges, exact):
    return np.abs(np.cumsum(counts) / counts.sum() - exact(edges[1:])).max()


@pytest.mark.parametrize("edges", [np.linspace(0, 220, 1101), FINE])
def test_sphere_and_rod_meet_their_formulas(edges):
    counts = line_chords([ring(100.0)], edges, weight=1.0, directions=8)
    assert ks(counts, edges, lambda x: sphere_cumulative(x, 100.0)) < 0.002
    counts = line_chords([bar(200.0, 20.0)], edges, weight=1.0, directions=720)
    assert ks(counts, edges, lambda x: rectangle_cumulative(x, 200.0, 20.0)) < 0.003


def test_the_formula_of_the_rectangle_is_a_distribution():
    x = np.linspace(0, 250, 5001)
    q = rectangle_cumulative(x, 200.0, 20.0)
    assert q[0] == pytest.approx(0, abs=1e-9)
    assert (np.diff(q) >= -1e-12).all()
    assert q[-1] == pytest.approx(1)
    # Mean chord of a convex figure: pi times area over perimeter.
    assert np.trapezoid(1 - q, x) == pytest.approx(math.pi * 200 * 20 / 440, rel=1e-3)


@given(turned=st.floats(0, math.pi), factor=st.floats(0.2, 4.0), x=st.floats(-500, 500))
@settings(max_examples=15, deadline=None)
def test_turning_moving_and_scaling(turned, factor, x):
    edges = np.linspace(0, 150, 61)
    plain = line_chords([bar(100.0, 30.0)], edges, weight=1.0, directions=360)
    moved = line_chords([bar(100.0, 30.0, turned) * factor + x], edges * factor, weight=1.0, directions=360)
    assert moved / factor == pytest.approx(plain, abs=0.02 * plain.sum())
    assert moved.sum() == pytest.approx(factor * 260 / math.pi, rel=1e-3)


def test_a_notch_cuts_chords_in_two():
    u = np.array([[0, 0], [90, 0], [90, 60], [60, 60], [60, 30], [30, 30], [30, 60], [0, 60.0]])
    whole = line_chords([np.array([[0, 0], [90, 0], [90, 60], [0, 60.0]])], FINE, weight=1.0, directions=180)
    counts = line_chords([u], FINE, weight=1.0, directions=180)
    assert counts.sum() > whole.sum()
    # By Cauchy the area is the integral of all chords in every direction.
    middles = np.where(FINE[:-1] > 0, 0.5 * (FINE[1:] + FINE[:-1]), 0.5)
    assert (counts * middles).sum() == pytest.approx(90 * 60 - 30 * 30, rel=0.01)


def test_a_large_circle_cuts_like_lines(rng):
    polygons = [bar(100.0, 25.0, t) + rng.uniform(200, 800, 2) for t in rng.uniform(0, math.pi, 30)]
    centres = random_circles((1000.0, 1000.0), diameter=8000.0, count=3000, rng=rng)
    length, weight = circle_chords(polygons, weight=1.0, diameter=8000.0, centres=centres)
    counts = np.histogram(length, FINE, weights=weight)[0]
    assert ks(counts, FINE, lambda x: rectangle_cumulative(x, 100.0, 25.0)) < 0.04
    # A small circle follows bends: its arcs are longer than the straight chords.
    arcs, _ = circle_chords([ring(100.0)], weight=1.0, diameter=120.0, centres=np.array([[60.0, 0.0]]))
    assert len(arcs) == 1
    straight = 100 * math.sqrt(1 - (50 / 120) ** 2)
    assert arcs[0] > straight * 50 / 60


def test_a_circle_within_a_particle_gives_no_chord():
    length, _ = circle_chords([ring(100.0)], weight=1.0, diameter=20.0, centres=np.zeros((1, 2)))
    assert not len(length)


def test_pixel_steps_make_short_chords_and_smoothing_takes_them_away():
    from crystalscope.core import FieldOfView, Instances
    from crystalscope.measure import outlines

    y, x = np.mgrid[:120, :120]
    mask = (y - 59.8) ** 2 + (x - 60.3) ** 2 <= 45.3**2
    corners = outlines(Instances.from_masks([mask], field=FieldOfView(mask.shape)))[0][0]
    diameter = math.sqrt(4 * mask.sum() / math.pi)
    exact = lambda v: sphere_cumulative(v, diameter)  # noqa: E731
    steps = line_chords([corners.astype(float)], FINE, weight=1.0, directions=90)
    smooth = line_chords([smooth_outline(corners)], FINE, weight=1.0, directions=90)
    assert ks(steps, FINE, exact) > 0.1
    assert ks(smooth, FINE, exact) < 0.03


def test_models_agree_with_each_other():
    assert mean_breadth(shape="sphere") == 1
    chords, one = np.linspace(0, 0.97, 60), np.array([1.0])
    sphere = chord_measure(chords, one, shape="sphere")
    assert chord_measure(chords, one, shape="ellipsoid", ratio=1.0) == pytest.approx(sphere, abs=0.02)
    # A thin rod across the line of sight: half of its length in the mean, over pi / 2 ...
    assert mean_breadth(shape="rod", ratio=100.0, orientation="aligned") == pytest.approx(2 / math.pi * 1.01)
    # ... and turned in space pi / 4 of that.
    assert mean_breadth(shape="rod", ratio=100.0) == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("ratio", [2.0, 8.0])
def test_the_rod_meets_rods_thrown_at_random(ratio, rng):
    n, thick = 60_000, 1 / ratio
    cosine, turn = rng.uniform(0, 1, n), rng.uniform(0, math.pi, n)
    sine = np.sqrt(1 - cosine**2)
    half = 0.5 * sine * np.sin(turn) + 0.5 * thick * np.hypot(cosine * np.sin(turn), np.cos(turn))
    met = rng.uniform(0, half.max(), n) < half
    cosine, sine, turn, half = cosine[met], sine[met], turn[met], half[met]
    offset, step = rng.uniform(-1, 1, met.sum()) * half, 0.004
    length = np.zeros(met.sum())
    for along in np.arange(-0.8, 0.8, step):
        x = along * np.cos(turn) - offset * np.sin(turn)
        y = along * np.sin(turn) + offset * np.cos(turn)
        beyond = np.maximum(np.abs(x) - 0.5 * sine, 0)
        inside = (beyond / (0.5 * thick * np.maximum(cosine, 1e-9))) ** 2 + (y / (0.5 * thick)) ** 2 <= 1
        length += step * inside
    at = np.linspace(0.05, 1.1, 25)
    at = at[np.abs(at / thick - 1) > 0.15]
    model = chord_measure(at, [1.0], shape="rod", ratio=ratio)[:, 0] / mean_breadth(shape="rod", ratio=ratio)
    assert model == pytest.approx([(length > a).mean() for a in at], abs=0.015)


def noisy(shape, ratio, median, sigma, rng):
    sizes = np.geomspace(median * math.exp(-5 * sigma), median * math.exp(5 * sigma), 241)
    expected = chord_matrix(FINE, sizes, shape=shape, ratio=ratio) @ np.diff(ndtr(np.log(sizes / median) / sigma))
    return ChordDistribution(FINE, rng.poisson(expected / expected.max() * 1e4).astype(float))


@pytest.mark.parametrize("choose", ["cross-validation", "l-curve"])
def test_sizes_of_spheres_from_noisy_chords(choose, rng):
    found = invert_chords(
        noisy("sphere", 1.0, 100.0, 0.4, rng), ChordModel("sphere"), choose=choose, replicates=40, rng=1
    )
    volume = 100 * math.exp(3 * 0.16)
    tail = math.exp(1.2816 * 0.4)
    for name, value, within in (
        ("D50_0", 100.0, 0.03),
        ("D90_0", 100 * tail, 0.06),
        ("D50_3", volume, 0.03),
        ("D90_3", volume * tail, 0.06),
    ):
        assert found.figures[name].value == pytest.approx(value, rel=within)
        assert found.figures[name].lower < found.figures[name].value < found.figures[name].upper
    assert found.dispersion < 2
    assert found.distribution().definition == "diameter"


def test_length_over_width_of_rods_from_noisy_chords(rng):
    found = invert_chords(noisy("rod", 5.0, 150.0, 0.3, rng), ChordModel("rod"), replicates=10, rng=1)
    assert found.ratio.value == pytest.approx(5.0, rel=0.15)
    assert found.ratio.lower <= 5.05
    assert found.ratio.upper >= 4.95
    assert found.figures["D50_0"].value == pytest.approx(150.0, rel=0.03 + 0.05)


def test_records_scatter_and_channels_are_read(rng):
    one = noisy("sphere", 1.0, 100.0, 0.4, rng)
    rows = [
        {"time_s": 10.0 * r, "lower_um": a, "upper_um": b, "count": float(rng.poisson(c))}
        for r in range(12)
        for a, b, c in zip(FINE[:-1], FINE[1:], one.counts, strict=True)
    ]
    chords = chords_of_table(pd.DataFrame(rows))
    assert chords.records.shape == (12, 91)
    found = invert_chords(chords, ChordModel("sphere"), replicates=0)
    assert found.figures["D50_0"].value == pytest.approx(100.0, rel=0.03)
    assert "bootstrap" in found.figures["D50_0"].reason
    part = chords_of_table(pd.DataFrame(rows), start_s=20, end_s=40)
    assert len(part.records) == 3


def test_an_open_channel_is_left_out_and_told():
    rows = [(0.0, 10.0, 5.0), (10.0, 50.0, 20.0), (50.0, math.inf, 5.0)]
    table = pd.DataFrame(rows, columns=["lower_um", "upper_um", "count"]).assign(time_s=math.nan)
    chords = chords_of_table(table)
    assert chords.edges.tolist() == [0, 10, 50]
    assert "16.67%" in chords.notes[0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(0, 10, 5.0), (10, 50, -2.0), (50, 150, 1.0)], "got -2 in the channel 10-50"),
        ([(0, 10, 0.0), (10, 50, 0.0), (50, 150, 0.0)], "expected chords in probe, got none in 3 channels"),
        ([(0, 10, 1.0), (50, 150, 2.0)], "got 0-10 and then 50-150 um"),
        ([(0, 10, math.nan), (10, 50, math.nan)], "only weighted ones"),
    ],
)
def test_channels_that_cannot_be(rows, message):
    table = pd.DataFrame(rows, columns=["lower_um", "upper_um", "count"]).assign(time_s=math.nan)
    with pytest.raises(InputError, match=message):
        chords_of_table(table, source="probe")


def test_no_record_in_the_times():
    table = pd.DataFrame({"time_s": [0.0], "lower_um": [0.0], "upper_um": [10.0], "count": [1.0]})
    with pytest.raises(InputError, match="between 50 and 60 s"):
        chords_of_table(table, start_s=50, end_s=60)


def test_comparing_in_common_channels():
    fine = ChordDistribution(np.array([0, 5, 10, 30, 50, 100, 150.0]), np.arange(1, 7))
    coarse = fine.in_channels([0, 10, 50, 150])
    assert coarse.counts.tolist() == [3, 7, 11]
    same = compare_chords(fine, coarse)
    assert same.ks["none"] == 0
    assert (same.statistics["ratio"] == 1).all()
    with pytest.raises(InputError, match="at least 3 channels in common, got 1"):
        compare_chords(fine, ChordDistribution(np.array([0, 7, 50, 170.0]), np.ones(3)))
    with pytest.raises(InputError, match="in one unit, got um and px"):
        compare_chords(fine, ChordDistribution(fine.edges, fine.counts, "px"))
    with pytest.raises(InputError, match="got 20 um"):
        fine.in_channels([0, 20, 50])


def test_statistics_as_a_probe_computes_them():
    chords = ChordDistribution(np.array([0.0, 10.0, 40.0, 90.0]), np.array([1.0, 2.0, 1.0]))
    assert chords.middles.tolist() == [5, 20, 60]
    assert chords.statistics()["mean"] == pytest.approx((5 + 40 + 60) / 4)
    assert chords.statistics("square")["mean"] == pytest.approx((5**3 + 2 * 20**3 + 60**3) / (5**2 + 800 + 3600))


def test_mapping_recovers_a_power_law_and_covers_it(rng):
    inside = 0
    for _ in range(200):
        x = rng.uniform(40, 200, 7)
        fitted = fit_mapping(x, 2.0 * x**1.2 * np.exp(0.05 * rng.standard_normal(7)))
        inside += fitted.exponent.lower < 1.2 < fitted.exponent.upper
    assert 180 <= inside <= 199
    assert np.isnan(fitted.predict(1000.0)[0][0])
    with pytest.raises(InputError, match="at least 4 pairs"):
        fit_mapping([1, 2, 3], [1, 2, 3])
    with pytest.raises(InputError, match="statistics that differ"):
        fit_mapping([2, 2, 2, 2], [1, 2, 3, 4])


def test_inversions_that_cannot_be(rng):
    fine = noisy("sphere", 1.0, 100.0, 0.4, rng)
    coarse = ChordDistribution(np.array(CHANNELS["coarse"]), np.arange(5.0) + 1)
    with pytest.raises(InputError, match="at least 12 channels, got 5"):
        invert_chords(coarse, ChordModel("sphere"))
    with pytest.raises(InputError, match="no length over width for spheres"):
        invert_chords(fine, ChordModel("sphere", 3.0))
    with pytest.raises(InputError, match="length over width of the ellipsoids"):
        invert_chords(fine, ChordModel("ellipsoid"))
    with pytest.raises(InputError, match=r"from 1 to 100, got 0\.2"):
        invert_chords(fine, ChordModel("rod", 0.2))
    with pytest.raises(InputError, match="expected shape sphere, ellipsoid, rod"):
        chord_measure([1.0], [2.0], shape="cube")
    with pytest.raises(InputError, match="sizes from above 0"):
        invert_chords(fine, ChordModel("sphere", size_range=(50.0, 10.0)))
    with pytest.raises(InputError, match="polygons of at least 3"):
        line_chords([np.zeros((2, 2))], FINE, weight=1.0, directions=4)
