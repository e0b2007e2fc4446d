"""Normalisation and softmax: operators that couple the elements along some axes."""

from __future__ import annotations

from collections.abc import Sequence

from kppstat.array import Array, cast, dtype_name, namespace, pad
from kppstat.ops.family import Family
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


@op("InstanceNormalization", normalisation)
def instance_normalization(x: Array, scale: Array, b: Array, *, epsilon: float = 1e-5) -> Array:
    """Standardise each channel of each input over its positions."""
    y, _, _ = standardise(x, tuple(range(2, x.ndim)), epsilon)
    return y * _per_channel(scale, x.ndim) + _per_channel(b, x.ndim)


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


@op("MeanVarianceNormalization", normalisation)
def mean_variance_normalization(x: Array, *, axes: Sequence[int] = (0, 2, 3)) -> Array:
    """Standardise over the axes."""
    return standardise(x, tuple(axes), 1e-18)[0]


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


@op("LogSoftmax", normalisation)
def log_softmax(x: Array, *, axis: int = -1) -> Array:
    """Logarithm of softmax."""
    xp = namespace(x)
    y = x - xp.max(x, axis=axis, keepdims=True)
    return y - cast(xp.log(xp.sum(xp.exp(y), axis=axis, keepdims=True)), dtype_name(x))
