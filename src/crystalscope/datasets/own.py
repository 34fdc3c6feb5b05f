"""A folder of one's own made a dataset."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from crystalscope.config import InputConfig
from crystalscope.datasets.dataset import picture_files, read_frames
from crystalscope.errors import ReadError, WriteError
from crystalscope.io.manifest import MANIFEST, Manifest, write_manifest
from crystalscope.io.pictures import TIFF_SUFFIXES
from crystalscope.io.sequence import open_sequence
from crystalscope.io.tables import write_csv

ANNOTATIONS = "annotations.coco.json"
FRAMES = "frames.csv"
_PICTURE_FOLDERS = ("images", "pictures", "frames", "img", "raw", "photos", "imgs")


@dataclass(frozen=True)
class InitReport:
    """What `init_dataset` made.

    Parameters
    ----------
    path
        Of dataset.toml.
    pictures
        Their number.
    folder
        Where they are, relative to the dataset.
    experiments
        Their number by subfolders; 0 where there are none.
    missing
        What is still to be filled in, and where.
    notes
        What was noticed.
    """

    path: Path
    pictures: int
    folder: str
    experiments: int
    missing: tuple[str, ...]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """For printing."""
        groups = f" of {self.experiments} experiments (by subfolder)" if self.experiments else ""
        out = [f"{self.path}: {self.pictures} pictures{groups} in {self.folder}", *self.notes]
        if self.missing:
            out += ["still missing:", *(f"  {m}" for m in self.missing)]
        return out


def init_dataset(
    folder: str | Path,
    *,
    name: str,
    pictures: str | None = None,
    licence: str = "",
    instrument: str = "",
    pixel_size_um: float | None = None,
    overwrite: bool = False,
) -> InitReport:
    """Make a folder of pictures a dataset: write dataset.toml and the beginning of frames.csv.

    Nothing is moved or changed. In frames.csv every picture has the subfolder in which it lies as experiment, a frame
    of its own, and the scale that its TIFF tags state in micrometres. A frames.csv that is there is kept and used, an
    annotations.coco.json is used.

    Parameters
    ----------
    folder
        With pictures in it or in subfolders.
    name
        Short name of the dataset.
    pictures
        Folder of the pictures, relative to `folder`; None: the only subfolder with pictures, or the one of several that
        is called images, pictures, frames …, or the whole folder.
    licence, instrument
        Where they are known; of all pictures.
    pixel_size_um
        Scale of all pictures, um per px, where it is known and one.
    overwrite
        Write a new dataset.toml where there is one.

    Raises
    ------
    ReadError
        When there is no picture.
    WriteError
        When there is a dataset.toml already, or the folder cannot be written.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ReadError(f"expected a folder of pictures, got {root}, which is none; check the path")
    if (root / MANIFEST).exists() and not overwrite:
        raise WriteError(
            f"expected a folder without {MANIFEST}, got {root / MANIFEST}; mend it, or ask to overwrite it"
        )
    where = _picture_folder(root) if pictures is None else pictures
    files = picture_files(root / where)
    if not files:
        raise ReadError(f"expected pictures in {root / where}, got none; copy them there")
    names = [p.relative_to(root / where) for p in files]
    scales = [_scale(p) if p.suffix.lower() in TIFF_SUFFIXES else None for p in files]
    notes = _notes([n.as_posix() for n in names])
    experiments = {n.parent.as_posix() for n in names} - {"."}
    if (root / FRAMES).exists():
        missed = {n.as_posix() for n in names} - set(read_frames(root / FRAMES)["file"])
        notes.append(f"{FRAMES} was there and is kept" + (f"; it lacks {len(missed)} pictures" if missed else ""))
    else:
        table = {
            "file": [n.as_posix() for n in names],
            "experiment": ["" if n.parent.as_posix() == "." else n.parent.as_posix() for n in names],
            "frame": range(len(names)),
            "instrument": [instrument] * len(names),
            "pixel_size_um": scales if pixel_size_um is None else [pixel_size_um] * len(names),
        }
        write_csv(root / FRAMES, pd.DataFrame(table))
        notes.append(
            f"in {FRAMES} every picture is a frame of its own: give pictures that are cut from one the same number"
        )
    stated = set(scales)
    one = pixel_size_um if pixel_size_um is not None else next(iter(stated)) if len(stated) == 1 else None
    manifest = Manifest(
        name=name,
        licence=licence,
        instrument=instrument,
        pixel_size_um=one,
        pictures=where,
        frames=FRAMES,
        annotations=ANNOTATIONS if (root / ANNOTATIONS).exists() else "",
    )
    path = write_manifest(root, manifest)
    return InitReport(path, len(files), where, len(experiments), _missing(manifest, scales, experiments), tuple(notes))


def _picture_folder(root: Path) -> str:
    """Where the pictures are: the folder itself, or one of its subfolders, relative to it."""
    if any(p.parent == root for p in picture_files(root)):
        return "."
    inside = sorted(p.name for p in root.iterdir() if p.is_dir() and picture_files(p))
    if len(inside) == 1:
        return inside[0]
    named = [n for n in inside if n.casefold() in _PICTURE_FOLDERS]
    return named[0] if len(named) == 1 else "."


def _scale(path: Path) -> float | None:
    return open_sequence(path, config=InputConfig()).pixel_size_um


def _notes(names: list[str]) -> list[str]:
    stems = {n: n.rsplit(".", 1)[0] for n in names}
    bare = {n: re.sub(r"_(masks?|labels?)$", "", stem) for n, stem in stems.items()}
    others = set(stems.values())
    masks = [n for n in names if bare[n] != stems[n] and bare[n] in others]
    if not masks:
        return []
    return [
        f"{len(masks)} files look like label pictures, such as {masks[0]}, and count as pictures: keep annotations in "
        "a folder beside that of the pictures"
    ]


def _missing(manifest: Manifest, scales: list[float | None], experiments: set[str]) -> tuple[str, ...]:
    unscaled = sum(s is None for s in scales)
    missing = {
        f"licence in {MANIFEST}: who may use the pictures, and how": not manifest.licence,
        f"instrument in {MANIFEST}, or in {FRAMES} where there are several": not manifest.instrument,
        f"pixel_size_um in {MANIFEST}, or in {FRAMES} where there are several scales: {unscaled} of {len(scales)} "
        "pictures state none": manifest.pixel_size_um is None and unscaled > 0,
        f"experiment in {FRAMES}: pictures of one experiment belong together": not experiments,
        f"description, creators and solids_loading in {MANIFEST}": not manifest.description,
    }
    return tuple(text for text, lacks in missing.items() if lacks)
