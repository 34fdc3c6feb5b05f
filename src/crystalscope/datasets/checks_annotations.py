"""Checks of annotations as they stand in the file: do they name pictures, are their outlines sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystalscope.datasets.checks_particles import Particle, at_border, check_doubled
from crystalscope.datasets.dataset import Dataset
from crystalscope.datasets.findings import Finding
from crystalscope.errors import ReadError
from crystalscope.io.coco import CocoFile, is_ignored, load_coco, polygons_of, region_of

_OUTSIDE_PX = 1.0
"""Outlines drawn by hand may end this far outside of the picture."""
_CROSSING_PX2 = 0.5
"""Area in dispute from which an outline crosses itself: less is a slip of the hand that changes no pixel."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """What the annotation files of a dataset say, and what is wrong with it.

    Parameters
    ----------
    particles
        Every annotation with an outline, in order of the files.
    findings
        What was found on the way.
    n
        Annotations, those without an outline included.
    outlines
        COCO segmentation as it stands in the file, by picture and id; for drawing.
    """

    particles: list[Particle]
    findings: list[Finding]
    n: int
    outlines: dict[tuple[str, str], Any]


def read_annotations(dataset: Dataset, shapes: Mapping[str, tuple[int, int]]) -> Annotations:
    """Read all annotations of a dataset, faulty ones too.

    Parameters
    ----------
    dataset
        The dataset.
    shapes
        (rows, columns) of the pictures that can be read.
    """
    out = Annotations([], [], 0, {})
    files = dataset.frames["file"].astype(str).tolist()
    prefix = "" if dataset.manifest.pictures in ("", ".") else dataset.manifest.pictures + "/"
    by_name = {f: f for f in files} | {f.removeprefix(prefix): f for f in files}
    listed: set[str] = set()
    n = 0
    for path in dataset.annotations:
        try:
            coco = load_coco(dataset.root / path, strict=False)
        except ReadError as e:
            out.findings.append(Finding("broken_annotations", str(e), path.as_posix()))
            continue
        known = dataset.named.get(path.as_posix(), by_name)
        out.findings.extend(_check_entries(coco, path.as_posix()))
        for number, image in coco.images.items():
            name = str(image.get("file_name", "")).replace("\\", "/")
            if name not in known:
                if path.as_posix() not in dataset.named:
                    out.findings.append(
                        Finding(
                            "annotated_picture_missing",
                            f"expected the picture {name} that {path.name} annotates, got none; restore it or remove "
                            "its entry",
                            name,
                            value=float(len(coco.annotations[number])),
                        )
                    )
                continue
            file = known[name]
            listed.add(file)
            n += len(coco.annotations[number])
            _read_picture_entry(coco, image, coco.annotations[number], file, shapes.get(file), out)
    unlisted = [f for f in files if f not in listed]
    if dataset.annotations and listed:
        out.findings.extend(
            Finding(
                "not_annotated",
                f"expected an entry of {f} in the annotations, got none; empty pictures have one too",
                f,
            )
            for f in unlisted
        )
    return Annotations(out.particles, out.findings, n, out.outlines)


def _check_entries(coco: CocoFile, path: str) -> Iterator[Finding]:
    """Annotations of no picture, and ids that stand twice."""
    for entry in coco.orphans:
        yield Finding(
            "annotation_without_picture",
            f"expected annotation {entry.get('id')} to name a picture of {path}, got image_id {entry.get('image_id')}",
            path,
            "",
            str(entry.get("id", "")),
        )
    ids = Counter(str(e.get("id")) for entries in coco.annotations.values() for e in entries)
    for number, times in ids.items():
        if times > 1:
            yield Finding(
                "doubled_id",
                f"expected an id of its own for every annotation of {path}, got {number} {times} times",
                path,
                "",
                number,
                float(times),
            )


def _read_picture_entry(
    coco: CocoFile,
    image: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    file: str,
    actual: tuple[int, int] | None,
    out: Annotations,
) -> None:
    """Annotations of one picture."""
    try:
        stated = int(image["height"]), int(image["width"])
    except (KeyError, TypeError, ValueError):
        stated = actual or (0, 0)
        out.findings.append(
            Finding("annotated_size", f"expected height and width of {file} in {coco.path.name}, got none", file)
        )
    if actual is not None and stated != actual:
        out.findings.append(
            Finding(
                "annotated_size",
                f"expected {actual[1]} x {actual[0]} px as the picture has, got {stated[1]} x {stated[0]} in "
                f"{coco.path.name}; the outlines may belong to another picture",
                file,
                value=float(stated[1] / actual[1]),
            )
        )
    if min(stated) < 1:
        return
    particles = []
    for entry in entries:
        number = str(entry.get("id", ""))
        out.outlines[file, number] = entry.get("segmentation")
        try:
            fault = next(_check_outline(entry.get("segmentation"), stated, file, number), None)
            if fault is not None:
                out.findings.append(fault)
                if fault.check != "outline_crossing":
                    continue
            region = region_of(entry.get("segmentation"), stated)
            seen = entry.get("visible_segmentation")
            if isinstance(seen, dict):
                region_of(seen, stated)
            else:
                polygons_of(seen or [])
        except ReadError as e:
            out.findings.append(Finding("outline_damaged", f"annotation {number}: {e}", file, "", number))
            continue
        if region is None:
            out.findings.append(
                Finding(
                    "outline_empty", f"expected annotation {number} to cover something, got no pixel", file, "", number
                )
            )
            continue
        label, kind = coco.class_of(entry)
        particles.append(
            Particle(
                file,
                number,
                label,
                kind,
                region,
                seen,
                is_ignored(entry),
                bool(entry.get("touches_border")) or at_border(region, stated),
                stated,
            )
        )
    out.particles.extend(particles)
    out.findings.extend(check_doubled(particles))


def _check_outline(segmentation: Any, shape: tuple[int, int], file: str, number: str) -> Iterator[Finding]:
    """Faults of polygons: empty, outside, crossing. Run lengths cannot have them but for emptiness."""
    if isinstance(segmentation, dict):
        return
    polygons = polygons_of(segmentation or [])
    rows, columns = shape
    whole = [p for p in polygons if len(p) >= 3]
    crossed = [_crossed_area(p) for p in whole]
    if not any(crossed) and not any(_signed_area(p) for p in whole):
        yield Finding("outline_empty", f"expected annotation {number} to enclose an area, got none", file, "", number)
        return
    points = np.concatenate(polygons)
    beyond = float(max(-points.min(), (points - np.array([columns, rows])).max()))
    if beyond > _OUTSIDE_PX:
        yield Finding(
            "outline_outside",
            f"expected annotation {number} inside {columns} x {rows} px, got points up to {beyond:.1f} px outside",
            file,
            "",
            number,
            beyond,
        )
        return
    if max(crossed) > _CROSSING_PX2:
        yield Finding(
            "outline_crossing",
            f"expected an outline that does not cross itself, got annotation {number} with {max(crossed):.1f} px² in "
            "dispute",
            file,
            "",
            number,
            max(crossed),
        )


def _signed_area(points: NDArray[np.float64]) -> float:
    x, y = points.T
    return float(x[:-1] @ y[1:] - x[1:] @ y[:-1] + x[-1] * y[0] - x[0] * y[-1]) / 2


def _crossed_area(points: NDArray[np.float64]) -> float:
    """Area that is in dispute because an outline crosses itself, px²; 0 where it only touches itself.

    The area enclosed once or an odd number of times (even-odd) and the area counted by direction of travel are equal
    for an outline that does not cross itself, also where pixels touch at a corner; each loop that is run through the
    other way, or twice, sets them apart.
    """
    from shapely import Polygon, make_valid

    polygon = Polygon(points)
    if polygon.is_valid:
        return 0.0
    return abs(float(make_valid(polygon, method="linework").area) - abs(_signed_area(points)))
