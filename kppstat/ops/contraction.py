"""Einstein summation, whose equation says by itself how adjoints go back."""

from __future__ import annotations

from typing import Any

from kppstat.array import Array, einsum
from kppstat.ops.bilinear import bilinear
from kppstat.ops.moments import Moments, Step, mean_of
from kppstat.ops.products import product
from kppstat.ops.registry import op


@op("Einsum", bilinear)
def einsum_(*xs: Array, equation: str) -> Array:
    """Einstein summation."""
    return einsum(equation.replace(" ", ""), *xs)


@einsum_.moments
def _(*xs: Any, equation: str) -> Step:
    if len(xs) != 2:
        raise NotImplementedError(f"{len(xs)} operands")
    a, b, out = _labels(equation)
    for own, other in ((a, b), (b, a)):
        if set(own) - set(other) - set(out):
            raise NotImplementedError("a sum over an axis of one operand alone")
    random = [labels for labels, x in zip((a, b), xs, strict=True) if isinstance(x, Moments)]
    sizes: dict[str, int] = {}
    for labels, x in zip((a, b), xs, strict=True):
        for label, size in zip(labels, mean_of(x).shape, strict=True):
            if sizes.setdefault(label, size) != size:
                raise NotImplementedError("operands that are broadcast")
    first, second = (mean_of(x) for x in xs)
    return product(
        *xs,
        lambda left, right: einsum(f"{a},{b}->{out}", left, right),
        (lambda dy: einsum(f"{out},{b}->{a}", dy, second), lambda dy: einsum(f"{a},{out}->{b}", first, dy)),
        [],
        couples_rows=any(not out or labels[:1] != out[0] for labels in random),
    )


def _labels(equation: str) -> tuple[str, str, str]:
    """Return the axes of two operands and of the result, a letter each."""
    sides = equation.replace(" ", "").split("->")
    a, b = sides[0].split(",")
    if "." in equation or len(set(a)) < len(a) or len(set(b)) < len(b):
        raise NotImplementedError("an equation with diagonals or dots")
    if len(sides) == 2:
        return a, b, sides[1]
    # Without a right side: the letters that occur once, in alphabetical order.
    return a, b, "".join(sorted(c for c in a + b if (a + b).count(c) == 1))
