"""The review: nothing on a clean set, and each defect found alone."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.unit.datasets.defects import (
    PLANTED,
    annotated_twice,
    copy_in_the_other_split,
    encoded,
    no_licence,
    outline,
    pixels,
    same_pixels,
    wrong_height,
)
from tests.unit.datasets.drawn import MANIFEST, PICTURES, add_picture, block, edit_json, edit_manifest, picture_of
from tests.unit.datasets.pages import Page

from crystalscope.datasets import Dataset
from crystalscope.datasets.checks_annotations import _crossed_area
from crystalscope.datasets.checks_particles import check_classes, outliers
from crystalscope.datasets.findings import CHECKS, COLUMNS
from crystalscope.datasets.fingerprint import turned
from crystalscope.datasets.review import review_dataset
from crystalscope.datasets.review_report import write_review
from crystalscope.errors import ReadError
from crystalscope.io.manifest import Manifest


def faults(review) -> set[str]:
    return set(review.findings.loc[review.findings["severity"] != "note", "check"])


def test_a_clean_set_has_no_error_and_no_warning(clean_set):
    review = review_dataset(clean_set)
    assert faults(review) == set()
    assert review.exit_code == 0
    assert set(review.findings["check"]) == {"border_particles"}
    # One block per picture lies across the border; others may too.
    assert review.findings["value"].iloc[0] >= PICTURES
    assert review.families == []
    assert "0 errors, 0 warnings" in str(review)


@pytest.mark.parametrize(
    ("check", "plant"),
    [(c, p) for c, plants in PLANTED.items() for p in plants],
    ids=lambda v: v if isinstance(v, str) else v.__name__,
)
def test_a_planted_defect_is_found_and_nothing_else(drawn_set, check, plant):
    plant(drawn_set)
    review = review_dataset(drawn_set)
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
def test_the_turn_that_brings_a_copy_back_is_named(drawn_set, turn, words):
    data = turned(pixels(drawn_set, "p2.png"), turn)
    add_picture(drawn_set, "q.png", encoded(data, ".png"), data.shape)
    review = review_dataset(drawn_set)
    (row,) = review.findings[review.findings["check"] == "duplicate_picture"].to_dict("records")
    assert (row["file"], row["other"]) == ("images/q.png", "images/p2.png")
    assert f"the same as images/p2.png when {words}" in row["message"]
    assert review.families == [["images/p2.png", "images/q.png"]]
    (copy,) = review.copies
    np.testing.assert_array_equal(turned(data, copy.turn), pixels(drawn_set, "p2.png"))


def test_copies_in_two_splits_name_both_and_their_splits(drawn_set):
    copy_in_the_other_split(drawn_set)
    (row,) = review_dataset(drawn_set).findings.query("check == 'picture_in_two_splits'").to_dict("records")
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


def test_a_particle_under_another_of_the_same_outline_is_not_doubled(drawn_set):
    def change(data):
        below = data["annotations"][2]
        over = {**below, "id": 5000}
        below["visible_segmentation"] = []
        data["annotations"].append(over)

    edit_json(drawn_set, change)
    assert faults(review_dataset(drawn_set)) == set()


def test_ignored_regions_may_coincide(drawn_set):
    edit_json(drawn_set, lambda d: d["annotations"].append({**d["annotations"][2], "id": 5000, "ignore": 1}))
    assert faults(review_dataset(drawn_set)) == set()


def test_a_class_with_few_pictures_is_told():
    frames = pd.DataFrame({"file": [f"{i}.png" for i in range(120)], "class": ["a"] * 118 + ["b"] * 2})
    (finding,) = check_classes(Dataset(Path(), Manifest(name="x"), frames), [])
    assert "got 2 pictures of class b" in finding.message
    frames["class"] = ["a"] * 115 + ["b"] * 5
    assert list(check_classes(Dataset(Path(), Manifest(name="x"), frames), [])) == []


def test_other_sizes_of_pictures_are_a_note_and_missing_fields_too(drawn_set):
    data = picture_of([block((150, 200), 60, 90, 30, 20)], np.random.default_rng(3), (150, 200))
    add_picture(drawn_set, "q.png", encoded(data, ".png"), (150, 200))
    edit_manifest(drawn_set, doi="", limits=())
    review = review_dataset(drawn_set)
    assert review.exit_code == 0
    notes = dict(zip(review.findings["check"], review.findings["message"], strict=True))
    assert notes["picture_format"] == "Probe 100: 9 of 240 x 180 px, 8 bit grey; 1 of 200 x 150 px, 8 bit grey"
    assert notes["card_field"] == "dataset.toml does not say: DOI, known limits"


def test_a_folder_without_a_manifest_is_reviewed_all_the_same(tmp_path, data):
    with pytest.raises(ReadError, match=r"expected pictures in"):
        review_dataset(tmp_path)
    found = review_dataset(data / "impurity-crops")
    copies = {tuple(sorted(Path(f).stem for f in family)) for family in found.families}
    assert copies == {
        tuple(f"PG{k}" for k in range(5308, 5313)),
        tuple(f"PG{k}" for k in range(565, 568)),
        tuple(f"PG{k}" for k in range(589, 595)),
    }
    assert (found.findings["check"] == "missing_file").sum() == 1
    assert found.exit_code == 1


def test_a_manifest_without_pictures_is_refused(tmp_path):
    (tmp_path / "dataset.toml").write_text('name = "x"\n')
    with pytest.raises(ReadError, match=r"expected pictures in .*images"):
        review_dataset(tmp_path)


def test_progress_tells_what_is_done(clean_set):
    told = []
    review_dataset(clean_set, progress=lambda *what: told.append(what))
    assert [t for t in told if t[0] == "reading pictures"] == [
        ("reading pictures", i + 1, PICTURES) for i in range(PICTURES)
    ]


def test_the_report_shows_what_was_found_and_stands_alone(drawn_set, tmp_path):
    for plant in (same_pixels, annotated_twice, wrong_height, no_licence):
        plant(drawn_set)
    outline(drawn_set, [[220, 50, 248, 50, 248, 80, 220, 80]], at=10)
    outline(drawn_set, [[100, 60, 102, 60, 102, 61, 100, 61]], at=12)
    edit_manifest(drawn_set, title="Drawn <crystals>")
    review = review_dataset(drawn_set)
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


def test_a_clean_report_says_so(clean_set, tmp_path):
    page = Page(write_review(review_dataset(clean_set), tmp_path).read_text(encoding="utf-8"))
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
