"""Rendered pictures with exact truth: the virtual instrument."""

from crystalscope.scenes.presets import backlit_crystals, beads, demo_frames, needles, write_frames
from crystalscope.scenes.render import Instrument, Placed, Scene, render, window_dust

__all__ = [
    "Instrument",
    "Placed",
    "Scene",
    "backlit_crystals",
    "beads",
    "demo_frames",
    "needles",
    "render",
    "window_dust",
    "write_frames",
]
