"""One wave of tilted sampling: a pool of places, of which known probabilities make instances and look at them.

Every draw of the pool is a place along the directions, from the nominal law. What the surrogate expects there decides
with which probability it becomes an instance: that tilts the law of the instances, by exact likelihood ratios, towards
where the answer is decided. Each instance is then looked at in stages, and goes on with a probability that what is
known of it decides. A nominal share goes in whatever the surrogate says. See `kppstat.stats.staged`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from kppstat.sampling.tilted_ledger import Looks, stages
from kppstat.sampling.tilted_pool import LEAST, MOST, Kinds, uniforms
from kppstat.sampling.tilted_space import Space
from kppstat.sampling.tilted_surrogate import Surrogate
from kppstat.stats.staged import LOGISTIC, Wave, below, chance

__all__ = ["Plan", "Recorder", "decisive_points"]

#: Draws of the pool that lie below the percentile, for each evaluation and in all.
_PER_EVENT, _EVENTS = 5.0, (200.0, 2000.0)
#: Of the expected cost of first looks, for the nominal share.
NOMINAL = 0.25
#: Of the mean inclusion, below which places are blind: not quite all, so that no place is where all are alike.
_BLIND = 0.99
#: An instance goes on with at least this probability, whatever little is known of it says.
CARRY = 0.06
#: Whatever so few inputs say, with this probability an instance is not below: at most, and times the inputs seen.
_DOUBT = 0.1, 6.0


@dataclass(frozen=True)
class Plan:
    """What a wave is to do.

    Attributes
    ----------
    number : int
        From 0.
    cost : float
        What it should cost, in evaluations.
    most : float
        What it may cost.
    percentile : float
        Where the quantile is thought to be.
    p : float
        Which quantile.
    ends : tuple of float
        Of the interval so far; infinite where there is none.
    onward : ndarray, shape (stages,)
        What a stage and all later ones are expected to cost, for each unit that the stage itself costs.
    """

    number: int
    cost: float
    most: float
    percentile: float
    p: float
    ends: tuple[float, float]
    onward: np.ndarray


@dataclass
class Recorder:
    """Runs a wave and records what becomes known.

    Attributes
    ----------
    ids : ndarray of int
        Instances of the wave.
    nominal : ndarray of bool
        Those of the nominal share.
    places : ndarray, shape (n, m)
    cost : float
        Evaluations spent by the wave.
    by_stage : ndarray, shape (stages,)
        Cost of each stage.
    looked : int
        Instances looked at.
    """

    space: Space
    looks: Looks
    surrogate: Surrogate
    plan: Plan
    seed: int
    first: int
    ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    nominal: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    places: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    cost: float = 0.0
    looked: int = 0

    def run(self) -> Iterator[int]:
        """Draw and look; yield from time to time."""
        self._draw()
        inputs, sizes = self.looks.inputs, stages(self.looks.inputs)
        count = len(self.ids)
        prior = self._first[..., self._kind]
        law = prior.copy()
        reach = self._inclusion[self._kind]  # probability of having come so far
        alive = np.arange(count)
        steps: list[tuple[np.ndarray, ...]] = []
        self.by_stage = np.zeros(len(sizes))
        known: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for stage, size in enumerate(sizes):
            price = (size - (sizes[stage - 1] if stage else 0)) / inputs
            came = reach[alive]
            now = came
            if stage:
                rate = self._rate(law[..., alive], self._noise(alive, size), price, sizes[stage - 1])
                now = came * np.clip(rate / came, CARRY, 1.0)
            # What the budget does not allow, chance leaves out: as early as it can be foreseen, because those left
            # out late, when they cost most, make the weights of the others heavy. One more may go on than expected.
            going, left = float((now / came).sum()), max(self.plan.most - self.cost, 0.0)
            expected = price * going * self.plan.onward[stage]
            part = 0.95 * left / expected if expected > left else 1.0
            part = min(part, (left / price - 1) / max(going, 1e-9))
            now = now * float(np.clip(part, 1e-9, 1.0))
            go = self._chosen(now / came, stage)
            alive = alive[go]
            reach[alive] = now[go]
            if not len(alive):
                break
            ids, before = self.ids[alive], self.looks.ledger.cost
            yield from self.looks.more(ids, size)
            spent = self.looks.ledger.cost - before
            self.cost += spent
            new = self.looks.law(ids, prior[..., alive])
            steps.append((alive, law[..., alive].copy(), new, reach[alive]))
            self.looked = max(self.looked, len(alive))
            self.by_stage[stage] = spent
            if stage == len(sizes) - 1:
                for members, estimates, variances in known:
                    both, a, b = np.intersect1d(members, ids, return_indices=True)
                    if len(both):
                        self.looks.compare(estimates[a], variances[a], new[1, 0, b])
            else:
                known.append((ids, self.looks.ledger.book.estimates(ids), self.looks.variance(ids)))
            law[..., alive] = new
        none = np.zeros(0, np.int64)
        steps = steps or [(none, law[..., none], law[..., none], reach[none])]
        draw, before_law, after_law, inclusion = (np.concatenate(p, axis=-1) for p in zip(*steps, strict=True))
        self.wave = Wave(
            self._size,
            self._first,
            self._share,
            self._kind,
            draw,
            before_law,
            after_law,
            inclusion,
            self.plan.cost,
        )
        self.law = law

    def _rate(self, law: np.ndarray, noise: np.ndarray, price: float, seen: int = 0) -> np.ndarray:
        """Return the best probability of coming to a stage, in proportion to what it tells and what it costs.

        Neyman's rule: the root of the variance that the stage takes away, over the root of its price. `noise` is the
        variance of what the stage's inputs say by themselves. The inputs `seen`, if few, cannot tell that an instance
        is surely below: one of them that is seldom drawn may count for so much that their noise is far from normal.
        """
        variance = (LOGISTIC * law[2]) ** 2
        told = variance / (variance + noise + 1e-300)  # of what is unknown in each part
        gain = np.zeros(law.shape[-1])
        doubt = min(_DOUBT[0], _DOUBT[1] / max(seen, 1))
        for x in self._points:
            parts = below(np.array([x]), law)[0]
            r = np.minimum(parts.sum(0), 1.0)
            gain = np.maximum(gain, (parts * told).sum(0) * np.maximum(1 - r, doubt))
        worth = self._strength * np.sqrt(gain / price)
        return np.asarray(np.clip(worth, 1e-9, 1.0))

    def _noise(self, at: np.ndarray, size: int) -> np.ndarray:
        """Return the variance of what inputs up to `size`, but for those seen, say of these instances."""
        now = self.looks.variance(self.ids[at])
        seen = self.looks.ledger.book.seen(self.ids[at])
        inputs = self.looks.inputs
        later = now * (inputs - size) / size * seen / np.maximum(inputs - seen, 1)
        return np.asarray(now * later / np.maximum(now - later, 1e-300))

    def blind(self, places: np.ndarray) -> np.ndarray:
        """Say at which places instances are looked at less often than they would be if all were alike."""
        return self._blind[self._kinds.kind(self.surrogate.location(places))]

    @property
    def onward(self) -> np.ndarray:
        """What each stage and all later ones cost, for each unit that the stage itself cost; as planned without any."""
        if self.by_stage[0] <= 0:
            return self.plan.onward
        after = np.cumsum(self.by_stage[::-1])[::-1]
        return np.asarray(np.clip(after / np.where(self.by_stage > 0, self.by_stage, np.inf), 1.0, 50.0))

    @property
    def blind_share(self) -> float:
        """Share of such places, found from those that kinds are made from."""
        return float(self._kinds.share[self._blind].sum())

    # -- the pool -------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        """Draw the pool, sort it into kinds, and choose who becomes an instance."""
        plan, sizes = self.plan, stages(self.looks.inputs)
        per_event = np.clip(_PER_EVENT * plan.cost, *_EVENTS)
        self._size = int(np.clip(per_event / min(plan.p, 1 - plan.p), LEAST, MOST))
        self._kinds = Kinds.of(self.space, self.surrogate, self._size)
        self._first = self.surrogate.law(self._kinds.location)
        self._plan_inclusion(self._kinds.share, sizes)
        drawn = self._kinds.draw(plan.number, self._size, self._inclusion, self.seed, self.first)
        self._share, self._kind, self.places = drawn.share, drawn.kind, drawn.places
        self.nominal = drawn.coin < self._floor
        self.ids = self.looks.add([self.space.move(place) for place in self.places])

    def _plan_inclusion(self, shares: np.ndarray, sizes: list[int]) -> None:
        """Choose the strength of the rule by what the wave may cost, and the inclusion of each kind."""
        plan, price = self.plan, sizes[0] / self.looks.inputs
        self._points = decisive_points(plan, self._first, shares)
        per_look = price * plan.onward[0]
        looks = plan.cost / per_look / self._size  # in all, as a share of the pool
        noise = self.looks.first_noise(self._kinds.location, sizes[0])
        self._floor = min(1.0, NOMINAL * looks)

        def inclusion(strength: float) -> np.ndarray:
            self._strength = strength
            return np.asarray(np.maximum(self._floor, self._rate(self._first, noise, price)))

        low, high = -30.0, 10.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if inclusion(math.exp(middle)) @ shares < looks else (low, middle)
        self._inclusion = inclusion(math.exp(low))
        self._blind = self._inclusion < _BLIND * float(self._inclusion @ shares)

    # -- chance ----------------------------------------------------------------------------------------------------

    def _chosen(self, chances: np.ndarray, stage: int) -> np.ndarray:
        """Say who goes on to a stage: each with its own chance, and in all as many as expected, give or take one.

        Systematic sampling: Särndal, Swensson & Wretman, Model Assisted Survey Sampling (1992), chapter 3. The order
        is that of the pool, which is random. Independent coins would let the cost stray from the plan.
        """
        offset = uniforms(self.seed, self.first, self.plan.number * 16 + 1 + stage, 1)[0]
        turns = np.floor(np.cumsum(chances) + offset)
        return np.asarray((np.diff(turns, prepend=0.0) > 0) | (chances >= 1))


def decisive_points(plan: Plan, law: np.ndarray, shares: np.ndarray) -> tuple[float, float, float]:
    """Return numbers at which a wave must know the distribution function, in order.

    They are where the quantile is thought to be, and on either side where the law has half and twice the odds, but no
    farther than half way to the end of the interval, which will be narrower. An instance that is surely below one may
    not be below another; farther from the quantile an error says little about where the quantile is.

    Parameters
    ----------
    plan : Plan
    law : ndarray, shape (3, parts, kinds)
        What is expected of each kind, as `kppstat.stats.staged.below` takes it.
    shares : ndarray, shape (kinds,)
        Of each kind, adding to 1.

    Examples
    --------
    >>> even = np.array([[[1.0]], [[0.5]], [[0.05]]])  # one kind, logistic about 0.5
    >>> plan = Plan(0, 25.0, 40.0, 0.4, 0.1, (-math.inf, 0.46), np.ones(3))
    >>> [round(x, 3) for x in decisive_points(plan, even, np.ones(1))]
    [0.365, 0.4, 0.43]
    """
    levels = np.array([plan.p / (2 - plan.p), plan.p, 2 * plan.p / (1 + plan.p)])
    low, high = np.zeros(3), np.ones(3)
    for _ in range(40):
        x = (low + high) / 2
        less = chance(x, law) @ shares < levels
        low, high = np.where(less, x, low), np.where(less, high, x)
    low, middle, high = (plan.percentile + high - high[1]).tolist()
    halfway = [(plan.percentile + end) / 2 for end in plan.ends]
    return max(low, halfway[0]), middle, min(high, halfway[1])
