"""Output MSE of quantised and noisy weights against sampled instances of a small network."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from kppstat.data import Dataset
from kppstat.noise import Encoded, Gaussian, NoiseModel, Pair, Steps, Variation, normals
from kppstat.onnx_io import Model
from kppstat.prediction import predict
from kppstat.prediction.logits import Logits
from kppstat.prediction.mse import mse, towards_all
from kppstat.propagate import forward
from tests.prediction.made import made

N, FEATURES, HIDDEN, CLASSES = 96, 10, 20, 3
COARSE = Encoded((Steps(16, "floor"), Pair()), Gaussian(0.03))
EXACT = Gaussian(0.0)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Dataset]:
    rng = np.random.default_rng(3)
    weights = {
        "first": rng.standard_normal((FEATURES, HIDDEN)) / 3,
        "second": rng.standard_normal((HIDDEN, CLASSES)) / 3,
    }
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "second"], ["y"]),
    ]
    x, y = rng.standard_normal((N, FEATURES)), rng.integers(0, CLASSES, N)
    return made(tmp_path_factory.mktemp("mse"), nodes, weights, x, y)


def deviations(model: Model, data: Dataset, variation: Variation, count: int) -> np.ndarray:
    """Return the deviations of all logits from those of the intended weights, shape (count, n, classes)."""
    inputs = data.batch(slice(None))
    intended = forward(model.graph, inputs)["y"]
    found = []
    for i in range(count):
        weights = {}
        for w in model.weights:
            law, value = variation.of(w.name), model.graph.constants[w.name]
            weights[w.name] = law.weights(value, normals(1, i, w.position, law.draws(value.shape)))
        found.append(forward(model.graph, inputs, weights)["y"] - intended)
    return np.stack(found)


@pytest.mark.parametrize("noise", [COARSE, Gaussian(0.05)])
def test_mse_counts_noise_and_quantisation(network: tuple[Model, Dataset], noise: NoiseModel) -> None:
    model, data = network
    prediction = predict(model, data, Variation(noise), inputs=N, draws=64)
    truth = deviations(model, data, Variation(noise), 3000)
    shift, variance = (truth.mean(axis=0) ** 2).mean(), truth.var(axis=0).mean()
    assert prediction.mse == pytest.approx(shift + variance, rel=0.05)
    if noise is COARSE:  # neither part alone would do
        assert min(shift, variance) > 0.2 * prediction.mse


def test_quantisation_alone_is_a_shift(network: tuple[Model, Dataset]) -> None:
    model, data = network
    variation = Variation(Encoded((Steps(10, "floor"), Pair()), Gaussian(0.0)))
    prediction = predict(model, data, variation, inputs=N, draws=64)
    truth = float((deviations(model, data, variation, 1) ** 2).mean())
    assert truth > 0.001
    assert prediction.mse == pytest.approx(truth, rel=1e-4)
    assert prediction.sd == pytest.approx(0, abs=1e-9)


def test_mse_of_a_weight_is_what_it_alone_brings(network: tuple[Model, Dataset]) -> None:
    model, data = network
    prediction = predict(model, data, Variation(COARSE), inputs=N, draws=64)
    assert list(prediction.mse_by_weight) == ["first", "second"]
    for name, alone in prediction.mse_by_weight.items():
        truth = deviations(model, data, Variation(EXACT, {name: COARSE}), 2000)
        assert alone == pytest.approx((truth**2).mean(), rel=0.06)
    assert prediction.to_dict()["mse_by_weight"] == prediction.mse_by_weight


def test_a_rougher_mse_on_more_inputs_corrects_that_on_a_few() -> None:
    """Where the rougher one is in proportion to the exact one, the corrected value is that of all inputs."""
    rng = np.random.default_rng(0)
    each = rng.gamma(2.0, size=(200, 3))
    columns = np.broadcast_to(np.arange(3), each.shape).copy()
    mean = np.zeros_like(each)
    whole = Logits(mean, columns, np.ones((200, 3, 1)), each, {}, np.zeros_like(each), rough=0.4 * each)
    few = whole.take(np.arange(10))
    weights = np.full(200, 1 / 200)
    factor = towards_all(few, mean[:10], whole, mean, weights, columns)
    assert abs(mse(few, mean[:10]) / each.mean() - 1) > 0.02
    assert factor * mse(few, mean[:10]) == pytest.approx(each.mean(), rel=1e-9)
