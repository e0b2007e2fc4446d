"""Comparisons, logic and bits: results without moments, used for masks and shape arithmetic."""

from __future__ import annotations

from kppstat.array import Array
from kppstat.ops.family import Family
from kppstat.ops.registry import op

logic = Family("logic")


@op("Equal", logic)
def equal(a: Array, b: Array) -> Array:
    """Whether equal."""
    return a == b


@op("Greater", logic)
def greater(a: Array, b: Array) -> Array:
    """Whether greater."""
    return a > b


@op("GreaterOrEqual", logic)
def greater_or_equal(a: Array, b: Array) -> Array:
    """Whether greater or equal."""
    return a >= b


@op("Less", logic)
def less(a: Array, b: Array) -> Array:
    """Whether less."""
    return a < b


@op("LessOrEqual", logic)
def less_or_equal(a: Array, b: Array) -> Array:
    """Whether less or equal."""
    return a <= b


@op("And", logic)
def and_(a: Array, b: Array) -> Array:
    """Logical and."""
    return a & b


@op("Or", logic)
def or_(a: Array, b: Array) -> Array:
    """Logical or."""
    return a | b


@op("Xor", logic)
def xor(a: Array, b: Array) -> Array:
    """Logical exclusive or."""
    return a ^ b


@op("BitwiseAnd", logic)
def bitwise_and(a: Array, b: Array) -> Array:
    """And of the bits."""
    return a & b


@op("BitwiseOr", logic)
def bitwise_or(a: Array, b: Array) -> Array:
    """Or of the bits."""
    return a | b


@op("BitwiseXor", logic)
def bitwise_xor(a: Array, b: Array) -> Array:
    """Exclusive or of the bits."""
    return a ^ b


@op("BitShift", logic)
def bit_shift(a: Array, b: Array, *, direction: str) -> Array:
    """Bits shifted."""
    return a << b if direction == "LEFT" else a >> b
