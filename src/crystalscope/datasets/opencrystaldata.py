"""Readers of the four OpenCrystalData sets: sorted files to a `Dataset`."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from crystalscope.datasets import layout
from crystalscope.datasets.dataset import Dataset
from crystalscope.datasets.folder import (
    Folder,
    experiment_of,
    find_annotations,
    find_tables,
    frames_of,
    labelled,
    listed,
    row_of,
    tell_conditions,
)

SIZES_UM = (150.0, 300.0, 400.0, 500.0)
"""Nominal sizes of the polystyrene spheres."""

LOADINGS_WT = (1.0, 2.0, 2.5, 3.3, 5.0)
"""Published for every size of them."""

_GLUTAMIC_WT = 5.0
_CROP = re.compile(r"(.*\d.*?)[_\- ]+(?:crop(?:ped)?|obj(?:ect)?|roi|particle|cut|box)[_\- ]*\d*$", re.IGNORECASE)


def cephalexin(folder: Folder) -> Dataset:
    """Raw and cropped pictures of two classes."""
    rows, differ = [], []
    for file in folder.pictures:
        path = PurePosixPath(file)
        kind, differs = layout.from_path(path, layout.class_of)
        if kind is None:
            folder.skip("neither cephalexin (cex) nor phenylglycine (pg) in its path", file)
            continue
        if differs:
            differ.append(file)
        part = layout.from_path(path, layout.part_of)[0]
        split = layout.from_folders(path, layout.split_of)
        rows.append(row_of(file, part=part, split=split, **{"class": kind, "instrument": folder.entry.instruments[0]}))
    if not rows:
        raise folder.nothing_fits()
    lost = _frames_of_crops(rows)
    frames = frames_of(rows)
    for part in ("raw", "cropped"):
        for kind in folder.entry.classes:
            folder.told(int(((frames["part"] == part) & (frames["class"] == kind)).sum()), part, of=kind)
    if no_part := frames.loc[frames["part"].isna(), "file"].tolist():
        folder.note(f"expected raw or cropped in every path, got neither for {listed(no_part)}")
    if differ:
        folder.note(f"expected file names of the class of their folder, which counts; not so: {listed(differ)}")
    if lost:
        folder.note(
            f"assumed nothing of the frames that {lost:,} crops were cut from: their names do not tell; neighbours in "
            "number are often one crystal turned, so run `crystalscope dataset review` before you split"
        )
    folder.note("rule: the class of a picture is its folder; no particle is outlined")
    folder.skip("this set has no annotations", *folder.jsons)
    sizes, chords = find_tables(folder)
    return Dataset(folder.root, folder.entry.manifest(), frames, (), sizes, chords=chords)


def _frames_of_crops(rows: list[dict[str, Any]]) -> int:
    """Give crops the frame of the raw picture whose name begins theirs, or the name before a crop number.

    Returns
    -------
    Number of crops whose names tell no frame.
    """
    raw: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["part"] == "raw":
            raw[PurePosixPath(row["file"]).stem.casefold()].append(row)
    lost = 0
    for row in rows:
        if row["part"] != "cropped":
            continue
        stem = PurePosixPath(row["file"]).stem
        row["frame"] = None
        for cut in reversed([m.start() for m in re.finditer(r"[_\-. ](?=[^_\-. ]+)", stem)]):
            if found := raw.get(stem[:cut].casefold()):
                row["frame"] = next((r for r in found if r["class"] == row["class"]), found[0])["frame"]
                break
        else:
            if match := _CROP.match(stem):
                row["frame"] = f"{row['class']}/{match.group(1)}"
        lost += row["frame"] is None
    return lost


def agcrystal(folder: Folder) -> Dataset:
    """Needles of three batches at several loadings, for calibration and validation."""
    rows, differ = [], []
    for file in folder.pictures:
        row, differs = labelled(file)
        if row["split"] is None and row["size_label"] is None and math.isnan(row["loading_wt"]):
            folder.skip("no calibration or validation, size or solids concentration in its path", file)
            continue
        if differs:
            differ.append(file)
        rows.append(row | {"batch": row["size_label"], "instrument": folder.entry.instruments[0]})
    if not rows:
        raise folder.nothing_fits()
    frames = frames_of(rows)
    for split in ("calibration", "validation"):
        folder.told(int((frames["split"] == split).sum()), split)
    tell_conditions(folder, frames, differ)
    batches = frames["batch"].dropna().nunique()
    if batches != 3:
        folder.note(f"expected three batches of different size, got {batches} named by the folders")
    folder.skip("this set has no annotations", *folder.jsons)
    sizes, chords = find_tables(folder)
    if not sizes:
        folder.note("expected a spreadsheet of offline size distributions, got none that could be read")
    folder.note("rule: the truth is the offline size distribution of the batch; no particle is outlined")
    return Dataset(folder.root, folder.entry.manifest(), frames, (), sizes, chords=chords)


def polystyrene(folder: Folder) -> Dataset:
    """Spheres of four sizes at several loadings, every one in focus outlined."""
    annotations = find_annotations(folder)
    rows, differ, bare = [], [], 0
    for file in folder.pictures:
        row, differs = labelled(file)
        size = layout.from_folders(PurePosixPath(file), _nominal_um)
        if math.isnan(row["nominal_size_um"]) and size is not None:
            bare += 1
            row |= {"nominal_size_um": size, "size_label": f"{size:g} um"}
            row["experiment"] = experiment_of(row)
        if math.isnan(row["nominal_size_um"]) and file not in annotations.pictures:
            folder.skip("no size in its path and no annotation", file)
            continue
        if differs:
            differ.append(file)
        split = row["split"] or annotations.splits.get(file)
        rows.append(row | {"batch": row["size_label"], "split": split, "instrument": folder.entry.instruments[0]})
    if not rows:
        raise folder.nothing_fits()
    frames = frames_of(rows)
    if bare:
        folder.note(f"assumed that 150, 300, 400 and 500 in the names of folders are um, for {bare:,} pictures")
    tell_conditions(folder, frames, differ)
    have = set(zip(frames["nominal_size_um"], frames["loading_wt"], strict=True))
    if lacking := [f"{s:g} um at {w:g} wt%" for s in SIZES_UM for w in LOADINGS_WT if (s, w) not in have]:
        folder.note(f"expected every size at 1, 2, 2.5, 3.3 and 5 wt%, got none of {listed(lacking)}")
    if not annotations.paths:
        folder.note("expected a COCO file with the outlines, got none that could be read")
    elif without := [f for f in frames["file"] if f not in annotations.pictures]:
        folder.note(f"expected an entry for every picture in the COCO files, got none for {listed(without)}")
    sizes, chords = find_tables(folder, published_um=SIZES_UM)
    if not sizes:
        folder.note("expected a table of the maker's size distribution, got none that could be read")
    folder.note(
        "rule: particles out of focus are not annotated, so what lies outside every outline is neither right nor wrong "
        "(ignore_unannotated): a finding there is no false positive"
    )
    folder.note("rule: particles cut by the frame are annotated: keep them for segmentation, drop them for sizes")
    first = annotations.paths[0].as_posix() if annotations.paths else ""
    manifest = folder.entry.manifest(annotations=first)
    return Dataset(
        folder.root, manifest, frames, annotations.paths, sizes, chords=chords, named=annotations.named
    )  # fmt: skip


def _nominal_um(text: str) -> float | None:
    return layout.size_um(text, published=SIZES_UM)


def vansil(folder: Folder) -> Dataset:
    """Needles and rods by two probes, with chord and size tables."""
    rows, differ, assumed = [], [], 0
    for file in folder.pictures:
        row, differs = labelled(file)
        path = PurePosixPath(file)
        probe = layout.from_path(path, layout.instrument_of)[0]
        substance = layout.from_path(path, layout.substance_of)[0]
        if probe is None and substance is None:
            folder.skip("neither probe nor material in its path", file)
            continue
        if differs:
            differ.append(file)
        if substance == "glutamic acid" and math.isnan(row["loading_wt"]):
            assumed += 1
            row["loading_wt"] = _GLUTAMIC_WT
        row |= {"instrument": probe, "substance": substance, "batch": substance}
        rows.append(row | {"experiment": experiment_of(row)})
    if not rows:
        raise folder.nothing_fits()
    frames = frames_of(rows)
    for column, values in (
        ("instrument", folder.entry.instruments),
        ("substance", ("wollastonite", "glutamic acid")),
    ):
        for value in values:
            folder.told(int((frames[column] == value).sum()), "", of=value)
    if assumed:
        folder.note(f"assumed 5 wt% for {assumed:,} pictures of glutamic acid, the only loading published")
    tell_conditions(folder, frames, differ)
    folder.skip("this set has no annotations", *folder.jsons)
    sizes, chords = find_tables(folder)
    for kind, found in (("size", sizes), ("chord length", chords)):
        if not found:
            folder.note(f"expected {kind} tables, got none that could be read")
    folder.note("rule: the truth are the size and chord tables of each suspension; no particle is outlined")
    return Dataset(folder.root, folder.entry.manifest(), frames, (), sizes, chords=chords)


READERS: Mapping[str, Callable[[Folder], Dataset]] = MappingProxyType(
    {
        "cephalexin-impurity": cephalexin,
        "agcrystal": agcrystal,
        "polystyrene": polystyrene,
        "vansil-glutamic": vansil,
    }
)
"""Reader of every set of the catalogue."""
