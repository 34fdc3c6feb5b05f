"""Solubility curves, units, zone widths and nucleation rates."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from crystalscope.core import Event, SolubilityPoints
from crystalscope.errors import InputError
from crystalscope.events import (
    Substances,
    convert_concentration,
    fit_all,
    fit_induction_times,
    fit_solubility,
    fit_zone_rates,
    fit_zone_widths,
    induction_sets,
    leave_one_out,
    replicate_scatter,
    saturation_point,
    transition_temperature,
    zone_sets,
    zone_widths,
)

T = np.linspace(5, 65, 13)


def van_t_hoff(a: float, b: float, t=T):
    return np.exp(a + b / (t + 273.15))


def test_van_t_hoff_and_its_enthalpy():
    points = SolubilityPoints(T, van_t_hoff(8, -3500), "mole_fraction")
    curve = fit_solubility(points, model="van_t_hoff")
    assert curve.parameters["a"].value == pytest.approx(8)
    assert curve.parameters["enthalpy_j_per_mol"].value == pytest.approx(3500 * 8.314462618)
    assert curve.concentration(25.0)[0] == pytest.approx(van_t_hoff(8, -3500, 25.0))
    assert curve.temperature(float(van_t_hoff(8, -3500, 30.0))) == pytest.approx(30.0, abs=0.01)
    # Nothing is said of what was not measured.
    assert math.isnan(curve.concentration(70.0)[0])
    assert math.isnan(curve.temperature(1e-9))


def test_weights_and_interval_against_another_implementation(rng):
    c = van_t_hoff(8, -3000) * np.exp(0.02 * rng.normal(size=T.size))
    curve = fit_solubility(SolubilityPoints(T, c, "mg/ml"), model="van_t_hoff")
    line = stats.linregress(1 / (T + 273.15), np.log(c))
    assert curve.parameters["b_k"].value == pytest.approx(line.slope)
    half = stats.t.ppf(0.975, T.size - 2) * line.stderr
    assert curve.parameters["b_k"].upper - curve.parameters["b_k"].value == pytest.approx(half, rel=1e-6)
    twice = SolubilityPoints(T, c, "mg/ml", np.where(T < 30, 2.0, 1.0))
    doubled = SolubilityPoints(np.append(T, T[T < 30]), np.append(c, c[T < 30]), "mg/ml")
    a, b = (fit_solubility(p, model="van_t_hoff").parameters["a"].value for p in (twice, doubled))
    assert a == pytest.approx(b)


def test_aicc_finds_the_curve_that_bends(rng):
    k = T + 273.15
    bent = np.exp(-120 + 3000 / k + 19 * np.log(k)) * np.exp(0.005 * rng.normal(size=T.size))
    assert fit_all(SolubilityPoints(T, bent, "mg/ml"))[0].model in ("apelblat", "polynomial")
    straight = van_t_hoff(8, -3000) * np.exp(0.02 * rng.normal(size=T.size))
    assert fit_all(SolubilityPoints(T, straight, "mg/ml"))[0].model == "van_t_hoff"


def test_lambda_h():
    lam, h, melting = 0.6, 4500.0, 170 + 273.15
    x = lam / (np.expm1(lam * h * (1 / (T + 273.15) - 1 / melting)) + lam)
    points = SolubilityPoints(T, x, "mole_fraction")
    curve = fit_solubility(points, model="lambda_h", melting_point_c=170)
    assert curve.parameters["lambda"].value == pytest.approx(lam, rel=1e-4)
    assert curve.parameters["h_k"].value == pytest.approx(h, rel=1e-4)
    with pytest.raises(InputError, match="mole fractions and a melting point"):
        fit_solubility(SolubilityPoints(T, x, "mg/ml"), model="lambda_h", melting_point_c=170)
    with pytest.raises(InputError, match="above all temperatures"):
        fit_solubility(points, model="lambda_h", melting_point_c=40)


def test_too_few_points():
    with pytest.raises(InputError, match="expected at least 3 points for van_t_hoff"):
        fit_solubility(SolubilityPoints([20, 30], [1, 2], "mg/ml"), model="van_t_hoff")
    with pytest.raises(InputError, match="above 0"):
        SolubilityPoints([20, 30], [0, 2], "mg/ml")
    with pytest.raises(InputError, match="below 1"):
        SolubilityPoints([20, 30], [0.1, 2], "mole_fraction")


@pytest.mark.parametrize(("shift", "found"), [(0.0, True), (60.0, False), (-60.0, False)])
def test_transition_only_where_curves_cross(shift, found, rng):
    noise = np.exp(0.003 * rng.normal(size=(2, T.size)))
    cross = 35.0 + shift + 273.15
    a = fit_solubility(SolubilityPoints(T, van_t_hoff(8, -3000) * noise[0], "mg/ml"), model="van_t_hoff")
    b = fit_solubility(SolubilityPoints(T, van_t_hoff(8 + 600 / cross, -3600) * noise[1], "mg/ml"), model="van_t_hoff")
    got = transition_temperature(a, b)
    if found:
        assert got.lower < 35 < got.upper
        assert got.value == pytest.approx(35, abs=2)
    else:
        assert math.isnan(got.value)
        assert "do not cross" in got.reason


def test_curves_that_cannot_be_told_apart_have_no_transition(rng):
    noise = np.exp(0.05 * rng.normal(size=(2, T.size)))
    a, b = (fit_solubility(SolubilityPoints(T, van_t_hoff(8, -3000) * n, "mg/ml"), model="van_t_hoff") for n in noise)
    assert math.isnan(transition_temperature(a, b).value)


SUBSTANCES = Substances(0.79, 151.2, 46.07)


@given(st.floats(0.01, 500), st.sampled_from(["mg/ml", "g/kg"]))
def test_conversions_go_round(value, unit):
    x = convert_concentration(value, given=unit, wanted="mole_fraction", substances=SUBSTANCES)
    back = convert_concentration(x, given="mole_fraction", wanted=unit, substances=SUBSTANCES)
    assert float(back) == pytest.approx(value, rel=1e-9)


def test_conversions_need_what_they_need():
    assert convert_concentration(79.0, given="mg/ml", wanted="g/kg", substances=SUBSTANCES) == pytest.approx(100)
    moles = (100 / 151.2) / (100 / 151.2 + 1000 / 46.07)
    assert convert_concentration(100, given="g/kg", wanted="mole_fraction", substances=SUBSTANCES) == pytest.approx(
        moles
    )
    with pytest.raises(InputError, match="expected the density of the solvent"):
        convert_concentration(1, given="mg/ml", wanted="g/kg", substances=Substances())
    with pytest.raises(InputError, match="expected the molar mass of the solute"):
        convert_concentration(1, given="g/kg", wanted="mole_fraction", substances=Substances())


def vial_events(rate=0.5, cooling=0.5, clear=45.0, cloud=30.0, reactor="1", flags=()):
    common = {"reactor": reactor, "cycle": 1, "value": 10.0, "unit": "mg/ml"}
    return [
        Event("clear", "reached", 5.0, temperature_c=clear, rate_c_per_min=rate, flags=flags, **common),
        Event(
            "cloud",
            "reached",
            1.0,
            lower_c=cloud,
            upper_c=cloud,
            temperature_c=cloud,
            rate_c_per_min=-cooling,
            **common,
        ),
    ]


def test_zone_widths_from_events():
    table = zone_widths(vial_events() + vial_events(rate=1.0, cooling=1.0, clear=46.0, cloud=28.0))
    # Two heating rates: the clear point is drawn to rest.
    assert table["saturation_c"].tolist() == pytest.approx([44, 44])
    assert table["mszw_c"].tolist() == pytest.approx([14, 16])
    assert zone_widths(vial_events(flags=("freezing",)))["mszw_c"].isna().all()
    assert "no clear point" in saturation_point(vial_events(flags=("as_filled",))).reason


def test_zone_width_of_what_was_not_seen_is_a_bound():
    clear, cloud = vial_events()
    missing = Event(
        "cloud",
        "not_reached",
        lower_s=9.0,
        upper_c=10.0,
        reactor="1",
        cycle=2,
        value=10.0,
        unit="mg/ml",
        rate_c_per_min=-0.5,
    )
    table = zone_widths([clear, cloud, missing])
    assert table["status"].tolist() == ["reached", "not_reached"]
    assert table["mszw_c"].tolist() == pytest.approx([15, 35])


def test_nyvlt_kubota_and_sangwal():
    b = np.repeat([0.1, 0.3, 1.0, 3.0], 3)
    fits = {f.model: f for f in fit_zone_rates(10 * b**0.25, b, np.full(b.size, 45.0))}
    assert fits["nyvlt"].parameters["m"].value == pytest.approx(4)
    assert fits["kubota"].parameters["n"].value == pytest.approx(3)
    # dT^(n+1) = (N/V)(n+1) b/k at b = 1
    assert fits["kubota"].parameters["k_per_density"].value == pytest.approx(4 / 10**4)
    assert np.allclose(fits["nyvlt"].width_c(b), 10 * b**0.25)
    width = 318.15 / np.sqrt(900 - 80 * np.log(b))
    sangwal = fit_zone_rates(width, b, np.full(b.size, 45.0))[2]
    assert sangwal.parameters["f"].value == pytest.approx(900)
    assert sangwal.parameters["f1"].value == pytest.approx(80)
    assert np.allclose(sangwal.width_c(b, 45.0), width)
    with pytest.raises(InputError, match="at least two cooling rates"):
        fit_zone_rates([10, 11, 12], [0.5, 0.5, 0.5], [45, 45, 45])
    flat = fit_zone_rates(10 * b**-0.1, b, np.full(b.size, 45.0))[0]
    assert math.isnan(flat.parameters["m"].value)


def test_induction_times(rng):
    rate, volume, growth = 2000.0, 1.5, 300.0
    times = growth + rng.exponential(1 / (rate * volume * 1e-6), 4000)
    got = fit_induction_times(times, volume_ml=volume)
    assert got.rate_per_m3_s.value == pytest.approx(rate, rel=0.05)
    assert got.rate_per_m3_s.lower < rate < got.rate_per_m3_s.upper
    assert got.growth_time_s.value == pytest.approx(growth, abs=2)
    assert got.fit_distance < 0.03
    end = np.quantile(times, 0.6)
    censored = fit_induction_times(times[times <= end], volume_ml=volume, censored_s=np.full((times > end).sum(), end))
    assert censored.rate_per_m3_s.value == pytest.approx(rate, rel=0.08)
    assert censored.n_censored == (times > end).sum()


def test_induction_times_at_the_limits():
    none = fit_induction_times([], volume_ml=1, censored_s=[3600] * 5)
    assert math.isnan(none.rate_per_m3_s.value)
    assert 0 < none.rate_per_m3_s.upper < math.inf
    one = fit_induction_times([100.0], volume_ml=1, censored_s=[3600] * 5)
    assert "a rate needs two" in one.rate_per_m3_s.reason
    assert "equal" in fit_induction_times([5.0, 5.0], volume_ml=1).rate_per_m3_s.reason
    early = fit_induction_times([10.0, 500, 900, 3000, 4000], volume_ml=1)
    assert early.growth_time_s.lower == 0
    with pytest.raises(InputError, match="volume above 0"):
        fit_induction_times([1.0, 2.0], volume_ml=0)
    with pytest.raises(InputError, match="at least one"):
        fit_induction_times([], volume_ml=1)


def test_nucleation_from_zone_widths(rng):
    order, k, volume = 3.0, 5.0, 1.0
    b = np.repeat([0.1, 0.5, 1.0], 100) / 60
    width = (rng.exponential(size=b.size) * b * (order + 1) / (k * volume * 1e-6)) ** (1 / (order + 1))
    got = fit_zone_widths(width, 60 * b, volume_ml=volume)
    assert got.order.lower < order < got.order.upper
    true = k * got.undercooling_c**order
    assert got.rate_per_m3_s.lower < true < got.rate_per_m3_s.upper
    assert got.rate_per_m3_s.value == pytest.approx(true, rel=0.2)
    most = np.quantile(width, 0.8)
    cut = fit_zone_widths(np.minimum(width, most), 60 * b, volume_ml=volume, censored=width > most)
    assert cut.order.value == pytest.approx(order, rel=0.3)
    with pytest.raises(InputError, match="at least five"):
        fit_zone_widths([10, 11], [0.5, 0.5], volume_ml=1)


@pytest.mark.data
def test_sulfamerazine(data):
    points = {}
    for form in ("one", "five"):
        with (data / "solubility" / f"Form_{form}_solubility_ACN_80_water_20.csv").open(encoding="utf-8") as f:
            rows = list(csv.reader(f))[1:]
        points[form] = SolubilityPoints([float(r[4]) for r in rows], [float(r[3]) for r in rows], "mg/ml", form=form)
    scatter, free = replicate_scatter(points["one"])
    assert (round(scatter, 2), free) == (0.19, 8)
    best = {form: fit_all(p)[0] for form, p in points.items()}
    assert {c.model for c in best.values()} == {"apelblat"}
    for form, most_mg, most_c in (("one", 0.30, 0.36), ("five", 0.26, 0.50)):
        left = leave_one_out(points[form], model="apelblat")
        assert left.concentration_rms <= most_mg
        assert left.temperature_rms_c <= most_c
    for model in ("van_t_hoff", "apelblat", "polynomial"):
        a, b = (fit_solubility(points[f], model=model) for f in ("one", "five"))
        assert "do not cross" in transition_temperature(a, b).reason
    # Form V is the less soluble throughout.
    t = np.linspace(8.2, 68, 50)
    assert np.all(best["one"].concentration(t) > best["five"].concentration(t))


def test_sets_of_induction_times_and_zone_widths(rng):
    common = {"sample": "A in B", "experiment": "e"}
    events = [Event("cloud", "not_reached", reactor=str(i), value=10.0, unit="mg/ml", **common) for i in range(20)]
    times = 100 + rng.exponential(1000, 20)
    for i, t in enumerate(times):
        rest = {"reactor": str(i), "unit": "s", **common}
        if t < 1500:
            events.append(Event("induction", "reached", t, temperature_c=20.1, value=t, **rest))
        else:
            events.append(Event("induction", "censored", lower_s=1500.0, upper_c=20.0, value=1500.0, **rest))
    events.append(Event("induction", "censored", upper_s=0.0, upper_c=20.0, reactor="3", unit="s", **common))
    (got,) = induction_sets(events, volume_ml=1.0)
    assert (got.sample, got.concentration, got.temperature_c, got.n_before) == ("A in B", 10.0, 20, 1)
    assert got.rate.n == 20
    assert got.rate.n_censored == (times >= 1500).sum()
    assert got.rate.rate_per_m3_s.lower < 1000 < got.rate.rate_per_m3_s.upper
    widths = zone_widths([e for k in range(6) for e in vial_events(cloud=30.0 - k, reactor=str(k))])
    ((value, unit, zone),) = zone_sets(widths, volume_ml=1.0)
    assert (value, unit) == (10.0, "mg/ml")
    assert zone.undercooling_c == pytest.approx(17.5)
    assert zone_sets(widths.head(2), volume_ml=1.0) == []
