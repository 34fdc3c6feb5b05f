"""Rendered pictures: seeded, exact, and as a microscope would show them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystalscope.core import KINDS, LABELS, FieldOfView
from crystalscope.errors import ConfigError
from crystalscope.measure import measure_columns
from crystalscope.scenes import (
    Instrument,
    Material,
    Placed,
    Window,
    load_recipe,
    preset,
    preset_names,
    render,
    scenes_of,
    true_events,
)
from crystalscope.scenes.assemble import agglomerate, bundle, cluster, dendrite, spherulite
from crystalscope.scenes.bodies import about, any_rotation, lying_rotation, outline_measures
from crystalscope.scenes.shapes import block, flake, needle, platelet, smear, sphere

QUIET = {"gradient": 0, "vignette": 0, "flicker": 0, "shot_noise": 0, "read_noise": 0, "rows": 200, "columns": 220}
SMALL = {"rows": 300, "columns": 340}


def drawn(body, *, depth=0.0, seed=0, **instrument):
    return render([Placed(body, 108.3, 99.6, depth)], Instrument(**(QUIET | instrument)), seed=seed)


def grey(scene):
    data = np.asarray(scene.image.data, dtype=float)
    return data / data[0, 0]


@pytest.mark.parametrize("name", preset_names())
def test_same_seed_same_bytes_whatever_the_workers(name):
    recipe = preset(name)
    if not recipe.mix:
        recipe = recipe.changed(instrument=SMALL)
    n = {"frames": 2, "seed": 4}
    one = list(scenes_of(recipe, workers=1, **n))
    two = list(scenes_of(recipe, workers=2, **n))
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.image.data, b.image.data)
        assert a.truth.equals(b.truth)
        assert a.encoded == b.encoded
    other = next(iter(scenes_of(recipe, frames=1, seed=5, workers=1)))
    same = one[0].image.data.shape == other.image.data.shape
    assert not (same and np.array_equal(one[0].image.data, other.image.data))


def test_a_picture_does_not_depend_on_the_others():
    recipe = preset("beads").changed(instrument=SMALL)
    a = list(scenes_of(recipe, frames=3, seed=1))[2]
    b = next(iter(scenes_of(recipe, frames=1, seed=1, first=2)))
    assert np.array_equal(a.image.data, b.image.data)


@pytest.mark.parametrize("radius", [10.3, 21.7, 40.0])
def test_sphere_at_half_contrast_has_its_ecd(radius):
    data = grey(drawn(sphere(2 * radius, material=Material(index=1.2)), aperture=0.08, veil=0.01))
    y, x = np.mgrid[:200, :220]
    rim = (data < 0.5) | (np.hypot(y + 0.5 - 99.6, x + 0.5 - 108.3) < 0.8 * radius)  # the clear centre
    assert 2 * math.sqrt(rim.sum() / math.pi) == pytest.approx(2 * radius, rel=0.012)


def test_clear_centre_of_a_ball_is_as_wide_as_refraction_says():
    """A ray at r leaves a ball turned by 2 (asin(r / R) - asin(r / (n R))); the lamp's lobe falls to half at NA."""
    n, radius, na = 1.15, 60.0, 0.1
    data = grey(drawn(sphere(2 * radius, material=Material(index=n)), aperture=na, lamp_tilt=0, veil=0, blur_px=0.3))
    r = np.linspace(0, radius * 0.999, 4000)
    turned = np.sin(2 * (np.arcsin(r / radius) - np.arcsin(r / radius / n)))
    expected = r[np.argmin(np.abs(turned - na))]
    row = data[99, 108:180]
    x = np.arange(108, 180) + 0.5 - 108.3
    bright = row / row[0] > 0.5
    assert x[np.argmin(bright)] == pytest.approx(expected, abs=1.2)


def test_a_plate_lets_light_through_and_a_bubble_does_not(rng):
    flat = platelet(80, 70, 6, tilt=0.0, material=Material(index=1.1), rng=rng)
    data = grey(drawn(flat))
    assert 0.9 < data[99, 108] <= 1.0
    gas = grey(drawn(sphere(80, material=Material(index=0.75))))
    assert gas[99, 108] > 0.5
    assert gas[99, 108 + 25 : 108 + 38].max() < 0.15


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_no_light_is_made(seed):
    """Through a clear body no more light comes than the lamp's brightest direction sends."""
    rng = np.random.default_rng(seed)
    body = block(60, 45, 40, cut=0.6, habit=str(rng.choice(["prism", "cuboid", "bipyramid"])), rng=rng)
    data = grey(drawn(body, lamp_tilt=0.0, light=0.5))
    assert data.max() <= 1.02
    assert data.min() >= 0


def test_geometry_of_bodies(rng):
    from shapely import Polygon

    m = outline_measures(Polygon([(0, 0), (30, 0), (30, 10), (0, 10)]))
    assert (m["area"], m["perimeter"], m["length"], m["width"]) == pytest.approx((300, 80, 30, 10))
    assert (m["feret_max"], m["feret_min"]) == pytest.approx((math.hypot(30, 10), 10))
    assert (m["x"], m["y"]) == pytest.approx((15, 5))
    n = needle(100, 8, tilt=0.0, rng=rng)
    assert n.measures["length"] == pytest.approx(100, rel=0.01)
    assert n.measures["width"] == pytest.approx(8, rel=0.16)  # across corners or faces
    for habit in ("cuboid", "prism", "bipyramid"):
        b = block(30, 20, 10, cut=0.5, habit=habit, rng=rng)
        part = b.parts[0]
        assert (part.normals @ part.vertices.T <= part.offsets[:, None] + 1e-6).all()
        assert b.measures["feret_max"] <= math.sqrt(30**2 + 20**2 + 10**2) + 1e-9
        box = [part.reach(v) + part.reach(-v) for v in part.normals]
        assert max(box) <= math.sqrt(30**2 + 20**2 + 10**2) + 1e-9
    assert sphere(40).measures["area"] == pytest.approx(math.pi * 400, rel=1e-9)


def test_bent_needle_keeps_its_length(rng):
    for bend in (0.3, -1.0, 2.5):
        body = needle(200, 8, tilt=0.0, bend=bend, rng=rng)
        assert body.measures["length"] == 200
        # In the plane, so its area is length times width.
        assert body.measures["area"] == pytest.approx(200 * 8, rel=0.2)
        assert body.measures["feret_max"] < 201


def test_directions_are_even(rng):
    up = np.array([(any_rotation(rng) @ [1.0, 0, 0])[2] for _ in range(4000)])
    assert np.abs(np.sort(up) - np.linspace(-1, 1, 4000)).max() < 0.06
    lying = np.array([(lying_rotation(rng, tilt=0.3) @ [1.0, 0, 0])[2] for _ in range(2000)])
    assert np.abs(lying).max() <= math.sin(0.3) + 1e-9
    assert np.abs(np.sort(lying) - np.linspace(-1, 1, 2000) * math.sin(0.3)).max() < 0.03
    assert about(2, math.pi / 2) @ [1, 0, 0] == pytest.approx([0, 1, 0])


def test_assembled_bodies_are_one_piece(rng):
    for _ in range(10):
        body = agglomerate(lambda g: block(30, 25, 20, rng=g), int(rng.integers(2, 9)), intergrown=0.5, rng=rng)
        assert body.kind == "agglomerate"
        assert body.outline.geom_type == "Polygon"
        parts = sum(m.outline.area for m in body.members)
        assert body.outline.area < parts
        assert body.outline.area > max(m.outline.area for m in body.members)
        # Every primary belongs to the piece that is outlined.
        assert all(m.outline.buffer(-0.1).within(body.outline.buffer(0.5)) for m in body.members)
    stack = bundle(120, 8, 4, tilt=0.1, material=Material(), rng=rng)
    assert len(stack.members) == 4
    assert stack.measures["length"] / stack.measures["width"] > 2.5
    for round_body in (
        cluster(60, grains=40, core=0.8, material=Material(), rng=rng),
        spherulite(60, rays=40, material=Material(), rng=rng),
    ):
        assert round_body.measures["ecd"] == pytest.approx(55, rel=0.25)
        assert round_body.measures["feret_min"] / round_body.measures["feret_max"] > 0.7
    assert dendrite(100, material=Material(), tilt=0.2, rng=rng).measures["area"] < 0.5 * math.pi * 50**2
    assert flake(40, material=Material(), rng=rng).kind == "other"
    assert smear(200, 3, transmission=0.5, name="scratch", rng=rng).measures["feret_max"] == pytest.approx(200, rel=0.2)


@pytest.mark.parametrize("name", ["beads", "backlit-crystals", "agglomerates", "needles", "impurity", "flow-cell"])
def test_truth_agrees_with_an_independent_measurement_of_the_masks(name):
    checked = 0
    for scene in scenes_of(preset(name), frames=3, seed=11):
        truth = scene.truth
        measured = measure_columns(scene.instances, np.asarray(scene.image.data))
        whole = ~truth["touches_border"].to_numpy(dtype=bool) & (truth["ecd"].to_numpy() > 20)
        whole &= truth["feret_min"].to_numpy() > 6
        checked += int(whole.sum())
        for column, tolerance in (("area", 0.04), ("ecd", 0.02), ("feret_max", 0.03), ("feret_min", 0.08)):
            got, true = np.asarray(measured[column])[whole], truth[column].to_numpy()[whole]
            np.testing.assert_allclose(got, true, rtol=tolerance, atol=1.0 if "feret" in column else 0)
            if "feret" in column:
                # Calipers measured on pixels have a bias of their own (docs/reference/shape-accuracy).
                assert np.mean(got - true) == pytest.approx(0, abs=0.9)
            else:
                assert np.mean(got / true) == pytest.approx(1, abs=0.012)
        # Masks lie in their outlines' places and what is seen lies in what is there.
        for i in range(len(scene.instances)):
            assert not (scene.instances.visible_crop(i) & ~scene.instances.crop(i)).any()
        assert (truth["kind"] == [KINDS[k] for k in scene.instances.kind]).all()
        assert scene.primaries_truth["parent"].between(1, max(len(truth), 1)).all()
    assert checked > 7


def test_every_agglomerate_has_its_primaries():
    for scene in scenes_of(preset("agglomerates").changed(instrument={"rows": 600, "columns": 600}), frames=2, seed=3):
        whole = scene.truth[(scene.truth["kind"] == "agglomerate") & (scene.truth["inside_share"] == 1)]
        for row in whole.index:
            members = scene.primaries_truth[scene.primaries_truth["parent"] == row + 1]
            assert len(members) == scene.truth.loc[row, "n_primaries"]
            assert (members["kind"] == "crystal").all()


def test_the_population_is_met_and_border_cuts_it():
    """Bodies lie evenly over the field and beyond: the centres inside are as many as asked."""
    recipe = preset("beads").changed(populations={"beads": {"count": 60.0, "ghosts": 0.0, "size": 300.0}})
    scenes = list(scenes_of(recipe, frames=6, seed=5))
    inside = 0
    for s in scenes:
        inside += int((s.truth["x"].between(0, 1112) & s.truth["y"].between(0, 1000)).sum())
    assert inside == pytest.approx(360, abs=4 * math.sqrt(360))
    sizes = np.concatenate([5 * s.population["ecd"] for s in scenes])
    assert sizes.mean() == pytest.approx(300, rel=0.01)
    assert sizes.std() / sizes.mean() == pytest.approx(0.03, abs=0.006)
    share = np.concatenate([s.truth["inside_share"] for s in scenes])
    assert ((share > 0) & (share <= 1)).all()
    assert (share < 1).any()


def test_ghosts_are_out_of_focus_and_bodies_near_focus_are_in():
    for scene in scenes_of(preset("agglomerates").changed(instrument=SMALL), frames=3, seed=2):
        t = scene.truth
        limit = (5 + 0.1 * t["ecd"]) / 2.5
        assert (t["in_focus"] == (t["blur"] <= limit)).all()
        ratio = t["blur"] / limit
        # Close to the limit nobody could say: such bodies are not drawn in this layout.
        assert not ratio.between(1.02, 1.4).any()


def test_depth_spreads_evenly_in_a_volume():
    recipe = preset("beads").changed(layout="volume", depth_px=300.0, populations={"beads": {"count": 60.0}})
    truth = [s.truth for s in scenes_of(recipe, frames=8, seed=1)]
    depth = np.sort(np.concatenate([t["depth"] for t in truth]))
    assert np.abs(depth - np.linspace(-300, 300, len(depth))).max() < 60
    blur = np.concatenate([t["blur"] for t in truth])
    assert blur == pytest.approx(np.hypot(1.0, 0.03 * np.concatenate([t["depth"] for t in truth])))


def test_blur_widens_the_edge_as_stated():
    for depth in (0.0, 60.0, 150.0):
        scene = drawn(sphere(120, material=Material(index=1.3, absorption=1.0)), depth=depth, veil=0.0, psf="gaussian")
        sigma = float(scene.truth["blur"].iloc[0])
        row = grey(scene)[99]
        edge = np.clip(row[108:200], 0, 1)
        slope = np.diff(edge).max()
        # A Gaussian edge rises by 1 / (sqrt(2 pi) sigma) per px.
        assert slope == pytest.approx(1 / math.sqrt(2 * math.pi) / math.hypot(sigma, 0.29), rel=0.1)


def test_looks_bits_and_colours(rng):
    deep = drawn(sphere(60), bits=16, look="reflected", light=0.3)
    assert deep.image.data.dtype == np.uint16
    assert deep.instances.field == FieldOfView((200, 220))
    twelve = drawn(sphere(60), bits=12)
    assert 255 < twelve.image.data.max() < 4096
    polars = drawn(block(60, 40, 30, rng=rng), look="polars", light=0.8)
    assert polars.image.data.shape == (200, 220, 3)
    assert polars.image.data[80:120, 90:130].max() > polars.image.data[0, 0].max()
    round_one = drawn(sphere(60, material=Material(retardance=0.0)), look="polars", light=0.8)
    assert round_one.image.data[80:120, 90:130].mean() < 40
    cell = drawn(sphere(30), look="flow-cell", disc=0.4)
    assert cell.instances.field.disc == (100.0, 110.0, 80.0)
    assert cell.image.data[2, 2] < 10 < cell.image.data[100, 60]
    squeezed = drawn(sphere(60), jpeg=80, light=0.7)
    assert squeezed.encoded is not None
    tinted = drawn(sphere(60), tint=0.2)
    assert tinted.image.data.shape == (200, 220, 3)


def test_granular_cluster_is_brighter_than_a_needle_in_reflected_light(rng):
    look = {"look": "reflected", "light": 0.15, "exposure": 100.0, "ambient": 0.6}
    bright = drawn(
        cluster(80, grains=60, core=0.8, material=Material(index=1.2, scatter=0.05, bump=0.1), rng=rng), **look
    )
    plain = drawn(needle(120, 14, tilt=0.0, material=Material(index=1.1, scatter=0.01), rng=rng), **look)
    assert grey(bright)[70:130, 80:140].mean() > grey(plain)[70:130, 80:140].mean()


def test_window_stays_and_fouling_grows():
    optics = Instrument(**(QUIET | {"read_noise": 0.001}))
    dirty = Window(dust=6, deposits=2, growth=0.02, spread=0.1, deposit_px=15)
    frames = [render([], optics, seed=k, fixed_seed=3, window=dirty, frame=f) for k, f in enumerate((0, 1, 60))]
    a, b, c = (np.asarray(f.image.data, dtype=float) for f in frames)
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.95
    assert frames[2].frame["window_coverage"] > 1.5 * frames[0].frame["window_coverage"] > 0
    assert (c < 0.8 * c.max()).sum() > (a < 0.8 * a.max()).sum()
    assert frames[0].frame["object_present"] == 0


def test_labels_are_those_of_the_rules(rng):
    def labels(*bodies, depth=0.0):
        placed = [Placed(b, 60.0 + 45 * k, 100.0, depth) for k, b in enumerate(bodies)]
        return {k: v for k, v in render(placed, Instrument(**QUIET), seed=0).frame.items() if k in LABELS}

    def yes(found):
        return {k for k, v in found.items() if v == 1}

    assert yes(labels(block(30, 25, 22, habit="cuboid", tilt=0.0, rng=rng))) == {"object_present", "block"}
    assert yes(labels(platelet(40, 36, 3, tilt=0.1, rng=rng))) == {"object_present", "platelet"}
    assert yes(labels(needle(60, 6, tilt=0.1, rng=rng))) == {"object_present", "needle"}
    assert yes(labels(needle(40, 11, tilt=0.0, name="elongated", rng=rng))) == {"object_present", "elongated"}
    gas = sphere(30, material=Material(index=0.75), name="bubble", kind="bubble")
    assert yes(labels(gas)) == {"object_present", "bubble"}
    assert yes(labels(sphere(20, name="droplet", kind="droplet"))) == {"object_present", "droplets"}
    assert yes(labels(flake(30, material=Material(), rng=rng))) == {"object_present", "ufo"}
    joined = agglomerate(lambda g: needle(40, 4, rng=g), 3, intergrown=0.3, rng=rng)
    assert yes(labels(joined)) == {"object_present", "agglomerated"}
    assert yes(labels(block(30, 25, 22, rng=rng), depth=900.0)) == set()
    assert yes(labels()) == set()
    assert math.isnan(labels(block(30, 16, 15, habit="cuboid", tilt=0.0, rng=rng))["elongated"])
    edge_on = platelet(80, 72, 6, tilt=0.0, rng=rng).turned(about(0, math.pi / 2))
    assert math.isnan(labels(edge_on)["platelet"])
    assert labels(sphere(180))["too_concentrated"] == 1


def test_sequence_nucleates_grows_dissolves_and_transmissivity_lags():
    recipe = preset("cooling-experiment").changed(instrument={"rows": 200, "columns": 240})
    states = recipe.batch.states(frames=0, seed=2)
    times = np.array([s.time_s for s in states])
    number = np.array([s.number.sum() for s in states])
    born = states[-1].nucleated_s
    assert number[times < born].sum() == 0
    assert number[-1] == 0  # heated above saturation, all is dissolved
    assert states[int(np.argmax(number))].supersaturation > 0.98
    # Mass: what the crystals bind has left the solution.
    start = float(recipe.batch.solubility(recipe.batch.saturated_c))
    for s in states[::20]:
        bound = recipe.batch.mass_per_um3 * (s.number * s.length_um**3).sum()
        assert s.concentration_g_per_kg + bound == pytest.approx(start, rel=1e-9)
    signal = np.array([s.transmissivity for s in states])
    falls = times[np.argmax(signal < 80)]
    assert born + 60 < falls
    events = {e["kind"]: e for e in true_events(states, [int((s.length_um > 20).any()) for s in states])}
    assert events["cloud"]["time_s"] == born
    assert born <= events["cloud"]["upper_s"] < falls
    assert events["clear"]["lower_s"] < events["clear"]["time_s"] <= times[-1]
    assert events["clear"]["temperature_c"] > 42
    assert 1 < events["growth_rate"]["value"] < 22
    assert true_events(states[:20], [0] * 20)[0] == {"kind": "cloud", "status": "not_reached"}
    frames = list(scenes_of(recipe, frames=0, seed=2, first=len(states) - 3))
    assert [f.image.time_s for f in frames] == pytest.approx(times[-3:])
    assert frames[0].frame["temperature_c"] == pytest.approx(50)


def test_growth_follows_the_stated_law():
    """Alone in much solution, a crystal grows by growth (S - 1) per minute."""
    recipe = preset("cooling-experiment")
    batch = recipe.batch.model_copy(
        update={
            "programme": ((0.0, 35.0), (60.0, 35.0)),
            "secondary_rate": 0.0,
            "mass_per_um3": 1e-15,
            "primary_rate": 1e6,
        }
    )
    states = batch.states(frames=0, seed=1)
    s = states[-1].supersaturation
    assert s == pytest.approx(math.exp(0.03 * (42 - 35)))
    hours = (states[-1].time_s - states[-1].nucleated_s) / 60
    assert states[-1].length_um.max() == pytest.approx(2 + 22 * (s - 1) * hours, rel=0.01)


def test_recipes_from_toml_and_their_errors(tmp_path):
    own = tmp_path / "mine.toml"
    own.write_text('base = "beads"\n[instrument]\nlight = [0.5, 0.6]\n[populations.beads]\nsize = 200.0\n')
    recipe = load_recipe(own)
    assert recipe.populations["beads"].size == 200
    assert recipe.populations["beads"].law == "normal"
    scene = next(iter(scenes_of(recipe.changed(instrument=SMALL), frames=1, seed=0)))
    assert 0.4 < np.median(scene.image.data) / 255 < 0.65
    for text, message in (
        ("[instrument]\nlihgt = 0.5\n", "lihgt"),
        ('base = "beads"\n[instrument]\nlight = [0.5, 1.6]\n', "light"),
        ('base = "beads"\n[populations.beads]\nsize = [9.0, 3.0]\n', "low, high"),
        ('base = "beads"\n[populations.more]\nbody = "unicorn"\n', "unicorn|sphere"),
        ('base = "nothing"\n', "preset"),
        ("title = 3 4", "TOML"),
        ("", "populations"),
    ):
        own.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_recipe(own)
    with pytest.raises(ConfigError, match="got"):
        load_recipe(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="programme"):
        preset("cooling-experiment").changed(batch={"programme": [[5, 20]]})
