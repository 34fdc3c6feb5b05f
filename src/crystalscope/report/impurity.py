"""Pictures of an impurity: the strangest particles, heat maps, fractions over the frames, and the page with all."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crystalscope.core import Image, Instances
from crystalscope.io.tables import write_text
from crystalscope.report.pictures import eight_bit
from crystalscope.report.plots import inline_svg
from crystalscope.report.style import BLUE, ORANGE, PALE, new_figure

Bytes = NDArray[np.uint8]

_TILE, _LABEL, _PER_ROW = 120, 18, 8
_OPAQUE = 0.55


def heat_of(score: ArrayLike, threshold: float, *, probability: bool) -> NDArray[np.float64]:
    """How hot a score is: 0 far below the threshold, 0.5 at it, 1 far above.

    Parameters
    ----------
    score
        (n,).
    threshold
        Of the model.
    probability
        Scores are probabilities: their distance is that of the logits, cut at 6. Otherwise the score over the
        threshold, cut at 2.
    """
    s = np.asarray(score, dtype=float)
    if probability:
        logit = [np.log(np.clip(v, 1e-9, 1 - 1e-9) / (1 - np.clip(v, 1e-9, 1 - 1e-9))) for v in (s, threshold)]
        return np.clip(0.5 + (logit[0] - logit[1]) / 12, 0, 1)
    return np.clip(0.5 * s / max(threshold, 1e-12), 0, 1)


def heat_map(image: Image, instances: Instances, heat: ArrayLike) -> Bytes:
    """A picture with its particles coloured by their heat, the hottest on top.

    Parameters
    ----------
    image
        The picture.
    instances
        Its particles.
    heat
        (n,) from `heat_of`.

    Returns
    -------
    (rows, columns, 3) RGB.
    """
    hot = np.asarray(heat, dtype=float)
    shown = eight_bit(image).astype(np.float32)
    level = np.full(instances.field.shape, np.nan, dtype=np.float32)
    for k in np.argsort(hot, kind="stable"):
        r0, c0, r1, c1 = (int(v) for v in instances.boxes[k])
        level[r0:r1, c0:c1][instances.crop(int(k)) > 0] = hot[k]
    inside = np.isfinite(level)
    shown[inside] = (1 - _OPAQUE) * shown[inside] + _OPAQUE * _colours(level[inside])
    return shown.round().astype(np.uint8)


def _colours(heat: ArrayLike) -> NDArray[np.float32]:
    from matplotlib import colormaps

    # Blue to red by way of light yellow at the threshold.
    return np.asarray(255 * colormaps["RdYlBu_r"](np.asarray(heat, dtype=float))[..., :3], dtype=np.float32)


def strangest(tiles: Sequence[tuple[Bytes, Bytes | None, float, bool]]) -> Bytes:
    """Montage of particles, the strangest first.

    Parameters
    ----------
    tiles
        Of each particle: RGB crop, mask of it in the crop (None: none), score, whether it is called impurity.

    Returns
    -------
    RGB; the score stands below each, impurities have an orange frame.
    """
    columns = min(_PER_ROW, max(len(tiles), 1))
    rows = max(math.ceil(len(tiles) / columns), 1)
    out = np.full((rows * (_TILE + _LABEL), columns * _TILE, 3), 255, np.uint8)
    for k, (crop, mask, score, called) in enumerate(tiles):
        r, c = (k // columns) * (_TILE + _LABEL), (k % columns) * _TILE
        out[r : r + _TILE, c : c + _TILE] = _tile(crop, mask, called)
        cv2.putText(
            out, f"{score:.3g}", (c + 6, r + _TILE + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 50, 60), 1, cv2.LINE_AA
        )
    return out


def _tile(crop: Bytes, mask: Bytes | None, called: bool) -> Bytes:
    edge = _TILE - 6
    scale = edge / max(crop.shape[:2])
    size = (max(round(crop.shape[1] * scale), 1), max(round(crop.shape[0] * scale), 1))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(crop, size, interpolation=way)
    colour = (200, 85, 27) if called else (150, 165, 180)
    if mask is not None:
        drawn = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(drawn, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(small, outlines, -1, colour, 1, cv2.LINE_AA)
    tile = np.full((_TILE, _TILE, 3), 255, np.uint8)
    a, b = (_TILE - size[1]) // 2, (_TILE - size[0]) // 2
    tile[a : a + size[1], b : b + size[0]] = small
    cv2.rectangle(tile, (0, 0), (_TILE - 1, _TILE - 1), colour if called else (255, 255, 255), 2)
    return tile


def plot_fractions(table: pd.DataFrame, *, total: float) -> Any:
    """Fraction by number in every frame with its interval, and that of all frames."""
    figure = new_figure(6.6, 3.0)
    axis = figure.subplots()
    seen = table[table["n"] > 0]
    x = seen["frame"] + 1
    axis.vlines(x, 100 * seen["number_lower"], 100 * seen["number_upper"], color=PALE, lw=3, label="interval")
    axis.plot(x, 100 * seen["number"], ".", color=BLUE, label="frame, by number")
    axis.axhline(100 * total, color=ORANGE, lw=1.1, label="all frames")
    # The upper bound of a frame with few particles says nothing and would hide the others.
    top = max(100 * float(seen["number_upper"].median()), 100 * float(seen["number"].max()), 1.0) if len(seen) else 1.0
    axis.set(xlabel="frame", ylabel="impurity / %", ylim=(0, 1.15 * top))
    axis.legend(loc="upper right")
    return figure


def plot_scores(score: ArrayLike, threshold: float, *, probability: bool) -> Any:
    """Histogram of the scores with the threshold, counts on a root scale so that single particles are seen."""
    figure = new_figure(6.6, 2.6)
    axis = figure.subplots()
    s = np.asarray(score, dtype=float)
    axis.hist(s, bins=np.linspace(0, 1, 41) if probability else 40, color=BLUE)
    axis.axvline(threshold, color=ORANGE, lw=1.2, label="threshold")
    axis.set_yscale("function", functions=(np.sqrt, np.square))
    axis.set(xlabel="score", ylabel="particles")
    axis.legend()
    return figure


def write_page(
    path: Path,
    *,
    title: str,
    lines: Sequence[str],
    figures: Sequence[tuple[str, Callable[[], Any]]],
    pictures: Sequence[tuple[str, Bytes]],
) -> Path:
    """One page that opens offline.

    Parameters
    ----------
    path
        Of the page.
    title
        Of the page.
    lines
        What was found, in words.
    figures
        Captions and plots.
    pictures
        Captions and RGB pictures.
    """
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(loader=PackageLoader("crystalscope", "report"), autoescape=select_autoescape(["jinja"]))
    page = environment.get_template("page.html.jinja").render(
        title=title,
        lines=lines,
        figures=[(caption, inline_svg(draw, caption, salt=f"figure{k}")) for k, (caption, draw) in enumerate(figures)],
        pictures=[(caption, _png(picture)) for caption, picture in pictures],
    )
    return write_text(path, page)


def _png(picture: Bytes) -> str:
    ok, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert ok
    return "data:image/png;base64," + base64.b64encode(data.tobytes()).decode()
