"""Weights laid out on devices: an encoding, and a law of the devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from kppstat.errors import NoiseError
from kppstat.noise.chain import law_from
from kppstat.noise.encoding import Encoding, check_steps, encoding_from
from kppstat.noise.law import Law, draws, expect, program
from kppstat.noise.model import NoiseModel
from kppstat.noise.registry import noise_model


@noise_model("encoded")
@dataclass(frozen=True)
class Encoded(NoiseModel):
    """Weights encoded on devices that each follow a law.

    Parameters
    ----------
    encoding : sequence of Encoding
        Steps in order, such as ``(Pair(), Slices(8, 2))``: bit slices of pairs. A noise file gives their names or
        tables ``{step = NAME, ...}``.
    device : Law
        What becomes of every device; a `Chain`, or in a noise file a list, for several things in order of time.

    Examples
    --------
    >>> from kppstat.noise import Gaussian, Pair, Slices
    >>> Encoded((Pair(), Slices(bits=8, per_device=2)), Gaussian(0.1)).draws((10,))
    80
    """

    formula: ClassVar[str] = "W' = max|W| * (constant + sum_i gain_i * law(x_i, z_i)), where W = max|W| * (... x_i)"
    unit: ClassVar[str] = "the parameters of the device's law are fractions of its range of conductance"
    source: ClassVar[str] = (
        "linear decoding of pairs, offsets and bit slices; NeFT 2305.14561, MemSE 2205.01707, CrossSim"
    )
    example: ClassVar[Mapping[str, Any]] = {
        "encoding": ["pair", {"step": "slices", "bits": 8, "per_device": 2}],
        "device": {"model": "gaussian", "sigma": 0.05},
    }

    encoding: tuple[Encoding, ...] = field(metadata={"meaning": "how a weight is stored on devices, step by step"})
    device: Law = field(metadata={"meaning": "law of each device"})

    def __post_init__(self) -> None:
        given = self.encoding if isinstance(self.encoding, list | tuple) else [self.encoding]
        steps = tuple(encoding_from(step) for step in given)
        object.__setattr__(self, "encoding", steps)
        object.__setattr__(self, "device", law_from(self.device))
        if check_steps(steps) and not self.device.signed:
            what = f"{self.device.name} is a law of conductances, which have no sign"
            raise NoiseError(what, where="noise model", remedy='Put "pair" or "offset" into its encoding')

    def draws(self, shape: tuple[int, ...]) -> int:
        """Return how many standard normals a tensor of this shape takes."""
        return draws(self.device, self.encoding, shape)

    def weights(self, w: Any, z: Any) -> Any:
        """Return the programmed weights; see `NoiseModel.weights`."""
        return program(self.device, self.encoding, w, z)

    def moments(self, w: Any) -> tuple[Any, Any]:
        """Return the mean and the variance of each programmed weight."""
        return expect(self.device, self.encoding, w)
