"""Crystal16 reports of simulated runs, written as the instrument's program writes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HEADER = """Crystal16 Data Report File,Version: 1014,,,,,,,
,,,,,,,,
,,,,,,,,
Experiment details,,,,,,,,
ExperimentNumber,0,,,,,,,
Experimentor,A,,,,,,,
Project,{project},,,,,,,
{reactors}
,,,,,,,,
Start of Experiment,9/11/23 10:40,,,,,,,
,,,,,,,,
Temperature Program,,,,,,,,
Block,A,,,,,,,
Heat to,20, at ,20, °C/min,,,,
Hold at,20, for ,30, sec,,,,
Tune,,,,,,,,
Hold at,20, for ,570, sec,,,,
{steps}
,,,,,,,,
Data Block,,,,,,,,
Date Time,Decimal Time [mins],Temperature Setpoint [°C],Temperature Actual [°C],{columns},Stirring Rate [rpm]
"""


def report(
    *,
    rate: float = 0.5,
    cycles: int = 2,
    spacing_s: int = 1,
    contents: tuple[str, ...] = ("5 mg/ml X in Y", "15 mg/ml X in Y", "30 mg/ml X in Y", "50 mg/ml X in Y"),
    clear_c: tuple[float, ...] = (42.0, 43.0, 44.0, 45.0),
    cloud_c: tuple[float, ...] = (28.0, 29.0, 30.0, 31.0),
    noise: float = 0.3,
    seed: int = 0,
) -> str:
    """A report of vials that are cooled from 60 to 10 deg C and heated again, two hours at each end.

    Parameters
    ----------
    rate
        Of all ramps, deg C/min.
    cycles
        Coolings.
    spacing_s
        Of the samples, s.
    contents, clear_c, cloud_c
        One per reactor: what is in it; clear and cloud points in deg C.
    noise
        Standard deviation of the transmission, %.
    seed
        Of the noise.
    """
    rng = np.random.default_rng(seed)
    ramp, hold = 50 * 60 / rate, 3600.0
    corners = [(0.0, 20.0), (600.0, 20.0), (600.0 + 40 * 60 / rate, 60.0)]
    corners.append((corners[-1][0] + hold, 60.0))
    steps = [f"Heat to,60, at ,{rate}, °C/min,,,,", "Hold at,60, for ,3600, sec,,,,"]
    for _ in range(cycles):
        start = corners[-1][0]
        corners += [(start + ramp, 10.0), (start + ramp + hold, 10.0), (start + 2 * ramp + hold, 60.0)]
        corners.append((start + 2 * ramp + 2 * hold, 60.0))
        steps += [f"Cool to,10, at ,{rate}, °C/min,,,,", "Hold at,10, for ,3600, sec,,,,", *steps[:2]]
    time = np.arange(0, corners[-1][0] + 1, spacing_s)
    degrees = np.interp(time, *zip(*corners, strict=True))
    heating = np.interp(time, [c[0] for c in corners], np.arange(len(corners)))
    signals = [
        transmission(degrees, heating, clear, cloud) + noise * rng.normal(size=time.size)
        for clear, cloud in zip(clear_c, cloud_c, strict=True)
    ]
    table = np.column_stack([degrees, degrees, *[np.clip(np.round(s), 0, 100) for s in signals]])
    names = range(1, len(contents) + 1)
    head = HEADER.format(
        project="simulated",
        reactors="\n".join(f"Reactor{i},{c},,,,,,," for i, c in zip(names, contents, strict=True)),
        steps="\n".join(steps),
        columns=",".join(f"Reactor{i} Transmission [%]" for i in names),
    )
    rows = []
    for t, values in zip(time.astype(int), table, strict=True):
        minute = t // 60 + 640
        stamp = f"9/{11 + minute // 1440}/23 {minute % 1440 // 60}:{minute % 60:02d}"
        clock = f"{t // 3600}:{t % 3600 // 60:02d}:{t % 60:02d}"
        rows.append(f"{stamp},{clock}," + ",".join(f"{v:.4g}" for v in np.round(values, 1)) + ",0")
    return head + "\n".join(rows) + "\n"


def transmission(degrees: Array, corner: Array, clear_c: float, cloud_c: float) -> Array:
    """Transmission in % of a vial: falls over 1 deg C below the cloud point, rises over 1 deg C up to the clear point.

    Parameters
    ----------
    degrees
        (n,) deg C.
    corner
        (n,) number of the corner of the programme, with its fraction: 3 to 4 is a cooling, then hold, heating, hold.
    clear_c, cloud_c
        deg C.
    """
    part = np.floor(corner).astype(int)
    first, falls = part < 2, (part >= 3) & ((part - 3) % 4 == 0)
    warm = (part == 2) | ((part > 3) & ((part - 3) % 4 == 3))
    up = 100 * np.clip(degrees - clear_c + 1, 0, 1)
    down = 100 * np.clip(degrees - cloud_c + 1, 0, 1)
    return np.where(first, up, np.where(warm, 100.0, np.where(falls, down, up)))
