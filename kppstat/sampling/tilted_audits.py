"""Tilted sampling with a guarantee: more instances where failures are expected, each of them audited.

Pilot, directions, scouts and surrogate are those of `kppstat.sampling.tilted`. Then, instead of looks whose scores are
extrapolated, every instance has bounds on its performance that hold whenever one looks (`kppstat.stats.audit`), and the
ends of the interval come from bets on the weighted count of these bounds (`kppstat.stats.betting`): ``anytime``,
whatever the surrogate is worth and wherever failures hide.

That has a price. Before a mass of hidden failures can be excluded, enough instances must be met where none are
expected, so no design tilts by more than the wanted width allows (`kppstat.sampling.tilted_design`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kppstat.sampling.audited_aim import Aim, Need, Tail
from kppstat.sampling.audited_plan import LARGEST, guessed_tail
from kppstat.sampling.result import REACHED, SPENT, State
from kppstat.sampling.tilted import Tilted
from kppstat.sampling.tilted_design import Design, designed
from kppstat.sampling.tilted_ledger import Looks
from kppstat.sampling.tilted_pool import MOST, Kinds
from kppstat.stats.betting import Round, high_end, log_capital, low_end
from kppstat.stats.bracket import AuditErrors, planned_errors
from kppstat.stats.interval import Guarantee, Interval, meet
from kppstat.stats.staged import LOGISTIC, chance

__all__ = ["TiltedAudits"]

#: Of the draws that should suffice, the first round, and how many of its draws may be on the rare side of the
#: percentile; of all draws so far, a later round at least and at most.
_FIRST, _FIRST_EVENTS, _LEAST_MORE, _MOST_MORE = 0.3, 30.0, 0.25, 0.6
#: Draws of a round at least.
_LEAST = 500
#: The distribution function at the wanted ends is thought to be off by this factor at least.
_LEAST_OFF = 0.9
#: Evidence that is to be had at the wanted ends, for each unit that would do.
_ENOUGH = 1.2
#: Of the budget that is left, what a round may be expected to cost.
_PLANNED = 0.8
#: How much wider than wanted an interval may be aimed at, where the budget allows no better.
_WIDER = 1.3
#: Points between which the ends are foreseen; how far they reach from the percentile, in wanted half-widths and at
#: least in spreads; and how often they follow it.
_POINTS, _REACH, _SPREADS, _TIMES = 61, 6.0, 0.3, 8
#: Chances below this are none.
_NOTHING = 1e-6
#: Of the width that is to spare, how far each threshold may stay behind the end that is foreseen.
_SLACK = 0.4


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A round and its instances: their numbers, which of them are nominal, and the laws expected of them."""

    round: Round
    ids: np.ndarray
    nominal: np.ndarray
    prior: np.ndarray


class _PosteriorAim(Aim):
    """An aim that expects of an instance what surrogate and inputs say together."""

    def __init__(self, looks: Looks, tail: Tail, errors: AuditErrors, percentile: float) -> None:
        super().__init__(looks.ledger, tail, errors, percentile, percentile)
        self._looks = looks
        self.drawn: tuple[_Drawn, ...] = ()
        self.watch_high = True

    def laws(self, ids: np.ndarray) -> np.ndarray:
        """Return what is known of these instances, which lie next to each other from the first that counts on."""
        start = next((int(d.ids[0]) for d in self.drawn if len(d.ids)), 0)  # by chance a round has no instances
        prior = np.concatenate([d.prior for d in self.drawn], axis=-1)[..., ids - start]
        met = self._looks.ledger.book.seen(ids) > 0
        prior[..., met] = self._looks.law(ids[met], prior[..., met])
        return prior

    def guesses(self, ids: np.ndarray, middle: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the expected performance of instances and its standard error."""
        del middle
        weight, location, scale = self.laws(ids)
        mean = (weight * location).sum(0)
        square = (weight * (location**2 + (LOGISTIC * scale) ** 2)).sum(0)
        return mean, np.sqrt(np.maximum(square - mean**2, 0))


class TiltedAudits(Tilted):
    """Tilted sampling with an interval that holds whenever one stops; see the module.

    Parameters
    ----------
    question, half_width, space, inputs, low, high, first, name
        As of `Tilted`.

    Raises
    ------
    SettingError
        If scores have no bounds, or another guarantee is asked for.
    """

    guarantee: Guarantee = "anytime"

    _drawn: tuple[_Drawn, ...] = ()
    _ends = (-math.inf, math.inf)
    _evidence = 0.0
    _masses: tuple[float, float] | None = None
    _spent = False

    def conclude(self, reason: str, *, by_hand: bool) -> State:
        """Return the last state when the run is ended from outside: all that is known counts, whoever stops."""
        del by_hand
        self._tighten()
        return self._state(reason, done=True)

    def findings(self) -> None:
        """Return nothing: this interval hides no failures, and what it saved is told as for audits."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader must know beside the interval."""
        if not math.isfinite(self._kpp):
            return ("The run ended before enough instances were looked at: there is no interval yet.",)
        most = max(float(r.inclusion.max(initial=r.least) / r.least) for r in self._rounds)
        return (
            f"Instances where failures are expected were drawn up to {most:.3g} times as often as others; the "
            f"surrogate's correlation with held-out performance is {self._surrogate.correlation:.2f}.",
        )

    # -- rounds ---------------------------------------------------------------------------------------------------

    def _run(self, looks: Looks) -> Iterator[State]:
        percentile = math.nan
        for number in itertools.count():
            self._surrogate = surrogate = self._learn(looks)
            if math.isnan(percentile):
                percentile = self._first_percentile(surrogate)
            looks.learn(percentile, float(np.median(self._pilot)))
            kinds = Kinds.of(self._space, surrogate, LARGEST)
            law = surrogate.law(kinds.location)
            if not self._drawn:
                self._begin(looks, law, kinds.share, percentile)
            design = self._design(looks, law, kinds.share, percentile)
            size = self._size(design)
            if size * float(kinds.share @ design.inclusion) < 1:
                break
            self._draw(looks, number, size, design, kinds, law)
            yield from self._settle(looks)
            if self._converged() or self._spent:
                break
            percentile = self._kpp
        converged = self._converged()
        yield self._state(REACHED if converged else SPENT, done=True, converged=converged)

    @property
    def _rounds(self) -> list[Round]:
        return [d.round for d in self._drawn]

    def _nominal(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of all nominal instances looked at, and what performance is expected of them."""
        if self._looks is None or not self._drawn:
            return np.zeros(0, np.int64), np.zeros(0)
        ids = self._ids[np.concatenate([d.nominal for d in self._drawn])]
        ids = ids[self._looks.ledger.book.seen(ids) > 0]
        return ids, self._aim.guesses(ids)[0]

    @property
    def _instances(self) -> int:
        """How many instances were looked at, of those that count."""
        return int((self._looks.ledger.book.seen(self._ids) > 0).sum()) if self._looks and self._drawn else 0

    @property
    def _ids(self) -> np.ndarray:
        """Numbers of all instances that count."""
        return np.concatenate([d.ids for d in self._drawn]) if self._drawn else np.zeros(0, np.int64)

    def _begin(self, looks: Looks, law: np.ndarray, share: np.ndarray, percentile: float) -> None:
        """Fix the errors of audits."""
        q, ends = self._question, self._wanted(percentile)
        first = designed(looks.ledger, law, share, ends, q.p, q.alpha / 2, planned_errors(10**4, q.p))
        self._errors = planned_errors(int(min(max(first.size, 100), LARGEST)), q.p)
        tail = guessed_tail(self._pilot, self._inputs)
        self._aim = _PosteriorAim(looks, tail, self._errors, percentile)

    def _wanted(self, percentile: float, wider: float = 1.0) -> tuple[float, float]:
        return percentile - wider * self._half, percentile + wider * self._half

    def _design(self, looks: Looks, law: np.ndarray, share: np.ndarray, percentile: float) -> Design:
        """Return the design for the wanted width, or for the narrowest that the budget allows."""
        q, wider = self._question, 1.0
        left = self._budget - self._cost
        while True:
            ends = self._wanted(percentile, wider)
            masses = self._masses if wider == 1 else None
            design = designed(looks.ledger, law, share, ends, q.p, q.alpha / 2, self._errors, masses)
            wider *= _WIDER
            if design.cost <= _PLANNED * left or wider * self._half > 1:
                return design

    def _size(self, design: Design) -> int:
        """Return how many draws the next round should have, as far as the budget goes."""
        done = sum(r.size for r in self._rounds)
        left = self._budget - self._cost
        wanted = min(_FIRST * design.size, _FIRST_EVENTS / min(self._question.p, 1 - self._question.p))
        if done:
            # What all draws so far tell of the wanted ends, and how many would tell enough.
            needed = done * _ENOUGH * math.log(2 / self._question.alpha) / max(self._evidence, 1e-9)
            wanted = float(np.clip(needed - done, _LEAST_MORE * done, _MOST_MORE * done))
        wanted = min(max(wanted, _LEAST), _PLANNED * left / design.per_draw, MOST)
        self._expected = min(self._cost + max(design.size - done, wanted) * design.per_draw, self._budget)
        return max(int(wanted), 0)

    def _draw(self, looks: Looks, number: int, size: int, design: Design, kinds: Kinds, law: np.ndarray) -> None:
        drawn = kinds.draw(number, size, design.inclusion, self._question.seed, self._first)
        inclusion, least = design.inclusion[drawn.kind], float(design.inclusion.min())
        ids = looks.add([self._space.move(place) for place in drawn.places])
        self._known.append((ids, drawn.places))
        added = Round(size, inclusion, least, design.low, design.high)
        # At once, because a run may be interrupted anywhere, and draws without their instances would count as none.
        self._drawn = (*self._drawn, _Drawn(added, ids, drawn.coin < least, law[..., drawn.kind]))

    # -- audits ---------------------------------------------------------------------------------------------------

    def _settle(self, looks: Looks) -> Iterator[State]:
        """Audit the instances until the width is reached or none needs more."""
        ids, self._aim.drawn = self._ids, self._drawn
        while not self._spent:
            if (looks.ledger.book.seen(ids) > 0).all():
                self._tighten()
                if self._converged():
                    return
            need = self._aim.need(ids)
            if not len(need.ids):
                break
            yield from self._more(looks, need)
        self._tighten()

    def _direct(self) -> None:
        """Set the thresholds of audits by where the ends would be if all were known as well as it is expected."""
        aim, p = self._aim, self._question.p
        aim.drawn = self._drawn
        laws = aim.laws(self._ids)
        count = 1 / np.concatenate([r.inclusion for r in self._rounds])
        draws = sum(r.size for r in self._rounds)
        centre = self._kpp if math.isfinite(self._kpp) else aim.low
        reach = max(_REACH * self._half, _SPREADS * aim.tail.spread)
        for _ in range(_TIMES):
            x = centre + np.linspace(-reach, reach, _POINTS)
            some = np.flatnonzero(chance(x[-1:], laws)[0] > _NOTHING)
            below = np.zeros((len(x), len(count)))
            below[:, some] = [chance(x[k : k + 1], laws[..., some])[0] for k in range(_POINTS)]
            mass = below @ count / draws
            centre = float(np.interp(p, mass, x))
            if x[0] < centre < x[-1]:
                break
        self._kpp = centre
        for_low, for_high = self._errors.shares(p)
        lows = log_capital(self._rounds, for_low, [r.low for r in self._rounds], below.T)
        highs = log_capital(self._rounds, for_high, [r.high for r in self._rounds], below.T)
        enough = math.log(2 / self._question.alpha)
        short, sure = lows < enough, highs >= enough
        low = float(x[int(short.argmax())]) if short.any() else float(x[-1])
        high = float(x[int(sure.argmax())]) if sure.any() else float(x[-1])
        ends = self._wanted(centre)
        low_mass, high_mass = np.interp(ends, x, mass)
        self._masses = min(low_mass, _LEAST_OFF * p), max(high_mass, p / _LEAST_OFF)
        self._evidence = min(float(np.interp(ends[0], x, lows)), float(np.interp(ends[1], x, highs)))
        slack = max(_SLACK * (2 * self._half - (high - low)), 0.0)
        aim.low, aim.high = min(low - slack, centre), max(high + slack, centre)

    def _more(self, looks: Looks, need: Need) -> Iterator[State]:
        """Reveal what is needed, as far as the budget goes."""
        ledger = looks.ledger
        counts = np.minimum(need.counts, self._inputs - ledger.book.seen(need.ids).astype(np.int64))
        fits = np.cumsum(counts) <= (self._budget - self._cost) * self._inputs
        self._spent = not bool(fits.all())
        keep = fits & (counts > 0)
        for _ in ledger.more(need.ids[keep], counts[keep], need.lower[keep], need.upper[keep]):
            yield self._state("auditing")

    def _tighten(self) -> None:
        """Narrow the interval by what the bounds of all instances say. All its versions hold at once."""
        if not len(self._ids) or self._looks is None:
            return
        self._direct()
        q = self._question
        lower, upper = self._looks.ledger.book.bounds(self._ids, self._errors.lower, self._errors.upper)
        for_low, for_high = self._errors.shares(q.p)
        low = low_end(self._rounds, lower, for_low, q.alpha / 2)
        self._ends = meet(self._ends, (low, high_end(self._rounds, upper, for_high, q.alpha / 2)))
        self._interval = Interval(*self._ends, q.confidence, self.guarantee)
        if math.isfinite(self._kpp):
            self._kpp = min(max(self._kpp, self._ends[0]), self._ends[1])

    def _converged(self) -> bool:
        """Return whether the interval is narrow enough: it holds whenever one stops."""
        return self._interval.half_width <= self._half
