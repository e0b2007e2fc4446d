"""What a user asks of an estimation, checked."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, get_args

from kppstat.errors import SettingError

Guarantee = Literal["exact", "anytime", "asymptotic"]
Method = Literal["auto", "mc", "audited", "tilted", "subset"]

#: Share of the error that serves the end of a run by somebody who sees the interval; planned ends have the rest.
BY_HAND = 0.1

#: Percent; an interval for less would take a billion instances.
_RAREST = 1e-6

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, kw_only=True)
class Question:
    """Which KPP is asked for, how well, and what it may cost.

    Attributes
    ----------
    k : float
        Percent of instances that may fall below the KPP; between 0 and 100.
    confidence : float
        Confidence of the interval; between 0 and 1.
    half_width : float, optional
        Wanted half-width of the interval, in the unit of the performance; None asks for half a percentage point
        where performance is a fraction, and otherwise for 1 % of the clean performance.
    guarantee : str, optional
        ``exact``, ``anytime`` or ``asymptotic``; None takes the strongest that suits the method.
    method : str
        ``auto``, ``mc`` (full evaluations), ``audited`` (most instances judged by a part of the inputs), ``tilted``
        (more instances where failures are expected) or ``subset`` (tilted, with failures searched for level by level).
    max_evaluations : float, optional
        Budget of cost, in full passes over the inputs.
    max_time : float, optional
        Budget of time, in seconds.
    seed : int
        Fixes every random number; at least 0 and below 2**64.

    Raises
    ------
    SettingError
        If a value is outside its range.

    Examples
    --------
    >>> Question(k=1).p
    0.01
    >>> Question(k=0)
    Traceback (most recent call last):
    kppstat.errors.SettingError: --k: k is 0. Give a percentage above 0 and below 100.
    """

    k: float = 1.0
    confidence: float = 0.95
    half_width: float | None = None
    guarantee: Guarantee | None = None
    method: Method = "auto"
    max_evaluations: float | None = None
    max_time: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("k", "confidence", "half_width", "max_evaluations", "max_time"):
            value = getattr(self, name)
            optional = value is None and self.__dataclass_fields__[name].default is None
            _within(name.replace("_", "-"), repr(value), optional or isinstance(value, Real), "a number")
        _within("seed", repr(self.seed), isinstance(self.seed, Integral), "a whole number")
        _within("k", self.k, 0 < self.k < 100, "a percentage above 0 and below 100")
        rarest = f"{_RAREST:g} or more, and as far from 100: no run has instances enough for less"
        _within("k", self.k, _RAREST <= self.k <= 100 - _RAREST, rarest)
        _within("confidence", self.confidence, 0 < self.confidence < 1, "a number above 0 and below 1, such as 0.95")
        if self.half_width is not None:
            _within("half-width", self.half_width, 0 < self.half_width < math.inf, "a number above 0")
        if self.guarantee is not None:
            _within("guarantee", self.guarantee, self.guarantee in get_args(Guarantee), _choices(Guarantee))
        _within("method", self.method, self.method in get_args(Method), _choices(Method))
        if self.max_evaluations is not None:
            _within("max-evaluations", self.max_evaluations, self.max_evaluations >= 1, "a number of at least 1")
        if self.max_time is not None:
            _within("max-time", self.max_time, self.max_time > 0, "a time above 0, such as 90s or 10m")
        _within("seed", self.seed, 0 <= self.seed < 2**64, "a whole number from 0 to 2**64 - 1")

    @property
    def p(self) -> float:
        """Return k as a probability."""
        return self.k / 100

    @property
    def alpha(self) -> float:
        """Return the probability with which the interval may miss."""
        return 1 - self.confidence


def _within(name: str, value: object, good: bool, wanted: str) -> None:
    if not good:
        raise SettingError(f"{name} is {value}", where=f"--{name}", remedy=f"Give {wanted}")


def _choices(kind: object) -> str:
    return "one of " + ", ".join(get_args(kind))


def read_time(text: str) -> float:
    """Return seconds from text such as ``90``, ``90s``, ``10m`` or ``1.5h``.

    Raises
    ------
    SettingError
        If it cannot be read.

    Examples
    --------
    >>> read_time("10m")
    600.0
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-z]*)\s*", text)
    if match is None or match[2] not in _SECONDS:
        raise SettingError(f"{text!r} is no time", where="--max-time", remedy="Write it as 90s, 10m or 1.5h")
    return float(match[1]) * _SECONDS[match[2]]


def read_half_width(text: str) -> float:
    """Return a half-width: ``0.5pp`` and ``0.5%`` are percentage points, a bare number counts in the unit of scores.

    Raises
    ------
    SettingError
        If it cannot be read.

    Examples
    --------
    >>> read_half_width("0.5pp"), read_half_width("0.005")
    (0.005, 0.005)
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e-?[0-9]+)?)\s*(pp|%|)\s*", text)
    if match is None:
        remedy = "Write percentage points as 0.5pp, or a number in the unit of the performance, such as 0.005"
        raise SettingError(f"{text!r} is no half-width", where="--half-width", remedy=remedy)
    points = float(match[1])
    if match[2] and points >= 50:
        remedy = "Give percentage points below 50, such as 0.5pp"
        raise SettingError(f"a half-width of {text} tells nothing", where="--half-width", remedy=remedy)
    return points / (100 if match[2] else 1)
