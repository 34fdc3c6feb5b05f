"""The comparison of the paper on two sieve fractions: python -m bench.semantic.compare DIR --out RUN [--docs].

DIR is written by `python -m bench.semantic.fractions`. A run that is there is taken as it is. Every method analyses the
same pictures; sizes are those of whole crystals (none that the edge cuts, no agglomerates). Writes results.json and
plots; `--docs` puts the plots into docs/images.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.semantic.fractions import FRACTIONS
from bench.semantic.plots import plot_faults, plot_fractions, plot_overlay
from crystalscope.config import AnalyzeConfig, PostConfig, SemanticConfig
from crystalscope.core import Instances
from crystalscope.datasets import open_dataset
from crystalscope.io.coco import read_coco
from crystalscope.io.tables import read_table, write_bytes, write_json
from crystalscope.measure import boundary_form_factor, measure_columns
from crystalscope.pipeline import analyze
from crystalscope.score import Pair, matched, sample_scores
from crystalscope.size import classes, lognormal_of_classes, make_distribution

Floats = NDArray[np.float64]

_MENDED = SemanticConfig().post.model_copy(update={"form_factor_by": "crofton", "complete_overlaps": True})
_OPEN = PostConfig(min_area_px=20.0, border="drop", complete_overlaps=False)
METHODS = {
    "semantic": AnalyzeConfig(segmenter="semantic"),
    "semantic, mended": AnalyzeConfig(segmenter="semantic", semantic=SemanticConfig(post=_MENDED)),
    "semantic, no gate": AnalyzeConfig(segmenter="semantic", semantic=SemanticConfig(post=_OPEN)),
    "threshold": AnalyzeConfig(segmenter="threshold"),
    "crystals": AnalyzeConfig(segmenter="crystals"),
}
"""As published; with Crofton's perimeter in its gate and overlaps completed; without the gate; the two others."""
CLASS_UM = 10.0
CONVEX = 0.94
"""Solidity below which an outline is left out, for what overlapping crystals that are drawn as one cost."""


@dataclass(frozen=True, eq=False)
class Sizes:
    """Sizes of whole crystals, um: of the circle of equal area, and the width that a sieve sees."""

    ecd: Floats
    width: Floats


def truth_of(folder: Path) -> Sizes:
    """Crystals in focus that the edge does not cut."""
    table = pd.read_csv(folder / "particles.csv")
    whole = table[table["in_focus"].astype(bool) & ~table["touches_border"].astype(bool) & (table["parent"] == 0)]
    return Sizes(whole["ecd_um"].to_numpy(dtype=float), whole["body_width_um"].to_numpy(dtype=float))


def found_by(config: AnalyzeConfig, folder: Path, run: Path, *, solidity: float = 0.0) -> Sizes:
    """Whole crystals that a method finds, of at least a solidity."""
    scale = open_dataset(folder).manifest.pixel_size_um
    settled = config.model_copy(update={"input": config.input.model_copy(update={"pixel_size_um": scale})})
    if not (run / "particles.parquet").exists():
        analyze(folder / "images", run, config=settled)
    table = read_table(run / "particles.parquet", where="in_focus AND NOT touches_border AND kind = 'crystal'")
    table = table[table["solidity"] >= solidity]
    return Sizes(table["ecd_um"].to_numpy(dtype=float), table["width_um"].to_numpy(dtype=float))


def figures(found: Sizes, truth: Sizes, low: float) -> dict[str, Any]:
    """Distances to the true Q3, the published fit, and what lies below the fraction."""
    if not found.ecd.size:
        return {"n": 0}
    scores = sample_scores(found.ecd, found.ecd**3, truth.ecd, truth.ecd**3)
    widths = sample_scores(found.width, found.width**3, truth.width, truth.width**3)
    distribution = make_distribution(found.ecd, found.ecd**3, definition="ecd", volume_model="ecd^3", unit="um")
    x50, sigma = lognormal_of_classes(classes(distribution, width=CLASS_UM))
    least = float(truth.ecd.min())
    return {
        "n": int(found.ecd.size),
        "ks": scores["ks"],
        "D10_error": scores["D10"]["relative_error"],
        "D50_error": scores["D50"]["relative_error"],
        "D90_error": scores["D90"]["relative_error"],
        "lognormal": {"x50_3": x50, "sigma": sigma},
        "sieve_width_ks": widths["ks"],
        "sieve_width_D50_error": widths["D50"]["relative_error"],
        "volume_below": float((found.ecd[found.ecd < least] ** 3).sum() / (found.ecd**3).sum()),
        "number_below": float((found.ecd < least).mean()),
        "modes_below": modes_below(found.ecd, least),
        "below_lowest_sieve": float((found.ecd[found.ecd < low] ** 3).sum() / (found.ecd**3).sum()),
    }


def modes_below(ecd: Floats, least: float) -> int:
    """Modes of q3 (in classes of 10 um, at least 2 % of the highest) below the smallest true crystal."""
    edges = np.arange(0, ecd.max() + 2 * CLASS_UM, CLASS_UM)
    q3 = np.histogram(ecd, bins=edges, weights=ecd**3)[0]
    inner = np.concatenate([[0], q3, [0]])
    peak = (inner[1:-1] > inner[:-2]) & (inner[1:-1] >= inner[2:]) & (q3 >= 0.02 * q3.max())
    return int((peak & (edges[1:] <= least)).sum())


def by_picture(file: Path) -> dict[str, Instances]:
    """Particles of a COCO file by the name of the picture."""
    return {Path(a.file_name).name: a.instances for a in read_coco(file)}


def overlap_ratios(run: Path, truth: Path) -> pd.DataFrame:
    """Found over true diameter of the crystals that a method finds, with the share that another crystal covers or
    shares. Columns true_px, ratio, shared."""
    own, true = by_picture(run / "annotations.coco.json"), by_picture(truth / "annotations.coco.json")
    rows = []
    for name, t in true.items():
        f = own.get(name)
        if f is None or not len(f):
            continue
        hit, which, _, _ = matched(Pair(f, t, np.zeros(len(t), dtype=bool)), threshold=0.3)
        count = np.zeros(t.field.shape, dtype=np.uint8)
        for k, (r0, c0, r1, c1) in enumerate(t.boxes):
            count[r0:r1, c0:c1] += t.crop(k).astype(np.uint8)
        sizes_f = [2 * math.sqrt(np.count_nonzero(f.crop(int(i))) / math.pi) for i in hit]
        for size, j in zip(sizes_f, which, strict=True):
            r0, c0, r1, c1 = t.boxes[j]
            crop = t.crop(int(j))
            area = np.count_nonzero(crop)
            if r0 <= 0 or c0 <= 0 or r1 >= t.field.shape[0] or c1 >= t.field.shape[1]:
                continue
            shared = float((count[r0:r1, c0:c1][crop.astype(bool)] > 1).mean())
            diameter = 2 * math.sqrt(area / math.pi)
            rows.append({"true_px": diameter, "ratio": size / diameter, "shared": shared})
    return pd.DataFrame(rows, columns=["true_px", "ratio", "shared"])


def form_factors(run: Path) -> pd.DataFrame:
    """Diameter in px and form factor by both perimeters of all regions of a run. Columns ecd_px, boundary, crofton."""
    rows = []
    for f in by_picture(run / "annotations.coco.json").values():
        if not len(f):
            continue
        m = measure_columns(f, np.zeros(f.field.shape, dtype=np.uint8))
        rows.append(
            pd.DataFrame({"ecd_px": m["ecd"], "boundary": boundary_form_factor(f), "crofton": m["form_factor"]})
        )
    return pd.concat(rows, ignore_index=True)


def faults(runs: dict[str, Path], truth: Path) -> tuple[dict[str, Any], dict[str, pd.DataFrame], pd.DataFrame]:
    """The two known faults in numbers, and the tables that are plotted."""
    forms = form_factors(runs["semantic, no gate"])
    small = forms[forms["ecd_px"] < 12]
    ratios = {m: overlap_ratios(runs[m], truth) for m in ("semantic, no gate", "semantic, mended", "crystals")}
    numbers: dict[str, Any] = {
        "form_factor": {
            "regions_below_12_px": len(small),
            "above_1_by_boundary": float((small["boundary"] > 1).mean()) if len(small) else math.nan,
            "above_1_by_crofton": float((small["crofton"] > 1).mean()) if len(small) else math.nan,
            "in_gate_by_boundary": float(forms["boundary"].between(0.85, 0.95).mean()),
            "in_gate_by_crofton": float(forms["crofton"].between(0.85, 0.95).mean()),
        }
    }
    for method, table in ratios.items():
        crossed = table[table["shared"] > 0.05]
        numbers[f"overlapping, {method}"] = {
            "n": len(crossed),
            "median_ratio": float(crossed["ratio"].median()) if len(crossed) else math.nan,
            "within_5_percent": float(crossed["ratio"].between(0.95, 1.05).mean()) if len(crossed) else math.nan,
        }
        alone = table[table["shared"] <= 0.05]
        numbers[f"alone, {method}"] = {"n": len(alone), "median_ratio": float(alone["ratio"].median())}
    return numbers, ratios, forms


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--docs", action="store_true")
    args = parser.parse_args()
    results: dict[str, Any] = {}
    sizes: dict[str, dict[str, Sizes]] = {}
    runs: dict[str, Path] = {}
    for name, (sieve, _, _) in FRACTIONS.items():
        truth = truth_of(args.dir / name)
        sizes[name] = {"truth": truth}
        results[name] = {"truth": {"n": int(truth.ecd.size)}}
        for method, config in METHODS.items():
            runs[method] = args.out / name / method.replace(", ", "-").replace(" ", "-")
            sizes[name][method] = found_by(config, args.dir / name, runs[method])
            results[name][method] = figures(sizes[name][method], truth, sieve[0])
            print(
                name, method, {k: v if isinstance(v, dict) else round(v, 4) for k, v in results[name][method].items()}
            )
        convex = found_by(METHODS["crystals"], args.dir / name, runs["crystals"], solidity=CONVEX)
        results[name]["crystals, convex"] = figures(convex, truth, sieve[0])
        numbers, ratios, forms = faults(runs, args.dir / name)
        results[name]["faults"] = numbers
        print(name, numbers, flush=True)
    write_json(args.out / "results.json", results)
    plots = {
        "semantic-fractions.png": plot_fractions(sizes),
        "semantic-faults.png": plot_faults(ratios, forms),
        "semantic-overlay.jpg": plot_overlay(
            args.dir / name, {m: runs[m] for m in ("semantic", "threshold", "crystals")}
        ),
    }
    for file, data in plots.items():
        write_bytes(args.out / file, data)
        if args.docs:
            write_bytes(Path("docs/images") / file, data)


if __name__ == "__main__":
    main()
