"""What a noise model is: a deterministic map from standard normals to weights."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from kppstat.noise.parameters import checked


class NoiseModel(ABC):
    """A law for device variation: a map ``T(w, z)`` from intended weights and standard normals to programmed weights.

    Every sampler, importance shift, direction and gradient works on ``z``, so it works for every noise model.
    Implementations are frozen dataclasses whose fields are the parameters.

    Attributes
    ----------
    name : str
        What noise files call it.
    formula, unit, source : str
        For its page: the law in one line, what its numbers are fractions of, and where it was published.
    takes_unit : bool
        Whether its sigma is a fraction of max|W|, so that noise files may give it in a published unit.
    example : mapping
        Parameters of an instance to show and to test, as a noise file would give them.
    independent : bool
        Whether the deviations of different weights are independent.
    common : int
        How many of the standard normals all tensors of an instance have in common.
    """

    name: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    unit: ClassVar[str] = ""
    source: ClassVar[str] = ""
    takes_unit: ClassVar[bool] = False
    example: ClassVar[Mapping[str, Any]] = {}

    def __post_init__(self) -> None:
        checked(self)

    @property
    def independent(self) -> bool:
        """Whether the deviations of different weights are independent of one another."""
        return True

    @property
    def common(self) -> int:
        """How many of the standard normals, the last ones, all tensors of an instance have in common."""
        return 0

    @abstractmethod
    def draws(self, shape: tuple[int, ...]) -> int:
        """Return how many standard normals a tensor of this shape takes."""

    @abstractmethod
    def weights(self, w: Any, z: Any) -> Any:
        """Return the programmed weights ``T(w, z)``, of the shape and dtype of `w`.

        Parameters
        ----------
        w : array, any shape
            Intended weights (NumPy or torch).
        z : array, shape (draws(w.shape),)
            Standard normals of the same array library; `kppstat.noise.instance_normals` gives those of an instance.
        """

    @abstractmethod
    def moments(self, w: Any) -> tuple[Any, Any]:
        """Return the mean and the variance of each element of ``T(w, Z)``, each of the shape of `w`."""

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters under the key ``model`` and their own names, as a TOML file would give them."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {"model": self.name, **{f.name: _plain(getattr(self, f.name)) for f in fields}}


def _plain(value: Any) -> Any:
    """Turn nested models and tuples into tables and lists."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
