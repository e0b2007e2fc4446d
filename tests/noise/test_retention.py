import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.noise import CmoRead, CmoRelaxation, Drift, PcmRetention
from kppstat.noise.retention import accumulated


@settings(deadline=None)
@given(st.floats(0, 1e8), st.floats(0, 0.2), st.floats(0.001, 0.1), st.floats(0, 0.2))
def test_drift_moments_are_the_integrals(time, nu, nu_sd, read):
    law = Drift(time, nu, nu_sd, 20.0, read)
    noise = read * math.sqrt(math.log((time + 20 + 250e-9) / 500e-9))

    def moment(k):
        kept = scipy.integrate.quad(
            lambda t: (1 + time / 20) ** (-k * abs(nu + nu_sd * t)) * scipy.stats.norm.pdf(t),
            *(-9, 9),
            points=[-nu / nu_sd] if nu / nu_sd < 9 else None,
        )[0]
        if noise < 1e-3:
            return kept * (1 + (noise**2 if k == 2 else 0))
        low = max(-1 / noise, -9)
        return kept * scipy.integrate.quad(lambda t: (1 + noise * t) ** k * scipy.stats.norm.pdf(t), low, 9)[0]

    mean, variance = law.response(np.array([0.5]), np.array([0.8]))
    assert mean[0] == pytest.approx(0.8 * moment(1), rel=1e-6)
    assert variance[0] == pytest.approx(0.64 * (moment(2) - moment(1) ** 2), rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("device", ["pcm-nandakumar-2019", "hermes-1", "hermes-2"])
def test_conductance_falls_and_spreads_with_time(device):
    x = np.linspace(0.05, 1, 20)
    moments = [PcmRetention(t, device).response(x, x) for t in (0.0, 3600.0, 86400.0, 3.15e7)]
    for (mean0, variance0), (mean1, variance1) in itertools.pairwise(moments):
        assert (mean1 < mean0).all()
        assert (np.sqrt(variance1) / mean1 > np.sqrt(variance0) / mean0).all()


def test_pcm_drift_exponents_are_the_published_fits():
    mean, sd = PcmRetention(1.0).exponent(np.array([1e-4, 0.1, 0.5, 1.0]))
    np.testing.assert_allclose(mean, [0.1, 0.0155 * math.log(10) + 0.0244, 0.049, 0.049])
    np.testing.assert_allclose(sd, [0.045, 0.0125 * math.log(10) - 0.0059, 0.008, 0.008])


def test_pcm_read_noise_is_the_published_fit():
    growth = math.sqrt(math.log((100 + 20 + 250e-9) / 500e-9))
    np.testing.assert_allclose(
        PcmRetention(100.0).read_noise(np.array([1e-6, 0.3, 1.0])), np.array([0.2, 0.0088 / 0.3**0.65, 0.0088]) * growth
    )


def test_cmo_relaxation_and_reading_are_the_published_fits():
    span, t = 88.2 - 9, 86400.0
    mean, variance = CmoRelaxation(t).response(np.array([0.5]), np.array([0.5]))
    assert (mean[0] - 0.5) * span == pytest.approx(-0.08900206 * math.log(t))
    assert math.sqrt(variance[0]) * span == pytest.approx(0.04201137 * math.log(t) + 0.41183342)
    _, sd = CmoRead(t).level(np.array([0.5]), np.array([0.5]))
    expected = 0.0277316483 * math.log10(9 + span / 2) * math.sqrt(math.log((t + 1e-6) / 2e-6))
    assert sd[0] * span == pytest.approx(expected)


def test_read_noise_does_not_exist_before_the_first_reading():
    assert accumulated(0.0, 250e-9) == 0
    assert accumulated(250e-9, 250e-9) == 0
