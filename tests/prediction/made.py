"""Small models with data, written as files and read back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kppstat.data import Dataset
from kppstat.data import load as load_data
from kppstat.onnx_io import Model, load


def made(
    folder: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    outputs: Sequence[str] = ("y",),
) -> tuple[Model, Dataset]:
    """Write and read a model of these nodes, from input x to the outputs, and its data."""

    def port(name: str) -> onnx.ValueInfoProto:
        shape = x.shape[1:] if name == "x" else ("classes",)
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])

    constants = [numpy_helper.from_array(np.asarray(v, np.float32), n) for n, v in weights.items()]
    graph = helper.make_graph(nodes, "g", [port("x")], [port(name) for name in outputs], constants)
    path = folder / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10), path)
    np.savez(folder / "m.npz", x=x.astype(np.float32), y=y)
    model = load(path)
    return model, load_data(folder / "m.npz", model)
