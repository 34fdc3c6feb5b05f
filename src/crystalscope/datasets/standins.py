"""Small rendered stand-ins of the OpenCrystalData sets, in the layout that their readers expect."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core import Scene
from crystalscope.datasets.catalogue import entry_named
from crystalscope.datasets.folder import STAND_IN
from crystalscope.datasets.opencrystaldata import LOADINGS_WT, SIZES_UM
from crystalscope.errors import InputError
from crystalscope.io.tables import write_bytes, write_csv, write_text

_SHAPE = MappingProxyType({"rows": 240, "columns": 320})
_BEAD_SCALE = 5.0

BEAD_CV = 0.03
"""Relative standard deviation of the diameters of spheres."""

NEEDLES = MappingProxyType({"Small": 100.0, "Medium": 200.0, "Large": 400.0})
"""Median length in um of the needles of the batches."""

NEEDLE_SPREAD = 0.3
NEEDLE_LENGTH_TO_WIDTH = 12.0


def write_standin(name: str, folder: str | Path, *, scale: int = 1, rng: int = 0) -> Path:
    """Render a small stand-in of a set.

    The layout is that of the paper, and of reports of users for the folders of the crops; the pictures are scenes of
    spheres, needles and clusters, smaller than the originals. A file STAND-IN.txt marks the
    folder, and `open_known` tells of it. The same seed gives the same pictures; spreadsheets carry the time of writing.

    Parameters
    ----------
    name
        Of the set.
    folder
        Made where it does not exist; files of the same names are written anew.
    scale
        Pictures in every folder; the sets have some hundred times more.
    rng
        Seed.

    Returns
    -------
    The folder.

    Raises
    ------
    InputError
        When there is no set of that name, or `scale` is below 1.
    WriteError
        When the folder cannot be written.
    """
    entry = entry_named(name)
    if scale < 1:
        raise InputError(f"expected at least one picture in every folder, got scale {scale}")
    out = Path(folder)
    write_text(
        out / STAND_IN,
        f"Rendered by crystalscope to try the readers of {entry.title}. Nothing here is measured, and nothing is from "
        f"the set. Its page: {entry.url}\n",
    )
    _WRITERS[name](out, scale, rng)
    return out


def _spheres(diameter_um: float, loading_wt: float, n: int, rng: int) -> Iterator[Scene]:
    # Of the field, 3 % per wt% are covered, but there are always some.
    field_um2 = math.prod(_SHAPE.values()) * _BEAD_SCALE**2
    spheres = max(1.5, 0.03 * loading_wt * field_um2 / (math.pi * diameter_um**2 / 4))
    beads = {"size": diameter_um, "spread": BEAD_CV, "count": spheres, "ghosts": 1.0}
    return _scenes("beads", {"beads": beads}, n, rng, pixel_size_um=_BEAD_SCALE)


def _needles(length_um: float, loading_wt: float, n: int, rng: int) -> Iterator[Scene]:
    needles = {
        "size": length_um,
        "spread": NEEDLE_SPREAD,
        "length_to_width": NEEDLE_LENGTH_TO_WIDTH,
        "count": 3 + loading_wt,
        "ghosts": 1.0,
    }
    return _scenes("needles", {"needles": needles}, n, rng)


def _slurry(kind: str, n: int, rng: int) -> Iterator[Scene]:
    clusters = {"presence": 1.0, "count": 2.0} if kind == "pg" else {"presence": 0.0}
    needles = {"size": 200.0, "count": 4.0, "ghosts": 6.0}
    populations = {"needles": needles, "bundles": {"count": 1.0, "ghosts": 1.0}, "clusters": clusters}
    return _scenes("impurity", populations, n, rng, shows="cluster" if kind == "pg" else "needle")


def _scenes(
    name: str,
    populations: Mapping[str, Mapping[str, Any]],
    n: int,
    rng: int,
    *,
    shows: str = "",
    **instrument: float,
) -> Iterator[Scene]:
    """Pictures of a preset with something sharp in them: a whole body of the name `shows`, or any."""
    from crystalscope.scenes import preset, scenes_of

    recipe = preset(name).changed(instrument={**_SHAPE, **instrument}, populations=populations)
    made = 0
    for number in count():
        for scene in scenes_of(recipe, frames=1, first=number, seed=rng, workers=1):
            if made < n and _sharp(scene, shows).any():
                made += 1
                yield scene
        if made >= n:
            return


def _sharp(scene: Scene, body: str = "") -> NDArray[np.bool_]:
    """Which bodies are in focus; with a name, the whole ones of that name."""
    sharp = scene.truth["in_focus"].to_numpy(dtype=bool)
    if not body:
        return sharp
    whole = ~scene.truth["touches_border"].to_numpy(dtype=bool)
    return sharp & whole & (scene.truth["body"] == body).to_numpy()


def _crop(scene: Scene, body: str) -> NDArray[Any]:
    """The largest sharp whole body of a name with a margin, as a crop of the picture."""
    found = np.flatnonzero(_sharp(scene, body))
    k = max(found, key=lambda i: int(scene.instances.crop(int(i)).sum()))
    r0, c0, r1, c1 = (int(v) for v in scene.instances.boxes[k])
    return np.asarray(scene.image.data)[max(r0 - 12, 0) : r1 + 12, max(c0 - 12, 0) : c1 + 12]


def _save(path: Path, picture: NDArray[Any]) -> None:
    ok, raw = cv2.imencode(path.suffix, picture)
    assert ok
    write_bytes(path, raw.tobytes())


def _cephalexin(out: Path, scale: int, rng: int) -> None:
    for seed, kind, body in ((rng, "cex", "needle"), (rng + 1, "pg", "cluster")):
        for i, scene in enumerate(_slurry(kind, scale, seed)):
            _save(out / "raw" / "raw" / kind / f"{kind.upper()} raw ({i + 1}).png", np.asarray(scene.image.data))
            # As in the set, one crystal stands under several numbers, turned.
            for turns in range(3):
                crop = np.rot90(_crop(scene, body), turns)
                _save(out / "cropped" / "cropped" / kind / f"{kind.upper()} ({3 * i + turns + 1}).png", crop)


def _agcrystal(out: Path, scale: int, rng: int) -> None:
    for i, (batch, length) in enumerate(NEEDLES.items()):
        for split, loadings in (("Calibration images", (0.5, 2.5)), ("Validation images", (1.0, 5.0))):
            for loading in loadings:
                for k, scene in enumerate(_needles(length, loading, scale, rng + 100 * i + round(10 * loading))):
                    path = out / split / f"{batch} {loading:g}%" / f"Image_{k + 1:04d}.jpg"
                    _save(path, np.asarray(scene.image.data))
    write_bytes(out / "Offline PSD.xlsx", _workbook({b: _offline(length) for b, length in NEEDLES.items()}))


def _offline(length_um: float) -> pd.DataFrame:
    """Number and volume per cent of needles by length, exact: lengths log-normal, widths in proportion."""
    edges = np.geomspace(10, 2000, 41)
    number = np.diff(_log_normal(edges, length_um)) * 100
    # Volume goes with the cube of the length, which moves the median of a log-normal by three variances.
    volume = np.diff(_log_normal(edges, length_um * math.exp(3 * NEEDLE_SPREAD**2))) * 100
    return pd.DataFrame(
        {"Lower length (µm)": edges[:-1], "Upper length (µm)": edges[1:], "Number (%)": number, "Volume (%)": volume}
    )


def _log_normal(x: NDArray[np.float64], median: float) -> NDArray[np.float64]:
    from scipy.special import ndtr

    return np.asarray(ndtr(np.log(x / median) / NEEDLE_SPREAD))


def _workbook(sheets: Mapping[str, pd.DataFrame]) -> bytes:
    buffer = BytesIO()
    with pd.ExcelWriter(buffer, engine="openpyxl") as writer:
        for name, table in sheets.items():
            table.to_excel(writer, sheet_name=name, index=False)
    return buffer.getvalue()


def _polystyrene(out: Path, scale: int, rng: int) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i, diameter in enumerate(SIZES_UM):
        for loading in (*LOADINGS_WT, 12.5) if diameter == 400 else LOADINGS_WT:
            for k, scene in enumerate(_spheres(diameter, loading, scale, rng + 1000 * i + round(10 * loading))):
                file = f"images/{diameter:g}um_{loading:g}wt%/frame_{k + 1:04d}.png"
                _save(out / file, np.asarray(scene.image.data))
                rows, columns = scene.image.shape
                images.append({"id": len(images) + 1, "file_name": file, "height": rows, "width": columns})
                annotations += _outlines(scene, image=len(images), first=len(annotations) + 1)
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "particle"}]}
    write_text(out / "annotations.json", json.dumps(coco))
    maker = {
        "Nominal size (um)": SIZES_UM,
        "Mean diameter (um)": SIZES_UM,
        "Standard deviation (um)": [BEAD_CV * s for s in SIZES_UM],
    }
    write_csv(out / "manufacturer_size_distribution.csv", pd.DataFrame(maker))


def _outlines(scene: Scene, *, image: int, first: int) -> list[dict[str, Any]]:
    """Annotations by the rules of the set: in focus only, those that the frame cuts too."""
    from crystalscope.measure.outline import outlines

    found = scene.instances.select(_sharp(scene))
    out = []
    for k, polygons in enumerate(outlines(found)):
        r0, c0, r1, c1 = (int(v) for v in found.boxes[k])
        out.append(
            {
                "id": first + k,
                "image_id": image,
                "category_id": 1,
                "segmentation": [p.ravel().tolist() for p in polygons],
                "area": int(found.crop(k).sum()),
                "bbox": [c0, r0, c1 - c0, r1 - r0],
                "iscrowd": 0,
            }
        )
    return out


def _vansil(out: Path, scale: int, rng: int) -> None:
    suspensions = {"Wollastonite 1 wt%": 150.0, "Wollastonite 5 wt%": 150.0, "Glutamic acid 5 wt%": 300.0}
    sizes: dict[str, pd.DataFrame] = {}
    for i, (suspension, length) in enumerate(suspensions.items()):
        scenes = _needles(length, 3.0, 2 * scale, rng + 10 * i)
        for probe in ("EasyViewer-100", "EasyViewer-400"):
            for k in range(scale):
                _save(out / probe / suspension / f"Image_{k + 1:04d}.png", np.asarray(next(scenes).image.data))
        write_csv(out / "ParticleTrack G400" / f"CLD {suspension}.csv", _chords(length, rng=rng + i))
        sizes[suspension.split(" ")[0]] = _offline(length)
    write_bytes(out / "Particle size distributions.xlsx", _workbook(sizes))


def _chords(length_um: float, *, rng: int) -> pd.DataFrame:
    """Records of a laser probe in five channels: chords of lines at random through rectangles in the plane."""
    generator = np.random.default_rng(rng)
    n = 2000
    length = length_um * np.exp(NEEDLE_SPREAD * generator.standard_normal(n))
    width = length / NEEDLE_LENGTH_TO_WIDTH
    angle = generator.uniform(0, math.pi / 2, n)
    across = length * np.sin(angle) + width * np.cos(angle)
    # A longer side across the beam is met more often.
    met = generator.random(n) < across / across.max()
    length, width, angle, across = length[met], width[met], angle[met], across[met]
    longest = np.minimum(length / np.maximum(np.cos(angle), 1e-9), width / np.maximum(np.sin(angle), 1e-9))
    # Across the projection of a rectangle the chord rises to its longest, stays, and falls.
    ramp = np.minimum(length * np.sin(angle), width * np.cos(angle))
    offset = generator.uniform(0, across)
    rise = np.minimum(offset, across - offset) / np.maximum(ramp, 1e-9)
    chord = longest * np.minimum(rise, 1.0)
    edges = [0, 10, 50, 150, 300, 1000]
    chords = np.histogram(chord, edges)[0].astype(float)
    names = ["<10", "10-50", "50-150", "150-300", "300-1000"]
    seconds = np.arange(3) * 10.0
    table: dict[str, Any] = {"Rel. Time (in s)": seconds}
    for name, value in zip(names, chords, strict=True):
        table[f"counts, No Wt, {name} (Primary)"] = generator.poisson(value, len(seconds))
    return pd.DataFrame(table)


_WRITERS: Mapping[str, Callable[[Path, int, int], None]] = MappingProxyType(
    {
        "cephalexin-impurity": _cephalexin,
        "agcrystal": _agcrystal,
        "polystyrene": _polystyrene,
        "vansil-glutamic": _vansil,
    }
)
