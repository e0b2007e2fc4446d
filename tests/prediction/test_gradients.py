"""Gradients of the predicted KPP against finite differences, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from kppstat.data import Dataset
from kppstat.errors import NoiseError, SettingError
from kppstat.graph import Graph, Node, Port
from kppstat.noise import Correlated, Gaussian, Variation
from kppstat.onnx_io import Model
from kppstat.prediction import KppGradients, gaussian_depth, kpp_gradients, smooth_accuracy
from kppstat.prediction.smooth import accuracy, drawn
from tests.prediction.made import made

torch = pytest.importorskip("torch")

Arrays = dict[str, np.ndarray]


def convolutional(rng: np.random.Generator) -> tuple[Graph, Arrays]:
    """A convolution, a branch, a pool with maxima, a linear layer; three classes."""
    nodes = (
        Node("Conv", ("x", "w1"), ("a",), {"pads": (1, 1, 1, 1)}),
        Node("Relu", ("a",), ("b",)),
        Node("MaxPool", ("b",), ("c",), {"kernel_shape": (2, 2), "strides": (2, 2)}),
        Node("Conv", ("c", "w2"), ("d",), {"pads": (1, 1, 1, 1)}),
        Node("Add", ("c", "d"), ("e",)),
        Node("HardSwish", ("e",), ("f",)),
        Node("Flatten", ("f",), ("g",)),
        Node("Gemm", ("g", "w3"), ("y",), {"transB": 1}),
    )
    constants = {
        "w1": rng.standard_normal((3, 1, 3, 3)) / 2,
        "w2": rng.standard_normal((3, 3, 3, 3)) / 3,
        "w3": rng.standard_normal((3, 12)),
    }
    return Graph(nodes, (Port("x", "float64", None),), (Port("y", "float64", None),), constants), constants


def objective(graph: Graph, x: np.ndarray, y: np.ndarray, w: Mapping[str, Any], v: Mapping[str, Any]) -> Any:
    smooth = smooth_accuracy(graph, {"x": x}, y, {n: (w[n], v[n]) for n in w}, dtype="float64")
    return smooth.kpp(gaussian_depth(1))


def test_the_objective_differentiates_like_its_differences() -> None:
    rng = np.random.default_rng(0)
    graph, w = convolutional(rng)
    x, y = rng.standard_normal((12, 1, 4, 4)), rng.integers(0, 3, 12)
    v = {n: rng.uniform(0.5, 1.5, a.shape) * (0.1 * np.abs(a).max()) ** 2 for n, a in w.items()}
    values = {n: torch.tensor(a, requires_grad=True) for n, a in w.items()}
    spreads = {n: torch.tensor(a, requires_grad=True) for n, a in v.items()}
    result = objective(graph, x, y, values, spreads)
    # NumPy and torch agree.
    assert float(result.detach()) == pytest.approx(float(objective(graph, x, y, w, v)), abs=1e-9)
    result.backward()
    for leaves, arrays, other in ((values, w, False), (spreads, v, True)):
        for name, array in arrays.items():
            direction = rng.standard_normal(array.shape)
            step = 1e-5 * np.abs(array).max()
            ends = []
            for sign in (1, -1):
                moved = {**arrays, name: array + sign * step * direction}
                ends.append(float(objective(graph, x, y, w, moved) if other else objective(graph, x, y, moved, v)))
            expected = (ends[0] - ends[1]) / (2 * step)
            found = float((leaves[name].grad * torch.tensor(direction)).sum())
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("scale", [-1.5, np.array([[[0.5]], [[2.0]]])])
def test_a_maximum_of_scaled_values_is_the_same_in_both_libraries(scale: Any) -> None:
    """Between a convolution and a pool: one factor for all elements, or one for each channel."""
    rng = np.random.default_rng(3)
    nodes = (
        Node("Conv", ("x", "w"), ("a",)),
        Node("Mul", ("a", "scale"), ("b",)),
        Node("MaxPool", ("b",), ("c",), {"kernel_shape": (2, 2), "strides": (2, 2)}),
        Node("Flatten", ("c",), ("y",)),
    )
    w = {"w": rng.standard_normal((2, 1, 3, 3))}
    constants = {**w, "scale": np.asarray(scale, np.float64)}
    graph = Graph(nodes, (Port("x", "float64", None),), (Port("y", "float64", None),), constants)
    x, y, v = rng.standard_normal((6, 1, 6, 4)), rng.integers(0, 2, 6), {"w": np.full((2, 1, 3, 3), 0.04)}
    leaves = {n: torch.tensor(a, requires_grad=True) for n, a in w.items()}
    result = objective(graph, x, y, leaves, {n: torch.tensor(a) for n, a in v.items()})
    assert float(result.detach()) == pytest.approx(float(objective(graph, x, y, w, v)), abs=1e-9)


def test_the_spread_of_the_accuracy_is_that_of_drawn_margins() -> None:
    rng = np.random.default_rng(1)
    factors = (rng.standard_normal((60, 8)) + 1.5 * np.eye(8)[0]) * rng.uniform(0.3, 1.2, (60, 1))
    mean, covariance = rng.normal(0.8, 1.0, 60), factors @ factors.T
    weights = np.full(60, 1 / 60)
    right = (mean[:, None] + factors @ rng.standard_normal((8, 200_000))) > 0
    smooth = accuracy(mean, covariance, weights, 0.0, 60)
    assert smooth.mean == pytest.approx(right.mean(), abs=1e-3)
    assert smooth.sd == pytest.approx((weights @ right).std(), rel=0.01)
    values = drawn(mean, covariance, weights, 0.0, 50_000, 0)
    assert np.quantile(values, 0.01) == pytest.approx(np.quantile(weights @ right, 0.01), abs=0.012)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Dataset]:
    """Clusters, random features, a least-squares read-out."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)
    x = (1.2 * rng.standard_normal((3, 8))[y] + rng.standard_normal((400, 8))).astype(np.float32)
    w1 = rng.standard_normal((8, 16)) / 3
    w2 = np.linalg.lstsq(np.maximum(x @ w1, 0), np.eye(3)[y], rcond=None)[0]
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["y"]),
    ]
    return made(tmp_path_factory.mktemp("gradients"), nodes, {"w1": w1, "w2": w2}, x, y)


@pytest.fixture(scope="module")
def found(trained: tuple[Model, Dataset]) -> KppGradients:
    model, data = trained
    return kpp_gradients(model, Variation(Gaussian(0.06)), data, 5, inputs=400)


def test_they_come_with_the_prediction(trained: tuple[Model, Dataset], found: KppGradients) -> None:
    assert found.kpp == pytest.approx(found.mean - found.depth * found.sd)
    assert 1.2 < found.depth < 2.5
    for w in trained[0].weights:
        assert found.by_value[w.name].shape == found.by_variance[w.name].shape == w.shape
    assert set(found.by_sigma) == {"w1", "w2"}
    assert found.guarantee == "none"


def test_without_noise_nothing_spreads(trained: tuple[Model, Dataset]) -> None:
    model, data = trained
    found = kpp_gradients(model, Variation(Gaussian(0.0)), data, 5, inputs=40)
    assert found.sd == pytest.approx(0, abs=1e-6)
    assert np.isfinite(found.kpp)
    assert all(np.isfinite(v).all() for v in found.by_value.values())


def test_sigma_is_the_sum_over_variances(trained: tuple[Model, Dataset], found: KppGradients) -> None:
    for w in trained[0].weights:
        expected = found.by_variance[w.name].sum() * 2 * 0.06 * w.max_abs**2
        assert found.by_sigma[w.name] == pytest.approx(expected, rel=1e-3)


def test_sigma_differentiates_like_the_difference_of_two_predictions(
    trained: tuple[Model, Dataset], found: KppGradients
) -> None:
    """The calibration changes a little with sigma, so the difference is nearly the derivative."""
    model, data = trained
    ends = []
    for s in (0.055, 0.065):
        there = kpp_gradients(model, Variation(Gaussian(0.06), {"w2": Gaussian(s)}), data, 5, inputs=400)
        ends.append(there.mean - found.depth * there.sd)
    assert found.by_sigma["w2"] == pytest.approx((ends[1] - ends[0]) / 0.01, rel=0.3, abs=0.02)


def test_a_largest_weight_pays_for_the_deviations_of_its_tensor(found: KppGradients) -> None:
    """Every variance is (sigma max|W|)^2, so the largest weight carries all of them."""
    value, variance = found.by_value["w1"], found.by_variance["w1"]
    assert np.isfinite(value).all()
    assert variance.sum() < 0


def test_refusals(trained: tuple[Model, Dataset]) -> None:
    model, data = trained
    with pytest.raises(SettingError, match="k is 0"):
        kpp_gradients(model, Variation(Gaussian(0.1)), data, 0)
    with pytest.raises(SettingError, match="at least 2"):
        kpp_gradients(model, Variation(Gaussian(0.1)), data, inputs=1)
    with pytest.raises(NoiseError, match="correlates them"):
        kpp_gradients(model, Variation(Correlated(Gaussian(0.1), tensor=0.2)), data)


def test_without_torch_it_says_what_to_install(
    trained: tuple[Model, Dataset], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(SettingError, match=r"kppstat\[train\]"):
        kpp_gradients(trained[0], Variation(Gaussian(0.1)), trained[1])
