"""Annotations brought into a dataset from other programs, and handed on to them."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crystalscope.core import KINDS
from crystalscope.datasets import coco
from crystalscope.datasets.dataset import Dataset, open_dataset, picture_files
from crystalscope.datasets.exchange import Collector, Fault, check_kinds
from crystalscope.datasets.formats import Format, detect, format_named, unpacked
from crystalscope.datasets.own import ANNOTATIONS
from crystalscope.errors import InputError, ReadError, WriteError
from crystalscope.io.coco import Annotated
from crystalscope.io.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from crystalscope.io.tables import write_bytes, write_text

_SHOWN = 10


@dataclass(frozen=True)
class ImportReport:
    """What `import_annotations` read.

    Parameters
    ----------
    path
        Of the annotations written.
    format
        Name of the format that was read.
    pictures
        Number of annotated pictures, those without a particle included.
    empty
        Of these, without a particle.
    unannotated
        Pictures of the dataset of which the annotations say nothing.
    particles
        Number of particles, ignored regions included.
    ignored
        Of these, regions that are neither right nor wrong.
    classes
        Number of particles by class name and kind.
    faults
        What could not be read as it stands.
    notes
        What was read, but not as it may seem.
    """

    path: Path
    format: str
    pictures: int
    empty: int
    unannotated: tuple[str, ...]
    particles: int
    ignored: int
    classes: dict[tuple[str, str], int]
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """For printing; the first faults only."""
        out = [
            f"{self.path}: {self.particles} particles ({self.ignored} ignored) in {self.pictures} pictures, from "
            f"{format_named(self.format).title}"
        ]
        for (label, kind), n in self.classes.items():
            out.append(f"  {label}{'' if label == kind else f' (counted as {kind})'}: {n}")
        if self.empty:
            out.append(f"pictures without a particle, which count as empty: {self.empty}")
        if self.unannotated:
            out.append(f"pictures without annotations: {len(self.unannotated)}, such as {self.unannotated[0]}")
        out += self.notes
        if self.faults:
            out += [f"faults: {len(self.faults)}", *(f"  {f}" for f in self.faults[:_SHOWN])]
            if len(self.faults) > _SHOWN:
                out.append(f"  and {len(self.faults) - _SHOWN} more")
        return out


@dataclass(frozen=True)
class ExportReport:
    """What `export_annotations` wrote.

    Parameters
    ----------
    target
        Folder or file.
    format
        Name of the format.
    files
        Files written, pictures included.
    pictures
        Number of annotated pictures.
    particles
        Number of particles.
    loses
        What other programs do not get.
    gone
        What is not written at all.
    """

    target: Path
    format: str
    files: tuple[Path, ...]
    pictures: int
    particles: int
    loses: tuple[str, ...]
    gone: tuple[str, ...]

    def lines(self) -> list[str]:
        """For printing."""
        return [
            f"{self.target}: {self.particles} particles in {self.pictures} pictures, as "
            f"{format_named(self.format).title}, {len(self.files)} files",
            *(f"other programs do not get: {what}" for what in self.loses),
            *(f"not written: {what}" for what in self.gone),
        ]


def import_annotations(
    folder: str | Path,
    source: str | Path,
    *,
    format: str | None = None,
    kinds: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> ImportReport:
    """Read annotations made elsewhere for the pictures of a dataset, and write annotations.coco.json into it.

    Pictures are found by their names (`names.match_names`). What does not fit is told, never dropped in silence: a
    picture that is missing or of another size (its annotations are left out), an outline that reaches beyond the
    picture (cut off), one without area or outside (left out), a class without a name (kept).

    Parameters
    ----------
    folder
        The dataset.
    source
        File, folder, or zip file as annotation programs give it.
    format
        One of `formats.FORMATS`; None: found by the content.
    kinds
        Kind of particle (`core.KINDS`) of one's own classes, by class name; others are found by their words, and count
        as other where nothing is known. The class names themselves are kept.
    overwrite
        Replace annotations that are there.

    Raises
    ------
    ReadError
        When the folder is no dataset, the source cannot be read, names are ambiguous, or no picture fits.
    InputError
        When there is no such format or kind.
    WriteError
        When there are annotations already, or they cannot be written.
    """
    root, origin = Path(folder), Path(source)
    manifest = read_manifest(root)
    check_kinds(kinds or {})
    path = root / ANNOTATIONS
    there = [p for p in (path, root / (manifest.annotations or ANNOTATIONS)) if p.exists()]
    if there and not overwrite:
        raise WriteError(f"expected a dataset without annotations, got {there[0]}; move it, or ask to overwrite it")
    pictures = [p.relative_to(root).as_posix() for p in picture_files(root / manifest.pictures)]
    into = Collector(root, pictures, prefix=manifest.pictures, kinds=kinds or {})
    with unpacked(origin) as found:
        chosen = format_named(detect(found) if format is None else format)
        chosen.read(found, into)
    items = into.annotated()
    if not items:
        first = "; ".join(str(f) for f in into.faults[:3]) or "there is no annotation in it"
        raise ReadError(f"expected annotations of pictures of {root} in {origin}, got none that fit: {first}")
    for _, content in coco.write(items, classes=manifest.classes):
        write_bytes(path, content)
    _name_annotations(root, manifest)
    return ImportReport(
        path,
        chosen.name,
        len(items),
        sum(not len(item.instances) for item in items),
        tuple(sorted(set(pictures) - {item.file_name for item in items})),
        sum(len(item.instances) for item in items),
        sum(int(item.ignore.sum()) for item in items),
        _classes(items),
        tuple(into.faults),
        tuple(into.notes()),
    )


def _classes(items: list[Annotated]) -> dict[tuple[str, str], int]:
    counts = Counter(
        (label, KINDS[kind]) for item in items for label, kind in zip(item.labels, item.instances.kind, strict=True)
    )
    return dict(sorted(counts.items()))


def _name_annotations(root: Path, manifest: Manifest) -> None:
    """Name the annotations in dataset.toml, whose comments stay."""
    if manifest.annotations == ANNOTATIONS:
        return
    text = (root / MANIFEST).read_text(encoding="utf-8")
    line = f'annotations = "{ANNOTATIONS}"'
    changed, n = re.subn(r"(?m)^annotations[ \t]*=.*$", line, text)
    changed = changed if n else line + "\n" + text
    wanted = manifest.model_copy(update={"annotations": ANNOTATIONS})
    try:
        same = Manifest.model_validate(tomllib.loads(changed)) == wanted
    except ValueError:
        same = False
    if same:
        write_text(root / MANIFEST, changed)
    else:
        write_manifest(root, wanted)


def export_annotations(
    folder: str | Path,
    target: str | Path,
    *,
    format: str,
    copy_pictures: bool = False,
    overwrite: bool = False,
) -> ExportReport:
    """Write the annotations of a dataset in a format for other programs.

    `import_annotations` gets every mask back pixel for pixel, from every format.

    Parameters
    ----------
    folder
        The dataset.
    target
        A folder; for a format of one file also the file.
    format
        One of `formats.FORMATS`.
    copy_pictures
        Put the annotated pictures into images/ of the target too: programs that train look for them there.
    overwrite
        Replace files that are there.

    Raises
    ------
    ReadError
        When the folder is no dataset, or its annotations cannot be read.
    InputError
        When there is no such format, the dataset has no annotations, or label pictures would lie among the pictures.
    WriteError
        When files are there already, or cannot be written.
    """
    chosen = format_named(format)
    dataset = open_dataset(folder)
    truth = dataset.truth()
    if not truth:
        raise InputError(f"expected a dataset with annotations, got {folder}, which has none; import some first")
    prefix = "" if dataset.manifest.pictures in ("", ".") else dataset.manifest.pictures + "/"
    named = {file.removeprefix(prefix): (file, item) for file, item in truth.items()}
    items = [
        Annotated(name, item.instances, item.ids, item.ignore, item.labels, item.attributes)
        for name, (_, item) in named.items()
    ]
    out = Path(target)
    contents = _contents(chosen, items, dataset, prefix)
    single = len(contents) == 1 and out.suffix.lower() == Path(next(iter(contents))).suffix
    paths = {out if single else out / name: content for name, content in contents.items()}
    place = out.parent if single else out
    copies = {}
    if copy_pictures:
        copies = {place / "images" / name: dataset.root / file for name, (file, _) in named.items()}
        copies = {to: of for to, of in copies.items() if to.resolve() != of.resolve()}
    among = place.resolve().is_relative_to((dataset.root / prefix).resolve())
    if among and (copies or chosen.name == "labels"):
        raise InputError(
            f"expected a target outside the folder of the pictures, got {target}; what is written would count as "
            "pictures of the dataset"
        )
    there = [p for p in [*paths, *copies] if p.exists()]
    if there and not overwrite:
        raise WriteError(f"expected a free place, got {there[0]}; choose another target, or ask to overwrite it")
    for path, content in paths.items():
        write_bytes(path, content)
    for to, of in copies.items():
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(of, to)
    return ExportReport(
        out,
        chosen.name,
        (*paths, *copies),
        len(items),
        sum(len(item.instances) for item in items),
        chosen.loses,
        chosen.gone,
    )


def _contents(chosen: Format, items: list[Annotated], dataset: Dataset, prefix: str) -> dict[str, bytes]:
    classes = dataset.manifest.classes
    if chosen.name != "yolo" or "split" not in dataset.frames:
        return dict(chosen.write(items, classes=classes))
    table = dataset.frames.dropna(subset="split")
    splits = {
        str(file).removeprefix(prefix): {"training": "train", "validation": "val"}.get(str(split), str(split))
        for file, split in zip(table["file"], table["split"], strict=True)
    }
    return dict(chosen.write(items, classes=classes, splits=splits))
