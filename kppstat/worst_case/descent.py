"""One descent: mini-batches of the inputs that matter, momentum, shrinking steps, projection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from kppstat.worst_case.network import Network
from kppstat.worst_case.objectives import Objective
from kppstat.worst_case.region import Region

_SHARE = 0.2  # how often an input that seems lost is drawn, against one that still matters
_AVERAGED = 0.1  # of a descent, over which its deviations are averaged
_MOMENTUM = 0.9
_LAST = 0.01  # step, in radii


@dataclass(frozen=True)
class Recipe:
    """How a descent steps.

    Attributes
    ----------
    name : str
    objective : callable
        From the scale of the margins, the median of those still positive, and the part of the descent that is done to
        what is made small.
    first : float
        Length of the first step as a fraction of the radius; the lengths of all are geometric down to the last.
    near : float
        Inputs wrong by less than this many typical margins still matter: they could turn right again.
    """

    name: str
    objective: Callable[[float, float], Objective]
    first: float = 0.3
    near: float = 0.5


def descend(
    network: Network,
    region: Region,
    recipe: Recipe,
    start: Tensor,
    margins: np.ndarray,
    passes: float,
    rng: np.random.Generator,
) -> Iterator[tuple[Tensor, float]]:
    """Yield the deviation after each step, averaged over a while, and the share of answers right when last seen.

    `margins` are those of all inputs at `start`; each is remembered until its input is in a mini-batch again. Inputs
    that are right, or wrong by little, are drawn often, the others seldom: gradients are spent where the accuracy can
    still fall, and the more inputs are lost the cheaper a sweep over the rest becomes. What the average is for: where
    whole classes swing between two answers, single deviations are much worse than what lies between them.
    """
    begin, n = network.passes, len(network)
    margins = margins.copy()
    u, momentum = start.clone(), network.start()
    average = u
    while (spent := (network.passes - begin) / passes) < 1 - 1e-9:
        if not (margins > 0).any():  # as remembered: look again
            margins = network.margins(u).copy()
            yield u, float((margins > 0).mean())
            if not (margins > 0).any():
                return
        scale = float(np.median(margins[margins > 0]))
        odds = np.where(margins > -recipe.near * scale, 1.0, _SHARE)
        rows = rng.choice(n, size=min(network.batch, n), replace=False, p=odds / odds.sum())
        gradient, margins[rows] = network.gradient(u, recipe.objective(scale, spent), rows)
        momentum = _MOMENTUM * momentum + (1 - _MOMENTUM) * gradient
        step = region.bound * recipe.first * (_LAST / recipe.first) ** spent
        u = network.project(u - step * network.steepest(momentum, region), region)
        share = (network.passes - begin) / passes - spent
        average = average + min(1.0, share / _AVERAGED) * (u - average)
        yield average, float((margins > 0).mean())
