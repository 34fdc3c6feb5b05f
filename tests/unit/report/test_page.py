"""The page, part by part: what it says, that it stands alone, and that its pictures show what was measured."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import picture

from crystalscope.config import load_config
from crystalscope.core import PARTICLE_COLUMNS, Image, ledger_frame, particle_frame
from crystalscope.io.coco import encode_rle
from crystalscope.io.tables import read_table, write_csv, write_json, write_table
from crystalscope.report import pictures, plots, write_report
from crystalscope.report.analysis import figure_text, verdict
from crystalscope.size import size_particles, size_points, summarize


class Page(HTMLParser):
    """Reads a page: tags must close in order; collects ids, references and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.ids, self.references, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.ids += [v for k, v in attrs if k == "id"]
        self.references += [v for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def square(row: float, column: float, side: float) -> list[list[float]]:
    """COCO polygon of a square around a centre."""
    a = side / 2
    return [[column - a, row - a, column + a, row - a, column + a, row + a, column - a, row + a]]


def make_run(path: Path, *, frames=8, per_frame=12, scale=2.0, bad=0, timed=True, **tables):
    """Files of a run of squares, as `analyze` would have written them; arguments of write_report."""
    rng = np.random.default_rng(7)
    config = load_config(size={"replicates": 100}, **tables)
    n, unit = frames * per_frame, "um" if scale else "px"
    side = np.round(rng.lognormal(2.3, 0.4, n)) + 3
    r, c = rng.uniform(30, 170, n), rng.uniform(30, 290, n)
    columns = {k.name: np.full(n, 0.8) for k in PARTICLE_COLUMNS}
    columns |= {
        "frame": np.repeat(np.arange(frames), per_frame),
        "file": np.array([f"f{i:03d}.png" for i in np.repeat(np.arange(frames), per_frame)], dtype=object),
        "particle": np.arange(n) + 1,
        "kind": np.full(n, "crystal", dtype=object),
        "in_focus": np.arange(n) % 6 != 5,
        "touches_border": np.arange(n) % 12 == 4,
        "agglomerate": np.zeros(n),
        "area": side**2,
        "ecd": side * np.sqrt(4 / np.pi),
        "feret_max": side * np.sqrt(2),
        "length": side * 1.2,
        "width": side,
        "x": c,
        "y": r,
        "length_to_width": np.full(n, 1.2),
        "border_weight": np.where(np.arange(n) % 12 == 4, np.nan, 1.1),
    }
    particles = particle_frame(columns, pixel_size_um=scale)
    counted = particles[particles["in_focus"]]
    rows = []
    for i in range(frames + bad):
        k = int((counted["frame"] == i).sum())
        row = {"frame": i, "file": f"f{i:03d}.png", "time_s": 30.0 * i if timed else np.nan, "n_particles": k}
        row |= {"status": "ok" if k else ("failed" if i >= frames else "empty"), "width_px": 320, "height_px": 200}
        row |= {"coverage": 0.1, "focus": 0.2, "method": "dark", "pixel_size_um": scale or np.nan}
        row |= {"temperature_c": 40 - i if timed else np.nan}
        row |= {"reason": f"expected <b>a picture</b>, got nothing {i}" if i >= frames else ""}
        rows.append(row)
    ledger = ledger_frame(rows)
    new, old = size_particles(counted, n_frames=frames, unit=unit, config=config, pixel_size_um=scale)
    summary = {
        "frames": {s: int((ledger["status"] == s).sum()) for s in ("ok", "empty", "rejected", "failed")},
        "n_frames": len(ledger),
        "n_particles": len(counted),
        "n_border": int(counted["touches_border"].sum()),
        "n_out_of_focus": n - len(counted),
        "n_static": 4,
        "n_gated": 5,
        "pixel_size_um": scale,
        **summarize(new, old, config=config),
        "warnings": ["the lamp <flickered>"],
    }
    path.mkdir()
    write_table(path / "frames.parquet", ledger)
    write_table(path / "particles.parquet", particles)
    write_csv(path / "sizes.csv", size_points(new))
    write_json(path / "summary.json", summary)
    outlines = {
        i: [
            {"id": int(p), "segmentation": square(r[p - 1], c[p - 1], side[p - 1]), "bbox": [0, 0, 1, 1]}
            for p in counted.loc[counted["frame"] == i, "particle"]
        ]
        for i in (range(0, frames, 4) if per_frame else [])
    }

    def read(name: str) -> Image:
        return Image(picture(shape=(200, 320)), scale, 30.0 * int(name[1:4]) if timed else np.nan, name)

    return {"outlines": outlines, "read_picture": read, "config": config}


def html_of(path: Path, **given) -> str:
    arguments = make_run(path, **given)
    return write_report(path, **arguments).read_text(encoding="utf-8")


def test_every_part_in_one_sound_page(tmp_path):
    html = html_of(tmp_path / "run", bad=3)
    page = Page(html)
    assert all(r.startswith(("data:image/", "#")) for r in page.references)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=\s]*", "", html)
    assert [k for k, n in Counter(page.ids).items() if n > 1] == []
    assert {r[1:] for r in page.references if r.startswith("#")} <= set(page.ids)
    assert set(re.findall(r"url\(#(\w+)\)", html)) <= set(page.ids)
    assert re.findall(r"<h2>(.*?)</h2>", html) == [
        "Result",
        "What was counted",
        "Particles by size",
        "Size distribution",
        "Shape",
        "Over the run",
        "Ledger",
        "Corrected and uncorrected",
        "Definitions and settings",
    ]
    for text in ("80 particles in focus", "ISO 13322-1 asks for", "Miles-Lantuejoul weights", "temperature / °C"):
        assert text in page.text
    assert html.index("the lamp &lt;flickered&gt;") < html.index('class="tiles"')
    assert len(html) < 1_000_000


def test_every_picture_and_plot_has_an_alternative_text(tmp_path):
    html = html_of(tmp_path / "run")
    assert "<img" not in html
    for tag in re.findall(r"<svg[^>]*>", html):
        assert 'aria-hidden="true"' in tag or ('role="img"' in tag and re.search(r'aria-label="[^"]{10,}"', tag))
    tables = re.findall(r"<table.*?</table>", html, flags=re.DOTALL)
    assert all("<caption" in t or "words" in t for t in tables)


def test_same_run_same_bytes_in_any_style(tmp_path):
    arguments = make_run(tmp_path / "run")
    first = write_report(tmp_path / "run", **arguments).read_bytes()
    with mpl.rc_context({"font.size": 20, "axes.grid": False, "svg.fonttype": "path"}):
        before = dict(mpl.rcParams)
        assert write_report(tmp_path / "run", **arguments).read_bytes() == first
        assert dict(mpl.rcParams) == before


def test_without_scale_and_times_there_is_no_um_and_no_minute(tmp_path):
    page = Page(html_of(tmp_path / "run", scale=None, timed=False))
    assert "none given: every length is in px" in page.text
    assert "ECD / px" in page.text
    assert "frame (times are not known)" in page.text
    assert "µm" not in page.text
    assert "temperature /" not in page.text


def test_a_run_without_particles_says_so(tmp_path):
    page = Page(html_of(tmp_path / "run", per_frame=0))
    assert "No particle in focus" in page.text
    assert "There is no size distribution" in page.text
    assert "Over the run" in page.text
    assert "Size distribution" not in page.text


def test_only_cut_particles_give_a_report_without_shapes(tmp_path):
    arguments = make_run(tmp_path / "run")
    path = tmp_path / "run" / "particles.parquet"
    write_table(path, read_table(path).assign(touches_border=True))
    html = write_report(tmp_path / "run", **arguments).read_text(encoding="utf-8")
    assert "<h2>Shape</h2>" not in html
    assert "<h2>Particles by size</h2>" not in html
    assert "<h2>Over the run</h2>" in html


def test_no_pictures_where_none_are_asked_for(tmp_path):
    arguments = make_run(tmp_path / "run")
    html = write_report(tmp_path / "run", **{**arguments, "outlines": {}}).read_text(encoding="utf-8")
    assert "No frames are shown" in html
    assert "data:image/jpeg" not in html


def test_faults_are_listed_up_to_200_and_escaped(tmp_path):
    html = html_of(tmp_path / "run", bad=250)
    assert html.count("expected &lt;b&gt;a picture&lt;/b&gt;") == 200
    assert "and 50 more in frames.parquet" in html
    assert "<b>a picture" not in html


def test_few_frames_give_the_reason_for_no_interval(tmp_path):
    page = Page(html_of(tmp_path / "run", frames=3, per_frame=24))
    assert "No interval for some figures: 3 frames; an interval needs 5." in page.text


@pytest.mark.parametrize(
    ("value", "lower", "upper", "text"),
    [
        (131.92, 89.7, 178.9, "132 (90 to 179)"),
        (31.392, 27.04, 35.70, "31.4 (27.0 to 35.7)"),
        (0.4976, 0.397, 0.546, "0.498 (0.397 to 0.546)"),
        (12345.6, 12000.0, 13000.0, "12,346 (12,000 to 13,000)"),
        (100.0, 100.0, 100.0, "100.0 (100.0 to 100.0)"),
        (1.23456, None, None, "1.235"),
        (0.0, None, None, "0"),
        (None, None, None, "–"),
    ],
)
def test_figures_have_the_digits_that_their_interval_warrants(value, lower, upper, text):
    assert figure_text({"value": value, "lower": lower, "upper": upper}) == text


def test_the_verdict_names_counts_and_medians(tmp_path):
    make_run(tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    text = verdict(summary)
    assert text.startswith(
        "80 particles in focus were counted in 8 frames. Half of their volume is in particles below "
    )
    assert f"{figure_text(summary['corrected']['number']['D50'])} µm (ECD)." in text


def test_an_overlay_draws_outlines_where_the_particles_are():
    image = Image(picture(shape=(100, 200)), None, source="a.png")
    table = {"particle": [1, 2, 3], "in_focus": [True, True, False], "touches_border": [False, True, False]}
    table |= {"ecd_px": [10.0, 40.0, 5.0], "x_px": [50.0, 100.0, 150.0], "y_px": [20.0, 40.0, 60.0]}
    hole = np.zeros((100, 200), bool)
    hole[30:51, 90:111] = True
    hole[35:46, 95:106] = False
    entries = [
        {"id": 1, "segmentation": square(20, 50, 10), "bbox": [45, 15, 10, 10]},
        {"id": 2, "segmentation": encode_rle(hole), "bbox": [90, 30, 21, 21]},
        {"id": 9, "segmentation": square(5, 5, 4), "bbox": [3, 3, 4, 4]},
    ]
    svg = pictures.overlay(image, entries, pd.DataFrame(table), size="ecd_px", limits=(10.0, 40.0), width=100)
    assert 'viewBox="0 0 100 50"' in svg
    groups = re.findall(r"<g(.*?)><title>(.*?)</title>.*?<path d=\"([^\"]*)\" stroke=\"(.*?)\"/></g>", svg)
    assert [(a, t) for a, t, *_ in groups] == [
        ("", "particle 1: 10 px"),
        (" class=cut", "particle 2: 40 px, touches the border"),
    ]
    corners = {tuple(map(float, p.split())) for p in re.split("[MLZ]", groups[0][2]) if p}
    assert corners == {(22.5, 7.5), (27.5, 7.5), (27.5, 12.5), (22.5, 12.5)}
    assert groups[1][2].count("M") == 2
    assert [g[3] for g in groups] == pictures.colours(np.array([10.0, 40.0]), limits=(10.0, 40.0))
    # The mark of the particle that is out of focus, halved like the picture.
    assert 'd="M74.6 29.6' in svg
    assert "20 px</text>" in svg


def test_sixteen_bit_pictures_are_stretched_for_the_screen():
    ramp = np.linspace(1000, 3000, 4000).reshape(40, 100).astype(np.uint16)
    shown = pictures.eight_bit(Image(ramp))
    assert shown.shape == (40, 100, 3)
    assert (shown.min(), shown.max()) == (0, 255)
    assert np.all(np.diff(shown[..., 0].ravel().astype(int)) >= 0)


def test_montage_tiles_show_their_particle_at_the_scale_of_their_row():
    centres = [(40 + 45 * i, 30 + 40 * j) for i in range(4) for j in range(7)]
    radius = np.linspace(4, 16, len(centres))
    image = Image(picture([(r, c, a) for (r, c), a in zip(centres, radius, strict=True)], shape=(220, 310)), 2.0)
    table = pd.DataFrame(centres, columns=["y_px", "x_px"])
    table = table.assign(frame=0, particle=np.arange(len(radius)) + 1, ecd_um=4 * radius, feret_max_px=2 * radius)
    reads = []

    def read(frame: int) -> Image:
        reads.append(frame)
        return image

    rows = pictures.montage(read, table.sample(frac=1, random_state=1), {}, size="ecd_um", unit="µm", limit=100)
    assert reads == [0]
    assert [len(r["tiles"]) for r in rows] == [12, 12, 4]
    assert [float(t["label"]) for r in rows for t in r["tiles"]] == pytest.approx(4 * radius, rel=0.005)
    for row in rows:
        edge = float(row["edge"].removesuffix(" µm"))
        for tile in row["tiles"]:
            raw = base64.b64decode(re.search(r'base64,([^"]*)"', tile["svg"]).group(1))
            dark = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_GRAYSCALE) < 110
            _, labels, stats, _ = cv2.connectedComponentsWithStats(dark.astype(np.uint8))
            area = stats[labels[56, 56], cv2.CC_STAT_AREA]
            assert np.sqrt(area * 4 / np.pi) * edge / 112 == pytest.approx(float(tile["label"]), rel=0.08)


def test_montage_outlines_lie_on_their_particle():
    image = Image(picture([(60, 80, 10)]))
    row = {"frame": [3], "particle": [7], "x_px": [80.0], "y_px": [60.0], "ecd_px": [20.0], "feret_max_px": [20.0]}
    outlines = {3: [{"id": 7, "segmentation": square(60, 80, 20), "bbox": [70, 50, 20, 20]}]}
    rows = pictures.montage(lambda _: image, pd.DataFrame(row), outlines, size="ecd_px", unit="px", limit=5)
    assert rows[0]["edge"] == "30 px"
    path = re.search(r'<path d="M(.*?)Z"', rows[0]["tiles"][0]["svg"]).group(1)
    points = np.array([[float(v) for v in p.split()] for p in path.split("L")])
    assert points.min(axis=0) == pytest.approx(112 * 5 / 30, abs=0.1)
    assert points.max(axis=0) == pytest.approx(112 * 25 / 30, abs=0.1)


@given(sizes=st.lists(st.floats(1, 1e3), min_size=1, max_size=60), limit=st.integers(1, 40))
def test_a_montage_shows_each_particle_once_in_order(sizes, limit):
    table = pd.DataFrame({"ecd_px": sizes}).assign(frame=0, x_px=8.0, y_px=8.0, feret_max_px=5.0)
    table["particle"] = np.arange(len(sizes)) + 1
    image = Image(np.full((16, 16), 200, np.uint8))
    rows = pictures.montage(lambda _: image, table, {}, size="ecd_px", unit="px", limit=limit)
    labels = [float(t["label"]) for r in rows for t in r["tiles"]]
    assert len(labels) == min(limit, len(sizes))
    assert labels == sorted(labels)
    assert not Counter(labels) - Counter(float(f"{s:.3g}") for s in sizes)


@given(st.floats(1e-3, 1e5))
def test_scale_bars_are_round_and_fit(value):
    length = pictures.round_below(value)
    assert value / 2.5 * (1 - 1e-6) <= length <= value * (1 + 1e-6)
    assert f"{length:e}"[0] in "125"


def test_the_colour_scale_has_round_ticks_where_they_belong():
    bar = pictures.colour_bar((10.0, 1000.0))
    assert [text for _, text in bar["ticks"]] == ["10", "20", "50", "100", "200", "500", "1000"]
    assert bar["ticks"][3] == (50.0, "100")
    assert pictures.colour_bar((7.0, 7.0))["ticks"] == [(50.0, "7")]
    lightness = [2 * int(c[1:3], 16) + 7 * int(c[3:5], 16) + int(c[5:], 16) for c in bar["colours"]]
    assert lightness == sorted(lightness)


def test_thinned_steps_stay_within_what_can_be_seen(rng):
    x = np.sort(rng.lognormal(3, 0.6, 50_000))
    q = np.cumsum(x**3 / (x**3).sum())
    tx, tq = plots._steps(x, q)
    assert len(tx) < 1300
    assert (tx[0], tq[0], tx[-1]) == (tx[1], 0.0, x[-1])
    at = np.searchsorted(tx, x, side="right") - 1
    assert np.abs(np.where(at < 0, 0, tq[at]) - q).max() <= 1.01 / 1200


def test_rolling_medians_pool_neighbouring_frames(rng):
    frames = np.delete(np.arange(60), [3, 17])
    particles = pd.DataFrame({"frame": np.sort(rng.integers(0, 60, 400)), "ecd_um": rng.uniform(1, 9, 400)})
    at, middle, window = plots._rolling_median(frames, particles, "ecd_um")
    assert window == 4
    assert len(at) == len(frames) - window + 1
    for k, value in enumerate(middle):
        pooled = particles["frame"].between(frames[k], frames[k + window - 1])
        assert value == pytest.approx(particles.loc[pooled, "ecd_um"].median())


def test_long_runs_give_small_plots():
    n = 6000
    status = ["failed" if i % 3 == 0 else "ok" for i in range(n)]
    frames = ledger_frame([{"frame": i, "status": s, "time_s": 4.0 * i} for i, s in enumerate(status)])
    particles = pd.DataFrame({"frame": np.arange(n), "ecd_um": np.linspace(10, 50, n)})
    svg = plots.trends(frames, particles, size="ecd_um", unit="um")
    assert len(svg) < 300_000
    assert "time / h" in svg
