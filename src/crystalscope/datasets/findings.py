"""What a review can find, and how it is told."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

import pandas as pd

Severity = Literal["error", "warning", "note"]

COLUMNS = ("check", "severity", "file", "other", "annotation", "value", "message")
"""Columns of findings.csv: `other` is the second picture of a pair, `annotation` the id in COCO (of a doubled one
``id, id``), `value` the number that the message speaks of."""

CHECKS: dict[str, tuple[Severity, str]] = {
    "missing_file": ("error", "A file that dataset.toml names is missing or cannot be read"),
    "unreadable_picture": ("error", "Pictures that cannot be read"),
    "picture_in_two_splits": ("error", "Copies of one picture in two splits"),
    "frame_in_two_splits": ("error", "Pictures cut from one frame in two splits"),
    "duplicate_picture": ("warning", "Pictures that are the same pixel for pixel, also turned or mirrored"),
    "near_duplicate": ("warning", "Pictures that show the same recording: compressed anew, brightened, cut, resized"),
    "broken_annotations": ("error", "Annotation files that cannot be read"),
    "annotated_picture_missing": ("error", "Annotated pictures that are not in the folder"),
    "annotation_without_picture": ("error", "Annotations of a picture that the file does not list"),
    "doubled_id": ("error", "Annotations that share one id"),
    "annotated_size": ("error", "Pictures of another size than the annotations say"),
    "not_annotated": ("warning", "Pictures that no annotation file lists"),
    "outline_damaged": ("error", "Outlines that are no outlines: odd or infinite coordinates, damaged run lengths"),
    "outline_outside": ("error", "Outlines that leave the picture"),
    "outline_empty": ("error", "Outlines without area"),
    "outline_crossing": ("error", "Outlines that cross themselves"),
    "doubled_annotation": ("warning", "Particles that are annotated twice"),
    "size_outlier": ("warning", "Particles far from all others in size"),
    "class_balance": ("warning", "Classes that hardly occur"),
    "row_without_picture": ("error", "Rows of the table of pictures without a picture"),
    "doubled_row": ("error", "Pictures with two rows in the table of pictures"),
    "picture_without_row": ("warning", "Pictures without a row in the table of pictures"),
    "scale_missing": ("warning", "Pictures without a scale"),
    "scale_conflict": ("error", "Scales that contradict each other"),
    "instrument_missing": ("warning", "Pictures without an instrument"),
    "instrument_conflict": ("warning", "Instruments that contradict each other"),
    "licence_missing": ("warning", "No licence"),
    "sizes_missing": ("warning", "No table of sizes"),
    "sizes_faulty": ("error", "Tables of sizes that are no distribution"),
    "border_particles": ("note", "Particles at the border"),
    "picture_format": ("note", "Pictures of different size or depth from one instrument"),
    "card_field": ("note", "Fields that a card should have"),
}
"""Checks in the order of the report, with severity and heading."""


class Finding(NamedTuple):
    """One thing that a review found; see `COLUMNS`."""

    check: str
    message: str
    file: str = ""
    other: str = ""
    annotation: str = ""
    value: float = math.nan


def findings_table(findings: Iterable[Finding]) -> pd.DataFrame:
    """Findings as a table with columns `COLUMNS`: errors first, then in order of the checks and files."""
    rank = {s: i for i, s in enumerate(("error", "warning", "note"))}
    order = {name: (rank[severity], i) for i, (name, (severity, _)) in enumerate(CHECKS.items())}
    rows = [
        {**f._asdict(), "severity": CHECKS[f.check][0]}
        for f in sorted(findings, key=lambda f: (order[f.check], f.file, f.other, f.annotation))
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"value": float})
