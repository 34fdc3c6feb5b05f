"""Particles that another program found: they enter where a segmenter's would."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from crystalscope.config import AnalyzeConfig
from crystalscope.core import Instances
from crystalscope.errors import ConfigError, InputError, ReadError
from crystalscope.io.coco import read_coco
from crystalscope.io.masks import labelled, read_mask
from crystalscope.io.pictures import PICTURE_SUFFIXES
from crystalscope.prepare import Prepared
from crystalscope.segment.base import Segmentation, with_sharpness

_ENDINGS = ("_mask", "_masks", "_cp_masks", "_label", "_labels", "_seg")


@dataclass(frozen=True, eq=False)
class GivenSegmenter:
    """Segmenter ``given``: masks from a COCO file or label pictures, by the name of the picture.

    Raises
    ------
    ConfigError
        When no path is given.
    ReadError
        When there is neither a COCO file nor a label picture.
    """

    config: AnalyzeConfig
    _coco: dict[str, Instances] = field(default_factory=dict, repr=False)
    _files: dict[str, Path] = field(default_factory=dict, repr=False)
    _digest: str = ""

    def __post_init__(self) -> None:
        if not self.config.given.path:
            raise ConfigError("expected a path of particles found elsewhere, got none; name it with --instances")
        path = Path(self.config.given.path)
        if path.is_dir():
            object.__setattr__(self, "_files", _label_pictures(path))
        else:
            coco, digest = _read(str(path))
            object.__setattr__(self, "_coco", coco)
            object.__setattr__(self, "_digest", digest)

    def study(self, pictures: list[Prepared]) -> GivenSegmenter:
        """Nothing is to be settled."""
        return self

    def segment(self, picture: Prepared) -> Segmentation:
        """Particles of one picture.

        Raises
        ------
        InputError
            When there are none for this picture, or they are of a picture of another size.
        """
        name = Path(picture.image.source).name
        stem = Path(name).stem
        if self._files:
            file = self._files.get(stem)
            found = None if file is None else labelled(read_mask(file))
        else:
            found = self._coco.get(name, self._coco.get(stem))
        if found is None:
            raise InputError(
                f"expected particles of {name} in {self.config.given.path}, got none; add them, or leave the picture "
                "out (--files)"
            )
        if found.field.shape != picture.field.shape:
            raise InputError(
                f"expected particles of a picture of {picture.field.shape[1]} x {picture.field.shape[0]} px for {name},"
                f" got {found.field.shape[1]} x {found.field.shape[0]} px; export them at the size of the picture"
            )
        found = replace(found, field=picture.field)
        return Segmentation(with_sharpness(found, picture, self.config), 0, f"given {self._digest[:8]}".strip())


def _label_pictures(folder: Path) -> dict[str, Path]:
    files = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in PICTURE_SUFFIXES]
    if not files:
        raise ReadError(f"expected label pictures in {folder}, got none; one per picture, of the same name")
    out: dict[str, Path] = {}
    for file in files:
        stem = file.stem
        for ending in sorted(_ENDINGS, key=len, reverse=True):
            if stem.endswith(ending):
                stem = stem.removesuffix(ending)
                break
        # A label picture goes before a picture of the same name that lies beside it.
        if stem not in out or file.stem != stem:
            out[stem] = file
    return out


@lru_cache(maxsize=2)
def _read(path: str) -> tuple[dict[str, Instances], str]:
    file = Path(path)
    if not file.exists():
        raise ReadError(f"expected a COCO file or a folder of label pictures, got {file}, which does not exist")
    out: dict[str, Instances] = {}
    for entry in read_coco(file):
        counted = entry.instances.select(~entry.ignore) if np.any(entry.ignore) else entry.instances
        name = Path(entry.file_name.replace("\\", "/")).name
        out[name] = counted
        out.setdefault(Path(name).stem, counted)
    return out, hashlib.sha256(file.read_bytes()).hexdigest()
