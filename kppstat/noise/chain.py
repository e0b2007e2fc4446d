"""Laws that follow one another on the same cell: programming, then drift, then read noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from kppstat.array import is_torch, like, namespace
from kppstat.errors import NoiseError
from kppstat.noise.law import Law
from kppstat.noise.registry import model_from_dict, noise_model

#: Steps between values from which moments are interpolated.
_GRID = 4096


def law_from(value: Any) -> Law:
    """Return a law from a law, its description, or a list of either, which is a chain."""
    if isinstance(value, list | tuple):
        return Chain(tuple(law_from(v) for v in value)) if len(value) != 1 else law_from(value[0])
    law = value if isinstance(value, Law) else model_from_dict(value)
    if not isinstance(law, Law):
        raise NoiseError(f"{law.name} is not a law of one cell", where="noise model", remedy="Put it outermost")
    return law


def _after(law: Law, x: Any, mean: Any, variance: Any) -> tuple[Any, Any]:
    """Return the moments after a linear law of a value of this mean and variance."""
    # From the moments at mean - 1, mean and mean + 1: slope of the mean, and curvature of the variance.
    (m0, v0), (m1, v1), (m2, v2) = (law.response(x, mean + step) for step in (-1.0, 0.0, 1.0))
    slope, curvature = (m2 - m0) / 2, (v2 - 2 * v1 + v0) / 2
    return m1, v1 + (curvature + slope**2) * variance


def _interpolated(moments: Callable[[Any, Any], tuple[Any, Any]], x: Any) -> tuple[Any, Any]:
    """Return moments, a function of the value intended, by linear interpolation between equally spaced values."""
    xp = namespace(x)
    fixed = x.detach() if is_torch(x) else x
    low, high = xp.min(fixed), xp.max(fixed)
    step = xp.where(high > low, (high - low) / _GRID, xp.ones_like(low))
    places = low + step * like(np.arange(_GRID + 1), x)
    places = xp.astype(places, x.dtype)
    at = xp.clip(xp.floor((fixed - low) / step), 0, _GRID - 1)
    part = (x - low) / step - at
    left = xp.reshape(xp.astype(at, xp.int64), (-1,))
    out = []
    for values in moments(places, places):
        begin, end = (xp.reshape(xp.take(values, left + i, axis=0), x.shape) for i in (0, 1))
        out.append(begin + part * (end - begin))
    return out[0], out[1]


@noise_model("chain")
@dataclass(frozen=True)
class Chain(Law):
    """Several laws, one after the other, on the same cell; all know the value intended at the start.

    Parameters
    ----------
    laws : sequence of Law
        At least one, in order of time.

    Examples
    --------
    >>> from kppstat.noise import Gaussian, StuckAt
    >>> Chain((Gaussian(0.1), StuckAt(off=0.01))).each
    2
    """

    formula: ClassVar[str] = "y <- law_i(x, y, z_i) for each law in order, from y = x"
    unit: ClassVar[str] = "those of its laws"
    source: ClassVar[str] = "composition of maps"
    example: ClassVar[Mapping[str, Any]] = {
        "laws": [{"model": "gaussian", "sigma": 0.05}, {"model": "stuck-at", "off": 0.01}]
    }

    laws: tuple[Law, ...] = field(metadata={"meaning": "laws of a cell, the first to act first"})

    def __post_init__(self) -> None:
        if not isinstance(self.laws, list | tuple):
            raise NoiseError("laws is not a list", where="noise model", remedy="Give laws = [{model = ...}, ...]")
        laws = tuple(law_from(law) for law in self.laws)
        if not laws:
            raise NoiseError("a chain has no laws", where="noise model", remedy="Give at least one")
        object.__setattr__(self, "laws", laws)

    @property
    def each(self) -> int:  # type: ignore[override]
        """Standard normals that one cell takes."""
        return sum(law.each for law in self.laws)

    @property
    def signed(self) -> bool:  # type: ignore[override]
        """Whether all laws are laws of weights."""
        return all(law.signed for law in self.laws)

    def apply(self, x: Any, y: Any, z: Any) -> Any:
        """Apply the laws in order, each with its own normals."""
        at = 0
        for law in self.laws:
            y = law.apply(x, y, z[at : at + law.each])
            at += law.each
        return y

    def response(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return the moments by each law's own formula where it follows from moments, else by quadrature.

        A law that is not linear costs a hundred evaluations or so of those after it, for every law before it. So of
        many values that are as they were meant to be, the moments are interpolated from 4,097.
        """
        *before, last = self.laws
        if not before:
            return last.response(x, y)
        if last.linear:
            return _after(last, x, *Chain(tuple(before)).response(x, y))
        if x is y and math.prod(x.shape) > 2 * _GRID:
            return _interpolated(self._integrated, x)
        return self._integrated(x, y)

    def _integrated(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return the moments of the laws after the first, averaged over the first by quadrature."""
        first, *rest = self.laws
        remainder = Chain(tuple(rest))
        mean: Any = 0.0
        square: Any = 0.0
        spread: Any = 0.0
        for probability, value in first.nodes(x, y):
            m, v = remainder.response(x, value)
            # Deviations from y, for the squares of values near one another cancel badly.
            mean = mean + probability * (m - y)
            square = square + probability * (m - y) ** 2
            spread = spread + probability * v
        return y + mean, spread + square - mean**2

    def nodes(self, x: Any, y: Any) -> Iterator[tuple[Any, Any]]:
        """Yield the product of the laws' own rules."""
        first, *rest = self.laws
        for probability, value in first.nodes(x, y):
            if not rest:
                yield probability, value
                continue
            for more, end in Chain(tuple(rest)).nodes(x, value):
                yield probability * more, end
