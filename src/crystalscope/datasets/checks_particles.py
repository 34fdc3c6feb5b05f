"""Checks of annotated particles: doubles, border, sizes, classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystalscope.datasets.dataset import Dataset
from crystalscope.datasets.findings import Finding
from crystalscope.io.coco import region_of
from crystalscope.io.regions import Region, aligned

_DOUBLED, _RELABELLED = 0.9, 0.98
"""Overlap (intersection over union) of one particle annotated twice, in one class and in two."""
_MARGIN_PX = 2
"""A particle whose box comes this near to the edge counts as cut by it, as in `for_sizes`."""
_RARE = 50
"""Times that the largest class of pictures may have the pictures of another."""


@dataclass(frozen=True, eq=False)
class Particle:
    """An annotated particle with an outline.

    Parameters
    ----------
    file, annotation
        Picture and id.
    label, kind
        Class as annotated, and what it counts as.
    region
        What it covers of the picture.
    seen
        COCO segmentation of what is seen of it; None: all.
    ignored
        Neither right nor wrong.
    at_border
        Within 2 px of the edge of the picture, or cut as the annotation itself says (``touches_border``), such as by
        the rim of a disc of light.
    shape
        (rows, columns) of the picture.
    """

    file: str
    annotation: str
    label: str
    kind: str | None
    region: Region
    seen: Any
    ignored: bool
    at_border: bool
    shape: tuple[int, int]

    @property
    def sized(self) -> bool:
        """Whether it is of a kind that has a size distribution."""
        return self.kind in ("crystal", "agglomerate")

    @property
    def visible(self) -> NDArray[np.bool_]:
        """What is seen of it, of the shape of its mask."""
        if self.seen is None:
            return self.region.mask
        return aligned(region_of(self.seen, self.shape), self.region)

    @property
    def ecd_px(self) -> float:
        """Diameter of the circle of equal area, px."""
        return float(np.sqrt(4 / np.pi * self.region.mask.sum()))


def at_border(region: Region, shape: tuple[int, int]) -> bool:
    """Whether a particle comes within 2 px of the edge of a picture of `shape`."""
    rows, columns = region.mask.shape
    return (
        min(region.row, region.column) <= _MARGIN_PX
        or region.row + rows >= shape[0] - _MARGIN_PX
        or region.column + columns >= shape[1] - _MARGIN_PX
    )


def check_doubled(particles: Sequence[Particle]) -> Iterator[Finding]:
    """Particles annotated twice: the outlines coincide, and so does what is seen of them.

    One particle that covers another of the same outline hides it; what is seen of the two then has little in common.
    """
    counted = [p for p in particles if not p.ignored]
    if len(counted) < 2:
        return
    boxes = np.array([[p.region.row, p.region.column, *p.region.mask.shape] for p in counted], dtype=float)
    low, size = boxes[:, :2], boxes[:, 2:]
    for i, a in enumerate(counted):
        inner = np.minimum(low[i] + size[i], low[i + 1 :] + size[i + 1 :]) - np.maximum(low[i], low[i + 1 :])
        shared = np.prod(np.clip(inner, 0, None), axis=1)
        union = np.prod(size[i]) + np.prod(size[i + 1 :], axis=1) - shared
        for k in np.flatnonzero(shared > 0.75 * union):
            b = counted[i + 1 + int(k)]
            overlap = _overlap(a, b)
            if overlap >= (_DOUBLED if a.label == b.label else _RELABELLED):
                what = a.label if a.label == b.label else f"{a.label} and {b.label}"
                yield Finding(
                    "doubled_annotation",
                    f"expected one annotation per particle, got {a.annotation} and {b.annotation} ({what}) that share "
                    f"{overlap:.1%} of their area",
                    a.file,
                    "",
                    f"{a.annotation}, {b.annotation}",
                    overlap,
                )


def _overlap(a: Particle, b: Particle) -> float:
    """Intersection over union of outlines, or of what is seen of them where that is less."""
    values = []
    for mine, other in ((a.region.mask, b.region.mask), (a.visible, b.visible)):
        common = int(
            (aligned(Region(b.region.row, b.region.column, other), Region(a.region.row, a.region.column, mine))).sum()
        )
        union = int(mine.sum()) + int(other.sum()) - common
        values.append(common / union if union else 0.0)
    return min(values)


def check_border(particles: Sequence[Particle]) -> Iterator[Finding]:
    """How many particles the edge of the picture cuts: no defect, but nothing to take a size from."""
    counted = [p for p in particles if not p.ignored]
    cut = sum(p.at_border for p in counted)
    if cut:
        yield Finding(
            "border_particles",
            f"{cut:,} of {len(counted):,} annotated particles reach the border of their picture: kept for "
            "segmentation, dropped for sizes",
            value=float(cut),
        )


def check_sizes(particles: Sequence[Particle], scales: Mapping[str, float]) -> Iterator[Finding]:
    """Particles far from all others of their class in size.

    Parameters
    ----------
    particles
        All; ignored ones, those at the border and those of kind ``other`` (fibres, dust) are left out.
    scales
        um per px by picture; where one is missing, sizes are compared in px.
    """
    whole = [p for p in particles if not p.ignored and not p.at_border and p.kind != "other"]
    scaled = all(p.file in scales for p in whole)
    unit = "µm" if scaled else "px"
    by_label: dict[str, list[Particle]] = {}
    for p in whole:
        by_label.setdefault(p.label, []).append(p)
    for label, members in by_label.items():
        sizes = np.array([p.ecd_px * (scales[p.file] if scaled else 1.0) for p in members])
        for k, factor in outliers(sizes):
            side = "larger" if factor > 1 else "smaller"
            p = members[k]
            yield Finding(
                "size_outlier",
                f"annotation {p.annotation} has an ECD of {sizes[k]:.3g} {unit}, {max(factor, 1 / factor):.1f} times "
                f"{side} than the next of {len(sizes):,} of class {label}; look whether it is a particle",
                p.file,
                "",
                p.annotation,
                float(sizes[k]),
            )


def outliers(sizes: NDArray[np.float64], *, least: int = 30) -> list[tuple[int, float]]:
    """Sizes that stand apart from all others, as position and factor to the nearest of the others.

    Parameters
    ----------
    sizes
        (n,) above 0, any unit.
    least
        Fewer sizes than this say nothing.

    Notes
    -----
    A size stands apart when the gap in ln size between it and the rest is at least ln 2 and at least ten times the
    mean by which the last twentieth of the rest (twenty at least) exceed its beginning. Where sizes fall off as a power
    law, the slowest that particles do, gaps at the end are exponential with that mean: one of ten means comes by chance
    in 3 of 10,000 sets at most, and hardly ever among log-normal sizes, however wide. At most one in a hundred, and
    one at least, can stand apart on each side; more are a second mode.
    """
    n = len(sizes)
    if n < least:
        return []
    out: list[tuple[int, float]] = []
    for sign in (1, -1):
        order = np.argsort(sign * np.log(sizes), kind="stable")
        logs = sign * np.log(sizes)[order]
        for apart in range(max(1, n // 100), 0, -1):
            rest, gap = logs[:-apart], logs[-apart] - logs[-apart - 1]
            tail = rest[-max(21, len(rest) // 20) :]
            if gap >= max(np.log(2), 10 * float(np.mean(tail[1:] - tail[0]))):
                edge = sizes[order[-apart - 1]]
                out += [(int(k), float(sizes[k] / edge)) for k in order[-apart:]]
                break
    return sorted(out)


def check_classes(dataset: Dataset, particles: Sequence[Particle]) -> Iterator[Finding]:
    """Classes that hardly occur.

    A class of pictures is rare where it has less than a fiftieth of the pictures of the largest class. A class that the
    manifest declares is told where no picture or particle has it, but some have another of the declared ones. Kinds of
    particle are as rare as they are: how often each occurs is for `dataset_stats` to say.
    """
    pictures: dict[str, int] = {}
    if "class" in dataset.frames:
        pictures = {str(k): int(v) for k, v in dataset.frames["class"].dropna().value_counts().items()}
    most = max(pictures.values(), default=0)
    for name, count in pictures.items():
        if _RARE * count < most:
            yield Finding(
                "class_balance",
                f"expected at least 1/{_RARE} of the largest class ({most:,} pictures), got {count:,} pictures of "
                f"class {name}",
                value=count / most,
            )
    present = {*pictures, *(p.label for p in particles), *(p.kind or "" for p in particles)}
    declared = dataset.manifest.classes
    for name in declared:
        if name not in present and present & set(declared):
            yield Finding(
                "class_balance", f"expected pictures or particles of class {name} (dataset.toml), got none", value=0.0
            )
