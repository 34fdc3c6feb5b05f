"""Measures of agreement with truth."""

from crystalscope.score.distributions import weighted_ks, weighted_quantile, weighted_wasserstein
from crystalscope.score.instances import Matching, Pair, areas, average_precision, mask_iou, match, pooled
from crystalscope.score.semantic import confusion, semantic_scores

__all__ = [
    "Matching",
    "Pair",
    "areas",
    "average_precision",
    "confusion",
    "mask_iou",
    "match",
    "pooled",
    "semantic_scores",
    "weighted_ks",
    "weighted_quantile",
    "weighted_wasserstein",
]
