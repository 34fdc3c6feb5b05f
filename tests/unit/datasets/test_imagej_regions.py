"""ImageJ regions, against the bytes of its format and the rules by which it fills."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi
from tests.conftest import save

from crystalscope.core import FieldOfView, Instances
from crystalscope.datasets import imagej
from crystalscope.datasets.exchange import Collector
from crystalscope.errors import ReadError
from crystalscope.io.coco import Annotated

SHAPE = (40, 50)


def collect(folder: Path, source: Path, pictures: list[str]) -> Collector:
    for name in pictures:
        save(folder / name, np.zeros(SHAPE, np.uint8))
    into = Collector(folder, pictures, prefix=".", kinds={})
    imagej.read(source, into)
    return into


def mask_of(tmp_path: Path, roi: ImagejRoi | bytes) -> np.ndarray:
    raw = roi if isinstance(roi, bytes) else roi.tobytes()
    (tmp_path / "a.roi").write_bytes(raw)
    into = collect(tmp_path, tmp_path / "a.roi", ["a.png"])
    (got,) = into.annotated()
    assert not into.faults
    return got.instances.mask(0)


def box(left: int, top: int, right: int, bottom: int) -> dict[str, int]:
    return {"left": left, "top": top, "right": right, "bottom": bottom}


def centres() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    return x, y


def test_bytes_are_those_of_the_format(tmp_path):
    """Header, big-endian, as described in ImageJ's RoiDecoder."""
    mask = np.zeros(SHAPE, bool)
    mask[4:9, 7:20] = True
    item = Annotated("a.png", Instances.from_masks([mask], field=FieldOfView(SHAPE)), np.array([3]), np.array([False]))
    ((name, content),) = imagej.write([item])
    assert name == "a.zip"
    (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / name) as z:
        assert z.namelist() == ["00001-crystal.roi"]
        raw = z.read("00001-crystal.roi")
    magic, _, kind, top, left, bottom, right, n = struct.unpack(">4shBxhhhhH", raw[:18])
    assert (magic, kind, top, left, bottom, right, n) == (b"Iout", 8, 4, 7, 9, 20, 4)
    x, y = struct.unpack(">4h", raw[64:72]), struct.unpack(">4h", raw[72:80])
    assert sorted(zip(x, y, strict=True)) == [(0, 0), (0, 5), (13, 0), (13, 5)]
    assert "id: 3\n".encode("utf-16-be") in raw


def test_rectangle_and_oval(tmp_path):
    x, y = centres()
    got = mask_of(tmp_path, ImagejRoi(roitype=ROI_TYPE.RECT, **box(5, 6, 25, 16)))
    assert np.array_equal(got, (x > 5) & (x < 25) & (y > 6) & (y < 16))
    got = mask_of(tmp_path, ImagejRoi(roitype=ROI_TYPE.OVAL, **box(5, 6, 26, 16)))
    assert np.array_equal(got, ((x - 15.5) / 10.5) ** 2 + ((y - 11) / 5) ** 2 <= 1)
    got = mask_of(tmp_path, ImagejRoi(roitype=ROI_TYPE.RECT, rounded_rect_arc_size=8, **box(5, 6, 25, 16)))
    dx, dy = np.maximum(0, abs(x - 15) - 6), np.maximum(0, abs(y - 11) - 1)
    assert np.array_equal(got, (dx**2 + dy**2 <= 16) & (abs(x - 15) < 10) & (abs(y - 11) < 5))
    assert not got[6, 5]


def polygon(points: list[tuple[float, float]], kind: ROI_TYPE = ROI_TYPE.POLYGON) -> ImagejRoi:
    roi = ImagejRoi.frompoints(points)
    roi.roitype = kind
    return roi


def test_pixels_on_an_outline_as_imagej_counts_them(tmp_path):
    """A left side through pixel centres does not take them, a right one does: the other way round than in COCO."""
    got = mask_of(tmp_path, polygon([(5, 5), (15, 15), (5, 15)]))
    r, c = np.nonzero(got)
    assert (r >= c).all()
    assert got[10, 10]  # on the diagonal, a right side
    got = mask_of(tmp_path, polygon([(5, 5), (15, 5), (15, 15)], ROI_TYPE.FREEHAND))
    assert not got[10, 10]  # a left side
    assert got[10, 11]


def test_parts_of_pixels(tmp_path):
    roi = polygon([(5.6, 5.2), (15.4, 5.2), (15.4, 9.6), (5.6, 9.6)], ROI_TYPE.FREEHAND)
    assert roi.options & ROI_OPTIONS.SUB_PIXEL_RESOLUTION
    x, y = centres()
    assert np.array_equal(mask_of(tmp_path, roi), (x > 5.6) & (x < 15.4) & (y > 5.2) & (y < 9.6))


def with_ratio(roi: ImagejRoi, ratio: float) -> bytes:
    raw = roi.tobytes()
    return raw[:52] + struct.pack(">f", ratio) + raw[56:]


def test_ellipse_and_turned_rectangle(tmp_path):
    x, y = centres()
    line = {"x1": 10.0, "y1": 10.0, "x2": 34.0, "y2": 28.0}
    along = ((x - 22) * 24 + (y - 19) * 18) / 30
    across = ((y - 19) * 24 - (x - 22) * 18) / 30
    ellipse = ImagejRoi(roitype=ROI_TYPE.FREEHAND, subtype=ROI_SUBTYPE.ELLIPSE, **line)
    got = mask_of(tmp_path, with_ratio(ellipse, 0.4))
    level = (along / 15) ** 2 + (across / 6) ** 2
    assert (got == (level < 1))[abs(level - 1) > 0.02].all()
    turned = ImagejRoi(roitype=ROI_TYPE.FREEHAND, subtype=ROI_SUBTYPE.ROTATED_RECT, **line)
    got = mask_of(tmp_path, with_ratio(turned, 8.0))
    clear = (abs(abs(along) - 15) > 1e-4) & (abs(abs(across) - 4) > 1e-4)
    assert (got == ((abs(along) < 15) & (abs(across) < 4)))[clear].all()


def composite(path: list[float]) -> ImagejRoi:
    values = np.array(path, np.float32)
    return ImagejRoi(roitype=ROI_TYPE.RECT, multi_coordinates=values, shape_roi_size=len(values), **box(0, 0, 50, 40))


def ring(points: list[tuple[float, float]]) -> list[float]:
    (x, y), *rest = points
    return [0, x, y, *(v for px, py in rest for v in (1, px, py)), 4]


def test_composite_with_hole_curves_and_parts(tmp_path):
    x, y = centres()
    outer = ring([(5, 5), (25, 5), (25, 25), (5, 25)])
    # The hole goes round the same way: ImageJ fills even-odd.
    inner = ring([(10, 10), (20, 10), (20, 20), (10, 20)])
    apart = ring([(40, 30), (45, 30), (45, 35), (40, 35)])
    got = mask_of(tmp_path, composite(outer + inner + apart))
    body = (abs(x - 15) < 10) & (abs(y - 15) < 10)
    hole = (abs(x - 15) < 5) & (abs(y - 15) < 5)
    assert np.array_equal(got, body & ~hole | (abs(x - 42.5) < 2.5) & (abs(y - 32.5) < 2.5))
    k = 10 * 4 / 3 * (np.sqrt(2) - 1)
    circle = [0, 30, 20, 3, 30, 20 + k, 20 + k, 30, 20, 30, 3, 20 - k, 30, 10, 20 + k, 10, 20]
    circle += [3, 10, 20 - k, 20 - k, 10, 20, 10, 3, 20 + k, 10, 30, 20 - k, 30, 20, 4]
    got = mask_of(tmp_path, composite(circle))
    radius = np.hypot(x - 20, y - 20)
    assert (got == (radius < 10))[abs(radius - 10) > 0.1].all()
    got = mask_of(tmp_path, composite([0, 10, 20, 2, 20, 0, 30, 20, 4]))  # a parabola, 10 high
    arc = 20 - 10 * (1 - ((x - 20) / 10) ** 2)
    assert (got == ((y < 20) & (y > arc)))[abs(y - arc) > 0.1].all()


def test_large_outlines_survive(tmp_path):
    """More corners and larger coordinates than 16 bit with a sign hold."""
    columns = 70_000
    comb = np.zeros((4, columns), bool)
    comb[0] = True
    comb[1:3, 1::2] = True
    item = Annotated(
        "a.png", Instances.from_masks([comb], field=FieldOfView(comb.shape)), np.array([1]), np.array([False])
    )
    ((_, content),) = imagej.write([item])
    (tmp_path / "a.zip").write_bytes(content)
    save(tmp_path / "a.png", np.zeros(comb.shape, np.uint8))
    into = Collector(tmp_path, ["a.png"], prefix=".", kinds={})
    imagej.read(tmp_path / "a.zip", into)
    (got,) = into.annotated()
    assert np.array_equal(got.instances.mask(0), comb)


def roi_zip(path: Path, rois: list[ImagejRoi]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as z:
        for k, roi in enumerate(rois):
            z.writestr(f"{k:04d}.roi", roi.tobytes())
    return path


def rectangle(position: int = 0, **more: object) -> ImagejRoi:
    return ImagejRoi(roitype=ROI_TYPE.RECT, position=position, **box(5, 6, 25, 16), **more)


def test_stack_positions_are_pictures_in_natural_order(tmp_path):
    source = roi_zip(tmp_path / "in" / "RoiSet.zip", [rectangle(2), rectangle(3), rectangle(3)])
    into = collect(tmp_path / "set", source, ["f_10.png", "f_2.png", "f_1.png"])
    got = {a.file_name: len(a.instances) for a in into.annotated()}
    assert got == {"f_2.png": 1, "f_10.png": 2}
    source = roi_zip(tmp_path / "in" / "RoiSet.zip", [rectangle(0)])
    with pytest.raises(ReadError, match="named as its picture, or regions with a stack position from 1 to 3"):
        collect(tmp_path / "set", source, ["f_10.png", "f_2.png", "f_1.png"])
    with_one = collect(tmp_path / "other", source, ["x.png"])
    assert len(with_one.annotated()[0].instances) == 1


def test_names_classes_groups_and_loose_files(tmp_path):
    named = [rectangle(name="needle-2"), rectangle(name="0003-0120"), rectangle(name="1", group=4)]
    named.append(rectangle(name="4a2262a4-e842-11f1-bf37-02fc00000001"))
    roi_zip(tmp_path / "in" / "a_RoiSet.zip", named)
    (tmp_path / "in" / "b").mkdir()
    for k in range(2):
        (tmp_path / "in" / "b" / f"{k}.roi").write_bytes(rectangle(props="label: air bubble\nnote: odd\n").tobytes())
    (tmp_path / "in" / "c.roi").write_bytes(rectangle(7).tobytes())
    into = collect(tmp_path / "set", tmp_path / "in", ["a.png", "b.png", "c.png"])
    a, b, c = into.annotated()
    assert a.labels == ("needle", "crystal", "crystal", "crystal")
    assert a.attributes == ({}, {}, {"group": 4}, {})
    assert b.labels == ("air bubble",) * 2
    assert b.attributes == ({"note": "odd"},) * 2
    assert len(c.instances) == 0
    assert [str(f) for f in into.faults] == [
        "c.png, c.roi: lies at position 7 of a stack, c.png is one picture; left out"
    ]


def test_what_has_no_area_is_told(tmp_path):
    broken = polygon([(1.0, 1.0), (9.0, 2.0), (4.0, 5.0)])
    broken.subpixel_coordinates[1, 1] = np.nan
    rois = [
        ImagejRoi(roitype=ROI_TYPE.LINE, x1=1, y1=1, x2=9, y2=9),
        polygon([(1, 1), (5, 5)]),
        polygon([(1, 1), (9, 9), (4, 5)], ROI_TYPE.POINT),
        broken,
        composite([0, 1, 1, 1, 5]),
        composite([1, 1, 1, 4]),
        rectangle(subtype=ROI_SUBTYPE.TEXT, text="x"),
        rectangle(),
    ]
    source = roi_zip(tmp_path / "a.zip", rois)
    with zipfile.ZipFile(source, "a") as z:
        z.writestr("short.roi", b"Iout" + bytes(20))
        z.writestr("cut.roi", polygon([(1, 1), (9, 9), (4, 5)]).tobytes()[:70])
    into = collect(tmp_path, source, ["a.png"])
    assert len(into.annotated()[0].instances) == 1
    told = "\n".join(str(f) for f in into.faults)
    for part in (
        "line has no area",
        "got 2",
        "point has no area",
        "NaN",
        "composite path",
        "text has no area",
        "short",
    ):
        assert part in told
    assert "cut.roi" in told
    assert len(into.faults) == 9


def test_spline_is_noted(tmp_path):
    roi = polygon([(5, 5), (20, 5), (12, 20)])
    roi.options |= ROI_OPTIONS.SPLINE_FIT
    (tmp_path / "a.roi").write_bytes(roi.tobytes())
    into = collect(tmp_path, tmp_path / "a.roi", ["a.png"])
    assert into.notes() == ["outlines with a spline fit, read with straight edges between their points: 1"]
