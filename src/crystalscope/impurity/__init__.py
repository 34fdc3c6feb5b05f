"""Impurities and forms: models of particles, shares of classes, limits of detection, alarms, corrections."""

from crystalscope.impurity.alarm import Alarm, alarm_over_run
from crystalscope.impurity.alignment import aligned
from crystalscope.impurity.confusion import Confusion, confusion_of_labels, confusion_of_table
from crystalscope.impurity.corrections import (
    IMPURITY,
    SCORE_COLUMNS,
    TARGET,
    Corrected,
    check_scores,
    correct_threshold,
)
from crystalscope.impurity.fractions import FRACTIONS, assumed_confusion, fractions_by_frame
from crystalscope.impurity.learn import retrain, train_impurity, train_normal
from crystalscope.impurity.limit import DetectionLimit, detection_limit, frames_needed
from crystalscope.impurity.model import ParticleModel, auroc, load_model, save_model
from crystalscope.impurity.shares import ClassShares, class_shares, shares_over_run

__all__ = [
    "FRACTIONS",
    "IMPURITY",
    "SCORE_COLUMNS",
    "TARGET",
    "Alarm",
    "ClassShares",
    "Confusion",
    "Corrected",
    "DetectionLimit",
    "ParticleModel",
    "alarm_over_run",
    "aligned",
    "assumed_confusion",
    "auroc",
    "check_scores",
    "class_shares",
    "confusion_of_labels",
    "confusion_of_table",
    "correct_threshold",
    "detection_limit",
    "fractions_by_frame",
    "frames_needed",
    "load_model",
    "retrain",
    "save_model",
    "shares_over_run",
    "train_impurity",
    "train_normal",
]
