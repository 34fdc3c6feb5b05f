"""Checks of the pictures themselves: can they be read, are they copies, do copies stand in two splits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from crystalscope.config import InputConfig
from crystalscope.datasets.dataset import Dataset
from crystalscope.datasets.duplicates import Copy, families, find_copies
from crystalscope.datasets.findings import Finding
from crystalscope.datasets.fingerprint import TURNS, Fingerprint, fingerprint
from crystalscope.errors import CrystalscopeError
from crystalscope.io.pictures import TIFF_SUFFIXES, read_picture
from crystalscope.io.sequence import open_sequence

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What was seen of a picture when it was read.

    Parameters
    ----------
    file
        Its name in the dataset.
    shape
        (rows, columns), px; (0, 0) where it cannot be read.
    kind
        Such as ``8 bit grey`` or ``16 bit colour``.
    print
        Its fingerprint; None where it cannot be read.
    tag_um
        Scale in um per px that tags of a TIFF state; None: none.
    fault
        Why it cannot be read; empty: it can.
    """

    file: str
    shape: tuple[int, int] = (0, 0)
    kind: str = ""
    print: Fingerprint | None = None
    tag_um: float | None = None
    fault: str = ""


def look(root: Path, file: str) -> Seen:
    """Read a picture of a dataset and keep what the checks need."""
    try:
        found = read_picture(root / file)
    except CrystalscopeError as e:
        return Seen(file, fault=str(e))
    bits = {"uint8": "8 bit", "uint16": "16 bit"}.get(found.data.dtype.name, found.data.dtype.name)
    return Seen(
        file,
        (int(found.data.shape[0]), int(found.data.shape[1])),
        f"{bits} {'grey' if found.data.ndim == 2 else 'colour'}",
        fingerprint(found.data, sha256=found.sha256),
        _tag_um(root / file) if file.lower().endswith(TIFF_SUFFIXES) else None,
    )


def _tag_um(path: Path) -> float | None:
    try:
        return open_sequence(path, config=InputConfig()).pixel_size_um
    except CrystalscopeError:
        return None


def look_at_all(root: Path, files: Sequence[str], progress: Progress | None) -> list[Seen]:
    """`look` at many pictures, in their order."""
    out = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for seen in pool.map(lambda f: look(root, f), files):
            out.append(seen)
            if progress:
                progress("reading pictures", len(out), len(files))
    return out


def copies_among(root: Path, seen: Sequence[Seen], progress: Progress | None = None) -> list[Copy]:
    """Copies among the pictures that can be read; positions are those of `seen`."""
    good = [(i, s.print) for i, s in enumerate(seen) if s.print is not None]

    def read(k: int) -> Any:
        return read_picture(root / seen[good[k][0]].file).data

    def told(done: int, of: int) -> None:
        if progress:
            progress("comparing pictures", done, of)

    found = find_copies([p for _, p in good], read=read, progress=told)
    return [Copy(good[c.first][0], good[c.other][0], c.turn, c.exact, c.agreement) for c in found]


def check_readable(seen: Sequence[Seen]) -> Iterator[Finding]:
    """Pictures that cannot be read."""
    for s in seen:
        if s.fault:
            yield Finding("unreadable_picture", s.fault, s.file)


def check_copies(dataset: Dataset, copies: Sequence[Copy]) -> Iterator[Finding]:
    """Copies, and those that stand in two splits; each copy is told once, the graver first."""
    files = dataset.frames["file"].astype(str).tolist()
    splits = split_of(dataset.frames)
    family_of = {i: family for family in families(copies) for i in family}
    for c in copies:
        first, other = files[c.first], files[c.other]
        check = "duplicate_picture" if c.exact else "near_duplicate"
        same = "pixel for pixel the same" if c.exact else "the same"
        how = f"expected a recording of its own in {other}, got {same} as {first}"
        how += f" when {TURNS[c.turn]}" if c.turn else ""
        if not c.exact:
            how += f": {c.agreement:.0%} of what is seen in them agrees"
        if splits.get(first, "") != splits.get(other, "") and first in splits and other in splits:
            check = "picture_in_two_splits"
            how += f"; they stand in {splits[first]} and {splits[other]}"
        names = [files[i] for i in family_of[c.other]]
        if len(names) > 2:
            how += f"; {len(names)} are copies of one another: {', '.join(names)}"
        yield Finding(check, how, other, first, value=c.agreement)


def split_of(frames: pd.DataFrame) -> dict[str, str]:
    """Split by file, of the pictures that have one."""
    if "split" not in frames:
        return {}
    known = frames[frames["split"].notna() & (frames["split"].astype(str) != "")]
    return dict(zip(known["file"].astype(str), known["split"].astype(str), strict=True))


def frame_keys(frames: pd.DataFrame) -> pd.Series:
    """What tells one frame from another: experiment, batch and frame where known; NaN for pictures without a frame.

    Pictures cut from one frame have the same key.
    """
    if "frame" not in frames:
        return pd.Series(float("nan"), index=frames.index, dtype=object)
    keys = keys_of(frames, [c for c in ("experiment", "batch", "frame") if c in frames])
    return keys.where(frames["frame"].notna())


def keys_of(frames: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Values of some columns as one tuple of texts per row; missing values are empty, 3.0 is 3."""
    texts = [["" if pd.isna(v) else f"{v:g}" if isinstance(v, float) else str(v) for v in frames[c]] for c in columns]
    return pd.Series(list(zip(*texts, strict=True)), index=frames.index, dtype=object)


def check_frames_in_splits(frames: pd.DataFrame) -> Iterator[Finding]:
    """Pictures cut from one frame that stand in two splits."""
    splits = split_of(frames)
    first: dict[Any, str] = {}
    told: set[tuple[Any, str]] = set()
    keys = frame_keys(frames)
    for file, key, number in zip(frames["file"].astype(str), keys, frames.get("frame", keys), strict=True):
        if file not in splits or not isinstance(key, tuple):
            continue
        other = first.setdefault(key, file)
        if splits[other] != splits[file] and (key, splits[file]) not in told:
            told.add((key, splits[file]))
            yield Finding(
                "frame_in_two_splits",
                f"expected pictures of frame {number} in one split, got {other} in {splits[other]} and {file} in "
                f"{splits[file]}; split by frame, batch or experiment",
                file,
                other,
            )


def check_formats(seen: Sequence[Seen], instruments: pd.Series) -> Iterator[Finding]:
    """Pictures of different size, depth or channels from one instrument."""
    formats: dict[str, Counter[str]] = {}
    for s, instrument in zip(seen, instruments, strict=True):
        if not s.fault:
            text = f"{s.shape[1]} x {s.shape[0]} px, {s.kind}"
            formats.setdefault(str(instrument), Counter())[text] += 1
    for instrument, counts in formats.items():
        if len(counts) > 1:
            shown = "; ".join(f"{n:,} of {text}" for text, n in counts.most_common(4))
            more = f"; and {len(counts) - 4} more formats" if len(counts) > 4 else ""
            yield Finding("picture_format", f"{instrument or 'all pictures'}: {shown}{more}", value=float(len(counts)))
