"""What a noise model is: a deterministic map from standard normals to weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any


class NoiseModel(ABC):
    """A law for device variation, as a map ``T(w, z)`` from intended weights and standard normals to programmed weights.

    Every sampler, importance shift, direction and gradient works on ``z``, so it works for every noise model.
    Implementations are frozen dataclasses whose fields are the parameters.
    """

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
            Standard normals of the same array library.
        """

    @abstractmethod
    def moments(self, w: Any) -> tuple[Any, Any]:
        """Return the mean and the variance of each element of ``T(w, Z)``, each of the shape of `w`."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the parameters under the key ``model`` and their own names, as a TOML file would give them."""


@dataclass(frozen=True)
class Variation:
    """Which noise model acts on which weight.

    Parameters
    ----------
    default : NoiseModel
        Acts wherever no pattern matches.
    layers : mapping of str to NoiseModel
        Shell-style patterns on weight names; the first that matches wins.
    """

    default: NoiseModel
    layers: Mapping[str, NoiseModel] = field(default_factory=dict)

    def of(self, weight_name: str) -> NoiseModel:
        """Return the noise model that acts on the weight of this name."""
        for pattern, model in self.layers.items():
            if fnmatchcase(weight_name, pattern):
                return model
        return self.default

    def to_dict(self) -> dict[str, Any]:
        """Return a plain description, equal exactly when two variations are the same law."""
        return {**self.default.to_dict(), "layers": {p: m.to_dict() for p, m in self.layers.items()}}
