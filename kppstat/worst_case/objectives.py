"""What is made small: functions of the logits that fall with the accuracy and have a gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# (logits, targets) -> one number for each input, to be made small
Objective = Callable[[Tensor, Tensor], Tensor]


def margin(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the logit of the right class less the largest other one, positive where right; shape (n,).

    Where the largest other logit stands before the right class and equals it, the answer counts as wrong elsewhere
    (``argmax`` takes the first); ties are too rare to matter for a gradient. Carlini and Wagner (2017), f_6.

    Examples
    --------
    >>> margin(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0])).tolist()
    [1.0]
    """
    own = logits.gather(1, targets[:, None])
    others = logits.scatter(1, targets[:, None], float("-inf"))
    return own[:, 0] - others.amax(dim=1)


def hinge(kappa: float = 0.0) -> Objective:
    """Return the margin cut off at ``-kappa``: LWC's F (arXiv 2207.07626); inputs wrong by more have no gradient."""
    return lambda logits, targets: margin(logits, targets).clamp_min(-kappa)


def smooth(temperature: float) -> Objective:
    """Return ``sigmoid(margin / temperature)``: the accuracy, smoothed; it weighs inputs near the margin most."""
    return lambda logits, targets: torch.sigmoid(margin(logits, targets) / temperature)


def towards(answer: int, temperature: float) -> Objective:
    """Return ``sigmoid((z_right - z_answer) / temperature)``: small where the answer is this one; 0 where it is right.

    Examples
    --------
    >>> towards(2, 1.0)(torch.tensor([[3.0, 1.0, 3.0], [0.0, 0.0, 5.0]]), torch.tensor([0, 2])).tolist()
    [0.5, 0.0]
    """

    def objective(logits: Tensor, targets: Tensor) -> Tensor:
        ahead = logits.gather(1, targets[:, None])[:, 0] - logits[:, answer]
        return torch.where(targets == answer, 0.0, torch.sigmoid(ahead / temperature))

    return objective
