"""How sure a classifier is, and whether rightly: calibration, entropy, disagreement between instances."""

from __future__ import annotations

import numpy as np

_BINS = 15


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of logits, shape (n, classes), in float64; NaN in rows with a logit that is NaN or infinite.

    Examples
    --------
    >>> probabilities(np.array([[0.0, 0.0], [1000.0, 0.0]])).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    finite = np.where(np.isfinite(logits).all(axis=1, keepdims=True), logits, np.nan).astype(np.float64)
    raised = np.exp(finite - finite.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def entropy(p: np.ndarray) -> np.ndarray:
    """Return the entropy in nats of each row of probabilities.

    Examples
    --------
    >>> entropy(np.array([[1.0, 0.0], [0.5, 0.5]])).round(4).tolist()
    [0.0, 0.6931]
    """
    return np.asarray(-(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1) + 0.0)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error: the mean distance of confidence and accuracy over 15 equal bins.

    It is NaN where some confidence is.

    Parameters
    ----------
    confidence : ndarray, shape (n,)
        Largest probability of each input.
    right : ndarray, shape (n,)
        1 where the prediction is right, 0 where not.

    Notes
    -----
    Source: Guo et al., On calibration of modern neural networks, ICML 2017 (arXiv 1706.04599), equation 3.

    Examples
    --------
    >>> round(calibration_error(np.array([0.95, 0.95, 0.55, 0.55]), np.array([1, 1, 1, 0])), 4)
    0.05
    """
    if np.isnan(confidence).any():
        return float("nan")
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.bincount(bins, confidence - right, _BINS)
    return float(np.abs(gaps).sum() / len(confidence))
