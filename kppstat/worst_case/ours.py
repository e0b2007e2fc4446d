"""The search of kppstat: few descents with different objectives, each long enough to settle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kppstat.worst_case.checkpoint import Checkpoint
from kppstat.worst_case.descent import Recipe, descend
from kppstat.worst_case.network import FORWARD, Network
from kppstat.worst_case.objectives import hinge, smooth, towards
from kppstat.worst_case.point import Point
from kppstat.worst_case.region import Region

_RECIPES = (
    Recipe("smoothed accuracy", lambda scale, done: smooth(scale / 2 * 0.25**done), first=0.1),  # ever less smooth
    Recipe("margin", lambda scale, _: hinge(scale / 2), near=1.0),
)
_PATH = 3.0  # first steps times their number, at least: so far that any corner can be reached
_LONGEST = 0.5  # step, in radii
_SETTLES = 30.0  # gradient passes after which a longer descent gains less than another one
_MOST = 8  # descents
_WHOLE = 16.0  # gradient passes below which one descent gets them all
_ANSWER = 0.08  # of the budget, kept for the collapse to one answer
_TRAPPED = (0.6, 1.2)  # shares of the largest class: between them, most answers are one class
_RARER = 0.95  # of the accuracy found: a class must be as rare to be worth a descent
_HELD = 3.5  # times the share of the largest class: above it half-way, another recipe is not worth half of the budget


@dataclass(frozen=True, eq=False)
class _Found:
    """Where a descent ended, by which recipe, and the margins there."""

    recipe: int
    u: Tensor
    margins: np.ndarray

    @property
    def right(self) -> float:
        return float((self.margins > 0).mean())


def ours(network: Network, region: Region, seed: int, checkpoint: Checkpoint | None = None) -> Iterator[Point]:
    """Descend from the intended weights on the smoothed accuracy, on the margin, and again on what went lower.

    The smoothed accuracy spends itself on inputs that can still turn, which is best within small bounds; within large
    ones it is drawn to weights that answer everything with one class, and stays there. The margin avoids that, since
    it moves inputs far on the right side too. What a descent has come to early says little about where it ends, and
    mini-batches alone make the ends differ, so each gets its full length and the better recipe another try. If all
    collapse, the class that fewest inputs have is the one to collapse to. Where the budget allows two descents only,
    the first goes on to take all of it if it is far from a collapse half-way. Every look at all inputs counts as a
    third of a pass. With a checkpoint the search goes on after the last descent that was finished, and ends where it
    would have ended.
    """
    start = network.start()
    margins = network.margins(start)
    total = network.left
    count = 1 if total < _WHOLE else max(2, min(_MOST, int(total / _SETTLES)))
    share = total if count == 1 else (1 - _ANSWER) * total / count
    found: list[_Found] = []
    known = None if checkpoint is None else checkpoint.recall()
    if known is not None:
        found = _recalled(known)
        network.spend(known["passes"] - network.passes)
        yield Point(_best(found).u, _best(found).right, f"descent {len(found)} of {count} was finished", whole=True)
    while len(found) < count and network.left > 0.9 * share and not (found and _best(found).right == 0):
        which = len(found) if len(found) < len(_RECIPES) else _best(found).recipe
        recipe, rng = _RECIPES[which], np.random.default_rng([seed, len(found)])
        alone = count == 2 and not found
        passes = (2 * share if alone else share) - FORWARD
        steps = max(1.0, passes * len(network) / network.batch)
        recipe = replace(recipe, first=max(recipe.first, min(_PATH / steps, _LONGEST)))
        phase = f"descent {len(found) + 1} of {count}: {recipe.name}"
        u, begin = start, network.passes
        for u, seen in descend(network, region, recipe, start, margins, passes, rng):
            yield Point(u, seen, phase)
            if alone and network.passes - begin >= share - FORWARD:
                if seen <= _HELD * network.chance:
                    break
                alone = False
        found.append(_Found(which, u, network.margins(u)))
        if checkpoint is not None:
            checkpoint.keep(_kept(found, network.passes))
        yield Point(u, found[-1].right, phase, whole=True)
    best = _best(found)
    yield Point(best.u, best.right, "best descent", check=True)
    if count > 1 and _TRAPPED[0] <= best.right / network.chance <= _TRAPPED[1]:
        yield from _one_answer(network, region, best.right, margins, seed)


def _one_answer(network: Network, region: Region, reached: float, margins: np.ndarray, seed: int) -> Iterator[Point]:
    """Move all answers to the class that fewest inputs have, if that is lower than what was reached."""
    answer, share = network.rarest()
    if share > _RARER * reached or network.left < 2 * network.batch / len(network):
        return
    start = network.start()
    u, seen = start, 1.0
    rng = np.random.default_rng([seed, _MOST])
    recipe = Recipe("one answer", lambda scale, _: towards(answer, scale))
    passes = network.left - network.batch / len(network)  # steps are whole
    for u, seen in descend(network, region, recipe, start, margins, passes, rng):
        yield Point(u, seen, "one answer for all: the rarest class")
    yield Point(u, seen, "one answer", check=True)


def _best(found: list[_Found]) -> _Found:
    return min(found, key=lambda one: one.right)


def _kept(found: list[_Found], passes: float) -> dict[str, Any]:
    """Return where the search is as plain values and tensors."""
    ends = [{"recipe": one.recipe, "u": one.u, "margins": torch.from_numpy(one.margins)} for one in found]
    return {"passes": passes, "found": ends}


def _recalled(known: dict[str, Any]) -> list[_Found]:
    return [_Found(one["recipe"], one["u"], one["margins"].numpy()) for one in known["found"]]
