"""A dataset described in Croissant 1.0 (MLCommons), so that other programs can load it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from glob import escape
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from crystalscope.datasets.checks_metadata import scales_of
from crystalscope.datasets.dataset import Dataset
from crystalscope.errors import ReadError
from crystalscope.io.coco import load_coco
from crystalscope.io.manifest import Manifest
from crystalscope.io.pictures import file_sha256

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context of the specification, https://docs.mlcommons.org/croissant/docs/croissant-spec.html."""

_CONFORMS = ("http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0")
_MIME = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".json": "application/json",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_SPDX = (
    "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC-BY-NC-ND-4.0",
    "CC-BY-ND-4.0", "ODbL-1.0", "ODC-By-1.0", "PDDL-1.0", "MIT", "BSD-3-Clause", "Apache-2.0",
)  # fmt: skip
"""Licences that are named by their address in the list of SPDX."""
_ENTRY_FIELDS = {
    "id": ("sc:Integer", "Number of the picture in the annotations."),
    "file_name": ("sc:Text", "Picture."),
    "height": ("sc:Integer", "Rows, px."),
    "width": ("sc:Integer", "Columns, px."),
}
_ANNOTATION_FIELDS = {
    "id": ("sc:Integer", "Number of the annotation."),
    "image_id": ("sc:Integer", "Number of the picture."),
    "category_id": ("sc:Integer", "Number of the class."),
    "bbox": ("cr:BoundingBox", "Left, top, width and height of the box, px."),
    "area": ("sc:Float", "Area of the outline, px²."),
    "ignore": ("sc:Integer", "1: neither right nor wrong, such as a particle out of focus."),
    "iscrowd": ("sc:Integer", "1: a region of particles that are not told apart."),
    "score": ("sc:Float", "Confidence."),
}


def croissant(dataset: Dataset) -> dict[str, Any]:
    """Description of a dataset in Croissant 1.0, as JSON-LD for a file in the folder of the dataset.

    Parameters
    ----------
    dataset
        The dataset.

    Returns
    -------
    Metadata of the manifest (what is empty there is left out); the pictures as a set of files; the table of pictures,
    annotations and sizes as files with SHA-256; and records: ``pictures`` (name and pixels), ``frames`` (rows of the
    table of pictures), ``annotated_pictures`` and ``annotations`` (COCO), ``sizes``. Paths are relative to the folder.

    Raises
    ------
    ReadError
        When a file that the manifest names cannot be read.
    """
    manifest = dataset.manifest
    files: list[dict[str, Any]] = [_pictures(dataset)]
    records: list[dict[str, Any]] = [_picture_records()]
    for name, path in (("frames", manifest.frames), ("sizes", manifest.sizes)):
        if path:
            files.append(_file(dataset.root, path, name))
            if path.endswith(".csv"):
                records.append(_table_records(dataset.root / path, name))
    for k, coco in enumerate(dataset.annotations):
        suffix = f"_{k + 1}" if len(dataset.annotations) > 1 else ""
        # A file that is read in two ways stands twice, as the reference reader asks for.
        twice = (f"annotated_pictures{suffix}", f"annotations{suffix}")
        files += [_file(dataset.root, coco.as_posix(), name) for name in twice]
        records += _coco_records(dataset.root / coco, suffix)
    out: dict[str, Any] = {"@context": CONTEXT, "@type": "sc:Dataset", **_metadata(dataset)}
    return out | {"conformsTo": list(_CONFORMS), "distribution": files, "recordSet": records}


def _metadata(dataset: Dataset) -> dict[str, Any]:
    m = dataset.manifest
    doi = f"https://doi.org/{doi_of(m)}" if m.doi else ""
    recorded = recording(dataset)
    limits = list(m.limits)
    protocol = [t for t in (m.annotation_rules, f"Annotated by {m.annotated_by}." if m.annotated_by else "") if t]
    fields: dict[str, Any] = {
        "name": m.title or m.name,
        "alternateName": m.name if m.title else "",
        "description": m.description,
        "url": m.url or doi,
        "identifier": doi,
        "sameAs": doi if m.url else "",
        "license": licence_address(m.licence),
        "creator": [{"@type": "Person", "name": c} for c in m.creators],
        "datePublished": m.published,
        "version": semantic(m.version),
        "citeAs": m.citation,
        "keywords": ["crystallization", "particle size", "image analysis", *m.classes],
        "measurementTechnique": m.instrument,
        "variableMeasured": [_property(n, v) for n, v in recorded.items()],
        "rai:dataCollection": " ".join(f"{n}: {v}." for n, v in recorded.items()),
        "rai:dataAnnotationProtocol": protocol,
        "rai:dataLimitations": limits,
    }
    return {k: v for k, v in fields.items() if v}


def _property(name: str, value: str) -> dict[str, str]:
    return {"@type": "PropertyValue", "name": name, "value": value}


def recording(dataset: Dataset) -> dict[str, str]:
    """How the pictures were taken, as far as it is known: instrument, scale, solids loading."""
    m = dataset.manifest
    scales = sorted(set(scales_of(dataset.frames, m.pixel_size_um).values()))
    scale = f"{scales[0]:g} µm per px" if len(scales) == 1 else ""
    if len(scales) > 1:
        scale = f"{scales[0]:g} to {scales[-1]:g} µm per px"
    named = m.instrument
    if not named and "instrument" in dataset.frames:
        named = ", ".join(sorted({str(v) for v in dataset.frames["instrument"].dropna()} - {""}))
    known = {"Instrument": named, "Scale": scale, "Solids loading": m.solids_loading}
    return {k: v for k, v in known.items() if v}


def doi_of(manifest: Manifest) -> str:
    """DOI without resolver or prefix."""
    return re.sub(r"^(https?://(dx\.)?doi\.org/|doi:\s*)", "", manifest.doi.strip(), flags=re.IGNORECASE)


def licence_address(licence: str) -> str:
    """Address of a licence in the list of SPDX where it is one of the usual ones; else the text as it stands."""
    plain = re.sub(r"[\s_-]+", "-", licence.strip()).casefold()
    known = next((s for s in _SPDX if s.casefold() == plain), None)
    return f"https://spdx.org/licenses/{known}.html" if known else licence.strip()


def semantic(version: str) -> str:
    """A version with three numbers: 1.0 is 1.0.0; others stay as they are."""
    numbers = version.strip().removeprefix("v").split(".")
    if len(numbers) < 3 and all(n.isdigit() for n in numbers):
        return ".".join([*numbers, "0", "0"][:3])
    return version.strip()


def _pictures(dataset: Dataset) -> dict[str, Any]:
    """The set of pictures, as patterns of names."""
    paths = [PurePosixPath(f) for f in dataset.frames["file"].astype(str)]
    patterns = sorted({(PurePosixPath(escape(str(p.parent))) / f"*{p.suffix}").as_posix() for p in paths})
    formats = sorted({_MIME[p.suffix.lower()] for p in paths})
    return {
        "@type": "cr:FileSet",
        "@id": "picture_files",
        "name": "picture_files",
        "description": f"{len(paths)} pictures.",
        "encodingFormat": formats if len(formats) > 1 else formats[0],
        "includes": patterns if len(patterns) > 1 else patterns[0],
    }


def _file(root: Path, path: str, name: str) -> dict[str, Any]:
    try:
        size, digest = (root / path).stat().st_size, file_sha256(root / path)
    except OSError as e:
        raise ReadError(f"expected {path} in {root}, got: {e.strerror}; restore it") from e
    return {
        "@type": "cr:FileObject",
        "@id": f"{name}_file",
        "name": PurePosixPath(path).name,
        "contentUrl": path,
        "contentSize": f"{size} B",
        "encodingFormat": _MIME.get(PurePosixPath(path).suffix.lower(), "application/octet-stream"),
        "sha256": digest,
    }


def _field(record_set: str, name: str, data_type: str, description: str, source: dict[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{record_set}/{name}",
        "name": name,
        "description": description,
        "dataType": data_type,
        "source": source,
    }


def _record_set(name: str, description: str, fields: Iterable[dict[str, Any]], key: str = "") -> dict[str, Any]:
    out = {"@type": "cr:RecordSet", "@id": name, "name": name, "description": description, "field": list(fields)}
    return {**out, "key": {"@id": f"{name}/{key}"}} if key else out


def _picture_records() -> dict[str, Any]:
    source = {"fileSet": {"@id": "picture_files"}}
    fields = [
        _field(
            "pictures", "file", "sc:Text", "Path in the dataset.", {**source, "extract": {"fileProperty": "fullpath"}}
        ),
        _field(
            "pictures", "picture", "sc:ImageObject", "The picture.", {**source, "extract": {"fileProperty": "content"}}
        ),
    ]
    return _record_set("pictures", "Pictures with their names.", fields, "file")


def _table_records(path: Path, name: str) -> dict[str, Any]:
    """Rows of a CSV file."""
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as e:
        raise ReadError(f"expected a CSV table in {path}: {e}") from e
    kinds = {"b": "sc:Boolean", "i": "sc:Integer", "u": "sc:Integer", "f": "sc:Float"}
    fields = [
        _field(
            name,
            str(column),
            # A column without any value reads as numbers.
            kinds.get(table[column].dtype.kind, "sc:Text"),
            _MEANINGS.get(str(column), str(column)),
            {"fileObject": {"@id": f"{name}_file"}, "extract": {"column": str(column)}},
        )
        for column in table.columns
    ]
    what = "What is known of every picture." if name == "frames" else "Size distribution, one row per size."
    return _record_set(name, what, fields, "file" if "file" in table and table["file"].is_unique else "")


_MEANINGS = {
    "file": "Picture, relative to the folder of the pictures.",
    "frame": "Pictures cut from one frame share it.",
    "pixel_size_um": "Edge of a pixel, um.",
    "time_s": "Time since the first frame, s.",
    "temperature_c": "Temperature, deg C.",
    "loading_wt": "Solids loading, wt%.",
    "split": "Split.",
    "class": "Class of the picture.",
    "instrument": "Instrument.",
    "size": "Size in the unit of the dataset.",
    "size_um": "Size, um.",
    "Q0": "Cumulative share by number.",
    "Q3": "Cumulative share by volume.",
    "q0": "Density by number.",
    "q3": "Density by volume.",
}


def _coco_records(path: Path, suffix: str) -> list[dict[str, Any]]:
    """Pictures and annotations of a COCO file, by the fields that every entry has."""
    coco = load_coco(path, strict=False)
    entries = [a for found in coco.annotations.values() for a in found] + coco.orphans
    out = []
    for name, rows, key, known, what in (
        (
            "annotated_pictures",
            list(coco.images.values()),
            "images",
            _ENTRY_FIELDS,
            "Pictures that the annotations list.",
        ),
        ("annotations", entries, "annotations", _ANNOTATION_FIELDS, "Annotated particles; outlines stand in the file."),
    ):
        record_set = f"{name}{suffix}"
        present = [f for f in known if rows and all(r.get(f) is not None for r in rows)]
        fields = [
            _field(
                record_set,
                f,
                known[f][0],
                known[f][1],
                {"fileObject": {"@id": f"{record_set}_file"}, "extract": {"jsonPath": f"$.{key}[*].{f}"}},
            )
            for f in present
        ]
        if fields:
            out.append(_record_set(record_set, what, fields, "id" if "id" in present else ""))
    return out


def croissant_text(dataset: Dataset) -> str:
    """The description as text, the same for the same dataset."""
    return json.dumps(croissant(dataset), indent=1, ensure_ascii=False) + "\n"
