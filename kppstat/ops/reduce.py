"""Reductions over axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from kppstat.array import Array, namespace
from kppstat.ops.family import Family
from kppstat.ops.registry import op

reduction = Family("reduction")


def reduced_axes(x: Array, axes: Array | None, noop: int) -> tuple[int, ...]:
    """Return the axes to reduce; none given means all, or none with `noop`."""
    given = () if axes is None else tuple(int(a) % x.ndim for a in np.asarray(axes).reshape(-1))
    return given or (() if noop else tuple(range(x.ndim)))


def _sum(x: Array, axes: tuple[int, ...], keepdims: int) -> Array:
    xp = namespace(x)
    return xp.sum(x, axis=axes, keepdims=bool(keepdims), dtype=x.dtype) if axes else x


@op("ReduceSum", reduction, static=("axes",))
def reduce_sum(x: Array, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
    """Sum."""
    return _sum(x, reduced_axes(x, axes, noop_with_empty_axes), keepdims)


@op("ReduceMean", reduction, static=("axes",))
def reduce_mean(x: Array, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
    """Mean."""
    over = reduced_axes(x, axes, noop_with_empty_axes)
    return namespace(x).mean(x, axis=over, keepdims=bool(keepdims)) if over else x


def _of_nothing(choose: Any, x: Array, over: tuple[int, ...], keepdims: int, infinite: float) -> Array:
    """Largest or smallest where an axis may be empty: the end of the range of the dtype."""
    if x.dtype.kind == "f":
        return choose(x, axis=over, keepdims=bool(keepdims), initial=infinite)
    limits = (False, True) if x.dtype.kind == "b" else (np.iinfo(x.dtype).min, np.iinfo(x.dtype).max)
    return choose(x, axis=over, keepdims=bool(keepdims), initial=limits[infinite > 0])


@op("ReduceMax", reduction, static=("axes",))
def reduce_max(x: Array, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
    """Largest."""
    over = reduced_axes(x, axes, noop_with_empty_axes)
    if not over:
        return x
    if 0 in x.shape:
        return _of_nothing(np.max, x, over, keepdims, -np.inf)
    return namespace(x).max(x, axis=over, keepdims=bool(keepdims))


@op("ReduceMin", reduction, static=("axes",))
def reduce_min(x: Array, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
    """Smallest."""
    over = reduced_axes(x, axes, noop_with_empty_axes)
    if not over:
        return x
    if 0 in x.shape:
        return _of_nothing(np.min, x, over, keepdims, np.inf)
    return namespace(x).min(x, axis=over, keepdims=bool(keepdims))


@op("ReduceProd", reduction, static=("axes",))
def reduce_prod(x: Array, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
    """Product."""
    xp = namespace(x)
    for axis in sorted(reduced_axes(x, axes, noop_with_empty_axes), reverse=True):
        x = xp.prod(x, axis=axis, keepdims=bool(keepdims), dtype=x.dtype)
    return x


@op("ReduceSumSquare", reduction, static=("axes",))
def reduce_sum_square(
    x: Array, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Array:
    """Sum of squares."""
    return _sum(x * x, reduced_axes(x, axes, noop_with_empty_axes), keepdims)


@op("ReduceL1", reduction, static=("axes",))
def reduce_l1(x: Array, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
    """Sum of absolute values."""
    return _sum(namespace(x).abs(x), reduced_axes(x, axes, noop_with_empty_axes), keepdims)


@op("ReduceL2", reduction, static=("axes",))
def reduce_l2(x: Array, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
    """Euclidean norm."""
    return namespace(x).sqrt(_sum(x * x, reduced_axes(x, axes, noop_with_empty_axes), keepdims))


@op("ReduceLogSum", reduction, static=("axes",))
def reduce_log_sum(x: Array, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
    """Logarithm of the sum."""
    return namespace(x).log(_sum(x, reduced_axes(x, axes, noop_with_empty_axes), keepdims))


@op("ReduceLogSumExp", reduction, static=("axes",))
def reduce_log_sum_exp(
    x: Array, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Array:
    """Logarithm of the sum of exponentials."""
    over = reduced_axes(x, axes, noop_with_empty_axes)
    xp = namespace(x)
    if not over or 0 in x.shape:
        return xp.log(_sum(xp.exp(x), over, keepdims))
    top = xp.max(x, axis=over, keepdims=True)
    top = xp.where(xp.isinf(top), top * 0 if not xp.any(xp.isinf(top)) else xp.zeros_like(top), top)
    y = xp.log(xp.sum(xp.exp(x - top), axis=over, keepdims=True)) + top
    return y if keepdims else xp.squeeze(y, axis=over)
