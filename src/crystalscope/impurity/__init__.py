"""Impurities and forms: shares of classes of particles, limits of detection, alarms, corrections."""

from crystalscope.impurity.alarm import Alarm, alarm_over_run
from crystalscope.impurity.confusion import Confusion, confusion_of_labels, confusion_of_table
from crystalscope.impurity.corrections import (
    IMPURITY,
    SCORE_COLUMNS,
    TARGET,
    Corrected,
    check_scores,
    correct_threshold,
)
from crystalscope.impurity.limit import DetectionLimit, detection_limit, frames_needed
from crystalscope.impurity.shares import ClassShares, class_shares, shares_over_run

__all__ = [
    "IMPURITY",
    "SCORE_COLUMNS",
    "TARGET",
    "Alarm",
    "ClassShares",
    "Confusion",
    "Corrected",
    "DetectionLimit",
    "alarm_over_run",
    "check_scores",
    "class_shares",
    "confusion_of_labels",
    "confusion_of_table",
    "correct_threshold",
    "detection_limit",
    "frames_needed",
    "shares_over_run",
]
