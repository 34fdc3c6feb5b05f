"""Rendered pictures with exact truth: the virtual instrument."""

from crystalscope.scenes.batch import Batch, State, true_events
from crystalscope.scenes.bodies import Body, Material, outline_measures
from crystalscope.scenes.labels import labels_of
from crystalscope.scenes.optics import Instrument
from crystalscope.scenes.recipe import Recipe, load_recipe, preset, preset_names, scenes_of
from crystalscope.scenes.render import Placed, render
from crystalscope.scenes.sample import Population
from crystalscope.scenes.window import Window

__all__ = [
    "Batch",
    "Body",
    "Instrument",
    "Material",
    "Placed",
    "Population",
    "Recipe",
    "State",
    "Window",
    "labels_of",
    "load_recipe",
    "outline_measures",
    "preset",
    "preset_names",
    "render",
    "scenes_of",
    "true_events",
]
