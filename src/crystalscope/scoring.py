"""Scores from paths: what `crystalscope score` does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core import Instances
from crystalscope.errors import ReadError
from crystalscope.io.coco import Annotated, read_coco
from crystalscope.io.masks import instances_of, mask_files, read_mask, read_via
from crystalscope.io.tables import read_table
from crystalscope.score import (
    Pair,
    areas,
    average_precision,
    confusion,
    match,
    match_above,
    pooled,
    sample_scores,
    semantic_scores,
)

_LEAST_AREA_PX = 40
"""Annotators leave smaller particles out: precision is also given above this area."""


def score_paths(predictions: Path, truth: Path, *, min_area_px: float = 0.0, pictures: str = "*") -> dict[str, Any]:
    """Score predictions against truth.

    Parameters
    ----------
    predictions
        A run, a COCO file, a folder of class or label pictures, or a table of sizes (CSV or Parquet).
    truth
        COCO, VIA, a folder of class or label pictures (NAME_mask.png beside NAME.jpg, or NAME.png), or a table.
        Regions of one value that are connected are one particle.
    min_area_px
        Predictions and truth below are ignored.
    pictures
        Pattern of the names (without suffix) of the true pictures that count.

    Returns
    -------
    JSON-ready: ``instances`` and ``pixels`` for pictures, ``distribution`` for tables. Pictures are matched by name
    without folder and suffix; pictures of the truth without predictions count as missed, predictions without truth
    are left out and counted in ``not_in_truth``.

    Raises
    ------
    ReadError
        When nothing fits together.
    """
    tables = (".csv", ".parquet")
    if predictions.suffix in tables or truth.suffix in tables:
        return {"distribution": _distribution(_sizes(predictions), _sizes(truth))}
    every = {_stem(a.file_name): a for a in _annotated(truth)}
    wanted = {k: a for k, a in every.items() if fnmatch(k, pictures)}
    found = {_stem(a.file_name): a for a in _annotated(predictions)}
    common = sorted(wanted.keys() & found.keys())
    if not common:
        raise ReadError(
            f"expected pictures of the same names, got {', '.join(sorted(found)[:3])} … in {predictions} and "
            f"{', '.join(sorted(wanted)[:3])} … in {truth}"
        )
    missing = {
        "not_in_truth": len(found.keys() - every.keys()),
        "without_predictions": len(wanted.keys() - found.keys()),
    }
    return missing | score_pictures(found, wanted, min_area_px=min_area_px)


def score_classes(predictions: Path, truth: Path, *, pictures: str = "*") -> dict[str, Any]:
    """Score class pictures pixel by pixel.

    Parameters
    ----------
    predictions, truth
        Folders of class pictures (0, 1, 2 …) of the same names, or runs or datasets that hold them in ``semantic``.
    pictures
        Pattern of the names (without suffix) of the true pictures that count.

    Returns
    -------
    JSON-ready: pictures, without_predictions, ``classes`` with accuracy, iou and f1 by class, mean_iou, confusion.

    Raises
    ------
    ReadError
        When nothing fits together.
    InputError
        When two pictures of one name differ in shape.
    """
    found, every = (mask_files(p / "semantic" if (p / "semantic").is_dir() else p) for p in (predictions, truth))
    wanted = {k: f for k, f in every.items() if fnmatch(k, pictures)}
    common = sorted(wanted.keys() & found.keys())
    if not common:
        raise ReadError(
            f"expected class pictures of the same names, got {', '.join(sorted(found)[:3]) or 'none'} in {predictions} "
            f"and {', '.join(sorted(wanted)[:3]) or 'none'} in {truth}; write them with analyze --save-masks"
        )
    pairs = [(read_mask(found[k]), read_mask(wanted[k])) for k in common]
    classes = 1 + max(int(m.max()) for pair in pairs for m in pair)
    matrix = np.sum([confusion(p, t, classes=classes) for p, t in pairs], axis=0)
    scores = semantic_scores(matrix) | {"confusion": matrix.tolist()}
    return _plain({"pictures": len(common), "without_predictions": len(wanted) - len(common), "classes": scores})


def score_pictures(
    found: Mapping[str, Annotated], wanted: Mapping[str, Annotated], *, min_area_px: float = 0.0
) -> dict[str, Any]:
    """Score found particles against true ones, by picture.

    Parameters
    ----------
    found, wanted
        By name of the picture. Only pictures in `wanted` count; one that is not in `found` counts as missed.
    min_area_px
        Particles below are ignored on both sides.

    Returns
    -------
    JSON-ready: pictures, instances, pixels, by_picture.
    """
    pairs, names = [], []
    matrix = np.zeros((2, 2), dtype=np.int64)
    for name in sorted(wanted):
        t = wanted[name]
        p = found[name].instances if name in found else Instances.empty(t.instances.field)
        small = areas(t.instances) < min_area_px
        keep = areas(p) >= min_area_px
        pair = Pair(p.select(keep), t.instances, t.ignore | small)
        pairs.append(pair)
        names.append(name)
        matrix += confusion(_union(p, None), _union(t.instances, ~t.ignore), classes=2, ignore=_ignored(t))
    at_50 = [match(p) for p in pairs]
    total, visible = pooled(at_50), pooled([match(p, visible=True) for p in pairs])
    result: dict[str, Any] = {
        "pictures": len(pairs),
        "instances": {
            "tp": total.tp,
            "fp": total.fp,
            "fn": total.fn,
            "precision": total.precision,
            "recall": total.recall,
            "f1": total.f1,
            "panoptic_quality": total.panoptic_quality,
            "mean_iou_of_matched": total.iou / total.tp if total.tp else None,
            "f1_visible": visible.f1,
            f"precision_over_{_LEAST_AREA_PX}px": pooled(
                [match_above(p, area_px=max(min_area_px, _LEAST_AREA_PX))[0] for p in pairs]
            ).precision,
            **average_precision(pairs),
        },
        "pixels": semantic_scores(matrix) | {"classes": ["background", "particle"]},
        "by_picture": [
            {"picture": n, "tp": m.tp, "fp": m.fp, "fn": m.fn, "f1": m.f1} for n, m in zip(names, at_50, strict=True)
        ],
    }
    return _plain(result)


def _plain(data: Any) -> Any:
    """NaN as None: JSON has no NaN."""
    if isinstance(data, dict):
        return {k: _plain(v) for k, v in data.items()}
    if isinstance(data, list):
        return [_plain(v) for v in data]
    return None if isinstance(data, float) and not np.isfinite(data) else data


def _stem(name: str) -> str:
    return Path(name).stem


def _annotated(path: Path) -> list[Annotated]:
    if path.is_dir() and (path / "annotations.coco.json").exists():
        return read_coco(path / "annotations.coco.json")
    if path.is_dir():
        files = mask_files(path)
        if not files:
            raise ReadError(f"expected a run or masks in {path}, got neither annotations.coco.json nor a picture")
        out = []
        for stem, file in files.items():
            found = instances_of(read_mask(file))
            n = len(found)
            out.append(Annotated(stem, found, np.arange(1, n + 1), np.zeros(n, dtype=bool)))
        return out
    if path.suffix == ".json" and path.exists():
        keys = json.loads(path.read_text(encoding="utf-8"))
        return read_via(path) if "_via_img_metadata" in keys else read_coco(path)
    raise ReadError(f"expected a run, a COCO or VIA file, or a folder of masks, got {path}; check the path")


def _union(instances: Instances, use: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    chosen = instances if use is None else instances.select(use)
    return (chosen.labels() > 0).astype(np.int64)


def _ignored(annotated: Annotated) -> NDArray[np.bool_]:
    real = _union(annotated.instances, ~annotated.ignore) > 0
    return np.asarray((_union(annotated.instances, annotated.ignore) > 0) & ~real)


def _sizes(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sizes and weights by number from a run, a sizes.csv, a particle table or any CSV with a column of sizes."""
    if path.is_dir():
        path = path / "sizes.csv"
    if not path.exists():
        raise ReadError(f"expected a table of sizes, got {path}, which does not exist")
    table = read_table(path) if path.suffix == ".parquet" else pd.read_csv(path)
    if "in_focus" in table and table["in_focus"].dtype == bool:
        table = table[table["in_focus"]]
    for column in ("size", "ecd_um", "ecd_px", "ecd", "diameter", "size_um"):
        if column in table:
            weight = table["Q0"].diff().fillna(table["Q0"]) if "Q0" in table else table.get("weight", 1.0)
            sizes = table[column].to_numpy(dtype=float)
            return sizes, np.broadcast_to(np.asarray(weight, dtype=float), sizes.shape)
    raise ReadError(
        f"expected a column size, ecd_um, ecd_px, ecd, diameter or size_um in {path.name}, got "
        f"{', '.join(table.columns)}"
    )


def _distribution(
    predicted: tuple[NDArray[np.float64], NDArray[np.float64]],
    truth: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> dict[str, Any]:
    out: dict[str, Any] = {"n_predicted": len(predicted[0]), "n_truth": len(truth[0])}
    for by, power in (("number", 0), ("volume", 3)):
        (x, wx), (y, wy) = ((s, w * s**power) for s, w in (predicted, truth))
        out[by] = sample_scores(x, wx, y, wy)
    return out
