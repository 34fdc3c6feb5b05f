"""The figures and the card of a dataset: true to the pictures, and valid for the programs that read them."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from tests.unit.datasets.drawn import MANIFEST, PICTURES, SHAPE, edit_json, edit_manifest, edit_rows
from tests.unit.datasets.pages import Page

from crystalscope.datasets import Dataset, open_dataset
from crystalscope.datasets.card import write_card
from crystalscope.datasets.croissant import croissant, licence_address, semantic
from crystalscope.datasets.stats import dataset_stats, noise_of
from crystalscope.datasets.stats_page import write_stats
from crystalscope.errors import ReadError
from crystalscope.io.manifest import Manifest


@pytest.fixture
def bare(tmp_path: Path) -> Dataset:
    """Two pictures of which nothing is known."""
    for name in ("a.png", "b.jpg"):
        cv2.imwrite(str(tmp_path / name), np.full((40, 50), 90, np.uint8))
    return Dataset(tmp_path, Manifest(name="bare", pictures="."), pd.DataFrame({"file": ["a.png", "b.jpg"]}))


def test_the_figures_agree_with_the_truth(clean_set):
    stats = dataset_stats(open_dataset(clean_set))
    truth = pd.read_csv(clean_set / "particles.csv")
    s = stats.summary
    assert (s["pictures"], s["unreadable"]) == (PICTURES, 0)
    assert s["annotations"] == len(truth)
    assert s["particles"] == int(truth["in_focus"].sum())
    assert s["ignored"] == int((~truth["in_focus"]).sum()) == PICTURES
    assert s["formats"] == {"240 x 180 px, 8 bit grey": PICTURES}
    assert s["groups"]["split"] == {"train": 6, "test": 3}
    assert s["groups"]["class"] == {"sparse": 5, "dense": 4}
    assert s["groups"]["instrument"] == {"Probe 100": PICTURES}
    assert s["pixel_size_um"] == [2.0]
    assert stats.particles["ecd_um"].to_numpy() == pytest.approx(truth["ecd_um"].to_numpy(), rel=1e-6)
    per_picture = truth[truth["in_focus"]].groupby("file").size().to_numpy()
    assert stats.pictures["particles"].tolist() == per_picture.tolist()
    whole = stats.particles[~stats.particles["ignored"] & ~stats.particles["at_border"]]
    assert s["sizes"]["crystal"]["ecd_um"]["p50"] == pytest.approx(whole["ecd_um"].median())
    assert s["sizes"]["crystal"]["ecd_um"]["n"] == len(whole)
    assert s["at_border"] >= PICTURES


def test_light_and_noise_are_those_of_the_pictures(clean_set):
    stats = dataset_stats(open_dataset(clean_set))
    data = cv2.imread(str(clean_set / "images" / "p4.png"), 0) / 255
    row = stats.pictures.set_index("file").loc["images/p4.png"]
    assert row["brightness"] == pytest.approx(data.mean(), rel=1e-5)
    assert row["contrast"] == pytest.approx(data.std(), rel=1e-4)


@pytest.mark.parametrize("sigma", [0.002, 0.01, 0.05])
def test_noise_is_measured_on_a_gradient_with_particles(rng, sigma):
    y, x = np.mgrid[:400, :500]
    grey = 0.6 - 0.3 * x / 500 + 0.1 * np.sin(y / 90)
    grey[(y - 150) ** 2 + (x - 200) ** 2 < 60**2] -= 0.3
    grey = grey + rng.normal(0, sigma, grey.shape)
    assert noise_of(grey.astype(np.float32)) == pytest.approx(sigma, rel=0.08)


def test_noise_of_tiny_pictures():
    assert noise_of(np.zeros((2, 2), np.float32)) == 0
    assert np.isnan(noise_of(np.zeros((1, 5), np.float32)))


def test_twelve_bits_in_sixteen_are_full_scale(tmp_path):
    data = np.full((40, 50), 2048, np.uint16)
    data[0, 0] = 4095
    cv2.imwrite(str(tmp_path / "a.tif"), data)
    stats = dataset_stats(Dataset(tmp_path, Manifest(name="x", pictures="."), pd.DataFrame({"file": ["a.tif"]})))
    assert stats.summary["brightness"]["p50"] == pytest.approx(0.5, abs=0.001)
    assert stats.summary["formats"] == {"50 x 40 px, 16 bit grey": 1}


def test_overlaps_are_covered_once_and_the_ignored_not_at_all(drawn_set):
    def change(data):
        keep = data["annotations"][:4]
        boxes = [(10, 10, 60, 60), (40, 40, 80, 80), (0, 0, 240, 180), (200, 100, 230, 170)]
        for entry, (a, b, c, d), ignore in zip(keep, boxes, (0, 0, 1, 0), strict=True):
            entry.update(segmentation=[[a, b, c, b, c, d, a, d]], visible_segmentation=None, ignore=ignore, image_id=0)
        data["annotations"] = keep

    edit_json(drawn_set, change)
    stats = dataset_stats(open_dataset(drawn_set))
    covered = 50 * 50 + 40 * 40 - 20 * 20 + 30 * 70
    assert stats.pictures["coverage"].iloc[0] == pytest.approx(covered / (SHAPE[0] * SHAPE[1]))
    assert stats.pictures["particles"].tolist() == [3] + [0] * (PICTURES - 1)
    assert stats.summary["empty_pictures"] == PICTURES - 1


def test_damaged_pictures_are_counted_and_left_out(drawn_set):
    (drawn_set / "images" / "p1.png").write_bytes(b"")
    stats = dataset_stats(open_dataset(drawn_set))
    assert stats.summary["unreadable"] == 1
    assert stats.summary["brightness"]["n"] == PICTURES - 1
    assert "9, 1 unreadable" in str(stats)


def test_figures_without_annotations(bare):
    stats = dataset_stats(bare)
    s = stats.summary
    assert (s["annotations"], s["empty_pictures"], s["ignored_share"], s["sizes"]) == (0, None, None, {})
    assert s["per_picture"]["n"] == 0
    assert "particles" not in str(stats)
    assert s["brightness"]["p50"] == pytest.approx(90 / 255, abs=1e-3)


def test_the_page_of_figures_stands_alone(drawn_set, tmp_path):
    edit_rows(drawn_set, lambda rows: [{**r, "loading_wt": str(1 + i % 3)} for i, r in enumerate(rows)])
    stats = dataset_stats(open_dataset(drawn_set))
    path = write_stats(stats, tmp_path / "out", title="Drawn <crystals>")
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert "Drawn <crystals>" in page.text
    assert "Drawn <crystals>" not in html
    assert html.count('role="img"') == 5
    assert "http" not in html
    assert len(page.ids) == len(set(page.ids))
    assert set(re.findall(r"url\(#(\w+)\)", html)) | {r[1:] for r in page.references} <= set(page.ids)
    written = json.loads((tmp_path / "out" / "stats.json").read_text(encoding="utf-8"))
    assert written["loading_wt"] == {"n": 9, "mean": 2.0, "min": 1.0, "p10": 1.0, "p50": 2.0, "p90": 3.0, "max": 3.0}
    assert write_stats(stats, tmp_path / "again", title="Drawn <crystals>").read_bytes() == path.read_bytes()


def test_the_card_says_what_is_known(clean_set, tmp_path):
    card = write_card(open_dataset(clean_set), tmp_path, examples=4)
    html = card.page.read_text(encoding="utf-8")
    page = Page(html)
    assert card.missing == ()
    m = MANIFEST
    words = (m.title, m.description, m.doi, m.licence, m.citation, m.solids_loading, m.annotated_by, m.instrument)
    for text in (*words, m.annotation_rules, *m.limits, *m.creators, "2 µm per px"):
        assert text in page.text
    assert "Not stated" not in page.text
    svgs = re.findall(r'<svg class="picture".*?</svg>', html, flags=re.DOTALL)
    assert len(svgs) == 4
    # The ghost of every picture is dashed, the others are full lines.
    assert all(s.count('class="near"') == 1 and s.count('class="mark"') >= 6 for s in svgs)
    addresses = {r for r in page.references if r.startswith("http")}
    assert addresses == {
        "https://doi.org/10.5281/zenodo.1234567",
        "https://spdx.org/licenses/CC-BY-4.0.html",
        "https://example.org/drawn",
    }
    again = write_card(open_dataset(clean_set), tmp_path / "again", examples=4)
    assert again.page.read_bytes() == card.page.read_bytes()
    assert again.croissant.read_bytes() == card.croissant.read_bytes()


def test_the_card_tells_what_is_missing(bare, tmp_path):
    card = write_card(bare, tmp_path / "out")
    assert card.missing[:2] == ("licence", "instrument")
    assert card.missing[-1] == "scale (um per px)"
    assert "DOI" in str(card)
    text = Page(card.page.read_text(encoding="utf-8")).text
    assert "Not stated: licence, instrument, title" in text
    assert "nobody may use the pictures" in text
    described = json.loads(card.croissant.read_text(encoding="utf-8"))
    assert not {"license", "citeAs", "version", "url", "description"} & set(described)
    assert described["distribution"][0]["includes"] == ["*.jpg", "*.png"]
    assert [r["@id"] for r in described["recordSet"]] == ["pictures"]


def test_files_are_named_with_their_hashes(clean_set):
    described = croissant(open_dataset(clean_set))
    files = [f for f in described["distribution"] if f["@type"] == "cr:FileObject"]
    assert {f["contentUrl"] for f in files} == {"annotations.coco.json", "frames.csv", "sizes_population.csv"}
    for f in files:
        raw = (clean_set / f["contentUrl"]).read_bytes()
        assert f["sha256"] == hashlib.sha256(raw).hexdigest()
        assert f["contentSize"] == f"{len(raw)} B"
    facts = {v["name"]: v["value"] for v in described["variableMeasured"]}
    assert facts == {"Instrument": "Probe 100", "Scale": "2 µm per px", "Solids loading": "1 to 5 wt%"}
    assert described["rai:dataLimitations"] == ["drawn, not recorded"]
    assert described["rai:dataAnnotationProtocol"][1] == "Annotated by two chemists."


def test_a_missing_file_is_named(drawn_set):
    data = open_dataset(drawn_set)
    (drawn_set / "frames.csv").unlink()
    with pytest.raises(ReadError, match=r"expected frames\.csv in"):
        croissant(data)


@pytest.mark.parametrize(
    ("licence", "address"),
    [
        ("CC BY 4.0", "https://spdx.org/licenses/CC-BY-4.0.html"),
        ("cc0-1.0", "https://spdx.org/licenses/CC0-1.0.html"),
        ("MIT", "https://spdx.org/licenses/MIT.html"),
        ("https://example.org/terms", "https://example.org/terms"),
        ("for teaching only", "for teaching only"),
        ("", ""),
    ],
)
def test_usual_licences_have_an_address(licence, address):
    assert licence_address(licence) == address


def test_versions_have_three_numbers():
    assert [semantic(v) for v in ("1", "1.2", "v2.0", "1.2.3", "2024a", "")] == [
        "1.0.0",
        "1.2.0",
        "2.0.0",
        "1.2.3",
        "2024a",
        "",
    ]


mlc_warnings = pytest.mark.filterwarnings("ignore:ConjunctiveGraph:DeprecationWarning")


@mlc_warnings
def test_the_reference_reader_accepts_the_description_and_reads_the_records(drawn_set):
    mlc = pytest.importorskip("mlcroissant")
    data = open_dataset(drawn_set)
    card = write_card(data)
    assert card.croissant == drawn_set / "croissant.json"
    loaded = mlc.Dataset(jsonld=card.croissant)
    assert loaded.metadata.ctx.issues.errors == set()
    assert loaded.metadata.ctx.issues.warnings == set()
    assert loaded.metadata.name == MANIFEST.title
    assert loaded.metadata.version == "1.0.0"

    pictures = list(loaded.records("pictures"))
    assert [r["pictures/file"].decode() for r in pictures] == data.frames["file"].tolist()
    for record, image in zip(pictures, data, strict=True):
        assert np.array_equal(np.asarray(record["pictures/picture"].convert("L")), np.asarray(image.data))

    frames = pd.DataFrame(loaded.records("frames"))
    assert frames["frames/pixel_size_um"].tolist() == [2] * PICTURES
    assert frames["frames/split"].str.decode("utf-8").tolist() == data.frames["split"].tolist()

    truth = json.loads((drawn_set / "annotations.coco.json").read_text())["annotations"]
    found = list(loaded.records("annotations"))
    assert [r["annotations/id"] for r in found] == [a["id"] for a in truth]
    assert [list(r["annotations/bbox"]) for r in found] == [a["bbox"] for a in truth]
    listed = list(loaded.records("annotated_pictures"))
    assert [r["annotated_pictures/width"] for r in listed] == [240] * PICTURES
    sizes = pd.DataFrame(loaded.records("sizes"))
    assert sizes["sizes/Q3"].iloc[-1] == pytest.approx(1)


@mlc_warnings
def test_the_reference_reader_accepts_odd_folders_and_gaps(drawn_set):
    mlc = pytest.importorskip("mlcroissant")
    (drawn_set / "images" / "run [1]").mkdir()
    (drawn_set / "images" / "p5.png").rename(drawn_set / "images" / "run [1]" / "p5.png")
    edit_rows(drawn_set, lambda rows: [{**r, "file": r["file"].replace("p5", "run [1]/p5")} for r in rows])
    edit_json(drawn_set, lambda d: d["images"][5].update(file_name="images/run [1]/p5.png"))
    edit_json(drawn_set, lambda d: d["annotations"][3].pop("area"))
    edit_manifest(drawn_set, doi="", citation="", published="", version="")
    loaded = mlc.Dataset(jsonld=write_card(open_dataset(drawn_set)).croissant)
    assert loaded.metadata.ctx.issues.errors == set()
    assert len(list(loaded.records("pictures"))) == PICTURES
    assert "annotations/area" not in next(iter(loaded.records("annotations")))
