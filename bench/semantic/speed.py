"""Speed of `crystals` against `semantic` with ResNet-50 and the compact encoder, on the same pictures, in one run.

python -m bench.semantic.speed [--pictures N] [--out FILE]

The ResNet-50 is untrained: its time does not depend on its weights. The networks alone (prepared pictures in, maps out)
and with all post-processing.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from bench.otherlight.sets import flow_cell
from crystalscope.config import AnalyzeConfig, SemanticConfig, load_config
from crystalscope.io.pictures import to_grey
from crystalscope.io.tables import write_json
from crystalscope.learn.semantic_net import SemanticNet
from crystalscope.learn.semantic_train import export_classes
from crystalscope.prepare import prepare
from crystalscope.segment import make_segmenter


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    images = [s.image for s in flow_cell(args.pictures, 321)]
    results: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        torch.manual_seed(0)
        resnet = Path(folder) / "resnet50.onnx"
        export_classes(SemanticNet("resnet50"), resnet, encoder="resnet50", card={})
        plans = {
            "threshold": load_config(segmenter="threshold"),
            "crystals": load_config(segmenter="crystals"),
            "semantic, compact": load_config(segmenter="semantic"),
            "semantic, ResNet-50": AnalyzeConfig(segmenter="semantic", semantic=SemanticConfig(weights=str(resnet))),
        }
        for name, config in plans.items():
            segmenter = make_segmenter(config)
            prepared = [prepare(i, to_grey(np.asarray(i.data), bits=8), config=config.prepare) for i in images]
            segmenter.segment(prepared[0])
            begun = time.perf_counter()
            for picture in prepared:
                segmenter.segment(picture)
            results[name] = len(prepared) / (time.perf_counter() - begun)
            print(f"{name:22} {results[name]:7.3f} pictures/s on one core", flush=True)
    ratio = results["crystals"] / results["semantic, ResNet-50"]
    print(f"crystals over semantic with ResNet-50: {ratio:.1f}")
    if args.out:
        write_json(args.out, results | {"ratio": ratio})


if __name__ == "__main__":
    main()
