"""Speed of `analyze` with the network `crystals`, and of the network alone by each engine.

python -m bench.crystals.speed [--pictures N] [--out FILE]

Ratios within one run: seconds differ between machines. The peak is that of the machine's own matrix product in 32 bit.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from crystalscope.config import load_config
from crystalscope.datasets import write_scenes
from crystalscope.io.manifest import Manifest
from crystalscope.io.tables import write_json
from crystalscope.pipeline import analyze
from crystalscope.scenes import preset, scenes_of
from crystalscope.segment.crystals import load_session
from crystalscope.weights import weights_path

ENGINES = ("fp32", "openvino-fp32", "openvino-bf16")
_MEGA = 1e6


def multiply_adds(shape: tuple[int, int]) -> float:
    """Multiply-adds of one picture."""
    import torch
    from torch import nn

    from crystalscope.learn.net import CrystalNet

    total = 0.0

    def count(module: Any, _inputs: Any, output: Any) -> None:
        nonlocal total
        total += module.weight[0].numel() * output.numel()

    net = CrystalNet(norm=False).eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        net(torch.zeros(1, 1, *(-(-n // 64) * 64 for n in shape)))
    return total


def peak() -> float:
    """Multiply-adds per second of a matrix product in 32 bit on all cores."""
    a = np.random.default_rng(0).standard_normal((2048, 2048)).astype(np.float32)
    a @ a
    seconds = min(_timed(lambda: a @ a) for _ in range(5))
    return 2048.0**3 / seconds


def _timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def network_seconds(run: Callable[[Any], Any], shape: tuple[int, int], pictures: int) -> float:
    """Seconds per picture with as many pictures at once as there are cores."""
    grey = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    run(grey)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return _timed(lambda: list(pool.map(run, [grey] * pictures))) / pictures


def torch_run() -> Callable[[Any], Any]:
    """The network by PyTorch, one thread for each picture."""
    import torch

    from crystalscope.learn.export import load_onnx

    torch.set_num_threads(1)
    net = load_onnx(weights_path("crystals")).eval()

    def run(grey: Any) -> Any:
        rows, columns = grey.shape
        with torch.inference_mode():
            padded = torch.nn.functional.pad(torch.from_numpy(grey)[None, None], (0, -columns % 64, 0, -rows % 64))
            return net(padded)

    return run


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    shape = (1000, 1112)
    macs, best = multiply_adds(shape), peak()
    print(
        f"{macs / 1e9:.1f} G multiply-adds a picture, peak {best / 1e9:.0f} G/s: at best {best / macs:.1f} pictures/s"
    )
    results: dict[str, Any] = {"multiply_adds": macs, "peak_per_s": best, "network": {}, "analyze": {}}
    runs: dict[str, Callable[[Any], Any]] = {e: load_session(str(weights_path("crystals")), e) for e in ENGINES}
    runs["torch"] = torch_run()
    for name, run in runs.items():
        seconds = network_seconds(run, shape, args.pictures)
        results["network"][name] = {"per_s": 1 / seconds, "share_of_peak": macs / seconds / best}
        print(f"network, {name:14} {1 / seconds:6.2f} pictures/s, {macs / seconds / best:5.1%} of the peak")
    with TemporaryDirectory() as folder:
        root = Path(folder)
        recipe = preset("backlit-crystals").changed(instrument={"rows": shape[0], "columns": shape[1]})
        scenes = scenes_of(recipe, frames=args.pictures, seed=0)
        write_scenes(scenes, root / "set", manifest=Manifest(name="speed", version="1"))
        plans: list[tuple[str, dict[str, Any]]] = [("threshold", {"segmenter": "threshold"})]
        plans += [(f"crystals {e}", {"segmenter": "crystals", "crystals": {"precision": e}}) for e in ENGINES]
        for name, settings in plans:
            config = load_config(**settings)
            # The first run compiles and loads.
            analyze(root / "set" / "images", root / f"{name}-warm", config=config)
            seconds = _timed(lambda n=name, c=config: analyze(root / "set" / "images", root / n, config=c))
            results["analyze"][name] = args.pictures / seconds
            print(f"analyze, {name:22} {args.pictures / seconds:6.2f} pictures/s")
    if args.out:
        write_json(args.out, results)


if __name__ == "__main__":
    main()
