"""Subset simulation: failures searched for level by level in the space of the standard normals.

From nominal instances the worst fifth is kept; each of them walks on by steps ``z' = sqrt(1 - b^2) z + b xi`` with
fresh normals ``xi``, which leave the nominal law as it is in any dimension, and accepts only what is no better than the
threshold; and so on, each level about a fifth as probable as the one before. Performance is taken on the same part of
the inputs throughout, because here it only points the way.

The probabilities of its levels promise nothing and are not used. What it finds is: gradients at the instances of the
last level join those at nominal ones, so that the directions of `kppstat.sampling.tilted` reach failures that nominal
instances do not show; the interval is that of tilted sampling, weighted and bounded.

Sources: Au & Beck, Probab. Eng. Mech. 16 (2001); steps that keep the law in any dimension: Cotter, Roberts, Stuart &
White, Statist. Sci. 28 (2013), there "pCN".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kppstat.engine import Engine, Task
from kppstat.graph import Graph
from kppstat.noise.philox import permutation
from kppstat.runs import Reveal
from kppstat.sampling.tilted_slopes import Point
from kppstat.sampling.tilted_space import NetworkSpace

__all__ = ["Chain", "SubsetSpace", "descend"]

_POPULATION, _KEPT, _MOST_LEVELS = 100, 0.2, 8
#: Share of the inputs, and at least so many.
_SHARE, _LEAST = 0.05, 256
_STEP, _SMALLEST, _LARGEST = 0.5, 0.1, 0.9
#: Coefficients below this are dropped.
_NEGLIGIBLE = 1e-3
#: Numbers of the instances of the search lie this far from those that count.
_AWAY = 1 << 40
_STREAM = (1 << 24) - 6

Mix = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Chain:
    """A point of the search: a combination of instances, and its performance on the part of the inputs."""

    mix: Mix
    performance: float


def descend(
    evaluate: Callable[[list[Mix]], list[float]], first: int, levels: int, population: int = _POPULATION
) -> list[list[Chain]]:
    """Return the population of each level, the last one the rarest.

    Parameters
    ----------
    evaluate : callable
        Performances of instances that are combinations of others.
    first : int
        Number of the first instance that may be used.
    levels : int
        Beyond the nominal one.
    population : int
        Points at each level.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=2000)  # of each instance, the one normal that counts
    >>> found = descend(lambda mixes: [sum(c * z[i] for i, c in mix) for mix in mixes], 0, 3)
    >>> means = [float(np.mean([chain.performance for chain in level])) for level in found]
    >>> means == sorted(means, reverse=True), means[-1] < -2
    (True, True)
    """
    start: list[Mix] = [((first + i, 1.0),) for i in range(population)]
    here = [Chain(mix, a) for mix, a in zip(start, evaluate(start), strict=True)]
    found, fresh, step = [here], first + population, _STEP
    for _ in range(levels):
        order = sorted(here, key=lambda chain: chain.performance)
        seeds = order[: max(2, int(_KEPT * population))]
        threshold = seeds[-1].performance
        if threshold >= order[-1].performance:
            break  # all alike: nothing to descend along
        here, walking, accepted, tried = list(seeds), list(seeds), 0, 0
        while len(here) < population:
            proposals = [_moved(chain.mix, fresh + i, step) for i, chain in enumerate(walking)]
            fresh += len(walking)
            for i, (mix, a) in enumerate(zip(proposals, evaluate(proposals), strict=True)):
                tried += 1
                if a <= threshold:
                    walking[i] = Chain(mix, a)
                    accepted += 1
            here += walking
        here = here[:population]
        found.append(here)
        rate = accepted / max(tried, 1)
        step = float(np.clip(step * (0.7 if rate < 0.25 else 1.3 if rate > 0.5 else 1.0), _SMALLEST, _LARGEST))
    return found


def _part(inputs: int) -> int:
    """Return on how many of the inputs the search looks at performance."""
    return min(inputs, max(_LEAST, round(_SHARE * inputs)))


def _moved(mix: Mix, fresh: int, step: float) -> Mix:
    """Return a step away from a point, with fresh normals."""
    stay = math.sqrt(1 - step**2)
    parts = [(i, stay * c) for i, c in mix if abs(stay * c) > _NEGLIGIBLE] + [(fresh, step)]
    norm = math.sqrt(sum(c * c for _, c in parts))
    return tuple((i, c / norm) for i, c in parts)


class SubsetSpace(NetworkSpace):
    """Directions from gradients at failures that subset simulation found, and at nominal instances.

    Parameters
    ----------
    engine, graph, first, keep, budget
        As of `NetworkSpace`.
    p : float
        How rare failures are to be searched for.
    """

    def __init__(
        self,
        engine: Engine,
        graph: Graph,
        first: int,
        keep: Callable[..., np.ndarray] | None = None,
        *,
        p: float,
        budget: float = math.inf,
    ) -> None:
        super().__init__(engine, graph, first, keep, budget=budget)
        self._levels = int(np.clip(math.ceil(math.log(min(p, 0.5)) / math.log(_KEPT)), 1, _MOST_LEVELS))

    def _price(self, count: int, rows: int, inputs: int) -> float:
        """Return what finding directions costs: that of gradients, and of the search at most."""
        chains = _POPULATION * (1 + (1 - _KEPT) * self._levels)
        return super()._price(count, rows, inputs) + chains * _part(inputs) / inputs

    def _points(self, reveal: Reveal, count: int) -> list[Point]:
        """Return the instances at which gradients are taken: half of them failures that were found."""
        evaluator = self._engine.evaluator
        inputs = len(evaluator.dataset)
        rows = np.sort(permutation(evaluator.seed, self._first, _STREAM, inputs, _part(inputs)))
        number = self._first + _AWAY

        def evaluate(mixes: list[Mix]) -> list[float]:
            self.cost += len(mixes) * len(rows) / inputs
            return [float(e.scores.mean()) for e in reveal(Task(number, rows, None, mix) for mix in mixes)]

        last = descend(evaluate, number, self._levels)[-1]
        distinct = {chain.mix: chain for chain in last}
        worst = sorted(distinct.values(), key=lambda chain: (chain.performance, chain.mix))[: count // 2]
        nominal = super()._points(reveal, count - len(worst))
        return [*nominal, *((number, chain.mix) for chain in worst)]
