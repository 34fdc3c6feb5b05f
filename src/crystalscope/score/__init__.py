"""Measures of agreement with truth."""

from crystalscope.score.distributions import (
    relative_error,
    sample_scores,
    weighted_ks,
    weighted_quantile,
    weighted_wasserstein,
)
from crystalscope.score.instances import (
    Matching,
    Pair,
    areas,
    average_precision,
    mask_iou,
    match,
    match_above,
    matched,
    pooled,
)
from crystalscope.score.semantic import confusion, semantic_scores

__all__ = [
    "Matching",
    "Pair",
    "areas",
    "average_precision",
    "confusion",
    "mask_iou",
    "match",
    "match_above",
    "matched",
    "pooled",
    "relative_error",
    "sample_scores",
    "semantic_scores",
    "weighted_ks",
    "weighted_quantile",
    "weighted_wasserstein",
]
