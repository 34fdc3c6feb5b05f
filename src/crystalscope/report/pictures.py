"""Pictures of the report: overlays and the montage of particles."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core import Image

_WIDTH = 1000
_TILE = 84


def eight_bit(image: Image) -> NDArray[np.uint8]:
    """RGB in 8 bit for the screen: 8-bit pictures as they are, others stretched to their 0.1 to 99.9 percentile."""
    data = np.asarray(image.data)
    if data.dtype != np.uint8:
        low, high = np.percentile(data, [0.1, 99.9])
        data = np.clip((data - low) * (255.0 / max(high - low, 1e-9)), 0, 255).astype(np.uint8)
    return data if data.ndim == 3 else np.repeat(data[:, :, None], 3, axis=2)


def colours(sizes: NDArray[np.float64], *, low: float, high: float) -> NDArray[np.uint8]:
    """RGB per size on a logarithmic plasma scale (told apart by lightness too)."""
    from matplotlib import colormaps

    span = max(np.log(high / low), 1e-9) if low > 0 else 1.0
    share = np.clip(np.log(np.maximum(sizes, 1e-9) / max(low, 1e-9)) / span, 0, 1)
    return np.asarray(colormaps["plasma"](0.1 + 0.85 * share)[:, :3] * 255, dtype=np.uint8)


def overlay(
    image: Image,
    annotations: list[dict[str, Any]],
    particles: pd.DataFrame,
    *,
    size: str,
    limits: tuple[float, float],
) -> str:
    """Data URI of a frame with its counted particles outlined in the colour of their size.

    Parameters
    ----------
    image
        The frame.
    annotations
        COCO entries of its counted particles.
    particles
        Columns particle and `size`, touches_border, of these.
    size
        Column by which is coloured.
    limits
        Sizes at the ends of the scale.
    """
    picture = eight_bit(image)
    scale = min(1.0, _WIDTH / picture.shape[1])
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    by_id = particles.set_index("particle")
    rgb = dict(
        zip(
            by_id.index,
            colours(by_id[size].to_numpy(dtype=float), low=limits[0], high=limits[1]),
            strict=True,
        )
    )
    for entry in annotations:
        if entry["id"] not in rgb or isinstance(entry["segmentation"], dict):
            continue
        colour = tuple(int(v) for v in rgb[entry["id"]])
        width = 1 if bool(by_id.at[entry["id"], "touches_border"]) else 2
        for polygon in entry["segmentation"]:
            points = (np.array(polygon, dtype=float).reshape(-1, 2) * scale - 0.5) * 16
            cv2.polylines(picture, [points.round().astype(np.int32)], True, colour, width, cv2.LINE_AA, 4)
    _scale_bar(picture, image.pixel_size_um, scale)
    return jpeg(picture)


def _scale_bar(picture: NDArray[np.uint8], pixel_size_um: float | None, scale: float) -> None:
    """A bar of a round length at the lower right."""
    unit = "um" if pixel_size_um else "px"
    per_px = (pixel_size_um or 1.0) / scale
    rough = picture.shape[1] / 6 * per_px
    power = 10.0 ** np.floor(np.log10(rough))
    length = max(m for m in (1, 2, 5) if m * power <= rough) * power
    px = round(length / per_px)
    rows, columns = picture.shape[:2]
    x, y = columns - px - 16, rows - 18
    text = f"{length:g} {unit}"
    cv2.rectangle(picture, (x - 8, y - 24), (columns - 8, rows - 8), (255, 255, 255), -1)
    cv2.rectangle(picture, (x, y), (x + px, y + 4), (0, 0, 0), -1)
    cv2.putText(picture, text, (x, y - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)


def montage(
    images: dict[int, Image], particles: pd.DataFrame, *, size: str, unit: str, limit: int
) -> list[dict[str, str]]:
    """Crops of particles in order of size, each in a tile of one size with its size beneath.

    Parameters
    ----------
    images
        Frames by index.
    particles
        Columns frame, x, y, feret_max (px) and `size` (in `unit`).
    size
        Column in which they are ordered.
    unit
        For the label.
    limit
        Tiles at most, spread evenly over the order.
    """
    ordered = particles.sort_values([size, "particle"], kind="stable")
    picks: Any = (
        np.unique(np.linspace(0, len(ordered) - 1, min(limit, len(ordered))).round().astype(int))
        if len(ordered)
        else []
    )
    tiles = []
    shown = {k: eight_bit(v) for k, v in images.items()}
    for i in picks:
        row = ordered.iloc[int(i)]
        picture = shown[int(row["frame"])]
        half = max(8, int(0.62 * row["feret_max_px"]) + 3)
        r, c = int(row["y_px"]), int(row["x_px"])
        padded = cv2.copyMakeBorder(
            picture[max(0, r - half) : r + half, max(0, c - half) : c + half],
            max(0, half - r),
            max(0, r + half - picture.shape[0]),
            max(0, half - c),
            max(0, c + half - picture.shape[1]),
            cv2.BORDER_CONSTANT,
            value=(255, 255, 255),
        )
        way = cv2.INTER_AREA if 2 * half > _TILE else cv2.INTER_CUBIC
        tiles.append(
            {
                "src": jpeg(cv2.resize(padded, (_TILE, _TILE), interpolation=way)),
                "label": f"{row[size]:.3g} {unit}",
            }
        )
    return tiles


def jpeg(picture: NDArray[np.uint8]) -> str:
    """Data URI of an RGB picture."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
