"""The ledger of audits: asks for scores of drawn inputs, books them, counts their cost."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from kppstat.engine import Evaluation, Task
from kppstat.errors import DataError, SettingError
from kppstat.noise.philox import words
from kppstat.runs import Reveal
from kppstat.stats.audit import LOWER, UPPER, AuditBook, Design
from kppstat.stats.audit_design import draw_weights, expected_scores, growth, payoffs, shifted

#: Words of instance `i` for its r-th draw come from the stream of this number plus r.
_STREAM = 1 << 20
#: Tasks booked together: few enough to start soon, enough to make the bookkeeping cheap.
_CHUNK = 256
#: Distances from the threshold, as shares of the distance of most instances, for which there is a best bet.
_DISTANCES = np.array([1.0, 0.5, 0.25, 0.12, 0.06])


def require_bounds(low: float, high: float) -> None:
    """Raise if scores that are to be revealed in part have no bounds.

    Raises
    ------
    SettingError
    """
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise SettingError(
            f"a part of the inputs tells of scores with bounds only, and these lie in {low:g} .. {high:g}",
            where="--method",
            remedy="Use --method mc for this performance",
        )


class Ledger:
    """Revealed scores of instances, as shares of the way from the lowest to the highest score.

    Parameters
    ----------
    reveal : callable
        Takes tasks and yields their evaluations in the same order.
    inputs : int
        Scores of each instance.
    low, high : float
        Range of the scores.
    seed : int
        Fixes the order in which inputs of each instance are drawn.
    first : int
        Number of the first instance.
    """

    def __init__(self, reveal: Reveal, inputs: int, low: float, high: float, seed: int, first: int) -> None:
        self._reveal, self.inputs, self._low, self._scale = reveal, inputs, low, high - low
        self._seed, self._first = seed, first
        self._book: AuditBook | None = None
        self._times = np.zeros(0, np.int64)  # how often inputs of each instance were drawn
        self._pilot: list[np.ndarray] = []
        self._firsts = np.zeros((2, 0))  # performance of each instance by its first look, and the variance of that
        self.revealed = 0

    @property
    def book(self) -> AuditBook:
        """Return the book; there is one after `start`."""
        assert self._book is not None
        return self._book

    @property
    def cost(self) -> float:
        """Return the cost so far in full passes over the inputs."""
        return self.revealed / self.inputs

    def pilot(self, count: int) -> Iterator[float]:
        """Evaluate the first instances on all inputs and yield their performance as a share."""
        every = np.arange(self.inputs)
        for evaluation in self._reveal(Task(self._first + i, every) for i in range(count)):
            scores = self._shares([evaluation])
            self._pilot.append(scores)
            self.revealed += self.inputs
            yield float(scores.mean())

    def start(self, low: float, high: float, middle: float) -> None:
        """Open the book with what the pilot taught; thresholds and `middle` as in `learn`."""
        scores = np.array(self._pilot)
        count = len(scores)
        flat = np.full(self.inputs, 1 / self.inputs)
        bets = np.ones((2 * len(_DISTANCES), self.inputs))
        self._book = AuditBook(self.inputs, Design(flat, np.full(self.inputs, 0.5), bets, len(_DISTANCES)))
        self.grow(count)
        none, every = np.zeros(count, np.int64), np.full(count, self.inputs)
        rows = np.tile(np.arange(self.inputs), count)
        self.book.absorb(np.arange(count), every, rows, scores.ravel(), none, none)
        self.book.seen_of_input += count
        self.book.score_of_input += scores.sum(0)
        self._firsts[0, :count] = scores.mean(1)
        self._pilot.clear()
        self.learn(low, high, middle)

    def grow(self, count: int) -> None:
        """Open accounts for this many instances in total."""
        self.book.grow(count)
        more = count - len(self._times)
        if more > 0:
            self._times = np.concatenate([self._times, np.zeros(more, np.int64)])
            self._firsts = np.concatenate([self._firsts, np.zeros((2, more))], axis=1)

    def learn(self, low: float, high: float, middle: float) -> None:
        """Draw and bet from now on by what all scores so far have taught.

        Parameters
        ----------
        low, high : float
            Thresholds: most audits will have to show that an instance is above `low` or below `high`.
        middle : float
            Performance of the typical instance.
        """
        book = self.book
        expected = expected_scores(book.score_of_input, book.seen_of_input)
        weights = draw_weights(expected)
        # Where bets are planned for need not be where claims are tested; keep the plan inside the range.
        edge = min(0.5 / self.inputs, 0.1)
        low, high = min(max(low, edge), 1 - 4 * edge), min(max(high, 4 * edge), 1 - edge)
        reach = max(abs(middle - low), abs(middle - high), 8 * edge)
        self.above = low + _DISTANCES * min(reach, 1 - edge - low)
        self.below = high - _DISTANCES * min(reach, high - edge)
        self.low, self.high = low, high
        bets, self.rate_above, self.rate_below = [], np.empty(len(_DISTANCES)), np.empty(len(_DISTANCES))
        for k, mean in enumerate(self.above):
            m = shifted(expected, mean)
            bets.append(payoffs(m, weights, low))
            self.rate_above[k] = growth(m, weights, bets[-1], low)
        for k, mean in enumerate(self.below):
            m = 1 - shifted(expected, mean)
            bets.append(payoffs(m, weights, 1 - high))
            self.rate_below[k] = growth(m, weights, bets[-1], 1 - high)
        book.redesign(Design(weights, expected, np.array(bets), len(_DISTANCES), low, high))
        book.learn_factors()
        #: Variance of the estimate of a mean from one drawn input.
        self.variance = float((expected * (1 - expected) / weights).sum()) / self.inputs**2

    def more(self, ids: np.ndarray, counts: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> Iterator[int]:
        """Reveal further inputs of instances and yield after each chunk how many tasks are done.

        Parameters
        ----------
        ids, counts : ndarray of int, shape (tasks,)
            Instances, each once, and how many inputs; where fewer are left, all of them.
        lower, upper : ndarray of int, shape (tasks,)
            Strategies to bet with.
        """
        done = 0
        for begin, end in pairwise([*range(0, len(ids), _CHUNK), len(ids)]):
            chunk = slice(begin, end)
            left = self.inputs - self.book.seen(ids[chunk])
            wanted = zip(ids[chunk].tolist(), counts[chunk].tolist(), left.tolist(), strict=True)
            rows = [self._rows(i, count, rest) for i, count, rest in wanted]
            tasks = [Task(self._first + int(i), r) for i, r in zip(ids[chunk], rows, strict=True)]
            flat = self._shares(list(self._reveal(tasks)))
            sizes = np.array([len(r) for r in rows])
            fresh = left == self.inputs
            new, looks = ids[chunk][fresh], sizes[fresh]
            self.book.absorb(ids[chunk], sizes, np.concatenate(rows), flat, lower[chunk], upper[chunk])
            self._firsts[:, new] = self.book.estimates(new), self.variance * (1 - looks / self.inputs) / looks
            self.revealed += len(flat)
            done += len(rows)
            yield done

    def moments(self, ids: np.ndarray, spread: float) -> tuple[float, float]:
        """Return mean and spread of the performance of these instances, as shares.

        By first looks only: how much is revealed of an instance afterwards depends on what it showed, and what all
        looks say would lean to where audits end. Looks weigh by their variance about the mean, for a given spread.
        """
        values, noise = self._firsts[:, ids]
        weights = 1 / (max(spread, 1e-9) ** 2 + noise)
        weights /= weights.sum()
        mean = float(weights @ values)
        return mean, float(np.sqrt(max(weights @ ((values - mean) ** 2 - noise), 0.0)))

    def evidence(self, ids: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the log evidence that instances are above `low`, and that they are below `high`."""
        return self.book.evidence(ids, low, LOWER), self.book.evidence(ids, high, UPPER)

    def score(self, share: float) -> float:
        """Return a share of the way from the lowest to the highest score as a score."""
        return self._low + self._scale * share

    def _rows(self, i: int, count: int, left: float) -> np.ndarray:
        """Draw rows of instance `i`, all that are left where most would be."""
        if count >= left:
            return self.book.rest(i)
        self._times[i] += 1
        attempts = count + count // 2 + 32
        while True:
            rows = self.book.draw(
                i, count, words(self._seed, self._first + i, _STREAM + int(self._times[i]), 2 * attempts)
            )
            if len(rows):
                return rows
            attempts *= 2

    def _shares(self, evaluations: list[Evaluation]) -> np.ndarray:
        """Return the scores of these evaluations one after another, as shares."""
        scores = np.concatenate([evaluation.scores for evaluation in evaluations]).astype(np.float64, copy=False)
        shares = (scores - self._low) / self._scale
        fits = (shares >= -1e-9) & (shares <= 1 + 1e-9)
        if not fits.all():
            ends = np.cumsum([len(evaluation.scores) for evaluation in evaluations])
            culprit = evaluations[int(np.searchsorted(ends, np.argmin(fits), side="right"))]
            raise DataError(
                f"instance {culprit.index} has scores outside {self._low:g} .. {self._low + self._scale:g}",
                where="scores",
                remedy="State the range of the performance, or use --method mc",
            )
        return np.clip(shares, 0, 1)
