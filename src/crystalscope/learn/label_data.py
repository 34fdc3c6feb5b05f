"""Pictures and what they show for the labelling network: rendered with exact truth, or labelled by a laboratory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core import LABELS, Instances, Scene
from crystalscope.datasets import open_dataset
from crystalscope.io.coco import read_coco
from crystalscope.io.pictures import to_grey
from crystalscope.label.seen import CELL, resized
from crystalscope.scenes import Recipe, preset
from crystalscope.scenes.labels import body_labels, counted
from crystalscope.scenes.recipe import frame_of
from crystalscope.scenes.render import times_covered

MAPS = (*LABELS, "field")
"""Maps of the network: what each cell shows; under too_concentrated the share of it that outlines cover."""
_COVER = LABELS.index("too_concentrated")
SHAPES = ((480, 640), (480, 640), (540, 720), (630, 840), (486, 540), (576, 640), (560, 560))
"""Rows and columns of rendered pictures."""


@dataclass(frozen=True, eq=False)
class LabelPicture:
    """A picture at the size that the network sees, and what it shows.

    Parameters
    ----------
    name
        Of the picture.
    grey
        (rows, columns) float16, full scale 1, see `label.seen.resized`.
    labels
        (10,) 1, 0, or NaN where either answer is right or none is known.
    cells
        (11, rows / 16, columns / 16) uint8 in the order of `MAPS`: 0 to 100 % yes, 255 does not count. None where
        only the picture as a whole was labelled.
    """

    name: str
    grey: NDArray[np.float16]
    labels: NDArray[np.float32]
    cells: NDArray[np.uint8] | None = None


IGNORED = 255


def label_picture(scene: Scene) -> LabelPicture:
    """A rendered picture with its labels, cell by cell too."""
    grey = resized(to_grey(np.asarray(scene.image.data), bits=16))
    labels = np.array([scene.frame[name] for name in LABELS], dtype=np.float32)
    cells = _cells(scene.instances, scene.truth, grey.shape)
    return LabelPicture(scene.image.source, grey.astype(np.float16), labels, cells)


def pictures_of_set(folder: Path) -> Iterator[LabelPicture]:
    """Pictures of a rendered set (`crystalscope scenes render`) with their labels, cell by cell too."""
    data = open_dataset(folder)
    rows = pd.read_csv(folder / "particles.csv")
    rows = rows[rows["parent"] == 0].rename(columns=lambda c: str(c).removesuffix("_um").removesuffix("_px"))
    scale = data.manifest.pixel_size_um or 1.0
    # Labels ask for one length only.
    rows["feret_min"] /= scale
    by_file = dict(list(rows.groupby("file")))
    outlines = {a.file_name.rpartition("/")[2]: a for a in read_coco(folder / data.manifest.annotations)}
    for i, frame in enumerate(data.frames.to_dict("records")):
        name = str(frame["file"])
        grey = resized(to_grey(np.asarray(data.read(i).data), bits=16))
        cells = np.full((len(MAPS), grey.shape[0] // CELL, grey.shape[1] // CELL), IGNORED, dtype=np.uint8)
        seen, truth = outlines[name.rpartition("/")[2]].instances, by_file.get(name.rpartition("/")[2], rows[:0])
        if len(seen) == len(truth):
            cells = _cells(seen, truth.reset_index(drop=True), grey.shape)
            if frame["look"] == "flow-cell":
                # The set does not tell which part of the picture is lit.
                cells[-1] = IGNORED
        labels = np.array([frame[n] for n in LABELS], dtype=np.float32)
        yield LabelPicture(f"{folder.name}/{name}", grey.astype(np.float16), labels, cells)


def _cells(found: Instances, truth: pd.DataFrame, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    size = (shape[0] // CELL, shape[1] // CELL)
    yes = np.zeros((len(MAPS), *size), dtype=np.uint8)
    open_ = np.zeros(yes.shape, dtype=bool)
    counts = counted(truth).to_numpy(dtype=bool)
    crystals = counts & truth["kind"].isin(["crystal", "agglomerate"]).to_numpy(dtype=bool)
    twice = times_covered(found.select(crystals)) > 1
    for i, row in enumerate(truth.to_dict("records")):
        if not row["in_focus"]:
            continue
        r0, c0, r1, c1 = (int(v) for v in found.boxes[i])
        crop = found.crop(i)
        top, left, share = _shares(crop, (r0, c0), found.field.shape, size)
        part = (slice(top, top + share.shape[0]), slice(left, left + share.shape[1]))
        sure = (share >= 0.1) | (share >= 0.5 * share.max())
        given = body_labels(row) if counts[i] else dict.fromkeys(LABELS[:-1], np.nan)
        if crystals[i] and (crop & twice[r0:r1, c0:c1]).any():
            given = {"agglomerated": np.nan, **given}
        for name, value in given.items():
            k = LABELS.index(name)
            if value == 1:
                yes[k][part] |= sure
                open_[k][part] |= (share > 0) & ~sure
            else:
                open_[k][part] |= share > 0
    yes *= 100
    yes[open_ & (yes == 0)] = IGNORED
    rows, columns = found.field.shape
    field = found.field.mask().astype(np.uint8)
    _, _, inside = _shares(field, (0, 0), (rows, columns), size)
    _, _, covered = _shares((found.labels() > 0).astype(np.uint8), (0, 0), (rows, columns), size)
    yes[_COVER], yes[-1] = np.round(100 * covered), np.round(100 * inside)
    return yes


def _shares(
    crop: NDArray[np.uint8] | NDArray[np.bool_], corner: tuple[int, int], shape: tuple[int, int], size: tuple[int, int]
) -> tuple[int, int, NDArray[np.float64]]:
    """First row and column of cells that a crop meets, and the share of each cell that it covers."""
    starts, first, heights = [], [], []
    for n, at, whole, cells in zip(crop.shape, corner, shape, size, strict=True):
        owner = (np.arange(at, at + n) * cells) // whole
        begin = np.flatnonzero(np.diff(owner, prepend=-1))
        starts.append(begin)
        first.append(int(owner[0]))
        heights.append(np.bincount((np.arange(whole) * cells) // whole, minlength=cells)[owner[begin]])
    total = np.add.reduceat(np.add.reduceat(crop.astype(np.float64), starts[0], axis=0), starts[1], axis=1)
    return first[0], first[1], total / np.outer(heights[0], heights[1])


def recipes(*, rich: bool = False) -> tuple[Recipe, ...]:
    """Recipes of the training pictures: the four looks, full of every kind of body, and with a few of each.

    `rich`: with bubbles, droplets, agglomerates and things of no kind in more of the pictures.

    They differ from the presets in what nobody could see, which would teach the network to guess: strong speckle over
    faint droplets, and gas and liquid between crossed polars.
    """
    out = []
    for name in ("backlit", "reflected", "flow-cell", "polars"):
        base = preset(f"varied-{name}")
        full = base.changed(
            instrument={"speckle": {"choice": [0.0, 0.0, 0.0, 0.04, 0.1]}},
            populations=_seen_in(base, name, rich=rich),
            crowd_most=250.0,
        )
        few = {
            key: {"count": (2.0, 14.0) if p.body == "droplet" else (0.8, 5.0)} for key, p in full.populations.items()
        }
        out += [full, full.changed(populations=few, crowd=0.12)]
    return tuple(out)


_SINGLE = ("block", "platelet", "elongated", "needle")
_RICHER = 1.8


def _seen_in(recipe: Recipe, look: str, *, rich: bool) -> dict[str, dict[str, Any]]:
    """Changes to populations: droplets and bubbles in focus show, and what is rare is in more of the pictures."""
    out: dict[str, dict[str, Any]] = {}
    for key, p in recipe.populations.items():
        if rich:
            out[key] = {"presence": min(1.0, p.presence * (0.7 if p.body in _SINGLE else _RICHER))}
        if p.body == "droplet":
            out[key] = out.get(key, {}) | {"index": (1.045, 1.13)}
        if p.body in ("droplet", "bubble") and look == "polars":
            out[key] = {"presence": 0.0}
    return out


_SHARES = (0.14, 0.26, 0.1, 0.22, 0.04, 0.1, 0.04, 0.1)
"""Of the recipes, in their order."""


def rendered(first: int, last: int, *, seed: int, rich: bool = False, empty: bool = False) -> Iterator[LabelPicture]:
    """Pictures `first` to `last` (exclusive) of a set; each depends on its number and the seed alone.

    `rich` as in `recipes`; `empty`: with nothing but ghosts, dust and noise.
    """
    made = recipes(rich=rich)
    for number in range(first, last):
        rng = np.random.default_rng([seed, number, 7])
        recipe = made[int(rng.choice(len(made), p=_SHARES))]
        rows, columns = SHAPES[int(rng.integers(len(SHAPES)))]
        sized = recipe.changed(instrument={"rows": rows, "columns": columns}, empty=1.0 if empty else recipe.empty)
        yield label_picture(frame_of(sized, number, seed=seed))


def save_pictures(path: Path, pictures: Sequence[LabelPicture]) -> Path:
    """Write pictures that have cells as one .npz (no pickle); see `load_pictures`."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for i, p in enumerate(pictures):
        assert p.cells is not None
        arrays |= {f"grey_{i}": p.grey, f"labels_{i}": p.labels, f"cells_{i}": p.cells}
    arrays["names"] = np.array([p.name for p in pictures])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return path


def load_pictures(path: Path) -> list[LabelPicture]:
    """Pictures that `save_pictures` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return [
            LabelPicture(str(name), stored[f"grey_{i}"], stored[f"labels_{i}"], stored[f"cells_{i}"])
            for i, name in enumerate(stored["names"])
        ]
