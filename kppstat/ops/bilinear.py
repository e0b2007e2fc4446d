"""Operators that are linear in the input and linear in the weights: where conductances multiply."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from kppstat.array import Array, conv, conv_transpose, namespace, pad, unfold
from kppstat.ops.family import Family
from kppstat.ops.moments import Moments, Step, Stored, mean_of
from kppstat.ops.pools import Windows, elements, place_windows
from kppstat.ops.products import matrix_product, product, rows_of_windows, sum_parts, window_products
from kppstat.ops.registry import op

bilinear = Family("bilinear", mixes=True)


def _bias_of(b: Array | None, rank: int) -> Array | None:
    if isinstance(b, Moments):
        raise NotImplementedError("a random bias")
    return None if b is None else namespace(b).reshape(b, (1, -1, *[1] * (rank - 2)))


def _with_bias(y: Array, b: Array | None) -> Array:
    return y if b is None else y + _bias_of(b, y.ndim)


def _needs_stored(w: Any) -> None:
    if isinstance(w, Moments) and not w.shared:
        raise NotImplementedError("a kernel that depends on the input")


@op("Conv", bilinear)
def conv_(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Array:
    """Convolution in any number of dimensions."""
    at = place_windows(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad)
    return _with_bias(conv(x, w, strides=at.strides, pads=at.pads, dilations=at.dilations, group=group), b)


@conv_.moments
def _(
    x: Any,
    w: Any,
    b: Array | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Step:
    _needs_stored(w)
    mx, mw = mean_of(x), mean_of(w)
    at = place_windows(mx.shape[2:], mw.shape[2:], strides, dilations, pads, auto_pad)
    where: dict[str, Any] = {"strides": at.strides, "pads": at.pads, "dilations": at.dilations, "group": group}

    @functools.cache
    def columns() -> Array:
        return unfold(pad(mx, [(0, 0), (0, 0), *at.pads]), mw.shape[2:], at.strides, at.dilations, group)

    def gradient(dy: Array, n: int) -> Array:
        return sum_parts(window_products(dy, columns(), group), n, tuple(mw.shape))

    step = product(
        x,
        w,
        lambda left, right: conv(left, right, **where),
        (lambda dy: conv_transpose(dy, mw, spatial=tuple(mx.shape[2:]), **where), lambda dy: dy),
        [(1, gradient)],
        _bias_of(b, mx.ndim),
    )
    if not isinstance(w, Moments):
        return step
    (y,) = step.outputs
    assert isinstance(y, Moments)

    def apart(windows: Windows, i: int, j: int) -> Array:
        """Return the weights' own part: sum of var(w) times the squared difference of the two patches."""
        xp = namespace(mx)
        spatial = tuple(y.mean.shape[2:])
        patches = columns()
        n, _, size, _ = patches.shape
        cut = elements(xp.reshape(patches, (n, group * size, *spatial)), windows)
        apart_squared = (cut[i] - cut[j]) ** 2
        out = apart_squared.shape[2:]
        spread = xp.reshape(w.var, (group, w.var.shape[0] // group, size))
        y_apart = xp.matmul(spread, xp.reshape(apart_squared, (n, group, size, -1)))
        return xp.reshape(y_apart, (n, w.var.shape[0], *out))

    return Step((Moments(y.mean, y.var, apart=apart),), step.pull, step.stored, step.residual)


@op("ConvTranspose", bilinear)
def conv_transpose_(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Array:
    """Transpose of a convolution."""
    rank = x.ndim - 2
    stride, dilation = tuple(strides or (1,) * rank), tuple(dilations or (1,) * rank)
    around, spatial = transposed_place(
        x.shape[2:],
        w.shape[2:],
        stride,
        dilation,
        auto_pad=auto_pad,
        output_padding=output_padding,
        output_shape=output_shape,
        pads=pads,
    )
    y = conv_transpose(x, w, strides=stride, pads=around, dilations=dilation, group=group, spatial=spatial)
    return _with_bias(y, b)


def transposed_place(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    *,
    auto_pad: str = "NOTSET",
    kernel_shape: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
) -> tuple[list[tuple[int, int]], list[int]]:
    """Return what a ConvTranspose cuts away at the ends, and the spatial sizes of its result."""
    rank = len(sizes)
    extra = tuple(output_padding or (0,) * rank)
    full = [
        s * (n - 1) + e + (k - 1) * d + 1 for n, k, s, d, e in zip(sizes, kernel, stride, dilation, extra, strict=True)
    ]
    if output_shape or auto_pad in {"SAME_UPPER", "SAME_LOWER"}:
        wanted = list(output_shape or [n * s for n, s in zip(sizes, stride, strict=True)])[-rank:]
        total = [max(f - o, 0) for f, o in zip(full, wanted, strict=True)]
        begin = [t // 2 if auto_pad == "SAME_UPPER" else t - t // 2 for t in total]
        return [(b, t - b) for b, t in zip(begin, total, strict=True)], wanted
    around = list(zip(pads[:rank], pads[rank:], strict=True)) if pads else [(0, 0)] * rank
    return around, [f - b - e for f, (b, e) in zip(full, around, strict=True)]


@conv_transpose_.moments
def _(
    x: Any,
    w: Any,
    b: Array | None = None,
    *,
    dilations: Sequence[int] | None = None,
    group: int = 1,
    strides: Sequence[int] | None = None,
    **rest: Any,
) -> Step:
    _needs_stored(w)
    mx, mw = mean_of(x), mean_of(w)
    rank = mx.ndim - 2
    stride, dilation = tuple(strides or (1,) * rank), tuple(dilations or (1,) * rank)
    around, spatial = transposed_place(mx.shape[2:], mw.shape[2:], stride, dilation, **rest)
    where: dict[str, Any] = {"strides": stride, "pads": around, "dilations": dilation, "group": group}
    kernel = tuple(mw.shape[2:])
    reach = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(mx.shape[2:], stride, kernel, dilation, strict=True)]
    # The output as it was before the ends were cut away, exactly as far as the kernel reaches.
    ends = [(begin, r - begin - n) for (begin, _), r, n in zip(around, reach, spatial, strict=True)]

    def widened(dy: Array) -> Array:
        cut = tuple(slice(0, n + min(end, 0)) for n, (_, end) in zip(dy.shape[2:], ends, strict=True))
        more = [(begin, max(end, 0)) for begin, end in ends]
        return pad(dy[(slice(None), slice(None), *cut)], [(0, 0), (0, 0), *more])

    def gradient(dy: Array, n: int) -> Array:
        patches = unfold(widened(dy), kernel, stride, dilation, group)
        return sum_parts(rows_of_windows(mx, group) @ patches.swapaxes(-1, -2), n, tuple(mw.shape))

    none = [(0, 0)] * rank
    return product(
        x,
        w,
        lambda left, right: conv_transpose(left, right, spatial=spatial, **where),
        (lambda dy: conv(widened(dy), mw, strides=stride, pads=none, dilations=dilation, group=group), lambda dy: dy),
        [(1, gradient)],
        _bias_of(b, mx.ndim),
    )


@op("MatMul", bilinear)
def mat_mul(a: Array, b: Array) -> Array:
    """Matrix product over the last two axes."""
    return namespace(a, b).matmul(a, b)


@mat_mul.moments
def _(a: Any, b: Any) -> Step:
    return matrix_product(a, b)


@op("Gemm", bilinear)
def gemm(
    a: Array,
    b: Array,
    c: Array | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Array:
    """Product of two matrices, plus a term that is broadcast."""
    y = (a.T if transA else a) @ (b.T if transB else b)
    y = y if alpha == 1 else alpha * y
    return y if c is None else y + (c if beta == 1 else beta * c)


@gemm.moments
def _(
    a: Any,
    b: Any,
    c: Array | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Step:
    if isinstance(c, Moments):
        raise NotImplementedError("a random third input")
    left, right = _turned(a, transA), _turned(b, transB)
    left = (
        Moments(alpha * left.mean, alpha * alpha * left.var, left.shared) if isinstance(left, Moments) else alpha * left
    )
    # Inputs of the network lie along the rows of a only.
    kept = not transA and not (isinstance(b, Moments) and not b.shared)
    step = matrix_product(left, right, None if c is None else beta * c, couples_rows=not kept)

    def pull(adjoints: Sequence[Array | None]) -> list[Array | None]:
        da, db = step.pull(adjoints)
        da = da if da is None else alpha * (da.T if transA else da)
        return [da, db.T if db is not None and transB else db]

    def laid_out(s: Stored) -> Stored:
        turn = transA if s.index == 0 else transB
        factor = alpha if s.index == 0 else 1.0

        def gradient(dy: Array, n: int) -> Array:
            g = s.gradient(dy, n)
            return _times(factor, g.swapaxes(-1, -2) if turn else g)

        def factors(dy: Array, n: int) -> tuple[Array, Array] | None:
            found = None if s.factors is None else s.factors(dy, n)
            if found is None:
                return None
            rows, columns = found[::-1] if turn else found
            return _times(factor, rows), columns

        return Stored(s.index, gradient, s.square, factors)

    return Step(
        step.outputs, pull, tuple(laid_out(s) for s in step.stored), step.residual, couples_rows=step.couples_rows
    )


def _times(factor: float, x: Array) -> Array:
    return x if factor == 1 else factor * x


def _turned(x: Any, turn: int) -> Any:
    if not turn:
        return x
    return Moments(x.mean.T, x.var.T, x.shared) if isinstance(x, Moments) else x.T


@op("MatMulInteger", bilinear)
def mat_mul_integer(a: Array, b: Array, a_zero: Array | None = None, b_zero: Array | None = None) -> Array:
    """Matrix product of small integers, with their zero points taken off, in int32."""
    xp = namespace(a)
    left = xp.astype(a, xp.int32)
    right = xp.astype(b, xp.int32)
    if a_zero is not None:
        zero = xp.astype(a_zero, xp.int32)
        left = left - (xp.reshape(zero, (-1, 1)) if zero.ndim == 1 and zero.shape[0] > 1 else zero)
    if b_zero is not None:
        right = right - xp.astype(b_zero, xp.int32)
    return xp.matmul(left, right)


@op("ConvInteger", bilinear)
def conv_integer(
    x: Array,
    w: Array,
    x_zero: Array | None = None,
    w_zero: Array | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Array:
    """Convolution of small integers, with their zero points taken off, in int32."""
    left = np.asarray(x).astype(np.int32) - (0 if x_zero is None else np.asarray(x_zero).astype(np.int32))
    right = np.asarray(w).astype(np.int32)
    if w_zero is not None:
        right = right - np.asarray(w_zero).astype(np.int32).reshape(-1, *[1] * (right.ndim - 1))
    at = place_windows(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad)
    return conv(left, right, strides=at.strides, pads=at.pads, dilations=at.dilations, group=group)
