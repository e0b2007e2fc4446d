"""Ours: train the range that deviations count in, under many instances for each mini-batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kppstat.training.network import Values
from kppstat.training.strategies.strategy import Scene, Step, Strategy, strategy, within

_RANGE = "range of "


@strategy("kpp")
@dataclass(kw_only=True)
class Kpp(Strategy):
    """Weights clamped to a trained range, and noise that gradients see the size of, one instance to each few inputs.

    Device variation counts in max|W|, so the percentile depends on the range of a tensor as much as on its values. Each
    tensor of weights is clamped to a range of its own, which is trained like the slopes of clipped activations in PACT
    (Choi et al., arXiv 1805.06085): a gradient flows to it from the weights at its ends, and from every deviation,
    because the deviations are differentiated through. So the range becomes as narrow as this device variation asks for.
    Each mini-batch is dealt to several instances, which costs far less than as many passes over all of it and takes
    most of the chance out of the gradient. The deviations are a little larger than those of the device, because what
    counts is not the mean instance.

    Batch normalisations use the statistics that the intended weights give on the mini-batch, with gradients, because
    those of a chip were measured without device variation too. The statistics of a noisy mini-batch, which the other
    strategies train with, hide what deviations do to a whole channel.

    Parameters
    ----------
    width : float
        Where the range of a tensor begins, in units of its root mean square, above 0.
    scale : float
        Factor on the deviations, 0 or more.
    instances : int
        Instances that share a mini-batch; one where the model takes a fixed number of inputs.
    """

    width: float = 2.0
    scale: float = 1.2
    instances: int = 8
    noisy: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        within("width", self.width, 0.1)
        within("scale", self.scale, 0)
        within("instances", self.instances, 1)

    def begin(self, scene: Scene) -> Values:
        """Open the ranges."""
        self.noisy = scene.network.noisy
        return {_RANGE + n: (self.width * scene.start[n].square().mean().sqrt()).reshape(1) for n in self.noisy}

    def losses(self, step: Step) -> Iterator[Tensor]:
        """Yield the mean loss over the inputs, each part of them under an instance of its own."""
        intended = self.intended(step.values, step.extra, step.member)
        measured = step.measured(intended)
        parts = step.dealt(self.instances)
        shares = [len(part.targets) / len(step.targets) for part in parts]
        drawn = (
            part.loss(part.programmed(intended, scale=self.scale, through=True), measured=measured) for part in parts
        )
        yield torch.stack([share * loss for share, loss in zip(shares, drawn, strict=True)]).sum()

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
