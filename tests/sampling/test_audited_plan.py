import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from kppstat.sampling.audited_plan import tail_steepness


@given(seed=st.integers(0, 1000), p=st.floats(0.01, 0.6), shift=st.floats(-3, 3), scale=st.floats(0.01, 100))
def test_steepness_follows_shift_and_scale(seed: int, p: float, shift: float, scale: float) -> None:
    order = np.sort(np.random.default_rng(seed).normal(size=300))
    near = max(1, round(300 * p))
    plain = tail_steepness(order, near, 1e-12)
    assert tail_steepness(shift + scale * order, near, 1e-12) == pytest.approx(plain / scale, rel=1e-6)


@pytest.mark.parametrize("p", [0.001, 0.01, 0.1, 0.5, 0.9])
def test_steepness_of_a_normal_law(p: float) -> None:
    order = norm.ppf((np.arange(10_000) + 0.5) / 10_000)
    true = norm.pdf(norm.ppf(p)) / p
    assert tail_steepness(order, round(p * 10_000), 1e-12) == pytest.approx(true, rel=0.25)


def test_steepness_scatters_less_than_that_between_two_ranks() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        order = np.sort(rng.normal(size=1000))
        found.append((tail_steepness(order, 10, 1e-12), np.log(4) / (order[39] - order[9])))
    ours, two = np.log(found).std(axis=0)
    assert ours < 0.85 * two


@given(n=st.integers(1, 30), value=st.floats(0, 1))
def test_equal_values_and_few_of_them_are_taken(n: int, value: float) -> None:
    for near in range(1, n + 1):
        found = tail_steepness(np.full(n, value), near, 1e-3)
        assert 0 <= found < np.inf
