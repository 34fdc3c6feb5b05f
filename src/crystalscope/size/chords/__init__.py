"""Chord lengths: from outlines, from sizes and shapes, and back to sizes."""

from crystalscope.size.chords.agreement import Agreement, Mapping, compare_chords, fit_mapping
from crystalscope.size.chords.distribution import CHANNELS, ChordDistribution, Weighting, chords_of_table, common_edges
from crystalscope.size.chords.geometry import (
    circle_chords,
    length_in_field,
    line_chords,
    random_circles,
    smooth_outline,
)
from crystalscope.size.chords.inverse import FAMILIES, ChordModel, Family, Inversion, class_figures, invert_chords
from crystalscope.size.chords.models import (
    ORIENTATIONS,
    SHAPES,
    Orientation,
    Shape,
    chord_matrix,
    chord_measure,
    mean_breadth,
    rectangle_cumulative,
    sphere_cumulative,
)

__all__ = [
    "CHANNELS",
    "FAMILIES",
    "ORIENTATIONS",
    "SHAPES",
    "Agreement",
    "ChordDistribution",
    "ChordModel",
    "Family",
    "Inversion",
    "Mapping",
    "Orientation",
    "Shape",
    "Weighting",
    "chord_matrix",
    "chord_measure",
    "chords_of_table",
    "circle_chords",
    "class_figures",
    "common_edges",
    "compare_chords",
    "fit_mapping",
    "invert_chords",
    "length_in_field",
    "line_chords",
    "mean_breadth",
    "random_circles",
    "rectangle_cumulative",
    "smooth_outline",
    "sphere_cumulative",
]
