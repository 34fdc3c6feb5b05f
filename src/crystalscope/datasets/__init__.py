"""Datasets: catalogue, review, cards, splits, formats, rendered sets, and instruments fitted to frames."""

from crystalscope.datasets.card import Card, write_card
from crystalscope.datasets.dataset import Dataset, open_dataset
from crystalscope.datasets.fetch import get_dataset
from crystalscope.datasets.instrument import InstrumentFit, fit_instrument, write_fit
from crystalscope.datasets.loaders import dataset_report, for_sizes, open_known
from crystalscope.datasets.own import init_dataset
from crystalscope.datasets.rendered import write_scenes
from crystalscope.datasets.review import Review, review_dataset
from crystalscope.datasets.review_report import write_review
from crystalscope.datasets.split import Split, check_split, split_dataset
from crystalscope.datasets.standins import write_standin
from crystalscope.datasets.stats import Stats, dataset_stats
from crystalscope.datasets.stats_page import write_stats
from crystalscope.datasets.transfer import export_annotations, import_annotations

__all__ = [
    "Card",
    "Dataset",
    "InstrumentFit",
    "Review",
    "Split",
    "Stats",
    "check_split",
    "dataset_report",
    "dataset_stats",
    "export_annotations",
    "fit_instrument",
    "for_sizes",
    "get_dataset",
    "import_annotations",
    "init_dataset",
    "open_dataset",
    "open_known",
    "review_dataset",
    "split_dataset",
    "write_card",
    "write_fit",
    "write_review",
    "write_scenes",
    "write_standin",
    "write_stats",
]
