"""Quantisation of activations and weights to small integers."""

from __future__ import annotations

import math

import numpy as np

from kppstat.array import Array, dtype_name, is_floating, namespace
from kppstat.errors import ModelError
from kppstat.ops.elementwise import ONNX_DTYPES
from kppstat.ops.family import Family
from kppstat.ops.gaussian import piecewise_linear
from kppstat.ops.moments import Moments, Step, pointwise
from kppstat.ops.registry import op

quantisation = Family("quantisation")


def _along(scale: Array, x: Array, axis: int, block_size: int) -> Array:
    """Return the scale (or zero point) in a shape that broadcasts with `x`."""
    xp = namespace(scale)
    if block_size:
        wide = xp.repeat(scale, block_size, axis=axis)
        return wide[(slice(None),) * (axis % x.ndim) + (slice(0, x.shape[axis]),)]
    if scale.ndim == 1 and scale.shape[0] > 1:
        return xp.reshape(scale, [-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
    return scale


@op("QuantizeLinear", quantisation)
def quantize_linear(
    x: Array,
    scale: Array,
    zero: Array | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Array:
    """Round to integers in units of `scale`, halves to even, and saturate."""
    name = dtype_name(zero) if zero is not None else ONNX_DTYPES.get(output_dtype, "uint8")
    if not np.issubdtype(np.dtype(name), np.integer):
        raise ModelError(f"QuantizeLinear to {name} is not supported", remedy="Use 8- or 16-bit integers")
    xp = namespace(x)
    y = xp.round(x / _along(scale, x, axis, block_size))
    if zero is not None:
        y = y + xp.astype(_along(zero, x, axis, block_size), x.dtype)
    limits = np.iinfo(name)
    return xp.astype(xp.clip(y, limits.min, limits.max), getattr(xp, name))


@quantize_linear.moments
def _(
    x: Moments,
    scale: Array,
    zero: Array | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Step:
    """Saturation is kept; rounding, fine against the noise, is left out."""
    xp, m = namespace(x.mean), x.mean
    limits = np.iinfo(dtype_name(zero) if zero is not None else ONNX_DTYPES.get(output_dtype, "uint8"))
    unit = _along(scale, m, axis, block_size)
    offset = 0.0 if zero is None else xp.astype(_along(zero, m, axis, block_size), m.dtype)
    low, high = (limits.min - offset) * unit, (limits.max - offset) * unit
    below, above = float(limits.min), float(limits.max)
    segments = [(-math.inf, low, below, 0.0), (low, high, offset, 1 / unit), (high, math.inf, above, 0.0)]
    return piecewise_linear(x, segments)


@op("DequantizeLinear", quantisation)
def dequantize_linear(
    x: Array,
    scale: Array,
    zero: Array | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Array:
    """Integers back to numbers."""
    if is_floating(x):
        raise ModelError(f"DequantizeLinear from {dtype_name(x)} is not supported", remedy="Use integers")
    xp = namespace(x)
    y = xp.astype(x, scale.dtype)
    if zero is not None:
        y = y - xp.astype(_along(zero, x, axis, block_size), scale.dtype)
    return y * _along(scale, x, axis, block_size)


@dequantize_linear.moments
def _(
    x: Moments,
    scale: Array,
    zero: Array | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Step:
    xp, m = namespace(x.mean), x.mean
    unit = _along(scale, m, axis, block_size)
    offset = 0.0 if zero is None else xp.astype(_along(zero, m, axis, block_size), m.dtype)
    gain = unit + xp.zeros_like(m)
    return pointwise(Moments(m, x.var, x.shared), (m - offset) * unit, x.var * unit * unit, gain, affine=True)


@op("DynamicQuantizeLinear", quantisation)
def dynamic_quantize_linear(x: Array) -> tuple[Array, Array, Array]:
    """Quantise to uint8 with a scale that fits the values at hand."""
    xp = namespace(x)
    zero = xp.zeros_like(xp.max(x))
    high, low = xp.maximum(xp.max(x), zero), xp.minimum(xp.min(x), zero)
    scale = (high - low) / 255
    scale = xp.where(scale == 0, xp.ones_like(scale), scale)
    offset = xp.clip(xp.round(-low / scale), 0, 255)
    y = xp.clip(xp.round(x / scale) + offset, 0, 255)
    return xp.astype(y, xp.uint8), scale, xp.astype(offset, xp.uint8)
