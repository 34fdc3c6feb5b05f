"""The outcome of experiments from the labels of their frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.config import LabelConfig
from crystalscope.core import LABELS
from crystalscope.errors import InputError

Array = NDArray[np.float64]


def label_states(confidence: Array, *, threshold: float, hysteresis: float, least: int) -> NDArray[np.bool_]:
    """Whether a label holds, frame by frame.

    Parameters
    ----------
    confidence
        (n,) in order of time; NaN: a frame that was not seen, which changes nothing.
    threshold
        A label begins to hold at or above it.
    hysteresis
        It holds on until the confidence is below the threshold by more than this.
    least
        Frames that a run must have; a shorter one is taken for an error. Of fewer frames than that, all must agree.

    Returns
    -------
    (n,)
    """
    on = False
    out = np.zeros(confidence.size, dtype=bool)
    for i, value in enumerate(confidence):
        if math.isfinite(value):
            on = value >= threshold - (hysteresis if on else 0.0)
        out[i] = on
    wanted = min(least, confidence.size)
    for start, stop in _runs(out):
        if stop - start < wanted:
            out[start:stop] = False
    return out


def _runs(on: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First frame of every run, and the frame after its last."""
    steps = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]])))
    return list(zip(steps[::2].tolist(), steps[1::2].tolist(), strict=True))


def outcomes(labels: pd.DataFrame, *, thresholds: Sequence[float] | Array, config: LabelConfig) -> pd.DataFrame:
    """Experiments x labels.

    Parameters
    ----------
    labels
        One row per frame in order of time: file, time_s, a column per label; experiment where known, else the folder
        that a file lies in.
    thresholds
        (10,) in the order of `core.LABELS`.
    config
        Hysteresis and least run.

    Returns
    -------
    One row per experiment: experiment, frames, then for each label L: L (1: it holds in a run that is long enough, 0:
    it does not), L_share (of the frames in which it holds), L_first_s, L_last_s (times of the first and last of them,
    NaN where times are not known or the label never holds), L_longest (frames of the longest run).

    Raises
    ------
    InputError
        When a column is missing.
    """
    missing = [c for c in ("file", "time_s", *LABELS) if c not in labels.columns]
    if missing:
        raise InputError(f"expected file, time_s and the ten labels of every frame, missing: {', '.join(missing)}")
    names = experiments_of(labels)
    rows = []
    for name in dict.fromkeys(names):
        part = labels[[n == name for n in names]]
        row: dict[str, Any] = {"experiment": name, "frames": len(part)}
        times = part["time_s"].to_numpy(dtype=float)
        for label, threshold in zip(LABELS, thresholds, strict=True):
            on = label_states(
                part[label].to_numpy(dtype=float),
                threshold=float(threshold),
                hysteresis=config.hysteresis,
                least=config.min_run,
            )
            held = times[on]
            row |= {
                label: int(on.any()),
                f"{label}_share": float(on.mean()) if on.size else math.nan,
                f"{label}_first_s": float(held[0]) if held.size else math.nan,
                f"{label}_last_s": float(held[-1]) if held.size else math.nan,
                f"{label}_longest": max((b - a for a, b in _runs(on)), default=0),
            }
        rows.append(row)
    # The table of a plate reads label by label; the figures behind it follow.
    heads = [f"{n}_{e}" for n in LABELS for e in ("share", "first_s", "last_s", "longest")]
    return pd.DataFrame(rows, columns=["experiment", "frames", *LABELS, *heads])


def experiments_of(labels: pd.DataFrame) -> list[str]:
    """Name of the experiment of every frame: its column, else the folder of its file, empty at the top."""
    if "experiment" in labels.columns:
        return labels["experiment"].astype(str).tolist()
    folders = (PurePosixPath(str(f).partition("#")[0]).parent.as_posix() for f in labels["file"])
    return ["" if f == "." else f for f in folders]


def label_table(files: Sequence[str], times: Array, confidences: Array, thresholds: Array) -> pd.DataFrame:
    """Rows of labels.csv: file, time_s, ten confidences, is_<label> for each, 0 or 1 by the threshold in force.

    Parameters
    ----------
    files, times
        (n,) names and s.
    confidences
        (n, 10); a row of NaN for a frame that could not be read, whose is_<label> are empty.
    thresholds
        (10,).
    """
    data: dict[str, Any] = {"file": list(files), "time_s": times}
    for k, name in enumerate(LABELS):
        data[name] = np.round(confidences[:, k], 6)
    for k, name in enumerate(LABELS):
        known = np.isfinite(confidences[:, k])
        given = pd.array(np.where(known, confidences[:, k] >= thresholds[k], 0).astype(np.int64), dtype="Int64")
        given[~known] = pd.NA
        data[f"is_{name}"] = given
    return pd.DataFrame(data)
