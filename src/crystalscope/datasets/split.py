"""Splits by experiment, batch or frame, never by crop; leaks are refused."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.datasets.checks_pictures import Progress, copies_among, frame_keys, keys_of, look_at_all
from crystalscope.datasets.dataset import Dataset
from crystalscope.datasets.duplicates import Copy
from crystalscope.errors import InputError
from crystalscope.io.tables import write_csv

By = Literal["experiment", "batch", "frame"]
Array = NDArray[np.float64]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Which picture stands in which split.

    Parameters
    ----------
    table
        Columns file and split, in order of the pictures of the dataset.
    groups
        One row per group that was kept together: group, split, pictures, and one column per stratum.
    merged
        Sentences: which groups were joined because they share copies.
    """

    table: pd.DataFrame
    groups: pd.DataFrame
    merged: tuple[str, ...] = ()

    @property
    def counts(self) -> pd.DataFrame:
        """By split: groups, pictures, share of the pictures, pictures per stratum."""
        out = self.groups.drop(columns="group").groupby("split", sort=False).sum()
        out.insert(0, "groups", self.groups.groupby("split").size())
        out.insert(2, "share", out["pictures"] / out["pictures"].sum())
        return out.reindex([s for s in SPLITS if s in out.index] + [s for s in out.index if s not in SPLITS])

    def __str__(self) -> str:
        """The split as a terminal shows it."""
        lines = [self.counts.to_string(float_format=lambda v: f"{v:.3f}")]
        return "\n".join([*lines, *self.merged])

    def write(self, folder: str | Path) -> Path:
        """Write FOLDER/splits.csv; raises WriteError."""
        return write_csv(Path(folder) / "splits.csv", self.table)


def split_dataset(
    dataset: Dataset,
    *,
    by: By = "experiment",
    shares: Sequence[float] = (0.7, 0.15, 0.15),
    stratify: str | None = None,
    seed: int = 0,
    pattern: str | None = None,
    copies: Sequence[Copy] | None = None,
    progress: Progress | None = None,
) -> Split:
    """Divide the pictures of a dataset, keeping together what belongs together.

    Parameters
    ----------
    dataset
        The dataset. A split that its table of pictures has already is left aside.
    by
        What is kept together: an experiment, a batch, or a frame with all pictures cut from it.
    shares
        Of the pictures: train, validation and test, or train and test; above 0, with a sum of 1.
    stratify
        Column of the table of pictures whose values are to have these shares too, as nearly as groups allow.
    seed
        The same seed gives the same split, whatever the order of the pictures.
    pattern
        Regular expression, searched in the names of the files, whose only group (or the one named as `by`) tells the
        group of a picture. None: the columns of the table of pictures tell it, and nothing is guessed.
    copies
        Copies among the pictures, from a `Review` of the same dataset; None: they are looked for.
    progress
        As in `review_dataset`.

    Returns
    -------
    Split. Groups that share copies of one picture are joined into one, which `merged` tells.

    Raises
    ------
    InputError
        When the column that tells the groups or the strata is missing or has gaps, a pattern does not fit, shares are
        no shares, or there are too few groups.

    Notes
    -----
    Groups are taken from the largest to the smallest, equal ones in random order, and each goes where the sum over
    splits and strata of (n - wanted)² / wanted becomes least; then groups move as long as that makes the sum less. A
    split without pictures, or without pictures of one stratum, counts as worse than any deviation. With few groups the
    shares are met as nearly as whole groups allow.
    """
    names = _names(shares)
    frames = dataset.frames
    keys = group_keys(frames, by=by, pattern=pattern)
    strata = _strata(frames, stratify)
    found = _copies(dataset, progress) if copies is None else copies
    keys, merged = _merge(frames, keys, found, by=by)
    counts = pd.crosstab(keys, strata).sort_index()
    if len(counts) < len(names):
        raise InputError(
            f"expected at least {len(names)} groups by {by} for {', '.join(names)}, got {len(counts)}; take fewer "
            "shares, or a finer group"
        )
    if stratify is not None:
        present = (counts > 0).sum()
        rare = present[present < len(names)]
        if len(rare):
            raise InputError(
                f"expected every {stratify} in at least {len(names)} groups by {by}, got {rare.index[0]} in "
                f"{rare.iloc[0]}; leave stratify out, take fewer shares, or a finer group"
            )
    place = _assign(counts.to_numpy(dtype=float), np.array(shares, dtype=float), np.random.default_rng(seed))
    split = pd.Series([names[p] for p in place], index=counts.index)
    groups = pd.DataFrame({"group": counts.index, "split": split.to_numpy(), "pictures": counts.sum(axis=1).to_numpy()})
    if stratify is not None:
        groups = groups.join(counts.reset_index(drop=True).rename(columns=lambda v: f"{stratify} {v}"))
    table = pd.DataFrame({"file": frames["file"].astype(str), "split": keys.map(split)})
    return Split(table.reset_index(drop=True), groups, merged)


def check_split(
    dataset: Dataset,
    splits: pd.DataFrame | None = None,
    *,
    by: By = "frame",
    pattern: str | None = None,
    copies: Sequence[Copy] | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Refuse a split that leaks.

    Parameters
    ----------
    dataset
        The dataset.
    splits
        Columns file and split; None: the column split of the table of pictures.
    by, pattern, copies, progress
        As in `split_dataset`; a frame needs no column, pictures without one are frames of their own.

    Returns
    -------
    Columns file and split, in order of the pictures of the dataset.

    Raises
    ------
    InputError
        When a group or copies of one picture stand in two splits (the pair is named), a picture has no split or two,
        or there is no such picture.
    """
    files = dataset.frames["file"].astype(str)
    split = _given(dataset, splits)
    if by == "frame" and pattern is None and "frame" not in dataset.frames:
        keys = files
    else:
        keys = group_keys(dataset.frames, by=by, pattern=pattern)
    seen: dict[Any, str] = {}
    for file, key in zip(files, keys, strict=True):
        other = seen.setdefault(key, file)
        if split[other] != split[file]:
            raise InputError(
                f"expected {by} {key} in one split, got {other} in {split[other]} and {file} in {split[file]}; split "
                f"by {by}"
            )
    for c in _copies(dataset, progress) if copies is None else copies:
        a, b = files.iloc[c.first], files.iloc[c.other]
        if split[a] != split[b]:
            raise InputError(
                f"expected copies of one picture in one split, got {a} in {split[a]} and {b} in {split[b]}; remove one "
                "or split anew"
            )
    return pd.DataFrame({"file": files, "split": files.map(split)}).reset_index(drop=True)


def _given(dataset: Dataset, splits: pd.DataFrame | None) -> dict[str, str]:
    """Split by file, checked to name every picture once."""
    table = dataset.frames if splits is None else splits
    where = "the table of pictures" if splits is None else "the split"
    if "split" not in table or "file" not in table:
        raise InputError(f"expected columns file and split in {where}, got {', '.join(map(str, table.columns))}")
    files = dataset.frames["file"].astype(str)
    prefix = "" if dataset.manifest.pictures in ("", ".") else dataset.manifest.pictures + "/"
    known = set(files)
    names = [n if n in known else prefix + n for n in table["file"].astype(str)]
    out: dict[str, str] = {}
    for name, split in zip(names, table["split"], strict=True):
        if name not in known:
            raise InputError(f"expected pictures of the dataset in {where}, got {name}; is it of another dataset?")
        if name in out:
            raise InputError(f"expected every picture once in {where}, got {name} twice")
        if pd.notna(split) and str(split):
            out[name] = str(split)
    without = [f for f in files if f not in out]
    if without:
        raise InputError(f"expected a split of every picture, got none of {without[0]} and {len(without) - 1:,} more")
    return out


def _names(shares: Sequence[float]) -> tuple[str, ...]:
    if len(shares) not in (2, 3) or min(shares) <= 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise InputError(
            f"expected two or three shares above 0 with a sum of 1, got {', '.join(f'{s:g}' for s in shares)}; such as "
            "0.7, 0.15, 0.15"
        )
    return SPLITS if len(shares) == 3 else ("train", "test")


def group_keys(frames: pd.DataFrame, *, by: By, pattern: str | None = None) -> pd.Series:
    """What is kept together, by row of the table of pictures, as text.

    Parameters
    ----------
    frames
        The table of pictures.
    by, pattern
        As in `split_dataset`.

    Raises
    ------
    InputError
        When a group is not known.
    """
    files = frames["file"].astype(str)
    if pattern is not None:
        return pd.Series(_by_pattern(files, pattern, by), index=frames.index)
    if by not in frames:
        raise InputError(
            f"expected a column {by} in the table of pictures, got {', '.join(map(str, frames.columns))}; add it "
            f"(which {by} each picture is of), or give a pattern that finds it in the names of the files"
        )
    gaps = files[frames[by].isna().to_numpy()]
    if len(gaps):
        raise InputError(f"expected the {by} of every picture, got none of {gaps.iloc[0]} and {len(gaps) - 1:,} more")
    if by == "frame":
        keys = frame_keys(frames)
    else:
        levels = [c for c in ("experiment", "batch") if c in frames][: 1 if by == "experiment" else None]
        keys = keys_of(frames, levels)
    return keys.map(lambda k: " / ".join(str(part) for part in k if str(part)))


def _by_pattern(files: pd.Series, pattern: str, by: str) -> list[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as e:
        raise InputError(f"expected a regular expression, got {pattern!r}: {e}") from e
    group: str | int = by if by in compiled.groupindex else 1
    if not compiled.groups or (compiled.groups > 1 and group == 1):
        raise InputError(
            f"expected one group, or one named {by} ((?P<{by}>...)), in the pattern, got {pattern!r}; put brackets "
            f"round what tells the {by}"
        )
    out = []
    for file in files:
        found = compiled.search(file)
        if found is None or not found.group(group):
            raise InputError(f"expected {pattern!r} to fit every file, got {file}, in which it finds no {by}")
        out.append(str(found.group(group)))
    return out


def _strata(frames: pd.DataFrame, column: str | None) -> pd.Series:
    if column is None:
        return pd.Series("all", index=frames.index)
    if column not in frames:
        raise InputError(
            f"expected a column {column} in the table of pictures to stratify by, got "
            f"{', '.join(map(str, frames.columns))}"
        )
    if frames[column].isna().any():
        raise InputError(f"expected {column} of every picture, got gaps; fill them, or leave stratify out")
    return frames[column].astype(str)


def _copies(dataset: Dataset, progress: Progress | None) -> list[Copy]:
    seen = look_at_all(dataset.root, dataset.frames["file"].astype(str).tolist(), progress)
    return copies_among(dataset.root, seen, progress)


def _merge(
    frames: pd.DataFrame, keys: pd.Series, copies: Sequence[Copy], *, by: str
) -> tuple[pd.Series, tuple[str, ...]]:
    """Groups that share copies, or pictures of one frame, joined under the first of their names."""
    files = frames["file"].astype(str).tolist()
    values: list[str] = keys.tolist()
    links = [(c.first, c.other, "are copies of one another") for c in copies]
    first_of: dict[Hashable, int] = {}
    for i, frame in enumerate(frame_keys(frames)):
        if isinstance(frame, tuple):
            j = first_of.setdefault(frame, i)
            links.append((j, i, "are of one frame"))
    root = {v: v for v in values}

    def top(v: str) -> str:
        while root[v] != v:
            v = root[v]
        return v

    told = []
    for i, j, why in links:
        a, b = sorted((top(values[i]), top(values[j])))
        if a != b:
            root[b] = a
            told.append(f"{by} {b} joined to {a}: {files[i]} and {files[j]} {why}")
    return keys.map(top), tuple(told)


def _assign(counts: Array, shares: Array, rng: np.random.Generator) -> list[int]:
    """Split by group; `counts` is (groups, strata), `shares` (splits,)."""
    wanted = shares[:, None] * counts.sum(axis=0)[None, :]

    def cost(have: Array) -> float:
        # A split without a stratum costs more than any deviation.
        return float(((have - wanted) ** 2 / wanted).sum() + 1e6 * (have == 0).sum())

    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    have = np.zeros_like(wanted)
    place = np.full(len(counts), -1)
    better = True
    while better:
        better = False
        for g in order:
            # The first round places the groups, the others move those that fit elsewhere better.
            if place[g] >= 0:
                have[place[g]] -= counts[g]
            trials = have + np.eye(len(shares))[:, :, None] * counts[g]
            costs = [cost(t) for t in trials]
            best = int(np.argmin(costs))
            if place[g] < 0 or costs[best] < costs[place[g]] - 1e-9:
                place[g] = best
                better = True
            have[place[g]] += counts[g]
    return [int(p) for p in place]
