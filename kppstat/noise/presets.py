"""Published units of sigma: what one unit of each code's parameter is, as a fraction of max|W|.

Every factor is computed from the bits, never typed in. A unit is a name with its numbers: ``neft-8-2`` is NeFT's
sigma for weights of 8 bits on devices of 2 bits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kppstat.errors import NoiseError
from kppstat.noise.parameters import unknown


@dataclass(frozen=True)
class Unit:
    """A published unit of sigma.

    Attributes
    ----------
    pattern : str
        How it is written; M and K stand for bits per weight and per device, G for a number.
    factor : callable
        Standard deviation of one weight's deviation over max|W| at one unit, from the numbers of the name.
    formula, source : str
    """

    pattern: str
    factor: Callable[..., float]
    formula: str
    source: str


def _digits(bits: int, per_device: int) -> range:
    """Places of the devices of one weight, least first."""
    if not 1 <= per_device <= bits <= 64 or bits % per_device:
        raise NoiseError(
            f"{bits} bits do not fill devices of {per_device} bits", remedy="Give bits that divide, such as 8-2"
        )
    return range(bits // per_device)


def cim_cw_factor(bits: int, per_device: int) -> float:
    """Return ``sqrt(sum_{i=1..M/K} 2^(-2iK))``."""
    return math.sqrt(sum(4.0 ** (-(i + 1) * per_device) for i in _digits(bits, per_device)))


def neft_factor(bits: int, per_device: int) -> float:
    """Return ``sqrt(sum_{i<M/K} 4^(iK)) / sum_{i<M/K} 2^(iK)``."""
    places = _digits(bits, per_device)
    return math.sqrt(sum(4.0 ** (i * per_device) for i in places)) / sum(2.0 ** (i * per_device) for i in places)


def _memse_factor(g_max: float) -> float:
    if not 0 < g_max < math.inf:
        raise NoiseError(f"Gmax is {g_max:g}", where="unit memse", remedy="Give a number above 0, such as memse-1")
    return math.sqrt(2) / g_max


UNITS = (
    Unit("plain", lambda: 1.0, "1", "aihwkit-lightning AddNormal; the training noise of TRICE before censoring"),
    Unit(
        "cim-cw-M-K", cim_cw_factor, "sqrt(sum_{i=1..M/K} 2^(-2iK))", "MariusAnje/CIM_CW adv, modules.set_noise (TRICE)"
    ),
    Unit("swim-M-K", cim_cw_factor, "sqrt(sum_{i=1..M/K} 2^(-2iK))", "MariusAnje/SWIM, modules.set_noise (2202.08395)"),
    Unit(
        "neft-M-K",
        neft_factor,
        "sqrt(sum_{i<M/K} 4^(iK)) / sum_{i<M/K} 2^(iK)",
        "YifanQin-ND/NeFT_CIM, generate_noise.py (2305.14561)",
    ),
    Unit(
        "memse-G",
        _memse_factor,
        "sqrt(2) / Gmax, with Wmax of the layer and no clipping",
        "sebastienwood/MemSE, MemSELayer.py (2205.01707)",
    ),
    Unit(
        "pair", lambda: math.sqrt(2), "sqrt(2): both devices of a pair, no clipping", "sandialabs/cross-sim, BALANCED"
    ),
)


def _match(name: Any) -> tuple[Unit, list[float]]:
    for unit in UNITS:
        pattern = unit.pattern.replace("-M-K", r"-(\d{1,2})-(\d{1,2})").replace("-G", r"-(\d+\.?\d*(?:e-?\d+)?)")
        found = re.fullmatch(pattern, name) if isinstance(name, str) else None
        if found:
            whole = "-M-K" in unit.pattern
            return unit, [int(v) if whole else float(v) for v in found.groups()]
    examples = [u.pattern.replace("M-K", "8-2").replace("-G", "-1") for u in UNITS]
    raise unknown("unit", name, examples)


def factor(unit: str) -> float:
    """Return the standard deviation of one weight's deviation over max|W| at one unit.

    Parameters
    ----------
    unit : str
        A pattern of `UNITS` with its numbers, such as ``"cim-cw-8-1"``, ``"neft-8-2"`` or ``"memse-1"``.

    Raises
    ------
    NoiseError
        If the unit is not known.

    Examples
    --------
    >>> round(factor("cim-cw-8-1"), 5), round(factor("neft-8-2"), 4)
    (0.57735, 0.7776)
    """
    found, numbers = _match(unit)
    return found.factor(*numbers)


def convert(value: float, unit: str) -> float:
    """Convert a published code's parameter to sigma, a fraction of max|W|.

    Parameters
    ----------
    value : float
        The parameter in the published unit.
    unit : str
        As in `factor`.

    Returns
    -------
    float

    Examples
    --------
    >>> round(convert(0.3, "neft-8-2"), 3)
    0.233
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NoiseError(f"sigma is {value!r}", where="noise model", remedy="Give a number")
    try:
        return value * factor(unit)
    except OverflowError:
        raise NoiseError("sigma is too large", where="noise model", remedy="Give a fraction of max|W|") from None
