"""Guesses from places, and instances that are placed where failures are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from kppstat.noise import Gaussian, LogNormal, NoiseModel, StuckAt, Variation, instance_normals
from kppstat.prediction.far import Guess, in_normals, placed, usable
from tests.prediction.made import made


@given(count=st.integers(0, 4), seed=st.integers(0, 10**6))
def test_a_quadratic_is_guessed_exactly(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    places, curve = rng.standard_normal((400, count)), rng.standard_normal((count, count))
    values = 0.8 + 0.01 * (places.sum(axis=1) + np.einsum("ni,ij,nj->n", places, curve, places))
    guess = Guess(places, values)(places)
    if count:
        np.testing.assert_allclose(guess, (values - values.mean()) / values.std(), atol=1e-6)
    else:
        assert not guess.any()


def test_beyond_all_draws_the_guess_is_that_at_the_last() -> None:
    places = np.linspace(-3, 3, 50)[:, None]
    guess = Guess(places, places[:, 0])
    assert guess(np.array([[-40.0]])) == guess(places[:1])


@given(seed=st.integers(0, 10**6), count=st.sampled_from([16, 128, 512]))
def test_placed_instances_stand_for_all(seed: int, count: int) -> None:
    values = np.random.default_rng(seed).standard_normal(4096)
    chosen, stands_for = placed(values, count)
    assert len(chosen) == count
    assert stands_for.sum() == pytest.approx(1)
    assert stands_for @ values[chosen] == pytest.approx(values.mean(), abs=4 / count)
    below = values[chosen] < np.quantile(values, 0.1)
    assert stands_for[below].sum() == pytest.approx(0.1, abs=2 / count)
    assert below.mean() > 0.3


@pytest.mark.parametrize("law", [Gaussian(0.1), LogNormal(0.2)])
def test_a_direction_of_the_weights_is_one_of_their_normals(tmp_path: Path, law: NoiseModel) -> None:
    """An instance that is moved to a place has the weights of that place, up to what the law bends."""
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])]
    tensors = {"a": rng.standard_normal((4, 5)), "b": rng.standard_normal((5, 3))}
    model, _ = made(tmp_path, nodes, tensors, np.ones((2, 4), np.float32), np.zeros(2, np.int64))
    variation = Variation(law)
    moments = {w.name: law.moments(model.graph.constants[w.name]) for w in model.weights}
    slopes = []
    for _ in range(2):
        raw = {name: rng.standard_normal(mean.shape).astype(np.float32) for name, (mean, _) in moments.items()}
        length = np.sqrt(sum((g * g * moments[n][1]).sum() for n, g in raw.items()))
        slopes.append({n: g / length for n, g in raw.items()})
    found = in_normals(model, variation, slopes)
    assert found is not None
    assert found.count == 2
    places, first = [], []
    for i in range(300):
        z = {w.name: instance_normals(law, 0, i, w.position, w.shape) for w in model.weights}
        weights = {n: law.weights(model.graph.constants[n], v) for n, v in z.items()}
        places.append(sum(float((slopes[0][n] * (weights[n] - moments[n][0])).sum()) for n in weights))
        first.append(found.coordinates(z)[0])
    assert np.corrcoef(places, first)[0, 1] > 0.97


def test_weights_that_only_jump_far_out_have_no_direction(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model, _ = made(tmp_path, nodes, {"w": np.ones((2, 2))}, np.ones((2, 2), np.float32), np.zeros(2, np.int64))
    variation = Variation(StuckAt(off=0.001, on=0.001))
    assert in_normals(model, variation, [{"w": np.ones((2, 2), np.float32)}]) is None
    assert in_normals(model, variation, []) is None


def test_few_draws_bear_few_directions(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model, _ = made(tmp_path, nodes, {"w": np.ones((2, 2))}, np.ones((2, 2), np.float32), np.zeros(2, np.int64))
    counts = [usable(model, Variation(Gaussian(0.1)), draws, 8) for draws in (2, 30, 60, 450, 4096)]
    assert counts == [0, 1, 2, 8, 8]
