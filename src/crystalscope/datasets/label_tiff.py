"""Label pictures: one number a particle, 0 the background; pages of a TIFF are layers where particles overlap."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystalscope.datasets.exchange import Collector, source_files
from crystalscope.datasets.traits import Traits, read_sidecar, sidecar
from crystalscope.errors import ReadError
from crystalscope.io.coco import Annotated
from crystalscope.io.pictures import PICTURE_SUFFIXES, full_pages, imagej_planes, read_picture
from crystalscope.io.regions import Region
from crystalscope.measure.outline import label_parts

_KEYS = ("file", "layer", "value")
_LARGEST = 2**32 - 1


def read(source: Path, into: Collector) -> None:
    """Read a label picture, or a folder of them, each named as its picture (also ``NAME_mask``, ``NAME_labels`` …).

    Whole numbers of 8 to 32 bit, also stored as floating point; a colour picture has one particle a colour. All pixels
    of one number on one page are one particle, also where they are apart. The number is the id of the particle. Without
    the table that `write` puts beside, all are crystals.

    Raises
    ------
    ReadError
        When the table cannot be read, or the pictures are those of the dataset.
    """
    folder = source if source.is_dir() else source.parent
    files = {p.relative_to(folder).as_posix(): p for p in source_files(source, PICTURE_SUFFIXES)}
    photographs = {(into.root / p).resolve() for p in into.pictures}
    if any(path.resolve() in photographs for path in files.values()):
        raise ReadError(f"expected label pictures in {source}, got the pictures of the dataset themselves")
    more = read_sidecar(folder, _KEYS)
    for name, picture in into.match(list(files), stems=True).items():
        try:
            layers = read_layers(files[name])
        except ReadError as e:
            into.fault(picture, "", f"{e}; left out")
            continue
        size = int(layers[0].shape[0]), int(layers[0].shape[1])
        if into.open(picture, name=name, stated=size) is None:
            continue
        for layer, labels in enumerate(layers, 1):
            for value, region in regions(labels).items():
                row = more.get((name, str(layer), str(value)))
                traits = Traits(id=value) if row is None else Traits.from_text(row.pop("label", "crystal"), _rest(row))
                where = f"label {value}" + (f" of page {layer}" if len(layers) > 1 else "")
                added = into.add(picture, where, partial(_same, region), traits)
                if added and row is None and label_parts(region.mask.astype(np.uint8)).max() > 1:
                    into.note("labels of several parts apart, read as one particle each")


def _same(region: Region) -> Region:
    return region


def _rest(row: dict[str, str]) -> dict[str, str]:
    return {k: v for k, v in row.items() if k not in _KEYS}


def read_layers(path: Path) -> list[NDArray[np.int64]]:
    """Pages of a label picture, (rows, columns) of whole numbers from 0.

    Raises
    ------
    ReadError
        When it is no picture, or holds other numbers.
    """
    with path.open("rb") as f:
        head = f.read(4)
    tiff = head in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    pages: list[NDArray[Any]] = _tiff_pages(path) if tiff else [read_picture(path).data]
    out = []
    for page in pages:
        if page.ndim == 3 and page.shape[2] in (3, 4) and page.dtype == np.uint8:
            colour = page.astype(np.int64)
            page = colour[..., 0] * 65536 + colour[..., 1] * 256 + colour[..., 2]
        if page.ndim != 2 or page.shape != pages[0].shape[:2]:
            raise ReadError(f"expected pages of rows and columns of one size in {path.name}, got shape {page.shape}")
        whole = page.dtype.kind in "uib" or (np.isfinite(page).all() and (page == np.floor(page)).all())
        if not whole or page.min() < 0 or page.max() > _LARGEST:
            raise ReadError(
                f"expected whole numbers from 0 to {_LARGEST} in {path.name}, got {page.dtype} from {page.min()} to "
                f"{page.max()}; save it as a label picture of 16 or 32 bit"
            )
        out.append(page.astype(np.int64))
    return out


def _tiff_pages(path: Path) -> list[NDArray[Any]]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            pages = full_pages(tif)
            if tif.is_imagej and len(pages) == 1 and imagej_planes(tif) > 1:
                stack = tif.series[0].asarray()
                return list(stack.reshape(-1, *stack.shape[-2:]))
            return [p.asarray() for p in pages]
    except ReadError:
        raise
    except Exception as e:  # the decoders behind tifffile raise whatever they like on damaged data
        raise ReadError(f"expected a whole TIFF, got {path.name}: {e}; copy or export it again") from e


def regions(labels: NDArray[np.int64]) -> dict[int, Region]:
    """The region of every number above 0 of a label picture (rows, columns), in order of the numbers."""
    from scipy import ndimage

    inside = np.flatnonzero(labels)
    values, number = np.unique(labels.ravel()[inside], return_inverse=True)
    place = np.zeros(labels.shape, dtype=np.int32)
    place.ravel()[inside] = number.ravel() + 1
    return {
        int(value): Region(box[0].start, box[1].start, place[box] == i)
        for i, (value, box) in enumerate(zip(values, ndimage.find_objects(place), strict=True), 1)
    }


def write(items: Sequence[Annotated], *, classes: Sequence[str] = ()) -> Iterator[tuple[str, bytes]]:
    """A TIFF for every picture, and a table with what label pictures cannot hold.

    16 bit where the numbers allow, else 32 bit. The number is the id of the particle, where it fits; else particles are
    numbered from 1 and the table has the id. A particle that overlaps others stands on the first page where its pixels
    are free.

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
    rows: list[dict[str, str]] = []
    for item, stem in zip(items, stems, strict=True):
        # Two pictures may differ in nothing but their suffix.
        name = (item.file_name if stems.count(stem) > 1 else stem) + ".tif"
        n = len(item.ids)
        fits = n == 0 or (item.ids.min() > 0 and item.ids.max() <= _LARGEST and len(np.unique(item.ids)) == n)
        values = item.ids if fits else np.arange(1, n + 1)
        dtype = np.uint16 if values.max(initial=0) < 2**16 else np.uint32
        layers: list[NDArray[Any]] = [np.zeros(item.instances.field.shape, dtype=dtype)]
        for k, value in enumerate(values):
            layer = _place(item, k, int(value), layers)
            key = {"file": name, "layer": str(layer + 1), "value": str(value)}
            rows.append(key | Traits.of(item, k).to_row())
        yield name, _tiff(layers)
    yield sidecar(rows, _KEYS)


def _place(item: Annotated, k: int, value: int, layers: list[NDArray[Any]]) -> int:
    """Put a particle on the first layer that is free there, made where there is none; its number."""
    r0, c0, r1, c1 = item.instances.boxes[k]
    crop = item.instances.crop(k)
    for i, layer in enumerate(layers):
        if not layer[r0:r1, c0:c1][crop].any():
            layer[r0:r1, c0:c1][crop] = value
            return i
    layers.append(np.zeros_like(layers[0]))
    layers[-1][r0:r1, c0:c1][crop] = value
    return len(layers) - 1


def _tiff(layers: list[NDArray[Any]]) -> bytes:
    import tifffile

    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as tif:
        for layer in layers:
            tif.write(layer, photometric="minisblack", compression="zlib", metadata=None, software=False)
    return buffer.getvalue()
