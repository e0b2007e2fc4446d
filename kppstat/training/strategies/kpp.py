"""Ours: train in the range that deviations count in, under many instances for each mini-batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kppstat.training.network import Values
from kppstat.training.strategies.strategy import Scene, Step, Strategy, strategy, within

_SIZE = "size of "
_LEAST = (
    0.01  # root mean square that a tensor counts as having at least: steps of the optimiser should not span its range
)


@strategy("kpp")
@dataclass(kw_only=True)
class Kpp(Strategy):
    """Weights clamped to a range of trained size, and noise that gradients see, one instance to each few inputs.

    Device variation counts in max|W|, so the percentile depends on the range of a tensor as much as on its values. Each
    tensor of weights is clamped to a range set before training, and multiplied by a trained size: gradients flow to the
    size from every weight and, because the deviations are differentiated through, from every deviation. Clamp and size
    are apart so that the steps of the optimiser stay in proportion to the range; where the clamp itself is trained, as
    for activations in PACT (Choi et al., arXiv 1805.06085), a tensor can shrink until each step upsets it.
    Each mini-batch is dealt to several instances, which costs far less than as many passes over all of it and takes
    most of the chance out of the gradient. The deviations are a little larger than those of the device, because what
    counts is not the mean instance.

    Batch normalisations use the statistics that the intended weights give on the mini-batch, with gradients, because
    those of a chip were measured without device variation too. The statistics of a noisy mini-batch, which the other
    strategies train with, hide what deviations do to a whole channel.

    Parameters
    ----------
    width : float
        Where the weights of a tensor are clamped, in units of its root mean square before training (of 0.01, if that is
        more), above 0.
    scale : float
        Factor on the deviations, 0 or more.
    instances : int
        Instances that share a mini-batch; one where the model takes a fixed number of inputs.
    """

    width: float = 2.0
    scale: float = 1.2
    instances: int = 8
    limits: dict[str, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        within("width", self.width, 0.1)
        within("scale", self.scale, 0)
        within("instances", self.instances, 1)

    def begin(self, scene: Scene) -> Values:
        """Set the clamps, and return the log of each size."""
        start = {name: scene.start[name] for name in scene.network.noisy}
        self.limits = {n: self.width * max(float(w.square().mean().sqrt()), _LEAST) for n, w in start.items()}
        return {_SIZE + name: w.new_zeros(1) for name, w in start.items()}

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
        """Put weights beyond their clamp at its end, from where they can come back."""
        with torch.no_grad():
            for name in noisy:
                values[name].clamp_(-self.limits[name], self.limits[name])

    def intended(self, values: Values, extra: Values, member: int) -> Values:
        """Clamp every weight and multiply it by the size of its tensor."""
        result = dict(values)
        for name, limit in self.limits.items():
            result[name] = extra[_SIZE + name].exp() * values[name].clamp(-limit, limit)
        return result
