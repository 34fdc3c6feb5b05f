"""The comparison of a look as a table and as a montage of the patches that tell most."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.realism.classify import Auroc, Scores, alone, area, auroc, folds_of, forest_scores, network_scores
from bench.realism.features import GROUPS, NAMES, features_of
from bench.realism.looks import Look, real_pictures, rendered_pictures
from bench.realism.patches import SIDE, Patches, corners, joined, matched, quarters, take

_WIDE = 12
"""Patches in a row of a montage."""


@dataclass(frozen=True, eq=False)
class Result:
    """What two classifiers found on the patches of a look.

    Parameters
    ----------
    look, recipe
        What was compared with what.
    patches, is_real, folds
        The patches, whether they are real, and the fold in which they were judged.
    features
        (n, features) of them.
    network, forest
        Scores, the higher the more real; `network` is None where it was left out.
    groups
        AUROC of the trees on one group of features alone.
    by_picture
        Where quarters are split: AUROC of the trees when whole pictures are; None: the same, or there is but one.
    """

    look: Look
    recipe: str
    patches: Patches
    is_real: NDArray[np.bool_]
    folds: NDArray[np.intp]
    features: NDArray[np.float64]
    network: Scores | None
    forest: Scores
    groups: dict[str, Auroc]
    by_picture: Auroc | None

    @property
    def about_objects(self) -> NDArray[np.bool_]:
        """(n,) patches that hold more than 1 % of object pixels."""
        return self.patches.shares > 0.01


def compare(look: Look, folder: Path, *, recipe: str | None, seed: int, with_network: bool) -> Result:
    """Take patches of both sides and let both classifiers tell them apart.

    Parameters
    ----------
    look
        What to compare.
    folder
        Of the real pictures.
    recipe
        TOML instead of the preset of the look.
    seed
        Of pictures, patches, folds and classifiers.
    with_network
        Whether to train the network.
    """
    rng = np.random.default_rng(seed)
    real_of = real_pictures(look, folder)
    rendered_of = rendered_pictures(look, recipe=recipe, seed=seed)
    if look.by == "crop":
        # All of a crop is object: there is no ground to match.
        real, rendered = (joined(*map(corners, side)) for side in (real_of, rendered_of))
    else:
        cut = quarters(real_of) if look.by == "quarter" else real_of
        number = look.per_real // 4 if look.by == "quarter" else look.per_real
        real = joined(*(take(p, number=number, rng=rng) for p in cut))
        rendered = joined(*(take(p, number=look.per_rendered, rng=rng) for p in rendered_of))
        real, rendered = matched(real, rendered, rng=rng)
    patches = joined(real, rendered)
    is_real = np.arange(len(patches)) < len(real)
    folds = folds_of(patches.groups, is_real, rng=rng)
    x = features_of(patches)
    return Result(
        look,
        look.recipe if recipe is None else Path(recipe).stem,
        patches,
        is_real,
        folds,
        x,
        network_scores(patches, is_real, folds, seed=seed) if with_network else None,
        forest_scores(x, is_real, folds, seed=seed),
        alone(x, is_real, folds, seed=seed),
        _by_picture(look, x, patches.groups, is_real, seed=seed),
    )


def _by_picture(
    look: Look, x: NDArray[np.float64], groups: NDArray[np.str_], is_real: NDArray[np.bool_], *, seed: int
) -> Auroc | None:
    pictures = np.array([str(g).split("/")[0] for g in groups])
    if look.by != "quarter" or len(np.unique(pictures[is_real])) < 2:
        return None
    folds = folds_of(pictures, is_real, rng=np.random.default_rng(seed))
    return auroc(is_real, forest_scores(x, is_real, folds, seed=seed), folds)


def markdown(result: Result) -> str:
    """Tables: AUROC of both classifiers, of groups of features, and the features that tell most."""
    r = result
    real_groups = len(np.unique(r.patches.groups[r.is_real]))
    rendered_groups = len(np.unique(r.patches.groups[~r.is_real]))
    lines = [
        f"### {r.look.title}: {r.recipe}",
        "",
        f"{r.is_real.sum()} patches of {real_groups} real {r.look.by}s, {(~r.is_real).sum()} of {rendered_groups} "
        f"rendered pictures, {len(np.unique(r.folds))} folds.",
        "",
        "| classifier | all patches | about objects | ground |",
        "|---|---|---|---|",
    ]
    for name, scores in (("network", r.network), ("trees on features", r.forest)):
        if scores is None:
            continue
        cells = [
            str(auroc(r.is_real[keep], scores[keep], r.folds[keep])) if r.look.by != "crop" or keep.all() else "-"
            for keep in (np.ones_like(r.is_real), r.about_objects, ~r.about_objects)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if r.by_picture is not None:
        lines.append(f"| trees, whole pictures held out | {r.by_picture} | | |")
    lines += ["", "| trees on this group alone | AUROC |", "|---|---|"]
    for group, found in sorted(r.groups.items(), key=lambda item: -item[1].mean):
        lines.append(f"| {group} | {found} |")
    lines += ["", "| feature | group | AUROC alone | real: 10 %, median, 90 % | rendered |", "|---|---|---|---|---|"]
    group_of = {name: group for group, names in GROUPS.items() for name in names}
    told = np.array([area(r.is_real, r.features[:, k]) for k in range(len(NAMES))])
    for k in np.argsort(-np.abs(told - 0.5))[:14]:
        sides = [np.percentile(r.features[side, k], [10, 50, 90]) for side in (r.is_real, ~r.is_real)]
        cells = [", ".join(f"{v:.3g}" for v in side) for side in sides]
        lines.append(f"| {NAMES[k]} | {group_of[NAMES[k]]} | {told[k]:.2f} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def montage(result: Result) -> NDArray[np.uint8]:
    """Four rows: real patches that look most real, rendered ones most rendered, and those that are confused.

    By the classifier that tells more; two of three about objects, neighbours of different pictures where they can.
    """
    scores = result.forest
    if result.network is not None and area(result.is_real, result.network) > area(result.is_real, scores):
        scores = result.network
    rows = [
        ("real, told", _top(result, scores, real=True)),
        ("real, taken for rendered", _top(result, -scores, real=True)),
        ("rendered, taken for real", _top(result, scores, real=False)),
        ("rendered, told", _top(result, -scores, real=False)),
    ]
    gap, band = 4, 22
    width = _WIDE * (SIDE + gap) + gap
    out = np.full((len(rows) * (SIDE + gap + band), width), 255, dtype=np.uint8)
    for i, (title, chosen) in enumerate(rows):
        top = i * (SIDE + gap + band)
        cv2.putText(out, title, (gap, top + band - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 0, 1, cv2.LINE_AA)
        for j, k in enumerate(chosen):
            left = gap + j * (SIDE + gap)
            out[top + band : top + band + SIDE, left : left + SIDE] = np.clip(result.patches.grey[k], 0, 255)
    return out


def _top(result: Result, scores: Scores, *, real: bool) -> list[int]:
    """The patches of highest score, at most two of a picture, two of three about objects."""
    order = [int(k) for k in np.argsort(-scores) if result.is_real[k] == real]
    of_picture: dict[str, int] = {}
    chosen: list[list[int]] = [[], []]
    wanted = (_WIDE - _WIDE // 3, _WIDE // 3)
    limit = 2 if not real else max(2, _WIDE // max(1, len(np.unique(result.patches.groups[result.is_real]))))
    for k in order:
        group = str(result.patches.groups[k])
        kind = 0 if result.about_objects[k] else 1
        if len(chosen[kind]) < wanted[kind] and of_picture.get(group, 0) < limit:
            chosen[kind].append(k)
            of_picture[group] = of_picture.get(group, 0) + 1
    return chosen[0] + chosen[1]
