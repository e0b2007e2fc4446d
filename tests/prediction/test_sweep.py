"""Several sigmas that share derivatives against each by itself."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from kppstat.data import Dataset
from kppstat.data import load as load_data
from kppstat.demo import MODEL
from kppstat.errors import SettingError
from kppstat.noise import Gaussian
from kppstat.onnx_io import Model, load
from kppstat.prediction import predict, predict_sweep, split
from kppstat.prediction.ground import Ground
from kppstat.prediction.logits import Logits, between, logits
from tests.prediction.made import made

SIGMAS = (0.02, 0.03, 0.04, 0.06, 0.1)
CLASSES, FEATURES, HIDDEN = 3, 8, 16


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Dataset]:
    """Clusters, random features, a least-squares read-out."""
    rng = np.random.default_rng(2)
    y = rng.integers(0, CLASSES, 1000)
    x = (1.3 * rng.standard_normal((CLASSES, FEATURES))[y] + rng.standard_normal((1000, FEATURES))).astype(np.float32)
    w1 = rng.standard_normal((FEATURES, HIDDEN)) / 3
    w2 = np.linalg.lstsq(np.maximum(x @ w1, 0), np.eye(CLASSES)[y], rcond=None)[0]
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["y"]),
    ]
    return made(tmp_path_factory.mktemp("sweep"), nodes, {"w1": w1, "w2": w2}, x, y)


def test_derivatives_at_three_sigmas_tell_those_between(few_inputs: Path) -> None:
    model = load(MODEL)
    data = load_data(str(few_inputs), model)
    head, _ = split(model.graph)
    rows, columns = np.arange(12), np.tile(np.arange(3), (12, 1))

    def law(sigma: float) -> Logits:
        weights = {w.name: Gaussian(sigma).moments(model.graph.constants[w.name]) for w in model.weights}
        return logits(head, data.batch(rows), weights, None, columns=columns)

    nodes = {s: law(s) for s in (0.02, 0.05, 0.08)}
    for sigma in (0.03, 0.065):
        own, shared = law(sigma), between(nodes, sigma)
        np.testing.assert_allclose(np.sqrt(shared.var), np.sqrt(own.var), rtol=0.05)
        assert np.sqrt(shared.var).sum() == pytest.approx(np.sqrt(own.var).sum(), rel=0.005)
        flat = [(x.features * np.sqrt(x.smooth)[..., None]).reshape(36, -1) for x in (own, shared)]
        apart = flat[0] @ flat[0].T - flat[1] @ flat[1].T
        assert np.linalg.norm(apart) < 0.05 * np.linalg.norm(flat[0] @ flat[0].T)
        assert np.abs(shared.mean - own.mean).mean() < 0.05 * np.sqrt(own.var).mean()
        parts = sum(shared.by_weight.values()) + shared.nonlinear
        np.testing.assert_allclose(parts, shared.var, rtol=1e-3)
    np.testing.assert_allclose(between(nodes, 0.05).features, nodes[0.05].features, rtol=1e-6)


def test_a_sweep_is_cheaper_than_its_sigmas_and_says_the_same(classifier: tuple[Model, Dataset]) -> None:
    model, data = classifier
    found = predict_sweep(model, data, SIGMAS, inputs=1000, draws=1024)
    assert [f.sigma for f in found] == list(SIGMAS)
    assert all(f.trusted for f in found), [f.notes for f in found]
    assert all(a.mean > b.mean and a.mse < b.mse for a, b in pairwise(found))
    alone = [predict(model, data, sigma=s, inputs=1000, draws=1024) for s in SIGMAS]
    assert sum(f.evaluations for f in found) < 0.95 * sum(f.evaluations for f in alone)
    for shared, own in zip(found[1:4], alone[1:4], strict=True):
        assert shared.mse == pytest.approx(own.mse, rel=0.02)
        assert shared.mean == pytest.approx(own.mean, abs=0.004)
        assert shared.sd == pytest.approx(own.sd, rel=0.05)


def test_no_noise_and_a_sigma_twice_in_a_sweep(classifier: tuple[Model, Dataset]) -> None:
    found = predict_sweep(*classifier, (0.0, *SIGMAS, 0.03), inputs=60, draws=64)
    assert found[0].kpp == pytest.approx(found[0].clean, abs=1e-9)
    np.testing.assert_array_equal(found[2].values, found[-1].values)


def test_a_network_whose_outputs_are_constant_has_no_spread(tmp_path: Path) -> None:
    """Rivals that do not move say nothing of how far the next ones come, and divide nothing by zero."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 6)), rng.integers(0, 3, 60)
    nodes = [helper.make_node("MatMul", ["x", "w1"], ["a"]), helper.make_node("MatMul", ["a", "w2"], ["y"])]
    model, data = made(tmp_path, nodes, {"w1": rng.standard_normal((6, 8)), "w2": np.zeros((8, 3))}, x, y)
    for found in predict_sweep(model, data, SIGMAS, inputs=50, draws=64):
        assert found.sd == pytest.approx(0, abs=1e-6)
        assert found.mean == pytest.approx(found.clean)


@pytest.mark.parametrize("sigmas", [SIGMAS[:1], SIGMAS[:3], SIGMAS])
def test_stated_costs_add_up(
    classifier: tuple[Model, Dataset], sigmas: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = classifier
    grounds: list[Ground] = []

    class Recorded(Ground):
        def __init__(self, *args: Any) -> None:
            time.sleep(0.5)
            super().__init__(*args)
            grounds.append(self)

    monkeypatch.setattr("kppstat.prediction.sweep.Ground", Recorded)
    begun = time.monotonic()
    found = predict_sweep(model, data, sigmas, inputs=60, draws=64)
    passed = time.monotonic() - begun
    assert sum(f.evaluations for f in found) == pytest.approx(grounds[0].passes / len(data) + 1)
    assert passed - 0.2 < sum(f.seconds for f in found) <= passed


def test_a_sweep_needs_a_sigma(classifier: tuple[Model, Dataset]) -> None:
    with pytest.raises(SettingError, match="no sigma is given"):
        predict_sweep(*classifier, [])
