"""What a noise model is: a deterministic map from standard normals to weights."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
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

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters under the key ``model`` and their own names, as a TOML file would give them."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {"model": self.name, **{f.name: _plain(getattr(self, f.name)) for f in fields}}


def _plain(value: Any) -> Any:
    """Turn nested models and tuples into tables and lists."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Variation:
    """Which noise model acts on which weight.

    Parameters
    ----------
    default : NoiseModel
        Acts wherever no pattern matches.
    layers : mapping of str to NoiseModel
        Weight names or shell-style patterns on them; a name itself wins, then the first pattern that matches.
    """

    default: NoiseModel
    layers: Mapping[str, NoiseModel] = field(default_factory=dict)

    def of(self, weight_name: str) -> NoiseModel:
        """Return the noise model that acts on the weight of this name."""
        if weight_name in self.layers:  # names may hold brackets, which patterns read otherwise
            return self.layers[weight_name]
        for pattern, model in self.layers.items():
            if fnmatchcase(weight_name, pattern):
                return model
        return self.default

    def unmatched(self, weight_names: Iterable[str]) -> tuple[str, ...]:
        """Return the patterns that match none of these weights, which are mistakes."""
        names = list(weight_names)
        return tuple(p for p in self.layers if p not in names and not any(fnmatchcase(n, p) for n in names))

    def to_dict(self) -> dict[str, Any]:
        """Return a plain description, equal exactly when two variations are the same law."""
        return {**self.default.to_dict(), "layers": {p: m.to_dict() for p, m in self.layers.items()}}
