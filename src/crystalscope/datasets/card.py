"""The card of a dataset: a page for people, and Croissant JSON-LD for programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crystalscope.datasets.checks_annotations import read_annotations
from crystalscope.datasets.checks_metadata import CARD_FIELDS
from crystalscope.datasets.checks_particles import Particle
from crystalscope.datasets.checks_pictures import Progress
from crystalscope.datasets.croissant import croissant, croissant_text, doi_of, licence_address, recording
from crystalscope.datasets.dataset import Dataset
from crystalscope.datasets.page import polygons_to_draw, render, shown
from crystalscope.datasets.stats import Stats, dataset_stats, facts
from crystalscope.datasets.stats_page import particle_plots
from crystalscope.errors import ReadError
from crystalscope.io.manifest import Manifest
from crystalscope.io.pictures import read_picture
from crystalscope.io.tables import write_text

CROISSANT, PAGE = "croissant.json", "card.html"
_NEEDED = {"licence": "licence", "instrument": "instrument"}


@dataclass(frozen=True)
class Card:
    """A card that was written.

    Parameters
    ----------
    page
        Path of the page.
    croissant
        Path of the JSON-LD.
    missing
        What the manifest does not say.
    """

    page: Path
    croissant: Path
    missing: tuple[str, ...]

    def __str__(self) -> str:
        """The card as a terminal shows it."""
        lines = [f"written: {self.page}", f"written: {self.croissant}"]
        if self.missing:
            lines.append(f"dataset.toml does not say: {', '.join(self.missing)}")
        return "\n".join(lines)


def write_card(
    dataset: Dataset,
    out: str | Path | None = None,
    *,
    examples: int = 6,
    stats: Stats | None = None,
    progress: Progress | None = None,
) -> Card:
    """Write OUT/card.html and OUT/croissant.json.

    Parameters
    ----------
    dataset
        The dataset. What its manifest does not say is named on the page; nothing is guessed.
    out
        None: the folder of the dataset, where croissant.json belongs, since its paths are relative to it.
    examples
        Number of pictures shown with their outlines, spread evenly over those with annotations.
    stats
        From `dataset_stats` of the same dataset; None: they are made.
    progress
        As in `review_dataset`.

    Returns
    -------
    Card. The same dataset gives the same bytes.

    Raises
    ------
    ReadError
        When a file that the manifest names cannot be read.
    WriteError
        When the folder cannot be written.
    """
    folder = dataset.root if out is None else Path(out)
    described = croissant_text(dataset)
    figures = stats or dataset_stats(dataset, progress=progress)
    m = dataset.manifest
    missing = missing_fields(dataset)
    html = render(
        "card.html.jinja",
        title=m.title or m.name,
        m=m,
        facts=_head(m, figures),
        missing=missing,
        examples=_examples(dataset, figures, examples),
        drawn=bool(figures.summary["annotations"]),
        recording=recording(dataset) or {"Instrument": "not stated"},
        classes=list(dict.fromkeys([*m.classes, *figures.summary["classes"]])),
        figures=list(facts(figures.summary)),
        plots=particle_plots(figures)[:1] if figures.summary["sizes"] else [],
        files=_files(dataset),
    )
    return Card(write_text(folder / PAGE, html), write_text(folder / CROISSANT, described), missing)


def missing_fields(dataset: Dataset) -> tuple[str, ...]:
    """What a card should say and the manifest does not."""
    m = dataset.manifest
    known = recording(dataset)
    missing = [label for field, label in (_NEEDED | CARD_FIELDS).items() if not getattr(m, field)]
    missing += [] if "Scale" in known else ["scale (um per px)"]
    return tuple(label for label in missing if label != "instrument" or "Instrument" not in known)


def _head(m: Manifest, stats: Stats) -> list[tuple[str, str, str]]:
    """Name, text and address of the facts at the top."""
    licence = licence_address(m.licence)
    rows = [
        ("DOI", doi_of(m), f"https://doi.org/{doi_of(m)}" if m.doi else ""),
        ("Licence", m.licence or "not stated", licence if licence.startswith("http") else ""),
        ("Version", m.version, ""),
        ("Published", m.published, ""),
        ("Page", m.url, m.url),
        ("Pictures", f"{stats.summary['pictures']:,}", ""),
        ("Particles", f"{stats.summary['particles']:,}" if stats.summary["annotations"] else "not annotated", ""),
    ]
    return [row for row in rows if row[1]]


def _examples(dataset: Dataset, stats: Stats, number: int) -> list[dict[str, str]]:
    """Pictures with their outlines, spread evenly over those with particles, or over all where there are none."""
    readable = stats.pictures[stats.pictures["rows_px"] > 0]
    chosen = readable[readable["particles"] > 0] if (readable["particles"] > 0).any() else readable
    if chosen.empty or number < 1:
        return []
    picks = np.unique(np.linspace(0, len(chosen) - 1, min(number, len(chosen))).round().astype(int))
    shapes = {r.file: (r.rows_px, r.columns_px) for r in readable.itertuples()}
    annotations = read_annotations(dataset, shapes)
    by_file: dict[str, list[Particle]] = {}
    for p in annotations.particles:
        by_file.setdefault(p.file, []).append(p)
    out = []
    for row in chosen.iloc[picks].itertuples():
        try:
            data = read_picture(dataset.root / row.file).data
        except ReadError:
            continue
        marks: list[tuple[str, Any]] = [
            ("near" if p.ignored else "mark", polygons_to_draw(annotations.outlines[p.file, p.annotation]))
            for p in by_file.get(row.file, [])
        ]
        caption = f"{row.file}: {row.particles} annotated" if dataset.annotations else str(row.file)
        out.append({"svg": shown(data, marks, width=640, alt=caption), "caption": caption})
    return out


def _files(dataset: Dataset) -> list[dict[str, Any]]:
    """The files beside the pictures, each once."""
    found: dict[str, dict[str, Any]] = {}
    for f in croissant(dataset)["distribution"]:
        if "contentUrl" in f:
            size = int(f["contentSize"].removesuffix(" B"))
            found.setdefault(f["contentUrl"], {"path": f["contentUrl"], "bytes": size, "sha256": f["sha256"]})
    return list(found.values())
