"""Integrals over Gaussian values: quadrature, piecewise linear functions, and the maximum of several."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from kppstat.array import Array, limit, namespace, normal_cdf, normal_pdf
from kppstat.ops.moments import Moments, Step, pointwise, unexplained

POINTS = 16
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(POINTS)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()

_STEP = 1e-2  # in units of max(1, |mean|): differences over less than this are lost in single precision
_TINY = 1e-30
_SAME = 1e-6  # of their variances: variance of the difference of two values that count as one
_FAR, _FARTHEST = 7.0, 40.0  # standard deviations: beyond the first, values count as lying at the second


def root(v: Array) -> Array:
    """Return the square root of values of zero or more; at zero its derivative counts as zero."""
    xp = namespace(v)
    return xp.where(v > _TINY, xp.sqrt(xp.where(v > _TINY, v, v * 0 + 1)), v * 0)


def _settled(z: Array) -> Array:
    """Return z, but farther out where that makes chances of less than 2e-12 zero.

    These would make numbers so small that processors are many times slower with them.
    """
    xp = namespace(z)
    return xp.where(xp.abs(z) > _FAR, xp.sign(z) * _FARTHEST, z)


def quadrature(f: Callable[[Array], Array], x: Moments) -> Step:
    """Return the moments of any function by Gauss-Hermite quadrature, Abramowitz and Stegun 25.4.46.

    The gain is ``E[f'(x)] = E[f(x) u] / s`` with ``x = m + s u`` (Stein's lemma), so no derivative is needed. Where `s`
    is so small that single precision would lose the differences, a longer step `h` is taken, and what is of second
    order in it is brought back by ``(s / h)**2``.
    """
    m = x.mean
    xp = namespace(m)
    s = root(x.var)
    shortest = _STEP * (1 + xp.abs(m))
    h = xp.where(s > shortest, s, shortest)
    centre = f(m)
    first = second = slope = centre * 0
    for node, weight in zip(_NODES.tolist(), _WEIGHTS.tolist(), strict=True):
        apart = f(m + h * node) - centre
        first = first + weight * apart
        second = second + weight * apart * apart
        slope = slope + (weight * node) * apart
    shrunk = x.var / (h * h)
    rest = unexplained(second - first * first, slope * slope)
    return pointwise(x, centre + shrunk * first, shrunk * (slope * slope + shrunk * rest), slope / h)


def piecewise_linear(x: Moments, segments: Sequence[tuple[Array, Array, Array, Array]]) -> Step:
    """Return the exact moments of a continuous piecewise linear function of a Gaussian.

    Parameters
    ----------
    x : Moments
    segments : sequence of (begin, end, intercept, slope)
        From -inf to inf in order; each entry a number or an array that broadcasts with the value.
    """
    m, v = x.mean, x.var
    xp = namespace(m)
    s = xp.sqrt(xp.where(v > _TINY, v, v * 0 + _TINY))

    def at(edge: Array) -> tuple[Array, Array, Array]:
        """Distribution function, density, and z times density at an edge."""
        if isinstance(edge, float) and math.isinf(edge):
            return float(edge > 0), 0.0, 0.0
        # Where nothing varies, a step has no slope.
        z = _settled(xp.where(v > _TINY, (edge - m) / s, xp.sign(edge - m) * _FARTHEST))
        density = normal_pdf(z)
        return normal_cdf(z), density, z * density

    here = _continuous(m, segments)
    first = second = gain = m * 0
    low = at(segments[0][0])
    for _, end, intercept, slope in segments:
        high = at(end)
        p, d1, d2 = (b - a for a, b in zip(low, high, strict=True))
        low = high
        step = intercept + slope * m - here  # value above f(m) that this piece would have at the mean
        first = first + step * p - slope * s * d1
        second = second + step * step * p - 2 * step * slope * s * d1 + slope * slope * v * (p - d2)
        gain = gain + slope * p
    return pointwise(x, here + first, unexplained(second, first * first), gain)


def _continuous(m: Array, segments: Sequence[tuple[Array, Array, Array, Array]]) -> Array:
    """Return the value of a continuous piecewise linear function, as the sum of what each segment adds.

    The argument is limited to each segment in turn: choosing between segments is far slower.
    """
    value = segments[0][2] + m * 0
    for i, (begin, end, _, slope) in enumerate(segments):
        if isinstance(slope, float) and slope == 0:
            continue
        low, high = (None if isinstance(edge, float) and math.isinf(edge) else edge for edge in (begin, end))
        part = slope * (m if low is None and high is None else limit(m, low, high))
        # At its begin a segment has added nothing; both constants go together, lest they drown the argument.
        value = value + part if i == 0 else value - slope * begin + part
    return value


def largest(
    means: Sequence[Array], variances: Sequence[Array], apart: Callable[[int, int], Array] | None
) -> tuple[Array, Array, list[Array], Array]:
    """Return moments of the maximum of Gaussians by Clark's formulas, two by two.

    C. E. Clark, "The greatest of a finite set of random variables", Operations Research 9 (1961) 145-162,
    equations (2) to (4); the winners of two sets stay apart as their members do on average.

    Parameters
    ----------
    means, variances : sequence of arrays of one shape
    apart : callable or None
        Variance of the difference of elements i and j; None where they are independent.

    Returns
    -------
    mean, var : array
    weights : list of array
        The probability that each is the largest, which is the gain towards it.
    explained : array
        The part of `var` that the linear fit with these gains explains.
    """
    xp = namespace(means[0])
    one = means[0] * 0 + 1
    entries = [(m, v, {i: one}) for i, (m, v) in enumerate(zip(means, variances, strict=True))]

    def between(a: dict[int, Array], b: dict[int, Array], va: Array, vb: Array) -> Array:
        if apart is None:
            return va + vb
        if len(a) == len(b) == 1:
            return apart(*a, *b)
        return sum(p * sum(q * apart(i, j) for j, q in b.items()) for i, p in a.items())

    while len(entries) > 1:
        winners = []
        for (m1, v1, w1), (m2, v2, w2) in zip(entries[::2], entries[1::2], strict=False):
            d = between(w1, w2, v1, v2)
            # What differs by no more than rounding is the same; its derivatives would be rounding over rounding.
            same = d <= _SAME * (v1 + v2) + _TINY
            a = xp.sqrt(xp.where(same, d * 0 + _TINY, d))
            v2 = xp.where(same, v1, v2)
            gap = m1 - m2
            z = _settled(gap / a)
            p, density = normal_cdf(z), a * normal_pdf(z)
            above = gap * p + density
            var = (v1 + gap * gap) * p + v2 * (1 - p) + gap * density - above * above
            weights = {**{i: w * p for i, w in w1.items()}, **{i: w * (1 - p) for i, w in w2.items()}}
            winners.append((m2 + above, xp.where(var > 0, var, var * 0), weights))
        entries = winners + (entries[-1:] if len(entries) % 2 else [])
    mean, var, by_index = entries[0]
    chance = [by_index[i] for i in range(len(means))]
    explained = sum(w * w * v for w, v in zip(chance, variances, strict=True))
    if apart is not None:  # cov = (v_i + v_j - apart) / 2
        for i in range(len(means)):
            for j in range(i):
                both = variances[i] + variances[j] - apart(j, i)
                explained = explained + chance[i] * chance[j] * both
    return mean, var, chance, explained
