"""Functions of one standard normal that are known at a few places."""

from __future__ import annotations

import functools

import numpy as np
from scipy.interpolate import CubicSpline

PLACES = np.linspace(-4.5, 4.5, 7)
"""Where a function is known, in standard deviations; beyond the ends it counts as constant."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def between(t: np.ndarray) -> np.ndarray:
    """Return the weights, shape (len(t), places), that give a function's values at `t` from those at the places.

    Interpolation is by a cubic spline.

    Examples
    --------
    >>> (between(np.array([0.5])) @ PLACES**2).round(6).tolist()
    [0.25]
    """
    return np.asarray(_spline()(np.clip(t, PLACES[0], PLACES[-1])))


def unexplained(values: np.ndarray) -> np.ndarray:
    """Return what its best linear fit leaves of each function, given and returned by values at the places (axis 0).

    Examples
    --------
    >>> unexplained(1 + 2 * PLACES + PLACES**2).round(3).tolist() == (PLACES**2 - 1).round(3).tolist()
    True
    """
    mean, slope = _WEIGHTS @ between(_NODES), (_WEIGHTS * _NODES) @ between(_NODES)
    return np.asarray(
        values - np.tensordot(mean, values, 1) - np.multiply.outer(PLACES, np.tensordot(slope, values, 1))
    )


def variance(values: np.ndarray) -> np.ndarray:
    """Return the mean square of each function, from values at the places (axis 0).

    Examples
    --------
    >>> round(float(variance(PLACES**2 - 1)), 2)
    2.0
    """
    return np.asarray(np.tensordot(_WEIGHTS, np.tensordot(between(_NODES), values, 1) ** 2, 1))


@functools.cache
def _spline() -> CubicSpline:
    return CubicSpline(PLACES, np.eye(len(PLACES)))
