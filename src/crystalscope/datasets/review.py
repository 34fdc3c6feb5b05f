"""The review that a dataset stands before it is given to others, or trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from crystalscope.datasets.checks_annotations import Annotations, read_annotations
from crystalscope.datasets.checks_metadata import (
    check_card,
    check_instrument,
    check_scale,
    check_table,
    instruments_of,
    named_in,
    scales_of,
)
from crystalscope.datasets.checks_particles import check_border, check_classes, check_sizes
from crystalscope.datasets.checks_pictures import (
    Progress,
    check_copies,
    check_formats,
    check_frames_in_splits,
    check_readable,
    copies_among,
    look_at_all,
)
from crystalscope.datasets.dataset import Dataset, picture_files, with_splits
from crystalscope.datasets.duplicates import Copy, families
from crystalscope.datasets.findings import CHECKS, Finding, findings_table
from crystalscope.errors import ReadError
from crystalscope.io.manifest import MANIFEST, Manifest, read_manifest
from crystalscope.io.tables import write_csv


@dataclass(frozen=True, eq=False)
class Review:
    """What a review found.

    Parameters
    ----------
    dataset
        The dataset.
    findings
        One row per finding, columns `findings.COLUMNS`, errors first.
    copies
        The copies among the pictures; positions are rows of ``dataset.frames``.
    annotations
        What the annotation files say.
    """

    dataset: Dataset
    findings: pd.DataFrame
    copies: tuple[Copy, ...]
    annotations: Annotations

    @property
    def counts(self) -> dict[str, int]:
        """Findings by severity: error, warning, note."""
        found = self.findings["severity"].value_counts()
        return {s: int(found.get(s, 0)) for s in ("error", "warning", "note")}

    @property
    def exit_code(self) -> int:
        """0: notes at most; 1: errors or warnings."""
        return int(self.counts["error"] + self.counts["warning"] > 0)

    @property
    def families(self) -> list[list[str]]:
        """Pictures that are copies of one another."""
        files = self.dataset.frames["file"].astype(str).tolist()
        return [[files[i] for i in family] for family in families(self.copies)]

    @property
    def summary(self) -> pd.DataFrame:
        """Findings by check: columns check, severity, findings, meaning; checks without a finding are left out."""
        n = self.findings["check"].value_counts()
        rows = [(c, severity, int(n[c]), meaning) for c, (severity, meaning) in CHECKS.items() if c in n]
        return pd.DataFrame(rows, columns=["check", "severity", "findings", "meaning"])

    def __str__(self) -> str:
        """The review as a terminal shows it."""
        c = self.counts
        name = self.dataset.manifest.title or self.dataset.manifest.name
        head = (
            f"{name}: {len(self.dataset):,} pictures, {self.annotations.n:,} annotations\n"
            f"{c['error']:,} errors, {c['warning']:,} warnings, {c['note']:,} notes\n"
        )
        lines = [
            f"  {severity:<8} {check:<27} {count:>6,}  {meaning}"
            for check, severity, count, meaning in self.summary.itertuples(index=False)
        ]
        return head + "\n".join(lines)

    def write(self, folder: str | Path) -> Path:
        """Write FOLDER/findings.csv; raises WriteError."""
        return write_csv(Path(folder) / "findings.csv", self.findings)


def review_dataset(dataset: Dataset | str | Path, *, progress: Progress | None = None) -> Review:
    """Review a dataset: pictures, copies, splits, annotations, sizes, metadata.

    Parameters
    ----------
    dataset
        The dataset, or the folder of one. A folder is opened generously, so that a missing file or a row that stands
        twice is a finding and no error.
    progress
        Called with what is being done, how much of it is done, and how much there is.

    Returns
    -------
    Review. The checks and their rules: docs/how-to/review-a-dataset.md.

    Raises
    ------
    ReadError
        When the dataset.toml of a folder is not valid, or it holds no picture.

    Notes
    -----
    Every picture is read once; pairs that look like copies and have no noise to tell are read again.
    """
    findings: list[Finding] = []
    if not isinstance(dataset, Dataset):
        dataset, findings = open_generously(dataset)
    table, faults = _table(dataset)
    files = dataset.frames["file"].astype(str).tolist()
    seen = look_at_all(dataset.root, files, progress)
    copies = copies_among(dataset.root, seen, progress)
    annotations = read_annotations(dataset, {s.file: s.shape for s in seen if not s.fault})
    scales = scales_of(dataset.frames, dataset.manifest.pixel_size_um)
    instruments = instruments_of(dataset.frames, dataset.manifest.instrument)
    checks: Iterable[Iterable[Finding]] = (
        findings,
        faults,
        check_readable(seen),
        check_copies(dataset, copies),
        check_frames_in_splits(dataset.frames),
        annotations.findings,
        check_border(annotations.particles),
        check_sizes(annotations.particles, scales),
        check_classes(dataset, annotations.particles),
        check_table(table, dataset),
        check_scale(dataset, {s.file: s.tag_um for s in seen if s.tag_um is not None}),
        check_instrument(dataset),
        check_formats(seen, instruments),
        check_card(dataset, particles=any(not p.ignored and p.sized for p in annotations.particles)),
    )
    return Review(dataset, findings_table(f for found in checks for f in found), tuple(copies), annotations)


def _table(dataset: Dataset) -> tuple[pd.DataFrame | None, list[Finding]]:
    """The table of pictures as it stands on disk."""
    name = dataset.manifest.frames
    if not name or not (dataset.root / name).is_file():
        return None, []
    try:
        table = pd.read_csv(dataset.root / name, dtype={"file": str})
    except (OSError, ValueError) as e:
        return None, [Finding("missing_file", f"expected a table of pictures in {name}, got: {e}", name)]
    if "file" not in table:
        message = f"expected a column file in {name}, got {', '.join(map(str, table.columns))}"
        return None, [Finding("missing_file", message, name)]
    return table[table["file"].notna()], []


def open_generously(folder: str | Path) -> tuple[Dataset, list[Finding]]:
    """A dataset from a folder whose files are incomplete or contradict each other, and what is missing.

    Parameters
    ----------
    folder
        With a dataset.toml, or of pictures alone.

    Raises
    ------
    ReadError
        When dataset.toml is not valid, or there is no picture.
    """
    root = Path(folder)
    findings: list[Finding] = []
    if (root / MANIFEST).exists():
        manifest = read_manifest(root)
    else:
        # A plain folder of pictures can hold copies too; what is not known of it is found missing.
        manifest = Manifest(name=root.resolve().name, pictures=".")
        message = f"expected {MANIFEST}, got none; make one with `crystalscope dataset init`"
        findings.append(Finding("missing_file", message, MANIFEST))
    findings += list(_missing(root, {k: getattr(manifest, k) for k in ("annotations", "frames", "sizes")}))
    gone = {f.file for f in findings}
    files = [p.relative_to(root).as_posix() for p in picture_files(root / manifest.pictures)]
    if not files:
        raise ReadError(f"expected pictures in {root / manifest.pictures}, got none; copy them there")
    dataset = Dataset(root, manifest, pd.DataFrame({"file": files}))
    table, _ = _table(dataset)
    if table is not None:
        once = table.assign(file=named_in(table, files, manifest)).drop_duplicates("file")
        dataset = Dataset(root, manifest, dataset.frames.merge(once, on="file", how="left"))
    dataset = with_splits(dataset)
    sizes = {}
    if manifest.sizes and manifest.sizes not in gone:
        try:
            sizes[Path(manifest.sizes).stem] = pd.read_csv(root / manifest.sizes)
        except (OSError, ValueError) as e:
            findings.append(Finding("sizes_faulty", f"expected a table in {manifest.sizes}, got: {e}", manifest.sizes))
    annotations = (Path(manifest.annotations),) if manifest.annotations and manifest.annotations not in gone else ()
    return Dataset(root, manifest, dataset.frames, annotations, sizes), findings


def _missing(root: Path, named: dict[str, str]) -> Iterator[Finding]:
    for key, name in named.items():
        if name and not (root / name).is_file():
            message = f"expected {name} ({key} in dataset.toml), got none; restore it or mend dataset.toml"
            yield Finding("missing_file", message, name)
