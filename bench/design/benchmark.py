"""The twin against the published recipe on simulated campaigns, in parts that can be stopped and taken up again.

    python -m bench.design.benchmark run --part accuracy --family agglomerating --campaigns 20
    python -m bench.design.benchmark run --part hypervolume --family impure --campaigns 20
    python -m bench.design.benchmark feasible
    python -m bench.design.benchmark summary

Every campaign is a line of bench/results/design.jsonl; those that are there are passed over. Times are those of the
processor: other work on the machine does not count.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray
from rich.progress import track

from bench.design.campaigns import GAPS, random_conditions, run_plant, simulated_table
from bench.design.plants import FAMILIES, Plant, draw_plant
from crystalscope.core.design import Prediction
from crystalscope.design.augment import choose_augmentation, weighted_fit
from crystalscope.design.conditions import Conditions, find_violations
from crystalscope.design.generators import GENERATORS, Generator, Synthetic, plant_rows
from crystalscope.design.intervals import conformal_interval, make_folds
from crystalscope.design.mechanism import Mechanism
from crystalscope.design.pareto import at_optimum, hypervolume, nondominated, objectives_of, optimise, optimise_all
from crystalscope.design.plans import make_plan
from crystalscope.design.published import PublishedTwin
from crystalscope.design.refine import feature_learner
from crystalscope.design.space import Space, round_conditions, spaces_of
from crystalscope.design.suggest import suggest
from crystalscope.design.system import System, load_system
from crystalscope.design.table import DoETable, read_doe
from crystalscope.design.twin import DefaultTwin
from crystalscope.design.verdict import judge

Array = NDArray[np.float64]
RESULTS = Path(__file__).parents[1] / "results" / "design.jsonl"
SYSTEM = Path(__file__).parents[2] / "examples" / "system.toml"
FIRST, LAST = 12, 35
"""Runs before the first proposal, and after the last one."""
SEARCH = (40, 25)
"""Population and generations of the true front."""
TREES = 60
"""Of the forest behind the jackknife+ intervals."""
ATTRIBUTES = ("D50", "DoA", "crystallinity")

app = typer.Typer(help=__doc__)


def accuracy(plant: Plant, system: System, rng: np.random.Generator) -> dict[str, Any]:
    """Errors, intervals, verdicts, and gaps: 31 runs with the published gaps, 80 random test recipes, four of the
    fronts.
    """
    table = simulated_table(plant, system, rng=rng, gaps=GAPS)
    test = random_conditions(system, 80, rng=rng)
    right, noisy = run_plant(plant, test), run_plant(plant, test, rng=rng)
    seconds = {}
    twins: dict[str, Any] = {}
    for name, twin in (("default", DefaultTwin()), ("published", PublishedTwin(quick=True))):
        begin = time.process_time()
        twins[name] = twin.fit(table, rng=np.random.default_rng(0))
        seconds[name] = time.process_time() - begin
    out: dict[str, Any] = {"seconds": seconds}
    for name, fitted in twins.items():
        predictions = fitted.predict(test)
        out[name] = {a: _errors(predictions[a], right[:, j], noisy[:, j]) for j, a in enumerate(ATTRIBUTES)}
        front = _four(fitted, system, rng, careful=name == "default")
        truth, measured = run_plant(plant, front), run_plant(plant, front, rng=rng)
        at = fitted.predict(front)
        if name == "default":
            at = at_optimum(at, system)
        out[name]["pareto"] = {a: _errors(at[a], truth[:, j], measured[:, j]) for j, a in enumerate(ATTRIBUTES)}
    out["forest"] = _forest(table, test, noisy)
    verdicts = judge(twins["default"], rng=rng)
    out["verdict"] = {}
    for j, (verdict, attribute) in enumerate(zip(verdicts, system.attributes, strict=True)):
        mean = twins["default"].predict(test)[attribute.column].mean
        sd = attribute.sd * right[:, j] if attribute.relative_sd else np.full(len(right), attribute.sd)
        true, known = (float(np.sqrt(np.mean(v**2))) for v in (mean - right[:, j], sd))
        good = true <= 2 * known
        out["verdict"][attribute.column] = verdict.suffices is good
    return out


def gaps(plant: Plant, system: System, rng: np.random.Generator) -> dict[str, Any]:
    """What 30 % missing crystallinity costs, and that no other attribute loses a row."""
    table = simulated_table(plant, system, rng=rng)
    test = random_conditions(system, 80, rng=rng)
    right = run_plant(plant, test)
    values = table.values.copy()
    values[rng.permutation(31)[: round(0.3 * 31)], 2] = np.nan
    sparse = DoETable(system, table.conditions, values)
    mechanism = Mechanism.build(table, rng=np.random.default_rng(0))
    errors = []
    for t in (table, sparse):
        fitted = DefaultTwin(mechanism=mechanism, augment=False).fit(t, rng=np.random.default_rng(0))
        errors.append(float(np.abs(fitted.predict(test)["crystallinity"].mean - right[:, 2]).mean()))
    return {"full": errors[0], "missing": errors[1]}


def augmentation(plant: Plant, system: System, rng: np.random.Generator) -> dict[str, Any]:
    """A Gaussian process of the features with and without synthetic rows; D50.

    ``tables``: copula, autoencoder and adversarial network; ``plant``: rows of the calibrated plant; ``useless``: the
    same with their values among them at random, a mechanism that knows nothing.
    """
    table = simulated_table(plant, system, rng=rng)
    test = random_conditions(system, 80, rng=rng)
    right = run_plant(plant, test)[:, 0]
    mechanism = Mechanism.build(table, rng=np.random.default_rng(0))
    folds = make_folds(table, 5, rng=rng)
    learner = feature_learner(table, 0)
    real, new = (learner.encode(table.conditions), table.values[:, 0]), learner.encode(test)
    simulated = plant_rows(mechanism, table)

    def useless(rows: DoETable, index: int, count: int, rng: np.random.Generator) -> Synthetic:
        x, y = simulated(rows, index, count, rng)
        return x, rng.permutation(y)

    out = {"plain": float(np.abs(weighted_fit(learner, real, real, 0.0)(new) - right).mean())}
    candidates: dict[str, dict[str, Generator]] = {
        "tables": dict(GENERATORS), "plant": {"plant": simulated}, "useless": {"plant": useless},
    }  # fmt: skip
    for name, generators in candidates.items():
        choice = choose_augmentation(table, 0, learner=learner, generators=generators, folds=folds, rng=rng)
        error = out["plain"]
        if choice.alpha > 0:
            x, y = generators[choice.generator](table, 0, choice.count, rng)
            fitted = weighted_fit(learner, real, (learner.encode(x), y), choice.alpha)
            error = float(np.abs(fitted(new) - right).mean())
        out[name] = error
    return out


def volume(plant: Plant, system: System, rng: np.random.Generator) -> dict[str, Any]:
    """Hypervolume of 31 runs and 4 in the published style, against runs proposed one by one from 12 to 35."""
    reference = np.array([-5.0, 80.0])
    best = _true_front(plant, system, rng)
    table = simulated_table(plant, system, rng=rng, gaps=GAPS)
    published = PublishedTwin(quick=True, augment=False).fit(table, rng=np.random.default_rng(0))
    four = _four(published, system, rng, careful=False)
    tried = Conditions.join([table.conditions, four])
    theirs = _objectives(plant, system, tried)
    conditions = make_plan(system, FIRST, rng=rng, mix={1: 4, 3: 3, 5: 2, 7: 2, 9: 1})
    mine = DoETable(system, conditions, run_plant(plant, conditions, rng=rng))
    mechanism: Mechanism | None = None
    while len(mine) < LAST:
        method = DefaultTwin(folds=5, augment=False, mechanism=mechanism)
        fitted = method.fit(mine, rng=np.random.default_rng(0))
        mechanism = fitted.mechanism
        following = suggest(fitted, 1, rng=rng).conditions
        mine = mine.with_runs(following, run_plant(plant, following, rng=rng))
    ours = _objectives(plant, system, mine.conditions)
    # What was found by either counts as true too: the search for the true front may have missed it.
    whole = hypervolume(np.vstack([best, theirs, ours]), reference)
    reached = hypervolume(theirs, reference) / whole
    path = [hypervolume(ours[:n], reference) / whole for n in range(FIRST, LAST + 1)]
    enough = [FIRST + i for i, v in enumerate(path) if v >= reached]
    return {"published": reached, "at_35": path[-1], "runs_needed": enough[0] if enough else 99, "path": path}


PARTS: dict[str, Callable[[Plant, System, np.random.Generator], dict[str, Any]]] = {
    "accuracy": accuracy,
    "gaps": gaps,
    "augmentation": augmentation,
    "hypervolume": volume,
}


def _errors(p: Prediction, right: Array, noisy: Array) -> dict[str, float]:
    return {
        "mae": float(np.abs(p.mean - right).mean()),
        "cover": float(np.mean((noisy >= p.lower) & (noisy <= p.upper))),
        "width": float(np.mean(p.upper - p.lower)),
    }


def _forest(table: DoETable, test: Conditions, noisy: Array) -> dict[str, dict[str, float]]:
    """Jackknife+ about a random forest of the raw inputs."""
    from sklearn.ensemble import RandomForestRegressor

    raw, new = table.conditions.raw(table.system), test.raw(table.system)
    out = {}
    for j, name in enumerate(ATTRIBUTES):
        rows = np.flatnonzero(np.isfinite(table.values[:, j]))
        centres, scores = [], []
        for i in rows:
            others = rows[rows != i]
            forest = RandomForestRegressor(TREES, random_state=0, n_jobs=1).fit(raw[others], table.values[others, j])
            centres.append(forest.predict(new))
            scores.append(abs(float(forest.predict(raw[[i]])[0]) - table.values[i, j]))
        lower, upper = conformal_interval(np.array(centres), np.ones((len(rows), len(new))), np.array(scores), 0.9)
        cover = float(np.mean((noisy[:, j] >= lower) & (noisy[:, j] <= upper)))
        out[name] = {"cover": cover, "width": float(np.mean(upper - lower))}
    return out


def _four(fitted: Any, system: System, rng: np.random.Generator, *, careful: bool) -> Conditions:
    """Four recipes spread over the union of the fronts."""
    parts, objectives = [], []
    for front in optimise_all(fitted, rng=rng, careful=careful, effort=(24, 12)):
        if len(front):
            parts.append(round_conditions(Space(system, front.segments).decode(front.coordinates), system))
            objectives.append(front.objectives)
    values, every = np.vstack(objectives), Conditions.join(parts)
    kept = np.flatnonzero(nondominated(values))
    kept = kept[np.argsort(values[kept, 0])]
    return every.take(kept[np.linspace(0, len(kept) - 1, 4).round().astype(int)])


def _objectives(plant: Plant, system: System, conditions: Conditions) -> Array:
    values = np.nan_to_num(run_plant(plant, conditions), nan=0.0)
    return objectives_of(system, ATTRIBUTES, values, conditions)


@dataclass(frozen=True, eq=False)
class _Truth:
    """The plant itself in the place of a twin, for the true front."""

    plant: Plant
    table: DoETable
    attributes: tuple[str, ...] = ATTRIBUTES

    def means(self, conditions: Conditions) -> Array:
        values = run_plant(self.plant, conditions)
        return np.where(np.isfinite(values), values, [0.0, 100.0, 0.0])

    def predict(self, conditions: Conditions, *, level: float = 0.9) -> dict[str, Prediction]:
        values = self.means(conditions)
        flags = np.ones(len(values), dtype=bool)
        return {n: Prediction(v, v, v, level, flags) for n, v in zip(ATTRIBUTES, values.T, strict=True)}


def _true_front(plant: Plant, system: System, rng: np.random.Generator) -> Array:
    start = make_plan(system, 60, rng=rng)
    truth: Any = _Truth(plant, DoETable(system, start, run_plant(plant, start)))
    fronts = [
        optimise(truth, space, rng=rng, population=SEARCH[0], generations=SEARCH[1], careful=False)
        for space in spaces_of(system)
    ]
    return np.vstack([f.objectives for f in fronts if len(f)])


@app.command()
def run(
    part: Annotated[str, typer.Option(help=", ".join(PARTS))],
    family: Annotated[str, typer.Option(help=", ".join(FAMILIES))],
    campaigns: Annotated[int, typer.Option(min=1)] = 20,
    first: Annotated[int, typer.Option(min=0, help="Number of the first campaign.")] = 0,
) -> None:
    """Run campaigns that are not there yet."""
    system = load_system(SYSTEM)
    done = {(r["part"], r["family"], r["campaign"]) for r in _read()}
    RESULTS.parent.mkdir(exist_ok=True)
    for campaign in track(range(first, first + campaigns), description=f"{part}, {family}"):
        if (part, family, campaign) in done:
            continue
        rng = np.random.default_rng([campaign, sorted(FAMILIES).index(family)])
        plant = draw_plant(family, rng=rng)
        line = {"part": part, "family": family, "campaign": campaign, **PARTS[part](plant, system, rng)}
        with RESULTS.open("a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")


@app.command()
def feasible(count: Annotated[int, typer.Option(min=1)] = 100_000) -> None:
    """Count the profiles that break a constraint: synthetic rows of each generator, plans, and points as optimisers and
    proposals take them, rounded as they are written.
    """
    system = load_system(SYSTEM)
    rng = np.random.default_rng(0)
    table = read_doe(SYSTEM.parent / "doe.csv", system)
    made = {name: generate(table, 0, count // 4, rng)[0] for name, generate in GENERATORS.items()}
    spaces = spaces_of(system)
    points = [s.decode(rng.random((count // 4 // len(spaces) + 1, s.size))) for s in spaces]
    made["proposed"] = Conditions.join(points)
    made["plan"] = make_plan(system, 1000, rng=rng)
    for name, conditions in made.items():
        wrong = {
            row for c in (conditions, round_conditions(conditions, system)) for row, _ in find_violations(c, system)
        }
        print(f"{name}: {len(wrong)} of {len(conditions)} profiles break a constraint")


@app.command()
def summary() -> None:
    """The table of the docs from what was run."""
    lines = _read()
    rows = []
    for family in FAMILIES:
        mine = {p: [r for r in lines if r["family"] == family and r["part"] == p] for p in PARTS}
        rows += _accuracy_rows(family, mine["accuracy"])
        if mine["gaps"]:
            ratio = [r["missing"] / r["full"] for r in mine["gaps"]]
            rows.append((family, "crystallinity, MAE with 30 % missing over full", np.mean(ratio), "1.10", len(ratio)))
        if mine["augmentation"]:
            a = mine["augmentation"]
            fine = np.mean([r["tables"] <= 1.02 * r["plain"] for r in a])
            rows.append((family, "synthetic rows at most 2 % worse, share", fine, "0.90", len(a)))
            plain = np.mean([r["plain"] for r in a])
            by_plant, useless = (np.mean([r[k] for r in a]) / plain for k in ("plant", "useless"))
            rows.append((family, "rows of the plant, D50 MAE over plain", by_plant, "0.75", len(a)))
            rows.append((family, "rows of a useless plant, D50 MAE over plain", useless, "1.03", len(a)))
        if mine["hypervolume"]:
            h = mine["hypervolume"]
            rows.append(
                (family, "31 + 4 published, share of hypervolume", np.mean([r["published"] for r in h]), "", len(h))
            )
            rows.append(
                (family, "runs needed for as much, median", np.median([r["runs_needed"] for r in h]), "20", len(h))
            )
            rows.append((family, "share at 35 runs", np.mean([r["at_35"] for r in h]), "0.80", len(h)))
    print("| family | what | reached | asked | campaigns |\n|---|---|---|---|---|")
    for family, what, value, asked, count in rows:
        print(f"| {family} | {what} | {value:.3g} | {asked} | {count} |")


def _accuracy_rows(family: str, lines: list[dict[str, Any]]) -> list[tuple[str, str, float, str, int]]:
    if not lines:
        return []
    n, out = len(lines), []

    def mean(*path: str) -> float:
        values = []
        for line in lines:
            at: Any = line
            for p in path:
                at = at[p]
            values.append(at)
        return float(pd.Series(values, dtype=float).mean())

    for name, asked in zip(ATTRIBUTES, ("0.75", "0.50", "0.60"), strict=True):
        ratio = mean("default", name, "mae") / mean("published", name, "mae")
        out.append((family, f"{name}, MAE over published", ratio, asked, n))
        out.append((family, f"{name}, coverage", mean("default", name, "cover"), "0.87 to 0.93", n))
        width = mean("default", name, "width") / mean("forest", name, "width")
        out.append((family, f"{name}, width over jackknife+ forest", width, "0.8", n))
        cover = mean("default", "pareto", name, "cover")
        out.append((family, f"{name}, coverage at Pareto recipes", cover, "0.85", n))
        out.append((family, f"{name}, verdict right", mean("verdict", name), "0.90", n))
    ratio = mean("default", "pareto", "D50", "mae") / mean("published", "pareto", "D50", "mae")
    out.append((family, "D50 at Pareto recipes, MAE over published", ratio, "0.65", n))
    out.append((family, "fit of the default, s", mean("seconds", "default"), "", n))
    out.append((family, "fit of the published, s", mean("seconds", "published"), "", n))
    return out


def _read() -> list[dict[str, Any]]:
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    app()
