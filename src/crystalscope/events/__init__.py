"""What happens in an experiment, and what solubility and kinetics follow from it."""

from crystalscope.events.detect import detect_events
from crystalscope.events.segments import cut_programme

__all__ = ["cut_programme", "detect_events"]
