"""COCO files: read with whatever annotation programs make of them, written so that they hold everything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crystalscope.core import KINDS
from crystalscope.datasets.drawing import encloses_more, rectangle, signed_area
from crystalscope.datasets.exchange import BOX, Collector, around, class_names, source_files
from crystalscope.datasets.traits import Traits
from crystalscope.errors import ReadError
from crystalscope.io.coco import Annotated, CocoFile, coco_pieces, is_ignored, load_coco, polygons_of, segmentation
from crystalscope.io.regions import Region, aligned, decode_region, encode_region, polygon_region
from crystalscope.measure.outline import outlines


def read(source: Path, into: Collector) -> None:
    """Read a COCO file, or all of a folder.

    Polygons, RLE, boxes without outline, crowd and ignore, scores, several classes. Several rings of one annotation
    count together, as in pycocotools; but a ring that lies inside others and goes round the other way is a hole, which
    pycocotools would fill.

    Raises
    ------
    ReadError
        When a file is no COCO or damaged.
    """
    for path in source_files(source, (".json",)):
        _read_file(load_coco(path, strict=False), into)


def _read_file(file: CocoFile, into: Collector) -> None:
    for entry in file.orphans:
        into.fault(
            file.path.name, _where(entry), f"names picture {entry.get('image_id')}, which is not in the file; left out"
        )
    names = {number: _name(file, image) for number, image in file.images.items()}
    found = into.match(list(names.values()))
    for number, image in file.images.items():
        picture = found.get(names[number])
        if picture is None:
            continue
        shape = into.open(picture, name=names[number], stated=_stated(image))
        for entry in file.annotations[number] if shape else ():
            _read_entry(file, entry, picture, shape or (0, 0), into)


def _name(file: CocoFile, image: Mapping[str, Any]) -> str:
    if not isinstance(image.get("file_name"), str):
        raise ReadError(f"expected a file_name for picture {image.get('id')} in {file.path}, got none; export it again")
    return str(image["file_name"])


def _stated(image: Mapping[str, Any]) -> tuple[int, int] | None:
    try:
        return int(image["height"]), int(image["width"])
    except (KeyError, TypeError, ValueError):
        return None


def _where(entry: Mapping[str, Any]) -> str:
    return f"annotation {entry.get('id')}"


def _read_entry(
    file: CocoFile, entry: Mapping[str, Any], picture: str, shape: tuple[int, int], into: Collector
) -> None:
    where = _where(entry)
    label, kind = file.class_of(entry)
    if file.categories and entry.get("category_id") not in file.categories:
        into.fault(picture, where, f"category {entry.get('category_id')} is not in the file; kept as {label!r}")
    number, score = entry.get("id"), entry.get("score")
    attributes = entry.get("attributes")
    traits = Traits(
        label,
        number if isinstance(number, int) else None,
        kind,
        float(score) if isinstance(score, int | float) else 1.0,
        is_ignored(entry),
        bool(entry.get("in_focus", True)),
        dict(attributes) if isinstance(attributes, Mapping) else {},
    )
    outline, box = entry.get("segmentation"), entry.get("bbox")
    visible = entry.get("visible_segmentation")
    if not outline and box:
        added = into.add(picture, where, lambda: _box(box, shape), traits)
        if added:
            traits.attributes["outline"] = BOX
            into.note("boxes without outline, read as rectangles; their sizes are not those of particles")
        return
    rings: list[str] = []
    added = into.add(
        picture,
        where,
        lambda: _region(outline, shape, rings),
        traits,
        visible=None if visible is None else lambda: _region(visible, shape, []),
    )
    if added and rings:
        into.note("outlines with inner rings of opposite direction, read as holes (pycocotools fills them)")


def _box(box: Any, shape: tuple[int, int]) -> Region | None:
    corners = polygons_of([box])[0]
    if len(corners) != 2:
        raise ReadError(f"expected a box x, y, width, height, got {str(box)[:60]}")
    (x, y), (width, height) = corners
    return polygon_region([rectangle((x, y), (width, height))], around(shape))


def _region(outline: Any, shape: tuple[int, int], holes: list[str]) -> Region | None:
    """What a segmentation covers; something is put into `holes` where it has rings that are holes."""
    if not outline:
        return None
    if isinstance(outline, dict):
        if list(outline.get("size", [])) != list(shape):
            raise ReadError(f"expected RLE of the picture's size {list(shape)}, got {outline.get('size')}")
        return decode_region(outline)
    polygons = polygons_of(outline)
    for points in polygons:
        if len(points) < 3:
            raise ReadError(f"expected at least 3 points, got {len(points)}")
    whole = polygon_region(polygons, around(shape))
    if whole is None or len(polygons) < 2:
        return whole
    areas = [signed_area(p) for p in polygons]
    directions = [a > 0 for a in areas]
    outer = directions[int(np.argmax(np.abs(areas)))]
    masks = [aligned(polygon_region([p], around(shape)), whole) for p in polygons]
    body = np.any([m for m, d in zip(masks, directions, strict=True) if d == outer], axis=0)
    winding = np.zeros(whole.mask.shape, dtype=np.int32)
    for mask, direction in zip(masks, directions, strict=True):
        inner = direction != outer and not (mask & ~body).any()
        winding += -mask.astype(np.int32) if inner else mask
        holes += ["hole"] if inner else []
    return Region(whole.row, whole.column, winding > 0)


def write(items: Sequence[Annotated], *, classes: Sequence[str] = ()) -> Iterator[tuple[str, bytes]]:
    """annotations.coco.json with everything that is known.

    Outlines are polygons on pixel corners; RLE where there are holes, and for ignored regions, which are crowds for
    other programs.

    Parameters
    ----------
    items
        The pictures.
    classes
        Order of one's own classes.

    Returns
    -------
    File name and content.
    """
    own: dict[str, str] = {}
    for item in items:
        for label, kind in zip(item.labels, item.instances.kind, strict=True):
            own.setdefault(label, KINDS[kind])
    own = {label: own[label] for label in class_names(items, first=classes) if label not in KINDS}
    number = {name: i + 1 for i, name in enumerate([*KINDS, *own])}
    images = (_image(i, item) for i, item in enumerate(items, 1))
    lines = (_line(entry) for i, item in enumerate(items, 1) for entry in _entries(i, item, number, own))
    yield "annotations.coco.json", b"".join(coco_pieces(images, lines, own=own))


def _image(number: int, item: Annotated) -> bytes:
    rows, columns = item.instances.field.shape
    return _line({"id": number, "file_name": item.file_name, "height": rows, "width": columns})


def _entries(
    image: int, item: Annotated, number: Mapping[str, int], own: Mapping[str, str]
) -> Iterable[dict[str, Any]]:
    found = item.instances
    for k, polygons in enumerate(outlines(found)):
        holes = encloses_more(polygons, found.crop(k))
        traits = Traits.of(item, k)
        r0, c0, r1, c1 = (int(v) for v in found.boxes[k])
        entry: dict[str, Any] = {
            "id": traits.id,
            "image_id": image,
            "category_id": number[traits.label],
            "segmentation": segmentation(polygons, found if holes or traits.ignore else None, k),
            "area": int(np.count_nonzero(found.crop(k))),
            "bbox": [c0, r0, c1 - c0, r1 - r0],
            "iscrowd": int(traits.ignore),
            "ignore": int(traits.ignore),
        }
        if found.visible is not None:
            entry["visible_segmentation"] = encode_region(Region(r0, c0, found.visible_crop(k)), found.field.shape)
        if traits.kind != own.get(traits.label, traits.label):
            entry["kind"] = traits.kind
        if traits.score != 1:
            entry["score"] = traits.score
        if not traits.in_focus:
            entry["in_focus"] = False
        if traits.attributes:
            entry["attributes"] = traits.attributes
        yield entry


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False).encode()
