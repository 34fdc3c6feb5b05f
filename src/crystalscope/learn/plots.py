"""Pictures of a training: its curve, and what is found in held-back frames before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.core import Image, Instances
from crystalscope.io.coco import Annotated
from crystalscope.io.pictures import to_grey, write_png
from crystalscope.io.tables import write_bytes
from crystalscope.score import Pair, matched

FOUND, FALSE, MISSED = (60, 180, 40), (230, 60, 40), (40, 110, 250)
"""Colours (RGB) of particles found, found where none is, and missed."""
_SHOWN = 4


def compared(image: Image, found: Instances, truth: Annotated | None = None) -> NDArray[np.uint8]:
    """A picture with the outlines of what was found and missed.

    Parameters
    ----------
    image
        The picture.
    found
        Particles found.
    truth
        True ones, matched at an IoU of 0.5; None: all that was found is drawn as found.

    Returns
    -------
    (rows, columns, 3) RGB.
    """
    bits = 8 if image.data.dtype == np.uint8 else 16
    grey = to_grey(image.data, bits=bits)
    high = max(float(grey.max()), 1e-6)
    out = np.repeat((np.clip(grey / high, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)
    thick = 1 + out.shape[1] // 1400
    if truth is None:
        _draw(out, found, np.arange(len(found)), FOUND, thick)
        return out
    hit, seen, false, _ = matched(Pair(found, truth.instances, truth.ignore))
    missed = np.setdiff1d(np.flatnonzero(~truth.ignore), seen)
    _draw(out, truth.instances, missed, MISSED, thick)
    _draw(out, found, false, FALSE, thick)
    _draw(out, found, hit, FOUND, thick)
    return out


def _draw(
    out: NDArray[np.uint8], instances: Instances, which: NDArray[np.intp], colour: tuple[int, int, int], thick: int
) -> None:
    for k in which:
        r0, c0, _, _ = instances.boxes[k]
        contours, _ = cv2.findContours(
            instances.crop(int(k)).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(int(c0), int(r0))
        )
        cv2.drawContours(out, contours, -1, colour, thick, cv2.LINE_AA)


def write_overlays(
    path: Path,
    pictures: Mapping[str, Callable[[], Image]],
    truth: Mapping[str, Annotated],
    before: Mapping[str, Annotated],
    after: Mapping[str, Annotated],
) -> Path:
    """Write up to four held-back frames, above each other: before the training (left) and after (right)."""
    rows = []
    for name in sorted(truth)[:_SHOWN]:
        image = pictures[name]()
        sides = [compared(image, side[name].instances, truth[name]) for side in (before, after) if name in side]
        scale = 800 / sides[0].shape[1]
        rows.append(np.hstack([cv2.resize(s, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for s in sides]))
    return write_png(path, np.vstack(rows))


def write_curve(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write the loss and the IoU of the masks over the steps, smoothed over a hundredth of them."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = np.array([r["step"] for r in rows])
    width = max(1, len(rows) // 100)
    for axes, keys in ((left, ("loss", "score", "mask")), (right, ("iou",))):
        for key in keys:
            values = np.array([r.get(key, np.nan) for r in rows], dtype=float)
            smooth = np.convolve(np.nan_to_num(values), np.ones(width) / width, mode="valid")
            axes.plot(steps[width - 1 :], smooth, label=key)
        axes.set_xlabel("step")
        axes.legend(frameon=False)
    left.set_ylabel("loss")
    right.set_ylabel("IoU of masks in training")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return write_bytes(path, buffer.getvalue())
