"""The loss of the network `crystals`: score, oriented box, mask on the body's own grid, kind."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from crystalscope.learn.samples import GRID, Target
from crystalscope.segment.layout import CHANNELS, EDGE, KIND_COUNT, MASK_STRIDE, PROTOTYPES, SHAPES, SLOTS, STRIDES


def crystal_loss(outputs: Sequence[Tensor], targets: list[list[Target]]) -> tuple[Tensor, dict[str, float]]:
    """Loss over a batch.

    Parameters
    ----------
    outputs
        Maps of the levels (n, SLOTS * CHANNELS, h, w) and prototypes (n, PROTOTYPES, H, W).
    targets
        Bodies of each sample.

    Returns
    -------
    The loss, and its parts.

    Notes
    -----
    Score: quality focal loss (Li et al., 2020) towards the IoU of the predicted mask. Cells close to a body that is
    neither right nor wrong do not count. Box: smooth L1 in cells and logarithms. Mask: cross entropy and Dice on a grid
    of the true box. Kind: cross entropy.
    """
    *maps, proto = outputs
    device = proto.device
    scores = [m.float().unflatten(1, (SLOTS, CHANNELS))[:, :, 0] for m in maps]
    weight = [torch.ones_like(s) for s in scores]
    wanted = [torch.zeros_like(s) for s in scores]
    places, chosen = _assigned(targets, maps, weight)
    if not places:
        total = sum(
            (torch.sigmoid(s) ** 2 * functional.softplus(s) * w).sum() for s, w in zip(scores, weight, strict=True)
        )
        return total / len(targets), {"score": float(total.detach()), "box": 0.0, "mask": 0.0, "kind": 0.0}
    rows = [
        maps[level].unflatten(1, (SLOTS, CHANNELS))[
            torch.tensor(index[:, 0]),
            torch.tensor(index[:, 1]),
            :,
            torch.tensor(index[:, 2]),
            torch.tensor(index[:, 3]),
        ]
        for level, index in places.items()
    ]
    values = torch.cat(rows).float()
    bodies = [chosen[level] for level in places]
    flat = [t for group in bodies for t in group]
    cells = np.concatenate([np.column_stack([index, np.full(len(index), level)]) for level, index in places.items()])
    stride = torch.tensor([STRIDES[int(level)] for level in cells[:, 4]], dtype=torch.float32, device=device)
    cx = (torch.tensor(cells[:, 3], dtype=torch.float32, device=device) + 0.5) * stride
    cy = (torch.tensor(cells[:, 2], dtype=torch.float32, device=device) + 0.5) * stride
    true = torch.from_numpy(np.stack([t.box for t in flat])).to(device)
    box = values[:, 1:7]
    slender = torch.log(true[:, 2] / true[:, 3])
    wanted_box = torch.stack(
        [
            (true[:, 0] - cx) / stride,
            (true[:, 1] - cy) / stride,
            torch.log(true[:, 2] / stride) / 0.7,
            torch.log(true[:, 3] / stride) / 0.7,
            torch.cos(2 * true[:, 4]),
            torch.sin(2 * true[:, 4]),
        ],
        dim=1,
    )
    emphasis = torch.ones_like(box)
    # The direction of a square means nothing.
    emphasis[:, 4:] = (3 * torch.clamp(slender / math.log(2), 0, 1))[:, None]
    box_loss = (functional.smooth_l1_loss(box, wanted_box, beta=0.1, reduction="none") * emphasis).sum(1).mean()
    logits = mask_logits(values, cx, cy, stride, proto.float(), torch.tensor(cells[:, 0]), flat)
    mask = torch.from_numpy(np.stack([t.mask for t in flat])).to(device)
    cross = functional.binary_cross_entropy_with_logits(logits, mask, reduction="none").mean((1, 2))
    soft = torch.sigmoid(logits)
    dice = 1 - (2 * (soft * mask).sum((1, 2)) + 1) / (soft.sum((1, 2)) + mask.sum((1, 2)) + 1)
    mask_loss = (cross + dice).mean()
    with torch.no_grad():
        hard = (logits > 0).float()
        union = torch.clamp(hard + mask, 0, 1).sum((1, 2))
        quality = (hard * mask).sum((1, 2)) / torch.clamp(union, min=1)
    kinds = torch.tensor([t.kind for t in flat], device=device)
    kind_loss = functional.cross_entropy(values[:, -KIND_COUNT:], kinds)
    at = 0
    for level, index in places.items():
        n = len(index)
        wanted[level][index[:, 0], index[:, 1], index[:, 2], index[:, 3]] = torch.clamp(quality[at : at + n], min=0.3)
        weight[level][index[:, 0], index[:, 1], index[:, 2], index[:, 3]] = 1.0
        at += n
    score_loss = sum(
        (
            torch.abs(torch.sigmoid(s) - w) ** 2
            * functional.binary_cross_entropy_with_logits(s, w, reduction="none")
            * k
        ).sum()
        for s, w, k in zip(scores, wanted, weight, strict=True)
    ) / len(flat)
    total = 2 * score_loss + 0.5 * box_loss + 2 * mask_loss + 0.3 * kind_loss
    return total, {
        "score": float(score_loss.detach()),
        "box": float(box_loss.detach()),
        "mask": float(mask_loss.detach()),
        "kind": float(kind_loss.detach()),
        "iou": float(quality.mean()),
    }


def mask_logits(
    values: Tensor, cx: Tensor, cy: Tensor, stride: Tensor, proto: Tensor, picture: Tensor, bodies: list[Target]
) -> Tensor:
    """Logits (n, GRID, GRID) of predictions on the grids of the true boxes."""
    box = values[:, 1:7]
    x = cx + box[:, 0] * stride
    y = cy + box[:, 1] * stride
    length = torch.exp(torch.clamp(box[:, 2] * 0.7, -3, 6)) * stride
    width = torch.exp(torch.clamp(box[:, 3] * 0.7, -3, 6)) * stride
    angle = 0.5 * torch.atan2(box[:, 5], box[:, 4])
    points = torch.from_numpy(np.stack([t.points for t in bodies])).to(values.device)
    dx, dy = points[..., 0] - x[:, None, None], points[..., 1] - y[:, None, None]
    c, s = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    u = 2 * (dx * c + dy * s) / length[:, None, None]
    v = 2 * (dy * c - dx * s) / width[:, None, None]
    high, wide = proto.shape[-2:]
    grid = torch.stack([points[..., 0] / (MASK_STRIDE * wide), points[..., 1] / (MASK_STRIDE * high)], dim=-1) * 2 - 1
    out = values.new_zeros((len(bodies), GRID, GRID))
    coefficients = values[:, 7 : 7 + PROTOTYPES]
    for k in torch.unique(picture):
        mine = picture == k
        # All grids of a picture in one sampling: rows are bodies.
        sampled = functional.grid_sample(
            proto[int(k)][None], grid[mine].reshape(1, -1, GRID, 2), align_corners=False, padding_mode="border"
        )[0]
        sampled = sampled.reshape(PROTOTYPES, -1, GRID, GRID)
        out[mine] = torch.einsum("nc,cnij->nij", coefficients[mine], sampled)
    shape = values[:, 7 + PROTOTYPES : 7 + PROTOTYPES + SHAPES, None, None]
    uc, vc = torch.clamp(u, -2, 2), torch.clamp(v, -2, 2)
    bent = shape[:, 0] + shape[:, 1] * uc * uc + shape[:, 2] * vc * vc + shape[:, 3] * uc * vc
    frame = EDGE * (1 - torch.maximum(u.abs(), v.abs()))
    return out + bent + torch.clamp(frame, min=-4 * EDGE)


def _assigned(
    targets: list[list[Target]], maps: Sequence[Tensor], weight: list[Tensor]
) -> tuple[dict[int, np.ndarray], dict[int, list[Target]]]:
    """Cells (picture, slot, row, column) by level, the body of each; bodies that do not count weigh nothing."""
    found: dict[int, dict[tuple[int, int, int, int], Target]] = {}
    for n, bodies in enumerate(targets):
        # Large first, so that a small body keeps its cell.
        for t in sorted(bodies, key=lambda t: -float(t.box[2] * t.box[3])):
            if t.use == -1:
                continue
            for level, slot in t.places:
                stride = STRIDES[level]
                rows, columns = maps[level].shape[-2:]
                gx, gy = float(t.box[0]) / stride - 0.5, float(t.box[1]) / stride - 0.5
                for i in range(math.floor(gy), math.floor(gy) + 2):
                    for j in range(math.floor(gx), math.floor(gx) + 2):
                        if not (0 <= i < rows and 0 <= j < columns):
                            continue
                        if t.use == 0:
                            weight[level][n, :, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2] = 0.0
                        elif math.hypot(i - gy, j - gx) < 0.9:
                            found.setdefault(level, {})[(n, slot, i, j)] = t
    places = {level: np.array(list(cells), dtype=np.int64) for level, cells in sorted(found.items())}
    return places, {level: list(found[level].values()) for level in places}
