"""What a selection of weights for write-verify yields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kppstat.noise import Variation, write
from kppstat.worst_case.network import FORWARD


@dataclass(frozen=True, eq=False, kw_only=True)
class Selection:
    """The weights to program by write-verify.

    Attributes
    ----------
    variation : Variation
        The device variation with these weights verified: for `kppstat.estimate` and all else that takes one.
    fraction : float
        Asked for.
    count, weights : int
        How many weights are verified, of how many.
    by_tensor : mapping of str to (int, int)
        The same for each tensor.
    method : str
    k : float
    passes : float
        Gradient passes that the ranking took.
    seed : int
    model, data : str
    """

    variation: Variation
    fraction: float
    count: int
    weights: int
    by_tensor: Mapping[str, tuple[int, int]]
    method: str
    k: float
    passes: float
    seed: int
    model: str
    data: str

    @property
    def evaluations(self) -> float:
        """The cost in evaluations: three for a gradient pass."""
        return self.passes / FORWARD

    def summary(self) -> str:
        """Return the answer in one sentence."""
        return (
            f"{self.count:,} of {self.weights:,} weights ({100 * self.fraction:g} %) are to be verified, ranked by "
            f"{self.method} at the cost of {self.evaluations:.3g} evaluations."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values for JSON, without the masks, which `save` writes."""
        names = ("fraction", "count", "weights", "method", "k", "passes", "evaluations", "seed", "model", "data")
        tensors = {name: {"verified": a, "weights": b} for name, (a, b) in self.by_tensor.items()}
        return {**{name: getattr(self, name) for name in names}, "tensors": tensors}

    def save(self, path: str | Path) -> None:
        """Write the variation as a noise file.

        Raises
        ------
        NoiseError
            If the file cannot be written.
        """
        write(self.variation, path)
