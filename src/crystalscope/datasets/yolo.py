"""YOLO segmentation: one text file a picture, one line a particle, a polygon in shares of the picture."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from crystalscope.datasets.drawing import bridged, rectangle, rings_of
from crystalscope.datasets.exchange import BOX, Collector, around, class_names, source_files
from crystalscope.datasets.traits import SIDECAR, Traits, read_sidecar, sidecar
from crystalscope.errors import InputError, ReadError
from crystalscope.io.coco import Annotated
from crystalscope.io.regions import Region, polygon_region

SETTINGS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_LISTS = ("train.txt", "val.txt", "valid.txt", "test.txt", "readme.txt")
_NAMES = ("classes.txt", "obj.names")
_KEYS = ("file", "line", "check")


def read(source: Path, into: Collector) -> None:
    """Read a folder of YOLO annotations, or the one in which a data.yaml or a text file stands.

    Lines of a class and a polygon, with or without a confidence at the end, or of a class and a box. Class names are
    those of data.yaml or classes.txt. The table that `write` puts beside gives the rest back, for lines that have not
    been changed since.

    Raises
    ------
    ReadError
        When class names or the table cannot be read.
    """
    folder = source if source.is_dir() else source.parent
    names = _class_names(folder)
    if names is None:
        into.note(f"folders without class names ({SETTINGS[0]} or classes.txt), classes called by their number")
    files = source_files(source if source.suffix == ".txt" else folder, (".txt",))
    texts = {p.relative_to(folder).as_posix(): p for p in files if not _is_list(p, folder)}
    more = read_sidecar(folder, _KEYS)
    found = into.match(list(texts), stems=True)
    for name, picture in found.items():
        shape = into.open(picture, name=name)
        if shape is None:
            continue
        for i, line in enumerate(_lines(texts[name]), 1):
            if line.strip():
                row = more.get((name, str(i), _check(line)))
                if more and row is None:
                    into.note(f"lines that are not those of {SIDECAR}, read without what it tells")
                _read_line(line, row, names, picture, f"line {i}", shape, into)


def _is_list(path: Path, folder: Path) -> bool:
    name = path.name.casefold()
    return name in _NAMES or (path.parent == folder and name in _LISTS)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as e:
        raise ReadError(f"expected text in {path}, got: {e}; export it again") from e


def _check(line: str) -> str:
    return f"{zlib.crc32(line.strip().encode()):08x}"


def _class_names(folder: Path) -> dict[int, str] | None:
    """Names by number; None where no file tells them."""
    for place in (folder, folder / "labels", folder.parent):
        for name in SETTINGS:
            if (place / name).is_file():
                return _yaml_names(place / name)
        for name in _NAMES:
            if (place / name).is_file():
                return dict(enumerate(line.strip() for line in _lines(place / name) if line.strip()))
    return None


def _yaml_names(path: Path) -> dict[int, str]:
    import yaml

    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        names = data["names"]
        pairs = names.items() if isinstance(names, Mapping) else enumerate(names)
        return {int(i): str(n) for i, n in pairs}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as e:
        raise ReadError(f"expected class names in {path}, got: {e!r}; write `names: [first, second]`") from e


def _read_line(
    line: str,
    row: Mapping[str, str] | None,
    names: Mapping[int, str] | None,
    picture: str,
    where: str,
    shape: tuple[int, int],
    into: Collector,
) -> None:
    try:
        values = [float(v) for v in line.split()]
    except ValueError:
        into.fault(picture, where, f"expected numbers, got {line[:60]!r}; left out")
        return
    number = values[0]
    if not (number >= 0 and number == int(number)):
        into.fault(picture, where, f"expected the number of a class first, got {number:g}; left out")
        return
    label = f"class {int(number)}"
    if names is not None and int(number) in names:
        label = names[int(number)]
    elif names is not None:
        into.fault(picture, where, f"class {int(number)} is beyond the {len(names)} class names; kept as {label!r}")
    traits = Traits(label) if row is None else Traits.from_text(label, {k: row.get(k, "") for k in _MORE})
    coordinates = values[1:]
    box = len(coordinates) in (4, 5)
    if row is None and len(coordinates) % 2 and len(coordinates) > 4:
        traits.score = coordinates[-1]
    if into.add(picture, where, lambda: _region(coordinates[: len(coordinates) // 2 * 2], box, shape), traits) and box:
        traits.attributes["outline"] = BOX
        into.note("boxes without outline, read as rectangles; their sizes are not those of particles")


_MORE = ("id", "kind", "score", "ignore", "in_focus", "attributes")


def _region(coordinates: list[float], box: bool, shape: tuple[int, int]) -> Region | None:
    points = np.array(coordinates).reshape(-1, 2) * [shape[1], shape[0]]
    if not np.isfinite(points).all():
        raise ReadError("expected finite coordinates, got NaN or infinity")
    if box:
        (x, y), (width, height) = points
        return polygon_region([rectangle((x - width / 2, y - height / 2), (width, height))], around(shape))
    if len(points) < 3:
        raise ReadError(f"expected a box or at least 3 points, got {len(points)} points")
    return polygon_region([points], around(shape))


def write(
    items: Sequence[Annotated], *, classes: Sequence[str] = (), splits: Mapping[str, str] | None = None
) -> Iterator[tuple[str, bytes]]:
    """labels/, data.yaml, and a table with what YOLO cannot hold.

    A particle with holes or of several parts is one polygon with seams (`drawing.bridged`): its mask is kept exactly.

    Parameters
    ----------
    items
        The pictures; labels/a.txt goes with images/a.png.
    classes
        Order of one's own classes, as of the numbers.
    splits
        train, val or test by picture; without them every picture is for both training and validation.

    Returns
    -------
    File names and contents.

    Raises
    ------
    InputError
        When two pictures differ in nothing but their suffix.
    """
    import yaml

    names = class_names(items, first=classes)
    number = {name: i for i, name in enumerate(names)}
    rows: list[dict[str, str]] = []
    of: dict[str, str] = {}
    for item in items:
        name = PurePosixPath("labels", item.file_name).with_suffix(".txt").as_posix()
        if of.setdefault(name, item.file_name) != item.file_name:
            raise InputError(
                f"expected pictures that differ in more than their suffix, got {of[name]} and {item.file_name}: YOLO "
                "cannot tell them apart; rename one"
            )
        height, width = item.instances.field.shape
        lines = []
        for k, rings in enumerate(rings_of(item.instances)):
            points = bridged(rings) / [width, height]
            traits = Traits.of(item, k)
            lines.append(f"{number[traits.label]} {' '.join(f'{v:.8f}' for v in points.ravel())}")
            rows.append({"file": name, "line": str(k + 1), "check": _check(lines[-1])} | traits.to_row())
        yield name, "".join(line + "\n" for line in lines).encode()
    lists = {"train": "images", "val": "images"}
    for split in sorted(set((splits or {}).values())):
        lists[split] = f"{split}.txt"
        chosen = [f"./images/{item.file_name}\n" for item in items if (splits or {}).get(item.file_name) == split]
        yield f"{split}.txt", "".join(chosen).encode()
    settings = {**lists, "nc": len(names), "names": dict(enumerate(names))}
    yield "data.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).encode()
    yield sidecar(rows, _KEYS)
