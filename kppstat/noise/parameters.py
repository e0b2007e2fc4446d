"""Parameters of noise models: dataclass fields that know their limits and what they mean."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

from kppstat.errors import NoiseError

#: Deviations of so many times the largest weight mean nothing, and overflow in what a network makes of them.
LARGEST = 1e6


def unknown(kind: str, name: Any, known: Iterable[str], *, where: str = "noise model") -> NoiseError:
    """Make the error for a name that is not known, naming the nearest that is."""
    known = sorted(known)
    near = get_close_matches(str(name), known, n=1, cutoff=0.5)
    remedy = f"Did you mean {near[0]!r}" if near else f"Known: {', '.join(known)}"
    return NoiseError(f"{kind} {name!r} is not known", where=where, remedy=remedy)


def _field(meaning: str, check: Callable[[str, Any], Any], default: Any, names: tuple[str, ...] = ()) -> Any:
    return dataclasses.field(default=default, metadata={"meaning": meaning, "check": check, "names": names})


def _float(value: Any) -> float:
    """Return a real number as a float, or nan."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # an integer beyond the range of floats
        return math.nan


def real(
    meaning: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    finite: bool = True,
    default: Any = dataclasses.MISSING,
) -> Any:
    """Declare a number from `low` to `high` and greater than `above`, finite unless told."""
    bounds = [f"of {low:g} or more"] if low > -math.inf else []
    bounds += [f"above {above:g}"] if above > -math.inf else []
    bounds += [f"of {high:g} or less"] if high < math.inf else []

    def check(name: str, value: Any) -> float:
        converted = _float(value)
        whole = math.isfinite(converted) or (converted == math.inf and not finite)
        if whole and low <= converted <= high and (converted > above or above == -math.inf):
            return converted
        remedy = f"Give a{' finite' if finite else ''} number {' and '.join(bounds)}".rstrip()
        raise NoiseError(f"{name} is {value!r}", where="noise model", remedy=remedy)

    return _field(meaning, check, default)


def count(meaning: str, *, low: int, high: int, default: Any = dataclasses.MISSING) -> Any:
    """Declare a whole number from `low` to `high`."""

    def check(name: str, value: Any) -> int:
        if isinstance(value, numbers.Integral) and not isinstance(value, bool) and low <= int(value) <= high:
            return int(value)
        raise NoiseError(
            f"{name} is {value!r}", where="noise model", remedy=f"Give a whole number from {low} to {high}"
        )

    return _field(meaning, check, default)


def choice(meaning: str, known: Iterable[str], *, default: Any = dataclasses.MISSING) -> Any:
    """Declare one of some names."""
    names = tuple(known)

    def check(name: str, value: Any) -> str:
        if isinstance(value, str) and value in names:
            return value
        raise unknown(name, value, names)

    return _field(meaning, check, default, names)


def checked(model: Any) -> None:
    """Check every declared parameter of a frozen dataclass and store it in its proper type."""
    for field in dataclasses.fields(model):
        if "check" in field.metadata:
            value = field.metadata["check"](field.name, getattr(model, field.name))
            object.__setattr__(model, field.name, value)
