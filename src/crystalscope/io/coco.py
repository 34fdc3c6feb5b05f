"""COCO annotations: written in a stream, read back exactly."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from crystalscope.core import KINDS, FieldOfView, Instances
from crystalscope.errors import ReadError


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
    """

    file_name: str
    instances: Instances
    ids: NDArray[np.int64]
    ignore: NDArray[np.bool_]


def categories() -> list[dict[str, Any]]:
    """The categories: ids from 1 in the order of `core.KINDS`."""
    return [{"id": i + 1, "name": k, "supercategory": "particle"} for i, k in enumerate(KINDS)]


def coco_pieces(images: Iterable[bytes], annotations: Iterable[bytes]) -> Iterator[bytes]:
    """A COCO file in pieces, from JSON lines of images and annotations, in constant memory."""
    yield b'{"info": {"description": "crystalscope"},\n"categories": ' + json.dumps(categories()).encode()
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
        return encode_rle(mask.mask(index))
    return [p.ravel().tolist() for p in polygons]


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Compressed COCO RLE of a mask (rows, columns): column-major runs, counts as in pycocotools."""
    flat = np.asfortranarray(mask).ravel(order="F")
    change = np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]])))
    counts = np.diff(np.concatenate([[0], change])).tolist()
    text = []
    for i, count in enumerate(counts):
        x = int(count - counts[i - 2]) if i > 2 else int(count)
        more = True
        while more:
            c = x & 0x1F
            x >>= 5
            more = x != -1 if c & 0x10 else x != 0
            text.append(chr((c | 0x20 if more else c) + 48))
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": "".join(text)}


def decode_rle(rle: dict[str, Any]) -> NDArray[np.bool_]:
    """Mask (rows, columns) of a COCO RLE, compressed or not.

    Raises
    ------
    ReadError
        When the runs do not fill the size.
    """
    rows, columns = (int(x) for x in rle["size"])
    counts = rle["counts"]
    if isinstance(counts, str | bytes):
        data = counts.encode() if isinstance(counts, str) else counts
        counts = []
        at = 0
        while at < len(data):
            x = k = 0
            more = True
            while more and at < len(data):
                c = data[at] - 48
                x |= (c & 0x1F) << 5 * k
                more = bool(c & 0x20)
                at += 1
                k += 1
                if not more and c & 0x10:
                    x |= -1 << 5 * k
            counts.append(x + counts[-2] if len(counts) > 2 else x)
    if sum(counts) != rows * columns or min(counts, default=0) < 0:
        raise ReadError(f"expected RLE runs over {rows} x {columns} px, got {sum(counts)}; the file is damaged")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape((rows, columns), order="F")


def rasterize(polygons: list[list[float]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Mask of polygons [x0, y0, x1, y1, …] in COCO coordinates (pixel corners).

    A pixel belongs to the mask when its centre lies inside a polygon (even-odd within one polygon, union over
    several). For polygons on pixel corners this is exact; for others pycocotools may differ at pixels whose
    centre is within 0.1 px of an edge.
    """
    mask = np.zeros(shape, dtype=np.bool_)
    for polygon in polygons:
        points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        if len(points) >= 3:
            _fill(points, mask)
    return mask


@njit(cache=True, nogil=True)
def _fill(points, mask):  # type: ignore[no-untyped-def]
    rows, columns = mask.shape
    n = len(points)
    crossings = np.empty(n, np.float64)
    first = max(0, int(np.floor(points[:, 1].min() - 0.5)))
    last = min(rows, int(np.ceil(points[:, 1].max() + 0.5)))
    for r in range(first, last):
        y = r + 0.5
        k = 0
        for i in range(n):
            x0, y0 = points[i]
            x1, y1 = points[(i + 1) % n]
            if (y0 <= y) != (y1 <= y):
                crossings[k] = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                k += 1
        xs = np.sort(crossings[:k])
        for j in range(0, k - 1, 2):
            a = max(0, int(np.ceil(xs[j] - 0.5)))
            b = min(columns, int(np.ceil(xs[j + 1] - 0.5)))
            for c in range(a, b):
                mask[r, c] = True


def read_coco(path: str | Path) -> list[Annotated]:
    """Read a COCO file; every picture is there, also without annotations.

    Polygons, RLE (compressed or not), holes, overlaps and crowd regions are read; annotations without area are
    left out. Unknown categories count as ``other``, a single category of any name as ``crystal``.

    Raises
    ------
    ReadError
        When the file is no COCO, or an annotation names an unknown picture.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        images = {int(i["id"]): i for i in data["images"]}
        entries = data["annotations"]
        names = {int(c["id"]): str(c["name"]) for c in data.get("categories", [])}
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ReadError(f"expected COCO with images and annotations in {path}, got: {e}; export it again") from e
    by_image: dict[int, list[dict[str, Any]]] = {i: [] for i in images}
    for entry in entries:
        if int(entry.get("image_id", -1)) not in by_image:
            raise ReadError(
                f"expected annotation {entry.get('id')} in {path.name} to name a picture of the file, got image_id "
                f"{entry.get('image_id')}"
            )
        by_image[int(entry["image_id"])].append(entry)
    only = len(names) == 1
    kind_of = {i: KINDS.index(n) if n in KINDS else (0 if only else KINDS.index("other")) for i, n in names.items()}
    out = []
    for number, image in images.items():
        shape = int(image["height"]), int(image["width"])
        full, seen, kinds, scores, ids, ignore = [], [], [], [], [], []
        for entry in by_image[number]:
            mask = _mask_of(entry["segmentation"], shape)
            if not mask.any():
                continue
            full.append(mask)
            visible = entry.get("visible_segmentation")
            seen.append(mask if visible is None else _mask_of(visible, shape) & mask)
            kinds.append(kind_of.get(int(entry.get("category_id", 0)), 0))
            scores.append(float(entry.get("score", 1.0)))
            ids.append(int(entry["id"]))
            ignore.append(bool(entry.get("iscrowd", 0)) or bool(entry.get("ignore", 0)))
        found = Instances.from_masks(full, field=FieldOfView(shape), score=scores, kind=kinds, visible=seen)
        out.append(
            Annotated(str(image["file_name"]), found, np.array(ids, dtype=np.int64), np.array(ignore, dtype=bool))
        )
    return out


def _mask_of(entry: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    if not isinstance(entry, dict):
        return rasterize(entry, shape)
    mask = decode_rle(entry)
    if mask.shape != shape:
        raise ReadError(f"expected RLE of the picture's size {shape}, got {mask.shape}")
    return mask
