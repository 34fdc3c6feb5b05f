"""A dataset: a folder of pictures with what is known of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from crystalscope.core import Image
from crystalscope.errors import ReadError
from crystalscope.io.coco import Annotated, read_coco
from crystalscope.io.manifest import Manifest, read_manifest
from crystalscope.io.pictures import PICTURE_SUFFIXES, read_picture


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures, their metadata, annotations and sizes, opened from a folder; pictures are read when asked for.

    Parameters
    ----------
    root
        The folder.
    manifest
        What it is (dataset.toml, or made by the loader of a known dataset).
    frames
        One row per picture found, in order of the names; column ``file`` is relative to `root` with forward slashes.
        Further columns where known: experiment, frame (pictures cut from one frame share it), batch, split, class,
        instrument, pixel_size_um, time_s, temperature_c, loading.
    annotations
        Path of COCO files, relative to `root`; their file names are relative to `root` too, or to the pictures.
    sizes
        Offline size distributions by name, columns size_um and any of q0, Q0, q3, Q3, count.
    notes
        What was found, what was expected, what was skipped.
    chords
        Chord length distributions by name, columns as in `chord_tables.CHORD_COLUMNS`.
    named
        For annotation files (as in `annotations`, with forward slashes) whose file names are not those of `frames`: the
        ``file`` that each name means. Names that are not among them are left out, as they have been told in `notes`.
    """

    root: Path
    manifest: Manifest
    frames: pd.DataFrame
    annotations: tuple[Path, ...] = ()
    sizes: dict[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    chords: dict[str, pd.DataFrame] = field(default_factory=dict)
    named: dict[str, dict[str, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Image]:
        return (self.read(i) for i in range(len(self)))

    def read(self, index: int) -> Image:
        """Read a picture, with its scale; raises ReadError where it is damaged."""
        row = self.frames.iloc[index]
        scale = row.get("pixel_size_um")
        if scale is None or pd.isna(scale):
            scale = self.manifest.pixel_size_um
        name = str(row["file"])
        return Image(read_picture(self.root / name).data, None if scale is None else float(scale), source=name)

    def truth(self) -> dict[str, Annotated]:
        """Annotations by picture, keyed by the ``file`` of `frames`.

        Where several files annotate one picture, the one with more particles counts, the first of equal ones.

        Raises
        ------
        ReadError
            When a file is no COCO, or annotates a picture that is not there.
        """
        names = list(self.frames["file"].astype(str))
        by_end = {n: n for n in names} | {n.removeprefix(self.manifest.pictures + "/"): n for n in names}
        out: dict[str, Annotated] = {}
        for path in self.annotations:
            known = self.named.get(path.as_posix())
            for entry in read_coco(self.root / path):
                name = entry.file_name.replace("\\", "/")
                if known is not None:
                    if name not in known:
                        continue
                    name = known[name]
                if name not in by_end:
                    raise ReadError(
                        f"expected the pictures that {path} annotates in {self.root}, {name} is missing; restore it or "
                        "remove its entry"
                    )
                file = by_end[name]
                if file not in out or len(entry.instances) > len(out[file].instances):
                    out[file] = entry
        return out


def picture_files(folder: Path) -> list[Path]:
    """Picture files below a folder, in order of their paths; hidden ones are left out."""
    found = (p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def open_dataset(folder: str | Path) -> Dataset:
    """Open a folder that has a dataset.toml; a splits.csv beside it gives the column split.

    Raises
    ------
    ReadError
        When there is no valid dataset.toml, a file that it names is missing, or there is no picture.
    """
    root = Path(folder)
    manifest = read_manifest(root)
    for key in ("pictures", "annotations", "frames", "sizes"):
        value = getattr(manifest, key)
        if value and not (root / value).exists():
            raise ReadError(
                f"expected {value} ({key} in dataset.toml) in {root}, got none; restore it or mend the file"
            )
    files = [p.relative_to(root).as_posix() for p in picture_files(root / manifest.pictures)]
    if not files:
        raise ReadError(f"expected pictures in {root / manifest.pictures}, got none; copy them there")
    frames = pd.DataFrame({"file": files})
    notes = []
    if manifest.frames:
        table = read_frames(root / manifest.frames)
        prefix = "" if manifest.pictures in ("", ".") else manifest.pictures + "/"
        table = table.assign(file=[n if n in set(files) else prefix + n for n in table["file"].astype(str)])
        unknown = sorted(set(table["file"]) - set(files))
        if unknown:
            notes.append(
                f"{manifest.frames} names {len(unknown)} pictures that are not there: {', '.join(unknown[:3])}"
            )
        frames = frames.merge(table, on="file", how="left", validate="one_to_one")
    sizes = {}
    if manifest.sizes:
        sizes[Path(manifest.sizes).stem] = pd.read_csv(root / manifest.sizes)
    annotations = (Path(manifest.annotations),) if manifest.annotations else ()
    return with_splits(Dataset(root, manifest, frames, annotations, sizes, tuple(notes)))


def with_splits(dataset: Dataset) -> Dataset:
    """The dataset with the column split of its splits.csv, where there is one and the table of pictures has none."""
    path = dataset.root / "splits.csv"
    if "split" in dataset.frames or not path.exists():
        return dataset
    splits = read_frames(path)
    if "split" not in splits:
        raise ReadError(f"expected columns file and split in {path}, got {', '.join(splits.columns)}; split it anew")
    frames = dataset.frames.merge(splits[["file", "split"]], on="file", how="left", validate="one_to_one")
    return replace(dataset, frames=frames)


def read_frames(path: Path) -> pd.DataFrame:
    """The table of pictures: a CSV with column file, each once.

    Raises
    ------
    ReadError
        When it is no such table.
    """
    try:
        table = pd.read_csv(path, dtype={"file": str})
    except (OSError, ValueError) as e:
        raise ReadError(f"expected a CSV table of pictures in {path}: {e}") from e
    if "file" not in table or table["file"].duplicated().any():
        raise ReadError(f"expected a column file with every picture once in {path}, got columns {list(table.columns)}")
    return table
