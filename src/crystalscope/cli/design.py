"""crystalscope design: from a table of experiments to the next recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from crystalscope.cli.common import errors, stages


class _RunByDefault(TyperGroup):
    """`crystalscope design TABLE` is `crystalscope design run TABLE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_RunByDefault,
    help="From a table of experiments to the next recipe: `crystalscope design DOE.csv --system S.toml --out RUN`.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

SystemFile = Annotated[Path, typer.Option("--system", "-s", help="TOML: factors, profile, quality attributes.")]
Level = Annotated[float, typer.Option(min=0.5, max=0.99, help="Of the intervals.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")]


@app.command()
def run(
    table: Annotated[Path, typer.Argument(help="Experiments: CSV or Excel.")],
    system: SystemFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")],
    recipe: Annotated[str, typer.Option(help="default, published, or one that a package brings.")] = "default",
    predict: Annotated[
        Path | None, typer.Option(help="Table of conditions to predict too; measured attributes in it are compared.")
    ] = None,
    next: Annotated[int, typer.Option("--next", min=0, help="Number of experiments to propose.")] = 4,
    level: Level = 0.9,
    seed: Seed = 0,
    folds: Annotated[int | None, typer.Option(min=2, help="Of the cross-validation: 10, published 3.")] = None,
) -> None:
    """A twin of the table, its intervals and verdict, Pareto-optimal recipes, and what to run next.

    `run` may be left out.
    """
    with errors():
        from crystalscope.campaign import (
            predict_file,
            read_conditions,
            report_frames,
            run_campaign,
            verdict_sentence,
            write_campaign,
        )
        from crystalscope.design.outcome import CampaignSettings
        from crystalscope.design.system import load_system
        from crystalscope.design.table import read_doe
        from crystalscope.io.tables import write_csv
        from crystalscope.report.design import write_design_report

        loaded = load_system(system)
        experiments = read_doe(table, loaded)
        if predict is not None:
            # What is wrong with it is said before the work, not after.
            read_conditions(predict, loaded)
        options: tuple[tuple[str, Any], ...] = () if folds is None else (("folds", folds),)
        settings = CampaignSettings(recipe, level, next, seed, options=options)
        with stages() as report:
            campaign = run_campaign(experiments, settings=settings, progress=report)
        write_campaign(campaign, out)
        frames = report_frames(campaign)
        if predict is not None:
            frame, agreement, comparison = predict_file(campaign.twin, predict, level=level)
            said = _write_predictions(frame, agreement, comparison, out, write_csv)
            if comparison is not None:
                frames |= {"comparison": comparison, "agreement": said}
        write_design_report(campaign, out, frames)
        typer.echo(verdict_sentence(campaign.verdicts))
        for verdict in campaign.verdicts:
            typer.echo(f"  {verdict.attribute}: {verdict.reason}")
        for note in (*campaign.twin.notes, *experiments.warnings):
            typer.echo(f"Note: {note}", err=True)
        typer.echo(f"Report: {out / 'report.html'}")


@app.command()
def predict(
    twin: Annotated[Path, typer.Argument(help="Folder RUN/twin of an earlier run.")],
    conditions: Annotated[Path, typer.Argument(help="Table of conditions; measured attributes in it are compared.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for predictions.csv.")],
    level: Level = 0.9,
) -> None:
    """Simulate conditions with a saved twin."""
    with errors():
        from crystalscope.campaign import predict_file, read_conditions
        from crystalscope.design.saved import load_twin, saved_system
        from crystalscope.io.tables import write_csv

        read_conditions(conditions, saved_system(twin))
        fitted = load_twin(twin)
        _write_predictions(*predict_file(fitted, conditions, level=level), out, write_csv)
        typer.echo(f"Predictions: {out / 'predictions.csv'}")


@app.command()
def plan(
    system: SystemFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV to write, attributes empty.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Number of experiments.")] = 31,
    kind: Annotated[str, typer.Option(help="lhs, sobol, factorial or d-optimal.")] = "lhs",
    mix: Annotated[
        str,
        typer.Option(help="Kinds of profiles: published (18 of 31 linear, 2, 1, 4, 3, 3), or as many of each: even."),
    ] = "published",
    seed: Seed = 0,
) -> None:
    """Plan experiments within the constraints."""
    with errors():
        from typing import cast

        import numpy as np

        from crystalscope.design.plans import Kind, make_plan, mix_of
        from crystalscope.design.system import load_system
        from crystalscope.io.tables import write_csv

        loaded = load_system(system)
        rng = np.random.default_rng(seed)
        conditions = make_plan(loaded, count, kind=cast(Kind, kind), rng=rng, mix=mix_of(mix, loaded))
        table = conditions.to_frame(loaded)
        for attribute in loaded.attributes:
            table[attribute.column] = np.nan
        write_csv(out, table)
        typer.echo(f"{len(conditions)} experiments: {out}")


def _write_predictions(frame: Any, agreement: Any, comparison: Any, out: Path, write_csv: Any) -> str:
    """Write predictions.csv, and comparison.csv where there is one; the sentence about it."""
    write_csv(out / "predictions.csv", frame)
    if agreement is None:
        return ""
    write_csv(out / "comparison.csv", comparison)
    word = "agree" if agreement.agrees else "do not agree"
    said = (
        f"Experiments and predictions {word}: squared distance {agreement.distance:.1f}, joint region up to "
        f"{agreement.limit:.1f}"
    )
    typer.echo(said)
    return said
