"""Pictures of scored particles: the strangest ones, and the frames that hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core import Image
from crystalscope.impurity import ParticleModel
from crystalscope.io.pictures import read_picture
from crystalscope.report.impurity import heat_map, heat_of, strangest
from crystalscope.report.pictures import eight_bit
from crystalscope.screening import RunPictures

_MARGIN_PX = 12


def strangest_particles(table: pd.DataFrame, run: RunPictures | None, source: Path, *, limit: int) -> NDArray[np.uint8]:
    """Montage of the particles with the highest scores.

    Parameters
    ----------
    table
        As scores.csv.
    run
        Where the particles are from; None: crops below `source`.
    source
        Folder of the crops.
    limit
        Particles at most.

    Returns
    -------
    RGB, see `report.impurity.strangest`.
    """
    chosen = table.sort_values("score", ascending=False, kind="stable").head(limit).reset_index(drop=True)
    tiles: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8] | None, float, bool]] = {}
    for file, rows in chosen.groupby("file", sort=False):
        if run is None:
            image = Image(read_picture(source / str(file)).data)
            for k in rows.index:
                tiles[k] = (eight_bit(image), None, float(rows.at[k, "score"]), rows.at[k, "is_impurity"] == 1)
            continue
        image = run.read(str(file))
        instances, ids = run.particles(str(file))
        assert instances is not None
        place = {int(n): i for i, n in enumerate(ids)}
        picture = eight_bit(image)
        for k in rows.index:
            i = place[int(rows.at[k, "particle"])]
            r0, c0, r1, c1 = (int(v) for v in instances.boxes[i])
            a, b = max(r0 - _MARGIN_PX, 0), max(c0 - _MARGIN_PX, 0)
            crop = picture[a : r1 + _MARGIN_PX, b : c1 + _MARGIN_PX]
            mask = np.zeros(crop.shape[:2], np.uint8)
            mask[r0 - a : r1 - a, c0 - b : c1 - b] = instances.crop(i)
            tiles[k] = (crop, mask, float(rows.at[k, "score"]), rows.at[k, "is_impurity"] == 1)
    return strangest([tiles[k] for k in range(len(chosen))])


def hottest_frames(
    table: pd.DataFrame, run: RunPictures, model: ParticleModel, *, limit: int
) -> list[tuple[str, NDArray[np.uint8]]]:
    """Heat maps of the frames with the highest scores, in the order of the run: name and RGB."""
    best = table.groupby("file", sort=False)["score"].max().sort_values(ascending=False, kind="stable").head(limit)
    out = []
    for file in [f for f in run.files() if f in best.index]:
        rows = table[table["file"] == file].set_index("particle")
        instances, ids = run.particles(file)
        assert instances is not None
        heat = heat_of(rows.loc[ids, "score"], model.threshold, probability=model.kind == "impurity")
        out.append((file, heat_map(run.read(file), instances, heat)))
    return out
