"""Fits to made and real batches, intervals, and what the data cannot tell."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from bench.plant import k2so4

from crystalscope.errors import ConfigError, InputError
from crystalscope.io.batches import parse_column, read_numbers
from crystalscope.plant.batch import Numerics, simulate
from crystalscope.plant.fit import fit, free_names
from crystalscope.plant.kinetics import Charge, Seeds, preset
from crystalscope.plant.moments import solve_moments
from crystalscope.plant.observed import MOMENTS, Observations, observations_of
from crystalscope.plant.profile import TemperatureProfile

PARACETAMOL = preset("paracetamol-ethanol").changed(
    **{
        "growth.reference_c": 25.0,
        "growth.rate_um_per_s": 1.5e-4,
        "dissolution.reference_c": 25.0,
        "dissolution.rate_um_per_s": 1.5e-4,
    }
)


def made(rng, *, noise=0.02, rates=(0.1, 0.3)):
    """Batches of moments with known kinetics."""
    out = []
    for k, rate in enumerate(rates):
        profile = TemperatureProfile.linear(40, 15, rate_c_per_min=rate)
        times = np.linspace(0, profile.duration_s, 40)
        start = np.array([2e7, 1.2e9, 8e10, 6e12, float(PARACETAMOL.solubility.at(40))])
        states = solve_moments(PARACETAMOL, start, profile, times)
        values = {n: states[:, i] * np.exp(noise * rng.normal(size=40)) for i, n in enumerate(MOMENTS)}
        for i, n in enumerate(MOMENTS):
            values[n][0] = start[i]
        values["concentration_g_per_kg"] = states[:, 4] + 0.3 * rng.normal(size=40)
        out.append(Observations(str(k), profile, times, values))
    return out


def test_known_constants_come_back_within_their_intervals(rng):
    free = ("growth.rate_um_per_s", "growth.order", "primary.rate_per_kg_s", "primary.order")
    start = PARACETAMOL.changed(**{"growth.rate_um_per_s": 4e-4, "growth.order": 1.2, "primary.rate_per_kg_s": 0.5})
    got = fit(start, made(rng), free=free, level=0.99)
    true = PARACETAMOL.constants()
    for estimate in got.estimates:
        assert estimate.note == "identified", estimate
        assert estimate.lower < true[estimate.name] < estimate.upper, estimate
        assert estimate.lower < estimate.value < estimate.upper
    assert got.sd["mu3"] == pytest.approx(0.02, rel=0.3)
    assert any("correlated" in line for line in got.lines())


def test_what_the_data_do_not_hold_is_said(rng):
    """No undersaturation, so nothing of dissolution; its value is left where it was."""
    got = fit(PARACETAMOL, made(rng), free=("growth.rate_um_per_s", "dissolution.rate_um_per_s"))
    growth, dissolution = got.estimates
    assert growth.note == "identified"
    assert dissolution.note == "not identifiable"
    assert dissolution.lower == -math.inf
    assert dissolution.value == pytest.approx(1.5e-4)
    assert any("dissolution.rate_um_per_s" in line and "not identifiable" in line for line in got.lines())


def test_distributions_and_a_charge_in_place_of_moments(rng):
    charge = Charge(concentration_g_per_kg=270.0, seeds=Seeds(loading=0.05, median_um=60))
    profile = TemperatureProfile.linear(40, 15, rate_c_per_min=0.2)
    times = np.linspace(0, profile.duration_s, 12)
    coarse = Numerics(cells=40)
    run = simulate(PARACETAMOL, charge, profile, times_s=times, numerics=coarse)
    values = {
        "d50_3_um": run.quantile(0.5) * np.exp(0.01 * rng.normal(size=12)),
        "concentration_g_per_kg": run.concentration_g_per_kg + 0.5 * rng.normal(size=12),
    }
    batch = Observations("a", profile, times, values, charge)
    start = PARACETAMOL.changed(**{"growth.rate_um_per_s": 4e-4})
    got = fit(start, [batch], free=("growth.rate_um_per_s",), numerics=coarse)
    assert got.estimates[0].lower < 1.5e-4 < got.estimates[0].upper


def test_what_a_fit_refuses(rng):
    batches = made(rng)
    with pytest.raises(InputError, match="got none; give a table"):
        fit(PARACETAMOL, [])
    with pytest.raises(ConfigError, match=r"growth\.speed"):
        fit(PARACETAMOL, batches, free=("growth.speed",))
    with pytest.raises(InputError, match="start value above 0"):
        fit(PARACETAMOL, batches, free=("growth.size_factor_per_um",))
    first = batches[0]
    short = Observations("s", first.profile, first.time_s[:3], {n: v[:3] for n, v in first.values.items()})
    with pytest.raises(InputError, match="free fewer"):
        fit(PARACETAMOL, [short], free=(*free_names(PARACETAMOL), "volume_shape"))
    with pytest.raises(InputError, match="expected a charge for batch x"):
        Observations("x", batches[0].profile, batches[0].time_s, {"d50_3_um": np.ones(40)})
    with pytest.raises(InputError, match="moments are closed"):
        solve_moments(preset("thermocycled-api"), np.ones(5), batches[0].profile, np.arange(3.0))


def test_tables_of_others(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("# Batch;T;min;m0;c\nA;40,5;0;1;0,2\nA;39;5;2;0,1\nA;38;9;3;x\n")
    columns = dict(
        parse_column(t)
        for t in (
            "experiment=Batch",
            "temperature_c=T",
            "time_min=min",
            "mu0=m0*1000",
            "concentration_g_per_kg=c * 1e3",
        )
    )
    table = read_numbers(path, columns)
    assert table["mu0"].tolist() == [1000.0, 2000.0, 3000.0]
    assert table["temperature_c"].iloc[0] == 40.5
    assert np.isnan(pd.to_numeric(table["concentration_g_per_kg"]).iloc[2])
    with pytest.raises(InputError, match="expected a column 'M' for mu0"):
        read_numbers(path, dict([parse_column("mu0=M")]))
    with pytest.raises(InputError, match="QUANTITY=COLUMN"):
        parse_column("mu0")
    with pytest.raises(InputError, match="one or more of the columns"):
        observations_of(pd.DataFrame({"time_s": [0, 1], "temperature_c": [1, 2]}))


def test_potassium_sulfate(data):
    folder = data / "k2so4-batch"
    if not folder.is_dir():
        pytest.skip("needs k2so4-batch in CRYSTALSCOPE_DATA")
    every = k2so4.batches(k2so4.GROWTH, folder)
    assert len(every) == 7
    start = k2so4.start_kinetics(k2so4.GROWTH)
    # The published constants describe the published batches: units and signs are right.
    for batch in every:
        got = batch.predicted(start)
        assert np.std(np.log(got["mu3"] / batch.values["mu3"])[1:]) < 0.2
    test = every[1]
    c, mu3 = k2so4.by_plant([b for b in every if b is not test], test, k2so4.GROWTH)
    stay_c, stay_3 = k2so4.by_persistence([], test, k2so4.GROWTH)
    seen = test.values["concentration_g_per_kg"]
    assert np.sqrt(np.mean((c - seen) ** 2)) < 0.3 * np.sqrt(np.mean((stay_c - seen) ** 2))
    assert np.abs(np.log(mu3 / test.values["mu3"])).mean() < 0.3 * np.abs(np.log(stay_3 / test.values["mu3"])).mean()
