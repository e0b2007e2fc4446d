"""Arithmetic that combines several inputs element by element, with broadcasting."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce as fold
from typing import Any

import numpy as np

from kppstat.array import Array, is_floating, is_torch, namespace
from kppstat.ops.family import Family
from kppstat.ops.gaussian import largest, root
from kppstat.ops.moments import Moments, Step, mean_of, pointwise, reduce_to, unexplained
from kppstat.ops.registry import op


def _by_cubature(forward: Callable[..., Any], values: Sequence[Any], attributes: Mapping[str, Any]) -> Step:
    """Moments of a function of one or two random values, element by element, by product quadrature.

    Two random inputs count as independent here; one that depends on the other is taken care of by the interpreter.
    """
    places = [i for i, v in enumerate(values) if isinstance(v, Moments)]

    def run(points: Sequence[Array]) -> Array:
        full = list(values)
        for i, p in zip(places, points, strict=True):
            full[i] = p
        return forward(*full, **attributes)

    xs = [values[i] for i in places]
    centre = run([x.mean for x in xs])
    if len(xs) > 2:
        raise NotImplementedError(f"{len(xs)} random inputs")
    xp = namespace(centre)
    nodes, weights = np.polynomial.hermite_e.hermegauss(12 if len(xs) == 1 else 7)
    weights = weights / weights.sum()
    spread = [_spread(x) for x in xs]
    first = second = centre * 0
    slopes = [centre * 0 for _ in xs]
    for chosen in itertools.product(range(len(nodes)), repeat=len(xs)):
        u = [float(nodes[k]) for k in chosen]
        w = float(np.prod([weights[k] for k in chosen]))
        apart = run([x.mean + h * z for x, h, z in zip(xs, spread, u, strict=True)]) - centre
        first, second = first + w * apart, second + w * apart * apart
        slopes = [g + w * z * apart for g, z in zip(slopes, u, strict=True)]
    var = second - first * first
    var = xp.where(var > 0, var, var * 0)
    gains = [g / h for g, h in zip(slopes, spread, strict=True)]
    explained = sum(g * g * x.var for g, x in zip(gains, xs, strict=True))
    return joined(values, centre + first, var, dict(zip(places, gains, strict=True)), unexplained(var, explained))


def _spread(x: Moments) -> Array:
    xp = namespace(x.mean)
    s, shortest = root(x.var), 1e-3 * (1 + xp.abs(x.mean))
    return xp.where(s > shortest, s, shortest)


def joined(
    values: Sequence[Any], mean: Array, var: Array, gains: Mapping[int, Array | float], residual: Array | None = None
) -> Step:
    """Return the step of an elementwise function of several values, from its gain towards each random one."""

    def pull(adjoints: Sequence[Array | None]) -> list[Array | None]:
        (dy,) = adjoints
        out: list[Array | None] = [None] * len(values)
        if dy is not None:
            for i, gain in gains.items():
                out[i] = reduce_to(dy * gain, tuple(values[i].mean.shape))
        return out

    shared = all(v.shared for v in values if isinstance(v, Moments))
    return Step((Moments(mean, var, shared),), pull, residual=None if shared else residual)


def _weighted(values: Sequence[Any], weights: Sequence[float]) -> Step:
    """Return the step of a weighted sum."""
    mean = sum(w * mean_of(v) for w, v in zip(weights, values, strict=True))
    random = {i: v for i, v in enumerate(values) if isinstance(v, Moments)}
    var = sum(weights[i] ** 2 * v.var for i, v in random.items())
    var = var + namespace(mean).zeros_like(mean)
    if len(random) == 1:
        ((i, x),) = random.items()
        if tuple(x.mean.shape) == tuple(mean.shape):
            step = pointwise(x, mean, var, namespace(mean).asarray(weights[i]), affine=True)
            return Step(step.outputs, lambda dy: [*[None] * i, *step.pull(dy)])
    return joined(values, mean, var, {i: weights[i] for i in random})


combine = Family("combine", rule=_by_cubature, univariate=True)
sums = Family("sum", mixes=True, univariate=True)


def _fmod(a: Array, b: Array) -> Array:
    return namespace(a, b).asarray(a).fmod(b) if is_torch(a) else np.fmod(a, b)


@op("Add", sums)
def add(a: Array, b: Array) -> Array:
    """Sum of two."""
    return a + b


@add.moments
def _(a: Any, b: Any) -> Step:
    return _weighted([a, b], [1.0, 1.0])


@op("Sub", sums)
def sub(a: Array, b: Array) -> Array:
    """Difference."""
    return a - b


@sub.moments
def _(a: Any, b: Any) -> Step:
    return _weighted([a, b], [1.0, -1.0])


@op("Mul", combine)
def mul(a: Array, b: Array) -> Array:
    """Product."""
    return a * b


@mul.moments
def _(a: Any, b: Any) -> Step:
    if isinstance(a, Moments) and isinstance(b, Moments):  # independent: exact
        mean = a.mean * b.mean
        both = a.var * b.var
        var = a.mean * a.mean * b.var + b.mean * b.mean * a.var + both
        return joined([a, b], mean, var, {0: b.mean, 1: a.mean}, both)
    return _scaled([a, b], 0 if isinstance(a, Moments) else 1, b if isinstance(a, Moments) else a)


def _scaled(values: Sequence[Any], i: int, factor: Array) -> Step:
    """Return the step of a random value times an exact factor."""
    x = values[i]
    mean, var = x.mean * factor, x.var * factor * factor
    if tuple(mean.shape) != tuple(x.mean.shape) or math.prod(getattr(factor, "shape", ())) > 1:
        return joined(values, mean, var, {i: factor})
    step = pointwise(x, mean, var, namespace(mean).reshape(factor, ()), affine=True)
    return Step(step.outputs, lambda dy: [*[None] * i, *step.pull(dy)])


@op("Div", combine)
def div(a: Array, b: Array) -> Array:
    """Quotient; integers are divided towards zero."""
    if is_floating(a):
        return a / b
    xp = namespace(a, b)
    quotient = a // b
    rest = a - quotient * b
    # Floor division rounds down; ONNX rounds towards zero.
    return xp.astype(quotient + xp.astype((rest != 0) & ((a < 0) != (b < 0)), quotient.dtype), quotient.dtype)


@div.moments
def _(a: Any, b: Any) -> Step:
    if not isinstance(b, Moments):
        return _scaled([a, b], 0, 1 / b)
    # To second order in the divisor: a quotient of Gaussians has no variance, a divisor far from zero does.
    ratio = mean_of(a) / b.mean
    relative = b.var / (b.mean * b.mean)
    over = a.var / (b.mean * b.mean) if isinstance(a, Moments) else 0.0
    gains = {1: -ratio / b.mean, **({0: 1 / b.mean} if isinstance(a, Moments) else {})}
    return joined([a, b], ratio * (1 + relative), over * (1 + relative) + ratio * ratio * relative, gains)


@op("Pow", combine)
def pow_(a: Array, b: Array) -> Array:
    """Power; the result has the dtype of the base."""
    xp = namespace(a, b)
    return xp.astype(a**b, a.dtype)


@op("Mod", combine)
def mod(a: Array, b: Array, *, fmod: int = 0) -> Array:
    """Remainder, with the sign of the divisor, or of the dividend if `fmod`."""
    return _fmod(a, b) if fmod else a % b


@op("PRelu", combine)
def prelu(x: Array, slope: Array) -> Array:
    """Negative values are scaled by `slope`."""
    return namespace(x).where(x < 0, slope * x, x)


@op("Max", combine)
def max_(*xs: Array) -> Array:
    """Largest of several."""
    return fold(namespace(*xs).maximum, xs)


def _extreme(xs: Sequence[Any], sign: float) -> Step:
    """Return the step of the largest (or with sign -1 the smallest) of several, broadcast."""
    shape = np.broadcast_shapes(*(tuple(mean_of(x).shape) for x in xs))
    reference = next(x.mean for x in xs if isinstance(x, Moments))
    xp = namespace(reference)
    means = [xp.broadcast_to(sign * mean_of(x), shape) for x in xs]
    zero = xp.zeros_like(reference)[(..., *[0] * reference.ndim)]
    variances = [xp.broadcast_to(x.var if isinstance(x, Moments) else zero, shape) for x in xs]
    mean, var, chance, explained = largest(means, variances, None)
    gains = {i: chance[i] for i, x in enumerate(xs) if isinstance(x, Moments)}
    return joined(xs, sign * mean, var, gains, unexplained(var, explained))


@max_.moments
def _(*xs: Any) -> Step:
    return _extreme(xs, 1.0)


@op("Min", combine)
def min_(*xs: Array) -> Array:
    """Smallest of several."""
    return fold(namespace(*xs).minimum, xs)


@min_.moments
def _(*xs: Any) -> Step:
    return _extreme(xs, -1.0)


@op("Sum", sums)
def sum_(*xs: Array) -> Array:
    """Sum of several."""
    return fold(lambda a, b: a + b, xs)


@sum_.moments
def _(*xs: Any) -> Step:
    return _weighted(xs, [1.0] * len(xs))


@op("Mean", sums)
def mean(*xs: Array) -> Array:
    """Mean of several."""
    return sum_(*xs) / len(xs)


@mean.moments
def _(*xs: Any) -> Step:
    return _weighted(xs, [1 / len(xs)] * len(xs))


@op("Where", combine)
def where(condition: Array, a: Array, b: Array) -> Array:
    """Elements of `a` where the condition holds, else of `b`."""
    return namespace(condition, a, b).where(condition, a, b)


@where.moments
def _(condition: Any, a: Any, b: Any) -> Step:
    if isinstance(condition, Moments):
        raise NotImplementedError("a random condition")
    xp = namespace(mean_of(a), mean_of(b))
    means = xp.where(condition, mean_of(a), mean_of(b))
    none = xp.zeros_like(means)
    pieces = [x.var if isinstance(x, Moments) else none for x in (a, b)]
    one = none + 1
    gains = {1: xp.where(condition, one, none), 2: xp.where(condition, none, one)}
    kept = {i: g for i, g in gains.items() if isinstance((condition, a, b)[i], Moments)}
    return joined([condition, a, b], means, xp.where(condition, *pieces), kept)
