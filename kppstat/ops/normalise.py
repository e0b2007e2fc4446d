"""Normalisation and softmax: operators that couple the elements along some axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kppstat.array import Array, cast, dtype_name, namespace, pad
from kppstat.ops.family import Family
from kppstat.ops.moments import Moments, Step, pointwise
from kppstat.ops.registry import op

normalisation = Family("normalisation")


def _per_channel(x: Array, rank: int) -> Array:
    return namespace(x).reshape(x, (1, -1, *[1] * (rank - 2)))


def standardise(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Array, Array]:
    """Return x less its mean over the axes, times one over its standard deviation; also that mean and inverse."""
    xp = namespace(x)
    centre = xp.mean(x, axis=axes, keepdims=True)
    apart = x - centre
    inverse = 1 / xp.sqrt(xp.mean(apart * apart, axis=axes, keepdims=True) + epsilon)
    return apart * inverse, centre, inverse


@op("BatchNormalization", normalisation)
def batch_normalization(
    x: Array,
    scale: Array,
    b: Array,
    mean: Array,
    var: Array,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    outputs: int = 1,
) -> Array:
    """Scale and shift per channel, with the statistics of training."""
    xp = namespace(x)
    rank = max(x.ndim, 2)
    if training_mode:
        over = (0, *range(2, x.ndim))
        now, spread = xp.mean(x, axis=over), xp.var(x, axis=over)
        y = batch_normalization(x, scale, b, now, spread, epsilon=epsilon)
        return (y, mean * momentum + now * (1 - momentum), var * momentum + spread * (1 - momentum))[:outputs]
    gain = scale / xp.sqrt(var + epsilon)
    return x * _per_channel(gain, rank) + _per_channel(b - mean * gain, rank)


@batch_normalization.moments
def _(
    x: Moments, scale: Array, b: Array, mean: Array, var: Array, *, epsilon: float = 1e-5, outputs: int = 1, **_: Any
) -> Step:
    if any(isinstance(v, Moments) for v in (scale, b, mean, var)):
        raise NotImplementedError("statistics that depend on the weights")
    gain = _per_channel(scale / namespace(var).sqrt(var + epsilon), max(x.mean.ndim, 2))
    y = batch_normalization(x.mean, scale, b, mean, var, epsilon=epsilon)
    return pointwise(x, y, x.var * gain * gain, gain, affine=True)


def _standardised(x: Moments, axes: tuple[int, ...], epsilon: float, scale: Array, shift: Array | None) -> Step:
    """Return the step of `standardise`, scaled and shifted, with the expected squared deviation in the denominator.

    Independent noise adds its mean variance, less the part that moves with the mean, to the squared deviation.
    """
    xp = namespace(x.mean)
    count = math.prod(x.mean.shape[a] for a in axes)

    def average(t: Array) -> Array:
        return xp.mean(t, axis=axes, keepdims=True)

    apart = x.mean - average(x.mean)
    inverse = 1 / xp.sqrt(average(apart * apart) + average(x.var) * (1 - 1 / count) + epsilon)
    y = apart * inverse

    def pull(adjoints: Sequence[Array | None]) -> list[Array | None]:
        dy = adjoints[0]
        if dy is None:
            return [None]
        g = dy * scale
        return [inverse * (g - average(g) - y * average(g * y))]

    # Derivative of y_i by x_j: inverse (d_ij - (1 + y_i y_j) / count), squared and summed.
    share = (1 + y * y) / count
    mine = (1 - 2 * share) * x.var
    others = (average(x.var) + 2 * y * average(x.var * y) + y * y * average(x.var * y * y)) / count
    var = inverse * inverse * (mine + others) * scale * scale
    mean = y * scale if shift is None else y * scale + shift
    over_inputs = 0 in axes
    return Step((Moments(mean, var),), pull, couples_rows=over_inputs)


@op("InstanceNormalization", normalisation)
def instance_normalization(x: Array, scale: Array, b: Array, *, epsilon: float = 1e-5) -> Array:
    """Standardise each channel of each input over its positions."""
    y, _, _ = standardise(x, tuple(range(2, x.ndim)), epsilon)
    return y * _per_channel(scale, x.ndim) + _per_channel(b, x.ndim)


@instance_normalization.moments
def _(x: Moments, scale: Array, b: Array, *, epsilon: float = 1e-5) -> Step:
    rank = x.mean.ndim
    return _standardised(x, tuple(range(2, rank)), epsilon, _per_channel(scale, rank), _per_channel(b, rank))


@op("LayerNormalization", normalisation)
def layer_normalization(
    x: Array,
    scale: Array,
    b: Array | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    outputs: int = 1,
) -> Array:
    """Standardise over the axes from `axis` on."""
    y, centre, inverse = standardise(x, tuple(range(axis % x.ndim, x.ndim)), epsilon)
    y = y * scale if b is None else y * scale + b
    return (y, centre, inverse)[:outputs] if outputs > 1 else y


@layer_normalization.moments
def _(
    x: Moments,
    scale: Array,
    b: Array | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    outputs: int = 1,
) -> Step:
    if outputs > 1:
        raise NotImplementedError("the statistics as outputs")
    return _standardised(x, tuple(range(axis % x.mean.ndim, x.mean.ndim)), epsilon, scale, b)


@op("RMSNormalization", normalisation)
def rms_normalization(x: Array, scale: Array, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1) -> Array:
    """Divide by the root mean square over the axes from `axis` on."""
    xp = namespace(x)
    over = tuple(range(axis % x.ndim, x.ndim))
    return x / xp.sqrt(xp.mean(x * x, axis=over, keepdims=True) + epsilon) * scale


@op("GroupNormalization", normalisation)
def group_normalization(
    x: Array, scale: Array, b: Array, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Array:
    """Standardise groups of channels."""
    xp = namespace(x)
    y, _, _ = standardise(xp.reshape(x, (x.shape[0], num_groups, -1)), (2,), epsilon)
    y = xp.reshape(y, tuple(x.shape))
    return y * _per_channel(scale, x.ndim) + _per_channel(b, x.ndim)


@group_normalization.moments
def _(x: Moments, scale: Array, b: Array, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1) -> Step:
    xp, shape = namespace(x.mean), tuple(x.mean.shape)
    wide = (shape[0], num_groups, -1)
    grouped = Moments(xp.reshape(x.mean, wide), xp.reshape(x.var, wide))

    def spread(t: Array) -> Array:
        return xp.reshape(xp.broadcast_to(_per_channel(t, len(shape)), shape), wide)

    step = _standardised(grouped, (2,), epsilon, spread(scale), spread(b))
    (y,) = step.outputs
    assert isinstance(y, Moments)

    def pull(adjoints: Sequence[Array | None]) -> list[Array | None]:
        dy = adjoints[0]
        if dy is None:
            return [None]
        (dx,) = step.pull([xp.reshape(dy, wide)])
        return [xp.reshape(dx, shape)]

    return Step((Moments(xp.reshape(y.mean, shape), xp.reshape(y.var, shape)),), pull)


@op("MeanVarianceNormalization", normalisation)
def mean_variance_normalization(x: Array, *, axes: Sequence[int] = (0, 2, 3)) -> Array:
    """Standardise over the axes."""
    return standardise(x, tuple(axes), 1e-18)[0]


@mean_variance_normalization.moments
def _(x: Moments, *, axes: Sequence[int] = (0, 2, 3)) -> Step:
    return _standardised(x, tuple(axes), 1e-18, namespace(x.mean).ones_like(x.mean), None)


@op("LpNormalization", normalisation)
def lp_normalization(x: Array, *, axis: int = -1, p: int = 2) -> Array:
    """Divide by the p-norm along an axis; zeros stay zero."""
    xp = namespace(x)
    norm = xp.sum(xp.abs(x), axis=axis, keepdims=True) if p == 1 else xp.sqrt(xp.sum(x * x, axis=axis, keepdims=True))
    return x / xp.where(norm == 0, xp.ones_like(norm), norm)


@op("LRN", normalisation)
def lrn(x: Array, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Array:
    """Divide by a power of the squares in the neighbouring channels."""
    around = [(0, 0), ((size - 1) // 2, size - 1 - (size - 1) // 2), *[(0, 0)] * (x.ndim - 2)]
    squares = pad(x * x, around)
    total = sum((squares[:, i : i + x.shape[1]] for i in range(1, size)), start=squares[:, : x.shape[1]])
    return x / (bias + alpha / size * total) ** beta


@op("Softmax", normalisation)
def softmax(x: Array, *, axis: int = -1) -> Array:
    """Exponentials that sum to one along an axis."""
    xp = namespace(x)
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


@softmax.moments
def _(x: Moments, *, axis: int = -1) -> Step:
    """Mean to second order in independent noise, from d2p_i/dx_j2 = p_i (d_ij - p_j)^2 - p_i p_j (1 - p_j)."""
    xp = namespace(x.mean)
    p, v = softmax(x.mean, axis=axis), x.var

    def total(t: Array) -> Array:
        return xp.sum(t, axis=axis, keepdims=True)

    mean = p * (1 + 0.5 * v * (1 - 2 * p) - 0.5 * total(p * v) + total(p * p * v))
    mean = xp.where(mean > 0, mean, mean * 0)
    mean = mean / total(mean)
    var = mean * mean * (v * (1 - 2 * mean) + total(mean * mean * v))

    def pull(adjoints: Sequence[Array | None]) -> list[Array | None]:
        dy = adjoints[0]
        return [None if dy is None else mean * (dy - total(dy * mean))]

    inputs_apart = axis % x.mean.ndim != 0
    return Step((Moments(mean, var),), pull, couples_rows=not inputs_apart)


@op("LogSoftmax", normalisation)
def log_softmax(x: Array, *, axis: int = -1) -> Array:
    """Logarithm of softmax."""
    xp = namespace(x)
    y = x - xp.max(x, axis=axis, keepdims=True)
    return y - cast(xp.log(xp.sum(xp.exp(y), axis=axis, keepdims=True)), dtype_name(x))


@log_softmax.moments
def _(x: Moments, *, axis: int = -1) -> Step:
    xp = namespace(x.mean)
    p, v = softmax(x.mean, axis=axis), x.var

    def total(t: Array) -> Array:
        return xp.sum(t, axis=axis, keepdims=True)

    mean = log_softmax(x.mean, axis=axis) - 0.5 * total(p * (1 - p) * v)
    var = v * (1 - 2 * p) + total(p * p * v)

    def pull(adjoints: Sequence[Array | None]) -> list[Array | None]:
        dy = adjoints[0]
        return [None if dy is None else dy - p * total(dy)]

    inputs_apart = axis % x.mean.ndim != 0
    return Step((Moments(mean, var),), pull, couples_rows=not inputs_apart)
