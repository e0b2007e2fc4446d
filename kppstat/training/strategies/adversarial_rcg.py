"""A-TRICE: RCG with an adversarial step in weight space before each step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kppstat.errors import SettingError
from kppstat.noise.law import full_scale
from kppstat.training.network import Values
from kppstat.training.strategies.rcg import Rcg
from kppstat.training.strategies.rcg_controls import censored_mean
from kppstat.training.strategies.strategy import Step, strategy, within


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return, summed over inputs, by how much the right class leads, 0 where it does not.

    Examples
    --------
    >>> float(margin(torch.tensor([[3.0, 1.0, 0.0], [0.0, 5.0, 1.0]]), torch.tensor([0, 0])))
    2.0
    """
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], float("-inf")).amax(1)
    return (own - others).clamp_min(0).sum()


@strategy("adversarial-rcg")
@dataclass(kw_only=True)
class AdversarialRcg(Rcg):
    """Two steps for each mini-batch: against the worst direction around RCG's mean, then RCG.

    Source: A-TRICE, arXiv 2312.06137; CIM_CW branch adv, ``utils.AMTrain``. As published, restoring the weights after
    the first step throws that step's update away; here it stays. The values used for `alpha` and `step` are not
    published. In the end RCG's mean is added to the weights, as there. The sigma of RCG is searched as in `rcg`.

    Parameters
    ----------
    alpha : float
        Weight of the adversarial loss.
    step : float
        Size of the adversarial step, the same for every weight, in units of the device's sigma times max|W|.
    """

    alpha: float = 1.0
    step: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        within("alpha", self.alpha, 0)
        within("step", self.step, 0)

    def losses(self, step: Step) -> Iterator[Tensor]:
        """Yield the adversarial loss, then that of RCG."""
        if step.objective.name != "cross-entropy":
            raise SettingError(
                f"adversarial-rcg needs logits, and the loss is {step.objective.name}",
                where="--strategy",
                remedy="Take rcg",
            )
        yield self.alpha * step.loss(self._attacked(step))
        yield from super().losses(step)

    def _attacked(self, step: Step) -> Values:
        """Return the weights at the mean of RCG, moved by one sign step that lowers the margin."""
        network = step.scene.network
        centre = {n: v.detach() for n, v in self._shifted(step.values, step.member).items()}
        probes = {n: centre[n].clone().requires_grad_() for n in network.noisy}
        # Statistics of this mini-batch: the running ones are of the network as it was given.
        logits, _ = step.run({**centre, **probes})
        slopes = torch.autograd.grad(margin(logits, step.targets.reshape(-1)), list(probes.values()))
        size = self.step * step.scene.sigma
        moves = {
            n: centre[n] - step.values[n].detach() - size * full_scale(step.values[n].detach()) * g.sign()
            for n, g in zip(probes, slopes, strict=True)
        }
        return {n: v + moves[n] if n in moves else v for n, v in step.values.items()}

    def _shifted(self, values: Values, member: int) -> Values:
        """Return the weights with RCG's mean added."""
        shift = censored_mean(self.threshold) * self.interval.candidates[member]
        return {n: v + shift * full_scale(v.detach()) if n in self.noisy else v for n, v in values.items()}

    def intended(self, values: Values, extra: Values, member: int) -> Values:
        """Add RCG's mean, as the published code does after training."""
        return self._shifted(values, member)
