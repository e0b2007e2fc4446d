import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from scipy.stats import entropy as reference

from kppstat.training.confidence import calibration_error, entropy, probabilities

logits = arrays(np.float32, (5, 4), elements=st.floats(-50, 50, width=32))


@given(logits)
def test_against_scipy(x: np.ndarray) -> None:
    np.testing.assert_allclose(probabilities(x), softmax(x.astype(np.float64), axis=1), atol=1e-12)
    np.testing.assert_allclose(
        entropy(probabilities(x)), reference(softmax(x.astype(np.float64), axis=1), axis=1), atol=1e-9
    )


def test_calibration_error_by_hand() -> None:
    # Bins of a fifteenth: .61 and .64 share one (accuracy .5, confidence .625), .9 has its own (accuracy 1).
    assert calibration_error(np.array([0.61, 0.64, 0.9]), np.array([1, 0, 1])) == pytest.approx((2 * 0.125 + 0.1) / 3)


def test_a_calibrated_classifier_has_none() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 200_000)
    assert calibration_error(confidence, rng.random(200_000) < confidence) < 0.01
    assert calibration_error(confidence, rng.random(200_000) < 0.5) > 0.2


def test_full_confidence_has_a_bin() -> None:
    assert calibration_error(np.ones(3), np.ones(3)) == 0


def test_outputs_that_overflow_have_no_confidence() -> None:
    p = probabilities(np.array([[np.inf, 0.0], [np.nan, 0.0], [-np.inf, 0.0], [0.0, 0.0]], np.float32))
    assert np.isnan(p[:3]).all()
    assert p[3].tolist() == [0.5, 0.5]
    assert np.isnan(entropy(p)[:3]).all()
    assert np.isnan(calibration_error(p.max(axis=1), np.zeros(4)))
