"""A folder of pictures, a video or a stack as one sequence."""

from __future__ import annotations

import fnmatch
import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from crystalscope.config import InputConfig
from crystalscope.core import FrameRef, Image, ImageSequence
from crystalscope.errors import ConfigError, ReadError
from crystalscope.io.logs import read_log, temperatures_at
from crystalscope.io.pictures import (
    PICTURE_SUFFIXES,
    TIFF_SUFFIXES,
    Decoded,
    file_sha256,
    full_pages,
    imagej_planes,
    read_picture,
)
from crystalscope.io.times import clean_times, exif_time, times_from_names, times_from_table
from crystalscope.io.video import VIDEO_SUFFIXES, VideoReader, video_times

_TO_UM = {
    "um": 1.0,
    "µm": 1.0,
    "μm": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "\\u00b5m": 1.0,
    "nm": 1e-3,
    "mm": 1e3,
}


@dataclass(frozen=True, eq=False)
class Source:
    """Pictures as they lie on disk; `read` serves frames of `sequence` from several threads at once.

    Parameters
    ----------
    root
        The folder (of a single file: its folder).
    sequence
        The frames with times and temperatures.
    pixel_size_um
        The scale of all frames, None where there is none.
    warnings
        What was noticed: files left out, times taken away, a log that does not cover the run.
    """

    root: Path
    sequence: ImageSequence
    pixel_size_um: float | None
    warnings: tuple[str, ...] = ()
    _videos: dict[str, VideoReader] = field(default_factory=dict, repr=False)
    _max_pixels: int = 200_000_000

    def read(self, frame: FrameRef) -> Decoded:
        """Pixels of a frame with the hash of its file (empty for a frame of a video: hash the file once)."""
        if frame.file in self._videos:
            return Decoded(self._videos[frame.file].read(frame.part or 0), "")
        return read_picture(self.root / frame.file, page=frame.part, max_pixels=self._max_pixels)

    def hashes(self, known: dict[str, str]) -> dict[str, str]:
        """SHA-256 of every file of the sequence; `known` ones are not read again."""
        files = sorted({f.file for f in self.sequence.frames})
        return {f: known.get(f) or file_sha256(self.root / f) for f in files}


def open_sequence(path: str | Path, *, config: InputConfig) -> Source:
    """List the frames of a folder (with its subfolders) or of one file, with their times.

    Parameters
    ----------
    path
        A folder of PNG, JPEG, BMP, TIFF, AVI and MP4 files, or one such file. Frames come in natural order
        of their names (frame_2 before frame_10), pages and video frames in theirs.
    config
        Scale, times, log.

    Returns
    -------
    Source

    Raises
    ------
    ReadError
        When there is nothing to read, or a table or log is faulty.
    ConfigError
        When the time pattern does not fit.
    """
    root, files, others = _list(Path(path), config.files)
    frames: list[FrameRef] = []
    videos: dict[str, VideoReader] = {}
    clocks: list[float] = []
    scales: dict[str, float] = {}
    for name in files:
        suffix = Path(name).suffix.lower()
        if suffix in VIDEO_SUFFIXES:
            videos[name] = VideoReader(root / name)
            clock = _video_frames(root / name)
            frames += [FrameRef(0, f"{name}#frame={k}", name, k) for k in range(len(clock))]
            clocks += clock
            continue
        parts, scale = _tiff_facts(root / name) if suffix in TIFF_SUFFIXES else (1, None)
        if scale is not None:
            scales[name] = scale
        if parts > 1:
            frames += [FrameRef(0, f"{name}#page={k}", name, k) for k in range(parts)]
        else:
            frames.append(FrameRef(0, name, name))
        clocks += [math.nan] * parts
    frames = [replace(f, index=i) for i, f in enumerate(frames)]
    warnings = [f"files left out because they are no pictures: {others}"] if others else []
    pixel_size, scale_warning = _scale(config, scales, len(files))
    warnings += scale_warning
    times, epoch = _times(root, frames, clocks, config)
    cleaned, notes = clean_times([f.name for f in frames], times)
    dropped = sum(1 for n in notes if n)
    if dropped:
        warnings.append(f"frames whose time was dropped because another has it or it goes back: {dropped}")
    frames = [
        replace(f, time_s=t, note="; ".join(x for x in (f.note, n) if x))
        for f, t, n in zip(frames, cleaned, notes, strict=True)
    ]
    log = None
    if config.log is not None:
        log = read_log(Path(config.log), config=config, epoch_s=epoch)
        at = temperatures_at(log, np.array(cleaned, dtype=np.float64))
        frames = [replace(f, temperature_c=float(c)) for f, c in zip(frames, at, strict=True)]
        uncovered = int(np.isnan(at).sum())
        if uncovered:
            warnings.append(f"the log gives no temperature for {uncovered} of {len(frames)} frames")
    source: Source

    def reader(frame: FrameRef) -> Image:
        return Image(source.read(frame).data, pixel_size, frame.time_s, frame.name)

    sequence = ImageSequence(tuple(frames), reader, log, epoch)
    source = Source(root, sequence, pixel_size, tuple(warnings), videos, config.max_pixels)
    return source


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which frame_2 comes before frame_10."""
    return [(1, int(p), "") if p.isdigit() else (0, 0, p.lower()) for p in re.split(r"(\d+)", name)]


def _list(path: Path, pattern: str) -> tuple[Path, list[str], int]:
    kinds = PICTURE_SUFFIXES + VIDEO_SUFFIXES
    wanted = f"looked for {', '.join(kinds)}"
    if path.is_file():
        if path.suffix.lower() not in kinds:
            raise ReadError(f"expected a picture or a video, got {path.name}; {wanted}")
        return path.parent, [path.name], 0
    if not path.is_dir():
        raise ReadError(f"expected a folder of pictures, got {path}, which does not exist; check the path")
    every = [p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")]
    files = [
        p.relative_to(path).as_posix() for p in every if p.suffix.lower() in kinds and fnmatch.fnmatch(p.name, pattern)
    ]
    if not files:
        found = f"{len(every)} other files" if every else "an empty folder"
        raise ReadError(f"expected pictures named {pattern!r} in {path}, got {found}; {wanted}")
    return path, sorted(files, key=lambda n: (natural_key(n), n)), len(every) - len(files)


def _video_frames(path: Path) -> list[float]:
    """Times of a video's frames; a video that cannot be opened is one frame, which then fails with the reason."""
    try:
        times = video_times(path)
    except ReadError:
        times = []
    return times or [math.nan]


def _tiff_facts(path: Path) -> tuple[int, float | None]:
    """Number of pictures in a TIFF and its scale in um per px, by ImageJ or OME tags only.

    A plain resolution in dots per inch is about printing and is ignored.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            parts = max(len(full_pages(tif)), imagej_planes(tif) if tif.is_imagej else 1)
            if tif.is_imagej:
                unit = str((tif.imagej_metadata or {}).get("unit", "")).lower()
                tag = tif.pages[0].tags.get("XResolution")
                if unit in _TO_UM and tag is not None and tag.value[0]:
                    return parts, tag.value[1] / tag.value[0] * _TO_UM[unit]
            if tif.is_ome and tif.ome_metadata:
                size = re.search(r'PhysicalSizeX="([0-9.eE+-]+)"', tif.ome_metadata)
                named = re.search(r'PhysicalSizeXUnit="([^"]+)"', tif.ome_metadata)
                factor = _TO_UM.get(named[1].lower() if named else "um")
                if size and factor:
                    return parts, float(size[1]) * factor
            return parts, None
    except Exception:  # listing never fails: reading the frame gives the reason
        return 1, None


def _scale(config: InputConfig, tags: dict[str, float], files: int) -> tuple[float | None, list[str]]:
    if config.pixel_size_um is not None:
        return config.pixel_size_um, []
    if config.marked_um is not None and config.marked_px is not None:
        return config.marked_um / config.marked_px, []
    if not tags:
        return None, []
    values = sorted(set(tags.values()))
    if len(tags) < files or values[-1] - values[0] > 1e-6 * values[0]:
        raise ConfigError(
            f"expected one scale in the tags of all files, got {len(tags)} of {files} files with scales from "
            f"{values[0]:g} to {values[-1]:g} um per px; give --scale, or run the groups one by one"
        )
    return values[0], [f"scale {values[0]:g} um per px from the tags of the files"]


def _times(root: Path, frames: list[FrameRef], clocks: list[float], config: InputConfig) -> tuple[list[float], float]:
    """Times in s from the first timed frame, and the date of that zero (NaN where times are relative)."""
    names = [f.name for f in frames]
    absolute = False
    if config.time_table is not None:
        return times_from_table(names, Path(config.time_table)), math.nan
    if config.time_pattern is not None:
        times, absolute = times_from_names(names, config.time_pattern, config.stamp_format)
        if not absolute:
            return times, math.nan
    elif config.frame_interval_s is not None:
        return [i * config.frame_interval_s for i in range(len(frames))], math.nan
    elif any(map(math.isfinite, clocks)):
        # Several videos: the clock of each starts anew, so only a single one has times of its own.
        one = len({f.file for f in frames}) == 1
        return (clocks if one else [math.nan] * len(frames)), math.nan
    else:
        times = [exif_time(root / f.file) if f.part is None else math.nan for f in frames]
        absolute = True
    known = [t for t in times if math.isfinite(t)]
    epoch = known[0] if known else math.nan
    return [t - epoch for t in times], epoch
