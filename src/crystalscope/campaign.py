"""From a table of experiments to a twin, its verdict, fronts, recipes and next experiments, and their files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core.design import Prediction
from crystalscope.design.augment import Augmentation
from crystalscope.design.base import FittedTwin, Progress, make_twin
from crystalscope.design.generators import similarity
from crystalscope.design.outcome import Campaign, CampaignSettings
from crystalscope.design.pareto import choose_recipe, optimise_all
from crystalscope.design.published import FittedPublished
from crystalscope.design.saved import save_twin
from crystalscope.design.sensitivity import main_space, sobol_indices
from crystalscope.design.space import Space, round_conditions
from crystalscope.design.suggest import suggest
from crystalscope.design.system import System
from crystalscope.design.table import DoETable, read_frame, table_of
from crystalscope.design.twin import FittedDefault
from crystalscope.design.verdict import Agreement, AttributeVerdict, compare, judge
from crystalscope.io.tables import write_csv, write_json

Array = NDArray[np.float64]


def run_campaign(table: DoETable, *, settings: CampaignSettings, progress: Progress | None = None) -> Campaign:
    """Fit, judge, optimise, propose.

    Raises
    ------
    InputError
        Where the table does not support a model.
    ConfigError
        For an unknown recipe.
    """
    twin = make_twin(settings.recipe, **dict(settings.options)).fit(
        table, rng=np.random.default_rng(settings.seed), progress=progress
    )
    rng = np.random.default_rng(settings.seed + 1)
    verdicts = judge(twin, rng=rng)
    published = isinstance(twin, FittedPublished)
    # The published optimiser knows no domain.
    fronts = optimise_all(
        twin, rng=rng, careful=not published, level=settings.level, progress=progress, effort=settings.effort
    )
    objectives = sum(a.objective for a in table.system.attributes if a.column in twin.attributes)
    suggestion = None
    if objectives + table.system.time_objective >= 2 and settings.count:
        if progress is not None:
            progress("next experiments", 0, None)
        suggestion = suggest(twin, settings.count, rng=rng, fronts=fronts)
    if progress is not None:
        progress("sensitivity", 0, None)
    sensitivity = sobol_indices(twin, main_space(twin), rng=rng)
    return Campaign(
        twin,
        settings,
        held_out_predictions(twin, settings.level),
        verdicts,
        fronts,
        choose_recipe(fronts),
        suggestion,
        sensitivity,
        dict(twin.before) if isinstance(twin, FittedPublished) and twin.augmented else {},
    )


def held_out_predictions(twin: FittedTwin, level: float) -> dict[str, Prediction]:
    """Predictions of the rows of the table; where an attribute was measured, by the models that had not seen the row.

    Of a twin that gives no intervals of held-out rows, those of its predictions are moved to the held-out mean.
    """
    if isinstance(twin, FittedDefault):
        return twin.predict_rows(level=level)
    out = {}
    for name, p in twin.predict(twin.table.conditions, level=level).items():
        a = next(a for a in twin.table.system.attributes if a.column == name)
        held = twin.held_out[name]
        mean = np.where(np.isfinite(held), held, p.mean)
        lower, upper = mean - (p.mean - p.lower), mean + (p.upper - p.mean)
        if a.bounds is not None:
            mean, lower, upper = (np.clip(v, *a.bounds) for v in (mean, lower, upper))
        out[name] = Prediction(mean, lower, upper, level, p.in_domain)
    return out


def predictions_frame(predictions: dict[str, Prediction]) -> pd.DataFrame:
    """Rows of predictions.csv: row (from 1), cqa, mean, lower, upper, level, in_domain."""
    parts = [
        pd.DataFrame(
            {
                "row": np.arange(1, len(p.mean) + 1),
                "cqa": name,
                "mean": p.mean,
                "lower": p.lower,
                "upper": p.upper,
                "level": p.level,
                "in_domain": p.in_domain,
            }
        )
        for name, p in predictions.items()
    ]
    return pd.concat(parts, ignore_index=True)


def read_conditions(path: Path, system: System) -> tuple[DoETable, bool]:
    """Conditions to be predicted, and whether the table holds measured attributes to compare with."""
    frame = read_frame(path)
    headings = {str(c).strip() for c in frame.columns}
    table = table_of(frame, system, attributes=False)
    if not any(a.column in headings for a in system.attributes):
        return table, False
    values = np.full((len(table), len(system.attributes)), np.nan)
    for j, a in enumerate(system.attributes):
        if a.column in headings:
            values[:, j] = pd.to_numeric(frame[a.column], errors="coerce")
    return DoETable(system, table.conditions, values), bool(np.isfinite(values).any())


def predict_file(
    twin: FittedTwin, path: Path, *, level: float
) -> tuple[pd.DataFrame, Agreement | None, pd.DataFrame | None]:
    """Predictions of a table of conditions; with measured attributes also the comparison.

    Returns
    -------
    predictions.csv; the joint agreement and comparison.csv (row, cqa, experiment, mean, lower, upper, inside) where the
    table holds measured attributes, else None.
    """
    table, measured = read_conditions(path, twin.table.system)
    predictions = twin.predict(table.conditions, level=level)
    frame = predictions_frame(predictions)
    if not measured:
        return frame, None, None
    agreement = compare(table, predictions)
    names = [a.column for a in table.system.attributes]
    rows = []
    for k, (name, p) in enumerate(predictions.items()):
        y = table.values[:, names.index(name)]
        rows += [
            {
                "row": int(i) + 1,
                "cqa": name,
                "experiment": y[i],
                "mean": p.mean[i],
                "lower": p.lower[i],
                "upper": p.upper[i],
                "inside": bool(agreement.inside[i, k]),
            }
            for i in np.flatnonzero(np.isfinite(y))
        ]
    return frame, agreement, pd.DataFrame(rows)


def kind_name(segments: int) -> str:
    """A kind of profile in words: linear, 1 heating, 2 cycles."""
    if segments <= 1:
        return "linear" if segments == 1 else "no profile"
    if segments == 2:
        return "1 heating"
    return f"{segments // 2} cycle{'s' if segments > 3 else ''}"


def write_campaign(campaign: Campaign, out: Path) -> list[Path]:
    """Write the files of a run but for the report; raises WriteError."""
    system, twin = campaign.system, campaign.twin
    written = [
        write_csv(out / "predictions.csv", predictions_frame(campaign.predictions)),
        write_csv(out / "models.csv", models_frame(twin)),
        write_csv(out / "pareto.csv", pareto_frame(campaign)),
        write_csv(out / "next.csv", next_frame(campaign)),
        write_csv(out / "synthetic.csv", synthetic_frame(twin)),
        write_csv(out / "augmentation.csv", augmentation_frame(twin)),
        write_csv(out / "sensitivity.csv", campaign.sensitivity),
        write_json(out / "verdict.json", verdict_of(campaign)),
    ]
    if isinstance(twin, FittedPublished):
        rows = [
            pd.DataFrame({"row": np.arange(1, len(twin.table) + 1), "cqa": name, "method": method, "sd": sd})
            for name, methods in twin.uncertainties(twin.table.conditions).items()
            for method, sd in methods.items()
        ]
        written.append(write_csv(out / "uncertainty.csv", pd.concat(rows, ignore_index=True)))
    if system.profile is not None:
        for i, front in enumerate(campaign.fronts):
            at, row = choose_recipe([front])
            if at < 0:
                continue
            conditions = round_conditions(Space(system, front.segments).decode(front.coordinates[[row]]), system)
            name = kind_name(front.segments).replace(" ", "-")
            written.append(write_csv(out / f"profile_{name}.csv", conditions.profile(0).to_table()))
            if i == campaign.chosen[0]:
                best = round_conditions(
                    Space(system, front.segments).decode(front.coordinates[[campaign.chosen[1]]]), system
                )
                written.append(write_csv(out / "profile_chosen.csv", best.profile(0).to_table()))
    save_twin(
        out / "twin",
        twin,
        recipe=campaign.settings.recipe,
        seed=campaign.settings.seed,
        options=dict(campaign.settings.options),
    )
    return written


def report_frames(campaign: Campaign) -> dict[str, Any]:
    """What the report needs beside the campaign."""
    from crystalscope.design.saved import system_toml

    return {
        "verdict": verdict_of(campaign),
        "augmentation": augmentation_frame(campaign.twin),
        "synthetic": synthetic_frame(campaign.twin),
        "kinds": [kind_name(f.segments) for f in campaign.fronts],
        "main_kind": kind_name(main_space(campaign.twin).segments),
        "settings": system_toml(campaign.system.model_dump(exclude_none=True, exclude_defaults=True)),
    }


def models_frame(twin: FittedTwin) -> pd.DataFrame:
    """Rows of models.csv."""
    return pd.DataFrame(
        [
            {
                "cqa": s.attribute,
                "model": s.model,
                **{f"validation_{k}": v for k, v in dataclasses.asdict(s.validation).items()},
                **{f"test_{k}": v for k, v in dataclasses.asdict(s.test).items()},
                "weight": s.weight,
                "note": s.note,
            }
            for s in twin.scores
        ]
    )


def pareto_frame(campaign: Campaign) -> pd.DataFrame:
    """Rows of pareto.csv: kind of profile, columns of the conditions, mean, lower, upper by attribute, time, flags."""
    system = campaign.system
    parts = []
    for i, front in enumerate(campaign.fronts):
        if not len(front):
            continue
        conditions = round_conditions(Space(system, front.segments).decode(front.coordinates), system)
        table = conditions.to_frame(system)
        table.insert(0, "kind", kind_name(front.segments))
        for name, p in front.predictions.items():
            table[f"{name}_mean"], table[f"{name}_lower"], table[f"{name}_upper"] = p.mean, p.lower, p.upper
        table["batch_time_h"] = front.batch_time_h
        table["in_domain"] = np.all([p.in_domain for p in front.predictions.values()], axis=0)
        table["chosen"] = (np.arange(len(front)) == campaign.chosen[1]) & (i == campaign.chosen[0])
        parts.append(table)
    if parts:
        return pd.concat(parts, ignore_index=True)
    return pd.DataFrame(columns=["kind", *system.input_columns, "batch_time_h", "in_domain", "chosen"])


def next_frame(campaign: Campaign) -> pd.DataFrame:
    """Rows of next.csv: the columns of the table, attributes empty, to be filled in."""
    system, s = campaign.system, campaign.suggestion
    if s is None:
        return pd.DataFrame(columns=system.columns)
    table = s.conditions.to_frame(system)
    for a in system.attributes:
        table[a.column] = np.nan
    return table


def augmentations_of(twin: FittedTwin) -> dict[str, Augmentation]:
    """What synthetic rows did, by attribute."""
    if isinstance(twin, FittedDefault):
        return {n: r.choice for n, r in twin.refinements.items()}
    if isinstance(twin, FittedPublished):
        chosen = {n: p.choice.augmentation for n, p in zip(twin.attributes, twin.parts, strict=True)}
        return {n: a for n, a in chosen.items() if a is not None}
    return {}


def augmentation_frame(twin: FittedTwin) -> pd.DataFrame:
    """Rows of augmentation.csv: held-out mean squared error by attribute, generator, number and weight."""
    rows = [
        {"cqa": name, "generator": generator, "count": count, "alpha": alpha, "mse": mse}
        for name, a in augmentations_of(twin).items()
        for (generator, count), losses in a.losses.items()
        for alpha, mse in zip(a.alphas, losses, strict=True)
    ]
    return pd.DataFrame(rows, columns=["cqa", "generator", "count", "alpha", "mse"])


def synthetic_frame(twin: FittedTwin) -> pd.DataFrame:
    """Rows of synthetic.csv: those used, and where none are, 25 of the best generator with alpha = 0 to be looked
    at.
    """
    from crystalscope.design.generators import GENERATORS

    system, parts = twin.table.system, []
    for name, a in augmentations_of(twin).items():
        index = next(j for j, b in enumerate(system.attributes) if b.column == name)
        if isinstance(twin, FittedDefault):
            made = twin.refinements[name].rows(np.flatnonzero(np.isfinite(twin.table.values[:, index])))
        else:
            used = twin.parts[twin.attributes.index(name)].synthetic if isinstance(twin, FittedPublished) else None
            made = used or GENERATORS[a.generator](twin.table, index, 25, np.random.default_rng(index))
        table = made[0].to_frame(system)
        table.insert(0, "cqa", name)
        table.insert(1, "generator", a.generator)
        table.insert(2, "alpha", a.alpha)
        table.insert(3, "similarity", similarity(twin.table, index, made))
        table["value"] = made[1]
        parts.append(table)
    if parts:
        return pd.concat(parts, ignore_index=True)
    return pd.DataFrame(columns=["cqa", "generator", "alpha", "similarity", *system.input_columns, "value"])


def verdict_of(campaign: Campaign) -> dict[str, Any]:
    """Content of verdict.json."""
    said = [v.suffices for v in campaign.verdicts]
    suffices = None if None in said and False not in said else all(v is True for v in said)
    twin = campaign.twin
    return {
        "suffices": suffices,
        "sentence": verdict_sentence(campaign.verdicts),
        "recipe": campaign.settings.recipe,
        "runs": len(twin.table),
        "attributes": [dataclasses.asdict(v) for v in campaign.verdicts],
        "measure_next": measure_next(campaign),
        "synthetic": {
            n: {"generator": a.generator, "count": a.count, "alpha": a.alpha, "gain": a.gain, "alpha_by_law": a.law}
            for n, a in augmentations_of(twin).items()
        },
        "notes": list(twin.notes),
        "warnings": list(twin.table.warnings),
    }


def verdict_sentence(verdicts: Sequence[AttributeVerdict]) -> str:
    """The verdict in a sentence."""
    good = [v.attribute for v in verdicts if v.suffices is True]
    bad = [v.attribute for v in verdicts if v.suffices is False]
    open_ = [v.attribute for v in verdicts if v.suffices is None]
    parts = []
    if good:
        parts.append(f"The table is enough for {', '.join(good)}")
    if bad:
        parts.append(f"{'it is' if parts else 'The table is'} not enough for {', '.join(bad)}")
    if open_:
        parts.append(f"{'it' if parts else 'The table'} says too little of {', '.join(open_)}")
    return "; ".join(parts) + "."


def measure_next(campaign: Campaign) -> list[str]:
    """What to do where the table is not enough."""
    out = []
    for v in campaign.verdicts:
        missing = len(campaign.twin.table) - v.runs
        if v.suffices is not True and missing > 0:
            out.append(f"measure {v.attribute} in the {missing} runs where it is missing, and in all further ones")
    if campaign.suggestion is not None and len(campaign.suggestion.conditions):
        out.append(f"run the {len(campaign.suggestion.conditions)} experiments of next.csv, the first one first")
    return out
