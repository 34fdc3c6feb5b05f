"""Instances -> ParticleTable."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystalscope.core import KINDS, Image, Instances, ParticleTable, ledger_frame, particle_frame
from crystalscope.errors import InputError
from crystalscope.measure import shape
from crystalscope.measure.kernel import RESULTS, measure_masks
from crystalscope.measure.outline import boundary_form_factor, has_holes, outlines

__all__ = ["boundary_form_factor", "has_holes", "measure_columns", "measure_particles", "outlines", "shape"]

_NEEDLE = 4.0
"""Length to width from which a particle is measured along its path."""


def measure_columns(instances: Instances, grey: NDArray[np.generic]) -> dict[str, NDArray[Any]]:
    """Measures of all particles of a picture, in px.

    Parameters
    ----------
    instances
        The particles.
    grey
        The recorded picture, (rows, columns), for the mean grey.

    Returns
    -------
    One array (n,) for every column of `core.PARTICLE_COLUMNS` except frame, file and particle.

    Raises
    ------
    InputError
        When the picture has not the shape of the field.
    """
    if grey.shape != instances.field.shape:
        raise InputError(f"expected a picture of shape {instances.field.shape}, got {grey.shape}")
    disc = np.array(instances.field.disc or (0.0, 0.0, 0.0), dtype=np.float64)
    result = measure_masks(instances.boxes, instances.pixels, instances.offsets, grey, disc)
    m = {name: result[:, i] for i, name in enumerate(RESULTS)}
    area, perimeter, path = m["area"], m["perimeter"], m["path_length"]
    bent = shape.solidity(area, m["hull_area"]) < 0.8
    slender = path * path >= _NEEDLE * area  # path / (area / path)
    needle = np.isfinite(path) & slender & ((m["rect_length"] >= _NEEDLE * m["rect_width"]) | bent)
    length = np.where(needle, path, m["rect_length"])
    width = np.where(needle, area / np.where(needle, path, 1.0), m["rect_width"])
    return {
        "score": instances.score,
        "kind": np.array(KINDS, dtype=object)[instances.kind],
        "in_focus": instances.in_focus,
        "touches_border": m["touches_border"] > 0,
        "agglomerate": instances.agglomerate,
        "area": area,
        "perimeter": perimeter,
        "ecd": shape.ecd(area),
        "feret_max": m["feret_max"],
        "feret_min": m["feret_min"],
        "length": length,
        "width": width,
        "x": m["x"],
        "y": m["y"],
        "aspect_ratio": shape.aspect_ratio(m["feret_min"], m["feret_max"]),
        "length_to_width": shape.length_to_width(length, width),
        "form_factor": shape.form_factor(area, perimeter),
        "circularity": shape.circularity(area, perimeter),
        "solidity": shape.solidity(area, m["hull_area"]),
        "convexity": shape.convexity(perimeter, m["hull_perimeter"]),
        "elongation": shape.elongation(area, perimeter),
        "compactness": shape.compactness(area, m["feret_max"]),
        "focus": instances.focus,
        "mean_grey": m["mean_grey"],
        "rect_length": m["rect_length"],
        "rect_width": m["rect_width"],
        "border_weight": m["border_weight"],
    }


def measure_particles(instances: Instances, image: Image) -> ParticleTable:
    """Particle table of a single picture.

    Parameters
    ----------
    instances
        The particles.
    image
        The picture that they stand in; its scale decides whether the table is in um or px.
    """
    grey = image.data if image.data.ndim == 2 else image.data.mean(axis=2)
    columns = measure_columns(instances, grey)
    n = len(instances)
    columns["frame"] = np.zeros(n, dtype=np.int32)
    columns["file"] = np.full(n, image.source, dtype=object)
    columns["particle"] = np.arange(1, n + 1, dtype=np.int32)
    counted = instances.in_focus
    row = {
        "file": image.source,
        "time_s": image.time_s,
        "status": "ok" if counted.any() else "empty",
        "width_px": image.shape[1],
        "height_px": image.shape[0],
        "pixel_size_um": image.pixel_size_um or np.nan,
        "n_particles": int(counted.sum()),
        "field_area_px": instances.field.area_px,
    }
    return ParticleTable(
        particle_frame(columns, pixel_size_um=image.pixel_size_um),
        ledger_frame([row]),
        "px" if image.pixel_size_um is None else "um",
    )
