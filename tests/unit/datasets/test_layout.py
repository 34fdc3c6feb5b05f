"""What names of folders and files tell."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystalscope.datasets import layout
from crystalscope.datasets.coco_names import resolve_names


@pytest.mark.parametrize(
    ("name", "size", "loading"),
    [
        ("100um_5wt%", 100, 5),
        ("100 µm 5 wt", 100, 5),
        ("400um-2.5wt", 400, 2.5),
        ("400 micron, 3,3 wt%", 400, 3.3),
        ("Large 2.5%", None, 2.5),
        ("PS_500microns_2p5wt", 500, 2.5),
        ("wt_5_400um", 400, 5),
        ("5wt_400um", 400, 5),
        ("12.5wt%", None, 12.5),
        ("Loading 3.3", None, 3.3),
        ("400μm", 400, None),
        ("image_0150", None, None),
        ("batch 2", None, None),
        ("100%", None, None),
    ],
)
def test_size_and_loading(name, size, loading):
    assert layout.size_um(name) == size
    assert layout.loading_wt(name) == loading


def test_sizes_without_a_unit_count_only_where_published():
    published = (150.0, 400.0)
    assert layout.size_um("PS400", published=published) == 400
    assert layout.size_um("PS400_2.5wt%", published=published) == 400
    assert layout.size_um("PS450", published=published) is None
    assert layout.size_um("frame_0150", published=published) is None
    assert layout.size_um("400wt", published=published) is None
    assert layout.size_um("1.400", published=published) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("10 mg per mL", 10),
        ("10mgmL", 10),
        ("3,5 g_L", 3.5),
        ("0.02 g-mL", 20),
        ("500 mg/L", 0.5),
        ("2 glutamic", None),
    ],
)
def test_concentrations(name, value):
    found = layout.concentration_g_per_l(name)
    assert found == (value if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    ("read", "name", "value"),
    [
        (layout.size_label, "Large 2.5%", "large"),
        (layout.size_label, "L_5wt", "large"),
        (layout.size_label, "5 g_L", None),
        (layout.size_label, "Batch-3 1wt", "batch 3"),
        (layout.split_of, "Calibration_Images", "calibration"),
        (layout.split_of, "ValidationSet", "validation"),
        (layout.split_of, "contest", None),
        (layout.instrument_of, "EasyViewer-100", "EasyViewer-100"),
        (layout.instrument_of, "EV400 images", "EasyViewer-400"),
        (layout.instrument_of, "easy_viewer_100", "EasyViewer-100"),
        (layout.instrument_of, "level 100", None),
        (layout.substance_of, "VANSIL W-30", "wollastonite"),
        (layout.substance_of, "LGA 5wt", "glutamic acid"),
        (layout.substance_of, "flga", None),
        (layout.part_of, "RawImages", "raw"),
        (layout.part_of, "CROPPED", "cropped"),
        (layout.part_of, "drawings", None),
        (layout.class_of, "CEX (1)", "cephalexin"),
        (layout.class_of, "PG5308", "phenylglycine"),
        (layout.class_of, "Phenyl-glycine crystals", "phenylglycine"),
        (layout.class_of, "cephalexin-reactive-crystallization", None),
        (layout.class_of, "cephalexin with phenylglycine", None),
        (layout.class_of, "jpg", None),
    ],
)
def test_words_of_names(read, name, value):
    assert read(name) == value


def test_the_folder_next_to_the_file_counts_first_and_contradictions_are_told():
    path = PurePosixPath("400um_5wt%/2 wt%/300um_1wt_0001.png")
    assert layout.from_path(path, layout.loading_wt) == (2, True)
    assert layout.from_path(path, layout.size_um) == (400, True)
    assert layout.from_path(PurePosixPath("x/300um_1.png"), layout.size_um) == (300, False)
    assert layout.from_folders(path, layout.size_um) == 400


def test_damaged_files(tmp_path):
    png = b"\x89PNG\r\n\x1a\n" + bytes(20)
    for name, raw, why in [
        ("a.png", b"", "empty"),
        ("b.png", png, "cut off"),
        ("c.png", png + b"IEND1234", ""),
        ("d.jpg", b"\xff\xd8\xff\xe0" + bytes(90000), "cut off"),
        ("e.jpg", b"\xff\xd8\xff\xe0" + bytes(50) + b"\xff\xd9trailing notes of a camera", ""),
        ("f.tif", b"<html>sign in</html>", "no picture"),
        ("g.jpg", png + b"IEND1234", ""),
        ("h.bmp", b"BM" + bytes(60), ""),
    ]:
        (tmp_path / name).write_bytes(raw)
        assert layout.looks_damaged(tmp_path / name).startswith(why)
        assert bool(layout.looks_damaged(tmp_path / name)) == bool(why)
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    assert layout.looks_damaged(tmp_path / "link.png").startswith("not readable")


FILES = (
    "images/150um_1wt%/frame_0001.png",
    "images/300um_1wt%/frame_0001.png",
    "images/300um_1wt%/other.PNG",
    "val/x.jpg",
)


@pytest.mark.parametrize(
    ("name", "coco", "file"),
    [
        ("images/150um_1wt%/frame_0001.png", "a.json", FILES[0]),
        ("./images/150um_1wt%/frame_0001.png", "a.json", FILES[0]),
        ("150um_1wt%/frame_0001.png", "a.json", FILES[0]),
        ("150 um 1 wt/frame_0001.png", "a.json", FILES[0]),
        ("frame_0001.png", "images/300um_1wt%/a.json", FILES[1]),
        ("task_7/frame_0001.png", "images/300um_1wt%/a.json", FILES[1]),
        ("other.png", "a.json", FILES[2]),
        ("C:/data/other.png", "a.json", FILES[2]),
        ("x.png", "a.json", FILES[3]),
    ],
)
def test_names_in_annotations_find_their_picture(name, coco, file):
    found = resolve_names([name], coco=coco, files=FILES)
    assert found.named == {name: file}
    assert not found.missing
    assert not found.ambiguous


def test_names_that_fit_none_or_several():
    found = resolve_names(["frame_0001.png", "gone.png"], coco="a.json", files=FILES)
    assert (found.named, found.missing, found.ambiguous) == ({}, ("gone.png",), ("frame_0001.png",))


@given(
    st.lists(st.text("ab1_", min_size=1, max_size=4), min_size=1, max_size=3), st.text("xy2", min_size=1, max_size=4)
)
def test_a_full_path_always_finds_itself(folders, stem):
    file = "/".join([*folders, stem + ".png"])
    other = "/".join([*folders, "z" + stem + ".png"])
    assert resolve_names([file], coco="c.json", files=[file, other]).named == {file: file}
