"""Pictures are read right or refused with the reason."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from tests.conftest import picture, save

from crystalscope.errors import ReadError
from crystalscope.io.pictures import bits_in_use, read_picture, to_grey


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg"])
def test_formats_round_trip(tmp_path, suffix):
    data = picture([(40, 50, 15)])
    got = read_picture(save(tmp_path / f"a{suffix}", data)).data
    assert got.dtype == np.uint8
    assert got.shape == data.shape
    assert np.abs(got.astype(int) - data).max() <= (12 if suffix == ".jpg" else 0)


def test_colour_is_rgb_and_equal_channels_are_grey(tmp_path):
    bgr = np.zeros((20, 30, 3), np.uint8)
    bgr[..., 2] = 200
    assert read_picture(save(tmp_path / "red.png", bgr)).data[0, 0].tolist() == [200, 0, 0]
    grey = np.repeat(picture()[:, :, None], 3, axis=2)
    assert read_picture(save(tmp_path / "grey.png", grey)).data.ndim == 2


def test_alpha_is_dropped_and_said(tmp_path):
    data = np.full((20, 30, 4), 255, np.uint8)
    data[..., :3] = 90
    assert read_picture(save(tmp_path / "full.png", data)).note == ""
    data[3, 3, 3] = 10
    got = read_picture(save(tmp_path / "part.png", data))
    assert got.note == "alpha channel ignored"
    assert got.data.shape == (20, 30)


def test_sixteen_bit_with_twelve_used(tmp_path):
    data = (picture([(40, 50, 15)]).astype(np.uint16) << 4) + 7
    got = read_picture(save(tmp_path / "a.tif", data)).data
    assert got.dtype == np.uint16
    assert np.array_equal(got, data)
    assert bits_in_use([int(data.max())]) == 12
    assert to_grey(got, bits=12).max() == pytest.approx(data.max() / 4095)


def test_pages_of_a_tiff(tmp_path):
    stack = np.stack([picture(seed=i) for i in range(3)])
    tifffile.imwrite(tmp_path / "s.tif", stack, photometric="minisblack")
    for i in range(3):
        assert np.array_equal(read_picture(tmp_path / "s.tif", page=i).data, stack[i])
    tifffile.imwrite(tmp_path / "ij.tif", stack, imagej=True)
    assert np.array_equal(read_picture(tmp_path / "ij.tif", page=2).data, stack[2])


def huge_png(columns: int, rows: int) -> bytes:
    def piece(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = piece(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + piece(b"IDAT", zlib.compress(b"")) + piece(b"IEND", b"")


BAD = {
    "empty.png": (b"", "empty file"),
    "text.png": (b"this is a text file\n" * 10, "it is no picture"),
    "huge.png": (huge_png(30_000, 30_000), "at most 200000000 pixels, got 30000 x 30000"),
    "short.bmp": (b"BM" + bytes(10), "truncated"),
    "broken.tif": (b"II*\0" + bytes(12), "whole TIFF"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_say_why(tmp_path, name):
    content, reason = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReadError, match=reason):
        read_picture(tmp_path / name)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_truncated_files_are_not_half_read(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", picture([(40, 50, 15)], noise=20))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(ReadError):
        read_picture(path)


def test_damaged_png_is_noticed(tmp_path):
    path = save(tmp_path / "a.png", picture(noise=20))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(bytes(raw))
    with pytest.raises(ReadError, match="checksum"):
        read_picture(path)


def test_missing_file_and_nan():
    from pathlib import Path

    with pytest.raises(ReadError, match="check the file"):
        read_picture(Path("no-such-picture.png"))


def test_float_tiff_with_nan_is_refused(tmp_path):
    data = np.ones((20, 20), np.float32)
    data[3, 3] = np.nan
    tifffile.imwrite(tmp_path / "f.tif", data)
    with pytest.raises(ReadError, match="finite"):
        read_picture(tmp_path / "f.tif")


def test_grey_is_luminance():
    rgb = np.zeros((2, 2, 3), np.uint8)
    rgb[..., 1] = 255
    assert to_grey(rgb)[0, 0] == pytest.approx(0.587, abs=0.003)
    assert cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[0, 0] == round(255 * float(to_grey(rgb)[0, 0]))
