"""An exact bound on the mass of failures that the surrogate does not see."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from kppstat.sampling.tilted_ledger import Looks, stages
from kppstat.stats.audit import LOWER
from kppstat.stats.share import share_bound

__all__ = ["HiddenMass"]

#: With which probability an audit may overlook a failure; the bound makes up for it.
_ERROR = 0.05


class HiddenMass:
    """Counts failures in the blind spot of the surrogate among instances of the nominal share.

    Threshold and blind spot are fixed before they are drawn. Each is audited: inputs are revealed until it is shown to
    be above the threshold, with an error, or else it counts as a failure. The count is then at least binomial, and
    Clopper and Pearson's limit holds: how many are drawn is decided before them. Looks at later times share the error.

    Parameters
    ----------
    looks : Looks
    confidence : float
    threshold : float
        A performance at or below this is a failure, as a share.
    """

    def __init__(self, looks: Looks, confidence: float, threshold: float) -> None:
        self._looks, self._alpha, self.threshold = looks, 1 - confidence, threshold
        self._draws = self._hits = 0
        self._times = 0
        self._best = 1.0

    def audit(self, ids: np.ndarray, blind: np.ndarray, share: float, most: float) -> Iterator[int]:
        """Audit the first of these nominal instances, as far as should cost so many evaluations; yield now and then.

        Parameters
        ----------
        ids : ndarray of int
            All instances of the nominal share of a wave.
        blind : ndarray of bool
            Whether the surrogate has them looked at less often than the average; the others are not hidden.
        share : float
            Of all instances that are blind, about, as found elsewhere.
        most : float
        """
        ledger, inputs = self._looks.ledger, self._looks.inputs
        needed = -math.log(_ERROR)
        price = min(1.0, 2 * needed / max(float(ledger.rate_above[0]), 1e-9) / inputs)
        count = int(most / price / max(share, 1e-9))
        draws = min(count, len(ids))
        ids = ids[:draws][blind[:draws]]
        open_, before = ids, ledger.cost
        while len(open_):
            shown = ledger.book.evidence(open_, self.threshold, LOWER) >= needed
            seen = ledger.book.seen(open_)
            open_ = open_[~shown & (seen < inputs)]
            # Chance may have left out the first look at some.
            wanted = np.clip(2 * ledger.book.seen(open_), min(stages(inputs)[0], inputs), inputs).astype(np.int64)
            if ledger.cost - before + float((wanted - ledger.book.seen(open_)).sum()) / inputs > 2 * most:
                break  # those left open count as failures
            yield from self._looks.more(open_, wanted)
        if draws:
            self._draws += draws
            self._hits += int((ledger.book.evidence(ids, self.threshold, LOWER) < needed).sum())
            self._times += 1
            spent = self._alpha / (self._times * (self._times + 1))
            self._best = min(self._best, share_bound(self._hits, self._draws, 1 - spent) / (1 - _ERROR))

    def bound(self) -> float:
        """Return what the mass is not above, with the confidence given."""
        return min(self._best, 1.0)
