"""The frozen encoder of particles, cut out of the second look of the network `crystals`.

    python -m bench.impurity.ship [--of FILE]

Writes weights/particles.onnx and its card: the three maps before the network decides anything. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import hashlib
from importlib import resources
from pathlib import Path

import numpy as np

from crystalscope.impurity.encoder import FORMAT_VERSION, TASK, WEIGHTS
from crystalscope.io.tables import write_bytes, write_json
from crystalscope.segment.patches import ACROSS, ALONG
from crystalscope.weights import weights_path

MAPS = ("/two/two.1/Mul_output_0", "/three/three.1/Mul_output_0", "/four/four.1/Mul_output_0")


def main() -> None:
    import onnx
    from onnx.utils import Extractor

    parser = argparse.ArgumentParser()
    parser.add_argument("--of", default="crystals-second", help="weights of the second look, by name or as a file")
    source = weights_path(parser.parse_args().of)
    whole = onnx.shape_inference.infer_shapes(onnx.load(str(source)))
    encoder = Extractor(whole).extract_model([whole.graph.input[0].name], list(MAPS))
    data = encoder.SerializeToString(deterministic=True)
    target = Path(str(resources.files("crystalscope.weights").joinpath(f"{WEIGHTS}.onnx")))
    write_bytes(target, data)
    card = {
        "task": TASK,
        "format_version": FORMAT_VERSION,
        "sha256": hashlib.sha256(data).hexdigest(),
        "parameters": int(sum(np.prod(t.dims) for t in encoder.graph.initializer)),
        "name": WEIGHTS,
        "patch": [ACROSS, ALONG],
        "of": {"name": source.name, "sha256": hashlib.sha256(source.read_bytes()).hexdigest()},
        "trained_on": "the rendered scenes of crystalscope that its source was trained on; frozen",
        "licence": "BSD-3-Clause",
    }
    write_json(target.with_suffix(".json"), card)
    print(f"{target.name}: {len(data):,} bytes")


if __name__ == "__main__":
    main()
