"""The comparison of frames with pictures rendered by the instrument fitted to them."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.core import Image
from crystalscope.io.pictures import bits_in_use, to_grey

if TYPE_CHECKING:
    from crystalscope.datasets.instrument import InstrumentFit

_REAL, _RENDERED = "#1f5a8c", "#c8641e"
_ACROSS = 900
"""Longer side of a picture in the comparison, px."""


def comparison(real: InstrumentFit, rendered: InstrumentFit) -> bytes:
    """PNG: frames above, rendered pictures below, then grey levels, noise and blur of edges of both.

    Parameters
    ----------
    real, rendered
        Fits to the frames and to the rendered pictures; their samples are shown on one scale of grey, from no light to
        the largest level of all.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = max(len(real.samples), 2)
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
        shape = real.samples[0].shape
        height = 3.6 * shape[0] / shape[1]
        figure = Figure(figsize=(3.8 * columns, 2 * height + 4.0), layout="constrained")
        parts: Any = figure.subfigures(2, 1, height_ratios=[2 * height + 0.5, 3.4])
        pictures, plots = parts
        top = max(_top(s) for s in (*real.samples, *rendered.samples))
        axes = pictures.subplots(2, columns, squeeze=False)
        for row, fit, name in ((0, real, "frame"), (1, rendered, "rendered")):
            for k in range(columns):
                axis = axes[row][k]
                axis.set_axis_off()
                if k < len(fit.samples):
                    axis.imshow(_shown(fit.samples[k], top), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                    label = fit.samples[k].source if fit is real and fit.samples[k].source else f"{name} {k + 1}"
                    axis.set_title(label if row == 0 else f"{name} {k + 1}", fontsize=8, loc="left")
        levels, noise, blur = plots.subplots(1, 3)
        for fit, colour, name in ((real, _REAL, "frames"), (rendered, _RENDERED, "rendered")):
            _plot_levels(levels, fit, colour, name)
            noise.plot(fit.curve.level, fit.curve.noise, "o-", color=colour, ms=3.5, lw=1.2, label=name)
            _plot_blur(blur, fit, colour, name)
        levels.set(
            xlabel="grey level, share of white", ylabel="share of pixels per 1/85 of white", yscale="log", xlim=(0, 1)
        )
        noise.set(xlabel="grey level, share of white", ylabel="noise of flat tiles, share of white", ylim=(0, None))
        blur.set(xlabel="blur of edges, px", ylabel="share of edges below", ylim=(0, 1), xlim=(0, 4))
        levels.legend(frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _grey(image: Image) -> NDArray[np.float32]:
    data = image.data
    return to_grey(data, bits=bits_in_use([int(data.max())]) if data.dtype == np.uint16 else 16)


def _top(image: Image) -> float:
    return float(np.quantile(_grey(image)[::3, ::3], 0.999))


def _shown(image: Image, top: float) -> NDArray[np.float32]:
    """Reduced picture of full scale `top`, grey or colour."""
    data: Any = image.data.astype(np.float32)
    grey = _grey(image)
    # Colour on the scale of its grey.
    unit = float(grey.max()) / max(
        float(cv2.cvtColor(data, cv2.COLOR_RGB2GRAY).max() if data.ndim == 3 else data.max()), 1e-9
    )
    scale = min(1.0, _ACROSS / max(image.shape))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(data * np.float32(unit / max(top, 1e-6)), size, interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(small, 0, 1), dtype=np.float32)


def _plot_levels(axis: Any, fit: InstrumentFit, colour: str, name: str) -> None:
    values = np.concatenate([_grey(s)[::2, ::2].ravel() for s in fit.samples])
    # Three levels of 8 bit to a bin, or the counts would beat.
    edges = (np.arange(0, 259, 3) - 0.5) / 255
    share = np.histogram(values, bins=edges)[0] / values.size
    axis.step(edges[:-1], np.maximum(share, 1e-6), where="post", color=colour, lw=1.2, label=name)


def _plot_blur(axis: Any, fit: InstrumentFit, colour: str, name: str) -> None:
    width = np.sort(fit.widths_px)
    if width.size:
        axis.plot(width, np.arange(1, width.size + 1) / width.size, color=colour, lw=1.2, label=name)
    known = [e.value for e in fit.estimates if e.name == "blur_px"]
    if known and isinstance(known[0], float) and math.isfinite(known[0]):
        axis.axvline(known[0], color=colour, lw=0.8, ls=":")
