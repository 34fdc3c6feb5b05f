"""Alarm of a running process: on where an impurity is certain, off where it is gone, without flutter."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from crystalscope.errors import InputError
from crystalscope.impurity.confusion import Confusion
from crystalscope.impurity.shares import class_shares


@dataclass
class Alarm:
    """Follows the share of a class over the last frames.

    Parameters
    ----------
    confusion
        Of the classifier.
    watched
        Class that must not be there.
    on
        The alarm goes on when the lower bound of the share is above this.
    off
        It goes off when the upper bound is below this; above `on`, else it could never go off for certain.
    window
        Frames that are pooled.
    level
        Of the interval.

    Raises
    ------
    InputError
        When the thresholds do not leave a gap, or the window is empty.

    Notes
    -----
    Going on asks for certainty that the share is above one threshold, going off for certainty that it is below another:
    between them the alarm stays as it is, so that noise does not switch it to and fro. Every frame is a new test: at a
    level of 0.95 a share that lies at the threshold for long will set it off at some time.
    """

    confusion: Confusion
    watched: str
    on: float = 0.01
    off: float = 0.02
    window: int = 20
    level: float = 0.95
    state: bool = field(default=False, init=False)
    _recent: deque[list[str]] = field(default_factory=deque, init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.on < self.off <= 1:
            raise InputError(
                f"expected 0 <= on < off <= 1, got on {self.on} and off {self.off}: on is for the lower bound of the "
                "share, off for the upper"
            )
        if self.window < 1:
            raise InputError(f"expected a window of at least one frame, got {self.window}")
        self.confusion.index(self.watched)

    def update(self, classes: ArrayLike) -> dict[str, float | bool]:
        """Take in the predicted classes of the particles of a frame (there may be none).

        Returns
        -------
        share, lower, upper of the window (NaN without particles), and alarm.
        """
        self._recent.append([str(c) for c in np.asarray(classes).ravel()])
        while len(self._recent) > self.window:
            self._recent.popleft()
        names = [c for one in self._recent for c in one]
        if not names:
            return {"share": np.nan, "lower": np.nan, "upper": np.nan, "alarm": self.state}
        frame = [k for k, one in enumerate(self._recent) for _ in one]
        found = class_shares(names, frame, self.confusion, level=self.level).shares[self.watched]
        if not self.state and found.lower > self.on:
            self.state = True
        elif self.state and found.upper < self.off:
            self.state = False
        return {"share": found.value, "lower": found.lower, "upper": found.upper, "alarm": self.state}


def alarm_over_run(alarm: Alarm, classes: ArrayLike, frame: ArrayLike, *, n_frames: int) -> pd.DataFrame:
    """The alarm after every frame of a run.

    Parameters
    ----------
    alarm
        New; it is moved through the run.
    classes, frame
        (n,) of the particles; frames from 0.
    n_frames
        Of the run, those without particles included.

    Returns
    -------
    A row for every frame: frame, share, lower, upper, alarm.
    """
    names, at = np.asarray(classes).astype(str).ravel(), np.asarray(frame, dtype=np.int64).ravel()
    if names.shape != at.shape or (at.size and (at.min() < 0 or at.max() >= n_frames)):
        raise InputError(f"expected a frame from 0 to {n_frames - 1} of every particle, got others")
    return pd.DataFrame([{"frame": k, **alarm.update(names[at == k])} for k in range(n_frames)])
