import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from kppstat.noise import WriteVerify, normals


def programmed_by_attempts(sigma, tolerance, attempts, n, rng):
    """Write, read, write again: what the law says in one formula."""
    value = sigma * rng.standard_normal(n)
    for _ in range(attempts - 1):
        miss = np.abs(value) > tolerance
        value = np.where(miss, sigma * rng.standard_normal(n), value)
    return value


@pytest.mark.parametrize(
    ("sigma", "tolerance", "attempts"),
    [(0.3, 0.06, 10), (0.3, 0.06, 1), (0.1, 0.2, 3), (0.2, 0.001, 2), (0.1, 0.1, 500)],
)
def test_the_map_is_the_process(sigma, tolerance, attempts):
    n = 100_000
    real = programmed_by_attempts(sigma, tolerance, attempts, n, np.random.default_rng(1))
    model = WriteVerify(sigma, tolerance, attempts)
    drawn = model.weights(np.ones(n), normals(1, 0, 0, n)) - 1
    assert scipy.stats.ks_2samp(real, drawn).pvalue > 1e-3
    assert drawn.std() == pytest.approx(real.std(), rel=0.03)
    assert np.mean(np.abs(drawn) > tolerance * (1 + 1e-9)) == pytest.approx(
        np.mean(np.abs(real) > tolerance), abs=5 * 0.5 / np.sqrt(n)
    )


@given(st.floats(1e-6, 2), st.floats(1e-6, 2), st.integers(1, 1_000_000))
def test_the_map_keeps_order_and_sign(sigma, tolerance, attempts):
    z = np.linspace(-11, 11, 401)
    out = WriteVerify(sigma, tolerance, attempts).apply(np.zeros(401), np.zeros(401), z[None])
    assert np.isfinite(out).all()
    assert (np.diff(out) >= -1e-9 * sigma).all()
    np.testing.assert_allclose(out, -out[::-1], atol=1e-12)


@given(st.floats(0.01, 1))
def test_one_attempt_is_plain_programming(sigma):
    z = np.linspace(-8, 8, 101)
    out = WriteVerify(sigma, 0.05, 1).apply(np.zeros(101), np.zeros(101), z[None])
    np.testing.assert_allclose(out, sigma * z, rtol=1e-6, atol=1e-9)


def test_many_attempts_stay_within_the_tolerance():
    out = WriteVerify(0.3, 0.06, 1_000_000).apply(np.zeros(101), np.zeros(101), np.linspace(-9, 9, 101)[None])
    assert np.abs(out).max() <= 0.06 * (1 + 1e-9)


def test_without_sigma_nothing_deviates():
    w = np.array([1.0, 2.0])
    assert np.array_equal(WriteVerify(0.0, 0.1).weights(w, np.array([3.0, -3.0])), w)
    assert not WriteVerify(0.0, 0.1).moments(w)[1].any()
