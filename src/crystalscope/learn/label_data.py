"""Pictures and what they show for the labelling network: rendered with exact truth, or labelled by a laboratory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core import LABELS, Instances, Scene
from crystalscope.io.pictures import to_grey
from crystalscope.label.seen import CELL, resized
from crystalscope.scenes import Recipe, preset
from crystalscope.scenes.labels import body_labels, counted, labels_of
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
    """A rendered picture with its labels, cell by cell too; what cannot be made out leaves them open."""
    grey = resized(to_grey(np.asarray(scene.image.data), bits=16))
    seen = visible(scene)
    for_certain = labels_of(scene.truth[seen], coverage=scene.frame["coverage"])
    labels = np.array([scene.frame[name] for name in LABELS], dtype=np.float32)
    for k, name in enumerate(LABELS):
        if labels[k] == 1 and for_certain[name] != 1:
            labels[k] = np.nan
    cells = _cells(scene.instances, scene.truth, grey.shape, seen=seen)
    return LabelPicture(scene.image.source, grey.astype(np.float16), labels, cells)


def _cells(
    found: Instances, truth: pd.DataFrame, shape: tuple[int, ...], *, seen: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    size = (shape[0] // CELL, shape[1] // CELL)
    yes = np.zeros((len(MAPS), *size), dtype=np.uint8)
    open_ = np.zeros(yes.shape, dtype=bool)
    counts = counted(truth).to_numpy(dtype=bool) & seen
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
    """Recipes of the training pictures: for each of the four looks a few bodies of a few kinds, and many.

    `rich`: with gas, liquid and things of no kind in most of the pictures, and liquid that bends light as much as oil
    in water can.

    They differ from the presets in what nobody could see, which would teach the network to guess: strong speckle and
    noise, droplets that are as dark as gas, and gas and liquid between crossed polars; see `visible` too.
    """
    out = []
    for name in ("backlit", "reflected", "flow-cell", "polars"):
        base = preset(f"varied-{name}")
        light = {key: draw for key, draw in _LIGHT[name].items() if key in base.instrument}
        many = base.changed(instrument=light, populations=_seen_in(base, name, rich=rich), crowd=0.15, crowd_most=250.0)
        few = {
            key: {"count": (2.0, 16.0) if p.body == "droplet" else (0.8, 6.0), "ghosts": (0.0, 7.0)}
            for key, p in many.populations.items()
        }
        out += [many.changed(populations=few), many]
    return tuple(out)


_CALM = {
    "speckle": {"choice": [0.0, 0.0, 0.0, 0.0, 0.04, 0.1]},
    "shot_noise": {"log": [0.002, 0.03]},
    "read_noise": {"log": [0.001, 0.012]},
    "motion_px": {"choice": [0.0, 0.0, 0.0, 1.0]},
    "blur_px": [0.6, 1.5],
}
_LIGHT: dict[str, dict[str, Any]] = {
    # A narrow cone of light turns droplets as dark as gas.
    "backlit": _CALM | {"aperture": {"log": [0.1, 0.4]}, "lamp_tilt": {"choice": [0.0, 0.2, 0.5, 0.9]}},
    "flow-cell": _CALM | {"aperture": {"log": [0.1, 0.4]}, "lamp_tilt": {"choice": [0.0, 0.2, 0.5]}},
    "reflected": _CALM | {"texture": [0.0, 0.15], "exposure": {"log": [60.0, 300.0]}, "ambient": [0.2, 1.4]},
    "polars": _CALM | {"exposure": {"log": [80.0, 400.0]}},
}
_PRESENCE = {
    "blocks": 0.25, "giants": 0.04, "specks": 0.06, "plates": 0.27, "elongated": 0.24, "needles": 0.2, "bent": 0.06,
    "between": 0.05, "agglomerates": 0.14, "needle-agglomerates": 0.04, "plate-agglomerates": 0.04, "bundles": 0.03,
    "clusters": 0.12, "spherulites": 0.05, "bubbles": 0.25, "droplets": 0.25, "fibres": 0.06, "hairs": 0.06,
    "flakes": 0.07, "scratches": 0.05, "smears": 0.06, "dendrites": 0.07,
}  # fmt: skip
"""Every label in about a quarter of the pictures."""
_RICH = ("bubbles", "droplets", "fibres", "hairs", "flakes", "scratches", "smears", "dendrites")
"""Of which there is more in rich pictures, and less of all others."""


def _seen_in(recipe: Recipe, look: str, *, rich: bool) -> dict[str, dict[str, Any]]:
    """Changes to populations: how often they are there, liquid lighter than gas, sizes at which a shape shows."""
    often = {key: _PRESENCE[key] * ((2.0 if key in _RICH else 0.6) if rich else 1.0) for key in recipe.populations}
    out: dict[str, dict[str, Any]] = {key: {"presence": presence} for key, presence in often.items()}
    out["droplets"] |= {"index": (1.05, 1.12) if rich else (1.015, 1.07)}
    if look == "polars":
        out["droplets"]["presence"] = out["bubbles"]["presence"] = 0.0
    out["blocks"] |= {"size": (16.0, 110.0)}
    out["agglomerates"] |= {"size": (18.0, 70.0)}
    return out


_SHARES = (0.26, 0.12, 0.2, 0.1, 0.1, 0.06, 0.1, 0.06)
"""Of the recipes, in their order."""


def rendered(first: int, last: int, *, seed: int, rich: bool = False, empty: bool = False) -> Iterator[LabelPicture]:
    """Pictures `first` to `last` (exclusive) of a set; each depends on its number and the seed alone.

    `rich` as in `recipes`; `empty`: with nothing but ghosts, dust and noise.
    """
    for number in range(first, last):
        yield label_picture(scene_of(number, seed=seed, rich=rich, empty=empty))


def scene_of(number: int, *, seed: int, rich: bool = False, empty: bool = False) -> Scene:
    """The scene of one of the pictures of `rendered`."""
    made = recipes(rich=rich)
    rng = np.random.default_rng([seed, number, 7])
    recipe = made[int(rng.choice(len(made), p=_SHARES))]
    rows, columns = SHAPES[int(rng.integers(len(SHAPES)))]
    sized = recipe.changed(instrument={"rows": rows, "columns": columns}, empty=1.0 if empty else recipe.empty)
    return frame_of(sized, number, seed=seed)


_HIDDEN, _DIM, _NOISY = 0.5, 0.06, 2.0
"""Share of a body behind others, contrast of its outline relative to the picture's, and to that of the empty ground:
what lies beyond cannot be told from the picture."""


def visible(scene: Scene) -> NDArray[np.bool_]:
    """Whether each body of a scene that counts can be made out in its picture.

    Parameters
    ----------
    scene
        Of the virtual instrument.

    Returns
    -------
    (n,): not hidden by more than half, and with a contrast along at least half of the outline that stands out from the
    noise and is more than a few per cent of the picture's.
    """
    grey = cv2.GaussianBlur(to_grey(np.asarray(scene.image.data), bits=16), (0, 0), 1.0)
    around = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8))
    field = scene.instances.field.mask()
    least = max(
        _DIM * float(np.subtract(*np.percentile(grey[field][::7], [99, 1]))),
        _NOISY * float(np.quantile(around[field][::7], 0.25)),
    )
    covered = times_covered(scene.instances.select(scene.truth["in_focus"].to_numpy(dtype=bool)))
    out = np.zeros(len(scene.instances), dtype=bool)
    for i in np.flatnonzero(counted(scene.truth)).tolist():
        r0, c0, r1, c1 = (int(v) for v in scene.instances.boxes[i])
        crop = scene.instances.crop(i)
        if (covered[r0:r1, c0:c1][crop] > 1).mean() > _HIDDEN:
            continue
        inner = cv2.erode(np.pad(crop.astype(np.uint8), 1), np.ones((3, 3), np.uint8))[1:-1, 1:-1]
        outline = crop & (inner == 0)
        out[i] = np.median(around[r0:r1, c0:c1][outline]) > least
    return out


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
