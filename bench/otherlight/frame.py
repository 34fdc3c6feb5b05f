"""One picture: the layers of its bodies laid over one another, and the truth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from shapely import Polygon, affinity

from bench.otherlight.optics import Instrument, field_of_light, lens_kernel, record, shade, speckle
from bench.otherlight.placing import Placed, field_polygon
from bench.otherlight.relief import Grid, cover, relief
from bench.otherlight.truth import body_measures, crosses, labels_of, sharp_limit
from crystalscope.core import KINDS, TRUTH_COLUMNS, FieldOfView, Image, Instances, Scene

_POPULATION = (
    "kind", "body", "ecd", "feret_max", "feret_min", "length", "width", "body_length", "body_width", "body_thickness",
)  # fmt: skip


def make_scene(
    placed: list[Placed],
    instrument: Instrument,
    *,
    name: str,
    rng: np.random.Generator,
    window: NDArray[np.float32] | None = None,
    lamp: float = 1.0,
    time_s: float = math.nan,
    frame: Mapping[str, Any] | None = None,
) -> Scene:
    """Render a picture and state its truth.

    Parameters
    ----------
    placed
        Every body of the volume.
    instrument
        The microscope.
    name
        File name.
    rng
        Random numbers.
    window
        What stays on the window: light taken off (transmitted light) or added, (rows, columns); see `deposits`.
    lamp
        Brightness of the lamp, 1: nominal.
    time_s
        Of the picture, s.
    frame
        Further columns of frames.csv.
    """
    order = sorted(placed, key=lambda p: -p.depth)
    light = render(order, instrument, rng=rng, window=window, lamp=lamp)
    data = record(light, instrument, rng=rng)
    encoded = None
    if instrument.quality:
        bgr = data if data.ndim == 2 else data[..., ::-1]
        ok, raw = cv2.imencode(".jpg", np.ascontiguousarray(bgr), [cv2.IMWRITE_JPEG_QUALITY, instrument.quality])
        assert ok
        encoded = raw.tobytes()
        data = np.asarray(cv2.imdecode(raw, cv2.IMREAD_UNCHANGED))
        data = data if data.ndim == 2 else np.ascontiguousarray(data[..., ::-1])
    image = Image(data, instrument.pixel_size_um, time_s=time_s, source=name)
    parts = state(order, instrument)
    instances, truth = parts["instances"], parts["truth"]
    covered = np.zeros(instrument.shape, dtype=bool)
    crops = [instances.crop(i) for i in range(len(instances))]
    for (r0, c0, r1, c1), crop in zip(instances.boxes, crops, strict=True):
        covered[r0:r1, c0:c1] |= crop
    coverage = float(covered.sum() / max(instances.field.mask().sum(), 1))
    sharp = truth["in_focus"].to_numpy(bool) & truth["kind"].isin(["crystal", "agglomerate"]).to_numpy(bool)
    keep = np.flatnonzero(sharp)
    looks = bool(crosses([crops[i] for i in keep], instances.boxes[keep]).any())
    labels = labels_of(truth, coverage=coverage, joined_looks=looks)
    disc = {}
    if instrument.disc:
        disc = dict(zip(("disc_row", "disc_column", "disc_radius"), instrument.disc, strict=True))
    return Scene(
        image,
        **parts,
        frame={"look": instrument.look, **disc, "coverage": coverage, **labels, **(frame or {})},
        encoded=encoded,
    )


# The picture


def render(
    order: list[Placed],
    instrument: Instrument,
    *,
    rng: np.random.Generator,
    window: NDArray[np.float32] | None,
    lamp: float,
) -> NDArray[np.float32]:
    """Light on the camera, 0 to 1, from the farthest body to the nearest."""
    nominal = field_of_light(instrument)
    # The exposure is set so that the brightest corner of the empty field is not clipped.
    level = np.float32(min(instrument.level, 0.96 / float(nominal.max())))
    lit = nominal * np.float32(lamp)
    transmitted = instrument.look in ("backlit", "flow")
    ground = lit if transmitted else lit * level
    colours = 3 if instrument.look == "polars" else 1
    light = np.repeat(ground[..., None], colours, axis=2)
    if colours == 3:
        light = light * np.array([0.45, 0.75, 1.0], np.float32)
    if instrument.speckle and not transmitted:
        light = light * speckle(instrument, rng=rng)[..., None]
    for p in order:
        found = _layer(p, instrument, rng)
        if found is None:
            continue
        rows, columns, passed, own = found
        piece = light[rows, columns]
        piece *= passed
        piece += own * lit[rows, columns][..., None]
    if window is not None:
        light = light * np.exp(-window)[..., None] if transmitted else light + 0.4 * window[..., None] * lit[..., None]
    if instrument.speckle:
        light = light * (1 + 0.5 * (speckle(instrument, rng=rng) - 1))[..., None]
    if transmitted:
        light = light * level
    if instrument.disc:
        row, column, radius = instrument.disc
        y, x = np.ogrid[: instrument.shape[0], : instrument.shape[1]]
        inside = 1 / (1 + np.exp((np.hypot(y - row, x - column) - radius - 0.5) / 0.6))
        light = 0.015 + light * inside[..., None].astype(np.float32)
    if not transmitted:
        # Such cameras set their exposure by the brightest places.
        peak = float(np.percentile(light[::3, ::3], 99.3))
        middle = float(np.median(light[::3, ::3]))
        gain = min(0.8 / max(peak, 1e-3), 0.45 / max(middle, 1e-3), instrument.gain)
        light = light * np.float32(max(gain, 0.8))
    if instrument.tint is not None:
        light = light * np.asarray(instrument.tint, np.float32)
    return light if light.shape[2] == 3 else light[..., 0]


def _layer(
    p: Placed, instrument: Instrument, rng: np.random.Generator
) -> tuple[slice, slice, NDArray[np.float32], NDArray[np.float32]] | None:
    """Light that passes a body and light that it sends, over the part of the picture that its blur reaches."""
    x_low, y_low, x_high, y_high = p.outline.bounds
    # Blurred bodies are drawn on coarser pixels.
    g = 2 ** int(math.log2(p.lens / 3)) if p.lens > 6 else 1
    lens = dataclasses.replace(instrument, core=instrument.core / g, motion=instrument.motion / g)
    kernel, _ = lens_kernel(p.lens / g, lens)
    pad = kernel.shape[0] // 2 + 2
    r0, c0 = math.floor(y_low / g) - pad, math.floor(x_low / g) - pad
    r1, c1 = math.ceil(y_high / g) + pad, math.ceil(x_high / g) + pad
    rows, columns = instrument.shape
    if r1 * g <= 0 or c1 * g <= 0 or r0 * g >= rows or c0 * g >= columns:
        return None
    fine = 3 if max(x_high - x_low, y_high - y_low) < 40 else 2
    h, w = r1 - r0, c1 - c0
    grid = Grid(c0 * g, r0 * g, g / fine, (h * fine, w * fine))
    found = relief(p.body, grid, x=p.x, y=p.y, rng=rng)
    straight, own = shade(found, p.body.material, instrument, rng=rng)
    colours = 1 if own.ndim == 1 else 3
    stack = np.zeros((grid.shape[0] * grid.shape[1], 2 + colours), np.float32)
    stack[found.inside, 0] = 1
    stack[found.inside, 1] = 1 - straight
    stack[found.inside, 2:] = own.reshape(-1, colours)
    stack = cv2.resize(stack.reshape(h * fine, w * fine, -1), (w, h), interpolation=cv2.INTER_AREA)
    blurred = cv2.filter2D(stack[..., 1:], -1, kernel, borderType=cv2.BORDER_CONSTANT)
    passed, light = 1 - blurred[..., :1], blurred[..., 1:]
    if instrument.halo and instrument.look in ("backlit", "flow") and g == 1:
        wide = cv2.GaussianBlur(stack[..., 0], (0, 0), 2.4 * p.blur)
        near = cv2.GaussianBlur(stack[..., 0], (0, 0), 1.1 * p.blur)
        passed = passed * (1 + instrument.halo * np.maximum(wide - near, 0)[..., None])
    if g > 1:
        passed = cv2.resize(passed, (w * g, h * g), interpolation=cv2.INTER_CUBIC).reshape(h * g, w * g, -1)
        light = cv2.resize(light, (w * g, h * g), interpolation=cv2.INTER_CUBIC).reshape(h * g, w * g, -1)
    top, left = max(0, r0 * g), max(0, c0 * g)
    bottom, right = min(rows, r1 * g), min(columns, c1 * g)
    cut = slice(top - r0 * g, bottom - r0 * g), slice(left - c0 * g, right - c0 * g)
    return slice(top, bottom), slice(left, right), np.clip(passed[cut], 0, 2), np.maximum(light[cut], 0)


def deposits(
    instrument: Instrument, *, specks: int, stains: int, strength: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """What stays on the window and the sensor: specks of 1 to 3 px, rings of dust out of focus, stains."""
    rows, columns = instrument.shape
    out = np.zeros((rows, columns), np.float32)
    for _ in range(specks):
        layer_at = int(rng.integers(columns)), int(rng.integers(rows))
        if rng.random() < 0.7:
            cv2.circle(out, layer_at, int(rng.integers(0, 2)), float(rng.uniform(0.1, 0.5)), -1, cv2.LINE_AA)
        else:
            radius = int(rng.integers(4, 9))
            cv2.circle(out, layer_at, radius, float(rng.uniform(0.02, 0.06)), int(rng.integers(1, 3)), cv2.LINE_AA)
    out = cv2.GaussianBlur(out, (0, 0), 0.8)
    for _ in range(stains):
        size = int(rng.integers(30, 160))
        noise = cv2.GaussianBlur(rng.standard_normal((size, size)).astype(np.float32), (0, 0), size / 9)
        y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
        hill = np.exp(-3 * (x**2 * rng.uniform(0.8, 3) + y**2 * rng.uniform(0.8, 3)) ** 2)
        patch = np.maximum(noise / noise.std() * 0.5 + 0.7, 0) * hill * strength * rng.uniform(0.03, 0.12)
        patch = cv2.GaussianBlur(patch.astype(np.float32), (0, 0), max(2.0, size / 14))
        r, c = int(rng.integers(-size // 2, rows)), int(rng.integers(-size // 2, columns))
        r0, c0, r1, c1 = max(r, 0), max(c, 0), min(r + size, rows), min(c + size, columns)
        out[r0:r1, c0:c1] += patch[r0 - r : r1 - r, c0 - c : c1 - c]
    return out


# The truth


def state(order: list[Placed], instrument: Instrument) -> dict[str, Any]:
    """Instances, truth, primaries, primaries_truth and population of bodies from the farthest to the nearest."""
    field = FieldOfView(instrument.shape, instrument.disc)
    lit = field.mask()
    shape = field_polygon(instrument)
    core = cv2.erode(lit.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    entries, members = [], []
    population = [body_measures(p.body) for p in order]
    for p, measures in zip(order, population, strict=True):
        found = _mask(p.outline, lit)
        if found is None:
            continue
        entries.append(_Entry(p, p.outline, measures, *found))
        for body in p.body.members:
            outline = affinity.translate(body.outline, p.x, p.y)
            found = _mask(outline, lit)
            if found is not None:
                members.append(_Entry(p, outline, body_measures(body), *found, parent=len(entries)))
    instances, rows = _record(entries, field, core, shape)
    primaries, member_rows = _record(members, field, core, shape)
    return {
        "instances": instances,
        "truth": _table(rows),
        "primaries": primaries,
        "primaries_truth": _table(member_rows),
        "population": _table(population, only=_POPULATION),
    }


@dataclass(frozen=True, eq=False)
class _Entry:
    """A body, or a member of one, that has pixels in the field: its outline, measures, box and crop."""

    placed: Placed
    outline: Polygon
    measures: dict[str, Any]
    box: tuple[int, int, int, int]
    crop: NDArray[np.bool_]
    parent: int = 0


def _table(rows: list[dict[str, Any]], only: tuple[str, ...] = ()) -> pd.DataFrame:
    """Rows with the columns of the truth, typed also where there is none."""
    columns = [c for c in TRUTH_COLUMNS if not only or c.name in only]
    table = pd.DataFrame(rows, columns=[c.name for c in columns])
    return table.astype({c.name: c.dtype for c in columns})


def _mask(outline: Polygon, lit: NDArray[np.bool_]) -> tuple[tuple[int, int, int, int], NDArray[np.bool_]] | None:
    """Box and crop of an outline inside the field, or None where it has no pixel there."""
    x_low, y_low, x_high, y_high = outline.bounds
    r0, c0 = max(0, math.floor(y_low)), max(0, math.floor(x_low))
    r1, c1 = min(lit.shape[0], math.ceil(y_high)), min(lit.shape[1], math.ceil(x_high))
    if r1 <= r0 or c1 <= c0:
        return None
    crop = cover(outline, Grid(c0, r0, 1.0, (r1 - r0, c1 - c0))) & lit[r0:r1, c0:c1]
    rows, columns = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
    if not rows.size:
        return None
    crop = crop[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return (r0 + int(rows[0]), c0 + int(columns[0]), r0 + int(rows[-1]) + 1, c0 + int(columns[-1]) + 1), crop


def _record(
    entries: list[_Entry], field: FieldOfView, core: NDArray[np.bool_], shape: Polygon
) -> tuple[Instances, list[dict[str, Any]]]:
    """Instances with what is seen of each, and a row of truth for each; a sharp one hides what is behind it."""
    hidden = np.zeros(field.shape, dtype=bool)
    rows: list[dict[str, Any]] = []
    seen: list[NDArray[np.uint8]] = []
    for e in reversed(entries):
        r0, c0, r1, c1 = e.box
        sharp = e.placed.blur <= sharp_limit(e.measures["ecd"])
        visible = e.crop & ~hidden[r0:r1, c0:c1]
        if sharp:
            hidden[r0:r1, c0:c1] |= e.crop
        rows.append(
            {
                **e.measures,
                "x": e.outline.centroid.x,
                "y": e.outline.centroid.y,
                "in_focus": sharp,
                "touches_border": bool((e.crop & ~core[r0:r1, c0:c1]).any()),
                "inside_share": float(min(e.outline.intersection(shape).area / e.outline.area, 1.0)),
                "visible_share": float(visible.sum() / e.crop.sum()),
                "parent": e.parent,
                "blur": e.placed.blur,
                "depth": e.placed.depth,
            }
        )
        seen.append(visible.astype(np.uint8).ravel())
    rows, seen = rows[::-1], seen[::-1]
    none = [np.zeros(0, np.uint8)]
    instances = Instances(
        field,
        np.array([e.box for e in entries], dtype=np.int32).reshape(len(entries), 4),
        np.concatenate([e.crop.astype(np.uint8).ravel() for e in entries] or none),
        np.cumsum([0, *(e.crop.size for e in entries)], dtype=np.int64),
        np.ones(len(entries), np.float32),
        kind=np.array([KINDS.index(r["kind"]) for r in rows], dtype=np.uint8),
        in_focus=np.array([r["in_focus"] for r in rows], dtype=bool),
        agglomerate=np.array([e.parent for e in entries], dtype=np.int32),
        visible=np.concatenate(seen or none),
    )
    return instances, rows
