"""Formats of annotations that are read and written, by name; the form they share is `io.coco.Annotated`."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

from crystalscope.datasets import coco, cvat, imagej, label_tiff, yolo
from crystalscope.datasets.exchange import Collector, source_files
from crystalscope.errors import InputError, ReadError
from crystalscope.io.pictures import PICTURE_SUFFIXES

_HEAD = 4096


@dataclass(frozen=True)
class Format:
    """A format of annotations.

    Parameters
    ----------
    name
        For the command line.
    title
        For people.
    read
        Reads a file or folder into a `Collector`.
    write
        Gives file names and contents for pictures; keyword ``classes`` orders one's own classes.
    loses
        What other programs do not get from what is written; this project's own reader gets all but `gone`.
    gone
        What is not written at all.
    """

    name: str
    title: str
    read: Callable[[Path, Collector], None]
    write: Callable[..., Iterator[tuple[str, bytes]]]
    loses: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


_VISIBLE = "the visible part of covered particles"

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        f.name: f
        for f in (
            Format(
                "coco",
                "COCO",
                coco.read,
                coco.write,
                loses=("visible parts, focus and scores of annotations: keys that other programs skip",),
            ),
            Format(
                "cvat",
                "CVAT for images 1.1",
                cvat.read,
                cvat.write,
                loses=(
                    "numbers, kinds, scores, ignore and focus, unless the labels of the task have these attributes",
                ),
                gone=(_VISIBLE + ", unless z_order tells it",),
            ),
            Format(
                "yolo",
                "YOLO segmentation",
                yolo.read,
                yolo.write,
                loses=(
                    "numbers, kinds, scores, ignore, focus and attributes: they stand in a table beside",
                    "holes and parts: joined by seams, which programs that paint outlines show as lines of one pixel",
                ),
                gone=(_VISIBLE,),
            ),
            Format(
                "labels",
                "label pictures",
                label_tiff.read,
                label_tiff.write,
                loses=(
                    "classes, kinds, scores, ignore, focus and attributes: they stand in a table beside",
                    "overlaps, for programs that read the first page only",
                ),
                gone=(_VISIBLE,),
            ),
            Format(
                "imagej",
                "ImageJ regions",
                imagej.read,
                imagej.write,
                loses=("numbers, scores and flags are properties of the regions, which ImageJ shows and keeps",),
                gone=(_VISIBLE,),
            ),
        )
    }
)
"""The formats by name."""


def format_named(name: str) -> Format:
    """The format of a name.

    Raises
    ------
    InputError
        When there is none.
    """
    if name not in FORMATS:
        raise InputError(f"expected a format among {', '.join(FORMATS)}, got {name!r}")
    return FORMATS[name]


@contextmanager
def unpacked(source: Path) -> Iterator[Path]:
    """The source itself; the unpacked content, for as long as it is needed, of a zip file that holds no regions.

    Raises
    ------
    ReadError
        When there is no such file, or a zip file is damaged.
    """
    if not source.exists():
        raise ReadError(f"expected annotations in {source}, which does not exist; check the path")
    if source.is_dir() or not _head(source).startswith(b"PK") or imagej.is_roi_zip(source):
        yield source
        return
    with TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(source) as z:
                z.extractall(folder)
        except (OSError, zipfile.BadZipFile, RuntimeError, EOFError) as e:
            raise ReadError(f"expected a whole zip file in {source}, got: {e}; export or copy it again") from e
        yield Path(folder)


def detect(source: Path) -> str:
    """Name of the format of a file or folder, by its content.

    Raises
    ------
    ReadError
        When it is of no known format, or of several.
    """
    if source.suffix.lower() == ".json" and source.is_file():
        # Whatever it is, the reader of COCO tells best what is amiss with it.
        return "coco"
    found = sorted({name for path in _candidates(source) if (name := _format_of(path))})
    # Pictures beside annotations are the annotated ones.
    if len(found) > 1 and "labels" in found:
        found.remove("labels")
    if len(found) == 1:
        return found[0]
    known = "; ".join(f"{f.name} ({f.title})" for f in FORMATS.values())
    if found:
        raise ReadError(f"expected annotations of one format in {source}, got {', '.join(found)}; say which one")
    raise ReadError(
        f"expected annotations in {source}, got nothing of a known format; known are {known}; COCO is a JSON file with "
        "images and annotations"
    )


def _candidates(source: Path) -> list[Path]:
    return source_files(source, (".json", ".xml", ".zip", ".roi", ".txt", *PICTURE_SUFFIXES))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as f:
            return f.read(_HEAD)
    except OSError as e:
        raise ReadError(f"expected a readable file, got {path}: {e.strerror}; check it") from e


def _format_of(path: Path) -> str | None:
    head = _head(path)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    suffix = path.suffix.lower()
    if head.startswith(b"Iout") or (head.startswith(b"PK") and imagej.is_roi_zip(path)):
        return "imagej"
    if suffix in PICTURE_SUFFIXES:
        return "labels"
    if text.startswith(b"<"):
        return "cvat" if b"<annotations" in text else None
    if text.startswith((b"{", b"[")):
        raw = path.read_bytes()
        return "coco" if b'"images"' in raw and b'"annotations"' in raw else None
    if path.name in yolo.SETTINGS:
        return "yolo"
    return "yolo" if suffix == ".txt" and _is_yolo(text) else None


def _is_yolo(text: bytes) -> bool:
    """Whether the first line is a whole number and at least four other numbers."""
    try:
        values = [float(v) for v in text.splitlines()[0].split()] if text.strip() else []
    except ValueError:
        return False
    return len(values) >= 5 and values[0].is_integer()
