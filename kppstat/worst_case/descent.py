"""One descent: mini-batches of the inputs that matter, momentum, shrinking steps, projection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kppstat.worst_case.network import Network
from kppstat.worst_case.objectives import Objective
from kppstat.worst_case.region import Region

_SHARE = 0.2  # how often an input that seems lost is drawn, against one that still matters
_NEAR = 0.5  # inputs wrong by less than this many typical margins still matter: they could turn right again
_MOMENTUM = 0.9
_SQUARES = 0.99


@dataclass(frozen=True)
class Recipe:
    """How a descent steps.

    Attributes
    ----------
    name : str
    objective : callable
        From the scale of the margins, the median of those still positive, to what is made small.
    adam : bool
        Steps of Adam instead of steps along the sign of the momentum.
    first, last : float
        Length of the first and the last step as a fraction of the radius; geometric in between.
    """

    name: str
    objective: Callable[[float], Objective]
    adam: bool = False
    first: float = 0.2
    last: float = 0.01


def descend(
    network: Network,
    region: Region,
    recipe: Recipe,
    start: Tensor,
    margins: np.ndarray,
    passes: float,
    rng: np.random.Generator,
) -> Iterator[tuple[Tensor, float]]:
    """Yield the deviation after each step, and the share of right answers when each input was last seen.

    `margins` are those of all inputs at `start`; each is remembered until its input is in a mini-batch again. Inputs
    that are right, or wrong by little, are drawn often, the others seldom: gradients are spent where the accuracy can
    still fall, and the more inputs are lost the cheaper a sweep over the rest becomes.
    """
    begin, n = network.passes, len(network)
    margins = margins.copy()
    u, momentum, squares = start.clone(), network.start(), network.start()
    count = 0
    while (spent := (network.passes - begin) / passes) < 1 - 1e-9:
        if not (margins > 0).any():  # as remembered: look again
            margins = network.margins(u).copy()
            yield u, float((margins > 0).mean())
            if not (margins > 0).any():
                return
        scale = float(np.median(margins[margins > 0]))
        odds = np.where(margins > -_NEAR * scale, 1.0, _SHARE)
        rows = rng.choice(n, size=min(network.batch, n), replace=False, p=odds / odds.sum())
        gradient, margins[rows] = network.gradient(u, recipe.objective(scale), rows)
        count += 1
        momentum = _MOMENTUM * momentum + (1 - _MOMENTUM) * gradient
        step = region.bound * recipe.first * (recipe.last / recipe.first) ** spent
        if recipe.adam:
            squares = _SQUARES * squares + (1 - _SQUARES) * gradient.square()
            size = (squares / (1 - _SQUARES**count)).sqrt() + torch.finfo(torch.float32).tiny
            direction = momentum / (1 - _MOMENTUM**count) / size
        else:
            direction = network.steepest(momentum, region)
        u = network.project(u - step * direction, region)
        yield u, float((margins > 0).mean())
