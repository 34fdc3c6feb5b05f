"""Segments, clear and cloud points, induction times, freezing, on records of known truth."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from bench.events.detection import compare
from bench.events.exports import report
from bench.events.runs import simulate

from crystalscope.core import Event, ProgrammeStep, Timeline, Vial
from crystalscope.errors import InputError
from crystalscope.events import (
    clear_point_at_rest,
    cut_programme,
    cut_short,
    detect_events,
    flag_freezing,
    hold_reached_s,
)
from crystalscope.io.crystal16 import read_crystal16


def line(corners, *, spacing=10.0, signal=None, noise=0.0, vial=None, seed=0) -> Timeline:
    """A record of one reactor on a programme of corners (s, deg C)."""
    time = np.arange(corners[0][0], corners[-1][0], spacing)
    degrees = np.interp(time, *zip(*corners, strict=True))
    values = np.full(time.size, 100.0) if signal is None else signal(time, degrees)
    values = values + noise * np.random.default_rng(seed).normal(size=time.size)
    return Timeline(time, degrees, {"1": values}, vials={"1": vial} if vial else {})


CYCLE = ((0, 60.0), (1800, 60.0), (7800, 10.0), (11400, 10.0), (17400, 60.0), (19200, 60.0))


def crystals(cloud_s: float, clear_s: float):
    """Transmissivity that falls over 100 s from `cloud_s` and is back at `clear_s`, over 100 s."""
    return lambda t, c: 100 - 95 * np.minimum(np.clip((t - cloud_s) / 100, 0, 1), np.clip((clear_s - t) / 100, 0, 1))


def test_segments_of_a_programme():
    got = cut_programme(line(CYCLE))
    assert [s.kind for s in got] == ["hold", "cooling", "hold", "heating", "hold"]
    assert [s.cycle for s in got] == [0, 1, 1, 1, 1]
    assert [s.start_s for s in got] == pytest.approx([0, 1800, 7800, 11400, 17400], abs=40)
    assert got[1].rate_c_per_min == pytest.approx(-0.5, abs=0.01)
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(got))


@pytest.mark.parametrize("rate", [0.1, 0.5, 5.0, 20.0])
def test_segments_of_a_noisy_measurement(rate, rng):
    down = 60 * 50 / rate
    record = line(((0, 60.0), (1800, 60.0), (1800 + down, 10.0), (5400 + down, 10.0)), spacing=2.0)
    noisy = replace(record, temperature_c=record.temperature_c + 0.05 * rng.normal(size=len(record)))
    got = cut_programme(noisy)
    assert [s.kind for s in got] == ["hold", "cooling", "hold"]
    assert got[1].rate_c_per_min == pytest.approx(-rate, rel=0.03)


def test_steps_of_cooling_are_one_cycle():
    corners = (
        (0, 50.0),
        (600, 50.0),
        (1200, 40.0),
        (3000, 40.0),
        (3600, 30.0),
        (5400, 30.0),
        (6600, 50.0),
        (7200, 50.0),
    )
    got = cut_programme(line(corners))
    assert [s.kind for s in got] == ["hold", "cooling", "hold", "cooling", "hold", "heating", "hold"]
    assert got[-1].cycle == 1


def test_tuning_is_left_out(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text(report(rate=5.0, cycles=2, spacing_s=10), encoding="utf-8")
    record = read_crystal16(path)
    got = cut_programme(record)
    assert [s.kind for s in got][:3] == ["tuning", "heating", "hold"]
    assert got[0].end_s == pytest.approx(600, abs=20)
    assert not cut_short(record)
    half = len(record) // 2
    cut = replace(
        record, time_s=record.time_s[:half], temperature_c=record.temperature_c[:half],
        setpoint_c=record.setpoint_c[:half], signals={k: v[:half] for k, v in record.signals.items()},
    )  # fmt: skip
    assert cut_short(cut)
    assert cut_programme(cut)[0].kind == "tuning"
    assert cut_programme(cut)[1].kind == "heating"


def test_the_hold_begins_when_the_vial_has_its_temperature():
    record = line(((0, 50.0), (600, 50.0), (900, 20.0), (9000, 20.0)))
    lagging = replace(
        record,
        setpoint_c=record.temperature_c,
        temperature_c=np.interp(record.time_s - 120, record.time_s, record.temperature_c),
    )
    hold = cut_programme(lagging)[-1]
    assert hold_reached_s(lagging, hold) == pytest.approx(1020, abs=15)


@pytest.mark.parametrize("spacing", [1.0, 2.0, 10.0, 60.0])
@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_cloud_and_clear(spacing, noise):
    record = line(CYCLE, spacing=spacing, signal=crystals(5000, 15000), noise=noise)
    got = {e.kind: e for e in detect_events(record)}
    for kind, time in (("cloud", 5000.0), ("clear", 15000.0)):
        event = got[kind]
        assert event.status == "reached"
        assert event.time_s == pytest.approx(time, abs=spacing + 5 * noise)
        assert event.lower_s <= time <= event.upper_s
        assert event.lower_c <= event.temperature_c <= event.upper_c
        assert event.temperature_c == pytest.approx(record.temperature_at(time), abs=0.2 + 0.01 * spacing)
    assert got["induction"].status == "censored"
    assert got["cloud"].cycle == got["clear"].cycle == 1


def test_induction_time_from_the_set_temperature():
    corners = ((0, 60.0), (1800, 60.0), (2100, 10.0), (20000, 10.0))
    got = {e.kind: e for e in detect_events(line(corners, signal=crystals(7000, 1e9), noise=1.0))}
    assert got["cloud"].status == "not_reached"
    assert got["induction"].status == "reached"
    assert got["induction"].value == pytest.approx(4900, abs=15)
    assert got["induction"].unit == "s"
    late = {e.kind: e for e in detect_events(line(corners, noise=1.0))}
    assert late["induction"].status == "censored"
    assert late["induction"].value == pytest.approx(17900, abs=20)


@pytest.mark.parametrize(
    "signal",
    [
        pytest.param(lambda t, c: np.full(t.size, 100.0), id="always clear"),
        pytest.param(lambda t, c: np.full(t.size, 3.0), id="always cloudy"),
        pytest.param(lambda t, c: 100 - 12 * t / t[-1], id="deposit"),
        pytest.param(lambda t, c: 100 + 6 * np.sin(t / 4000), id="lamp"),
        pytest.param(lambda t, c: 15 + 45 * (60 - c) / 50, id="darker when hot"),
        pytest.param(lambda t, c: np.where((t > 4000) & (t < 4300), 5.0, 100.0), id="probe cleaned on cooling"),
        pytest.param(lambda t, c: np.where((t > 13000) & (t < 13400), 5.0, 100.0), id="probe cleaned on heating"),
        pytest.param(lambda t, c: np.where((t > 9000) & (t < 9100), 40.0, 100.0), id="stirrer"),
        pytest.param(lambda t, c: np.where((t // 10) % 97 == 0, 30.0, 100.0), id="bubbles"),
        pytest.param(lambda t, c: np.where(t > 6000, 94.0, 100.0), id="lamp step"),
    ],
)
@pytest.mark.parametrize("noise", [0.0, 4.0])
def test_nuisances_do_not_fire(signal, noise):
    got = detect_events(line(CYCLE, signal=signal, noise=noise))
    assert {e.kind for e in got} == {"cloud", "clear", "induction"}
    assert not [e for e in got if e.status == "reached"]


def test_partial_transmission_and_deposits_do_not_hide_events():
    signal = lambda t, c: (70 - 25 * (1 - crystals(5000, 15000)(t, c) / 100)) * (1 - 0.1 * t / t[-1])  # noqa: E731
    got = {e.kind: e for e in detect_events(line(CYCLE, signal=signal, noise=1.0))}
    assert got["cloud"].time_s == pytest.approx(5000, abs=60)
    assert got["clear"].time_s == pytest.approx(15000, abs=60)


def test_a_gap_gives_bounds_and_no_time():
    record = line(CYCLE, signal=crystals(5000, 15000))
    keep = (record.time_s < 4500) | (record.time_s > 6000)
    cut = Timeline(record.time_s[keep], record.temperature_c[keep], {"1": record.signals["1"][keep]})
    cloud = next(e for e in detect_events(cut) if e.kind == "cloud")
    assert cloud.status == "censored"
    assert cloud.flags == ("gap",)
    assert cloud.lower_s <= 4500
    assert cloud.upper_s >= 6000


def test_a_record_that_ends_early_is_censored():
    corners = ((0, 60.0), (1800, 60.0), (4800, 35.0))
    steps = (ProgrammeStep("heat", 60, 20), ProgrammeStep("hold", 60, duration_s=1800), ProgrammeStep("cool", 10, 0.5))
    record = replace(line(corners), programme=steps)
    cloud = next(e for e in detect_events(record) if e.kind == "cloud")
    assert cloud.status == "censored"
    assert cloud.upper_c == pytest.approx(35, abs=0.2)
    whole = next(e for e in detect_events(line(corners)) if e.kind == "cloud")
    assert whole.status == "not_reached"


def test_the_solid_as_filled_is_told_from_what_grew_in_the_vial():
    corners = ((0, 20.0), (600, 20.0), (5400, 60.0), *((t + 5400, c) for t, c in CYCLE[1:]))
    signal = lambda t, c: np.where(t < 3000, 30.0, crystals(10400, 20400)(t, c))  # noqa: E731
    clear = [e for e in detect_events(line(corners, signal=signal)) if e.kind == "clear"]
    assert [e.flags for e in clear] == [("as_filled",), ()]


def test_no_temperature():
    record = line(CYCLE)
    with pytest.raises(InputError, match="expected measured temperatures"):
        detect_events(replace(record, temperature_c=np.full(len(record), np.nan)))


def two_vials(clear, cloud, content=(5.0, 50.0), solvent="DMSO"):
    names = ("1", "2")
    vials = {n: Vial(n, c, "mg/ml", "X", solvent) for n, c in zip(names, content, strict=True)}
    record = replace(line(CYCLE), signals=dict.fromkeys(names, np.full(len(line(CYCLE)), 100.0)), vials=vials)
    events = [
        Event(kind, "reached", 1.0, temperature_c=t, reactor=n, cycle=1)
        for kind, temperatures in (("clear", clear), ("cloud", cloud))
        for n, t in zip(names, temperatures, strict=True)
    ]
    return [("freezing" in e.flags) for e in flag_freezing(events, record)]


def test_a_solvent_that_freezes_is_flagged():
    assert all(two_vials((22.6, 21.1), (12.6, 11.8)))
    # A solubility: both rise with concentration.
    assert not any(two_vials((42.4, 43.6), (28.0, 31.5)))
    # Cloud points that rise are no freezing, however alike the clear points.
    assert not any(two_vials((30.4, 30.6), (13.0, 20.2)))
    # One concentration cannot tell.
    assert not any(two_vials((25.0, 25.0), (12.0, 12.0), content=(5.0, 5.1)))
    assert not any(two_vials((22.6, 21.1), (12.6, 11.8), solvent=""))


def test_clear_point_at_rest():
    rates = np.array([0.1, 0.3, 0.5, 1.0])
    got = clear_point_at_rest(rates, 40 + 2 * rates + np.array([0.01, -0.01, -0.01, 0.01]))
    assert got.value == pytest.approx(40, abs=0.05)
    assert got.lower < 40 < got.upper
    one = clear_point_at_rest([0.5, 0.5], [41.0, 41.2])
    assert one.value == pytest.approx(41.1)
    assert "above the saturation temperature" in one.reason
    assert "do not rise" in clear_point_at_rest([0.1, 1.0, 1.0], [42.0, 40.0, 40.1]).reason
    with pytest.raises(InputError, match="above 0"):
        clear_point_at_rest([0.0], [40.0])


@pytest.mark.parametrize("seed", range(60, 74))
def test_simulated_runs_with_every_nuisance(seed):
    run = simulate(seed, case=("normal", "always_clear")[seed % 2], induction=seed % 4 == 2)
    rows = compare(run, detect_events(run.timeline))
    assert [r["what"] for r in rows if r["what"] == "invented"] == []
    found = [r for r in rows if r["what"] == "found"]
    true = [t for t in run.truth if math.isfinite(t.time_s)]
    assert len(found) == len(true)


@pytest.mark.data
def test_polymers_in_a_crystal16(data):
    folder = data / "crystal16"
    record = read_crystal16(next(folder.glob("PEG_n-Butyl*")))
    events = [e for e in detect_events(record) if e.status == "reached" and "as_filled" not in e.flags]
    clear = [[e.temperature_c for e in events if e.kind == "clear" and e.reactor == r] for r in "1234"]
    cloud = [[e.temperature_c for e in events if e.kind == "cloud" and e.reactor == r] for r in "1234"]
    assert all(np.ptp(c) <= 0.5 for c in clear)
    assert all(len(c) == 2 and np.ptp(c) <= 1.0 for c in cloud)
    assert [np.mean(c) for c in clear] == pytest.approx([42.2, 42.5, 42.9, 43.5], abs=0.4)
    assert [np.mean(c) for c in cloud] == pytest.approx([27.5, 29.4, 30.5, 31.3], abs=0.6)
    assert np.all(np.diff([np.mean(c) for c in clear]) > 0)
    assert np.all(np.diff([np.mean(c) for c in cloud]) > 0)


@pytest.mark.data
@pytest.mark.parametrize("name", ["PEG_Water*", "PEG_Chloroform*", "PAN*"])
def test_dissolved_and_noisy_vials_give_nothing(data, name):
    record = read_crystal16(next((data / "crystal16").glob(name)))
    assert not [e for e in detect_events(record) if e.status == "reached"]


@pytest.mark.data
def test_freezing_dmso(data):
    for path in (data / "crystal16").glob("*.csv"):
        record = read_crystal16(path)
        frozen = {e.reactor for e in flag_freezing(detect_events(record), record) if "freezing" in e.flags}
        assert frozen == ({"1", "2"} if path.name.startswith("Dextran") else set())


def test_a_vial_brought_to_where_the_programme_begins_is_no_cooling_run():
    corners = ((0, 25.0), (20, 20.0), (900, 20.0), (5700, 60.0), *((t + 6000, c) for t, c in CYCLE[1:]))
    signal = lambda t, c: np.where((t > 100) & (t < 3000), 30.0, crystals(11000, 21000)(t, c))  # noqa: E731
    got = detect_events(line(corners, spacing=2.0, signal=signal))
    assert [(e.kind, e.cycle) for e in got if e.status == "reached"] == [("clear", 0), ("cloud", 1), ("clear", 1)]
    assert next(e for e in got if e.kind == "clear").flags == ("as_filled",)
