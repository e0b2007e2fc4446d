"""Looks at moved instances: what the inputs revealed so far say of an instance's performance, and how surely."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from kppstat.engine import Evaluation, Move, Task
from kppstat.runs import Reveal
from kppstat.sampling.audited_ledger import Ledger
from kppstat.stats.audit_design import shifted
from kppstat.stats.staged import LOGISTIC

__all__ = ["Looks", "stages"]

_FIRST, _GROWTH = 64, 4
#: How far estimates scatter, over what the scores of typical instances let expect, and so many instances' worth of
#: belief in that; learnt from instances known on all inputs. On three recorded networks it was 0.85 to 1.05.
_CAUTION, _BELIEF = 1.0, 100


def stages(inputs: int) -> list[int]:
    """Return how many inputs are known after each stage, all of them after the last.

    Examples
    --------
    >>> stages(10_000), stages(200), stages(10)
    ([64, 256, 1024, 4096, 10000], [64, 200], [10])
    """
    sizes, size = [], _FIRST
    while 2 * size < inputs:
        sizes.append(size)
        size *= _GROWTH
    return [*sizes, inputs]


class Looks:
    """A ledger whose instances may be moved, with the law of each performance given what is revealed.

    Parameters
    ----------
    reveal, inputs, low, high, seed, first
        As of `Ledger`.
    """

    def __init__(self, reveal: Reveal, inputs: int, low: float, high: float, seed: int, first: int) -> None:
        self._moves: list[Move | None] = []

        def moved(tasks: Iterable[Task]) -> Iterator[Evaluation]:
            return reveal(replace(t, move=self._moves[t.index - first]) for t in tasks)

        self.ledger = Ledger(moved, inputs, low, high, seed, first)
        self.inputs = inputs
        self._ratios: list[np.ndarray] = []
        self._caution = _CAUTION

    @property
    def count(self) -> int:
        """Instances so far."""
        return len(self._moves)

    def add(self, moves: Iterable[Move | None]) -> np.ndarray:
        """Open accounts for instances and return their numbers."""
        start = len(self._moves)
        self._moves.extend(moves)
        if start:
            self.ledger.grow(len(self._moves))
        return np.arange(start, len(self._moves))

    def learn(self, low: float, middle: float) -> None:
        """Draw inputs from now on by what is known; `low` is the percentile, `middle` the typical performance."""
        self.ledger.learn(low, low, middle)
        design = self.ledger.book.design
        self._means = np.linspace(max(2 * low - middle, 0.02), min(max(2 * middle - low, low + 0.02), 0.98), 9)
        if self._means[0] >= self._means[-1]:
            self._means = np.linspace(0.02, 0.98, 9)
        expected = [shifted(design.expected, float(m)) for m in self._means]
        self._variances = np.array([(m * (1 - m) / design.weights).sum() for m in expected]) / self.inputs**2

    def variance(self, ids: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
        """Return the variances of the estimates of these instances' performance, as they would be with this `truth`."""
        book = self.ledger.book
        seen = book.seen(ids)
        means = np.nan_to_num(book.estimates(ids)) if truth is None else truth
        one = np.interp(means, self._means, self._variances)
        # What is drawn is drawn without replacement.
        free = np.maximum(self.inputs - seen, 0) / self.inputs
        return np.asarray(self._caution**2 * one * free / np.maximum(seen, 1))

    def first_noise(self, means: np.ndarray, size: int) -> np.ndarray:
        """Return the variances of estimates of such means from this many inputs."""
        one = np.interp(means, self._means, self._variances)
        return np.asarray(self._caution**2 * one * (self.inputs - size) / self.inputs / size)

    def law(self, ids: np.ndarray, prior: np.ndarray) -> np.ndarray:
        """Return the laws of these performances given what is revealed, shape (3, parts, n), by Bayes' rule.

        Parameters
        ----------
        ids : ndarray of int
        prior : ndarray, shape (3, parts, n)
            What was expected beforehand: weights, locations and scales of logistic laws, taken as normal ones here.
        """
        weight, location, scale = prior
        estimate, known = self.ledger.book.estimates(ids), self.variance(ids) <= 0
        noise = np.stack([self.variance(ids, at) for at in location])
        variance = (LOGISTIC * scale) ** 2
        total = variance + noise + 1e-300
        fits = np.log(weight + 1e-300) - (estimate - location) ** 2 / (2 * total) - np.log(total) / 2
        fits = np.exp(fits - fits.max(0))
        mean = (variance * estimate + noise * location) / total
        later = np.stack([fits / fits.sum(0), mean, np.sqrt(variance * noise / total) / LOGISTIC])
        later[1:, :, known] = np.stack([estimate, 0 * estimate])[:, None, known]
        return later

    def compare(self, estimates: np.ndarray, variances: np.ndarray, truth: np.ndarray) -> None:
        """Learn how much estimates scatter from some whose truth became known."""
        good = variances > 0
        self._ratios.append((estimates - truth)[good] ** 2 / variances[good] * self._caution**2)
        ratios = np.concatenate(self._ratios)
        if len(ratios):
            typical = float(np.median(ratios)) / 0.455  # the median of a squared standard normal
            self._caution = float(np.sqrt((_BELIEF * _CAUTION**2 + len(ratios) * typical) / (_BELIEF + len(ratios))))

    def more(self, ids: np.ndarray, wanted: int | np.ndarray) -> Iterator[int]:
        """Reveal inputs until so many are known of each instance; yield now and then how many tasks are done."""
        seen = self.ledger.book.seen(ids).astype(np.int64)
        counts = np.minimum(wanted, self.inputs) - seen
        some = counts > 0
        none = np.zeros(int(some.sum()), np.int64)
        yield from self.ledger.more(ids[some], counts[some], none, none)
