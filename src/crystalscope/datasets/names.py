"""Which picture of a dataset a name in somebody's annotations means."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from crystalscope.errors import ReadError

_TAIL = re.compile(r"[_\-. ](masks?|labels?|lbl|seg|instances?|cp_masks|rois?|roi_?set|annotations?)$", re.IGNORECASE)
"""What annotation programs append to the name of a picture."""

Rank = tuple[bool, int, float]
"""How well a name fits: all folders alike, number of folders alike from the end, likeness of the name itself."""


def match_names(
    names: Sequence[str], pictures: Sequence[str], *, prefix: str = "", stems: bool = False
) -> dict[str, str]:
    """Find the picture of every name.

    A name fits a picture of the same base name, or of the same one with another suffix, upper and lower case alike. Of
    several, the one with the same folders counts, then the one with more folders alike from the end, then the one with
    the more similar base name.

    Parameters
    ----------
    names
        Paths as they stand in annotations, with any slashes; no name twice.
    pictures
        Paths of the pictures, relative to the dataset.
    prefix
        Folder of the pictures: their paths count with and without it.
    stems
        The names are those of annotation files, such as ``a.txt``, ``a.png.tif`` or ``a_mask.png`` for ``a.png``.

    Returns
    -------
    Picture by name; names that fit none are left out.

    Raises
    ------
    ReadError
        When a name fits several pictures equally well, or several names fit one.
    """
    index: dict[str, set[str]] = defaultdict(set)
    for picture in pictures:
        path = PurePosixPath(picture)
        index[path.name.casefold()].add(picture)
        index[path.stem.casefold()].add(picture)
    best: dict[str, tuple[Rank, str]] = {}
    faults = []
    for name in names:
        ranked = sorted(
            ((rank, picture) for picture, rank in _candidates(name, index, prefix, stems).items()), reverse=True
        )
        top = [picture for rank, picture in ranked if rank == ranked[0][0]]
        if len(top) > 1:
            faults.append(f"{name}, which fits {' and '.join(sorted(top)[:3])}")
        elif top:
            best[name] = ranked[0]
    claims: dict[str, list[str]] = defaultdict(list)
    for name, (_, picture) in best.items():
        claims[picture].append(name)
    for picture, claimants in claims.items():
        highest = max(best[n][0] for n in claimants)
        winners = [n for n in claimants if best[n][0] == highest]
        if len(winners) > 1:
            faults.append(f"{' and '.join(winners[:3])}, which fit {picture}")
        for loser in set(claimants) - set(winners):
            del best[loser]
    if faults:
        raise ReadError(
            f"expected names that fit one picture each, got {'; '.join(faults[:5])}; give them with their folders"
        )
    return {name: picture for name, (_, picture) in best.items()}


def _candidates(name: str, index: dict[str, set[str]], prefix: str, stems: bool) -> dict[str, Rank]:
    """How well a name fits each picture that it may mean."""
    path = PurePosixPath(name.replace("\\", "/"))
    parents = tuple(p for p in path.parts[:-1] if p not in ("/", "."))
    # Without stems the suffix may differ; with them it is that of the annotation file.
    spellings = [(path.name, 0.0)]
    if stems:
        spellings = [(path.stem, 0.0)]
        if _TAIL.search(path.stem):
            spellings.append((_TAIL.sub("", path.stem), 0.5))
    out: dict[str, Rank] = {}
    for spelling, malus in spellings:
        stem = spelling if stems else PurePosixPath(spelling).stem
        for picture in index.get(spelling.casefold(), set()) | index.get(stem.casefold(), set()):
            likeness = _likeness(spelling, stem, PurePosixPath(picture)) - malus
            if likeness <= 0:
                continue
            rank = max((*_folders(parents, form), likeness) for form in _forms(picture, prefix))
            out[picture] = max(rank, out.get(picture, rank))
    return out


def _forms(picture: str, prefix: str) -> set[tuple[str, ...]]:
    """Folders of a picture, from the dataset and from the folder of the pictures."""
    forms = {picture}
    if prefix not in ("", "."):
        forms.add(picture.removeprefix(prefix.rstrip("/") + "/"))
    return {PurePosixPath(f).parts[:-1] for f in forms}


def _folders(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[bool, int]:
    alike = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a.casefold() != b.casefold():
            break
        alike += 1
    return one == other, alike


def _likeness(spelling: str, stem: str, picture: PurePosixPath) -> float:
    if spelling == picture.name:
        return 4
    if spelling.casefold() == picture.name.casefold():
        return 3
    if picture.stem in (stem, spelling):
        return 2
    return 1 if picture.stem.casefold() in (stem.casefold(), spelling.casefold()) else 0
