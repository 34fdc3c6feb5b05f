"""Tables of classified particles from files, joined with the run that they are from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from crystalscope.errors import InputError, ReadError
from crystalscope.impurity import IMPURITY, TARGET, Confusion, confusion_of_table
from crystalscope.io.tables import read_table
from crystalscope.runs import looked_at


def read_csv(path: Path) -> pd.DataFrame:
    """A CSV whose names of files stay text.

    Raises
    ------
    ReadError
        When it cannot be read or holds nothing.
    """
    try:
        return pd.read_csv(path, dtype={"file": str, "class": str, "truth": str, "predicted": str})
    except (OSError, ValueError) as e:
        raise ReadError(f"expected a CSV in {path}: {e}") from e


def read_confusion(path: Path) -> Confusion:
    """Counts of known particles by true and predicted class.

    Raises
    ------
    ReadError, InputError
        When the file is no such table (see `impurity.confusion_of_table`).
    """
    return confusion_of_table(read_csv(path))


def confusion_frame(confusion: Confusion) -> pd.DataFrame:
    """As a square table with the true class first, as `read_confusion` reads it."""
    table = pd.DataFrame(confusion.counts, columns=list(confusion.classes))
    table.insert(0, "truth", list(confusion.classes))
    return table


def read_classes(path: Path, *, run: Path | None = None) -> pd.DataFrame:
    """Particles with their predicted class.

    Parameters
    ----------
    path
        CSV with ``file`` and ``class``, or scores.csv with ``is_impurity``; ``particle`` where a run is given.
    run
        Run that the particles are from; None: frames are in the order of their names.

    Returns
    -------
    Columns class and frame (from 0, those that were looked at), and of a run area and volume (ecd³ pi/6).
    ``attrs["frames"]`` is the number of frames.

    Raises
    ------
    ReadError
        When a file cannot be read.
    InputError
        When columns are missing, there is no particle, or the particles are not of the run.
    """
    table = read_csv(path)
    if "class" not in table and "is_impurity" in table:
        called = pd.to_numeric(table["is_impurity"], errors="coerce")
        if not called.isin([0, 1]).all():
            raise InputError(f"expected is_impurity 0 or 1 in {path.name}, got other values")
        table["class"] = np.where(called == 1, IMPURITY, TARGET)
    missing = [c for c in ("file", "class", *(("particle",) if run else ())) if c not in table]
    if missing:
        raise InputError(f"expected a column {missing[0]} in {path.name}, got {', '.join(table.columns.astype(str))}")
    if table.empty or table["class"].isna().any():
        raise InputError(f"expected particles with a class in {path.name}, got none or empty classes")
    if run is None:
        frame, names = pd.factorize(table["file"].astype(str), sort=True)
        out = pd.DataFrame({"class": table["class"].astype(str), "frame": frame})
        out.attrs["frames"] = len(names)
        return out
    return _joined(table, path, run)


def _joined(table: pd.DataFrame, path: Path, run: Path) -> pd.DataFrame:
    if not (run / "particles.parquet").exists():
        raise ReadError(f"expected the folder of a run, got {run} without particles.parquet; run analyze first")
    known = read_table(run / "particles.parquet")
    unit = "um" if "ecd_um" in known else "px"
    known = known[["particle", "frame", f"area_{unit}2", f"ecd_{unit}"]]
    joined = table[["particle", "class"]].merge(known, on="particle", how="left", validate="one_to_one")
    if joined["frame"].isna().any():
        lost = joined[joined["frame"].isna()].iloc[0]
        raise InputError(
            f"expected the particles of {path.name} in {run}, got particle {lost['particle']}, which is not there; "
            "is it the table of another run?"
        )
    number, frames = looked_at(run)
    ecd = joined[f"ecd_{unit}"].to_numpy(dtype=float)
    out = pd.DataFrame(
        {
            "class": joined["class"].astype(str),
            "frame": number[joined["frame"].to_numpy(dtype=np.int64)],
            "area": joined[f"area_{unit}2"].to_numpy(dtype=float),
            "volume": np.pi / 6 * ecd**3,
        }
    )
    out.attrs["frames"] = frames
    return out
