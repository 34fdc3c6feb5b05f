"""labels.csv and outcome.csv of a run, and what the labels say beside the particles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crystalscope.config import LabelConfig
from crystalscope.core import LABELS
from crystalscope.io.tables import read_table, write_csv
from crystalscope.label.base import make_labeller
from crystalscope.label.outcome import label_table, outcomes
from crystalscope.label.rules import agreement


def write_labels(out: Path, frames: pd.DataFrame, config: LabelConfig) -> pd.DataFrame:
    """Write OUT/labels.csv and OUT/outcome.csv; raises WriteError.

    Parameters
    ----------
    out
        Folder of the run.
    frames
        Ledger with file, time_s and the ten confidences.
    config
        Labeller, thresholds, hysteresis, least run.

    Returns
    -------
    Rows of labels.csv.
    """
    thresholds = make_labeller(config).thresholds
    confidences = frames[list(LABELS)].to_numpy(dtype=float)
    table = label_table(
        frames["file"].astype(str).tolist(), frames["time_s"].to_numpy(dtype=float), confidences, thresholds
    )
    write_csv(out / "labels.csv", table)
    write_csv(out / "outcome.csv", outcomes(table, thresholds=thresholds, config=config))
    return table


def label_summary(out: Path, labels: pd.DataFrame, frames: pd.DataFrame, *, unit: str, check: bool) -> dict[str, Any]:
    """Share of the frames with each label, and how often labels and particles agree.

    Parameters
    ----------
    out
        Folder of the run, with particles.parquet.
    labels, frames
        Rows of labels.csv, and the ledger.
    unit
        um or px, of the particles.
    check
        Whether the labels are compared with the rules for particles; else the agreement is empty.
    """
    share = {n: labels[f"is_{n}"].dropna().astype(float).mean() for n in LABELS}
    shares = {n: round(float(v), 4) if np.isfinite(v) else None for n, v in share.items()}
    if not check:
        return {"share": shares, "agreement": {}}
    looked = frames[frames["status"].isin(["ok", "empty"])]
    lengths = [f"feret_max_{unit}", f"feret_min_{unit}"]
    columns = ["frame", "kind", "agglomerate", "score", *lengths]
    particles = read_table(out / "particles.parquet", columns=columns, where="in_focus")
    # As `rule_labels` has it: members of an agglomerate speak for it alone.
    particles.loc[particles["agglomerate"] > 0, "kind"] = "agglomerate"
    particles = particles.rename(columns=dict(zip(lengths, ("feret_max", "feret_min"), strict=True)))
    if unit == "um":
        scale = particles["frame"].map(frames.set_index("frame")["pixel_size_um"]).to_numpy(dtype=float)
        particles[["feret_max", "feret_min"]] = particles[["feret_max", "feret_min"]].div(scale, axis=0)
    return {"share": shares, "agreement": agreement(labels, particles, looked)}
