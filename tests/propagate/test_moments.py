"""The pass of moments on whole networks: exact where the answer is known, else against sampled instances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kppstat.errors import ModelError
from kppstat.graph import Graph, Node, Port
from kppstat.propagate import calibrate, forward, moments, passages, without_rule
from kppstat.propagate.rewrite import maxima_first

Weights = dict[str, tuple[np.ndarray, np.ndarray]]


def network(nodes: list[Node], constants: dict[str, np.ndarray]) -> Graph:
    return Graph(tuple(nodes), (Port("x", "float64", None),), (Port("y", "float64", None),), constants)


def noisy(graph: Graph, names: list[str], spread: float) -> Weights:
    return {
        n: (graph.constants[n], np.full(graph.constants[n].shape, (spread * np.abs(graph.constants[n]).max()) ** 2))
        for n in names
    }


def instances(weights: Weights, count: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield {n: m + np.sqrt(v) * rng.standard_normal(m.shape) for n, (m, v) in weights.items()}


def residual_network(rng: np.random.Generator) -> Graph:
    """Two convolutions around a branch, a pool, a linear layer."""
    nodes = [
        Node("Conv", ("x", "w1"), ("a",), {"pads": (1, 1, 1, 1)}),
        Node("Relu", ("a",), ("b",)),
        Node("Conv", ("b", "w2"), ("c",), {"pads": (1, 1, 1, 1)}),
        Node("Add", ("b", "c"), ("d",)),
        Node("Relu", ("d",), ("e",)),
        Node("MaxPool", ("e",), ("f",), {"kernel_shape": (2, 2), "strides": (2, 2)}),
        Node("GlobalAveragePool", ("f",), ("g",)),
        Node("Flatten", ("g",), ("h",)),
        Node("Gemm", ("h", "w3"), ("y",)),
    ]
    constants = {
        "w1": rng.standard_normal((6, 2, 3, 3)) / 4,
        "w2": rng.standard_normal((6, 6, 3, 3)) / 8,
        "w3": rng.standard_normal((6, 4)),
    }
    return network(nodes, constants)


def test_a_linear_layer_is_exact() -> None:
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((3, 2)), rng.standard_normal((5, 3))
    graph = network([Node("MatMul", ("x", "w"), ("y",))], {"w": w})
    variance = rng.uniform(0, 1, w.shape)
    spread = moments(graph, {"x": x}, {"w": (w, variance)}, dtype="float64").spread()
    np.testing.assert_allclose(spread.mean, x @ w)
    np.testing.assert_allclose(spread.var, x**2 @ variance)
    np.testing.assert_allclose(spread.by_weight["w"], spread.var)


def test_a_weight_shared_over_positions_is_exact() -> None:
    """The mean over positions of a convolution: Var = sum of var(w) times the squared mean of the patches."""
    rng = np.random.default_rng(1)
    graph = network(
        [Node("Conv", ("x", "w"), ("a",)), Node("GlobalAveragePool", ("a",), ("y",))],
        {"w": rng.standard_normal((2, 1, 3))},
    )
    x = rng.standard_normal((4, 1, 9))
    weights = noisy(graph, ["w"], 0.1)
    passage = moments(graph, {"x": x}, weights, dtype="float64")
    patches = np.lib.stride_tricks.sliding_window_view(x[:, 0], 3, axis=1).mean(1)
    expected = (patches**2).sum(1) * weights["w"][1].flat[0]
    np.testing.assert_allclose(passage.spread().var, np.stack([expected, expected], 1))


def test_a_branch_that_meets_its_trunk_is_exact() -> None:
    nodes = [Node("MatMul", ("x", "w"), ("a",)), Node("Add", ("a", "a"), ("y",))]
    graph = network(nodes, {"w": np.array([[2.0]])})
    spread = moments(graph, {"x": np.array([[3.0]])}, {"w": (np.array([[2.0]]), np.array([[0.25]]))}).spread()
    assert spread.mean.item() == pytest.approx(12)
    assert spread.var.item() == pytest.approx(4 * 9 * 0.25, rel=1e-4)


def test_an_activation_in_parts_is_one_function() -> None:
    """x * sigmoid(x) from two nodes has the moments of Swish, not of independent factors."""
    w = np.array([[0.4]])
    x = {"x": np.array([[1.0]])}
    weights = {"w": (w, np.array([[1.0]]))}
    first = Node("MatMul", ("x", "w"), ("a",))
    parts = [first, Node("Sigmoid", ("a",), ("s",)), Node("Mul", ("a", "s"), ("y",))]
    whole = [first, Node("Swish", ("a",), ("y",))]
    a, b = (moments(network(n, {"w": w}), x, weights, dtype="float64").spread() for n in (parts, whole))
    np.testing.assert_allclose(a.mean, b.mean)
    np.testing.assert_allclose(a.var, b.var)


def test_without_noise_it_is_the_network() -> None:
    rng = np.random.default_rng(2)
    graph = residual_network(rng)
    x = {"x": rng.standard_normal((3, 2, 6, 6))}
    spread = moments(graph, x, noisy(graph, ["w1", "w2", "w3"], 0.0), dtype="float64").spread()
    np.testing.assert_allclose(spread.mean, forward(graph, x)["y"], atol=1e-6)
    assert spread.var.max() < 1e-12


def test_small_noise_gives_the_exact_first_order_variance() -> None:
    rng = np.random.default_rng(3)
    graph = residual_network(rng)
    x = {"x": rng.standard_normal((3, 2, 6, 6))}
    weights = noisy(graph, ["w1", "w2", "w3"], 1e-5)
    spread = moments(graph, x, weights, dtype="float64").spread()
    expected = np.zeros((3, 4))
    clean = forward(graph, x)["y"]
    for name, (mean, var) in weights.items():  # one weight after the other
        for i in range(mean.size):
            moved = mean.copy()
            moved.flat[i] += 1e-7
            slope = (forward(graph, x, {name: moved})["y"] - clean) / 1e-7
            expected += slope**2 * var.flat[i]
    np.testing.assert_allclose(spread.var, expected, rtol=0.02)


def test_moments_of_a_residual_network_match_sampled_instances() -> None:
    rng = np.random.default_rng(4)
    graph = residual_network(rng)
    x = {"x": rng.standard_normal((6, 2, 6, 6))}
    weights = noisy(graph, ["w1", "w2", "w3"], 0.08)
    calibration = calibrate(graph, x, weights, instances(weights, 64, seed=1))
    passage = moments(graph, x, weights, correct=calibration.correct, pair_scale=calibration.pair_scale)
    spread = passage.spread()
    drawn = np.stack([forward(graph, x, w)["y"] for w in instances(weights, 1500, seed=2)])
    sd = drawn.std(0)
    assert np.sqrt((((spread.mean - drawn.mean(0)) / sd) ** 2).mean()) < 0.12
    assert np.sqrt(spread.var.mean() / (sd**2).mean()) == pytest.approx(1, abs=0.05)
    per_element = passage.table["y"].var
    assert sum(spread.by_weight.values()).shape == per_element.shape


def attention_network(rng: np.random.Generator) -> Graph:
    """One head; the inputs move to another axis and back, as exported transformers do."""
    nodes = [
        Node("LayerNormalization", ("x", "one"), ("n",)),
        Node("MatMul", ("n", "wqkv"), ("qkv",)),
        Node("Reshape", ("qkv", "parts"), ("r",)),
        Node("Transpose", ("r",), ("t",), {"perm": (2, 0, 1, 3)}),
        *(Node("Gather", ("t", str(i)), (name,), {"axis": 0}) for i, name in enumerate("qkv")),
        Node("Transpose", ("k",), ("kt",), {"perm": (0, 2, 1)}),
        Node("MatMul", ("q", "kt"), ("scores",)),
        Node("Softmax", ("scores",), ("p",)),
        Node("MatMul", ("p", "v"), ("mixed",)),
        Node("Add", ("mixed", "x"), ("sum",)),
        Node("ReduceMean", ("sum", "1"), ("pooled",), {"keepdims": 0}),
        Node("MatMul", ("pooled", "wo"), ("y",)),
    ]
    constants: dict[str, np.ndarray] = {
        "one": np.ones(4),
        "parts": np.array([0, 0, 3, 4]),
        "wqkv": rng.standard_normal((4, 12)) / 2,
        "wo": rng.standard_normal((4, 3)),
        **{str(i): np.array(i) for i in range(3)},
    }
    return network(nodes, constants)


def test_attention_matches_sampled_instances() -> None:
    rng = np.random.default_rng(5)
    graph = attention_network(rng)
    x = {"x": rng.standard_normal((5, 6, 4))}
    weights = noisy(graph, ["wqkv", "wo"], 0.05)
    spread = moments(graph, x, weights).spread()
    drawn = np.stack([forward(graph, x, w)["y"] for w in instances(weights, 1500)])
    assert np.abs((spread.mean - drawn.mean(0)) / drawn.std(0)).max() < 0.25
    assert np.sqrt(spread.var.mean() / drawn.var(0).mean()) == pytest.approx(1, abs=0.05)


def test_groups_of_inputs_do_not_matter() -> None:
    rng = np.random.default_rng(6)
    graph = attention_network(rng)
    x = {"x": rng.standard_normal((5, 6, 4))}
    weights = noisy(graph, ["wqkv", "wo"], 0.05)
    whole = moments(graph, x, weights, dtype="float64").spread()
    for rows, passage in passages(graph, x, weights, size=2, dtype="float64"):
        np.testing.assert_allclose(passage.spread().var, whole.var[rows], rtol=1e-6)
        np.testing.assert_allclose(passage.spread().mean, whole.mean[rows], rtol=1e-6)


def test_a_network_that_mixes_rows_is_taken_one_input_at_a_time() -> None:
    rng = np.random.default_rng(7)
    nodes = [
        Node("Transpose", ("x",), ("t",), {"perm": (1, 0, 2)}),
        Node("MatMul", ("t", "w"), ("a",)),
        Node("Relu", ("a",), ("b",)),
        Node("Transpose", ("b",), ("c",), {"perm": (1, 0, 2)}),
        Node("MatMul", ("c", "v"), ("d",)),
        Node("ReduceSum", ("b", "0"), ("e",), {"keepdims": 0}),
        Node("MatMul", ("e", "v"), ("y",)),
    ]
    constants = {"w": rng.standard_normal((3, 4)), "v": rng.standard_normal((4, 2)), "0": np.array([0])}
    graph = network(nodes, constants)
    x = {"x": rng.standard_normal((2, 5, 3))}
    groups = list(passages(graph, x, noisy(graph, ["w", "v"], 0.1)))
    assert [rows for rows, _ in groups] == [slice(0, 1), slice(1, 2)]


def test_torch_gives_the_same() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(8)
    graph = residual_network(rng)
    x = rng.standard_normal((3, 2, 6, 6))
    weights = noisy(graph, ["w1", "w2", "w3"], 0.05)
    as_torch = {n: (torch.from_numpy(m), torch.from_numpy(v)) for n, (m, v) in weights.items()}
    ours = moments(graph, {"x": x}, weights, dtype="float64").spread()
    theirs = moments(graph, {"x": torch.from_numpy(x)}, as_torch, dtype="float64").spread()
    np.testing.assert_allclose(theirs.mean.numpy(), ours.mean, rtol=1e-9)
    np.testing.assert_allclose(theirs.var.numpy(), ours.var, rtol=1e-9)


def test_gradients_of_a_predicted_variance_agree_with_differences() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(9)
    graph = residual_network(rng)
    x = {"x": torch.from_numpy(rng.standard_normal((2, 2, 6, 6)))}

    def total(w1: Any) -> Any:
        moving = {n: (torch.from_numpy(m), torch.from_numpy(v)) for n, (m, v) in fixed.items()}
        moving["w1"] = (w1, moving["w1"][1])
        return moments(graph, x, moving, dtype="float64").spread().var.sum()

    fixed = noisy(graph, ["w1", "w2", "w3"], 0.05)
    w = torch.from_numpy(graph.constants["w1"].copy()).requires_grad_()
    total(w).backward()
    direction = torch.from_numpy(rng.standard_normal(tuple(w.shape)))
    with torch.no_grad():
        slope = (total(w + 1e-5 * direction) - total(w - 1e-5 * direction)) / 2e-5
    assert (w.grad * direction).sum().item() == pytest.approx(slope.item(), rel=1e-3)


def test_operators_without_a_rule_are_named_all_at_once() -> None:
    nodes = [
        Node("MatMul", ("x", "w"), ("a",)),
        Node("TopK", ("a", "k"), ("b", "i"), name="best"),
        Node("Floor", ("b",), ("y",), name="down"),
    ]
    graph = network(nodes, {"w": np.ones((2, 2)), "k": np.array([1])})
    assert [n.op for n in without_rule(graph, {"w"})] == ["TopK", "Floor"]
    assert without_rule(graph, set()) == []
    with pytest.raises(ModelError, match=r"TopK \(1 node, first 'best'\), Floor .* Sampling works on it"):
        moments(graph, {"x": np.ones((1, 2))}, noisy(graph, ["w"], 0.1))


def test_parameters_that_vary_unusually_are_refused_by_name() -> None:
    nodes = [
        Node("MatMul", ("x", "w"), ("a",)),
        Node("ReduceMean", ("a", "0"), ("m",), {"keepdims": 0}),
        Node("BatchNormalization", ("a", "one", "one", "m", "one"), ("y",), name="bn"),
    ]
    graph = network(nodes, {"w": np.ones((2, 2)), "one": np.ones(2), "0": np.array([0])})
    with pytest.raises(ModelError, match="node 'bn': BatchNormalization with statistics that depend on the weights"):
        moments(graph, {"x": np.ones((1, 2))}, noisy(graph, ["w"], 0.1))


def test_an_output_that_does_not_vary_says_so() -> None:
    nodes = [Node("MatMul", ("x", "w"), ("a",)), Node("Relu", ("x",), ("y",))]
    graph = network(nodes, {"w": np.ones((2, 2))})
    with pytest.raises(ModelError, match="output y does not depend on any weight"):
        moments(graph, {"x": np.ones((1, 2))}, noisy(graph, ["w"], 0.1)).spread()


def test_maxima_go_before_rising_functions_only() -> None:
    pool = {"kernel_shape": (2,)}
    rising = [Node("Relu", ("x",), ("a",)), Node("Sigmoid", ("a",), ("b",)), Node("MaxPool", ("b",), ("y",), pool)]
    graph = network(rising, {})
    moved = maxima_first(graph)
    assert [n.op for n in moved.nodes] == ["MaxPool", "Relu", "Sigmoid"]
    x = {"x": np.random.default_rng(0).standard_normal((1, 1, 6))}
    np.testing.assert_allclose(forward(moved, x)["y"], forward(graph, x)["y"])
    falling = [Node("LeakyRelu", ("x",), ("a",), {"alpha": -0.5}), Node("MaxPool", ("a",), ("y",), pool)]
    assert [n.op for n in maxima_first(network(falling, {})).nodes] == ["LeakyRelu", "MaxPool"]
    read_twice = [*rising[:1], Node("MaxPool", ("a",), ("m",), pool), Node("Concat", ("a", "m"), ("y",), {"axis": 2})]
    assert [n.op for n in maxima_first(network(read_twice, {})).nodes] == ["Relu", "MaxPool", "Concat"]
