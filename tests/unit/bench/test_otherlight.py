"""The test renderer: exact truth, labels by rule, the same bytes, and nothing shared with what trains."""

from __future__ import annotations

import ast
import itertools
import math
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from bench.otherlight import frame, labelset
from bench.otherlight import recipes as make
from bench.otherlight.__main__ import write_set
from bench.otherlight.bodies import Material, sphere
from bench.otherlight.frame import make_scene
from bench.otherlight.optics import Instrument, lens_kernel
from bench.otherlight.others import UFO_KINDS, ufo
from bench.otherlight.placing import Placed
from bench.otherlight.sets import SETS, SIEVES_UM, beads, cooling
from bench.otherlight.truth import crosses, labels_of, outline_measures, shape_labels, sharp_limit
from shapely import Polygon

from crystalscope.core import LABELS, Scene
from crystalscope.datasets import open_dataset
from crystalscope.datasets.rendered import class_picture
from crystalscope.measure import measure_columns

ROOT = Path(__file__).parents[3]
COUNT = {"mixed": 4, "flow-cell": 2, "cooling": 4, "needles-low": 2}
LIT = ("mixed", "agglomerates", "flow-cell")


def no_light(order, look, **_):
    """Truth without light: pictures stay black, which saves most of the time."""
    return np.zeros(look.shape, np.float32)


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Scene]]:
    """A few pictures of every set, some of them dark."""
    out = {}
    for name, maker in SETS.items():
        with pytest.MonkeyPatch.context() as patch:
            if name not in LIT:
                patch.setattr(frame, "render", no_light)
            out[name] = list(maker(COUNT.get(name, 1), 11))
    return out


@pytest.fixture
def dark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "render", no_light)


# The same bytes


@pytest.mark.parametrize("name", ["mixed", "agglomerates", "flow-cell"])
def test_same_seed_same_picture_whatever_the_number(name, scenes):
    again = next(iter(SETS[name](7, 11)))
    first = scenes[name][0]
    assert again.encoded == first.encoded
    np.testing.assert_array_equal(again.image.data, first.image.data)
    pd.testing.assert_frame_equal(again.truth, first.truth)
    np.testing.assert_array_equal(again.instances.visible, first.instances.visible)


def test_other_seed_other_picture(scenes):
    other = next(iter(SETS["flow-cell"](1, 12)))
    assert not np.array_equal(other.image.data, scenes["flow-cell"][0].image.data)


# The truth


@pytest.mark.parametrize("name", list(SETS))
def test_truth_agrees_with_the_measured_masks(name, scenes):
    compared = 0
    for s in scenes[name]:
        m = measure_columns(s.instances, np.zeros(s.image.shape, np.uint8))
        t = s.truth
        np.testing.assert_array_equal(m["touches_border"], t["touches_border"])
        np.testing.assert_array_equal(m["kind"], t["kind"])
        whole = (t["inside_share"] > 0.9999) & ~t["touches_border"]
        compared += int(whole.sum())
        # A straight side along the pixels shifts the area by half a pixel on either side of it.
        edge = t["perimeter"][whole] / 2
        error = m["area"][whole] - t["area"][whole]
        assert np.all(abs(error) < 0.75 * edge)
        assert abs(error).sum() <= 0.1 * edge.sum()
        assert abs(error.sum()) <= 0.02 * t["area"][whole].sum()
        assert np.all(abs(m["feret_max"][whole] - t["feret_max"][whole]) < 1.2 + 0.03 * t["feret_max"][whole])
        for column in ("x", "y"):
            assert np.all(abs(m[column][whole] - t[column][whole]) < 0.5 + 0.02 * t["feret_max"][whole])
        large = whole & (t["feret_min"] > 20)
        np.testing.assert_allclose(m["ecd"][large], t["ecd"][large], rtol=0.02)
    assert compared > 0


def test_rule_of_focus_and_shares(scenes):
    near, bodies = 0, 0
    for s in itertools.chain.from_iterable(scenes.values()):
        for found, t in ((s.instances, s.truth), (s.primaries, s.primaries_truth)):
            np.testing.assert_array_equal(t["in_focus"], 2.5 * t["blur"] <= 5 + 0.1 * t["ecd"])
            np.testing.assert_array_equal(found.in_focus, t["in_focus"])
            for i in range(len(found)):
                full, seen = found.crop(i), found.visible_crop(i)
                assert not (seen & ~full).any()
                assert t["visible_share"].iloc[i] == pytest.approx(seen.sum() / full.sum())
        if not s.image.source.startswith("mixed"):
            ratio = s.truth["blur"] / [sharp_limit(e) for e in s.truth["ecd"]]
            near += int(((ratio > 0.82) & (ratio < 1.45)).sum())
            bodies += len(ratio)
        assert len(s.population) >= len(s.truth)
        assert (s.truth["depth"].diff().dropna() <= 0).all()
    assert near < 0.03 * bodies


def test_members_of_agglomerates_stand_in_their_parent(scenes):
    s = scenes["agglomerates"][0]
    joined = s.truth[(s.truth["body"] == "agglomerate") & (s.truth["inside_share"] > 0.9999)]
    assert len(joined) > 2
    for index, row in joined.iterrows():
        members = np.flatnonzero(s.primaries_truth["parent"] == index + 1)
        assert len(members) == row["n_primaries"]
        together = np.zeros(s.image.shape, bool)
        for k in members:
            together |= s.primaries.mask(k)
        # One outline round all: nothing of a member outside, nothing inside without a member.
        np.testing.assert_array_equal(together, s.instances.mask(index))
    single = s.truth[(s.truth["kind"] == "crystal") & s.truth["in_focus"]]
    assert (single["n_primaries"] == 1).all()
    assert len(single) > 3


def test_the_picture_stands_where_the_truth_says():
    look = Instrument("backlit", (120, 140), level=0.8, core=0.9, halo=0.0, well=1e6, read=1.0)
    body = sphere(61.0, kind="bubble", name="bubble", material=Material(contrast=-0.27))
    _, blur = lens_kernel(0.9, look)
    s = make_scene([Placed(body, 66.3, 58.8, 0.0, 0.9, blur)], look, name="a.png", rng=np.random.default_rng(0))
    grey = s.image.data.astype(float) / np.median(s.image.data)
    rows, columns = np.nonzero(grey < 0.55)
    assert (columns.min() + columns.max() + 1) / 2 == pytest.approx(66.3, abs=0.6)
    assert (rows.min() + rows.max() + 1) / 2 == pytest.approx(58.8, abs=0.6)
    edge = cv2.connectedComponentsWithStats((grey < 0.55).astype(np.uint8))[2][1]
    assert edge[cv2.CC_STAT_WIDTH] == pytest.approx(61, abs=2)
    assert s.truth["ecd"].iloc[0] == pytest.approx(61.0, rel=1e-6)
    assert s.truth["feret_max"].iloc[0] == pytest.approx(61.0, rel=1e-3)


def test_outline_measures_of_a_turned_rectangle():
    c, s = math.cos(0.4), math.sin(0.4)
    corners = np.array([[0, 0], [30, 0], [30, 8], [0, 8]]) @ np.array([[c, s], [-s, c]])
    m = outline_measures(Polygon(corners))
    assert m["length"] == pytest.approx(30)
    assert m["width"] == pytest.approx(8)
    assert m["feret_min"] == pytest.approx(8)
    assert m["feret_max"] == pytest.approx(math.hypot(30, 8))
    assert m["perimeter"] == pytest.approx(76)
    assert m["ecd"] == pytest.approx(math.sqrt(960 / math.pi))


@pytest.mark.parametrize("sigma", [1.0, 2.5, 9.0])
@pytest.mark.parametrize("blades", [0, 6])
def test_lens_kernel_has_the_blur_that_it_says(sigma, blades):
    kernel, stated = lens_kernel(sigma, Instrument("backlit", (9, 9), core=1.0, blades=blades, rim=0.8))
    assert kernel.sum() == pytest.approx(1, abs=1e-4)
    assert stated == pytest.approx(sigma, rel=0.08)


# The sets


def test_needles_cross_more_and_more(scenes):
    share = {}
    for level in ("low", "mid", "high"):
        found = total = 0
        for s in scenes[f"needles-{level}"]:
            sharp = s.instances.select(s.instances.in_focus)
            hits = crosses([sharp.crop(i) for i in range(len(sharp))], sharp.boxes)
            found, total = found + int(hits.sum()), total + len(hits)
        share[level] = found / total
    assert share["low"] < 0.4 < share["mid"] < share["high"]
    assert share["high"] > 0.65


def test_beads_have_the_diameters_asked_for(dark):
    sizes = pd.concat([s.population for s in beads(4, 3, diameter_um=150, cv=0.08, pixel_size_um=5.0, loading=0.15)])
    diameter = sizes["body_length"] * 5.0
    assert len(diameter) > 250
    assert diameter.mean() == pytest.approx(150, rel=0.015)
    assert diameter.std() / diameter.mean() == pytest.approx(0.08, rel=0.2)


def test_flow_cell_holds_its_sieve_fractions(scenes):
    for s, (low, high) in zip(scenes["flow-cell"], SIEVES_UM, strict=True):
        width = s.population["body_width"] * s.image.pixel_size_um
        assert width.between(low, high).all()
        assert set(s.population["body"]) == {"block"}
        classes = class_picture(s.instances)
        assert set(np.unique(classes)) == {0, 1, 2}
        grey = np.asarray(s.image.data, float)
        assert grey[classes == 0].mean() < 0.1 * grey[classes == 1].mean()
        assert grey[classes == 2].mean() < grey[classes == 1].mean()
        assert (classes > 0).sum() == s.instances.field.mask().sum()


def test_cooling_starts_clear_and_grows(dark):
    frames = list(cooling(12, 4))
    table = pd.DataFrame([s.frame for s in frames])
    none = table["nucleated"] == 0
    assert none.sum() > 3
    crystals = [int((s.population["kind"] == "crystal").sum()) for s in frames]
    assert all(c == 0 for c, n in zip(crystals, none, strict=True) if n)
    assert all(c > 0 for c, n in zip(crystals, none, strict=True) if not n)
    assert table["largest_um"].dropna().is_monotonic_increasing
    assert table["temperature_c"].is_monotonic_decreasing
    assert [s.image.time_s for s in frames] == [20.0 * i for i in range(12)]
    assert table["bubble"].iloc[1:6].max() == 1
    assert table["bubble"].iloc[0] == 0
    late, early = (frames[k].population.query("kind == 'crystal'")["ecd"].median() for k in (-1, int(none.sum()) + 1))
    assert late > 1.5 * early


def test_impurity_by_number(dark):
    frames = list(SETS["impurity"](5, 2))
    table = pd.DataFrame([s.frame for s in frames]).groupby("impurity_share")["n_impurities"].sum()
    assert table.index.tolist() == [0.0, 0.005, 0.01, 0.02, 0.05]
    assert table[0.0] == 0
    assert table[0.05] > 0
    everything = pd.concat([s.population.assign(share=s.frame["impurity_share"]) for s in frames])
    rich = everything[everything["share"] == 0.05]
    assert 0.015 < (rich["body"] == "granular").mean() < 0.09


def test_mixed_shows_every_look_and_size(scenes):
    assert {s.frame["look"] for s in scenes["mixed"]} == set(make.LOOKS)
    assert {s.image.data.ndim for s in scenes["mixed"]} == {2, 3}
    assert (min(make.SHAPES), max(make.SHAPES)) == ((480, 640), (1000, 1112))
    rng = np.random.default_rng(1)
    kinds = {make.any_body(rng, 40.0).name for _ in range(200)}
    assert kinds >= {"block", "platelet", "elongated", "needle", "agglomerate", "granular", "bubble", "droplet"}


# The labels


@pytest.mark.parametrize(
    ("body", "projection", "yes", "open_"),
    [
        ((30, 25, 20), 1.4, {"block"}, set()),
        ((30, 25, 3), 1.5, {"platelet"}, set()),
        ((30, 25, 3), 4.5, set(), {"platelet", "elongated", "needle"}),
        ((80, 25, 20), 3.0, {"elongated"}, set()),
        ((80, 25, 20), 1.5, set(), {"elongated", "block"}),
        ((200, 20, 15), 9.0, {"needle"}, set()),
        ((200, 20, 15), 3.0, set(), {"needle", "elongated"}),
        ((40, 20, 18), 1.9, set(), {"block", "elongated"}),
    ],
)
def test_labels_of_a_single_crystal(body, projection, yes, open_):
    assert shape_labels(*body, projection) == (yes, open_)


def _row(**changes):
    row = {
        "in_focus": True, "inside_share": 1.0, "feret_min": 20.0, "feret_max": 26.0, "kind": "crystal", "body": "block",
        "body_length": 26.0, "body_width": 20.0, "body_thickness": 16.0,
    }  # fmt: skip
    return pd.DataFrame([row | changes])


def test_labels_count_only_what_counts():
    assert labels_of(_row(), coverage=0.1, joined_looks=False)["block"] == 1
    for changes in ({"in_focus": False}, {"inside_share": 0.49}, {"feret_min": 3.9}):
        found = labels_of(_row(**changes), coverage=0.1, joined_looks=False)
        assert not any(found.values())
    assert labels_of(_row(kind="agglomerate"), coverage=0.1, joined_looks=False)["block"] == 0
    assert labels_of(_row(kind="other", body="hair"), coverage=0.1, joined_looks=False)["ufo"] == 1
    assert math.isnan(labels_of(_row(body="sphere"), coverage=0.1, joined_looks=False)["block"])
    assert math.isnan(labels_of(_row(), coverage=0.1, joined_looks=True)["agglomerated"])


@pytest.mark.parametrize(("coverage", "answer"), [(0.29, 0), (0.35, math.nan), (0.46, 1)])
def test_label_of_concentration(coverage, answer):
    found = labels_of(_row(), coverage=coverage, joined_looks=False)["too_concentrated"]
    assert found == answer or (math.isnan(found) and math.isnan(answer))


def test_plan_holds_every_label_often_enough():
    shows, crowded = labelset.plan(120, 5)
    assert (shows.mean(axis=0) > 0.12).all()
    assert crowded.mean() > 0.12
    assert (~shows.any(axis=1)).mean() > 0.1
    assert not (crowded & ~shows.any(axis=1)).any()
    # Labels come together as often as chance has it, so that none can be told from another.
    assert np.abs(np.corrcoef(shows.T) - np.eye(8)).max() < 0.4


def test_pictures_keep_to_the_plan(dark):
    n = 12
    shows, crowded = labelset.plan(n, 5)
    frames = [s.frame for s in labelset.labels(n, 5)]
    for k, name in enumerate(labelset.PLANNED):
        for planned, found in zip(shows[:, k], frames, strict=True):
            assert (found[name] == 1) == planned, name
    np.testing.assert_array_equal([f["too_concentrated"] for f in frames], crowded)
    for name in LABELS:
        assert sum(f[name] == 1 for f in frames) >= 0.12 * n
    empty = ~shows.any(axis=1)
    assert all(f["object_present"] == 0 for f, e in zip(frames, empty, strict=True) if e)


@pytest.mark.parametrize("name", UFO_KINDS)
def test_ufos_are_one_piece_and_wide_enough(name, rng):
    for size in (60.0, 180.0):
        body = ufo(name, size, rng)
        m = outline_measures(body.outline)
        assert (body.kind, body.name) == ("other", name)
        assert isinstance(body.outline, Polygon)
        assert body.outline.is_valid
        assert m["feret_min"] >= 4
        assert 0.3 * size < m["feret_max"] < 1.6 * size


# Written and read


@pytest.mark.parametrize("name", list(SETS))
def test_every_set_is_written_and_read_back(name, scenes, tmp_path):
    made = scenes[name]
    write_set(name, tmp_path, n=len(made), seed=11, maker=lambda n, seed: iter(made))
    data = open_dataset(tmp_path)
    assert len(data) == len(made)
    truth = data.truth()
    for s in made:
        found = truth[f"images/{s.image.source}"]
        assert len(found.instances) == len(s.instances)
        np.testing.assert_array_equal(found.ignore, ~s.instances.in_focus)
        for i in range(len(s.instances)):
            np.testing.assert_array_equal(found.instances.crop(i), s.instances.crop(i))
    index = [f.split("/")[1] for f in data.frames["file"]].index(made[0].image.source)
    np.testing.assert_array_equal(data.read(index).data, made[0].image.data)
    assert set(LABELS) <= set(data.frames.columns)
    if name == "flow-cell":
        for s in made:
            picture = cv2.imread(str(tmp_path / "semantic" / f"{Path(s.image.source).stem}.png"), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(picture, class_picture(s.instances))


# Kept apart


def _imports(folder: Path) -> set[str]:
    out = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                out |= {a.name for a in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                out |= {f"{node.module}.{a.name}" for a in node.names}
    return out


def test_neither_renderer_imports_the_other():
    ours = _imports(ROOT / "bench" / "otherlight")
    assert any(name.startswith("crystalscope.core") for name in ours)
    assert not [name for name in ours if name.startswith(("crystalscope.scenes", "crystalscope.learn"))]
    assert not [name for name in _imports(ROOT / "src") if name.split(".")[0] == "bench"]
