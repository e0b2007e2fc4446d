import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kppstat.errors import NoiseError
from kppstat.noise import Gaussian, RightCensored, normals

SIGMA = st.floats(0, 10)


@given(SIGMA, st.integers(0, 2**32))
def test_gaussian_is_the_formula(sigma, index):
    w = normals(1, index, 1, 24).reshape(2, 3, 4)
    z = normals(1, index, 0, 24)
    got = Gaussian(sigma).weights(w, z)
    assert got.dtype == np.float32
    assert got.shape == w.shape
    np.testing.assert_allclose(got, w + sigma * np.abs(w).max() * z.reshape(w.shape), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (5,), (2, 3)])
def test_sigma_zero_is_exact(shape):
    w = np.asarray(np.linspace(-1, 2, max(1, int(np.prod(shape)))), np.float32)[: int(np.prod(shape))].reshape(shape)
    model = Gaussian(0)
    got = model.weights(w, normals(1, 2, 3, model.draws(shape)))
    assert got.shape == shape
    assert np.array_equal(got, w)
    assert not np.any(model.moments(w)[1])


def test_a_tensor_of_zeros_has_no_range_and_no_deviation():
    w = np.zeros((3, 4), np.float32)
    assert not Gaussian(0.1).weights(w, np.ones(12, np.float32)).any()
    assert not Gaussian(0.1).moments(w)[1].any()


@pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf"), "0.1", True, None])
@pytest.mark.parametrize("model", [Gaussian, RightCensored])
def test_bad_sigma_is_refused(model, sigma):
    with pytest.raises(NoiseError, match=r"sigma is .*\. Give a finite number of 0 or more and of 1e\+06 or less\."):
        model(sigma)


def test_whole_and_numpy_numbers_become_floats():
    assert Gaussian(1).to_dict() == {"model": "gaussian", "sigma": 1.0}
    assert type(Gaussian(np.float32(0.5)).sigma) is float


@pytest.mark.parametrize(
    ("threshold", "mean", "sd", "atom"),
    # MariusAnje/CIM_CW set_BLG gives the mean; thresholds are those its comments name.
    [
        (0.5, -0.1978, 0.7439, 0.309),
        (1, -0.0833, 0.8667, 0.159),
        (2, -0.0085, 0.9799, 0.023),
        (3, -0.0004, 0.9988, 0.001),
    ],
)
def test_right_censored_moments_are_the_published(threshold, mean, sd, atom):
    model = RightCensored(1, threshold)
    w = np.array([1.0, -0.5])
    got_mean, got_variance = model.moments(w)
    np.testing.assert_allclose(got_mean - w, mean, atol=6e-5)
    np.testing.assert_allclose(np.sqrt(got_variance), sd, atol=6e-5)
    z = normals(3, 0, 0, 100_000)
    drawn = model.weights(np.ones_like(z), z) - 1
    assert drawn.max() == pytest.approx(threshold)
    assert np.mean(drawn > threshold - 1e-3) == pytest.approx(atom, abs=0.005)
