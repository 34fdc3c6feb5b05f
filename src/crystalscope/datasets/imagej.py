"""ImageJ regions of interest: .roi files and the zip files of the ROI Manager."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystalscope.datasets.drawing import ellipse_region, rectangle, rings_of
from crystalscope.datasets.exchange import Collector, around, source_files
from crystalscope.datasets.traits import Traits
from crystalscope.errors import ReadError
from crystalscope.io.coco import Annotated
from crystalscope.io.regions import Region, polygon_region
from crystalscope.io.sequence import natural_key

if TYPE_CHECKING:
    from roifile import ImagejRoi

_TIE = 1e-8
"""ImageJ counts a pixel whose centre lies exactly on an outline where the outline is to the right of the region, COCO
where it is to the left: its own fill moves outlines by this much, px."""
_POINTS = {0: 2, 1: 2, 2: 4, 3: 6, 4: 0}
"""Numbers that follow each command of a composite path: move, line, quadratic and cubic curve, close."""
_LAST = 60_535
"""Largest coordinate of a polygon of whole numbers."""


def read(source: Path, into: Collector) -> None:
    """Read .zip and .roi files.

    Each file is named as its picture; .roi files in a folder named as the picture belong to it. A single file of
    another name is for the only picture, or for the pictures in natural order of their names by the stack position of
    each region (as in File > Import > Image Sequence). Rectangles (also rounded and turned), ovals, ellipses, polygons,
    freehand and traced outlines, and composites with holes and parts are read as ImageJ fills them.

    Raises
    ------
    ReadError
        When a file is damaged, or it is not clear which picture a single file is for.
    """
    files = [p for p in source_files(source, (".zip", ".roi")) if p.suffix.lower() == ".roi" or is_roi_zip(p)]
    folder = source if source.is_dir() else source.parent
    groups: dict[str, list[Path]] = {}
    for path in files:
        inside = path.relative_to(folder)
        loose = path.suffix.lower() == ".roi" and len(inside.parts) > 1
        groups.setdefault(inside.parent.as_posix() + ".zip" if loose else inside.as_posix(), []).append(path)
    if len(files) == 1 and not _fits(files[0].name, into):
        _read_stack(files[0], into)
        return
    for name, picture in into.match(list(groups), stems=True).items():
        shape = into.open(picture, name=name)
        for path in groups[name] if shape else ():
            for entry, raw in _entries(path):
                _read_roi(entry, raw, picture, shape or (0, 0), into)


def is_roi_zip(path: Path) -> bool:
    """Whether a file is a zip file of regions (one without any entry is one, of a picture without particles)."""
    try:
        with zipfile.ZipFile(path) as z:
            names = [n for n in z.namelist() if not n.endswith("/")]
    except (OSError, zipfile.BadZipFile):
        return False
    return all(n.lower().endswith(".roi") for n in names)


def _fits(name: str, into: Collector) -> bool:
    from crystalscope.datasets.names import match_names

    return bool(match_names([name], into.pictures, stems=True))


def _read_stack(path: Path, into: Collector) -> None:
    """Regions of several pictures in one file, told apart by their stack position."""
    order = sorted(into.pictures, key=lambda n: (natural_key(n), n))
    found: dict[str, list[tuple[str, bytes]]] = {}
    for entry, raw in _entries(path):
        place = 1 if len(order) == 1 else _position(_parsed(raw, entry))
        if not 1 <= place <= len(order):
            raise ReadError(
                f"expected a file named as its picture, or regions with a stack position from 1 to {len(order)}, got "
                f"position {place} of {entry} in {path.name}; name it NAME.zip for the picture NAME.png"
            )
        found.setdefault(order[place - 1], []).append((entry, raw))
    for picture, entries in found.items():
        shape = into.open(picture, name=path.name)
        for entry, raw in entries if shape else ():
            _read_roi(entry, raw, picture, shape or (0, 0), into, stack=len(order) > 1)


def _entries(path: Path) -> list[tuple[str, bytes]]:
    try:
        if path.suffix.lower() == ".roi":
            return [(path.name, path.read_bytes())]
        with zipfile.ZipFile(path) as z:
            return [(n, z.read(n)) for n in z.namelist() if n.lower().endswith(".roi")]
    except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, RuntimeError, EOFError) as e:
        raise ReadError(f"expected a whole zip file of ImageJ regions in {path}, got: {e}; save it again") from e


def _parsed(raw: bytes, entry: str) -> ImagejRoi:
    from roifile import ImagejRoi

    try:
        return ImagejRoi.frombytes(raw)
    except (ValueError, TypeError, struct.error, IndexError, UnicodeError) as e:
        raise ReadError(f"expected a whole ImageJ region in {entry}, got: {e}") from e


def _position(roi: ImagejRoi) -> int:
    return max(roi.position, roi.z_position, roi.t_position)


def _read_roi(
    entry: str, raw: bytes, picture: str, shape: tuple[int, int], into: Collector, *, stack: bool = False
) -> None:
    name = PurePosixPath(entry).name
    try:
        roi = _parsed(raw, name)
    except ReadError as e:
        into.fault(picture, name, f"{e}; left out")
        return
    if not stack and _position(roi) > 1:
        into.fault(picture, name, f"lies at position {_position(roi)} of a stack, {picture} is one picture; left out")
        return
    traits = Traits.from_text(_label(roi, name), dict(_properties(roi)))
    if roi.group and "group" not in traits.attributes:
        traits.attributes["group"] = roi.group
    if into.add(picture, name, lambda: _region(roi, raw, shape), traits) and roi.options & 1:
        into.note("outlines with a spline fit, read with straight edges between their points")


def _properties(roi: ImagejRoi) -> Iterator[tuple[str, str]]:
    for line in roi.props.splitlines():
        key, separator, text = line.partition(":")
        if separator and key.strip() != "label":
            yield key.strip(), text.strip()


def _label(roi: ImagejRoi, entry: str) -> str:
    """Class name: the property ``label``, else a name of words alone, but for a number at its end."""
    for line in roi.props.splitlines():
        key, _, text = line.partition(":")
        if key.strip() == "label" and text.strip():
            return text.strip()
    words = re.sub(r"[\s_\-]*[\d\-]*$", "", roi.name or entry.removesuffix(".roi"))
    return words if re.fullmatch(r"[^\W\d_]+([ _\-][^\W\d_]+)*", words) else "crystal"


def _region(roi: ImagejRoi, raw: bytes, shape: tuple[int, int]) -> Region | None:
    from roifile import ROI_SUBTYPE, ROI_TYPE

    window = around(shape)
    width, height = roi.right - roi.left, roi.bottom - roi.top
    if roi.subtype in (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.IMAGE, ROI_SUBTYPE.ARROW):
        raise ReadError(f"a {roi.subtype.name.lower()} has no area")
    if roi.composite and roi.multi_coordinates is not None:
        return _polygons(_contours(roi.multi_coordinates), window)
    if roi.roitype == ROI_TYPE.RECT:
        return (
            _rounded(roi, window)
            if roi.rounded_rect_arc_size
            else _polygons([rectangle((roi.left, roi.top), (width, height))], window)
        )
    if roi.roitype == ROI_TYPE.OVAL:
        centre = roi.left + width / 2, roi.top + height / 2
        return ellipse_region(centre, (width / 2, height / 2), window)
    if roi.roitype not in (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED):
        raise ReadError(f"a region of type {roi.roitype.name.lower()} has no area")
    if roi.roitype == ROI_TYPE.FREEHAND and roi.subtype in (ROI_SUBTYPE.ELLIPSE, ROI_SUBTYPE.ROTATED_RECT):
        ratio = struct.unpack(f"{roi.byteorder}f", raw[52:56])[0]
        return _polygons([_along(roi, ratio, ellipse=roi.subtype == ROI_SUBTYPE.ELLIPSE)], window)
    if roi.subpixelresolution and roi.subpixel_coordinates is not None:
        points = roi.subpixel_coordinates.astype(np.float64)
    elif roi.integer_coordinates is not None:
        points = roi.integer_coordinates.astype(np.float64) + np.array([roi.left, roi.top])
    else:
        points = np.zeros((0, 2))
    if len(points) < 3:
        raise ReadError(f"expected at least 3 points, got {len(points)}")
    return _polygons([points], window)


def _polygons(contours: list[NDArray[np.float64]], window: tuple[int, int, int, int]) -> Region | None:
    if not all(np.isfinite(c).all() for c in contours):
        raise ReadError("expected finite coordinates, got NaN or infinity")
    tie = np.array([_TIE, 0])
    return polygon_region([c + tie for c in contours], window, even_odd=True)


def _contours(path: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """Closed polygons of a composite path; curves become 16 lines."""
    values = path.astype(np.float64)
    contours: list[list[NDArray[np.float64]]] = []
    at = 0
    while at < len(values):
        command = values[at]
        count = _POINTS.get(int(command)) if np.isfinite(command) and command == int(command) else None
        if count is None or at + count >= len(values) or (command not in (0, 4) and not contours):
            raise ReadError(f"expected a whole composite path, got command {command:g} at {at} of {len(values)}")
        points = values[at + 1 : at + 1 + count].reshape(-1, 2)
        if command == 0:
            contours.append([points[0]])
        elif command != 4:
            contours[-1] += _curve(np.concatenate([contours[-1][-1:], points]))
        at += 1 + count
    return [np.array(c) for c in contours if len(c) >= 3]


def _curve(control: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Points of a Bézier curve after its first, by de Casteljau; a line is one of degree 1."""
    if len(control) == 2:
        return [control[1]]
    t = np.linspace(0, 1, 17)[1:, None, None]
    level = np.broadcast_to(control, (16, *control.shape))
    while level.shape[1] > 1:
        level = (1 - t) * level[:, :-1] + t * level[:, 1:]
    return list(level[:, 0])


def _along(roi: ImagejRoi, ratio: float, *, ellipse: bool) -> NDArray[np.float64]:
    """Outline of an ellipse of 72 points, or of a turned rectangle, about the line from x1, y1 to x2, y2."""
    start, end = np.array([roi.x1, roi.y1]), np.array([roi.x2, roi.y2])
    axis = (end - start) / 2
    across = np.array([-axis[1], axis[0]])
    if ellipse:
        angle = np.arange(72)[:, None] * np.pi / 36
        return (start + end) / 2 + np.cos(angle) * axis + np.sin(angle) * across * min(max(ratio, 0.0), 1.0)
    length = float(np.hypot(*across))
    if length == 0:
        raise ReadError("expected a turned rectangle with a length, got none")
    half = across / length * ratio / 2
    return np.array([start + half, end + half, end - half, start - half])


def _rounded(roi: ImagejRoi, window: tuple[int, int, int, int]) -> Region | None:
    """A rectangle with corners rounded by `rounded_rect_arc_size`, the diameter, px."""
    whole = _polygons([rectangle((roi.left, roi.top), (roi.right - roi.left, roi.bottom - roi.top))], window)
    if whole is None:
        return None
    radius = min(roi.rounded_rect_arc_size, roi.right - roi.left, roi.bottom - roi.top) / 2
    rows, columns = whole.mask.shape
    y, x = np.arange(rows)[:, None] + whole.row + 0.5, np.arange(columns)[None, :] + whole.column + 0.5
    dx = np.maximum(0, np.maximum(roi.left + radius - x, x - roi.right + radius))
    dy = np.maximum(0, np.maximum(roi.top + radius - y, y - roi.bottom + radius))
    return Region(whole.row, whole.column, whole.mask & (dx**2 + dy**2 <= radius**2))


def write(items: Sequence[Annotated], *, classes: Sequence[str] = ()) -> Iterator[tuple[str, bytes]]:
    """A zip file for every picture, to be opened in the ROI Manager.

    A particle of one part without holes is a traced region, any other a composite; the rest are properties.

    Parameters
    ----------
    items
        The pictures.
    classes
        Not needed here.

    Returns
    -------
    File names and contents.
    """
    stems = [PurePosixPath(item.file_name).with_suffix("").as_posix() for item in items]
    for item, stem in zip(items, stems, strict=True):
        # Two pictures may differ in nothing but their suffix.
        name = (item.file_name if stems.count(stem) > 1 else stem) + ".zip"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as z:
            for k, rings in enumerate(rings_of(item.instances)):
                traits = Traits.of(item, k)
                texts = {"label": traits.label} | traits.to_text()
                group = traits.attributes.get("group")
                roi = _roi(
                    rings,
                    f"{traits.label} {traits.id}",
                    "".join(f"{k}: {v}\n" for k, v in texts.items()),
                    group=group if isinstance(group, int) and 0 < group < 2**16 else 0,
                )
                safe = re.sub(r"[^\w\- ]", "_", traits.label)
                # A date would make every export differ.
                info = zipfile.ZipInfo(f"{k + 1:05d}-{safe}.roi", date_time=(1980, 1, 1, 0, 0, 0))
                info.compress_type = zipfile.ZIP_DEFLATED
                z.writestr(info, roi)
        yield name, buffer.getvalue()


def _roi(rings: list[NDArray[np.int64]], name: str, properties: str, *, group: int) -> bytes:
    from roifile import ROI_TYPE, ImagejRoi

    every = np.concatenate(rings)
    (left, top), (right, bottom) = every.min(axis=0), every.max(axis=0)
    roi = ImagejRoi(
        roitype=ROI_TYPE.TRACED,
        name=name,
        props=properties,
        group=group,
        top=int(top),
        left=int(left),
        bottom=int(bottom),
        right=int(right),
    )
    if len(rings) == 1 and every.max() <= _LAST:
        roi.integer_coordinates = (rings[0] - [left, top]).astype(np.int32)
        roi.n_coordinates = len(rings[0])
    else:
        path: list[NDArray[np.float32]] = []
        for ring in rings:
            commands = np.ones((len(ring), 3), dtype=np.float32)
            commands[0, 0] = 0
            commands[:, 1:] = ring
            path += [commands.ravel(), np.array([4], dtype=np.float32)]
        roi.roitype = ROI_TYPE.RECT
        roi.multi_coordinates = np.concatenate(path)
        roi.shape_roi_size = len(roi.multi_coordinates)
    return roi.tobytes()
