"""COCO annotations: written in a stream, read back exactly."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from crystalscope.core import KINDS, FieldOfView, Instances
from crystalscope.errors import InputError, ReadError
from crystalscope.io.regions import Region as Region
from crystalscope.io.regions import aligned, decode_region, encode_region, polygon_region
from crystalscope.io.regions import decode_rle as decode_rle
from crystalscope.io.regions import encode_rle as encode_rle
from crystalscope.io.regions import rasterize as rasterize

T = TypeVar("T")

_WORDS = {
    "crystal": (
        "particle",
        "bead",
        "sphere",
        "needle",
        "rod",
        "elongated",
        "platelet",
        "plate",
        "block",
        "prism",
        "cube",
        "bipyramid",
    ),
    "agglomerate": ("agglomerated", "aggregate", "cluster"),
    "bubble": ("air bubble", "gas bubble"),
    "droplet": ("drop", "oil droplet", "oil drop"),
    "other": ("ufo", "unknown", "dust", "fibre", "fiber", "scratch"),
}
_KIND_OF_WORD = {word: kind for kind, words in _WORDS.items() for word in (kind, *words)}


@dataclass(frozen=True, eq=False)
class Annotated:
    """Annotations of one picture.

    Parameters
    ----------
    file_name
        Of the picture.
    instances
        The particles.
    ids
        (n,) ids of the annotations.
    ignore
        (n,) True for regions that are neither right nor wrong (``iscrowd`` or ``ignore``).
    labels
        (n,) class names, as the annotators named them; by default the names of the kinds. The kind says how a particle
        is counted, the label what it was called.
    attributes
        (n,) further properties of each particle, by name; by default none.

    Raises
    ------
    InputError
        When there is not one value for each particle.
    """

    file_name: str
    instances: Instances
    ids: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    # None stands for the default only in the constructor; afterwards there is a tuple.
    labels: tuple[str, ...] = None  # type: ignore[assignment]
    attributes: tuple[Mapping[str, Any], ...] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        n = len(self.instances)
        object.__setattr__(self, "labels", _or(self.labels, tuple(KINDS[k] for k in self.instances.kind)))
        object.__setattr__(self, "attributes", _or(self.attributes, ({},) * n))
        for name in ("ids", "ignore", "labels", "attributes"):
            if len(getattr(self, name)) != n:
                raise InputError(
                    f"expected one of {name} for each of {n} particles of {self.file_name}, got "
                    f"{len(getattr(self, name))}"
                )


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def kind_of_label(label: str) -> str | None:
    """Kind of particle that a class name stands for, by its words in singular or plural; None: unknown."""
    word = " ".join(label.casefold().replace("_", " ").replace("-", " ").split())
    return _KIND_OF_WORD.get(word) or _KIND_OF_WORD.get(word.removesuffix("s"))


def categories(own: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """The categories: ids from 1 in the order of `core.KINDS`, then one's own classes.

    Parameters
    ----------
    own
        Kinds by class name; the kind becomes the supercategory. Names of kinds are left out.
    """
    out = [{"id": i + 1, "name": k, "supercategory": "particle"} for i, k in enumerate(KINDS)]
    for name, kind in (own or {}).items():
        if name not in KINDS:
            out.append({"id": len(out) + 1, "name": name, "supercategory": kind})
    return out


def coco_pieces(
    images: Iterable[bytes], annotations: Iterable[bytes], *, own: Mapping[str, str] | None = None
) -> Iterator[bytes]:
    """A COCO file in pieces, from JSON lines of images and annotations, in constant memory.

    `own`: one's own classes, as in `categories`.
    """
    yield b'{"info": {"description": "crystalscope"},\n"categories": ' + json.dumps(categories(own)).encode()
    for name, lines in (("images", images), ("annotations", annotations)):
        yield f',\n"{name}": ['.encode()
        first = True
        for line in lines:
            yield (b"\n" if first else b",\n") + line.rstrip(b"\n")
            first = False
        yield b"\n]"
    yield b"}\n"


def segmentation(polygons: list[NDArray[np.int64]], mask: Instances | None = None, index: int = 0) -> Any:
    """COCO segmentation: polygons on pixel corners, or RLE of the mask where `mask` is given (holes).

    Parameters
    ----------
    polygons
        (k, 2) arrays of x, y.
    mask, index
        The particle whose mask is written as compressed RLE instead.
    """
    if mask is not None:
        row, column = mask.boxes[index, :2]
        return encode_region(Region(int(row), int(column), mask.crop(index)), mask.field.shape)
    return [p.ravel().tolist() for p in polygons]


def polygons_of(segmentation: Any) -> list[NDArray[np.float64]]:
    """(k, 2) points x, y of the polygons of a COCO segmentation that is no RLE.

    Raises
    ------
    ReadError
        When the coordinates are no pairs of finite numbers.
    """
    flat = isinstance(segmentation, list) and bool(segmentation) and isinstance(segmentation[0], int | float)
    out = []
    for polygon in [segmentation] if flat else segmentation:
        try:
            points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        except (TypeError, ValueError) as e:
            raise ReadError(f"expected pairs of coordinates x, y, got {str(polygon)[:60]}; draw it again") from e
        if not np.isfinite(points).all():
            raise ReadError("expected finite coordinates, got NaN or infinity; draw it again")
        out.append(points)
    return out


@dataclass(frozen=True, eq=False)
class CocoFile:
    """A COCO file as it stands on disk.

    Parameters
    ----------
    path
        The file.
    images
        Entries by id.
    annotations
        Entries by id of their image.
    categories
        Entries by id.
    orphans
        Annotations of a picture that the file does not list; none where it was read strictly.
    """

    path: Path
    images: dict[Any, dict[str, Any]]
    annotations: dict[Any, list[dict[str, Any]]]
    categories: dict[Any, dict[str, Any]]
    orphans: list[dict[str, Any]]

    def class_of(self, entry: Mapping[str, Any]) -> tuple[str, str | None]:
        """Class name and kind of an annotation; the kind is None where neither its name nor the file tells it.

        A class that is the only one of the file stands for crystals.
        """
        category = self.categories.get(entry.get("category_id"))
        if category is not None:
            name = str(category["name"])
        else:
            name = f"category {entry.get('category_id')}" if self.categories else "crystal"
        stated = (entry.get("kind"), name, (category or {}).get("supercategory"))
        kind = next((str(s) for s in stated if s in KINDS), None) or kind_of_label(name)
        if kind is None and len(self.categories) <= 1:
            kind = "crystal"
        return name, kind


def load_coco(path: str | Path, *, strict: bool = True) -> CocoFile:
    """Read a COCO file without decoding its masks.

    Parameters
    ----------
    path
        The file.
    strict
        Refuse an annotation that names no picture of the file, instead of putting it with the orphans.

    Raises
    ------
    ReadError
        When the file is no COCO.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
        images = {i["id"]: i for i in data["images"]}
        entries = data["annotations"]
        named = {c["id"]: c for c in data.get("categories") or [] if c["name"] is not None}
        by_image: dict[Any, list[dict[str, Any]]] = {i: [] for i in images}
        orphans: list[dict[str, Any]] = []
        for entry in entries:
            by_image.get(entry.get("image_id"), orphans).append(entry)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise ReadError(f"expected COCO with images and annotations in {path}, got: {e}; export it again") from e
    if strict and orphans:
        raise ReadError(
            f"expected annotation {orphans[0].get('id')} in {path.name} to name a picture of the file, got image_id "
            f"{orphans[0].get('image_id')}"
        )
    return CocoFile(path, images, by_image, named, orphans)


def read_coco(path: str | Path) -> list[Annotated]:
    """Read a COCO file; every picture is there, also without annotations.

    Polygons, RLE (compressed or not), holes, overlaps and crowd regions are read; annotations without area are
    left out. Class names are kept; a class of unknown kind counts as ``other``, a single class of any name as
    ``crystal``.

    Raises
    ------
    ReadError
        When the file is no COCO, an annotation names an unknown picture, or an outline is damaged.
    """
    file = load_coco(path)
    out = []
    for number, image in file.images.items():
        try:
            shape = int(image["height"]), int(image["width"])
            out.append(_annotated(file, image, file.annotations[number], shape))
        except (KeyError, TypeError, ValueError) as e:
            raise ReadError(
                f"expected a COCO entry of picture {number} in {file.path}, got: {e!r}; export it again"
            ) from e
    return out


def _annotated(
    file: CocoFile, image: Mapping[str, Any], entries: list[dict[str, Any]], shape: tuple[int, int]
) -> Annotated:
    full: list[Region] = []
    seen: list[NDArray[np.bool_]] = []
    kept: list[dict[str, Any]] = []
    covered = any(entry.get("visible_segmentation") is not None for entry in entries)
    for entry in entries:
        region = region_of(entry.get("segmentation"), shape)
        if region is None:
            continue
        visible = entry.get("visible_segmentation")
        full.append(region)
        seen.append(region.mask if visible is None else aligned(region_of(visible, shape), region))
        kept.append(entry)
    classes = [file.class_of(entry) for entry in kept]
    return Annotated(
        str(image["file_name"]),
        Instances.from_crops(
            [r.mask for r in full],
            [(r.row, r.column) for r in full],
            field=FieldOfView(shape),
            score=[float(e.get("score", 1.0)) for e in kept],
            kind=[KINDS.index(kind or "other") for _, kind in classes],
            in_focus=[bool(e.get("in_focus", True)) for e in kept],
            visible=seen if covered else None,
        ),
        np.array([int(e["id"]) for e in kept], dtype=np.int64),
        np.array([is_ignored(e) for e in kept], dtype=bool),
        tuple(name for name, _ in classes),
        tuple(e.get("attributes") or {} for e in kept),
    )


def is_ignored(entry: Mapping[str, Any]) -> bool:
    """Whether a COCO annotation is a region that is neither right nor wrong."""
    return bool(entry.get("iscrowd", 0)) or bool(entry.get("ignore", 0))


def region_of(segmentation: Any, shape: tuple[int, int]) -> Region | None:
    """What a COCO segmentation, polygons or RLE, covers of a picture of `shape`; None where it covers nothing.

    Raises
    ------
    ReadError
        When coordinates are no numbers, or an RLE is damaged or of another size.
    """
    if not segmentation:
        return None
    if not isinstance(segmentation, dict):
        return polygon_region(polygons_of(segmentation), (0, 0, *shape))
    region = decode_region(segmentation)
    if tuple(segmentation["size"]) != shape:
        raise ReadError(f"expected RLE of the picture's size {shape}, got {tuple(segmentation['size'])}")
    return region
