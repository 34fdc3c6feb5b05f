"""Training of the labelling network on a laboratory's own labels: a table of pictures and what they show."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from crystalscope import __version__
from crystalscope.core import LABELS
from crystalscope.datasets import Dataset, open_dataset
from crystalscope.errors import InputError, ReadError
from crystalscope.io.pictures import to_grey
from crystalscope.io.tables import write_bytes, write_csv
from crystalscope.label.network import LabelNetwork, load_labels
from crystalscope.label.seen import resized
from crystalscope.learn.export import load_onnx
from crystalscope.learn.job import divided_names
from crystalscope.learn.label_data import LabelPicture, rendered
from crystalscope.learn.label_net import LabelNet, export_labels, load_encoder, load_labels_onnx
from crystalscope.learn.label_train import HeadSchedule, LabelSchedule, logits_of, train_head, train_labels
from crystalscope.score.labels import best_threshold, calibration_error, label_scores, platt, precision_recall
from crystalscope.weights import weights_path

Report = Callable[[str, int, int | None], None]
Array = NDArray[np.float64]

TABLE = "labels.csv"
"""Of a dataset: file, and a column per label with 1, 0 or nothing where it is not known."""
_REHEARSAL_SEED = 90_000
_LEAST = 5
"""Pictures with and without a label that its calibration and threshold need; fewer leave those it starts from."""
FINE_TUNING = LabelSchedule(steps=300, rate=4e-4, keep=0.97)


@dataclass(frozen=True, eq=False)
class LabelParts:
    """Pictures to learn, those that set calibration and thresholds, and those that are scored."""

    learn: list[LabelPicture]
    check: list[LabelPicture]
    test: list[LabelPicture]


def label_rows(data: Dataset) -> pd.DataFrame:
    """What is known of the labels of a dataset's pictures.

    Parameters
    ----------
    data
        With a labels.csv, or with label columns in its table of frames (as rendered sets have).

    Returns
    -------
    Index file, the ten columns of `core.LABELS` with 1, 0 or NaN; pictures of which nothing is known are left out.

    Raises
    ------
    InputError
        When there are no labels.
    ReadError
        When labels.csv has no column file, names a picture twice or one that is not there, or holds anything but 1, 0
        and nothing.
    """
    path = data.root / TABLE
    files = data.frames["file"].astype(str)
    if path.exists():
        table = _read_table(path)
        by_end = {f: f for f in files} | {f.removeprefix(data.manifest.pictures + "/"): f for f in files}
        unknown = [f for f in table["file"] if f not in by_end]
        if unknown:
            raise ReadError(
                f"expected pictures of {data.root} in {path.name}, {unknown[0]} is missing; restore it or remove "
                "its row"
            )
        table["file"] = [by_end[f] for f in table["file"]]
    else:
        table = data.frames.assign(file=files)
    names = [n for n in LABELS if n in table.columns]
    if not names:
        raise InputError(
            f"expected {TABLE} in {data.root} with a column file and columns such as {', '.join(LABELS[:3])} that "
            "hold 1, 0 or nothing, got no labels; write one"
        )
    out = table.set_index("file").reindex(columns=list(LABELS)).astype(float)
    return out[out.notna().any(axis=1)]


def _read_table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, skipinitialspace=True, encoding="utf-8-sig")
    except (OSError, ValueError) as e:
        raise ReadError(f"expected a table in {path}, got: {e}; save it as CSV (UTF-8, commas)") from e
    table.columns = [str(c).strip() for c in table.columns]
    if "file" not in table.columns:
        raise ReadError(
            f"expected a column file in {path}, got {', '.join(table.columns) or 'none'}; name it, and separate "
            "columns by commas"
        )
    twice = table.loc[table["file"].duplicated(), "file"]
    if len(twice):
        raise ReadError(f"expected each picture once in {path}, got {twice.iloc[0]} twice; remove a row")
    for name in (n for n in LABELS if n in table.columns):
        text = table[name].str.strip().replace("", None)
        values = pd.to_numeric(text, errors="coerce")
        wrong = text[text.notna() & ~values.isin([0, 1])]
        if len(wrong):
            raise ReadError(
                f"expected 1, 0 or nothing under {name} in {path}, got {wrong.iloc[0]!r} for "
                f"{table['file'][wrong.index[0]]}; correct the table"
            )
        table[name] = values
    return table


def load_labelled(data: Dataset, *, files: Collection[str] | None = None) -> list[LabelPicture]:
    """Pictures of a dataset with their labels, at the size that the network sees.

    Parameters
    ----------
    data
        See `label_rows`.
    files
        Pictures to take; None: all that are labelled.
    """
    rows = label_rows(data)
    out = []
    for i, name in enumerate(data.frames["file"].astype(str)):
        if name not in rows.index or (files is not None and name not in files):
            continue
        grey = resized(to_grey(np.asarray(data.read(i).data), bits=16))
        labels = rows.loc[name].to_numpy(dtype=np.float32)
        out.append(LabelPicture(name, grey.astype(np.float16), labels))
    return out


def parts_of(datasets: Sequence[str | Path], *, held_back: float, seed: int) -> LabelParts:
    """Divide labelled pictures by experiment where there are at least four, else by frame; see `job.divided_names`.

    Raises
    ------
    InputError
        When there are no labels, or fewer than two pictures are held back.
    """
    learn: list[LabelPicture] = []
    held: list[LabelPicture] = []
    for folder in datasets:
        data = open_dataset(folder)
        rows = label_rows(data)
        names, back = divided_names(data, list(rows.index), held_back=held_back, seed=seed)
        learn += load_labelled(data, files=names)
        held += load_labelled(data, files=back)
    if len(held) < 2:
        raise InputError(
            f"expected at least 2 pictures held back, for thresholds and test, got {len(held)} beside {len(learn)} to "
            "learn; label more, or hold a larger share back"
        )
    return LabelParts(learn, held[::2], held[1::2])


def train_label(
    datasets: Sequence[str | Path],
    out: Path,
    *,
    start: str | Path | None = "label",
    schedule: LabelSchedule = FINE_TUNING,
    held_back: float = 0.3,
    rehearse: int = 40,
    command: str = "",
    progress: Report | None = None,
) -> dict[str, Any]:
    """Train the network `label` and write its ONNX file with a card, tables and plots.

    Parameters
    ----------
    datasets
        Folders with a dataset.toml and labels, see `label_rows`.
    out
        Folder for label.onnx, label.json, scores.csv, curves.csv, log.csv, curves.png; an interrupted training goes on.
    start
        Shipped weights by name or the path of an .onnx file; None: what `crystals` sees, a head trained first.
    schedule
        Steps and rates.
    held_back
        Share of the pictures that is not learnt; half of them set the thresholds, half are the test.
    rehearse
        Rendered pictures learnt along, so that labels that the laboratory has not are not forgotten. 0: none.
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
        When there are no labels or too few pictures.
    ReadError
        When weights, labels or pictures cannot be read.
    """
    report = progress or (lambda _what, _done, _of: None)
    begun = time.monotonic()
    parts = parts_of(datasets, held_back=held_back, seed=schedule.seed)
    torch.manual_seed(schedule.seed)
    before = None if start is None else load_labels(str(weights_path(start)))
    if start is None:
        net = LabelNet()
        load_encoder(net, load_onnx(weights_path("crystals")))
    else:
        net = load_labels_onnx(weights_path(start))
    own = list(parts.learn)
    for k in range(rehearse):
        own += rendered(k, k + 1, seed=_REHEARSAL_SEED + schedule.seed)
        report("rendered pictures", k + 1, rehearse)
    rows: list[dict[str, float]] = []

    def note(step: int, values: dict[str, float]) -> None:
        rows.append({"step": step} | values)
        report("steps", step, schedule.steps)

    if start is None:
        head = HeadSchedule(seed=schedule.seed)
        train_head(
            own, net, schedule=head, folder=out / "head", note=lambda k, _: report("steps of the head", k, head.steps)
        )
    net = train_labels(own, out, schedule=schedule, net=net, note=note)
    named = [open_dataset(d).manifest for d in datasets]
    card: dict[str, Any] = {
        "name": "label",
        "made_by": f"crystalscope {__version__}",
        "command": command,
        "start": None if start is None else str(start),
        "data": [{"dataset": m.name, "version": m.version, "licence": m.licence} for m in named],
        "rendered": {"pictures": rehearse, "seed": _REHEARSAL_SEED + schedule.seed},
        "pictures": {"learnt": len(parts.learn), "validation": len(parts.check), "test": len(parts.test)},
        "schedule": asdict(schedule),
        "seconds": round(time.monotonic() - begun),
        "licence": "BSD-3-Clause",
    }
    card |= finished(net, parts, out, before=before)
    export_labels(net, out / "label.onnx", card=card)
    if rows:
        write_csv(out / "log.csv", pd.DataFrame(rows))
    return card


def finished(net: LabelNet, parts: LabelParts, out: Path, *, before: LabelNetwork | None = None) -> dict[str, Any]:
    """Calibration and thresholds from the validation pictures; scores.csv, curves.csv and curves.png of all parts.

    Parameters
    ----------
    net
        Trained.
    parts
        Pictures.
    out
        Folder of the tables and plots.
    before
        Calibration and thresholds for labels of which there are too few validation pictures; None: 1, 0 and 0.5.

    Returns
    -------
    Entries of the card: calibration, thresholds, scores of the parts.
    """
    logits = {name: logits_of(net, getattr(parts, name)) for name in ("learn", "check", "test")}
    truth = {name: truth_of(getattr(parts, name)) for name in logits}
    slope, shift, limits = np.ones(len(LABELS)), np.zeros(len(LABELS)), np.full(len(LABELS), 0.5)
    if before is not None:
        slope, shift, limits = before.slope.copy(), before.shift.copy(), before.thresholds.copy()
    confidences = {}
    for k in range(len(LABELS)):
        y = truth["check"][:, k]
        if min((y == 1).sum(), (y == 0).sum()) >= _LEAST:
            slope[k], shift[k] = platt(logits["check"][:, k], y)
            given = _sigmoid(slope[k] * logits["check"][:, k] + shift[k])
            # Most labelled pictures show something, most of an experiment's may not.
            limits[k] = best_threshold(given, y, even=LABELS[k] == "object_present")
    slope, shift = slope.round(4), shift.round(4)
    for name, z in logits.items():
        confidences[name] = _sigmoid(slope * z + shift)
    tables = {
        title: label_scores(confidences[name], truth[name], thresholds=limits, names=LABELS)
        for title, name in (("training", "learn"), ("validation", "check"), ("test", "test"))
    }
    scores = pd.concat([t.assign(part=title) for title, t in tables.items()], ignore_index=True)
    write_csv(out / "scores.csv", scores[["part", *[c for c in scores.columns if c != "part"]]])
    curves = pd.concat(
        [
            precision_recall(confidences[name][:, k], truth[name][:, k]).assign(part=title, label=label)
            for title, name in (("training", "learn"), ("test", "test"))
            for k, label in enumerate(LABELS)
        ],
        ignore_index=True,
    )
    write_csv(out / "curves.csv", curves[["part", "label", "threshold", "precision", "recall"]])
    write_bytes(out / "curves.png", plot_curves(curves))
    return {
        "calibration": {n: {"slope": float(slope[k]), "shift": float(shift[k])} for k, n in enumerate(LABELS)},
        "thresholds": {n: float(limits[k]) for k, n in enumerate(LABELS)},
        "scores": {
            title: {
                "macro_f1": round(float(t["f1"].iloc[-1]), 4),
                "f1": {r["label"]: round(float(r["f1"]), 4) for r in t[:-1].to_dict("records") if np.isfinite(r["f1"])},
            }
            for title, t in tables.items()
        },
        "calibration_error": {
            title: round(calibration_error(confidences[name], truth[name]), 4)
            for title, name in (("validation", "check"), ("test", "test"))
        },
    }


def truth_of(pictures: Sequence[LabelPicture]) -> Array:
    """(n, 10) labels of pictures."""
    return np.array([p.labels for p in pictures], dtype=np.float64).reshape(-1, len(LABELS))


def _sigmoid(z: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -60, 60))))


def plot_curves(curves: pd.DataFrame) -> bytes:
    """PNG: precision against recall of each label, training and test."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.4), layout="constrained")
    for axes, label in zip(figure.subplots(2, 5, sharex=True, sharey=True).ravel(), LABELS, strict=True):
        for part, style in (("training", "--"), ("test", "-")):
            one = curves[(curves["part"] == part) & (curves["label"] == label)]
            axes.plot(one["recall"], one["precision"], style, label=part, drawstyle="steps-post")
        axes.set_title(label.replace("_", " "), fontsize=9)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.supxlabel("recall")
    figure.supylabel("precision")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
