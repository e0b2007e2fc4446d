"""KPP from tilted instances: more of them where failures are expected, with weights that undo it exactly.

1. A pilot of full evaluations teaches which inputs fail; gradients at a few instances give a few directions in the
   space of the standard normals, along which instances are moved. Scouts teach a surrogate: what performance to expect
   at which place. None of these count.
2. Waves of instances count. Places are drawn from the nominal law and become instances with probabilities that the
   surrogate decides; each instance is looked at in stages, and goes on with a probability that its scores so far decide
   (`kppstat.sampling.tilted_wave`). Whatever the surrogate is worth, the estimate of the distribution function is
   unbiased (`kppstat.stats.staged`); a good one makes it cheap.
3. Waves go on until the interval is narrow enough, and was to be expected to be by the wave before.

The interval is ``asymptotic``: it rests on a central limit theorem. No diagnostic can see a region of failures that the
surrogate knows nothing of and no instance met. So the interval is always shown with an exact bound on the mass of such
failures: from instances of the nominal share, drawn whatever the surrogate says, and audited.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kppstat.errors import SettingError
from kppstat.runs import Reveal
from kppstat.sampling.audited_ledger import require_bounds
from kppstat.sampling.audited_plan import guessed_tail
from kppstat.sampling.question import Question
from kppstat.sampling.result import REACHED, SPENT, Sample, State
from kppstat.sampling.tilted_hidden import HiddenMass
from kppstat.sampling.tilted_ledger import Looks, stages
from kppstat.sampling.tilted_space import Space
from kppstat.sampling.tilted_surrogate import Surrogate
from kppstat.sampling.tilted_wave import Plan, Recorder
from kppstat.stats.interval import Guarantee, Interval
from kppstat.stats.staged import distribution, staged_interval

PILOT = 16
#: Scouts, half of them nominal, and inputs of their first look; a quarter of them is looked at four times as closely.
_SCOUTS, _LOOK = 240, 200
#: Cost of the first wave, in evaluations; and by how much waves may grow on what is spent.
_FIRST, _GROWTH, _SHRINK = 25.0, 1.2, 0.25
#: Before an interval is believed to be final: waves, equally weighted events that would tell as much, and the most
#: that one instance may make up of the estimate.
_WAVES, _EVENTS, _LARGEST_PART = 2, 16, 0.3
#: Instances that a wave must have looked at to count: with fewer it is the word of its surrogate.
_LOOKED = 16
#: Of the spread of the pilot: nothing is expected more closely than this.
_LEAST_SPREAD = 0.3
#: Of the budget that is left: what a wave should cost at most, what it may cost (chance leaves out the rest, and what
#: it leaves out late makes weights heavy), and below which share of the whole budget no other wave pays.
_PLANNED, _ALLOWED, _TOO_LITTLE = 0.9, 0.95, 0.05
#: What all looks cost for each first look, before a wave has told: so much times the root of p, which is this at most,
#: but no less than this.
_RATIO, _COMMON, _LEAST_RATIO = 60.0, 0.1, 1.5
#: What a wave may cost, for each evaluation that it should cost: more if the percentile was thought to be elsewhere.
_MORE = 1.5
#: Below this correlation of the surrogate, and below this factor over plain Monte Carlo, the reader is told.
_TELLS, _PAYS = 0.3, 5.0
#: Share of what waves cost that bounding the mass of hidden failures may cost.
_BOUND_SHARE = 0.12


@dataclass(frozen=True)
class Findings:
    """What tilting was worth, for notes and records.

    Attributes
    ----------
    factor : float
        Evaluations that plain Monte Carlo needs for the same standard error, over the cost.
    correlation : float
        Of the surrogate with held-out performance.
    hidden_mass : float
        No more of all instances than this fail where the surrogate sees less reason to look than elsewhere, at the
        confidence of the interval, exactly.
    hidden_threshold : float
        The performance at which an instance counts as failing in that.
    events : float
        Equally weighted events below the percentile that would tell as much.
    """

    factor: float
    correlation: float
    hidden_mass: float
    hidden_threshold: float
    events: float


class Tilted:
    """Tilted sampling; see the module.

    Parameters
    ----------
    question : Question
    half_width : float
        Wanted half-width, in the unit of the scores.
    space : Space
        The directions.
    inputs : int
        Inputs of an evaluation.
    low, high : float
        Bounds of the scores.
    first : int
        Number of the first instance.
    name : str
        Of the method: ``subset`` where failures were searched for first (`kppstat.sampling.subset`).

    Raises
    ------
    SettingError
        If scores have no bounds, or another guarantee is asked for.
    """

    guarantee: Guarantee = "asymptotic"

    def __init__(
        self,
        question: Question,
        half_width: float,
        space: Space,
        *,
        inputs: int,
        low: float = 0.0,
        high: float = 1.0,
        first: int = 0,
        name: Literal["tilted", "subset"] = "tilted",
    ) -> None:
        require_bounds(low, high)
        if question.guarantee not in (None, self.guarantee):
            raise SettingError(
                f"this kind of tilted sampling has intervals that are {self.guarantee}, and none that is "
                f"{question.guarantee}",
                where="--guarantee",
                remedy="Use --guarantee anytime, which promises more than exact, or --method audited",
            )
        self.name = name
        self._question, self._space, self._inputs, self._first = question, space, inputs, first
        self._low, self._high = low, high
        self._half = half_width / (high - low)
        self._budget = math.inf if question.max_evaluations is None else float(question.max_evaluations)
        self._pilot: list[float] = []
        self._looks: Looks | None = None
        self._waves: list[Recorder] = []
        self._kpp, self._interval = math.nan, Interval(-math.inf, math.inf, question.confidence, self.guarantee)
        self._events = self._rare = self._largest = 0.0
        self._hidden: HiddenMass | None = None
        self._before = (0.0, math.inf)  # cost and half-width after the wave before
        self._expected = math.nan
        self._scouts = np.zeros(0, np.int64)

    def states(self, reveal: Reveal) -> Iterator[State]:
        """Run and yield states, the answer last; `reveal` evaluates tasks in order."""
        q = self._question
        self._looks = looks = self._open(reveal)
        count = max(2, int(min(PILOT, self._budget / 8)))
        looks.add([None] * count)
        for performance in looks.ledger.pilot(count):
            self._pilot.append(performance)
            yield self._state("pilot")
        middle, spread = float(np.median(self._pilot)), max(float(np.std(self._pilot)), 1 / self._inputs)
        guess = middle - math.sqrt(2 * math.log(1 / q.p)) * spread if q.p < 0.5 else middle
        looks.ledger.start(guess, guess, middle)
        looks.learn(guess, middle)
        yield self._state("taking gradients")
        self._space.find(reveal)
        looks.add([None] * max(0, self._space.used - looks.count))
        yield from self._scout(looks)
        yield from self._run(looks)

    def _open(self, reveal: Reveal) -> Looks:
        """Return an empty ledger."""
        return Looks(reveal, self._inputs, self._low, self._high, self._question.seed, self._first)

    def conclude(self, reason: str, *, by_hand: bool) -> State:
        """Return the last state when the run is ended from outside: what the finished waves say."""
        del by_hand
        return self._state(reason, done=True)

    def sample(self) -> Sample:
        """Return what is known of the nominal instances that were looked at, or else of the pilot."""
        scale, looks = self._high - self._low, self._looks
        ids, values = self._nominal()
        if looks is None or len(ids) < len(self._pilot):
            return Sample.of(self._low + scale * np.array(self._pilot))
        mean, spread = looks.ledger.moments(ids, guessed_tail(self._pilot, self._inputs).spread)
        return Sample(self._low + scale * np.clip(values, 0.0, 1.0), self._score(mean), scale * spread)

    def findings(self) -> Findings | None:
        """Return what tilting was worth; None before the first wave is done."""
        if not self._waves or not self._events:
            return None
        p, hidden = self._question.p, self._hidden
        mass, threshold = (hidden.bound(), hidden.threshold) if hidden else (1.0, self._kpp)
        # As many values of plain Monte Carlo have a relative standard error of sqrt((1 - p) / (n p)).
        factor = self._events * (1 - p) / p / self._cost
        return Findings(factor, self._waves[-1].surrogate.correlation, mass, self._score(threshold), self._events)

    @property
    def _counting(self) -> list[Recorder]:
        """Return the waves that count: all but the first, which teaches where the percentile lies, once there are."""
        told = [w for w in self._waves if w.looked >= _LOOKED]
        return [w for w in told if w.plan.number] or told

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader must know beside the interval."""
        found = self.findings()
        if found is None:
            return ("The run ended before enough instances were looked at: there is no interval yet.",)
        notes = [
            f"Tilted sampling took {found.factor:.3g} times fewer evaluations than plain Monte Carlo would; the "
            f"surrogate's correlation with held-out performance is {found.correlation:.2f}.",
            f"With {100 * self._question.confidence:.12g} % confidence, exactly, at most "
            f"{100 * found.hidden_mass:.3g} % of all instances fail where the surrogate sees less reason to look than "
            "elsewhere, with a performance of "
            f"{found.hidden_threshold:.4g} or less. The interval assumes that those met are typical.",
        ]
        if found.correlation < _TELLS:
            notes.append(
                "The surrogate tells little here: instances were drawn nearly as they come, and what was saved comes "
                "from looking at them in stages."
            )
        if found.factor < _PAYS:
            notes.append("Tilting does not pay here: --method audited is as cheap and promises more.")
        return tuple(notes)

    # -- scouts ---------------------------------------------------------------------------------------------------

    def _scout(self, looks: Looks) -> Iterator[State]:
        """Look at nominal instances and at some where gradients point, for the surrogate to learn from."""
        each = 2 * _LOOK / self._inputs
        count = int(min(_SCOUTS, max(16, 0.15 * self._budget / each), max(2, 0.5 * (self._budget - self._cost) / each)))
        nominal = looks.add([None] * (count // 2))
        pool = self._space.pool(4095, 0, 20_000)
        guess = self._space.guess
        if guess is None:
            chosen = pool[: count - count // 2]
        else:
            order = np.argsort(guess(pool), kind="stable")
            # Evenly over the levels of the guess, on a logarithmic scale from its lowest to its middle.
            levels = np.geomspace(max(min(self._question.p, 0.5), 1e-3), 0.6, count - count // 2)
            chosen = pool[order[(levels * (len(pool) - 1)).astype(int)]]
        if len(self._space.hints):
            chosen = np.concatenate([chosen, self._space.hints])
        moved = looks.add([self._space.move(place) for place in chosen])
        self._scouts = np.concatenate([nominal, moved])
        for _ in looks.more(self._scouts, max(2, min(_LOOK, self._inputs // 2))):
            yield self._state("scouting")
        lowest = np.argsort(looks.ledger.book.estimates(self._scouts), kind="stable")[: count // 4]
        for _ in looks.more(self._scouts[np.sort(lowest)], max(2, min(4 * _LOOK, self._inputs // 2))):
            yield self._state("scouting")
        ids = np.concatenate([np.arange(len(self._pilot)), nominal])
        own = [self._space.place(self._first + int(i)) for i in ids]
        self._known = [(np.concatenate([ids, moved]), np.concatenate([np.array(own), chosen]))]

    def _learn(self, looks: Looks) -> Surrogate:
        ids = np.concatenate([k[0] for k in self._known])
        places = np.concatenate([k[1] for k in self._known])
        met = looks.ledger.book.seen(ids) > 0  # the budget may have left some out
        ids, places = ids[met], places[met]
        values = looks.ledger.book.estimates(ids)
        least = max(_LEAST_SPREAD * float(np.std(self._pilot)), 0.5 / self._inputs)
        return Surrogate.fit(places, values, looks.variance(ids), self._space.guess, least)

    # -- waves ----------------------------------------------------------------------------------------------------

    def _run(self, looks: Looks) -> Iterator[State]:
        q, sizes = self._question, stages(self._inputs)
        onward, percentile = np.ones(len(sizes)), math.nan
        onward[0] = float(np.clip(_RATIO * math.sqrt(min(q.p, _COMMON)), _LEAST_RATIO, self._inputs / sizes[0]))
        cost = min(_FIRST, 0.4 * (self._budget - self._cost))
        for number in itertools.count():
            surrogate = self._learn(looks)
            if math.isnan(percentile):
                percentile = self._first_percentile(surrogate)
            middle = float(np.median(self._pilot))
            looks.learn(percentile, middle)
            most = min(_ALLOWED * (self._budget - self._cost), _MORE * cost)
            # What bounding hidden failures may cost is decided before the wave, of what the wave leaves in any case.
            hidden = min(_BOUND_SHARE * cost, 0.5 * (self._budget - self._cost - most))
            plan = Plan(number, cost, most, percentile, q.p, (self._interval.low, self._interval.high), onward)
            wave = Recorder(self._space, looks, surrogate, plan, q.seed, self._first)
            for _ in wave.run():
                yield self._state("looking at instances")
            self._waves.append(wave)
            self._known.append((wave.ids, wave.places))
            self._conclude_waves()
            yield from self._bound(looks, wave, hidden)
            converged = self._converged()
            left = self._budget - self._cost
            if converged or left < max(2.0, _TOO_LITTLE * self._budget):
                yield self._state(REACHED if converged else SPENT, done=True, converged=converged)
                return
            self._before = (self._cost, self._interval.half_width)
            onward = wave.onward
            percentile = self._kpp if math.isfinite(self._kpp) else percentile
            cost = min(self._next_cost(), _PLANNED * left)

    def _first_percentile(self, surrogate: Surrogate) -> float:
        """Return where the quantile lies if the surrogate is right."""
        places = self._space.pool(4094, 0, int(np.clip(200 / self._question.p, 20_000, 400_000)))
        values = surrogate.drawn(places, np.random.default_rng(0))
        return float(np.clip(np.quantile(values, max(self._question.p, 20 / len(values))), 0.0, 1.0))

    def _conclude_waves(self) -> None:
        q, waves = self._question, [w.wave for w in self._counting]
        if not waves:
            return
        self._kpp, self._interval = staged_interval(waves, q.p, q.confidence, low=0.0, high=1.0)
        at = np.array([self._kpp])
        mean, error = (float(v[0]) for v in distribution(waves, at))
        self._events = (mean / error) ** 2 if error > 0 else 1 / q.p
        # An upper percentile rests on what lies above it.
        self._rare = self._events if mean <= 0.5 else self._events * (1 / mean - 1) ** 2
        total = sum(w.weight for w in waves)
        parts = [w.weight / total * abs(w.corrections(at)).max(initial=0) / w.size for w in waves]
        self._largest = max(parts) / min(q.p, 1 - q.p)

    def _converged(self) -> bool:
        """Return whether the interval is narrow enough, and was to be expected to be by the wave before.

        By chance an interval is too narrow where rare failures were not met, and then the percentile seems too high: a
        run that stopped at the first narrow one would pick those.
        """
        spent, half = self._before
        foreseen = half * math.sqrt(spent / self._cost) if spent > 0 else math.inf
        narrow = max(self._interval.half_width, foreseen) <= self._half
        return narrow and len(self._waves) > _WAVES and self._rare >= _EVENTS and self._largest <= _LARGEST_PART

    def _next_cost(self) -> float:
        """Return what the next wave should cost, for the wanted width if that is not too far."""
        # By chance a wave may find nothing to look at.
        spent = max(sum(w.cost for w in (self._waves[1:] or self._waves)), self._waves[-1].plan.cost)
        ratio = self._interval.half_width / self._half if self._half > 0 else math.inf
        wanted = spent * (1.1 * min(ratio, 1e3) ** 2 - 1)
        self._expected = min(self._cost + max(wanted, 0.0), self._budget)
        return float(np.clip(wanted, _SHRINK * spent, _GROWTH * spent))

    def _bound(self, looks: Looks, wave: Recorder, most: float) -> Iterator[State]:
        """Audit instances of the nominal share, to bound the mass of failures that the surrogate does not see.

        Where failures begin is what the first wave says of the percentile, so its instances are not among them.
        """
        if self._hidden is None:
            if math.isfinite(self._kpp):
                self._hidden = HiddenMass(looks, self._question.confidence, self._kpp)
            return
        ids, places = wave.ids[wave.nominal], wave.places[wave.nominal]
        for _ in self._hidden.audit(ids, self._waves[0].blind(places), self._waves[0].blind_share, most):
            yield self._state("bounding hidden failures")

    # -- what is known --------------------------------------------------------------------------------------------

    @property
    def _cost(self) -> float:
        return (self._looks.ledger.cost if self._looks else 0.0) + self._space.cost

    def _score(self, share: float) -> float:
        return self._low + (self._high - self._low) * share

    def _nominal(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of all nominal instances looked at, and what performance is expected of them."""
        if self._looks is None or not self._waves:
            return np.zeros(0, np.int64), np.zeros(0)
        ids = np.concatenate([w.ids[w.nominal] for w in self._waves])
        values = np.concatenate([(w.law[0] * w.law[1]).sum(0)[w.nominal] for w in self._waves])
        met = self._looks.ledger.book.seen(ids) > 0
        return ids[met], values[met]

    @property
    def _instances(self) -> int:
        """How many instances were looked at, of those that count."""
        return sum(w.looked for w in self._counting)

    def _state(self, phase: str, *, done: bool = False, converged: bool = False) -> State:
        return State(
            instances=self._instances,
            evaluations=self._cost,
            kpp=self._score(self._kpp),
            low=self._score(self._interval.low),
            high=self._score(self._interval.high),
            guarantee=self.guarantee,
            phase=phase,
            expected=self._expected,
            done=done,
            converged=converged,
        )
