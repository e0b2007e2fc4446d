"""Power of crossbars: by hand, and against sampled devices behind a bent layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from kppstat.data import Dataset
from kppstat.errors import ModelError, NoiseError, SettingError
from kppstat.graph import Node
from kppstat.noise import Conductance, Encoded, Gaussian, Pair, Slices, Steps, Variation
from kppstat.onnx_io import Model
from kppstat.ops.moments import Moments
from kppstat.prediction.power import conductances, crossbar_power, power
from tests.prediction.made import made

N, FEATURES, HIDDEN, CLASSES = 40, 6, 12, 3
G_MAX, RESISTANCE, SIGMA = 2.0, 0.3, 0.05
PAIRS = Encoded((Pair(),), Gaussian(SIGMA))


X = np.random.default_rng(5).standard_normal((N, FEATURES))
Y = np.zeros(N, np.int64)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Dataset]:
    rng = np.random.default_rng(4)
    nodes = [
        helper.make_node("Gemm", ["x", "first", "bias"], ["a"], transB=1),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "second"], ["y"]),
    ]
    weights = {
        "first": rng.standard_normal((HIDDEN, FEATURES)) / 2,
        "bias": rng.standard_normal(HIDDEN),
        "second": rng.standard_normal((HIDDEN, CLASSES)) / 2,
    }
    return made(tmp_path_factory.mktemp("power"), nodes, weights, X, Y)


def test_one_weight_by_hand() -> None:
    """W = (3, -1), Gmax = 6, x = (2, 5): c = 2, so G+ = (6, 0), G- = (0, 2), I+ = 12, I- = 10; noise of 0.6 on each."""
    devices = conductances(Encoded((Pair(),), Gaussian(0.1)), np.array([[3.0], [-1.0]]), 6.0)
    found = crossbar_power(Node("MatMul", ("x", "w"), ("y",)), 1, np.array([[2.0, 5.0]]), devices, 0.5)
    resistive = 6 * 4 + 2 * 25
    amplified = 0.5 * (12**2 + 10**2 + 2 * 0.6**2 * (4 + 25))
    assert found == pytest.approx(resistive + amplified)


def test_a_random_voltage_counts_by_its_square() -> None:
    """x = 2 with variance 3 on G = 5 and 0: 5 * 7, and 25 * 7 in the amplifier."""
    x = Moments(np.array([[2.0]]), np.array([[3.0]]))
    devices = conductances(Encoded((Pair(),), Gaussian(0.0)), np.array([[-1.0]]), 5.0)
    assert crossbar_power(Node("MatMul", ("x", "w"), ("y",)), 1, x, devices) == pytest.approx(5 * 7 + 25 * 7)


def test_every_position_of_a_convolution_draws() -> None:
    """A kernel (1, -1) over (0, 1, 2, 3, 0): four positions, and the bias draws nothing."""
    x, w = np.array([[[1.0, 2.0, 3.0]]]), np.array([[[1.0, -1.0]]])
    devices = conductances(Encoded((Pair(),), Gaussian(0.0)), w)
    found = crossbar_power(Node("Conv", ("x", "w", "b"), ("y",), {"pads": [1, 1]}), 1, x, devices)
    assert found == pytest.approx((1 + 5 + 13 + 9) + (1 + 4 + 9) + (1 + 4 + 9))


def test_power_of_a_network_is_that_of_sampled_devices(network: tuple[Model, Dataset]) -> None:
    model, data = network
    found = power(model, data, Variation(PAIRS), g_max=G_MAX, resistance=RESISTANCE, inputs=N)
    rng = np.random.default_rng(6)
    x = data.batch(slice(None))["x"].astype(np.float64)
    sampled: dict[str, list[float]] = {"first": [], "second": []}

    def run(name: str, w: np.ndarray, v: np.ndarray) -> np.ndarray:
        c = G_MAX / np.abs(w).max()
        plus, minus = (np.maximum(s * c * w, 0) + G_MAX * SIGMA * rng.standard_normal(w.shape) for s in (1, -1))
        up, down = v @ plus, v @ minus
        drawn = (v**2 @ (plus + minus)).sum() + RESISTANCE * ((up**2).sum() + (down**2).sum())
        sampled[name].append(drawn / N)
        return (up - down) / c

    constants = model.graph.constants
    for _ in range(3000):
        hidden = np.maximum(run("first", constants["first"].T, x) + constants["bias"], 0)
        run("second", constants["second"], hidden)
    assert set(found) == set(sampled)
    for name, values in sampled.items():
        assert found[name] == pytest.approx(np.mean(values), rel=0.01)


def test_more_devices_draw_more(network: tuple[Model, Dataset]) -> None:
    """A clipped device that should be off conducts a little, and bit slices hold more devices that are on."""
    model, data = network
    usual = sum(power(model, data, Variation(PAIRS), inputs=8).values())
    assert sum(power(model, data, Variation(Conductance(SIGMA)), inputs=8).values()) > usual
    sliced = Encoded((Pair(), Slices(8, 2)), Gaussian(SIGMA))
    assert sum(power(model, data, Variation(sliced), inputs=8).values()) > 1.5 * usual
    # Rounding downwards takes from positive weights what it gives to negative ones: about as much.
    floored = Encoded((Steps(64, "floor"), Pair()), Gaussian(SIGMA))
    assert sum(power(model, data, Variation(floored), inputs=8).values()) == pytest.approx(usual, rel=0.05)


def test_refusals(network: tuple[Model, Dataset], tmp_path: Path) -> None:
    model, data = network
    with pytest.raises(NoiseError, match="on which devices"):
        power(model, data, Variation(Gaussian(0.1)))
    with pytest.raises(SettingError, match="g_max is 0"):
        power(model, data, Variation(PAIRS), g_max=0)
    turned = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    w = np.ones((FEATURES, CLASSES))
    two = [helper.make_node("MatMul", ["x", w], [y]) for w, y in (("w", "y"), ("aside", "z"))]
    with pytest.raises(ModelError, match="power of aside is not known"):
        power(*made(tmp_path, two, {"w": w, "aside": w}, X, Y, ("y", "z")), Variation(PAIRS))
    with pytest.raises(ModelError, match="power of MatMul is not defined"):
        power(*made(tmp_path, turned, {"w": w.T}, X, Y), Variation(PAIRS))
