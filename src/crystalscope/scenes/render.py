"""A picture of bodies as an instrument sees them, with the truth about every body."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalscope.core import KINDS, TRUTH_COLUMNS, FieldOfView, Image, Instances, Scene
from crystalscope.io.coco import rasterize
from crystalscope.scenes.bodies import Body
from crystalscope.scenes.flaws import draw_flaws
from crystalscope.scenes.labels import labels_of
from crystalscope.scenes.optics import (
    Instrument,
    Picture,
    convolve,
    illumination,
    interference,
    record,
    smear_along,
    tinted,
)
from crystalscope.scenes.trace import empty_layers, trace
from crystalscope.scenes.window import Window, window_layer

_EXACT = 4
"""Samples per px and direction for the cover of a pixel by an outline."""


@dataclass(frozen=True)
class Placed:
    """A body at x (column), y (row) and depth (from the focal plane, positive away from the camera), px."""

    body: Body
    x: float
    y: float
    depth: float


def render(
    bodies: Sequence[Placed],
    instrument: Instrument,
    *,
    seed: int | Sequence[int],
    fixed_seed: int = 0,
    window: Window | None = None,
    frame: int = 0,
    source: str = "",
    time_s: float = math.nan,
    facts: Mapping[str, Any] | None = None,
) -> Scene:
    """Render bodies.

    Parameters
    ----------
    bodies
        In any order, also outside the picture; they are drawn from the far to the near. All of them are the population.
    instrument
        Light, lens, camera.
    seed
        Of what changes from frame to frame: noise, flicker, faces of the bodies.
    fixed_seed
        Of what stays over a set: window, unevenness of the lamp, cast of the camera.
    window
        What sticks to it; None: clean.
    frame
        Number of the frame, for drift and fouling.
    source, time_s
        For the picture.
    facts
        Further truth of the whole picture.

    Returns
    -------
    Scene. Its `frame` holds the ten labels, ``coverage`` (share of the field under outlines, sharp and blurred) and
    ``window_coverage``.

    Notes
    -----
    Bodies are drawn one after the other, each with the light that the ground and the farther bodies send: the
    transmission of a body, blurred by its distance from the focal plane, multiplies it, and what the body throws back
    is added. Light is not bent from one body into another unless both are parts of one agglomerate.
    """
    rng = np.random.default_rng(seed)
    ground = illumination(instrument, frame=frame, rng=rng, fixed=np.random.default_rng([fixed_seed, 1]))
    picture = ground.copy()
    if instrument.look == "polars":
        picture = np.repeat((instrument.leak * ground)[:, :, None], 3, axis=2)
    for placed in sorted(bodies, key=lambda b: -b.depth):
        _draw(picture, ground, placed, instrument, rng)
    covered_window = 0.0
    if window is not None:
        layer, covered_window = window_layer(
            window, instrument, frame=frame, fixed=np.random.default_rng([fixed_seed, 2])
        )
        picture *= layer if picture.ndim == 2 else layer[:, :, None]
    field = FieldOfView((instrument.rows, instrument.columns), instrument.disc_px())
    if field.disc is not None:
        picture *= _disc_edge(field)
    if instrument.tint and picture.ndim == 2:
        picture = tinted(picture, instrument, fixed=np.random.default_rng([fixed_seed, 3]))
    data, encoded = record(picture, instrument, rng=rng)
    instances, truth, primaries, members = _truth(bodies, instrument, field)
    crystals = truth["in_focus"].astype(bool) & truth["kind"].isin(["crystal", "agglomerate"])
    overlapping = bool((times_covered(instances.select(crystals.to_numpy(dtype=bool))) > 1).any())
    whole = {
        "coverage": _coverage(instances, field),
        "window_coverage": covered_window,
        "n_crystals": int((crystals & (truth["inside_share"] >= 0.5) & (truth["feret_min"] >= 4)).sum()),
    }
    return Scene(
        Image(data, instrument.pixel_size_um, time_s, source),
        instances,
        truth,
        primaries,
        members,
        population_of(bodies),
        {**(facts or {}), **whole, **labels_of(truth, coverage=whole["coverage"], overlapping=overlapping)},
        encoded,
    )


def _disc_edge(field: FieldOfView) -> Picture:
    assert field.disc is not None
    row, column, radius = field.disc
    r = np.hypot(np.arange(field.shape[0])[:, None] - row, np.arange(field.shape[1])[None, :] - column)
    # A little light is scattered into the dark ring around the disc.
    ring = np.where(r > radius, 0.03 * np.exp(-np.maximum(r - radius, 0) / 25), 0)
    return np.asarray(np.clip(radius - r, 0, 1) + ring, dtype=np.float32)


def _window_of(outline: Any, placed: Placed, margin: float, shape: tuple[int, int], q: int) -> tuple[int, ...] | None:
    """Rows and columns r0, c0, r1, c1 of the picture that the outline with a margin meets, in steps of q px."""
    x0, y0, x1, y1 = outline.bounds
    r0, c0 = math.floor((y0 + placed.y - margin) / q) * q, math.floor((x0 + placed.x - margin) / q) * q
    r1, c1 = math.ceil((y1 + placed.y + margin) / q) * q, math.ceil((x1 + placed.x + margin) / q) * q
    r0, c0 = max(r0, -4 * q), max(c0, -4 * q)
    r1, c1 = min(r1, math.ceil(shape[0] / q + 4) * q), min(c1, math.ceil(shape[1] / q + 4) * q)
    if r0 >= min(r1, shape[0]) or c0 >= min(c1, shape[1]) or r1 <= 0 or c1 <= 0:
        return None
    return r0, c0, r1, c1


def _draw(picture: Picture, ground: Picture, placed: Placed, instrument: Instrument, rng: np.random.Generator) -> None:
    """Multiply the picture by the blurred transmission of a body and add what it throws back."""
    body = placed.body
    own_seed = int(rng.integers(2**62))
    sigma = instrument.blur(placed.depth, softness=body.softness)
    optical = math.sqrt(max(sigma**2 - instrument.motion_px**2 / 12, 0.0))
    # Far out of focus nothing fine is left, and a coarser grid does.
    q = max(1, int(optical / 1.4))
    margin = 2.2 * optical + 0.5 * instrument.motion_px + 3 * q + 2 + (6 if instrument.halo else 0)
    region = _window_of(body.outline, placed, margin, ground.shape, q)
    if region is None:
        return
    r0, c0, r1, c1 = region
    x0, y0, x1, y1 = body.outline.bounds
    span = max(x1 - x0, y1 - y0)
    fine = 1
    if optical < 3 and len(body.parts) < 30:
        # What is large, or of many parts, has enough samples as it is.
        wide = 260 if len(body.parts) < 3 else 130
        fine = 4 if span < 30 else 3 if span < 70 else 2 if span < wide else 1
    through, back = _layers(body, placed, (r0, c0, r1, c1), fine, q, instrument, np.random.default_rng(own_seed))
    through, back = convolve(through, optical / q, instrument.psf), convolve(back, optical / q, instrument.psf)
    if q > 1:
        size = (c1 - c0, r1 - r0)
        through = cv2.resize(through, size, interpolation=cv2.INTER_LINEAR)
        back = cv2.resize(back, size, interpolation=cv2.INTER_LINEAR)
    if instrument.motion_px > 0.5:
        through = smear_along(through, instrument.motion_px, instrument.motion_deg)
        back = smear_along(back, instrument.motion_px, instrument.motion_deg)
    if instrument.halo and optical < 4:
        through = through + instrument.halo * (through - cv2.GaussianBlur(through, (0, 0), 2 + optical))
        through = np.maximum(through, 0)
    a, b = max(r0, 0), max(c0, 0)
    e, f = min(r1, picture.shape[0]), min(c1, picture.shape[1])
    part = (slice(a - r0, e - r0), slice(b - c0, f - c0))
    under, lit = picture[a:e, b:f], ground[a:e, b:f]
    if picture.ndim == 3:
        under *= through[part][:, :, None]
        under += lit[:, :, None] * back[part]
    else:
        under *= through[part]
        if not instrument.lit_from_behind:
            # The lights beside the camera are as uneven as the ground shows.
            under += lit / max(instrument.light, 1e-3) * back[part]


def _layers(
    body: Body,
    placed: Placed,
    region: tuple[int, int, int, int],
    fine: int,
    q: int,
    instrument: Instrument,
    rng: np.random.Generator,
) -> tuple[Picture, Picture]:
    """Transmission (1 outside) and light thrown back (0 outside) on a grid of q px, before the blur."""
    r0, c0, r1, c1 = region
    shape = ((r1 - r0) // q, (c1 - c0) // q)
    grid = (shape[0] * fine, shape[1] * fine)
    step = q / fine
    shift = np.array([placed.x - c0, placed.y - r0])
    # A cover that is exact at the samples' own grid is averaged from a finer one.
    more = max(1, math.ceil(_EXACT / fine))
    corners = (np.asarray(body.outline.exterior.coords)[:-1] + shift) / step * more
    inside = rasterize([corners.ravel().tolist()], (grid[0] * more, grid[1] * more)).astype(np.float32)
    alpha = inside if more == 1 else cv2.resize(inside, grid[::-1], interpolation=cv2.INTER_AREA)
    if not body.parts:
        through = 1 - alpha * (1 - body.flat)
        back = alpha * (1 - body.flat) * (0.0 if instrument.lit_from_behind else 0.35)
        if instrument.look == "polars":
            back = 0.3 * np.repeat(back[:, :, None], 3, axis=2)
        return _reduced(through, shape), _reduced(back, shape)
    passed, thrown, path, part = empty_layers(grid)
    m = body.material
    waves = _waves(rng, span=max(body.size), px=max(1.0, step))
    lights, ambient = instrument.front_lights()
    planes, starts, quadrics, kinds, balls = body.packed()
    direction = _unit(rng.normal(size=3))
    steps = np.array([*direction, rng.uniform(0.03, 0.15) * max(body.size), m.steps, rng.uniform(0.05, 0.25)])
    optics = np.array([m.index, m.absorption, m.scatter, m.rounding, m.bump, m.forwards, m.backwards * ambient])
    trace(
        -float(shift[0]) + step / 2, -float(shift[1]) + step / 2, step, alpha,
        planes, starts, quadrics, kinds, balls, optics, waves, steps,
        instrument.lamp(), lights, ambient, passed, thrown, path, part,
    )  # fmt: skip
    hit = part >= 0
    # A filled hole of an agglomerate lets the ground through; a missed sample on the rim does not.
    holes = ~hit & (alpha > 0.999)
    passed[holes] = 1.0
    if m.flaws:
        draw_flaws(
            passed, thrown, body, origin=(float(shift[0]) / step, float(shift[1]) / step), scale=1 / step, rng=rng
        )
    if instrument.look == "polars":
        through = 1 - alpha * (0.75 + 0.25 * (1 - np.clip(passed, 0, 1)))
        angle = rng.uniform(0, math.pi, len(body.parts)).astype(np.float32)
        member = _member_of(body)
        turned = angle[member[np.maximum(part, 0)]]
        colours = interference(path * np.float32(m.retardance), turned)
        light = alpha * np.clip(passed, 0, 1.2) * 0.9 + alpha * 0.05
        back = colours * light[:, :, None] * np.float32(instrument.exposure / 60.0) + (0.03 * alpha * hit)[:, :, None]
    else:
        through = 1 - alpha + alpha * passed
        back = alpha * thrown
    return _reduced(through, shape), _reduced(back.astype(np.float32), shape)


def _reduced(layer: NDArray[Any], shape: tuple[int, int]) -> Picture:
    if layer.shape[:2] == shape:
        return layer.astype(np.float32)
    return np.asarray(cv2.resize(layer, shape[::-1], interpolation=cv2.INTER_AREA), dtype=np.float32)


def _member_of(body: Body) -> NDArray[np.intp]:
    """(parts,) number of the primary that a part belongs to: each has an optic axis of its own."""
    if not body.members:
        one_axis = body.kind == "crystal"
        return np.zeros(len(body.parts), dtype=np.intp) if one_axis else np.arange(len(body.parts))
    return np.repeat(np.arange(len(body.members)), [len(m.parts) for m in body.members])


def _waves(rng: np.random.Generator, *, span: float, px: float) -> NDArray[np.float64]:
    """Waves of a rough face: directions, phases, tilts; from a few across the body down to a few px."""
    n = 6
    vectors = rng.normal(size=(n, 3))
    unit = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    longest, shortest = max(span / 1.5, 5 * px), 3.5 * px
    length = np.exp(rng.uniform(math.log(shortest), math.log(longest), n))
    tilts = unit * (length / longest)[:, None] ** 0.3
    return np.column_stack([unit * (2 * math.pi / length)[:, None], rng.uniform(0, 2 * math.pi, n), tilts])


def _unit(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return v / np.linalg.norm(v)


def _mask(
    body: Body, placed: Placed, field: FieldOfView, lit: NDArray[np.bool_] | None
) -> tuple[tuple[int, int, int, int], NDArray[np.bool_]] | None:
    """Box and crop of the pixels whose centre lies in the outline and in the field; None: not in the picture."""
    x0, y0, x1, y1 = body.outline.bounds
    r0, c0 = max(math.floor(y0 + placed.y), 0), max(math.floor(x0 + placed.x), 0)
    r1, c1 = min(math.ceil(y1 + placed.y), field.shape[0]), min(math.ceil(x1 + placed.x), field.shape[1])
    if r0 >= r1 or c0 >= c1:
        return None
    corners = np.asarray(body.outline.exterior.coords)[:-1] + np.array([placed.x - c0, placed.y - r0])
    crop = rasterize([corners.ravel().tolist()], (r1 - r0, c1 - c0))
    if lit is not None:
        crop &= lit[r0:r1, c0:c1]
    rows, columns = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
    if not rows.size:
        return None
    crop = crop[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    box = (r0 + int(rows[0]), c0 + int(columns[0]), r0 + int(rows[-1]) + 1, c0 + int(columns[-1]) + 1)
    return box, crop


def _truth(
    bodies: Sequence[Placed], instrument: Instrument, field: FieldOfView
) -> tuple[Instances, pd.DataFrame, Instances, pd.DataFrame]:
    """Instances and rows of what reaches into the picture, and of the members of agglomerates."""
    lit = None if field.disc is None else field.mask()
    found: list[tuple[Placed, Body, tuple[int, int, int, int], NDArray[np.bool_], int]] = []
    members: list[tuple[Placed, Body, tuple[int, int, int, int], NDArray[np.bool_], int]] = []
    for placed in sorted(bodies, key=lambda b: -b.depth):
        got = _mask(placed.body, placed, field, lit)
        if got is None:
            continue
        found.append((placed, placed.body, *got, 0))
        for member in placed.body.members:
            own = _mask(member, placed, field, lit)
            if own is not None:
                members.append((placed, member, *own, len(found)))
    return (
        *_rows(found, instrument, field),
        *_rows(members, instrument, field),
    )


def _rows(
    found: list[tuple[Placed, Body, tuple[int, int, int, int], NDArray[np.bool_], int]],
    instrument: Instrument,
    field: FieldOfView,
) -> tuple[Instances, pd.DataFrame]:
    rows: list[dict[str, Any]] = []
    covered = np.zeros(field.shape, dtype=bool)
    seen: list[NDArray[np.uint8]] = []
    for placed, body, (r0, c0, r1, c1), crop, parent in reversed(found):
        m = body.measures
        sigma = instrument.blur(placed.depth, softness=body.softness)
        sharp = 2.5 * sigma <= 5 + 0.1 * m["ecd"]
        here = covered[r0:r1, c0:c1]
        visible = crop & ~here
        seen.append(visible.astype(np.uint8).ravel())
        if sharp:
            # A ghost in front hides nothing: what lies behind it shows through.
            here |= crop
        share = _inside_share(body, placed, field)
        rows.append(
            m
            | {
                "x": m["x"] + placed.x,
                "y": m["y"] + placed.y,
                "kind": body.kind,
                "body": body.name,
                "in_focus": bool(sharp),
                "touches_border": share < 1 - 1e-9
                or r0 == 0
                or c0 == 0
                or r1 == field.shape[0]
                or c1 == field.shape[1],
                "inside_share": share,
                "visible_share": float(visible.sum() / crop.sum()),
                "parent": parent,
                "n_primaries": max(1, len(body.members)),
                "blur": sigma,
                "depth": placed.depth,
                "body_length": body.size[0],
                "body_width": body.size[1],
                "body_thickness": body.size[2],
            }
        )
    rows.reverse()
    seen.reverse()
    names = [c.name for c in TRUTH_COLUMNS]
    truth = pd.DataFrame(rows, columns=names)
    if not rows:
        truth = pd.DataFrame(
            {c.name: np.zeros(0, dtype=object if c.dtype == "str" else c.dtype) for c in TRUTH_COLUMNS}
        )
    crops = [f[3].astype(np.uint8).ravel() for f in found]
    none = np.zeros(0, dtype=np.uint8)
    instances = Instances(
        field,
        np.array([f[2] for f in found], dtype=np.int32).reshape(-1, 4),
        np.concatenate(crops) if crops else none,
        np.concatenate([[0], np.cumsum([c.size for c in crops])]).astype(np.int64),
        np.ones(len(found), dtype=np.float32),
        np.array([KINDS.index(f[1].kind) for f in found], dtype=np.uint8),
        in_focus=truth["in_focus"].to_numpy(dtype=bool),
        agglomerate=truth["parent"].to_numpy(dtype=np.int32),
        visible=np.concatenate(seen) if seen else none,
    )
    return instances, truth


def _inside_share(body: Body, placed: Placed, field: FieldOfView) -> float:
    """Share of the full outline that lies in the field of view."""
    from shapely import Point, box
    from shapely.affinity import translate

    x0, y0, x1, y1 = body.outline.bounds
    rows, columns = field.shape
    if field.disc is None:
        if x0 + placed.x >= 0 and y0 + placed.y >= 0 and x1 + placed.x <= columns and y1 + placed.y <= rows:
            return 1.0
        view = box(0, 0, columns, rows)
    else:
        view = Point(field.disc[1], field.disc[0]).buffer(field.disc[2], quad_segs=64)
    outline = translate(body.outline, placed.x, placed.y)
    if view.contains(outline):
        return 1.0
    return float(outline.intersection(view).area / outline.area)


def population_of(bodies: Sequence[Placed]) -> pd.DataFrame:
    """Sizes of all bodies drawn, seen or not: kind, body, ecd, Feret, length, width, three dimensions; px."""
    rows = []
    for placed in bodies:
        body = placed.body
        m = body.measures
        rows.append(
            {
                "kind": body.kind,
                "body": body.name,
                **{k: m[k] for k in ("ecd", "feret_max", "feret_min", "length", "width")},
                "body_length": body.size[0],
                "body_width": body.size[1],
                "body_thickness": body.size[2],
            }
        )
    columns = (
        "kind", "body", "ecd", "feret_max", "feret_min", "length", "width",
        "body_length", "body_width", "body_thickness",
    )  # fmt: skip
    return pd.DataFrame(rows, columns=list(columns))


def times_covered(instances: Instances) -> NDArray[np.uint8]:
    """(rows, columns): how many of the particles cover a pixel."""
    out = np.zeros(instances.field.shape, dtype=np.uint8)
    for i, (r0, c0, r1, c1) in enumerate(instances.boxes):
        out[r0:r1, c0:c1] += instances.crop(i)
    return out


def _coverage(instances: Instances, field: FieldOfView) -> float:
    return float((instances.labels() > 0).sum() / field.area_px)
