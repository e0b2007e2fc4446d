"""The interpreter, against onnxruntime on real networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kppstat.errors import ModelError
from kppstat.graph import Graph, Node, Port
from kppstat.onnx_io import load
from kppstat.propagate import forward, last_uses, unsupported

MODELS = Path(__file__).parents[2].parent / "shared" / "models"
SHAPES = {
    "cifar10_lenet_mrfi": (2, 3, 32, 32),
    "cifar10_resnet8_mlperftiny": (2, 3, 32, 32),
    "crepe_tiny_pitch": (2, 1024),
    "imagenet_efficientnet_lite0": (2, 3, 224, 224),
    "magika_v1": (2, 1536),
    "mnist_cntk_zoo": (1, 1, 28, 28),
    "mnist_lenet5_clntrained": (2, 1, 28, 28),
    "textline_flip_ppocr_cls": (2, 3, 48, 192),
    "parse_only/basic_pitch_nmp": (1, 43844, 1),
    "parse_only/mtcnn_onet": (2, 3, 48, 48),
    "parse_only/oww_hey_mycroft_lstm": (2, 16, 96),
}


def session(path: Path) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def test_half_precision_beside_single_is_computed_in_single_by_both_libraries() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, b = rng.standard_normal((3, 4)).astype(np.float16), rng.standard_normal(2).astype(np.float16)
    w = rng.standard_normal((4, 2)).astype(np.float32)
    nodes = (Node("MatMul", ("x", "w"), ("a",)), Node("Add", ("a", "b"), ("y",)))
    graph = Graph(nodes, (Port("x", "float16", (None, 4)),), (Port("y", "float16", (None, 2)),), {"b": b, "w": w})
    expected = forward(graph, {"x": x}, {"w": w})["y"]
    varied = torch.from_numpy(w).requires_grad_()
    found = forward(graph, {"x": torch.from_numpy(x)}, {"w": varied})["y"]
    found.sum().backward()
    assert expected.dtype == np.float32
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(varied.grad[:, 0].numpy(), x.astype(np.float32).sum(axis=0), rtol=1e-5)
    half = forward(graph, {"x": torch.from_numpy(x)}, {"w": torch.from_numpy(w).half()})["y"]
    assert half.dtype == torch.float16


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("name", SHAPES)
def test_real_networks_compute_what_onnxruntime_computes(name: str, library: str) -> None:
    path = MODELS / f"{name}.onnx"
    if not path.exists():
        pytest.skip("the shared models are not here")
    graph = load(path).graph
    rng = np.random.default_rng(0)
    shape = SHAPES[name]
    x = rng.integers(0, 256, shape) if name == "magika_v1" else rng.standard_normal(shape)
    x = x.astype(np.float32)
    reference = session(path)
    expected = reference.run(None, {reference.get_inputs()[0].name: x})
    feed: Any = x
    if library == "torch":
        torch = pytest.importorskip("torch")
        feed = torch.from_numpy(x)
    results = forward(graph, {graph.inputs[0].name: feed})
    for port, wanted in zip(graph.outputs, expected, strict=True):
        assert np.abs(np.asarray(results[port.name]) - wanted).max() <= 1e-4 * max(np.abs(wanted).max(), 1e-30)


def linear(*nodes: Node) -> Graph:
    constants = {"w": np.array([[2.0]], np.float32)}
    return Graph(nodes, (Port("x", "float32", (None, 1)),), (Port("y", "float32", (None, 1)),), constants)


X = {"x": np.array([[3.0]], np.float32)}


def test_weights_are_replaced_by_name() -> None:
    graph = linear(Node("MatMul", ("x", "w"), ("y",)))
    assert forward(graph, X)["y"].item() == 6
    assert forward(graph, X, {"w": np.array([[5.0]], np.float32)})["y"].item() == 15


def test_gradients_reach_weights_in_torch() -> None:
    torch = pytest.importorskip("torch")
    w = torch.tensor([[2.0]], requires_grad=True)
    y = forward(linear(Node("MatMul", ("x", "w"), ("y",))), {"x": torch.tensor([[3.0]])}, {"w": w})["y"]
    y.backward()
    assert w.grad.item() == 3


def test_missing_operators_are_named_all_at_once() -> None:
    graph = linear(Node("Odd", ("x",), ("a",), name="first"), Node("Even", ("a",), ("y",), name="second"))
    assert [n.op for n in unsupported(graph)] == ["Odd", "Even"]
    with pytest.raises(ModelError, match=r"Odd \(1 node, first 'first'\), Even \(1 node, first 'second'\)"):
        forward(graph, X)


def test_a_shape_that_does_not_fit_names_the_node() -> None:
    graph = linear(Node("MatMul", ("x", "w"), ("y",), name="fc"))
    with pytest.raises(ModelError, match=r"^node 'fc': MatMul failed on inputs of shape \(1, 2\), \(1, 1\)"):
        forward(graph, {"x": np.zeros((1, 2), np.float32)})


def test_an_attribute_that_is_not_known_names_the_node() -> None:
    graph = linear(Node("Relu", ("x",), ("y",), {"odd": 1}, name="r"))
    with pytest.raises(ModelError, match="node 'r': attribute odd of operator Relu"):
        forward(graph, X)


def test_a_missing_input_is_named() -> None:
    with pytest.raises(ModelError, match="input x is not given"):
        forward(linear(Node("Relu", ("x",), ("y",))), {})


def test_values_are_freed_after_their_last_use() -> None:
    graph = linear(Node("Relu", ("x",), ("a",)), Node("Add", ("a", "x"), ("b",)), Node("Relu", ("b",), ("y",)))
    assert last_uses(graph) == [[], ["a", "x"], ["b"]]
    assert last_uses(graph, ["a"]) == [[], ["x"], ["b"]]
    assert set(forward(graph, X, keep=["a"])) == {"y", "a"}


def test_if_takes_the_branch_of_its_condition() -> None:
    def body(op: str) -> Graph:
        return Graph((Node(op, ("x",), ("r",)),), (), (Port("r", "float32", None),), {})

    node = Node("If", ("flag",), ("y",), {"then_branch": body("Neg"), "else_branch": body("Identity")})
    graph = linear(node)
    for flag, expected in ((True, -3), (False, 3)):
        assert forward(graph, X, {"flag": np.array(flag)})["y"].item() == expected


def test_a_wider_float_type_is_used_throughout() -> None:
    graph = linear(Node("MatMul", ("x", "w"), ("y",)))
    assert forward(graph, X, dtype="float64")["y"].dtype == np.float64
