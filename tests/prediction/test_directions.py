"""Principal directions of the logits, of what makes answers change most of all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from kppstat.noise import Gaussian
from kppstat.prediction.directions import answers, principal
from kppstat.prediction.logits import Logits, logits
from tests.prediction.made import made


def test_directions_of_a_linear_network_are_those_of_its_weights(tmp_path: Path) -> None:
    """Places along them are uncorrelated, of unit variance, and the strongest explains the most."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((60, 6)) * [5, 2, 1, 1, 1, 1]).astype(np.float32)
    w = rng.standard_normal((6, 3)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model, data = made(tmp_path, nodes, {"w": w}, x, rng.integers(0, 3, 60))
    moments = {"w": Gaussian(0.1).moments(model.graph.constants["w"])}
    rows = np.arange(60)
    columns = np.tile(np.arange(3), (60, 1))
    law = logits(model.graph, data.batch(rows), moments, None, columns=columns)
    found = principal(law, np.ones(columns.shape), model.graph, data.batch(rows), moments, None, count=4)
    assert found.along.shape[1] == len(found.slopes) == 4
    np.testing.assert_allclose(found.along.T @ found.along, np.eye(4), atol=1e-5)
    slopes = np.stack([s["w"].reshape(-1) for s in found.slopes])
    np.testing.assert_allclose((slopes * moments["w"][1].reshape(-1)) @ slopes.T, np.eye(4), atol=0.15)
    np.testing.assert_allclose(np.diag((slopes * moments["w"][1].reshape(-1)) @ slopes.T), 1, atol=1e-5)
    explained = (law.features @ found.along).__pow__(2).mean(axis=(0, 1))
    assert (np.diff(explained) <= 1e-6).all()
    # Twice the deviation: one standard deviation along the direction is twice the step.
    wider = {"w": Gaussian(0.2).moments(model.graph.constants["w"])}
    np.testing.assert_allclose(found.step(wider)["w"], 2 * found.step(moments)["w"], rtol=1e-5)


def test_nothing_varies_nothing_is_a_direction(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    x = np.ones((4, 2), np.float32)
    model, data = made(tmp_path, nodes, {"w": np.ones((2, 2))}, x, np.zeros(4, np.int64))
    moments = {"w": Gaussian(0.0).moments(model.graph.constants["w"])}
    rows, columns = np.arange(4), np.tile([0, 1], (4, 1))
    law = logits(model.graph, data.batch(rows), moments, None, columns=columns)
    found = principal(law, np.ones((4, 2)), model.graph, data.batch(rows), moments, None, count=3)
    assert found.slopes == ()
    assert found.along.shape[1] == 0
    assert found.step(moments) == {}


def test_rivals_count_by_the_chance_that_they_come_to_lead() -> None:
    features = np.zeros((2, 2, 4), np.float32)
    features[..., 0] = 1
    mean = np.array([[3.0, 2.9, 0.0], [3.0, 1.0, 2.0]])
    columns, against = np.array([[1, 2], [1, 2]]), np.zeros(2, np.int64)
    law = Logits(mean, columns, features, np.ones((2, 2)), {}, np.zeros((2, 2)), against=against)
    found = answers(law, np.array([0.5, 0.1])) ** 2
    density = np.exp(-(np.array([[0.1, 3.0], [2.0, 1.0]]) ** 2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(found, density * [[0.5], [0.1]])
    assert answers(Logits(mean, columns, features, np.ones((2, 2)), {}, np.zeros((2, 2))), np.ones(2)).tolist() == [
        [1, 1],
        [1, 1],
    ]
    still = Logits(mean, columns, features, np.zeros((2, 2)), {}, np.zeros((2, 2)), against=against)
    assert answers(still, np.ones(2)).max() == pytest.approx(0)
