"""Checks of what is said of the pictures: table, scale, instrument, licence, sizes, card."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from crystalscope.datasets.dataset import Dataset
from crystalscope.datasets.findings import Finding
from crystalscope.io.manifest import Manifest

_SAME = 0.001
"""Relative difference up to which two stated scales are one."""
_SAME_TAG = 0.01
"""The same for a scale in the tags of a TIFF, where it stands as a fraction of whole numbers."""

CARD_FIELDS: dict[str, str] = {
    "title": "title",
    "description": "description",
    "version": "version",
    "doi": "DOI",
    "citation": "how to cite it",
    "creators": "who made it",
    "published": "date of publication",
    "solids_loading": "solids loading",
    "annotated_by": "who annotated",
    "annotation_rules": "rules of annotation",
    "limits": "known limits",
}
"""Fields of the manifest that a card should have, beside licence, instrument and scale."""


def scales_of(frames: pd.DataFrame, default: float | None) -> dict[str, float]:
    """Scale in um per px by picture, of those that have one above 0.

    Parameters
    ----------
    frames
        Columns file and, where known, pixel_size_um.
    default
        Scale of the pictures without one of their own.
    """
    own = _numbers(frames, "pixel_size_um").fillna(np.nan if default is None else default)
    return {f: float(v) for f, v in zip(frames["file"].astype(str), own, strict=True) if v > 0 and np.isfinite(v)}


def instruments_of(frames: pd.DataFrame, default: str) -> pd.Series:
    """Instrument by row of `frames`; empty where none is stated."""
    if "instrument" not in frames:
        return pd.Series(default, index=frames.index, dtype=object)
    named = frames["instrument"]
    return named.astype(object).where(named.notna(), default).astype(str)


def _numbers(frames: pd.DataFrame, column: str) -> pd.Series:
    if column not in frames:
        return pd.Series(np.nan, index=frames.index)
    return pd.to_numeric(frames[column], errors="coerce")


def check_table(table: pd.DataFrame | None, dataset: Dataset) -> Iterator[Finding]:
    """Rows of the table of pictures against the pictures.

    Parameters
    ----------
    table
        The table as it stands on disk; None: the dataset has none.
    dataset
        The dataset.
    """
    if table is None:
        return
    where = dataset.manifest.frames
    files = dataset.frames["file"].astype(str).tolist()
    names = named_in(table, files, dataset.manifest)
    known = set(files)
    for name, times in names.value_counts().sort_index().items():
        if name not in known:
            yield Finding("row_without_picture", f"expected a picture {name} as {where} says, got none", str(name))
        if times > 1:
            message = f"expected one row of {name} in {where}, got {times}; the first is taken"
            yield Finding("doubled_row", message, str(name), value=float(times))
    for name in sorted(known - set(names)):
        yield Finding("picture_without_row", f"expected a row of {name} in {where}, got none", name)


def named_in(table: pd.DataFrame, files: Sequence[str], manifest: Manifest) -> pd.Series:
    """Names in a table of pictures as paths relative to the dataset."""
    known = set(files)
    prefix = "" if manifest.pictures in ("", ".") else manifest.pictures + "/"
    names = table["file"].astype(str).str.replace("\\", "/", regex=False)
    return pd.Series([n if n in known else prefix + n for n in names], index=table.index)


def check_scale(dataset: Dataset, tags: Mapping[str, float]) -> Iterator[Finding]:
    """Scales: there, above 0, and the same wherever one is stated.

    Parameters
    ----------
    dataset
        The dataset.
    tags
        Scale in um per px by picture, from the tags of TIFF files.
    """
    frames, stated = dataset.frames, dataset.manifest.pixel_size_um
    scales = scales_of(frames, stated)
    files = frames["file"].astype(str)
    own = _numbers(frames, "pixel_size_um")
    faulty = set()
    for file, value, text in zip(files, own, frames.get("pixel_size_um", own), strict=True):
        if pd.notna(text) and not value > 0:
            faulty.add(file)
            yield Finding("scale_conflict", f"expected a scale above 0 um per px of {file}, got {text}", file)
    missing = [f for f in files if f not in scales and f not in faulty]
    if missing:
        yield Finding(
            "scale_missing",
            f"expected um per px of every picture, got none for {len(missing):,} of {len(files):,}; give pixel_size_um "
            "in dataset.toml or in the table of pictures, else every length is in px",
            missing[0],
            value=float(len(missing)),
        )
    if stated is not None:
        yield from _conflicts(
            {f: float(v) for f, v in zip(files, own, strict=True) if v > 0},
            dict.fromkeys(files, stated),
            what="the table of pictures",
            against="dataset.toml",
            tolerance=_SAME,
        )
    yield from _conflicts(tags, scales, what="the tags", against="the dataset", tolerance=_SAME_TAG)
    keys = _together(frames, dataset.manifest.instrument)
    for key, group in pd.DataFrame({"key": keys, "file": files, "scale": files.map(scales)}).dropna().groupby("key"):
        first = group.iloc[0]
        other = group[(group["scale"] / first["scale"] - 1).abs() > _SAME]
        if len(other):
            odd, usual = (other, group) if 2 * len(other) <= len(group) else (group.drop(other.index), other)
            yield Finding(
                "scale_conflict",
                f"expected one scale of {key}, got {odd['scale'].iloc[0]:g} um per px in {len(odd):,} and "
                f"{usual['scale'].mode().iloc[0]:g} in most others; a second magnification is a second instrument",
                str(odd["file"].iloc[0]),
                value=float(odd["scale"].iloc[0]),
            )


def _conflicts(
    values: Mapping[str, float], stated: Mapping[str, float], *, what: str, against: str, tolerance: float
) -> Iterator[Finding]:
    """One finding for every pair of contradicting scales."""
    pairs: dict[tuple[float, float], list[str]] = {}
    for file, value in values.items():
        if file in stated and abs(value / stated[file] - 1) > tolerance:
            pairs.setdefault((round(value, 9), stated[file]), []).append(file)
    for (value, other), files in pairs.items():
        yield Finding(
            "scale_conflict",
            f"expected {other:g} um per px as {against} says, got {value:g} in {what} of {len(files):,} pictures",
            files[0],
            value=value,
        )


def _together(frames: pd.DataFrame, instrument: str) -> pd.Series:
    """What has one scale: an instrument, within an experiment where those are known."""
    named = instruments_of(frames, instrument)
    keys = named.where(named != "", "the pictures")
    if "experiment" in frames:
        keys = keys + " in experiment " + frames["experiment"].astype(str)
    return keys


def check_instrument(dataset: Dataset) -> Iterator[Finding]:
    """Instrument: there, spelled one way, and not another in dataset.toml than in the table."""
    frames, stated = dataset.frames, dataset.manifest.instrument
    named = instruments_of(frames, stated)
    files = frames["file"].astype(str)
    missing = files[(named == "").to_numpy()].tolist()
    if missing:
        yield Finding(
            "instrument_missing",
            f"expected the instrument of every picture, got none for {len(missing):,} of {len(files):,}; give it in "
            "dataset.toml or in the table of pictures",
            missing[0],
            value=float(len(missing)),
        )
    spelled: dict[str, list[str]] = {}
    for name in sorted(set(named) - {""}):
        spelled.setdefault(_plain(name), []).append(name)
    for names in spelled.values():
        if len(names) > 1:
            first = files[(named == names[1]).to_numpy()].iloc[0]
            yield Finding("instrument_conflict", f"expected one spelling, got {', '.join(map(repr, names))}", first)
    if stated and "instrument" in frames:
        for name in sorted(set(named) - {""}):
            if _plain(name) not in _plain(stated) and _plain(stated) not in _plain(name):
                first = files[(named == name).to_numpy()].iloc[0]
                message = f"expected an instrument that dataset.toml names ({stated}), got {name}"
                yield Finding("instrument_conflict", message, first)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def check_card(dataset: Dataset, *, particles: bool) -> Iterator[Finding]:
    """Licence, table of sizes, and the other fields of a card.

    Parameters
    ----------
    dataset
        The dataset.
    particles
        Whether anything is annotated that has a size; else a table of sizes may be empty.
    """
    manifest = dataset.manifest
    if not manifest.licence.strip():
        message = "expected a licence in dataset.toml, got none; without one nobody may use the pictures"
        yield Finding("licence_missing", message, "dataset.toml")
    if not dataset.sizes and not dataset.chords and not manifest.sizes:
        yield Finding(
            "sizes_missing",
            "expected a size distribution measured by other means, got none; name its table in dataset.toml (sizes)",
            "dataset.toml",
        )
    for name, table in dataset.sizes.items():
        fault = size_fault(table)
        if fault and (particles or len(table)):
            yield Finding("sizes_faulty", f"expected a size distribution in {name}, got {fault}", name)
    absent = [label for field, label in CARD_FIELDS.items() if not getattr(manifest, field)]
    if absent:
        yield Finding(
            "card_field", f"dataset.toml does not say: {', '.join(absent)}", "dataset.toml", value=len(absent)
        )


def size_fault(table: pd.DataFrame) -> str:
    """What is wrong with a size distribution; empty: nothing.

    Parameters
    ----------
    table
        A column of sizes (its name begins with ``size`` or holds ``_um``), and any of Q0, Q3 (cumulative), q0, q3,
        count.
    """
    sized = [c for c in table.columns if str(c).lower().startswith("size") or "_um" in str(c).lower()]
    if not sized:
        return f"no column of sizes among {', '.join(map(str, table.columns)) or 'none'}"
    size: Any = pd.to_numeric(table[sized[0]], errors="coerce").to_numpy(dtype=float)
    if not len(size):
        return "no row"
    if not np.isfinite(size).all() or (size < 0).any():
        return f"sizes in {sized[0]} that are no numbers or below 0"
    if (np.diff(size) < 0).any():
        return f"sizes in {sized[0]} that go back"
    for name in (c for c in table.columns if c in ("Q0", "Q3")):
        share: Any = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float)
        if (np.diff(share[np.isfinite(share)]) < -1e-9).any():
            return f"a cumulative {name} that falls"
    for name in (c for c in table.columns if c in ("q0", "q3", "count")):
        if (pd.to_numeric(table[name], errors="coerce") < 0).any():
            return f"values of {name} below 0"
    return ""
