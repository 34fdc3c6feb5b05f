"""Training of the network of the ten labels."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from crystalscope.core import LABELS
from crystalscope.errors import InputError
from crystalscope.label.seen import CELL, levelled
from crystalscope.learn.label_data import IGNORED, LabelPicture
from crystalscope.learn.label_net import ENCODER, LabelNet
from crystalscope.learn.nuisances import disturbed
from crystalscope.scenes.labels import crowded

Note = Callable[[int, dict[str, float]], None]
_COVER = LABELS.index("too_concentrated")
_TRUNK = 0.5
"""Learning rate of the encoder, of that of the head."""
_COMMON, _RAREST = 0.1, 0.02
"""Share of the pictures from which a label is common, and below which it is not drawn more often still."""


@dataclass(frozen=True)
class LabelSchedule:
    """How the network is trained.

    Parameters
    ----------
    steps
        Of the optimiser.
    batch
        Pictures in a step.
    rate
        Highest learning rate (AdamW) of the head; the encoder learns at half of it.
    decay
        Weight decay.
    cells
        Weight of the cells in the loss, beside the pictures as a whole.
    keep
        Of the running mean of the weights, which is what is kept, per step.
    freeze
        Leave the first two stages of the encoder as they are.
    save_every
        Steps between checkpoints.
    seed
        Of the draws.
    """

    steps: int = 2400
    batch: int = 8
    rate: float = 6e-4
    decay: float = 2e-4
    cells: float = 3.0
    keep: float = 0.99
    freeze: bool = True
    save_every: int = 100
    seed: int = 0


@dataclass(frozen=True)
class HeadSchedule:
    """How the head is trained while the encoder rests.

    Parameters
    ----------
    steps, batch, rate, decay, cells, seed
        As in `LabelSchedule`.
    views
        Of every picture, with other grey levels, of which the features are kept.
    save_every
        Steps between checkpoints.
    """

    steps: int = 500
    batch: int = 16
    rate: float = 2e-3
    decay: float = 1e-3
    cells: float = 3.0
    views: int = 1
    save_every: int = 50
    seed: int = 0


def train_labels(
    learn: Sequence[LabelPicture],
    folder: Path,
    *,
    schedule: LabelSchedule,
    net: LabelNet,
    note: Note | None = None,
) -> LabelNet:
    """Train, or go on with a training that was interrupted in `folder`.

    Parameters
    ----------
    learn
        Training pictures.
    folder
        For checkpoint.pt.
    schedule
        How.
    net
        Where it starts.
    note
        Called with the step and the loss.

    Returns
    -------
    The network with the running mean of the weights.

    Raises
    ------
    InputError
        When there is no picture, or `folder` holds the checkpoint of another training.
    """
    if not learn:
        raise InputError("expected labelled pictures to learn, got none; label more, or hold fewer back")
    folder.mkdir(parents=True, exist_ok=True)
    net, kept = copy.deepcopy(net), copy.deepcopy(net).eval()
    head = [p for n, p in net.named_parameters() if n.split(".")[0] not in ENCODER and p.requires_grad]
    body = [p for n, p in net.named_parameters() if n.split(".")[0] in ENCODER]
    for name, parameter in net.named_parameters():
        if name.startswith(("trunk.fine.", "trunk.stages.0.")):
            # Edges are edges for either task: what sees them stays, and costs no way back.
            parameter.requires_grad_(not schedule.freeze)
    optimiser = torch.optim.AdamW(
        [{"params": head, "part": 1.0}, {"params": body, "part": _TRUNK}], lr=schedule.rate, weight_decay=schedule.decay
    )
    file, what, first = folder / "checkpoint.pt", _fingerprint(learn, schedule, net), 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        if state["what"] != what:
            raise InputError(
                f"expected the checkpoint of this training in {folder}, got one of other pictures, settings or weights;"
                " name another folder or remove checkpoint.pt"
            )
        net.load_state_dict(state["net"])
        kept.load_state_dict(state["kept"])
        optimiser.load_state_dict(state["optimiser"])
        first = int(state["step"])
    orders, weights = _orders(learn), _weights(learn)
    bf16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    net = net.to(memory_format=torch.channels_last)
    begun = time.monotonic()
    for step in range(first, schedule.steps):
        net.train()
        torch.manual_seed(schedule.seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = _rate(step, schedule) * group["part"]
        pictures = _chosen(learn, orders, weights, schedule, step)
        x, labels, cells = batch_of(pictures, rng=np.random.default_rng([schedule.seed, step]), varied=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits, maps = net(x.to(memory_format=torch.channels_last))
        loss, parts = label_loss(logits.float(), maps.float(), labels, cells, weight=schedule.cells)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        keep = min(schedule.keep, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, now in zip(kept.parameters(), net.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)
        if (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps:
            state = {"net": net.state_dict(), "kept": kept.state_dict(), "optimiser": optimiser.state_dict()}
            torch.save(state | {"step": step + 1, "what": what}, file.with_suffix(".tmp"))
            file.with_suffix(".tmp").replace(file)
        if note:
            note(step + 1, parts | {"seconds": (time.monotonic() - begun) / (step - first + 1)})
    return kept.eval()


Stored = list[tuple[Tensor, Tensor, Tensor]]


@torch.no_grad()
def _seen_features(net: LabelNet, learn: Sequence[LabelPicture], schedule: HeadSchedule, folder: Path | None) -> Stored:
    """Features, labels and cells of some views of every picture, in half precision; all lie on their longer side."""
    out: Stored = []
    for i, p in enumerate(learn):
        file = None if folder is None else folder / f"features-{i:05d}.pt"
        if file is not None and file.exists():
            out += [(f, labels, cells) for f, labels, cells in torch.load(file, weights_only=True)]
            continue
        own: Stored = []
        for view in range(schedule.views):
            x, labels, cells = batch_of([p], rng=np.random.default_rng([schedule.seed, i, view]), upright=False)
            own.append((net.features(x)[0].half(), labels[0], cells[0]))
        if file is not None:
            torch.save(own, file)
        out += own
    return out


def train_head(
    learn: Sequence[LabelPicture],
    net: LabelNet,
    *,
    schedule: HeadSchedule,
    folder: Path | None = None,
    note: Note | None = None,
) -> None:
    """Train what follows the encoder while the encoder rests: a tenth of the cost of training both.

    Parameters
    ----------
    learn
        Training pictures.
    net
        Changed in place.
    schedule
        How.
    folder
        For features and a checkpoint, from which an interrupted training goes on; None: nothing is kept.
    note
        Called with the step and the loss.
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    stored = _seen_features(net, learn, schedule, folder)
    # The features of a network without norms have scales of their own: they are evened out first.
    every = torch.cat([f.flatten(1)[:, ::7] for f, _, _ in stored], dim=1).float()
    with torch.no_grad():
        net.mean.copy_(every.mean(1)[None, :, None, None])
        net.spread.copy_(every.std(1).clamp(min=1e-3)[None, :, None, None])
    sizes: dict[tuple[int, ...], list[int]] = {}
    for i, (f, _, _) in enumerate(stored):
        sizes.setdefault(tuple(f.shape), []).append(i)
    groups = [sizes[k] for k in sorted(sizes)]
    share = np.array([len(g) for g in groups], dtype=float)
    head = [p for n, p in net.named_parameters() if n.split(".")[0] not in ENCODER and p.requires_grad]
    optimiser = torch.optim.AdamW(head, lr=schedule.rate, weight_decay=schedule.decay)
    file, first = None if folder is None else folder / "head.pt", 0
    if file is not None and file.exists():
        state = torch.load(file, weights_only=True)
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        first = int(state["step"])
    net.train()
    for step in range(first, schedule.steps):
        rng = np.random.default_rng([schedule.seed, 5, step])
        torch.manual_seed(schedule.seed * 1_000_003 + step)
        for part in optimiser.param_groups:
            part["lr"] = schedule.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / schedule.steps)))
        group = groups[int(rng.choice(len(groups), p=share / share.sum()))]
        picked = [stored[group[i]] for i in rng.choice(len(group), size=min(schedule.batch, len(group)), replace=False)]
        f, labels, cells = (torch.stack(t) for t in zip(*picked, strict=True))
        for axis in (2, 3):
            if rng.random() < 0.5:
                f, cells = f.flip(axis), cells.flip(axis)
        logits, maps = net.answers(f.float())
        loss, parts = label_loss(logits, maps, labels, cells, weight=schedule.cells)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head, 5.0)
        optimiser.step()
        if file is not None and ((step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps):
            state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            torch.save(state, file.with_suffix(".tmp"))
            file.with_suffix(".tmp").replace(file)
        if note:
            note(step + 1, parts)


def _rate(step: int, schedule: LabelSchedule) -> float:
    """Warm-up over the first 3 %, then falling by a cosine."""
    warm = max(1, int(0.03 * schedule.steps))
    if step < warm:
        return schedule.rate * (step + 1) / warm
    share = (step - warm) / max(1, schedule.steps - warm)
    return schedule.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def _orders(learn: Sequence[LabelPicture]) -> dict[tuple[int, int], list[int]]:
    """Numbers of the pictures by the length of their sides: a batch is of one size, upright or lying."""
    out: dict[tuple[int, int], list[int]] = {}
    for i, p in enumerate(learn):
        short, long = sorted(p.grey.shape)
        out.setdefault((short, long), []).append(i)
    return out


def _weights(learn: Sequence[LabelPicture]) -> NDArray[np.float64]:
    """How often each picture is drawn: the rarer what it shows, the more often; nothing at all is rare too."""
    shows = np.array([p.labels for p in learn]).reshape(len(learn), -1) == 1
    shows = np.column_stack([shows, ~shows.any(axis=1)])
    return np.asarray(0.3 + shows @ (_COMMON / np.clip(shows.mean(axis=0), _RAREST, None)))


def _chosen(
    learn: Sequence[LabelPicture],
    orders: dict[tuple[int, int], list[int]],
    weights: NDArray[np.float64],
    schedule: LabelSchedule,
    step: int,
) -> list[LabelPicture]:
    """The pictures of a step, all of one size."""
    rng = np.random.default_rng([schedule.seed, 1 << 20, step])
    sizes = sorted(orders)
    share = np.array([weights[orders[s]].sum() for s in sizes])
    group = orders[sizes[int(rng.choice(len(sizes), p=share / share.sum()))]]
    own = weights[group] / weights[group].sum()
    picked = rng.choice(len(group), size=min(schedule.batch, len(group)), replace=False, p=own)
    return [learn[group[i]] for i in picked]


def batch_of(
    pictures: Sequence[LabelPicture], *, rng: np.random.Generator, upright: bool | None = None, varied: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """A batch, turned, mirrored and with other grey levels: pictures, labels, cells (all 255 where there are none).

    All stand `upright`, or lie on their longer side; drawn where it is None. `varied`: with nuisances, and half of the
    batches are parts of the pictures, where cells tell what a part shows.
    """
    if varied:
        pictures = [disturbed(p, pictures, rng) for p in pictures]
    if varied and all(p.cells is not None for p in pictures) and rng.random() < 0.5:
        pictures = _parts(pictures, float(rng.uniform(0.5, 0.9)), rng)
    if upright is None:
        upright = bool(rng.random() < 0.5)
    greys, cells = [], []
    for p in pictures:
        grey = p.grey.astype(np.float32)
        known = p.cells
        if known is None:
            known = np.full((len(LABELS) + 1, grey.shape[0] // 16, grey.shape[1] // 16), IGNORED, dtype=np.uint8)
        if ((grey.shape[0] > grey.shape[1]) != upright and grey.shape[0] != grey.shape[1]) or (
            grey.shape[0] == grey.shape[1] and rng.random() < 0.5
        ):
            grey, known = grey.T, known.transpose(0, 2, 1)
        for axis in (0, 1):
            if rng.random() < 0.5:
                grey, known = np.flip(grey, axis), np.flip(known, axis + 1)
        greys.append(levelled(_regraded(np.ascontiguousarray(grey), rng)))
        cells.append(np.ascontiguousarray(known))
    labels = np.stack([p.labels for p in pictures]).astype(np.float32)
    return torch.from_numpy(np.stack(greys)[:, None]), torch.from_numpy(labels), torch.from_numpy(np.stack(cells))


def _parts(pictures: Sequence[LabelPicture], share: float, rng: np.random.Generator) -> list[LabelPicture]:
    """A part of each picture, of one size: what is seen together in a part differs from what is in a picture."""
    out = []
    short, long = sorted(n // CELL for n in pictures[0].grey.shape)
    sides = max(2, round(short * share)), max(2, round(long * share))
    for p in pictures:
        assert p.cells is not None
        size = sides if p.grey.shape[0] <= p.grey.shape[1] else sides[::-1]
        r, c = (int(rng.integers(n - k + 1)) for n, k in zip(p.cells.shape[1:], size, strict=True))
        cells = p.cells[:, r : r + size[0], c : c + size[1]]
        grey = p.grey[CELL * r : CELL * (r + size[0]), CELL * c : CELL * (c + size[1])]
        out.append(LabelPicture(p.name, grey, _labels_of_part(p.labels, cells), cells))
    return out


def _labels_of_part(labels: NDArray[np.float32], cells: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a part shows: for certain what lies in cells off its edge; nothing is said of what its edge may cut."""
    out = labels.copy()
    for k in range(len(LABELS)):
        if k == _COVER or labels[k] == 0:
            continue
        if not cells[k].any():
            out[k] = 0
        elif labels[k] != 1 or not (cells[k, 1:-1, 1:-1] == 100).any():
            out[k] = np.nan
    if (cells[-1] == IGNORED).any() or not cells[-1].any():
        out[_COVER] = np.nan
    else:
        out[_COVER] = crowded(float(cells[_COVER].sum()) / float(cells[-1].sum()))
    return out


def _regraded(grey: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Another gamma, a slope, blur, noise."""
    out = grey
    if rng.random() < 0.5:
        out = np.clip(out, 1e-4, 1) ** np.float32(rng.uniform(0.6, 1.6))
    if rng.random() < 0.3:
        down = np.linspace(-1, 1, out.shape[0], dtype=np.float32)[:, None] * np.float32(rng.uniform(-0.3, 0.3))
        across = np.linspace(-1, 1, out.shape[1], dtype=np.float32)[None, :] * np.float32(rng.uniform(-0.3, 0.3))
        out = out * (1 + down + across)
    if rng.random() < 0.25:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.3, 0.8)))
    if rng.random() < 0.35:
        spread = float(out.std())
        out = out + np.float32(rng.uniform(0, 0.2) * spread) * rng.standard_normal(out.shape, dtype=np.float32)
    return np.asarray(out, dtype=np.float32)


def label_loss(
    logits: Tensor, maps: Tensor, labels: Tensor, cells: Tensor, *, weight: float
) -> tuple[Tensor, dict[str, float]]:
    """Cross entropy over what is known of pictures and of cells.

    Parameters
    ----------
    logits, maps
        As `LabelNet` gives them.
    labels
        (n, 10), NaN does not count.
    cells
        (n, 11, rows, columns) in per cent, 255 does not count.
    weight
        Of the cells.
    """
    known = torch.isfinite(labels)
    target = torch.nan_to_num(labels)
    whole = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    total = (whole * known).sum() / known.sum().clamp(min=1)
    parts = {"loss": float(total.detach())}
    counts = cells != IGNORED
    if counts.any():
        share = cells.float() / 100 * counts
        # Cells that show something are few: they count threefold, but not where shares are learnt.
        w = counts * (1 + 2 * share)
        w[:, _COVER], w[:, -1] = counts[:, _COVER].float(), counts[:, -1].float()
        each = functional.binary_cross_entropy_with_logits(maps, share.clamp(0, 1), reduction="none")
        own = ((each * w).sum((0, 2, 3)) / w.sum((0, 2, 3)).clamp(min=1)).mean()
        parts["cells"] = float(own.detach())
        total = total + weight * own
    return total, parts


@torch.no_grad()
def logits_of(net: LabelNet, pictures: Sequence[LabelPicture]) -> NDArray[np.float64]:
    """(n, 10) logits of pictures as they are."""
    net.eval()
    out = np.zeros((len(pictures), len(LABELS)))
    for i, p in enumerate(pictures):
        x = torch.from_numpy(levelled(p.grey.astype(np.float32))[None, None])
        out[i] = net(x)[0][0].numpy()
    return out


def _fingerprint(learn: Sequence[LabelPicture], schedule: LabelSchedule, net: LabelNet) -> str:
    settings: dict[str, Any] = asdict(schedule)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for p in learn:
        digest.update(p.grey[::8, ::8].tobytes() + p.labels.tobytes())
    for v in net.state_dict().values():
        digest.update(v.contiguous().numpy().tobytes())
    return digest.hexdigest()
