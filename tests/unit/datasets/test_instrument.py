"""The fit of the virtual instrument to frames: what went into rendered pictures comes out again."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import save

from crystalscope.core import FieldOfView, Image
from crystalscope.datasets.fit_edges import fit_edges
from crystalscope.datasets.fit_frames import jpeg_quality
from crystalscope.datasets.fit_light import Shape, fit_light, flicker_and_drift
from crystalscope.datasets.fit_window import find_spots
from crystalscope.datasets.instrument import InstrumentFit, fit_instrument, write_fit
from crystalscope.errors import ConfigError, InputError, ReadError
from crystalscope.scenes import Population, Recipe, load_recipe, preset, scenes_of

CRYSTALS = {
    "small": Population(body="block", count=12.0, ghosts=14.0, size=45.0, spread=0.4, length_to_width=(1.0, 2.0)),
    "large": Population(body="block", count=1.5, ghosts=0.5, size=130.0, spread=0.3),
}
KNOWN = {
    "rows": 600,
    "columns": 700,
    "light": 0.7,
    "gradient": 0.25,
    "gradient_deg": 60.0,
    "vignette": 0.2,
    "flicker": 0.005,
    "veil": 0.12,
    "blur_px": 1.05,
    "psf": "gaussian",
    "shot_noise": 0.018,
    "read_noise": 0.006,
}


def recipe(**changes: object) -> Recipe:
    return Recipe(instrument=KNOWN | changes, populations=CRYSTALS)


def rendered(made: Recipe, *, frames: int = 4, seed: int = 1) -> list[Image]:
    return [s.image for s in scenes_of(made, frames=frames, seed=seed)]


def total_noise(shot: float, read: float, level: float) -> float:
    return math.sqrt(shot**2 * level + read**2)


CASES = {
    "backlit": recipe(),
    "16 bit": recipe(bits=16, light=0.6, shot_noise=0.008, read_noise=0.004),
    "reflected": recipe(look="reflected", light=0.25, texture=0.05, ambient=0.6, exposure=100.0, blur_px=1.2),
    "flow-cell": recipe(look="flow-cell", disc=0.46, black=0.03, light=0.75),
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> tuple[Recipe, InstrumentFit]:
    made = CASES[request.param]
    look = "reflected" if request.param == "reflected" else None
    return made, fit_instrument(rendered(made), look=look)


def test_what_went_in_comes_out(case: tuple[Recipe, InstrumentFit]) -> None:
    made, fit = case
    truth = made.instrument
    assert fit.look == truth.get("look", "backlit")
    # The scattered light of a flow cell adds 3 % to its disc.
    assert fit["light"].value == pytest.approx(truth["light"], rel=0.035 if fit.look == "flow-cell" else 0.03)
    assert fit["gradient"].value == pytest.approx(truth["gradient"], abs=0.05)
    assert fit["gradient_deg"].value == pytest.approx(truth["gradient_deg"], abs=8)
    assert fit["vignette"].value == pytest.approx(truth["vignette"], abs=0.08)
    assert fit["blur_px"].value == pytest.approx(truth["blur_px"], rel=0.2)
    assert fit["black"].value == pytest.approx(truth.get("black", 0.0), abs=0.005)
    assert fit["bits"].value == truth.get("bits", 8)
    assert (fit["rows"].value, fit["columns"].value) == (600, 700)


def test_noise_is_told_into_shot_and_read(case: tuple[Recipe, InstrumentFit]) -> None:
    made, fit = case
    shot, read, level = (float(made.instrument[k]) for k in ("shot_noise", "read_noise", "light"))
    found = float(fit["shot_noise"].value), float(fit["read_noise"].value)
    assert found[0] == pytest.approx(shot, rel=0.25)
    assert found[1] == pytest.approx(read, rel=0.25)
    assert total_noise(*found, level) == pytest.approx(total_noise(shot, read, level), rel=0.05)
    assert fit["grain_px"].value == 0.0
    assert fit["speckle"].value == 0.0


def test_the_disc_is_that_of_a_flow_cell_only(case: tuple[Recipe, InstrumentFit]) -> None:
    made, fit = case
    found = fit.settings("instrument").get("disc")
    assert found == pytest.approx(made.instrument["disc"], rel=0.01) if fit.look == "flow-cell" else found is None


def test_fit_of_rendered_pictures_reads_back_and_renders(case: tuple[Recipe, InstrumentFit], tmp_path: Path) -> None:
    _, fit = case
    path = tmp_path / "instrument.toml"
    path.write_text(fit.to_toml(), encoding="utf-8")
    assert load_recipe(path) == fit.recipe()
    assert fit.recipe().populations == preset(fit.base).populations
    assert {"light", "gradient", "shot_noise", "blur_px", "gamma"} <= set(fit.settings("instrument"))
    assert any("gamma cannot be seen" in line for line in fit.lines())


def test_comparison_and_tables_are_written(tmp_path: Path) -> None:
    fit = fit_instrument(rendered(recipe(rows=320, columns=360), frames=5))
    files = write_fit(fit, tmp_path / "out")
    assert [f.name for f in files] == ["instrument.toml", "comparison.png", "estimates.csv", "frames.csv"]
    assert load_recipe(files[0]).instrument["rows"] == 320
    picture = cv2.imread(str(files[1]))
    assert picture is not None
    assert min(picture.shape[:2]) > 600
    table = pd.read_csv(files[2]).set_index("name")
    # The same measurement on pictures of the fitted instrument finds the instrument.
    for name, off in (("light", 0.15), ("ground_noise", 0.15)):
        assert float(table.loc[name, "rendered"]) == pytest.approx(float(table.loc[name, "value"]), rel=off)
    assert len(pd.read_csv(files[3])) == 5


def test_glare_is_told_from_the_veil_of_facets() -> None:
    crowd = {"small": Population(body="block", count=25.0, ghosts=30.0, size=40.0, spread=0.5)}
    made = Recipe(instrument=KNOWN | {"rows": 480, "columns": 520, "black": 0.1, "veil": 0.1}, populations=crowd)
    fit = fit_instrument(rendered(made, frames=2))
    assert fit["black"].value == pytest.approx(0.1, abs=0.02)
    assert fit["light"].value == pytest.approx(0.7, rel=0.03)
    veiled = fit_instrument(rendered(made.changed(instrument={"black": 0.0}), frames=2))
    assert veiled["black"].value == 0.0
    assert any(n.startswith("black") for n in veiled.notes)


def test_speckle_stays_and_noise_does_not() -> None:
    made = recipe(speckle=0.2, speckle_px=1.5, gradient=0.1, rows=480, columns=520)
    pictures = rendered(made, frames=3)
    fit = fit_instrument(pictures)
    assert fit["speckle"].value == pytest.approx(0.2, rel=0.2)
    assert fit["speckle_px"].value == pytest.approx(1.5, rel=0.2)
    assert fit["ground_noise"].value == pytest.approx(total_noise(0.018, 0.006, 0.7), rel=0.15)
    alone = fit_instrument(pictures[:1])
    assert alone["speckle"].value == pytest.approx(0.2, rel=0.3)
    assert "cannot prove" in alone["speckle"].how


def test_correlated_noise_has_a_grain() -> None:
    fit = fit_instrument(rendered(recipe(grain_px=0.8, rows=480, columns=520), frames=2))
    assert fit["grain_px"].value == pytest.approx(0.8, abs=0.1)
    assert fit["ground_noise"].value == pytest.approx(total_noise(0.018, 0.006, 0.7), rel=0.1)
    assert fit["speckle"].value == 0.0


def test_noise_before_jpeg(tmp_path: Path) -> None:
    for k, scene in enumerate(scenes_of(recipe(jpeg=85, rows=480, columns=520), frames=2, seed=4)):
        assert scene.encoded is not None
        (tmp_path / f"frame_{k}.jpg").write_bytes(scene.encoded)
    fit = fit_instrument(tmp_path)
    assert fit["jpeg"].value == 85
    assert fit["ground_noise"].value == pytest.approx(total_noise(0.018, 0.006, 0.7), rel=0.15)


@pytest.mark.parametrize("quality", [10, 49, 75, 92, 100])
def test_quality_of_a_jpeg_is_read_from_its_tables(tmp_path: Path, quality: int) -> None:
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), np.full((16, 16), 90, np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert jpeg_quality(path) == quality
    assert jpeg_quality(save(tmp_path / "a.png", np.full((16, 16), 90, np.uint8))) == 0


def test_frames_of_several_places_become_ranges() -> None:
    few = {"populations": {"small": {"count": 4.0, "ghosts": 3.0, "size": 30.0}, "large": {"presence": 0.0}}}
    first = recipe(rows=320, columns=360, gradient=0.1, light=0.8).changed(**few)
    second = recipe(rows=320, columns=360, gradient=0.6, gradient_deg=250.0, light=0.6).changed(**few)
    a, b = rendered(first, frames=3), rendered(second, frames=3, seed=7)
    fit = fit_instrument([x for pair in zip(a, b, strict=True) for x in pair])
    assert fit.vary == "frame"
    low, high = fit["light"].setting
    assert low == pytest.approx(0.6, rel=0.04)
    assert high == pytest.approx(0.8, rel=0.04)
    assert fit["flicker"].value == 0.0
    assert not fit.settings("window")
    assert any("do not share one illumination" in n for n in fit.notes)


def test_a_single_frame_says_what_it_cannot_tell() -> None:
    fit = fit_instrument(rendered(recipe(rows=480, columns=520), frames=1), pixel_size_um=2.5)
    assert fit["light"].value == pytest.approx(0.7, rel=0.04)
    assert fit["pixel_size_um"].value == 2.5
    names = {e.name for e in fit.estimates}
    assert not names & {"flicker", "drift", "dust", "unevenness"}
    for told in ("flicker", "drift", "dust", "unevenness"):
        assert any(n.startswith(told) for n in fit.notes)


def test_pictures_without_flat_ground_leave_the_noise_open(rng: np.random.Generator) -> None:
    rough = cv2.GaussianBlur(rng.standard_normal((200, 220)).astype(np.float32), (0, 0), 1.9)
    fit = fit_instrument([Image(np.clip(128 + 30 * rough / rough.std(), 0, 255).astype(np.uint8))])
    assert "shot_noise" not in fit.settings("instrument")
    assert any(n.startswith("noise: left at the preset's") for n in fit.notes)


def test_bits_in_use() -> None:
    eight = rendered(recipe(rows=200, columns=220), frames=1)
    shifted = [Image(i.data.astype(np.uint16) * 16 * 16) for i in eight]
    twelve = [Image((i.data.astype(np.uint16) * 16 + 3).astype(np.uint16)) for i in eight]
    floats = [Image(i.data.astype(np.float32) / 255) for i in eight]
    assert fit_instrument(shifted)["bits"].value == 8
    fit = fit_instrument(twelve)
    assert fit["bits"].value == 12
    assert fit["light"].value == pytest.approx(fit_instrument(eight)["light"].value, rel=0.02)
    assert "bits" not in fit_instrument(floats).settings("instrument")


def test_colour_cast() -> None:
    grey = rendered(recipe(rows=320, columns=360, shot_noise=0.01), frames=2)
    cast = np.array([0.9, 1.0, 1.05], np.float32)
    colour = [Image(np.clip(i.data[:, :, None] * cast, 0, 255).astype(np.uint8)) for i in grey]
    fit = fit_instrument(colour)
    assert fit.look == "backlit"
    assert fit["tint"].value == pytest.approx(float(np.std(cast / cast.mean())) / math.sqrt(2 / 9), rel=0.1)
    assert fit_instrument(grey)["tint"].value == 0.0


def test_colours_on_black_are_polars(rng: np.random.Generator) -> None:
    frame = rng.normal(12, 1.5, (300, 320, 3))
    for _ in range(12):
        r, c = rng.integers(20, 260, 2)
        frame[r : r + 24, c : c + 18] = rng.permutation([230, 120, 30])
    fit = fit_instrument([Image(np.clip(frame, 0, 255).astype(np.uint8))])
    assert fit.look == "polars"
    product = float(fit["light"].value) * float(fit["leak"].value)
    assert product == pytest.approx(12 / 255, rel=0.1)
    assert fit.recipe().instrument["look"] == "polars"


def test_no_frames_and_no_photographs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected at least one frame"):
        fit_instrument([])
    with pytest.raises(ReadError, match="an empty folder"):
        fit_instrument(tmp_path)
    with pytest.raises(InputError, match="expected photographs, got 2 pictures with fewer than 8 grey levels"):
        fit_instrument([Image(np.full((64, 64), 130, np.uint8))] * 2)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    with pytest.raises(ReadError, match="expected a readable frame"):
        fit_instrument(tmp_path)


def test_frames_of_several_sizes_are_refused(rng: np.random.Generator) -> None:
    a = Image(rng.integers(90, 140, (64, 80), dtype=np.uint8))
    b = Image(rng.integers(90, 140, (60, 80), dtype=np.uint8))
    with pytest.raises(InputError, match=r"2 of 64 x 80 px \(grey, uint8\), 1 of 60 x 80 px"):
        fit_instrument([a, a, b])
    with pytest.raises(InputError, match="fit each kind alone"):
        fit_instrument([a, Image(a.data.astype(np.uint16))])


def test_looks_are_checked(rng: np.random.Generator) -> None:
    frame = Image(rng.integers(90, 140, (64, 80), dtype=np.uint8))
    with pytest.raises(ConfigError, match="expected a look of backlit"):
        fit_instrument([frame], look="darkfield")
    with pytest.raises(InputError, match="expected the lit disc of a flow cell"):
        fit_instrument([frame], look="flow-cell")


def test_masks_and_broken_files_in_the_folder_are_left_out(tmp_path: Path) -> None:
    for k, image in enumerate(rendered(recipe(rows=200, columns=220), frames=2)):
        save(tmp_path / f"frame_{k}.png", image.data)
        save(tmp_path / f"frame_{k}_mask.png", (image.data > 90).astype(np.uint8))
    (tmp_path / "frame_9.png").write_bytes(b"")
    fit = fit_instrument(tmp_path)
    assert list(fit.frames["file"]) == ["frame_0.png", "frame_1.png"]
    assert any(n.startswith("left out 2 pictures") for n in fit.notes)
    assert any(n.startswith("left out 1 unreadable") for n in fit.notes)


def test_long_sequences_are_sampled(rng: np.random.Generator) -> None:
    base = rng.integers(100, 140, (48, 52), dtype=np.uint8)
    fit = fit_instrument([Image(base)] * 101)
    assert len(fit.frames) == 48
    assert list(fit.frames["number"].iloc[[0, -1]]) == [0, 100]
    assert any("used 48 of 101 frames" in n for n in fit.notes)


@settings(max_examples=15, deadline=None)
@given(
    x=st.floats(-0.25, 0.25),
    y=st.floats(-0.25, 0.25),
    vignette=st.floats(0, 0.6),
    light=st.floats(0.1, 0.8),
    dark=st.floats(0.0, 0.2),  # above about a third the mode of the levels is that of the bodies
)
def test_illumination_under_dark_bodies(x: float, y: float, vignette: float, light: float, dark: float) -> None:
    shape = Shape(x, y, vignette)
    picture = light * shape.over((240, 260))
    rng = np.random.default_rng(3)
    picture += rng.normal(0, 0.01 * light, picture.shape).astype(np.float32)
    while (picture < 0.5 * light * shape.over((240, 260))).mean() < dark:
        r, c = rng.integers(0, 200, 2)
        picture[r : r + 40, c : c + 50] = 0.1 * light
    found = fit_light([picture], field=FieldOfView((240, 260)))
    assert found.levels[0] == pytest.approx(light, rel=0.02)
    assert found.shapes[0].x == pytest.approx(x, abs=0.02)
    assert found.shapes[0].y == pytest.approx(y, abs=0.02)
    assert found.shapes[0].vignette == pytest.approx(vignette, abs=0.05)


def test_unevenness_is_what_frames_have_in_common(rng: np.random.Generator) -> None:
    view = FieldOfView((300, 320))

    def blotches() -> np.ndarray:
        smooth = cv2.resize(rng.standard_normal((6, 6)).astype(np.float32), (320, 300), interpolation=cv2.INTER_CUBIC)
        return smooth / smooth.std()

    stays = 0.04 * blotches()
    frames = [(0.6 * (1 + stays + 0.04 * blotches())).astype(np.float32) for _ in range(8)]
    moving = [(0.6 * (1 + 0.04 * blotches())).astype(np.float32) for _ in range(8)]
    assert fit_light(frames, field=view).unevenness == pytest.approx(0.035, abs=0.012)
    assert fit_light(moving, field=view).unevenness < 0.015


def test_flicker_and_drift() -> None:
    rng = np.random.default_rng(5)
    numbers = np.arange(0, 200, 5)
    steady = 0.6 * (1 + 0.02 * rng.standard_normal(numbers.size))
    flicker, drift, level = flicker_and_drift(steady, np.zeros(numbers.size), numbers)
    assert flicker == pytest.approx(0.02, rel=0.25)
    assert drift == 0.0
    assert level == pytest.approx(0.6, rel=0.01)
    flicker, drift, level = flicker_and_drift(steady * (1 + 0.1 * numbers / 100), np.zeros(numbers.size), numbers)
    assert drift == pytest.approx(0.1, rel=0.2)
    assert level == pytest.approx(0.6, rel=0.02)
    assert flicker == pytest.approx(0.02, rel=0.35)
    few = flicker_and_drift(steady[:3], np.zeros(3), numbers[:3])
    assert math.isnan(few[0])
    assert math.isnan(few[1])


@pytest.mark.parametrize("sigma", [0.6, 1.0, 1.6, 2.4])
def test_blur_of_steps_with_the_pixel_taken_off(sigma: float) -> None:
    fine = np.ones((1200, 1200), np.float32)
    for k, angle in enumerate((0, 17, 45, 70)):
        centre = (300 + 600 * (k % 2), 300 + 600 * (k // 2))
        corners = cv2.boxPoints(((float(centre[0]), float(centre[1])), (320.0, 260.0), float(angle)))
        cv2.fillPoly(fine, [np.round(corners * 256).astype(np.int32)], 0.2, cv2.LINE_AA, shift=8)
    fine = cv2.GaussianBlur(fine, (0, 0), 4 * sigma)
    picture = cv2.resize(fine, (300, 300), interpolation=cv2.INTER_AREA)
    picture += np.random.default_rng(1).normal(0, 0.01, picture.shape).astype(np.float32)
    found = fit_edges([picture], valid=[np.ones(picture.shape, bool)], noise=0.01)
    # The 7th percentile of edges of one blur lies below it by 1.5 of their errors.
    assert found.blur_px == pytest.approx(sigma, rel=0.08)
    assert float(np.median(found.width_px)) == pytest.approx(sigma, rel=0.06)


def test_halo_of_steps() -> None:
    picture = np.ones((240, 240), np.float32)
    picture[60:180, 50:190] = 0.2
    plain = cv2.GaussianBlur(picture, (0, 0), 1.0)
    fringed = plain + 0.3 * (plain - cv2.GaussianBlur(plain, (0, 0), 3.0))
    valid = [np.ones(picture.shape, bool)]
    assert fit_edges([fringed], valid=valid, noise=0.0).halo == pytest.approx(0.3, abs=0.04)
    assert fit_edges([plain], valid=valid, noise=0.0).halo == 0.0
    assert fit_edges([fringed], valid=valid, noise=0.0).blur_px == pytest.approx(1.0, rel=0.1)


def test_even_pictures_have_no_edges(rng: np.random.Generator) -> None:
    found = fit_edges(
        [rng.normal(1, 0.02, (150, 150)).astype(np.float32)], valid=[np.ones((150, 150), bool)], noise=0.02
    )
    assert math.isnan(found.blur_px)


def test_what_stays_on_the_window(rng: np.random.Generator) -> None:
    places = [(40, 50), (120, 200), (200, 90), (250, 250)]
    frames = []
    for _ in range(8):
        frame = np.ones((300, 320), np.float32)
        for r, c in places:
            cv2.circle(frame, (c, r), 4, 0.5, -1)
        cv2.circle(frame, (270, 60), 22, 0.6, -1)
        for _ in range(6):
            cv2.circle(frame, tuple(int(v) for v in rng.integers(20, 280, 2)), 9, 0.2, -1)
        frames.append(cv2.GaussianBlur(frame, (0, 0), 1.0) + rng.normal(0, 0.01, frame.shape).astype(np.float32))
    found = find_spots(frames, noise=0.01, field=np.ones((300, 320), bool))
    assert (found.dust, found.deposits) == (4, 1)
    assert found.deposit_px == pytest.approx(22, abs=3)


def test_real_frames(data: Path) -> None:
    folder = data / "insitu-backlit"
    if not folder.is_dir():
        pytest.skip("needs insitu-backlit")

    def grey(frame: int, quarter: str) -> np.ndarray:
        return cv2.imread(str(folder / f"frame_{frame}_{quarter}.jpg"), cv2.IMREAD_GRAYSCALE)

    fit = fit_instrument([Image(grey(f, "0_0")) for f in (140, 142)])
    assert fit.look == "backlit"
    assert fit.vary == "set"
    assert 0.75 < float(fit["light"].value) < 0.83
    assert 1.2 < float(fit["blur_px"].value) < 1.6
    assert jpeg_quality(folder / "frame_140_0_0.jpg") == 75
    several = [grey(140, q).astype(np.float32) / 255 for q in ("0_0", "0_1", "1_0", "1_1")]
    assert not fit_light(several, field=FieldOfView(several[0].shape)).shared
