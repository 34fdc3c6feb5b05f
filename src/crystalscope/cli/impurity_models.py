"""crystalscope impurity train, normal, score, correct: models of particles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystalscope.cli.common import errors, progress

if TYPE_CHECKING:
    from crystalscope.screening import Described, RunPictures

Source = Annotated[
    Path, typer.Argument(help="A run of `analyze`, or a folder of crops: pictures of one particle each.")
]
Pictures = Annotated[Path | None, typer.Option(help="Of a run: the pictures that were analysed.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for what is written.")]
View = Annotated[
    str | None,
    typer.Option(help="Of a run: outlines (default), or crops, the rectangles around the particles."),
]


def register(app: typer.Typer) -> None:
    """Put the commands into those of `impurity`."""
    for command in (train, normal, score, correct):
        app.command()(command)


def train(
    source: Source,
    out: Out,
    pictures: Pictures = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV: file, particle (of a run), is_impurity (0 or 1), group where known.")
    ] = None,
    impurity: Annotated[
        str | None, typer.Option(help="Of crops: name of the folder that holds the impurity; all others are target.")
    ] = None,
    view: View = None,
) -> None:
    """Learn a known impurity from particles of both classes."""
    with errors():
        from crystalscope.errors import ConfigError
        from crystalscope.impurity import train_impurity
        from crystalscope.screening import classes_of_folders, copies_of_crops, is_run, read_marks

        if (labels is None) == (impurity is None):
            raise ConfigError("expected --labels, or for crops in folders --impurity NAME; give one of them")
        found, _ = _described(source, pictures, view)
        files = found.table["file"].astype(str).tolist()
        groups = None
        if labels is not None:
            marks = read_marks(labels)
            rows, truth = found.rows(marks).tolist(), marks["is_impurity"].to_numpy() == 1
            groups = marks["group"].tolist() if "group" in marks else None
        elif is_run(source):
            raise ConfigError("expected --labels for a run, got --impurity, which is for crops in folders")
        else:
            rows, truth = list(range(len(files))), classes_of_folders(files, str(impurity))
        if groups is None and is_run(source):
            groups = [files[r] for r in rows]
        elif groups is None:
            # One crystal may stand under several names, turned.
            groups = copies_of_crops(source, [files[r] for r in rows])
            copies = len(groups) - len(set(groups))
            if copies:
                typer.echo(f"{copies} crops are copies of others, turned or not; they are held back together")
        model = train_impurity(found.numbers[rows], truth, groups=groups, view=found.view, unit=found.unit)
        _written(model, out)


def normal(
    source: Source,
    out: Out,
    pictures: Pictures = None,
    false_alarm: Annotated[float, typer.Option(help="Share of normal particles that may be called impurity.")] = 0.01,
    view: View = None,
) -> None:
    """Learn what normal particles are like, from pictures without impurity; what is unlike them is found."""
    with errors():
        from crystalscope.impurity import train_normal

        found, _ = _described(source, pictures, view)
        model = train_normal(
            found.numbers,
            groups=found.table["file"].tolist(),
            false_alarm=false_alarm,
            view=found.view,
            unit=found.unit,
        )
        _written(model, out)


def score(
    model: Annotated[Path, typer.Argument(help="model.npz of `impurity train` or `normal`.")],
    source: Source,
    out: Out,
    pictures: Pictures = None,
    heat_maps: Annotated[
        int, typer.Option(min=0, help="Frames drawn as heat maps, those with the highest scores.")
    ] = 4,
    montage: Annotated[int, typer.Option(min=0, help="Particles in the montage of the strangest.")] = 32,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
    other_instrument: Annotated[
        bool,
        typer.Option(
            help="The pictures are of another instrument or light than the model has learnt from, and most particles "
            "are the target: align them first."
        ),
    ] = False,
) -> None:
    """Score the particles of a run; fractions of the impurity frame by frame, heat maps, the strangest particles."""
    with errors():
        from dataclasses import replace

        from crystalscope.impurity import aligned, load_model
        from crystalscope.screening_report import write_scores

        learnt = load_model(model)
        found, run = _described(source, pictures, learnt.view)
        if other_instrument:
            found = replace(found, numbers=aligned(found.numbers, learnt))
        lines, _ = write_scores(learnt, found, run, source, out, heat_maps=heat_maps, montage=montage, level=level)
        for line in lines:
            typer.echo(line)
        typer.echo(f"Report: {out / 'impurity.html'}")


def correct(
    scores: Annotated[Path, typer.Argument(help="scores.csv: file, particle, score, threshold, is_impurity.")],
    corrections: Annotated[Path, typer.Argument(help="CSV: file, particle, is_impurity (what it is in truth).")],
    out: Out,
    model: Annotated[Path | None, typer.Option(help="Learn the corrections too: the model.npz that scored.")] = None,
    source: Annotated[Path | None, typer.Option(help="With --model: the run or crops that were scored.")] = None,
    pictures: Pictures = None,
) -> None:
    """Move the threshold of scores by particles that were marked right or wrong; with a model, train it anew too."""
    with errors():
        from crystalscope.impurity import correct_threshold
        from crystalscope.io.tables import write_csv
        from crystalscope.labelled import confusion_frame, read_csv

        found = correct_threshold(read_csv(scores), read_csv(corrections))
        if model is not None:
            _retrained(model, source, pictures, corrections, found.wrong_before, out)
            return
        path = write_csv(out / "scores.csv", found.scores)
        typer.echo(f"Threshold {found.before:.4g} to {found.threshold:.4g}")
        typer.echo(
            f"Of {found.n} corrected particles {found.wrong_before} were called wrongly, now {found.wrong_after}"
        )
        if found.confusion is not None:
            typer.echo(f"Wrote {write_csv(out / 'confusion.csv', confusion_frame(found.confusion))}")
        typer.echo(f"Wrote {path}")


def _retrained(
    path: Path, source: Path | None, pictures: Path | None, corrections: Path, before: int, out: Path
) -> None:
    from crystalscope.errors import ConfigError
    from crystalscope.impurity import load_model, retrain
    from crystalscope.io.tables import write_csv
    from crystalscope.screening import read_marks, scored

    if source is None:
        raise ConfigError("expected --source with --model, the run or the crops that were scored; got none")
    old = load_model(path)
    described, _ = _described(source, pictures, old.view)
    marks = read_marks(corrections)
    rows = described.rows(marks)
    files = described.table["file"].astype(str).to_numpy()[rows]
    truth = marks["is_impurity"].to_numpy() == 1
    new = retrain(old, described.numbers[rows], truth, files)
    table = scored(described, new)
    after = int((table["is_impurity"].to_numpy()[rows] != truth).sum())
    typer.echo(
        f"Of {len(rows)} corrected particles {before} were called wrongly, now {after}, which the model has seen"
    )
    write_csv(out / "scores.csv", table)
    _written(new, out)


def _described(source: Path, pictures: Path | None, view: str | None) -> tuple[Described, RunPictures | None]:
    from crystalscope.errors import ConfigError
    from crystalscope.screening import RunPictures, describe_crops, describe_run, is_run

    if view not in (None, "outlines", "crops"):
        raise ConfigError(f"expected --view outlines or crops, got {view!r}")
    if not is_run(source):
        if view == "outlines":
            raise ConfigError(
                f"expected a run of analyze for outlines, got {source}; crops have none: analyze whole pictures, or "
                "train on crops"
            )
        with progress("crops") as report:
            return describe_crops(source, progress=report), None
    if pictures is None:
        raise ConfigError("expected --pictures with a run: the folder that was analysed; got none")
    run = RunPictures.open(source, pictures)
    chosen: Any = view or "outlines"
    with progress("frames") as report:
        return describe_run(run, chosen, progress=report), run


def _written(model: Any, out: Path) -> None:
    """Write a model with the confusion of its held-back particles, and say what it is worth."""
    import math

    from crystalscope.impurity import save_model
    from crystalscope.io.tables import write_csv
    from crystalscope.labelled import confusion_frame

    path = save_model(model, out / "model.npz")
    n, impure, groups = len(model.impure), int(model.impure.sum()), len(set(model.groups.tolist()))
    if model.kind == "impurity":
        typer.echo(f"{n} particles in {groups} groups, {impure} of them impurity; held back by groups:")
        typer.echo(f"AUROC {model.auroc:.4f}, threshold {model.threshold:.4g}")
        if min(impure, n - impure) < 30:
            typer.echo(f"Note: {min(impure, n - impure)} particles of one class: these figures are rough", err=True)
    else:
        typer.echo(f"{n} normal particles in {groups} groups; threshold {model.threshold:.4g}")
        typer.echo(f"Called impurity when held back: {model.false_rate:.2%}")
    confusion = model.confusion
    if confusion is not None:
        typer.echo(f"Wrote {write_csv(out / 'confusion.csv', confusion_frame(confusion))}")
    elif not math.isnan(model.auroc):
        typer.echo("Note: the classes are not told apart; mark more particles, or look at their pictures", err=True)
    typer.echo(f"Wrote {path}")
