"""The node tests that ship with ONNX, for every registered operator."""

from __future__ import annotations

import warnings
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from kppstat.array import to_numpy
from kppstat.graph import Graph
from kppstat.onnx_io.to_graph import graph_of
from kppstat.ops import lookup
from kppstat.propagate import forward, unsupported

SMALL = {"FLOAT", "DOUBLE", "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"}

# Tests that name a registered operator and yet are not expected to pass, and why. A star stands for anything.
EXCLUDED = {
    "test_training_dropout*": "a network on hardware infers; training mode is refused",
    "test_dropout_random_old": "dropout of opset 7 in training mode",
    "test_quantizelinear_blocked_symmetric": "int4 results do not exist in NumPy",
    "test_resize_downsample_scales_linear_align_corners": "onnxruntime rounds the new length down first",
    "test_resize_downsample_scales_cubic_align_corners": "onnxruntime rounds the new length down first",
}


def to_graph(model: onnx.ModelProto) -> Graph:
    return graph_of(model.graph, {t.name: numpy_helper.to_array(t) for t in model.graph.initializer})


def plain(model: onnx.ModelProto) -> bool:
    """All values that go in and out are tensors of a dtype that NumPy has."""
    names = {i: n for n, i in onnx.TensorProto.DataType.items()}
    return all(
        v.type.HasField("tensor_type") and names[v.type.tensor_type.elem_type] in SMALL
        for v in [*model.graph.input, *model.graph.output]
    )


def excluded(name: str, patterns: dict[str, str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def applicable() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests = [t for t in load_model_tests(kind="node") if t.model is not None and t.model.graph.node]
    return [
        t
        for t in tests
        if plain(t.model)
        and not t.model.functions
        and any(lookup(n.op_type, n.domain) for n in t.model.graph.node)
        and not unsupported(to_graph(t.model))
    ]


CASES = applicable()


def value(x: Any) -> np.ndarray:
    return numpy_helper.to_array(x) if isinstance(x, onnx.TensorProto) else np.asarray(x)


def run(test: Any, convert: Any = lambda x: x) -> None:
    graph = to_graph(test.model)
    for inputs, outputs in test.data_sets:
        ports = test.model.graph.input
        feeds = {p.name: convert(value(x)) for p, x in zip(ports, inputs, strict=False)}
        results = forward(graph, feeds)
        for port, expected in zip(graph.outputs, outputs, strict=True):
            got, wanted = to_numpy(results[port.name]), value(expected)
            assert got.shape == wanted.shape
            assert got.dtype == wanted.dtype
            np.testing.assert_allclose(got, wanted, rtol=max(test.rtol, 1e-3), atol=max(test.atol, 1e-6))


@pytest.mark.parametrize("test", [t for t in CASES if not excluded(t.name, EXCLUDED)], ids=lambda t: t.name)
def test_node(test: Any) -> None:
    run(test)


# In torch: operators on floating-point values (its integer types lack some arithmetic, its shapes come as NumPy).
TORCH_EXCLUDED = {
    "test_reduce_max_empty_set": "torch has no maximum of nothing",
    "test_reduce_min_empty_set": "torch has no minimum of nothing",
    "test_scatter*_mul*": "torch writes and adds, other reductions are refused",
    "test_scatter*_max*": "torch writes and adds, other reductions are refused",
    "test_scatter*_min*": "torch writes and adds, other reductions are refused",
}


def floating(test: Any) -> bool:
    return test.model.graph.input and test.model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


@pytest.mark.parametrize(
    "test",
    [t for t in CASES if floating(t) and not excluded(t.name, EXCLUDED | TORCH_EXCLUDED)],
    ids=lambda t: t.name,
)
def test_node_in_torch(test: Any) -> None:
    torch = pytest.importorskip("torch")
    run(test, lambda x: torch.from_numpy(x.copy()) if x.dtype == np.float32 else x)
