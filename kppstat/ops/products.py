"""Moments of a product that is linear in each of two factors, one of which may be a stored weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from kppstat.array import Array, einsum, namespace
from kppstat.ops.moments import Moments, Step, Stored, mean_of, reduce_to

Product = Callable[[Array, Array], Array]
PullBack = Callable[[Array], Array]


def product(
    a: Any,
    b: Any,
    f: Product,
    pulls: tuple[PullBack, PullBack],
    gradients: Sequence[tuple[int, Callable[[Array, int], Array]]],
    bias: Array | None = None,
    **more: Any,
) -> Step:
    """Return the step of ``f(a, b) + bias`` for independent factors; exact for mean and variance per element.

    With independent elements ``var f = f(var a, mean_b^2) + f(mean_a^2, var b) + f(var a, var b)``; the last term is
    what no linear fit explains. (For a matrix product: MemSE, arXiv 2205.01707, section on linear layers.)

    Parameters
    ----------
    a, b : Moments or array
    f : callable
        Bilinear, with nothing but non-negative coefficients.
    pulls : pair of callable
        Adjoint of the output to the adjoint of each factor.
    gradients : sequence of (index, callable)
        For the factors that are stored weights, as in `Stored`.
    bias : array or None
    more : further fields of the step
    """
    ma, mb = mean_of(a), mean_of(b)
    mean = f(ma, mb)
    var: Array = 0
    both = None
    if isinstance(a, Moments) and isinstance(b, Moments):
        both = f(a.var, b.var)
        var = f(a.var, mb * mb) + f(ma * ma, b.var) + both
    elif isinstance(a, Moments):
        var = f(a.var, mb * mb)
    else:
        var = f(ma * ma, b.var)
    if bias is not None:
        mean = mean + bias

    def pull(adjoints: Sequence[Array | None]) -> list[Array | None]:
        dy = adjoints[0]
        return [
            pulls[i](dy) if dy is not None and isinstance(v, Moments) and not v.shared else None
            for i, v in enumerate((a, b))
        ]

    stored = []
    for index, gradient in gradients:
        weight = (a, b)[index]
        if isinstance(weight, Moments) and weight.shared:
            stored.append(Stored(index, gradient, _square(gradient, weight.var)))
    return Step((Moments(mean, var),), pull, tuple(stored), both, **more)


def _square(gradient: Callable[[Array, int], Array], var: Array) -> Callable[[Array, int], Array]:
    def square(dy: Array, n: int) -> Array:
        g = gradient(dy, n)
        xp = namespace(g)
        return xp.sum(xp.reshape(g * g * var, (n, -1)), axis=1)

    return square


def matrix_product(a: Any, b: Any, bias: Array | None = None, **more: Any) -> Step:
    """Return the step of a matrix product over the last two axes, plus an exact bias."""
    ma, mb = mean_of(a), mean_of(b)
    xp = namespace(ma, mb)
    if ma.ndim < 2 or mb.ndim < 2:
        raise NotImplementedError("a product with a vector")
    if all(isinstance(v, Moments) and v.shared for v in (a, b)):
        raise NotImplementedError("a product of two stored weights")

    def turned(x: Array) -> Array:
        return x.swapaxes(-1, -2)

    def for_left(dy: Array, n: int) -> Array:
        return _per_input(dy, turned(mb), tuple(ma.shape), n)

    def for_right(dy: Array, n: int) -> Array:
        if mb.ndim == 2:  # rows of one input together
            rows, adjoints = xp.reshape(ma, (n, -1, ma.shape[-1])), xp.reshape(dy, (n, -1, dy.shape[-1]))
            # An outer product is quicker without the machinery of matrices.
            return turned(rows) * adjoints if rows.shape[1] == 1 else xp.matmul(turned(rows), adjoints)
        return _per_input(turned(ma), dy, tuple(mb.shape), n)

    step = product(
        a,
        b,
        xp.matmul,
        (
            lambda dy: reduce_to(xp.matmul(dy, turned(mb)), tuple(ma.shape)),
            lambda dy: reduce_to(xp.matmul(turned(ma), dy), tuple(mb.shape)),
        ),
        [(0, for_left), (1, for_right)],
        bias,
        **more,
    )
    if isinstance(b, Moments) and b.shared and mb.ndim == 2 and ma.ndim == 2:
        return _with_rank_one(step, ma, b.var, for_right)
    return step


def _per_input(left: Array, right: Array, shape: tuple[int, ...], n: int) -> Array:
    """Return derivatives of a stored weight for each input, from factors that hold each input in one piece."""
    xp = namespace(left)
    g = xp.matmul(left, right)
    parts = g.shape[0] // n
    g = xp.sum(xp.reshape(g, (n, parts, *g.shape[1:])), axis=1)
    if g.ndim == len(shape):  # the weight has an axis of size one where the inputs are
        return xp.reshape(reduce_to(g, (n, *shape[1:])), (n, *shape))
    while g.ndim > len(shape) + 1:
        g = xp.sum(g, axis=1)
    return reduce_to(g, (n, *shape))


def _with_rank_one(step: Step, x: Array, var: Array, gradient: Callable[[Array, int], Array]) -> Step:
    """Return the step with a square that needs no derivative per weight, and factors of these, for single rows."""
    xp = namespace(x)
    general = _square(gradient, var)
    squares: list[Array] = []

    def square(dy: Array, n: int) -> Array:
        if x.shape[0] != n:
            return general(dy, n)
        if not squares:
            squares.append(xp.matmul(x * x, var))
        return xp.sum(dy * dy * squares[0], axis=1)

    def factors(dy: Array, n: int) -> tuple[Array, Array] | None:
        return (x, dy) if x.shape[0] == n else None

    stored = Stored(1, gradient, square, factors)
    return Step(step.outputs, step.pull, (stored,), step.residual, couples_rows=step.couples_rows)


def rows_of_windows(dy: Array, group: int) -> Array:
    """Return an output adjoint of a convolution as (n, group, channels/group, positions)."""
    n, m = dy.shape[:2]
    return namespace(dy).reshape(dy, (n, group, m // group, math.prod(dy.shape[2:])))


def window_products(dy: Array, columns: Array, group: int) -> Array:
    """Return the sum over positions of an adjoint times the patches that a convolution met, by channel and element."""
    rows = rows_of_windows(dy, group)
    if rows.shape[2] == 1:  # depthwise: no matrix is large enough to be worth it
        return einsum("ngp,ngkp->ngk", rows[:, :, 0], columns)
    return rows @ columns.swapaxes(-1, -2)


def sum_parts(g: Array, n: int, shape: tuple[int, ...]) -> Array:
    """Return derivatives (n, *shape) from those of the parts that an input consists of along axis 0."""
    xp = namespace(g)
    if g.shape[0] == n:
        return xp.reshape(g, (n, *shape))
    return xp.sum(xp.reshape(g, (n, g.shape[0] // n, *shape)), axis=1)
