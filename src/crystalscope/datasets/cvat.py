"""CVAT XML 1.1 "for images"."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crystalscope.core import KINDS
from crystalscope.datasets.drawing import ellipse_region, rectangle, rings_of
from crystalscope.datasets.exchange import BOX, Collector, around, class_names, source_files
from crystalscope.datasets.traits import Traits
from crystalscope.errors import ReadError
from crystalscope.io.coco import Annotated
from crystalscope.io.regions import Region, aligned, polygon_region

_NO_AREA = ("polyline", "points", "cuboid", "skeleton")


def read(source: Path, into: Collector) -> None:
    """Read a CVAT XML file, or all of a folder.

    Polygons, masks, boxes and ellipses (also turned); shapes of one group and one label are parts of one particle, as
    in CVAT's own export to COCO. Where ``z_order`` differs, what higher shapes cover of lower ones is not visible.

    Raises
    ------
    ReadError
        When a file is damaged, no CVAT XML, or of the kind "for video".
    """
    for path in source_files(source, (".xml",)):
        _read_file(path, into)


def _read_file(path: Path, into: Collector) -> None:
    try:
        root = ET.parse(path).getroot()
    except (OSError, ET.ParseError, UnicodeError, ValueError) as e:
        raise ReadError(f"expected a whole CVAT XML file in {path}, got: {e}; export it again") from e
    if root.tag != "annotations":
        raise ReadError(
            f'expected CVAT XML with <annotations> in {path}, got <{root.tag}>; export "CVAT for images 1.1"'
        )
    if root.find("track") is not None:
        raise ReadError(
            f'expected "CVAT for images 1.1" in {path}, got tracks, which is "CVAT for video"; export the task as '
            '"CVAT for images 1.1"'
        )
    declared = {e.text for e in root.iterfind("meta//labels/label/name")}
    images = root.findall("image")
    names = [str(i.get("name")) for i in images]
    twice = sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ReadError(f"expected every picture once in {path}, got {twice[0]} twice; export one task at a time")
    found = into.match(names)
    for image, name in zip(images, names, strict=True):
        picture = found.get(name)
        if picture is None:
            continue
        stated = image.get("height", ""), image.get("width", "")
        size = (int(stated[0]), int(stated[1])) if all(s.isdecimal() for s in stated) else None
        shape = into.open(picture, name=name, stated=size)
        if shape is not None:
            _read_image(image, picture, shape, declared, into)


def _read_image(
    image: ET.Element, picture: str, shape: tuple[int, int], declared: set[str | None], into: Collector
) -> None:
    groups: dict[tuple[str, str], list[tuple[int, ET.Element]]] = {}
    for i, element in enumerate(image, 1):
        where = f"{element.tag} {i}"
        if element.tag in _NO_AREA:
            into.fault(picture, where, f"a {element.tag} has no area; left out")
        elif element.tag == "tag":
            into.note("tags of whole pictures, left out")
        elif element.tag not in _OUTLINES:
            into.fault(picture, where, f"expected a shape of CVAT, got <{element.tag}>; left out")
        else:
            label, group = str(element.get("label")), element.get("group_id", "0")
            key = (label, f"group {group}") if group != "0" else (label, where)
            groups.setdefault(key, []).append((i, element))
    for (label, name), members in groups.items():
        traits = _traits(label, [element for _, element in members])
        where = name if len(members) > 1 else f"{members[0][1].tag} {members[0][0]}"
        if declared and label not in declared:
            into.fault(picture, where, f"label {label!r} is not declared in the file; kept")
        added = into.add(picture, where, _joined([e for _, e in members], shape), traits)
        if not added:
            continue
        if any(e.tag == "box" for _, e in members):
            traits.attributes["outline"] = BOX
            into.note("boxes without outline, read as rectangles; their sizes are not those of particles")
        if len(members) > 1:
            into.note("groups of shapes, read as one particle each")
    into.stack(picture)


def _traits(label: str, members: list[ET.Element]) -> Traits:
    texts: dict[str, str] = {}
    for element in members:
        texts |= {str(a.get("name")): a.text or "" for a in element.findall("attribute")}
    traits = Traits.from_text(label, texts)
    if any(e.get("occluded") == "1" for e in members):
        traits.attributes["occluded"] = True
    heights = [int(z) for e in members if re.fullmatch(r"-?[0-9]+", z := e.get("z_order", ""))]
    if any(heights):
        traits.attributes["z_order"] = max(heights)
    return traits


def _joined(members: list[ET.Element], shape: tuple[int, int]) -> Callable[[], Region | None]:
    def outline() -> Region | None:
        parts = [p for e in members if (p := _OUTLINES[e.tag](e, shape)) is not None]
        if len(parts) < 2:
            return parts[0] if parts else None
        row, column = min(p.row for p in parts), min(p.column for p in parts)
        rows = max(p.row + p.mask.shape[0] for p in parts) - row
        columns = max(p.column + p.mask.shape[1] for p in parts) - column
        frame = Region(row, column, np.ones((rows, columns), dtype=bool))
        return Region(row, column, np.any([aligned(p, frame) for p in parts], axis=0))

    return outline


def _numbers(element: ET.Element, *names: str) -> list[float]:
    """Attributes as finite numbers; rotation may be missing."""
    out = []
    for name in names:
        text = element.get(name, "0" if name == "rotation" else "")
        try:
            out.append(float(text))
        except ValueError as e:
            raise ReadError(f"expected a number for {name}, got {text!r}") from e
    if not np.isfinite(out).all():
        raise ReadError(f"expected finite numbers for {', '.join(names)}, got NaN or infinity")
    return out


def _polygon(element: ET.Element, shape: tuple[int, int]) -> Region | None:
    text = element.get("points", "")
    try:
        points = np.array([[float(v) for v in pair.split(",")] for pair in text.split(";")], dtype=np.float64)
        points = points.reshape(-1, 2)
    except ValueError as e:
        raise ReadError(f"expected points as x,y;x,y, got {text[:60]!r}") from e
    if not np.isfinite(points).all():
        raise ReadError("expected finite coordinates, got NaN or infinity")
    if len(points) < 3:
        raise ReadError(f"expected at least 3 points, got {len(points)}")
    return polygon_region([points], around(shape))


def _mask(element: ET.Element, shape: tuple[int, int]) -> Region | None:
    left, top, width, height = (int(v) for v in _numbers(element, "left", "top", "width", "height"))
    text = element.get("rle", "")
    try:
        counts = np.array([int(v) for v in text.split(",")], dtype=np.int64)
    except (ValueError, OverflowError) as e:
        raise ReadError(f"expected an RLE of numbers, got {text[:60]!r}") from e
    if width > 3 * shape[1] or height > 3 * shape[0]:
        raise ReadError(f"expected a mask of about the size of the picture, got {height} x {width} px")
    lacking = width * height - int(counts.sum())
    if len(counts) % 2 == 0 and 0 < lacking < width:
        # Some programs that write for CVAT leave out the background after the last pixel, which CVAT takes.
        counts = np.append(counts, lacking)
    whole = counts.min() >= 0 and counts.max() <= width * height and counts.sum() == width * height
    if min(width, height) < 1 or not whole:
        raise ReadError(f"expected RLE runs over {height} x {width} px, got {counts.sum()}; the file is damaged")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return Region(top, left, flat.reshape(height, width)) if flat.any() else None


def _rectangle(element: ET.Element, shape: tuple[int, int]) -> Region | None:
    x0, y0, x1, y1, angle = _numbers(element, "xtl", "ytl", "xbr", "ybr", "rotation")
    return polygon_region([rectangle((x0, y0), (x1 - x0, y1 - y0), angle_deg=angle)], around(shape))


def _ellipse(element: ET.Element, shape: tuple[int, int]) -> Region | None:
    x, y, rx, ry, angle = _numbers(element, "cx", "cy", "rx", "ry", "rotation")
    return ellipse_region((x, y), (rx, ry), around(shape), angle_deg=angle)


_OUTLINES: dict[str, Callable[[ET.Element, tuple[int, int]], Region | None]] = {
    "polygon": _polygon,
    "mask": _mask,
    "box": _rectangle,
    "ellipse": _ellipse,
}


def write(items: Sequence[Annotated], *, classes: Sequence[str] = ()) -> Iterator[tuple[str, bytes]]:
    """annotations.xml: a polygon for a particle of one part without holes, else a mask.

    Number, kind, score, ignore and focus are attributes, declared with the labels: a task whose labels have these
    attributes keeps them.

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
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    labels = ET.SubElement(ET.SubElement(ET.SubElement(root, "meta"), "task"), "labels")
    body, used = [], set()
    for i, item in enumerate(items):
        rows, columns = item.instances.field.shape
        image = ET.Element("image", id=str(i), name=item.file_name, width=str(columns), height=str(rows))
        for k, rings in enumerate(rings_of(item.instances)):
            used |= {str(a.get("name")) for a in _shape(image, item, k, rings)}
        body.append(image)
    for name in class_names(items, first=classes):
        label = ET.SubElement(labels, "label")
        ET.SubElement(label, "name").text = name
        ET.SubElement(label, "type").text = "any"
        _declare(ET.SubElement(label, "attributes"), used)
    root.extend(body)
    ET.indent(root, space=" ")
    yield "annotations.xml", ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _shape(image: ET.Element, item: Annotated, k: int, rings: list[NDArray[np.int64]]) -> list[ET.Element]:
    traits = Traits.of(item, k)
    height = traits.attributes.pop("z_order", 0)
    common = {
        "label": traits.label,
        "source": "manual",
        "occluded": str(int(bool(traits.attributes.pop("occluded", False)))),
        "z_order": str(height),
    }
    if len(rings) == 1:
        points = ";".join(f"{x}.00,{y}.00" for x, y in rings[0])
        element = ET.SubElement(image, "polygon", common | {"points": points})
    else:
        r0, c0, r1, c1 = (int(v) for v in item.instances.boxes[k])
        flat = item.instances.crop(k).ravel()
        edges = np.flatnonzero(np.diff(flat, prepend=False))
        runs = np.diff(np.concatenate([[0], edges, [flat.size]]))
        box = {"left": str(c0), "top": str(r0), "width": str(c1 - c0), "height": str(r1 - r0)}
        element = ET.SubElement(image, "mask", common | {"rle": ", ".join(map(str, runs))} | box)
    for name, text in traits.to_text().items():
        ET.SubElement(element, "attribute", name=name).text = text
    return list(element)


def _declare(attributes: ET.Element, names: set[str]) -> None:
    """Attributes of a label, as CVAT's raw label editor takes them."""
    known = {"kind": ("select", "crystal", "\n".join(KINDS)), "ignore": ("checkbox", "false", "false")}
    known["in_focus"] = ("checkbox", "true", "true")
    for name in sorted(names):
        kind, default, values = known.get(name, ("text", "", ""))
        attribute = ET.SubElement(attributes, "attribute")
        for tag, text in (
            ("name", name),
            ("mutable", "False"),
            ("input_type", kind),
            ("default_value", default),
            ("values", values),
        ):
            ET.SubElement(attribute, tag).text = text
