"""Training without device variation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from kppstat.training.strategies.strategy import Step, Strategy, strategy


@strategy("plain")
@dataclass(kw_only=True)
class Plain(Strategy):
    """The loss of the intended weights: what a network is before anyone thinks of device variation."""

    def losses(self, step: Step) -> Iterator[Tensor]:
        """Yield the loss without noise."""
        yield step.loss(step.values)
