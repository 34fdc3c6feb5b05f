"""Annotations on their way between formats: outlines checked, faults told, none dropped in silence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crystalscope.core import KINDS, FieldOfView, Instances
from crystalscope.datasets.names import match_names
from crystalscope.datasets.traits import Traits
from crystalscope.errors import InputError, ReadError
from crystalscope.io.coco import Annotated, Region, kind_of_label
from crystalscope.io.pictures import read_picture
from crystalscope.io.regions import aligned

BOX = "box"
"""Value of the attribute ``outline`` of a particle of which only the bounding box is known."""

_LARGEST_ID = 2**63 - 1
_IGNORED = ("ignore", "ignored", "ignore region", "crowd")


@dataclass(frozen=True)
class Fault:
    """Something in the annotations that could not be read as it stands.

    Parameters
    ----------
    file
        The picture, or the name that the annotations give it.
    where
        Which annotation; empty for the picture as a whole.
    what
        What was found and what was done.
    """

    file: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}{', ' if self.where else ''}{self.where}: {self.what}"


@dataclass
class _Particle:
    region: Region
    traits: Traits
    visible: Region | None = None


class Collector:
    """Takes what a reader finds for the pictures of a dataset, and keeps book of what did not fit.

    Parameters
    ----------
    root
        Folder of the dataset.
    pictures
        Its pictures, relative to `root`.
    prefix
        Folder of the pictures, relative to `root`; names in annotations may leave it out.
    kinds
        Kinds of one's own classes, by class name.
    """

    def __init__(self, root: Path, pictures: Sequence[str], *, prefix: str, kinds: Mapping[str, str]) -> None:
        self.pictures = tuple(pictures)
        self.faults: list[Fault] = []
        self.root = root
        self._prefix = prefix
        self._kinds = kinds
        self._notes: Counter[str] = Counter()
        self._names: dict[str, str] = {}
        self._shapes: dict[str, tuple[int, int]] = {}
        self._found: dict[str, list[_Particle]] = {}

    def match(self, names: Iterable[str], *, stems: bool = False) -> dict[str, str]:
        """Pictures by the names that annotations give them; those without one are faults.

        Parameters
        ----------
        names, stems
            As in `names.match_names`.

        Raises
        ------
        ReadError
            When a name fits several pictures, or several names fit one.
        """
        wanted = list(names)
        found = match_names(wanted, self.pictures, prefix=self._prefix, stems=stems)
        for name in wanted:
            if name not in found:
                self.fault(name, "", "no such picture in the dataset; its annotations are left out")
        return found

    def open(self, picture: str, *, name: str, stated: tuple[int, int] | None = None) -> tuple[int, int] | None:
        """Begin with the annotations of a picture.

        Parameters
        ----------
        picture
            One of `pictures`.
        name
            What the annotations call it.
        stated
            (rows, columns) by the annotations, where they say.

        Returns
        -------
        (rows, columns) of the picture; None where it cannot be read or is of another size than stated.

        Raises
        ------
        ReadError
            When the picture has been annotated under another name.
        """
        if picture in self._names:
            raise ReadError(
                f"expected one set of annotations for {picture}, got {self._names[picture]} and {name}; keep one"
            )
        try:
            shape = read_picture(self.root / picture).data.shape[:2]
        except ReadError as e:
            self.fault(picture, "", f"{e}; its annotations are left out")
            return None
        size = int(shape[0]), int(shape[1])
        if stated is not None and stated != size:
            self.fault(
                picture,
                "",
                f"expected annotations of a picture of {size[0]} rows and {size[1]} columns, got {stated[0]} rows and "
                f"{stated[1]} columns in {name}; they are left out",
            )
            return None
        self._names[picture] = name
        self._shapes[picture] = size
        self._found[picture] = []
        return size

    def add(
        self,
        picture: str,
        where: str,
        outline: Callable[[], Region | None],
        traits: Traits,
        *,
        visible: Callable[[], Region | None] | None = None,
    ) -> bool:
        """Add a particle.

        Parameters
        ----------
        picture
            An opened one.
        where
            What to call the annotation in a fault.
        outline
            Gives the mask, which may reach beyond the picture; may raise ReadError.
        traits
            The rest.
        visible
            Gives what is seen of it.

        Returns
        -------
        Whether there was anything to add; if not, a fault says why.
        """
        try:
            whole = outline()
            seen = None if visible is None else visible()
        except ReadError as e:
            self.fault(picture, where, f"{e}; left out")
            return False
        if whole is None:
            self.fault(picture, where, "expected an outline with an area, got one that covers no pixel; left out")
            return False
        part = _cut(whole, self._shapes[picture])
        lost = int(whole.mask.sum()) - int(part.mask.sum())
        if not part.mask.any():
            self.fault(picture, where, "expected an outline inside the picture, got one outside; left out")
            return False
        if not (math.isfinite(traits.score) and 0 <= traits.score <= 1):
            self.fault(picture, where, f"expected a score from 0 to 1, got {traits.score:g}; left out")
            return False
        if lost:
            self.fault(picture, where, f"{lost} px of its outline lie outside the picture; cut off there")
        if traits.id is not None and not -_LARGEST_ID <= traits.id <= _LARGEST_ID:
            traits.id = None
        if traits.label.casefold() in _IGNORED:
            traits.ignore = True
            traits.kind = traits.kind or "other"
        self._found[picture].append(_Particle(part, traits, seen))
        return True

    def fault(self, file: str, where: str, what: str) -> None:
        """Keep a fault."""
        self.faults.append(Fault(file, where, what))

    def note(self, what: str) -> None:
        """Count something that was read, but not as it may seem."""
        self._notes[what] += 1

    def notes(self) -> list[str]:
        """What was noted, with its number."""
        return [f"{what}: {n}" for what, n in self._notes.items()]

    def stack(self, picture: str) -> None:
        """Find what is seen of the particles of a picture from the attribute ``z_order``: higher ones cover lower."""
        particles = self._found[picture]
        heights = [h if isinstance(h := p.traits.attributes.get("z_order"), int) else 0 for p in particles]
        if len(set(heights)) < 2:
            return
        for p, height in zip(particles, heights, strict=True):
            mask = p.region.mask.copy()
            for other, above in zip(particles, heights, strict=True):
                if above > height:
                    mask &= ~aligned(other.region, p.region)
            p.visible = Region(p.region.row, p.region.column, mask)

    def annotated(self) -> list[Annotated]:
        """The annotations of every opened picture, in order of the pictures.

        Ids are kept; those that are missing are given, and all are given anew where one stands twice. The kind of a
        class is the one in `kinds`, else what the annotations say, else what its name means, else crystal where it is
        the only class, else other.
        """
        every = [p.traits for found in self._found.values() for p in found]
        used = [t.id for t in every if t.id is not None]
        if len(set(used)) < len(used):
            self._notes["particles numbered anew, because a number stood twice"] = len(every)
            used = []
            for t in every:
                t.id = None
        last = max(used, default=0)
        for t in every:
            if t.id is None:
                last += 1
                t.id = last
        alone = len({t.label for t in every}) == 1
        unknown: dict[str, None] = {}
        for t in every:
            stated = self._kinds.get(t.label) or t.kind or kind_of_label(t.label)
            if stated is None and not alone:
                unknown[t.label] = None
            t.kind = stated or ("crystal" if alone else "other")
        if unknown:
            self._notes[f"classes of unknown kind, counted as other ({', '.join(unknown)})"] = len(unknown)
        return [_built(p, self._found[p], self._shapes[p]) for p in self.pictures if p in self._found]


def _cut(region: Region, shape: tuple[int, int]) -> Region:
    """The part of a region inside a picture of `shape`."""
    top, left = max(-region.row, 0), max(-region.column, 0)
    bottom = min(shape[0] - region.row, region.mask.shape[0])
    right = min(shape[1] - region.column, region.mask.shape[1])
    part = region.mask[top : max(bottom, top), left : max(right, left)]
    return Region(region.row + top, region.column + left, part)


def _built(picture: str, particles: list[_Particle], shape: tuple[int, int]) -> Annotated:
    traits = [p.traits for p in particles]
    covered = any(p.visible is not None for p in particles)
    seen = [p.region.mask if p.visible is None else aligned(p.visible, p.region) for p in particles]
    found = Instances.from_crops(
        [p.region.mask for p in particles],
        [(p.region.row, p.region.column) for p in particles],
        field=FieldOfView(shape),
        score=[t.score for t in traits],
        kind=[KINDS.index(t.kind or "other") for t in traits],
        in_focus=[t.in_focus for t in traits],
        visible=seen if covered else None,
    )
    return Annotated(
        picture,
        found,
        np.array([t.id for t in traits], dtype=np.int64),
        np.array([t.ignore for t in traits], dtype=bool),
        tuple(t.label for t in traits),
        tuple(t.attributes for t in traits),
    )


def class_names(items: Iterable[Annotated], *, first: Sequence[str] = ()) -> list[str]:
    """Class names in use: those of `first` in its order, then kinds in theirs, then the others by name."""
    used = {label for item in items for label in item.labels}
    order = [*first, *KINDS]
    return sorted(used, key=lambda n: (order.index(n) if n in order else len(order), n))


def check_kinds(kinds: Mapping[str, str]) -> None:
    """Raise InputError unless every value is one of `core.KINDS`."""
    for label, kind in kinds.items():
        if kind not in KINDS:
            raise InputError(f"expected a kind among {', '.join(KINDS)} for class {label!r}, got {kind!r}")


def around(shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """The window in which outlines are drawn: the picture and as much again on every side, so that what lies outside
    is known to be there."""
    rows, columns = shape
    return -rows, -columns, 2 * rows, 2 * columns


def source_files(source: Path, suffixes: Sequence[str]) -> list[Path]:
    """The file itself, or the files of some suffixes below a folder, in order of their paths; hidden ones left out."""
    if source.is_file():
        return [source]
    found = (p for p in source.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
    return sorted(p for p in found if not any(part.startswith((".", "__")) for part in p.relative_to(source).parts))
