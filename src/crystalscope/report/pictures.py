"""Pictures of the report: overlays and the montage of particles."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core import Image
from crystalscope.io.coco import decode_rle

_TILE = 112
_QUALITY = 80
PER_ROW = 12
"""Tiles in a row of the montage."""


def eight_bit(image: Image) -> NDArray[np.uint8]:
    """RGB in 8 bit for the screen: 8-bit pictures as they are, others stretched to their 0.1 to 99.9 percentile."""
    data = np.asarray(image.data)
    if data.dtype != np.uint8:
        low, high = np.percentile(data, [0.1, 99.9])
        data = np.clip((data - low) * (255.0 / max(high - low, 1e-9)), 0, 255).astype(np.uint8)
    return data if data.ndim == 3 else np.repeat(data[:, :, None], 3, axis=2)


def colours(sizes: NDArray[np.float64], *, limits: tuple[float, float]) -> list[str]:
    """Colour ``#rrggbb`` of sizes on a logarithmic scale that is told apart by lightness too.

    Parameters
    ----------
    sizes
        (n,) above 0.
    limits
        Sizes at the ends of the scale; what lies outside has the colour of the end.
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    span = max(math.log(limits[1] / limits[0]), 1e-9)
    share = np.clip(np.log(np.asarray(sizes, dtype=float) / limits[0]) / span, 0, 1)
    return [to_hex(c) for c in colormaps["plasma"](0.12 + 0.84 * share)]


def colour_bar(limits: tuple[float, float]) -> dict[str, Any]:
    """Scale of `colours`: colours at even steps, and ticks of round sizes with their position in %."""
    steps = colours(np.geomspace(*limits, 12), limits=limits)
    span = math.log(limits[1] / limits[0])
    ticks = []
    if span > 0:
        powers = range(math.floor(math.log10(limits[0])), math.ceil(math.log10(limits[1])) + 1)
        round_sizes = [m * 10.0**p for p in powers for m in ((1, 2, 5) if span < 5 else (1,))]
        ticks = [(round(100 * math.log(v / limits[0]) / span, 2), f"{v:g}") for v in round_sizes]
    return {"colours": steps, "ticks": [t for t in ticks if 0 <= t[0] <= 100] or [(50.0, f"{limits[0]:.3g}")]}


def overlay(
    image: Image,
    annotations: list[dict[str, Any]],
    particles: pd.DataFrame,
    *,
    size: str,
    limits: tuple[float, float],
    width: int,
) -> str:
    """SVG of a frame: its counted particles outlined in the colour of their size, the others marked, a scale bar.

    Parameters
    ----------
    image
        The frame.
    annotations
        COCO entries of its counted particles.
    particles
        All found in the frame: columns particle, in_focus, touches_border, `size`, and x_px, y_px in px.
    size
        Column by which is coloured, such as ``ecd_um``.
    limits
        Sizes at the ends of the scale.
    width
        Width of the picture as shown, in px; smaller pictures stay as they are.
    """
    picture = eight_bit(image)
    scale = min(1.0, width / picture.shape[1])
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    rows, columns = picture.shape[:2]
    unit = "µm" if image.pixel_size_um else "px"
    counted = particles[particles["in_focus"]].set_index("particle")
    shown = dict(zip(counted.index, colours(counted[size].to_numpy(dtype=float), limits=limits), strict=True))
    # Lines in units of a picture of 1000 px, so that small and large pictures look alike on the page.
    u = columns / 1000
    marks, paths = [], []
    for row in particles[~particles["in_focus"]].itertuples():
        x, y, r = row.x_px * scale, row.y_px * scale, 4 * u
        marks.append(f"M{x - r:.1f} {y - r:.1f}l{2 * r:.1f} {2 * r:.1f}m0 {-2 * r:.1f}l{-2 * r:.1f} {2 * r:.1f}")
    for entry in annotations:
        number = entry["id"]
        if number not in shown:
            continue
        touches = bool(counted.at[number, "touches_border"])
        outline = "".join(_path(p * scale, scale) for p in _polygons(entry))
        title = f"particle {number}: {counted.at[number, size]:.4g} {unit}" + (
            ", touches the border" if touches else ""
        )
        paths.append(
            f"<g{' class=cut' if touches else ''}><title>{title}</title>"
            f'<path class=under d="{outline}"/><path d="{outline}" stroke="{shown[number]}"/></g>'
        )
    alt = f"Frame with {len(counted)} counted particles outlined"
    return (
        f'<svg class=overlay viewBox="0 0 {columns} {rows}" role="img" aria-label="{alt}" style="--u:{u:.3g}px">'
        f'<image href="{jpeg(picture)}" width="{columns}" height="{rows}"/>'
        f'<path class=blurred stroke="{"#15222e" if picture.mean() > 90 else "#dfe8f0"}" d="{"".join(marks)}"/>'
        f"{''.join(paths)}{_scale_bar(columns, rows, (image.pixel_size_um or 1.0) / scale, unit)}</svg>"
    )


def _polygons(entry: dict[str, Any]) -> list[NDArray[np.float32]]:
    """(k, 2) outlines, x and y on pixel corners, of a COCO entry; holes included."""
    shape = entry["segmentation"]
    if not isinstance(shape, dict):
        return [np.asarray(p, dtype=np.float32).reshape(-1, 2) for p in shape]
    left, top, columns, rows = (int(v) for v in entry["bbox"])
    mask = decode_rle(shape)[top : top + rows, left : left + columns].astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # They run through the centres of the outermost pixels.
    return [(c[:, 0, :] + np.array([left + 0.5, top + 0.5])).astype(np.float32) for c in contours]


def _path(points: NDArray[np.float32], scale: float) -> str:
    """Path of a closed outline, without the stairs of the pixels, which nobody sees."""
    simple = cv2.approxPolyDP(points.astype(np.float32), max(0.4, 0.7 * scale), True)[:, 0, :]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in simple) + "Z"


def _scale_bar(columns: int, rows: int, per_px: float, unit: str) -> str:
    """A bar of a round length at the lower right; `per_px` is the length of a px as shown."""
    u = columns / 1000
    length = round_below(columns / 5 * per_px)
    bar = length / per_px
    x, y = columns - bar - 24 * u, rows - 24 * u
    return (
        f'<rect x="{x - 12 * u:.1f}" y="{y - 36 * u:.1f}" width="{bar + 24 * u:.1f}" height="{50 * u:.1f}" fill="#fff"'
        f' fill-opacity="0.85"/><rect x="{x:.1f}" y="{y:.1f}" width="{bar:.1f}" height="{5 * u:.1f}"/>'
        f'<text x="{x + bar / 2:.1f}" y="{y - 9 * u:.1f}" font-size="{24 * u:.1f}" text-anchor="middle">'
        f"{length:g} {unit}</text>"
    )


def round_below(value: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above a positive value."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(m for m in (1, 2, 5) if m * power <= value * (1 + 1e-9)) * power


def montage(
    read: Callable[[int], Image],
    particles: pd.DataFrame,
    outlines: Mapping[int, list[dict[str, Any]]],
    *,
    size: str,
    unit: str,
    limit: int,
) -> list[dict[str, Any]]:
    """Crops of particles in order of size, outlined; the tiles of a row have one scale.

    Parameters
    ----------
    read
        Gives a frame by its index; called once per frame, one at a time.
    particles
        Columns frame, particle, x_px, y_px, feret_max_px in px, and `size` in `unit`.
    outlines
        COCO entries by frame; particles without one are shown without outline.
    size
        Column in which they are ordered.
    unit
        For the labels: µm or px.
    limit
        Tiles at most, spread over the order so that their sizes rise by even factors where there are enough particles.

    Returns
    -------
    By row: ``edge`` (length of a tile's edge with its unit) and ``tiles`` (``svg``, ``label``).
    """
    ordered = particles.sort_values([size, "particle"], kind="stable")
    n = min(limit, len(ordered))
    if not n:
        return []
    sizes = ordered[size].to_numpy(dtype=float)
    step = np.arange(n)
    picks = np.searchsorted(sizes, np.geomspace(sizes[0], sizes[-1], n))
    # Each particle once: first never back, then never beyond the end.
    picks = np.minimum(np.maximum.accumulate(picks - step) + step, len(sizes) - n + step)
    chosen = ordered.iloc[picks].reset_index(drop=True)
    row_of = chosen.index // PER_ROW
    widest = chosen["feret_max_px"].groupby(row_of).transform("max")
    chosen["half"] = np.ceil(0.6 * widest).clip(lower=7).astype(int) + 3
    tiles: dict[int, str] = {}
    pixel_size_um = None
    for frame, group in chosen.groupby("frame"):
        image = read(int(frame))
        pixel_size_um = image.pixel_size_um
        picture = eight_bit(image)
        entries = {e["id"]: e for e in outlines.get(int(frame), [])}
        for k, number, r, c, half, value in zip(
            group.index,
            group["particle"],
            group["y_px"].astype(int),
            group["x_px"].astype(int),
            group["half"],
            group[size],
            strict=True,
        ):
            zoom, corner = _TILE / (2 * half), np.array([c - half, r - half])
            polygons = _polygons(entries[number]) if number in entries else []
            outline = "".join(_path((p - corner) * zoom, zoom) for p in polygons)
            tiles[k] = (
                f'<svg viewBox="0 0 {_TILE} {_TILE}" role="img" aria-label="Particle of {value:.3g} {unit}">'
                f'<image href="{jpeg(_crop(picture, r, c, half))}" width="{_TILE}" height="{_TILE}"/>'
                f'<path d="{outline}"/></svg>'
            )
    return [
        {
            "edge": f"{2 * group['half'].iloc[0] * (pixel_size_um or 1.0):.3g} {unit}",
            "tiles": [{"svg": tiles[k], "label": f"{v:.3g}"} for k, v in group[size].items()],
        }
        for _, group in chosen.groupby(row_of)
    ]


def _crop(picture: NDArray[np.uint8], r: int, c: int, half: int) -> NDArray[np.uint8]:
    """Square tile around a pixel; white outside of the picture."""
    inside = picture[max(0, r - half) : r + half, max(0, c - half) : c + half]
    below, right = r + half - picture.shape[0], c + half - picture.shape[1]
    sides = (max(0, half - r), max(0, below), max(0, half - c), max(0, right))
    padded = cv2.copyMakeBorder(inside, *sides, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    way = cv2.INTER_AREA if 2 * half > _TILE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(padded, (_TILE, _TILE), interpolation=way), dtype=np.uint8)


def jpeg(picture: NDArray[np.uint8]) -> str:
    """Data URI of an RGB picture."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
