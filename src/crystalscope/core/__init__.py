"""The nouns that travel between the rooms: no algorithm, no file access."""

from crystalscope.core.distribution import Figure, SizeDistribution
from crystalscope.core.image import FrameRef, Image, ImageSequence, check_pixel_size
from crystalscope.core.instances import KINDS, FieldOfView, Instances
from crystalscope.core.particles import (
    FRAME_COLUMNS,
    PARTICLE_COLUMNS,
    STATUSES,
    Column,
    ParticleTable,
    Unit,
    headers,
    ledger_frame,
    particle_frame,
)
from crystalscope.core.scene import LABELS, TRUTH_COLUMNS, Scene

__all__ = [
    "FRAME_COLUMNS",
    "KINDS",
    "LABELS",
    "PARTICLE_COLUMNS",
    "STATUSES",
    "TRUTH_COLUMNS",
    "Column",
    "FieldOfView",
    "Figure",
    "FrameRef",
    "Image",
    "ImageSequence",
    "Instances",
    "ParticleTable",
    "Scene",
    "SizeDistribution",
    "Unit",
    "check_pixel_size",
    "headers",
    "ledger_frame",
    "particle_frame",
]
