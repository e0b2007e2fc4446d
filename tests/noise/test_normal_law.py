import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from kppstat.noise import Conductance, Programming
from kppstat.noise.programming import DEVICES


def censored(mean, sd, low, high):
    """Moments of a clipped normal by adaptive quadrature."""
    a, b = (low - mean) / sd, (high - mean) / sd
    inside = [
        scipy.integrate.quad(lambda t, k=k: (mean + sd * t) ** k * scipy.stats.norm.pdf(t), max(a, -12), min(b, 12))[0]
        for k in (1, 2)
    ]
    low, high = (v if math.isfinite(v) else 0.0 for v in (low, high))
    ends = scipy.stats.norm.cdf(a), scipy.stats.norm.sf(b)
    first, second = (i + ends[0] * low**k + ends[1] * high**k for i, k in zip(inside, (1, 2), strict=True))
    return first, second - first**2


@given(st.floats(0, 1), st.floats(0.01, 2), st.floats(-1, 0), st.sampled_from([1.0, 1.3, math.inf]))
def test_response_is_the_censored_normal(x, sigma, low, high):
    mean, variance = Conductance(sigma, low, high).response(np.array([x]), np.array([x]))
    expected = censored(x, sigma, low, high)
    assert mean[0] == pytest.approx(expected[0], abs=1e-7)
    assert variance[0] == pytest.approx(expected[1], abs=1e-7)


@given(st.floats(-3, 3), st.floats(1e-12, 1e-3))
def test_values_far_beyond_a_limit_lie_on_it(y, sigma):
    mean, variance = Conductance(sigma, 0.0, 1.0).response(np.array([0.5]), np.array([y]))
    if y < -0.05:
        assert (mean[0], variance[0]) == (0, 0)
    if y > 1.05:
        assert (mean[0], variance[0]) == (1, 0)
    assert 0 <= mean[0] <= 1


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from([1.0, math.inf]))
def test_nodes_are_a_probability_and_give_the_moments(y, sigma, high):
    law = Conductance(sigma, 0.0, high)
    x = np.array([y])
    nodes = [(np.broadcast_to(p, x.shape), v) for p, v in law.nodes(x, x)]
    assert sum(p for p, _ in nodes)[0] == pytest.approx(1, abs=1e-12)
    mean, variance = law.response(x, x)
    assert sum(p * v for p, v in nodes)[0] == pytest.approx(mean[0], abs=1e-6)
    assert sum(p * (v - mean) ** 2 for p, v in nodes)[0] == pytest.approx(variance[0], abs=1e-6)


@pytest.mark.parametrize(
    ("device", "x", "microsiemens"),
    # By hand from the published polynomials.
    [
        ("pcm-nandakumar-2019", 1.0, 0.26348 + 1.9650 - 1.1731),
        ("pcm-nandakumar-2019", 0.0, 0.26348),
        ("pcm-joshi-2020", 1.0, -0.00178767 * 625 + 0.07585724 * 25 + 0.28638599),
        ("reram-wan-2022-1s", 1.0, 0.348 + 16.030 - 43.853 + 45.393 - 16.815),
        ("reram-wan-2022-cubic", 0.5, 1.536e-4 * 19.63**3 - 1.167e-2 * 19.63**2 + 0.2374 * 19.63 + 1.053),
        ("rram-milo-2021", 0.0, 4.782321 - 0.009107 * 50),
        ("rram-milo-2021", 1.0, 4.782321 - 0.009107 * 225),
        ("reram-cmo-2", 0.0, 0.0112185391 + 0.01129027418 * 9),
        ("hermes-2", 1.0, 0.16603222 + 4.71806468 - 8.48101252 + 4.68961419),
        ("hermes-1", 0.5, 0.15781817 + 2.32443916 / 2 - 2.16310839 / 4 + 0.68841818 / 8),
    ],
)
def test_programming_noise_is_the_published_polynomial(device, x, microsiemens):
    _, sd = Programming(device).level(np.array([x]), np.array([x]))
    assert sd[0] * DEVICES[device].span == pytest.approx(microsiemens, rel=1e-9)


def test_every_device_names_its_source_and_has_noise_at_all_levels():
    x = np.linspace(0, 1, 101)
    for name, device in DEVICES.items():
        assert device.source
        _, sd = Programming(name).level(x, x)
        assert (sd > 0).all()
        # Conductance itself never turns negative, also where the range does not begin at 0.
        z = np.full((1, 101), -50.0)
        assert (device.low + device.span * Programming(name).apply(x, x, z) >= -1e-9).all()
