"""Image -> Instances; one file per method."""

from crystalscope.segment.base import Segmentation, Segmenter, make_segmenter

__all__ = ["Segmentation", "Segmenter", "make_segmenter"]
