"""Encodings: how a weight is laid out on devices.

An encoding step splits a value ``x`` into cells with ``x = constant + sum_i gain_i * x_i``. Steps follow one another,
each splitting the cells of the last, so bit slices of differential pairs are the two steps ``pair`` and ``slices``.
Decoding is the same sum with what the devices hold, so it is linear and needs no code of its own.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from kppstat.array import is_torch, namespace
from kppstat.errors import NoiseError
from kppstat.noise.parameters import checked, choice, count, unknown

Cell = tuple[float | Any, Any]
"""A gain and the intended value of the devices, in units of their range."""

_ENCODINGS: dict[str, type[Encoding]] = {}
_Class = TypeVar("_Class", bound="type[Encoding]")


class Encoding(ABC):
    """One step of the way from weights to devices; implementations are frozen dataclasses.

    Attributes
    ----------
    name : str
        What noise files call it.
    takes_signed, gives_signed : bool
        Whether it accepts values in [-1, 1] or only in [0, 1], and whether its cells lie in [-1, 1] or in [0, 1];
        None of `gives_signed` means as they came.
    """

    name: ClassVar[str]
    takes_signed: ClassVar[bool] = True
    gives_signed: ClassVar[bool | None] = False

    def __post_init__(self) -> None:
        checked(self)

    @abstractmethod
    def split(self, x: Any) -> tuple[list[Cell], Any]:
        """Return the cells and the constant of values `x`."""

    @property
    @abstractmethod
    def cells(self) -> int:
        """How many cells one value takes."""

    def to_dict(self) -> dict[str, Any]:
        """Return the step as a noise file would give it."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {"step": self.name, **{f.name: getattr(self, f.name) for f in fields}}


def encoding(name: str) -> Callable[[_Class], _Class]:
    """Enter an encoding step into the table under the name that noise files use."""

    def enter(cls: _Class) -> _Class:
        cls.name = name
        _ENCODINGS[name] = cls
        return cls

    return enter


def encodings() -> dict[str, type[Encoding]]:
    """Return the encoding steps by name, sorted."""
    return dict(sorted(_ENCODINGS.items()))


def encoding_from(description: Encoding | str | Mapping[str, Any]) -> Encoding:
    """Return an encoding step from itself, its name, or its table ``{step = NAME, ...}``.

    Examples
    --------
    >>> encoding_from({"step": "slices", "bits": 8, "per_device": 2})
    Slices(bits=8, per_device=2)
    """
    if isinstance(description, Encoding):
        return description
    given = {"step": description} if isinstance(description, str) else description
    if not isinstance(given, Mapping):
        raise NoiseError(
            f"{description!r} is not an encoding step", where="encoding", remedy='Give one, such as "pair"'
        )
    given = dict(given)
    name = given.pop("step", None)
    if not isinstance(name, str) or name not in _ENCODINGS:
        raise unknown("encoding step", name, _ENCODINGS, where="encoding")
    fields = {f.name: f for f in dataclasses.fields(_ENCODINGS[name])}  # type: ignore[arg-type]
    for key in given:
        if key not in fields:
            raise unknown(f"parameter of {name}", key, fields, where="encoding")
    for key, field in fields.items():
        if key not in given and field.default is dataclasses.MISSING:
            raise NoiseError(f"{name} has no {key}", where="encoding", remedy=f"Give {key} = ...")
    return _ENCODINGS[name](**given)


def check_steps(steps: Sequence[Encoding]) -> bool:
    """Raise NoiseError unless the steps fit one another; return whether their cells are signed."""
    signed = True
    for step in steps:
        if signed and not step.takes_signed:
            what = f"{step.name} meets signed weights"
            raise NoiseError(what, where="encoding", remedy='Put "pair" or "offset" before it')
        signed = signed if step.gives_signed is None else step.gives_signed
    return signed


def encode(steps: Sequence[Encoding], x: Any) -> tuple[list[Cell], Any]:
    """Return the cells of values `x` in [-1, 1] after all steps, and the constant."""
    cells: list[Cell] = [(1.0, x)]
    constant: Any = 0.0
    for step in steps:
        split: list[Cell] = []
        for gain, value in cells:
            parts, more = step.split(value)
            split += [(gain * g, v) for g, v in parts]
            constant = constant + gain * more
        cells = split
    return cells, constant


def _held(x: Any) -> Any:
    """Return `x` without its gradient."""
    return x.detach() if is_torch(x) else x


def _rounded(x: Any, levels: int, rounding: str = "nearest") -> Any:
    """Round to multiples of 1/levels, with the gradient of `x` passed straight through."""
    xp = namespace(x)
    scaled = x * levels
    steps = xp.floor(scaled) if rounding == "floor" else xp.round(scaled)
    return x + _held(steps / levels - x) if is_torch(x) else steps / levels


@encoding("pair")
@dataclass(frozen=True)
class Pair(Encoding):
    """Differential pair: the difference of two devices.

    Parameters
    ----------
    style : {"one-sided", "two-sided"}
        One-sided leaves one device of each pair at its lowest conductance (aihwkit SinglePair, MemSE); two-sided moves
        both about the middle of the range.
    """

    style: str = choice("which devices of a pair move", ("one-sided", "two-sided"), default="one-sided")
    cells: ClassVar[int] = 2

    def split(self, x: Any) -> tuple[list[Cell], Any]:
        """Return the device that adds and the device that subtracts."""
        if self.style == "two-sided":
            return [(1.0, (1 + x) / 2), (-1.0, (1 - x) / 2)], 0.0
        xp = namespace(x)
        return [(1.0, xp.clip(x, 0, None)), (-1.0, xp.clip(-x, 0, None))], 0.0


@encoding("offset")
@dataclass(frozen=True)
class Offset(Encoding):
    """One device for [-max|W|, max|W|] and an exact reference in the middle of its range (CrossSim OFFSET)."""

    cells: ClassVar[int] = 1

    def split(self, x: Any) -> tuple[list[Cell], Any]:
        """Return ``x = -1 + 2 * (1 + x) / 2``."""
        return [(2.0, (1 + x) / 2)], -1.0


@encoding("asymmetric")
@dataclass(frozen=True)
class Asymmetric(Encoding):
    """One device whose range is that of the tensor, [min W, max W] (RandBET's RQuant; aihwkit SingleDevice)."""

    cells: ClassVar[int] = 1

    def split(self, x: Any) -> tuple[list[Cell], Any]:
        """Return ``x = low + (high - low) * (x - low) / (high - low)``."""
        xp = namespace(x)
        if 0 in x.shape:
            return [(1.0, x)], 0.0
        low, high = xp.min(x), xp.max(x)
        span = xp.where(high > low, high - low, xp.ones_like(high))
        return [(span, (x - low) / span)], low


@encoding("quantise")
@dataclass(frozen=True)
class Quantise(Encoding):
    """Round to ``2**bits`` levels of the range, and as many below zero where values are signed.

    Parameters
    ----------
    bits : int
    rounding : {"nearest", "floor"}
    """

    gives_signed: ClassVar[bool | None] = None
    cells: ClassVar[int] = 1

    bits: int = count("bits of the magnitude", low=1, high=23)
    rounding: str = choice("how values between levels are rounded", ("nearest", "floor"), default="nearest")

    def split(self, x: Any) -> tuple[list[Cell], Any]:
        """Return the rounded values."""
        return [(1.0, _rounded(x, 2**self.bits - 1, self.rounding))], 0.0


@encoding("steps")
@dataclass(frozen=True)
class Steps(Encoding):
    """Round to multiples of 1/number of the range, for numbers of levels that no count of bits gives.

    MemSE's device of N levels is ``Steps(N, "floor")`` before ``Pair()``: its step is Gmax/N, and it rounds the signed
    weight downwards, so that weights that are not on a level lose half a step on average.

    Parameters
    ----------
    number : int
        Steps between zero and the top of the range.
    rounding : {"nearest", "floor"}

    Examples
    --------
    >>> import numpy as np
    >>> [(_, levels)], _ = Steps(4, "floor").split(np.array([1.0, 0.7, -0.1]))
    >>> levels.tolist()
    [1.0, 0.5, -0.25]
    """

    gives_signed: ClassVar[bool | None] = None
    cells: ClassVar[int] = 1

    number: int = count("steps between zero and the top of the range", low=1, high=2**23)
    rounding: str = choice("how values between levels are rounded", ("nearest", "floor"), default="nearest")

    def split(self, x: Any) -> tuple[list[Cell], Any]:
        """Return the rounded values."""
        return [(1.0, _rounded(x, self.number, self.rounding))], 0.0


@encoding("slices")
@dataclass(frozen=True)
class Slices(Encoding):
    """Bit slices: a value of `bits` bits on devices of `per_device` bits, each taking ``2**per_device`` levels.

    Parameters
    ----------
    bits, per_device : int
    """

    takes_signed: ClassVar[bool] = False

    bits: int = count("bits of a value", low=1, high=23)
    per_device: int = count("bits of a device", low=1, high=23)

    def __post_init__(self) -> None:
        checked(self)
        if self.bits % self.per_device:
            what = f"{self.bits} bits do not fill devices of {self.per_device} bits"
            raise NoiseError(what, where="slices", remedy="Give bits that divide, such as 8 and 2")

    @property
    def cells(self) -> int:
        """How many devices one value takes."""
        return self.bits // self.per_device

    def split(self, x: Any) -> tuple[list[Cell], Any]:
        """Return the digits, most significant first; the gradient goes through the first."""
        xp = namespace(x)
        top, base = 2**self.bits - 1, 2**self.per_device
        rest = xp.round(_held(x) * top)
        split: list[Cell] = []
        for place in reversed(range(self.cells)):
            weight = base**place
            digit = xp.floor(rest / weight)
            rest = rest - digit * weight
            gain = weight * (base - 1) / top
            level = digit / (base - 1)
            if is_torch(x) and not split:
                level = level + (x - x.detach()) / gain
            split.append((gain, level))
        return split, 0.0
