"""Every format gives every mask back, pixel for pixel, and what else it can hold."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_mask
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.conftest import save

from crystalscope.core import KINDS, FieldOfView, Instances
from crystalscope.datasets import coco
from crystalscope.datasets.dataset import open_dataset
from crystalscope.datasets.drawing import bridged, rings_of
from crystalscope.datasets.exchange import Collector
from crystalscope.datasets.formats import FORMATS
from crystalscope.datasets.own import init_dataset
from crystalscope.datasets.transfer import export_annotations, import_annotations
from crystalscope.errors import InputError, WriteError
from crystalscope.io.coco import Annotated, categories, kind_of_label, load_coco, read_coco
from crystalscope.io.regions import Region, aligned, decode_region, decode_rle, encode_region, encode_rle, rasterize

SHAPE = (60, 80)
masks = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def awkward() -> list[np.ndarray]:
    """Masks that formats are known to spoil."""
    m = np.zeros((10, *SHAPE), bool)
    m[0, 5:30, 5:30] = True  # a ring with an island in its hole, which has a hole itself
    m[0, 8:27, 8:27] = False
    m[0, 12:22, 12:22] = True
    m[0, 15:18, 15:18] = False
    m[1, 10:40, 20:50] = True  # overlaps the ring
    m[2, np.arange(20, 50), np.arange(20, 50)] = True  # one pixel wide, corner to corner
    m[3, 55, 2:70] = True  # one pixel wide, straight
    m[3, 40:56, 2] = True
    m[4, 0:3, 0:3] = m[4, 57:60, 77:80] = m[4, 30, 79] = True  # three parts, on the borders
    m[5, 40:50, 50:60] = True  # touches the next
    m[6, 40:50, 60:70] = True
    m[7, 59, 0] = True  # a single pixel
    m[8, 34:46:2, 60:72:2] = m[8, 35:47:2, 61:73:2] = True  # a chequered board: holes that meet at corners
    m[9] = True  # the whole picture
    m[9, 20:22, 20:22] = m[9, 22:24, 22:24] = False
    return list(m)


def many(n: int = 300) -> list[np.ndarray]:
    """More particles than eight bits can count."""
    found = []
    for k in range(n):
        mask = np.zeros(SHAPE, bool)
        r, c = divmod(k, 25)
        mask[4 * r : 4 * r + 4, 3 * c : 3 * c + 3] = True
        found.append(mask)
    return found


def annotated(name: str, found: list[np.ndarray], *, first: int, plain: bool = False) -> Annotated:
    """With all that a particle can have."""
    n = len(found)
    labels = (
        ("crystal",) * n
        if plain
        else tuple(("crystal", "fines, needle", "bubble", "Größe 2", "ufo")[k % 5] for k in range(n))
    )
    kinds = [0] * n if plain else [KINDS.index(kind_of_label(label) or "agglomerate") for label in labels]
    base = Instances.from_masks(found, field=FieldOfView(SHAPE))
    instances = Instances(
        base.field,
        base.boxes,
        base.pixels,
        base.offsets,
        np.ones(n) if plain else (np.arange(n) % 11 / np.float32(10)),
        np.array(kinds),
        in_focus=np.array([plain or k % 4 != 1 for k in range(n)]),
    )
    attributes = tuple({} if plain or k % 3 else {"habit": "flat", "twin": True, "id": "x7", "n": 2} for k in range(n))
    ignore = np.array([not plain and k % 5 == 3 for k in range(n)])
    return Annotated(name, instances, np.arange(first, first + n), ignore, labels, attributes)


def dataset(folder: Path, items: list[Annotated]) -> Path:
    """Grey pictures with annotations."""
    for item in items:
        save(folder / "images" / item.file_name, np.full(item.instances.field.shape, 90, np.uint8))
    init_dataset(folder, name="test")
    for name, content in coco.write(items):
        (folder / name).write_bytes(content)
    text = (folder / "dataset.toml").read_text()
    (folder / "dataset.toml").write_text(text.replace('annotations = ""', 'annotations = "annotations.coco.json"'))
    return folder


def same_masks(a: Annotated, b: Annotated) -> bool:
    return len(a.instances) == len(b.instances) and all(
        np.array_equal(a.instances.mask(i), b.instances.mask(i)) for i in range(len(a.instances))
    )


@pytest.fixture
def items() -> list[Annotated]:
    return [
        annotated("one/a.png", awkward(), first=5),
        annotated("one/b.png", [], first=1),
        annotated("two/a.png", many(), first=1000),
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_round_trip_keeps_everything(tmp_path, items, name):
    first = dataset(tmp_path / "first", items)
    before = open_dataset(first).truth()
    report = export_annotations(first, tmp_path / "out", format=name)
    assert report.particles == 310
    assert report.pictures == 3
    assert all(p.is_file() for p in report.files)
    second = copied(first, tmp_path / "second")
    found = import_annotations(
        second, tmp_path / "out", kinds={"fines, needle": "agglomerate", "Größe 2": "agglomerate"}
    )
    assert found.format == name
    assert not found.faults
    assert (found.particles, found.pictures, found.empty) == (310, 3, 1)
    after = open_dataset(second).truth()
    assert before.keys() == after.keys()
    for file, a in before.items():
        b = after[file]
        order = np.argsort(b.ids)
        assert np.array_equal(a.ids, b.ids[order])
        assert same_masks(a, Annotated(file, b.instances.select(order), b.ids[order], b.ignore[order]))
        assert np.array_equal(a.ignore, b.ignore[order])
        assert a.labels == tuple(b.labels[i] for i in order)
        assert a.attributes == tuple(b.attributes[i] for i in order)
        for key in ("score", "kind", "in_focus"):
            assert np.array_equal(getattr(a.instances, key), getattr(b.instances, key)[order]), key


def copied(first: Path, second: Path) -> Path:
    """The same pictures without annotations."""
    for path in (p for p in (first / "images").rglob("*") if p.is_file()):
        to = second / path.relative_to(first)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(path.read_bytes())
    init_dataset(second, name="copy")
    return second


@pytest.mark.parametrize("name", ["cvat", "yolo", "labels", "imagej"])
def test_masks_do_not_need_what_stands_beside(tmp_path, items, name):
    """Without the table, the attributes and the properties that only this project writes."""
    first = dataset(tmp_path / "first", items)
    export_annotations(first, tmp_path / "out", format=name)
    for table in (tmp_path / "out").glob("*.csv"):
        table.unlink()
    if name == "cvat":
        import xml.etree.ElementTree as ET

        tree = ET.parse(tmp_path / "out" / "annotations.xml")
        for shape in tree.iterfind("image/*"):
            shape[:] = []
        tree.write(tmp_path / "out" / "annotations.xml")
    if name == "imagej":
        from roifile import ImagejRoi

        for path in (tmp_path / "out").rglob("*.zip"):
            with zipfile.ZipFile(path) as z:
                rois = [ImagejRoi.frombytes(z.read(n)) for n in z.namelist()]
            with zipfile.ZipFile(path, "w") as z:
                for k, roi in enumerate(rois):
                    roi.props, roi.name = "", f"{k:04d}-0001"
                    z.writestr(f"{k:04d}-0001.roi", roi.tobytes())
    second = copied(first, tmp_path / "second")
    report = import_annotations(second, tmp_path / "out")
    assert not report.faults
    before, after = open_dataset(first).truth(), open_dataset(second).truth()
    for file, a in before.items():
        b = after[file]
        # Label pictures are read page by page.
        order = np.argsort(b.ids) if name == "labels" else np.arange(len(b.ids))
        assert same_masks(a, Annotated(file, b.instances.select(order), b.ids, b.ignore))
    names = {label for b in after.values() for label in b.labels}
    assert names == ({"crystal"} if name in ("labels", "imagej") else {x for a in before.values() for x in a.labels})


def test_the_same_bytes_twice(tmp_path, items):
    first = dataset(tmp_path / "first", items)
    for name in FORMATS:
        for place in ("x", "y"):
            export_annotations(first, tmp_path / place / name, format=name)
        files = sorted(p for p in (tmp_path / "x" / name).rglob("*") if p.is_file())
        assert files
        assert all(p.read_bytes() == (tmp_path / "y" / p.relative_to(tmp_path / "x")).read_bytes() for p in files)


@settings(max_examples=25, deadline=None)
@given(st.lists(masks, min_size=1, max_size=4), st.integers(0, 5), st.integers(0, 5))
def test_any_mask_through_every_format(found, row, column):
    big = []
    for mask in found:
        whole = np.zeros((20, 24), bool)
        whole[row : row + mask.shape[0], column : column + mask.shape[1]] = mask
        if whole.any():
            big.append(whole)
    n = len(big)
    instances = Instances.from_masks(big, field=FieldOfView((20, 24)))
    item = Annotated("p.png", instances, np.arange(1, n + 1), np.zeros(n, bool))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        save(root / "p.png", np.zeros((20, 24), np.uint8))
        for format in FORMATS.values():
            for name, content in format.write([item]):
                path = root / format.name / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            into = Collector(root, ["p.png"], prefix=".", kinds={})
            format.read(root / format.name, into)
            assert not into.faults
            (got,) = into.annotated()
            order = np.argsort(got.ids)
            assert same_masks(item, Annotated("p.png", got.instances.select(order), got.ids, got.ignore)), format.name


@settings(max_examples=60, deadline=None)
@given(masks)
def test_rings_by_either_rule_and_bridges(mask):
    if not mask.any():
        return
    found = Instances.from_crops([mask], [(3, 2)], field=FieldOfView((20, 20)))
    (rings,) = rings_of(found)
    whole = found.mask(0)
    even, winding = np.zeros((20, 20), bool), np.zeros((20, 20), int)
    for ring in rings:
        filled = rasterize([ring.ravel().tolist()], (20, 20))
        x, y = ring[:, 0].astype(float), ring[:, 1].astype(float)
        even ^= filled
        winding += filled * int(np.sign(x @ np.roll(y, -1) - y @ np.roll(x, -1)))
    assert np.array_equal(even, whole)
    assert np.array_equal(winding, whole.astype(int))
    path = bridged(rings)
    assert np.array_equal(rasterize([path.ravel().tolist()], (20, 20)), whole)
    # A side of the seam and its way back cancel also after rounding to shares of a picture.
    shares = np.array([[float(f"{v:.8f}") for v in p] for p in path / [4287, 2849]]) * [4287, 2849]
    assert np.array_equal(rasterize([shares.ravel().tolist()], (20, 20)), whole)


@settings(max_examples=60, deadline=None)
@given(masks, st.integers(0, 4), st.integers(0, 4), st.integers(0, 3), st.integers(0, 3))
def test_run_lengths_of_a_part_are_those_of_the_picture(mask, row, column, below, right):
    shape = row + mask.shape[0] + below, column + mask.shape[1] + right
    whole = np.zeros(shape, bool)
    whole[row : row + mask.shape[0], column : column + mask.shape[1]] = mask
    rle = encode_region(Region(row, column, mask), shape)
    other = coco_mask.encode(np.asfortranarray(whole.astype(np.uint8)))
    counts = other["counts"]
    assert rle["counts"] == (counts.decode() if isinstance(counts, bytes) else counts)
    assert rle == encode_rle(whole)
    assert np.array_equal(decode_rle(rle), whole)
    got = decode_region(rle)
    assert (got is None) == (not whole.any())
    if got is not None:
        assert got.mask[0].any()
        assert got.mask[:, -1].any()
        assert np.array_equal(aligned(got, Region(0, 0, np.ones(shape, bool))), whole)


def test_coco_says_the_same_to_others(tmp_path, items):
    """Masks, classes and crowds as another library reads them."""
    from faster_coco_eval import COCO

    first = dataset(tmp_path / "first", items)
    truth = open_dataset(first).truth()
    other = COCO(str(first / "annotations.coco.json"))
    for number, image in other.imgs.items():
        a = truth[f"images/{image['file_name']}"]
        entries = other.imgToAnns[number]
        assert [e["id"] for e in entries] == a.ids.tolist()
        for k, entry in enumerate(entries):
            assert np.array_equal(other.annToMask(entry) > 0, a.instances.mask(k))
            assert other.cats[entry["category_id"]]["name"] == a.labels[k]
            assert bool(entry["iscrowd"]) == a.ignore[k]
            assert entry["area"] == a.instances.mask(k).sum()


def test_visible_parts_stay_in_coco(tmp_path):
    lower, upper = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    lower[10:30, 10:30], upper[20:40, 20:40] = True, True
    found = Instances.from_masks([lower, upper], field=FieldOfView(SHAPE), visible=[lower & ~upper, upper])
    item = Annotated("a.png", found, np.array([1, 2]), np.zeros(2, bool))
    first = dataset(tmp_path / "first", [item])
    export_annotations(first, tmp_path / "c.json", format="coco")
    second = copied(first, tmp_path / "second")
    import_annotations(second, tmp_path / "c.json")
    (got,) = open_dataset(second).truth().values()
    assert np.array_equal(got.instances.visible_crop(0), found.visible_crop(0))
    assert np.array_equal(got.instances.crop(0), found.crop(0))


def test_classes_of_ones_own_in_coco(tmp_path):
    assert [c["name"] for c in categories({"needle": "crystal", "bubble": "bubble"})] == [*KINDS, "needle"]
    assert categories({"needle": "crystal"})[-1] == {"id": 6, "name": "needle", "supercategory": "crystal"}
    assert [kind_of_label(x) for x in ("Needles", "air_bubble", "agglomerates", "form II")] == [
        "crystal",
        "bubble",
        "agglomerate",
        None,
    ]
    square = [[1, 1, 5, 1, 5, 5, 1, 5]]
    data = {
        "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 20}],
        "categories": [
            {"id": 1, "name": "form II", "supercategory": "crystal"},
            {"id": 2, "name": "thing", "supercategory": "stuff"},
        ],
        "annotations": [
            {"id": k, "image_id": 1, "category_id": c, "segmentation": square} | more
            for k, (c, more) in enumerate([(1, {}), (2, {}), (2, {"kind": "droplet"}), (9, {})])
        ],
    }
    (tmp_path / "c.json").write_text(json.dumps(data))
    (got,) = read_coco(tmp_path / "c.json")
    assert got.labels == ("form II", "thing", "thing", "category 9")
    assert [KINDS[k] for k in got.instances.kind] == ["crystal", "other", "droplet", "other"]
    assert load_coco(tmp_path / "c.json").class_of({"category_id": 2}) == ("thing", None)


def test_annotated_needs_one_value_for_each():
    one = Instances.from_masks([np.ones((3, 3), bool)], field=FieldOfView((3, 3)))
    assert Annotated("a", one, np.array([1]), np.array([False])).labels == ("crystal",)
    with pytest.raises(InputError, match="labels for each of 1"):
        Annotated("a", one, np.array([1]), np.array([False]), ("a", "b"))


def test_crops_are_trimmed_and_checked():
    crop = np.zeros((5, 6), bool)
    crop[1:3, 2:4] = True
    got = Instances.from_crops([crop], [(10, 20)], field=FieldOfView((40, 50)), in_focus=[False], visible=[crop])
    assert got.boxes.tolist() == [[11, 22, 13, 24]]
    assert got.in_focus.tolist() == [False]
    assert got.visible_crop(0).all()
    with pytest.raises(InputError, match="with pixels"):
        Instances.from_crops([~crop & crop], [(0, 0)], field=FieldOfView((40, 50)))
    with pytest.raises(InputError, match="inside the picture"):
        Instances.from_crops([crop], [(38, 0)], field=FieldOfView((40, 50)))


def test_export_does_not_overwrite_or_mix(tmp_path, items):
    first = dataset(tmp_path / "first", items)
    export_annotations(first, tmp_path / "c.json", format="coco")
    with pytest.raises(WriteError, match="ask to overwrite"):
        export_annotations(first, tmp_path / "c.json", format="coco")
    export_annotations(first, tmp_path / "c.json", format="coco", overwrite=True)
    with pytest.raises(InputError, match="outside the folder of the pictures"):
        export_annotations(first, first / "images" / "labels", format="labels")
    with pytest.raises(InputError, match="among coco"):
        export_annotations(first, tmp_path / "x", format="pascal")
    with pytest.raises(InputError, match="has none"):
        export_annotations(copied(first, tmp_path / "second"), tmp_path / "x", format="coco")


def test_yolo_as_programs_that_train_want_it(tmp_path, items):
    import yaml

    first = dataset(tmp_path / "first", items)
    frames = (first / "frames.csv").read_text().splitlines()
    lines = [frames[0] + ",split"] + [
        line + s for line, s in zip(frames[1:], (",training", ",validation", ""), strict=True)
    ]
    (first / "frames.csv").write_text("\n".join(lines) + "\n")
    out = tmp_path / "yolo"
    report = export_annotations(first, out, format="yolo", copy_pictures=True)
    settings_ = yaml.safe_load((out / "data.yaml").read_text())
    assert (settings_["train"], settings_["val"]) == ("train.txt", "val.txt")
    assert settings_["names"] == dict(enumerate(["crystal", "bubble", "Größe 2", "fines, needle", "ufo"]))
    assert (out / "train.txt").read_text() == "./images/one/a.png\n"
    assert (out / "images" / "two" / "a.png").is_file()
    assert (out / "labels" / "one" / "b.txt").read_text() == ""
    assert any("holes" in line for line in report.lines())
    for line in (out / "labels" / "one" / "a.txt").read_text().splitlines():
        values = [float(v) for v in line.split()]
        assert len(values) % 2 == 1
        assert all(0 <= v <= 1 for v in values[1:])


def test_label_pictures_as_others_read_them(tmp_path, items):
    import tifffile

    first = dataset(tmp_path / "first", items)
    export_annotations(first, tmp_path / "out", format="labels")
    pages = tifffile.imread(tmp_path / "out" / "one" / "a.tif")
    assert pages.dtype == np.uint16
    assert len(pages) > 1
    single = tifffile.imread(tmp_path / "out" / "two" / "a.tif")
    assert single.shape == SHAPE
    assert np.array_equal(np.unique(single[single > 0]), np.arange(1000, 1300))
    large = Annotated("c.png", items[0].instances, items[0].ids + 2**20, items[0].ignore)
    (name, content), _ = FORMATS["labels"].write([large])
    (tmp_path / name).write_bytes(content)
    assert tifffile.imread(tmp_path / name).dtype == np.uint32
    huge = Annotated("c.png", items[0].instances, items[0].ids + 2**40, items[0].ignore)
    (_, content), (_, table) = FORMATS["labels"].write([huge])
    assert str(2**40 + 5).encode() in table
    (tmp_path / name).write_bytes(content)
    assert tifffile.imread(tmp_path / name).max() == 10


def test_pictures_that_differ_in_their_suffix_only(tmp_path, items):
    pair = [annotated("x/a.png", awkward()[:1], first=1), annotated("x/a.tif", awkward()[1:3], first=2)]
    first = dataset(tmp_path / "first", pair)
    second = copied(first, tmp_path / "second")
    for name in ("coco", "cvat", "labels", "imagej"):
        export_annotations(first, tmp_path / name, format=name)
        import_annotations(second, tmp_path / name, overwrite=True)
        got = open_dataset(second).truth()
        for file, a in open_dataset(first).truth().items():
            assert same_masks(a, got[file]), name
    with pytest.raises(InputError, match=r"got x/a\.png and x/a\.tif"):
        export_annotations(first, tmp_path / "yolo", format="yolo")


def test_real_outlines(tmp_path, data):
    """Outlines drawn by hand, on real pictures."""
    from crystalscope.io.masks import instances_of, read_mask

    names = sorted(p.name for p in (data / "insitu-backlit").glob("*.jpg"))[:2]
    drawn = []
    for k, name in enumerate(names):
        found = instances_of(read_mask(data / "insitu-backlit" / name.replace(".jpg", "_mask.png")))
        n = len(found)
        drawn.append(Annotated(name, found, np.arange(n) + 1000 * k + 1, np.zeros(n, bool)))
    first = dataset(tmp_path / "first", drawn)
    before = open_dataset(first).truth()
    assert sum(len(a.instances) for a in before.values()) > 10
    second = copied(first, tmp_path / "second")
    for name in FORMATS:
        export_annotations(first, tmp_path / name, format=name)
        assert not import_annotations(second, tmp_path / name, overwrite=True).faults
        after = open_dataset(second).truth()
        assert all(same_masks(a, after[file]) for file, a in before.items()), name
