"""Operators that are linear in the input and linear in the weights: where conductances multiply."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kppstat.array import Array, conv, conv_transpose, einsum, namespace
from kppstat.ops.family import Family
from kppstat.ops.pools import place_windows
from kppstat.ops.registry import op

bilinear = Family("bilinear")


def _with_bias(y: Array, b: Array | None) -> Array:
    return y if b is None else y + namespace(b).reshape(b, (1, -1, *[1] * (y.ndim - 2)))


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
    kernel = w.shape[2:]
    stride = tuple(strides or (1,) * rank)
    dilation = tuple(dilations or (1,) * rank)
    extra = tuple(output_padding or (0,) * rank)
    full = [
        s * (n - 1) + e + (k - 1) * d + 1
        for n, k, s, d, e in zip(x.shape[2:], kernel, stride, dilation, extra, strict=True)
    ]
    if output_shape or auto_pad in {"SAME_UPPER", "SAME_LOWER"}:
        wanted = list(output_shape or [n * s for n, s in zip(x.shape[2:], stride, strict=True)])[-rank:]
        total = [max(f - o, 0) for f, o in zip(full, wanted, strict=True)]
        begin = [t // 2 if auto_pad == "SAME_UPPER" else t - t // 2 for t in total]
        around = [(b, t - b) for b, t in zip(begin, total, strict=True)]
        spatial = wanted
    else:
        around = list(zip(pads[:rank], pads[rank:], strict=True)) if pads else [(0, 0)] * rank
        spatial = [f - b - e for f, (b, e) in zip(full, around, strict=True)]
    y = conv_transpose(x, w, strides=stride, pads=around, dilations=dilation, group=group, spatial=spatial)
    return _with_bias(y, b)


@op("MatMul", bilinear)
def mat_mul(a: Array, b: Array) -> Array:
    """Matrix product over the last two axes."""
    return namespace(a, b).matmul(a, b)


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


@op("Einsum", bilinear)
def einsum_(*xs: Array, equation: str) -> Array:
    """Einstein summation."""
    return einsum(equation.replace(" ", ""), *xs)


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
