"""Means and variances of random values, and what one operator does to them.

The scheme has two passes. The forward pass carries the mean and the variance of each element as if the elements
were Gaussian, each operator by an exact integral where one is known. The backward pass carries the adjoint of one
network output: the derivative of its mean with respect to the value, with the gain ``E[f'(x)]`` of each operator in
place of ``f'(E[x])`` (statistical linearisation; for Gaussian x it gives the best linear fit, by Stein's lemma).
Where the adjoint meets a stored weight it gives that weight's share of the variance of the output, with all the
correlations that a weight shared over positions or a residual branch brings, which a variance per element lacks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kppstat.array import Array, namespace

if TYPE_CHECKING:
    from kppstat.ops.pools import Windows

Apart = Callable[["Windows", int, int], Array]
"""Variance of the difference between two elements of each window, by their numbers in the window."""


@dataclass(frozen=True, eq=False)
class Moments:
    """A random value: mean and variance of each element over instances.

    Attributes
    ----------
    mean, var : array of one shape
        Axis 0 runs over the inputs, each in one piece, unless the value is shared.
    shared : bool
        The value is a stored weight: independent elements, the same for all inputs.
    apart : callable or None
        How far apart the elements of a window are, where the operator that made the value knows.
    """

    mean: Array
    var: Array
    shared: bool = False
    apart: Apart | None = None


@dataclass(frozen=True, eq=False)
class Stored:
    """A stored weight as one operator reads it.

    Attributes
    ----------
    index : int
        Number of the input of the operator.
    gradient : callable
        From the adjoint of the output and the number of inputs n to the derivative with respect to each element
        of the weight for each input, shape (n, *weight shape).
    square : callable
        From the same to the variance that the weight gives to each input's network output, shape (n,).
    factors : callable or None
        From the same to arrays (n, rows) and (n, columns) whose outer products the derivatives of a matrix are, or
        None: for some operators derivatives are outer products, which need not be computed.
    """

    index: int
    gradient: Callable[[Array, int], Array]
    square: Callable[[Array, int], Array]
    factors: Callable[[Array, int], tuple[Array, Array] | None] | None = None


@dataclass(frozen=True, eq=False)
class Step:
    """What a moment rule returns.

    Attributes
    ----------
    outputs : tuple
        `Moments`, or arrays where an output is exact.
    pull : callable
        From the adjoints of the outputs (None where nothing reads one) to those of the inputs
        (None for exact and shared ones).
    stored : tuple of Stored
    residual : array or None
        Variance of each element of the first output that no linear fit in the inputs explains.
    places : callable or None
        For an operator that only moves elements: where each output element comes from, as a number from one on
        over all elements of all random inputs in order, zero for what the operator fills in.
    couples_rows : bool
        Elements that differ along axis 0 have been brought together.
    """

    outputs: tuple[Moments | Array, ...]
    pull: Callable[[Sequence[Array | None]], Sequence[Array | None]]
    stored: tuple[Stored, ...] = ()
    residual: Array | None = None
    places: Callable[[], Sequence[np.ndarray]] | None = None
    couples_rows: bool = False


def mean_of(x: Moments | Array | None) -> Array:
    """Return the mean of a value, random or exact."""
    return x.mean if isinstance(x, Moments) else x


def reduce_to(adjoint: Array, shape: tuple[int, ...]) -> Array:
    """Sum an adjoint over the axes along which an input of this shape was broadcast."""
    xp = namespace(adjoint)
    extra = adjoint.ndim - len(shape)
    if extra:
        adjoint = xp.sum(adjoint, axis=tuple(range(extra)))
    wide = tuple(i for i, n in enumerate(shape) if n == 1 and adjoint.shape[i] != 1)
    return xp.sum(adjoint, axis=wide, keepdims=True) if wide else adjoint


def unexplained(var: Array, explained: Array) -> Array:
    """Return the part of a variance that a linear fit leaves, never below zero."""
    rest = var - explained
    return namespace(rest).where(rest > 0, rest, rest * 0)


def pointwise(x: Moments, mean: Array, var: Array, gain: Array, *, affine: bool = False) -> Step:
    """Return the step of a function of one random value, element by element; `gain` is E[f'(x)]."""

    def pull(adjoints: Sequence[Array | None]) -> list[Array | None]:
        (dy,) = adjoints
        return [None if dy is None else dy * gain]

    apart = None
    if affine and x.apart is not None:
        inner = x.apart

        def apart(at: Windows, i: int, j: int) -> Array:
            return (
                inner(at, i, j) * gain * gain
                if math.prod(gain.shape) == 1
                else inner(at, i, j) * _one_position(gain) ** 2
            )

    out = Moments(mean, var, x.shared, apart)
    if x.shared:
        return Step((out,), pull)
    return Step((out,), pull, residual=None if affine else unexplained(var, gain * gain * x.var))


def _one_position(gain: Array) -> Array:
    """Return a gain per channel, which is the same at all positions, with positions of size one."""
    return gain[(slice(None), slice(None), *[slice(0, 1)] * (gain.ndim - 2))]
