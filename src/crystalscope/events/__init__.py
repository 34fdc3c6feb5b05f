"""What happens in an experiment, and what solubility and kinetics follow from it."""

from crystalscope.events.changes import comes_to_rest, lasting_rise
from crystalscope.events.detect import detect_events
from crystalscope.events.freezing import flag_freezing
from crystalscope.events.growth import growth_rate_event, leading_lengths
from crystalscope.events.mszw import MSZW_COLUMNS, ZoneFit, fit_zone_rates, saturation_point, solution_of, zone_widths
from crystalscope.events.nucleation import NucleationRate, ZoneNucleation, fit_induction_times, fit_zone_widths
from crystalscope.events.of_run import has_clock, run_events
from crystalscope.events.pictures import (
    agglomeration_event,
    fouling_event,
    oiling_out_events,
    picture_lead,
    presence_events,
    steady_state_event,
)
from crystalscope.events.rates import clear_point_at_rest
from crystalscope.events.segments import cut_programme, cut_short, hold_reached_s
from crystalscope.events.sets import InductionSet, induction_sets, zone_sets
from crystalscope.events.solubility import (
    MODELS,
    LeaveOut,
    compare_forms,
    fit_all,
    fit_solubility,
    leave_one_out,
    replicate_scatter,
    transition_temperature,
)
from crystalscope.events.units import Substances, convert_concentration

__all__ = [
    "MODELS",
    "MSZW_COLUMNS",
    "InductionSet",
    "LeaveOut",
    "NucleationRate",
    "Substances",
    "ZoneFit",
    "ZoneNucleation",
    "agglomeration_event",
    "clear_point_at_rest",
    "comes_to_rest",
    "compare_forms",
    "convert_concentration",
    "cut_programme",
    "cut_short",
    "detect_events",
    "fit_all",
    "fit_induction_times",
    "fit_solubility",
    "fit_zone_rates",
    "fit_zone_widths",
    "flag_freezing",
    "fouling_event",
    "growth_rate_event",
    "has_clock",
    "hold_reached_s",
    "induction_sets",
    "lasting_rise",
    "leading_lengths",
    "leave_one_out",
    "oiling_out_events",
    "picture_lead",
    "presence_events",
    "replicate_scatter",
    "run_events",
    "saturation_point",
    "solution_of",
    "steady_state_event",
    "transition_temperature",
    "zone_sets",
    "zone_widths",
]
