"""The network `crystals`: every particle in focus with its own full outline, overlapping ones whole."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.config import AnalyzeConfig
from crystalscope.errors import ReadError
from crystalscope.prepare import Prepared
from crystalscope.segment.base import Segmentation, widest_edges, with_sharpness
from crystalscope.segment.decode import candidates, distinct, draw, largest_part
from crystalscope.segment.engines import open_network
from crystalscope.segment.kinds import AGGLOMERATE, kinds_in_use, load_kinds, named
from crystalscope.segment.layout import STRIDES, levels_of_grey, normalised
from crystalscope.segment.masks import (
    Mask,
    box_of,
    extents_of,
    iou,
    is_slender,
    may_share,
    shared_pixels,
    suppressed,
    to_instances,
    trimmed,
    unscaled,
    within,
)
from crystalscope.segment.pairs import halves
from crystalscope.segment.patches import Pyramid, mask_of
from crystalscope.segment.second import load_second, second_path
from crystalscope.weights import read_card, weights_path

Floats = NDArray[np.float32]

TASK, FORMAT_VERSION = "crystals", 1
LEAST_SCORE = 0.475
"""Where neither the settings nor the card of the weights say otherwise."""
_HOPE = 0.8
"""Of the square of the least score: what a first look needs so that the second may still raise the mean far enough."""
_FIELD = 0.6
"""Share of the field that no particle covers."""
_MULTIPLE = 64
_TILE = 1536
"""Edge of a tile, px; smaller pictures are taken whole."""
_OVERLAP = 512
_SEAM = 8
"""Two tiles may see a centre this far apart, px."""
_COARSE = 0.3
_LARGE = 120.0
"""Bodies of at least this diameter (network px) are taken from the picture that is seen from afar too."""
_SLENDER, _AGAIN = 3.0, 3
"""Length over width from which a body is looked at again, and how often: a needle's box was found too short or too
long, and each look sees on from where the last one ended."""
_PARTED, _BODY, _ONE = 2, 0.6, 0.5
"""How often a body that may be two is parted, what the second look says of either part at least, and the IoU from
which it drew the same body twice."""
_NEEDLE, _LENIENT = 4.0, 0.607
"""Length over width from which a body's score is raised to this power."""
_UNSURE, _BESIDE, _JOINED = 0.3, 0.2, 0.8
"""Agglomerates of which little is like what was learnt: belief of the first two looks at least, share that other bodies
cover at most, and how sure the third look is."""
_INSIDE, _EDGED = 0.85, 1.5
"""Share of a slender body that lies in a larger one, and how much larger, so that it may be that one's edge."""


@dataclass(frozen=True, eq=False)
class CrystalsSegmenter:
    """Segmenter ``crystals``.

    Parameters
    ----------
    config
        Settings; the tables crystals, focus and prepare are used.
    scale
        Factor by which pictures are resized before the network, settled by `study` or from ``crystals.diameter_px``.
    least
        Confidence from which a particle counts: ``crystals.least_score``, or what the card of the weights says.
    """

    config: AnalyzeConfig
    scale: float = 1.0
    least: float = math.nan
    _session: Any = field(default=None, repr=False)
    _second: Any = field(default=None, repr=False)
    _kinds: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self._session is None:
            c = self.config.crystals
            weights = weights_path(c.weights)
            object.__setattr__(self, "_session", load_session(str(weights), c.precision))
            object.__setattr__(self, "_second", load_second(str(second_path(weights)), c.precision))
            object.__setattr__(self, "_kinds", load_kinds(str(kinds_in_use(weights)), c.precision))
            object.__setattr__(self, "least", _told_least(weights) if c.least_score is None else c.least_score)
            if c.diameter_px is not None:
                object.__setattr__(self, "scale", scale_for(c.diameter_px))

    def study(self, pictures: list[Prepared]) -> CrystalsSegmenter:
        """The segmenter with the scale that the particles of some pictures ask for, unless a diameter is given."""
        if self.config.crystals.diameter_px is not None:
            return self
        chosen = pictures[:: max(1, len(pictures) // _STUDIED)][:_STUDIED]
        return replace(self, scale=self._scale_of(chosen))

    def _scale_of(self, pictures: list[Prepared]) -> float:
        """Scale by which particles come into the range that the network was trained on.

        Large ones are looked for in pictures a quarter as large, where they are seen whole; if they cover more than all
        particles that the full picture shows, they settle the scale.
        """
        small, large = [], []
        for picture in pictures:
            small += [d for d in self._diameters(picture, 1.0) if d <= LARGEST_PX]
            large += [d for d in self._diameters(picture, 0.25) if d > LARGEST_PX]
        chosen = np.sort(large if sum(d * d for d in large) > sum(d * d for d in small) else small)
        if not chosen.size:
            return 1.0
        # The median by area: specks are many everywhere.
        return scale_for(float(chosen[np.searchsorted(np.cumsum(chosen**2), 0.5 * (chosen**2).sum())]))

    def _diameters(self, picture: Prepared, scale: float) -> list[float]:
        """Diameters of equal area, px of the picture itself, of what is surely a particle."""
        found = replace(self, scale=scale).segment(picture).instances
        sure = found.select(found.score >= _SURE)
        return [2 * math.sqrt(int(np.count_nonzero(sure.crop(k))) / math.pi) for k in range(len(sure))]

    def segment(self, picture: Prepared) -> Segmentation:
        """Particles of one picture."""
        inside = None if picture.field.disc is None else picture.field.mask()
        seen = picture.grey[::3, ::3] if inside is None else picture.grey[inside][::9]
        grey = normalised(picture.grey, levels_of_grey(seen))
        # What fills the field is the field itself: a lit disc seen from afar looks like a body.
        bodies = [m for m in self.guesses(grey) if m.area <= _FIELD * picture.field.area_px]
        pyramid = Pyramid(grey)
        looked = self._looked_at(pyramid, bodies)
        masks = self._judged(pyramid, looked)
        masks += self._agglomerates_beside(pyramid, masks, looked)
        if inside is not None:
            masks = [m for m in (within(m, inside) for m in masks) if m is not None]
        large = [m for m in masks if m.area >= self.config.post.min_area_px]
        large, numbers = named(large, self._kinds(pyramid, large))
        found = replace(to_instances(large, picture.field), agglomerate=numbers)
        instances = with_sharpness(found, picture, self.config)
        if self.config.focus.gate:
            sharp = np.nan_to_num(instances.focus * widest_edges(instances, self.config), nan=1.0) >= 1
            instances = replace(instances, in_focus=sharp)
        gated = len(masks) - len(large)
        return Segmentation(
            instances,
            gated,
            f"crystals, {self.config.crystals.precision}, scale {self.scale:.3g}, confidence from {self.least:.3g}",
        )

    def guesses(self, grey: Floats) -> list[Mask]:
        """What the first look takes for bodies in a picture as `layout.normalised` gives it, (rows, columns)."""
        masks = self._seen_at(grey, self.scale)
        if min(grey.shape) * self.scale * _COARSE >= _MULTIPLE:
            # Large bodies once more from afar, where both their sides are close together.
            masks += [m for m in self._seen_at(grey, self.scale * _COARSE) if m.size * self.scale >= _LARGE]
        return masks

    def _judged(self, pyramid: Pyramid, looked: list[Mask]) -> list[Mask]:
        """Of bodies that were looked at in their own frame those that are sure enough after more looks, each once."""
        for _ in range(_AGAIN):
            slender = [is_slender(m, _SLENDER) for m in looked]
            again = self._looked_at(pyramid, [m for m, far in zip(looked, slender, strict=True) if far])
            looked = [m for m, far in zip(looked, slender, strict=True) if not far] + again
        for _ in range(_PARTED):
            looked = self._parted(pyramid, looked)
        judged = [replace(m, score=s) for m, s in zip(looked, _beliefs(looked), strict=True)]
        return suppressed([m for m in judged if m.score >= self.least])

    def _agglomerates_beside(self, pyramid: Pyramid, masks: list[Mask], looked: list[Mask]) -> list[Mask]:
        """Bodies that neither look believes enough, beside all that are believed, which the third takes for joined."""
        unsure = [(math.sqrt(m.score * m.quality), m) for m in looked]
        free = [
            replace(m, score=belief)
            for belief, m in sorted(unsure, key=lambda b: (-b[0], b[1].r0, b[1].c0))
            if belief >= _UNSURE and sum(shared_pixels(m, o) for o in masks) <= _BESIDE * m.area
        ]
        sure = self._kinds(pyramid, free)[:, AGGLOMERATE] >= _JOINED
        kept: list[Mask] = []
        for mask in (m for m, is_sure in zip(free, sure, strict=True) if is_sure):
            if all(shared_pixels(mask, o) <= 0.5 * min(mask.area, o.area) for o in kept):
                kept.append(mask)
        return kept

    def _parted(self, pyramid: Pyramid, looked: list[Mask]) -> list[Mask]:
        """Bodies, and in the place of two that were drawn as one both, where another look believes either."""
        out = []
        for mask in looked:
            sure = math.sqrt(mask.score * mask.quality) >= self.least and not is_slender(mask, _SLENDER)
            parts = halves(mask) if sure else None
            seen = [] if parts is None else self._looked_at(pyramid, list(parts))
            two = len(seen) == 2 and min(m.quality for m in seen) >= _BODY and iou(*seen) < _ONE
            out += seen if two else [mask]
        return out

    def _looked_at(self, pyramid: Pyramid, masks: list[Mask]) -> list[Mask]:
        """Each body once more in its own frame: its outline there, and how far it is to be believed."""
        if not masks:
            return []
        shape = pyramid.levels[0].shape
        boxes = [box_of(m) for m in masks]
        out = []
        for mask, box, drawn, quality in zip(masks, boxes, *self._second(pyramid, boxes), strict=True):
            r0, c0, crop = mask_of(drawn, box, (shape[0], shape[1]))
            if crop.any():
                crop, r0, c0 = trimmed(largest_part(crop), r0, c0)
                out.append(replace(mask, r0=r0, c0=c0, crop=crop, quality=float(quality)))
        return out

    def _seen_at(self, grey: Floats, scale: float) -> list[Mask]:
        """What the network finds in a picture resized by a factor, in px of the picture."""
        if scale == 1.0:
            return self._found(grey)
        size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
        small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        return [m for m in (unscaled(m, scale, grey.shape) for m in self._found(small)) if m is not None]

    def _found(self, grey: Floats) -> list[Mask]:
        rows, columns = grey.shape
        kept: list[Mask] = []
        for r0, c0, r1, c1 in tiles(rows, columns):
            outputs = self._session(grey[r0:r1, c0:c1])
            masks = _decoded(outputs, (r1 - r0, c1 - c0), least=_HOPE * self.least**2)
            # A tile answers for the bodies whose centre lies in its own part; what two see at a seam is one.
            kept += [
                replace(m, r0=m.r0 + r0, c0=m.c0 + c0)
                for m in masks
                if _owns(m.y + r0, r0, r1, rows) and _owns(m.x + c0, c0, c1, columns)
            ]
        return suppressed(kept)


def _beliefs(masks: list[Mask]) -> list[float]:
    """What both looks say of each body: they must agree, so that their geometric mean counts.

    A needle's IoU falls with every pixel across that its mask is off, and with it what the looks expect; it is raised,
    unless the needle lies within a surer body that is none: it may be that one's edge.
    """
    means = [math.sqrt(m.score * m.quality) for m in masks]
    slender = [is_slender(m, _NEEDLE) for m in masks]
    extents = extents_of(masks)
    out = []
    for k, mask in enumerate(masks):
        edge = slender[k] and any(
            not slender[n]
            and means[n] > means[k]
            and masks[n].area > _EDGED * mask.area
            and shared_pixels(mask, masks[n]) >= _INSIDE * mask.area
            for n in np.flatnonzero(may_share(extents[k], extents) >= _INSIDE * mask.area)
        )
        out.append(means[k] ** _LENIENT if slender[k] and not edge else means[k])
    return out


SMALLEST_PX, LARGEST_PX = 10.0, 600.0
"""Typical diameters that the network sees well in a picture as it is."""
_STUDIED, _SURE = 3, 0.5


def scale_for(diameter_px: float) -> float:
    """Factor by which a picture is resized so that particles of a typical diameter are seen well, 0.25 to 4."""
    fitting = float(np.clip(diameter_px, SMALLEST_PX, LARGEST_PX))
    # Well inside the range, where it has to be changed at all.
    wanted = fitting if fitting == diameter_px else 1.6 * SMALLEST_PX if diameter_px < fitting else LARGEST_PX / 2
    return float(np.clip(wanted / diameter_px, 0.25, 4.0))


def tiles(rows: int, columns: int) -> list[tuple[int, int, int, int]]:
    """Rows and columns r0, c0, r1, c1 of overlapping tiles that cover a picture."""

    def spans(n: int) -> list[tuple[int, int]]:
        if n <= _TILE:
            return [(0, n)]
        count = math.ceil((n - _OVERLAP) / (_TILE - _OVERLAP))
        # Starts on whole cells of the coarsest level, so that a tile sees what the whole picture would show.
        starts = [k * (_TILE - _OVERLAP) // _MULTIPLE * _MULTIPLE for k in range(count)]
        return [(s, n if s == starts[-1] else s + _TILE) for s in starts]

    return [(a, c, b, d) for a, b in spans(rows) for c, d in spans(columns)]


def _owns(at: float, low: int, high: int, end: int) -> bool:
    """Whether a coordinate lies in the part of a tile from `low` to `high` that no neighbour answers for."""
    half = _OVERLAP / 2 - _SEAM
    return (low == 0 or at >= low + half) and (high == end or at < high - half)


def _decoded(outputs: list[Floats], shape: tuple[int, int], *, least: float) -> list[Mask]:
    *maps, proto = outputs
    values, kinds = candidates(maps, least=least)
    out = []
    for k in distinct(values):
        r0, c0, r1, _, crop = draw(values[k], proto, *shape)
        if r1 <= r0 or not crop.any():
            continue
        crop = largest_part(crop)
        i, j = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
        crop = np.ascontiguousarray(crop[i[0] : i[-1] + 1, j[0] : j[-1] + 1])
        if crop.sum() < 6:
            continue
        score = float(values[k, 0])
        x, y = float(values[k, 1]), float(values[k, 2])
        out.append(Mask(int(r0 + i[0]), int(c0 + j[0]), crop, score, int(kinds[k]), x, y))
    return out


def _told_least(weights: Path) -> float:
    """The confidence from which a particle counts, by the card of the weights."""
    told = read_card(weights, task=TASK, format_version=FORMAT_VERSION).get("least_score", LEAST_SCORE)
    if not isinstance(told, int | float) or not 0 < told < 1:
        raise ReadError(
            f"expected least_score between 0 and 1 in the card of {weights.name}, got {told!r}; correct it, or set "
            "crystals.least_score"
        )
    return float(told)


@lru_cache(maxsize=4)
def load_session(path: str, precision: str) -> Any:
    """A function from a normalised picture (rows, columns) to the maps of the levels and the prototypes.

    Parameters
    ----------
    path
        The ONNX file; its card stands beside it.
    precision
        ``fp32`` by onnxruntime; ``openvino-fp32`` or ``openvino-bf16`` by OpenVINO (extra ``openvino``).

    Raises
    ------
    ReadError
        When the file is no model, damaged, or for something else.
    MissingExtraError
        When OpenVINO is asked for and not installed.
    """
    read_card(Path(path), task=TASK, format_version=FORMAT_VERSION)
    run = open_network(path, precision)

    def session(grey: Floats) -> list[Floats]:
        rows, columns = grey.shape
        # Whole cells at every level; what is added mirrors the edge.
        down = max(-rows % _MULTIPLE, 0) + (0 if rows >= 2 * _MULTIPLE else 2 * _MULTIPLE)
        right = max(-columns % _MULTIPLE, 0) + (0 if columns >= 2 * _MULTIPLE else 2 * _MULTIPLE)
        padded = cv2.copyMakeBorder(grey, 0, down, 0, right, cv2.BORDER_REPLICATE)
        outputs = run(padded[None, None])
        maps = [o[0] for o in outputs]
        for level, stride in zip(maps, STRIDES, strict=False):
            # Centres beyond the picture are of what was added.
            _blank(level, math.ceil(rows / stride), math.ceil(columns / stride))
        return maps

    return session


def _blank(level: Floats, rows: int, columns: int) -> None:
    from crystalscope.segment.layout import CHANNELS, SLOTS

    scores = level.reshape(SLOTS, CHANNELS, *level.shape[1:])[:, 0]
    scores[:, rows:] = -50.0
    scores[:, :, columns:] = -50.0
