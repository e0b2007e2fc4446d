"""Which noise model acts on which weight of a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from kppstat.errors import NoiseError
from kppstat.noise.model import NoiseModel
from kppstat.noise.selective import Verified

_SHOWN = 8  # names in a message


@dataclass(frozen=True)
class Variation:
    """Which noise model acts on which weight.

    Parameters
    ----------
    default : NoiseModel
        Acts wherever no pattern matches.
    layers : mapping of str to NoiseModel
        Weight names or shell-style patterns on them; a name itself wins, then the first pattern that matches.
    verified : Verified, optional
        Weights that were programmed by write-verify: their noise model takes the place of the one above.

    Raises
    ------
    NoiseError
        If anything else stands where a noise model should.
    """

    default: NoiseModel
    layers: Mapping[str, NoiseModel] = field(default_factory=dict)
    verified: Verified | None = None

    def __post_init__(self) -> None:
        for law in (self.default, *self.layers.values()):
            if not isinstance(law, NoiseModel):
                raise NoiseError(
                    f"{law!r} is no noise model",
                    where="variation",
                    remedy="Give one such as kppstat.Gaussian(0.1), or read a noise file with kppstat.noise.read",
                )

    def of(self, weight_name: str) -> NoiseModel:
        """Return the noise model that acts on the weight of this name."""
        noise = self._intended(weight_name)
        return noise if self.verified is None else self.verified.on(weight_name, noise)

    def _intended(self, weight_name: str) -> NoiseModel:
        if weight_name in self.layers:  # names may hold brackets, which patterns read otherwise
            return self.layers[weight_name]
        for pattern, model in self.layers.items():
            if fnmatchcase(weight_name, pattern):
                return model
        return self.default

    def unmatched(self, weight_names: Iterable[str]) -> tuple[str, ...]:
        """Return the patterns, and the names of verified weights, that match none of these: they are mistakes."""
        names = list(weight_names)
        patterns = [p for p in self.layers if p not in names and not any(fnmatchcase(n, p) for n in names)]
        return (*patterns, *(n for n in (self.verified.masks if self.verified else ()) if n not in names))

    def require_matches(self, weight_names: Iterable[str]) -> None:
        """Raise if a pattern, or the name of a verified weight, matches none of these weights.

        Raises
        ------
        NoiseError

        Examples
        --------
        >>> from kppstat.noise import Gaussian
        >>> Variation(Gaussian(0.1), {"conv*": Gaussian(0.2)}).require_matches(["conv1", "fc"])
        """
        names = list(weight_names)
        if stray := self.unmatched(names):
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise NoiseError(
                f"no weight is called {', '.join(repr(p) for p in stray)}",
                where="--noise-file",
                remedy=f"The weights are {', '.join(names[:_SHOWN])}{more}",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a plain description, equal exactly when two variations are the same law."""
        verified = {} if self.verified is None else {"verified": self.verified.to_dict()}
        return {**self.default.to_dict(), "layers": {p: m.to_dict() for p, m in self.layers.items()}, **verified}
