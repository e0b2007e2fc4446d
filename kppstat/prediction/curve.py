"""Functions of one standard normal that are known at a few places."""

from __future__ import annotations

import functools

import numpy as np
from scipy.interpolate import CubicSpline

from kppstat.array import normal_cdf, normal_pdf

PLACES = np.linspace(-4.5, 4.5, 7)
"""Where a function is known, in standard deviations; beyond the ends it counts as constant."""

_POINTS = 20  # of Gauss-Legendre between two places, where a cubic times a density is as good as a polynomial


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
    _, first_moments, at_nodes = _integral()
    slope = first_moments @ at_nodes
    return centred(values) - np.multiply.outer(PLACES, np.tensordot(slope, values, 1))


def centred(values: np.ndarray) -> np.ndarray:
    """Return each function less its mean, given and returned by values at the places (axis 0).

    Examples
    --------
    >>> centred(1 + PLACES).round(3).tolist() == PLACES.tolist()
    True
    """
    chances, _, at_nodes = _integral()
    return np.asarray(values - np.tensordot(chances @ at_nodes, values, 1))


def variance(values: np.ndarray) -> np.ndarray:
    """Return the mean square of each function, from values at the places (axis 0).

    Examples
    --------
    >>> round(float(variance(PLACES**2 - 1)), 2)
    2.0
    """
    chances, _, at_nodes = _integral()
    return np.asarray(np.tensordot(chances, np.tensordot(at_nodes, values, 1) ** 2, 1))


@functools.cache
def _integral() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what integrates 1 and t times a function over the normal law, and `between` where it is looked at.

    Exact but for rounding: Gauss-Legendre between the places, and the two ends stand for the tails.
    """
    inner, share = np.polynomial.legendre.leggauss(_POINTS)
    half = np.diff(PLACES)[:, None] / 2
    nodes = (PLACES[:-1, None] + half * (inner + 1)).reshape(-1)
    weights = (half * share).reshape(-1) * normal_pdf(nodes)
    tail, edge = normal_cdf(PLACES[:1]), normal_pdf(PLACES[:1])
    everywhere = np.concatenate([PLACES[:1], nodes, PLACES[-1:]])
    chances, first_moments = np.concatenate([tail, weights, tail]), np.concatenate([-edge, weights * nodes, edge])
    return chances, first_moments, between(everywhere)


@functools.cache
def _spline() -> CubicSpline:
    return CubicSpline(PLACES, np.eye(len(PLACES)))
