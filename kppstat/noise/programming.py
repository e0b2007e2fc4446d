"""Programming noise of measured devices: how far what is written lies from what was meant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from kppstat.array import namespace
from kppstat.noise.normal_law import NormalLaw
from kppstat.noise.parameters import LARGEST, choice, real
from kppstat.noise.registry import noise_model


@dataclass(frozen=True)
class Device:
    """A measured device.

    Attributes
    ----------
    low, high : float
        Range of conductance in uS.
    coefficients : tuple of float
        Standard deviation in uS as a polynomial, constant first, in conductance over `reference`.
    reference : float
        In uS.
    source : str
    """

    low: float
    high: float
    coefficients: tuple[float, ...]
    reference: float
    source: str

    @property
    def span(self) -> float:
        """Width of the range in uS."""
        return self.high - self.low


_WAN = "Wan et al., Nature 2022, fit of IBM/aihwkit reram.py ReRamWan2022"
_CMO = "Falcone et al., CMO/HfOx ReRAM, fit of IBM/aihwkit reram.py ReRamCMO"
_HERMES = "IBM HERMES, Le Gallo et al., Nat. Electronics 2023, fit of IBM/aihwkit hermes.py"

#: Published fits. The names carry what was measured: the paper, and the time or acceptance where there are several.
DEVICES = {
    "pcm-nandakumar-2019": Device(
        0, 25, (0.26348, 1.9650, -1.1731), 25, "Nandakumar et al., ICECS 2019, fit of IBM/aihwkit pcm.py"
    ),
    "pcm-joshi-2020": Device(
        0.25,
        25,
        (0.28638599, 0.07585724, -0.00178767),
        1,
        "Joshi et al., Nat. Commun. 2020, fit of CrossSim PCM_Joshi.py",
    ),
    "hermes-1": Device(0, 10.35, (0.15781817, 2.32443916, -2.16310839, 0.68841818), 10.35, f"{_HERMES}, one device"),
    "hermes-2": Device(0, 20.7, (0.16603222, 4.71806468, -8.48101252, 4.68961419), 20.7, f"{_HERMES}, two devices"),
    "reram-wan-2022-1s": Device(0, 40, (0.348, 16.030, -43.853, 45.393, -16.815), 40, f"{_WAN}, after 1 s"),
    "reram-wan-2022-1d": Device(0, 40, (0.701, 22.086, -50.773, 47.095, -16.458), 40, f"{_WAN}, after 1 day"),
    "reram-wan-2022-2d": Device(0, 40, (0.782, 20.274, -43.507, 37.062, -11.934), 40, f"{_WAN}, after 2 days"),
    "reram-wan-2022-cubic": Device(
        0,
        39.26,
        (1.053, 0.2374, -1.167e-2, 1.536e-4),
        1,
        "Wan et al., Nature 2022, after 1 s, fit of CrossSim RRAM_Wan.py",
    ),
    "rram-milo-2021": Device(50, 225, (4.782321, -0.009107), 1, "Milo et al., IRPS 2021, fit of CrossSim RRAM_Milo.py"),
    "reram-cmo-0.2": Device(9, 88.2, (0.00081107, 0.00106879), 1, f"{_CMO}, accepted within 0.2 %"),
    "reram-cmo-2": Device(9, 88.2, (0.0112185391, 0.01129027418), 1, f"{_CMO}, accepted within 2 %"),
}


@noise_model("programming")
@dataclass(frozen=True)
class Programming(NormalLaw):
    """Programming noise of a measured device: Gaussian, its size a polynomial in the conductance, never below 0 uS.

    Parameters
    ----------
    device : str
        A name of `DEVICES`.
    scale : float
        Factor on the standard deviation; 1 is as measured.
    """

    signed: ClassVar[bool] = False
    formula: ClassVar[str] = "max(g + scale * sum_i c_i (g / g_ref)^i * z, 0) in uS, g = g_min + (g_max - g_min) x"
    unit: ClassVar[str] = "coefficients in uS as published; scale is a factor on them"
    source: ClassVar[str] = "see kppstat.noise.programming.DEVICES, one source for each device"
    example: ClassVar[Mapping[str, Any]] = {"device": "pcm-nandakumar-2019"}

    device: str = choice("which measured device", DEVICES)
    scale: float = real("factor on the standard deviation", low=0, high=LARGEST, default=1.0)

    @property
    def limits(self) -> tuple[float, float]:
        """Where conductance is 0."""
        device = DEVICES[self.device]
        return -device.low / device.span, math.inf

    def level(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return `y` and the polynomial at the conductance intended."""
        device = DEVICES[self.device]
        g = (device.low + device.span * x) / device.reference
        sd: Any = 0.0
        for coefficient in reversed(device.coefficients):
            sd = sd * g + coefficient
        return y, namespace(y).clip(sd, 0, None) * (self.scale / device.span)
