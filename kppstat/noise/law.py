"""Laws: what becomes of one cell, and how tensors of weights are made of cells.

A law acts on a value ``y`` that was meant to be ``x``. For a law of weights the unit of both is the largest absolute
value of the tensor; for a law of devices it is the range of conductance. Because a law maps values to values, laws
can follow one another: programming, then drift, then read noise (`kppstat.noise.chain`).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from kppstat.array import like, namespace
from kppstat.noise.encoding import Encoding, Pair, encode
from kppstat.noise.model import NoiseModel

#: Nodes of Gauss-Hermite quadrature in each normal, where a law has no better.
_HERMITE = 24


def full_scale(w: Any) -> Any:
    """Return max|W| of a tensor, the unit of sigma, as an array without axes; 0 where there are no weights."""
    xp = namespace(w)
    return xp.sum(w) if 0 in w.shape else xp.max(xp.abs(w))


def in_units(w: Any, scale: Any) -> Any:
    """Return ``w / scale``, and 0 where the scale is 0: a tensor of zeros has no range, and so no deviation."""
    xp = namespace(w)
    return w / xp.where(scale > 0, scale, xp.ones_like(scale))


class Law(NoiseModel):
    """What becomes of one cell. On its own it is a noise model.

    Attributes
    ----------
    each : int
        Standard normals that one cell takes.
    signed : bool
        Whether it is a law of weights, which have a sign. One of devices, which have none, is put on the two devices
        of a differential pair where no encoding is named.
    linear : bool
        Whether the mean of ``apply(x, y, Z)`` is linear in `y` and its variance quadratic, so that its moments follow
        from those of `y`.
    """

    each: ClassVar[int] = 1
    signed: ClassVar[bool] = True
    linear: ClassVar[bool] = False

    @abstractmethod
    def apply(self, x: Any, y: Any, z: Any) -> Any:
        """Return what becomes of values `y` that were meant to be `x`.

        Parameters
        ----------
        x, y : array, any shape
            Intended and present values, in units of the range.
        z : array, shape (each, *x.shape)
            Standard normals.
        """

    @abstractmethod
    def response(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return the mean and the variance of ``apply(x, y, Z)``."""

    def nodes(self, x: Any, y: Any) -> Iterator[tuple[Any, Any]]:
        """Yield probabilities and values that stand for the law of ``apply(x, y, Z)``: a quadrature rule.

        The default is the product of Gauss-Hermite rules in the normals.
        """
        roots, weights = np.polynomial.hermite_e.hermegauss(_HERMITE)
        weights = weights / weights.sum()
        xp = namespace(y)
        for place in np.ndindex(*(_HERMITE,) * self.each):
            z = xp.stack([xp.ones_like(y) * float(roots[i]) for i in place])
            yield float(np.prod(weights[list(place)])), self.apply(x, y, z)

    @property
    def steps(self) -> tuple[Encoding, ...]:
        """The encoding where none is named."""
        return () if self.signed else (Pair(),)

    def draws(self, shape: tuple[int, ...]) -> int:
        """Return how many standard normals a tensor of this shape takes."""
        return draws(self, self.steps, shape)

    def weights(self, w: Any, z: Any) -> Any:
        """Return the programmed weights; see `NoiseModel.weights`."""
        return program(self, self.steps, w, z)

    def moments(self, w: Any) -> tuple[Any, Any]:
        """Return the mean and the variance of each programmed weight."""
        return expect(self, self.steps, w)


def draws(law: Law, steps: Sequence[Encoding], shape: tuple[int, ...]) -> int:
    """Return how many standard normals a tensor takes that is encoded by `steps` on devices of a law."""
    return math.prod(step.cells for step in steps) * law.each * math.prod(shape)


def program(law: Law, steps: Sequence[Encoding], w: Any, z: Any) -> Any:
    """Return the weights after encoding, the law on every cell, and decoding."""
    xp = namespace(w)
    scale = full_scale(w)
    cells, total = encode(steps, in_units(w, scale))
    z = xp.reshape(xp.astype(z, w.dtype, copy=False), (len(cells), law.each, *w.shape))
    for (gain, x), normals in zip(cells, z, strict=True):
        total = total + gain * law.apply(x, x, normals)
    return scale * total


def expect(law: Law, steps: Sequence[Encoding], w: Any) -> tuple[Any, Any]:
    """Return the mean and the variance of `program`: decoding is linear and the cells are independent."""
    scale = full_scale(w)
    cells, mean = encode(steps, in_units(w, scale))
    variance: Any = 0.0
    for gain, x in cells:
        m, v = law.response(x, x)
        mean = mean + gain * m
        variance = variance + gain**2 * v
    return scale * mean, scale**2 * variance


def constant(value: Any, reference: Any) -> Any:
    """Return an array of the shape, library and dtype of `reference` that holds `value`."""
    return namespace(reference).ones_like(reference) * like(value, reference)
