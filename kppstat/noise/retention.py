"""What becomes of programmed devices over time: drift, relaxation and accumulated read noise."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kppstat.array import namespace, normal_cdf, normal_pdf
from kppstat.noise.law import Law
from kppstat.noise.normal_law import FAR, NormalLaw, normal_nodes
from kppstat.noise.parameters import choice, real
from kppstat.noise.programming import DEVICES
from kppstat.noise.registry import noise_model


def accumulated(time: float, read: float) -> float:
    """Return ``sqrt(ln((t + t_read) / (2 t_read)))``, the growth of 1/f noise until time t; 0 before t_read."""
    return math.sqrt(max(math.log((time + read) / (2 * read)), 0.0))


class PowerLaw(Law):
    """A law ``y * (1 + time / t0) ** -|nu|`` with a normal drift exponent, times read noise in proportion."""

    signed: ClassVar[bool] = False
    each: ClassVar[int] = 2
    time: float

    @abstractmethod
    def exponent(self, x: Any) -> tuple[Any, Any]:
        """Return the mean and the standard deviation of nu of devices meant to be `x`."""

    @abstractmethod
    def read_noise(self, y: Any) -> Any:
        """Return the standard deviation of reading devices programmed to `y`, in parts of their conductance."""

    @property
    @abstractmethod
    def start(self) -> float:
        """Time after programming at which drift begins, in seconds."""

    def apply(self, x: Any, y: Any, z: Any) -> Any:
        """Let the conductance drift and read it; not below 0."""
        xp = namespace(y)
        mean, sd = self.exponent(x)
        nu = xp.abs(mean + sd * z[0])
        kept = xp.exp(-nu * math.log1p(self.time / self.start))
        return y * kept * xp.clip(1 + self.read_noise(y) * z[1], 0, None)

    def response(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return the product of the moments of drift and of reading, which are independent.

        ``E exp(-L |N|) = exp(-L m + L^2 s^2 / 2) P(m/s - L s) + exp(L m + L^2 s^2 / 2) P(-m/s - L s)`` for N normal.
        """
        xp = namespace(y)
        mean, sd = self.exponent(x)
        sd = xp.clip(sd + 0 * y, 1e-6, None)
        length = math.log1p(self.time / self.start)

        def kept(n: int) -> Any:
            """n-th moment of what drift leaves."""
            r, s = mean / sd, n * length * sd
            down = xp.exp(-n * length * mean + s**2 / 2) * normal_cdf(r - s)
            return down + xp.exp(n * length * mean + s**2 / 2) * normal_cdf(-r - s)

        noise = xp.clip(self.read_noise(y) + 0 * y, 1e-6, None)
        above, density = normal_cdf(1 / noise), noise * normal_pdf(1 / noise)
        first = above + density
        second = (1 + noise**2) * above + density
        drift = kept(1)
        average = drift * first
        # var(AB) = var A E B^2 + (E A)^2 var B keeps precision where both factors hardly vary.
        variance = xp.clip(kept(2) - drift**2, 0, None) * second + drift**2 * xp.clip(second - first**2, 0, None)
        return y * average, y**2 * variance

    def nodes(self, x: Any, y: Any) -> Iterator[tuple[Any, Any]]:
        """Yield nodes on both sides of exponent 0, where drift has a kink, times Gauss-Hermite nodes of reading."""
        xp = namespace(y)
        mean, sd = self.exponent(x)
        mean, sd = mean + 0 * y, sd + 0 * y
        turn = xp.clip(-mean / xp.clip(sd, 1e-6, None), -FAR, FAR)
        far = xp.ones_like(turn) * FAR
        roots, shares = np.polynomial.hermite_e.hermegauss(8)
        shares = shares / shares.sum()
        for side, a, b in ((normal_cdf(turn), -far, turn), (normal_cdf(-turn), turn, far)):
            for probability, z in normal_nodes(a, b, 24):
                for root, share in zip(roots, shares, strict=True):
                    value = self.apply(x, y, xp.stack([z, xp.ones_like(z) * float(root)]))
                    yield side * probability * float(share), value


@noise_model("drift")
@dataclass(frozen=True)
class Drift(PowerLaw):
    """Power-law drift whose exponent varies from device to device, with accumulated read noise; the same at all levels.

    Parameters
    ----------
    time : float
        Seconds since programming.
    nu, nu_sd : float
        Mean and standard deviation of the drift exponent.
    t0 : float
        Seconds after programming at which drift begins.
    read : float
        Read noise as a fraction of the conductance, before its growth with time.
    t_read : float
        Duration of a reading in seconds.
    """

    linear: ClassVar[bool] = True
    formula: ClassVar[str] = (
        "y * (1 + t/t0)^-|nu + nu_sd z1| * max(1 + read * sqrt(ln((t + t0 + t_read) / (2 t_read))) z2, 0)"
    )
    unit: ClassVar[str] = "times in seconds; exponents and read noise without unit"
    source: ClassVar[str] = "IBM/aihwkit custom.py StateIndependentNoiseModel, whose exponent is 0.1 +- 0.05"
    example: ClassVar[Mapping[str, Any]] = {"time": 86400.0, "nu": 0.1, "nu_sd": 0.05, "read": 0.01}

    time: float = real("seconds since programming", low=0)
    nu: float = real("mean of the drift exponent", low=0, default=0.1)
    nu_sd: float = real("standard deviation of the drift exponent", low=0, default=0.05)
    t0: float = real("seconds after programming at which drift begins", above=0, default=20.0)
    read: float = real("read noise as a fraction of the conductance", low=0, default=0.0)
    t_read: float = real("duration of a reading in seconds", above=0, default=250e-9)

    @property
    def start(self) -> float:
        """Time after programming at which drift begins."""
        return self.t0

    def exponent(self, x: Any) -> tuple[Any, Any]:
        """Return the two parameters."""
        return self.nu, self.nu_sd

    def read_noise(self, y: Any) -> Any:
        """Return the grown read noise."""
        return self.read * accumulated(self.time + self.t0, self.t_read)


def _branch(x: Any, at: float, below: Any, above: Any) -> Any:
    return namespace(x).where(x < at, below, above)


def _log_fit(x: Any, slope: float, constant: float, low: float, high: float) -> Any:
    """Return ``clip(slope * ln x + constant, low, high)``."""
    xp = namespace(x)
    return xp.clip(slope * xp.log(xp.clip(x, 1e-7, None)) + constant, low, high)


@noise_model("pcm-retention")
@dataclass(frozen=True)
class PcmRetention(PowerLaw):
    """Measured drift and read noise of phase-change memory, both dependent on the level.

    Parameters
    ----------
    time : float
        Seconds since programming.
    device : str
        ``pcm-nandakumar-2019``, or ``hermes-1`` or ``hermes-2``: IBM HERMES with one or two devices in a cell.
    drift, read : float
        Factors on the exponents and on the read noise; 1 is as measured.
    """

    formula: ClassVar[str] = (
        "y * (1 + t/t0)^-|nu(x) + nu_sd(x) z1| * max(1 + q(y) sqrt(ln((t + t0 + t_read) / (2 t_read))) z2, 0)"
    )
    unit: ClassVar[str] = "time in seconds; x, y are conductances in parts of g_max"
    source: ClassVar[str] = (
        "Nandakumar et al., ICECS 2019, and Le Gallo et al., Nat. Electronics 2023; fits of IBM/aihwkit"
    )
    example: ClassVar[Mapping[str, Any]] = {"time": 86400.0, "device": "pcm-nandakumar-2019"}

    time: float = real("seconds since programming", low=0)
    device: str = choice(
        "which measured device", ("pcm-nandakumar-2019", "hermes-1", "hermes-2"), default="pcm-nandakumar-2019"
    )
    drift: float = real("factor on the drift exponents", low=0, default=1.0)
    read: float = real("factor on the read noise", low=0, default=1.0)

    @property
    def start(self) -> float:
        """Time after programming at which drift begins."""
        return {"pcm-nandakumar-2019": 20.0, "hermes-1": 200.0, "hermes-2": 300.0}[self.device]

    def exponent(self, x: Any) -> tuple[Any, Any]:
        """Return the published fits."""
        if self.device == "pcm-nandakumar-2019":
            mean = _log_fit(x, -0.0155, 0.0244, 0.049, 0.1)
            return self.drift * mean, self.drift * _log_fit(x, -0.0125, -0.0059, 0.008, 0.045)
        mean = _branch(x, 0.0945, _log_fit(x, -0.0387, -0.0182, 0.072, 0.13), -0.0436 * x**2 - 0.0126 * x + 0.0736)
        if self.device == "hermes-1":
            high = -0.0165 * x**2 + 0.0116 * x + 0.0104
            sd = _branch(x, 0.3039, _log_fit(x, -0.012, -0.0023, 0.0124, 0.04), high)
        else:
            high = -0.0118 * x**2 + 0.0093 * x + 0.0073
            sd = _branch(x, 0.3055, _log_fit(x, -0.0117, -0.0057, 0.0091, 0.04), high)
        return self.drift * mean, self.drift * sd

    def read_noise(self, y: Any) -> Any:
        """Return the published fits, grown with time."""
        xp = namespace(y)
        size = xp.abs(y)
        if self.device == "pcm-nandakumar-2019":
            noise = xp.clip(0.0088 / xp.clip(size, 1e-5, None) ** 0.65, None, 0.2)
            duration = 250e-9
        elif self.device == "hermes-1":
            high = 0.0664 * size**3 - 0.1352 * size**2 + 0.0768 * size + 0.0088
            noise = _branch(size, 0.1591, _log_fit(size, -0.0078, 0.0038, 0.0179, 0.04), high)
            duration = 512e-9
        else:
            high = 0.0069 * size**3 - 0.028 * size**2 + 0.0211 * size + 0.0123
            noise = _branch(size, 0.16, _log_fit(size, -0.0117, -0.0069, 0.015, 0.04), high)
            duration = 512e-9
        # The cubic fits end at the top of the range; noise does not turn negative beyond it.
        return self.read * xp.clip(noise, 0, None) * accumulated(self.time + self.start, duration)


@noise_model("cmo-relaxation")
@dataclass(frozen=True)
class CmoRelaxation(NormalLaw):
    """Relaxation of CMO/HfOx ReRAM after programming: the same shift and spread at every level.

    Parameters
    ----------
    time : float
        Seconds since programming; no relaxation before 1 s, where the fit begins.
    """

    signed: ClassVar[bool] = False
    linear: ClassVar[bool] = True
    formula: ClassVar[str] = "g - 0.0890 ln t + (0.0420 ln t + 0.4118) z in uS, range 9 to 88.2 uS"
    unit: ClassVar[str] = "time in seconds"
    source: ClassVar[str] = "Falcone et al., CMO/HfOx ReRAM, fit of IBM/aihwkit reram.py ReRamCMO"
    example: ClassVar[Mapping[str, Any]] = {"time": 86400.0}

    time: float = real("seconds since programming", low=1)

    @property
    def limits(self) -> tuple[float, float]:
        """Nowhere; reading cuts off."""
        return -math.inf, math.inf

    def level(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return the shifted mean and the spread at this time."""
        span, log = DEVICES["reram-cmo-2"].span, math.log(self.time)
        return y - 0.08900206 * log / span, (0.04201137 * log + 0.41183342) / span


@noise_model("cmo-read")
@dataclass(frozen=True)
class CmoRead(NormalLaw):
    """Read noise of CMO/HfOx ReRAM, accumulated until a time; cut to the range of conductance.

    Parameters
    ----------
    time : float
        Seconds since programming.
    """

    signed: ClassVar[bool] = False
    formula: ClassVar[str] = "clip(g + 0.0277 log10(g) sqrt(ln((t + t_read) / (2 t_read))) z, 9, 88.2) in uS"
    unit: ClassVar[str] = "time in seconds; t_read = 1 us"
    source: ClassVar[str] = "Falcone et al. and Lombardo et al., DRC 2024, fit of IBM/aihwkit reram.py ReRamCMO"
    example: ClassVar[Mapping[str, Any]] = {"time": 86400.0}

    time: float = real("seconds since programming", low=0)

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of the range."""
        return 0.0, 1.0

    def level(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return `y` and the noise at the present conductance."""
        xp = namespace(y)
        device = DEVICES["reram-cmo-2"]
        decades = xp.log(xp.clip(device.low + device.span * y, 1.0, None)) / math.log(10)
        return y, decades * (0.0277316483 * accumulated(self.time, 1e-6) / device.span)
