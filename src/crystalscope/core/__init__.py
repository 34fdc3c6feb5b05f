"""The nouns that travel between the rooms: no algorithm, no file access."""

from crystalscope.core.distribution import Figure, SizeDistribution
from crystalscope.core.image import FrameRef, Image, ImageSequence, check_pixel_size
from crystalscope.core.instances import KINDS, FieldOfView, Instances
from crystalscope.core.labels import LABELS
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
from crystalscope.core.scene import TRUTH_COLUMNS, Scene
from crystalscope.core.solubility import ConcentrationUnit, SolubilityCurve, SolubilityPoints
from crystalscope.core.timeline import (
    EVENT_FIELDS,
    Event,
    EventKind,
    ProgrammeStep,
    Segment,
    SegmentKind,
    Status,
    Timeline,
    Vial,
)

__all__ = [
    "EVENT_FIELDS",
    "FRAME_COLUMNS",
    "KINDS",
    "LABELS",
    "PARTICLE_COLUMNS",
    "STATUSES",
    "TRUTH_COLUMNS",
    "Column",
    "ConcentrationUnit",
    "Event",
    "EventKind",
    "FieldOfView",
    "Figure",
    "FrameRef",
    "Image",
    "ImageSequence",
    "Instances",
    "ParticleTable",
    "ProgrammeStep",
    "Scene",
    "Segment",
    "SegmentKind",
    "SizeDistribution",
    "SolubilityCurve",
    "SolubilityPoints",
    "Status",
    "Timeline",
    "Unit",
    "Vial",
    "check_pixel_size",
    "headers",
    "ledger_frame",
    "particle_frame",
]
