"""What audits aim at: two thresholds near the ends of the interval to be, and who needs more inputs to clear them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kppstat.sampling.audited_ledger import Ledger
from kppstat.stats.bracket import AuditErrors, Bracket

#: Inputs of a first look at an instance: what the typical one needs, within these ends; and at least in later looks.
_FIRST_LEAST, _FIRST_MOST, _AGAIN = 32, 400, 48
#: Inputs asked for over those expected to suffice, first and later: a task has a fixed cost, so asking again is dear.
_FIRST_MARGIN, _MARGIN = 1.3, 1.4
#: An instance that is expected to need more than this share of its inputs is evaluated on all of them.
_COMPLETE = 0.6
#: No batch is larger than this many times what is revealed already: guesses from few inputs are poor.
_GROWTH = 1.5
#: Standard errors by which an estimate may lie on the wrong side of a threshold before the instance is given up.
_HOPE = 1.2
#: Estimates vary more than the scores of typical instances let expect, because instances near the ends fail more.
_CAUTION = 1.2


@dataclass
class Tail:
    """The law of performance as guessed: steers, and promises nothing.

    Attributes
    ----------
    middle, spread : float
        Of the typical instance, as shares.
    steepness : float
        Derivative of the log of the distribution function near the percentile.
    """

    middle: float
    spread: float
    steepness: float


@dataclass(frozen=True, eq=False)
class Need:
    """Who is to be audited further.

    Attributes
    ----------
    ids, counts, lower, upper : ndarray of int
        For `Ledger.more`.
    fresh : int
        How many instances were never looked at.
    above, below : int
        How many more need to be shown above the lower threshold, and below the upper one.
    stragglers : int
        Instances not shown above the lower threshold and given up.
    sunk : int
        Instances shown below the upper threshold.
    estimates : ndarray
        Of the instances asked about.
    """

    ids: np.ndarray
    counts: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    fresh: int
    above: int
    below: int
    stragglers: int
    sunk: int
    estimates: np.ndarray


class Aim:
    """The two thresholds and the rule of allocation.

    Parameters
    ----------
    ledger : Ledger
    tail : Tail
    errors : AuditErrors
    low, high : float
        First thresholds.
    slack : float
        How far beyond the order statistics of the performances the ends may lie, as a share.
    """

    def __init__(self, ledger: Ledger, tail: Tail, errors: AuditErrors, low: float, high: float) -> None:
        self._ledger, self.tail = ledger, tail
        self.errors(errors)
        self.low, self.high = low, max(high, low)
        self.slack = 0.0
        self.watch_high = False

    def errors(self, errors: AuditErrors) -> None:
        """Aim at claims with these error probabilities from now on."""
        self._needed = -np.log(errors.lower), -np.log(errors.upper)

    def guesses(self, ids: np.ndarray, middle: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the estimated performance of instances, drawn towards the middle, and its standard error.

        The middle is that of the pilot unless given.
        """
        middle = self.tail.middle if middle is None else middle
        book, inputs = self._ledger.book, self._ledger.inputs
        seen = book.seen(ids)
        free = (inputs - seen) / inputs
        noise = _CAUTION * self._ledger.variance * free / np.maximum(seen, 1)
        prior = max(self.tail.spread, 1e-9) ** 2
        weight = np.where(seen > 0, prior / (prior + noise), 0.0)
        estimate = weight * np.nan_to_num(book.estimates(ids)) + (1 - weight) * middle
        return estimate, np.sqrt(np.where(seen > 0, noise * prior / (prior + noise), prior))

    def need(self, ids: np.ndarray) -> Need:
        """Return who of these instances needs how many more inputs."""
        ledger = self._ledger
        estimate, error = self.guesses(ids)
        seen = ledger.book.seen(ids)
        open_ = seen < ledger.inputs
        fresh = seen == 0
        for_low, for_high = ledger.evidence(ids, self.low, self.high)
        not_above, not_below = for_low < self._needed[0], for_high < self._needed[1]
        above = open_ & ~fresh & not_above & (estimate + _HOPE * error > self.low)
        below = open_ & ~fresh & not_below & (estimate - _HOPE * error < self.high) & self.watch_high
        lower, more_above = best_bets(estimate - self.low, error, ledger.above - ledger.low, ledger.rate_above)
        upper, more_below = best_bets(self.high - estimate, error, ledger.high - ledger.below, ledger.rate_below)
        more_above = (self._needed[0] - for_low) * more_above
        more_below = (self._needed[1] - for_high) * more_below
        lean = np.where(estimate > (self.low + self.high) / 2, more_above, more_below)
        more = np.where(above & below, lean, np.where(above, more_above, more_below))
        first = first_look(ledger, self._needed[0])
        count = np.clip(_MARGIN * more + 3, _AGAIN, _GROWTH * np.maximum(seen, first))
        count = np.where(seen + count > _COMPLETE * ledger.inputs, ledger.inputs, count)
        count = np.where(fresh, first, np.where(above | below, np.ceil(count), 0)).astype(np.int64)
        chosen = count > 0
        return Need(
            ids[chosen], count[chosen], lower[chosen], upper[chosen],
            int(fresh.sum()), int(above.sum()), int(below.sum()),
            int((not_above & ~above & ~fresh).sum()), int((~not_below).sum()), estimate,
        )  # fmt: skip

    def move(self, need: Need, bracket: Bracket, *, last: bool) -> bool:
        """Move the thresholds towards the ends of the interval to be; return whether one moved.

        The lower one climbs from below to where just as many stragglers are left as its rank allows: too low costs
        width, too high costs an evaluation of each instance in between. Then the upper one follows from below.
        """
        step = 1 / self.tail.steepness
        if need.fresh or need.above > max(1, 0.1 * bracket.low):
            return False
        order = np.sort(need.estimates)
        allowed = bracket.low - 1
        low, high = self.low, self.high
        if allowed >= 0:
            ceiling = float(order[bracket.low - 1]) - self.slack
            if need.stragglers > allowed and ceiling < self.low - 0.02 * step:
                self.low = ceiling
            elif need.stragglers < allowed:
                rise = 0.7 * np.log((allowed + 0.5) / (need.stragglers + 0.5)) * step
                cap = ceiling if self.slack > 0 else max(ceiling, self.low + 0.02 * step)
                self.low = max(self.low, min(self.low + min(rise, 0.7 * step), cap))
        if self.low > low:
            self.high = max(self.high, self.low)
        elif last and bracket.high <= bracket.size and self.low == low:
            floor = float(order[bracket.high - 1]) + self.slack + 0.01 * step
            if not self.watch_high:
                self.watch_high, self.high = True, max(floor, self.low)
                return True
            if need.sunk >= bracket.high:
                if floor < self.high - 0.02 * step:
                    self.high = max(floor, self.low)
            elif need.below <= max(1, 0.05 * bracket.high):
                self.high = max(floor, self.high + 0.02 * step)
        return (low, high) != (self.low, self.high)


def first_look(ledger: Ledger, needed: float) -> int:
    """Return the inputs of a first look at an instance: what the typical one needs for so much evidence."""
    wanted = np.clip(_FIRST_MARGIN * needed / max(ledger.rate_above[0], 1e-9), _FIRST_LEAST, _FIRST_MOST)
    return min(int(wanted), max(1, int(_COMPLETE * ledger.inputs)))


def best_bets(
    distance: np.ndarray, error: np.ndarray, planned: np.ndarray, rate: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the strategy planned for the nearest distance, and inputs per unit of evidence with it."""
    distance = np.maximum(distance, np.maximum(0.35 * error, 1e-9))
    best = np.abs(np.log(distance[:, None] / planned)).argmin(1)
    ratio = distance / planned[best]
    # Evidence grows with the distance for a given bet, and with its square if the bet shrinks with it.
    return best, 1 / np.maximum(rate[best] * np.minimum(ratio, ratio**2), 1e-12)
