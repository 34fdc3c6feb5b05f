"""Frames of an instrument, read for a fit: grey levels, bits, compression, field of view."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.config import InputConfig
from crystalscope.core import FieldOfView, Image, check_pixel_size
from crystalscope.errors import InputError, ReadError
from crystalscope.io.pictures import bits_in_use, to_grey
from crystalscope.io.sequence import open_sequence
from crystalscope.prepare import find_field

Picture = NDArray[np.float32]

MOST_FRAMES = 48
"""Frames that are used of a longer sequence, evenly spread."""
_MOST_PIXELS = 150_000_000
_FEWEST_LEVELS = 8
"""Grey levels below which a picture is a mask or empty, not a photograph."""
_INSIDE = 0.99
"""`prepare.find_field` keeps this share of the radius of the lit disc."""


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of one instrument.

    Parameters
    ----------
    images
        Of one shape and dtype.
    numbers
        (frames,) their places in the sequence, from 0.
    total
        Frames of the sequence.
    bits
        Of the camera: 8, 12 or 16; None where pictures are of floating point.
    white
        Value of full scale in the files.
    step
        Distance of two grey levels, share of white.
    jpeg
        Quality, 0 where the files are not compressed, None where it is unknown (frames from memory).
    pixel_size_um
        um per px, or None.
    notes
        What was left out or taken so.
    """

    images: tuple[Image, ...]
    numbers: NDArray[np.intp]
    total: int
    bits: Literal[8, 12, 16] | None
    white: float
    step: float
    jpeg: int | None
    pixel_size_um: float | None
    notes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) in px."""
        return self.images[0].shape

    @property
    def channels(self) -> int:
        """1 or 3."""
        return 3 if self.images[0].data.ndim == 3 else 1

    def levels(self, k: int) -> Picture:
        """Frame k, (rows, columns[, 3]), shares of white."""
        return self.images[k].data.astype(np.float32) / np.float32(self.white)

    def grey(self, k: int) -> Picture:
        """Grey of frame k, (rows, columns), shares of white."""
        data = self.images[k].data
        if data.dtype == np.uint16:
            return to_grey(data, bits=round(math.log2(self.white + 1)))
        return to_grey(data)

    def inside(self, k: int) -> NDArray[np.bool_]:
        """Pixels of frame k that are neither black nor white in any channel, (rows, columns)."""
        data = self.images[k].data.reshape(*self.shape, -1)
        # JPEG leaves overexposed pixels a little below white.
        return np.asarray((data.max(axis=2) < 0.985 * self.white) & (data.min(axis=2) > 0))

    def saturated(self, k: int) -> float:
        """Share of pixels of frame k at white in any channel."""
        return float((self.images[k].data.reshape(*self.shape, -1).max(axis=2) >= self.white).mean())


def read_frames(
    frames: Sequence[Image] | str | Path,
    *,
    pixel_size_um: float | None = None,
    progress: Callable[..., None] | None = None,
) -> Frames:
    """Read frames of one instrument, at most 48 of them, evenly spread.

    Parameters
    ----------
    frames
        Pictures of one size, or a folder, stack or video of them.
    pixel_size_um
        Scale in um per px; None: from the tags of the files, where they have one.
    progress
        Called with the number of frames read and their total.

    Raises
    ------
    InputError
        When there is no frame, none of them is a photograph, or they are of several sizes or types.
    ReadError
        When no file can be read.
    ConfigError
        When the files have tags with several scales.
    """
    check_pixel_size(pixel_size_um)
    notes: list[str] = []
    jpeg: int | None = None
    if isinstance(frames, str | Path):
        source = open_sequence(frames, config=InputConfig(pixel_size_um=pixel_size_um))
        refs = source.sequence.frames
        total, scale = len(refs), source.pixel_size_um
        notes += source.warnings
        jpeg, note = _compression(sorted({source.root / r.file for r in refs}))
        notes += note

        def read(k: int) -> Image:
            return source.sequence.reader(refs[k])
    else:
        total = len(frames)
        scale = pixel_size_um if pixel_size_um is not None else next((i.pixel_size_um for i in frames), None)

        def read(k: int) -> Image:
            return frames[k]

    if not total:
        raise InputError("expected at least one frame to fit an instrument to, got none; give frames of the probe")
    kept: list[tuple[int, Image]] = []
    damaged: list[str] = []
    flat: list[str] = []
    wanted = np.unique(np.linspace(0, total - 1, min(total, MOST_FRAMES)).round().astype(int))
    pixels = 0
    for done, k in enumerate(wanted):
        try:
            image = read(int(k))
        except ReadError as e:
            damaged.append(str(e))
            continue
        if _is_photograph(image):
            kept.append((int(k), image))
            pixels += image.data.size
        else:
            flat.append(image.source or f"frame {k}")
        if progress:
            progress(done + 1, len(wanted))
    if damaged and not kept and not flat:
        raise ReadError(f"expected a readable frame, got none of {total}: {damaged[0]}")
    if not kept:
        raise InputError(
            f"expected photographs, got {len(flat)} pictures with fewer than {_FEWEST_LEVELS} grey levels "
            f"({', '.join(flat[:3])}): constant pictures and masks show nothing of an instrument; give its frames"
        )
    if pixels > _MOST_PIXELS:
        kept = kept[:: math.ceil(pixels / _MOST_PIXELS)]
    _check_alike([i for _, i in kept])
    if damaged:
        notes.append(f"left out {len(damaged)} unreadable frames: {damaged[0]}")
    if flat:
        notes.append(f"left out {len(flat)} pictures with fewer than {_FEWEST_LEVELS} grey levels, such as {flat[0]}")
    if len(kept) < total - len(flat) - len(damaged):
        notes.append(f"used {len(kept)} of {total} frames, evenly spread")
    images = tuple(i for _, i in kept)
    bits, white, step, note = _depth(images)
    return Frames(images, np.array([k for k, _ in kept]), total, bits, white, step, jpeg, scale, (*notes, *note))


def _is_photograph(image: Image) -> bool:
    sample = image.data[::7, ::5]
    # Few levels in a sample may be a dark frame; only then is the whole of it worth a look.
    return np.unique(sample).size >= _FEWEST_LEVELS or np.unique(image.data).size >= _FEWEST_LEVELS


def _check_alike(images: Sequence[Image]) -> None:
    kinds = Counter((i.shape, i.data.ndim, i.data.dtype.name) for i in images)
    if len(kinds) > 1:
        told = ", ".join(
            f"{n} of {rows} x {columns} px ({'colour' if ndim == 3 else 'grey'}, {dtype})"
            for ((rows, columns), ndim, dtype), n in kinds.most_common(4)
        )
        raise InputError(f"expected frames of one camera, of one size and type, got {told}; fit each kind alone")


def _depth(images: Sequence[Image]) -> tuple[Literal[8, 12, 16] | None, float, float, list[str]]:
    """Bits, value of white, grey step and notes."""
    dtype = images[0].data.dtype
    if dtype == np.uint8:
        return 8, 255.0, 1 / 255, []
    if dtype != np.uint16:
        return None, 1.0, 0.0, ["bits: unknown of pictures of floating point; 1 is taken for white"]
    used = bits_in_use([int(i.data.max()) for i in images])
    white = 2.0**used - 1
    # A 12-bit camera may fill the upper bits of 16.
    unit = int(np.gcd.reduce(np.concatenate([np.unique(i.data[::3, ::3]) for i in images[:4]]).astype(np.int64)))
    effective = used - round(math.log2(max(unit, 1)))
    bits: Literal[8, 12, 16] = 8 if effective <= 8 else 12 if effective <= 12 else 16
    note = [] if bits == effective else [f"bits: the camera uses {effective}; the virtual one has 8, 12 or 16: {bits}"]
    return bits, white, max(unit, 1) / white, note


def _compression(files: Sequence[Path]) -> tuple[int | None, list[str]]:
    """JPEG quality of the files, 0 where there is none, None where some are or it cannot be read."""
    found = [jpeg_quality(f) for f in files[:: max(1, len(files) // MOST_FRAMES)]]
    if all(q == 0 for q in found):
        return 0, []
    if any(q == 0 for q in found):
        return None, ["jpeg: some files are compressed and some are not: noise and edges are taken as recorded"]
    if None in found:
        return None, ["jpeg: the quality of the files cannot be read: noise and edges are taken as recorded"]
    return int(np.median([q for q in found if q is not None])), []


def jpeg_quality(path: Path) -> int | None:
    """Quality, 1 to 100, of a JPEG file from its table for luminance; 0 for another format; None where it has no table.

    The scale is that of the Independent JPEG Group, by which OpenCV and most cameras write; other tables get the
    nearest one.
    """
    try:
        with path.open("rb") as f:
            raw = f.read(1 << 16)
    except OSError:
        return None
    if raw[:2] != b"\xff\xd8":
        return 0
    table = _luminance_table(raw)
    if table is None:
        return None
    return int(np.argmin([np.abs(t - table).sum() for t in _known_tables()])) + 1


def _luminance_table(raw: bytes) -> NDArray[np.float64] | None:
    """The 64 steps of table 0 in the file's order."""
    at = 2
    while at + 4 <= len(raw) and raw[at] == 0xFF and raw[at + 1] != 0xDA:
        length = int.from_bytes(raw[at + 2 : at + 4], "big")
        if raw[at + 1] == 0xDB:
            body, k = raw[at + 4 : at + 2 + length], 0
            while k < len(body):
                wide, name = body[k] >> 4, body[k] & 15
                size = 128 if wide else 64
                if name == 0 and k + 1 + size <= len(body):
                    values = np.frombuffer(body[k + 1 : k + 1 + size], dtype=">u2" if wide else np.uint8)
                    return values.astype(np.float64)
                k += 1 + size
        at += 2 + length
    return None


@functools.cache
def _known_tables() -> tuple[NDArray[np.float64], ...]:
    blank: Any = np.zeros((8, 8), dtype=np.uint8)
    out = []
    for quality in range(1, 101):
        table = _luminance_table(cv2.imencode(".jpg", blank, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())
        out.append(np.zeros(64) if table is None else table)
    return tuple(out)


def find_disc(frames: Frames, *, demanded: bool) -> FieldOfView:
    """Field of view of all frames: the lit disc of a flow cell where most frames show one.

    Raises
    ------
    InputError
        When a disc is demanded and no frame shows one.
    """
    chosen = range(0, len(frames.images), max(1, len(frames.images) // 8))
    discs = [d for d in (find_field(frames.grey(k)).disc for k in chosen) if d is not None]
    if demanded and not discs:
        raise InputError("expected the lit disc of a flow cell on black, found none in any frame; give another look")
    if len(discs) * 2 < len(chosen) and not demanded:
        return FieldOfView(frames.shape)
    row, column, radius = np.median(np.array(discs), axis=0)
    return FieldOfView(frames.shape, (float(row), float(column), float(radius)))


def surround_level(frames: Frames, field: FieldOfView) -> float:
    """Level far outside of the lit disc, where no light falls; NaN where the picture shows nothing of it."""
    assert field.disc is not None
    row, column, radius = field.disc
    r = np.hypot(np.arange(field.shape[0])[:, None] - row, np.arange(field.shape[1])[None, :] - column)
    # Light is scattered into the rim of the dark: its outermost quarter is taken.
    outside = r[r > 1.08 * radius]
    if outside.size < 400:
        return math.nan
    far = r >= np.quantile(outside, 0.75)
    return float(np.median([np.median(frames.grey(k)[far]) for k in range(len(frames.images))]))


def disc_share(field: FieldOfView) -> float:
    """Radius of the lit disc relative to the shorter side of the picture."""
    assert field.disc is not None
    return field.disc[2] / _INSIDE / min(field.shape)
