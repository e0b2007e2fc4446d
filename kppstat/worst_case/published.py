"""LWC as published: margin and distance weighed by a constant, which a search adjusts until the bound is met."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from kppstat.worst_case.network import Network
from kppstat.worst_case.objectives import hinge
from kppstat.worst_case.point import Point
from kppstat.worst_case.region import Region

RUNS = 10  # of the search of c, as in MariusAnje/CIM_CW, branch main
_TOLERANCE = 1e-5  # on the reach, at which the search of c stops
_START = 1e-4
_PATH = 1.0  # Adam can go this many radii in a run; the published rates are tuned by hand for each network


def lwc(network: Network, region: Region, seed: int) -> Iterator[Point]:
    """Minimise ``c F(dW) + D(dW)`` by Adam without projection, for a constant c that a search finds.

    Follows MariusAnje/CIM_CW (cw_attack.py: WCW and binary_search_dist) for arXiv 2207.07626: F is the margin summed
    over a mini-batch (kappa 0), D the largest deviation (for other bounds the root mean square: both are choices of the
    published code); c is multiplied by 10 while the run stays inside the bound and none has left it, divided by 10
    while none has stayed inside, then bisected. Two things are ours, both in its favour: the learning rate is set so
    that the bound is just in reach, and a run that ends outside is pulled back to the bound instead of being
    discarded. The budget is shared by 10 runs.
    """
    rng = np.random.default_rng(seed)
    c, low, high = _START, 0.0, math.inf
    share = network.left / RUNS
    for number in range(RUNS):
        u, seen = network.start(), 1.0
        for u, seen in _run(network, region, c, share, rng):
            yield Point(network.project(u, region), seen, f"run {number + 1} of {RUNS}, c = {c:.3g}")
        reach = region.reach(network.split(u))
        if reach > 0:
            shrunk = u * min(1.0, region.bound / reach)
            yield Point(network.project(shrunk, region), seen, f"end of run {number + 1}", check=True)
        if abs(reach - region.bound) < _TOLERANCE or network.left < share:
            return
        if reach < region.bound:
            low = c
            c = c * 10 if math.isinf(high) else (low + high) / 2
        else:
            high = c
            c = c / 10 if low == 0 else (low + high) / 2


def _run(
    network: Network, region: Region, c: float, passes: float, rng: np.random.Generator
) -> Iterator[tuple[Tensor, float]]:
    """Run Adam for so many passes; yields the deviation and the share of right answers, pass by pass."""
    n, end = len(network), network.passes + passes
    steps = max(1.0, passes * n / network.batch)
    u = network.start().requires_grad_()
    adam = torch.optim.Adam([u], lr=_PATH * region.bound / steps)
    right: list[np.ndarray] = []
    while network.passes < end - 1e-9:
        order = rng.permutation(n)
        for start in range(0, n, network.batch):
            gradient, margins = network.gradient(u, hinge(), order[start : start + network.batch])
            u.grad = c * gradient + _pull(u.detach(), region)
            adam.step()
            right.append(margins > 0)
            if network.passes >= end - 1e-9:
                break
        yield u.detach().clone(), float(np.concatenate(right).mean())
        right.clear()


def _pull(u: Tensor, region: Region) -> Tensor:
    """Return the gradient of the distance D."""
    out = torch.zeros_like(u)
    if region.norm == "linf":
        top = int(u.abs().argmax())
        out[top] = u[top].sign()
    elif (length := u.square().mean().sqrt()) > 0:
        out = u / (len(u) * length)
    return out
