"""Draw many chips of a few weights and compare their moments with a model's formulas."""

import numpy as np

from kppstat.noise import normals


def sample(model, w, n, *, seed=0, index=0):
    """Programmed weights of n cells for each intended weight, shape (len(w), n)."""
    tensor = np.repeat(np.asarray(w, np.float64)[:, None], n, axis=1)
    return model.weights(tensor, normals(seed, index, 0, model.draws(tensor.shape)))


def assert_moments(model, w, n=20_000, *, seed=0, slack=1e-9, tolerance=5.5, rule=2e-3):
    """Mean and variance by formula agree with sampling within its error, plus `rule` of the sd for quadrature."""
    w = np.asarray(w, np.float64)
    drawn = sample(model, w, n, seed=seed)
    mean, variance = (np.broadcast_to(m, w.shape) for m in model.moments(w))
    deviation = drawn - drawn.mean(axis=1, keepdims=True)
    spread = (deviation**2).mean(axis=1)
    fourth = (deviation**4).mean(axis=1)
    mean_error = tolerance * np.sqrt(spread / n) + rule * np.sqrt(variance) + slack
    assert (np.abs(drawn.mean(axis=1) - mean) <= mean_error).all(), (drawn.mean(axis=1) - mean, mean_error)
    variance_error = tolerance * np.sqrt(np.maximum(fourth - spread**2, 0) / n) + 2 * rule * variance + slack**2
    assert (np.abs(spread - variance) <= variance_error).all(), (spread, variance, variance_error)
