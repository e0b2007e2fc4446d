"""KPP from audits: most instances are judged by a part of their inputs, and the interval still holds for any network.

1. A pilot of a few full evaluations teaches which inputs fail and how often. Scouts, audited coarsely, show where the
   percentile lies and how many instances the wanted width takes.
2. Each instance that counts is audited: inputs are drawn at random, and bounds on its performance are kept that hold
   whenever one looks (`kppstat.stats.audit`). Order statistics of the bounds are the interval's ends
   (`kppstat.stats.bracket`). Only instances near the ends need many inputs.
3. How many, and which instances next, is decided from everything seen so far: that costs no validity.

Guarantees: ``exact`` counts instances at sizes planned from the pilot and the scouts, which do not count themselves;
``anytime`` counts all of them by a confidence sequence; ``asymptotic`` takes the interval of fixed size at each size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from kppstat.errors import SettingError
from kppstat.runs import Reveal
from kppstat.sampling.audited_aim import Aim, Need
from kppstat.sampling.audited_ledger import Ledger, require_bounds
from kppstat.sampling.audited_plan import (
    LARGEST,
    Scouts,
    guessed_percentile,
    guessed_tail,
    instance_cost,
    planned_instances,
)
from kppstat.sampling.question import BY_HAND, Question
from kppstat.sampling.result import REACHED, SPENT, Sample, State
from kppstat.stats.bracket import Bracket, BracketSequence, brackets, fixed_bracket, planned_errors
from kppstat.stats.interval import meet
from kppstat.stats.order import quantile_rank, smallest_size
from kppstat.stats.stages import growing_sizes

PILOT = 16
#: Share of the error spent at the first planned size; scouts plan it well, so little is kept for larger ones.
FIRST_SHARE = 0.7
#: Instances opened first; later steps double them, because what one step teaches serves the next.
_FIRST_STEP = 250
_GROWTH = 1.25  # of the number of instances where it did not suffice
_MOVES = 6  # of the thresholds between two batches
_TYPICAL_BELOW = 50  # instances below the percentile for which audits are planned where their number is not
#: Share of what is kept for an end by hand that serves before the sizes are planned, and where they cannot be.
_EARLY = 0.2
#: The interval on show is renewed when the cost has grown by this factor: bounds of all instances take their time.
_RENEWED = 1.4
SETTLED = "all instances that matter are decided"


class Audited:
    """Audited sampling; see the module for its guarantees.

    Parameters
    ----------
    question : Question
    half_width : float
        Wanted half-width, in the unit of the scores.
    inputs : int
        Inputs of an evaluation.
    low, high : float
        Bounds of the scores.
    first : int
        Number of the first instance.
    instances : int, optional
        How many instances to audit; None plans it from the wanted half-width. With it the run ends when all that
        matter are decided.
    replanned : bool
        Whether the instances served another plan before, in place of which this question's would be. An exact plan
        holds once, so the run then goes by the confidence sequence over all instances that an exact run keeps for an
        end before its plan. Its ranks are the same in all such runs. Audits of one plan bet as its instances go, so
        those of several do not provably share their error; all that this sequence may miss is a fiftieth of it.

    Raises
    ------
    SettingError
        If scores have no bounds or a number is out of range.
    """

    name = "audited"

    def __init__(
        self,
        question: Question,
        half_width: float,
        *,
        inputs: int,
        low: float = 0.0,
        high: float = 1.0,
        first: int = 0,
        instances: int | None = None,
        replanned: bool = False,
    ) -> None:
        require_bounds(low, high)
        if instances is not None and instances < 1:
            raise SettingError(f"instances is {instances}", where="instances", remedy="Give 1 or more")
        self._question, self._inputs, self._first, self._fixed = question, inputs, first, instances
        self._low, self._high = low, high
        self._half = half_width / (high - low)
        asked = question.guarantee or "exact"
        self._guarantee = "anytime" if replanned else asked
        self._budget = math.inf if question.max_evaluations is None else float(question.max_evaluations)
        self._offset = 0  # instances before this one do not count
        self._opened = 0
        self._touched = 0  # instances of which some inputs are revealed
        self._ends = (0.0, 1.0)  # by the planned sizes
        self._shown = (0.0, 1.0)  # by the confidence sequences: holds whoever stops, and whenever
        self._renew_at = 0.0
        self._spent = False  # whether the budget was too small for what was needed last
        self._guess: float | None = None
        kept = 0.0 if asked == "anytime" else BY_HAND
        self._alpha, self._alpha_by_hand = (1 - kept) * question.alpha, (kept or 1.0) * question.alpha
        if replanned:
            self._alpha_by_hand *= _EARLY
        self._bracket: Bracket | None = None
        self._expected = math.nan
        self._pilot: list[float] = []
        typical = instances or max(1, round(_TYPICAL_BELOW / min(question.p, 1 - question.p)))
        self._errors = planned_errors(typical, question.p)
        self._ledger: Ledger | None = None
        self._aim: Aim | None = None

    def states(self, reveal: Reveal) -> Iterator[State]:
        """Run and yield states, the answer last; `reveal` evaluates tasks in order."""
        self._ledger = ledger = Ledger(reveal, self._inputs, self._low, self._high, self._question.seed, self._first)
        for performance in ledger.pilot(self._pilot_size()):
            self._pilot.append(performance)
            yield self._state("pilot")
        yield from self._scout(ledger)
        for bracket in self._plan():
            self._bracket = bracket
            more = self._offset + bracket.size - self._touched
            cost = instance_cost(ledger, self._question.p, self._errors.lower)
            self._expected = min(ledger.cost + cost * more, self._budget)
            yield from self._stage(bracket)
            low, high = self._ends
            converged = high - low <= 2 * self._half
            if converged or self._spent or self._fixed is not None:
                reason = REACHED if converged else SPENT if self._spent else SETTLED
                if not converged:
                    self._renew()
                yield self._state(reason, done=True, converged=converged)
                return

    def conclude(self, reason: str, *, by_hand: bool) -> State:
        """Return the last state when the run is ended from outside.

        Parameters
        ----------
        reason : str
        by_hand : bool
            Whether somebody who saw the interval stopped it: then a confidence sequence over the instances opened so
            far holds, which has its own share of the error. A clock sees no performance, so once all instances of a
            planned size are opened theirs holds too.
        """
        self._renew()
        swept = self._bracket is not None and self._touched >= self._offset + self._bracket.size
        if self._bracket is not None and swept:
            self._tighten(np.arange(self._offset, self._offset + self._bracket.size), self._bracket)
        return self._state(reason, done=True, by_plan=swept and not by_hand)

    def sample(self) -> Sample:
        """Return what is known of the instances."""
        if self._aim is None or self._ledger is None or self._touched <= self._offset:
            return Sample.of(self._low + (self._high - self._low) * self._guesses())
        ids = np.arange(self._offset, self._touched)
        mean, spread = self._ledger.moments(ids, self._aim.tail.spread)
        values = self._aim.guesses(ids, mean)[0]
        scale = self._high - self._low
        return Sample(self._low + scale * values, self._ledger.score(mean), scale * spread)

    # -- planning ------------------------------------------------------------------------------------------------

    def _pilot_size(self) -> int:
        most = self._budget / 8 if self._fixed is None else min(self._budget / 8, self._fixed / 4)
        return max(1, int(min(PILOT, most)))

    def _tools(self) -> tuple[Ledger, Aim]:
        assert self._ledger is not None
        assert self._aim is not None
        return self._ledger, self._aim

    def _scout(self, ledger: Ledger) -> Iterator[State]:
        """Open the book by what the pilot taught, and send scouts."""
        q, tail = self._question, guessed_tail(self._pilot, self._inputs)
        low = guessed_percentile(self._pilot, tail, q.p)
        ledger.start(low, low + 0.1 * tail.spread, tail.middle)
        self._aim = aim = Aim(ledger, tail, self._errors, low, low)
        self._touched = len(self._pilot)
        scouts = Scouts(ledger, q.p, self._budget, self._fixed)
        self._opened = scouts.count
        while not self._spent and (need := scouts.need(aim)) is not None:
            yield from self._more(need)
        scouts.direct(aim)

    def _plan(self) -> Iterator[Bracket]:
        """Yield the sizes at which instances count and the ranks there."""
        q = self._question
        if self._fixed is not None and self._guarantee == "anytime":
            yield self._sequence().bracket(self._fixed)
            return
        if self._fixed is not None:
            yield fixed_bracket(self._fixed, q.p, self._alpha, self._errors)
            return
        ledger, aim = self._tools()
        planned = planned_instances(q.p, FIRST_SHARE * self._alpha, 2 * self._half, aim.tail)
        left = (self._budget - ledger.cost) / instance_cost(ledger, q.p, self._errors.lower)
        first = max(1, int(min(planned, left)))
        if self._guarantee == "exact":
            self._offset = self._opened
            self._errors = planned_errors(first, q.p)
            sizes: Iterator[int] = growing_sizes(first, _GROWTH)
            yield from brackets(sizes, q.p, self._alpha, self._errors, FIRST_SHARE)
        elif self._guarantee == "anytime":
            # Nothing that instances showed may enter here, because all of them count.
            sequence = self._sequence()
            yield from (sequence.bracket(n) for n in growing_sizes(max(first, self._opened), _GROWTH))
        else:
            yield from (
                fixed_bracket(n, q.p, self._alpha, self._errors)
                for n in growing_sizes(max(first, self._opened), _GROWTH)
            )

    # -- one stage ----------------------------------------------------------------------------------------------

    def _stage(self, bracket: Bracket) -> Iterator[State]:
        """Audit instances up to the bracket's size until the width is reached or all that matter are decided."""
        ledger, aim = self._tools()
        aim.errors(self._errors)
        end = self._offset + bracket.size
        edges = [end]
        while edges[0] - self._offset > 2 * max(self._opened - self._offset, _FIRST_STEP):
            edges.insert(0, self._offset + (edges[0] - self._offset + 1) // 2)
        for edge in edges:
            self._opened = max(self._opened, edge)
            ledger.grow(self._opened)
            ledger.learn(aim.low, aim.high, aim.tail.middle)
            ids = np.arange(self._offset, max(self._opened, end if edge == end else 0))
            part = bracket if edge == end else _part(bracket, len(ids))
            yield from self._settle(ids, part, last=edge == end)
            if self._spent or self._width() <= 2 * self._half:
                return

    def _settle(self, ids: np.ndarray, bracket: Bracket, *, last: bool) -> Iterator[State]:
        """Audit these instances until none needs more."""
        ledger, aim = self._tools()
        aim.slack, strict = 0.0, False
        while not self._spent:
            need = aim.need(ids)
            if last and not need.fresh:
                self._tighten(ids, bracket)
                if self._fixed is None:
                    if self._width() <= 2 * self._half:
                        return
                    aim.slack = 0.0 if strict else self._slack(need.estimates, bracket)
            for _ in range(_MOVES):
                if not aim.move(need, bracket, last=last):
                    break
                need = aim.need(ids)
            if not last and not need.fresh and need.counts.sum() < 0.01 * ledger.revealed:
                return
            if len(need.ids):
                yield from self._more(need)
            elif last and not strict and aim.slack > 0:
                strict = True  # what was given up for the width did not reach it
            else:
                break
        if last:
            self._tighten(ids, bracket)

    def _slack(self, estimates: np.ndarray, bracket: Bracket) -> float:
        """Return how far the ends may stay behind the order statistics and still reach the wanted width."""
        if bracket.low < 1 or bracket.high > bracket.size:
            return 0.0
        order = np.partition(estimates, [bracket.low - 1, bracket.high - 1])
        return max(0.0, 0.4 * (2 * self._half - float(order[bracket.high - 1] - order[bracket.low - 1])))

    def _more(self, need: Need) -> Iterator[State]:
        """Reveal what is needed, as far as the budget goes."""
        ledger = self._ledger
        assert ledger is not None
        counts = np.minimum(need.counts, self._inputs - ledger.book.seen(need.ids).astype(np.int64))
        left = self._budget * self._inputs - ledger.revealed
        fits = np.cumsum(counts) <= left
        self._spent = not bool(fits.all())
        keep = fits & (counts > 0)
        if not keep.any():
            return
        ids, counts = need.ids[keep], need.counts[keep]
        for done in ledger.more(ids, counts, need.lower[keep], need.upper[keep]):
            self._touched = max(self._touched, int(ids[done - 1]) + 1)
            if ledger.cost >= self._renew_at:
                self._renew()
                self._renew_at = _RENEWED * ledger.cost
            yield self._state("auditing")

    # -- what is known --------------------------------------------------------------------------------------------

    def _tighten(self, ids: np.ndarray, bracket: Bracket) -> None:
        """Narrow the interval by what the bounds of these instances say."""
        found = self._ends_of(ids, bracket)
        # Asymptotic intervals of several sizes do not hold at once, nor does the narrowest: the last one counts.
        self._ends = found if self._guarantee == "asymptotic" else meet(self._ends, found)

    def _ends_of(self, ids: np.ndarray, bracket: Bracket) -> tuple[float, float]:
        assert self._ledger is not None
        lower, upper = self._ledger.book.bounds(ids, self._errors.lower, self._errors.upper)
        low = float(np.partition(lower, bracket.low - 1)[bracket.low - 1]) if bracket.low > 0 else 0.0
        high = float(np.partition(upper, bracket.high - 1)[bracket.high - 1]) if bracket.high <= len(upper) else 1.0
        return low, high

    def _renew(self) -> None:
        """Renew the interval that holds whenever one stops. All its versions hold at once, so it only narrows."""
        if self._aim is None or self._touched <= self._offset:
            return
        ids = np.arange(self._offset, self._touched)
        low, high = self._ends_of(ids, self._sequence().bracket(len(ids)))
        self._shown = meet(self._shown, (low, high))
        self._guess = self._percentile()

    def _sequence(self) -> BracketSequence:
        """Return the ranks that hold for any number of the instances that count."""
        alpha = self._alpha_by_hand
        if self._guarantee == "exact" and self._fixed is None:
            # Scouts stop counting when the plan is made, and a second sequence begins.
            alpha *= 1 - _EARLY if self._offset else _EARLY
        return BracketSequence(self._question.p, alpha, self._errors, self._best_size())

    def _best_size(self) -> int:
        """Return the number of instances at which the confidence sequence is tightest."""
        return int(min(8 * smallest_size(self._question.p, self._question.alpha), LARGEST))

    def _percentile(self) -> float:
        """Return the guessed percentile, as a share."""
        values = np.sort(self._guesses())
        return float(values[quantile_rank(len(values), self._question.p) - 1])

    def _width(self) -> float:
        return self._ends[1] - self._ends[0]

    def _guesses(self) -> np.ndarray:
        """Return the guessed performance of the instances that count, or of the pilot where there are none yet."""
        if self._aim is None or self._touched <= self._offset:
            return np.array(self._pilot)
        return self._aim.guesses(np.arange(self._offset, self._touched))[0]

    def _state(self, phase: str, *, done: bool = False, converged: bool = False, by_plan: bool = True) -> State:
        ledger = self._ledger
        assert ledger is not None
        by_plan = by_plan and done
        if self._guarantee == "asymptotic":
            low, high = self._ends if by_plan else self._shown
        else:
            # Planned sizes and confidence sequences share the error, so all their intervals hold at once.
            low, high = meet(self._shown, self._ends)
        kpp = math.nan
        if (done or self._guess is None) and self._pilot:
            self._guess = self._percentile()
        if self._guess is not None:
            kpp = ledger.score(min(max(self._guess, low), high))
        return State(
            instances=max(self._touched - self._offset, 0),
            evaluations=ledger.cost,
            kpp=kpp,
            low=ledger.score(low),
            high=ledger.score(high),
            guarantee=self._guarantee if by_plan else "anytime",
            phase=phase,
            expected=self._expected,
            done=done,
            converged=converged,
        )


def _part(bracket: Bracket, size: int) -> Bracket:
    """Return ranks to aim at among the first instances of a bracket: low ones, because aiming too high costs more."""
    share = size / bracket.size
    low = share * bracket.low
    return Bracket(size, max(1, round(low - math.sqrt(low * (1 - share)))), round(share * bracket.high))
