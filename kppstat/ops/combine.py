"""Arithmetic that combines several inputs element by element, with broadcasting."""

from __future__ import annotations

from functools import reduce as fold

import numpy as np

from kppstat.array import Array, is_floating, is_torch, namespace
from kppstat.ops.family import Family
from kppstat.ops.registry import op

combine = Family("combine")


def _fmod(a: Array, b: Array) -> Array:
    return namespace(a, b).asarray(a).fmod(b) if is_torch(a) else np.fmod(a, b)


@op("Add", combine)
def add(a: Array, b: Array) -> Array:
    """Sum of two."""
    return a + b


@op("Sub", combine)
def sub(a: Array, b: Array) -> Array:
    """Difference."""
    return a - b


@op("Mul", combine)
def mul(a: Array, b: Array) -> Array:
    """Product."""
    return a * b


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


@op("Min", combine)
def min_(*xs: Array) -> Array:
    """Smallest of several."""
    return fold(namespace(*xs).minimum, xs)


@op("Sum", combine)
def sum_(*xs: Array) -> Array:
    """Sum of several."""
    return fold(lambda a, b: a + b, xs)


@op("Mean", combine)
def mean(*xs: Array) -> Array:
    """Mean of several."""
    return sum_(*xs) / len(xs)


@op("Where", combine)
def where(condition: Array, a: Array, b: Array) -> Array:
    """Elements of `a` where the condition holds, else of `b`."""
    return namespace(condition, a, b).where(condition, a, b)
