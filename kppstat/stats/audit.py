"""Audits: bounds on the mean score of an instance from a random part of its inputs, right at every time of looking.

An instance has `N` unknown scores ``s_j`` in [0, 1] with total ``S``. Inputs are revealed one at a time without
replacement, each with probability ``w_j / W`` where ``w`` are known weights and ``W`` their sum over the inputs not
yet revealed. Let ``y_j >= 0`` be payoffs and ``Y`` their sum over those inputs. Under the hypothesis that the total is
at most ``X``, the product over draws ``J`` of

    e = (y_J + s_J) / (Y + X - S_revealed) * W / w_J

is a nonnegative supermartingale that starts at 1: each factor has mean ``(Y + S - S_revealed) / (Y + X - S_revealed)``
given the past. It is the likelihood ratio of two orders of successive sampling (Plackett and Luce's model), weights
``y + s`` against ``w``. By Ville's inequality it ever exceeds ``1 / error`` with probability at most `error`, so the
totals at which it has not are a confidence sequence: a lower bound, because the product falls as ``X`` grows. The same
with ``1 - s`` gives an upper bound. Weights and payoffs may change at any time as long as they depend on the past only.

Sources: betting martingales for the mean of a finite population, Waudby-Smith & Ramdas, J. R. Statist. Soc. B 86
(2024), section 5; comparison audits with unequal probabilities: Waudby-Smith, Stark & Ramdas, RiLACS, E-Vote-ID 2021;
payoffs that are best against an assumed truth: Stark, ALPHA, Ann. Appl. Statist. 17 (2023). Bets as a likelihood
ratio of successive sampling are derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kppstat.stats.audit_factors import absorb_by_factors, common_factors
from kppstat.stats.audit_kernels import (
    ESTIMATES,
    EXPECTED,
    LOWER,
    RUNS,
    SCORE,
    SEEN,
    SIDES,
    UPPER,
    WEIGHT,
    absorb,
    alias_table,
    bounds,
    draw,
    evidence,
    rebind,
)

#: From so many inputs at once on, an instance gets bets of its own.
_OWN_BETS = 300

_BOUNDS = ("_low", "_high", "_bounded")

__all__ = ["LOWER", "UPPER", "AuditBook", "Design"]


@dataclass(frozen=True, eq=False)
class Design:
    """How inputs are drawn and what is bet on their scores.

    Attributes
    ----------
    weights : ndarray, shape (inputs,)
        Probabilities of the first draw, all positive.
    expected : ndarray, shape (inputs,)
        Expected scores, in [0, 1]; they steady the estimate of a mean.
    payoffs : ndarray, shape (strategies, inputs)
        First those of bets on a mean above a threshold, then those of bets on one below; positive.
    lower : int
        How many of the first kind.
    low, high : float
        Thresholds that the bets are planned for.
    """

    weights: np.ndarray
    expected: np.ndarray
    payoffs: np.ndarray
    lower: int
    low: float = 0.5
    high: float = 0.5


class AuditBook:
    """What is known of many instances: which inputs are revealed, and the evidence they gave.

    Parameters
    ----------
    inputs : int
        Scores of each instance.
    design : Design

    Examples
    --------
    >>> n = 100
    >>> even = Design(np.full(n, 1 / n), np.full(n, 0.9), np.full((2, n), 1.0), lower=1)
    >>> book = AuditBook(n, even)
    >>> book.grow(1)
    >>> rows = book.draw(0, 50, np.random.default_rng(0).integers(2**32, size=400, dtype=np.uint32))
    >>> book.absorb(np.array([0]), np.array([50]), rows, np.ones(50), np.array([0]), np.array([0]))
    >>> low, high = book.bounds(np.array([0]), 0.05, 0.05)
    >>> print(f"{low[0]:.2f} {high[0]:.2f}")
    0.91 1.00
    """

    def __init__(self, inputs: int, design: Design) -> None:
        self.inputs, self._strategies = inputs, len(design.payoffs)
        self.count = 0
        self._seen = np.zeros((0, -(-inputs // 8)), np.uint8)
        self._right = np.zeros((0, -(-inputs // 8)), np.uint8)  # scores of a half or more
        self._whole: list[int] = []
        self._loadings = np.zeros((inputs, 0))
        self._sums = np.zeros((0, SIDES + self._strategies))
        self._log = np.zeros((0, 2))
        self._run_size = np.zeros((0, RUNS), np.int32)
        self._run_mean = np.zeros((0, 2, RUNS))
        self._runs = np.zeros(0, np.int32)
        self._low = np.zeros(0)
        self._high = np.ones(0)
        self._bounded = np.zeros((0, 2), np.int64)  # inputs revealed when a side was bounded last
        #: How often each input was seen in `learn`ing instances, and the sum of its scores.
        self.seen_of_input = np.zeros(inputs)
        self.score_of_input = np.zeros(inputs)
        self.redesign(design)

    def grow(self, count: int) -> None:
        """Make room for this many instances in total."""
        more = count - self.count
        if more <= 0:
            return
        if count > len(self._runs):
            room = max(count, 3 * len(self._runs) // 2) - len(self._runs)
            for name in ("_seen", "_right", "_sums", "_log", "_runs", "_run_size", "_run_mean", *_BOUNDS):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros((room, *old.shape[1:]), old.dtype)]))
        self._high[self.count : count] = 1
        self._sums[self.count : count] = self._fresh
        self.count = count

    def redesign(self, design: Design) -> None:
        """Draw and bet from now on by another design with as many strategies."""
        self.design = design
        self._cut, self._alias = alias_table(design.weights)
        self._fresh = np.zeros(SIDES + self._strategies)
        self._fresh[WEIGHT], self._fresh[EXPECTED] = design.weights.sum(), design.expected.sum()
        self._fresh[SIDES:] = design.payoffs.sum(1)
        rebind(self._seen, self._sums, self.count, self._fresh, design.weights, design.expected, design.payoffs)

    def seen(self, ids: np.ndarray) -> np.ndarray:
        """Return how many inputs of these instances are revealed."""
        return self._sums[ids, SEEN]

    def draw(self, i: int, count: int, words: np.ndarray) -> np.ndarray:
        """Draw inputs of instance `i` that are not revealed yet.

        Parameters
        ----------
        i : int
        count : int
        words : ndarray of uint32
            Fresh random words, two for each attempt; an input that was drawn before costs an attempt.

        Returns
        -------
        ndarray of int64, shape (up to count,)
            Fewer than `count` where the words did not suffice; then nothing is drawn.
        """
        rows = np.empty(count, np.int64)
        found = draw(words, self._cut, self._alias, self._seen[i], rows)
        return rows if found == count else rows[:0]

    def rest(self, i: int) -> np.ndarray:
        """Return the inputs of instance `i` that are not revealed yet, and mark them."""
        revealed = np.unpackbits(self._seen[i], count=self.inputs, bitorder="little")
        self._seen[i] = 255
        return np.flatnonzero(revealed == 0)

    def absorb(
        self,
        ids: np.ndarray,
        counts: np.ndarray,
        rows: np.ndarray,
        scores: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
    ) -> None:
        """Take the scores of drawn inputs in.

        Parameters
        ----------
        ids, counts : ndarray of int, shape (tasks,)
            Instances, each at most once, and how many inputs of each were revealed.
        rows : ndarray of int64, shape (sum of counts,)
            The inputs in the order of drawing; the rest of an instance completes it and may come in any order.
        scores : ndarray, shape (sum of counts,)
            In [0, 1].
        lower, upper : ndarray of int, shape (tasks,)
            Numbers of the strategies to bet with on either side.
        """
        seen = self._sums[ids, SEEN]
        whole = seen + counts >= self.inputs
        self._whole.extend(ids[whole].tolist())
        own = (counts >= _OWN_BETS) & (seen >= _OWN_BETS / 2) & ~whole
        if not self._loadings.shape[1] or not own.any():
            self._absorb(ids, counts, rows, scores, lower, upper)
            return
        begin = np.cumsum(counts) - counts
        common = np.repeat(~own, counts)
        self._absorb(ids[~own], counts[~own], rows[common], scores[common], lower[~own], upper[~own])
        d = self.design
        for k in np.flatnonzero(own):
            part = slice(begin[k], begin[k] + counts[k])
            absorb_by_factors(
                ids[k], rows[part], scores[part], lower[k], upper[k] + d.lower, d.low, d.high, self._loadings,
                d.weights, d.expected, d.payoffs, self._seen, self._right, self._sums, self._log, self._run_size,
                self._run_mean, self._runs, self.inputs, self.seen_of_input, self.score_of_input,
            )  # fmt: skip

    def learn_factors(self, most: int = 200) -> None:
        """Bet in long audits by the factors common to the instances known on all inputs, the latest so many."""
        latest = np.array(self._whole[-most:], np.int64)
        scores = np.unpackbits(self._right[latest], axis=1, count=self.inputs, bitorder="little")
        # The kernel goes through the inputs, so those of one input lie together.
        self._loadings = np.ascontiguousarray(common_factors(scores, self.design.expected).T)

    def _absorb(
        self,
        ids: np.ndarray,
        counts: np.ndarray,
        rows: np.ndarray,
        scores: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
    ) -> None:
        d = self.design
        absorb(
            ids, counts, rows, scores, lower, upper + d.lower, d.weights, d.expected, d.payoffs, self._right,
            self._sums, self._log, self._run_size, self._run_mean, self._runs, self.inputs,
            self.seen_of_input, self.score_of_input,
        )  # fmt: skip

    def evidence(self, ids: np.ndarray, threshold: float, side: int) -> np.ndarray:
        """Return the log of the evidence of each instance against a mean on the other side of the threshold.

        Parameters
        ----------
        ids : ndarray of int
        threshold : float
            In [0, 1].
        side : int
            `LOWER`: evidence that the mean is above the threshold; `UPPER`: that it is below.
        """
        out = np.empty(len(ids))
        known = self._sums, self._log, self._run_size, self._run_mean, self._runs
        evidence(ids, threshold, side, *known, self.inputs, out)
        return out

    def bounds(self, ids: np.ndarray, lower_error: float, upper_error: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the tightest bounds so far on the means of these instances.

        Parameters
        ----------
        ids : ndarray of int
        lower_error, upper_error : float
            Probabilities with which a lower and an upper bound may ever be wrong; the same in every call.

        Returns
        -------
        low, high : ndarray
        """
        args = (self._sums, self._log, self._run_size, self._run_mean, self._runs, self.inputs)
        bounds(ids, -math.log(lower_error), LOWER, *args, self._bounded, self._low)
        bounds(ids, -math.log(upper_error), UPPER, *args, self._bounded, self._high)
        return self._low[ids], self._high[ids]

    def estimates(self, ids: np.ndarray) -> np.ndarray:
        """Return unbiased estimates of the means of these instances; NaN where nothing is revealed."""
        sums = self._sums[ids]
        with np.errstate(invalid="ignore", divide="ignore"):
            running = sums[:, ESTIMATES] / sums[:, SEEN]
        return np.where(sums[:, SEEN] >= self.inputs, sums[:, SCORE], running) / self.inputs
