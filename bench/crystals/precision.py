"""What 8 and 16 bit cost and give: python -m bench.crystals.precision NAME=FOLDER … --calibrate DATASET [--out FILE]

8 bit: onnxruntime's static quantization by channel, calibrated on pictures of a dataset. 16 bit: OpenVINO's bf16, which
a processor without such instructions runs in 32 bit. Speed as pictures of 1112 x 1000 px per second, all cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.crystals.evaluate import read_set, scores_of
from bench.crystals.speed import network_seconds
from crystalscope.config import AnalyzeConfig
from crystalscope.datasets import open_dataset
from crystalscope.io.pictures import to_grey
from crystalscope.io.tables import write_json
from crystalscope.segment.crystals import CrystalsSegmenter, load_session
from crystalscope.segment.layout import levels_of_grey, normalised
from crystalscope.segment.second import second_path
from crystalscope.weights import weights_path


def quantized(source: Path, target: Path, pictures: list[NDArray[np.float32]]) -> Path:
    """The network in 8 bit; the heads, whose outputs are coordinates, stay in 32 bit."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(pictures)

        def get_next(self) -> dict[str, Any] | None:
            found = next(self.left, None)
            return None if found is None else {"picture": found[None, None]}

    prepared = target.with_suffix(".pre.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    import onnx

    keep = [n.name for n in onnx.load(str(prepared)).graph.node if n.op_type == "Conv" and "/out" in n.name]
    quantize_static(
        str(prepared),
        str(target),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=keep,
    )
    card = json.loads(source.with_suffix(".json").read_text(encoding="utf-8"))
    card["sha256"] = hashlib.sha256(target.read_bytes()).hexdigest()
    write_json(target.with_suffix(".json"), card)
    # The second look stays as it is.
    for suffix in (".onnx", ".json"):
        shutil.copy(second_path(source).with_suffix(suffix), second_path(target).with_suffix(suffix))
    return target


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", help="NAME=FOLDER")
    parser.add_argument("--calibrate", type=Path, required=True)
    parser.add_argument("--pictures", default="frame_14*,frame_157*,frame_163*")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    data = open_dataset(args.calibrate)
    seen = []
    for i in range(min(len(data), 16)):
        grey = to_grey(np.asarray(data.read(i).data))[:512, :512]
        seen.append(normalised(grey, levels_of_grey(grey)))
    results: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        eight = quantized(
            weights_path("crystals"), Path(folder) / "eight.onnx", [s for s in seen if s.shape == (512, 512)]
        )
        plans = [("fp32", "crystals", "fp32"), ("int8", str(eight), "fp32")]
        plans += [("openvino-fp32", "crystals", "openvino-fp32"), ("openvino-bf16", "crystals", "openvino-bf16")]
        plans += [("openvino-int8", str(eight), "openvino-fp32")]
        for name, weights, precision in plans:
            segmenter = CrystalsSegmenter(AnalyzeConfig(crystals={"weights": weights, "precision": precision}))
            path = weights_path(weights)
            row: dict[str, Any] = {
                "megabytes": path.stat().st_size / 1e6,
                "pictures_per_s": 1 / network_seconds(load_session(str(path), precision), (1000, 1112), 12),
            }
            for given in args.sets:
                label, _, where = given.partition("=")
                scores, _ = scores_of(segmenter, *read_set(Path(where), args.pictures))
                row[label] = {k: scores[k] for k in ("f1", "crystal_iou", "mean_iou_of_matched")}
            results[name] = row
            print(name, row, flush=True)
    if args.out:
        write_json(args.out, results)


if __name__ == "__main__":
    main()
