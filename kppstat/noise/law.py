"""Laws: noise models that treat every cell alike, in units of the full scale.

A law acts on a value ``y`` that was meant to be ``x``. On a tensor of weights the full scale is its largest absolute
value; within `kppstat.noise.encoded.Encoded` it is the conductance range of a device. Because a law maps values to
values, laws can follow one another: programming, then drift, then read noise.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

from kppstat.array import namespace
from kppstat.noise.model import NoiseModel


def full_scale(w: Any) -> Any:
    """Return max|W| of a tensor, the unit of sigma, as an array without axes; 1 where there is none above 0."""
    xp = namespace(w)
    if 0 in w.shape:
        return xp.ones((), dtype=w.dtype)
    top = xp.max(xp.abs(w))
    return xp.where(top > 0, top, xp.ones_like(top))


class Law(NoiseModel):
    """A noise model that treats every cell alike, in units of the full scale.

    Attributes
    ----------
    each : int
        Standard normals that one cell takes.
    """

    each: ClassVar[int] = 1

    @abstractmethod
    def apply(self, x: Any, y: Any, z: Any) -> Any:
        """Return what becomes of values `y` that were meant to be `x`.

        Parameters
        ----------
        x, y : array, any shape
            Intended and present values in units of the full scale.
        z : array, shape (each, *x.shape)
            Standard normals.
        """

    @abstractmethod
    def response(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return the mean and the variance of ``apply(x, y, Z)``."""

    def draws(self, shape: tuple[int, ...]) -> int:
        """Return how many standard normals a tensor of this shape takes."""
        return self.each * math.prod(shape)

    def weights(self, w: Any, z: Any) -> Any:
        """Return the programmed weights; see `NoiseModel.weights`."""
        xp = namespace(w)
        scale = full_scale(w)
        x = w / scale
        z = xp.reshape(xp.astype(z, w.dtype, copy=False), (self.each, *w.shape))
        return scale * self.apply(x, x, z)

    def moments(self, w: Any) -> tuple[Any, Any]:
        """Return the mean and the variance of each programmed weight."""
        scale = full_scale(w)
        x = w / scale
        mean, variance = self.response(x, x)
        return scale * mean, scale * scale * variance
