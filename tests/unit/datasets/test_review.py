"""The review: nothing on a clean set, and each defect found alone."""

from __future__ import annotations

import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from tests.unit.datasets.drawn import (
    MANIFEST,
    PICTURES,
    SHAPE,
    add_picture,
    block,
    edit_json,
    edit_manifest,
    edit_rows,
    picture_of,
    write_clean,
)

from crystalscope.datasets import Dataset
from crystalscope.datasets.checks_annotations import _crossed_area
from crystalscope.datasets.checks_particles import outliers
from crystalscope.datasets.findings import CHECKS, COLUMNS
from crystalscope.datasets.fingerprint import turned
from crystalscope.datasets.review import review_dataset
from crystalscope.datasets.review_report import write_review
from crystalscope.errors import ReadError
from crystalscope.io.manifest import Manifest


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clean(tmp_path_factory.mktemp("clean") / "set")


@pytest.fixture
def folder(clean: Path, tmp_path: Path) -> Path:
    """A copy to plant a defect in."""
    return Path(shutil.copytree(clean, tmp_path / "set"))


def faults(review) -> set[str]:
    return set(review.findings.loc[review.findings["severity"] != "note", "check"])


def pixels(folder: Path, name: str) -> np.ndarray:
    return cv2.imread(str(folder / "images" / name), cv2.IMREAD_UNCHANGED)


def encoded(data: np.ndarray, suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, data, list(options))[1].tobytes()


def test_a_clean_set_has_no_error_and_no_warning(clean):
    review = review_dataset(clean)
    assert faults(review) == set()
    assert review.exit_code == 0
    assert set(review.findings["check"]) == {"border_particles"}
    # One block per picture lies across the border; others may too.
    assert review.findings["value"].iloc[0] >= PICTURES
    assert review.families == []
    assert "0 errors, 0 warnings" in str(review)


# Each defect: what it does to the folder, and the check that must find it.


def cut_off(folder):
    path = folder / "images" / "p3.png"
    path.write_bytes(path.read_bytes()[:-200])


def same_pixels(folder):
    add_picture(folder, "q.png", encoded(pixels(folder, "p0.png"), ".png"), SHAPE)


def turned_pixels(folder):
    add_picture(folder, "q.png", encoded(turned(pixels(folder, "p0.png"), 1), ".png"), SHAPE[::-1])


def mirrored_pixels(folder):
    add_picture(folder, "q.bmp", encoded(turned(pixels(folder, "p0.png"), 6), ".bmp"), SHAPE)


def same_file_as_tiff(folder):
    add_picture(folder, "q.tiff", encoded(pixels(folder, "p0.png"), ".tiff"), SHAPE)


def compressed(folder):
    add_picture(folder, "q.jpg", encoded(pixels(folder, "p1.png"), ".jpg", 1, 70), SHAPE)


def compressed_and_turned(folder):
    data = turned(pixels(folder, "p1.png"), 3)
    add_picture(folder, "q.jpg", encoded(data, ".jpg", 1, 50), SHAPE[::-1])


def brightened(folder):
    data = np.clip(pixels(folder, "p1.png") * 1.15 + 8, 0, 255).astype(np.uint8)
    add_picture(folder, "q.png", encoded(data, ".png"), SHAPE)


def cut_by_a_few(folder):
    data = pixels(folder, "p1.png")[4:-3, 7:-2]
    add_picture(folder, "q.png", encoded(np.ascontiguousarray(data), ".png"), data.shape)


def noise_added_and_mirrored(folder):
    data = turned(pixels(folder, "p1.png"), 4) + np.random.default_rng(5).normal(0, 3, SHAPE)
    add_picture(folder, "q.png", encoded(np.clip(data, 0, 255).astype(np.uint8), ".png"), SHAPE)


def enlarged(folder):
    data = cv2.resize(pixels(folder, "p1.png"), None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
    add_picture(folder, "q.png", encoded(data, ".png"), data.shape)


def copy_in_the_other_split(folder):
    data = turned(pixels(folder, "p0.png"), 2)
    add_picture(folder, "q.png", encoded(data, ".png"), SHAPE, split="test", experiment="E2")


def near_copy_in_the_other_split(folder):
    raw = encoded(pixels(folder, "p0.png"), ".jpg", 1, 60)
    add_picture(folder, "q.jpg", raw, SHAPE, split="test", experiment="E2")


def crops_of_one_frame(folder):
    edit_rows(
        folder,
        lambda rows: [
            {**r, "frame": "5", "experiment": "E1"} if r["file"] in ("p5.png", "p7.png") else r for r in rows
        ],
    )


def broken_json(folder):
    path = folder / "annotations.coco.json"
    path.write_text(path.read_text()[:-40])


def picture_removed(folder):
    (folder / "images" / "p4.png").unlink()
    edit_rows(folder, lambda rows: [r for r in rows if r["file"] != "p4.png"])


def orphan(folder):
    edit_json(folder, lambda d: d["annotations"][0].update(image_id=999))


def one_id_twice(folder):
    edit_json(folder, lambda d: d["annotations"][3].update(id=d["annotations"][2]["id"]))


def wrong_height(folder):
    edit_json(folder, lambda d: d["images"][2].update(height=200))


def no_width(folder):
    edit_json(folder, lambda d: d["images"][2].pop("width"))


def entry_removed(folder):
    def change(data):
        data["images"] = [i for i in data["images"] if i["id"] != 2]
        data["annotations"] = [a for a in data["annotations"] if a["image_id"] != 2]

    edit_json(folder, change)


def _outline(folder, polygons, at=2):
    """Another outline for a particle in the middle of a picture."""
    change = {"segmentation": polygons, "visible_segmentation": None}
    edit_json(folder, lambda d: d["annotations"][at].update(change))


def odd_coordinates(folder):
    _outline(folder, [[10, 10, 40, 10, 40, 40, 10]])


def infinite_coordinates(folder):
    _outline(folder, [[10, 10, 40, float("inf"), 40, 40]])


def damaged_run_lengths(folder):
    _outline(folder, {"size": list(SHAPE), "counts": [100, 20]})


def run_lengths_of_another_size(folder):
    _outline(folder, {"size": [50, 50], "counts": [100, 20, 2380]})


def damaged_visible_part(folder):
    damage = {"size": list(SHAPE), "counts": [100, 20]}
    edit_json(folder, lambda d: d["annotations"][2].update(visible_segmentation=damage))


def outside(folder):
    _outline(folder, [[220, 50, 248, 50, 248, 80, 220, 80]])


def far_outside(folder):
    _outline(folder, [[-90, -80, -60, -80, -60, -50, -90, -50]])


def no_outline(folder):
    _outline(folder, [])


def two_points(folder):
    _outline(folder, [[10, 10, 40, 40]])


def no_area(folder):
    _outline(folder, [[10, 10, 40, 40, 20, 20]])


def empty_run_lengths(folder):
    _outline(folder, {"size": list(SHAPE), "counts": [SHAPE[0] * SHAPE[1]]})


def bow_tie(folder):
    _outline(folder, [[60, 60, 90, 84, 90, 60, 60, 84]])


def loop(folder):
    """A loop at the corner, run through the other way."""
    _outline(folder, [[60, 60, 84, 60, 84, 84, 80, 88, 84, 88, 80, 84, 60, 84]])


def annotated_twice(folder):
    edit_json(folder, lambda d: d["annotations"].append({**d["annotations"][2], "id": 5000}))


def annotated_twice_by_hand(folder):
    """The second outline is a pixel larger, and neither says what is seen of it."""

    def change(data):
        first = {**data["annotations"][2], "segmentation": [[100, 60, 140, 60, 140, 90, 100, 90]]}
        first.pop("visible_segmentation")
        data["annotations"][2] = first
        second = {**first, "id": 5000, "segmentation": [[99.5, 59.5, 140.5, 59.5, 140.5, 90.5, 99.5, 90.5]]}
        data["annotations"].append(second)

    edit_json(folder, change)


def one_particle_of_two_classes(folder):
    edit_json(folder, lambda d: d["annotations"].append({**d["annotations"][2], "id": 5000, "category_id": 3}))


def speck(folder):
    _outline(folder, [[100, 60, 102, 60, 102, 61, 100, 61]])


def nearly_the_whole_picture(folder):
    _outline(folder, [[6, 6, 234, 6, 234, 174, 6, 174]])


def class_without_pictures(folder):
    edit_manifest(folder, classes=("sparse", "dense", "foamy"))


def row_too_many(folder):
    edit_rows(folder, lambda rows: [*rows, {**rows[0], "file": "gone.png", "frame": "55"}])


def row_twice(folder):
    edit_rows(folder, lambda rows: [*rows, rows[4]])


def row_removed(folder):
    edit_rows(folder, lambda rows: [r for r in rows if r["file"] != "p4.png"])


def _scale(folder, value, *names):
    edit_rows(
        folder, lambda rows: [{**r, "pixel_size_um": value} if r["file"] in names or not names else r for r in rows]
    )


def no_scale(folder):
    _scale(folder, "")
    edit_manifest(folder, pixel_size_um=None)


def scale_of_one_missing(folder):
    _scale(folder, "", "p2.png")
    edit_manifest(folder, pixel_size_um=None)


def scale_against_the_manifest(folder):
    _scale(folder, "2.5")


def two_scales_of_one_instrument(folder):
    _scale(folder, "2.5", "p1.png")
    edit_manifest(folder, pixel_size_um=None)


def scale_below_zero(folder):
    _scale(folder, "-2", "p1.png")


def tags_say_another_scale(folder):
    path = folder / "images" / "p8.tif"
    data = tifffile.imread(path)
    tifffile.imwrite(path, data, imagej=True, resolution=(1 / 3.0, 1 / 3.0), metadata={"unit": "um"})


def no_instrument(folder):
    edit_rows(folder, lambda rows: [{**r, "instrument": ""} for r in rows])
    edit_manifest(folder, instrument="")


def instrument_of_one_missing(folder):
    edit_rows(
        folder, lambda rows: [{**r, "instrument": "" if r["file"] == "p1.png" else r["instrument"]} for r in rows]
    )
    edit_manifest(folder, instrument="")


def instrument_spelled_twice(folder):
    edit_rows(
        folder, lambda rows: [{**r, "instrument": "probe-100" if r["file"] < "p3" else "Probe 100"} for r in rows]
    )


def another_instrument(folder):
    edit_rows(folder, lambda rows: [{**r, "instrument": "Microscope"} for r in rows])


def no_licence(folder):
    edit_manifest(folder, licence="")


def no_sizes(folder):
    edit_manifest(folder, sizes="")


def sizes_file_gone(folder):
    (folder / "sizes_population.csv").unlink()


def frames_file_gone(folder):
    (folder / "frames.csv").unlink()


def falling_cumulative(folder):
    path = folder / "sizes_population.csv"
    table = pd.read_csv(path)
    table.loc[5, "Q3"] = 0.9999
    table.to_csv(path, index=False)


PLANTED = {
    "unreadable_picture": [cut_off],
    "duplicate_picture": [same_pixels, turned_pixels, mirrored_pixels, same_file_as_tiff],
    "near_duplicate": [
        compressed,
        compressed_and_turned,
        brightened,
        cut_by_a_few,
        noise_added_and_mirrored,
        enlarged,
    ],
    "picture_in_two_splits": [copy_in_the_other_split, near_copy_in_the_other_split],
    "frame_in_two_splits": [crops_of_one_frame],
    "broken_annotations": [broken_json],
    "annotated_picture_missing": [picture_removed],
    "annotation_without_picture": [orphan],
    "doubled_id": [one_id_twice],
    "annotated_size": [wrong_height, no_width],
    "not_annotated": [entry_removed],
    "outline_damaged": [
        odd_coordinates,
        infinite_coordinates,
        damaged_run_lengths,
        run_lengths_of_another_size,
        damaged_visible_part,
    ],
    "outline_outside": [outside, far_outside],
    "outline_empty": [no_outline, two_points, no_area, empty_run_lengths],
    "outline_crossing": [bow_tie, loop],
    "doubled_annotation": [annotated_twice, annotated_twice_by_hand, one_particle_of_two_classes],
    "size_outlier": [speck, nearly_the_whole_picture],
    "class_balance": [class_without_pictures],
    "row_without_picture": [row_too_many],
    "doubled_row": [row_twice],
    "picture_without_row": [row_removed],
    "scale_missing": [no_scale, scale_of_one_missing],
    "scale_conflict": [
        scale_against_the_manifest,
        two_scales_of_one_instrument,
        scale_below_zero,
        tags_say_another_scale,
    ],
    "instrument_missing": [no_instrument, instrument_of_one_missing],
    "instrument_conflict": [instrument_spelled_twice, another_instrument],
    "licence_missing": [no_licence],
    "sizes_missing": [no_sizes],
    "sizes_faulty": [falling_cumulative],
    "missing_file": [sizes_file_gone, frames_file_gone],
}


@pytest.mark.parametrize(
    ("check", "plant"),
    [(c, p) for c, plants in PLANTED.items() for p in plants],
    ids=lambda v: v if isinstance(v, str) else v.__name__,
)
def test_a_planted_defect_is_found_and_nothing_else(folder, check, plant):
    plant(folder)
    review = review_dataset(folder)
    assert faults(review) == {check}, review.findings["message"].tolist()
    assert review.exit_code == 1
    found = review.findings[review.findings["check"] == check]
    assert len(found) == 1
    assert found["message"].iloc[0].strip()


def test_every_check_that_can_fail_is_planted():
    assert set(PLANTED) == {c for c, (severity, _) in CHECKS.items() if severity != "note"}


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (1, "turned by 270°"),
        (2, "turned by 180°"),
        (3, "turned by 90°"),
        (4, "mirrored"),
        (5, "mirrored and turned by 90°"),
        (6, "mirrored and turned by 180°"),
        (7, "mirrored and turned by 270°"),
    ],
)
def test_the_turn_that_brings_a_copy_back_is_named(folder, turn, words):
    data = turned(pixels(folder, "p2.png"), turn)
    add_picture(folder, "q.png", encoded(data, ".png"), data.shape)
    review = review_dataset(folder)
    (row,) = review.findings[review.findings["check"] == "duplicate_picture"].to_dict("records")
    assert (row["file"], row["other"]) == ("images/q.png", "images/p2.png")
    assert f"the same as images/p2.png when {words}" in row["message"]
    assert review.families == [["images/p2.png", "images/q.png"]]
    (copy,) = review.copies
    np.testing.assert_array_equal(turned(data, copy.turn), pixels(folder, "p2.png"))


def test_copies_in_two_splits_name_both_and_their_splits(folder):
    copy_in_the_other_split(folder)
    (row,) = review_dataset(folder).findings.query("check == 'picture_in_two_splits'").to_dict("records")
    assert {row["file"], row["other"]} == {"images/p0.png", "images/q.png"}
    assert "they stand in train and test" in row["message"]


def test_an_outline_that_touches_itself_does_not_cross_itself():
    # Two pixels that touch at a corner, as outlines of 8-connected masks run; a slit that is run through twice.
    touching = np.array([[0, 0], [1, 0], [1, 1], [2, 1], [2, 2], [1, 2], [1, 1], [0, 1]], float) * 9
    slit = np.array([[0, 0], [9, 0], [9, 9], [5, 9], [5, 5], [5, 9], [0, 9]], float)
    assert _crossed_area(touching) == pytest.approx(0, abs=1e-9)
    assert _crossed_area(slit) == pytest.approx(0, abs=1e-9)
    # The two triangles of a bow tie, run through in opposite ways: 2 * 36 px² against 0.
    assert _crossed_area(np.array([[0, 0], [12, 12], [12, 0], [0, 12]], float)) == pytest.approx(72)
    # A loop inside that is run through the same way counts twice: 60 against 68.
    spiral = np.array([[0, 0], [8, 0], [8, 8], [2, 8], [2, 6], [4, 6], [4, 8.0001], [0, 8.0001]], float)
    assert _crossed_area(spiral) > 3


@pytest.mark.parametrize("spread", [0.05, 0.3, 0.6, 1.2])
@pytest.mark.parametrize("n", [40, 300, 3000])
def test_log_normal_sizes_have_no_outlier(rng, spread, n):
    assert not any(outliers(rng.lognormal(3, spread, n)) for _ in range(40))


def test_power_laws_uniform_sizes_and_two_modes_have_no_outlier(rng):
    for _ in range(40):
        assert outliers(np.exp(rng.exponential(0.5, 400))) == []
        assert outliers(rng.uniform(5, 100, 400)) == []
        assert outliers(np.where(np.arange(400) % 10 == 0, 500, 150) * rng.normal(1, 0.03, 400)) == []


@pytest.mark.parametrize("odd", [[2.0], [900.0], [1.5, 900.0]])
def test_sizes_apart_are_outliers(rng, odd):
    sizes = np.concatenate([rng.lognormal(3, 0.3, 200), odd])
    found = outliers(sizes)
    assert [k for k, _ in found] == list(range(200, 200 + len(odd)))
    for k, factor in found:
        assert factor == pytest.approx(sizes[k] / (sizes[:200].max() if factor > 1 else sizes[:200].min()))
    assert outliers(sizes[-20:]) == []


def test_a_particle_under_another_of_the_same_outline_is_not_doubled(folder):
    def change(data):
        below = data["annotations"][2]
        over = {**below, "id": 5000}
        below["visible_segmentation"] = []
        data["annotations"].append(over)

    edit_json(folder, change)
    assert faults(review_dataset(folder)) == set()


def test_ignored_regions_may_coincide(folder):
    edit_json(folder, lambda d: d["annotations"].append({**d["annotations"][2], "id": 5000, "ignore": 1}))
    assert faults(review_dataset(folder)) == set()


def test_a_class_with_few_pictures_is_told():
    frames = pd.DataFrame({"file": [f"{i}.png" for i in range(120)], "class": ["a"] * 118 + ["b"] * 2})
    from crystalscope.datasets.checks_particles import check_classes

    (finding,) = check_classes(Dataset(Path(), Manifest(name="x"), frames), [])
    assert "got 2 pictures of class b" in finding.message
    frames["class"] = ["a"] * 115 + ["b"] * 5
    assert list(check_classes(Dataset(Path(), Manifest(name="x"), frames), [])) == []


def test_other_sizes_of_pictures_are_a_note_and_missing_fields_too(folder):
    data = picture_of([block((150, 200), 60, 90, 30, 20)], np.random.default_rng(3), (150, 200))
    add_picture(folder, "q.png", encoded(data, ".png"), (150, 200))
    edit_manifest(folder, doi="", limits=())
    review = review_dataset(folder)
    assert review.exit_code == 0
    notes = dict(zip(review.findings["check"], review.findings["message"], strict=True))
    assert notes["picture_format"] == "Probe 100: 9 of 240 x 180 px, 8 bit grey; 1 of 200 x 150 px, 8 bit grey"
    assert notes["card_field"] == "dataset.toml does not say: DOI, known limits"


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(ReadError, match=r"expected a dataset with dataset\.toml"):
        review_dataset(tmp_path)
    (tmp_path / "dataset.toml").write_text('name = "x"\n')
    with pytest.raises(ReadError, match=r"expected pictures in .*images"):
        review_dataset(tmp_path)


def test_progress_tells_what_is_done(clean):
    told = []
    review_dataset(clean, progress=lambda *what: told.append(what))
    assert [t for t in told if t[0] == "reading pictures"] == [
        ("reading pictures", i + 1, PICTURES) for i in range(PICTURES)
    ]


class Page(HTMLParser):
    """Tags must close in order; collects ids, references and text."""

    void = ("meta", "link", "br", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.ids, self.references, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.ids += [v for k, v in attrs if k == "id"]
        self.references += [v for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def test_the_report_shows_what_was_found_and_stands_alone(folder, tmp_path):
    for plant in (same_pixels, annotated_twice, wrong_height, no_licence):
        plant(folder)
    _outline(folder, [[220, 50, 248, 50, 248, 80, 220, 80]], at=10)
    _outline(folder, [[100, 60, 102, 60, 102, 61, 100, 61]], at=12)
    edit_manifest(folder, title="Drawn <crystals>")
    review = review_dataset(folder)
    path = write_review(review, tmp_path / "out")
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert all(r.startswith(("data:image/jpeg", "#")) for r in page.references)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=\s]*", "", html)
    assert {r[1:] for r in page.references if r.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "Drawn <crystals>" in page.text
    assert "Drawn <crystals>" not in html
    for check in set(review.findings["check"]):
        assert CHECKS[check][1] in page.text
    # Outlines: outside, apart in size, doubled (twice), all of the picture of another size; none on the two copies.
    svgs = re.findall(r'<svg class="picture".*?</svg>', html, flags=re.DOTALL)
    assert len([s for s in svgs if 'class="mark"' in s]) == 4
    assert len([s for s in svgs if 'class="near"' in s]) == 1
    assert len([s for s in svgs if "<path" not in s]) == 2
    found = pd.read_csv(tmp_path / "out" / "findings.csv")
    assert tuple(found.columns) == COLUMNS
    assert len(found) == len(review.findings)
    assert found["severity"].tolist() == sorted(found["severity"], key=["error", "warning", "note"].index)
    assert write_review(review, tmp_path / "again").read_bytes() == path.read_bytes()


def test_a_clean_report_says_so(clean, tmp_path):
    page = Page(write_review(review_dataset(clean), tmp_path).read_text(encoding="utf-8"))
    assert "The dataset stands the review" in page.text
    assert MANIFEST.title in page.text


CROPS = ["PG5308 PG5309 PG5310 PG5311 PG5312", "PG565 PG566 PG567", "PG589 PG590 PG591 PG592 PG593 PG594"]


def opened(folder: Path, pattern: str, **columns) -> Dataset:
    """Pictures of a folder without a manifest."""
    files = sorted(p.name for p in folder.glob(pattern))
    if not files:
        pytest.skip(f"needs {folder}")
    return Dataset(folder, Manifest(name=folder.name, pictures="."), pd.DataFrame({"file": files}).assign(**columns))


def test_copies_among_the_impurity_crops(data):
    review = review_dataset(opened(data / "impurity-crops", "*.png"))
    assert [" ".join(Path(f).stem for f in family) for family in review.families] == CROPS
    assert set(review.findings["check"]) >= {"duplicate_picture", "licence_missing", "scale_missing"}
    assert not set(review.findings["check"]) & {"near_duplicate", "unreadable_picture"}


def test_neither_quarters_of_a_frame_nor_frames_of_a_batch_are_copies(data):
    review = review_dataset(opened(data / "insitu-backlit", "frame_*[01].jpg"))
    assert len(review.dataset) == 32
    assert review.families == []
    assert math.isnan(review.findings.query("check == 'licence_missing'")["value"].iloc[0])
