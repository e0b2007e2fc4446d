"""Searches to compare with: one gradient step, projected gradient steps, random draws."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from kppstat.worst_case.network import FORWARD, Network
from kppstat.worst_case.objectives import hinge
from kppstat.worst_case.point import Point
from kppstat.worst_case.region import Region

_STEP = 2.5  # PGD: the path is this many times the radius, so that any corner can be reached


def fgsm(network: Network, region: Region, seed: int) -> Iterator[Point]:
    """Take one step to the boundary along the gradient of the margin over all inputs.

    The fast gradient sign method (Goodfellow et al., 2015) on weights.
    """
    del seed
    u = network.start()
    gradient, margins = network.gradient(u, hinge())
    step = u - region.bound * network.steepest(gradient, region)
    yield Point(network.project(step, region), float((margins > 0).mean()), "one step", check=True)


def pgd(network: Network, region: Region, seed: int) -> Iterator[Point]:
    """Take projected gradient steps over all inputs, as many as the budget allows, and keep the best.

    Madry et al. (2018), step 2.5 radius / steps, on the margin summed over all inputs: the objective with which
    MariusAnje/CIM_CW attacks weights (cw_attack.py, class PGD, function "act"), whose steps are radius / steps.
    """
    del seed
    u = network.start()
    best = Point(u, 1.0, "steps")
    steps = max(1, int(network.left))
    for _ in range(steps):
        gradient, margins = network.gradient(u, hinge())
        here = Point(u, float((margins > 0).mean()), "steps", whole=True)
        best = min(best, here, key=lambda point: point.seen)
        yield here
        step = _STEP * region.bound / steps
        u = network.project(u - step * network.steepest(gradient, region), region)
    yield Point(u, best.seen, "last step", check=True)
    yield Point(best.u, best.seen, "best step", check=True)


def random(network: Network, region: Region, seed: int) -> Iterator[Point]:
    """Draw deviations of full length at random (under ``linf``, corners) as long as the budget lasts; keep the best."""
    generator = torch.Generator().manual_seed(seed)
    best = Point(network.start(), 1.0, "draws")
    while network.left >= FORWARD:
        drawn = torch.randn(network.size, generator=generator)
        u = network.project(region.bound * network.steepest(drawn, region), region)
        here = Point(u, float((network.margins(u) > 0).mean()), "draws", whole=True)
        best = min(best, here, key=lambda point: point.seen)
        yield here
    yield Point(best.u, best.seen, "best draw", check=True)
