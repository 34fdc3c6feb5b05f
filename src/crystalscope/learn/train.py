"""Training of the network `crystals`: steps that can be interrupted, and export."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from crystalscope.errors import InputError
from crystalscope.learn.loss import crystal_loss
from crystalscope.learn.net import CrystalNet
from crystalscope.learn.samples import Truth, batches
from crystalscope.learn.second import SecondNet, patches, second_loss

Net = TypeVar("Net", bound=nn.Module)
Report = Callable[[int, dict[str, float]], None]

_PATCHES = 96
"""Bodies in a step of the second look."""


@dataclass(frozen=True)
class Schedule:
    """How a network is trained.

    Parameters
    ----------
    steps
        Steps of the optimiser.
    sizes
        Edges of the square samples in px, one of which is drawn for a step: small cuts vary more, large ones show large
        bodies whole.
    pixels
        Of all samples of a step.
    rate, decay
        Highest learning rate and weight decay (AdamW).
    widest
        Samples are scaled from 1 / widest to widest.
    seed
        Of weights and samples.
    checkpoint_every
        Steps.
    average
        Factor by which weights are averaged over the last steps.
    stop
        Steps after which it ends although the rate has not fallen yet, for a further stage; None: all.
    """

    steps: int = 6000
    sizes: tuple[int, ...] = (192, 256, 320, 320, 448, 640)
    pixels: int = 4 * 320 * 320
    rate: float = 2e-3
    decay: float = 1e-2
    widest: float = 2.0
    seed: int = 0
    checkpoint_every: int = 200
    average: float = 0.998
    stop: int | None = None

    @property
    def length(self) -> int:
        """Steps that are made."""
        return self.steps if self.stop is None else min(self.stop, self.steps)


def train(
    truths: Sequence[Truth],
    folder: Path,
    *,
    schedule: Schedule,
    start: CrystalNet | None = None,
    report: Report | None = None,
) -> CrystalNet:
    """Train, or go on with a training that was interrupted in `folder`.

    Step k draws its samples from a seed of its own, so that an interrupted training gives the result of an
    uninterrupted one.

    Parameters
    ----------
    truths
        Pictures and outlines.
    folder
        For checkpoint.pt and the log.
    schedule
        How.
    start
        A trained network to start from.
    report
        Called with the step and the parts of the loss.

    Returns
    -------
    The network with averaged weights.

    Raises
    ------
    InputError
        When `folder` holds the checkpoint of another training.
    """
    net = start if start is not None else _seeded(CrystalNet, schedule)

    def drawn(step: int) -> tuple[Any, Any]:
        rng = np.random.default_rng([schedule.seed, step])
        size = int(rng.choice(schedule.sizes))
        return batches(truths, size=size, count=max(1, schedule.pixels // size**2), rng=rng, widest=schedule.widest)

    return _fit(net, folder, schedule=schedule, what=_of(truths), drawn=drawn, loss=crystal_loss, report=report)


def train_second(
    truths: Sequence[Truth],
    folder: Path,
    *,
    schedule: Schedule,
    start: SecondNet | None = None,
    report: Report | None = None,
) -> SecondNet:
    """Train the second look as `train` does the network.

    Parameters
    ----------
    truths, folder, schedule, start, report
        See `train`; the sizes are those of the samples from which patches are cut.

    Raises
    ------
    InputError
        When `folder` holds the checkpoint of another training.
    """
    net = start if start is not None else _seeded(SecondNet, schedule)

    def drawn(step: int) -> tuple[Any, Any]:
        rng = np.random.default_rng([schedule.seed, step])
        size = int(rng.choice(schedule.sizes))
        count = max(1, schedule.pixels // size**2)
        batch = patches(truths, size=size, pictures=count, most=_PATCHES, rng=rng)
        return batch.seen, batch

    return _fit(net, folder, schedule=schedule, what=_of(truths), drawn=drawn, loss=second_loss, report=report)


def _seeded(kind: Callable[[], Net], schedule: Schedule) -> Net:
    torch.manual_seed(schedule.seed)
    return kind()


def _fit(
    start: Net,
    folder: Path,
    *,
    schedule: Schedule,
    what: bytes,
    drawn: Callable[[int], tuple[Any, Any]],
    loss: Callable[[Any, Any], tuple[Tensor, dict[str, float]]],
    report: Report | None,
) -> Net:
    folder.mkdir(parents=True, exist_ok=True)
    # 16-bit floats where the processor multiplies them; elsewhere they are emulated, many times slower.
    bf16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    layout = torch.channels_last if bf16 else torch.contiguous_format
    net = copy.deepcopy(start).to(memory_format=layout)
    mean = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=schedule.rate, weight_decay=schedule.decay)
    file = folder / "checkpoint.pt"
    fingerprint = _fingerprint(what, schedule, net)
    first = 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        if state["what"] != fingerprint:
            raise InputError(
                f"expected the checkpoint of this training in {folder}, got one of other pictures, settings or weights;"
                " name another folder or remove checkpoint.pt"
            )
        net.load_state_dict(state["net"])
        mean.load_state_dict(state["mean"])
        optimiser.load_state_dict(state["optimiser"])
        first = int(state["step"])
    net.train()
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(drawn, first)
        for step in range(first, schedule.length):
            pictures, targets = coming.result()
            coming = pool.submit(drawn, step + 1)
            for group in optimiser.param_groups:
                group["lr"] = _rate(step, schedule)
            x = torch.from_numpy(pictures).to(memory_format=layout)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                outputs = net(x)
            total, parts = loss(outputs, targets)
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimiser.step()
            _average(mean, net, min(schedule.average, (step + 1) / (step + 10)))
            if report:
                seconds = (time.monotonic() - begun) / (step - first + 1)
                report(step + 1, parts | {"loss": float(total.detach()), "seconds": seconds})
            if (step + 1) % schedule.checkpoint_every == 0 or step + 1 == schedule.length:
                _save(file, net, mean, optimiser, step + 1, fingerprint)
    return mean.eval()


def _rate(step: int, schedule: Schedule) -> float:
    """Warm-up over the first 3 %, then a cosine to a hundredth."""
    warm = max(1, int(0.03 * schedule.steps))
    if step < warm:
        return schedule.rate * (step + 1) / warm
    share = (step - warm) / max(1, schedule.steps - warm)
    return schedule.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


@torch.no_grad()
def _average(mean: nn.Module, net: nn.Module, keep: float) -> None:
    for a, b in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
        if a.dtype.is_floating_point:
            a.mul_(keep).add_(b, alpha=1 - keep)
        else:
            a.copy_(b)


def _save(file: Path, net: nn.Module, mean: nn.Module, optimiser: torch.optim.Optimizer, step: int, what: str) -> None:
    temporary = file.with_suffix(".tmp")
    state = {"net": net.state_dict(), "mean": mean.state_dict(), "optimiser": optimiser.state_dict()}
    state |= {"step": step, "what": what}
    torch.save(state, temporary)
    temporary.replace(file)


def _of(truths: Sequence[Truth]) -> bytes:
    """Digest of pictures and outlines."""
    digest = hashlib.sha256()
    for t in truths:
        digest.update(t.grey[::16, ::16].tobytes() + t.use.tobytes() + t.kind.tobytes())
        digest.update(repr([(round(b.x), round(b.y), body) for b, body in t.guesses]).encode())
    return digest.digest()


def _fingerprint(what: bytes, schedule: Schedule, net: nn.Module) -> str:
    """Of what a training depends on: pictures and outlines, settings, weights at its start."""
    digest = hashlib.sha256(json.dumps(asdict(schedule), sort_keys=True).encode() + what)
    for v in net.state_dict().values():
        digest.update(v.contiguous().numpy().tobytes())
    return digest.hexdigest()


def schedule_card(schedule: Schedule) -> dict[str, Any]:
    """The schedule as it stands in the card."""
    return asdict(schedule)
