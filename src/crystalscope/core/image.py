"""Pictures: one, and a lazy sequence of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.errors import InputError

PICTURE_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))


@dataclass(frozen=True, eq=False)
class Image:
    """One picture, in the dtype it was recorded in.

    Parameters
    ----------
    data
        Shape (rows, columns) or (rows, columns, 3), RGB; uint8, uint16 or float32. Becomes read-only.
    pixel_size_um
        Edge of a pixel in um, or None where no scale was given; nothing is guessed.
    time_s
        Time since the first frame in s; NaN where unknown.
    source
        Name of the picture, relative to its folder and unique also for pages and video frames.

    Raises
    ------
    InputError
        On another shape or dtype, an empty picture, or a scale that is not a positive number.
    """

    data: NDArray[np.generic]
    pixel_size_um: float | None = None
    time_s: float = math.nan
    source: str = ""

    def __post_init__(self) -> None:
        data = np.asarray(self.data)
        if data.ndim not in (2, 3) or (data.ndim == 3 and data.shape[2] != 3):
            raise InputError(
                f"expected a picture of shape (rows, columns) or (rows, columns, 3), got {data.shape} "
                f"from {self.source or 'an array'}; pass one channel or RGB"
            )
        if data.size == 0:
            raise InputError(f"expected a picture with pixels, got shape {data.shape} from {self.source}")
        if data.dtype not in PICTURE_DTYPES:
            raise InputError(
                f"expected a picture of uint8, uint16 or float32, got {data.dtype} from "
                f"{self.source or 'an array'}; convert it first"
            )
        check_pixel_size(self.pixel_size_um)
        view = data.view()
        view.flags.writeable = False
        object.__setattr__(self, "data", view)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) in px."""
        return int(self.data.shape[0]), int(self.data.shape[1])


def check_pixel_size(pixel_size_um: float | None) -> None:
    """Raise InputError unless `pixel_size_um` is None or a positive finite number of um per px."""
    if pixel_size_um is None:
        return
    if not (math.isfinite(pixel_size_um) and pixel_size_um > 0):
        raise InputError(
            f"expected a scale above 0 um per px, got {pixel_size_um}; give the calibrated pixel size, "
            "or leave it out to get results in px"
        )


@dataclass(frozen=True)
class FrameRef:
    """Where one frame of a sequence stands and when it was taken.

    Parameters
    ----------
    index
        Position in the sequence, from 0.
    name
        File name relative to the folder, with ``#page=3`` or ``#frame=12`` where a file holds several;
        unique in the sequence.
    file
        File name relative to the folder.
    part
        Page or video frame within the file, from 0; None where the file is one picture.
    time_s
        Time since the first timed frame in s; NaN where unknown or contradictory.
    temperature_c
        From the aligned log, deg C; NaN where there is none.
    note
        Why a time is missing, or empty.
    """

    index: int
    name: str
    file: str
    part: int | None = None
    time_s: float = math.nan
    temperature_c: float = math.nan
    note: str = ""


@dataclass(frozen=True, eq=False)
class ImageSequence:
    """Frames in order, read only when asked for.

    Parameters
    ----------
    frames
        One reference per frame; the known times are strictly increasing.
    reader
        Reads the picture of a reference; raises ReadError where it cannot.
    log
        Aligned log (one row per log entry, ``time_s`` on the clock of the frames), or None.
    epoch_s
        Seconds since 1970-01-01 of time zero, NaN where only relative times are known.

    Raises
    ------
    InputError
        When known times do not increase or two frames have one name.
    """

    frames: tuple[FrameRef, ...]
    reader: Callable[[FrameRef], Image] = field(repr=False)
    log: pd.DataFrame | None = field(default=None, repr=False)
    epoch_s: float = math.nan

    def __post_init__(self) -> None:
        times = self.times_s
        known = times[np.isfinite(times)]
        if known.size > 1 and not bool(np.all(np.diff(known) > 0)):
            raise InputError("expected frame times that increase; clean them with io.times first")
        if len({f.name for f in self.frames}) != len(self.frames):
            raise InputError("expected a name of its own for every frame, got two frames with one name")

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Image]:
        return (self.reader(f) for f in self.frames)

    def __getitem__(self, index: int) -> Image:
        return self.reader(self.frames[index])

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Shape (frames,), s."""
        return np.array([f.time_s for f in self.frames], dtype=np.float64)
