"""Events that pictures show, from tables of pictures."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from crystalscope.core import Timeline, Vial
from crystalscope.errors import InputError
from crystalscope.events import (
    agglomeration_event,
    comes_to_rest,
    detect_events,
    fouling_event,
    growth_rate_event,
    lasting_rise,
    oiling_out_events,
    picture_lead,
    presence_events,
    steady_state_event,
)

CORNERS = ((0, 50.0), (600, 50.0), (3600, 20.0), (5400, 20.0), (7200, 50.0), (7800, 50.0))


def frames(spacing: float = 30.0, **columns) -> pd.DataFrame:
    """A ledger on a cooling and heating programme; columns are functions of the time."""
    time = np.arange(0, 7800, spacing)
    degrees = np.interp(time, *zip(*CORNERS, strict=True))
    table = pd.DataFrame({"frame": np.arange(time.size), "time_s": time, "temperature_c": degrees})
    table["file"] = [f"{i}.png" for i in range(time.size)]
    return table.assign(**{name: column(time) for name, column in columns.items()})


def between(start: float, end: float, level: float = 0.95):
    return lambda t: np.where((t >= start) & (t < end), level, 0.04)


def test_presence_gives_cloud_and_clear_within_one_picture():
    table = frames(object_present=between(2005, 6500))
    # One false alarm, one picture that missed, rows without a time.
    table.loc[[10, 120], "object_present"] = [0.9, 0.1]
    table.loc[[40, 41], "time_s"] = math.nan
    got = {
        e.kind: e for e in presence_events(table, column="object_present", threshold=0.5, vial=Vial("1", 5, "mg/ml"))
    }
    assert got["cloud"].status == got["clear"].status == "reached"
    assert (got["cloud"].lower_s, got["cloud"].upper_s) == (1980, 2010)
    assert got["cloud"].file == "67.png"
    assert got["cloud"].value == 5
    assert abs(got["clear"].time_s - 6500) <= 30
    assert got["cloud"].signal == "object_present"


@pytest.mark.parametrize(("hold_s", "kind"), [(2005, "cloud"), (3905, "induction")])
def test_a_false_picture_shortly_before_does_not_move_the_event(hold_s, kind):
    table = frames(n=between(hold_s, 6500))
    start = int(np.argmax(table["n"] > 0.5))
    alone = {e.kind: e for e in presence_events(table, column="n", threshold=0.5)}[kind]
    table.loc[start - 2, "n"] = 0.9
    got = {e.kind: e for e in presence_events(table, column="n", threshold=0.5)}
    assert got[kind] == alone
    assert (got[kind].lower_s, got[kind].upper_s) == tuple(table.loc[[start - 1, start], "time_s"])
    assert got[kind].seen_s == got[kind].upper_s
    # The last of two in a row is the last.
    end = int(np.flatnonzero(table["n"] > 0.5)[-1])
    table.loc[end + 2, "n"] = 0.9
    later = {e.kind: e for e in presence_events(table, column="n", threshold=0.5)}
    assert later["clear"] == got["clear"]
    assert later["clear"].lower_s == table.loc[end, "time_s"]
    if kind == "induction":
        assert later[kind].value == pytest.approx(later[kind].time_s - 3600, abs=45)


def test_empty_pictures_give_nothing(rng):
    table = frames(object_present=lambda t: np.where(rng.random(t.size) < 0.02, 0.9, 0.1))
    got = presence_events(table, column="object_present", threshold=0.5)
    assert not [e for e in got if e.status == "reached"]


def test_a_bubble_swarm_is_no_event():
    table = frames(object_present=between(2000, 2500))
    got = presence_events(table, column="object_present", threshold=0.5)
    assert not [e for e in got if e.status == "reached"]


@pytest.mark.parametrize(
    ("crystals_s", "status"), [(2600, "reached"), (9999, "reached"), (2000, "not_reached"), (1500, "not_reached")]
)
def test_oiling_out_is_droplets_before_crystals(crystals_s, status):
    table = frames(droplets=between(2000, 6500), needle=between(crystals_s, 6500))
    got = oiling_out_events(table, crystals="needle")
    assert [e.status for e in got if e.rate_c_per_min < 0] == [status]
    assert {e.kind for e in got} == {"oiling_out"}


def test_pictures_are_earlier_than_transmissivity(rng):
    table = frames(object_present=between(2000, 6500))
    time = np.arange(0.0, 7800, 2)
    signal = 100 * np.exp(-(np.clip((time - 2000) / 900, 0, None) ** 3)) + rng.normal(size=time.size)
    signal[time > 6500] = 100
    record = Timeline(time, np.interp(time, *zip(*CORNERS, strict=True)), {"1": signal})
    lead = picture_lead(presence_events(table, column="object_present", threshold=0.5), detect_events(record))
    assert len(lead) == 1
    assert 60 < lead["lead_s"].iloc[0] < 600
    assert picture_lead([], []).empty


def test_steady_state():
    rise = lambda t: 100 * (1 - np.exp(-t / 800))  # noqa: E731
    table = frames(size=rise, count=lambda t: 50 * (1 - np.exp(-t / 500)))
    got = steady_state_event(table, size="size", count="count")
    assert got.status == "reached"
    # 5 % is left at 3 times the time constant.
    assert got.time_s == pytest.approx(2400, rel=0.15)
    moving = frames(size=lambda t: 10 + t / 10, count=lambda t: np.full(t.size, 50.0))
    assert steady_state_event(moving, size="size", count="count").status == "not_reached"
    still = frames(size=lambda t: np.full(t.size, 10.0), count=lambda t: np.full(t.size, 50.0))
    assert steady_state_event(still, size="size", count="count").status == "not_reached"


def test_agglomeration_and_fouling(rng):
    noise = 0.02 * rng.normal(size=260)
    table = frames(share=lambda t: np.clip((t - 4000) / 3000, 0, 1) * 0.6 + noise)
    got = agglomeration_event(table, column="share")
    assert got.status == "reached"
    assert got.time_s == pytest.approx(4000, abs=250)
    calm = frames(share=lambda t: 0.1 + noise)
    assert agglomeration_event(calm, column="share").status == "not_reached"
    window = frames(static=lambda t: np.clip(t - 2000, 0, None) * 1e-5 + 0.1 * noise)
    fouled = fouling_event(window, column="static")
    assert fouled.status == "reached"
    assert fouled.value == pytest.approx(0.055, abs=0.01)
    cleaned = frames(static=between(3000, 3500, 0.3))
    assert fouling_event(cleaned, column="static").status == "not_reached"


def test_changes_of_short_series():
    assert lasting_rise(np.arange(4.0), np.zeros(4), least=0.1) is None
    assert comes_to_rest(np.arange(4.0), [np.zeros(4)]) is None
    with pytest.raises(InputError, match="times in s that rise"):
        lasting_rise(np.array([3.0, 1, 2, 2, 5]), np.zeros(5), least=0.1)


@pytest.mark.parametrize("rate", [2.0, 10.0])
def test_growth_rate_while_nucleation_goes_on(rate, rng):
    ledger = frames()
    rows = []
    for frame, time in zip(ledger["frame"], ledger["time_s"], strict=True):
        ages = (time - np.arange(1500, time, 60)) / 60
        lengths = rate * ages[ages > 0]
        seen = np.repeat(lengths, rng.poisson(3, lengths.size))
        rows.append(pd.DataFrame({"frame": frame, "length_um": seen * (1 + 0.03 * rng.normal(size=seen.size))}))
    got = growth_rate_event(pd.concat(rows), ledger, size="length_um", start_s=1400, end_s=5400)
    assert got.status == "reached"
    assert got.unit == "um/min"
    assert got.value == pytest.approx(rate, rel=0.05)
    assert got.value_lower <= got.value <= got.value_upper


def test_growth_rate_of_nothing():
    ledger = frames()
    empty = pd.DataFrame({"frame": np.zeros(0, int), "length_um": np.zeros(0)})
    assert growth_rate_event(empty, ledger, size="length_um", start_s=0, end_s=5000).status == "censored"
    rng = np.random.default_rng(3)
    still = pd.DataFrame({"frame": np.repeat(ledger["frame"], 5), "length_um": rng.normal(100, 3, 5 * len(ledger))})
    assert growth_rate_event(still, ledger, size="length_um", start_s=0, end_s=5000).status == "not_reached"
    with pytest.raises(InputError, match="end after the start"):
        growth_rate_event(still, ledger, size="length_um", start_s=10, end_s=5)


def test_what_is_missing():
    with pytest.raises(InputError, match="missing: n"):
        presence_events(frames(), column="n", threshold=1)
    with pytest.raises(InputError, match="give times and a temperature log"):
        presence_events(frames(n=np.zeros_like).assign(time_s=math.nan), column="n", threshold=1)
