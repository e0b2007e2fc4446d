"""Pooling over windows, in any number of spatial dimensions."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kppstat.array import Array, dtype_name, in_windows, like, max_of_windows, namespace, offsets, pad, to_numpy
from kppstat.ops.family import Family
from kppstat.ops.gaussian import largest, root
from kppstat.ops.moments import Moments, Step, unexplained
from kppstat.ops.registry import op

pool = Family("pool", mixes=True)

_MANY = 9  # elements of a window up to which all pairs are looked at


@dataclass(frozen=True)
class Windows:
    """Where the windows of a kernel lie: one number per spatial axis, pads as (begin, end)."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]


def place_windows(
    spatial: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
    ceil_mode: int = 0,
) -> Windows:
    """Resolve the attributes that ONNX convolutions and pools share.

    With `ceil_mode` the end is padded until the last window fits, unless that window would start in the padding.
    """
    rank = len(spatial)
    strides = tuple(strides or (1,) * rank)
    dilations = tuple(dilations or (1,) * rank)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if auto_pad in {"SAME_UPPER", "SAME_LOWER"}:
        total = [max((-(-n // s) - 1) * s + r - n, 0) for n, s, r in zip(spatial, strides, reach, strict=True)]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        before, after = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
        around = list(zip(before, after, strict=True))
    elif auto_pad == "VALID" or not pads:
        around = [(0, 0)] * rank
    else:
        around = list(zip(pads[:rank], pads[rank:], strict=True))
    if ceil_mode:
        for i, (n, s, r) in enumerate(zip(spatial, strides, reach, strict=True)):
            begin, end = around[i]
            count = -(-(n + begin + end - r) // s) + 1
            if (count - 1) * s >= n + begin:
                count -= 1
            around[i] = (begin, max(end, (count - 1) * s + r - n - begin))
    return Windows(tuple(kernel), strides, dilations, tuple(around))


def _slices(x: Array, at: Windows) -> list[Array]:
    return in_windows(x, at.kernel, at.strides, at.dilations)


def _padded(x: Array, at: Windows, value: float) -> Array:
    return pad(x, [(0, 0), (0, 0), *at.pads], value)


@op("MaxPool", pool)
def max_pool(
    x: Array,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    storage_order: int = 0,
    outputs: int = 1,
) -> Array:
    """Largest element of each window."""
    at = place_windows(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    xp = namespace(x)
    lowest = -math.inf if "float" in str(x.dtype) else int(xp.iinfo(x.dtype).min)
    padded = _padded(x, at, lowest)
    y = max_of_windows(padded, at.kernel, at.strides, at.dilations)
    if outputs == 1:
        return y
    parts = _slices(padded, at)
    number = np.arange(math.prod(x.shape[2:])).reshape(x.shape[2:], order="F" if storage_order else "C")
    maps = np.arange(x.shape[0] * x.shape[1]).reshape(x.shape[0], x.shape[1], *[1] * number.ndim)
    number = maps * number.size + number
    numbers = _slices(_padded(number, at, -1), at)
    chosen = like(numbers[0], x)
    for part, n in zip(parts[::-1], numbers[::-1], strict=True):  # of equals the first
        chosen = xp.where(part == y, like(n, x), chosen)
    return y, chosen


def _scattered(x: Array, at: Windows, parts: Sequence[Array]) -> Array:
    """Add values of each element of the windows into the places of the unpadded input that they came from."""
    xp = namespace(parts[0])
    shape = [*x.shape[:2], *(n + b + e for n, (b, e) in zip(x.shape[2:], at.pads, strict=True))]
    total = xp.zeros(tuple(shape), dtype=parts[0].dtype)
    total = like(total, parts[0])
    for where, part in zip(offsets(shape[2:], at.kernel, at.strides, at.dilations), parts, strict=True):
        total[(slice(None), slice(None), *where)] += part
    inside = [slice(b, b + n) for n, (b, _) in zip(x.shape[2:], at.pads, strict=True)]
    return total[(slice(None), slice(None), *inside)]


def _largest_step(x: Moments, at: Windows, scale: Array | None) -> Step:
    """Return the step of the largest element of each window; `scale` corrects how far apart they are."""
    xp = namespace(x.mean)
    # Padding never wins: it lies far below everything.
    below = float(to_numpy(xp.min(x.mean) - 20 * xp.sqrt(xp.max(x.var)) - 1))
    means, variances = _slices(_padded(x.mean, at, below), at), _slices(_padded(x.var, at, 0), at)
    roots = _slices(_padded(root(x.var), at, 0), at)

    @functools.cache
    def apart(i: int, j: int) -> Array:
        if i > j:
            return apart(j, i)
        independent = variances[i] + variances[j]
        known = independent if x.apart is None else x.apart(at, i, j)
        known = known if scale is None else known * scale
        # |s_i - s_j|^2 <= apart <= (s_i + s_j)^2 whatever the correlation
        product = 2 * roots[i] * roots[j]
        return xp.minimum(xp.maximum(known, independent - product), independent + product)

    use = apart if len(means) <= _MANY else None
    mean, var, chance, explained = largest(means, variances, use)

    def pull(adjoints: Sequence[Array | None]) -> list[Array | None]:
        dy = adjoints[0]
        return [None if dy is None else _scattered(x.mean, at, [dy * w for w in chance])]

    return Step((Moments(mean, var),), pull, residual=unexplained(var, explained))


@max_pool.moments
def _(x: Moments, *, scale: Array | None = None, outputs: int = 1, **attributes: Any) -> Step:
    return _largest_step(x, max_windows(x.mean, **attributes), scale)


def max_windows(
    x: Array,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    **_: Any,
) -> Windows:
    """Return where the windows of a MaxPool with these attributes lie."""
    return place_windows(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)


def elements(x: Array, at: Windows) -> list[Array]:
    """Return each element of the windows in turn; padding counts as zero."""
    return _slices(_padded(x, at, 0), at)


def neighbours(x: Array, at: Windows) -> list[tuple[Array, Array]]:
    """Return pairs of elements of each window that follow each other; padding counts as zero."""
    return list(itertools.pairwise(elements(x, at)))


@op("AveragePool", pool)
def average_pool(
    x: Array,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> Array:
    """Mean of each window, without the padding unless `count_include_pad`."""
    at = place_windows(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    weight = _mean_weights(x, at, kernel_shape, strides, dilations, pads, auto_pad, count_include_pad)
    return window_sum(_padded(x, at, 0), at) * weight


@average_pool.moments
def _(
    x: Moments,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> Step:
    at = place_windows(x.mean.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    weight = _mean_weights(x.mean, at, kernel_shape, strides, dilations, pads, auto_pad, count_include_pad)
    mean = window_sum(_padded(x.mean, at, 0), at) * weight
    var = window_sum(_padded(x.var, at, 0), at) * weight * weight

    def pull(adjoints: Sequence[Array | None]) -> list[Array | None]:
        dy = adjoints[0]
        return [None if dy is None else _scattered(x.mean, at, [dy * weight] * math.prod(at.kernel))]

    return Step((Moments(mean, var),), pull)


def _mean_weights(
    x: Array,
    at: Windows,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
    count_include_pad: int,
) -> Array:
    """One over the number of elements that each window counts, shape (1, 1, *out)."""
    counted = np.ones((1, 1, *x.shape[2:]), dtype_name(x))
    if count_include_pad:  # what ceil_mode adds at the end never counts
        asked = place_windows(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
        rest = [(0, b - a) for (_, a), (_, b) in zip(asked.pads, at.pads, strict=True)]
        counted = pad(pad(counted, [(0, 0), (0, 0), *asked.pads], 1), [(0, 0), (0, 0), *rest])
    else:
        counted = _padded(counted, at, 0)
    return like(1 / window_sum(counted, at), x)


def window_sum(x: Array, at: Windows) -> Array:
    """Return the sum over each window of an input that is padded already."""
    parts = _slices(x, at)
    return sum(parts[1:], start=parts[0])


@op("LpPool", pool)
def lp_pool(
    x: Array,
    *,
    kernel_shape: Sequence[int],
    p: int = 2,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
) -> Array:
    """p-norm of each window."""
    at = place_windows(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    return window_sum(_padded(namespace(x).abs(x) ** p, at, 0), at) ** (1 / p)


def _spatial(x: Array) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


@op("GlobalAveragePool", pool)
def global_average_pool(x: Array) -> Array:
    """Mean over all positions."""
    return namespace(x).mean(x, axis=_spatial(x), keepdims=True)


@global_average_pool.moments
def _(x: Moments) -> Step:
    xp, shape = namespace(x.mean), tuple(x.mean.shape)
    count = math.prod(shape[2:])

    def pull(adjoints: Sequence[Array | None]) -> list[Array | None]:
        dy = adjoints[0]
        return [None if dy is None else xp.broadcast_to(dy / count, shape)]

    return Step((Moments(global_average_pool(x.mean), global_average_pool(x.var) / count),), pull)


@op("GlobalMaxPool", pool)
def global_max_pool(x: Array) -> Array:
    """Largest over all positions."""
    xp = namespace(x)
    return xp.reshape(xp.max(xp.reshape(x, (*x.shape[:2], -1)), axis=-1), (*x.shape[:2], *[1] * (x.ndim - 2)))


@global_max_pool.moments
def _(x: Moments) -> Step:
    return _largest_step(x, max_windows(x.mean, kernel_shape=tuple(x.mean.shape[2:])), None)


@op("GlobalLpPool", pool)
def global_lp_pool(x: Array, *, p: int = 2) -> Array:
    """p-norm over all positions."""
    xp = namespace(x)
    return xp.sum(xp.abs(x) ** p, axis=_spatial(x), keepdims=True) ** (1 / p)
