"""Weight clipping: device variation counts in max|W|, so a narrower range of weights is less noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kppstat.training.network import Values
from kppstat.training.strategies.strategy import Step, Strategy, strategy, within


def clip_to(values: Values, noisy: Sequence[str], width: float) -> None:
    """Clip each weight tensor in place to ``width`` times its root mean square."""
    with torch.no_grad():
        for name in noisy:
            limit = float(width * values[name].square().mean().sqrt())
            values[name].clamp_(-limit, limit)


@strategy("clip")
@dataclass(kw_only=True)
class Clip(Strategy):
    """Noise injection, with the weights clipped after every step.

    Clipping to a multiple of the standard deviation of a layer's weights is that of Joshi et al., Nature Communications
    11, 2473 (2020), Methods, who take 2 to 2.5; that clipping alone makes robust is in RandBET (arXiv 2006.13977,
    section 4.2).

    Parameters
    ----------
    width : float
        Where weights are clipped, in units of the root mean square of their tensor, 1 or more.
    """

    width: float = 2.5

    def __post_init__(self) -> None:
        within("width", self.width, 1)

    def losses(self, step: Step) -> Iterator[Tensor]:
        """Yield the loss of one instance."""
        yield step.loss(step.programmed())

    def after_step(self, values: Values, extra: Values, noisy: Sequence[str]) -> None:
        """Clip."""
        clip_to(values, noisy, self.width)
