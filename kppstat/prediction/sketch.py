"""A random linear map from all weights to a few features that keeps inner products; compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit


class Sketch:
    """A random linear map from all weights to a few features that keeps inner products on average.

    Element i of a weight goes to feature ``i mod r`` with a random sign (CountSketch with a regular hash; Charikar,
    Chen and Farach-Colton 2002), so inner products are unbiased over the signs and one pass over the data does it.

    Parameters
    ----------
    size : int
        Number r of features.
    sd : mapping of str to ndarray
        Standard deviation of each element, by the name of the weight: features are of standard normals.
    seed : int
        Fixes the signs.
    """

    def __init__(self, size: int, sd: Mapping[str, np.ndarray], seed: int) -> None:
        self.size = size
        self._signed: dict[str, np.ndarray] = {}
        for i, (name, scale) in enumerate(sd.items()):
            rng = np.random.default_rng([seed, i])
            signs = np.where(rng.integers(0, 2, scale.size, dtype=np.int8), np.float32(1), np.float32(-1))
            self._signed[name] = signs * scale.reshape(-1).astype(np.float32)

    def add(self, features: np.ndarray, weight: str, gradient: np.ndarray) -> np.ndarray:
        """Add the features of derivatives with respect to a weight.

        Parameters
        ----------
        features : ndarray of float32, shape (n, r)
        weight : str
        gradient : ndarray, shape (n, elements)

        Returns
        -------
        ndarray, shape (n,)
            The variance that the weight gives.
        """
        variance = np.empty(len(gradient))
        ones = np.ones((len(gradient), 1), np.float32)
        _add(features, ones, np.ascontiguousarray(gradient), self._signed[weight], variance)
        return variance

    def add_outer(self, features: np.ndarray, weight: str, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Add those of derivatives that are outer products of rows (n, a) and columns (n, b), as `add` does."""
        variance = np.empty(len(rows))
        _add(features, np.ascontiguousarray(rows), np.ascontiguousarray(columns), self._signed[weight], variance)
        return variance


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _add(features: Any, rows: Any, columns: Any, signed: Any, variance: Any) -> None:
    count, size = columns.shape[1], features.shape[1]
    for i in range(rows.shape[0]):
        into = features[i]
        total = np.float64(0)
        for a in range(rows.shape[1]):
            factor = rows[i, a]
            if factor == 0:  # many are, behind a rectifier
                continue
            at, part = a * count % size, np.float32(0)
            begin = 0
            while begin < count:
                run = min(count - begin, size - at)
                here, signs = into[at : at + run], signed[a * count + begin : a * count + begin + run]
                column = columns[i, begin : begin + run]
                for j in range(run):
                    value = factor * column[j] * signs[j]
                    here[j] += value
                    part += value * value
                begin += run
                at = 0
            total += part
        variance[i] = total
