"""The search of kppstat: descents with different objectives and starts compete by successive halving."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

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
_SCATTER = 0.3  # length of the random starts, in radii


@dataclass(frozen=True, eq=False)
class _Descent:
    """One competitor: where it is, what its margins are there."""

    recipe: Recipe
    u: Tensor
    margins: np.ndarray

    @property
    def right(self) -> float:
        return float((self.margins > 0).mean())


def ours(network: Network, region: Region, seed: int) -> Iterator[Point]:
    """Let descents compete: each round has the same budget, and after it only the better half goes on.

    Where a descent ends depends on where it turns early (often on the class that most answers collapse to), so it
    pays to begin several, judge them on all inputs when they have gone some way, and spend the rest on the best:
    successive halving (Jamieson and Talwalkar, 2016). The first four start at the intended weights, one for each
    recipe, the others at random points near. Every look at all inputs counts as a third of a pass, and is where the
    next descent begins.
    """
    rng = np.random.default_rng(seed)
    count = 2 ** int(min(math.log2(_MOST), max(0.0, math.log2(max(network.left, 1.0) / (2 * _WORTH)))))
    rounds = int(math.log2(count)) + 1
    field = _begin(network, region, count, torch.Generator().manual_seed(seed))
    each = (network.left - 2 * FORWARD) / (rounds * count) - FORWARD
    steps = max(1.0, each * len(network) / network.batch)
    first = min(max(_PATH / steps, _SHORTEST), _LONGEST)
    for number in range(rounds):
        last = first / 2 if number + 1 < rounds else first * 2**number / _END
        passes = (network.left - FORWARD) / (rounds - number) / len(field) - FORWARD
        gone = []
        for descent in field:
            if passes <= 0:
                break
            recipe = replace(descent.recipe, first=first, last=last)
            u = descent.u
            phase = f"round {number + 1} of {rounds}: {recipe.name}"
            for u, seen in descend(network, region, recipe, descent.u, descent.margins, passes, rng):
                yield Point(u, seen, phase)
            gone.append(_Descent(recipe, u, network.margins(u)))
        field = sorted([*gone, *field], key=lambda descent: descent.right)[: max(1, len(field) // 2)]
        first = last
        if field[0].right == 0:
            break
    yield Point(field[0].u, field[0].right, "best", check=True)


def _begin(network: Network, region: Region, count: int, generator: torch.Generator) -> list[_Descent]:
    """Return the competitors before their first step."""
    origin = network.start()
    margins = network.margins(origin)
    field = []
    for i in range(count):
        u = origin
        if i >= len(RECIPES):  # margins near by are much the same, and every look has its price
            scattered = torch.randn(network.size, generator=generator)
            u = network.project(_SCATTER * region.bound * network.steepest(scattered, region), region)
        field.append(_Descent(RECIPES[i % len(RECIPES)], u, margins))
    return field
