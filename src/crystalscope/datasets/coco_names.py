"""Which picture of a folder an annotation file means, where its names and the folders differ."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

from crystalscope.datasets.layout import from_path, loading_wt, size_um
from crystalscope.errors import ReadError
from crystalscope.io.coco import load_coco


def count_outlines(path: Path) -> dict[str, int] | str:
    """Look into a JSON file.

    Returns
    -------
    Number of outlines by file name (with forward slashes), in order of the file; or why it is no COCO that can be read.
    """
    try:
        file = load_coco(path)
        names = {number: str(image["file_name"]).replace("\\", "/") for number, image in file.images.items()}
        unsized = [names[n] for n, image in file.images.items() if not (image.get("height") and image.get("width"))]
    except ReadError as e:
        return str(e)
    except (KeyError, AttributeError) as e:
        return f"expected a file_name for every picture of a COCO file, got none: {e!r}"
    if unsized:
        return f"expected height and width for every picture of a COCO file, got none for {unsized[0]}; export it again"
    counts = dict.fromkeys(names.values(), 0)
    for number, name in names.items():
        counts[name] += sum(bool(entry.get("segmentation")) for entry in file.annotations[number])
    if not any(counts.values()):
        return "COCO without a single outline"
    return counts


@dataclass(frozen=True)
class Resolved:
    """Names of an annotation file and the pictures they mean.

    Parameters
    ----------
    named
        Path of the picture by the name in the annotation file.
    missing
        Names without a picture.
    ambiguous
        Names that fit several pictures.
    """

    named: dict[str, str]
    missing: tuple[str, ...]
    ambiguous: tuple[str, ...]


def resolve_names(names: Iterable[str], *, coco: str, files: Sequence[str]) -> Resolved:
    """Find the picture of every name.

    In this order: the path from the folder of the annotation file; the path from the top; a picture of the same name,
    or of the same name with another suffix, upper and lower case alike. Of several, the one whose folders agree best
    counts, then one below the folder of the annotation file. A picture in a folder of another name fits only where
    there is no folder of that name (it has been renamed), and never where size or solids loading differ. A picture that
    several names fit is given to the one whose path is exact, else to none.

    Parameters
    ----------
    names
        As in the annotation file.
    coco
        Path of the annotation file, relative to the top.
    files
        Pictures, relative to the top.
    """
    exact = {f.casefold(): f for f in files}
    folders = {p.casefold() for f in files for p in PurePosixPath(f).parts[:-1]}
    by_name: dict[str, list[str]] = defaultdict(list)
    by_stem: dict[str, list[str]] = defaultdict(list)
    for f in files:
        by_name[PurePosixPath(f).name.casefold()].append(f)
        by_stem[PurePosixPath(f).stem.casefold()].append(f)
    top = PurePosixPath(coco).parent
    named: dict[str, str] = {}
    guessed: dict[str, str] = {}
    missing: list[str] = []
    ambiguous: list[str] = []
    for name in names:
        direct = exact.get((top / name).as_posix().casefold()) or exact.get(PurePosixPath(name).as_posix().casefold())
        if direct is not None:
            named[name] = direct
            continue
        base = PurePosixPath(name)
        same = by_name.get(base.name.casefold()) or by_stem.get(base.stem.casefold()) or []
        fit = [f for f in same if _agrees(base, PurePosixPath(f), folders)]
        best = _closest(base, fit, top) if fit else None
        if best is not None:
            guessed[name] = best
        else:
            (ambiguous if fit else missing).append(name)
    taken = Counter(guessed.values()) + Counter(named.values())
    for name, file in guessed.items():
        if taken[file] == 1:
            named[name] = file
        else:
            ambiguous.append(name)
    return Resolved(named, tuple(missing), tuple(ambiguous))


def _agrees(name: PurePosixPath, file: PurePosixPath, folders: set[str]) -> bool:
    """Whether the folders of a picture may be those of a name."""
    parent = name.parent.name.casefold()
    if parent in folders and parent not in (p.casefold() for p in file.parts[:-1]):
        return False
    for read in (size_um, loading_wt):
        said, has = from_path(name, read)[0], from_path(file, read)[0]
        if said is not None and has is not None and said != has:
            return False
    return True


def _closest(name: PurePosixPath, candidates: list[str], top: PurePosixPath) -> str | None:
    theirs = [p.casefold() for p in reversed(name.parts[:-1])]

    def common(file: str) -> int:
        ours = [p.casefold() for p in reversed(PurePosixPath(file).parts[:-1])]
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False)))

    most = max(map(common, candidates))
    left = [c for c in candidates if common(c) == most]
    if len(left) > 1 and top.parts:
        left = [c for c in left if c.startswith(top.as_posix() + "/")] or left
    return left[0] if len(left) == 1 else None
