"""Training of the three-class network with early stop by validation, its scores and its ONNX file."""

from __future__ import annotations

import copy
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from crystalscope.errors import InputError
from crystalscope.io.tables import write_json
from crystalscope.learn.semantic_data import IGNORED, ClassPicture, augmented, weights_of
from crystalscope.learn.semantic_net import CLASSES, Encoder, SemanticNet
from crystalscope.score import confusion, semantic_scores
from crystalscope.segment.semantic import FORMAT_VERSION, TASK


@dataclass(frozen=True)
class SemanticSchedule:
    """How the network is trained.

    Parameters
    ----------
    steps
        Most steps of the optimiser.
    batch
        Training pictures in a step; published: 8.
    rate, decay
        Highest learning rate and weight decay (AdamW).
    augment
        The published augmentation.
    check_every
        Steps between two looks at the validation pictures.
    patience
        Looks without a better mean IoU after which the training stops.
    seed
        Of weights and draws.
    """

    steps: int = 4000
    batch: int = 8
    rate: float = 2e-3
    decay: float = 1e-4
    augment: bool = True
    check_every: int = 200
    patience: int = 6
    seed: int = 0


Note = Callable[[int, dict[str, float]], None]


def train_classes(
    learn: Sequence[ClassPicture],
    check: Sequence[ClassPicture],
    folder: Path,
    *,
    schedule: SemanticSchedule,
    net: SemanticNet,
    note: Note | None = None,
) -> tuple[SemanticNet, dict[str, Any]]:
    """Train, or go on with a training that was interrupted in `folder`.

    Parameters
    ----------
    learn, check
        Training pictures of 224 x 224 px, and those of the early stop.
    folder
        For checkpoint.pt.
    schedule
        How.
    net
        Where it starts.
    note
        Called with the step and the loss, and after a look at the validation pictures with their scores.

    Returns
    -------
    The network of the best look, and ``{"step", "scores"}`` of that look.

    Raises
    ------
    InputError
        When a list is empty, or `folder` holds the checkpoint of another training.
    """
    if not learn or not check:
        raise InputError(
            f"expected training and validation pictures, got {len(learn)} and {len(check)}; annotate more, or hold "
            "fewer back"
        )
    folder.mkdir(parents=True, exist_ok=True)
    bf16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    net = copy.deepcopy(net)
    best = copy.deepcopy(net)
    found: dict[str, Any] = {"step": 0, "scores": {"mean_iou": -1.0}}
    weight = torch.tensor(weights_of(learn), dtype=torch.float32)
    optimiser = torch.optim.AdamW(net.parameters(), lr=schedule.rate, weight_decay=schedule.decay)
    file, what, first, waited = folder / "checkpoint.pt", _fingerprint(learn, check, schedule, net), 0, 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        if state["what"] != what:
            raise InputError(
                f"expected the checkpoint of this training in {folder}, got one of other pictures, settings or weights;"
                " name another folder or remove checkpoint.pt"
            )
        net.load_state_dict(state["net"])
        best.load_state_dict(state["best"])
        optimiser.load_state_dict(state["optimiser"])
        found, first, waited = json.loads(state["found"]), int(state["step"]), int(state["waited"])
    begun = time.monotonic()
    for step in range(first, schedule.steps):
        if waited >= schedule.patience:
            break
        net.train()
        for group in optimiser.param_groups:
            group["lr"] = _rate(step, schedule)
        x, y = _batch(learn, schedule, step)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = net(x)
        loss = functional.cross_entropy(logits.float(), y, weight=weight, ignore_index=IGNORED)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        parts = {"loss": float(loss.detach()), "seconds": (time.monotonic() - begun) / (step - first + 1)}
        if (step + 1) % schedule.check_every == 0 or step + 1 == schedule.steps:
            scores = classified(net, check)
            parts |= {"accuracy": scores["accuracy"], "mean_iou": scores["mean_iou"], "crystal_iou": scores["iou"][2]}
            waited += 1
            if scores["mean_iou"] > found["scores"]["mean_iou"]:
                best.load_state_dict(net.state_dict())
                found, waited = {"step": step + 1, "scores": scores}, 0
            state = {"net": net.state_dict(), "best": best.state_dict(), "optimiser": optimiser.state_dict()}
            state |= {"step": step + 1, "waited": waited, "found": json.dumps(found), "what": what}
            torch.save(state, file.with_suffix(".tmp"))
            file.with_suffix(".tmp").replace(file)
        if note:
            note(step + 1, parts)
    return best.eval(), found


def _rate(step: int, schedule: SemanticSchedule) -> float:
    """Warm-up over the first 3 %, then falling as (1 - t)^0.9."""
    warm = max(1, int(0.03 * schedule.steps))
    if step < warm:
        return schedule.rate * (step + 1) / warm
    return schedule.rate * float((1 - (step - warm) / max(1, schedule.steps - warm)) ** 0.9) + 1e-6


def _batch(learn: Sequence[ClassPicture], schedule: SemanticSchedule, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures and classes of a step, each epoch in an order of its own."""
    rng = np.random.default_rng([schedule.seed, step])
    places = range(step * schedule.batch, (step + 1) * schedule.batch)
    epochs = {p // len(learn) for p in places}
    orders = {e: np.random.default_rng([schedule.seed, 1 << 20, e]).permutation(len(learn)) for e in epochs}
    chosen = [learn[orders[p // len(learn)][p % len(learn)]] for p in places]
    if schedule.augment:
        chosen = [augmented(p, rng=rng) for p in chosen]
    grey = np.stack([p.grey for p in chosen])[:, None]
    return torch.from_numpy(grey), torch.from_numpy(np.stack([p.classes for p in chosen]).astype(np.int64))


@torch.no_grad()
def classified(net: SemanticNet, pictures: Sequence[ClassPicture]) -> dict[str, Any]:
    """Pixel accuracy and IoU of the classes over some pictures of multiples of 16 px, see `score.semantic_scores`."""
    net.eval()
    matrix: NDArray[np.int64] = np.zeros((CLASSES, CLASSES), dtype=np.int64)
    for p in pictures:
        predicted = net(torch.from_numpy(p.grey[None, None]))[0].argmax(0).numpy()
        unknown = p.classes == IGNORED
        matrix += confusion(predicted, np.where(unknown, 0, p.classes), classes=CLASSES, ignore=unknown)
    return semantic_scores(matrix)


def _fingerprint(
    learn: Sequence[ClassPicture], check: Sequence[ClassPicture], schedule: SemanticSchedule, net: SemanticNet
) -> str:
    digest = hashlib.sha256(json.dumps(asdict(schedule), sort_keys=True).encode())
    for p in (*learn, *check):
        digest.update(p.grey[::8, ::8].tobytes() + p.classes[::8, ::8].tobytes())
    for v in net.state_dict().values():
        digest.update(v.contiguous().numpy().tobytes())
    return digest.hexdigest()


def export_classes(net: SemanticNet, path: Path, *, encoder: Encoder, card: dict[str, Any]) -> Path:
    """Write PATH (.onnx) and its card; returns the path of the card."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # The exporter that needs no further package is the old one, and says that it is.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(),
            (torch.zeros(1, 1, 64, 96),),
            str(path),
            input_names=["picture"],
            output_names=["classes"],
            dynamic_axes={"picture": {2: "rows", 3: "columns"}, "classes": {2: "rows", 3: "columns"}},
            opset_version=17,
            dynamo=False,
        )
    head = {
        "task": TASK,
        "format_version": FORMAT_VERSION,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "encoder": encoder,
        "parameters": sum(p.numel() for p in net.parameters()),
    }
    return write_json(path.with_suffix(".json"), head | card)
