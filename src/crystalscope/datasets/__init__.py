"""Datasets: catalogue, review, cards, splits, formats."""

from crystalscope.datasets.dataset import Dataset, open_dataset
from crystalscope.datasets.rendered import write_scenes

__all__ = ["Dataset", "open_dataset", "write_scenes"]
