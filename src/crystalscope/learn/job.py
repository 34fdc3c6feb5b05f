"""Training on a laboratory's own outlines: held-back frames, rehearsal of what is known, scores before and after."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from crystalscope import __version__
from crystalscope.config import AnalyzeConfig, CrystalsConfig
from crystalscope.core import Image
from crystalscope.datasets import Dataset, open_dataset, split_dataset, write_scenes
from crystalscope.errors import InputError
from crystalscope.io.coco import Annotated
from crystalscope.io.manifest import Manifest
from crystalscope.io.tables import write_csv
from crystalscope.learn.evaluate import evaluate
from crystalscope.learn.export import export_crystals, export_second, load_onnx, load_second_onnx
from crystalscope.learn.guesses import with_guesses
from crystalscope.learn.plots import write_curve, write_overlays
from crystalscope.learn.samples import Truth, describe, load_truth
from crystalscope.learn.train import Schedule, schedule_card, train, train_second
from crystalscope.scenes import preset, scenes_of
from crystalscope.score import Pair, matched
from crystalscope.segment.crystals import CrystalsSegmenter
from crystalscope.segment.second import second_path
from crystalscope.weights import weights_path

Report = Callable[[str, int, int | None], None]

FINE_TUNING = Schedule(steps=450, sizes=(256, 320, 320, 448), rate=5e-4, widest=1.5, average=0.99)
"""From weights that are there; about 10 minutes on two cores."""
SECOND = Schedule(steps=1500, sizes=(256, 320, 448, 640), pixels=6 * 320 * 320, average=0.99, seed=5)
"""The second look from nothing."""
SECOND_TUNING = replace(SECOND, steps=200, rate=3e-4, sizes=(256, 320, 448))
_OWN_SHARE = 0.65
"""Of the samples; the others are rehearsed."""
_REHEARSED = "varied"
_LIMITS = tuple(np.arange(0.3, 0.76, 0.05).round(2))
_ASKED = 40
"""Pictures at most on which the least score is chosen."""
_CHECKED = 10
"""Rendered pictures that are not learnt, on which is measured what was forgotten."""
_REHEARSAL_SEED = 900_000
"""Far from the seeds of the sets from which shipped weights were trained."""


@dataclass(frozen=True, eq=False)
class Held:
    """Annotated pictures that a training does not see: functions that read them, and their truth, by name."""

    pictures: dict[str, Callable[[], Image]]
    truth: dict[str, Annotated]


def train_crystals(
    datasets: Sequence[str | Path],
    out: Path,
    *,
    start: str | Path | None = "crystals",
    schedule: Schedule = FINE_TUNING,
    held_back: float = 0.2,
    rehearse: int = 30,
    least_score: float | None = None,
    command: str = "",
    progress: Report | None = None,
) -> dict[str, Any]:
    """Train the network `crystals` and write its ONNX file with a card.

    Parameters
    ----------
    datasets
        Folders with a dataset.toml and outlines. Where a table has the column split, only rows ``train`` are learnt.
    out
        Folder for crystals.onnx and crystals-second.onnx with their cards, log.csv, pictures; an interrupted training
        goes on.
    start
        Shipped weights by name or the path of an .onnx file; None: from nothing.
    schedule
        Steps and rates.
    held_back
        Share of the frames that is kept out of the training and scored before and after; by experiment where there are
        at least four, else by frame. 0: none.
    rehearse
        Rendered pictures that are learnt along, so that what the network knew is not forgotten. 0: none.
    least_score
        Confidence from which a particle counts; None: the one that serves the weights it starts from best on the
        pictures to be learnt, which these have not seen. What people outline differs: some leave out what is hazy.
    command
        As given by the user, for the card.
    progress
        Called with what is done, how many of it, and of how many.

    Returns
    -------
    The card.

    Raises
    ------
    InputError
        When there are no outlines, or too few pictures to hold any back.
    ReadError
        When weights or pictures cannot be read.
    """
    report = progress or (lambda _what, _done, _of: None)
    begun = time.monotonic()
    base = None if start is None else weights_path(start)
    net = None if base is None else load_onnx(base)
    own: list[Truth] = []
    held, seen = Held({}, {}), Held({}, {})
    named = []
    for folder in datasets:
        data = open_dataset(folder)
        named.append({"dataset": data.manifest.name, "version": data.manifest.version, "pictures": len(data)})
        learnt, kept = divided(data, held_back=held_back, seed=schedule.seed)
        own += load_truth(data, files=learnt)
        held.pictures.update(kept.pictures)
        held.truth.update(kept.truth)
        to_learn = _held(data, sorted(learnt))
        seen.pictures.update(to_learn.pictures)
        seen.truth.update(to_learn.truth)
    known, checked = list[Truth](), Held({}, {})
    if rehearse:
        known, checked = _rehearsal(out / "rehearsal", rehearse, seed=schedule.seed, report=report)
    mixed = _mixed(own, known)
    if base is not None and least_score is None:
        report("confidence from which a particle counts", 0, None)
        least_score = chosen_limit(base, seen)
    settings = CrystalsConfig(least_score=least_score)
    before: dict[str, Any] = {}
    found_before: dict[str, Annotated] = {}
    if base is not None:
        before, found_before = _scores(base, settings, held, checked)
    rows: list[dict[str, float]] = []

    def note(step: int, parts: dict[str, float]) -> None:
        rows.append({"step": step} | parts)
        report("steps", step, schedule.steps)

    trained = train(mixed, out, schedule=schedule, start=net, report=note)
    again = replace(SECOND if base is None else SECOND_TUNING, seed=schedule.seed)
    again = replace(again, steps=min(again.steps, schedule.steps))
    looked = train_second(
        mixed if base is None else _mixed(with_guesses(own, base), with_guesses(known, base)),
        out / "second",
        schedule=again,
        start=None if base is None else load_second_onnx(second_path(base)),
        report=lambda step, _: report("steps of the second look", step, again.steps),
    )
    file = out / "crystals.onnx"
    card: dict[str, Any] = {
        "name": "crystals",
        "made_by": f"crystalscope {__version__}",
        "command": command,
        "from": None if base is None else base.name,
        "data": [
            {"dataset": open_dataset(d).manifest.name, "version": open_dataset(d).manifest.version} for d in datasets
        ],
        "learnt": describe(own),
        "rehearsed_scenes": rehearse,
        "held_back": sorted(held.truth),
        "schedule": schedule_card(schedule),
        "second": schedule_card(again),
        "seed": schedule.seed,
    } | ({} if least_score is None else {"least_score": least_score})
    export_crystals(trained, file, card=card)
    export_second(looked, second_path(file), card={"name": "crystals-second", "of": file.name})
    after, found_after = _scores(file, settings, held, checked)
    card |= {"before": before, "after": after, "seconds": round(time.monotonic() - begun)}
    export_crystals(trained, file, card=card)
    if rows:
        write_csv(out / "log.csv", pd.DataFrame(rows))
        write_curve(out / "training.png", rows)
    if held.truth:
        write_overlays(out / "held-back.png", held.pictures, held.truth, found_before, found_after)
    return card


def _mixed(own: list[Truth], known: list[Truth]) -> list[Truth]:
    """Own pictures and rendered ones in the proportion wanted, by repeating the fewer."""
    if not known:
        return list(own)
    ratio = _OWN_SHARE / (1 - _OWN_SHARE) * len(known) / len(own)
    return own * max(1, round(ratio)) + known * max(1, round(1 / ratio))


def divided(data: Dataset, *, held_back: float, seed: int) -> tuple[set[str], Held]:
    """Files of a dataset to learn, and the frames that are held back; see `divided_names`."""
    learn, kept = divided_names(data, data.truth(), held_back=held_back, seed=seed)
    return learn, _held(data, kept)


def _held(data: Dataset, names: Sequence[str]) -> Held:
    truth = data.truth()
    place = {n: i for i, n in enumerate(data.frames["file"].astype(str))}
    named = {f"{data.manifest.name}/{n}": n for n in names}
    pictures: dict[str, Callable[[], Image]] = {k: partial(data.read, place[n]) for k, n in named.items()}
    return Held(pictures, {k: truth[n] for k, n in named.items()})


def chosen_limit(weights: Path, seen: Held) -> float | None:
    """The confidence of the highest F1 (smoothed over its neighbours), or None where nothing is found or outlined.

    Parameters
    ----------
    weights
        Of the network, which has not learnt the pictures.
    seen
        Pictures and their truth; of many, some.
    """
    names = list(seen.truth)[:: max(1, len(seen.truth) // _ASKED)]
    truth = {n: seen.truth[n] for n in names}
    segmenter = CrystalsSegmenter(AnalyzeConfig(crystals=CrystalsConfig(weights=str(weights), least_score=_LIMITS[0])))
    _, found = evaluate(segmenter, seen.pictures, truth)
    scores, outlined = [], sum(int((~t.ignore).sum()) for t in truth.values())
    for limit in _LIMITS:
        hits = said = 0
        for name, own in found.items():
            pair = Pair(own.instances.select(own.instances.score >= limit), truth[name].instances, truth[name].ignore)
            _, which, wrong, _ = matched(pair, threshold=0.5)
            hits, said = hits + len(which), said + len(which) + len(wrong)
        scores.append(2 * hits / max(said + outlined, 1))
    if not max(scores):
        return None
    smooth = np.convolve(np.pad(scores, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    return float(_LIMITS[int(np.argmax(smooth))])


def divided_names(
    data: Dataset, annotated: Collection[str], *, held_back: float, seed: int
) -> tuple[set[str], list[str]]:
    """Annotated files of a dataset to learn, and those held back: by experiment where there are at least four.

    Where the dataset has the column split, ``train`` is learnt and the rest is held back.

    Raises
    ------
    InputError
        When fewer than three pictures are annotated and some are to be held back.
    """
    frames = data.frames[data.frames["file"].astype(str).isin(list(annotated))].reset_index(drop=True)
    if "split" in frames and frames["split"].notna().any():
        learn = (frames["split"] == "train").to_numpy()
    elif not held_back:
        learn = np.ones(len(frames), dtype=bool)
    elif len(frames) < 3:
        raise InputError(
            f"expected at least 3 annotated pictures in {data.root} to hold one back, got {len(frames)}; annotate "
            "more, or hold none back"
        )
    else:
        if "frame" not in frames:
            frames = frames.assign(frame=range(len(frames)))
        groups = frames["experiment"].nunique() if "experiment" in frames else 0
        by: Literal["experiment", "frame"] = (
            "experiment" if groups >= 4 and frames["experiment"].notna().all() else "frame"
        )
        split = split_dataset(replace(data, frames=frames), by=by, shares=(1 - held_back, held_back), seed=seed)
        learn = (split.table["split"] == "train").to_numpy()
    names = frames["file"].astype(str).to_numpy()
    return set(names[learn]), list(names[~learn])


def _rehearsal(folder: Path, frames: int, *, seed: int, report: Report) -> tuple[list[Truth], Held]:
    """Rendered pictures of all looks: those to learn, and some to tell whether what was known is kept."""
    total = frames + _CHECKED
    if not (folder / "dataset.toml").exists():
        manifest = Manifest(
            name="rehearsal", title="Rendered pictures that are learnt along", version="1", licence="CC0-1.0"
        )
        scenes = scenes_of(preset(_REHEARSED), frames=total, seed=_REHEARSAL_SEED + seed)
        write_scenes(scenes, folder, manifest=manifest, progress=lambda n: report("rendered scenes", n, total))
    data = open_dataset(folder)
    marked = replace(data, frames=data.frames.assign(split=["train"] * frames + ["test"] * _CHECKED))
    learnt, checked = divided(marked, held_back=0.0, seed=seed)
    return load_truth(data, files=learnt), checked


def _scores(weights: Path, settings: Any, held: Held, checked: Held) -> tuple[dict[str, Any], dict[str, Annotated]]:
    config = AnalyzeConfig(crystals=settings.model_copy(update={"weights": str(weights)}))
    segmenter = CrystalsSegmenter(config)
    out: dict[str, Any] = {}
    found: dict[str, Annotated] = {}
    if held.truth:
        result, found = evaluate(segmenter, held.pictures, held.truth)
        out["held_back"] = short(result)
    if checked.truth:
        out["rendered"] = short(evaluate(segmenter, checked.pictures, checked.truth)[0])
    return out, found


def short(result: dict[str, Any]) -> dict[str, Any]:
    """The figures of a card from full scores."""
    instances = result["instances"]
    keys = ("tp", "fp", "fn", "precision", "recall", "f1", "AP50:95", "mean_iou_of_matched", "precision_over_40px")
    figures = {k: instances[k] for k in keys if k in instances}
    figures["crystal_iou"] = result["pixels"]["iou"][1]
    return {"pictures": result["pictures"]} | {
        k: round(v, 4) if isinstance(v, float) and math.isfinite(v) else v for k, v in figures.items()
    }
