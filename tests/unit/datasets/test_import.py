"""Annotations as other programs write them, whole and damaged."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import save

from crystalscope.core import KINDS
from crystalscope.datasets.dataset import open_dataset
from crystalscope.datasets.formats import detect
from crystalscope.datasets.names import match_names
from crystalscope.datasets.own import init_dataset
from crystalscope.datasets.transfer import ImportReport, import_annotations
from crystalscope.errors import InputError, ReadError, WriteError
from crystalscope.io.coco import Annotated, encode_rle

ROWS, COLUMNS = 40, 50


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two pictures in images/."""
    folder = tmp_path / "set"
    for name in ("a.png", "b.png"):
        save(folder / "images" / name, np.full((ROWS, COLUMNS), 90, np.uint8))
    init_dataset(folder, name="set")
    return folder


def truth(root: Path, name: str = "a.png") -> Annotated:
    return open_dataset(root).truth()[f"images/{name}"]


def told(report: ImportReport) -> str:
    return "\n".join(str(f) for f in report.faults)


def coco_file(root: Path, annotations: list[dict[str, Any]], **more: Any) -> Path:
    data = {
        "images": [{"id": 1, "file_name": "a.png", "height": ROWS, "width": COLUMNS}],
        "categories": [{"id": 1, "name": "crystal"}],
        "annotations": [{"id": k, "image_id": 1, "category_id": 1} | a for k, a in enumerate(annotations, 1)],
    } | more
    path = root.parent / "in.json"
    path.write_text(json.dumps(data))
    return path


def square(x: float, y: float, side: float = 10) -> list[float]:
    return [x, y, x + side, y, x + side, y + side, x, y + side]


def pixels(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    out = np.zeros((ROWS, COLUMNS), bool)
    out[y0:y1, x0:x1] = True
    return out


def test_coco_as_programs_write_it(root):
    ring = pixels(5, 5, 25, 25) & ~pixels(10, 10, 20, 20)
    runs = np.flatnonzero(np.diff(np.concatenate([[False], ring.ravel(order="F"), [True]])))
    counts = [int(v) for v in np.diff(np.concatenate([[0], runs, [ROWS * COLUMNS]])) if v]
    annotations = [
        {"segmentation": encode_rle(ring), "score": 0.25},
        {"segmentation": {"size": [ROWS, COLUMNS], "counts": counts}, "iscrowd": 1},
        {"segmentation": [square(5, 5, 20), [10, 10, 10, 20, 20, 20, 20, 10]]},
        {"segmentation": [square(5, 5, 20), square(10, 10)]},
        {"segmentation": square(2, 2)},
        {"bbox": [3, 4, 10, 5], "segmentation": []},
        {"segmentation": [square(30, 10), [39, 15, 39, 25, 49, 25, 49, 15]], "category_id": 2, "ignore": 1},
    ]
    categories = [{"id": 1, "name": "crystal"}, {"id": 2, "name": "Needle"}]
    report = import_annotations(root, coco_file(root, annotations, categories=categories))
    got = truth(root)
    assert report.format == "coco"
    assert not report.faults
    assert np.array_equal(got.instances.mask(0), ring)
    assert np.array_equal(got.instances.mask(1), ring)
    assert np.array_equal(got.instances.mask(2), ring)  # the inner ring goes round the other way
    assert np.array_equal(got.instances.mask(3), pixels(5, 5, 25, 25))  # it does not: as in pycocotools
    assert np.array_equal(got.instances.mask(4), pixels(2, 2, 12, 12))
    assert np.array_equal(got.instances.mask(5), pixels(3, 4, 13, 9))
    # Two parts that overlap, drawn in different directions, are no hole.
    assert np.array_equal(got.instances.mask(6), pixels(30, 10, 40, 20) | pixels(39, 15, 49, 25))
    assert got.ignore.tolist() == [False, True, False, False, False, False, True]
    assert got.instances.score[0] == 0.25
    assert got.labels[6] == "Needle"
    assert got.instances.kind[6] == 0
    assert got.attributes[5] == {"outline": "box"}
    assert report.classes == {("Needle", "crystal"): 1, ("crystal", "crystal"): 6}
    assert sorted(report.notes) == [
        "boxes without outline, read as rectangles; their sizes are not those of particles: 1",
        "outlines with inner rings of opposite direction, read as holes (pycocotools fills them): 1",
    ]
    assert report.unannotated == ("images/b.png",)
    assert any("without annotations: 1, such as images/b.png" in line for line in report.lines())


def test_coco_with_faults(root):
    nan = float("nan")
    annotations = [
        {"segmentation": [square(5, 5)]},
        {"segmentation": [[1, 1, 5, 5]]},
        {"segmentation": [[1, 1, 5, nan, 7, 7]]},
        {"segmentation": [[1, 1, 5, 5, 7]]},
        {"segmentation": [["x", 1, 5, 5, 7, 7]]},
        {"segmentation": {"size": [ROWS, COLUMNS], "counts": [3, 4]}},
        {"segmentation": {"size": [ROWS, COLUMNS], "counts": "~~"}},
        {"segmentation": {"size": [COLUMNS, ROWS], "counts": [ROWS * COLUMNS]}},
        {"segmentation": [square(45, 35)]},
        {"segmentation": [square(60, 60)]},
        {"segmentation": [[5.1, 5.1, 5.2, 5.1, 5.2, 5.2]]},
        {"segmentation": [square(5, 5)], "score": 87},
        {"segmentation": [square(5, 5)], "category_id": 7},
        {"segmentation": [square(5, 5)], "image_id": 9},
        {"bbox": [1, 2, 3], "segmentation": None},
        {},
    ]
    report = import_annotations(root, coco_file(root, annotations))
    got = truth(root)
    assert got.ids.tolist() == [1, 9, 13]
    assert np.array_equal(got.instances.mask(1), pixels(45, 35, 50, 40))
    assert got.labels[2] == "category 7"
    lines = told(report).splitlines()
    assert len(lines) == 15
    expected = {
        2: "at least 3 points, got 2; left out",
        3: "NaN or infinity",
        4: "pairs of coordinates",
        5: "pairs of coordinates",
        6: "got 7; the file is damaged; left out",
        7: "the file is damaged; left out",
        8: "RLE of the picture's size [40, 50], got [50, 40]",
        9: "75 px of its outline lie outside the picture; cut off there",
        10: "got one outside; left out",
        11: "covers no pixel; left out",
        12: "a score from 0 to 1, got 87; left out",
        13: "category 7 is not in the file; kept as 'category 7'",
        14: "names picture 9, which is not in the file; left out",
        15: "pairs of coordinates",
        16: "covers no pixel",
    }
    for number, text in expected.items():
        (line,) = [x for x in lines if f"annotation {number}:" in x]
        assert text in line
    assert "faults: 15" in report.lines()
    assert "  and 5 more" in report.lines()


def test_numbers_are_kept_or_given_anew(root):
    report = import_annotations(root, coco_file(root, [{"segmentation": [square(k, k)]} for k in range(3)]))
    assert truth(root).ids.tolist() == [1, 2, 3]
    twice = coco_file(root, [{"segmentation": [square(k, k)], "id": (7, 7, None)[k]} for k in range(3)])
    with pytest.raises(WriteError, match="without annotations"):
        import_annotations(root, twice)
    report = import_annotations(root, twice, overwrite=True)
    assert truth(root).ids.tolist() == [1, 2, 3]
    assert report.notes == ("particles numbered anew, because a number stood twice: 3",)
    missing = coco_file(root, [{"segmentation": [square(k, k)], "id": (7, "x", None)[k]} for k in range(3)])
    import_annotations(root, missing, overwrite=True)
    assert truth(root).ids.tolist() == [7, 8, 9]


def test_kinds_of_ones_own_classes(root):
    categories = [{"id": k, "name": n} for k, n in enumerate(["form II", "air bubbles", "odd", "ignore"], 1)]
    source = coco_file(
        root, [{"segmentation": [square(k, k)], "category_id": k} for k in range(1, 5)], categories=categories
    )
    report = import_annotations(root, source, kinds={"form II": "crystal"})
    got = truth(root)
    assert got.labels == ("form II", "air bubbles", "odd", "ignore")
    assert [KINDS[k] for k in got.instances.kind] == ["crystal", "bubble", "other", "other"]
    assert got.ignore.tolist() == [False, False, False, True]
    assert report.notes == ("classes of unknown kind, counted as other (odd): 1",)
    assert "  form II (counted as crystal): 1" in report.lines()
    with pytest.raises(InputError, match="a kind among crystal"):
        import_annotations(root, source, kinds={"odd": "odd"}, overwrite=True)


def test_toml_keeps_its_comments(root):
    path = root / "dataset.toml"
    path.write_text("# who may use it: ask\n" + path.read_text())
    import_annotations(root, coco_file(root, [{"segmentation": [square(5, 5)]}]))
    assert path.read_text().startswith("# who may use it: ask\n")
    assert open_dataset(root).manifest.annotations == "annotations.coco.json"
    path.write_text('name = "x"\ndescription = """\nannotations = 1\n"""\n')
    import_annotations(root, coco_file(root, [{"segmentation": [square(5, 5)]}]), overwrite=True)
    assert open_dataset(root).manifest.description == "annotations = 1\n"
    assert open_dataset(root).manifest.annotations == "annotations.coco.json"


def test_pictures_that_do_not_fit(root):
    images = [
        {"id": 1, "file_name": "a.png", "height": ROWS, "width": COLUMNS + 1},
        {"id": 2, "file_name": "c.png", "height": ROWS, "width": COLUMNS},
    ]
    with pytest.raises(ReadError, match=r"got none that fit: c\.png: no such picture"):
        import_annotations(root, coco_file(root, [], images=images))
    images.append({"id": 3, "file_name": "B.JPG", "height": ROWS, "width": COLUMNS})
    report = import_annotations(root, coco_file(root, [], images=images))
    assert "got 40 rows and 51 columns in a.png; they are left out" in told(report)
    assert (report.pictures, report.empty) == (1, 1)
    (root / "images" / "b.png").write_bytes(b"\x89PNG")
    with pytest.raises(ReadError, match=r"b\.png"):
        import_annotations(root, coco_file(root, [], images=images), overwrite=True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"images": [], "annotations": [', "export it again"),
        ("[]", "expected COCO"),
        ('{"images": [{"id": 1}], "annotations": []}', "a file_name for picture 1"),
        ('{"images": [], "annotations": []}', "there is no annotation in it"),
    ],
)
def test_damaged_coco(root, tmp_path, text, reason):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ReadError, match=reason):
        import_annotations(root, tmp_path / "x.json")
    assert not (root / "annotations.coco.json").exists()


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><labels>
    <label><name>needle</name><attributes><attribute><name>habit</name></attribute></attributes></label>
    <label><name>bubble</name></label>
  </labels></task></meta>
  <image id="0" name="images/a.png" width="50" height="40">{}</image>
</annotations>
"""


def cvat(root: Path, shapes: str) -> Path:
    path = root.parent / "annotations.xml"
    path.write_text(CVAT.format(shapes))
    return path


def test_cvat_as_it_writes_it(root):
    shapes = """
    <polygon label="needle" occluded="1" points="5.00,5.00;15.00,5.00;15.00,15.00;5.00,15.00" z_order="1">
      <attribute name="habit">flat</attribute></polygon>
    <mask label="bubble" occluded="0" rle="1, 2, 3" left="40" top="10" width="3" height="2" z_order="0"/>
    <box label="needle" xtl="20.0" ytl="20.0" xbr="30.0" ybr="24.0" occluded="0" z_order="0" rotation="90.0"/>
    <ellipse label="bubble" cx="15.0" cy="15.0" rx="6.0" ry="3.0" rotation="90" occluded="0" z_order="0"/>
    <polygon label="needle" group_id="3" points="40,30;45,30;45,35;40,35" occluded="0" z_order="0"/>
    <polygon label="needle" group_id="3" points="44,34;49,34;49,39;44,39" occluded="0" z_order="0"/>
    <tag label="needle" source="manual"/>
    <mask label="bubble" source="semi-auto" occluded="0" rle="1,2,1,1" left="40" top="10" width="3" height="2"/>
    """
    report = import_annotations(root, cvat(root, shapes))
    got = truth(root)
    assert not report.faults
    assert np.argwhere(got.instances.mask(5)).tolist() == [[10, 41], [10, 42], [11, 41]]
    x, y = np.meshgrid(np.arange(COLUMNS) + 0.5, np.arange(ROWS) + 0.5)
    assert np.array_equal(got.instances.mask(0), pixels(5, 5, 15, 15))
    assert np.argwhere(got.instances.mask(1)).tolist() == [[10, 41], [10, 42]]
    assert np.array_equal(got.instances.mask(2), pixels(23, 17, 27, 27))
    assert np.array_equal(got.instances.mask(3), ((x - 15) / 3) ** 2 + ((y - 15) / 6) ** 2 <= 1)
    assert np.array_equal(got.instances.mask(4), pixels(40, 30, 45, 35) | pixels(44, 34, 49, 39))
    assert got.labels == ("needle", "bubble", "needle", "bubble", "needle", "bubble")
    assert got.attributes[0] == {"habit": "flat", "occluded": True, "z_order": 1}
    # The first lies on top of the ellipse.
    covered = got.instances.crop(3) & ~got.instances.visible_crop(3)
    assert covered.sum() == (got.instances.mask(3) & got.instances.mask(0)).sum() > 0
    assert "tags of whole pictures, left out: 1" in report.notes
    assert "groups of shapes, read as one particle each: 1" in report.notes


def test_cvat_with_faults(root):
    shapes = """
    <polygon label="needle" points="5,5;15,5;15,15"/>
    <polygon label="needle" points="5,5;15,5"/>
    <polygon label="needle" points="5,5;15"/>
    <polygon label="needle" points="5,5;15,nan;15,15"/>
    <polyline label="needle" points="5,5;15,5;15,15"/>
    <mask label="needle" rle="1, 2" left="4" top="1" width="3" height="2"/>
    <mask label="needle" rle="1, x" left="4" top="1" width="3" height="2"/>
    <mask label="needle" rle="900000000000" left="4" top="1" width="1000000" height="900000"/>
    <box label="needle" xtl="2" ytl="" xbr="5" ybr="5"/>
    <ellipse label="needle" cx="inf" cy="2" rx="2" ry="2"/>
    <ellipse label="needle" cx="2" cy="2" rx="0" ry="2"/>
    <polygon label="dust" points="5,5;15,5;15,15"/>
    <blob label="needle"/>
    """
    report = import_annotations(root, cvat(root, shapes))
    got = truth(root)
    assert got.labels == ("needle", "dust")
    lines = told(report).splitlines()
    expected = {
        2: "got 2",
        3: "points as x,y;x,y",
        4: "NaN",
        5: "a polyline has no area",
        6: "runs over 2 x 3 px, got 3",
        7: "an RLE of numbers",
        8: "about the size of the picture",
        9: "a number for ytl",
        10: "NaN or infinity",
        11: "covers no pixel",
        12: "'dust' is not declared in the file; kept",
        13: "a shape of CVAT, got <blob>",
    }
    assert len(lines) == len(expected)
    for number, text in expected.items():
        (line,) = [x for x in lines if f" {number}: " in x]
        assert text in line


def test_cvat_that_cannot_be_read(root, tmp_path):
    path = tmp_path / "x.xml"
    whole = CVAT.format("")
    for text, reason in [
        (whole[:-40], "a whole CVAT XML file"),
        (whole.replace("annotations", "annotation"), "nothing of a known format"),
        ('<annotations><track id="0" label="needle"/></annotations>', 'tracks, which is "CVAT for video"'),
        (whole.replace("</annotations>", '<image name="images/a.png"/></annotations>'), "a.png twice"),
    ]:
        path.write_text(text)
        with pytest.raises(ReadError, match=reason):
            import_annotations(root, path)
    path.write_text("<xml><annotations/></xml>")
    with pytest.raises(ReadError, match="got <xml>"):
        import_annotations(root, path, format="cvat")


def yolo(root: Path, text: str, *, names: str | None = "names: [needle, bubble]\n") -> Path:
    folder = root.parent / "yolo"
    (folder / "labels" / "train").mkdir(parents=True, exist_ok=True)
    (folder / "labels" / "train" / "a.txt").write_text(text)
    if names is not None:
        (folder / "data.yaml").write_text(names)
    return folder


def test_yolo_as_programs_write_it(root):
    polygon = "0.1 0.125 0.3 0.125 0.3 0.375 0.1 0.375"
    source = yolo(root, f"0 {polygon}\n1 0.5 0.5 0.2 0.25\n0 {polygon} 0.75\n1 0.5 0.5 0.2 0.25 0.5\n\n")
    (source / "train.txt").write_text("images/train/a.png\n")
    (source / "images").mkdir()
    save(source / "images" / "a.png", np.zeros((ROWS, COLUMNS), np.uint8))
    report = import_annotations(root, source)
    got = truth(root)
    assert report.format == "yolo"
    assert not report.faults
    assert got.labels == ("needle", "bubble", "needle", "bubble")
    assert got.instances.score.tolist() == [1, 1, 0.75, 0.5]
    for k, mask in enumerate([pixels(5, 5, 15, 15), pixels(20, 15, 30, 25)] * 2):
        assert np.array_equal(got.instances.mask(k), mask)
    assert got.attributes[1] == {"outline": "box"}


def test_yolo_with_faults(root):
    polygon = "0.1 0.125 0.3 0.125 0.3 0.375"
    lines = [
        f"0 {polygon}",
        f"7 {polygon}",
        f"-1 {polygon}",
        f"0.5 {polygon}",
        "0 0.1 0.1",
        "0 0.1 0.125 0.3 nan 0.3 0.375",
        "needle 0.1 0.2",
        "0 0.9 0.9 1.2 0.9 1.2 1.2 0.9 1.2",
    ]
    report = import_annotations(root, yolo(root, "\n".join(lines), names="names: {0: needle}\n"))
    assert truth(root).labels == ("needle", "class 7", "needle")
    texts = told(report).splitlines()
    expected = {
        2: "class 7 is beyond the 1 class names; kept as 'class 7'",
        3: "the number of a class first, got -1",
        4: "got 0.5",
        5: "a box or at least 3 points, got 1 points",
        6: "NaN",
        7: "expected numbers, got 'needle 0.1 0.2'",
        8: "lie outside the picture; cut off there",
    }
    assert len(texts) == len(expected)
    for number, text in expected.items():
        (line,) = [x for x in texts if f"line {number}:" in x]
        assert text in line


def test_yolo_names(root):
    line = "0 0.1 0.125 0.3 0.125 0.3 0.375\n"
    report = import_annotations(root, yolo(root, line, names=None))
    assert truth(root).labels == ("class 0",)
    assert truth(root).instances.kind.tolist() == [0]
    assert any("classes called by their number" in note for note in report.notes)
    folder = yolo(root, line, names=None)
    (folder / "labels" / "classes.txt").write_text("ufo\n")
    import_annotations(root, folder, overwrite=True)
    assert truth(root).labels == ("ufo",)
    for bad in ("names: 3\n", "names: [\n", "nc: 1\n"):
        with pytest.raises(ReadError, match="expected class names in"):
            import_annotations(root, yolo(root, line, names=bad), overwrite=True)


def test_a_changed_line_loses_only_what_the_table_says_of_it(root, tmp_path):
    from crystalscope.datasets.transfer import export_annotations

    square_, other = {"segmentation": [square(5, 5)], "score": 0.5}, {"segmentation": [square(20, 20)], "score": 0.25}
    import_annotations(root, coco_file(root, [square_, other]))
    export_annotations(root, tmp_path / "y", format="yolo")
    path = tmp_path / "y" / "labels" / "a.txt"
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{second} 0.5 0.5\n")
    report = import_annotations(root, tmp_path / "y", overwrite=True)
    assert truth(root).instances.score.tolist() == [0.5, 1]
    assert any("not those of particles_more.csv" in note for note in report.notes)
    (tmp_path / "y" / "particles_more.csv").write_text("x\n1\n")
    with pytest.raises(ReadError, match="expected a table with file, line, check"):
        import_annotations(root, tmp_path / "y", overwrite=True)


def test_label_pictures_as_programs_write_them(root, tmp_path):
    import tifffile

    folder = tmp_path / "masks"
    folder.mkdir()
    labels = np.zeros((ROWS, COLUMNS), np.uint16)
    labels[5:10, 5:10], labels[5:10, 10:15], labels[30:32, 2:4], labels[36:38, 2:4] = 1, 300, 7, 7
    save(folder / "a_mask.png", labels)
    tifffile.imwrite(folder / "b.tif", labels.astype(np.float32))
    report = import_annotations(root, folder)
    assert report.format == "labels"
    assert [truth(root, n).labels for n in ("a.png", "b.png")] == [("crystal",) * 3] * 2
    assert [np.array_equal(truth(root).instances.mask(k), labels == v) for k, v in enumerate((1, 7, 300))] == [True] * 3
    assert "labels of several parts apart, read as one particle each: 2" in report.notes
    assert "particles numbered anew, because a number stood twice: 6" in report.notes
    (folder / "b.tif").unlink()
    colours = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    colours[5:10, 5:10], colours[20:30, 20:30] = (255, 0, 0), (0, 255, 9)
    save(folder / "a_mask.png", colours)
    report = import_annotations(root, folder / "a_mask.png", overwrite=True)
    assert report.particles == 2
    stack = np.stack([labels, labels])
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True)
    assert import_annotations(root, tmp_path / "a.tif", overwrite=True).particles == 6


def test_label_pictures_with_faults(root, tmp_path):
    import tifffile

    folder = tmp_path / "labels"
    folder.mkdir()
    good = np.zeros((ROWS, COLUMNS), np.int32)
    good[3:5, 3:5] = 70_000
    for other, reason in [
        (good.T, "got 50 rows and 40 columns in b.tif"),
        (good.astype(np.float32) + 0.5, "expected whole numbers"),
        (good - 1, "got int32 from -1 to 69999"),
        ([good, good[:-1]], "expected pages of rows and columns of one size in b.tif, got shape (39, 50)"),
    ]:
        tifffile.imwrite(folder / "a.tif", good)
        with tifffile.TiffWriter(folder / "b.tif") as tif:
            for page in other if isinstance(other, list) else [other]:
                tif.write(page, photometric="minisblack")
        report = import_annotations(root, folder, overwrite=True)
        assert truth(root).ids.tolist() == [70_000]
        assert reason in told(report)
    raw = (folder / "a.tif").read_bytes()
    (folder / "b.tif").write_bytes(raw[:-500])
    assert "b.tif" in told(import_annotations(root, folder, overwrite=True))
    with pytest.raises(ReadError, match="the pictures of the dataset themselves"):
        import_annotations(root, root / "images", overwrite=True)


def test_zip_files(root, tmp_path):
    polygon = '<polygon label="needle" points="5,5;15,5;15,15"/>'
    with zipfile.ZipFile(tmp_path / "task.zip", "w") as z:
        z.write(cvat(root, polygon), "annotations.xml")
        z.write(root / "images" / "a.png", "images/a.png")
    assert import_annotations(root, tmp_path / "task.zip").format == "cvat"
    raw = (tmp_path / "task.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ReadError, match="a whole zip file"):
        import_annotations(root, tmp_path / "cut.zip", overwrite=True)
    with zipfile.ZipFile(tmp_path / "RoiSet.zip", "w") as z:
        z.writestr("1.roi", b"Iout" + bytes(80))
    raw = (tmp_path / "RoiSet.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(raw[:40] + b"!!" + raw[42:])
    with pytest.raises(ReadError, match="zip"):
        import_annotations(root, tmp_path / "a.zip", overwrite=True)


def test_detection_says_what_it_knows(root, tmp_path):
    with pytest.raises(ReadError, match="does not exist"):
        import_annotations(root, tmp_path / "none")
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "notes.txt").write_text("1 crystal seen\n")
    (folder / "x.json").write_text("{}")
    with pytest.raises(ReadError, match=r"known are coco \(COCO\); cvat"):
        detect(folder)
    (folder / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    assert detect(folder) == "yolo"
    (folder / "c.xml").write_text("<?xml version='1.0'?><annotations/>")
    with pytest.raises(ReadError, match=r"of one format in .*, got cvat, yolo; say which one"):
        detect(folder)
    with pytest.raises(InputError, match="a format among coco"):
        import_annotations(root, folder, format="voc")


PICTURES = ["images/e1/a.png", "images/e2/a.png", "images/e2/b.tif", "images/frame_0.5.png"]


@pytest.mark.parametrize(
    ("name", "stems", "picture"),
    [
        ("images/e1/a.png", False, "images/e1/a.png"),
        ("e1/a.png", False, "images/e1/a.png"),
        ("C:\\work\\set\\images\\e2\\a.png", False, "images/e2/a.png"),
        ("E2/A.PNG", False, "images/e2/a.png"),
        ("b.png", False, "images/e2/b.tif"),
        ("elsewhere/b.tif", False, "images/e2/b.tif"),
        ("frame_0.5", False, "images/frame_0.5.png"),
        ("labels/e2/a.txt", True, "images/e2/a.png"),
        ("e1/a.png.tif", True, "images/e1/a.png"),
        ("e1/a_cp_masks.png", True, "images/e1/a.png"),
        ("frame_0.5.txt", True, "images/frame_0.5.png"),
        ("c.png", False, None),
        ("e1/a_mask.png", False, None),
    ],
)
def test_names(name, stems, picture):
    assert match_names([name], PICTURES, prefix="images", stems=stems).get(name) == picture


def test_ambiguous_names_are_named():
    with pytest.raises(ReadError, match=r"got a.png, which fits images/e1/a.png and images/e2/a.png"):
        match_names(["a.png"], PICTURES, prefix="images")
    with pytest.raises(ReadError, match=r"got x/b.tif and y/b.tif, which fit images/e2/b.tif"):
        match_names(["x/b.tif", "y/b.tif"], PICTURES, prefix="images")
    # The exact name has it, the other one does not.
    assert match_names(["e2/b.tif", "b.jpg"], PICTURES, prefix="images") == {"e2/b.tif": "images/e2/b.tif"}


def test_one_picture_in_two_files_is_refused(root, tmp_path):
    folder = tmp_path / "two"
    folder.mkdir()
    for name in ("train.json", "val.json"):
        (folder / name).write_bytes(coco_file(root, [{"segmentation": [square(5, 5)]}]).read_bytes())
    with pytest.raises(ReadError, match=r"one set of annotations for images/a.png, got a.png and a.png"):
        import_annotations(root, folder)
