"""Run models in onnxruntime, and compare."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import ModelProto


def outputs(model: bytes | Path | ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if isinstance(model, ModelProto):
        model = model.SerializeToString()
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"]).run(None, dict(feeds))


def equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(x, y, equal_nan=x.dtype.kind == "f") for x, y in zip(a, b, strict=True)
    )


def close(a: list[np.ndarray], b: list[np.ndarray], tolerance: float = 1e-4) -> bool:
    return len(a) == len(b) and all(
        np.allclose(x, y, tolerance, tolerance, equal_nan=True) for x, y in zip(a, b, strict=True)
    )
