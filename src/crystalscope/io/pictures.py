"""Pictures from files: decoded from bytes read once, checked before they are believed."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.errors import ReadError
from crystalscope.io.tables import write_bytes

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
TIFF_SUFFIXES = (".tif", ".tiff")

# OpenCV reports each fault on stderr besides returning None; the fault goes into the ledger instead.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True, eq=False)
class Decoded:
    """Pixels of a picture and what was noticed on the way.

    Parameters
    ----------
    data
        (rows, columns) or (rows, columns, 3) RGB; uint8, uint16 or float32.
    sha256
        Of the file.
    note
        Such as an alpha channel that was ignored; empty otherwise.
    """

    data: NDArray[Any]
    sha256: str
    note: str = ""


def read_picture(path: Path, *, page: int | None = None, max_pixels: int = 200_000_000) -> Decoded:
    """Read one picture.

    Parameters
    ----------
    path
        A PNG, JPEG, BMP or TIFF file; its content decides, not its name.
    page
        Page of a TIFF, from 0; None: the first.
    max_pixels
        Larger pictures are refused before they are decoded.

    Returns
    -------
    Decoded. Colour with three equal channels comes as one channel; an alpha channel is dropped.

    Raises
    ------
    ReadError
        When the file is missing, empty, truncated, damaged, of no known format, or too large.
    """
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise ReadError(f"expected a readable picture, got {path.name}: {e.strerror}; check the file") from e
    digest = hashlib.sha256(raw).hexdigest()
    if not raw:
        raise ReadError(f"expected a picture in {path.name}, got an empty file; copy it again")
    if raw[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        data: Any = _tiff_page(raw, path.name, page or 0, max_pixels)
    else:
        _check(raw, path.name, max_pixels)
        try:
            data = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error as e:
            raise ReadError(f"expected a picture in {path.name}, decoding failed: {e.err}") from e
        if data is None:
            raise ReadError(f"expected a picture in {path.name}, got damaged data; copy it again")
        if data.ndim == 3 and data.shape[2] >= 3:
            data = data[:, :, [2, 1, 0, 3][: data.shape[2]]]
    pixels, note = _channels(data, path.name)
    return Decoded(pixels, digest, note)


def _channels(data: NDArray[Any], name: str) -> tuple[NDArray[Any], str]:
    """One or three channels in a dtype of the project, and a note."""
    note = ""
    if data.ndim == 3 and data.shape[2] in (2, 4):
        alpha = data[:, :, -1]
        full = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "ui" else 1.0
        if bool((alpha != full).any()):
            note = "alpha channel ignored"
        data = data[:, :, :-1]
    if data.ndim == 3 and data.shape[2] == 1:
        data = data[:, :, 0]
    if data.ndim == 3 and _grey_in_colour(data):
        data = data[:, :, 0]
    if data.ndim not in (2, 3) or (data.ndim == 3 and data.shape[2] != 3):
        raise ReadError(f"expected one or three channels in {name}, got shape {data.shape}; export it as RGB")
    if data.dtype == bool:
        data = data.astype(np.uint8) * 255
    elif data.dtype.kind == "f":
        if not np.isfinite(data).all():
            raise ReadError(f"expected finite values in {name}, got NaN or infinity; replace them first")
        data = data.astype(np.float32)
    elif data.dtype not in (np.uint8, np.uint16):
        if data.dtype.kind not in "ui" or data.min() < 0 or data.max() > 65535:
            raise ReadError(f"expected 8 or 16 bit in {name}, got {data.dtype}; convert it to 16 bit")
        data = data.astype(np.uint16)
    return np.ascontiguousarray(data), note


def _grey_in_colour(data: NDArray[Any]) -> bool:
    for step in (16, 1):
        part = data[::step, ::step]
        if not (np.array_equal(part[..., 0], part[..., 1]) and np.array_equal(part[..., 0], part[..., 2])):
            return False
    return True


def _check(raw: bytes, name: str, max_pixels: int) -> None:
    """Raise ReadError unless `raw` is a whole PNG, JPEG or BMP of at most `max_pixels`."""
    if raw[:8] == b"\x89PNG\r\n\x1a\n":
        size = _png_size(raw, name)
    elif raw[:2] == b"\xff\xd8":
        size = _jpeg_size(raw, name)
    elif raw[:2] == b"BM":
        size = _bmp_size(raw, name)
    else:
        raise ReadError(
            f"expected PNG, JPEG, BMP or TIFF in {name}, got data that starts with {raw[:8]!r}; it is no picture"
        )
    _check_size(size, name, max_pixels)


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise ReadError(
            f"expected at most {max_pixels} pixels, got {size[1]} x {size[0]} in {name}; cut the picture, or raise "
            "input.max_pixels"
        )


def _png_size(raw: bytes, name: str) -> tuple[int, int]:
    at = 8
    size = None
    while at + 12 <= len(raw):
        length, kind = struct.unpack(">I4s", raw[at : at + 8])
        end = at + 12 + length
        if end > len(raw):
            break
        if zlib.crc32(raw[at + 4 : end - 4]) != struct.unpack(">I", raw[end - 4 : end])[0]:
            raise ReadError(f"expected an intact PNG, got a checksum fault in {name}; copy it again")
        if kind == b"IHDR":
            columns, rows = struct.unpack(">II", raw[at + 8 : at + 16])
            size = (rows, columns)
        if kind == b"IEND" and size is not None:
            return size
        at = end
    raise ReadError(f"expected a whole PNG, got {name} truncated at {len(raw)} bytes; copy it again")


def _jpeg_size(raw: bytes, name: str) -> tuple[int, int]:
    at = 2
    size = None
    while at + 4 <= len(raw):
        if raw[at] != 0xFF:
            break
        marker = raw[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        length = struct.unpack(">H", raw[at + 2 : at + 4])[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and at + 9 <= len(raw):
            size = struct.unpack(">HH", raw[at + 5 : at + 9])
        if marker == 0xDA:
            break
        at += 2 + length
    # The decoder fills what is missing with grey: a file without its end marker is not to be believed.
    if size is None or raw.rfind(b"\xff\xd9") < at:
        raise ReadError(f"expected a whole JPEG, got {name} truncated at {len(raw)} bytes; copy it again")
    return int(size[0]), int(size[1])


def _bmp_size(raw: bytes, name: str) -> tuple[int, int]:
    if len(raw) < 30:
        raise ReadError(f"expected a whole BMP, got {name} truncated at {len(raw)} bytes; copy it again")
    offset = struct.unpack("<I", raw[10:14])[0]
    columns, rows = struct.unpack("<ii", raw[18:26])
    bits, compression = struct.unpack("<HI", raw[28:34])
    need = offset + abs(rows) * ((abs(columns) * bits + 31) // 32 * 4) if compression in (0, 3) else offset
    if len(raw) < need:
        raise ReadError(f"expected {need} bytes of BMP, got {len(raw)} in {name}: truncated; copy it again")
    return abs(rows), abs(columns)


def _tiff_page(raw: bytes, name: str, page: int, max_pixels: int) -> NDArray[Any]:
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(raw)) as tif:
            pages = full_pages(tif)
            if tif.is_imagej and len(pages) == 1 and imagej_planes(tif) > 1:
                stack = tif.series[0].asarray()
                data = stack.reshape(-1, *stack.shape[-2:])[page]
            else:
                chosen = pages[page]
                _check_size((int(chosen.imagelength), int(chosen.imagewidth)), name, max_pixels)
                data = chosen.asarray()
                if chosen.photometric == tifffile.PHOTOMETRIC.PALETTE:
                    data = np.moveaxis(chosen.colormap[:, data], 0, -1)
                elif chosen.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
                    data = np.invert(data)
    except ReadError:
        raise
    except Exception as e:  # the decoders behind tifffile raise whatever they like on damaged data
        raise ReadError(f"expected a whole TIFF, got {name}: {e}; copy or export it again") from e
    if data.ndim == 3 and data.shape[0] in (3, 4) and data.shape[2] not in (3, 4):
        data = np.moveaxis(data, 0, -1)
    return np.asarray(data)


def full_pages(tif: Any) -> list[Any]:
    """Pages of full resolution: previews and pyramid levels are left out."""
    pages = [p for p in tif.pages if not getattr(p, "is_reduced", False)]
    if not pages:
        raise ReadError("expected a whole TIFF with a page, got none; export it again")
    return pages


def imagej_planes(tif: Any) -> int:
    """Pictures in an ImageJ stack, of which all but the first may lie behind a single page."""
    return int((tif.imagej_metadata or {}).get("images", 1))


def to_grey(data: NDArray[Any], *, bits: int = 16) -> NDArray[np.float32]:
    """Grey of full scale 1.

    Parameters
    ----------
    data
        (rows, columns) or (rows, columns, 3) RGB; uint8, uint16 or float32 (full scale 1).
    bits
        Bits in use of uint16 data (see `bits_in_use`).

    Returns
    -------
    Shape (rows, columns), float32. Colour becomes luminance (ITU-R BT.601).
    """
    scale = {"uint8": 255.0, "uint16": 2.0**bits - 1}.get(data.dtype.name, 1.0)
    plane = cv2.cvtColor(data, cv2.COLOR_RGB2GRAY) if data.ndim == 3 else data
    return np.asarray(plane.astype(np.float32) * np.float32(1.0 / scale))


def bits_in_use(maxima: list[int]) -> int:
    """Smallest of 10, 12, 14 and 16 bits that holds the maxima of 16-bit pictures; 16 where there are none."""
    top = max(maxima, default=65535)
    return next(b for b in (10, 12, 14, 16) if top < 2**b)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while piece := f.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def write_png(path: Path, picture: NDArray[np.uint8]) -> Path:
    """Write a picture (rows, columns) grey or (rows, columns, 3) RGB as PNG; raises WriteError."""
    data = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return write_bytes(path, cv2.imencode(".png", data)[1].tobytes())
