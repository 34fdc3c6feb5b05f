"""The OpenCrystalData sets from a folder, whatever its exact layout; told what was found, expected and skipped."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from crystalscope.core import check_pixel_size
from crystalscope.datasets.catalogue import entry_named
from crystalscope.datasets.dataset import Dataset
from crystalscope.datasets.folder import listed, scan
from crystalscope.datasets.opencrystaldata import READERS
from crystalscope.errors import InputError, ReadError
from crystalscope.io.coco import Annotated

_ORDER = ("found", "expected", "skipped", "assumed", "rule")


def open_known(name: str, path: str | Path, *, pixel_size_um: float | Mapping[str, float] | None = None) -> Dataset:
    """Open a folder that holds one of the OpenCrystalData sets.

    The names of folders and files are read generously (case, blanks, underscores, an extra folder on top, train and
    test folders, ``Raw`` or ``raw images``, ``100um_5wt%``, ``5 wt``, ``Large 2,5%``); nothing is written. Pictures are
    not decoded: a file that is empty, cut off or no picture is left out, other damage shows when it is read.

    Parameters
    ----------
    name
        Of the set: cephalexin-impurity, agcrystal, polystyrene, vansil-glutamic.
    path
        The folder, as it was downloaded.
    pixel_size_um
        Scale in um per px, of all pictures or by instrument; None: unknown, since the paper states none.

    Returns
    -------
    Dataset with the columns `folder.FRAME_COLUMNS`, the annotations, size and chord tables of the set. Its notes tell,
    each beginning with the word: what was ``found``, what was ``expected`` and is missing or differs, what was
    ``skipped`` and why, what was ``assumed``, and by which ``rule`` the truth is to be used.

    Raises
    ------
    InputError
        When there is no set of that name, a scale is not above 0, or it names an instrument that took no picture.
    ReadError
        When there is no folder, or nothing in it fits the set.
    """
    entry = entry_named(name)
    root = Path(path)
    if not root.is_dir():
        raise ReadError(f"expected the folder of {name}, got {root}, which is no folder; unpack the download first")
    folder = scan(root, entry)
    dataset = _with_scale(READERS[name](folder), pixel_size_um)
    manifest = dataset.manifest
    if folder.stand_in:
        manifest = manifest.model_copy(
            update={"title": f"{manifest.title} (rendered stand-in)", "doi": "", "citation": "", "creators": ()}
        )
    return dataclasses.replace(dataset, manifest=manifest, notes=folder.all_notes(dataset.frames))


def _with_scale(dataset: Dataset, scale: float | Mapping[str, float] | None) -> Dataset:
    if scale is None:
        return dataset
    if not isinstance(scale, Mapping):
        check_pixel_size(scale)
        return dataclasses.replace(dataset, manifest=dataset.manifest.model_copy(update={"pixel_size_um": scale}))
    for value in scale.values():
        check_pixel_size(value)
    instruments = set(dataset.frames["instrument"].dropna())
    if unknown := sorted(set(scale) - instruments):
        raise InputError(
            f"expected scales of {listed(sorted(instruments))}, got one of {listed(unknown)}; mend the name"
        )
    values = dataset.frames["instrument"].map(dict(scale)).astype(float)
    return dataclasses.replace(dataset, frames=dataset.frames.assign(pixel_size_um=values))


def dataset_report(dataset: Dataset) -> str:
    """What `dataset open` and `dataset get` print: where the set is, and its notes by their first word."""
    m = dataset.manifest
    lines = [m.title or m.name, f"folder: {dataset.root}", f"pictures: {len(dataset):,}"]
    lines += [f"{key}: {text}" for key, text in (("page", m.url), ("licence", m.licence)) if text]
    for word in _ORDER:
        if notes := [n for n in dataset.notes if n.startswith(word)]:
            lines += ["", f"{word}:", *(f"  - {n.removeprefix(word).lstrip(': ')}" for n in notes)]
    if rest := [n for n in dataset.notes if not n.startswith(_ORDER)]:
        lines += ["", *rest]
    return "\n".join(lines) + "\n"


def for_sizes(annotated: Annotated, *, margin_px: int = 2) -> Annotated:
    """The annotations that can be sized: whole particles only.

    Parameters
    ----------
    annotated
        Annotations of one picture.
    margin_px
        A particle whose box comes this near to the edge of the picture counts as cut by it, since outlines drawn by
        hand end a pixel or two before the edge. 0: only those that touch the edge.

    Returns
    -------
    Annotated without particles at the edge and without ignored regions.

    Notes
    -----
    Large particles are cut more often than small ones, so that dropping them biases sizes towards the small; the
    Miles-Lantuejoul weights of `size` correct for it.
    """
    rows, columns = annotated.instances.field.shape
    top, left, bottom, right = annotated.instances.boxes.T
    whole = (top > margin_px) & (left > margin_px) & (bottom < rows - margin_px) & (right < columns - margin_px)
    keep = np.asarray(whole & ~annotated.ignore)
    return dataclasses.replace(
        annotated,
        instances=annotated.instances.select(keep),
        ids=annotated.ids[keep],
        ignore=annotated.ignore[keep],
        labels=tuple(label for label, k in zip(annotated.labels, keep, strict=True) if k),
        attributes=tuple(a for a, k in zip(annotated.attributes, keep, strict=True) if k),
    )
