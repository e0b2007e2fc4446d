import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.sampling.tilted_surrogate import Quadratic, Surrogate, fitted_quadratic
from kppstat.stats.staged import chance


def test_a_quadratic_is_found_from_its_gradients() -> None:
    rng = np.random.default_rng(0)
    slope, curve = rng.normal(size=3), rng.normal(size=(3, 3))
    true = Quadratic(slope, curve + curve.T)
    places = rng.normal(size=(60, 3))
    gradients = true.slope + places @ true.curve
    found = fitted_quadratic(places, gradients, steady=1e-9)
    np.testing.assert_allclose(found.slope, true.slope, atol=1e-6)
    np.testing.assert_allclose(found.curve, true.curve, atol=1e-6)


def test_a_surrogate_learns_through_noise_and_knows_when_it_cannot() -> None:
    rng = np.random.default_rng(0)
    places = rng.normal(size=(600, 4))
    noise = np.full(600, 0.01**2)
    signal = 0.9 + 0.02 * places[:, 0] - 0.01 * places[:, 1] ** 2
    values = signal + 0.005 * rng.normal(size=600) + 0.01 * rng.normal(size=600)
    good = Surrogate.fit(places, values, noise)
    assert np.corrcoef(good.location(places), signal)[0, 1] > 0.97
    assert good.correlation > 0.9
    assert float(good.spread(np.array([0.9]))[0]) == pytest.approx(0.005, rel=0.5)
    bad = Surrogate.fit(places, rng.permutation(values), noise)
    assert bad.correlation < 0.3
    assert np.std(bad.location(places)) < 0.3 * np.std(signal)


@pytest.mark.parametrize("stray", [0.0, 0.01, 0.05])
def test_knows_how_often_instances_fall_far_below_what_is_expected(stray: float) -> None:
    rng = np.random.default_rng(3)
    places = rng.normal(size=(4000, 2))
    fallen = np.where(rng.random(4000) < stray, rng.uniform(0.05, 0.09, 4000), 0.0)
    noise = np.full(4000, 0.01**2)
    values = 0.9 + 0.01 * places[:, 0] + 0.004 * rng.normal(size=4000) - fallen
    surrogate = Surrogate.fit(places, values + 0.01 * rng.normal(size=4000), noise)
    expected = surrogate.location(np.zeros((1, 2)))
    found = float(chance(expected - 0.04, surrogate.law(expected))[0, 0])
    assert found == pytest.approx(stray, rel=0.35, abs=0.001)


@given(st.integers(0, 10**6), st.floats(0.1, 10), st.floats(-2, 2))
@settings(max_examples=20, deadline=None)
def test_laws_follow_the_scale_of_performance(seed: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    places, values = rng.normal(size=(120, 2)), rng.standard_t(3, size=120)
    noise = np.full(120, 0.2)
    one = Surrogate.fit(places, values, noise)
    other = Surrogate.fit(places, scale * values + shift, scale**2 * noise)
    x = np.linspace(-6, 6, 7)
    np.testing.assert_allclose(
        chance(x, one.law(one.location(places))),
        chance(scale * x + shift, other.law(other.location(places))),
        atol=1e-6,
    )
