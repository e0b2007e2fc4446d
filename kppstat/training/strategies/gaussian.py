"""Noise injection: train under the device variation itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from kppstat.training.strategies.strategy import Step, Strategy, strategy, within


@strategy("gaussian")
@dataclass(kw_only=True)
class Gaussian(Strategy):
    """One instance of the device variation for every mini-batch.

    The baseline of TRICE (arXiv 2307.15853) and NeFT (arXiv 2305.14561, NeFT_CIM ``base``), where it is Gaussian; here
    it is whatever device variation is given. Gradients take the deviation as given.

    Parameters
    ----------
    scale : float
        Factor on the deviations, 0 or more.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        within("scale", self.scale, 0)

    def losses(self, step: Step) -> Iterator[Tensor]:
        """Yield the loss of one instance."""
        yield step.loss(step.programmed(scale=self.scale))
