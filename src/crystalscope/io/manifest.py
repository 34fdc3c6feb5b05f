"""dataset.toml: what a folder of pictures is, beside its pictures."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from crystalscope.config import Positive, Table
from crystalscope.errors import ReadError
from crystalscope.io.tables import to_toml, write_text

MANIFEST = "dataset.toml"
"""Name of the file in the folder of a dataset."""


class Manifest(Table):
    """What a dataset is and where its parts lie; paths are relative to its folder, empty where there is none.

    The tables: `annotations` is COCO; `frames` a CSV with column file (relative to `pictures`) and any of experiment,
    frame, batch, split, instrument, pixel_size_um, class, time_s, temperature_c; `sizes` an offline size distribution.
    """

    name: str
    title: str = ""
    description: str = ""
    version: str = ""
    licence: str = ""
    doi: str = ""
    url: str = ""
    citation: str = ""
    creators: tuple[str, ...] = ()
    published: str = ""
    """Date as YYYY-MM-DD."""
    instrument: str = ""
    pixel_size_um: Positive | None = None
    solids_loading: str = ""
    annotated_by: str = ""
    annotation_rules: str = ""
    limits: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    pictures: str = "images"
    annotations: str = ""
    frames: str = ""
    sizes: str = ""


def read_manifest(folder: str | Path) -> Manifest:
    """Read FOLDER/dataset.toml.

    Raises
    ------
    ReadError
        When there is none, or it is no TOML, or a key is unknown or of the wrong type.
    """
    path = Path(folder) / MANIFEST
    try:
        return Manifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as e:
        raise ReadError(
            f"expected a dataset with {MANIFEST} in {folder}, got none; make one with `crystalscope dataset init`"
        ) from e
    except (ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ReadError(f"expected a valid {MANIFEST} in {folder}: {e}") from e


def write_manifest(folder: str | Path, manifest: Manifest) -> Path:
    """Write FOLDER/dataset.toml; raises WriteError."""
    return write_text(Path(folder) / MANIFEST, to_toml(manifest.model_dump()))
