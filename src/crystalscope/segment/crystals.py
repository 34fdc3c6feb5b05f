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
from crystalscope.core import Instances
from crystalscope.errors import ReadError
from crystalscope.prepare import Prepared
from crystalscope.segment.base import Segmentation, widest_edges, with_sharpness
from crystalscope.segment.decode import candidates, distinct, draw, largest_part
from crystalscope.segment.layout import STRIDES, Box, levels_of_grey, normalised, oriented_box
from crystalscope.segment.patches import Pyramid, mask_of
from crystalscope.segment.second import load_second, second_path
from crystalscope.weights import read_card, weights_path

Floats = NDArray[np.float32]

TASK, FORMAT_VERSION = "crystals", 1
_MULTIPLE = 64
_TILE = 1536
"""Edge of a tile, px; smaller pictures are taken whole."""
_OVERLAP = 512
_SEAM = 8
"""Two tiles may see a centre this far apart, px."""
_COARSE = 0.3
_LARGE = 90.0
"""Bodies of at least this diameter (network px) are taken from the picture that is seen from afar too."""
_SAME = 0.5
"""Masks of more IoU are one particle."""


@dataclass(frozen=True, eq=False)
class CrystalsSegmenter:
    """Segmenter ``crystals``.

    Parameters
    ----------
    config
        Settings; the tables crystals, focus and prepare are used.
    scale
        Factor by which pictures are resized before the network, settled by `study` or from ``crystals.diameter_px``.
    """

    config: AnalyzeConfig
    scale: float = 1.0
    _session: Any = field(default=None, repr=False)
    _second: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self._session is None:
            c = self.config.crystals
            object.__setattr__(self, "_session", load_session(str(weights_path(c.weights)), c.precision))
            second = str(second_path(weights_path(c.weights)))
            object.__setattr__(self, "_second", load_second(second, onnx_runner))
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
        shape = grey.shape
        masks = self._seen_at(grey, self.scale)
        if min(shape) * self.scale * _COARSE >= _MULTIPLE:
            # Large bodies once more from afar, where both their sides are close together.
            masks += [m for m in self._seen_at(grey, self.scale * _COARSE) if m.size * self.scale >= _LARGE]
            masks = _suppressed(masks)
        masks = self._looked_at(grey, masks)
        if inside is not None:
            masks = [m for m in (_within(m, inside) for m in masks) if m is not None]
        large = [m for m in masks if np.count_nonzero(m.crop) >= self.config.post.min_area_px]
        instances = with_sharpness(_instances(large, picture), picture, self.config)
        if self.config.focus.gate:
            sharp = np.nan_to_num(instances.focus * widest_edges(instances, self.config), nan=1.0) >= 1
            instances = replace(instances, in_focus=sharp)
        gated = len(masks) - len(large)
        return Segmentation(instances, gated, f"crystals, {self.config.crystals.precision}, scale {self.scale:.3g}")

    def _looked_at(self, grey: Floats, masks: list[_Mask]) -> list[_Mask]:
        """Each body once more in its own frame: its outline there, and whether it is one at all."""
        if not masks:
            return []
        pyramid = Pyramid(grey)
        for _ in range(LOOKS):
            boxes = [_box_of(m) for m in masks]
            logits, quality = self._second(pyramid, boxes)
            out = []
            for mask, box, drawn, q in zip(masks, boxes, logits, quality, strict=True):
                r0, c0, crop = mask_of(drawn, box, grey.shape)
                if not crop.any():
                    continue
                crop, r0, c0 = _trimmed(largest_part(crop), r0, c0)
                out.append(replace(mask, r0=r0, c0=c0, crop=crop, quality=float(q)))
            masks = out
        return _suppressed([replace(m, score=combined(m.score, m.quality)) for m in masks])

    def _seen_at(self, grey: Floats, scale: float) -> list[_Mask]:
        """What the network finds in a picture resized by a factor, in px of the picture."""
        if scale == 1.0:
            return self._found(grey)
        size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
        small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        return [m for m in (_unscaled(m, scale, grey.shape) for m in self._found(small)) if m is not None]

    def _found(self, grey: Floats) -> list[_Mask]:
        rows, columns = grey.shape
        kept: list[_Mask] = []
        for r0, c0, r1, c1 in tiles(rows, columns):
            outputs = self._session(grey[r0:r1, c0:c1])
            masks = _decoded(outputs, (r1 - r0, c1 - c0), least=self.config.crystals.least_score)
            # A tile answers for the bodies whose centre lies in its own part; what two see at a seam is one.
            kept += [
                replace(m, r0=m.r0 + r0, c0=m.c0 + c0)
                for m in masks
                if _owns(m.y + r0, r0, r1, rows) and _owns(m.x + c0, c0, c1, columns)
            ]
        return _suppressed(kept)


SMALLEST_PX, LARGEST_PX = 10.0, 600.0
"""Typical diameters that the network sees well in a picture as it is."""
_STUDIED, _SURE = 3, 0.5


def scale_for(diameter_px: float) -> float:
    """Factor by which a picture is resized so that particles of a typical diameter are seen well, 0.25 to 4."""
    fitting = float(np.clip(diameter_px, SMALLEST_PX, LARGEST_PX))
    # Well inside the range, where it has to be changed at all.
    wanted = fitting if fitting == diameter_px else 1.6 * SMALLEST_PX if diameter_px < fitting else LARGEST_PX / 2
    return float(np.clip(wanted / diameter_px, 0.25, 4.0))


@dataclass(frozen=True, eq=False)
class _Mask:
    r0: int
    c0: int
    crop: NDArray[np.uint8]
    score: float
    kind: int
    x: float
    y: float
    quality: float = 0.0

    @property
    def size(self) -> float:
        """Diameter of equal area, px."""
        return 2 * math.sqrt(np.count_nonzero(self.crop) / math.pi)

    @property
    def r1(self) -> int:
        return self.r0 + self.crop.shape[0]

    @property
    def c1(self) -> int:
        return self.c0 + self.crop.shape[1]


LOOKS = 1


def combined(score: float, quality: float) -> float:
    return math.sqrt(score * quality)


def _box_of(mask: _Mask) -> Box:
    contours, _ = cv2.findContours(mask.crop, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate(contours)[:, 0, :]
    corners = np.concatenate([points + d for d in ([0, 0], [1, 0], [0, 1], [1, 1])])
    return oriented_box(corners + np.array([mask.c0, mask.r0]))


def _trimmed(crop: NDArray[np.uint8], r0: int, c0: int) -> tuple[NDArray[np.uint8], int, int]:
    i, j = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
    return np.ascontiguousarray(crop[i[0] : i[-1] + 1, j[0] : j[-1] + 1]), int(r0 + i[0]), int(c0 + j[0])


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


def _decoded(outputs: list[Floats], shape: tuple[int, int], *, least: float) -> list[_Mask]:
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
        out.append(_Mask(int(r0 + i[0]), int(c0 + j[0]), crop, score, int(kinds[k]), x, y))
    return out


def _suppressed(masks: list[_Mask]) -> list[_Mask]:
    """Of masks that are much alike the best one, in the order of the picture."""
    kept: list[_Mask] = []
    for mask in sorted(masks, key=lambda m: (-m.score, m.r0, m.c0)):
        if all(_iou(mask, other) <= _SAME for other in kept):
            kept.append(mask)
    return sorted(kept, key=lambda m: (m.r0, m.c0, m.score))


def _iou(a: _Mask, b: _Mask) -> float:
    r0, c0, r1, c1 = max(a.r0, b.r0), max(a.c0, b.c0), min(a.r1, b.r1), min(a.c1, b.c1)
    if r0 >= r1 or c0 >= c1:
        return 0.0
    one = a.crop[r0 - a.r0 : r1 - a.r0, c0 - a.c0 : c1 - a.c0]
    two = b.crop[r0 - b.r0 : r1 - b.r0, c0 - b.c0 : c1 - b.c0]
    both = int(np.count_nonzero(one & two))
    return both / (int(np.count_nonzero(a.crop)) + int(np.count_nonzero(b.crop)) - both)


def _unscaled(mask: _Mask, scale: float, shape: tuple[int, int]) -> _Mask | None:
    """A mask of the resized picture in the picture itself."""
    if scale == 1.0:
        return mask
    pad = np.pad(mask.crop * np.uint8(255), 2)
    r0, c0 = math.floor((mask.r0 - 2) / scale), math.floor((mask.c0 - 2) / scale)
    r1, c1 = math.ceil((mask.r1 + 2) / scale), math.ceil((mask.c1 + 2) / scale)
    matrix = np.array(
        [
            [1 / scale, 0, (mask.c0 - 2 + 0.5) / scale - 0.5 - c0],
            [0, 1 / scale, (mask.r0 - 2 + 0.5) / scale - 0.5 - r0],
        ]
    )
    crop = (cv2.warpAffine(pad, matrix, (c1 - c0, r1 - r0), flags=cv2.INTER_LINEAR) > 127).astype(np.uint8)
    a, b = max(r0, 0), max(c0, 0)
    crop = crop[a - r0 : shape[0] - r0, b - c0 : shape[1] - c0]
    i, j = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
    if not i.size:
        return None
    crop = np.ascontiguousarray(crop[i[0] : i[-1] + 1, j[0] : j[-1] + 1])
    return replace(mask, r0=int(a + i[0]), c0=int(b + j[0]), crop=crop)


def _within(mask: _Mask, inside: NDArray[np.bool_]) -> _Mask | None:
    crop = mask.crop & inside[mask.r0 : mask.r1, mask.c0 : mask.c1]
    # The rim of a flow cell is no particle.
    if np.count_nonzero(crop) < 0.5 * np.count_nonzero(mask.crop):
        return None
    i, j = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
    crop = np.ascontiguousarray(crop[i[0] : i[-1] + 1, j[0] : j[-1] + 1])
    return replace(mask, r0=int(mask.r0 + i[0]), c0=int(mask.c0 + j[0]), crop=crop)


def _instances(masks: list[_Mask], picture: Prepared) -> Instances:
    if not masks:
        return Instances.empty(picture.field)
    parts = [m.crop.ravel() for m in masks]
    return Instances(
        picture.field,
        np.array([(m.r0, m.c0, m.r1, m.c1) for m in masks], dtype=np.int32),
        np.concatenate(parts),
        np.concatenate([[0], np.cumsum([p.size for p in parts])]).astype(np.int64),
        np.array([m.score for m in masks], dtype=np.float32),
        np.array([m.kind for m in masks], dtype=np.uint8),
    )


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
    run = _openvino(path, precision) if precision.startswith("openvino") else onnx_runner(path)

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


def onnx_runner(path: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Frames are spread over threads by the pipeline; one thread each keeps the sums in one order.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as e:
        raise ReadError(f"expected a network in {path}, onnxruntime says: {e}; copy the file again") from e
    name = session.get_inputs()[0].name
    return lambda x: [np.array(o) for o in session.run(None, {name: x.astype(np.float32)})]


def _openvino(path: str, precision: str) -> Any:
    from crystalscope.errors import MissingExtraError

    try:
        import openvino
    except ImportError as e:
        raise MissingExtraError(
            "expected OpenVINO for this precision, it is not installed; pip install 'crystalscope[openvino]' or set "
            "crystals.precision = 'fp32'"
        ) from e
    core = openvino.Core()
    model = core.read_model(path)
    hint = "bf16" if precision.endswith("bf16") else "f32"
    settings = {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": "2", "PERFORMANCE_HINT": "THROUGHPUT"}
    compiled = core.compile_model(model, "CPU", settings)
    import threading

    local = threading.local()

    def run(x: Floats) -> list[Floats]:
        if not hasattr(local, "request"):
            local.request = compiled.create_infer_request()
        results = local.request.infer([x.astype(np.float32)])
        return [np.array(results[o]) for o in compiled.outputs]

    return run
