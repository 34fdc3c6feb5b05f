"""Times of frames: from a table, the file name, a fixed interval, the video, or EXIF."""

from __future__ import annotations

import io
import math
import re
from bisect import bisect_left
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from crystalscope.errors import ConfigError, ReadError


def times_from_names(names: list[str], pattern: str, stamp_format: str) -> tuple[list[float], bool]:
    """Times in s by a regular expression on the file names, NaN where it does not match.

    Parameters
    ----------
    names
        File names.
    pattern
        Regular expression with a group ``seconds``, ``minutes`` or ``hours`` (a number), or ``stamp``.
    stamp_format
        Of the group ``stamp``, as for `datetime.strptime`.

    Returns
    -------
    times
        One per name; for ``stamp`` in s since 1970-01-01 (the stamp read as UTC).
    absolute
        Whether the times are a date.

    Raises
    ------
    ConfigError
        When the pattern is no regular expression, has none of the groups, or matches no name.
    """
    try:
        expression = re.compile(pattern)
    except re.error as e:
        raise ConfigError(f"expected a regular expression in input.time_pattern, got {pattern!r}: {e}") from e
    units = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0}
    groups = set(expression.groupindex) & {*units, "stamp"}
    if not groups:
        raise ConfigError(
            f"expected a group (?P<seconds>…), (?P<minutes>…), (?P<hours>…) or (?P<stamp>…) in input.time_pattern, "
            f"got {pattern!r}"
        )
    times = []
    for name in names:
        match = expression.search(name)
        value = math.nan
        if match:
            try:
                if "stamp" in groups:
                    stamp = datetime.strptime(match["stamp"], stamp_format)
                    value = (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()
                else:
                    value = sum(float(match[g].replace(",", ".")) * units[g] for g in groups if match[g])
            except ValueError:
                value = math.nan
        times.append(value)
    if names and not any(map(math.isfinite, times)):
        raise ConfigError(
            f"expected input.time_pattern {pattern!r} to match file names such as {names[0]!r}, it matches none"
        )
    return times, "stamp" in groups


def times_from_table(names: list[str], path: Path) -> list[float]:
    """Times in s from a CSV with columns file and time_s; NaN for files that it does not list.

    Raises
    ------
    ReadError
        When the table cannot be read or lacks a column.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError, UnicodeError) as e:
        raise ReadError(f"expected a table of times in {path}: {e}") from e
    missing = {"file", "time_s"} - set(table.columns)
    if missing:
        raise ReadError(
            f"expected columns file and time_s in {path.name}, got {', '.join(map(str, table.columns))}; rename them"
        )
    seconds = pd.to_numeric(table["time_s"], errors="coerce").astype(float)
    by_name: dict[str, float] = dict(zip(table["file"].astype(str), seconds, strict=True))
    return [by_name.get(n, by_name.get(Path(n).name, math.nan)) for n in names]


def exif_time(path: Path) -> float:
    """Time of exposure from EXIF in s since 1970-01-01 (camera clock read as UTC); NaN where there is none."""
    import tifffile

    try:
        with path.open("rb") as f:
            head = f.read(1 << 17)
        if head[:2] == b"\xff\xd8":
            at = head.find(b"Exif\0\0")
            if at < 0:
                return math.nan
            head = head[at + 6 :]
            source: io.BytesIO | Path = io.BytesIO(head)
        elif head[:2] in (b"II", b"MM"):
            source = path
        else:
            return math.nan
        with tifffile.TiffFile(source) as tif:
            tags = tif.pages[0].tags
            exif = tags["ExifTag"].value if "ExifTag" in tags else {}
            text = exif.get("DateTimeOriginal") or (tags["DateTime"].value if "DateTime" in tags else "")
            fraction = str(exif.get("SubsecTimeOriginal") or exif.get("SubsecTime") or "0").strip() or "0"
        moment = datetime.strptime(str(text).strip(), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
        return moment.timestamp() + (float(f"0.{fraction}") if fraction.isdigit() else 0.0)
    except Exception:  # a damaged EXIF block only means that there is no time in it
        return math.nan


def clean_times(names: list[str], times: list[float]) -> tuple[list[float], list[str]]:
    """Times that increase strictly, and a note for each that was taken away.

    Kept are the times of the longest strictly increasing subsequence, so that one stamp far off does not cost
    all that follow. A frame whose time is taken away keeps its picture: it is measured, but stands in no trend.

    Parameters
    ----------
    names, times
        In order of the frames; NaN: unknown.

    Returns
    -------
    times
        With NaN where a time was taken away.
    notes
        One per frame, empty where nothing was done.
    """
    known = [i for i, t in enumerate(times) if math.isfinite(t)]
    tails: list[float] = []
    at: list[int] = []
    previous: dict[int, int] = {}
    for i in known:
        k = bisect_left(tails, times[i])
        if k == len(tails):
            tails.append(times[i])
            at.append(i)
        else:
            tails[k] = times[i]
            at[k] = i
        previous[i] = at[k - 1] if k else -1
    kept: set[int] = set()
    i = at[-1] if at else -1
    while i >= 0:
        kept.add(i)
        i = previous[i]
    out, notes = [], []
    last = -1
    for i, t in enumerate(times):
        if not math.isfinite(t) or i in kept:
            last = i if math.isfinite(t) else last
            out.append(t)
            notes.append("")
            continue
        near = next((j for j in kept if times[j] == t), last)
        other = f"the same as {names[near]}" if near >= 0 and times[near] == t else "out of order"
        notes.append(f"time {t:g} s dropped: {other}")
        out.append(math.nan)
    return out, notes
