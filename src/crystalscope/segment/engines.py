"""Engines that run a network from an ONNX file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from crystalscope.errors import MissingExtraError, ReadError

Floats = NDArray[np.float32]
Run = Callable[[Floats], list[Floats]]


def open_network(path: str, precision: str = "fp32") -> Run:
    """A function from the input of a network to its outputs; it may be called from several threads.

    Parameters
    ----------
    path
        The ONNX file, with one input.
    precision
        ``fp32`` by onnxruntime; ``openvino-fp32`` or ``openvino-bf16`` by OpenVINO (extra ``openvino``).

    Raises
    ------
    ReadError
        When the file is no model.
    MissingExtraError
        When OpenVINO is asked for and not installed.
    """
    return _openvino(path, precision) if precision.startswith("openvino") else _onnxruntime(path)


def _onnxruntime(path: str) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Frames are spread over threads by the pipeline; one thread each keeps the sums in one order.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as e:
        raise ReadError(f"expected a network in {path}, onnxruntime says: {e}; copy the file again") from e
    name = session.get_inputs()[0].name
    return lambda x: [np.array(o) for o in session.run(None, {name: x.astype(np.float32)})]


def _openvino(path: str, precision: str) -> Run:
    try:
        import openvino
    except ImportError as e:
        raise MissingExtraError(
            "expected OpenVINO for this precision, it is not installed; pip install 'crystalscope[openvino]' or set "
            "crystals.precision = 'fp32'"
        ) from e
    import threading

    core = openvino.Core()
    model = core.read_model(path)
    hint = "bf16" if precision.endswith("bf16") else "f32"
    settings = {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": "2", "PERFORMANCE_HINT": "THROUGHPUT"}
    compiled = core.compile_model(model, "CPU", settings)
    local = threading.local()

    def run(x: Floats) -> list[Floats]:
        if not hasattr(local, "request"):
            local.request = compiled.create_infer_request()
        results = local.request.infer([x.astype(np.float32)])
        return [np.array(results[o]) for o in compiled.outputs]

    return run
