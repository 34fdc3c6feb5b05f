"""Profiles, kinetics, presets, recipes: what they take and what they refuse, by name."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from bench.design.plants import FAMILIES, draw_plant, draw_recipe

from crystalscope.errors import ConfigError, InputError
from crystalscope.plant.kinetics import Charge, load_kinetics, preset, preset_names
from crystalscope.plant.profile import TemperatureProfile
from crystalscope.plant.recipe import Recipe, quality


def test_cycles_have_the_published_inputs():
    got = TemperatureProfile.cycles(
        (60, 20, 40, 10), cooling_c_per_min=(0.1, 0.2), heating_c_per_min=(0.5,), hold_min=10
    )
    np.testing.assert_allclose(got.temperature_c, [60, 20, 20, 40, 40, 10, 10])
    np.testing.assert_allclose(got.time_s / 60, [0, 400, 410, 450, 460, 610, 620])
    assert got.at(200 * 60) == pytest.approx(40)
    # A segment between equal temperatures, and zero as a temperature like any other
    level = TemperatureProfile.cycles((30, 0, 0, 0), cooling_c_per_min=(0.3,))
    np.testing.assert_allclose(level.temperature_c, [30, 0])
    back = TemperatureProfile.from_table(got.to_table())
    np.testing.assert_allclose(back.time_s, got.time_s)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperatures_c": (60, 20, 40), "cooling_c_per_min": (0.1,)}, "expected 1 heating rates"),
        ({"temperatures_c": (60, 20), "cooling_c_per_min": (0.1, 0.1)}, "expected 1 cooling rates"),
        ({"temperatures_c": (60, 20), "cooling_c_per_min": (-0.1,)}, "above 0"),
        ({"temperatures_c": (60,), "cooling_c_per_min": ()}, "two or more"),
        ({"temperatures_c": (60, 60), "cooling_c_per_min": ()}, "differ"),
        ({"temperatures_c": (60, 20), "cooling_c_per_min": (0.1,), "hold_min": -1}, "hold"),
    ],
)
def test_cycles_that_make_no_sense(arguments, message):
    with pytest.raises(InputError, match=message):
        TemperatureProfile.cycles(**arguments)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"time_s": [0, 1]}, "columns time_s"),
        ({"time_s": [0, 1, 1], "temperature_c": [1, 2, 3]}, "row 2"),
        ({"time_s": [0, "soon"], "temperature_c": [1, 2]}, "'soon' in row 2"),
        ({"time_s": [0], "temperature_c": [1]}, "two or more"),
        ({"time_s": [0, 1], "temperature_c": [300, -300]}, "deg C"),
    ],
)
def test_profiles_that_make_no_sense(table, message):
    with pytest.raises(InputError, match=message):
        TemperatureProfile.from_table(pd.DataFrame(table))


def test_every_preset_has_a_source_and_agrees_with_the_handbook():
    assert "potassium-sulfate-water" in preset_names()
    for name in preset_names():
        kinetics = preset(name)
        assert len(kinetics.source) > 50
        # What is not made up is checked against independent values when it is read.
        assert kinetics.solubility.handbook or "No constant is measured" in kinetics.source
    assert float(preset("potassium-nitrate-water").solubility.at(25)) == pytest.approx(383, rel=0.01)
    with pytest.raises(ConfigError, match="expected one of glutamic-acid-water"):
        preset("sugar")


def test_a_solubility_that_contradicts_its_handbook_value_is_refused(tmp_path):
    text = (
        'name = "x"\nsource = "none"\ndensity_kg_per_m3 = 1300\nvolume_shape = 0.5\n'
        '[solubility]\nform = "exponential"\ncoefficients = [10.0, {slope}]\nlowest_c = 0\nhighest_c = 50\n'
        "handbook = [[20.0, 20.0, 0.05]]\n"
    )
    path = tmp_path / "k.toml"
    path.write_text(text.format(slope=0.0347))
    assert load_kinetics(path).growth is None
    path.write_text(text.format(slope=0.05))
    with pytest.raises(ConfigError, match="the handbook says 20 within 5%"):
        load_kinetics(path)
    path.write_text(text.format(slope=-0.01))
    with pytest.raises(ConfigError, match="must rise with temperature"):
        load_kinetics(path)
    path.write_text(text.format(slope=0.0347) + "[grwth]\nrate = 1\n")
    with pytest.raises(ConfigError, match="grwth"):
        load_kinetics(path)
    with pytest.raises(ConfigError, match="check the path"):
        load_kinetics(tmp_path / "missing.toml")


def test_constants_change_by_name_and_are_checked():
    kinetics = preset("paracetamol-ethanol")
    assert kinetics.changed(**{"growth.order": 2.0}).constants()["growth.order"] == 2.0
    with pytest.raises(ConfigError, match=r"growth\.speed"):
        kinetics.changed(**{"growth.speed": 1.0})
    with pytest.raises(ConfigError, match="solids_order above 0"):
        kinetics.changed(secondary={"rate_per_kg_s": 1.0})
    with pytest.raises(ConfigError, match="rate_um_per_s"):
        kinetics.changed(**{"growth.rate_um_per_s": -1.0})
    with pytest.raises(ValueError, match="greater than or equal"):
        Charge(concentration_g_per_kg=-1)


def test_recipes_and_families():
    rng = np.random.default_rng(3)
    recipe = draw_recipe(2, rng=rng)
    recipe.check_bounds()
    assert len(recipe.temperatures_c) == 6
    results = []
    for family in FAMILIES:
        plant = draw_plant(family, rng=rng)
        true = plant.quality(recipe)
        assert 2 < true.d50_um < 200
        assert 0 <= true.doa <= 1
        assert 0 < true.crystallinity <= 1
        measured = plant.measure(recipe, rng=rng)
        assert measured.d50_um == pytest.approx(true.d50_um, rel=0.2)
        results.append(true.d50_um)
    assert len(set(results)) == len(FAMILIES)
    with pytest.raises(InputError, match=r"seed_loading from 0\.05 to 0\.15, got 0\.5"):
        Recipe(40.0, 0.5, (50, 10), (0.1,)).check_bounds()


def test_cycling_lowers_agglomeration_where_bridges_dissolve():
    """The reason to cycle: heating after cooling breaks agglomerates."""
    kinetics = preset("thermocycled-api")
    recipe = Recipe(40.0, 0.1, (50, 10, 35, 10), (0.2, 0.2), (0.5,))
    cycled = quality(kinetics, recipe)
    stubborn = quality(kinetics.changed(**{"breakage.bridges_per_s": 0.0}), recipe)
    assert cycled.doa < stubborn.doa - 0.05
