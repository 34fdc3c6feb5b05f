"""What pictures show: ten confidences each, and the outcome of an experiment."""

from crystalscope.label.base import GROUP, Labeller, make_labeller
from crystalscope.label.network import LabelNetwork, NetworkLabeller, load_labels
from crystalscope.label.outcome import experiments_of, label_states, label_table, outcomes
from crystalscope.label.rules import RuleLabeller, rule_labels

__all__ = [
    "GROUP",
    "LabelNetwork",
    "Labeller",
    "NetworkLabeller",
    "RuleLabeller",
    "experiments_of",
    "label_states",
    "label_table",
    "load_labels",
    "make_labeller",
    "outcomes",
    "rule_labels",
]
