from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from kppstat.sampling.tilted_ledger import Looks, stages
from kppstat.stats.staged import LOGISTIC, chance


class Known(Looks):
    """Looks whose estimates and their noise are given; performances away from 0 are noisier."""

    def __init__(self, estimates: np.ndarray, noise: np.ndarray) -> None:
        self.ledger = SimpleNamespace(book=SimpleNamespace(estimates=lambda _: estimates))  # type: ignore[assignment]
        self._noise = noise

    def variance(self, ids: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
        return self._noise if truth is None else self._noise * (1 + np.abs(truth))


@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_what_is_known_after_a_look_follows_from_bayes_rule(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    weight, location, spread = rng.dirichlet(np.ones(parts)), rng.normal(size=parts), rng.uniform(0.3, 2, parts)
    estimate, noise = rng.normal(size=1), rng.uniform(0.1, 2, 1)
    prior = np.stack([weight, location, spread / LOGISTIC])[..., None]
    weights, means, scales = Known(estimate, noise).law(np.arange(1), prior)
    grid = np.linspace(-12, 12, 20_001)
    looked = norm.pdf(estimate, grid[:, None], np.sqrt(noise * (1 + np.abs(location))))
    density = (weight * norm.pdf(grid[:, None], location, spread) * looked).sum(1)
    density /= density.sum()
    mean = (weights * means).sum()
    assert mean == pytest.approx(density @ grid, abs=1e-6)
    second = (weights * (means**2 + (LOGISTIC * scales) ** 2)).sum()
    assert second == pytest.approx(density @ grid**2, abs=1e-5)
    assert weights.sum() == pytest.approx(1)


def test_a_performance_known_on_all_inputs_is_itself() -> None:
    prior = np.array([[0.5, 0.5], [0.9, 0.7], [0.01, 0.05]])[..., None].repeat(2, axis=2)
    law = Known(np.array([0.8, 0.8]), np.array([0.0, 1e-4])).law(np.arange(2), prior)
    assert chance(np.array([0.7999, 0.8]), law)[:, 0].tolist() == [0.0, pytest.approx(1.0)]
    assert 0.1 < chance(np.array([0.8]), law)[0, 1] < 0.9


@given(st.integers(1, 10**6))
def test_the_last_stage_has_all_inputs(inputs: int) -> None:
    sizes = stages(inputs)
    assert sizes[-1] == inputs
    assert sizes == sorted(set(sizes))
