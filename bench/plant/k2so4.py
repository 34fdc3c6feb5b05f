"""Potassium sulfate: kinetics fitted to real batches, each batch predicted from the others.

    CRYSTALSCOPE_DATA=… python -m bench.plant.k2so4

Seven cooling batches with nucleation and growth and four dissolution runs (Moraes et al., Ind. Eng. Chem. Res. 2023).
Each is left out in turn, constants are fitted to the others, and it is predicted from its first readings and its
temperature. Beside the plant: persistence (the first readings stay), ridge regression and a Gaussian process on time,
temperature, start and cooling, which predict the change since the start and also know the start; and the published
constants as they are.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from crystalscope.plant.fit import fit
from crystalscope.plant.kinetics import Kinetics, preset
from crystalscope.plant.observed import Observations, observations_of

Array = NDArray[np.float64]
Prediction = tuple[Array, Array]
"""Concentration in g/L and third moment in um³/L."""

DATA = Path(os.environ.get("CRYSTALSCOPE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "k2so4-batch"
GIVEN = 6
"""Readings at the start of a left-out batch (7 min) that every method may use; errors are counted after them."""
GROWTH, DISSOLUTION = "Cresc_Nucl_K2SO4_7exps_train_new.csv", "Dissolucao_K2SO4_4exps_new.csv"
FREE = {
    GROWTH: (
        "growth.rate_um_per_s",
        "growth.order",
        "growth.activation_j_per_mol",
        "growth.size_factor_per_um",
        "secondary.rate_per_kg_s",
        "secondary.order",
        "secondary.solids_order",
        "secondary.activation_j_per_mol",
        "volume_shape",
        "solubility.factor",
    ),
    DISSOLUTION: (
        "dissolution.rate_um_per_s",
        "dissolution.order",
        "dissolution.activation_j_per_mol",
        "volume_shape",
        "solubility.factor",
    ),
}


def batches(file: str, folder: Path = DATA) -> tuple[Observations, ...]:
    """Batches of a file: moments per cm³ and concentrations per cm³ turned to per L."""
    table = pd.read_csv(folder / file)
    table.columns = pd.Index(
        ["experiment", "temperature_c", "time_min", "mu0", "mu1", "mu2", "mu3", "concentration_g_per_kg"]
    )
    per_litre = table.columns[3:]
    table[per_litre] *= 1000
    return observations_of(table)


def start_kinetics(file: str) -> Kinetics:
    """The published constants, with rates stated at 30 deg C; for dissolution without nucleation."""
    k = preset("potassium-sulfate-water")
    assert k.growth is not None
    assert k.secondary is not None
    changes: dict[str, object] = {}
    for part, law, rate in (
        ("growth", k.growth, k.growth.rate_um_per_s),
        ("secondary", k.secondary, k.secondary.rate_per_kg_s),
    ):
        name = f"{part}.rate_um_per_s" if part == "growth" else f"{part}.rate_per_kg_s"
        changes[name] = rate * float(np.exp(-law.activation_j_per_mol / 8.314462618 / 303.15))
        changes[f"{part}.reference_c"] = 30.0
    changes |= {"dissolution.reference_c": 30.0, "dissolution.activation_j_per_mol": 5000.0}
    k = k.changed(**changes)
    return k if file == GROWTH else k.changed(secondary=None)


def by_plant(train: Sequence[Observations], test: Observations, file: str) -> Prediction:
    """Fitted to the others; the first concentration is what agrees best with the readings that are given."""
    found = fit(start_kinetics(file), train, free=FREE[file], profile=False)
    return _followed(found.kinetics, test, found.sd)


def by_published(train: Sequence[Observations], test: Observations, file: str) -> Prediction:
    """With the constants of the literature, and the first concentration as above."""
    return _followed(start_kinetics(file), test, {"concentration_g_per_kg": 1.0, "mu3": 0.05})


def _followed(kinetics: Kinetics, test: Observations, sd: Mapping[str, float]) -> Prediction:
    def misfit(shift: float) -> float:
        got = test.predicted(kinetics, shift_g_per_kg=shift)
        c = (got["concentration_g_per_kg"] - test.values["concentration_g_per_kg"])[:GIVEN]
        mu3 = np.log(got["mu3"] / test.values["mu3"])[:GIVEN]
        size = float(((c / sd["concentration_g_per_kg"]) ** 2).sum() + ((mu3 / sd["mu3"]) ** 2).sum())
        return size if np.isfinite(size) else 1e30

    wide = 4 * sd["concentration_g_per_kg"]
    shift = float(minimize_scalar(misfit, bounds=(-wide, wide), method="bounded").x)
    got = test.predicted(kinetics, shift_g_per_kg=shift)
    return got["concentration_g_per_kg"], got["mu3"]


def by_persistence(train: Sequence[Observations], test: Observations, file: str) -> Prediction:
    """The first readings stay."""
    n = len(test.time_s)
    return np.full(n, test.start[4]), np.full(n, test.start[3])


def _features(batch: Observations) -> Array:
    t = batch.time_s / 3600
    degrees = batch.profile.at(batch.time_s)
    average = np.array([float(np.mean(batch.profile.at(np.linspace(0, s, 20)))) for s in batch.time_s])
    start = batch.start
    fixed = [np.full(len(t), v) for v in (degrees[0], start[4], np.log(start[3]))]
    return np.column_stack([t, degrees, average, *fixed])


def _black_box(make: Callable[[], object]) -> Callable[[Sequence[Observations], Observations, str], Prediction]:
    def predict(train: Sequence[Observations], test: Observations, file: str) -> Prediction:
        x = np.vstack([_features(b) for b in train])
        out = []
        for name, log in (("concentration_g_per_kg", False), ("mu3", True)):
            at = 4 if name == "concentration_g_per_kg" else 3
            change = [
                np.log(b.values[name]) - np.log(b.start[at]) if log else b.values[name] - b.start[at] for b in train
            ]
            model = make()
            with warnings.catch_warnings():
                # Length scales that run to their bounds are what a Gaussian process does with features without effect.
                warnings.simplefilter("ignore")
                model.fit(x, np.concatenate(change))  # type: ignore[attr-defined]
            got = model.predict(_features(test))  # type: ignore[attr-defined]
            out.append(np.exp(got) * test.start[at] if log else got + test.start[at])
        return out[0], out[1]

    return predict


def _ridge() -> object:
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    return make_pipeline(StandardScaler(), PolynomialFeatures(2), RidgeCV(np.logspace(-3, 3, 13)))


def _process() -> object:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kernel = ConstantKernel(1.0) * RBF(np.ones(6), (0.1, 100)) + WhiteKernel(0.01)
    return make_pipeline(StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True))


METHODS: dict[str, Callable[[Sequence[Observations], Observations, str], Prediction]] = {
    "plant, fitted to the others": by_plant,
    "plant, published constants": by_published,
    "persistence": by_persistence,
    "ridge": _black_box(_ridge),
    "Gaussian process": _black_box(_process),
}


def errors(file: str, method: str) -> pd.DataFrame:
    """Root mean square error of concentration (g/L) and of ln mu3 of each left-out batch after the `GIVEN`."""
    every = batches(file)
    rows = []
    for i, test in enumerate(every):
        train = [b for k, b in enumerate(every) if k != i]
        c, mu3 = METHODS[method](train, test, file)
        off_c = (c - test.values["concentration_g_per_kg"])[GIVEN:]
        off_3 = np.log(mu3 / test.values["mu3"])[GIVEN:]
        rows.append((test.name, float(np.sqrt(np.mean(off_c**2))), float(np.sqrt(np.mean(off_3**2)))))
    return pd.DataFrame(rows, columns=["batch", "c", "mu3"])


def main() -> None:
    """The tables of docs/explanations/plant.md."""
    for file in (GROWTH, DISSOLUTION):
        found = fit(start_kinetics(file), batches(file), free=FREE[file])
        print(f"\n{file}: fitted to all")
        for line in found.lines():
            print(f"  {line}")
        sd = ", ".join(f"{q} {v:.3g}" for q, v in found.sd.items())
        print(f"  sd: {sd}\n")
        print("| method | c, g/L: mean (worst) | mu3, %: mean (worst) |\n|---|---|---|")
        for method in METHODS:
            e = errors(file, method)
            print(
                f"| {method} | {e.c.mean():.2f} ({e.c.max():.2f}) | {100 * e.mu3.mean():.1f} "
                f"({100 * e.mu3.max():.1f}) |"
            )


if __name__ == "__main__":
    main()
