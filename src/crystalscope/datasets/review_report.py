"""The report of a review: one file that opens offline, with pictures of what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.datasets.checks_metadata import scales_of
from crystalscope.datasets.findings import CHECKS
from crystalscope.datasets.fingerprint import TURNS
from crystalscope.datasets.page import COLOURS, log_axis, plot, polygons_to_draw, render, shown
from crystalscope.datasets.review import Review
from crystalscope.errors import ReadError
from crystalscope.io.pictures import read_picture
from crystalscope.io.tables import write_text

_FAMILIES, _MEMBERS, _PICTURES, _ROWS = 12, 8, 12, 100
"""Shown at most: families of copies per check, pictures of a family, pictures and rows per check."""
_COPIES = ("picture_in_two_splits", "duplicate_picture", "near_duplicate")
_OUTLINED = ("outline_outside", "outline_crossing", "outline_empty", "doubled_annotation", "size_outlier")
_PAIRS = ("frame_in_two_splits",)
_WHOLE = ("annotated_size", "not_annotated", "picture_without_row", "doubled_row")


def write_review(review: Review, folder: str | Path) -> Path:
    """Write FOLDER/findings.csv and FOLDER/review.html.

    Parameters
    ----------
    review
        What was found.
    folder
        Made where it does not exist.

    Returns
    -------
    Path of the report. The same review gives the same bytes.

    Raises
    ------
    WriteError
        When the folder cannot be written.
    """
    review.write(folder)
    manifest, counts = review.dataset.manifest, review.counts
    facts = {
        "Folder": review.dataset.root.name,
        "Instrument": manifest.instrument or "not stated",
        "Scale": f"{manifest.pixel_size_um:g} µm/px" if manifest.pixel_size_um else _scales(review),
        "Licence": manifest.licence or "not stated",
        "Sizes": ", ".join(review.dataset.sizes) or "no table",
        "Version": manifest.version or "not stated",
    }
    tiles = [
        ("errors", counts["error"], "error" if counts["error"] else ""),
        ("warnings", counts["warning"], "warning" if counts["warning"] else ""),
        ("notes", counts["note"], ""),
        ("pictures", len(review.dataset), ""),
        ("annotations", review.annotations.n, ""),
    ]
    html = render(
        "review.html.jinja",
        title=manifest.title or manifest.name,
        facts=facts,
        verdict=verdict(review),
        tiles=tiles,
        sections=[_section(review, str(check)) for check in review.findings["check"].unique()],
        checks=CHECKS,
    )
    return write_text(Path(folder) / "review.html", html)


def verdict(review: Review) -> str:
    """What the review says, in a sentence or two."""
    counts = review.counts
    if not review.exit_code:
        return "The dataset stands the review: no error and no warning was found."
    parts = [f"{n:,} {name}{'s' if n > 1 else ''}" for name in ("error", "warning") if (n := counts[name])]
    text = f"The review found {' and '.join(parts)}."
    copies = sum(len(f) - 1 for f in review.families)
    if copies:
        text += f" {copies:,} of {len(review.dataset):,} pictures are copies of others."
    return text


def _scales(review: Review) -> str:
    values = sorted(set(scales_of(review.dataset.frames, None).values()))
    if not values:
        return "not stated"
    return f"{values[0]:g} µm/px" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g} µm/px"


def _section(review: Review, check: str) -> dict[str, Any]:
    """One check of the report: its findings, and pictures of them."""
    rows = review.findings[review.findings["check"] == check]
    severity, meaning = CHECKS[check]
    out: dict[str, Any] = {"check": check, "severity": severity, "meaning": meaning, "n": len(rows)}
    out |= {"rows": rows.head(_ROWS).to_dict("records"), "families": [], "pictures": [], "plot": "", "plot_caption": ""}
    if check in _COPIES:
        out["families"] = _families(review, rows)
    elif check in _OUTLINED:
        out["pictures"] = [p for f in rows.head(_PICTURES).to_dict("records") if (p := _outlined(review, f))]
    elif check in _PAIRS:
        out["families"] = [_pair(review, f) for f in rows.head(_FAMILIES).to_dict("records")]
    elif check in _WHOLE:
        out["pictures"] = [p for name in rows["file"].head(_PICTURES) if (p := _whole(review, name))]
    if check == "size_outlier":
        out["plot"] = _sizes(review, rows)
        out["plot_caption"] = "Sizes of whole annotated particles by class, cumulative by number. Crosses: outliers."
    return out


def _read(review: Review, file: str) -> NDArray[Any] | None:
    try:
        return read_picture(review.dataset.root / file).data
    except ReadError:
        return None


def _families(review: Review, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Copies among the findings, those of one picture side by side."""
    files = review.dataset.frames["file"].astype(str).tolist()
    linked = {files[c.other]: c for c in review.copies}
    out: list[dict[str, Any]] = []
    for family in review.families:
        found = rows[rows["file"].isin(family)]
        if found.empty or len(out) == _FAMILIES:
            continue
        members = [f for f in family if f in {*found["file"], *found["other"]}]
        pictures = []
        for name in members[:_MEMBERS]:
            caption = name
            if name in set(found["file"]):
                c = linked[name]
                caption += f": {'the same' if c.exact else f'{c.agreement:.0%} agrees'} as {files[c.first]}"
                caption += f" when {TURNS[c.turn]}" if c.turn else ""
            data = _read(review, name)
            if data is not None:
                pictures.append({"svg": shown(data, width=320, alt=name), "caption": caption})
        more = f", {len(members) - _MEMBERS} more are not shown" if len(members) > _MEMBERS else ""
        out.append({"text": f"{len(members)} copies of one picture{more}", "pictures": pictures, "wide": False})
    return out


def _pair(review: Review, finding: dict[str, Any]) -> dict[str, Any]:
    """The two pictures of a finding side by side."""
    pictures = [p for name in (finding["other"], finding["file"]) if (p := _whole(review, name))]
    return {"text": finding["message"], "pictures": pictures, "wide": True}


def _outlined(review: Review, finding: dict[str, Any]) -> dict[str, str] | None:
    """The outline of a finding, drawn into the part of its picture where it lies."""
    data = _read(review, finding["file"])
    outlines = review.annotations.outlines
    ids = [i for i in str(finding["annotation"]).split(", ") if i]
    drawn = [polygons_to_draw(outlines.get((finding["file"], i))) for i in ids]
    if data is None or not any(drawn):
        return None
    marks = list(zip(("mark", "near"), drawn, strict=False))
    svg = shown(data, marks, around=[p for d in drawn for p in d], width=420, alt=finding["message"])
    return {"svg": svg, "caption": f"{finding['file']}, annotation {finding['annotation']}"}


def _whole(review: Review, name: str) -> dict[str, str] | None:
    """A picture with everything that is annotated in it."""
    data = _read(review, name)
    if data is None:
        return None
    drawn = [p for (file, _), s in review.annotations.outlines.items() if file == name for p in polygons_to_draw(s)]
    return {"svg": shown(data, [("mark", drawn)], width=420, alt=name), "caption": name}


def _sizes(review: Review, rows: pd.DataFrame) -> str:
    """Cumulative sizes by class, with the outliers marked."""
    scales = scales_of(review.dataset.frames, review.dataset.manifest.pixel_size_um)
    whole = [p for p in review.annotations.particles if not p.ignored and not p.at_border and p.kind != "other"]
    scaled = all(p.file in scales for p in whole)
    odd = set(zip(rows["file"], rows["annotation"], strict=True))

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        for k, label in enumerate(sorted({p.label for p in whole})):
            members = [p for p in whole if p.label == label]
            size = np.array([p.ecd_px * (scales[p.file] if scaled else 1.0) for p in members])
            order = np.argsort(size, kind="stable")
            share = np.arange(1, len(size) + 1) / len(size)
            colour = COLOURS[k % len(COLOURS)]
            axis.step(size[order], share, where="post", color=colour, lw=1.3, label=f"{label} ({len(size):,})")
            out = [i for i, j in enumerate(order) if (members[j].file, members[j].annotation) in odd]
            axis.plot(size[order][out], share[out], "x", color=colour, ms=8, mew=2)
        log_axis(axis)
        axis.set(xlabel=f"ECD / {'µm' if scaled else 'px'}", ylabel="Q₀, by number", ylim=(0, 1.02))
        axis.legend()

    return plot(draw, name="sizes", alt="Cumulative sizes by class with outliers marked")
