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
from typing import Any

import numpy as np
import torch

from crystalscope.errors import InputError
from crystalscope.learn.loss import crystal_loss
from crystalscope.learn.net import CrystalNet
from crystalscope.learn.samples import Truth, batches


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
    report: Callable[[int, dict[str, float]], None] | None = None,
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
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(schedule.seed)
    # 16-bit floats where the processor multiplies them; elsewhere they are emulated, many times slower.
    bf16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    layout = torch.channels_last if bf16 else torch.contiguous_format
    net = copy.deepcopy(start) if start is not None else CrystalNet()
    net = net.to(memory_format=layout)
    mean = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=schedule.rate, weight_decay=schedule.decay)
    file = folder / "checkpoint.pt"
    what = _fingerprint(truths, schedule, net)
    first = 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        if state["what"] != what:
            raise InputError(
                f"expected the checkpoint of this training in {folder}, got one of other pictures, settings or weights;"
                " name another folder or remove checkpoint.pt"
            )
        net.load_state_dict(state["net"])
        mean.load_state_dict(state["mean"])
        optimiser.load_state_dict(state["optimiser"])
        first = int(state["step"])
    net.train()

    def drawn(step: int) -> Any:
        rng = np.random.default_rng([schedule.seed, step])
        size = int(rng.choice(schedule.sizes))
        return batches(truths, size=size, count=max(1, schedule.pixels // size**2), rng=rng, widest=schedule.widest)

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
            loss, parts = crystal_loss(outputs, targets)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimiser.step()
            _average(mean, net, min(schedule.average, (step + 1) / (step + 10)))
            if report:
                seconds = (time.monotonic() - begun) / (step - first + 1)
                report(step + 1, parts | {"loss": float(loss.detach()), "seconds": seconds})
            if (step + 1) % schedule.checkpoint_every == 0 or step + 1 == schedule.length:
                _save(file, net, mean, optimiser, step + 1, what)
    return mean.eval()


def _rate(step: int, schedule: Schedule) -> float:
    """Warm-up over the first 3 %, then a cosine to a hundredth."""
    warm = max(1, int(0.03 * schedule.steps))
    if step < warm:
        return schedule.rate * (step + 1) / warm
    share = (step - warm) / max(1, schedule.steps - warm)
    return schedule.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


@torch.no_grad()
def _average(mean: CrystalNet, net: CrystalNet, keep: float) -> None:
    for a, b in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
        if a.dtype.is_floating_point:
            a.mul_(keep).add_(b, alpha=1 - keep)
        else:
            a.copy_(b)


def _save(
    file: Path, net: CrystalNet, mean: CrystalNet, optimiser: torch.optim.Optimizer, step: int, what: str
) -> None:
    temporary = file.with_suffix(".tmp")
    state = {"net": net.state_dict(), "mean": mean.state_dict(), "optimiser": optimiser.state_dict()}
    state |= {"step": step, "what": what}
    torch.save(state, temporary)
    temporary.replace(file)


def _fingerprint(truths: Sequence[Truth], schedule: Schedule, net: CrystalNet) -> str:
    """Of what a training depends on: pictures and outlines, settings, weights at its start."""
    digest = hashlib.sha256(json.dumps(asdict(schedule), sort_keys=True).encode())
    for t in truths:
        digest.update(t.grey[::16, ::16].tobytes() + t.use.tobytes() + t.kind.tobytes())
    for v in net.state_dict().values():
        digest.update(v.contiguous().numpy().tobytes())
    return digest.hexdigest()


def schedule_card(schedule: Schedule) -> dict[str, Any]:
    """The schedule as it stands in the card."""
    return asdict(schedule)
