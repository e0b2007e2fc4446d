"""The search of kppstat: descents with different objectives and starts compete by successive halving."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kppstat.worst_case.checkpoint import Checkpoint
from kppstat.worst_case.descent import Recipe, descend
from kppstat.worst_case.network import FORWARD, Network
from kppstat.worst_case.objectives import hinge, log_likelihood, smooth
from kppstat.worst_case.point import Point
from kppstat.worst_case.region import Region

RECIPES = (
    Recipe("smoothed accuracy", lambda scale: smooth(scale / 2)),
    Recipe("margin", lambda scale: hinge(scale / 2)),
    Recipe("cross-entropy", lambda _: log_likelihood),
    Recipe("smoothed accuracy, Adam", lambda scale: smooth(scale / 2), adam=True),
)
_MOST = 8  # descents at the start
_WORTH = 3.0  # gradient passes that a descent needs before it can be judged
_PATH = 4.0  # radii that a first descent can go: far enough to reach any corner in spite of noise in its steps
_SHORTEST, _LONGEST = 0.03, 0.5  # first step, in radii
_END = 30.0  # by how much steps have shrunk at the end
_TRAPPED = 1.2  # shares of the largest class: at or below that accuracy, most answers are one class
_MARGIN = 1  # the recipe that leads out of there
_SCATTER = 0.3  # length of the random starts, in radii


@dataclass(frozen=True, eq=False)
class _Descent:
    """One competitor: where it is, what its margins are there."""

    recipe: int
    u: Tensor
    margins: np.ndarray

    @property
    def right(self) -> float:
        return float((self.margins > 0).mean())


@dataclass
class _Standing:
    """Where the competition is: the round, its first step and that of the first round, each descent's passes."""

    number: int
    longest: float
    first: float
    share: float
    field: list[_Descent]
    gone: list[_Descent]

    def kept(self, passes: float) -> dict[str, Any]:
        """Return it as plain values and tensors."""
        every = [
            {"recipe": d.recipe, "u": d.u, "margins": torch.from_numpy(d.margins)} for d in (*self.field, *self.gone)
        ]
        numbers = {
            "number": self.number,
            "longest": self.longest,
            "first": self.first,
            "share": self.share,
            "passes": passes,
        }
        return {**numbers, "field": len(self.field), "descents": every}

    @classmethod
    def of(cls, kept: dict[str, Any]) -> _Standing:
        """Return what was kept."""
        every = [_Descent(d["recipe"], d["u"], d["margins"].numpy()) for d in kept["descents"]]
        count = kept["field"]
        return cls(kept["number"], kept["longest"], kept["first"], kept["share"], every[:count], every[count:])


def ours(network: Network, region: Region, seed: int, checkpoint: Checkpoint | None = None) -> Iterator[Point]:
    """Let descents compete: each round has the same budget, and after it only the better half goes on.

    Where a descent ends depends on where it turns early (often on the class that most answers collapse to), so it
    pays to begin several, judge them on all inputs when they have gone some way, and spend the rest on the best:
    successive halving (Jamieson and Talwalkar, 2016). The first four start at the intended weights, one for each
    recipe, the others at random points near. Every look at all inputs counts as a third of a pass, and is where the
    next descent begins. Where the answers have collapsed to one class, the recipe changes to the one that gets below
    that class's share. With a checkpoint the search goes on after the last descent that was finished, and ends where
    it would have ended.
    """
    count = 2 ** int(min(math.log2(_MOST), max(0.0, math.log2(max(network.left, 1.0) / (2 * _WORTH)))))
    rounds = int(math.log2(count)) + 1
    known = None if checkpoint is None else checkpoint.recall()
    if known is None:
        at = _begin(network, region, count, rounds, torch.Generator().manual_seed(seed))
    else:
        at = _Standing.of(known)
        network.spend(known["passes"] - network.passes)
    while at.number < rounds:
        last = at.first / 2 if at.number + 1 < rounds else at.longest / _END
        for i, descent in list(enumerate(at.field))[len(at.gone) :]:
            if at.share <= 0:
                break
            recipe = replace(RECIPES[descent.recipe], first=at.first, last=last)
            phase = f"round {at.number + 1} of {rounds}: {recipe.name}"
            rng = np.random.default_rng([seed, at.number, i])
            u = descent.u
            for u, seen in descend(network, region, recipe, descent.u, descent.margins, at.share, rng):
                yield Point(u, seen, phase)
            at.gone.append(_Descent(descent.recipe, u, network.margins(u)))
            if checkpoint is not None:
                checkpoint.keep(at.kept(network.passes))
            if at.gone[-1].right == 0:
                break
        best = sorted([*at.gone, *at.field], key=lambda d: d.right)
        at = _next(
            network, rounds, _Standing(at.number + 1, at.longest, last, 0.0, best[: max(1, len(at.field) // 2)], [])
        )
        if best[0].right == 0:
            break
    yield Point(at.field[0].u, at.field[0].right, "best", check=True)


def _begin(network: Network, region: Region, count: int, rounds: int, generator: torch.Generator) -> _Standing:
    """Return the competitors before their first step."""
    origin = network.start()
    margins = network.margins(origin)
    field = []
    for i in range(count):
        u = origin
        if i >= len(RECIPES):  # margins near by are much the same, and every look has its price
            scattered = torch.randn(network.size, generator=generator)
            u = network.project(_SCATTER * region.bound * network.steepest(scattered, region), region)
        field.append(_Descent(i % len(RECIPES), u, margins))
    at = _next(network, rounds, _Standing(0, 0.0, 0.0, 0.0, field, []))
    steps = max(1.0, at.share * len(network) / network.batch)
    at.longest = at.first = min(max(_PATH / steps, _SHORTEST), _LONGEST)
    return at


def _next(network: Network, rounds: int, at: _Standing) -> _Standing:
    """Share what is left of the budget among the rounds to come, and this round's part among its descents.

    Once most answers are one class, the inputs of that class are right with large margins, where the other objectives
    are flat; the margin recipe moves them all, and needs long steps again to do so.
    """
    if at.field[0].right <= _TRAPPED * network.chance:
        at.field = [replace(descent, recipe=_MARGIN) for descent in at.field]
        at.first = at.longest
    if at.number < rounds:
        at.share = (network.left - FORWARD) / (rounds - at.number) / len(at.field) - FORWARD
    return at
