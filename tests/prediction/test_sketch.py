"""The sketch keeps inner products, and outer products need not be written out for it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.prediction.sketch import Sketch


def test_the_sketch_keeps_inner_products_on_average() -> None:
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((2, 150)).astype(np.float32)
    gradients[1] += gradients[0]
    sd = {"w": rng.uniform(0.5, 1, 150)}
    found = []
    for seed in range(3000):
        features = np.zeros((2, 64), np.float32)
        Sketch(64, sd, seed).add(features, "w", gradients)
        found.append(features @ features.T)
    scaled = gradients * sd["w"]
    np.testing.assert_allclose(np.mean(found, axis=0), scaled @ scaled.T, rtol=0.03)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 64), st.integers(0, 2**32 - 1))
def test_outer_products_have_the_features_of_the_matrices_that_they_are(a: int, b: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = rng.standard_normal((3, a), dtype=np.float32), rng.standard_normal((3, b), dtype=np.float32)
    rows[rng.random(rows.shape) < 0.3] = 0  # as behind a rectifier
    sketch = Sketch(size, {"w": rng.uniform(0.5, 1, (a, b))}, seed)
    one, other = np.ones((2, 3, size), np.float32)
    whole = (rows[:, :, None] * columns[:, None, :]).reshape(3, -1)
    variance = sketch.add(one, "w", whole)
    np.testing.assert_allclose(sketch.add_outer(other, "w", rows, columns), variance, rtol=1e-4)
    np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)
