"""Reductions over axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kppstat.array import Array, namespace
from kppstat.ops.family import Family
from kppstat.ops.gaussian import largest, quadrature
from kppstat.ops.moments import Moments, Step, unexplained
from kppstat.ops.registry import op

reduction = Family("reduction", mixes=True)


def reduced_axes(x: Array, axes: Array | None, noop: int) -> tuple[int, ...]:
    """Return the axes to reduce; none given means all, or none with `noop`."""
    given = () if axes is None else tuple(int(a) % x.ndim for a in np.asarray(axes).reshape(-1))
    return given or (() if noop else tuple(range(x.ndim)))


def _sum(x: Array, axes: tuple[int, ...], keepdims: int) -> Array:
    xp = namespace(x)
    return xp.sum(x, axis=axes, keepdims=bool(keepdims), dtype=x.dtype) if axes else x


def _sum_step(x: Moments, axes: tuple[int, ...], keepdims: int, scale: float) -> Step:
    """Return the step of `scale` times the sum over axes."""

    def pull(adjoints: Sequence[Array | None]) -> list[Array | None]:
        dy = adjoints[0]
        if dy is None:
            return [None]
        kept = tuple(1 if i in axes else n for i, n in enumerate(x.mean.shape))
        xp = namespace(dy)
        return [xp.broadcast_to(scale * xp.reshape(dy, kept), tuple(x.mean.shape))]

    out = Moments(scale * _sum(x.mean, axes, keepdims), scale * scale * _sum(x.var, axes, keepdims))
    return Step((out,), pull, couples_rows=0 in axes)


def _after(first: Step, second: Step) -> Step:
    """Return the step of one function after another; only the second leaves a residual."""
    return Step(
        second.outputs,
        lambda dy: first.pull(second.pull(dy)),
        (),
        second.residual,
        couples_rows=first.couples_rows or second.couples_rows,
    )


@op("ReduceSum", reduction, static=("axes",))
def reduce_sum(x: Array, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
    """Sum."""
    return _sum(x, reduced_axes(x, axes, noop_with_empty_axes), keepdims)


@reduce_sum.moments
def _(x: Moments, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Step:
    return _sum_step(x, reduced_axes(x.mean, axes, noop_with_empty_axes), keepdims, 1.0)


@op("ReduceMean", reduction, static=("axes",))
def reduce_mean(x: Array, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
    """Mean."""
    over = reduced_axes(x, axes, noop_with_empty_axes)
    return namespace(x).mean(x, axis=over, keepdims=bool(keepdims)) if over else x


@reduce_mean.moments
def _(x: Moments, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Step:
    over = reduced_axes(x.mean, axes, noop_with_empty_axes)
    return _sum_step(x, over, keepdims, 1 / math.prod(x.mean.shape[a] for a in over))


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


def _extreme_step(x: Moments, axes: tuple[int, ...], keepdims: int, sign: float) -> Step:
    """Return the step of the largest (or with sign -1 the smallest) over axes, elements taken as independent."""
    xp = namespace(x.mean)
    rest = [a for a in range(x.mean.ndim) if a not in axes]
    order = [*rest, *axes]
    shape = (*(x.mean.shape[a] for a in rest), -1)

    def rows(value: Array) -> Array:
        return xp.reshape(xp.permute_dims(value, order), shape)

    m, v = rows(x.mean), rows(x.var)
    count = m.shape[-1]
    mean, var, chance, explained = largest(
        [sign * m[..., i] for i in range(count)], [v[..., i] for i in range(count)], None
    )
    weights = xp.stack(chance, axis=-1)
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.mean.shape))
    shape_out = kept if keepdims else tuple(x.mean.shape[a] for a in rest)

    def pull(adjoints: Sequence[Array | None]) -> list[Array | None]:
        dy = adjoints[0]
        if dy is None:
            return [None]
        back = xp.reshape(dy, (*mean.shape, 1)) * weights
        back = xp.reshape(back, tuple(x.mean.shape[a] for a in order))
        return [xp.permute_dims(back, [order.index(a) for a in range(x.mean.ndim)])]

    out = Moments(xp.reshape(sign * mean, shape_out), xp.reshape(var, shape_out))
    residual = xp.reshape(unexplained(var, explained), shape_out)
    return Step((out,), pull, residual=residual, couples_rows=0 in axes)


@reduce_max.moments
def _(x: Moments, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Step:
    return _extreme_step(x, reduced_axes(x.mean, axes, noop_with_empty_axes), keepdims, 1.0)


@op("ReduceMin", reduction, static=("axes",))
def reduce_min(x: Array, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
    """Smallest."""
    over = reduced_axes(x, axes, noop_with_empty_axes)
    if not over:
        return x
    if 0 in x.shape:
        return _of_nothing(np.min, x, over, keepdims, np.inf)
    return namespace(x).min(x, axis=over, keepdims=bool(keepdims))


@reduce_min.moments
def _(x: Moments, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Step:
    return _extreme_step(x, reduced_axes(x.mean, axes, noop_with_empty_axes), keepdims, -1.0)


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


def _sum_of(x: Moments, f: Callable[[Array], Array], axes: tuple[int, ...], keepdims: int) -> Step:
    each = quadrature(f, x)
    assert isinstance(each.outputs[0], Moments)
    return _after(each, _sum_step(each.outputs[0], axes, keepdims, 1.0))


@reduce_sum_square.moments
def _(x: Moments, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Step:
    return _sum_of(x, lambda t: t * t, reduced_axes(x.mean, axes, noop_with_empty_axes), keepdims)


@op("ReduceL1", reduction, static=("axes",))
def reduce_l1(x: Array, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
    """Sum of absolute values."""
    return _sum(namespace(x).abs(x), reduced_axes(x, axes, noop_with_empty_axes), keepdims)


@op("ReduceL2", reduction, static=("axes",))
def reduce_l2(x: Array, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
    """Euclidean norm."""
    return namespace(x).sqrt(_sum(x * x, reduced_axes(x, axes, noop_with_empty_axes), keepdims))


@reduce_l2.moments
def _(x: Moments, axes: Array | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Step:
    squares = _sum_of(x, lambda t: t * t, reduced_axes(x.mean, axes, noop_with_empty_axes), keepdims)
    assert isinstance(squares.outputs[0], Moments)
    return _after(squares, quadrature(lambda t: namespace(t).sqrt(_not_below_zero(t)), squares.outputs[0]))


def _not_below_zero(t: Array) -> Array:
    return namespace(t).where(t > 0, t, t * 0)


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
