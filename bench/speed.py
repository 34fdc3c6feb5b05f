"""Speed and memory of the whole chain, beside a scikit-image chain and PyOPIA on the same pictures in the same run.

    python -m bench.speed [--frames 200] [--memory]

Pictures: 1112 x 1000 px JPEG, 30 particles each (rendered). The scikit-image chain does the same steps one after the
other: read, flat field, threshold, closing, fill, watershed, regionprops_table with Feret; it has no labels, so that
ours are left out too, and stand among the stages. Whole-process times include writing all tables; the report and the
start of the interpreter are given on their own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from crystalscope.config import load_config
from crystalscope.io.pictures import read_picture, to_grey
from crystalscope.io.sequence import open_sequence
from crystalscope.label import make_labeller
from crystalscope.measure import measure_columns
from crystalscope.pipeline import _in_order, analyze_frame, study_run
from crystalscope.prepare import prepare
from crystalscope.results import RunFolder
from crystalscope.scenes import preset, scenes_of

THREADS = 2
CONFIG = load_config(segmenter="threshold", prepare={"static": "off"}, label={"labeller": "none"})


def pictures(folder: Path, frames: int) -> None:
    """`frames` pictures of 30 particles, blurred ones included; 12 different ones are rendered and repeated."""
    folder.mkdir(parents=True)
    crystals = {"size": 40.0, "spread": 0.35, "count": 12.0, "ghosts": 18.0}
    none = {"count": 0.0, "ghosts": 0.0}
    recipe = preset("backlit-crystals").changed(
        populations={"small": crystals, "large": none, "grown-together": none}, instrument={"jpeg": 0}, layout="slabs"
    )
    scenes = scenes_of(recipe, frames=12, seed=3)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 92]
    raws = [cv2.imencode(".jpg", np.asarray(s.image.data), quality)[1].tobytes() for s in scenes]
    for i in range(frames):
        (folder / f"frame_{i:05d}.jpg").write_bytes(raws[i % len(raws)])


def whole(folder: Path, out: Path) -> tuple[float, float]:
    """Seconds of the chain from file to tables, and particles per picture."""
    from concurrent.futures import ThreadPoolExecutor

    config = CONFIG
    source = open_sequence(folder, config=config.input)
    run = RunFolder.open(out, source=source, config=config, overwrite=False)
    study = study_run(source, config)
    frames = source.sequence.frames
    particles = 0
    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        chunk = []
        for result in _in_order(pool, frames, lambda f: analyze_frame(source, f, study, config)):
            chunk.append(result)
            particles += result.row.get("n_particles", 0) + result.row.get("n_out_of_focus", 0)
            if len(chunk) == 32:
                run.append(chunk, pixel_size_um=None)
                chunk = []
        if chunk:
            run.append(chunk, pixel_size_um=None)
    return time.perf_counter() - start, particles / len(frames)


def scikit_chain(path: Path) -> int:
    """The same steps with scikit-image."""
    from scipy import ndimage
    from skimage import filters, io, measure, morphology, segmentation

    grey = io.imread(path, as_gray=True).astype(float)
    light = ndimage.gaussian_filter(grey, 60)
    flat = ndimage.gaussian_filter(grey / light, 1)
    mask = flat < filters.threshold_otsu(flat)
    mask = morphology.remove_small_objects(mask, max_size=50)
    mask = ndimage.binary_fill_holes(morphology.closing(mask, morphology.disk(2)))
    distance = ndimage.distance_transform_edt(mask)
    peaks = morphology.h_maxima(distance, 1.0)
    labels = segmentation.watershed(-distance, measure.label(peaks), mask=mask)
    names = ("area", "perimeter", "feret_diameter_max", "solidity", "axis_major_length", "axis_minor_length")
    return len(measure.regionprops_table(labels, grey, properties=(*names, "mean_intensity", "bbox"))["area"])


def pyopia_chain(path: Path) -> None:
    """PyOPIA's steps from picture to statistics: corrected background, simple threshold, region properties."""
    from pyopia import process
    from skimage import io

    grey = io.imread(path, as_gray=True).astype(float)
    light = cv2.GaussianBlur(grey, (0, 0), 60)
    binary = process.image2blackwhite_accurate(grey / light / 1.3, 0.9)
    binary = process.clean_bw(binary, 50)
    process.measure_particles(binary, max_particles=5000)


def stages(folder: Path, count: int) -> dict[str, float]:
    """Milliseconds per picture of each stage, one thread."""
    config = CONFIG
    source = open_sequence(folder, config=config.input)
    study = study_run(source, config)
    labeller = make_labeller(load_config().label)
    total: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as out:
        run = RunFolder.open(Path(out) / "run", source=source, config=config, overwrite=False)
        results = []
        for frame in source.sequence.frames[:count]:
            marks = [time.perf_counter()]
            data = source.read(frame).data
            marks.append(time.perf_counter())
            image = source.sequence.reader(frame)
            marks[0] += time.perf_counter() - marks[1]
            marks[1] = time.perf_counter()
            grey = to_grey(data)
            prepared = prepare(image, grey, config=config.prepare)
            marks.append(time.perf_counter())
            found = study.segmenter.segment(prepared).instances
            marks.append(time.perf_counter())
            measure_columns(found, data)
            marks.append(time.perf_counter())
            labeller.label(to_grey(data), instances=found)
            marks.append(time.perf_counter())
            for name, (a, b) in zip(("decode", "prepare", "segment", "measure", "label"), pairwise(marks), strict=True):
                total[name] += b - a
            results.append(analyze_frame(source, frame, study, config))
        start = time.perf_counter()
        run.append(results, pixel_size_um=None)
        total["write"] = time.perf_counter() - start
    # Each picture was read twice above.
    total["decode"] = sum(timed(lambda f=f: read_picture(folder / f.file)) for f in source.sequence.frames[:count])
    return {k: 1e3 * v / count for k, v in total.items()}


def timed(work: object) -> float:
    start = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - start


def memory(frames: int) -> float:
    """Peak memory in MB of `crystalscope analyze` on so many pictures."""
    with tempfile.TemporaryDirectory() as folder:
        pictures(Path(folder) / "p", frames)
        command = [
            sys.executable,
            "-m",
            "crystalscope.cli",
            "analyze",
            f"{folder}/p",
            "--out",
            f"{folder}/run",
            "--segmenter",
            "threshold",
        ]
        code = (
            "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        out = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
        return int(out.stdout.split()[-1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--memory", type=int, nargs="*", default=[])
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "p"
        pictures(folder, args.frames)
        files = sorted(folder.iterdir())
        whole(folder, Path(root) / "warm")
        seconds, particles = whole(folder, Path(root) / "run")
        ours = args.frames / seconds
        print(f"{args.frames} pictures of 1112 x 1000 px, {particles:.0f} particles found in each\n")
        print("| chain | pictures/s | times slower |\n|---|---|---|")
        print(f"| crystalscope, file to tables, 2 threads | {ours:.1f} | 1 |")
        count = min(12, len(files))
        for name, work in (("scikit-image, one process", scikit_chain), ("PyOPIA, one process", pyopia_chain)):
            try:
                work(files[0])
            except ImportError as e:
                print(f"| {name} | not installed ({e.name}) | |")
                continue
            rate = count / timed(lambda work=work: [work(f) for f in files[:count]])
            print(f"| {name} | {rate:.2f} | {ours / rate:.1f} |")
        print("\n| stage (one thread) | ms per picture | of decoding |\n|---|---|---|")
        table = stages(folder, min(32, args.frames))
        for name, value in table.items():
            print(f"| {name} | {value:.1f} | {value / table['decode']:.1f} |")
    for frames in args.memory:
        print(f"peak memory of analyze on {frames} pictures: {memory(frames):.0f} MB", flush=True)
    print(f"(this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB)")


if __name__ == "__main__":
    main()
