"""An interval and what it promises."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from kppstat.errors import DataError, SettingError

Guarantee = Literal["exact", "anytime", "asymptotic", "none"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed interval ``[low, high]`` for an unknown number.

    Attributes
    ----------
    low, high : float
        In the unit of the values; -inf or inf where the values cannot bound that side.
    confidence : float
        Probability with which such an interval holds the number, between 0 and 1.
    guarantee : {"exact", "anytime", "asymptotic", "none"}
        ``exact``: holds for every law of the values, at the sizes fixed beforehand. ``anytime``: holds for every law
        and whenever one stops. ``asymptotic``: holds approximately, for large samples. ``none``: promises nothing.

    Examples
    --------
    >>> Interval(0.5, 0.75, 0.95, "exact").half_width
    0.125
    """

    low: float
    high: float
    confidence: float
    guarantee: Guarantee

    @property
    def half_width(self) -> float:
        """Half the distance between the ends; inf where an end is missing."""
        # Infinite ends of one sign would give NaN, and a rule that stops on width must not stop there.
        return (self.high - self.low) / 2 if math.isfinite(self.low) or math.isfinite(self.high) else math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def clipped(self, low: float, high: float) -> Interval:
        """Return the interval within the range that the number is known to lie in.

        Parameters
        ----------
        low, high : float
            Ends of that range, such as 0 and 1 for an accuracy.
        """
        return replace(self, low=min(max(self.low, low), high), high=max(min(self.high, high), low))

    def overlap(self, other: Interval) -> Interval:
        """Return the part shared with another interval, for intervals that promise to hold at once.

        Without a shared part one of them misses, which both allow for: then this one is returned as it is.

        Examples
        --------
        >>> shared = Interval(0.5, 0.75, 0.95, "exact").overlap(Interval(0.25, 0.625, 0.95, "exact"))
        >>> shared.low, shared.high
        (0.5, 0.625)
        """
        low, high = meet((self.low, self.high), (other.low, other.high))
        return replace(self, low=low, high=high)


def meet(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """Return the ends that two intervals share; those of the first where that is nothing (see `Interval.overlap`).

    Examples
    --------
    >>> meet((0.25, 0.75), (0.5, 1.0)), meet((0.25, 0.5), (0.75, 1.0))
    ((0.5, 0.75), (0.25, 0.5))
    """
    low, high = max(one[0], other[0]), min(one[1], other[1])
    return (low, high) if low <= high else one


def checked_values(values: ArrayLike, where: str = "values") -> np.ndarray:
    """Return `values` as a float64 vector.

    Raises
    ------
    DataError
        If there are none, they are not numbers in one row, or some are NaN.
    """
    try:
        x = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("these are not numbers", where=where, remedy="Give a sequence of real numbers") from None
    if x.ndim != 1 or x.size == 0:
        raise DataError(
            f"an array of shape {x.shape} is not a sample", where=where, remedy="Give one row of at least one number"
        )
    missing = int(np.isnan(x).sum())
    if missing:
        raise DataError(
            f"{missing} of {x.size} numbers are NaN", where=where, remedy="Find the instances that gave no performance"
        )
    return x


def checked_share(value: float, where: str) -> float:
    """Return `value` as a float strictly between 0 and 1.

    Raises
    ------
    SettingError
        If it is anything else.
    """
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = float("nan")
    if not 0.0 < share < 1.0:
        raise SettingError(f"{value!r} is not between 0 and 1", where=where, remedy="Give a share such as 0.05")
    return share


def checked_count(value: int, where: str, least: int = 1, most: int | None = None) -> int:
    """Return `value` as an int of at least `least` and, where given, at most `most`.

    Raises
    ------
    SettingError
        If it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise SettingError(f"{value!r} is not a whole number of {least} or more", where=where)
    if most is not None and value > most:
        raise SettingError(f"{value!r} is more than {most}", where=where)
    return int(value)
