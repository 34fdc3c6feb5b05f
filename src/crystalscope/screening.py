"""Particles of runs and folders of crops, described for models of impurities, and what the models say of them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.config import InputConfig
from crystalscope.core import Image, Instances
from crystalscope.datasets.dataset import picture_files
from crystalscope.datasets.duplicates import families, find_copies
from crystalscope.datasets.fingerprint import fingerprint
from crystalscope.errors import InputError, ReadError
from crystalscope.impurity import ParticleModel
from crystalscope.impurity.features import FEATURES, View, crop_features, cropped_features, outline_features
from crystalscope.io.coco import read_coco
from crystalscope.io.pictures import bits_in_use, read_picture, to_grey
from crystalscope.io.sequence import Source, open_sequence
from crystalscope.io.tables import read_table

Array = NDArray[np.float64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Described:
    """Particles with their numbers.

    Parameters
    ----------
    table
        A row for every particle: file, particle, frame (from 0, those looked at), area, ecd.
    numbers
        (n, k) as `impurity.features` gives them.
    view, unit
        Of the numbers.
    files
        Names of all frames that were looked at, in order; also those without particles.
    """

    table: pd.DataFrame
    numbers: Array
    view: View
    unit: str
    files: tuple[str, ...]

    def rows(self, marked: pd.DataFrame) -> NDArray[np.intp]:
        """(n,) rows of particles of a table with file and, where files hold several, particle.

        Raises
        ------
        InputError
            When one of them is not there.
        """
        keys = ["file", "particle"] if "particle" in marked else ["file"]
        if keys == ["file"] and self.table["file"].duplicated().any():
            raise InputError("expected a column particle beside file, since files hold several; add it")
        place = self.table[keys].assign(row=np.arange(len(self.table)))
        joined = marked[keys].astype({"file": str}).merge(place, on=keys, how="left")
        if joined["row"].isna().any():
            lost = joined[joined["row"].isna()].iloc[0]
            raise InputError(
                f"expected marked particles among those of the source, got {', '.join(str(lost[k]) for k in keys)}; is "
                "it the table of another run? Particles out of focus are not looked at"
            )
        return joined["row"].to_numpy(dtype=np.intp)


def is_run(path: Path) -> bool:
    """Whether a folder is a run of `analyze`."""
    return (path / "particles.parquet").exists()


@dataclass(frozen=True, eq=False)
class RunPictures:
    """Pictures of a run with the particles that were counted in them.

    Parameters
    ----------
    run
        Folder of a run of `analyze`.
    pictures
        What was analysed.
    source
        The pictures.
    """

    run: Path
    pictures: Path
    source: Source
    _known: dict[str, tuple[Instances, NDArray[np.int64]]]
    _hashes: dict[str, str]

    @classmethod
    def open(cls, run: Path, pictures: Path) -> RunPictures:
        """Open a run with its pictures.

        Raises
        ------
        ReadError
            When either is not there.
        InputError
            When a picture of the run is missing.
        """
        if not is_run(run) or not (run / "annotations.coco.json").exists():
            raise ReadError(f"expected the folder of a run, got {run} without particles; run analyze first")
        settings = tomllib.loads((run / "run.toml").read_text(encoding="utf-8"))
        given = InputConfig(files=settings.get("config", {}).get("input", {}).get("files", "*"))
        source = open_sequence(pictures, config=given)
        known = {a.file_name: (a.instances, a.ids) for a in read_coco(run / "annotations.coco.json")}
        lost = sorted(set(known) - {f.name for f in source.sequence.frames})
        if lost:
            raise InputError(
                f"expected the pictures of the run in {pictures}, got none named {lost[0]}; give the folder that was "
                "analysed with --pictures"
            )
        return cls(run, pictures, source, known, settings.get("inputs", {}))

    def files(self) -> list[str]:
        """Names of the frames that were looked at, in order."""
        ledger = read_table(self.run / "frames.parquet", columns=["frame", "file", "status"]).sort_values("frame")
        return ledger.loc[ledger["status"].isin(["ok", "empty"]), "file"].astype(str).tolist()

    def read(self, file: str) -> Image:
        """A picture of the run.

        Raises
        ------
        InputError
            When it is another picture than the one that was analysed.
        """
        frame = next(f for f in self.source.sequence.frames if f.name == file)
        decoded = self.source.read(frame)
        expected = self._hashes.get(frame.file, decoded.sha256)
        if decoded.sha256 and decoded.sha256 != expected:
            raise InputError(f"expected the picture that was analysed, got another {file}; run analyze anew")
        return Image(decoded.data, None, source=file)

    def particles(self, file: str) -> tuple[Instances | None, NDArray[np.int64]]:
        """Counted particles of a picture and their numbers; None where there are none."""
        return self._known.get(file, (None, np.zeros(0, dtype=np.int64)))


def describe_run(run: RunPictures, view: View, *, progress: Progress | None = None) -> Described:
    """Numbers of the particles of a run.

    Raises
    ------
    InputError
        When there is no particle in focus.
    """
    files = run.files()
    scales = read_table(run.run / "frames.parquet", columns=["pixel_size_um"])["pixel_size_um"].dropna()
    scale = float(scales.iloc[0]) if len(scales) else None
    unit = "um" if scale is not None and view == "outlines" else "px"
    size = "um" if scale is not None else "px"
    columns = ["particle", f"area_{size}2", f"ecd_{size}"]
    measured = read_table(run.run / "particles.parquet", columns=columns).set_index("particle")
    parts, numbers = [], []
    bits = None
    for k, file in enumerate(files):
        instances, ids = run.particles(file)
        if instances is not None and len(instances):
            data = run.read(file).data
            bits = bits or (bits_in_use([int(data.max())]) if data.dtype == np.uint16 else 8)
            grey = to_grey(data, bits=bits)
            if view == "outlines":
                numbers.append(outline_features(grey, instances, pixel_size_um=scale))
            else:
                numbers.append(cropped_features(grey, instances))
            parts.append(pd.DataFrame({"file": file, "particle": ids, "frame": k}))
        if progress:
            progress(k + 1, len(files))
    if not parts:
        raise InputError(f"expected particles in focus in {run.run}, got none; look at its report")
    table = pd.concat(parts, ignore_index=True)
    found = measured.loc[table["particle"]]
    table["area"], table["ecd"] = found.iloc[:, 0].to_numpy(dtype=float), found.iloc[:, 1].to_numpy(dtype=float)
    return Described(table, np.concatenate(numbers), view, unit, tuple(files))


def describe_crops(folder: Path, *, progress: Progress | None = None) -> Described:
    """Numbers of pictures of one particle each, of a folder and those in it.

    Raises
    ------
    ReadError
        When there is no picture.
    """
    files = picture_files(folder)
    if not files:
        raise ReadError(f"expected a run of analyze, or a folder of pictures of single particles, got {folder}")
    numbers = np.zeros((len(files), len(FEATURES["crops"])))
    area = np.zeros(len(files))
    for k, file in enumerate(files):
        grey = to_grey(read_picture(file).data)
        numbers[k] = crop_features(grey)
        area[k] = grey.size
        if progress:
            progress(k + 1, len(files))
    names = [f.relative_to(folder).as_posix() for f in files]
    table = pd.DataFrame({"file": names, "particle": 1, "frame": np.arange(len(files)), "area": area})
    return Described(table.assign(ecd=np.sqrt(4 / np.pi * area)), numbers, "crops", "px", tuple(names))


def copies_of_crops(folder: Path, files: Sequence[str]) -> list[str]:
    """(n,) names of groups: pictures of one crystal, turned or not, share one; others have their own."""
    prints = []
    for file in files:
        decoded = read_picture(folder / file)
        prints.append(fingerprint(decoded.data, sha256=decoded.sha256))
    found = find_copies(prints, read=lambda i: read_picture(folder / files[i]).data)
    groups = list(files)
    for family in families(found):
        for i in family:
            groups[i] = files[family[0]]
    return groups


def classes_of_folders(files: Sequence[str], impurity: str) -> NDArray[np.bool_]:
    """(n,) whether a picture lies in a folder of a name.

    Raises
    ------
    InputError
        When none does, or all do.
    """
    inside = np.array([impurity.casefold() in (p.casefold() for p in Path(f).parts[:-1]) for f in files], dtype=bool)
    if not inside.any() or inside.all():
        raise InputError(
            f"expected pictures in a folder {impurity} and others beside it, got {int(inside.sum())} of {len(inside)} "
            "there; name the folder of the impurity"
        )
    return inside


def read_marks(path: Path) -> pd.DataFrame:
    """Marked particles: file, particle where files hold several, is_impurity (0 or 1), and group where it is given.

    Raises
    ------
    ReadError, InputError
        When the file cannot be read, or holds other values.
    """
    try:
        table = pd.read_csv(path, dtype={"file": str, "group": str})
    except (OSError, ValueError) as e:
        raise ReadError(f"expected a CSV in {path}: {e}") from e
    missing = [c for c in ("file", "is_impurity") if c not in table]
    if missing:
        raise InputError(f"expected a column {missing[0]} in {path.name}, got {', '.join(map(str, table.columns))}")
    truth = pd.to_numeric(table["is_impurity"], errors="coerce")
    if table.empty or not truth.isin([0, 1]).all():
        raise InputError(f"expected is_impurity 0 or 1 in {path.name}, got none or other values; 1 is an impurity")
    keys = [c for c in ("file", "particle") if c in table]
    return table.assign(is_impurity=truth.astype(int)).drop_duplicates(keys, keep="last").reset_index(drop=True)


def scored(described: Described, model: ParticleModel) -> pd.DataFrame:
    """scores.csv: file, particle, score, threshold, is_impurity.

    Raises
    ------
    InputError
        When the model is for another view or another unit.
    """
    if described.view != model.view:
        raise InputError(f"expected particles as {model.view}, which the model has learnt, got {described.view}")
    if described.unit != model.unit:
        raise InputError(
            f"expected sizes in {model.unit}, in which the model has learnt, got {described.unit}; give analyze the "
            "same kind of scale, or train anew"
        )
    score = model.score(described.numbers)
    return described.table[["file", "particle"]].assign(
        score=score, threshold=model.threshold, is_impurity=(score >= model.threshold).astype(int)
    )
