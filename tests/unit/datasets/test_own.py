"""A folder of one's own made a dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from tests.conftest import save

from crystalscope.datasets.dataset import open_dataset
from crystalscope.datasets.own import init_dataset
from crystalscope.errors import ReadError, WriteError

GREY = np.full((20, 30), 90, np.uint8)


def listing(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_pictures_in_subfolders_by_experiment(tmp_path):
    for name in ("run 1/a.png", "run 1/b.png", "run 2/a.png"):
        save(tmp_path / name, GREY)
    before = listing(tmp_path)
    report = init_dataset(tmp_path, name="mine")
    assert (report.path, report.pictures, report.folder, report.experiments) == (tmp_path / "dataset.toml", 3, ".", 2)
    assert {k: v for k, v in listing(tmp_path).items() if k in before} == before
    assert listing(tmp_path).keys() - before.keys() == {"dataset.toml", "frames.csv"}
    opened = open_dataset(tmp_path)
    assert opened.frames["experiment"].tolist() == ["run 1", "run 1", "run 2"]
    assert opened.frames["frame"].tolist() == [0, 1, 2]
    assert opened.read(0).pixel_size_um is None
    assert not opened.notes
    missing = "\n".join(report.missing)
    for what in ("licence", "instrument", "pixel_size_um", "3 of 3 pictures state none"):
        assert what in missing
    assert "experiment in" not in missing
    assert report.lines()[0].endswith("3 pictures of 2 experiments (by subfolder) in .")


def test_what_is_given_is_not_missing(tmp_path):
    save(tmp_path / "a.png", GREY)
    report = init_dataset(tmp_path, name="mine", licence="CC BY 4.0", instrument="EasyViewer-100", pixel_size_um=1.25)
    assert [m.split(" in ")[0] for m in report.missing] == ["experiment", "description, creators and solids_loading"]
    opened = open_dataset(tmp_path)
    assert opened.read(0).pixel_size_um == 1.25
    assert opened.frames["instrument"].tolist() == ["EasyViewer-100"]
    assert (opened.manifest.licence, opened.manifest.name) == ("CC BY 4.0", "mine")


def test_the_folder_of_pictures_is_found(tmp_path):
    save(tmp_path / "one" / "raw images" / "a.png", GREY)
    assert init_dataset(tmp_path / "one", name="x").folder == "raw images"
    for name in ("Images/a.png", "masks/a.png"):
        save(tmp_path / "two" / name, GREY)
    assert init_dataset(tmp_path / "two", name="x").folder == "Images"
    assert open_dataset(tmp_path / "two").frames["file"].tolist() == ["Images/a.png"]
    save(tmp_path / "three" / "a.png", GREY)
    save(tmp_path / "three" / "images" / "b.png", GREY)
    assert init_dataset(tmp_path / "three", name="x").folder == "."
    assert init_dataset(tmp_path / "three", name="x", pictures="images", overwrite=True).pictures == 1


def test_scales_of_tiff_files(tmp_path):
    for name, scale in (("a.tif", 2.0), ("b.tif", 0.5)):
        tifffile.imwrite(tmp_path / name, GREY, imagej=True, resolution=(1 / scale, 1 / scale), metadata={"unit": "um"})
    report = init_dataset(tmp_path, name="x")
    assert open_dataset(tmp_path).manifest.pixel_size_um is None
    assert [open_dataset(tmp_path).read(i).pixel_size_um for i in range(2)] == pytest.approx([2, 0.5])
    assert not any("pixel_size_um" in m for m in report.missing)
    (tmp_path / "b.tif").unlink()
    (tmp_path / "frames.csv").unlink()
    init_dataset(tmp_path, name="x", overwrite=True)
    assert open_dataset(tmp_path).manifest.pixel_size_um == pytest.approx(2)
    save(tmp_path / "c.png", GREY)
    (tmp_path / "frames.csv").unlink()
    report = init_dataset(tmp_path, name="x", overwrite=True)
    assert any("1 of 2 pictures state none" in m for m in report.missing)


def test_nothing_is_overwritten_unasked(tmp_path):
    save(tmp_path / "a.png", GREY)
    pd.DataFrame({"file": ["a.png"], "experiment": ["E7"]}).to_csv(tmp_path / "frames.csv", index=False)
    init_dataset(tmp_path, name="x")
    with pytest.raises(WriteError, match=r"a folder without dataset\.toml, got .*ask to overwrite"):
        init_dataset(tmp_path, name="y")
    save(tmp_path / "b.png", GREY)
    report = init_dataset(tmp_path, name="y", overwrite=True)
    assert "frames.csv was there and is kept; it lacks 1 pictures" in report.notes
    opened = open_dataset(tmp_path)
    assert opened.manifest.name == "y"
    assert opened.frames["experiment"].tolist()[0] == "E7"


def test_label_pictures_among_the_pictures_are_told(tmp_path):
    for name in ("a.png", "a_mask.png", "b_mask.png"):
        save(tmp_path / name, GREY)
    (note, _) = init_dataset(tmp_path, name="x").notes
    assert note.startswith("1 files look like label pictures, such as a_mask.png")


def test_no_pictures(tmp_path):
    with pytest.raises(ReadError, match="a folder of pictures"):
        init_dataset(tmp_path / "none", name="x")
    with pytest.raises(ReadError, match="copy them there"):
        init_dataset(tmp_path, name="x")
