"""Looks that all plots share, and writing them to files."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crystalscope.io.tables import write_bytes

# Blue against orange is told apart with any colour vision, and by lightness in a grey print.
BLUE, PALE, ORANGE, GREY, RED = "#1f5f99", "#c9dcec", "#c8551b", "#6b7580", "#e9b8b0"
STYLE: Any = {
    "svg.fonttype": "none",
    # Shipped with matplotlib, so the layout is the same everywhere; the page then sets its own, narrower font.
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a949e",
    "axes.labelcolor": "#1c2733",
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "grid.color": "#e8ebee",
    "grid.linewidth": 0.6,
    "xtick.color": "#4a5560",
    "ytick.color": "#4a5560",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def new_figure(width: float, height: float) -> Any:
    """An empty figure of a width and a height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def write_plot(path: Path, draw: Callable[[], Any]) -> Path:
    """Draw a matplotlib figure in the style of the reports and write it as SVG or PNG, by its suffix.

    Raises
    ------
    WriteError
        When the place cannot be written.
    """
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        mpl.rcParams["svg.hashsalt"] = path.stem
        buffer = io.BytesIO()
        kind = path.suffix.lstrip(".")
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        draw().savefig(buffer, format=kind, dpi=150, metadata=metadata)
    return write_bytes(path, buffer.getvalue())
