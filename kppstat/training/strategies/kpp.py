"""Ours: train the range that deviations count in, and the instances near the percentile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kppstat.training.network import Values
from kppstat.training.strategies.strategy import Scene, Step, Strategy, strategy, within

_RANGE = "range of "


def worst(losses: Tensor, tail: float) -> Tensor:
    """Return the mean of the largest losses: the conditional value at risk of Rockafellar & Uryasev (2000).

    Parameters
    ----------
    losses : Tensor, shape (draws,)
    tail : float
        Share of the draws that counts, at least one of them.

    Examples
    --------
    >>> float(worst(torch.tensor([1.0, 4.0, 2.0, 3.0]), 0.5))
    3.5
    """
    count = max(1, round(tail * len(losses)))
    return losses.topk(count).values.mean()


@strategy("kpp")
@dataclass(kw_only=True)
class Kpp(Strategy):
    """Weights clamped to a trained range, noise that gradients see the size of, and an average over the steps.

    Device variation counts in max|W|, so the percentile depends on the range of a tensor as much as on its values.
    Each tensor of weights is clamped to a range of its own, which is trained like the slopes of clipped activations in
    PACT (Choi et al., arXiv 1805.06085): a gradient flows to it from the weights at its ends, and from every deviation,
    because the deviations are differentiated through. Of several instances a mini-batch, the worst share makes the
    loss. The average of the weights over the last steps (Polyak & Juditsky, 1992) is kept, because one instance a step
    makes them walk at random.

    Parameters
    ----------
    width : float
        Where the range of a tensor begins, in units of its root mean square, above 0.
    draws : int
        Instances for each mini-batch; the cost grows with it.
    tail : float
        Share of them, the worst ones, that makes the loss.
    averaging : float
        Decay of the average at each step, less than 1; 0 keeps the last weights.
    """

    width: float = 2.0
    draws: int = 2
    tail: float = 0.5
    averaging: float = 0.99
    noisy: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        within("width", self.width, 0.1)
        within("draws", self.draws, 1)
        within("tail", self.tail, 0, 1)
        within("averaging", self.averaging, 0, 0.999999)

    def begin(self, scene: Scene) -> Values:
        """Open the ranges."""
        self.noisy = scene.network.noisy
        return {_RANGE + n: (self.width * scene.start[n].square().mean().sqrt()).reshape(1) for n in self.noisy}

    def losses(self, step: Step) -> Iterator[Tensor]:
        """Yield the mean loss of the worst instances."""
        intended = self.intended(step.values, step.extra, step.member)
        drawn = [step.loss(step.programmed(intended, through=True)) for _ in range(self.draws)]
        yield worst(torch.stack(drawn), self.tail)

    def after_step(self, values: Values, extra: Values, noisy: Sequence[str]) -> None:
        """Put weights beyond their range at its end, from where they can come back."""
        with torch.no_grad():
            for name in noisy:
                limit = extra[_RANGE + name].abs()
                values[name].clamp_(-limit, limit)

    def intended(self, values: Values, extra: Values, member: int) -> Values:
        """Clamp every weight to the range of its tensor."""
        result = dict(values)
        for name in self.noisy:
            limit = extra[_RANGE + name].abs()
            result[name] = torch.minimum(torch.maximum(values[name], -limit), limit)
        return result
