"""From a folder of pictures to a run: the flow of DESIGN, frame by frame, resumable."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.config import AnalyzeConfig
from crystalscope.core import LABELS, FrameRef, Image, Instances
from crystalscope.errors import ConfigError, CrystalscopeError, ReadError
from crystalscope.io.pictures import bits_in_use, to_grey
from crystalscope.io.sequence import Source, open_sequence
from crystalscope.label import Labeller, make_labeller
from crystalscope.measure import measure_columns
from crystalscope.prepare import Prepared, frames_background, prepare, static_mask
from crystalscope.results import COVER, FrameResult, RunFolder, write_results
from crystalscope.segment.base import Segmenter, make_segmenter

CHUNK = 32
"""Frames between two points at which an interrupted run can go on."""
_SMALLEST_PX = 16
_STUDY_BYTES = 400_000_000
"""Memory that the sample of frames may take from which static objects are found."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Study:
    """What a sample of the run told before its first frame is analysed.

    Parameters
    ----------
    segmenter
        Settled on the run (polarity).
    labeller
        None where pictures are not labelled.
    bits
        Bits in use of 16-bit pictures.
    background
        Background of frames, None where the configuration names none.
    static
        Pixels of static objects, None where there are none or too few frames.
    warnings
        What could not be done.
    """

    segmenter: Segmenter
    labeller: Labeller | None = None
    bits: int = 16
    background: NDArray[np.float32] | None = None
    static: NDArray[np.bool_] | None = None
    warnings: tuple[str, ...] = ()


def analyze(
    folder: str | Path,
    out: str | Path,
    *,
    config: AnalyzeConfig,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Analyse a folder of pictures (or a video, or a stack) and write the run.

    Parameters
    ----------
    folder
        What is read, see `io.sequence.open_sequence`.
    out
        Folder of the run, see `docs/reference/run-folder.md`. A run of the same pictures and settings that was
        interrupted goes on; a complete one is left as it is.
    config
        Settings.
    overwrite
        Throw away a run of other pictures or settings in `out`.
    workers
        Threads; None: as many as there are processors. The result does not depend on it.
    progress
        Called with the frames done and the frames there are.

    Returns
    -------
    What stands in summary.json.

    Raises
    ------
    CrystalscopeError
        Where nothing can be read or written, or the settings do not fit. A single picture that fails does not
        raise: it is a row of the ledger with the reason.
    """
    if config.input.pixel_size_um is not None and config.input.pixel_size_um <= 0:
        raise ConfigError(f"expected a scale above 0 um per px, got {config.input.pixel_size_um}")
    source = open_sequence(folder, config=config.input)
    run = RunFolder.open(Path(out), source=source, config=config, overwrite=overwrite)
    if run.complete:
        return run.summary()
    frames = source.sequence.frames
    cv2.setNumThreads(1)
    study = study_run(source, config)
    done = run.frames_done()
    if progress:
        progress(done, len(frames))
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        chunk: list[FrameResult] = []
        for result in _in_order(pool, frames[done:], lambda f: analyze_frame(source, f, study, config)):
            chunk.append(result)
            done += 1
            if len(chunk) == CHUNK or done == len(frames):
                run.append(chunk, pixel_size_um=source.pixel_size_um)
                chunk = []
                if progress:
                    progress(done, len(frames))
    if not run.any_readable():
        raise ReadError(
            f"expected a readable picture in {folder}, all {len(frames)} failed; the first: {run.first_reason()}"
        )
    return write_results(run, source=source, config=config, warnings=(*source.warnings, *study.warnings))


def _in_order(
    pool: ThreadPoolExecutor, frames: tuple[FrameRef, ...], work: Callable[[FrameRef], FrameResult]
) -> Iterator[FrameResult]:
    """Results in the order of the frames, a few frames ahead, so that memory stays flat."""
    ahead = 2 * (os.cpu_count() or 1) + 2
    waiting: deque[Any] = deque()
    for frame in frames:
        waiting.append(pool.submit(work, frame))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def study_run(source: Source, config: AnalyzeConfig) -> Study:
    """Look at frames spread over the run: polarity, bits, background of frames, static objects."""
    frames = source.sequence.frames
    segmenter = make_segmenter(config)
    labeller = None if config.label.labeller == "none" else make_labeller(config.label)
    wanted = min(config.prepare.background_frames, len(frames))
    picked = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, wanted).round().astype(int))]
    pictures, maxima = [], []
    taken = 0
    for frame in picked:
        try:
            data = source.read(frame).data
        except CrystalscopeError:
            continue
        if min(data.shape[:2]) < _SMALLEST_PX or taken > _STUDY_BYTES:
            continue
        taken += 5 * data.shape[0] * data.shape[1]
        pictures.append((frame, data))
        if data.dtype == np.uint16:
            maxima.append(int(data.max()))
    if not pictures:
        return Study(segmenter, labeller)
    bits = config.input.bits or bits_in_use(maxima)
    shape = max({p.shape[:2] for _, p in pictures}, key=lambda s: sum(p.shape[:2] == s for _, p in pictures))
    alike = [(f, p) for f, p in pictures if p.shape[:2] == shape]
    warnings = []
    if len(alike) < len(pictures):
        warnings.append("the pictures have several sizes; what is static was looked for in the most frequent one")
    greys = [to_grey(p, bits=bits) for _, p in alike]
    background = None
    if config.prepare.background.startswith(("frames", "mog", "knn", "gmg")):
        if len(greys) < 2:
            warnings.append("a background of frames needs 2 frames of one size; the flat field was used")
        else:
            background = frames_background(greys, method=config.prepare.background)  # type: ignore[arg-type]

    def prepared(grey: NDArray[np.float32]) -> Prepared:
        image = Image(grey, source.pixel_size_um, source="sample")
        return prepare(image, grey, config=config.prepare, frames=background)

    settled = segmenter.study([prepared(g) for g in greys[:: max(1, len(greys) // 8)]])
    static = None
    if config.prepare.static == "auto" and len(greys) >= config.prepare.static_min_frames:
        mask = static_mask(
            greys,
            cover=lambda grey: _covered(settled.segment(prepared(grey)).instances),
            min_share=config.prepare.static_share,
        )
        static = mask if mask.any() else None
    return Study(settled, labeller, bits, background, static, tuple(warnings))


def _covered(instances: Instances) -> NDArray[np.bool_]:
    return instances.labels() > 0


def analyze_frame(source: Source, frame: FrameRef, study: Study, config: AnalyzeConfig) -> FrameResult:
    """Read, prepare, segment and measure one frame; any fault becomes its ledger row."""
    row: dict[str, Any] = {
        "frame": frame.index,
        "file": frame.name,
        "time_s": frame.time_s,
        "temperature_c": frame.temperature_c,
        "pixel_size_um": source.pixel_size_um or math.nan,
        "reason": frame.note,
    }
    if study.labeller is not None:
        row |= dict.fromkeys(LABELS, math.nan)
    sha256 = ""
    try:
        decoded = source.read(frame)
        sha256 = decoded.sha256
        rows, columns = decoded.data.shape[:2]
        row |= {"width_px": columns, "height_px": rows, "reason": _joined(frame.note, decoded.note)}
        refusal = _refusal(decoded.data)
        if refusal:
            return FrameResult(row | {"status": "rejected", "reason": _joined(row["reason"], refusal)}, sha256)
        image = Image(decoded.data, source.pixel_size_um, frame.time_s, frame.name)
        grey = to_grey(image.data, bits=study.bits)
        picture = prepare(image, grey, config=config.prepare, frames=study.background)
        segmentation = study.segmenter.segment(picture)
        instances = segmentation.instances
        static = _static(instances, study.static)
        kept = instances if not static.any() else instances.select(~static)
        if study.labeller is not None:
            row |= zip(LABELS, study.labeller.label(grey, instances=instances).tolist(), strict=True)
        recorded = image.data if image.data.ndim == 2 else cv2.cvtColor(image.data, cv2.COLOR_RGB2GRAY)
        measured = measure_columns(kept, recorded)
    except CrystalscopeError as e:
        return FrameResult(row | {"status": "failed", "reason": _joined(row["reason"], str(e))}, sha256)
    except (cv2.error, MemoryError, ValueError, ArithmeticError) as e:
        reason = f"{type(e).__name__}: {e}"
        return FrameResult(row | {"status": "failed", "reason": _joined(row["reason"], reason)}, sha256)
    counted = np.asarray(measured["in_focus"], dtype=bool)
    sharp = np.asarray(measured["focus"], dtype=float)[counted]
    covered = _covered(instances)
    row |= {
        "status": "ok" if counted.any() else "empty",
        "focus": float(np.median(sharp)) if sharp.size else math.nan,
        "coverage": float(covered.sum() / picture.field.area_px),
        "n_particles": int(counted.sum()),
        "n_border": int((measured["touches_border"] & counted).sum()),
        "n_out_of_focus": int((~counted).sum()),
        "n_static": int(static.sum()),
        "n_gated": segmentation.n_gated,
        "field_area_px": picture.field.area_px,
        "method": segmentation.method,
    }
    small = cv2.resize(covered.astype(np.float32), COVER[::-1], interpolation=cv2.INTER_AREA) >= 0.5
    return FrameResult(row, sha256, measured, kept, segmentation.classes, small)


def _refusal(data: NDArray[Any]) -> str:
    """Why a picture cannot be analysed, or nothing."""
    rows, columns = data.shape[:2]
    if min(rows, columns) < _SMALLEST_PX:
        return f"{columns} x {rows} px; at least {_SMALLEST_PX} px each way are needed"
    low, high = data.min(), data.max()
    if low == high:
        return f"every pixel is {low}: no picture, or lamp off, or saturated"
    return ""


def _static(instances: Instances, mask: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """(n,) particles that are static objects: at least half covered by the mask, and little larger than it."""
    out = np.zeros(len(instances), dtype=bool)
    if mask is None or mask.shape != instances.field.shape:
        return out
    for i, (r0, c0, r1, c1) in enumerate(instances.boxes):
        crop = instances.crop(i)
        out[i] = 2 * np.count_nonzero(crop & mask[r0:r1, c0:c1]) >= np.count_nonzero(crop)
    return out


def _joined(*parts: str) -> str:
    return "; ".join(p for p in parts if p)
