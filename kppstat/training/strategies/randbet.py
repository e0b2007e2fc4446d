"""RandBET: random bit errors in quantised, clipped weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from kppstat.noise import Asymmetric, Encoded, Flip, Slices, Variation
from kppstat.training.network import Values
from kppstat.training.strategies.clip import clip_to
from kppstat.training.strategies.strategy import Step, Strategy, strategy, within

_LIMIT = 1.75  # loss above which no errors are injected, for 10 classes
_GRADIENT = 0.05  # where the gradients of the pass with errors are clipped, before the mean is taken


@strategy("randbet")
@dataclass(kw_only=True)
class RandBet(Strategy):
    """Random bit error training with weight clipping.

    Source: Stutz et al., MLSys 2021, arXiv 2006.13977, and davidstutz/random-bit-error-robustness: weights are clipped
    and quantised to 8 bits between their least and largest value; each step averages the gradients of a pass without
    and one with bit errors, the latter clipped to 0.05, once the loss is low enough. Published are a clipping at 0.1
    for networks with normalisation, and 1 % errors. Here weights are clipped in units of the root mean square of their
    tensor, which also suits networks without normalisation.

    Parameters
    ----------
    probability : float
        That a bit flips.
    bits : int
        Of a weight.
    width : float
        Where weights are clipped, in units of the root mean square of their tensor, 1 or more.
    """

    probability: float = 0.01
    bits: int = 8
    width: float = 2.5

    def __post_init__(self) -> None:
        within("probability", self.probability, 0, 1)
        within("bits", self.bits, 2, 16)
        within("width", self.width, 1)

    def _variation(self, probability: float) -> Variation:
        steps = (Asymmetric(), Slices(bits=self.bits, per_device=1))
        return Variation(Encoded(steps, Flip(probability)))

    def losses(self, step: Step) -> Iterator[Tensor]:
        """Yield the mean of the losses without and with bit errors."""
        clean = step.loss(step.programmed(variation=self._variation(0.0)))
        classes = step.scene.outputs.shape[-1]
        limit = _LIMIT * math.log(max(classes, 2)) / math.log(10)
        if float(clean.detach()) >= 1.15 * limit:
            yield clean
            return
        noisy = step.scene.network.noisy
        # All gradients are halved in the mean, and so is where they are clipped.
        values = {n: _clipped_gradient(v, _GRADIENT / 2) if n in noisy else v for n, v in step.values.items()}
        yield (clean + step.loss(step.programmed(values, variation=self._variation(self.probability)))) / 2

    def after_step(self, values: Values, extra: Values, noisy: Sequence[str]) -> None:
        """Clip."""
        clip_to(values, noisy, self.width)


def _clipped_gradient(w: Tensor, limit: float) -> Tensor:
    """Return the same values, whose gradient is clipped on its way back."""
    same = w * 1.0
    same.register_hook(lambda g: g.clamp(-limit, limit))  # type: ignore[no-untyped-call]
    return same
