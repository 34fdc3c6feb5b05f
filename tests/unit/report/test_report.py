"""The report says what the tables say, in one file, without addresses."""

from __future__ import annotations

import re

import numpy as np
import pytest
from tests.conftest import picture, save

from crystalscope.config import load_config
from crystalscope.core import Image
from crystalscope.pipeline import analyze
from crystalscope.report import pictures


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    for i in range(7):
        save(root / "p" / f"f_{i}_t{60 * i}s.png", picture([(30 + i, 40, 10 + i / 2), (80, 100, 9)], seed=i))
    (root / "p" / "g.png").write_text("no picture")
    (root / "log.csv").write_text("time_s,temperature_c\n0,40\n400,20\n")
    given = {"pixel_size_um": 2.0, "time_pattern": r"_t(?P<seconds>\d+)s", "log": str(root / "log.csv")}
    config = load_config(
        segmenter="threshold", input=given, size={"replicates": 100}, report={"overlays": 2, "montage": 6}
    )
    summary = analyze(root / "p", root / "run", config=config)
    return summary, (root / "run" / "report.html").read_text(encoding="utf-8")


def test_it_is_one_file_that_needs_nothing_else(run):
    _, html = run
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?https?:""", html)
    assert not re.search(r"<script[^>]+src=", html)
    assert html.count("data:image/") >= 2
    assert html.count("<svg") >= 4


def test_it_says_what_the_summary_says(run):
    summary, html = run
    assert f"{summary['n_particles']:,} particles in focus" in html
    assert "ISO 13322-1 asks for" in html
    assert "g.png" in html
    assert "it is no picture" in html
    assert "4 pi A" in html or "4π" in html or "4 π" in html
    for alt in re.findall(r"<img[^>]*>", html):
        assert "alt=" in alt


def test_pictures_of_any_depth_and_colour():
    sixteen = np.linspace(0, 4095, 60 * 80).reshape(60, 80).astype(np.uint16)
    assert pictures.eight_bit(Image(sixteen)).max() > 250
    assert pictures.eight_bit(Image(np.zeros((5, 6, 3), np.uint8))).shape == (5, 6, 3)
