"""KPP by plain Monte Carlo: every instance is evaluated on every input.

Three guarantees. ``exact``: a pilot plans the sample sizes at which one looks at the interval, and does not enter it;
the looks share the error (`kppstat.stats.stages`). ``anytime``: a confidence sequence (`kppstat.stats.sequence`).
``asymptotic``: the interval of fixed size, looked at at growing sizes until it is narrow enough; stopping on width is
valid in the limit (Chow & Robbins, Ann. Math. Statist. 36, 1965).
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kppstat.engine import Evaluation, Task
from kppstat.runs import Reveal
from kppstat.sampling.question import BY_HAND, Question
from kppstat.sampling.result import REACHED, SPENT, Sample, State
from kppstat.stats.interval import meet
from kppstat.stats.order import quantile_rank, ranks, smallest_size
from kppstat.stats.plan import local_spread, planned_size
from kppstat.stats.sequence import QuantileSequence
from kppstat.stats.stages import Look, growing_sizes, looks

PILOT = 100
#: Where ``asymptotic`` looks: often enough to stop early, seldom enough for coverage near nominal (measured).
FIRST_LOOK, GROWTH = 30, 1.25
LARGEST = 10**9


class MonteCarlo:
    """Plain Monte Carlo; see the module for its guarantees.

    Parameters
    ----------
    question : Question
    half_width : float
        Wanted half-width, in the unit of the scores.
    first : int
        Number of the first instance.
    replanned : bool
        Whether the instances served another plan before, in place of which this question's would be. An exact plan
        holds once, so the run then goes by the confidence sequence that is kept for an end by hand: it is the same
        one in all such runs, and holds at all of their ends.
    """

    name = "mc"

    def __init__(self, question: Question, half_width: float, *, first: int = 0, replanned: bool = False) -> None:
        self._question, self._half_width, self._first = question, half_width, first
        asked = question.guarantee or "exact"
        self._guarantee = "anytime" if replanned else asked
        self._budget = math.inf if question.max_evaluations is None else int(question.max_evaluations)
        self._pilot: list[float] = []  # sorted, as all lists of performances here
        self._looked_at: list[float] = []
        self._all: list[float] = []
        self._expected = math.nan
        kept = 1.0 if asked == "anytime" else BY_HAND
        self._sequence = QuantileSequence(question.p, kept * question.alpha, t_opt=self._sequence_best())
        self._alpha = question.alpha if self._guarantee == "anytime" else (1 - BY_HAND) * question.alpha
        self._alpha_by_clock = self._alpha
        self._bracket = self._nested = (-math.inf, math.inf)

    def states(self, reveal: Reveal) -> Iterator[State]:
        """Run and yield the state after each instance, the answer last; `reveal` evaluates tasks in order."""
        if self._guarantee == "exact":
            yield from self._exact(reveal)
        else:
            yield from self._sequential(reveal)

    def conclude(self, reason: str, *, by_hand: bool) -> State:
        """Return the last state when the run is ended from outside.

        Parameters
        ----------
        reason : str
        by_hand : bool
            Whether somebody who saw the interval stopped it: then only the confidence sequence holds, which has its
            own share of the error. A clock sees no performance, so the interval of the size reached at its stroke is
            exact.
        """
        if by_hand or self._guarantee == "anytime" or not self._all:
            return self._anytime(reason, done=True)
        # Whichever is longer does not depend on a performance.
        values = self._looked_at if len(self._looked_at) >= len(self._pilot) else self._pilot
        ends = _ends(values, *ranks(len(values), self._question.p, self._alpha_by_clock))
        return self._state(values, meet(self._bracket, ends), self._guarantee, reason, done=True)

    def sample(self) -> Sample:
        """Return what is known of the instances."""
        return Sample.of(np.array(self._all))

    def _exact(self, reveal: Reveal) -> Iterator[State]:
        pilot = self._pilot_size()
        for evaluation in reveal(Task(self._first + i) for i in range(pilot)):
            self._take(evaluation, self._pilot)
            yield self._anytime("pilot")
        for look in self._looks(pilot):
            self._expected = pilot + look.size
            begin, end = self._first + pilot + len(self._looked_at), self._first + pilot + look.size
            for evaluation in reveal(Task(i) for i in range(begin, end)):
                self._take(evaluation, self._looked_at)
                if len(self._looked_at) < look.size:
                    yield self._anytime("evaluating")
            # All looks hold at once, so their intersection does.
            self._bracket = meet(self._bracket, _ends(self._looked_at, look.low, look.high))
            converged = self._bracket[1] - self._bracket[0] <= 2 * self._half_width
            if converged or pilot + look.size >= self._budget:
                reason = REACHED if converged else SPENT
                yield self._state(self._looked_at, self._bracket, "exact", reason, done=True, converged=converged)
                return
            # A look leaves more than half of the error that was left before it; a stop by the clock may spend that.
            self._alpha_by_clock /= 2
            yield self._anytime("evaluating")

    def _sequential(self, reveal: Reveal) -> Iterator[State]:
        end = int(min(self._budget, LARGEST))
        sizes = growing_sizes(FIRST_LOOK, GROWTH)
        look = next(sizes)
        for evaluation in reveal(Task(self._first + i) for i in range(end)):
            self._take(evaluation, self._looked_at)
            n = len(self._all)
            if n == PILOT:
                self._expected = self._planned(self._all) * (2.4 if self._guarantee == "anytime" else 1)
            if self._guarantee == "anytime":
                state = self._anytime("evaluating")
            else:
                ends = _ends(self._all, *ranks(n, self._question.p, self._alpha))
                state = self._state(self._all, ends, "asymptotic", "evaluating")
            may_stop = self._guarantee == "anytime" or n == look
            look = next(sizes) if n == look else look
            converged = may_stop and state.high - state.low <= 2 * self._half_width
            if converged or n == end:
                yield replace(state, phase=REACHED if converged else SPENT, done=True, converged=converged)
                return
            yield state

    def _take(self, evaluation: Evaluation, values: list[float]) -> None:
        performance = float(evaluation.scores.mean())
        insort(values, performance)
        insort(self._all, performance)

    def _pilot_size(self) -> int:
        """Take the pilot's size: none where the budget is small, because then the budget is the plan."""
        return PILOT if self._budget > 20 * PILOT else 0

    def _looks(self, pilot: int) -> Iterator[Look]:
        q = self._question
        budget = self._budget - pilot
        # Never before as many values as the pilot has: until then a clock that strikes takes the pilot's interval, with
        # all of the error.
        first = max(self._planned(self._pilot), pilot) if pilot else budget
        if first >= budget:
            return looks([int(budget)], q.p, self._alpha)
        return looks(_until(budget, growing_sizes(int(first))), q.p, self._alpha)

    def _planned(self, values: list[float]) -> int:
        q = self._question
        finite = [x for x in values if math.isfinite(x)]  # outputs that overflow score minus infinity
        spread = max(local_spread(finite, q.p), float(np.std(finite))) if len(finite) > 1 else 0.0
        return min(planned_size(q.p, 1 - self._alpha, self._half_width, spread), LARGEST)

    def _sequence_best(self) -> int:
        """Return the size at which the confidence sequence is tightest: a few times the least that bounds the KPP.

        The budget has no say: who goes on with a larger one has seen values, and must find the same sequence.
        """
        return int(min(4 * smallest_size(self._question.p, self._question.alpha), LARGEST))

    def _anytime(self, phase: str, *, done: bool = False) -> State:
        """Return the state with the confidence sequence over all instances: what holds if somebody stops here."""
        # All its intervals hold at once, so it never has to widen again.
        self._nested = meet(self._nested, _ends(self._all, *self._sequence.ranks(len(self._all))))
        return self._state(self._all, self._nested, "anytime", phase, done=done)

    def _state(
        self,
        values: list[float],
        ends: tuple[float, float],
        guarantee: str,
        phase: str,
        *,
        done: bool = False,
        converged: bool = False,
    ) -> State:
        kpp = values[quantile_rank(len(values), self._question.p) - 1] if values else math.nan
        return State(
            instances=len(self._all),
            evaluations=float(len(self._all)),
            kpp=min(max(kpp, ends[0]), ends[1]),
            low=ends[0],
            high=ends[1],
            guarantee=guarantee,
            phase=phase,
            expected=self._expected,
            done=done,
            converged=converged,
        )


def _ends(values: list[float], low: int, high: int) -> tuple[float, float]:
    """Return the order statistics of these ranks, from 1."""
    return (values[low - 1] if low > 0 else -math.inf, values[high - 1] if high <= len(values) else math.inf)


def _until(budget: float, sizes: Iterator[int]) -> Iterator[int]:
    """Yield the sizes below the budget, and the budget as the last look."""
    for size in sizes:
        if size >= budget:
            yield int(budget)
            return
        yield size
