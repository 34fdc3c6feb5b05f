"""From a folder of pictures to labels: what each shows, the outcome of every experiment, events."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.config import AnalyzeConfig
from crystalscope.core import LABELS, FrameRef, ledger_frame
from crystalscope.errors import ConfigError, CrystalscopeError, ReadError
from crystalscope.events import has_clock, run_events
from crystalscope.io.events import write_events
from crystalscope.io.pictures import bits_in_use, to_grey, write_png
from crystalscope.io.sequence import Source, open_sequence
from crystalscope.io.tables import read_table, write_table
from crystalscope.label import Labeller, LabelNetwork, NetworkLabeller, make_labeller
from crystalscope.label.tables import write_labels
from crystalscope.results import class_stem

Progress = Callable[[int, int], None]

EXPLAINED = 24
"""Pictures of a label that are explained, those of the highest confidence."""
_FILES = ("frames.parquet", "labels.csv", "outcome.csv", "events.json")


@dataclass(frozen=True, eq=False)
class Labelled:
    """What was written.

    Parameters
    ----------
    labels
        Rows of labels.csv.
    explained
        Pictures of where a label is seen.
    warnings
        What is to be said of the pictures.
    """

    labels: pd.DataFrame
    explained: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()


def label_folder(
    folder: str | Path,
    out: str | Path,
    *,
    config: AnalyzeConfig,
    explain: str | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Labelled:
    """Label the pictures of a folder (a video, a stack).

    Parameters
    ----------
    folder
        What is read, see `io.sequence.open_sequence`; pictures in subfolders are experiments of their own.
    out
        Folder for frames.parquet, labels.csv, outcome.csv, and events.json where times and temperatures are known. In
        the folder of a run of the same pictures the labels take the place of its labels.
    config
        The tables input and label are used; the labeller is the network where the settings name none that looks at
        pictures alone.
    explain
        A label: pictures of where it is seen go to OUT/explain/LABEL.
    overwrite
        Replace labels of other pictures in `out`.
    workers
        Threads; None: as many as processors.
    progress
        Called with the frames done and the frames there are.

    Raises
    ------
    ReadError
        When nothing can be read.
    ConfigError
        When the settings do not fit, or `out` holds something else.
    """
    settings = config.label
    if settings.labeller in ("none", "rules"):
        settings = settings.model_copy(update={"labeller": "network"})
    labeller = make_labeller(settings)
    if explain is not None:
        _explainer(labeller, explain)
    source = open_sequence(folder, config=config.input)
    target = Path(out)
    before = _before(target, source, overwrite=overwrite)
    frames = source.sequence.frames
    bits = config.input.bits or _bits(source)
    cv2.setNumThreads(1)
    rows = []
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        for row in _in_order(pool, frames, lambda f: label_frame(source, f, labeller, bits=bits)):
            rows.append(row)
            if progress:
                progress(len(rows), len(frames))
    if all(row["status"] == "failed" for row in rows):
        raise ReadError(
            f"expected a readable picture in {folder}, all {len(rows)} failed; the first: {rows[0]['reason']}"
        )
    ledger = ledger_frame(rows)
    if before is not None:
        ledger = before.drop(columns=[c for c in LABELS if c in before]).merge(
            ledger[["file", *LABELS]], on="file", how="left", validate="one_to_one"
        )
    write_table(target / "frames.parquet", ledger)
    table = write_labels(target, ledger, settings)
    if has_clock(ledger):
        write_events(target / "events.json", run_events(target))
    shown = () if explain is None else _explained(source, table, labeller, explain, bits=bits, out=target)
    return Labelled(table, shown, source.warnings)


def _before(out: Path, source: Source, *, overwrite: bool) -> pd.DataFrame | None:
    """The ledger of a run of the same pictures that lies in the folder already, or None."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"expected a folder for the labels, got the file {out}; choose another --out")
    ledger = out / "frames.parquet"
    if ledger.exists():
        frames = read_table(ledger)
        if frames["file"].astype(str).tolist() == [f.name for f in source.sequence.frames]:
            return frames
    if not out.exists() or not any(out.iterdir()):
        return None
    if overwrite and not (out / "run.toml").exists():
        for name in _FILES:
            (out / name).unlink(missing_ok=True)
        return None
    what = "a run of other pictures" if ledger.exists() else "other files"
    raise ConfigError(
        f"expected an empty folder or a run of these pictures in {out}, got {what}; choose another --out"
        + ("" if (out / "run.toml").exists() else ", or --overwrite")
    )


def label_frame(source: Source, frame: FrameRef, labeller: Labeller, *, bits: int) -> dict[str, Any]:
    """Ledger row of one frame with its confidences; any fault is its reason."""
    row: dict[str, Any] = {
        "frame": frame.index,
        "file": frame.name,
        "time_s": frame.time_s,
        "temperature_c": frame.temperature_c,
        "pixel_size_um": source.pixel_size_um or math.nan,
        "reason": frame.note,
        **dict.fromkeys(LABELS, math.nan),
    }
    try:
        data = source.read(frame).data
        row |= {"width_px": data.shape[1], "height_px": data.shape[0]}
        if data.min() == data.max():
            reason = f"every pixel is {data.min()}: no picture, or lamp off, or saturated"
            return row | {"status": "rejected", "reason": "; ".join(x for x in (frame.note, reason) if x)}
        confidence = labeller.label(to_grey(data, bits=bits))
    except (CrystalscopeError, cv2.error, MemoryError, ValueError) as e:
        return row | {"status": "failed", "reason": "; ".join(x for x in (frame.note, str(e)) if x)}
    row |= zip(LABELS, confidence.tolist(), strict=True)
    there = confidence[0] >= labeller.thresholds[0]
    return row | {"status": "ok" if there else "empty", "method": "label"}


def _bits(source: Source) -> int:
    """Bits in use of 16-bit pictures, from a few of them."""
    frames = source.sequence.frames
    maxima = []
    for frame in frames[:: max(1, len(frames) // 5)]:
        try:
            data = source.read(frame).data
        except CrystalscopeError:
            continue
        if data.dtype == np.uint16:
            maxima.append(int(data.max()))
    return bits_in_use(maxima)


def _in_order(
    pool: ThreadPoolExecutor, frames: tuple[FrameRef, ...], work: Callable[[FrameRef], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Rows in the order of the frames, a few frames ahead, so that memory stays flat."""
    waiting: deque[Future[dict[str, Any]]] = deque()
    for frame in frames:
        waiting.append(pool.submit(work, frame))
        if len(waiting) > 2 * (os.cpu_count() or 1) + 2:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _explainer(labeller: Labeller, label: str) -> LabelNetwork:
    if label not in LABELS:
        raise ConfigError(f"expected a label of {', '.join(LABELS)} to explain, got {label!r}; check --explain")
    if not isinstance(labeller, NetworkLabeller):
        raise ConfigError("expected the labeller network for --explain, got another; only it has maps of its labels")
    return labeller.network


def _explained(
    source: Source, table: pd.DataFrame, labeller: Labeller, label: str, *, bits: int, out: Path
) -> tuple[Path, ...]:
    network = _explainer(labeller, label)
    best = table.sort_values(label, ascending=False, kind="stable")
    names = best.loc[best[label].notna(), "file"].head(EXPLAINED)
    by_name = {f.name: f for f in source.sequence.frames}
    paths = []
    for name in names:
        grey = to_grey(source.read(by_name[name]).data, bits=bits)
        path = out / "explain" / label / f"{class_stem(name)}.png"
        write_png(path, explained(grey, network.explanation(grey, label)))
        paths.append(path)
    return tuple(paths)


def explained(grey: NDArray[np.float32], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A picture (rows, columns, 3) RGB with the places that gave a label in orange.

    Parameters
    ----------
    grey
        (rows, columns), full scale 1.
    heat
        (rows, columns), 0 to 1.
    """
    low, high = (float(v) for v in np.percentile(grey[::3, ::3], [0.5, 99.5]))
    ground = np.clip((grey - low) / max(high - low, 1e-3), 0, 1)[..., None] * np.float32(0.9)
    colour = np.array([1.0, 0.45, 0.0], dtype=np.float32)
    weight = np.float32(0.6) * heat[..., None]
    return np.asarray(np.round(255 * (ground * (1 - weight) + colour * weight)), dtype=np.uint8)
