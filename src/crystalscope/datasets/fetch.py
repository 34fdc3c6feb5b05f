"""Downloads of the OpenCrystalData sets; nothing that is there is touched."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path
from typing import Any

from crystalscope.datasets.catalogue import Entry, entry_named
from crystalscope.datasets.dataset import Dataset
from crystalscope.datasets.loaders import open_known
from crystalscope.errors import InputError, MissingExtraError, ReadError, WriteError


def get_dataset(
    name: str, *, handle: str | None = None, version: int | None = None, out: str | Path | None = None
) -> Dataset:
    """Download a set from Kaggle and open it.

    Parameters
    ----------
    name
        cephalexin-impurity, agcrystal, polystyrene, vansil-glutamic.
    handle
        OWNER/NAME on Kaggle, where the set has moved; None: that of the catalogue.
    version
        Version on Kaggle, from 1; None: that of the catalogue, or the newest.
    out
        Folder to put the set into; None: the cache of kagglehub, where a broken download goes on next time. Where the
        folder holds files already, nothing is downloaded and they are opened. A download into a folder of one's own
        begins anew after a break; it is unpacked beside it under a name that ends in ``.part``.

    Returns
    -------
    Dataset, see `open_known`; its notes also tell where it came from and how its counts differ from the published ones.

    Raises
    ------
    InputError
        When there is no set of that name, or `handle` or `version` is none.
    MissingExtraError
        When kagglehub is not installed.
    ReadError
        When the download fails, or what came does not hold the set.
    WriteError
        When `out` cannot be written.
    """
    entry = entry_named(name)
    source = entry.handle if handle is None else handle
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise InputError(f"expected a handle OWNER/NAME, got {source!r}; take it from the address of the page")
    number = entry.version if version is None else version
    if number is not None and number < 1:
        raise InputError(f"expected a version from 1, got {number}; leave it out for the newest")
    folder = None if out is None else Path(out)
    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        there = open_known(name, folder)
        note = f"found files in {folder}: nothing was downloaded; give another folder to download the set anew"
        return dataclasses.replace(there, notes=(note, *there.notes))
    kagglehub = _kagglehub(entry)
    versioned = source if number is None else f"{source}/versions/{number}"
    place = _download(kagglehub, entry, versioned, folder)
    found = open_known(name, place)
    taken = re.search(r"versions[/\\](\d+)", str(place))
    told = str(number) if number is not None else taken.group(1) if taken else ""
    manifest = found.manifest.model_copy(update={"version": told, "url": f"https://www.kaggle.com/datasets/{source}"})
    note = f"found {source}, {f'version {told}' if told else 'the newest version'}, downloaded to {place}"
    return dataclasses.replace(found, manifest=manifest, notes=(note, *found.notes))


def _kagglehub(entry: Entry) -> Any:
    try:
        return importlib.import_module("kagglehub")
    except ImportError as e:
        raise MissingExtraError(
            f"expected kagglehub for a download, it is not installed; run `pip install 'crystalscope[cards]'`, or "
            f"{_by_hand(entry)}"
        ) from e


def _by_hand(entry: Entry) -> str:
    return (
        f"download the set by hand from {entry.url}, unpack it, and open it with `crystalscope dataset open "
        f"{entry.name} PATH`"
    )


def _download(kagglehub: Any, entry: Entry, versioned: str, folder: Path | None) -> Path:
    options: dict[str, Any] = {}
    part = None
    if folder is not None:
        # Beside its place, so that the folder is there only when the set is whole.
        part = folder.with_name(folder.name + ".part")
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise WriteError(f"expected to write {folder}, got: {e.strerror}; choose another folder") from e
        options = {"output_dir": str(part), "force_download": part.exists()}
    try:
        place = Path(kagglehub.dataset_download(versioned, **options))
    except Exception as e:  # no network, no such set, no rights, a damaged archive: each has its own family there
        raise ReadError(
            f"expected to download {versioned} ({entry.size_gb:g} GB), got {type(e).__name__}: {e}; check the network "
            f"and the handle and version, or {_by_hand(entry)}"
        ) from e
    if not place.is_dir():
        raise ReadError(f"expected kagglehub to give the folder of {versioned}, got {place}; {_by_hand(entry)}")
    if folder is None or part is None:
        return place
    try:
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    except OSError as e:
        raise WriteError(f"expected to move {part} to {folder}, got: {e.strerror}; move it by hand") from e
    return folder
