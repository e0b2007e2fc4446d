"""A few directions in the space of an instance's standard normals, and points moved along them.

All standard normals of an instance form one vector ``z``. Orthonormal directions ``d_1 .. d_m`` give it the coordinates
``t_k = d_k . z``, which are independent standard normals. Setting them to other values leaves the rest of `z` as it
was, ``z + sum_k d_k (t'_k - t_k)``: if ``t'`` is drawn from the law of ``t``, so is the result from the law of `z`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit

from kppstat.errors import DataError

__all__ = ["Directions"]


class Directions:
    """Orthonormal directions.

    Parameters
    ----------
    vectors : mapping of str to ndarray, shape (draws, m)
        The part of each direction that belongs to each tensor. They are made orthonormal in their order; one that
        depends on earlier ones is dropped.

    Raises
    ------
    DataError
        If no direction is left.

    Attributes
    ----------
    vectors : dict of str to ndarray, float32, shape (draws, count)
    count : int
        How many directions.
    digest : bytes
        Names them.

    Examples
    --------
    >>> d = Directions({"a": np.array([[3.0], [0.0]]), "b": np.array([[4.0]])})
    >>> z = {"a": np.array([1.0, 5.0], np.float32), "b": np.array([2.0], np.float32)}
    >>> d.coordinates(z).round(2).tolist()
    [2.2]
    >>> {n: [f"{x:.2f}" for x in part] for n, part in d.moved(z, np.array([0.25])).items()}
    {'a': ['-0.17', '5.00'], 'b': ['0.44']}
    """

    def __init__(self, vectors: Mapping[str, np.ndarray]) -> None:
        sizes = [len(part) for part in vectors.values()]
        basis = _orthonormal(np.concatenate([np.asarray(part, np.float64) for part in vectors.values()]))
        self.count = basis.shape[1]
        if not self.count:
            raise DataError("there is no direction among these vectors", where="directions")
        parts = np.split(basis.astype(np.float32), np.cumsum(sizes)[:-1])
        self.vectors = {name: np.ascontiguousarray(part) for name, part in zip(vectors, parts, strict=True)}
        hashed = hashlib.blake2b(digest_size=16)
        for name, part in self.vectors.items():
            hashed.update(f"{name} {part.shape}".encode() + part.tobytes())
        self.digest = hashed.digest()

    def coordinates(self, z: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the coordinates of a point, float64, shape (count,).

        Parameters
        ----------
        z : mapping of str to ndarray, float32, shape (draws,)
            Of every tensor among the directions.
        """
        total = np.zeros(self.count)
        for name, part in self.vectors.items():
            _project(part, z[name], total)
        return total

    def moved(self, z: Mapping[str, np.ndarray], place: np.ndarray) -> dict[str, np.ndarray]:
        """Return the point with the coordinates `place` that agrees with `z` at right angles to the directions."""
        step = np.asarray(place, np.float64) - self.coordinates(z)
        out = dict(z)
        for name, part in self.vectors.items():
            out[name] = z[name].copy()
            _shift(part, step, out[name])
        return out


def _orthonormal(vectors: np.ndarray) -> np.ndarray:
    """Return orthonormal columns that span those given, in their order (Gram and Schmidt, each twice)."""
    kept: list[np.ndarray] = []
    for column in vectors.T:
        rest, length = column.copy(), float(np.linalg.norm(column))
        for _ in range(2):
            for other in kept:
                rest = rest - other * (other @ rest)
        if length > 0 and np.linalg.norm(rest) > 1e-6 * length:
            kept.append(rest / np.linalg.norm(rest))
    return np.stack(kept, axis=1) if kept else np.zeros((len(vectors), 0))


# Added up in fixed order, not by a library whose order depends on threads: an instance is the same bits everywhere.
@njit(nogil=True, cache=True)
def _project(part: Any, z: Any, total: Any) -> None:
    for j in range(part.shape[0]):
        for k in range(part.shape[1]):
            total[k] += part[j, k] * np.float64(z[j])


@njit(nogil=True, cache=True)
def _shift(part: Any, step: Any, z: Any) -> None:
    for j in range(part.shape[0]):
        move = 0.0
        for k in range(part.shape[1]):
            move += part[j, k] * step[k]
        z[j] += np.float32(move)
