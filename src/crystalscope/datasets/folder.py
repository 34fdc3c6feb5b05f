"""The files of a folder that holds a known set, sorted by what they are, and what is to be told of them."""

from __future__ import annotations

import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from crystalscope.datasets import layout
from crystalscope.datasets.catalogue import Entry
from crystalscope.datasets.cells import TABLE_SUFFIXES
from crystalscope.datasets.chord_tables import is_chord_table, read_chord_tables
from crystalscope.datasets.coco_names import count_outlines, resolve_names
from crystalscope.datasets.size_tables import read_size_tables
from crystalscope.errors import ReadError
from crystalscope.io.pictures import PICTURE_SUFFIXES

STAND_IN = "STAND-IN.txt"
"""File that marks rendered stand-ins, so that they are never taken for the set."""

FRAME_COLUMNS = (
    "file",
    "class",
    "part",
    "experiment",
    "batch",
    "frame",
    "split",
    "size_label",
    "nominal_size_um",
    "loading_wt",
    "substance",
    "instrument",
)
"""Columns of the pictures of a known set; empty where the set has no such thing."""

_SHOWN = 5


@dataclass
class Folder:
    """The files of a folder, sorted by what they are, and what is to be told of them.

    Parameters
    ----------
    root
        The folder.
    entry
        The set that it should hold.
    pictures, tables, jsons
        Paths relative to `root`, in order, with forward slashes; damaged pictures are left out.
    notes
        Sentences, each beginning with found, expected, skipped, assumed or rule.
    skipped
        Files left out, by the reason.
    stand_in
        Whether the folder says that it is rendered.
    """

    root: Path
    entry: Entry
    pictures: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    jsons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    stand_in: bool = False

    def note(self, text: str) -> None:
        """Tell something."""
        self.notes.append(text)

    def told(self, n: int, what: str, *, of: str = "") -> None:
        """Tell how many pictures of a kind there are, or that one was expected."""
        text = f"{what} picture{'' if n == 1 else 's'}{f' of {of}' if of else ''}".strip()
        self.note(f"found {n:,} {text}" if n else f"expected {text}, got none")

    def skip(self, why: str, *files: str) -> None:
        """Leave files out."""
        self.skipped[why] += files

    def all_notes(self, frames: pd.DataFrame) -> tuple[str, ...]:
        """The notes, with the published counts before them and the files left out behind."""
        first = (
            ["found a rendered stand-in, made to try the readers: nothing in it is measured"] if self.stand_in else []
        )
        for part, published in self.entry.counts.items():
            n = len(frames) if part == "pictures" else int((frames["part"] == part).sum())
            what = "pictures" if part == "pictures" else f"{part} pictures"
            first.append(
                f"found {n:,} {what}, as published"
                if n == published
                else f"expected {published:,} {what} (published), got {n:,}"
            )
        last = [f"skipped {listed(files)}: {why}" for why, files in sorted(self.skipped.items()) if files]
        return (*first, *self.notes, *last)

    def nothing_fits(self) -> ReadError:
        """The error for a folder without the set: what was looked for, and the first twenty files seen."""
        seen = sorted({*self.pictures, *self.tables, *self.jsons, *(f for fs in self.skipped.values() for f in fs)})
        shown = "\n".join(f"  {f}" for f in seen[:20]) or "  (no file)"
        more = f"\n  and {len(seen) - 20:,} more" if len(seen) > 20 else ""
        looked = "\n".join(f"  - {what}" for what in self.entry.layout)
        return ReadError(
            f"expected {self.entry.name} in {self.root}; looked for:\n{looked}\ngot nothing that fits:\n{shown}{more}\n"
            "give the folder that holds the set, or name its folders like that"
        )


def listed(items: Iterable[object]) -> str:
    """A few of many, for a note."""
    found = [str(i) for i in items]
    shown = ", ".join(found[:_SHOWN])
    return shown if len(found) <= _SHOWN else f"{len(found):,} ({shown} …)"


def scan(root: Path, entry: Entry) -> Folder:
    """Sort the files below a folder; hidden files and folders are not looked at."""
    out = Folder(root, entry)
    for current, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX")
        for file in sorted(files):
            relative = (Path(current) / file).relative_to(root).as_posix()
            suffix = Path(file).suffix.lower()
            if file == STAND_IN:
                out.stand_in = True
            elif file.startswith((".", "~$")) or file.lower() in ("thumbs.db", "desktop.ini"):
                continue
            elif suffix in PICTURE_SUFFIXES:
                if why := layout.looks_damaged(root / relative):
                    out.skip(f"damaged picture, {why}; download it again", relative)
                else:
                    out.pictures.append(relative)
            elif suffix == ".json":
                out.jsons.append(relative)
            elif suffix in TABLE_SUFFIXES:
                out.tables.append(relative)
            elif suffix in (".zip", ".tar", ".gz", ".7z", ".rar"):
                out.skip("packed; unpack it where it lies", relative)
            else:
                out.skip("neither picture, table nor annotation", relative)
    out.pictures.sort()
    return out


def row_of(file: str, **values: Any) -> dict[str, Any]:
    """A row of the pictures; a picture of the probe is a frame of its own, only crops share one."""
    row: dict[str, Any] = dict.fromkeys(FRAME_COLUMNS)
    row |= {"file": file, "nominal_size_um": math.nan, "loading_wt": math.nan}
    return row | {"frame": PurePosixPath(file).with_suffix("").as_posix()} | values


def labelled(file: str) -> tuple[dict[str, Any], bool]:
    """A row with split, size and loading from the path, and whether the file's own name contradicts its folders."""
    path = PurePosixPath(file)
    size, a = layout.from_path(path, layout.size_um)
    loading, b = layout.from_path(path, layout.loading_wt)
    # The words of sizes and splits are common in file names, with other meanings: only folders count.
    label = layout.from_folders(path, layout.size_label)
    row = row_of(
        file,
        split=layout.from_folders(path, layout.split_of),
        size_label=label or (None if size is None else f"{size:g} um"),
        nominal_size_um=math.nan if size is None else size,
        loading_wt=math.nan if loading is None else loading,
    )
    return row | {"experiment": experiment_of(row)}, a or b


def experiment_of(row: Mapping[str, Any]) -> str:
    """Material, size and loading of a row in words; the folder where the path tells none of them."""
    path = PurePosixPath(row["file"])
    parts = [row["substance"], row["size_label"]]
    if not math.isnan(row["loading_wt"]):
        parts.append(f"{row['loading_wt']:g} wt%")
    elif (concentration := layout.from_path(path, layout.concentration_g_per_l)[0]) is not None:
        parts.append(f"{concentration:g} g/L")
    return " ".join(p for p in parts if p) or path.parent.as_posix()


def frames_of(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Rows as the table of pictures, `FRAME_COLUMNS`; texts that are unknown are None, numbers NaN."""
    table = pd.DataFrame(list(rows), columns=list(FRAME_COLUMNS), dtype=object)
    text = table.where(table.notna(), None)
    return text.assign(**{c: table[c].astype(float) for c in ("nominal_size_um", "loading_wt")})


def tell_conditions(folder: Folder, frames: pd.DataFrame, differ: Iterable[str]) -> None:
    """Tell pictures by experiment, paths without a loading, and file names that contradict their folders."""
    counts = Counter(frames["experiment"])
    folder.note(
        "found pictures by experiment: " + "; ".join(f"{k}: {counts[k]:,}" for k in sorted(counts, key=_natural))
    )
    if unknown := frames.loc[frames["loading_wt"].isna(), "file"].tolist():
        folder.note(f"expected the solids loading in wt% in every path, got none for {listed(unknown)}")
    if contrary := list(differ):
        folder.note(f"expected file names that agree with their folders, which count; not so: {listed(contrary)}")


def _natural(text: str) -> list[tuple[int, float, str]]:
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [(0, float(p), "") if i % 2 else (1, 0.0, p) for i, p in enumerate(parts)]


@dataclass(frozen=True)
class Annotations:
    """The COCO files of a folder.

    Parameters
    ----------
    paths
        Relative to the folder.
    named
        Picture by name, for every file.
    splits
        Split of a picture where the name of its COCO file tells it (``train.json``).
    pictures
        That stand in a file, also without particles.
    """

    paths: tuple[Path, ...]
    named: dict[str, dict[str, str]]
    splits: dict[str, str]
    pictures: frozenset[str]


def find_annotations(folder: Folder) -> Annotations:
    """Look into every JSON file, and find the pictures that the COCO files mean."""
    paths: list[Path] = []
    named: dict[str, dict[str, str]] = {}
    splits: dict[str, str] = {}
    twice: set[str] = set()
    seen: set[str] = set()
    for file in folder.jsons:
        found = count_outlines(folder.root / file)
        if isinstance(found, str):
            folder.skip(found, file)
            continue
        resolved = resolve_names(found, coco=file, files=folder.pictures)
        if not resolved.named:
            folder.skip("COCO, but none of the pictures that it names is there", file)
            continue
        paths.append(Path(file))
        named[file] = resolved.named
        particles = sum(found[n] for n in resolved.named)
        folder.note(f"found {particles:,} outlines in {len(resolved.named):,} pictures in {file}")
        if resolved.missing:
            folder.note(f"expected the pictures that {file} names, missing: {listed(resolved.missing)}")
        if resolved.ambiguous:
            folder.note(f"skipped names in {file} that fit several pictures: {listed(resolved.ambiguous)}")
        pictures = set(resolved.named.values())
        twice |= pictures & seen
        seen |= pictures
        if split := layout.split_of(PurePosixPath(file).stem):
            splits |= dict.fromkeys(pictures, split)
    if twice:
        folder.note(f"found pictures in several COCO files, of which the fullest counts: {listed(sorted(twice))}")
    return Annotations(tuple(paths), named, splits, frozenset(seen))


Tables = dict[str, pd.DataFrame]


def find_tables(folder: Folder, *, published_um: Sequence[float] = ()) -> tuple[Tables, Tables]:
    """Size and chord tables of a folder, by name.

    Parameters
    ----------
    folder
        Its notes are added to.
    published_um
        Sizes that count without a unit in names of tables.

    Returns
    -------
    sizes, chords
        ``attrs`` of each also tell the file, and where a name tells it: size_label, nominal_size_um, loading_wt,
        substance, instrument.
    """
    sizes: Tables = {}
    chords: Tables = {}
    for file in folder.tables:
        path = folder.root / file
        try:
            if is_chord_table(path, name=file) and (found := read_chord_tables(path)).tables:
                _take(chords, found.tables, file, published_um)
                folder.notes += found.notes
            else:
                read = read_size_tables(path)
                _take(sizes, read.tables, file, published_um)
                folder.notes += read.notes
        except ReadError as e:
            folder.skip(str(e), file)
    return sizes, chords


def _take(into: Tables, tables: Mapping[str, pd.DataFrame], file: str, published_um: Sequence[float]) -> None:
    readers: dict[str, Callable[[str], Any]] = {
        "size_label": layout.size_label,
        "nominal_size_um": lambda text: layout.size_um(text, published=published_um),
        "loading_wt": layout.loading_wt,
        "substance": layout.substance_of,
        "instrument": layout.instrument_of,
    }
    path = PurePosixPath(file)
    for name, table in tables.items():
        for key, read in readers.items():
            texts = (name, path.stem, *reversed(path.parent.parts))
            value = next((v for t in texts if (v := read(t)) is not None), None)
            if value is not None:
                table.attrs[key] = value
        table.attrs["file"] = file
        unique, n = name, 1
        while unique in into:
            n += 1
            unique = f"{name} ({n})"
        into[unique] = table
