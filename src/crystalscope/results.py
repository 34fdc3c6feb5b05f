"""The folder of a run: parts while it goes on, the files of the contract at its end."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope import __version__
from crystalscope.config import AnalyzeConfig
from crystalscope.core import PARTICLE_COLUMNS, FrameRef, Image, Instances, Unit, ledger_frame, particle_frame
from crystalscope.errors import ConfigError
from crystalscope.events import has_clock, run_events
from crystalscope.io.coco import coco_pieces, segmentation
from crystalscope.io.events import write_events
from crystalscope.io.pictures import write_png
from crystalscope.io.sequence import Source
from crystalscope.io.tables import (
    merge_tables,
    read_table,
    to_toml,
    write_bytes,
    write_csv,
    write_json,
    write_table,
    write_text,
)
from crystalscope.label.rules import disagreements
from crystalscope.label.tables import label_summary, write_labels
from crystalscope.measure import has_holes, outlines
from crystalscope.prepare.sequence import lasting_coverage
from crystalscope.segment.kinds import kinds_in_use
from crystalscope.segment.second import second_path
from crystalscope.size import size_particles, size_points, summarize
from crystalscope.weights import weights_hashes, weights_path

_NEEDED = ("frame", "touches_border", "border_weight", "focus", "in_focus")


@dataclass(eq=False)
class FrameResult:
    """One frame: its ledger row, and where it was analysed its particles, their measures in px, its class picture."""

    row: dict[str, Any]
    sha256: str = ""
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    instances: Instances | None = None
    classes: NDArray[np.uint8] | None = None
    cover: NDArray[np.bool_] | None = None
    """`COVER` cells: which are covered by what was found, sharp and blurred."""


COVER = (96, 128)
"""Rows and columns of cells in which it is kept what covers the field."""


@dataclass(eq=False)
class RunFolder:
    """A run on disk. Parts of finished chunks lie in RUN/.parts until all results are written.

    Parameters
    ----------
    path
        Folder of the run.
    digest
        Of the settings, the weights and the list of frames: parts of another digest are not gone on with.
    """

    path: Path
    digest: str
    _chunks: int | None = None
    _following: int = 1

    @property
    def parts(self) -> Path:
        """Folder of the parts."""
        return self.path / ".parts"

    @staticmethod
    def open(path: Path, *, source: Source, config: AnalyzeConfig, overwrite: bool) -> RunFolder:
        """Take a folder for a run: new, interrupted or complete.

        Raises
        ------
        ConfigError
            When the folder holds another run, or anything else.
        WriteError
            When it cannot be written.
        """
        listing = [
            (f.name, f.time_s, f.temperature_c, (source.root / f.file).stat().st_size) for f in source.sequence.frames
        ]
        used = _weights_in_use(config)
        plan = json.dumps([__version__, config.model_dump(), source.pixel_size_um, listing, used])
        run = RunFolder(path, hashlib.sha256(plan.encode()).hexdigest())
        if path.exists() and not path.is_dir():
            raise ConfigError(f"expected a folder for the run, got the file {path}; choose another --out")
        marker = path / ".parts" / "plan"
        found = marker.read_text().strip() if marker.exists() else _finished(path)
        if found not in ("", run.digest) or (not found and path.is_dir() and any(path.iterdir())):
            if not overwrite:
                what = "a run of other pictures or settings" if found else "other files"
                raise ConfigError(
                    f"expected an empty folder or this run in {path}, got {what}; choose another --out, or --overwrite"
                )
            for name in (*RUN_FILES, *MORE_FILES):
                (path / name).unlink(missing_ok=True)
            for name in (".parts", CLASSES):
                shutil.rmtree(path / name, ignore_errors=True)
            found = ""
        if not found:
            write_text(marker, run.digest + "\n")
        return run

    @property
    def complete(self) -> bool:
        """Whether all results are written: run.toml is the last."""
        return _finished(self.path) == self.digest and not self.parts.exists()

    def summary(self) -> dict[str, Any]:
        """Content of summary.json."""
        summary: dict[str, Any] = json.loads((self.path / "summary.json").read_text(encoding="utf-8"))
        return summary

    def ledgers(self) -> list[Path]:
        """Ledger parts of the finished chunks, in order."""
        return sorted(self.parts.glob("frames-*.parquet"))

    def frames_done(self) -> int:
        """Frames in finished chunks."""
        return sum(len(read_table(p, columns=["frame"])) for p in self.ledgers())

    def any_readable(self) -> bool:
        """Whether a frame was not a failure."""
        return any((read_table(p, columns=["status"])["status"] != "failed").any() for p in self.ledgers())

    def first_reason(self) -> str:
        """Reason of the first frame."""
        return str(read_table(self.ledgers()[0], columns=["reason"])["reason"].iloc[0])

    def append(self, chunk: Sequence[FrameResult], *, pixel_size_um: float | None) -> None:
        """Write the parts of a chunk; its ledger last, which makes it count."""
        if self._chunks is None:
            # Once for each start of the program: a run that goes on counts what is there.
            self._chunks = len(self.ledgers())
            parts = [p for p in self.parts.glob("particles-*.parquet") if _number(p) < self._chunks]
            self._following = 1 + sum(len(read_table(p, columns=["particle"])) for p in parts)
        k, following = self._chunks, self._following
        tables, annotations, images = [], [], []
        for result in chunk:
            row = result.row
            if result.classes is not None:
                write_png(self.path / CLASSES / f"{class_stem(str(row['file']))}.png", result.classes)
            images.append(
                {
                    "id": row["frame"],
                    "file_name": row["file"],
                    "width": row.get("width_px", 0),
                    "height": row.get("height_px", 0),
                    "sha256": result.sha256,
                }
            )
            if result.instances is None or not len(result.instances):
                continue
            n = len(result.instances)
            ids = np.arange(following, following + n, dtype=np.int32)
            following += n
            identity = {
                "frame": np.full(n, row["frame"], dtype=np.int32),
                "file": np.full(n, row["file"], dtype=object),
                "particle": ids,
            }
            tables.append(particle_frame({**result.columns, **identity}, pixel_size_um=pixel_size_um))
            annotations += _annotations(result, ids)
        table = pd.concat(tables, ignore_index=True) if tables else _no_particles(pixel_size_um)
        write_table(self.parts / f"particles-{k:06d}.parquet", table)
        for name, entries in (("annotations", annotations), ("images", images)):
            lines = "".join(json.dumps(e, separators=(",", ":")) + "\n" for e in entries)
            write_text(self.parts / f"{name}-{k:06d}.jsonl", lines)
        covers = [np.zeros(COVER, dtype=bool) if r.cover is None else r.cover for r in chunk]
        np.save(self.parts / f"cover-{k:06d}.npy", np.packbits(np.stack(covers).reshape(len(chunk), -1), axis=1))
        write_table(self.parts / f"frames-{k:06d}.parquet", ledger_frame([r.row for r in chunk]))
        self._chunks, self._following = k + 1, following

    def covers(self) -> NDArray[np.bool_]:
        """(frames, rows, columns) what covers the field in every frame, in `COVER` cells."""
        packed = np.concatenate([np.load(p, allow_pickle=False) for p in sorted(self.parts.glob("cover-*.npy"))])
        return np.unpackbits(packed, axis=1, count=COVER[0] * COVER[1]).astype(bool).reshape(-1, *COVER)

    def lines(self, name: str) -> Iterator[bytes]:
        """JSON lines of all chunks."""
        for part in sorted(self.parts.glob(f"{name}-*.jsonl")):
            with part.open("rb") as f:
                yield from f


RUN_FILES = (
    "run.toml",
    "frames.parquet",
    "particles.parquet",
    "annotations.coco.json",
    "sizes.csv",
    "summary.json",
    "report.html",
)
"""What `analyze` writes, always."""
MORE_FILES = ("labels.csv", "outcome.csv", "events.json")
"""What it writes where pictures are labelled, and where they have times and temperatures."""
CLASSES = "semantic"
"""Folder of class pictures, where they are asked for."""


def class_stem(file: str) -> str:
    """Name of the class picture of a frame, without suffix: ``a/b.png`` a/b, ``stack.tif#page=2`` stack_page2."""
    name, _, part = file.partition("#")
    stem = PurePosixPath(name).with_suffix("").as_posix()
    return f"{stem}_{part.replace('=', '')}" if part else stem


def _finished(path: Path) -> str:
    """Digest of a complete run in a folder, or nothing."""
    import tomllib

    try:
        return str(tomllib.loads((path / "run.toml").read_text(encoding="utf-8"))["run"]["digest"])
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError):
        return ""


def _number(part: Path) -> int:
    return int(part.stem.rsplit("-", 1)[1])


def _no_particles(pixel_size_um: float | None) -> pd.DataFrame:
    """A typed table without rows."""
    empty = {c.name: np.zeros(0, dtype=object if c.dtype == "str" else c.dtype) for c in PARTICLE_COLUMNS}
    return particle_frame(empty, pixel_size_um=pixel_size_um)


def _annotations(result: FrameResult, ids: np.ndarray) -> list[dict[str, Any]]:
    """COCO annotations of the counted particles of a frame."""
    instances = result.instances
    assert instances is not None
    counted = np.flatnonzero(instances.in_focus)
    chosen = instances.select(counted)
    full, holes = outlines(chosen), has_holes(chosen)
    seen = outlines(chosen, visible=True) if chosen.visible is not None else full
    out = []
    for k, i in enumerate(counted):
        r0, c0, r1, c1 = (int(v) for v in chosen.boxes[k])
        shape = segmentation(full[k], chosen if holes[k] else None, k)
        out.append(
            {
                "id": int(ids[i]),
                "image_id": int(result.row["frame"]),
                "category_id": int(chosen.kind[k]) + 1,
                "segmentation": shape,
                "visible_segmentation": shape if chosen.visible is None else segmentation(seen[k]),
                "area": int(np.count_nonzero(chosen.crop(k))),
                "bbox": [c0, r0, c1 - c0, r1 - r0],
                "score": round(float(chosen.score[k]), 6),
                "iscrowd": 0,
            }
        )
    return out


def write_results(run: RunFolder, *, source: Source, config: AnalyzeConfig, warnings: Sequence[str]) -> dict[str, Any]:
    """Join the parts, size the particles, write every file of the contract; run.toml last.

    Returns
    -------
    What stands in summary.json.
    """
    from crystalscope.report import write_report

    unit: Unit = "px" if source.pixel_size_um is None else "um"
    out = run.path
    merge_tables(run.ledgers(), out / "frames.parquet")
    merge_tables(sorted(run.parts.glob("particles-*.parquet")), out / "particles.parquet")
    write_bytes(out / "annotations.coco.json", coco_pieces(run.lines("images"), run.lines("annotations")))
    frames = read_table(out / "frames.parquet")
    looked = frames["status"].isin(["ok", "empty"]).to_numpy()
    frames["window_coverage"] = lasting_coverage(run.covers(), looked=looked)
    write_table(out / "frames.parquet", frames)
    labelled = write_labels(out, frames, config.label) if config.label.labeller != "none" else None
    if has_clock(frames[looked]):
        write_events(out / "events.json", run_events(out))
    c = config.size
    columns = {*_NEEDED, f"{c.definition}_{unit}", f"ecd_{unit}"}
    if c.volume_model == "length*width^2":
        columns |= {f"length_{unit}", f"width_{unit}"}
    found = read_table(out / "particles.parquet", columns=["kind"], where="in_focus")["kind"].value_counts()
    left = {str(k): int(n) for k, n in found.sort_index().items() if k not in c.kinds}
    particles = read_table(out / "particles.parquet", columns=sorted(columns), where=c.rows)
    # The bootstrap numbers the frames that were looked at without gaps.
    number = np.cumsum(looked) - 1
    particles["frame"] = number[particles["frame"].to_numpy()]
    sizes = sorted(set(zip(frames["height_px"][looked], frames["width_px"][looked], strict=True)))
    corrected, uncorrected = size_particles(
        particles,
        n_frames=int(looked.sum()),
        unit=unit,
        config=config,
        pixel_size_um=source.pixel_size_um,
        field_px=(int(sizes[0][0]), int(sizes[0][1])) if len(sizes) == 1 else None,
    )
    write_csv(out / "sizes.csv", size_points(corrected))
    summary = {
        "frames": {s: int((frames["status"] == s).sum()) for s in ("ok", "empty", "rejected", "failed")},
        "n_frames": len(frames),
        "n_particles": int(frames["n_particles"].sum()),
        "n_border": int(frames["n_border"].sum()),
        "n_out_of_focus": int(frames["n_out_of_focus"].sum()),
        "n_static": int(frames["n_static"].sum()),
        "n_gated": int(frames["n_gated"].sum()),
        "n_other_kinds": left,
        "pixel_size_um": source.pixel_size_um,
        **summarize(corrected, uncorrected, config=config),
    }
    if labelled is not None:
        summary["labels"] = label_summary(out, labelled, frames, unit=unit, check=config.label.labeller != "rules")
        warnings = (*warnings, *_apart(summary["labels"]["agreement"]))
    summary["warnings"] = _warnings(frames, source, (*warnings, *_left_out(left)))
    write_json(out / "summary.json", summary)
    write_report(out, outlines=_overlays(run, frames, config), read_picture=_picture_reader(source), config=config)
    images = (json.loads(line) for line in run.lines("images"))
    hashes = source.hashes({i["file_name"]: i["sha256"] for i in images})
    inputs = "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))
    described = {
        "run": {
            "version": __version__,
            "digest": run.digest,
            "inputs_sha256": hashlib.sha256(inputs.encode()).hexdigest(),
            "frames": len(frames),
        },
        "config": config.model_dump(),
        "weights": _weights_in_use(config),
        "inputs": hashes,
    }
    write_text(out / "run.toml", to_toml(described))
    shutil.rmtree(run.parts)
    return run.summary()


def _weights_in_use(config: AnalyzeConfig) -> dict[str, str]:
    """Hashes of the networks that a run is made with."""
    files: list[Path] = []
    if config.segmenter == "crystals":
        first = weights_path(config.crystals.weights)
        files += [first, second_path(first), kinds_in_use(first)]
    elif config.segmenter == "semantic":
        files.append(weights_path(config.semantic.weights))
    if config.label.labeller == "network":
        files.append(weights_path(config.label.weights))
    return weights_hashes(*files)


def _apart(agreement: dict[str, float]) -> list[str]:
    """Where labels and particles contradict each other, in words."""
    apart = disagreements(agreement)
    if not apart:
        return []
    return [f"labels and particles agree in less than 70 % of the frames on {', '.join(apart)}: look at both"]


def _left_out(left: dict[str, int]) -> list[str]:
    """What the sizes do not contain, in words."""
    if not left:
        return []
    counts = ", ".join(f"{n} {kind}{'' if n == 1 else 's'}" for kind, n in left.items()).replace("others", "other")
    return [f"{counts} in focus are in the particle table, not in the sizes (size.kinds)"]


def _warnings(frames: pd.DataFrame, source: Source, warnings: Sequence[str]) -> list[str]:
    out = list(warnings)
    if source.pixel_size_um is None:
        out.append("no scale was given: all lengths are in px (give --scale UM_PER_PX)")
    bad = int(frames["status"].isin(["rejected", "failed"]).sum())
    if bad:
        out.append(f"{bad} of {len(frames)} frames were rejected or failed; the ledger says why")
    shapes = frames.loc[frames["width_px"] > 0, ["width_px", "height_px"]].drop_duplicates()
    if len(shapes) > 1:
        out.append(f"the pictures have {len(shapes)} sizes")
    return out


def _picture_reader(source: Source) -> Any:
    by_name = {f.name: f for f in source.sequence.frames}

    def read(name: str) -> Image:
        frame: FrameRef = by_name[name]
        return source.sequence.reader(frame)

    return read


def _overlays(run: RunFolder, frames: pd.DataFrame, config: AnalyzeConfig) -> dict[int, list[dict[str, Any]]]:
    """Annotations of the frames that the report shows: frames with particles, spread over the run."""
    shown = frames.loc[frames["status"] == "ok", "frame"].to_numpy()
    if not len(shown) or not config.report.overlays:
        return {}
    picks = np.unique(np.linspace(0, len(shown) - 1, min(config.report.overlays, len(shown))).round().astype(int))
    wanted = {int(shown[i]): list[dict[str, Any]]() for i in picks}
    for line in run.lines("annotations"):
        entry = json.loads(line)
        if entry["image_id"] in wanted:
            wanted[entry["image_id"]].append(entry)
    return wanted
