"""Pictures of the comparison: Q3 by method, the two known faults, one frame with what each method finds."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from bench.semantic.fractions import FRACTIONS
from crystalscope.datasets import open_dataset
from crystalscope.io.coco import read_coco
from crystalscope.learn.plots import compared
from crystalscope.size import classes, lognormal_of_classes, make_distribution

COLOURS = {"semantic": "tab:blue", "semantic, mended": "tab:cyan", "threshold": "tab:green", "crystals": "tab:red"}


def plot_fractions(sizes: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Q3 by ECD of both fractions: truth, methods, the published points and fit."""
    from matplotlib.figure import Figure
    from scipy.special import erf

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, (name, found) in zip(figure.subplots(1, len(sizes)), sizes.items(), strict=True):
        low, high = FRACTIONS[name][0]
        axes.axvspan(low, high, color="0.93", label="sieve openings")
        truth = found["truth"]
        for values, style, label in (
            (truth.ecd, "k-", "truth, ECD"), (truth.width, "k:", "truth, width that a sieve sees"),
        ):  # fmt: skip
            x = np.sort(values)
            axes.step(x, np.cumsum(x**3) / (x**3).sum(), style, where="post", lw=1.6, label=label)
        for method, colour in COLOURS.items():
            x = np.sort(found[method].ecd)
            if not x.size:
                continue
            axes.step(x, np.cumsum(x**3) / (x**3).sum(), color=colour, where="post", lw=1.2, label=method)
        x = found["semantic"].ecd
        if x.size > 1:
            table = classes(make_distribution(x, x**3, definition="ecd", volume_model="ecd^3", unit="um"), width=10.0)
            held = table[table["n"] > 0]
            axes.plot(held["largest"], held["Q3"], "o", color="tab:blue", ms=3.5, label="largest of each class")
            x50, sigma = lognormal_of_classes(table)
            at = np.linspace(1, 2 * high, 400)
            fit = 0.5 * (1 + erf(np.log(at / x50) / (np.sqrt(2) * sigma)))
            axes.plot(at, fit, "--", color="tab:blue", lw=1, label="published fit")
        axes.set(xlim=(0, 1.9 * high), ylim=(0, 1.02), xlabel="size (um)", ylabel="Q3", title=f"{name} um")
    figure.axes[0].legend(frameon=False, fontsize=7, loc="upper left")
    return _png(figure)


def plot_faults(ratios: Mapping[str, pd.DataFrame], forms: pd.DataFrame) -> bytes:
    """Form factor against diameter by both perimeters; found over true diameter of overlapping crystals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.axhspan(0.85, 0.95, color="0.93", label="published gate")
    for column, colour, label in (
        ("boundary", "tab:blue", "along the boundary pixels (published)"), ("crofton", "tab:red", "Crofton"),
    ):  # fmt: skip
        left.plot(forms["ecd_px"], forms[column].clip(upper=2), ".", ms=2, color=colour, alpha=0.5, label=label)
    left.axhline(1, color="k", lw=0.8)
    left.set(xscale="log", ylim=(0.2, 2.05), xlabel="ECD (px)", ylabel="form factor 4 pi A / P²")
    left.legend(frameon=False, fontsize=7)
    bins = np.linspace(0.5, 1.3, 41)
    for method, table in ratios.items():
        crossed = table.loc[table["shared"] > 0.05, "ratio"]
        label = f"{method} ({len(crossed)})"
        right.hist(crossed.clip(0.5, 1.3), bins=bins, histtype="step", label=label, density=bool(len(crossed)))
    right.axvline(1, color="k", lw=0.8)
    right.set(xlabel="found / true ECD of crystals that overlap another", ylabel="density")
    right.legend(frameon=False, fontsize=7)
    return _png(figure)


_SHOWN = 250
"""Half the side of the part of a picture that is shown, px."""


def plot_overlay(folder: Path, runs: Mapping[str, Path]) -> bytes:
    """The picture with the most crystals: found in green, wrong in red, missed in blue, for each method."""
    data = open_dataset(folder)
    truth = data.truth()
    names = [str(f) for f in data.frames["file"]]
    crowded = int(np.argmax([len(truth[n].instances) if n in truth else 0 for n in names]))
    name, image = names[crowded], data.read(crowded)
    tiles = []
    for method, run in runs.items():
        found = {Path(a.file_name).name: a.instances for a in read_coco(run / "annotations.coco.json")}
        whole = compared(image, found[Path(name).name], truth[name])
        rows, columns = (n // 2 for n in whole.shape[:2])
        tile = np.ascontiguousarray(whole[rows - _SHOWN : rows + _SHOWN, columns - _SHOWN : columns + _SHOWN])
        cv2.putText(tile, method, (12, 32), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (200, 60, 0), 2, cv2.LINE_AA)
        tiles.append(tile)
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(np.hstack(tiles), cv2.COLOR_RGB2BGR))[1].tobytes())


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
