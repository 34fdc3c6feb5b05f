"""The OpenCrystalData sets by name: stand-ins, messy folders, downloads."""

from __future__ import annotations

import json
import re
import shutil
import sys
from types import ModuleType

import cv2
import numpy as np
import pandas as pd
import pytest

from crystalscope.core import FieldOfView, Instances
from crystalscope.datasets.catalogue import CATALOGUE, entry_named, ignores_unannotated
from crystalscope.datasets.fetch import get_dataset
from crystalscope.datasets.folder import FRAME_COLUMNS
from crystalscope.datasets.loaders import dataset_report, for_sizes, open_known
from crystalscope.datasets.standins import NEEDLE_SPREAD, NEEDLES, write_standin
from crystalscope.errors import InputError, MissingExtraError, ReadError
from crystalscope.io.coco import Annotated
from crystalscope.io.manifest import Manifest, read_manifest, write_manifest

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)


def put(folder, *names):
    """Tiny pictures under the names given."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        ok, raw = cv2.imencode(path.suffix, PIXELS)
        assert ok
        path.write_bytes(raw.tobytes())
    return folder


def notes(dataset, word):
    return [n for n in dataset.notes if n.startswith(word)]


@pytest.fixture(scope="module")
def standins(tmp_path_factory):
    root = tmp_path_factory.mktemp("standins")
    return {name: write_standin(name, root / name) for name in CATALOGUE}


@pytest.fixture
def copy(standins, tmp_path):
    return lambda name: shutil.copytree(standins[name], tmp_path / "copy")


def test_what_was_published():
    assert {n: dict(e.counts) for n, e in CATALOGUE.items()} == {
        "cephalexin-impurity": {"raw": 400, "cropped": 6000},
        "agcrystal": {"pictures": 3888},
        "polystyrene": {"pictures": 2300},
        "vansil-glutamic": {"pictures": 120},
    }
    for entry in CATALOGUE.values():
        assert re.fullmatch(r"10\.34740/kaggle/dsv/\d{7}", entry.doi)
        assert entry.handle.startswith("opencrystaldata/")
    assert len({e.doi for e in CATALOGUE.values()}) == 4
    with pytest.raises(InputError, match="expected one of cephalexin-impurity, agcrystal"):
        entry_named("salt")


@pytest.mark.parametrize("name", CATALOGUE)
def test_manifests_hold_what_a_card_needs_and_come_back(name, tmp_path):
    manifest = entry_named(name).manifest(pixel_size_um=2.5)
    assert all([manifest.title, manifest.doi, manifest.url, manifest.citation, manifest.instrument, manifest.limits])
    assert "see the page of the set" in manifest.licence
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert ignores_unannotated(manifest) == (name == "polystyrene")
    assert not ignores_unannotated(Manifest(name="mine"))


@pytest.mark.parametrize("name", CATALOGUE)
def test_stand_ins_are_read_whole_and_told_to_be_stand_ins(name, standins):
    dataset = open_known(name, standins[name])
    assert list(dataset.frames.columns) == list(FRAME_COLUMNS)
    assert len(dataset) == len([p for p in standins[name].rglob("*") if p.suffix in (".png", ".jpg")])
    assert not notes(dataset, "skipped")
    # Nothing is missing but the number of pictures.
    assert all("(published)" in n for n in notes(dataset, "expected"))
    assert dataset.manifest.title.endswith("(rendered stand-in)")
    assert not dataset.manifest.doi
    assert "rendered stand-in" in dataset.notes[0]
    assert [image.data.shape for image in dataset]
    report = dataset_report(dataset)
    for note in dataset.notes:
        assert note.split(" ", 1)[1] in report


def test_a_seed_gives_the_same_pictures(standins, tmp_path):
    name = "vansil-glutamic"
    again = write_standin(name, tmp_path / "again")
    other = write_standin(name, tmp_path / "other", rng=1)
    files = sorted(p.relative_to(again) for p in again.rglob("*.*") if p.suffix in (".png", ".csv"))
    assert len(files) == 9
    assert all((again / f).read_bytes() == (standins[name] / f).read_bytes() for f in files)
    assert any((other / f).read_bytes() != (again / f).read_bytes() for f in files)
    with pytest.raises(InputError, match="at least one picture"):
        write_standin(name, tmp_path / "none", scale=0)


def test_cephalexin(standins):
    dataset = open_known("cephalexin-impurity", standins["cephalexin-impurity"])
    counts = dataset.frames.groupby(["part", "class"]).size().to_dict()
    assert counts == {(p, c): n for p, n in (("raw", 1), ("cropped", 3)) for c in ("cephalexin", "phenylglycine")}
    assert set(dataset.frames["instrument"]) == {"EasyViewer-100"}
    crops = dataset.frames[dataset.frames["part"] == "cropped"]
    assert crops["frame"].isna().all()
    assert any("6 crops were cut from" in n for n in notes(dataset, "assumed"))
    assert dataset.manifest.classes == ("cephalexin", "phenylglycine")
    # The crops of one crystal are turned copies.
    first, second = (dataset.read(int(i)).data for i in crops.index[:2])
    assert np.array_equal(np.rot90(first), second)


def test_crops_are_given_their_frame_where_their_name_tells_it(tmp_path):
    put(
        tmp_path,
        "Raw images/Phenylglycine crystals/IMG_01.png",
        "Raw images/Cephalexin crystals/IMG_01.png",
        "Cropped/PhenylGlycine/IMG_01_3.png",
        "Cropped/PhenylGlycine/run7_crop_12.png",
        "Cropped/PhenylGlycine/run7_crop_13.png",
        "Cropped/Cephalexin/5.png",
    )
    frames = open_known("cephalexin-impurity", tmp_path).frames.set_index("file")["frame"]
    assert frames["Cropped/PhenylGlycine/IMG_01_3.png"] == frames["Raw images/Phenylglycine crystals/IMG_01.png"]
    assert frames["Cropped/PhenylGlycine/IMG_01_3.png"] != frames["Raw images/Cephalexin crystals/IMG_01.png"]
    assert frames["Cropped/PhenylGlycine/run7_crop_12.png"] == frames["Cropped/PhenylGlycine/run7_crop_13.png"]
    assert pd.isna(frames["Cropped/Cephalexin/5.png"])


def test_cephalexin_in_a_messy_folder(tmp_path):
    top = "cephalexin-reactive-crystallization/archive (1)"
    put(
        tmp_path,
        f"{top}/RAW/train/CEX/a.tif",
        f"{top}/RAW/test/pg/b.bmp",
        f"{top}/crop/pg/CEX (3).jpg",
        f"{top}/crop/cex/c.PNG",
        f"{top}/overview.png",
        "__MACOSX/crop/cex/._c.png",
        ".cache/crop/cex/d.png",
    )
    (tmp_path / top / "crop/cex/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n half of it")
    (tmp_path / top / "crop/cex/empty.jpg").touch()
    (tmp_path / "labels.json").write_text("{}")
    (tmp_path / "paper.pdf").write_bytes(b"%PDF")
    (tmp_path / "more.zip").write_bytes(b"PK")
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    dataset = open_known("cephalexin-impurity", tmp_path)
    found = {(r["class"], r["part"], r["split"]) for r in dataset.frames.to_dict("records")}
    assert found == {
        ("cephalexin", "raw", "train"),
        ("phenylglycine", "raw", "test"),
        ("phenylglycine", "cropped", None),
        ("cephalexin", "cropped", None),
    }
    skipped = "\n".join(notes(dataset, "skipped"))
    for file, why in [
        ("overview.png", "neither cephalexin"),
        ("broken.png", "cut off"),
        ("empty.jpg", "empty file"),
        ("labels.json", "no annotations"),
        ("paper.pdf", "neither picture, table"),
        ("more.zip", "unpack"),
    ]:
        assert re.search(rf"{re.escape(file)}.*{why}", skipped), (file, skipped)
    assert "Thumbs" not in "\n".join(dataset.notes)
    assert any("CEX (3).jpg" in n for n in notes(dataset, "expected"))
    assert "expected 400 raw pictures (published), got 2" in dataset.notes
    dataset.read(0)


def test_a_missing_class_is_expected_and_a_foreign_folder_refused(copy, tmp_path):
    root = copy("cephalexin-impurity")
    shutil.rmtree(root / "cropped/cropped/pg")
    assert "expected cropped pictures of phenylglycine, got none" in open_known("cephalexin-impurity", root).notes
    put(tmp_path / "other", *(f"holiday/{i:02d}.jpg" for i in range(30)))
    with pytest.raises(ReadError) as fault:
        open_known("cephalexin-impurity", tmp_path / "other")
    text = str(fault.value)
    assert "looked for" in text
    assert "holiday/00.jpg" in text
    assert "holiday/19.jpg" in text
    assert "holiday/20.jpg" not in text
    assert "and 10 more" in text
    with pytest.raises(ReadError, match="which is no folder"):
        open_known("agcrystal", tmp_path / "nowhere")
    (tmp_path / "void").mkdir()
    for name in CATALOGUE:
        with pytest.raises(ReadError, match="no file"):
            open_known(name, tmp_path / "void")


def test_real_crops(data):
    dataset = open_known("cephalexin-impurity", data / "impurity-crops")
    assert dataset.frames["class"].value_counts().to_dict() == {"phenylglycine": 14, "cephalexin": 8}
    assert any("raw or cropped in every path" in n for n in notes(dataset, "expected"))
    assert all(image.data.ndim == 2 for image in dataset)


def test_agcrystal(standins):
    dataset = open_known("agcrystal", standins["agcrystal"])
    assert set(dataset.frames["split"]) == {"calibration", "validation"}
    assert set(dataset.frames["batch"]) == {"small", "medium", "large"}
    assert sorted(set(dataset.frames["loading_wt"])) == [0.5, 1, 2.5, 5]
    assert set(dataset.frames.loc[dataset.frames["split"] == "validation", "loading_wt"]) == {1, 5}
    assert sorted(dataset.sizes) == ["Large", "Medium", "Small"]
    for name, table in dataset.sizes.items():
        assert table.attrs["size_label"] == name.lower()
        assert table.attrs["definition"] == "length"
        median = np.interp(0.5, table["Q0"], np.log(table["size_um"]))
        assert np.exp(median) == pytest.approx(NEEDLES[name], rel=0.01)
        by_volume = np.interp(0.5, table["Q3"], np.log(table["size_um"]))
        assert by_volume - median == pytest.approx(3 * NEEDLE_SPREAD**2, rel=0.03)


def test_agcrystal_in_a_messy_folder(tmp_path):
    put(
        tmp_path,
        "AgCrystal/calibration set/Size_L_2,5 wt/1.jpg",
        "AgCrystal/calibration set/100um_5wt%/1.jpg",
        "AgCrystal/Val/M - 10 mg_mL/large_0001.tiff",
        "AgCrystal/Val/M - 10 mg_mL/100um_1wt%_0001.png",
        "AgCrystal/figures/abstract.png",
    )
    dataset = open_known("agcrystal", tmp_path)
    told = dataset.frames.set_index("file")[["split", "size_label", "loading_wt", "experiment"]].to_dict("index")
    assert told["AgCrystal/calibration set/100um_5wt%/1.jpg"] == {
        "split": "calibration", "size_label": "100 um", "loading_wt": 5, "experiment": "100 um 5 wt%"
    }  # fmt: skip
    crowd = told["AgCrystal/Val/M - 10 mg_mL/large_0001.tiff"]
    assert (crowd["split"], crowd["size_label"], crowd["experiment"]) == ("validation", "medium", "medium 10 g/L")
    assert told["AgCrystal/calibration set/Size_L_2,5 wt/1.jpg"]["loading_wt"] == 2.5
    assert any("figures/abstract.png: no calibration" in n for n in notes(dataset, "skipped"))
    expected = "\n".join(notes(dataset, "expected"))
    assert "spreadsheet of offline size distributions, got none" in expected
    assert "solids loading" in expected


def test_a_damaged_spreadsheet_is_told(copy):
    root = copy("agcrystal")
    (root / "Offline PSD.xlsx").write_bytes(b"PK\x03\x04 half")
    dataset = open_known("agcrystal", root)
    assert not dataset.sizes
    assert any("Offline PSD.xlsx: expected a workbook" in n for n in notes(dataset, "skipped"))


def test_polystyrene(standins):
    dataset = open_known("polystyrene", standins["polystyrene"])
    have = dataset.frames.groupby("nominal_size_um")["loading_wt"].agg(lambda v: sorted(set(v))).to_dict()
    common = [1, 2, 2.5, 3.3, 5]
    assert have == {150: common, 300: common, 400: [*common, 12.5], 500: common}
    assert set(dataset.frames["instrument"]) == {"PVM v819"}
    assert set(dataset.frames["experiment"]) >= {"400 um 12.5 wt%", "150 um 1 wt%"}
    truth = dataset.truth()
    assert sorted(truth) == dataset.frames["file"].tolist()
    assert len(truth[dataset.frames["file"].iloc[0]].instances)
    assert any("ignore_unannotated" in n for n in notes(dataset, "rule"))
    for nominal in (150, 300, 400, 500):
        table = next(t for t in dataset.sizes.values() if t.attrs["nominal_size_um"] == nominal)
        assert np.interp(0.5, table["Q0"], table["size_um"]) == nominal
    scaled = open_known("polystyrene", standins["polystyrene"], pixel_size_um=5.0)
    assert scaled.read(0).pixel_size_um == 5
    sizes = {150.0: [], 400.0: []}
    for row in scaled.frames.to_dict("records"):
        whole = for_sizes(truth[row["file"]], margin_px=0).instances
        if row["nominal_size_um"] in sizes:
            areas = [whole.crop(i).sum() for i in range(len(whole))]
            sizes[row["nominal_size_um"]] += [5 * np.sqrt(4 * a / np.pi) for a in areas]
    for nominal, found in sizes.items():
        assert np.median(found) == pytest.approx(nominal, rel=0.03)


def square(n, r, c):
    return {
        "id": n, "image_id": 0, "category_id": 7, "iscrowd": 0,
        "segmentation": [[c, r, c + 2, r, c + 2, r + 2, c, r + 2]],
    }  # fmt: skip


def coco(path, names, *, each=1, images=(), annotations=None):
    listed = [{"id": i + 1, "file_name": n, "height": 3, "width": 4} for i, n in enumerate(names)]
    entries = [square(10 * i + k, 0, k) | {"image_id": i + 1} for i in range(len(names)) for k in range(each)]
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "images": [*listed, *images],
        "annotations": entries if annotations is None else annotations,
        "categories": [{"id": 7, "name": "microsphere"}],
    }
    path.write_text(json.dumps(data))
    return path


def test_polystyrene_in_a_messy_folder(tmp_path):
    put(
        tmp_path,
        "polys/train/PS 400/2p5wt/frame1.PNG",
        "polys/train/PS 400/1 wt%/frame1.png",
        "polys/train/PS 400/1 wt%/extra.png",
        "polys/val/300micron_3,3wt/frame9.jpg",
        "polys/no size/odd.png",
    )
    coco(tmp_path / "polys/train/PS 400/1 wt%/labels.json", ["frame1.png", "gone.png"])
    coco(tmp_path / "polys/instances_val.json", ["C:\\cvat\\frame9.png", "odd.png", "frame1.png"], each=2)
    coco(tmp_path / "polys/all.json", ["./PS 400/2p5wt/frame1.PNG", "PS 400/1 wt%/frame1.png"], each=3)
    coco(tmp_path / "polys/foreign.json", ["x.png"])
    coco(tmp_path / "polys/boxes.json", ["odd.png"], annotations=[{"id": 1, "image_id": 1, "bbox": [0, 0, 2, 2]}])
    coco(tmp_path / "polys/unsized.json", [], images=[{"id": 1, "file_name": "odd.png"}])
    (tmp_path / "polys/settings.json").write_text('{"threshold": 3}')
    (tmp_path / "polys/half.json").write_text('{"images": [')
    dataset = open_known("polystyrene", tmp_path)
    truth = dataset.truth()
    one, two = "polys/train/PS 400/1 wt%/frame1.png", "polys/train/PS 400/2p5wt/frame1.PNG"
    jpg, odd = "polys/val/300micron_3,3wt/frame9.jpg", "polys/no size/odd.png"
    # The fullest of several files counts; a name without folders beside its pictures finds them.
    assert {f: len(a.instances) for f, a in truth.items()} == {one: 3, two: 3, jpg: 2, odd: 2}
    frames = dataset.frames.set_index("file")
    assert frames.loc[two, ["nominal_size_um", "loading_wt", "split"]].tolist() == [400, 2.5, "train"]
    assert frames.loc[jpg, ["nominal_size_um", "loading_wt", "split"]].tolist() == [300, 3.3, "validation"]
    assert frames.loc[odd, "split"] == "validation"
    expected = "\n".join(notes(dataset, "expected"))
    assert "labels.json names, missing: gone.png" in expected
    assert "extra.png" in expected
    assert "150 um at 1 wt%" in expected
    skipped = "\n".join(notes(dataset, "skipped"))
    for file, why in [
        ("foreign.json", "none of the pictures"),
        ("boxes.json", "without a single outline"),
        ("unsized.json", "height and width"),
        ("settings.json", "expected COCO"),
        ("half.json", "expected COCO"),
        ("instances_val.json", "fit several pictures: frame1.png"),
    ]:
        assert re.search(rf"{re.escape(file)}.*{why}", skipped), (file, skipped)
    assert any("are um" in n for n in notes(dataset, "assumed"))
    assert any("fullest counts" in n for n in notes(dataset, "found"))


def test_a_picture_that_annotations_name_is_gone_or_damaged(copy):
    root = copy("polystyrene")
    files = sorted(root.rglob("*.png"))
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:100])
    dataset = open_known("polystyrene", root)
    truth = dataset.truth()
    assert len(truth) == len(dataset) == len(files) - 2
    missing = next(n for n in notes(dataset, "expected") if "missing" in n)
    assert all(f.relative_to(root).as_posix() in missing for f in files[:2])


def test_for_sizes_drops_what_the_frame_cuts_and_ignored_regions():
    boxes = [(0, 10, 5, 15), (10, 0, 15, 5), (25, 10, 30, 15), (10, 35, 15, 40), (10, 10, 15, 15), (2, 10, 6, 15),
             (20, 20, 24, 24)]  # fmt: skip
    masks = []
    for r0, c0, r1, c1 in boxes:
        mask = np.zeros((30, 40), dtype=bool)
        mask[r0:r1, c0:c1] = True
        masks.append(mask)
    found = Instances.from_masks(masks, field=FieldOfView((30, 40)))
    ignore = np.array([False] * 6 + [True])
    annotated = Annotated("a.png", found, np.arange(7), ignore)
    assert for_sizes(annotated).ids.tolist() == [4]
    assert for_sizes(annotated, margin_px=0).ids.tolist() == [4, 5]
    empty = Annotated("a.png", found.select(np.zeros(7, bool)), np.zeros(0, int), np.zeros(0, bool))
    assert len(for_sizes(empty).instances) == 0


def test_vansil(standins):
    dataset = open_known("vansil-glutamic", standins["vansil-glutamic"])
    assert set(dataset.frames["instrument"]) == {"EasyViewer-100", "EasyViewer-400"}
    assert dataset.frames.groupby("substance")["loading_wt"].agg(lambda v: sorted(set(v))).to_dict() == {
        "glutamic acid": [5],
        "wollastonite": [1, 5],
    }
    assert {(t.attrs["substance"], t.attrs["loading_wt"]) for t in dataset.chords.values()} == {
        ("wollastonite", 1), ("wollastonite", 5), ("glutamic acid", 5)
    }  # fmt: skip
    assert {t.attrs["substance"] for t in dataset.sizes.values()} == {"wollastonite", "glutamic acid"}
    chords = next(iter(dataset.chords.values()))
    assert chords["time_s"].unique().tolist() == [0, 10, 20]
    scaled = open_known("vansil-glutamic", dataset.root, pixel_size_um={"EasyViewer-100": 1.5, "EasyViewer-400": 0.5})
    assert {scaled.read(i).pixel_size_um for i in range(len(scaled))} == {1.5, 0.5}
    with pytest.raises(InputError, match="got one of PVM"):
        open_known("vansil-glutamic", dataset.root, pixel_size_um={"PVM": 1.0})
    with pytest.raises(InputError, match="above 0"):
        open_known("vansil-glutamic", dataset.root, pixel_size_um=-1.0)


def test_vansil_in_a_messy_folder(tmp_path):
    put(
        tmp_path,
        "data/LGA in acetone/EV-400/1.png",
        "data/VANSIL_W30/2wt/easyviewer100_0001.png",
        "data/VANSIL_W30/2wt/0002.png",
        "data/setup.jpg",
    )
    (tmp_path / "data/FBRM.txt").write_text("nothing to see\nhere\n")
    dataset = open_known("vansil-glutamic", tmp_path)
    told = {r["file"]: (r["instrument"], r["experiment"]) for r in dataset.frames.to_dict("records")}
    assert told == {
        "data/LGA in acetone/EV-400/1.png": ("EasyViewer-400", "glutamic acid 5 wt%"),
        "data/VANSIL_W30/2wt/easyviewer100_0001.png": ("EasyViewer-100", "wollastonite 2 wt%"),
        "data/VANSIL_W30/2wt/0002.png": (None, "wollastonite 2 wt%"),
    }
    assert any("assumed 5 wt%" in n for n in dataset.notes)
    assert any("FBRM.txt" in n for n in notes(dataset, "skipped"))
    expected = "\n".join(notes(dataset, "expected"))
    assert "expected size tables" in expected
    assert "expected chord length tables" in expected


@pytest.fixture
def kaggle(monkeypatch, standins, tmp_path):
    """A kagglehub that copies a stand-in, and the calls it got."""
    module = ModuleType("kagglehub")
    calls = []

    def dataset_download(handle, *, output_dir=None, force_download=False):
        calls.append((handle, output_dir, force_download))
        name = next(n for n, e in CATALOGUE.items() if handle.startswith((e.handle, "mirror/")))
        place = tmp_path / "cache/versions/3" if output_dir is None else output_dir
        shutil.copytree(standins[name], place, dirs_exist_ok=True)
        return str(place)

    module.dataset_download = dataset_download
    monkeypatch.setitem(sys.modules, "kagglehub", module)
    return calls


def test_downloads_into_the_cache(kaggle, tmp_path):
    dataset = get_dataset("vansil-glutamic")
    assert kaggle == [("opencrystaldata/easyviewer-based-image-characterization", None, False)]
    assert dataset.root == tmp_path / "cache/versions/3"
    assert dataset.manifest.version == "3"
    assert "version 3" in dataset.notes[0]
    assert "expected 120 pictures (published), got 6" in dataset.notes


def test_handle_and_version_can_be_others(kaggle):
    dataset = get_dataset("cephalexin-impurity", handle="mirror/ceph", version=2)
    assert kaggle[0][0] == "mirror/ceph/versions/2"
    assert dataset.manifest.version == "2"
    assert dataset.manifest.url.endswith("mirror/ceph")
    for wrong in ("mirror", "a/b/c", "https://x/y"):
        with pytest.raises(InputError, match="OWNER/NAME"):
            get_dataset("agcrystal", handle=wrong)
    with pytest.raises(InputError, match="version from 1"):
        get_dataset("agcrystal", version=0)
    assert len(kaggle) == 1


def test_a_folder_of_ones_own_and_nothing_twice(kaggle, tmp_path):
    out = tmp_path / "sets/vansil"
    (tmp_path / "sets/vansil.part").mkdir(parents=True)
    out.mkdir()
    dataset = get_dataset("vansil-glutamic", out=out)
    # What a broken download left is begun anew.
    assert kaggle[0][1:] == (str(tmp_path / "sets/vansil.part"), True)
    assert dataset.root == out
    assert not (tmp_path / "sets/vansil.part").exists()
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    again = get_dataset("vansil-glutamic", out=out)
    assert len(kaggle) == 1
    assert "nothing was downloaded" in again.notes[0]
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before
    put(tmp_path / "mine", "holiday.jpg")
    with pytest.raises(ReadError, match="got nothing that fits"):
        get_dataset("vansil-glutamic", out=tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize(
    "fault", [ConnectionError("no route"), ValueError("Invalid dataset handle"), RuntimeError("403")]
)
def test_a_download_that_fails_tells_what_to_do(monkeypatch, tmp_path, fault):
    def dataset_download(handle, **options):
        raise fault

    module = ModuleType("kagglehub")
    module.dataset_download = dataset_download
    monkeypatch.setitem(sys.modules, "kagglehub", module)
    with pytest.raises(
        ReadError, match=r"agcrystal-images/versions/4 .*by hand.*dataset open agcrystal PATH"
    ) as caught:
        get_dataset("agcrystal", version=4, out=tmp_path / "ag")
    assert str(fault) in str(caught.value)
    assert not (tmp_path / "ag").exists()


def test_without_kagglehub(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(MissingExtraError, match=r"crystalscope\[cards\].*dataset open polystyrene PATH"):
        get_dataset("polystyrene")
