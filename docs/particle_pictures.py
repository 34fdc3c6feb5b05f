"""Pictures of the particle tasks: chords, needles, spheres, impurities; simulated or rendered."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from crystalscope.calibration import held_back_table
from crystalscope.config import load_config
from crystalscope.datasets import open_dataset, open_known, write_scenes
from crystalscope.datasets.standins import write_standin
from crystalscope.evaluation import evaluate_spheres
from crystalscope.impurity import Alarm, Confusion, alarm_over_run, train_impurity
from crystalscope.io.manifest import Manifest
from crystalscope.pipeline import analyze
from crystalscope.report.chords import plot_chords, plot_inversion
from crystalscope.report.forms import plot_alarm, plot_held_back, plot_lengths, plot_spheres
from crystalscope.report.impurity import plot_fractions
from crystalscope.report.style import write_plot
from crystalscope.scenes import preset, scenes_of
from crystalscope.score import Pair, matched
from crystalscope.screening import RunPictures, describe_run
from crystalscope.screening_report import write_scores
from crystalscope.size import make_distribution
from crystalscope.size.calibrate import Sample, hold_back
from crystalscope.size.chords import CHANNELS, ChordDistribution, ChordModel, chord_matrix, invert_chords
from crystalscope.size.orientation import lengths_in_space

HERE = Path(__file__).parent / "images"
_SIZES = np.geomspace(20, 1500, 241)


def _chords(ratio: float, median: float, sigma: float, rng: np.random.Generator) -> ChordDistribution:
    """Counted chords of rods, 10,000 in the highest channel."""
    edges = np.array(CHANNELS["fine"])
    number = np.exp(-0.5 * (np.log(np.sqrt(_SIZES[1:] * _SIZES[:-1]) / median) / sigma) ** 2)
    expected = chord_matrix(edges, _SIZES, shape="rod", ratio=ratio) @ number
    return ChordDistribution(edges, rng.poisson(1e4 * expected / expected.max()).astype(float))


def chords_compare() -> None:
    """Chords of pictures, and of a probe that splits some crystals."""
    rng = np.random.default_rng(1)
    pictures, probe = _chords(6, 220, 0.35, rng), _chords(6, 220, 0.35, rng)
    split = _chords(3, 70, 0.5, rng)
    mixed = ChordDistribution(probe.edges, probe.counts + 0.8 * split.counts)
    write_plot(HERE / "chords-compare.png", lambda: plot_chords([pictures, mixed], ["pictures", "probe"]))


def chords_invert() -> None:
    """Rods of 5:1 found from their chords."""
    chords = _chords(5, 200, 0.25, np.random.default_rng(2))
    found = invert_chords(chords, ChordModel("rod"), family="free", replicates=40)
    write_plot(HERE / "chords-invert.png", lambda: plot_inversion(found, chords))


def needles_space() -> None:
    """Needles at random in space, as they project."""
    rng = np.random.default_rng(3)
    n = 1500
    length, width = 200 * np.exp(0.4 * rng.standard_normal(n)), np.full(n, 20.0)
    sine = rng.uniform(0, 1, n)
    seen = length * np.sqrt(1 - sine**2) + width * sine
    found = lengths_in_space(seen, width, np.arange(n) % 30, orientation="random")
    write_plot(HERE / "needles-space.png", lambda: plot_lengths(found, seen, np.ones(n), "um"))


def needles_calibration() -> None:
    """Batches whose lengths come out shorter and in more fragments the higher the loading."""
    rng = np.random.default_rng(2)
    samples = []
    for batch, median in (("small", 100.0), ("medium", 200.0), ("large", 400.0)):
        truth = median * np.exp(0.3 * np.random.default_rng(1).standard_normal(4000))
        for loading in (0.5, 1.0, 2.5, 5.0):
            n = 1500
            size = median * np.exp(0.3 * rng.standard_normal(n) - 0.02 - 0.03 * loading)
            fragment = rng.uniform(size=n) < 0.06 * loading
            size[fragment] *= 0.25
            score = np.where(fragment, rng.beta(3, 5, n), rng.beta(8, 2, n))
            gates = {"score": score, "solidity": np.full(n, 0.93)}
            samples.append(Sample(batch, loading, size, np.ones(n), gates, make_distribution(truth, truth**3)))
    table = held_back_table(hold_back(samples), "number")
    write_plot(HERE / "needles-calibration.png", lambda: plot_held_back(table))


def impurity_alarm() -> None:
    """An impurity that comes and goes."""
    rng = np.random.default_rng(4)
    share = 0.06 * np.exp(-(((np.arange(160) - 80) / 25.0) ** 2))
    frame = np.repeat(np.arange(160), 50)
    impure = rng.uniform(size=len(frame)) < share[frame]
    called = rng.uniform(size=len(frame)) < np.where(impure, 0.95, 0.003)
    known = Confusion(("target", "impurity"), np.array([[997.0, 3.0], [15.0, 285.0]]))
    names = np.where(called, "impurity", "target")
    table = alarm_over_run(Alarm(known, "impurity"), names, frame, n_frames=160)
    write_plot(HERE / "impurity-alarm.png", lambda: plot_alarm(table, on=0.01, off=0.02))


def spheres() -> None:
    """A stand-in of standard spheres."""
    with tempfile.TemporaryDirectory() as folder:
        root = write_standin("polystyrene", Path(folder) / "set", scale=3)
        run = Path(folder) / "run"
        config = load_config(segmenter="threshold", input={"pixel_size_um": 5.0}, report={"overlays": 0, "montage": 0})
        analyze(root, run, config=config)
        found = evaluate_spheres(open_known("polystyrene", root, pixel_size_um=5.0), run)
        write_plot(HERE / "spheres.png", lambda: plot_spheres(found.distributions, found.unit))


def impurity() -> None:
    """Learnt on eight rendered frames of a slurry, shown on eight others."""
    recipe = preset("impurity").changed(
        instrument={"rows": 700, "columns": 900}, populations={"clusters": {"presence": 1.0, "count": [1.0, 3.0]}}
    )
    manifest = Manifest(name="slurry", title="Slurry", description="Rendered.", version="1", licence="CC0-1.0")
    with tempfile.TemporaryDirectory() as folder:
        runs = {}
        for name, seed in (("known", 5), ("new", 6)):
            root = Path(folder) / name
            write_scenes(scenes_of(recipe, frames=8, seed=seed), root, manifest=manifest)
            config = load_config(crystals={"diameter_px": 60.0}, report={"overlays": 0, "montage": 0})
            analyze(root / "images", root / "run", config=config)
            runs[name] = RunPictures.open(root / "run", root / "images")
        known = describe_run(runs["known"], "outlines")
        model = train_impurity(
            known.numbers, _is_cluster(known.table, runs["known"], Path(folder) / "known"),
            groups=known.table["file"], view="outlines",
        )  # fmt: skip
        out = Path(folder) / "scores"
        found = describe_run(runs["new"], "outlines")
        _, fractions = write_scores(model, found, runs["new"], runs["new"].run, out, heat_maps=1, montage=24)
        (HERE / "impurity-strangest.png").write_bytes((out / "strangest.png").read_bytes())
        (HERE / "impurity-heat.png").write_bytes(next((out / "heat").glob("*.png")).read_bytes())
        assert fractions is not None
        total = float(fractions["n_impurity"].sum() / fractions["n"].sum())
        write_plot(HERE / "impurity-fractions.png", lambda: plot_fractions(fractions, total=total))


def _is_cluster(table: pd.DataFrame, run: RunPictures, root: Path) -> np.ndarray:
    """Whether the true body of each particle found is a cluster."""
    truth = open_dataset(root).truth()
    body = pd.read_csv(root / "particles.csv").set_index("particle")["body"]
    out = np.zeros(len(table), dtype=bool)
    for file, rows in table.groupby("file"):
        instances, ids = run.particles(str(file))
        assert instances is not None
        known = next(a for name, a in truth.items() if name.endswith(str(file)))
        hit, which, _, _ = matched(Pair(instances, known.instances, known.ignore))
        clusters = {int(ids[h]) for h, w in zip(hit, which, strict=True) if body[known.ids[w]] == "cluster"}
        out[rows.index] = rows["particle"].isin(clusters).to_numpy()
    return out


PICTURES = (
    chords_compare, chords_invert, needles_space, needles_calibration, impurity_alarm, spheres, impurity,
)  # fmt: skip
"""Makers of the pictures."""
